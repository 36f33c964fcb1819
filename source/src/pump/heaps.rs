//! Tables without key: copied in one Kafka transaction, and let go on behind the place at which they were read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_change::Position;
use causeway_sqlserver::log::Tick;
use tokio_util::sync::CancellationToken;

use super::{End, Pump, Round};
use crate::{
    SourceError,
    heap::{Heap, Piece},
    index::Of,
    oversize::Extent,
    publish::{Sent, TableRecord},
    state::Halted,
};

/// Why a table without key stands still after its copy: the others went on meanwhile.
pub const BEHIND: &str = "it has no key and stood still while it was copied; it catches up";
/// The broker ends transactions that are open for a minute.
const LIMIT: Duration = Duration::from_secs(50);

impl Pump {
    /// Publishes a table without key, all of it. The others wait meanwhile: what is committed of them is one
    /// transaction with it or none. Gives the end when we are told to stop before the last row.
    pub(super) async fn take_heap(&mut self, mut heap: Heap) -> Result<Option<End>, SourceError> {
        if !self.copies.contains_key(&heap.copy) {
            return Ok(None);
        }
        // What is open belongs to the stream.
        self.commit(false).await?;
        let began = Instant::now();
        let mut rows = 0;
        loop {
            let Some(piece) = heap.pieces.recv().await else {
                // Readers end at once when they are told to; one that failed has said so. Nothing of the table may
                // stay, and what would count its rows ends with us.
                self.publisher.abort().await;
                return Ok(Some(End::Stopped));
            };
            let piece = piece?;
            self.publish_piece(&heap, &piece).await?;
            rows += u64::try_from(piece.ends.len()).unwrap_or(u64::MAX);
            if piece.is_last {
                break;
            }
            if began.elapsed() > LIMIT {
                return Err(SourceError::Table {
                    table: heap.active.id().clone(),
                    reason: format!(
                        "it has no key, so its copy must be one Kafka transaction, and after {} s only {rows} rows were \
                         sent; name columns that tell its rows apart in [source] message_key_columns, or leave it out \
                         by exclude",
                        LIMIT.as_secs()
                    ),
                });
            }
        }
        let Some(mut copy) = self.copies.remove(&heap.copy) else { return Ok(None) };
        copy.rows = rows;
        if let Some(entry) = self.tables.get_mut(copy.table) {
            entry.is_apart = false;
            entry.state.copied_at = Some(heap.lsn.to_string());
            if self.position.commit_lsn > heap.lsn {
                let place = Position::end_of(heap.lsn);
                entry.state.halted = Some(Halted::at(&place, BEHIND.to_owned()));
            }
            entry.changed = true;
        }
        self.finished(&heap.active, copy).await?;
        self.commit(true).await?;
        Ok(None)
    }

    async fn publish_piece(&mut self, heap: &Heap, piece: &Piece) -> Result<(), SourceError> {
        let active = Arc::clone(&heap.active);
        for (number, value) in piece.iter().enumerate() {
            if let Some(refused) = piece.refused.get(&number) {
                self.refuse_or_stop(&active, heap.lsn, refused.bytes)?;
                let of = Of::Snapshot { lsn: heap.lsn, table: active.number };
                self.dead_letter(&active, &[], value, of, &refused.reason).await?;
                continue;
            }
            let record = TableRecord {
                active: &active,
                key: &[],
                value: Some(value),
                headers: &[],
                lsn: heap.lsn,
                is_row: true,
                place: None,
                commit_ns: 0,
                extent: Extent::Whole,
            };
            if let Sent::TooLarge(bytes) = self.publisher.send(record).await? {
                let table = active.id().clone();
                return Err(SourceError::Refused { table, lsn: heap.lsn, bytes });
            }
        }
        Ok(())
    }

    /// Lets tables catch up that stood still while they were copied.
    pub(super) async fn resume_heaps(
        &mut self,
        tick: &Tick,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        if !self.position.is_transaction_end() {
            return Ok(());
        }
        for number in 0..self.tables.len() {
            let halted = self.tables.get(number).and_then(|t| t.state.halted.as_ref());
            if halted.is_some_and(|halted| halted.reason == BEHIND) && !stop.is_cancelled() {
                // What is open belongs to the position of all.
                self.commit(false).await?;
                self.catch_up(number, tick, stop).await?;
                round.any = true;
            }
        }
        Ok(())
    }
}
