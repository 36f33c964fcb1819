//! The two sides of a table: read whole into a spool, or looked at by keys.

use std::collections::HashMap;

use causeway_change::{Column, Row};
use causeway_sqlserver::{KeyRange, SourceTable};

use crate::{digest, error::ReconcileError, progress::Progress, spool::Spool};

/// Rows between two reports of progress.
const STEP: u64 = 4096;

/// Digests by the key's canonical bytes.
pub type Looks = HashMap<Vec<u8>, u128>;

/// What both sides need to know of a table.
#[derive(Clone, Debug)]
pub struct Shape {
    /// As the source reads it.
    pub source: SourceTable,
    /// Schema and table in PostgreSQL.
    pub target: (String, String),
}

impl Shape {
    fn columns(&self) -> &[Column] {
        &self.source.table.columns
    }

    fn keyless(&self) -> bool {
        self.source.table.key.is_empty()
    }

    /// Puts one row into a spool. A row of a table without key is its own key.
    fn push(
        &self,
        row: &Row,
        scratch: &mut Scratch,
        spool: &mut Spool,
    ) -> Result<(), ReconcileError> {
        let table = || self.source.id().clone();
        let wrong = |source| ReconcileError::Digest { table: table(), source };
        let hash = digest::row(self.columns(), row, &mut scratch.row).map_err(wrong)?;
        scratch.key.clear();
        if self.keyless() {
            scratch.key.extend(hash.to_be_bytes());
        } else {
            let key = &self.source.table.key;
            digest::key(self.columns(), key, row, &mut scratch.key).map_err(wrong)?;
        }
        spool
            .push(&scratch.key, hash)
            .map_err(|source| ReconcileError::Spool { table: table(), source })
    }

    fn looks(&self, rows: &[Row]) -> Result<Looks, ReconcileError> {
        let wrong = |source| ReconcileError::Digest { table: self.source.id().clone(), source };
        let mut scratch = Scratch::default();
        let mut looks = Looks::with_capacity(rows.len());
        for row in rows {
            let hash = digest::row(self.columns(), row, &mut scratch.row).map_err(wrong)?;
            let mut key = Vec::new();
            digest::key(self.columns(), &self.source.table.key, row, &mut key).map_err(wrong)?;
            looks.insert(key, hash);
        }
        Ok(looks)
    }
}

#[derive(Debug, Default)]
struct Scratch {
    row: Vec<u8>,
    key: Vec<u8>,
}

/// Reads the whole table from SQL Server.
///
/// # Errors
/// When it cannot be read to its end: then nothing is known of it.
pub async fn spool_source(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
    spool: &mut Spool,
    progress: &Progress,
) -> Result<(), ReconcileError> {
    let failed = |source| ReconcileError::Source {
        table: shape.source.id().clone(),
        source: Box::new(source),
    };
    let range = KeyRange::default();
    let mut rows = causeway_sqlserver::rows::stream_table(client, &shape.source, &range, None)
        .await
        .map_err(failed)?;
    let mut scratch = Scratch::default();
    let mut unreported = 0;
    while let Some(row) = rows.next_row().await.map_err(failed)? {
        shape.push(&row, &mut scratch, spool)?;
        unreported += 1;
        if unreported == STEP {
            progress.rows("source", STEP);
            unreported = 0;
        }
    }
    progress.rows("source", unreported);
    Ok(())
}

/// Reads the whole table from PostgreSQL.
///
/// # Errors
/// When it cannot be read to its end: then nothing is known of it.
pub async fn spool_target(
    client: &causeway_postgres::Session,
    shape: &Shape,
    spool: &mut Spool,
    progress: &Progress,
) -> Result<(), ReconcileError> {
    let failed = |source| ReconcileError::Target {
        table: shape.source.id().clone(),
        source: Box::new(source),
    };
    let mut rows = causeway_postgres::rows::stream_table(client, &shape.target, shape.columns())
        .await
        .map_err(failed)?;
    let mut scratch = Scratch::default();
    let mut unreported = 0;
    while let Some(row) = rows.next_row().await.map_err(failed)? {
        shape.push(&row, &mut scratch, spool)?;
        unreported += 1;
        if unreported == STEP {
            progress.rows("target", STEP);
            unreported = 0;
        }
    }
    progress.rows("target", unreported);
    Ok(())
}

/// Looks at keys in SQL Server.
///
/// # Errors
/// When they cannot be read.
pub async fn look_at_source(
    client: &mut causeway_sqlserver::Client,
    shape: &Shape,
    keys: &[Row],
) -> Result<Looks, ReconcileError> {
    let rows = causeway_sqlserver::rows::select_by_keys(client, &shape.source, keys)
        .await
        .map_err(|source| ReconcileError::Source {
            table: shape.source.id().clone(),
            source: Box::new(source),
        })?;
    shape.looks(&rows)
}

/// Looks at keys in PostgreSQL.
///
/// # Errors
/// When they cannot be read.
pub async fn look_at_target(
    client: &causeway_postgres::Session,
    shape: &Shape,
    keys: &[Row],
) -> Result<Looks, ReconcileError> {
    let table = &shape.source.table;
    let rows = causeway_postgres::rows::select_by_keys(
        client,
        &shape.target,
        &table.columns,
        &table.key,
        keys,
    )
    .await
    .map_err(|source| ReconcileError::Target {
        table: shape.source.id().clone(),
        source: Box::new(source),
    })?;
    shape.looks(&rows)
}
