//! [`Shared`]: what every task of a session may see.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use causeway_avro::{Decimals, Options, Temporal};
use causeway_change::{Lsn, TableId};
use causeway_kafka::Registry;
use causeway_sqlserver::{
    Client, Pool, SqlServerError, captured::Scans, catalog::DatabaseFacts, log,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Config, config, oversize::Oversize, rotate::Rotation, window::Windows};

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
    /// With mode `always`: the tables of this process have begun their copies.
    pub started_over: Arc<AtomicBool>,
    /// True while no chunks are to be read.
    pub snapshots_paused: watch::Sender<bool>,
    /// How far the snapshots are.
    pub progress: Progress,
    /// Which capture instances are read.
    pub rotation: Rotation,
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
        started_over: Arc<AtomicBool>,
    ) -> Self {
        let options = Options {
            temporal: match config.temporal {
                config::Temporal::Adaptive => Temporal::Adaptive,
                config::Temporal::Microseconds => Temporal::Microseconds,
                config::Temporal::AdaptiveTimeMicroseconds => Temporal::AdaptiveTimeMicroseconds,
                config::Temporal::Connect => Temporal::Connect,
            },
            decimals: match config.decimals {
                config::Decimals::Precise => Decimals::Precise,
                config::Decimals::String => Decimals::String,
                config::Decimals::Double => Decimals::Double,
            },
            source_types: config.source_types,
            key_types: !config.debezium_strict,
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
            started_over,
            snapshots_paused: watch::Sender::new(false),
            progress: Progress::default(),
            rotation: Rotation::default(),
            windows: Mutex::new(Windows::default()),
        }
    }

    /// Waits until chunks may be read.
    pub async fn may_read_chunks(&self) {
        let mut paused = self.snapshots_paused.subscribe();
        // The sender is ours, so it cannot be gone.
        drop(paused.wait_for(|paused| !*paused).await);
    }

    /// The windows; held only as long as a key is noted.
    pub fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Copies = BTreeMap<(Option<String>, TableId), Arc<TableProgress>>;

/// How far the snapshots are.
#[derive(Debug, Default)]
pub struct Progress {
    /// By the signal that asked for it (none: the first copy), and the table.
    copies: Mutex<Copies>,
    /// True from the first row of all on.
    pub begun: AtomicBool,
    /// Tables whose first copy has not been read to its end.
    pub left: AtomicUsize,
}

/// How far one copy of one table is.
#[derive(Debug)]
pub struct TableProgress {
    /// Rows read.
    pub rows: AtomicU64,
    /// About how many there are.
    pub total: AtomicU64,
    /// True when its last chunk is published.
    pub done: AtomicBool,
    /// Key ranges that are not read to their end.
    pub parts_left: AtomicUsize,
    /// Ends the reading.
    pub stop: CancellationToken,
    /// When it began, in this process, and at how many rows.
    began: Instant,
    began_at: u64,
}

impl TableProgress {
    /// A copy that has come so far.
    #[must_use]
    pub fn new(rows: u64, total: u64, done: bool) -> Self {
        Self {
            rows: AtomicU64::new(rows),
            total: AtomicU64::new(total),
            done: AtomicBool::new(done),
            parts_left: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            began: Instant::now(),
            began_at: rows,
        }
    }

    fn json(&self, paused: bool) -> serde_json::Value {
        let rows = self.rows.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed).max(rows);
        let done = self.done.load(Ordering::Relaxed);
        let state = match (done, self.stop.is_cancelled(), paused) {
            (true, _, _) => "done",
            (false, true, _) => "stopped",
            (false, false, true) => "paused",
            (false, false, false) => "running",
        };
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        serde_json::json!({
            "state": state,
            "rows": rows,
            "rows_about": total,
            "percent": percent(done, rows, total),
            "eta_s": (state == "running")
                .then(|| eta_s(rows.saturating_sub(self.began_at), elapsed, total - rows))
                .flatten(),
        })
    }
}

/// How much is done, in percent; 100 only at the end.
fn percent(done: bool, rows: u64, total: u64) -> u64 {
    match (done, total) {
        (true, _) => 100,
        (false, 0) => 0,
        (false, total) => (rows.saturating_mul(100) / total).min(99),
    }
}

/// Seconds that the rest takes at the speed so far; none before there is a speed.
fn eta_s(read: u64, elapsed_ms: u64, left: u64) -> Option<u64> {
    (read > 0).then(|| left.saturating_mul(elapsed_ms) / read / 1_000)
}

impl Progress {
    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the progress of a copy, in the place of an older one of the same table.
    pub fn put(&self, signal: Option<&str>, id: &TableId, progress: Arc<TableProgress>) {
        let mut copies = self.copies();
        copies.insert((signal.map(str::to_owned), id.clone()), progress);
        // The page is for what goes on; of what signals asked for, the last hundred are kept.
        let ended: Vec<_> = copies
            .iter()
            .filter(|((signal, _), p)| signal.is_some() && p.done.load(Ordering::Relaxed))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended.iter().take(ended.len().saturating_sub(100)) {
            copies.remove(key);
        }
    }

    /// What `/status` shows of it: the first copies, and those that signals asked for.
    #[must_use]
    pub fn json(&self, paused: bool) -> (serde_json::Value, serde_json::Value) {
        let mut first = serde_json::Map::new();
        let mut asked = serde_json::Map::new();
        for ((signal, id), progress) in self.copies().iter() {
            let json = progress.json(paused);
            match signal {
                None => {
                    first.insert(id.to_string(), json);
                }
                Some(signal) => {
                    let tables = asked
                        .entry(signal.clone())
                        .or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
                    if let Some(tables) = tables.as_object_mut() {
                        tables.insert(id.to_string(), json);
                    }
                }
            }
        }
        (first.into(), asked.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_never_complete_before_the_end() {
        assert_eq!(percent(false, 0, 0), 0);
        assert_eq!(percent(false, 50, 200), 25);
        assert_eq!(percent(false, 500, 200), 99);
        assert_eq!(percent(true, 1, 200), 100);
        assert_eq!(eta_s(0, 1_000, 10), None);
        assert_eq!(eta_s(100, 2_000, 300), Some(6));
    }
}
