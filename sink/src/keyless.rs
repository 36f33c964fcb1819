//! Rows without key: an update or a delete finds its row by all values that it had before, and takes exactly one.
//!
//! Rows that are equal in every column are the same to everybody, so any of them will do. Where a large value of the row
//! before is not known there must be only one candidate. When there is none, or there are several, the record is one
//! that cannot be applied.

use causeway_change::Column;
use causeway_observability::names::sink as names;
use causeway_postgres::Session;

use crate::{
    SinkError,
    change::{Action, Change, Shape, fields, is_absent},
    statements::{self, Compared},
    table::Tables,
    write::{Statements, Ways, arrays, put},
};

/// Applies changes in their order: what comes between two matches is inserted together.
///
/// # Errors
/// As [`crate::write::write`]; [`SinkError::Row`] when a row is not found.
pub(crate) async fn write(
    client: &Session,
    statements: &mut Statements,
    tables: &mut Tables,
    shape: &Shape,
    doing: &str,
    changes: &[Change],
) -> Result<(), SinkError> {
    let ways = Ways { new: true, stage: false };
    let mut appends: Vec<&[u8]> = Vec::new();
    for change in changes {
        match &change.action {
            Action::Put(row) => appends.push(row),
            // It has nothing to say which row.
            Action::Delete => {}
            Action::Match { before, after } => {
                if !appends.is_empty() {
                    put(client, statements, tables, shape, doing, &appends, ways).await?;
                    appends.clear();
                }
                one(client, statements, shape, doing, before, after.as_deref()).await?;
            }
        }
    }
    if !appends.is_empty() {
        put(client, statements, tables, shape, doing, &appends, ways).await?;
    }
    Ok(())
}

/// Updates or deletes one row.
async fn one(
    client: &Session,
    statements: &mut Statements,
    shape: &Shape,
    doing: &str,
    before: &[u8],
    after: Option<&[u8]>,
) -> Result<(), SinkError> {
    let method = if after.is_some() { "update" } else { "delete" };
    let values = shape.columns.len() - shape.metas.len();
    let mut columns: Vec<Column> = Vec::new();
    let mut row: Vec<u8> = Vec::new();
    let mut compared = Vec::with_capacity(values);
    for (column, field) in shape.columns.iter().take(values).zip(fields(before)) {
        compared.push(if is_absent(field) {
            Compared::Unknown
        } else if is_null(field) {
            Compared::Null
        } else {
            columns.push(column.clone());
            row.extend_from_slice(field);
            Compared::Equal
        });
    }
    let mut set = Vec::new();
    for (place, field) in after.into_iter().flat_map(fields).enumerate() {
        if let Some(column) = shape.columns.get(place).filter(|_| !is_absent(field)) {
            columns.push(column.clone());
            row.extend_from_slice(field);
            set.push(place);
        }
    }
    let sql =
        statements::match_one(&shape.target, &shape.columns, &compared, &set, after.is_some())?;
    let arrays = arrays(&columns, std::iter::once(row.as_slice()));
    let found = statements.execute(client, doing, sql, &arrays).await?;
    if found == 1 {
        names::ROWS_WRITTEN.add(1, &[("method", method)]);
        return Ok(());
    }
    let unknown = compared.contains(&Compared::Unknown);
    Err(SinkError::Row {
        table: format!("{}.{}", shape.target.0, shape.target.1),
        why: if unknown {
            "the table has no key and the record leaves out a large value of the row before; no row, or more than one, has \
             the other values"
        } else {
            "the table has no key, and no row has all the values of the row before"
        },
    })
}

fn is_null(field: &[u8]) -> bool {
    field.first_chunk::<4>() == Some(&(-1_i32).to_be_bytes())
}
