package io.confluent.kafka.schemaregistry.client;

/** Only a name: see AvroConverter. */
public class MockSchemaRegistryClient implements SchemaRegistryClient {
}
