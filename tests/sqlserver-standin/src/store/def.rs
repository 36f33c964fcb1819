//! What a table is: columns, indexes, constraints. A definition never changes; DDL puts a new one in place.

use std::fmt;
use std::sync::Arc;

use super::{Key, Moment};
use crate::value::{Collation, Row, Ty, Val, collated_key_bytes};

/// IDENTITY(seed, increment).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub seed: i128,
    pub increment: i128,
}

/// A DEFAULT constraint.
#[derive(Clone, Debug)]
pub struct DefaultConstraint {
    pub name: String,
    pub object_id: i32,
    /// As `sys.default_constraints.definition` shows it, in parentheses.
    pub text: String,
    pub system_named: bool,
}

/// `AS (expression) [PERSISTED]`. The value is computed when the row is written.
#[derive(Clone, Debug)]
pub struct Computed {
    pub text: String,
    pub persisted: bool,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// `sys.columns.column_id`; never used again after a DROP COLUMN.
    pub id: i32,
    pub name: String,
    pub ty: Ty,
    /// The type's name as it was written, when another one than the type's own (numeric, sysname, timestamp).
    pub declared: Option<String>,
    pub nullable: bool,
    pub identity: Option<Identity>,
    pub default: Option<DefaultConstraint>,
    pub computed: Option<Computed>,
    pub collation: Option<String>,
    pub sparse: bool,
    pub row_guid: bool,
    /// GENERATED ALWAYS AS ROW START or END.
    pub generated: Option<Generated>,
    /// Not in `SELECT *`.
    pub hidden: bool,
}

/// What a column of a period holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    RowStart,
    RowEnd,
}

/// What a table is to its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Temporal {
    #[default]
    No,
    /// Its old rows go to this table (object id).
    Current(i32),
    /// It keeps the old rows of this one.
    History(i32),
}

impl Column {
    pub fn new(id: i32, name: &str, ty: Ty, nullable: bool) -> Self {
        Self {
            id,
            name: name.to_owned(),
            ty,
            declared: None,
            nullable,
            identity: None,
            default: None,
            computed: None,
            collation: None,
            sparse: false,
            row_guid: false,
            generated: None,
            hidden: false,
        }
    }
}

/// The predicate of a filtered index.
#[derive(Clone)]
pub struct Filter {
    pub text: String,
    pub test: Arc<dyn Fn(&[Val]) -> bool + Send + Sync>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A column of an index key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Position in `TableDef::columns`.
    pub column: usize,
    pub descending: bool,
}

/// An index, or the one behind a PRIMARY KEY or UNIQUE constraint.
#[derive(Clone, Debug)]
pub struct Index {
    /// `sys.indexes.index_id`: 1 is the clustered one.
    pub id: i32,
    pub name: String,
    pub unique: bool,
    pub clustered: bool,
    pub primary_key: bool,
    pub unique_constraint: bool,
    /// Object id of the key constraint; 0 for a plain index.
    pub constraint_id: i32,
    pub system_named: bool,
    pub columns: Vec<KeyColumn>,
    pub included: Vec<usize>,
    pub filter: Option<Filter>,
    pub disabled: bool,
}

/// What a foreign key does when the parent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    NoAction,
    Cascade,
    SetNull,
    SetDefault,
}

/// A FOREIGN KEY constraint of the referencing table.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    pub name: String,
    pub object_id: i32,
    pub system_named: bool,
    pub columns: Vec<usize>,
    /// Object id of the referenced table.
    pub parent: i32,
    /// `column_id`s in the referenced table.
    pub parent_columns: Vec<i32>,
    pub on_delete: Action,
    pub on_update: Action,
    pub disabled: bool,
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    pub object_id: i32,
    pub system_named: bool,
    pub text: String,
    /// Position of the column that it was written with, if any.
    pub column: Option<usize>,
    pub disabled: bool,
}

/// The definition of a table.
#[derive(Clone, Debug)]
pub struct TableDef {
    pub object_id: i32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    pub foreign_keys: Vec<ForeignKey>,
    pub checks: Vec<Check>,
    pub next_column_id: i32,
    pub create_date: Moment,
    pub modify_date: Moment,
    /// Made by the server (change tables and their like).
    pub is_ms_shipped: bool,
    pub temporal: Temporal,
}

impl TableDef {
    /// A table without indexes; add them before it is created.
    pub fn new(
        object_id: i32,
        schema: &str,
        name: &str,
        columns: Vec<Column>,
        now: Moment,
    ) -> Self {
        let next_column_id = columns.iter().map(|c| c.id).max().unwrap_or(0) + 1;
        Self {
            object_id,
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns,
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            checks: Vec::new(),
            next_column_id,
            create_date: now,
            modify_date: now,
            is_ms_shipped: false,
            temporal: Temporal::No,
        }
    }

    /// Position of a column, by name without regard to case.
    pub fn ordinal(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.name == name)
            .or_else(|| self.columns.iter().position(|c| super::same_name(&c.name, name)))
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.get(self.ordinal(name)?)
    }

    /// Position of the column with this `column_id`.
    pub fn ordinal_of_id(&self, id: i32) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// The clustered index and its position in `indexes`.
    pub fn clustered(&self) -> Option<(usize, &Index)> {
        self.indexes.iter().enumerate().find(|(_, i)| i.clustered)
    }

    pub fn primary_key(&self) -> Option<&Index> {
        self.indexes.iter().find(|i| i.primary_key)
    }

    pub fn identity(&self) -> Option<(usize, Identity)> {
        self.columns.iter().enumerate().find_map(|(i, c)| c.identity.map(|id| (i, id)))
    }

    /// The next free `index_id` (from 2; 1 is the clustered index).
    pub fn next_index_id(&self) -> i32 {
        self.indexes.iter().map(|i| i.id).max().unwrap_or(1).max(1) + 1
    }

    /// Whether an UPDATE that assigns these columns is a deferred one (delete and insert in the log).
    pub fn is_deferred(&self, assigned: &[usize]) -> bool {
        self.indexes
            .iter()
            .any(|i| i.unique && i.columns.iter().any(|c| assigned.contains(&c.column)))
    }

    /// `schema.name`, as errors name it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Appends the order-preserving bytes of an index key.
    pub fn index_key(&self, index: &Index, row: &[Val], out: &mut Vec<u8>) {
        for k in &index.columns {
            if let (Some(c), Some(v)) = (self.columns.get(k.column), row.get(k.column)) {
                encode_part(c, v, k.descending, out);
            }
        }
    }

    /// The duplicate key as errors show it: `(1, abc)` without the parentheses.
    pub fn key_text(&self, index: &Index, row: &[Val]) -> String {
        let parts = index.columns.iter().filter_map(|k| {
            let (c, v) = (self.columns.get(k.column)?, row.get(k.column)?);
            let typed = crate::value::Typed::new(c.ty, v.clone());
            Some(match typed.to_string16() {
                Ok(Some(s)) => String::from_utf16_lossy(&s),
                Ok(None) => "<NULL>".to_owned(),
                Err(_) => "?".to_owned(),
            })
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The bytes of one column of a key; `memcmp` order is the order of the index.
pub fn encode_part(column: &Column, value: &Val, descending: bool, out: &mut Vec<u8>) {
    let from = out.len();
    let own = column.collation.as_deref().map(Collation::by_name);
    collated_key_bytes(&column.ty, own, value, out);
    if descending && let Some(part) = out.get_mut(from..) {
        for b in part {
            *b = !*b;
        }
    }
}

/// The smallest byte string that is above every string starting with `prefix`; None when there is none.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < u8::MAX {
            out.push(last + 1);
            return Some(out);
        }
    }
    None
}

/// A row of a secondary index points to the row by its clustered key: index key, then clustered key.
pub(super) fn entry(index_key: &[u8], key: &Key) -> Key {
    index_key.iter().chain(key.iter()).copied().collect()
}

/// A row with one value more or less or changed; used by DDL.
pub fn edited(row: &Row, edit: impl FnOnce(&mut Vec<Val>)) -> Row {
    let mut values = row.to_vec();
    edit(&mut values);
    values.into()
}
