//! Statements that make the target's rows what the source's are, and those that undo it. Pure.
//!
//! A statement touches a row only while the target still holds what was compared: a change that the pipeline
//! applies in the meantime wins, and a statement that is run twice does nothing the second time. Deletes are
//! written only when they are allowed.

use causeway_change::{Column, ColumnType, Row, Table};
use causeway_postgres::{PostgresError, identifier, literal, types};

/// What must be done to one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The target lacks it.
    Insert(Row),
    /// The target has other values: the source's row, the target's row.
    Update(Row, Row),
    /// The source lacks it: the target's row.
    Delete(Row),
}

/// How much a repair may do.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Rows of one repair.
    pub rows: usize,
    /// Rows of one table in percent of the table.
    pub percent: f64,
    /// Whether rows that only the target has may be deleted.
    pub deletes: bool,
}

/// What a repair of one table would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Rows to insert.
    pub inserts: usize,
    /// Rows to update.
    pub updates: usize,
    /// Rows to delete.
    pub deletes: usize,
}

impl Count {
    /// Counts actions.
    #[must_use]
    pub fn of(actions: &[Action]) -> Self {
        let mut count = Self::default();
        for action in actions {
            match action {
                Action::Insert(_) => count.inserts += 1,
                Action::Update(..) => count.updates += 1,
                Action::Delete(_) => count.deletes += 1,
            }
        }
        count
    }

    /// Why the caps forbid it, if they do; `table_rows` is the size of the table.
    #[must_use]
    pub fn refused(&self, caps: &Caps, table_rows: Option<u64>) -> Option<String> {
        let rows = self.inserts + self.updates + if caps.deletes { self.deletes } else { 0 };
        if rows > caps.rows {
            return Some(format!("{rows} rows are more than --max-rows {}", caps.rows));
        }
        #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
        let share = table_rows.map(|all| rows as f64 * 100.0 / (all.max(1) as f64));
        // Of a small table one row is much; the percentage is a limit for large ones.
        match share {
            Some(share) if share > caps.percent && rows > 100 => Some(format!(
                "{rows} rows are {share:.1} % of the table, more than --max-percent {}",
                caps.percent
            )),
            _ => None,
        }
    }
}

/// A statement and the one that undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statements {
    /// Makes the target's row the source's.
    pub apply: String,
    /// Makes it what it was, if nobody has changed it since.
    pub undo: String,
}

/// The statements for one row.
///
/// # Errors
/// When a name cannot be written in PostgreSQL.
pub fn statements(
    table: &Table,
    target: &(String, String),
    action: &Action,
) -> Result<Statements, PostgresError> {
    let write = Writer { table, name: identifier::table(&target.0, &target.1)? };
    Ok(match action {
        Action::Insert(row) => Statements { apply: write.insert(row)?, undo: write.delete(row)? },
        Action::Delete(row) => Statements { apply: write.delete(row)?, undo: write.insert(row)? },
        Action::Update(source, target) => {
            Statements { apply: write.update(target, source)?, undo: write.update(source, target)? }
        }
    })
}

struct Writer<'a> {
    table: &'a Table,
    name: String,
}

impl Writer<'_> {
    fn cells<'a>(
        &'a self,
        row: &'a Row,
    ) -> impl Iterator<Item = (usize, &'a Column, &'a causeway_change::Value)> {
        self.table
            .columns
            .iter()
            .zip(row)
            .enumerate()
            .map(|(i, (column, value))| (i, column, value))
    }

    fn insert(&self, row: &Row) -> Result<String, PostgresError> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (_, column, value) in self.cells(row) {
            names.push(identifier::quote(&column.name)?);
            values.push(literal::literal(column.ty, value));
        }
        Ok(format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT DO NOTHING;",
            self.name,
            names.join(", "),
            values.join(", ")
        ))
    }

    fn delete(&self, row: &Row) -> Result<String, PostgresError> {
        Ok(format!("DELETE FROM {} WHERE {};", self.name, self.is(row, |_| true)?))
    }

    /// Sets the columns that differ, where the row is still as it was.
    fn update(&self, from: &Row, to: &Row) -> Result<String, PostgresError> {
        let differs = |i: usize| match (self.table.columns.get(i), from.get(i), to.get(i)) {
            (Some(column), Some(a), Some(b)) => !crate::digest::same(column, a, b),
            _ => false,
        };
        let mut set = Vec::new();
        for (i, column, value) in self.cells(to) {
            if differs(i) {
                let value = literal::literal(column.ty, value);
                set.push(format!("{} = {value}", identifier::quote(&column.name)?));
            }
        }
        Ok(format!(
            "UPDATE {} SET {} WHERE {};",
            self.name,
            set.join(", "),
            self.is(from, differs)?
        ))
    }

    /// That a row has its key and, in the columns asked for, its values.
    fn is(&self, row: &Row, asked: impl Fn(usize) -> bool) -> Result<String, PostgresError> {
        let mut conditions = Vec::new();
        for (i, column, value) in self.cells(row) {
            let name = identifier::quote(&column.name)?;
            if self.table.key.contains(&i) {
                conditions.push(format!("{name} = {}", literal::literal(column.ty, value)));
            } else if asked(i) {
                conditions.push(unchanged(&name, column.ty, value));
            }
        }
        Ok(conditions.join(" AND "))
    }
}

/// xml has no equality of its own; its text has. Floats are cast to their declared width.
fn unchanged(name: &str, ty: ColumnType, value: &causeway_change::Value) -> String {
    let value = literal::literal(ty, value);
    if ty == ColumnType::Xml {
        format!("{name}::text IS NOT DISTINCT FROM ({value})::text")
    } else {
        format!("{name}::{} IS NOT DISTINCT FROM {value}", types::sql_type(ty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{Length, TableId, Value};

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

    fn row(name: &str, n: Value) -> Row {
        vec![Value::I32(7), Value::Text(name.to_owned()), n]
    }

    #[test]
    fn a_statement_touches_a_row_only_while_it_is_as_it_was_compared() {
        let target = ("public".to_owned(), "t".to_owned());
        let of = |action| statements(&table(), &target, &action).unwrap();
        let update = of(Action::Update(row("it's", Value::I32(1)), row("x", Value::I32(1))));
        assert_eq!(
            update.apply,
            "UPDATE \"public\".\"t\" SET \"name\" = 'it''s'::character varying(9) WHERE \"id\" = '7'::integer AND \
             \"name\"::character varying(9) IS NOT DISTINCT FROM 'x'::character varying(9);"
        );
        assert!(update.undo.contains("SET \"name\" = 'x'"), "{}", update.undo);
        let insert = of(Action::Insert(row("a", Value::Null)));
        assert!(insert.apply.ends_with("ON CONFLICT DO NOTHING;"), "{}", insert.apply);
        assert!(insert.undo.starts_with("DELETE FROM"), "{}", insert.undo);
        let delete = of(Action::Delete(row("a", Value::Null)));
        assert_eq!((delete.apply, delete.undo), (insert.undo, insert.apply));
    }

    #[test]
    fn caps_refuse_what_is_too_much() {
        let caps = Caps { rows: 1000, percent: 1.0, deletes: false };
        let count = |updates, deletes| Count { inserts: 0, updates, deletes };
        assert_eq!(count(1000, 9000).refused(&caps, None), None);
        assert!(count(1001, 0).refused(&caps, None).unwrap().contains("--max-rows"));
        assert!(count(500, 0).refused(&caps, Some(10_000)).unwrap().contains("--max-percent"));
        assert_eq!(count(50, 0).refused(&caps, Some(60)), None);
        let caps = Caps { deletes: true, ..caps };
        assert!(count(0, 9000).refused(&caps, None).is_some());
    }
}
