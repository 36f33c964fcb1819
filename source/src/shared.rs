//! [`Shared`]: what every task of a session may see.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use causeway_avro::{Options, Temporal};
use causeway_change::{Lsn, TableId};
use causeway_kafka::Registry;
use causeway_sqlserver::{Client, Pool, SqlServerError, catalog::DatabaseFacts, log};

use crate::{
    Config, config,
    oversize::Oversize,
    window::{Scans, Windows},
};

/// The version in the `source` block of every envelope.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every task of a session may see.
pub struct Shared {
    /// The `[source]` section.
    pub config: Config,
    /// Name of the pipeline: prefix of the topics.
    pub pipeline: String,
    /// What the database is set to.
    pub facts: DatabaseFacts,
    /// Connections.
    pub pool: Arc<Pool>,
    /// Schemas.
    pub registry: Registry,
    /// How values are encoded.
    pub options: Options,
    /// What the login may see of the log and of the capture job.
    pub sight: Sight,
    /// Share of the transactions that are traced.
    pub sample_ratio: f64,
    /// Partitions of topics that are created.
    pub partitions: i32,
    /// What is known of records that are too large.
    pub oversize: Arc<Oversize>,
    /// How far the snapshots are.
    pub progress: Progress,
    windows: Mutex<Windows>,
}

/// What the login may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The live end of the log.
    pub log_end: bool,
    /// The scans of the capture job.
    pub scans: bool,
}

impl Sight {
    /// Tries, because the rights that are needed differ between versions.
    pub async fn of(client: &mut Client) -> Result<Self, SqlServerError> {
        let allowed = |result: Result<bool, SqlServerError>| match result {
            Ok(seen) => Ok(seen),
            Err(error) if error.is_permission() || error.is_missing_object() => Ok(false),
            Err(error) => Err(error),
        };
        Ok(Self {
            log_end: allowed(log::log_end(client).await.map(|lsn| lsn.is_some()))?,
            scans: allowed(log::newest_scan(client).await.map(|_| true))?,
        })
    }

    /// The live end of the log, if it may be seen.
    pub async fn log_end_lsn(self, client: &mut Client) -> Result<Option<Lsn>, SqlServerError> {
        if self.log_end { log::log_end(client).await } else { Ok(None) }
    }

    /// The newest scan, if it may be seen.
    pub async fn newest_scan(self, client: &mut Client) -> Result<Scans, SqlServerError> {
        if !self.scans {
            return Ok(Scans::Hidden);
        }
        Ok(log::newest_scan(client).await?.map_or(Scans::None, Scans::Newest))
    }
}

impl Shared {
    /// With no window open.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "called once, by the one that has them all")]
    pub fn new(
        config: Config,
        pipeline: String,
        facts: DatabaseFacts,
        pool: Arc<Pool>,
        registry: Registry,
        sight: Sight,
        sample_ratio: f64,
        partitions: i32,
        oversize: Arc<Oversize>,
    ) -> Self {
        let options = Options {
            temporal: match config.temporal {
                config::Temporal::Adaptive => Temporal::Adaptive,
                config::Temporal::Microseconds => Temporal::Microseconds,
            },
            source_types: config.source_types,
        };
        Self {
            config,
            pipeline,
            facts,
            pool,
            registry,
            options,
            sight,
            sample_ratio,
            partitions,
            oversize,
            progress: Progress::default(),
            windows: Mutex::new(Windows::default()),
        }
    }

    /// The windows; held only as long as a key is noted.
    pub fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the snapshots are.
#[derive(Debug, Default)]
pub struct Progress {
    tables: Mutex<BTreeMap<TableId, Arc<TableProgress>>>,
    /// True from the first row of all on.
    pub begun: AtomicBool,
    /// Tables whose last chunk has not been read.
    pub left: AtomicUsize,
}

/// How far one table is.
#[derive(Debug, Default)]
pub struct TableProgress {
    /// Rows read.
    pub rows: AtomicU64,
    /// About how many there are.
    pub total: AtomicU64,
    /// True when its last chunk is published.
    pub done: AtomicBool,
}

impl Progress {
    /// The place where a table's progress is kept.
    pub fn table(&self, id: &TableId) -> Arc<TableProgress> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(id.clone()).or_default())
    }

    /// What `/status` shows of it.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = serde_json::Map::new();
        for (id, progress) in tables.iter() {
            let rows = progress.rows.load(Ordering::Relaxed);
            let total = progress.total.load(Ordering::Relaxed);
            let done = progress.done.load(Ordering::Relaxed);
            let percent = match (done, total) {
                (true, _) => 100,
                (false, 0) => 0,
                (false, total) => (rows.saturating_mul(100) / total).min(99),
            };
            all.insert(
                id.to_string(),
                serde_json::json!({
                    "state": if done { "done" } else { "running" },
                    "rows": rows,
                    "rows_about": total.max(rows),
                    "percent": percent,
                }),
            );
        }
        serde_json::Value::Object(all)
    }
}

/// Nanoseconds since 1970, UTC.
#[must_use]
pub fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}
