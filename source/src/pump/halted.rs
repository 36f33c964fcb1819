//! Tables whose schema the registry refuses: they stand still while the others go on, and catch up when it
//! takes the schema.
//!
//! What is held back is nothing but a place in the order of changes, stored with the table. Catching up reads
//! the one table from there to where the others are, in transactions of its own: they move the table's place
//! and leave the position of all.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_change::Position;
use causeway_observability::names::source as names;
use causeway_sqlserver::{
    changes::Range,
    log::{self, Tick},
};
use tokio_util::sync::CancellationToken;

use super::{
    BEHIND, Pump, Round, TableEntry,
    stream::{ROUND_TRANSACTIONS, times},
};
use crate::{
    SourceError,
    state::{AdhocTable, Halted},
};

/// What is said when a table begins to wait.
pub const HALTS: &str = "the registry refuses the schema of a table, which is not published from here on while \
                         the others are; it is asked again";
/// How often the registry is asked again.
const ASK: Duration = Duration::from_secs(10);

impl Pump {
    /// The tables that do not stand still.
    pub(super) fn going(&self) -> impl Iterator<Item = &TableEntry> {
        self.tables.iter().filter(|t| t.is_going())
    }

    pub(super) fn is_halted(&self, table: &AdhocTable) -> bool {
        self.tables.iter().any(|t| {
            let id = t.active.id();
            t.state.halted.is_some() && id.schema == table.schema && id.name == table.name
        })
    }

    /// The tables that wait, and why.
    pub(super) fn halted(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for entry in &self.tables {
            if let Some(halted) = &entry.state.halted {
                let table = entry.active.id().to_string();
                names::HALTED.set(1.0, &[("table", &table)]);
                all.insert(table, halted.reason.clone());
            }
        }
        all
    }

    /// What is stored as the position of all tables. While one catches up, that of the others; the place of the
    /// one is where we are.
    pub(super) fn stored_position(&mut self) -> Position {
        let Some((number, position)) = self.catching_up else { return self.position };
        if let Some(entry) = self.tables.get_mut(number)
            && let Some(halted) = &mut entry.state.halted
        {
            *halted = Halted::at(&self.position, std::mem::take(&mut halted.reason));
            entry.changed = true;
        }
        position
    }

    /// Asks the registry again, and catches up what it takes now.
    pub(super) async fn resume_halted(
        &mut self,
        tick: &Tick,
        stop: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), SourceError> {
        let waiting: Vec<usize> = self
            .tables
            .iter()
            .filter(|t| t.state.halted.as_ref().is_some_and(|halted| halted.reason != BEHIND))
            .map(|t| t.active.number)
            .collect();
        let is_early = self.asked_again.is_some_and(|asked| asked.elapsed() < ASK);
        if waiting.is_empty() || is_early || !self.position.is_transaction_end() {
            return Ok(());
        }
        self.asked_again = Some(Instant::now());
        for number in waiting {
            let Some(entry) = self.tables.get(number) else { continue };
            let instance = entry.active.instance.clone();
            let micro_columns = entry.state.micro_columns.clone();
            let (active, refused) = self.publishable(number, &instance, micro_columns).await?;
            let Some(entry) = self.tables.get_mut(number) else { continue };
            if let (Some(reason), Some(halted)) = (refused, &mut entry.state.halted) {
                tracing::debug!(table = %entry.active.id(), reason, "the schema is still refused");
                halted.reason = reason;
                continue;
            }
            entry.active = Arc::new(active);
            // What is open belongs to the position of all.
            self.commit(false).await?;
            self.catch_up(number, tick, stop).await?;
            round.any = true;
            if stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Publishes what one table has held back.
    pub(super) async fn catch_up(
        &mut self,
        number: usize,
        tick: &Tick,
        stop: &CancellationToken,
    ) -> Result<(), SourceError> {
        let Some(entry) = self.tables.get(number) else { return Ok(()) };
        let id = entry.active.id().clone();
        let Some(halted) = &entry.state.halted else { return Ok(()) };
        let (from, all) = (halted.position(&id)?, self.position);
        if from > all {
            return Ok(());
        }
        tracing::info!(table = %id, from = %from.commit_lsn, to = %all.commit_lsn, "the table catches up");
        self.catching_up = Some((number, all));
        self.position = from;
        let read = self.read_held_back(number, all, tick, stop).await;
        // Stores where the table has come to, and nothing else, when it is cut off.
        let is_whole = self.position >= all;
        match read {
            Ok(()) if !is_whole => self.commit(false).await?,
            Ok(()) => {}
            Err(error) => return Err(error),
        }
        self.catching_up = None;
        self.position = all;
        if !is_whole {
            return Ok(());
        }
        if let Some(entry) = self.tables.get_mut(number) {
            entry.state.halted = None;
            entry.changed = true;
        }
        self.commit(true).await?;
        names::HALTED.set(0.0, &[("table", &id.to_string())]);
        tracing::info!(table = %id, "the table has caught up");
        self.switch_table(number, all.commit_lsn).await?;
        self.restart_copies(number, true);
        Ok(())
    }

    /// Reads the one table from where we are to where the others are.
    async fn read_held_back(
        &mut self,
        number: usize,
        all: Position,
        tick: &Tick,
        stop: &CancellationToken,
    ) -> Result<(), SourceError> {
        let mut round = Round { any: false, more: false };
        if !self.position.is_transaction_end() && !self.position.commit_lsn.is_zero() {
            let commit = self.position.commit_lsn;
            let found = log::transaction(&mut self.sql, commit).await?;
            let times = times(found.into_iter().collect::<Vec<_>>().as_slice(), tick.utc_offset);
            self.read(&[number], Range::RestOf(self.position), &times, stop, &mut round).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.low_water(commit).await?;
            self.position = Position::end_of(commit);
        }
        while self.position.commit_lsn < all.commit_lsn && !stop.is_cancelled() {
            let after = self.position.commit_lsn;
            let transactions =
                log::transactions(&mut self.sql, after, all.commit_lsn, ROUND_TRANSACTIONS).await?;
            // A further instance takes over when the others are reached; this one has all until then.
            let mut upto = all.commit_lsn;
            if transactions.len() == ROUND_TRANSACTIONS
                && let Some(last) = transactions.last()
            {
                upto = last.commit_lsn;
            }
            let times = times(&transactions, tick.utc_offset);
            let range = Range::Transactions(after, upto);
            self.read(&[number], range, &times, stop, &mut round).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.low_water(after).await?;
            self.position = Position::end_of(upto);
            self.commit(false).await?;
        }
        Ok(())
    }
}
