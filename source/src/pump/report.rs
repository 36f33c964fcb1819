//! What `/status` and the metrics say of the pump, and the heartbeat.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use causeway_change::time::TICKS_PER_SECOND;
use causeway_kafka::topic;
use causeway_observability::names::source as names;
use causeway_sqlserver::log::{self, Tick};
use serde_json::json;

use super::Pump;
use crate::{SourceError, shared::now_ns};

/// How often the capture job's latency and the retention are looked at.
const HEALTH: Duration = Duration::from_secs(10);

impl Pump {
    pub(super) fn chunk_gauges(&self, table: &str, published: u64, expected: u64) {
        let chunks = |rows: u64| {
            u64_as_f64(rows.div_ceil(u64::from(self.shared.config.snapshot.chunk_rows)))
        };
        names::SNAPSHOT_CHUNKS.set(chunks(published), &[("table", table), ("state", "done")]);
        names::SNAPSHOT_CHUNKS.set(chunks(expected), &[("table", table), ("state", "planned")]);
    }

    /// How far the capture job is behind the log, and how far cleanup is behind us.
    pub(super) async fn look_at_health(&mut self, tick: &Tick) -> Result<(), SourceError> {
        if self.health_read.is_some_and(|read| read.elapsed() < HEALTH) {
            return Ok(());
        }
        self.health_read = Some(Instant::now());
        self.look_at_capture(tick.max_lsn).await?;
        // Instances that cleanup has not touched since we met them say nothing of its pace.
        let cleaned = self.tables.iter().filter_map(|entry| {
            let low = tick.instances.get(&entry.active.instance.object_id)?.start_lsn?;
            (low > entry.state.since_lsn()?).then_some(low)
        });
        if let Some(low) = cleaned.max()
            && let Some(ticks) =
                log::time_between(&mut self.sql, low, self.position.commit_lsn).await?
        {
            let seconds = u32::try_from((ticks / TICKS_PER_SECOND).max(0)).unwrap_or(u32::MAX);
            names::RETENTION_MARGIN_SECONDS.set(f64::from(seconds), &[]);
        }
        Ok(())
    }

    /// Says that we live, when nothing else has said so for as long as is wanted.
    pub(super) async fn heartbeat(&mut self) -> Result<(), SourceError> {
        let every = self.shared.config.heartbeat_interval_ms;
        if every == 0 || self.publisher.committed_ago() < Duration::from_millis(every) {
            return Ok(());
        }
        let pipeline = self.shared.pipeline.clone();
        let key = json!({ "serverName": pipeline }).to_string();
        let value = json!({
            "ts_ms": now_ns() / 1_000_000,
            "commit_lsn": self.position.commit_lsn.to_string(),
        });
        let topic = topic::heartbeat(&pipeline);
        self.publisher.text(&topic, &key, Some(&value.to_string())).await?;
        self.commit(true).await
    }

    /// `/status` and the gauges.
    pub(super) fn report(&self, caught_up: bool) {
        let lag_ms = if caught_up || self.newest_commit_ns == 0 {
            0
        } else {
            ((now_ns() - self.newest_commit_ns) / 1_000_000).max(0)
        };
        names::LAG_SECONDS.set(f64::from(u32::try_from(lag_ms).unwrap_or(u32::MAX)) / 1000.0, &[]);
        for copy in self.copies.values() {
            let Some(entry) = self.tables.get(copy.table) else { continue };
            let table = entry.active.id().to_string();
            let rows = copy.progress.rows.load(Ordering::Relaxed);
            let total = copy.progress.total.load(Ordering::Relaxed).max(rows);
            names::SNAPSHOT_ROWS.set(u64_as_f64(rows), &[("table", &table), ("state", "read")]);
            names::SNAPSHOT_ROWS
                .set(u64_as_f64(total), &[("table", &table), ("state", "expected")]);
            self.chunk_gauges(&table, copy.rows, total);
        }
        let paused = self.signals.paused || self.signals.snapshots_paused;
        let (snapshot, adhoc) = self.shared.progress.json(paused);
        self.health.set_ready(true);
        self.health.set_status(json!({
            "state": if self.signals.paused { "paused" } else { "running" },
            "error": null,
            "position": self.position.commit_lsn.to_string(),
            "committed": self.publisher.committed().commit_lsn.to_string(),
            "caught_up": caught_up && !self.signals.paused,
            "lag_ms": lag_ms,
            "tables": self.tables.len(),
            "snapshot": snapshot,
            "snapshot_running": !self.copies.is_empty(),
            "snapshots_paused": paused,
            "signals": adhoc,
            "chunks_waiting": self.waiting.len(),
            "capture": self.capture.json(),
            // Replaced as a whole: objects would be merged.
            "halted": null,
            "capture_instances": null,
        }));
        self.health.set_status(json!({
            "halted": self.halted(),
            "capture_instances": self.shared.rotation.blocked(),
        }));
    }
}

pub(super) fn as_f64(n: usize) -> f64 {
    u64_as_f64(u64::try_from(n).unwrap_or(u64::MAX))
}

/// For gauges: exact up to 2^32, and close enough beyond.
fn u64_as_f64(n: u64) -> f64 {
    let (high, low) = (n >> 32, n & 0xffff_ffff);
    let part = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}
