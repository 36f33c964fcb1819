//! Target tables: made when they are missing, given the columns that the source got, widened where
//! nothing can be lost. What cannot be done is an error that says what is wrong with which column.

use std::collections::HashMap;

use causeway_change::Column;
use causeway_observability::names::sink as names;
use causeway_postgres::{
    PostgresError, Session,
    catalog::{self, ExistingTable, TableColumn},
    identifier, types,
};

use crate::{SinkError, change::Shape, statements};

/// What must be done to a table. Pure.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// `ALTER TABLE ... <text>`
    Alter(String),
    /// It cannot be mended by us.
    Refuse(String),
}

/// The tables that this connection knows to fit, by topic and schema id.
#[derive(Debug, Default)]
pub struct Tables {
    fit: HashMap<(std::sync::Arc<str>, u32), Known>,
}

/// What is known of a table that fits.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// We made it, and nothing but snapshots has been written to it since: a plain COPY can do.
    pub fresh: bool,
}

impl Tables {
    /// Makes sure that the table of a shape can take its rows. Runs inside the batch's transaction:
    /// DDL and data are one.
    ///
    /// # Errors
    /// When the table cannot be made to fit, or PostgreSQL refuses.
    pub async fn fit(&mut self, client: &Session, shape: &Shape) -> Result<Known, SinkError> {
        let place = (shape.topic.clone(), shape.schema_id);
        if let Some(known) = self.fit.get(&place) {
            return Ok(*known);
        }
        let (schema, table) = &shape.target;
        let found = catalog::table(client, schema, table).await?;
        let shown = format!("{schema}.{table}");
        let known = match found {
            None => {
                let create_schema =
                    format!("CREATE SCHEMA IF NOT EXISTS {}", identifier::quote(schema)?);
                let create = statements::create_table(&shape.target, &shape.columns, &shape.key)?;
                run(
                    client,
                    &format!("create table {shown}"),
                    &format!("{create_schema}; {create}"),
                )
                .await?;
                tracing::info!(table = %shown, source = %shape.source, "table created");
                names::SCHEMA_CHANGES.add(1, &[("table", &shown)]);
                Known { fresh: true }
            }
            Some(found) => {
                for step in plan(&found, &shape.columns, &shape.key)? {
                    match step {
                        Step::Refuse(why) => return Err(SinkError::Table { table: shown, why }),
                        Step::Alter(text) => {
                            let sql =
                                format!("ALTER TABLE {} {text}", identifier::table(schema, table)?);
                            run(client, &format!("alter table {shown}"), &sql).await?;
                            tracing::info!(table = %shown, change = %text, "table altered");
                            names::SCHEMA_CHANGES.add(1, &[("table", &shown)]);
                        }
                    }
                }
                Known { fresh: false }
            }
        };
        self.fit.insert(place, known);
        Ok(known)
    }

    /// Changes, not only snapshot rows, are written to the table from now on.
    pub fn used(&mut self, shape: &Shape) {
        if let Some(known) = self.fit.get_mut(&(shape.topic.clone(), shape.schema_id)) {
            known.fresh = false;
        }
    }

    /// Forgets everything: after a rollback a table that was made is not there, after an error of the
    /// schema it is not what we thought.
    pub fn forget(&mut self) {
        self.fit.clear();
    }
}

async fn run(client: &Session, doing: &str, sql: &str) -> Result<(), PostgresError> {
    client.batch_execute(sql).await.map_err(|e| PostgresError::statement(doing, e))
}

/// What must be done to an existing table before it can take rows with these columns.
///
/// # Errors
/// When a name cannot be written.
pub fn plan(
    found: &ExistingTable,
    columns: &[Column],
    key: &[Column],
) -> Result<Vec<Step>, PostgresError> {
    let mut steps = Vec::new();
    let mut want: Vec<&str> = key.iter().map(|c| c.name.as_str()).collect();
    let mut have: Vec<&str> = found.primary_key.iter().map(String::as_str).collect();
    want.sort_unstable();
    have.sort_unstable();
    if !key.is_empty() && want != have {
        steps.push(Step::Refuse(format!(
            "its primary key is ({}), the records' key is ({}): rows could not be found again. Make the \
             primary key the same, or drop the table and let causeway-sink create it",
            found.primary_key.join(", "),
            want.join(", ")
        )));
    }
    for column in columns {
        let quoted = identifier::quote(&column.name)?;
        let wanted = types::sql_type(column.ty);
        match found.columns.get(&column.name) {
            None => steps.push(Step::Alter(format!("ADD COLUMN {quoted} {wanted}"))),
            Some(existing) if existing.generated => steps.push(Step::Refuse(format!(
                "column {} is GENERATED ALWAYS and cannot be written",
                column.name
            ))),
            Some(existing) => {
                if existing.not_null && column.nullable && !want.contains(&column.name.as_str()) {
                    steps.push(Step::Alter(format!("ALTER COLUMN {quoted} DROP NOT NULL")));
                }
                if widens(existing, &wanted) {
                    steps.push(Step::Alter(format!("ALTER COLUMN {quoted} TYPE {wanted}")));
                }
            }
        }
    }
    for (name, existing) in &found.columns {
        if existing.not_null && !columns.iter().any(|column| column.name == *name) {
            steps.push(Step::Alter(format!(
                "ALTER COLUMN {} DROP NOT NULL",
                identifier::quote(name)?
            )));
        }
    }
    Ok(steps)
}

/// True when every value of the existing column fits the wanted type, and the wanted one holds more.
fn widens(existing: &TableColumn, wanted: &str) -> bool {
    let rank = |base: &str| ["smallint", "integer", "bigint"].iter().position(|name| *name == base);
    if let (Some(old), Some(new)) = (rank(&existing.declared), rank(wanted)) {
        return new > old;
    }
    let (old_name, old) = split(&existing.declared);
    let (new_name, new) = split(wanted);
    match (old_name.as_str(), new_name.as_str()) {
        ("character varying", "text") => true,
        (a, b) if a != b => false,
        ("numeric", _) => match (old.as_slice(), new.as_slice()) {
            ([p1, s1], [p2, s2]) => {
                s2 >= s1 && p2.saturating_sub(*s2) >= p1.saturating_sub(*s1) && (p2, s2) != (p1, s1)
            }
            _ => false,
        },
        ("character varying" | "character", _)
        | (
            "time without time zone" | "timestamp without time zone" | "timestamp with time zone",
            _,
        ) => {
            matches!((old.as_slice(), new.as_slice()), ([a], [b]) if b > a)
        }
        _ => false,
    }
}

/// `timestamp(3) with time zone` -> (`timestamp with time zone`, [3]); the short forms that we write
/// get their long names.
fn split(declared: &str) -> (String, Vec<u32>) {
    let (name, numbers, rest) = match (declared.find('('), declared.find(')')) {
        (Some(open), Some(close)) => (
            declared.get(..open).unwrap_or_default(),
            declared.get(open + 1..close).unwrap_or_default(),
            declared.get(close + 1..).unwrap_or_default(),
        ),
        _ => (declared, "", ""),
    };
    let mut name = format!("{name}{rest}");
    if name == "time" || name == "timestamp" {
        name.push_str(" without time zone");
    }
    (name, numbers.split(',').filter_map(|n| n.trim().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use causeway_change::{ColumnType, Length};

    use super::*;

    fn existing(declared: &str, not_null: bool) -> TableColumn {
        TableColumn {
            base_type: String::new(),
            declared: declared.to_owned(),
            not_null,
            generated: false,
        }
    }

    fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
        Column { name: name.to_owned(), ty, nullable, default: None }
    }

    #[test]
    fn only_what_loses_nothing_is_widened() {
        for (old, new, widens_it) in [
            ("integer", "bigint", true),
            ("bigint", "integer", false),
            ("character varying(10)", "character varying(20)", true),
            ("character varying(20)", "character varying(10)", false),
            ("character varying(20)", "text", true),
            ("numeric(10,2)", "numeric(12,2)", true),
            ("numeric(10,2)", "numeric(10,4)", false),
            ("numeric(10,2)", "numeric(10,2)", false),
            ("timestamp(3) without time zone", "timestamp(6)", true),
            ("timestamp(6) with time zone", "timestamp(3) with time zone", false),
            ("text", "integer", false),
            ("uuid", "uuid", false),
        ] {
            assert_eq!(widens(&existing(old, false), new), widens_it, "{old} -> {new}");
        }
    }

    #[test]
    fn a_table_is_made_to_fit_or_refused() {
        let found = ExistingTable {
            columns: [
                ("id".to_owned(), existing("integer", true)),
                ("gone".to_owned(), existing("text", true)),
                ("n".to_owned(), existing("integer", true)),
            ]
            .into(),
            primary_key: vec!["id".to_owned()],
        };
        let id = column("id", ColumnType::BigInt, false);
        let columns = [
            id.clone(),
            column("n", ColumnType::Int, true),
            column("new", ColumnType::VarChar(Length::Of(5)), false),
        ];
        assert_eq!(
            plan(&found, &columns, std::slice::from_ref(&id)).unwrap(),
            [
                Step::Alter("ALTER COLUMN \"id\" TYPE bigint".to_owned()),
                Step::Alter("ALTER COLUMN \"n\" DROP NOT NULL".to_owned()),
                Step::Alter("ADD COLUMN \"new\" character varying(5)".to_owned()),
                Step::Alter("ALTER COLUMN \"gone\" DROP NOT NULL".to_owned()),
            ]
        );
        let other = [column("n", ColumnType::Int, false)];
        assert!(
            matches!(&plan(&found, &columns, &other).unwrap()[0], Step::Refuse(why) if why.contains("(id)"))
        );
    }
}
