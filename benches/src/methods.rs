//! What PostgreSQL does with rows that are in memory already, by each way to write them: the limits that
//! a sink is measured against. A commit for each batch.

use std::{collections::HashMap, pin::pin, time::Instant};

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_change::Row;
use causeway_postgres::encode;
use causeway_tests::postgres::{Client, Postgres};
use futures_util::SinkExt as _;
use tokio_postgres::{
    Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    feed::{Step, row},
    orders,
};

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Binary COPY into the table itself: only for rows that are not there.
    Copy,
    /// Binary COPY into a temporary table, and `INSERT ... SELECT ... ON CONFLICT`.
    CopyUpsert,
    /// `INSERT ... SELECT FROM unnest(arrays) ON CONFLICT`.
    Unnest,
    /// `INSERT ... VALUES (...), (...) ON CONFLICT`, 1,000 rows a statement.
    Values,
    /// A prepared statement for each row, 500 of them under way at a time.
    Row,
}

impl Method {
    pub(crate) const UPSERTS: [Self; 4] = [Self::CopyUpsert, Self::Unnest, Self::Values, Self::Row];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::CopyUpsert => "copy_upsert",
            Self::Unnest => "unnest",
            Self::Values => "values",
            Self::Row => "row",
        }
    }
}

/// Rows of one statement of [`Method::Values`]: a statement has at most 65,535 parameters.
const VALUES: usize = 1000;
/// Statements of [`Method::Row`] on their way at a time.
const PIPELINED: usize = 500;
const PIECE: usize = 256 << 10;

/// One batch in PostgreSQL's binary form.
pub(crate) struct Batch {
    /// Fields of each row: length in four bytes and bytes, or -1.
    puts: Vec<Vec<Option<Bytes>>>,
    deletes: Vec<i64>,
}

impl Batch {
    /// The rows of steps.
    pub(crate) fn new(steps: &[Step]) -> Result<Self> {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Read(id) => puts.push(binary(&row(*id, 0))?),
                Step::Insert(id) | Step::Update(id) => puts.push(binary(&row(*id, 1))?),
                Step::Delete(id) => deletes.push(*id),
            }
        }
        Ok(Self { puts, deletes })
    }

    fn len(&self) -> usize {
        self.puts.len() + self.deletes.len()
    }
}

fn binary(row: &Row) -> Result<Vec<Option<Bytes>>> {
    let table = orders::table();
    let fields = table.columns.iter().zip(row).map(|(column, value)| {
        let mut field = Vec::new();
        encode::field(column, value, &mut field)?;
        Ok((!value.is_null()).then(|| Bytes::from(field).slice(4..)))
    });
    fields.collect::<Result<_, causeway_postgres::EncodeError>>().context("encode a row")
}

/// The columns with the types that arrays of them have.
const COLUMNS: [(&str, Type); 10] = [
    ("order_id", Type::INT8),
    ("customer_id", Type::INT4),
    ("status", Type::INT2),
    ("total", Type::NUMERIC),
    ("fee", Type::NUMERIC),
    ("weight", Type::FLOAT8),
    ("customer", Type::VARCHAR),
    ("comment", Type::VARCHAR),
    ("placed_at", Type::TIMESTAMP),
    ("reference", Type::UUID),
];

fn names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

fn on_conflict() -> String {
    let set: Vec<String> =
        COLUMNS.iter().skip(1).map(|(name, _)| format!("{name} = EXCLUDED.{name}")).collect();
    format!("ON CONFLICT (order_id) DO UPDATE SET {}", set.join(", "))
}

fn values(rows: usize) -> String {
    let one = |row: usize| {
        let marks: Vec<String> =
            (1..=COLUMNS.len()).map(|i| format!("${}", row * COLUMNS.len() + i)).collect();
        format!("({})", marks.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(one).collect();
    format!("INSERT INTO raw ({}) VALUES {} {}", names(), rows.join(", "), on_conflict())
}

/// Makes the table `raw` like another one, with its indexes; `full` with its rows too.
pub(crate) async fn prepare(client: &Client, like: &str, full: bool) -> Result<()> {
    let fill = if full { format!("INSERT INTO raw SELECT * FROM {like};") } else { String::new() };
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS raw; CREATE TABLE raw (LIKE {like} INCLUDING ALL); {fill}"
        ))
        .await
        .context("make a table to write to")?;
    stage(client, like).await?;
    client.batch_execute("VACUUM ANALYZE raw").await.context("analyze")?;
    client.batch_execute("CHECKPOINT").await.context("checkpoint")
}

/// Makes the temporary table of a connection.
pub(crate) async fn stage(client: &Client, like: &str) -> Result<()> {
    let sql = format!(
        "DROP TABLE IF EXISTS stage; CREATE TEMP TABLE stage (LIKE {like}) ON COMMIT DELETE ROWS"
    );
    client.batch_execute(&sql).await.context("make a temporary table")
}

/// More connections.
pub(crate) async fn connect(
    postgres: &Postgres,
    database: &str,
    count: usize,
) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(postgres.client(database).await?);
    }
    Ok(clients)
}

/// Rows per second of a method into the table `raw`, by each connection with batches of its own.
pub(crate) async fn run(
    clients: &[&Client],
    method: Method,
    batches: &[Vec<Batch>],
) -> Result<f64> {
    let start = Instant::now();
    let writing = clients.iter().zip(batches).map(|(client, batches)| async move {
        let mut writer = Writer { client, prepared: HashMap::new() };
        let mut rows = 0_u32;
        for batch in batches {
            let written = writer.write(method, batch).await;
            written.with_context(|| format!("write by {}", method.name()))?;
            rows += u32::try_from(batch.len()).context("count")?;
        }
        Ok::<_, anyhow::Error>(rows)
    });
    let rows: u32 = futures_util::future::try_join_all(writing).await?.into_iter().sum();
    Ok(f64::from(rows) / start.elapsed().as_secs_f64())
}

struct Writer<'a> {
    client: &'a Client,
    prepared: HashMap<String, Statement>,
}

impl Writer<'_> {
    async fn prepared(&mut self, sql: String) -> Result<Statement> {
        if let Some(statement) = self.prepared.get(&sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql).await.context("prepare")?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }

    async fn write(&mut self, method: Method, batch: &Batch) -> Result<()> {
        let client = self.client;
        client.batch_execute("BEGIN").await?;
        self.delete(method, &batch.deletes).await?;
        match method {
            Method::Copy => self.copy("raw", batch).await?,
            Method::CopyUpsert => {
                self.copy("stage", batch).await?;
                let names = names();
                let sql = format!(
                    "INSERT INTO raw ({names}) SELECT {names} FROM stage {}",
                    on_conflict()
                );
                let statement = self.prepared(sql).await?;
                client.execute(&statement, &[]).await?;
            }
            Method::Unnest => {
                let arrays: Vec<Array<'_>> = COLUMNS
                    .into_iter()
                    .enumerate()
                    .map(|(column, (_, element))| Array { element, column, batch })
                    .collect();
                let casts: Vec<String> = COLUMNS
                    .iter()
                    .enumerate()
                    .map(|(i, (_, ty))| format!("${}::{ty}[]", i + 1))
                    .collect();
                let sql = format!(
                    "INSERT INTO raw ({}) SELECT * FROM unnest({}) {}",
                    names(),
                    casts.join(", "),
                    on_conflict()
                );
                let statement = self.prepared(sql).await?;
                let params: Vec<&(dyn ToSql + Sync)> =
                    arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
                client.execute(&statement, &params).await?;
            }
            Method::Values => {
                for rows in batch.puts.chunks(VALUES) {
                    let statement = self.prepared(values(rows.len())).await?;
                    let fields: Vec<Raw<'_>> = rows.iter().flatten().map(Raw).collect();
                    let params: Vec<&(dyn ToSql + Sync)> =
                        fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
                    client.execute(&statement, &params).await?;
                }
            }
            Method::Row => {
                let statement = self.prepared(values(1)).await?;
                for rows in batch.puts.chunks(PIPELINED) {
                    let sent = rows.iter().map(|row| async {
                        let fields: Vec<Raw<'_>> = row.iter().map(Raw).collect();
                        let params: Vec<&(dyn ToSql + Sync)> =
                            fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
                        client.execute(&statement, &params).await
                    });
                    futures_util::future::try_join_all(sent).await?;
                }
            }
        }
        client.batch_execute("COMMIT").await.context("commit")
    }

    async fn delete(&mut self, method: Method, keys: &[i64]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        if method == Method::Row {
            let statement = self.prepared("DELETE FROM raw WHERE order_id = $1".to_owned()).await?;
            for keys in keys.chunks(PIPELINED) {
                let sent = keys.iter().map(|key| async {
                    let params: [&(dyn ToSql + Sync); 1] = [key];
                    self.client.execute(&statement, &params).await
                });
                futures_util::future::try_join_all(sent).await?;
            }
            return Ok(());
        }
        // A hash join would read the whole table.
        let off = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
        self.client.batch_execute(off).await?;
        let sql = "DELETE FROM raw USING unnest($1::int8[]) k(id) WHERE order_id = k.id";
        let statement = self.prepared(sql.to_owned()).await?;
        self.client.execute(&statement, &[&keys]).await?;
        Ok(())
    }

    async fn copy(&self, table: &str, batch: &Batch) -> Result<()> {
        let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names());
        let mut sink = pin!(self.client.copy_in::<_, Bytes>(&sql).await?);
        let mut out = BytesMut::with_capacity(PIECE + 1024);
        out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for row in &batch.puts {
            out.put_i16(i16::try_from(row.len())?);
            row.iter().for_each(|field| put(field.as_ref(), &mut out));
            if out.len() >= PIECE {
                sink.feed(out.split().freeze()).await?;
            }
        }
        out.put_i16(-1);
        sink.feed(out.freeze()).await?;
        sink.close().await.context("copy")
    }
}

fn put(field: Option<&Bytes>, out: &mut BytesMut) {
    match field {
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

/// A parameter that is in binary form already.
#[derive(Debug)]
struct Raw<'a>(&'a Option<Bytes>);

impl ToSql for Raw<'_> {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = self.0 else { return Ok(IsNull::Yes) };
        out.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The column of a batch as an array.
struct Array<'a> {
    element: Type,
    column: usize,
    batch: &'a Batch,
}

impl std::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Array").field("element", &self.element).finish_non_exhaustive()
    }
}

impl ToSql for Array<'_> {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_i32(1);
        out.put_i32(1);
        out.put_u32(self.element.oid());
        out.put_i32(i32::try_from(self.batch.puts.len())?);
        out.put_i32(1);
        for row in &self.batch.puts {
            put(row.get(self.column).and_then(Option::as_ref), out);
        }
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
