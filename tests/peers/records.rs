//! Whole topics as JSON, read by a decoder that is not ours (apache-avro), with nothing left out.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use apache_avro::{Schema, reader::datum::GenericDatumReader};
use causeway_tests::{kafka::Kafka, names, registry::Registry};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    message::Headers as _,
};
use serde_json::Value as Json;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) key: Json,
    /// Null is a tombstone.
    pub(crate) value: Json,
    /// Names, and values as text.
    pub(crate) headers: Vec<(String, String)>,
}

/// Schemas by id, as the registry gives them.
pub(crate) struct Schemas {
    url: String,
    known: HashMap<u32, Schema>,
}

impl Schemas {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self { url: registry.url().to_owned(), known: HashMap::new() }
    }

    async fn decode(&mut self, framed: Option<&[u8]>) -> Result<Json> {
        let Some(framed) = framed else { return Ok(Json::Null) };
        let [0, a, b, c, d, body @ ..] = framed else { bail!("a record without frame") };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        if !self.known.contains_key(&id) {
            let url = format!("{}/schemas/ids/{id}", self.url);
            let answer: Json = reqwest::get(url).await?.json().await?;
            let text = answer["schema"].as_str().with_context(|| format!("no schema {id}"))?;
            self.known.insert(id, Schema::parse_str(text).context("parse a schema")?);
        }
        let reader = GenericDatumReader::builder(&self.known[&id]).build()?;
        let value = reader.read_value(&mut &*body).context("decode")?;
        Json::try_from(value).context("to JSON")
    }
}

/// All records of a topic with one partition, up to where nothing more comes for `quiet`.
pub(crate) async fn all(
    kafka: &Kafka,
    schemas: &mut Schemas,
    topic: &str,
    quiet: Duration,
) -> Result<Vec<Record>> {
    let consumer: StreamConsumer = kafka
        .client_config()
        .set("group.id", names::unique("records"))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut records = Vec::new();
    while let Ok(message) = tokio::time::timeout(quiet, consumer.recv()).await {
        let message = message.context("read a topic")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let one = |h: rdkafka::message::Header<'_, &[u8]>| {
                (h.key.to_owned(), h.value.map(text).unwrap_or_default())
            };
            headers.iter().map(one).collect()
        });
        records.push(Record {
            key: schemas.decode(message.key()).await?,
            value: schemas.decode(message.payload()).await?,
            headers,
        });
    }
    Ok(records)
}
