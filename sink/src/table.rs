//! Target tables: made when they are missing, given the columns that the source got, widened where
//! nothing can be lost. What cannot be done is one list that says what is wrong with which column.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use causeway_change::Column;
use causeway_observability::names::sink as names;
use causeway_postgres::{
    PostgresError, Session,
    catalog::{self, ExistingTable},
    identifier, types,
};

use tokio_postgres::types::Type;

use crate::{
    SinkError,
    change::Shape,
    fit::{Fit, fit},
    policy::{OnChange, Policy},
    statements,
};

/// What must be done to a table, and what we cannot or may not do. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `ALTER TABLE ... <text>`
    pub alter: Vec<String>,
    /// A person must mend it: the sink cannot write this table.
    pub problems: Vec<String>,
    /// A rule says that records which need it are set aside.
    pub aside: Vec<String>,
}

/// The tables that this connection knows to fit, by topic and schema id.
#[derive(Debug)]
pub struct Tables {
    pipeline: String,
    fit: HashSet<(Arc<str>, u32)>,
    /// Those found to fit since the last savepoint.
    since: Vec<(Arc<str>, u32)>,
    copying: HashMap<Arc<str>, Copying>,
}

/// Whether rows of a topic that should not be there yet may be copied straight into their table.
#[derive(Clone, Copy, Debug, Default)]
struct Copying {
    /// How often a row was there all the same.
    conflicts: u32,
    /// Batches until it is tried again.
    skip: u32,
}

/// The lock that serializes changes of tables: of all pipelines and sinks of the database.
const DDL_LOCK: i32 = 7242;

impl Tables {
    /// Knows none yet.
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            fit: HashSet::new(),
            since: Vec::new(),
            copying: HashMap::new(),
        }
    }

    /// Makes sure that the table of a shape can take its rows. Runs inside the batch's transaction:
    /// DDL and data are one.
    ///
    /// # Errors
    /// When the table cannot be made to fit, or PostgreSQL refuses.
    pub async fn fit(&mut self, client: &Session, shape: &Shape) -> Result<(), SinkError> {
        let place = (shape.topic.clone(), shape.schema_id);
        if self.fit.contains(&place) {
            return Ok(());
        }
        let (schema, table) = &shape.target;
        let mut found = catalog::table(client, schema, table).await?;
        let mut past = past(client, &self.pipeline, &shape.topic).await?;
        if found.as_ref().is_none_or(|found| plan(found, shape, &past) != Plan::default()) {
            // Another lane or sink may be about to do the same: one after the other.
            lock(client, schema).await?;
            found = catalog::table(client, schema, table).await?;
            past = self::past(client, &self.pipeline, &shape.topic).await?;
        }
        let shown = format!("{schema}.{table}");
        let oid = match found {
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
                let made = catalog::table(client, schema, table).await?;
                made.map(|table| table.oid)
            }
            Some(found) => {
                self.alter(client, shape, &found, &past).await?;
                past.made.filter(|oid| *oid == found.oid)
            }
        };
        let schema_id = i64::from(shape.schema_id);
        client
            .execute_typed(
                statements::TARGET,
                &[
                    (&self.pipeline, Type::TEXT),
                    (&shape.topic.as_ref(), Type::TEXT),
                    (schema, Type::TEXT),
                    (table, Type::TEXT),
                    (&oid, Type::OID),
                    (&schema_id, Type::INT8),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("note the target table", e))?;
        self.since.push(place.clone());
        self.fit.insert(place);
        Ok(())
    }

    async fn alter(
        &self,
        client: &Session,
        shape: &Shape,
        found: &ExistingTable,
        past: &Past,
    ) -> Result<(), SinkError> {
        let (schema, table) = &shape.target;
        let shown = format!("{schema}.{table}");
        let plan = plan(found, shape, past);
        if !plan.problems.is_empty() {
            return Err(SinkError::Table { table: shown, why: plan.problems.join("; ") });
        }
        if !plan.aside.is_empty() {
            return Err(SinkError::Aside { table: shown, why: plan.aside.join("; ") });
        }
        for text in plan.alter {
            let sql = format!("ALTER TABLE {} {text}", identifier::table(schema, table)?);
            run(client, &format!("alter table {shown}"), &sql).await?;
            tracing::info!(table = %shown, change = %text, "table altered");
            names::SCHEMA_CHANGES.add(1, &[("table", &shown)]);
        }
        Ok(())
    }

    /// Whether to try a plain COPY of rows that a snapshot read. Where rows were there already, it is tried
    /// less and less often.
    pub fn may_copy(&mut self, topic: &Arc<str>) -> bool {
        let Some(copying) = self.copying.get_mut(topic) else { return true };
        copying.skip = copying.skip.saturating_sub(1);
        copying.skip == 0
    }

    /// A row was there already, or the table takes no COPY.
    pub fn copy_refused(&mut self, topic: &Arc<str>) {
        let copying = self.copying.entry(topic.clone()).or_default();
        copying.conflicts += 1;
        copying.skip = 1 << (2 * copying.conflicts).min(10);
    }

    /// What is known now holds after [`Tables::undone`].
    pub fn savepoint(&mut self) {
        self.since.clear();
    }

    /// All since the last savepoint was rolled back: what it made is not there.
    pub fn undone(&mut self) {
        for place in self.since.drain(..) {
            self.fit.remove(&place);
        }
    }

    /// Forgets everything: after a rollback a table that was made is not there, after an error of the
    /// schema it is not what we thought.
    pub fn forget(&mut self) {
        self.fit.clear();
        self.since.clear();
    }
}

/// Until the end of the transaction; by schema, for that may have to be made, too.
async fn lock(client: &Session, schema: &str) -> Result<(), PostgresError> {
    client
        .execute_typed(
            "SELECT pg_advisory_xact_lock($1, hashtext($2))",
            &[(&DDL_LOCK, Type::INT4), (&schema, Type::TEXT)],
        )
        .await
        .map_err(|e| PostgresError::statement(format!("wait to change schema {schema}"), e))?;
    Ok(())
}

async fn run(client: &Session, doing: &str, sql: &str) -> Result<(), PostgresError> {
    client.batch_execute(sql).await.map_err(|e| PostgresError::statement(doing, e))
}

/// What we know of a topic's table from before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// Number of the table that we made.
    pub made: Option<u32>,
    /// The newest schema that was written to it.
    pub schema_id: Option<u32>,
}

/// Reads what we know of a topic's table.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn past(client: &Session, pipeline: &str, topic: &str) -> Result<Past, PostgresError> {
    let row = client
        .query_typed_opt(statements::PAST, &[(&pipeline, Type::TEXT), (&topic, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("look up the target of a topic", e))?;
    Ok(row.map_or_else(Past::default, |row| Past {
        made: row.get(0),
        schema_id: u32::try_from(row.get::<_, i64>(1)).ok(),
    }))
}

/// What must be done to an existing table before it can take rows of a shape.
#[must_use]
pub fn plan(found: &ExistingTable, shape: &Shape, past: &Past) -> Plan {
    let Shape { columns, key, policy, .. } = shape;
    let ours = past.made == Some(found.oid);
    // A late record of an older version says nothing about what the table has lost.
    let newest = past.schema_id.is_none_or(|newest| shape.schema_id >= newest);
    let mut plan = Plan::default();
    plan.problems.extend(names_too_long(shape));
    let want: Vec<&str> = sorted(key.iter().map(|c| c.name.as_str()));
    let have: Vec<&str> = sorted(found.primary_key.iter().map(String::as_str));
    if !key.is_empty() && want != have {
        plan.problems.push(format!(
            "its primary key is ({}), the records' key is ({}): rows could not be found again. Make the \
             primary key the same, or drop the table and let causeway-sink create it",
            found.primary_key.join(", "),
            want.join(", ")
        ));
    }
    for column in columns {
        // Names that cannot be quoted are among the problems already.
        let Ok(quoted) = identifier::quote(&column.name) else { continue };
        one(&mut plan, found, column, &quoted, want.contains(&column.name.as_str()), policy);
    }
    for (name, existing) in &found.columns {
        if columns.iter().any(|column| column.name == *name) {
            continue;
        }
        if ours && newest {
            let text =
                format!("column {name} is not in the records any more: it was dropped or renamed");
            by_policy(&mut plan, policy.lost_column, None, text);
        }
        if existing.not_null && !existing.has_default {
            match identifier::quote(name) {
                Ok(quoted) if ours => {
                    plan.alter.push(format!("ALTER COLUMN {quoted} DROP NOT NULL"));
                }
                _ => plan.problems.push(format!(
                    "column {name} is NOT NULL without a default, and the records do not have it: give it a \
                     default, or ALTER COLUMN \"{name}\" DROP NOT NULL"
                )),
            }
        }
    }
    plan
}

/// One column of the records.
fn one(
    plan: &mut Plan,
    found: &ExistingTable,
    column: &Column,
    quoted: &str,
    in_key: bool,
    policy: &Policy,
) {
    let (name, wanted) = (&column.name, types::sql_type(column.ty));
    let Some(existing) = found.columns.get(name) else {
        let add = format!("ADD COLUMN {quoted} {wanted}");
        let text = format!("column {name} ({wanted}) is missing");
        return by_policy(plan, policy.new_column, Some(add), text);
    };
    if existing.generated {
        return plan.problems.push(format!(
            "column {name} is GENERATED ALWAYS and cannot be written: make it a plain column, or leave it out \
             with exclude"
        ));
    }
    if existing.not_null && column.nullable && !in_key {
        let relax = format!("ALTER COLUMN {quoted} DROP NOT NULL");
        let text = format!("column {name} is NOT NULL, and can be NULL in the source");
        by_policy(plan, policy.null_column, Some(relax), text);
    }
    match fit(&existing.declared, &wanted) {
        Fit::Holds => {}
        Fit::Widen(to) => {
            let text = format!("column {name} is {}, too narrow for {wanted}", existing.declared);
            let widen = format!("ALTER COLUMN {quoted} TYPE {to}");
            by_policy(plan, policy.wider_column, Some(widen), text);
        }
        Fit::Refuse => plan.problems.push(format!(
            "column {name} is {}, which does not hold {wanted}: change its type, or leave it out with exclude",
            existing.declared
        )),
    }
}

fn by_policy(plan: &mut Plan, policy: OnChange, follow: Option<String>, text: String) {
    match policy {
        OnChange::Follow => plan.alter.extend(follow),
        OnChange::Dlq => plan.aside.push(text),
        OnChange::Stop => {
            plan.problems.push(format!("{text}, and [[sink.tables]] says stop: change the table"));
        }
    }
}

/// Names that PostgreSQL would cut: table, schema and columns.
pub fn names_too_long(shape: &Shape) -> impl Iterator<Item = String> {
    let names = [&shape.target.0, &shape.target.1];
    names
        .into_iter()
        .chain(shape.columns.iter().map(|column| &column.name))
        .filter_map(|name| Some(identifier::quote(name).err()?.to_string()))
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
