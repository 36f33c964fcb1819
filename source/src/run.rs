//! The tasks of the source, and the way out.
//!
//! A *session* lasts from one connection to the next failure. It takes the transactional id over, reads
//! where it stands from the offsets topic and goes on from there, exactly as after a crash; so a failure
//! that passes is a new session, and there is only one way of going on.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use causeway_change::{Lsn, Position, TableId};
use causeway_kafka::{
    Admin, Registry, RegistryConfig, TopicSpec, Transactional, read_compacted, topic,
};
use causeway_observability::{admin::Health, names::source as names};
use causeway_service::{exit, retry::Backoff};
use causeway_sqlserver::{CaptureInstance, Discovery, Pool, catalog, log};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SnapshotMode, SourceError, keys,
    oversize::Oversize,
    publish::Publisher,
    pump::{End, Pump, Start, TableEntry},
    shared::{Shared, Sight},
    snapshot::{self, Job},
    state::{self, SnapshotState, Stored, TableState},
    tables::Active,
};

/// Connections to SQL Server that are kept open without use.
const IDLE_CONNECTIONS: usize = 8;

/// Everything the source needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the pipeline.
    pub pipeline: String,
    /// `[source]`
    pub source: Config,
    /// `[sqlserver]`
    pub sqlserver: causeway_sqlserver::Config,
    /// `[kafka]`
    pub kafka: causeway_kafka::Config,
    /// `[registry]`
    pub registry: RegistryConfig,
    /// Share of the transactions that are traced.
    pub sample_ratio: f64,
}

/// A topic for a table, as it is created.
#[must_use]
pub fn table_topic(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, compacted: false, retention_ms: None }
}

/// Runs until `stop`, or until all is copied in mode `initial_only`. Failures that pass are retried for
/// ever; the error that is returned needs a person.
pub async fn run(
    settings: &Settings,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), SourceError> {
    let mut backoff = Backoff::default();
    let oversize = Arc::new(Oversize::new(settings.kafka.message_max_bytes()));
    health.set_status(json!({ "pipeline": settings.pipeline }));
    loop {
        let started = std::time::Instant::now();
        match session(settings, &oversize, health, stop).await {
            Ok(end) => {
                tracing::info!(?end, "the source has stopped");
                return Ok(());
            }
            // Something was learnt, so the next attempt is another: no reason to wait.
            Err(error) if learn(&oversize, &error) => {
                names::ERRORS.add(1, &[("part", error.part())]);
                tracing::warn!(
                    error = exit::chain_line(&error),
                    "a record is larger than its topic takes; the session begins again, carefully"
                );
            }
            Err(error) if error.is_transient() && !is_too_large(&error) => {
                if started.elapsed().as_secs() >= 60 {
                    backoff.reset();
                }
                let wait = backoff.next();
                let line = exit::chain_line(&error);
                names::ERRORS.add(1, &[("part", error.part())]);
                tracing::warn!(
                    error = line,
                    wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "the session failed; it begins again from the stored position"
                );
                health.set_ready(false);
                health.set_status(json!({ "state": "reconnecting", "error": line }));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) => {
                health.set_ready(false);
                health.set_status(json!({ "state": "failed", "error": exit::chain_line(&error) }));
                return Err(error);
            }
        }
    }
}

fn is_too_large(error: &SourceError) -> bool {
    match error {
        SourceError::Kafka(error) => error.is_too_large(),
        SourceError::TooLarge { .. } => true,
        SourceError::SqlServer(_)
        | SourceError::Registry { .. }
        | SourceError::Schema { .. }
        | SourceError::Encode { .. }
        | SourceError::Refused { .. }
        | SourceError::Gap { .. }
        | SourceError::InstanceReplaced { .. }
        | SourceError::WentBack { .. }
        | SourceError::State { .. }
        | SourceError::Table { .. }
        | SourceError::Task(_) => false,
    }
}

/// True when another session can do better with what this one has learnt.
fn learn(oversize: &Oversize, error: &SourceError) -> bool {
    match error {
        SourceError::Kafka(causeway_kafka::Error::Delivery { topic, .. })
            if is_too_large(error) =>
        {
            oversize.learn(topic)
        }
        error => matches!(error, SourceError::TooLarge { .. }),
    }
}

/// Creates the topics that are missing: what a person must allow is found out before anything else is
/// written, and in one line.
pub async fn create_topics(settings: &Settings) -> Result<(), SourceError> {
    let mut client = causeway_sqlserver::Client::connect(&settings.sqlserver).await?;
    let facts = catalog::database(&mut client).await?;
    let discovery = catalog::discover(&mut client, &settings.source.selection()).await?;
    let mut topics = vec![offsets_topic(&settings.pipeline)];
    let ids: std::collections::BTreeSet<&TableId> =
        discovery.instances.iter().map(|i| i.source.id()).collect();
    topics.extend(ids.into_iter().map(|id| {
        let name = topic::table(&settings.pipeline, &facts.name, id);
        table_topic(&name, settings.kafka.partitions)
    }));
    Admin::new(&settings.kafka)?.ensure_topics(&topics).await?;
    Ok(())
}

pub(crate) fn offsets_topic(pipeline: &str) -> TopicSpec {
    TopicSpec { name: topic::offsets(pipeline), partitions: 1, compacted: true, retention_ms: None }
}

async fn session(
    settings: &Settings,
    oversize: &Arc<Oversize>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<End, SourceError> {
    let mut tasks = JoinSet::new();
    let readers_stop = stop.child_token();
    // The first part can be given up at any point; the pump ends by itself.
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(End::Stopped),
        prepared = Box::pin(prepare(settings, oversize, health, &readers_stop, &mut tasks)) => prepared,
    };
    let result = match prepared {
        Ok(pump) => pump.run(stop).await,
        Err(error) => Err(error),
    };
    readers_stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return Err(SourceError::Task(error.to_string()));
        }
    }
    result
}

/// Connects to everything and decides where to go on.
async fn prepare(
    settings: &Settings,
    oversize: &Arc<Oversize>,
    health: &Health,
    readers_stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Pump, SourceError> {
    let pool = Arc::new(Pool::new(settings.sqlserver.clone(), IDLE_CONNECTIONS));
    let mut sql = pool.get().await?;
    let facts = catalog::database(&mut sql).await?;
    let sight = Sight::of(&mut sql).await?;
    if !sight.log_end && !sight.scans {
        tracing::warn!(
            settle_ms = settings.source.snapshot.settle_ms,
            "the login may not see the log or the scans of the capture job (VIEW SERVER STATE, VIEW DATABASE \
             STATE): each chunk of a snapshot waits for settle_ms instead of for proof"
        );
    }
    let discovery = catalog::discover(&mut sql, &settings.source.selection()).await?;
    let registry = Registry::new(&settings.registry).map_err(|source| SourceError::Registry {
        table: TableId::new("", ""),
        source: Box::new(source),
    })?;
    let database = facts.name.clone();
    let shared = Arc::new(Shared::new(
        settings.source.clone(),
        settings.pipeline.clone(),
        facts,
        pool,
        registry,
        sight,
        settings.sample_ratio,
        settings.kafka.partitions,
        Arc::clone(oversize),
    ));
    let admin = Arc::new(Admin::new(&settings.kafka)?);
    admin.ensure_topics(&[offsets_topic(&settings.pipeline)]).await?;
    for topic in oversize.careful_topics() {
        if let Some(bytes) = admin.max_message_bytes(&topic).await? {
            oversize.limit(&topic, bytes);
        }
    }
    // From here on a twin is fenced, and what it left open is aborted: the offsets topic is at rest.
    let transactional_id = topic::transactional_id(&settings.pipeline);
    let producer = Transactional::open(&settings.kafka, &transactional_id).await?;
    let records = read_compacted(&settings.kafka, &topic::offsets(&settings.pipeline)).await?;
    let stored = state::read(&records, &database)?;
    let position = match stored.position {
        Some(position) => {
            tracing::info!(position = %position.commit_lsn, "going on from the stored position");
            position
        }
        None => {
            // What was captured before is in the snapshots; everything after is streamed.
            let max = log::tick(&mut sql).await?.max_lsn.unwrap_or(Lsn::ZERO);
            tracing::info!(position = %max, "first start");
            Position::end_of(max)
        }
    };
    let known: HashSet<i32> = discovery.instances.iter().map(|i| i.object_id).collect();
    let chosen = choose(discovery, &stored, position)?;
    let mut tables = Vec::new();
    for (number, table) in chosen.into_iter().enumerate() {
        tables.push(entry(number, table, &stored, &shared).await?);
    }
    let topics: Vec<TopicSpec> = tables
        .iter()
        .map(|t: &TableEntry| table_topic(&t.active.topic, settings.kafka.partitions))
        .collect();
    admin.ensure_topics(&topics).await?;
    // Room for all tables that exist now and many that may come.
    let (jobs, queue) = mpsc::channel(tables.len() + 1_000);
    let messages = snapshot::start(&shared, queue, readers_stop, tasks);
    for entry in &tables {
        let SnapshotState::Running { after, rows } = &entry.state.snapshot else { continue };
        shared.progress.left.fetch_add(1, Ordering::Relaxed);
        let source = &entry.active.instance.source;
        let progress = shared.progress.table(entry.active.id());
        progress.total.store(source.approximate_rows.unwrap_or(0), Ordering::Relaxed);
        progress.rows.store(*rows, Ordering::Relaxed);
        let types: Vec<_> = source.table.key_columns().map(|c| c.ty).collect();
        let after = match after {
            None => None,
            Some(json) => {
                shared.progress.begun.store(true, Ordering::Relaxed);
                let key = keys::from_json(json, &types);
                if key.is_none() {
                    tracing::warn!(table = %entry.active.id(), "the key has changed: the snapshot begins again");
                }
                key
            }
        };
        let rows = if after.is_some() { *rows } else { 0 };
        let job = Job { active: Arc::clone(&entry.active), after, rows };
        if jobs.send(job).await.is_err() {
            return Err(SourceError::Task("the snapshot readers ended".to_owned()));
        }
    }
    let publisher = Publisher::new(
        producer,
        &settings.pipeline,
        &database,
        Arc::clone(oversize),
        settings.source.transaction.max_bytes,
        settings.source.transaction.max_age_ms,
        position,
    );
    Ok(Pump::new(Start {
        shared,
        health: health.clone(),
        admin,
        publisher,
        sql,
        tables,
        position,
        jobs,
        messages,
        known,
    }))
}

/// A table with the instance that is read now and those that take over later.
#[derive(Debug, PartialEq)]
struct Chosen {
    now: CaptureInstance,
    next: VecDeque<CaptureInstance>,
}

/// Which capture instance of each table goes on from the stored position.
fn choose(
    discovery: Discovery,
    stored: &Stored,
    position: Position,
) -> Result<Vec<Chosen>, SourceError> {
    if let Some(refused) = discovery.refused.first() {
        return Err(SourceError::Table {
            table: refused.table.clone(),
            reason: format!(
                "column {}: {}; leave it out by exclude_columns",
                refused.column, refused.reason
            ),
        });
    }
    let mut by_table: BTreeMap<TableId, Vec<CaptureInstance>> = BTreeMap::new();
    for instance in discovery.instances {
        by_table.entry(instance.source.id().clone()).or_default().push(instance);
    }
    for id in stored.tables.keys().filter(|id| !by_table.contains_key(id)) {
        tracing::warn!(table = %id, "a table that was replicated is not captured or not selected any more");
    }
    let mut chosen = Vec::new();
    for (id, instances) in by_table {
        let known = stored.tables.get(&id).filter(|state| !state.reset);
        let same =
            known.and_then(|state| instances.iter().position(|i| i.object_id == state.object_id));
        let index = match (known, same) {
            (_, Some(index)) => index,
            // Another instance can take over if it has everything after our position.
            (Some(state), None) => instances
                .iter()
                .position(|i| i.start_lsn.is_some_and(|start| start <= position.commit_lsn))
                .ok_or_else(|| SourceError::InstanceReplaced {
                    table: id.clone(),
                    instance: state.instance.clone(),
                })?,
            // New to us: the newest instance has the newest columns.
            (None, None) => instances
                .iter()
                .rposition(|i| i.start_lsn.is_some())
                .unwrap_or(instances.len().saturating_sub(1)),
        };
        let mut later: VecDeque<CaptureInstance> = instances.into_iter().skip(index).collect();
        let Some(now) = later.pop_front() else { continue };
        if now.source.table.key.is_empty() {
            return Err(SourceError::Table {
                table: id,
                reason: "it has neither a primary key nor a unique index without NULL among the captured \
                         columns; add one, or leave the table out by exclude"
                    .to_owned(),
            });
        }
        chosen.push(Chosen { now, next: later });
    }
    Ok(chosen)
}

/// A table as `offsets import-debezium` sees it.
pub(crate) struct Imported {
    pub(crate) table: TableId,
    pub(crate) instance: String,
    pub(crate) object_id: i32,
    pub(crate) start_lsn: Option<Lsn>,
}

/// For each table the newest capture instance that has everything after a position, or else its oldest.
pub(crate) fn choose_for_import(discovery: Discovery, position: Position) -> Vec<Imported> {
    let mut tables: BTreeMap<TableId, Imported> = BTreeMap::new();
    for instance in discovery.instances {
        let reaches = instance.start_lsn.is_some_and(|start| start <= position.commit_lsn.next());
        let id = instance.source.id().clone();
        let imported = Imported {
            table: id.clone(),
            instance: instance.name,
            object_id: instance.object_id,
            start_lsn: instance.start_lsn,
        };
        match tables.get_mut(&id) {
            Some(older) if reaches => *older = imported,
            Some(_) => {}
            None => {
                tables.insert(id, imported);
            }
        }
    }
    tables.into_values().collect()
}

/// A table with what is stored of it, or with its first state.
async fn entry(
    number: usize,
    chosen: Chosen,
    stored: &Stored,
    shared: &Shared,
) -> Result<TableEntry, SourceError> {
    let Chosen { now, next } = chosen;
    let again = stored.tables.get(now.source.id()).is_some_and(|state| state.reset);
    let before = stored.tables.get(now.source.id()).filter(|_| !again);
    let mode = shared.config.snapshot.mode;
    let state = TableState {
        instance: now.name.clone(),
        object_id: now.object_id,
        since: match before {
            Some(state) if state.object_id == now.object_id => state.since.clone(),
            Some(_) | None => now.start_lsn.map(|lsn| lsn.to_string()),
        },
        snapshot: match (before, mode) {
            (Some(state), _) => state.snapshot.clone(),
            (None, _) if again => SnapshotState::Running { after: None, rows: 0 },
            (None, SnapshotMode::NoData) => SnapshotState::Skipped,
            (None, SnapshotMode::Initial | SnapshotMode::InitialOnly) => {
                SnapshotState::Running { after: None, rows: 0 }
            }
        },
        micro_columns: before.map(|state| state.micro_columns.clone()).unwrap_or_default(),
        reset: false,
    };
    if let SnapshotState::Done { rows } = state.snapshot {
        let progress = shared.progress.table(now.source.id());
        progress.rows.store(rows, Ordering::Relaxed);
        progress.total.store(rows, Ordering::Relaxed);
        progress.done.store(true, Ordering::Relaxed);
    }
    for left_out in &now.source.left_out {
        tracing::info!(
            table = %now.source.id(),
            column = left_out.column,
            reason = left_out.reason,
            "a column is not replicated"
        );
    }
    let changed = before != Some(&state);
    let active = Active::new(
        number,
        now,
        &shared.pipeline,
        &shared.registry,
        shared.options,
        state.micro_columns.clone(),
    )
    .await?;
    Ok(TableEntry { active: Arc::new(active), state, next, changed })
}
