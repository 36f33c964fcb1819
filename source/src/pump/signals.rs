//! Signals: taken from their topic or table, done once, and answered by notifications.

use std::{collections::BTreeMap, sync::Arc};

use causeway_change::{Operation, Value};
use causeway_kafka::{Consumer, consumer::EARLIEST, topic};
use serde_json::{Value as Json, json};

use super::{Pump, copies::Origin};
use crate::{
    SourceError,
    fold::Event,
    keys,
    scope::Scope,
    shared::now_ns,
    signal::{self, Command, Request, Signal},
    state::{self, Adhoc, AdhocTable, SnapshotState},
};

/// Where signals come from when Kafka has them.
pub struct Intake {
    /// Reads the topic.
    pub consumer: Consumer,
    /// The topic.
    pub topic: String,
}

impl Pump {
    /// Goes on with the copies that were under way.
    pub(super) async fn resume_copies(&mut self) -> Result<(), SourceError> {
        self.switch_flow();
        let mut first = Vec::new();
        for entry in &self.tables {
            if entry.state.snapshot.is_running() && entry.state.halted.is_none() {
                let active = Arc::clone(&entry.active);
                first.push((active, entry.state.snapshot.clone()));
            }
        }
        if first.iter().any(|(_, state)| *state == SnapshotState::begin()) {
            let tables: Vec<String> =
                first.iter().map(|(active, _)| self.collection(active.id())).collect();
            let more = json!({ "data_collections": tables.join(", ") });
            let name = self.shared.pipeline.clone();
            self.notify(Origin::First.aggregate(), "STARTED", &name, more).await?;
        }
        for (active, state) in first {
            let scope = Scope::whole(&active.instance.source);
            self.start_copy(&active, Origin::First, scope, &state);
        }
        for id in self.adhoc.keys().cloned().collect::<Vec<_>>() {
            self.start_adhoc(&id).await?;
        }
        Ok(())
    }

    /// Starts or goes on with what a signal asked for.
    async fn start_adhoc(&mut self, id: &str) -> Result<(), SourceError> {
        let tables = self.adhoc.get(id).map(|adhoc| adhoc.tables.clone()).unwrap_or_default();
        for table in tables {
            if self.is_halted(&table) {
                continue;
            }
            let found = self.tables.iter().find(|t| {
                let id = t.active.id();
                id.schema == table.schema && id.name == table.name
            });
            let active = found.map(|t| Arc::clone(&t.active));
            let scope = active.as_ref().map_or_else(
                || Err(format!("{}.{} is not replicated any more", table.schema, table.name)),
                |active| {
                    Scope::asked(
                        &active.instance.source,
                        table.filter.as_deref(),
                        table.surrogate_key.as_deref(),
                        table.keys.as_deref(),
                    )
                },
            );
            match (active, scope) {
                (Some(active), Ok(scope)) => {
                    let origin = Origin::Signal(id.to_owned());
                    self.start_copy(&active, origin, scope, &table.snapshot);
                }
                (_, Err(reason)) => {
                    let table = causeway_change::TableId::new(table.schema, table.name);
                    tracing::error!(signal = id, reason, "a table's snapshot cannot be taken");
                    let more = json!({
                        "current_collection_in_progress": self.collection(&table),
                        "error": reason,
                    });
                    self.notify("Incremental Snapshot", "ABORTED", id, more).await?;
                    self.forget_adhoc(id, Some(&table));
                }
                (None, Ok(_)) => {}
            }
        }
        Ok(())
    }

    /// Takes the signals that have come by Kafka.
    pub(super) async fn take_signals(&mut self) -> Result<(), SourceError> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let messages = match intake.consumer.try_next_batch() {
            Ok(None) => return Ok(()),
            Ok(Some(messages)) => messages,
            Err(error @ causeway_kafka::Error::Gap { .. }) => {
                tracing::warn!(
                    error = %error,
                    "signals may be lost; those that are left are taken, done ones excepted"
                );
                let topic = intake.topic.clone();
                intake.consumer.assign(&[(topic, 0, EARLIEST)]).await?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for message in messages {
            self.signals.next_offset = Some(message.offset + 1);
            self.signals_changed = true;
            let Some(value) = message.value else { continue };
            let key = message.key.map(|key| String::from_utf8_lossy(&key).into_owned());
            let ours = &self.shared.pipeline;
            // Debezium's rule, in a topic that several connectors share; a key in JSON quotes is meant too.
            if key.as_ref().is_some_and(|k| !k.is_empty() && k.trim_matches('"') != ours) {
                tracing::warn!(offset = message.offset, "a signal for another pipeline is ignored");
                continue;
            }
            let fallback = format!("kafka-{}", message.offset);
            let parsed = signal::parse(&String::from_utf8_lossy(&value), &fallback);
            self.obey(parsed, &fallback).await?;
        }
        // Before anything else: what was done must not be done again.
        self.commit(false).await
    }

    /// Takes a signal from a row of the signal table. Its id, type and data are found by their names.
    pub(super) async fn take_signal_row(&mut self, event: &Event) -> Result<(), SourceError> {
        let (Operation::Create, Some(row)) = (event.operation, &event.after) else {
            return Ok(());
        };
        let Some(entry) = self.tables.get(event.table) else { return Ok(()) };
        let table = &entry.active.instance.source.table;
        let text = |name: &str| -> Option<String> {
            let place = table.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))?;
            match row.get(place)? {
                Value::Text(text) => Some(text.trim_end().to_owned()),
                Value::I32(n) => Some(n.to_string()),
                Value::I64(n) => Some(n.to_string()),
                Value::Guid(_) => {
                    row.get(place).map(|v| keys::to_json(std::slice::from_ref(v)).to_string())
                }
                Value::Null
                | Value::Unavailable
                | Value::TooLarge(_)
                | Value::Bool(_)
                | Value::I16(_)
                | Value::F32(_)
                | Value::F64(_)
                | Value::Decimal(_)
                | Value::Bytes(_)
                | Value::Date(_)
                | Value::Time(_)
                | Value::DateTime(_)
                | Value::DateTimeOffset { .. } => None,
            }
        };
        let fallback = format!("table-{}", event.position.seqval);
        let id = text("id").unwrap_or_else(|| fallback.clone());
        let parsed = match text("type") {
            Some(kind) => signal::parse_row(&id, &kind, text("data").as_deref()),
            None => Err("it has no type".to_owned()),
        };
        self.obey(parsed, &fallback).await
    }

    async fn obey(
        &mut self,
        parsed: Result<Signal, String>,
        fallback: &str,
    ) -> Result<(), SourceError> {
        let Signal { id, command } = match parsed {
            Ok(signal) => signal,
            Err(reason) => {
                tracing::error!(signal = fallback, reason, "a signal cannot be understood");
                return self
                    .notify("Signal", "REFUSED", fallback, json!({ "error": reason }))
                    .await;
            }
        };
        if self.signals.done.contains(&id) {
            tracing::info!(signal = id, "a signal that was done before is ignored");
            return Ok(());
        }
        tracing::info!(signal = id, "a signal");
        self.signals.remember(id.clone());
        self.signals_changed = true;
        match command {
            Command::ExecuteSnapshot(request) => self.execute(&id, request).await,
            Command::StopSnapshot(collections) => self.stop_snapshots(&collections).await,
            Command::PauseSnapshot => self.pause_snapshots(&id, true).await,
            Command::ResumeSnapshot => self.pause_snapshots(&id, false).await,
            Command::Pause => self.pause(&id, true).await,
            Command::Resume => self.pause(&id, false).await,
        }
    }

    async fn execute(&mut self, id: &str, request: Request) -> Result<(), SourceError> {
        let database = self.shared.facts.name.clone();
        let mut tables = Vec::new();
        for entry in &self.tables {
            let table = entry.active.id();
            let wanted = request.collections.iter().any(|c| signal::means(c, &database, table));
            if !wanted || self.shared.config.is_signal_table(table) {
                continue;
            }
            let condition = request.condition(&database, table);
            tables.push(AdhocTable {
                schema: table.schema.clone(),
                name: table.name.clone(),
                filter: condition.and_then(|c| c.filter.clone()),
                surrogate_key: request.surrogate_key.clone(),
                keys: condition.and_then(|c| c.keys.clone()),
                snapshot: SnapshotState::begin(),
            });
        }
        let asked = request.collections.join(", ");
        if tables.is_empty() {
            let reason = format!("no replicated table is meant by {asked}");
            tracing::error!(signal = id, reason, "a snapshot cannot be taken");
            let more = json!({ "data_collections": asked, "error": reason });
            return self.notify("Incremental Snapshot", "ABORTED", id, more).await;
        }
        let names: Vec<String> =
            tables.iter().map(|t| format!("{database}.{}.{}", t.schema, t.name)).collect();
        let more = json!({ "data_collections": names.join(", ") });
        self.notify("Incremental Snapshot", "STARTED", id, more).await?;
        self.adhoc.insert(id.to_owned(), Adhoc { tables });
        self.adhoc_changed.insert(id.to_owned());
        self.start_adhoc(id).await
    }

    async fn stop_snapshots(&mut self, collections: &[String]) -> Result<(), SourceError> {
        let database = self.shared.facts.name.clone();
        let mut stopped: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (number, copy) in &self.copies {
            let Some(entry) = self.tables.get(copy.table) else { continue };
            let id = entry.active.id();
            let meant = collections.is_empty()
                || collections.iter().any(|c| signal::means(c, &database, id));
            if let (Origin::Signal(signal), true) = (&copy.origin, meant) {
                stopped.entry(signal.clone()).or_default().push(*number);
            }
        }
        for (signal, copies) in stopped {
            let mut names = Vec::new();
            for number in copies {
                let table = self.copies.get(&number).and_then(|copy| self.tables.get(copy.table));
                let Some(id) = table.map(|t| t.active.id().clone()) else { continue };
                self.drop_copy(number);
                self.forget_adhoc(&signal, Some(&id));
                names.push(self.collection(&id));
            }
            tracing::info!(signal, tables = names.join(", "), "a snapshot is stopped");
            let more = json!({ "data_collections": names.join(", ") });
            self.notify("Incremental Snapshot", "ABORTED", &signal, more).await?;
        }
        Ok(())
    }

    async fn pause_snapshots(&mut self, id: &str, paused: bool) -> Result<(), SourceError> {
        self.signals.snapshots_paused = paused;
        self.switch_flow();
        let kind = if paused { "PAUSED" } else { "RESUMED" };
        self.notify("Incremental Snapshot", kind, id, json!({})).await
    }

    async fn pause(&mut self, id: &str, paused: bool) -> Result<(), SourceError> {
        self.signals.paused = paused;
        self.switch_flow();
        tracing::warn!(paused, "a signal has switched the source");
        let kind = if paused { "PAUSED" } else { "RESUMED" };
        self.notify("Source", kind, id, json!({})).await
    }

    /// Lets the readers read, or not.
    fn switch_flow(&self) {
        let paused = self.signals.paused || self.signals.snapshots_paused;
        self.shared.snapshots_paused.send_replace(paused);
    }

    /// Tells whoever listens, in the open transaction. Texts only, as Debezium does it.
    pub(super) async fn notify(
        &mut self,
        aggregate: &str,
        kind: &str,
        id: &str,
        mut more: Json,
    ) -> Result<(), SourceError> {
        if let Some(more) = more.as_object_mut() {
            more.insert("connector_name".to_owned(), self.shared.pipeline.clone().into());
        }
        let value = json!({
            "id": id,
            "aggregate_type": aggregate,
            "type": kind,
            "additional_data": more,
            "timestamp": now_ns() / 1_000_000,
        });
        let topic = topic::notifications(&self.shared.pipeline);
        let key = json!({ "id": id }).to_string();
        self.publisher.text(&topic, &key, Some(&value.to_string())).await
    }

    /// Stores what signals have changed.
    pub(super) async fn keep_signals(&mut self) -> Result<(), SourceError> {
        let database = self.shared.facts.name.clone();
        if std::mem::take(&mut self.signals_changed) {
            let value = state::to_text(&self.signals);
            self.publisher.keep(&state::signals_key(&database), Some(&value)).await?;
        }
        for id in std::mem::take(&mut self.adhoc_changed) {
            let value = self.adhoc.get(&id).map(state::to_text);
            self.publisher.keep(&state::adhoc_key(&database, &id), value.as_deref()).await?;
        }
        Ok(())
    }
}
