//! Writes a slice of changes of one table and one shape: folded, deletes before puts.

use std::{borrow::Cow, collections::HashMap};

use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_change::Column;
use causeway_postgres::{Config, Pooler, PostgresError, Session, copy::Rows, types};
use futures_util::SinkExt as _;
use tokio_postgres::{
    Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    SinkError,
    change::{Change, Shape, fields, is_absent},
    fold,
    policy::Writing,
    statements,
    table::{Known, Tables},
};

/// Rows in one statement: its arrays are in memory on both sides.
const STATEMENT_ROWS: usize = 5_000;
/// Bytes of a COPY that are on their way at a time.
const COPY_BYTES: usize = 256 << 10;
/// Deletes below this number must not flip the planner into reading the whole table (research E.3).
const FEW_KEYS: usize = 50_000;

/// One connection's prepared statements, by text; with a pooler none has a name.
pub struct Statements {
    pooler: Pooler,
    prepared: HashMap<String, Statement>,
}

impl Statements {
    /// None is prepared yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { pooler: config.pooler, prepared: HashMap::new() }
    }

    /// Forgets them: the table under them was altered.
    pub fn forget(&mut self) {
        self.prepared.clear();
    }

    async fn execute(
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
    let known = tables.fit(client, shape).await?;
    let folded = fold::fold(changes.iter().map(Change::step));
    let doing = format!("write {} changes to {}.{}", changes.len(), shape.target.0, shape.target.1);
    let snapshot = changes.iter().all(|change| change.snapshot);
    if known.fresh && !snapshot {
        tables.used(shape);
    }
    if !folded.deletes.is_empty() {
        delete(client, statements, shape, &doing, &folded.deletes, changes).await?;
    }
    let mut rows = folded.appends;
    rows.extend(folded.puts.iter().map(|(_, row)| row.as_ref()));
    let all: Vec<&Column> = shape.columns.iter().collect();
    let sql = match shape.policy.write {
        Writing::Upsert => Some(statements::upsert(&shape.target, &shape.columns, &shape.key)?),
        Writing::Insert => Some(statements::insert(&shape.target, &shape.columns)?),
        // Without a column beside the key there is nothing to update.
        Writing::Update => statements::update_part(&shape.target, &all, &shape.key)?,
    };
    let updates = shape.policy.write == Writing::Update;
    if known.fresh && snapshot && !updates && copies(client, shape, &doing, &rows, known).await? {
        return Ok(());
    }
    if let Some(sql) = sql {
        for rows in rows.chunks(STATEMENT_ROWS) {
            let arrays = arrays(&shape.columns, rows.iter().copied());
            statements.execute(client, &doing, sql.clone(), &arrays).await?;
        }
    }
    update_parts(client, statements, shape, &doing, &folded.parts).await
}

/// Direct COPY of snapshot rows into a table that we made; false when a row was there already (a chunk
/// that was read again after a crash), and then nothing was written.
async fn copies(
    client: &Session,
    shape: &Shape,
    doing: &str,
    rows: &[&[u8]],
    known: Known,
) -> Result<bool, SinkError> {
    if rows.is_empty() || !known.fresh {
        return Ok(false);
    }
    let failed = |e| PostgresError::statement(doing, e);
    client.batch_execute("SAVEPOINT causeway_copy").await.map_err(failed)?;
    let copied = async {
        let sql = statements::copy(&shape.target, &shape.columns)?;
        let sink = client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?;
        let mut sink = Box::pin(sink);
        let mut copy = Rows::default();
        for row in rows {
            if copy.len() >= COPY_BYTES {
                sink.feed(copy.take()).await.map_err(failed)?;
            }
            copy.begin(shape.columns.len()).extend_from_slice(row);
        }
        sink.send(copy.finish()).await.map_err(failed)?;
        sink.as_mut().finish().await.map_err(failed)
    }
    .await;
    match copied {
        Ok(_) => {
            client.batch_execute("RELEASE causeway_copy").await.map_err(failed)?;
            Ok(true)
        }
        Err(error) if error.sqlstate() == Some("23505") => {
            client
                .batch_execute("ROLLBACK TO causeway_copy; RELEASE causeway_copy")
                .await
                .map_err(failed)?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(
    client: &Session,
    statements: &mut Statements,
    shape: &Shape,
    doing: &str,
    keys: &[&[u8]],
    changes: &[Change],
) -> Result<(), SinkError> {
    // With a few thousand keys PostgreSQL would hash the whole table: research E.3, second trap.
    if changes.len() <= FEW_KEYS {
        client
            .batch_execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
            .await
            .map_err(|e| PostgresError::statement(doing, e))?;
    }
    for keys in keys.chunks(STATEMENT_ROWS) {
        let arrays = arrays(&shape.key, keys.iter().copied());
        let sql = statements::delete(&shape.target, &shape.key)?;
        statements.execute(client, doing, sql, &arrays).await?;
    }
    Ok(())
}

/// Rows with absent fields: an update of the columns that are there, one statement for each set of them.
async fn update_parts(
    client: &Session,
    statements: &mut Statements,
    shape: &Shape,
    doing: &str,
    parts: &[(&[u8], Cow<'_, [u8]>)],
) -> Result<(), SinkError> {
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
struct Array {
    element: Type,
    elements: Vec<u8>,
    count: i32,
}

/// Rows of fields become an array a column. An array's element and a row's field look the same.
fn arrays<'a>(columns: &[Column], rows: impl Iterator<Item = &'a [u8]>) -> Vec<Array> {
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
