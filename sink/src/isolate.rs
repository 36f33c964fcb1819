//! Which record it was: when PostgreSQL refuses a slice because of one row, the slice is halved until
//! the row is alone. Everything else of the batch is applied, in order. It is done piece by piece, so that a bad
//! record costs its piece twice and not its batch.

use std::{future::Future, pin::Pin, sync::Arc};

use causeway_postgres::{Class, PostgresError, Session};

use crate::{
    SinkError,
    change::{Change, Refusal, Shape},
    letters::Held,
    table::Tables,
    write::{Statements, write},
};

/// Changes under one savepoint, before anything is halved.
const PIECE: usize = 1_000;

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

/// Writes a slice; records that wait for older letters of their keys are set aside. Without isolation
/// the first record that PostgreSQL refuses fails it, with isolation it becomes a refusal.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn write_slice(
    client: &Session,
    statements: &mut Statements,
    tables: &mut Tables,
    shape: &Shape,
    changes: &[Change],
    outcome: &mut Outcome,
    isolated: bool,
) -> Result<(), SinkError> {
    if isolated {
        // Halving all of it would write most rows several times: pieces bound what a bad record costs.
        for piece in changes.chunks(PIECE) {
            write_isolated(client, statements, tables, shape, piece, outcome).await?;
        }
        return Ok(());
    }
    if outcome.held.is_empty() {
        return write(client, statements, tables, shape, changes).await;
    }
    let sorted = outcome.held.sort(changes);
    write(client, statements, tables, shape, &sorted.apply).await?;
    outcome.supersede.extend(sorted.supersede);
    sorted.parked.into_iter().for_each(|refusal| outcome.refuse(refusal));
    Ok(())
}

/// Writes a slice under a savepoint; what cannot be written comes back as refusals.
fn write_isolated<'a>(
    client: &'a Session,
    statements: &'a mut Statements,
    tables: &'a mut Tables,
    shape: &'a Shape,
    changes: &'a [Change],
    outcome: &'a mut Outcome,
) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>> {
    Box::pin(async move {
        let failed = |e| PostgresError::statement("isolate a record", e);
        client.batch_execute("SAVEPOINT causeway_slice").await.map_err(failed)?;
        let sorted = outcome.held.sort(changes);
        let error = match write(client, statements, tables, shape, &sorted.apply).await {
            Ok(()) => {
                client.batch_execute("RELEASE causeway_slice").await.map_err(failed)?;
                outcome.supersede.extend(sorted.supersede);
                sorted.parked.into_iter().for_each(|refusal| outcome.refuse(refusal));
                return Ok(());
            }
            Err(error) => error,
        };
        if error.class() != Some(Class::Record) {
            return Err(error);
        }
        client
            .batch_execute("ROLLBACK TO causeway_slice; RELEASE causeway_slice")
            .await
            .map_err(failed)?;
        // A table that the slice made is gone with it.
        tables.forget();
        statements.rolled_back();
        if let [change] = changes {
            outcome.refuse(refusal(change, &error));
            return Ok(());
        }
        if matches!(error, SinkError::Aside { .. }) {
            // None of them can be applied: no need to look for the one that cannot.
            changes.iter().for_each(|change| outcome.refuse(refusal(change, &error)));
            return Ok(());
        }
        let (first, second) = changes.split_at(changes.len() / 2);
        write_isolated(client, statements, tables, shape, first, outcome).await?;
        write_isolated(client, statements, tables, shape, second, outcome).await
    })
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
