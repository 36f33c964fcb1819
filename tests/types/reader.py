"""Reads a topic of ours with Confluent's own Python client and deserializer, and prints one JSON line a record.

Arguments: bootstrap servers, registry URL, topic. Ends when every partition was read to its end.
"""

import json
import sys

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def plain(value):
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (int, float, str, bool)) or value is None:
        return value
    return str(value)


def main():
    bootstrap, registry, topic = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "interop",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    for partition in sorted(partitions):
        place = TopicPartition(topic, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        while consumer.position([place])[0].offset < end:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise SystemExit(str(message.error()))
            key = deserialize(message.key(), SerializationContext(topic, MessageField.KEY))
            value = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
            print(json.dumps({"partition": partition, "offset": message.offset(), "key": plain(key), "value": plain(value)}))
    consumer.close()


main()
