//! One row that differs, as it is reported: its key, its state, which columns, and of what class.
//!
//! The key stands in every report, because without it nothing can be mended. Other values do so only when
//! the operator asks for them (`--show-values`).

use std::collections::BTreeMap;

use causeway_change::{Column, Row, Table, Value};
use causeway_postgres::literal;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    class::{self, Class},
    compare::Kind,
    digest,
};

/// What is known of a row in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The source has it, the target has not, and no change of it is on its way.
    ConfirmedMissingInTarget,
    /// The target has it, the source has not, and no change of it is on its way.
    ConfirmedExtraInTarget,
    /// Both have it with other values, and no change of it is on its way.
    ConfirmedDifferent,
    /// It changed at every look; no statement is made.
    Unstable,
}

impl State {
    /// The state of a confirmed difference.
    #[must_use]
    pub fn confirmed(kind: Kind) -> Self {
        match kind {
            Kind::MissingInTarget => Self::ConfirmedMissingInTarget,
            Kind::ExtraInTarget => Self::ConfirmedExtraInTarget,
            Kind::Different => Self::ConfirmedDifferent,
        }
    }

    /// True for a difference that is sure.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        match self {
            Self::ConfirmedMissingInTarget
            | Self::ConfirmedExtraInTarget
            | Self::ConfirmedDifferent => true,
            Self::Unstable => false,
        }
    }

    /// As it stands in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfirmedMissingInTarget => "confirmed_missing_in_target",
            Self::ConfirmedExtraInTarget => "confirmed_extra_in_target",
            Self::ConfirmedDifferent => "confirmed_different",
            Self::Unstable => "unstable",
        }
    }
}

/// A key by its columns, for people and programs; `None` is NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedKey(pub Vec<(String, Option<String>)>);

impl NamedKey {
    /// From the values of a key's columns.
    #[must_use]
    pub fn new<'a>(columns: impl Iterator<Item = &'a Column>, values: &[Value]) -> Self {
        Self(
            columns
                .zip(values)
                .map(|(column, value)| (column.name.clone(), literal::text(column.ty, value)))
                .collect(),
        )
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for NamedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// One column of a row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Its name.
    pub column: String,
    /// Why it differs.
    pub class: Class,
    /// Both values, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// The values of a cell, as PostgreSQL would write them; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Values {
    /// In SQL Server.
    pub source: Option<String>,
    /// In PostgreSQL.
    pub target: Option<String>,
}

/// One row that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Canonical bytes of the key; of a row without key its digest.
    #[serde(skip)]
    pub key_bytes: Vec<u8>,
    /// The key.
    pub key: NamedKey,
    /// What is known of it.
    pub state: State,
    /// Why it differs; none when a side does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The columns that differ; none when a side does not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Cell>,
    /// Looks that were needed.
    pub checks: u32,
}

impl Finding {
    /// A row whose columns are not compared.
    #[must_use]
    pub fn bare(table: &Table, key_bytes: Vec<u8>, state: State, checks: u32) -> Self {
        let key = if table.key.is_empty() {
            let digest: String = key_bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            NamedKey(vec![("row_digest".to_owned(), Some(digest))])
        } else {
            let values = digest::key_values(table.key_columns(), &key_bytes).unwrap_or_default();
            NamedKey::new(table.key_columns(), &values)
        };
        Self { key_bytes, key, state, class: None, columns: Vec::new(), checks }
    }

    /// Compares the row's columns one by one.
    #[must_use]
    pub fn with_rows(mut self, table: &Table, source: &Row, target: &Row, values: bool) -> Self {
        self.columns = table
            .columns
            .iter()
            .zip(source.iter().zip(target))
            .filter_map(|(column, (a, b))| {
                let class = class::of(column, a, b)?;
                let values = values.then(|| Values {
                    source: literal::text(column.ty, a),
                    target: literal::text(column.ty, b),
                });
                Some(Cell { column: column.name.clone(), class, values })
            })
            .collect();
        self.class = Some(class::of_row(self.columns.iter().map(|cell| cell.class)));
        self
    }
}

/// How often a column differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ColumnCount {
    /// Rows in which it does.
    pub different: u64,
    /// Of them by class.
    pub classes: BTreeMap<Class, u64>,
}

impl ColumnCount {
    /// Counts one row.
    pub fn add(&mut self, class: Class) {
        self.different += 1;
        *self.classes.entry(class).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{ColumnType, Length, TableId};

    fn table() -> Table {
        let column =
            |name: &str, ty| Column { name: name.to_owned(), ty, nullable: true, default: None };
        Table {
            database: "d".to_owned(),
            id: TableId::new("dbo", "t"),
            columns: vec![
                column("id", ColumnType::Int),
                column("name", ColumnType::NVarChar(Length::Of(9))),
                column("n", ColumnType::Int),
            ],
            key: vec![0],
        }
    }

    #[test]
    fn values_are_shown_only_when_asked_for_and_the_key_always() {
        let table = table();
        let mut key = Vec::new();
        let row = |name: &str, n| vec![Value::I32(7), Value::Text(name.to_owned()), Value::I32(n)];
        digest::key(&table.columns, &table.key, &row("", 0), &mut key).unwrap();
        let bare = Finding::bare(&table, key, State::ConfirmedDifferent, 2);
        let hidden = bare.clone().with_rows(&table, &row("secret", 1), &row("SECRET", 1), false);
        let text = serde_json::to_string(&hidden).unwrap();
        assert_eq!(
            text,
            "{\"key\":{\"id\":\"7\"},\"state\":\"confirmed_different\",\"class\":\"case\",\
             \"columns\":[{\"column\":\"name\",\"class\":\"case\"}],\"checks\":2}"
        );
        let shown = bare.with_rows(&table, &row("secret", 1), &row("SECRET", 2), true);
        assert_eq!(shown.columns.len(), 2);
        assert_eq!(shown.class, Some(Class::Value));
        assert!(serde_json::to_string(&shown).unwrap().contains("\"source\":\"secret\""));
    }
}
