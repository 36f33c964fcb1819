//! Which record it was: when PostgreSQL refuses a slice because of one row, the slice is halved until
//! the row is alone. Everything else of the batch is applied, in order.
//!
//! What a bad record costs is bounded twice: a large slice is written in parts, each under a savepoint, so that
//! only its own part is written again; and that one by pieces, so that only its own piece is halved.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use causeway_postgres::{Class, PostgresError, Session};
use causeway_service::exit::chain_line;

use crate::{
    SinkError,
    change::{Change, Refusal, Shape},
    letters::Held,
    table::Tables,
    write::{Statements, write},
};

/// Changes under one savepoint while nothing is wrong: as many as a transaction has by default, which then
/// has no savepoint at all.
const PART: usize = 10_000;
/// Changes under one savepoint, before anything is halved.
const PIECE: usize = 1_000;

/// What becomes of a record that PostgreSQL refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It fails the slice.
    Fails,
    /// It is looked for in its part of the slice; a slice that is one part fails.
    CostsItsPart,
    /// It is looked for.
    IsAlone,
}

/// What writing a batch came to, beside its rows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What could not be applied.
    pub refusals: Vec<Refusal>,
    /// Open letters that meet the batch, those made by it included.
    pub held: Held,
    /// Changes that make older letters of their keys pointless: topic, key, partition, offset.
    pub supersede: Vec<(Arc<str>, Vec<u8>, i32, i64)>,
}

impl Outcome {
    /// Takes a record as one that cannot be applied.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.held.refused(&refusal);
        self.refusals.push(refusal);
    }
}

/// Writes slices of a batch, inside its transaction.
pub struct Writer<'a> {
    /// The connection.
    pub client: &'a Session,
    /// Its statements and temporary tables.
    pub statements: &'a mut Statements,
    /// Which tables are known to fit.
    pub tables: &'a mut Tables,
    /// Of the slice.
    pub shape: &'a Shape,
    /// Of the batch.
    pub outcome: &'a mut Outcome,
}

impl Writer<'_> {
    /// Writes a slice; records that wait for older letters of their keys are set aside.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn write(&mut self, changes: &[Change], refused: Refused) -> Result<(), SinkError> {
        match refused {
            Refused::Fails => self.sorted(changes).await,
            Refused::CostsItsPart if changes.len() <= PART => self.sorted(changes).await,
            Refused::CostsItsPart => {
                for part in changes.chunks(PART) {
                    if let Some(error) = self.undoable(part).await? {
                        let error = chain_line(&error);
                        tracing::debug!(%error, rows = part.len(), "looking for the record");
                        self.pieces(part).await?;
                    }
                }
                Ok(())
            }
            Refused::IsAlone => self.pieces(changes).await,
        }
    }

    /// Halving all of it would write most rows several times: pieces bound what a bad record costs.
    async fn pieces(&mut self, changes: &[Change]) -> Result<(), SinkError> {
        for piece in changes.chunks(PIECE) {
            self.halved(piece).await?;
        }
        Ok(())
    }

    /// Writes what does not wait for older letters.
    async fn sorted(&mut self, changes: &[Change]) -> Result<(), SinkError> {
        let Self { client, statements, tables, shape, outcome } = self;
        if !outcome.held.meets(changes) {
            return write(client, statements, tables, shape, changes).await;
        }
        let sorted = outcome.held.sort(changes);
        write(client, statements, tables, shape, &sorted.apply).await?;
        outcome.supersede.extend(sorted.supersede);
        sorted.parked.into_iter().for_each(|refusal| outcome.refuse(refusal));
        Ok(())
    }

    /// Writes under a savepoint. When PostgreSQL refuses a record, nothing is written, and its answer is given.
    async fn undoable(&mut self, changes: &[Change]) -> Result<Option<SinkError>, SinkError> {
        let failed = |e| PostgresError::statement("isolate a record", e);
        let client = self.client;
        self.tables.savepoint();
        self.statements.savepoint();
        // Sent now, and answered while what follows is on its way.
        let mut saved = pin!(client.batch_execute("SAVEPOINT causeway_slice"));
        let answered = match futures_util::poll!(saved.as_mut()) {
            Poll::Ready(answer) => {
                answer.map_err(failed)?;
                true
            }
            Poll::Pending => false,
        };
        let written = self.sorted(changes).await;
        if !answered {
            saved.await.map_err(failed)?;
        }
        let error = match written {
            Ok(()) => {
                client.batch_execute("RELEASE causeway_slice").await.map_err(failed)?;
                return Ok(None);
            }
            Err(error) => error,
        };
        if error.class() != Some(Class::Record) {
            return Err(error);
        }
        let undo = "ROLLBACK TO causeway_slice; RELEASE causeway_slice";
        client.batch_execute(undo).await.map_err(failed)?;
        // A table that the slice made is gone with it.
        self.tables.undone();
        self.statements.undone();
        Ok(Some(error))
    }

    /// Writes changes under a savepoint, in halves where that fails; what cannot be written is refused.
    fn halved<'b>(
        &'b mut self,
        changes: &'b [Change],
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'b>> {
        Box::pin(async move {
            let Some(error) = self.undoable(changes).await? else { return Ok(()) };
            // Where none of them can be applied there is no need to look for the one that cannot.
            if changes.len() == 1 || matches!(error, SinkError::Aside { .. }) {
                changes.iter().for_each(|change| self.outcome.refuse(refusal(change, &error)));
                return Ok(());
            }
            let (first, second) = changes.split_at(changes.len() / 2);
            self.halved(first).await?;
            self.halved(second).await
        })
    }
}

pub(crate) fn refusal(change: &Change, error: &SinkError) -> Refusal {
    let (sqlstate, column, constraint) = match error {
        SinkError::Postgres(error) => {
            let (column, constraint) = error.names();
            (error.sqlstate(), column, constraint)
        }
        SinkError::Kafka(_)
        | SinkError::Registry(_)
        | SinkError::Panicked
        | SinkError::Asked(_)
        | SinkError::Aside { .. }
        | SinkError::Fenced { .. }
        | SinkError::Gap { .. }
        | SinkError::Index { .. }
        | SinkError::Row { .. }
        | SinkError::Table { .. }
        | SinkError::Whole { .. }
        | SinkError::DeadLetter { .. } => (None, None, None),
    };
    Refusal {
        message: change.message.clone(),
        source: Some(change.shape.source.clone()),
        commit_lsn: change.commit_lsn,
        stage: "TASK_PUT",
        sqlstate: sqlstate.map(str::to_owned),
        column: column.map(str::to_owned),
        constraint: constraint.map(str::to_owned),
        reason: error.to_string(),
        on_error: change.shape.policy.on_error,
        parked: false,
    }
}
