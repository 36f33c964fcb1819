//! [`Table`]: which columns are replicated, and which of them are the key.

use std::fmt;

use crate::Column;

/// The name of a table inside its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// Schema, `dbo` for most.
    pub schema: String,
    /// Table name, as written in the catalogue.
    pub name: String,
}

impl TableId {
    /// A table of a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One version of one table: the shape that a [`crate::Row`] of it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Database that the table lives in.
    pub database: String,
    /// Schema and name.
    pub id: TableId,
    /// Columns in the order of the rows' values.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key's columns, in key order; empty for a table without key.
    pub key: Vec<usize>,
}

impl Table {
    /// The index of a column by its exact name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The key's columns, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&i| self.columns.get(i))
    }
}
