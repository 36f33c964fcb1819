//! Chunks of snapshots: they wait until the stream has passed them, and are published.

use std::sync::{Arc, atomic::Ordering};

use super::{Pump, Waiting};
use crate::{
    SourceError,
    oversize::{Extent, record_id},
    publish::{Sent, TableRecord},
    state::SnapshotState,
    tables::key_hash,
};

impl Pump {
    /// Publishes the chunks that capture has passed and the stream has reached.
    pub(super) async fn publish_chunks(&mut self) -> Result<bool, SourceError> {
        let mut any = false;
        // In the order in which they came: a table's stored key must not jump ahead.
        while let Some(front) = self.waiting.front() {
            if front.passes_at.is_none_or(|lsn| lsn > self.position.commit_lsn) {
                break;
            }
            let Some(Waiting { chunk, .. }) = self.waiting.pop_front() else { break };
            let active = Arc::clone(&chunk.active);
            for (number, (key, value)) in chunk.iter().enumerate() {
                let overtaken = self.shared.windows().is_noted(chunk.window, key_hash(key));
                if overtaken {
                    continue;
                }
                if let Some(refused) = chunk.refused.get(&number) {
                    self.refuse_or_stop(&active, chunk.lsn, refused.bytes)?;
                    self.dead_letter(&active, key, value, chunk.lsn, &refused.reason).await?;
                    continue;
                }
                let record = TableRecord {
                    active: &active,
                    key,
                    value: Some(value),
                    headers: &[],
                    lsn: chunk.lsn,
                    is_row: true,
                    place: None,
                    extent: Extent::Whole,
                };
                if let Sent::TooLarge(bytes) = self.publisher.send(record).await? {
                    // The reader would have seen it but for a limit learnt since: it reads again.
                    let id = record_id(&active.topic, key, None, Extent::Whole);
                    self.shared.oversize.refuse(id);
                    let table = active.id().clone();
                    return Err(SourceError::TooLarge { table, lsn: chunk.lsn, bytes });
                }
            }
            self.shared.windows().close(chunk.window);
            if let Some(entry) = self.tables.get_mut(active.number) {
                entry.changed = true;
                entry.state.snapshot = if chunk.is_last {
                    SnapshotState::Done { rows: chunk.rows }
                } else {
                    SnapshotState::Running { after: chunk.last_key.clone(), rows: chunk.rows }
                };
                if chunk.is_last {
                    self.shared.progress.table(active.id()).done.store(true, Ordering::Relaxed);
                    self.chunk_gauges(&active.id().to_string(), chunk.rows, chunk.rows);
                    tracing::info!(table = %active.id(), rows = chunk.rows, "snapshot published");
                }
            }
            any = true;
            if self.publisher.is_full() {
                self.commit(false).await?;
            }
        }
        Ok(any)
    }
}
