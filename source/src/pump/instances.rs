//! Capture instances: gaps, those that are gone, those that come and those that take over.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use causeway_change::{Lsn, Position, TableId};
use causeway_sqlserver::{
    CaptureInstance, ColumnRead, catalog, identifier,
    log::{self, InstanceState, Tick},
};
use serde_json::json;

use super::{HALTS, Pump, TableEntry, copies::Origin};
use crate::{
    SourceError, heap, message_key,
    run::table_topic,
    scope::Scope,
    state::{Adhoc, AdhocTable, Halted, SnapshotState, TableState},
    tables::Active,
};

impl Pump {
    /// Looks for gaps after a read that went on from `from`, and before anything of it is committed: a
    /// position beyond a gap would hide it.
    pub(super) async fn low_water(&mut self, from: Lsn) -> Result<(), SourceError> {
        let instances = log::low_water(&mut self.sql).await?;
        self.check_gaps(&instances, from)
    }

    /// A low-water mark above our position means that rows may be gone that we have not read.
    pub(super) fn check_gaps(
        &mut self,
        instances: &HashMap<i32, InstanceState>,
        from: Lsn,
    ) -> Result<(), SourceError> {
        for entry in &mut self.tables {
            let instance = &entry.active.instance;
            let found = instances.get(&instance.object_id).filter(|found| !found.dropping);
            let Some(found) = found else {
                return Err(SourceError::InstanceReplaced {
                    table: entry.active.id().clone(),
                    instance: instance.name.clone(),
                });
            };
            let Some(low) = found.start_lsn else { continue };
            match entry.state.since_lsn() {
                None => {
                    entry.state.since = Some(low.to_string());
                    entry.changed = true;
                }
                Some(since) => {
                    // Each table is complete up to a place of its own while one waits or catches up.
                    let from = match (&entry.state.halted, self.catching_up) {
                        (Some(_), Some((number, _))) if number == entry.active.number => from,
                        (Some(halted), _) => halted.position(entry.active.id())?.commit_lsn,
                        (None, Some((_, all))) => all.commit_lsn,
                        (None, None) => from,
                    };
                    let from = from.max(since);
                    if low > from {
                        return Err(SourceError::Gap {
                            table: entry.active.id().clone(),
                            from,
                            low,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Gaps, instances that are gone, and instances that have come.
    pub(super) async fn look_at_instances(&mut self, tick: &Tick) -> Result<(), SourceError> {
        self.check_gaps(&tick.instances, self.position.commit_lsn)?;
        let new = tick.instances.iter().any(|(id, found)| {
            !found.dropping && found.start_lsn.is_some() && !self.known.contains(id)
        });
        if !new {
            return Ok(());
        }
        let selection = self.shared.config.reads(self.shared.oversize.max());
        let mut discovery = catalog::discover(&mut self.sql, &selection).await?;
        message_key::apply(&self.shared.config.message_key_columns, &mut discovery)?;
        for refused in discovery.refused {
            tracing::error!(
                table = %refused.table,
                column = refused.column,
                "a newly captured table is not replicated: {}; leave the column out by exclude_columns",
                refused.reason
            );
        }
        for instance in discovery.instances {
            if self.known.contains(&instance.object_id) || instance.start_lsn.is_none() {
                continue;
            }
            self.known.insert(instance.object_id);
            let id = instance.source.id().clone();
            match self.tables.iter_mut().find(|t| *t.active.id() == id) {
                Some(entry) => {
                    tracing::info!(table = %id, instance = instance.name, "a second capture instance takes over later");
                    entry.next.push_back(instance);
                }
                None => self.add_table(id, instance).await?,
            }
        }
        // Tables that are not wanted are decided too; one whose start is not known yet is looked at again.
        for (id, found) in &tick.instances {
            if found.start_lsn.is_some() {
                self.known.insert(*id);
            }
        }
        Ok(())
    }

    async fn add_table(
        &mut self,
        id: TableId,
        instance: CaptureInstance,
    ) -> Result<(), SourceError> {
        let copies = self.shared.config.snapshot.mode.copies();
        let sees = (self.shared.facts.snapshot_isolation, self.shared.sight.log_end);
        let lacks = heap::lacks(sees.0, sees.1).filter(|_| copies);
        if let Some(reason) = lacks.filter(|_| instance.source.table.key.is_empty()) {
            tracing::error!(table = %id, reason, "a newly captured table is not replicated");
            return Ok(());
        }
        tracing::info!(table = %id, "a newly captured table joins");
        let is_signals = self.shared.config.is_signal_table(&id);
        // A table that comes back has lost what happened meanwhile.
        let comes_back = self.left.remove(&id);
        let copied = !is_signals && (comes_back || self.shared.config.snapshot.mode.copies());
        let state = TableState {
            instance: instance.name.clone(),
            object_id: instance.object_id,
            since: instance.start_lsn.map(|lsn| lsn.to_string()),
            snapshot: if copied { SnapshotState::begin() } else { SnapshotState::Skipped },
            micro_columns: Default::default(),
            reset: false,
            halted: None,
            copied_at: None,
        };
        let number = self.tables.len();
        let shared = &self.shared;
        let active = if is_signals {
            self.signal_table = Some(number);
            Active::unpublished(number, instance, &shared.pipeline, shared.options)?
        } else {
            let (registry, options) = (&shared.registry, shared.options);
            let columns = state.micro_columns.clone();
            Active::new(number, instance, &shared.pipeline, registry, options, columns).await?
        };
        let active = Arc::new(active);
        if !is_signals {
            let topic = table_topic(&active, self.shared.partitions);
            self.admin.ensure_topics(&[topic]).await?;
        }
        self.folder.set_key(number, active.instance.source.table.key.clone());
        let begin = state.snapshot.clone();
        let entry = TableEntry {
            active: Arc::clone(&active),
            state,
            next: VecDeque::new(),
            changed: true,
            is_apart: false,
        };
        self.tables.push(entry);
        if copied {
            let scope = Scope::whole(&active.instance.source);
            self.start_copy(&active, Origin::First, scope, &begin);
        }
        Ok(())
    }

    /// Capture instances whose time has come take over.
    pub(super) async fn switch_instances(&mut self, position: Lsn) -> Result<(), SourceError> {
        for number in 0..self.tables.len() {
            self.switch_table(number, position).await?;
        }
        Ok(())
    }

    /// Those of one table. One that waits for the registry waits with its instances too.
    pub(super) async fn switch_table(
        &mut self,
        number: usize,
        position: Lsn,
    ) -> Result<(), SourceError> {
        while let Some(entry) = self.tables.get_mut(number) {
            let next = entry.next.front().filter(|_| entry.state.halted.is_none());
            let is_due = next.and_then(|next| next.start_lsn).is_some_and(|lsn| lsn <= position);
            let next = if is_due { entry.next.pop_front() } else { None };
            let Some(instance) = next else { break };
            self.switch(number, instance, position).await?;
        }
        Ok(())
    }

    async fn switch(
        &mut self,
        number: usize,
        instance: CaptureInstance,
        position: Lsn,
    ) -> Result<(), SourceError> {
        let Some(entry) = self.tables.get(number) else { return Ok(()) };
        let before = Arc::clone(&entry.active);
        let id = before.id().clone();
        tracing::info!(
            table = %id,
            from = before.instance.name,
            to = instance.name,
            at = %position,
            "the next capture instance takes over"
        );
        // The new schema is registered, and so checked, before anything is switched.
        let micro_columns = entry.state.micro_columns.clone();
        let (made, halted) = self.publishable(number, &instance, micro_columns).await?;
        let key = instance.source.table.key.clone();
        // One that was dropped and made again, too.
        let had = |new: &ColumnRead| {
            let mut old = before.instance.source.columns.iter();
            old.any(|old| old.name == new.name && old.ty == new.ty && old.in_source)
        };
        let added: Vec<String> = instance
            .source
            .columns
            .iter()
            .filter(|new| !had(new))
            .map(|column| column.name.clone())
            .collect();
        if let Some(reason) = &halted {
            tracing::error!(table = %id, at = %position, reason, "{HALTS}");
        }
        let Some(entry) = self.tables.get_mut(number) else { return Ok(()) };
        entry.state.instance = instance.name.clone();
        entry.state.object_id = instance.object_id;
        entry.state.since = instance.start_lsn.map(|lsn| lsn.to_string());
        entry.state.halted = halted.map(|why| Halted::at(&Position::end_of(position), why));
        entry.changed = true;
        entry.active = Arc::new(made);
        let (is_halted, is_copied) =
            (entry.state.halted.is_some(), entry.state.snapshot != SnapshotState::Skipped);
        self.folder.set_key(number, key);
        self.fill_columns(number, &instance.name, &added, is_copied).await?;
        self.restart_copies(number, !is_halted);
        Ok(())
    }

    /// A table that can be published, or one that cannot with the registry's reason.
    pub(super) async fn publishable(
        &self,
        number: usize,
        instance: &CaptureInstance,
        micro_columns: BTreeSet<String>,
    ) -> Result<(Active, Option<String>), SourceError> {
        let shared = &self.shared;
        let unpublished =
            || Active::unpublished(number, instance.clone(), &shared.pipeline, shared.options);
        if shared.config.is_signal_table(instance.source.id()) {
            return Ok((unpublished()?, None));
        }
        let (registry, options) = (&shared.registry, shared.options);
        let made = Active::new(
            number,
            instance.clone(),
            &shared.pipeline,
            registry,
            options,
            micro_columns,
        );
        match made.await {
            Ok(active) => Ok((active, None)),
            Err(error) if error.is_refused_schema() => {
                let reason = causeway_service::exit::chain_line(&error);
                Ok((unpublished()?, Some(reason)))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the rows again that have a value in columns which the last instance did not capture: the values
    /// that rows were given between the change of the table and the new instance are in no change table. A
    /// row without a value is in the target as it should be.
    async fn fill_columns(
        &mut self,
        number: usize,
        instance: &str,
        added: &[String],
        is_copied: bool,
    ) -> Result<(), SourceError> {
        let Some(entry) = self.tables.get(number) else { return Ok(()) };
        let id = entry.active.id().clone();
        let config = &self.shared.config;
        if added.is_empty()
            || !is_copied
            || config.is_signal_table(&id)
            // Debezium does not read them, and its events are wanted one by one.
            || config.debezium_strict
        {
            return Ok(());
        }
        if entry.active.instance.source.table.key.is_empty() {
            tracing::warn!(
                table = %id,
                columns = added.join(", "),
                "a table without key has new columns: the values that its rows were given before the new capture instance \
                 took over are not read"
            );
            return Ok(());
        }
        let has_value: Vec<String> = added
            .iter()
            .map(|column| format!("{} IS NOT NULL", identifier::quote(column)))
            .collect();
        let signal = format!("columns-{instance}");
        let table = AdhocTable {
            schema: id.schema.clone(),
            name: id.name.clone(),
            filter: Some(has_value.join(" OR ")),
            surrogate_key: None,
            keys: None,
            snapshot: SnapshotState::begin(),
        };
        tracing::info!(table = %id, columns = added.join(", "), signal, "the values of new columns are read");
        let more = json!({ "data_collections": self.collection(&id) });
        self.notify("Incremental Snapshot", "STARTED", &signal, more).await?;
        self.adhoc.insert(signal.clone(), Adhoc { tables: vec![table] });
        self.adhoc_changed.insert(signal);
        Ok(())
    }
}
