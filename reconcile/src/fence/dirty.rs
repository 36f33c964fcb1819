//! The keys that changed while a comparison's two snapshots were taken: of these alone nothing is known.

use std::collections::HashSet;

use causeway_change::{Lsn, Row};
use causeway_sqlserver::{
    Client,
    changes::{self, Range},
    fence,
};

use crate::{
    error::ReconcileError,
    sides::{Scratch, Shape},
};

/// Keys by their canonical bytes; of a table without key the digests of its rows.
#[derive(Clone, Debug)]
pub enum Dirty {
    /// These.
    Keys(HashSet<Vec<u8>>),
    /// Too many to name, or not all of them can be named: every row.
    All,
}

impl Default for Dirty {
    fn default() -> Self {
        Self::Keys(HashSet::new())
    }
}

impl Dirty {
    /// Whether the row of a key may have changed.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::All => true,
        }
    }

    /// How many keys; none for all.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Keys(keys) => Some(keys.len()),
            Self::All => None,
        }
    }

    /// True when no row may have changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Reads the keys that changed after `after` up to `upto` from the change table.
    ///
    /// # Errors
    /// When SQL Server does not answer.
    pub async fn read(
        client: &mut Client,
        shape: &Shape,
        after: Lsn,
        upto: Lsn,
        most: usize,
    ) -> Result<Self, ReconcileError> {
        if upto <= after {
            return Ok(Self::default());
        }
        if shape.keyless() {
            return Self::read_rows(client, shape, after, upto, most).await;
        }
        let mut keys = HashSet::new();
        let mut wrong = None;
        let table = &shape.source.table;
        let columns: Vec<_> = table.key_columns().cloned().collect();
        let order: Vec<usize> = (0..columns.len()).collect();
        let read = fence::changed_keys(client, &shape.instance, after, upto, |key| {
            let mut bytes = Vec::new();
            match crate::digest::key(&columns, &order, &key, &mut bytes) {
                Ok(()) => {
                    keys.insert(bytes);
                }
                Err(error) => wrong = Some(error),
            }
            wrong.is_none() && keys.len() <= most
        });
        read.await.map_err(|source| failed(shape, source))?;
        if let Some(source) = wrong {
            return Err(ReconcileError::Digest { table: table.id.clone(), source });
        }
        Ok(if keys.len() > most { Self::All } else { Self::Keys(keys) })
    }

    /// Without key the rows themselves are named, before and after each change.
    async fn read_rows(
        client: &mut Client,
        shape: &Shape,
        after: Lsn,
        upto: Lsn,
        most: usize,
    ) -> Result<Self, ReconcileError> {
        let range = Range::Transactions(after, upto);
        let mut rows = changes::stream_changes(client, &shape.instance, range)
            .await
            .map_err(|source| failed(shape, source))?;
        let mut keys = HashSet::new();
        let mut scratch = Scratch::default();
        while let Some(change) = rows.next_row().await.map_err(|source| failed(shape, source))? {
            // A large value that the change table left out: the row cannot be named.
            if keys.len() > most || change.row.iter().any(causeway_change::Value::is_unavailable) {
                return Ok(Self::All);
            }
            shape.digest(&change.row, &mut scratch)?;
            keys.insert(scratch.key.clone());
        }
        Ok(Self::Keys(keys))
    }
}

fn failed(shape: &Shape, source: causeway_sqlserver::SqlServerError) -> ReconcileError {
    ReconcileError::Source { table: shape.source.id().clone(), source: Box::new(source) }
}

/// The canonical bytes of a key as values, to ask for its row.
///
/// # Errors
/// When the bytes are not those of such a key.
pub fn values(shape: &Shape, key: &[u8]) -> Result<Row, ReconcileError> {
    crate::digest::key_values(shape.source.table.key_columns(), key)
        .map_err(|source| ReconcileError::Digest { table: shape.source.id().clone(), source })
}
