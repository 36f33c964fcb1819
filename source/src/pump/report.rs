//! What `/status` and the metrics say of the pump.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use causeway_observability::names::source as names;
use serde_json::json;

use super::Pump;
use crate::{SourceError, shared::now_ns, state::SnapshotState, window::Scans};

/// How often the capture job's latency is read.
const CAPTURE_LATENCY: Duration = Duration::from_secs(10);

impl Pump {
    pub(super) fn chunk_gauges(&self, table: &str, published: u64, expected: u64) {
        let chunks = |rows: u64| {
            u64_as_f64(rows.div_ceil(u64::from(self.shared.config.snapshot.chunk_rows)))
        };
        names::SNAPSHOT_CHUNKS.set(chunks(published), &[("table", table), ("state", "done")]);
        names::SNAPSHOT_CHUNKS.set(chunks(expected), &[("table", table), ("state", "planned")]);
    }

    pub(super) async fn capture_latency(&mut self) -> Result<(), SourceError> {
        let due = self.latency_read.is_none_or(|read| read.elapsed() >= CAPTURE_LATENCY);
        if due && self.shared.sight.scans {
            self.latency_read = Some(Instant::now());
            if let Scans::Newest(scan) = self.shared.sight.newest_scan(&mut self.sql).await? {
                let seconds = scan.latency_s.and_then(|s| u32::try_from(s).ok()).unwrap_or(0);
                names::CAPTURE_LAG_SECONDS.set(f64::from(seconds), &[]);
            }
        }
        Ok(())
    }

    /// `/status` and the gauges.
    pub(super) fn report(&self, caught_up: bool) {
        let lag_ms = if caught_up || self.newest_commit_ns == 0 {
            0
        } else {
            ((now_ns() - self.newest_commit_ns) / 1_000_000).max(0)
        };
        names::LAG_SECONDS.set(f64::from(u32::try_from(lag_ms).unwrap_or(u32::MAX)) / 1000.0, &[]);
        for entry in self.tables.iter().filter(|t| t.state.snapshot.is_running()) {
            let table = entry.active.id().to_string();
            let progress = self.shared.progress.table(entry.active.id());
            let (rows, total) =
                (progress.rows.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
            names::SNAPSHOT_ROWS.set(u64_as_f64(rows), &[("table", &table), ("state", "read")]);
            names::SNAPSHOT_ROWS
                .set(u64_as_f64(total.max(rows)), &[("table", &table), ("state", "expected")]);
            let published = match entry.state.snapshot {
                SnapshotState::Running { rows, .. } | SnapshotState::Done { rows } => rows,
                SnapshotState::Skipped => 0,
            };
            self.chunk_gauges(&table, published, total.max(rows));
        }
        self.health.set_ready(true);
        self.health.set_status(json!({
            "state": "running",
            "error": null,
            "position": self.position.commit_lsn.to_string(),
            "committed": self.publisher.committed().commit_lsn.to_string(),
            "caught_up": caught_up,
            "lag_ms": lag_ms,
            "tables": self.tables.len(),
            "snapshot": self.shared.progress.json(),
            "snapshot_running": self.tables.iter().any(|t| t.state.snapshot.is_running()),
            "chunks_waiting": self.waiting.len(),
        }));
    }
}

pub(super) fn as_f64(n: usize) -> f64 {
    u64_as_f64(u64::try_from(n).unwrap_or(u64::MAX))
}

/// For gauges: exact up to 2^32, and close enough beyond.
pub(super) fn u64_as_f64(n: u64) -> f64 {
    let (high, low) = (n >> 32, n & 0xffff_ffff);
    let part = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}
