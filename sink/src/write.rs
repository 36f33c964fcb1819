//! Writes a slice of changes of one table and one shape: folded, deletes before puts.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_change::Column;
use causeway_observability::names::sink as names;
use causeway_postgres::{Config, Pooler, PostgresError, Session, copy::Rows, types};
use futures_util::SinkExt as _;
use tokio_postgres::{
    Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    SinkError,
    change::{Action, Change, Shape, fields, is_absent},
    fold, keyless,
    policy::Writing,
    statements,
    table::Tables,
};

/// Rows in one statement: its arrays are in memory on both sides.
const STATEMENT_ROWS: usize = 5_000;
/// From so many rows on a temporary table is faster than arrays (research E.3, `make bench`).
const STAGE_ROWS_MIN: usize = 3_000;
/// Fewer rows than that are not worth a savepoint.
const COPY_ROWS_MIN: usize = 200;
/// Bytes of a COPY that are on their way at a time.
const COPY_BYTES: usize = 256 << 10;
/// Deletes below this number must not flip the planner into reading the whole table (research E.3).
const FEW_KEYS: usize = 50_000;

/// One connection's prepared statements, by text; with a pooler none has a name.
pub struct Statements {
    pooler: Pooler,
    prepared: HashMap<String, Statement>,
    /// Temporary tables, by topic and schema.
    stages: HashMap<(Arc<str>, u32), Stage>,
    made: usize,
}

/// A temporary table that rows are copied into before they are inserted.
struct Stage {
    name: String,
    /// It has rows of this transaction.
    used: bool,
    /// It was made after the last savepoint.
    new: bool,
}

impl Statements {
    /// None is prepared yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { pooler: config.pooler, prepared: HashMap::new(), stages: HashMap::new(), made: 0 }
    }

    /// A transaction begins: temporary tables are empty.
    pub fn begin(&mut self) {
        self.stages.values_mut().for_each(|stage| stage.used = false);
    }

    /// Forgets them: the table under them was altered.
    pub fn forget(&mut self) {
        self.prepared.clear();
        self.rolled_back();
    }

    /// What is there now is there after [`Statements::undone`].
    pub fn savepoint(&mut self) {
        self.stages.values_mut().for_each(|stage| stage.new = false);
    }

    /// All since the last savepoint was rolled back.
    pub fn undone(&mut self) {
        self.stages.retain(|_, stage| !stage.new);
    }

    /// Something was rolled back: temporary tables may be gone.
    pub fn rolled_back(&mut self) {
        self.stages.clear();
    }

    /// An empty temporary table for rows of a shape.
    async fn stage(
        &mut self,
        client: &Session,
        shape: &Shape,
        doing: &str,
    ) -> Result<String, PostgresError> {
        let failed = |e| PostgresError::statement(doing, e);
        let place = (shape.topic.clone(), shape.schema_id);
        if let Some(stage) = self.stages.get_mut(&place) {
            if std::mem::replace(&mut stage.used, true) {
                client.batch_execute(&format!("TRUNCATE {}", stage.name)).await.map_err(failed)?;
            }
            return Ok(stage.name.clone());
        }
        self.made += 1;
        let name = format!("pg_temp.causeway_stage_{}", self.made);
        let sql = statements::stage(&name, &shape.columns)?;
        client.batch_execute(&sql).await.map_err(failed)?;
        self.stages.insert(place, Stage { name: name.clone(), used: true, new: true });
        Ok(name)
    }

    pub(crate) async fn execute(
        &mut self,
        client: &Session,
        doing: &str,
        sql: String,
        arrays: &[Array],
    ) -> Result<u64, PostgresError> {
        let failed = |e| PostgresError::statement(doing, e);
        if self.pooler == Pooler::Transaction {
            let params: Vec<(&(dyn ToSql + Sync), Type)> = arrays
                .iter()
                .map(|array| (array as &(dyn ToSql + Sync), array_of(&array.element)))
                .collect();
            return client.execute_typed(&sql, &params).await.map_err(failed);
        }
        let statement = match self.prepared.get(&sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = client.prepare(&sql).await.map_err(failed)?;
                self.prepared.insert(sql, statement.clone());
                statement
            }
        };
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        client.execute(&statement, &params).await.map_err(failed)
    }
}

/// The type of an array of such elements: of those that [`element`] gives.
fn array_of(element: &Type) -> Type {
    let known = [
        (Type::BOOL, Type::BOOL_ARRAY),
        (Type::INT2, Type::INT2_ARRAY),
        (Type::INT4, Type::INT4_ARRAY),
        (Type::INT8, Type::INT8_ARRAY),
        (Type::FLOAT4, Type::FLOAT4_ARRAY),
        (Type::FLOAT8, Type::FLOAT8_ARRAY),
        (Type::NUMERIC, Type::NUMERIC_ARRAY),
        (Type::DATE, Type::DATE_ARRAY),
        (Type::TIME, Type::TIME_ARRAY),
        (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        (Type::BPCHAR, Type::BPCHAR_ARRAY),
        (Type::VARCHAR, Type::VARCHAR_ARRAY),
        (Type::XML, Type::XML_ARRAY),
        (Type::UUID, Type::UUID_ARRAY),
        (Type::BYTEA, Type::BYTEA_ARRAY),
    ];
    let found = known.into_iter().find(|(one, _)| one == element);
    found.map_or(Type::TEXT_ARRAY, |(_, array)| array)
}

/// Applies changes of one shape, in the order of their partitions.
///
/// # Errors
/// What PostgreSQL answers; the transaction (or its savepoint) is then to be rolled back.
pub async fn write(
    client: &Session,
    statements: &mut Statements,
    tables: &mut Tables,
    shape: &Shape,
    changes: &[Change],
) -> Result<(), SinkError> {
    tables.fit(client, shape).await?;
    let doing = format!("write {} changes to {}.{}", changes.len(), shape.target.0, shape.target.1);
    if changes.iter().any(|change| matches!(change.action, Action::Match { .. })) {
        return keyless::write(client, statements, tables, shape, &doing, changes).await;
    }
    let folded = fold::fold(changes.iter().map(Change::step));
    if !folded.deletes.is_empty() {
        delete(client, statements, shape, &doing, &folded.deletes, changes).await?;
    }
    // Nothing replaces a row that is appended; a row that a snapshot reads is seldom there already.
    let new = folded.puts.is_empty() || changes.iter().all(|change| change.snapshot);
    let mut rows = folded.appends;
    rows.extend(folded.puts.iter().map(|(_, row)| row.as_ref()));
    if !rows.is_empty() {
        let ways = Ways { new, stage: folded.parts.is_empty() };
        put(client, statements, tables, shape, &doing, &rows, ways).await?;
    }
    update_parts(client, statements, shape, &doing, &folded.parts).await
}

/// Which ways there are to write some rows.
#[derive(Clone, Copy)]
pub(crate) struct Ways {
    /// They should not be there yet.
    pub(crate) new: bool,
    /// All of them are whole.
    pub(crate) stage: bool,
}

/// Inserts rows, or replaces them by their keys: straight into the table where they are new, by a temporary
/// table where they are many, by arrays where they are few.
pub(crate) async fn put(
    client: &Session,
    statements: &mut Statements,
    tables: &mut Tables,
    shape: &Shape,
    doing: &str,
    rows: &[&[u8]],
    ways: Ways,
) -> Result<(), SinkError> {
    let written = |method| {
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        names::ROWS_WRITTEN.add(count, &[("method", method)]);
    };
    let all: Vec<&Column> = shape.columns.iter().collect();
    let upserts = shape.policy.write == Writing::Upsert && !shape.key.is_empty();
    let sql = match shape.policy.write {
        Writing::Upsert => statements::upsert(&shape.target, &shape.columns, &shape.key)?,
        Writing::Insert => statements::insert(&shape.target, &shape.columns)?,
        Writing::Update => match statements::update_part(&shape.target, &all, &shape.key)? {
            Some(sql) => sql,
            // Without a column beside the key there is nothing to update.
            None => return Ok(()),
        },
    };
    let many = rows.len() >= COPY_ROWS_MIN && shape.policy.write != Writing::Update;
    if many && ways.new && tables.may_copy(&shape.topic) {
        if copies(client, shape, doing, rows).await? {
            written("copy");
            return Ok(());
        }
        tables.copy_refused(&shape.topic);
    }
    if upserts && ways.stage && rows.len() >= STAGE_ROWS_MIN && statements.pooler == Pooler::None {
        let stage = statements.stage(client, shape, doing).await?;
        copy(client, &statements::copy_stage(&stage, &shape.columns)?, shape, doing, rows).await?;
        let sql = statements::upsert_from(&shape.target, &shape.columns, &shape.key, &stage)?;
        statements.execute(client, doing, sql, &[]).await?;
        written("copy_upsert");
        return Ok(());
    }
    for rows in rows.chunks(STATEMENT_ROWS) {
        let arrays = arrays(&shape.columns, rows.iter().copied());
        statements.execute(client, doing, sql.clone(), &arrays).await?;
    }
    written("unnest");
    Ok(())
}

/// Direct COPY into the table; false when a row was there already or the table takes no COPY, and then
/// nothing was written.
async fn copies(
    client: &Session,
    shape: &Shape,
    doing: &str,
    rows: &[&[u8]],
) -> Result<bool, SinkError> {
    let failed = |e| PostgresError::statement(doing, e);
    let sql = statements::copy(&shape.target, &shape.columns)?;
    client.batch_execute("SAVEPOINT causeway_copy").await.map_err(failed)?;
    match copy(client, &sql, shape, doing, rows).await {
        Ok(()) => {
            client.batch_execute("RELEASE causeway_copy").await.map_err(failed)?;
            Ok(true)
        }
        // unique_violation; feature_not_supported (row security), wrong_object_type (a view)
        Err(error) if matches!(error.sqlstate(), Some("23505" | "0A000" | "42809")) => {
            client
                .batch_execute("ROLLBACK TO causeway_copy; RELEASE causeway_copy")
                .await
                .map_err(failed)?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends rows by one binary COPY.
async fn copy(
    client: &Session,
    sql: &str,
    shape: &Shape,
    doing: &str,
    rows: &[&[u8]],
) -> Result<(), PostgresError> {
    let failed = |e| PostgresError::statement(doing, e);
    let sink = client.copy_in::<_, Bytes>(sql).await.map_err(failed)?;
    let mut sink = Box::pin(sink);
    let mut copy = Rows::default();
    for row in rows {
        if copy.len() >= COPY_BYTES {
            sink.feed(copy.take()).await.map_err(failed)?;
        }
        copy.begin(shape.columns.len()).extend_from_slice(row);
    }
    sink.send(copy.finish()).await.map_err(failed)?;
    sink.as_mut().finish().await.map_err(failed)?;
    Ok(())
}

async fn delete(
    client: &Session,
    statements: &mut Statements,
    shape: &Shape,
    doing: &str,
    keys: &[&[u8]],
    changes: &[Change],
) -> Result<(), SinkError> {
    let set = async {
        // With a few thousand keys PostgreSQL would hash the whole table: research E.3, second trap.
        if changes.len() > FEW_KEYS {
            return Ok(());
        }
        client
            .batch_execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
            .await
            .map_err(|e| PostgresError::statement(doing, e).into())
    };
    let deleted = async {
        for keys in keys.chunks(STATEMENT_ROWS) {
            let arrays = arrays(&shape.key, keys.iter().copied());
            let sql = statements::delete(&shape.target, &shape.key)?;
            statements.execute(client, doing, sql, &arrays).await?;
        }
        Ok::<_, SinkError>(())
    };
    // Sent together, in this order, and answered together.
    let (set, deleted): (Result<(), SinkError>, _) = futures_util::join!(set, deleted);
    names::ROWS_WRITTEN.add(u64::try_from(keys.len()).unwrap_or(u64::MAX), &[("method", "delete")]);
    set.and(deleted)
}

/// Rows with absent fields: an update of the columns that are there, one statement for each set of them.
async fn update_parts(
    client: &Session,
    statements: &mut Statements,
    shape: &Shape,
    doing: &str,
    parts: &[(&[u8], Cow<'_, [u8]>)],
) -> Result<(), SinkError> {
    if parts.is_empty() {
        return Ok(());
    }
    names::ROWS_WRITTEN
        .add(u64::try_from(parts.len()).unwrap_or(u64::MAX), &[("method", "update")]);
    let mut by_columns: HashMap<Vec<bool>, Vec<&[u8]>> = HashMap::new();
    for (_, row) in parts {
        let present = fields(row).map(|field| !is_absent(field)).collect();
        by_columns.entry(present).or_default().push(row);
    }
    for (present, rows) in by_columns {
        let columns: Vec<&Column> = shape
            .columns
            .iter()
            .zip(&present)
            .filter(|(_, there)| **there)
            .map(|(c, _)| c)
            .collect();
        let Some(sql) = statements::update_part(&shape.target, &columns, &shape.key)? else {
            continue;
        };
        let narrowed: Vec<Vec<u8>> = rows
            .iter()
            .map(|row| fields(row).filter(|field| !is_absent(field)).flatten().copied().collect())
            .collect();
        let owned: Vec<Column> = columns.into_iter().cloned().collect();
        for rows in narrowed.chunks(STATEMENT_ROWS) {
            let arrays = arrays(&owned, rows.iter().map(Vec::as_slice));
            statements.execute(client, doing, sql.clone(), &arrays).await?;
        }
    }
    Ok(())
}

/// A PostgreSQL array whose elements are already in binary form.
#[derive(Debug)]
pub(crate) struct Array {
    element: Type,
    elements: Vec<u8>,
    count: i32,
}

/// Rows of fields become an array a column. An array's element and a row's field look the same.
pub(crate) fn arrays<'a>(columns: &[Column], rows: impl Iterator<Item = &'a [u8]>) -> Vec<Array> {
    let mut arrays: Vec<Array> = columns
        .iter()
        .map(|column| Array { element: element(column), elements: Vec::new(), count: 0 })
        .collect();
    for row in rows {
        for (array, field) in arrays.iter_mut().zip(fields(row)) {
            array.elements.extend_from_slice(field);
            array.count += 1;
        }
    }
    arrays
}

fn element(column: &Column) -> Type {
    match types::base_type(column.ty) {
        "bool" => Type::BOOL,
        "int2" => Type::INT2,
        "int4" => Type::INT4,
        "int8" => Type::INT8,
        "float4" => Type::FLOAT4,
        "float8" => Type::FLOAT8,
        "numeric" => Type::NUMERIC,
        "date" => Type::DATE,
        "time" => Type::TIME,
        "timestamp" => Type::TIMESTAMP,
        "timestamptz" => Type::TIMESTAMPTZ,
        "bpchar" => Type::BPCHAR,
        "varchar" => Type::VARCHAR,
        "xml" => Type::XML,
        "uuid" => Type::UUID,
        "bytea" => Type::BYTEA,
        _ => Type::TEXT,
    }
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // array_recv: dimensions, has-nulls flag, element type; then length and lower bound of each.
        out.put_i32(i32::from(self.count > 0));
        out.put_i32(1);
        out.put_u32(self.element.oid());
        if self.count > 0 {
            out.put_i32(self.count);
            out.put_i32(1);
        }
        out.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        // The statement's text has the cast that decides.
        true
    }

    to_sql_checked!();
}
