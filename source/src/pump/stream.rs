//! Streaming: what capture has recorded, read, folded and published in the order of changes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use causeway_avro::{Envelope, Snapshot, SourceBlock, TransactionBlock};
use causeway_change::{Lsn, Operation, Position};
use causeway_kafka::topic::header;
use causeway_observability::{context, names::source as names};
use causeway_sqlserver::{
    CaptureInstance,
    changes::Range,
    log::{self, Tick},
};
use tokio_util::sync::CancellationToken;

use super::{Pump, Round, report::as_f64};
use crate::{
    SourceError,
    fold::{Event, Item, Moved},
    index::Of,
    keys,
    oversize::{Extent, least_bytes, leave_out_large, reason},
    publish::{Sent, TableRecord},
    reader::Reader,
    shared::{Shared, VERSION, now_ns},
    tables::{Active, key_hash},
    window::part_of,
};

/// Transactions that one round takes: their times are held in memory, and tables are probed once.
pub(super) const ROUND_TRANSACTIONS: usize = 5_000;
/// Tables that are read at the same time; a round with more is halved until it has only one transaction.
const TABLES_AT_ONCE: usize = 32;
/// Events are encoded and sent when they hold this many bytes.
const BLOCK_BYTES: usize = 1 << 20;

impl Pump {
    /// Streams what is captured after our position, as much as one round takes.
    pub(super) async fn stream(
        &mut self,
        tick: &Tick,
        max: Lsn,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        if !self.position.is_transaction_end() && !self.position.commit_lsn.is_zero() {
            // We stopped inside a transaction: first its rest.
            let commit = self.position.commit_lsn;
            let found = log::transaction(&mut self.sql, commit).await?;
            let times = times(found.into_iter().collect::<Vec<_>>().as_slice(), tick.utc_offset);
            let all: Vec<usize> = self.going().map(|t| t.active.number).collect();
            self.read(&all, Range::RestOf(self.position), &times, stop, round).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.low_water(commit).await?;
            self.position = Position::end_of(commit);
        }
        let after = self.position.commit_lsn;
        // Also when nothing follows: the new schema is then known before its first record.
        self.switch_instances(after).await?;
        if max <= after {
            return Ok(());
        }
        // A capture instance that takes over does so at the end of a transaction.
        let switch = self.going().filter_map(|t| t.next.front()?.start_lsn).min();
        let bound = switch.filter(|lsn| *lsn > after).map_or(max, |lsn| max.min(lsn));
        let mut transactions =
            log::transactions(&mut self.sql, after, bound, ROUND_TRANSACTIONS).await?;
        let mut upto = bound;
        if transactions.len() == ROUND_TRANSACTIONS
            && let Some(last) = transactions.last()
        {
            upto = last.commit_lsn;
        }
        let mut changed = Vec::new();
        if !transactions.is_empty() {
            changed = self.changed(after, upto).await?;
            while changed.len() > TABLES_AT_ONCE && transactions.len() > 1 {
                transactions.truncate(transactions.len() / 2);
                upto = transactions.last().map_or(upto, |last| last.commit_lsn);
                changed = self.changed(after, upto).await?;
            }
        }
        round.more = upto < max;
        if !changed.is_empty() {
            let times = times(&transactions, tick.utc_offset);
            self.read(&changed, Range::Transactions(after, upto), &times, stop, round).await?;
            if stop.is_cancelled() {
                // The position stands inside; what was read is published.
                return Ok(());
            }
        }
        // Cleanup may have removed rows while we read.
        self.low_water(after).await?;
        self.position = Position::end_of(upto);
        if self.publisher.is_full() {
            self.commit(false).await?;
        }
        Ok(())
    }

    /// The numbers of the tables with changes after `after` up to `upto`.
    async fn changed(&mut self, after: Lsn, upto: Lsn) -> Result<Vec<usize>, SourceError> {
        if self.tables.len() <= 1 {
            return Ok(self.going().map(|t| t.active.number).collect());
        }
        // Borrowed field by field: the connection is needed, too.
        let going = self.tables.iter().filter(|t| t.is_going());
        let instances: Vec<&CaptureInstance> = going.map(|t| &t.active.instance).collect();
        let found: HashSet<i32> = log::tables_with_changes(&mut self.sql, &instances, after, upto)
            .await?
            .into_iter()
            .collect();
        Ok(self
            .going()
            .filter(|t| found.contains(&t.active.instance.object_id))
            .map(|t| t.active.number)
            .collect())
    }

    /// Reads, folds and publishes. On return everything read is published; `self.position` says up to where.
    pub(super) async fn read(
        &mut self,
        tables: &[usize],
        range: Range,
        times: &HashMap<Lsn, i64>,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        let actives: Vec<Arc<Active>> = tables
            .iter()
            .filter_map(|&number| self.tables.get(number))
            .map(|t| Arc::clone(&t.active))
            .collect();
        // By the table's number: a look for each row must cost nothing.
        let mut by_number: Vec<Option<(Arc<Active>, Lsn, u64)>> = vec![None; self.tables.len()];
        for active in &actives {
            let copied = self.tables.get(active.number).map(|t| t.state.copied_up_to());
            if let Some(slot) = by_number.get_mut(active.number) {
                *slot = Some((Arc::clone(active), copied.unwrap_or(Lsn::ZERO), 0));
            }
        }
        let mut reader =
            Reader::start(&shared.pool, actives.into_iter().map(|active| (active, range))).await?;
        let from = self.position.commit_lsn;
        let mut block = Block::default();
        let mut current: Option<Lsn> = None;
        while let Some((number, row)) = reader.next().await? {
            round.any = true;
            let commit = row.position.commit_lsn;
            if current != Some(commit) {
                if let Some(ended) = current {
                    self.folder.flush(&mut block.events);
                    if block.is_full() || self.publisher.is_full() {
                        self.emit(&mut block, times).await?;
                    }
                    self.publisher.transaction_ended();
                    self.latency.ended(ended, times.get(&ended).copied().unwrap_or(0));
                    self.position = Position::end_of(ended);
                    if self.publisher.is_full() {
                        self.emit(&mut block, times).await?;
                        self.low_water(from).await?;
                        self.commit(false).await?;
                    }
                }
                current = Some(commit);
                let time = times.get(&commit).copied().unwrap_or(0);
                self.newest_commit_ns = self.newest_commit_ns.max(time);
                let hash = xxhash_rust::xxh3::xxh3_64(commit.as_bytes());
                if context::sampled(hash, shared.sample_ratio) {
                    self.publisher.trace(commit, time)?;
                }
            }
            let Some(Some((active, copied, count))) = by_number.get_mut(number) else { continue };
            *count += 1;
            if commit <= *copied {
                continue;
            }
            let size = row.size();
            let key = active.key(&shared.registry, commit, &row.row).await?;
            let item = Item { table: number, position: row.position, row: row.row, key, size };
            self.folder.push(item, &mut block.events);
            if block.grew() {
                self.emit(&mut block, times).await?;
            }
            if stop.is_cancelled() || self.publisher.must_split() {
                self.folder.flush(&mut block.events);
                self.emit(&mut block, times).await?;
                self.low_water(from).await?;
                self.position = self.folder.done();
                self.commit(false).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
        self.folder.flush(&mut block.events);
        self.emit(&mut block, times).await?;
        if let Some(ended) = current {
            self.publisher.transaction_ended();
            self.latency.ended(ended, times.get(&ended).copied().unwrap_or(0));
            self.position = Position::end_of(ended);
        }
        for (active, _, count) in by_number.into_iter().flatten() {
            let table = active.id().to_string();
            names::ROWS_READ.add(count, &[("table", &table), ("phase", "stream")]);
        }
        Ok(())
    }

    /// Encodes and sends a block of events.
    async fn emit(
        &mut self,
        block: &mut Block,
        times: &HashMap<Lsn, i64>,
    ) -> Result<(), SourceError> {
        let mut events = std::mem::take(&mut block.events);
        block.counted = 0;
        block.bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        self.note(&events);
        let mut value = Vec::new();
        for event in &mut events {
            if self.signal_table == Some(event.table) {
                self.take_signal_row(event).await?;
                continue;
            }
            // The mapping may have been cleaned up since.
            let time = times.get(&event.position.commit_lsn).copied();
            self.publish(event, time.unwrap_or_else(now_ns), &mut value).await?;
        }
        names::BUFFER_BYTES.set(as_f64(self.publisher.open_bytes()), &[]);
        Ok(())
    }

    /// Sends one event: whole, or without the large values of its before image, or to the dead letters.
    async fn publish(
        &mut self,
        event: &mut Event,
        committed_ns: i64,
        value: &mut Vec<u8>,
    ) -> Result<(), SourceError> {
        let Some(entry) = self.tables.get(event.table) else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let active = Arc::clone(&entry.active);
        let lsn = event.position.commit_lsn;
        let moved = event.moved.as_ref().map(|moved| moved_header(&active, moved));
        let headers: Vec<(&str, &[u8])> =
            moved.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        let mut extent = Extent::Whole;
        let block = self.publisher.block(lsn, &active);
        loop {
            // What cannot fit is not even encoded: it would be in memory twice.
            let least = [&event.before, &event.after].into_iter().flatten();
            let least = least.map(|row| least_bytes(row)).sum();
            let sent = if shared.oversize.fits(least) {
                encode(&shared, &active, event, committed_ns, block.as_ref(), value).await?;
                let record = TableRecord {
                    active: &active,
                    key: &event.key,
                    value: Some(value.as_slice()),
                    headers: &headers,
                    lsn,
                    is_row: true,
                    place: Some(event.position),
                    commit_ns: committed_ns,
                    extent,
                };
                self.publisher.send(record).await?
            } else {
                Sent::TooLarge(least)
            };
            let Sent::TooLarge(bytes) = sent else { break };
            let table = &active.instance.source.table;
            // A sink needs the image before the change least.
            if extent == Extent::Whole
                && let Some(before) = &mut event.before
                && !leave_out_large(before, table).is_empty()
            {
                extent = Extent::WithoutLargeBefore;
                continue;
            }
            self.refuse_or_stop(&active, lsn, bytes)?;
            let left_out =
                event.after.as_mut().map(|row| leave_out_large(row, table)).unwrap_or_default();
            encode(&shared, &active, event, committed_ns, None, value).await?;
            let reason = reason(&active.topic, bytes, &left_out);
            let of = Of::Transaction { lsn, commit_ns: committed_ns };
            self.dead_letter(&active, &event.key, value, of, &reason).await?;
            break;
        }
        let is_delete = event.operation == Operation::Delete;
        if is_delete && shared.config.tombstones && !event.key.is_empty() {
            let tombstone = TableRecord {
                active: &active,
                key: &event.key,
                value: None,
                headers: &headers,
                lsn,
                is_row: false,
                place: Some(event.position),
                commit_ns: committed_ns,
                extent,
            };
            // A key alone is hardly ever too large.
            if let Sent::TooLarge(bytes) = self.publisher.send(tombstone).await? {
                return Err(SourceError::Refused { table: active.id().clone(), lsn, bytes });
            }
        }
        Ok(())
    }

    /// Notes the keys of the events for the windows that are open.
    fn note(&self, events: &[Event]) {
        let mut windows = self.shared.windows();
        for event in events {
            if !windows.is_closed(event.table) {
                let part = part_of(event.after.as_ref());
                windows.note(event.table, key_hash(&event.key), part);
            }
        }
    }
}

/// The envelope of an event.
async fn encode(
    shared: &Shared,
    active: &Active,
    event: &Event,
    committed_ns: i64,
    block: Option<&TransactionBlock>,
    value: &mut Vec<u8>,
) -> Result<(), SourceError> {
    let table = &active.instance.source.table;
    let lsn = event.position.commit_lsn;
    let envelope = Envelope {
        before: event.before.as_deref(),
        after: event.after.as_deref(),
        operation: event.operation,
        source: SourceBlock {
            version: VERSION,
            name: &shared.pipeline,
            db: &table.database,
            schema: &table.id.schema,
            table: &table.id.name,
            ts_ns: committed_ns,
            snapshot: Snapshot::False,
            change_lsn: Some(event.position.seqval),
            commit_lsn: Some(lsn),
            event_serial_no: Some(event.serial),
        },
        ts_ns: now_ns(),
    };
    active
        .encode(&shared.registry, lsn, |codec| {
            value.clear();
            codec.encoder.encode_numbered(&envelope, block, codec.value_id, value)
        })
        .await
}

/// Events that are not encoded yet.
#[derive(Default)]
struct Block {
    events: Vec<Event>,
    /// How many of them are in `bytes`.
    counted: usize,
    bytes: usize,
}

impl Block {
    /// Counts the events that have come since the last time; true when there are enough.
    fn grew(&mut self) -> bool {
        self.bytes += self.events.iter().skip(self.counted).map(|e| e.size).sum::<usize>();
        self.counted = self.events.len();
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes >= BLOCK_BYTES
    }
}

/// Commit times in nanoseconds since 1970, UTC.
pub(super) fn times(transactions: &[log::Transaction], utc_offset: i64) -> HashMap<Lsn, i64> {
    transactions
        .iter()
        .map(|t| (t.commit_lsn, (t.end_time - utc_offset).saturating_mul(100)))
        .collect()
}

fn moved_header(active: &Active, moved: &Moved) -> (&'static str, String) {
    let table = &active.instance.source.table;
    let columns = || table.key_columns().map(|c| (c.name.as_str(), &c.ty));
    match moved {
        Moved::To(key) => (header::NEW_KEY, keys::header(columns(), key)),
        Moved::From(key) => (header::OLD_KEY, keys::header(columns(), key)),
    }
}
