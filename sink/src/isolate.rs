//! Which record it was: when PostgreSQL refuses a slice because of one row, the slice is halved until
//! the row is alone. Everything else of the batch is applied, in order.

use std::{future::Future, pin::Pin};

use causeway_postgres::{Class, PostgresError, Session};

use crate::{
    SinkError,
    change::{Change, Refusal, Shape},
    table::Tables,
    write::{Statements, write},
};

/// Writes a slice under a savepoint; what cannot be written comes back as refusals.
///
/// # Errors
/// For failures that are not about one record.
pub fn write_isolated<'a>(
    client: &'a Session,
    statements: &'a mut Statements,
    tables: &'a mut Tables,
    shape: &'a Shape,
    changes: &'a [Change],
    refusals: &'a mut Vec<Refusal>,
) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>> {
    Box::pin(async move {
        let failed = |e| PostgresError::statement("isolate a record", e);
        client.batch_execute("SAVEPOINT causeway_slice").await.map_err(failed)?;
        let error = match write(client, statements, tables, shape, changes).await {
            Ok(()) => {
                client.batch_execute("RELEASE causeway_slice").await.map_err(failed)?;
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
        if let [change] = changes {
            refusals.push(refusal(change, &error));
            return Ok(());
        }
        let (first, second) = changes.split_at(changes.len() / 2);
        write_isolated(client, statements, tables, shape, first, refusals).await?;
        write_isolated(client, statements, tables, shape, second, refusals).await
    })
}

fn refusal(change: &Change, error: &SinkError) -> Refusal {
    let (sqlstate, column, constraint) = match error {
        SinkError::Postgres(error) => {
            let (column, constraint) = error.names();
            (error.sqlstate(), column, constraint)
        }
        SinkError::Kafka(_)
        | SinkError::Registry(_)
        | SinkError::Panicked
        | SinkError::Fenced { .. }
        | SinkError::Gap { .. }
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
    }
}
