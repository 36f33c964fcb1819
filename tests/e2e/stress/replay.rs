//! The topics, replayed into an empty model up to any commit.
//!
//! A partition is replayed up to its first streamed event that was committed later. Rows of snapshots
//! before that point are as they were at the commit: had one changed in between, its event would have come
//! before, because the stream wins.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    time::{Duration, Instant},
};

use causeway_avro::{Decoded, Decoder, frame};
use causeway_change::{Lsn, Operation, TableId, Value};
use causeway_kafka::{Consumer, Registry, RegistryConfig, consumer::EARLIEST, topic};
use causeway_tests::{kafka::Kafka, names, registry};

use super::load::{Rows, State};
use crate::LIMIT;

/// One event, as far as the model needs it.
struct Event {
    /// None for a row of a snapshot.
    commit: Option<Lsn>,
    /// Place among the events of its commit: none may come twice.
    place: (Option<Lsn>, Option<i64>, char),
    change: Change,
}

enum Change {
    Put(i32, (i64, i32, Note)),
    Delete(i32),
}

/// A large value; an update that did not touch it leaves it out.
enum Note {
    Is(Option<String>),
    AsBefore,
}

/// All events of all tables, by partition, in order.
pub(super) struct Replay {
    consumer: Consumer,
    registry: Registry,
    by_topic: HashMap<String, String>,
    partitions: BTreeMap<(String, i32), Vec<Event>>,
    /// Commit of each mark.
    marks: BTreeMap<i32, Lsn>,
}

impl Replay {
    pub(super) async fn new(
        kafka: &Kafka,
        registry: &registry::Registry,
        pipeline: &str,
        tables: &[&str],
    ) -> Self {
        let config = causeway_kafka::Config::new(kafka.bootstrap());
        let consumer = Consumer::open(&config, &names::unique("replay")).await.unwrap();
        let (mut by_topic, mut wanted) = (HashMap::new(), Vec::new());
        for table in tables {
            let topic = topic::table(pipeline, pipeline, &TableId::new("dbo", *table));
            let known = consumer.topics(&topic).await.unwrap();
            let known = known.into_iter().find(|t| t.name == topic).unwrap();
            for partition in 0..known.partitions {
                wanted.push((topic.clone(), partition, EARLIEST));
            }
            by_topic.insert(topic, (*table).to_owned());
        }
        consumer.assign(&wanted).await.unwrap();
        let registry = Registry::new(&RegistryConfig::new(registry.url())).unwrap();
        Self { consumer, registry, by_topic, partitions: BTreeMap::new(), marks: BTreeMap::new() }
    }

    /// Reads everything there is; nothing is written any more.
    pub(super) async fn read(&mut self) {
        let mut decoders: HashMap<u32, Decoder> = HashMap::new();
        let end = Instant::now() + LIMIT;
        loop {
            let batch = self.consumer.next_batch();
            let Ok(batch) = tokio::time::timeout(Duration::from_millis(500), batch).await else {
                if self.consumer.lag() == Some(0) {
                    return;
                }
                assert!(Instant::now() < end, "the topics have no end");
                continue;
            };
            for message in batch.unwrap() {
                let table = self.by_topic[&*message.topic].clone();
                let Some(value) = message.value else { continue };
                let (id, body) = frame::split(&value).unwrap();
                let decoder = match decoders.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let schema = self.registry.schema(id).await.unwrap();
                        new.insert(Decoder::new(&schema).unwrap())
                    }
                };
                let decoded = decoder.decode(body).unwrap();
                self.take(&table, message.partition, decoded);
            }
        }
    }

    fn take(&mut self, table: &str, partition: i32, decoded: Decoded) {
        let commit = (!decoded.source.snapshot).then(|| decoded.source.commit_lsn.unwrap());
        let row = decoded.after.as_ref().or(decoded.before.as_ref()).unwrap();
        let Value::I32(id) = row[0] else { panic!("a key of {}", row[0].kind()) };
        if table == "marks" {
            if let Some(commit) = commit {
                self.marks.insert(id, commit);
            }
            return;
        }
        let change = match decoded.operation {
            Operation::Delete => Change::Delete(id),
            Operation::Read | Operation::Create | Operation::Update => {
                let (Value::I64(v), Value::I32(code)) = (&row[1], &row[2]) else {
                    panic!("{table} {id}: {} and {}", row[1].kind(), row[2].kind())
                };
                let note = if let Value::Text(text) = &row[3] {
                    Note::Is(Some(text.clone()))
                } else if row[3].is_null() {
                    Note::Is(None)
                } else {
                    assert!(row[3].is_unavailable(), "{table} {id}: a note of {}", row[3].kind());
                    Note::AsBefore
                };
                Change::Put(id, (*v, *code, note))
            }
        };
        let letter = match decoded.operation {
            Operation::Delete => 'd',
            Operation::Read => 'r',
            Operation::Create => 'c',
            Operation::Update => 'u',
        };
        let place = (decoded.source.change_lsn, decoded.source.event_serial_no, letter);
        let events = self.partitions.entry((table.to_owned(), partition)).or_default();
        events.push(Event { commit, place, change });
    }

    /// Compares the model with every state; gives how many were found.
    pub(super) fn check(&self, states: &[State], seed: u64) -> usize {
        for ((table, partition), events) in &self.partitions {
            let mut seen = HashSet::new();
            let mut last = None;
            for event in events.iter().filter(|e| e.commit.is_some()) {
                assert!(
                    last <= event.commit,
                    "seed {seed}: {table}[{partition}] goes back at {last:?}"
                );
                last = event.commit;
                let key = match event.change {
                    Change::Put(id, _) | Change::Delete(id) => id,
                };
                let twice = !seen.insert((event.commit, event.place, key));
                assert!(
                    !twice,
                    "seed {seed}: {table} {key} at {:?} {:?} comes twice",
                    event.commit, event.place
                );
            }
        }
        let mut checked = 0;
        for state in states {
            let Some(commit) = self.marks.get(&state.mark) else { continue };
            for (table, wanted) in &state.tables {
                let found = self.state(table, *commit);
                let different: BTreeSet<i32> = wanted
                    .keys()
                    .chain(found.keys())
                    .copied()
                    .filter(|id| wanted.get(id) != found.get(id))
                    .collect();
                let wrong: Vec<_> = different
                    .iter()
                    .map(|id| (id, wanted.get(id), found.get(id)))
                    .take(5)
                    .collect();
                assert!(
                    wrong.is_empty(),
                    "seed {seed}: {table} at mark {} ({commit}): {} rows in the source, {} in the topic; {wrong:?}",
                    state.mark,
                    wanted.len(),
                    found.len()
                );
            }
            checked += 1;
        }
        checked
    }

    fn state(&self, table: &str, commit: Lsn) -> Rows {
        let mut rows = Rows::new();
        for ((of, _), events) in &self.partitions {
            if of != table {
                continue;
            }
            for event in events.iter().take_while(|e| e.commit.is_none_or(|at| at <= commit)) {
                match &event.change {
                    Change::Delete(id) => {
                        rows.remove(id);
                    }
                    Change::Put(id, (v, code, note)) => {
                        let note = match note {
                            Note::Is(note) => note.clone(),
                            Note::AsBefore => rows.get(id).and_then(|row| row.2.clone()),
                        };
                        rows.insert(*id, (*v, *code, note));
                    }
                }
            }
        }
        rows
    }
}
