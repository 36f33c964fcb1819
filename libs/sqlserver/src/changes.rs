//! Rows of a change table, in the order of changes.

use causeway_change::{Lsn, Position, Row, Value};
use futures_util::StreamExt;
use tiberius::ColumnData;

use crate::{
    CaptureInstance, Client, Query, Record, SqlServerError, client::Records, mask, queries, rows,
    value,
};

/// One row of a change table.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRow {
    /// Where it stands; `operation` says what it is: 1 delete, 2 insert, 3 before an update, 4 after it.
    pub position: Position,
    /// The row, in the order of the table's columns. A large value that was left out is
    /// [`Value::Unavailable`].
    pub row: Row,
}

impl ChangeRow {
    /// Bytes that it holds in memory, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        std::mem::size_of::<Self>() + self.row.iter().map(Value::size).sum::<usize>()
    }
}

/// Which rows of a change table are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Transactions after the first LSN up to the second.
    Transactions(Lsn, Lsn),
    /// What follows a place inside one transaction.
    RestOf(Position),
}

/// The rows of an answer, as they come.
#[derive(Debug)]
pub struct ChangeRows<'a> {
    records: Records<'a>,
    instance: &'a CaptureInstance,
}

impl ChangeRows<'_> {
    /// The next row; `None` after the last.
    pub async fn next_row(&mut self) -> Result<Option<ChangeRow>, SqlServerError> {
        match self.records.next().await {
            Some(record) => decode(record?, self.instance).map(Some),
            None => Ok(None),
        }
    }
}

/// Asks for rows of a change table, in the order of changes. Dropping the answer before its end closes the
/// connection.
pub async fn stream_changes<'a>(
    client: &'a mut Client,
    instance: &'a CaptureInstance,
    range: Range,
) -> Result<ChangeRows<'a>, SqlServerError> {
    let query: Query = match range {
        Range::Transactions(after, upto) => queries::changes(instance, after, upto),
        Range::RestOf(position) => queries::changes_of_transaction(instance, &position),
    };
    let records = client.stream(&query).await?;
    Ok(ChangeRows { records, instance })
}

fn decode(record: Record, instance: &CaptureInstance) -> Result<ChangeRow, SqlServerError> {
    let required = |column: usize| {
        record.lsn(column)?.ok_or_else(|| {
            // With too few rights a change table answers one row of NULLs.
            SqlServerError::Catalog(format!(
                "a change of {} has no LSN; does the login have SELECT on its columns and the gating role?",
                instance.source.id()
            ))
        })
    };
    let commit_lsn = required(0)?;
    let seqval = required(2)?;
    let operation = u8::try_from(record.required_number(3)?).ok().filter(|op| (1..=4).contains(op));
    let Some(operation) = operation else {
        return Err(SqlServerError::Catalog(format!(
            "a change of {} at {commit_lsn} has an unknown operation",
            instance.source.id()
        )));
    };
    let command_id = i32::try_from(record.number(1)?.unwrap_or(0)).unwrap_or(0);
    let mut values = record.into_values();
    let mask = match values.nth(4) {
        Some(ColumnData::Binary(mask)) => mask.map(|m| m.into_owned()).unwrap_or_default(),
        _ => Vec::new(),
    };
    let source = &instance.source;
    let expected = source.columns.len() + source.measured().count();
    if values.len() != expected {
        return Err(SqlServerError::Catalog(format!(
            "a change of {} has {} columns, {expected} were expected",
            source.id(),
            values.len()
        )));
    }
    let mut row = Row::with_capacity(source.columns.len());
    for (column, data) in source.columns.iter().zip(values.by_ref()) {
        let v = value::from_wire(data, &column.ty, &column.name)
            .map_err(|error| rows::in_table(error, source))?;
        row.push(if v.is_null() {
            mask::null_means(operation, &column.ty, mask::is_set(&mask, column.ordinal))
        } else {
            v
        });
    }
    rows::put_sizes(&mut row, values, source);
    Ok(ChangeRow { position: Position { commit_lsn, command_id, seqval, operation }, row })
}
