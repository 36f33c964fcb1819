//! The tasks of the source, and the way out.
//!
//! A *session* lasts from one connection to the next failure. It takes the transactional id over, reads
//! where it stands from the offsets topic and goes on from there, exactly as after a crash; so a failure
//! that passes is a new session, and there is only one way of going on.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use causeway_change::{Lsn, Position, TableId};
use causeway_kafka::{
    Admin, Consumer, Registry, RegistryConfig, TopicSpec, Transactional, all_record_ends,
    consumer::EARLIEST,
    read_compacted, topic,
    transactions::{End as PartitionEnd, Entry},
};
use causeway_observability::{admin::Health, names::source as names};
use causeway_service::{exit, retry::Backoff};
use causeway_sqlserver::{Client, Pool, catalog, log};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SnapshotMode, SourceError,
    choose::{Again, All, Chosen, Policy, choose},
    message_key,
    metadata::Metadata,
    oversize::Oversize,
    publish::Publisher,
    pump::{BEHIND, End, HALTS, Intake, Pump, Start, TableEntry},
    rotate,
    shared::{Shared, Sight, TableProgress},
    snapshot::{self, Jobs},
    standby::{Seat, Turn, lease_topic},
    state::{self, Halted, SnapshotState, Stored, TableState},
    tables::Active,
};

/// Connections to SQL Server that are kept open without use.
const IDLE_CONNECTIONS: usize = 8;

/// Tables whose schemas are registered at the same time.
const REGISTERED_AT_ONCE: usize = 8;

/// What outlives a session.
struct Memory {
    oversize: Arc<Oversize>,
    started_over: Arc<AtomicBool>,
}

/// Counts sessions that ended because a table had changed: a few in a row are normal while it is altered,
/// more mean that a new session does not help.
#[derive(Debug, Default)]
struct Changed(u32);

impl Changed {
    fn again(&mut self, lasted: Duration) -> bool {
        self.0 = if lasted >= Duration::from_secs(60) { 1 } else { self.0 + 1 };
        self.0 <= 5
    }
}

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
pub fn table_topic(active: &Active, partitions: i32) -> TopicSpec {
    topic_of(&active.topic, active.instance.source.table.key.is_empty(), partitions)
}

/// Records without key need an order all the same: in one partition.
fn topic_of(name: &str, is_keyless: bool, partitions: i32) -> TopicSpec {
    let partitions = if is_keyless { 1 } else { partitions };
    TopicSpec { name: name.to_owned(), partitions, compacted: false, retention_ms: None }
}

/// Runs until `stop`, or until all is copied in mode `initial_only`. While another source of the pipeline
/// works it waits. Failures that pass are retried for ever; the error that is returned needs a person.
pub async fn run(
    settings: &Settings,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), SourceError> {
    let mut seat = Seat::default();
    let result = turns(settings, &mut seat, health, stop).await;
    // After the last commit: whoever waits begins at once.
    seat.leave().await;
    result
}

async fn turns(
    settings: &Settings,
    seat: &mut Seat,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), SourceError> {
    let mut backoff = Backoff::default();
    let memory = Memory {
        oversize: Arc::new(Oversize::new(settings.kafka.message_max_bytes())),
        started_over: Arc::new(AtomicBool::new(false)),
    };
    health.set_status(json!({ "pipeline": settings.pipeline }));
    let mut changed = Changed::default();
    loop {
        let started = std::time::Instant::now();
        let work = async |stop: &CancellationToken| session(settings, &memory, health, stop).await;
        match seat.turn(settings, health, stop, work).await {
            Ok(Turn::Ended(end)) => {
                tracing::info!(?end, "the source has stopped");
                return Ok(());
            }
            Ok(Turn::Stopped) => return Ok(()),
            Ok(Turn::Lost) => {}
            // Something was learnt, so the next attempt is another: no reason to wait.
            Err(error) if learn(&memory.oversize, &error) => {
                names::ERRORS.add(1, &[("part", error.part())]);
                tracing::warn!(
                    error = exit::chain_line(&error),
                    "a record is larger than its topic takes; the session begins again, carefully"
                );
            }
            // The next session copies again what is lost, and sees a table as it is now.
            Err(error)
                if (error.is_changed_table() && changed.again(started.elapsed()))
                    || (error.is_gap() && settings.source.resnapshots())
                    || (error.is_transient() && !is_too_large(&error)) =>
            {
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
        | SourceError::Restored { .. }
        | SourceError::State { .. }
        | SourceError::Table { .. }
        | SourceError::Task(_) => false,
    }
}

/// True when another session can do better with what this one has learnt.
fn learn(oversize: &Oversize, error: &SourceError) -> bool {
    if let SourceError::Kafka(causeway_kafka::Error::Delivery { topic, .. }) = error {
        return is_too_large(error) && oversize.learn(topic);
    }
    matches!(error, SourceError::TooLarge { .. })
}

/// Creates the topics that are missing: what a person must allow is found out before anything else is
/// written, and in one line.
pub async fn create_topics(settings: &Settings) -> Result<(), SourceError> {
    let mut client = causeway_sqlserver::Client::connect(&settings.sqlserver).await?;
    let facts = catalog::database(&mut client).await?;
    let mut discovery = catalog::discover(&mut client, &settings.source.selection()).await?;
    message_key::apply(&settings.source.message_key_columns, &mut discovery)?;
    let mut topics = own_topics(settings);
    let tables: BTreeMap<&TableId, bool> = discovery
        .instances
        .iter()
        .map(|i| (i.source.id(), i.source.table.key.is_empty()))
        .filter(|(id, _)| !settings.source.is_signal_table(id))
        .collect();
    topics.extend(tables.into_iter().map(|(id, is_keyless)| {
        let name = topic::table(&settings.pipeline, &facts.name, id);
        topic_of(&name, is_keyless, settings.kafka.partitions)
    }));
    Admin::new(&settings.kafka)?.ensure_topics(&topics).await?;
    Ok(())
}

pub(crate) fn offsets_topic(pipeline: &str) -> TopicSpec {
    TopicSpec { name: topic::offsets(pipeline), partitions: 1, compacted: true, retention_ms: None }
}

async fn session(
    settings: &Settings,
    memory: &Memory,
    health: &Health,
    stop: &CancellationToken,
) -> Result<End, SourceError> {
    let mut tasks = JoinSet::new();
    let readers_stop = stop.child_token();
    // The first part can be given up at any point; the pump ends by itself.
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(End::Stopped),
        prepared = Box::pin(prepare(settings, memory, health, &readers_stop, &mut tasks)) => prepared,
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
    memory: &Memory,
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
    // What could not be sent is not read: a value of 100 MB costs as much memory as its size.
    let selection = settings.source.reads(settings.kafka.message_max_bytes());
    let mut discovery = catalog::discover(&mut sql, &selection).await?;
    message_key::apply(&settings.source.message_key_columns, &mut discovery)?;
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
        Arc::clone(&memory.oversize),
        Arc::clone(&memory.started_over),
    ));
    let again = settings.source.snapshot.mode == SnapshotMode::Always
        && !memory.started_over.load(Ordering::Relaxed);
    let admin = Arc::new(Admin::new(&settings.kafka)?);
    admin.ensure_topics(&own_topics(settings)).await?;
    for topic in memory.oversize.careful_topics() {
        if let Some(bytes) = admin.max_message_bytes(&topic).await? {
            memory.oversize.limit(&topic, bytes);
        }
    }
    // From here on a twin is fenced, and what it left open is aborted: the offsets topic is at rest.
    let transactional_id = topic::transactional_id(&settings.pipeline);
    let producer = Transactional::open(&settings.kafka, &transactional_id).await?;
    let records = read_compacted(&settings.kafka, &topic::offsets(&settings.pipeline)).await?;
    let stored = state::read(&records, &database)?;
    let fork = log::recovery_fork(&mut sql).await?;
    let (position, policy) =
        start_from(settings, &stored, &mut sql, fork.as_deref(), again).await?;
    let mut known: HashSet<i32> =
        discovery.instances.iter().filter(|i| i.start_lsn.is_some()).map(|i| i.object_id).collect();
    let mut chosen = choose(discovery, &stored, position, policy)?;
    for table in &mut chosen {
        // One that capture has not seen yet is met again when it has: only then is its start known.
        table.next.retain(|next| next.start_lsn.is_some());
        known.insert(table.now.object_id);
    }
    let left: BTreeSet<TableId> = stored
        .tables
        .keys()
        .filter(|id| !chosen.iter().any(|c| c.now.source.id() == *id))
        .cloned()
        .collect();
    for id in &left {
        tracing::warn!(table = %id, "a table that was replicated is not captured or not selected any more");
    }
    // Each asks the registry a few times: with hundreds of tables one after the other would take long.
    let entries = chosen
        .into_iter()
        .enumerate()
        .map(|(number, table)| entry(number, table, &stored, position, &shared));
    let tables: Vec<TableEntry> =
        futures_util::stream::iter(entries).buffered(REGISTERED_AT_ONCE).try_collect().await?;
    let topics: Vec<TopicSpec> = tables
        .iter()
        .filter(|t: &&TableEntry| !shared.config.is_signal_table(t.active.id()))
        .map(|t| table_topic(&t.active, settings.kafka.partitions))
        .collect();
    admin.ensure_topics(&topics).await?;
    let intake = intake(settings, &stored).await?;
    let jobs = Arc::new(Jobs::default());
    let messages = snapshot::start(&shared, &jobs, readers_stop, tasks);
    rotate::start(&shared, readers_stop, tasks);
    let mut publisher = Publisher::new(
        producer,
        &settings.pipeline,
        &database,
        Arc::clone(&memory.oversize),
        settings.source.transaction.max_bytes,
        settings.source.transaction.max_age_ms,
        position,
    );
    announce(settings, &stored, &admin, &shared, &mut publisher).await?;
    if let Some(fork) = fork.filter(|fork| stored.fork.as_ref() != Some(fork)) {
        publisher.keep(&state::fork_key(&database), Some(&fork)).await?;
    }
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
        left,
        intake,
        signals: stored.signals,
        adhoc: stored.adhoc,
    }))
}

/// Readies what is told of transactions. An index that begins says what it does not speak of.
async fn announce(
    settings: &Settings,
    stored: &Stored,
    admin: &Admin,
    shared: &Shared,
    publisher: &mut Publisher,
) -> Result<(), SourceError> {
    let pipeline = &settings.pipeline;
    if settings.source.transaction_metadata {
        let (position, counts) = (stored.position, stored.counts.clone());
        let metadata = Metadata::new(&shared.registry, pipeline, position, counts).await?;
        publisher.with_metadata(metadata);
    }
    if !settings.source.transaction_index {
        return Ok(());
    }
    publisher.with_index(stored.position);
    if stored.indexed {
        return Ok(());
    }
    let topics = admin.list(&topic::tables_prefix(pipeline)).await?;
    let topics = topics.into_iter().map(|topic| topic.name);
    let topics: Vec<String> = topics.filter(|name| topic::is_table(pipeline, name)).collect();
    let mut ends = Vec::new();
    for (topic, partitions) in all_record_ends(&settings.kafka, &topics).await? {
        ends.extend(partitions.into_iter().map(|(partition, next)| PartitionEnd {
            topic: topic.clone(),
            partition,
            next,
        }));
    }
    tracing::info!(partitions = ends.len(), "the transaction index begins");
    let begin = Entry::Begin { ends };
    publisher.text(&topic::transactions(pipeline), begin.key(), Some(&begin.to_json())).await
}

/// Where to go on, and which tables that leaves incomplete.
async fn start_from(
    settings: &Settings,
    stored: &Stored,
    sql: &mut Client,
    fork: Option<&str>,
    again: bool,
) -> Result<(Position, Policy), SourceError> {
    let mut policy =
        Policy { resnapshot: settings.source.resnapshots(), all: again.then_some(All::Wanted) };
    let max = log::tick(sql).await?.max_lsn;
    let Some(position) = stored.position else {
        // What was captured before is in the snapshots; everything after is streamed.
        let max = max.unwrap_or(Lsn::ZERO);
        tracing::info!(position = %max, "first start");
        return Ok((Position::end_of(max), policy));
    };
    let lost = match (&stored.fork, fork, max) {
        (Some(before), Some(now), _) if before != now => {
            Some(SourceError::Restored { before: before.clone(), now: now.to_owned() })
        }
        (_, _, Some(max)) if max < position.commit_lsn => {
            Some(SourceError::WentBack { max, position: position.commit_lsn })
        }
        _ => None,
    };
    let Some(error) = lost else {
        tracing::info!(position = %position.commit_lsn, "going on from the stored position");
        return Ok((position, policy));
    };
    if !policy.resnapshot {
        return Err(error);
    }
    tracing::error!(error = exit::chain_line(&error), "all tables are copied again");
    policy.all = Some(All::OtherLog);
    Ok((Position::end_of(max.unwrap_or(Lsn::ZERO)), policy))
}

/// A table with what is stored of it, or with its first state.
async fn entry(
    number: usize,
    chosen: Chosen,
    stored: &Stored,
    position: Position,
    shared: &Shared,
) -> Result<TableEntry, SourceError> {
    let Chosen { now, next, again } = chosen;
    let id = now.source.id().clone();
    let before = stored.tables.get(&id);
    let is_signals = shared.config.is_signal_table(&id);
    if let Some(again) = &again {
        names::GAPS.add(u64::from(*again != Again::Wanted), &[("table", &id.to_string())]);
        tracing::warn!(table = %id, reason = ?again, "the table is copied again");
    }
    let begins = again.is_some() || (before.is_none() && shared.config.snapshot.mode.copies());
    let mut state = TableState {
        instance: now.name.clone(),
        object_id: now.object_id,
        since: match before {
            Some(state) if again.is_none() && state.object_id == now.object_id => {
                state.since.clone()
            }
            Some(_) | None => now.start_lsn.map(|lsn| lsn.to_string()),
        },
        snapshot: match before {
            _ if is_signals => SnapshotState::Skipped,
            _ if begins => SnapshotState::begin(),
            Some(state) => state.snapshot.clone(),
            None => SnapshotState::Skipped,
        },
        micro_columns: before.map(|state| state.micro_columns.clone()).unwrap_or_default(),
        reset: false,
        // A copy begins anew, and has what was held back.
        halted: before.and_then(|state| state.halted.clone()).filter(|_| again.is_none()),
        copied_at: before.and_then(|state| state.copied_at.clone()).filter(|_| again.is_none()),
    };
    if let SnapshotState::Done { rows } = state.snapshot {
        shared.progress.put(None, &id, Arc::new(TableProgress::new(rows, rows, true)));
    }
    for left_out in &now.source.left_out {
        tracing::info!(
            table = %id,
            column = left_out.column,
            reason = left_out.reason,
            "a column is not replicated"
        );
    }
    // The pump asks at once again for what was refused.
    let waits = state.halted.as_ref().is_some_and(|halted| halted.reason != BEHIND);
    let active = if is_signals || waits {
        Active::unpublished(number, now, &shared.pipeline, shared.options)?
    } else {
        let micro_columns = state.micro_columns.clone();
        let (registry, options) = (&shared.registry, shared.options);
        let made =
            Active::new(number, now.clone(), &shared.pipeline, registry, options, micro_columns);
        match made.await {
            Err(error) if error.is_refused_schema() && before.is_some() => {
                let reason = exit::chain_line(&error);
                tracing::error!(table = %id, at = %position.commit_lsn, reason, "{HALTS}");
                let halted = state.halted.get_or_insert(Halted::at(&position, String::new()));
                halted.reason = reason;
                Active::unpublished(number, now, &shared.pipeline, shared.options)?
            }
            made => made?,
        }
    };
    let changed = before != Some(&state);
    Ok(TableEntry { active: Arc::new(active), state, next, changed, is_apart: false })
}

/// Opens the signals topic where the last session left it.
async fn intake(settings: &Settings, stored: &Stored) -> Result<Option<Intake>, SourceError> {
    if !settings.source.signals.kafka {
        return Ok(None);
    }
    let topic = signals_topic(settings);
    let group = format!("{}.signal", settings.pipeline);
    let consumer = Consumer::open(&settings.kafka, &group).await?;
    let from = stored.signals.next_offset.unwrap_or(EARLIEST);
    consumer.assign(&[(topic.clone(), 0, from)]).await?;
    Ok(Some(Intake { consumer, topic }))
}

/// Where signals come from.
#[must_use]
pub fn signals_topic(settings: &Settings) -> String {
    settings.source.signals.topic.clone().unwrap_or_else(|| topic::signals(&settings.pipeline))
}

/// The pipeline's own topics.
fn own_topics(settings: &Settings) -> Vec<TopicSpec> {
    let plain =
        |name: String| TopicSpec { name, partitions: 1, compacted: false, retention_ms: None };
    let mut topics = vec![
        offsets_topic(&settings.pipeline),
        lease_topic(&settings.pipeline),
        plain(topic::notifications(&settings.pipeline)),
    ];
    if settings.source.transaction_index {
        topics.push(plain(topic::transactions(&settings.pipeline)));
    }
    if settings.source.transaction_metadata {
        topics.push(plain(topic::transaction_metadata(&settings.pipeline)));
    }
    if settings.source.signals.kafka {
        topics.push(plain(signals_topic(settings)));
    }
    if settings.source.heartbeat_interval_ms > 0 {
        topics.push(plain(topic::heartbeat(&settings.pipeline)));
    }
    topics
}
