//! Orders as Avro records in a topic of their own, written at full speed: what a sink reads, without a
//! source before it.

use anyhow::{Context as _, Result};
use causeway_avro::{Encoder, Envelope, Options, Snapshot, SourceBlock};
use causeway_change::{Lsn, Operation, Row, Value};
use causeway_kafka::{
    Admin, Config as Kafka, Producer, Record, Registry, RegistryConfig, TopicSpec, Transactional,
    topic,
    transactions::{Entry, Range},
};
use causeway_tests::{kafka, random::Random, registry};

use crate::orders;

/// Records in one transaction of Kafka.
const TRANSACTION: usize = 20_000;
const PARTITIONS: i32 = 3;

/// What happens to the row of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A snapshot reads it.
    Read(i64),
    /// It comes.
    Insert(i64),
    /// It changes.
    Update(i64),
    /// It goes.
    Delete(i64),
}

impl Step {
    /// The number of the row.
    pub(crate) fn id(self) -> i64 {
        match self {
            Self::Read(id) | Self::Insert(id) | Self::Update(id) | Self::Delete(id) => id,
        }
    }
}

/// Writes the topic of one table.
pub(crate) struct Feed {
    encoder: Encoder,
    producer: Transactional,
    alone: Producer,
    /// The topic.
    pub(crate) topic: String,
    prefix: String,
    ids: (u32, u32),
}

impl Feed {
    /// A new topic with its schemas.
    pub(crate) async fn new(
        prefix: &str,
        kafka: &kafka::Kafka,
        registry: &registry::Registry,
    ) -> Result<Self> {
        Self::with(prefix, kafka, registry, &Options::default()).await
    }

    /// A new topic, with records that are written in some other way than by default.
    pub(crate) async fn with(
        prefix: &str,
        kafka: &kafka::Kafka,
        registry: &registry::Registry,
        options: &Options,
    ) -> Result<Self> {
        let table = orders::table();
        let topic = topic::table(prefix, &table.database, &table.id);
        let config = Kafka::new(kafka.bootstrap());
        let spec = TopicSpec {
            name: topic.clone(),
            partitions: PARTITIONS,
            compacted: false,
            retention_ms: None,
        };
        Admin::new(&config)?.ensure_topics(&[spec]).await?;
        let encoder = Encoder::new(&table, &topic, options, &Default::default())
            .context("compile the encoder")?;
        let registry = Registry::new(&RegistryConfig::new(registry.url()))?;
        let key = encoder.key_schema().context("orders have a key")?;
        let ids = (
            registry.register(&topic::key_subject(&topic), key).await?,
            registry.register(&topic::value_subject(&topic), encoder.value_schema()).await?,
        );
        let producer = Transactional::open(&config, &format!("{prefix}.bench")).await?;
        let alone = Producer::new(&config)?;
        Ok(Self { encoder, producer, alone, topic, prefix: prefix.to_owned(), ids })
    }

    /// Writes one record by itself, outside of transactions, and waits for the broker.
    pub(crate) async fn one(&self, step: Step) -> Result<()> {
        let (key, value) = self.encode(step)?;
        let record = Record { key: Some(&key), value: Some(&value), ..self.record() };
        self.alone.send(record).await?;
        Ok(())
    }

    /// Writes the records of steps, visible when it returns.
    pub(crate) async fn write(&self, steps: &[Step]) -> Result<()> {
        for steps in steps.chunks(TRANSACTION) {
            self.producer.begin()?;
            for (i, step) in steps.iter().enumerate() {
                if i % 256 == 0 {
                    self.producer.ready().await?;
                }
                self.send(*step)?;
            }
            self.producer.commit().await?;
        }
        Ok(())
    }

    /// As [`Feed::write`], as source transactions of `size` steps each, with their index.
    pub(crate) async fn write_transactions(&self, steps: &[Step], size: usize) -> Result<()> {
        let index = topic::transactions(&self.prefix);
        let mut number = 0_u32;
        for steps in steps.chunks(TRANSACTION / size * size) {
            self.producer.begin()?;
            for (mark, of_one) in steps.chunks(size).enumerate() {
                self.producer.ready().await?;
                for step in of_one {
                    let (key, value) = self.encode(*step)?;
                    let record = Record { key: Some(&key), ..self.record() };
                    self.producer.send_marked(Record { value: Some(&value), ..record }, mark)?;
                    if matches!(step, Step::Delete(_)) {
                        self.producer.send_marked(record, mark)?;
                    }
                }
            }
            let mut runs = self.producer.delivered().await?;
            runs.sort_by_key(|run| run.mark);
            for runs in runs.chunk_by(|a, b| a.mark == b.mark) {
                number += 1;
                let ranges = runs.iter().map(|run| Range {
                    topic: self.topic.clone(),
                    partition: run.partition,
                    first: run.first,
                    last: run.last,
                    count: run.count,
                });
                let entry = Entry::Transaction {
                    id: format!("00000001:{number:08x}:0001"),
                    commit_ns: 1,
                    last: true,
                    events: size as u64,
                    set_aside: 0,
                    ranges: ranges.collect(),
                };
                let (key, value) = (entry.key().to_owned(), entry.to_json());
                self.producer.send(Record {
                    topic: &index,
                    partition: Some(0),
                    key: Some(key.as_bytes()),
                    value: Some(value.as_bytes()),
                    ..Record::default()
                })?;
            }
            self.producer.commit().await?;
        }
        Ok(())
    }

    fn record(&self) -> Record<'_> {
        Record { topic: &self.topic, ..Record::default() }
    }

    fn send(&self, step: Step) -> Result<()> {
        let (key, value) = self.encode(step)?;
        let record = Record { key: Some(&key), ..self.record() };
        self.producer.send(Record { value: Some(&value), ..record })?;
        if matches!(step, Step::Delete(_)) {
            self.producer.send(record)?;
        }
        Ok(())
    }

    /// Writes a row that comes, as it is given, or bytes in the place of its value.
    pub(crate) async fn row(&self, row: Row, instead: Option<&[u8]>) -> Result<()> {
        let (key, value) = self.encoded(Operation::Create, None, Some(row))?;
        let value = instead.unwrap_or(&value);
        let record = Record { key: Some(&key), value: Some(value), ..self.record() };
        self.alone.send(record).await?;
        Ok(())
    }

    /// Key and value.
    fn encode(&self, step: Step) -> Result<(Vec<u8>, Vec<u8>)> {
        let (operation, before, after) = match step {
            Step::Read(id) => (Operation::Read, None, Some(row(id, 0))),
            Step::Insert(id) => (Operation::Create, None, Some(row(id, 1))),
            Step::Update(id) => (Operation::Update, Some(row(id, 0)), Some(row(id, 1))),
            Step::Delete(id) => (Operation::Delete, Some(row(id, 0)), None),
        };
        self.encoded(operation, before, after)
    }

    fn encoded(
        &self,
        operation: Operation,
        before: Option<Row>,
        after: Option<Row>,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let snapshot = operation == Operation::Read;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let ts_ns = i64::try_from(now.as_nanos()).context("the time")?;
        let lsn = Lsn::from_parts(1, 2, 3);
        let envelope = Envelope {
            before: before.as_deref(),
            after: after.as_deref(),
            operation,
            source: SourceBlock {
                version: env!("CARGO_PKG_VERSION"),
                name: &self.prefix,
                db: "bench",
                schema: "dbo",
                table: orders::NAME,
                ts_ns,
                snapshot: if snapshot { Snapshot::True } else { Snapshot::False },
                change_lsn: (!snapshot).then_some(lsn),
                commit_lsn: Some(lsn),
                event_serial_no: (!snapshot).then_some(1),
            },
            ts_ns,
        };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        self.encoder.encode_value(&envelope, self.ids.1, &mut value).context("encode")?;
        let any = after.as_ref().or(before.as_ref()).context("a change has a row")?;
        self.encoder.encode_key(any, self.ids.0, &mut key).context("encode")?;
        Ok((key, value))
    }
}

/// Row of a number, in one of its versions; half of them have a comment.
pub(crate) fn row(id: i64, version: u64) -> Row {
    let mut random = Random::new(id.unsigned_abs() * 2 + version);
    let comment = if random.chance(50) {
        Value::Text(format!("please leave order {id} at the neighbour's, n° {}", random.below(200)))
    } else {
        Value::Null
    };
    let small = |number: u64| i32::try_from(number).unwrap_or_default();
    let mut reference = [7; 16];
    reference[8..].copy_from_slice(&id.to_be_bytes());
    vec![
        Value::I64(id),
        Value::I32(small(random.below(10_000))),
        Value::I16(i16::try_from(random.below(6)).unwrap_or_default()),
        Value::Decimal(i128::from(random.below(500_000))),
        Value::Decimal(i128::from(random.below(500_000))),
        Value::F64(f64::from(small(random.below(40))) + 0.5),
        Value::Text(format!("Customer Nº {}", random.below(10_000))),
        comment,
        Value::DateTime(17_700_000_000_000_000 + i64::from(small(random.below(1 << 30))) * 10_000),
        Value::Guid(reference),
    ]
}

/// Changes of a table with rows 1 to `rows`: of twenty, sixteen update, three insert, one deletes. No row
/// is met twice, so that there is nothing to fold; `from` is where the last ones ended.
pub(crate) fn mix(rows: i64, from: i64, count: i64) -> Vec<Step> {
    // A prime stride visits every row once, in an order that no cache likes.
    let nth = |i: i64| 1 + (i * 7919 + 13) % rows;
    (from..from + count)
        .map(|i| match i % 20 {
            0..16 => Step::Update(nth(i)),
            16..19 => Step::Insert(rows + 1 + i),
            _ => Step::Delete(nth(i)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_mix_is_eighty_fifteen_five_and_meets_no_row_twice() {
        let steps = mix(10_000, 0, 10_000);
        let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
        assert_eq!(count(|step| matches!(step, Step::Update(_))), 8_000);
        assert_eq!(count(|step| matches!(step, Step::Insert(_))), 1_500);
        assert_eq!(count(|step| matches!(step, Step::Delete(_))), 500);
        let ids: HashSet<i64> = steps
            .iter()
            .map(|step| match step {
                Step::Read(id) | Step::Insert(id) | Step::Update(id) | Step::Delete(id) => *id,
            })
            .collect();
        assert_eq!(ids.len(), steps.len());
    }
}
