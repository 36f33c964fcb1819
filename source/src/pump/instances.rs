//! Capture instances: gaps, those that are gone, those that come and those that take over.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use causeway_change::{Lsn, TableId};
use causeway_sqlserver::{
    CaptureInstance, catalog,
    log::{self, InstanceState, Tick},
};

use super::{Pump, TableEntry, copies::Origin};
use crate::{
    SourceError,
    run::table_topic,
    scope::Scope,
    state::{SnapshotState, TableState},
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
        let selection = self.shared.config.selection();
        let discovery = catalog::discover(&mut self.sql, &selection).await?;
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
        if instance.source.table.key.is_empty() {
            tracing::error!(table = %id, "a newly captured table has no key and is not replicated");
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
            self.admin.ensure_topics(&[table_topic(&active.topic, self.shared.partitions)]).await?;
        }
        self.folder.set_key(number, active.instance.source.table.key.clone());
        let begin = state.snapshot.clone();
        let entry =
            TableEntry { active: Arc::clone(&active), state, next: VecDeque::new(), changed: true };
        self.tables.push(entry);
        if copied {
            let scope = Scope::whole(&active.instance.source);
            self.start_copy(&active, Origin::First, scope, &begin);
        }
        Ok(())
    }

    /// Capture instances whose time has come take over.
    pub(super) async fn switch_instances(&mut self, position: Lsn) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        for entry in &mut self.tables {
            while entry
                .next
                .front()
                .and_then(|next| next.start_lsn)
                .is_some_and(|start| start <= position)
            {
                let Some(instance) = entry.next.pop_front() else { break };
                tracing::info!(
                    table = %entry.active.id(),
                    from = entry.active.instance.name,
                    to = instance.name,
                    at = %position,
                    "the next capture instance takes over"
                );
                entry.state.instance = instance.name.clone();
                entry.state.object_id = instance.object_id;
                entry.state.since = instance.start_lsn.map(|lsn| lsn.to_string());
                entry.changed = true;
                let number = entry.active.number;
                let active = if shared.config.is_signal_table(entry.active.id()) {
                    Active::unpublished(number, instance, &shared.pipeline, shared.options)?
                } else {
                    let (registry, options) = (&shared.registry, shared.options);
                    let columns = entry.state.micro_columns.clone();
                    Active::new(number, instance, &shared.pipeline, registry, options, columns)
                        .await?
                };
                let key = active.instance.source.table.key.clone();
                self.folder.set_key(active.number, key);
                entry.active = Arc::new(active);
            }
        }
        Ok(())
    }
}
