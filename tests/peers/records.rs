//! Whole topics as JSON, read by a decoder that is not ours (apache-avro), with nothing left out.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use apache_avro::{Schema, reader::datum::GenericDatumReader};
use causeway_tests::{kafka::Kafka, names, registry::Registry};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    error::KafkaError,
    message::Headers as _,
};
use serde_json::Value as Json;

use crate::LIMIT;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) key: Json,
    /// Null is a tombstone.
    pub(crate) value: Json,
    /// Names, and values as text.
    pub(crate) headers: Vec<(String, String)>,
}

impl Record {
    /// A text of the value, by its path in JSON.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
    }
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
        let [0, a, b, c, d, body @ ..] = framed else {
            bail!(
                "{} bytes without a frame: {:?}",
                framed.len(),
                framed.get(..16).unwrap_or(framed)
            );
        };
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

    /// Every version of a subject, oldest first; none for a subject that does not exist.
    pub(crate) async fn versions(&self, subject: &str) -> Result<Vec<Json>> {
        let base = format!("{}/subjects/{subject}/versions", self.url);
        let answer = reqwest::get(&base).await?;
        if answer.status().as_u16() == 404 {
            return Ok(Vec::new());
        }
        let versions: Vec<u32> = answer.json().await.context("the versions of a subject")?;
        let mut all = Vec::new();
        for version in versions {
            let answer: Json = reqwest::get(format!("{base}/{version}")).await?.json().await?;
            let text = answer["schema"].as_str().context("no schema")?;
            all.push(serde_json::from_str(text).context("a schema that is no JSON")?);
        }
        Ok(all)
    }
}

/// The committed records of a topic, partition by partition, up to its end.
pub(crate) async fn all(kafka: &Kafka, schemas: &mut Schemas, topic: &str) -> Result<Vec<Record>> {
    let consumer: StreamConsumer = kafka
        .client_config()
        .set("group.id", names::unique("records"))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).context("ask for a topic")?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect();
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut records: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    let (mut ends, end) = (0, Instant::now() + LIMIT);
    while ends < partitions.len() {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let next = tokio::time::timeout(left, consumer.recv()).await;
        let message = match next.with_context(|| format!("{topic} has no end"))? {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(_)) => {
                ends += 1;
                continue;
            }
            Err(error) => return Err(error).context("read a topic"),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let one = |h: rdkafka::message::Header<'_, &[u8]>| {
                (h.key.to_owned(), h.value.map(text).unwrap_or_default())
            };
            headers.iter().map(one).collect()
        });
        records.entry(message.partition()).or_default().push(Record {
            key: schemas.decode(message.key()).await?,
            value: schemas.decode(message.payload()).await?,
            headers,
        });
    }
    Ok(records.into_values().flatten().collect())
}
