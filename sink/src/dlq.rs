//! `causeway-sink dlq`: dead letters are listed, shown and given up here; [`crate::replay`] applies them.

use causeway_change::{Column, Lsn, Value};
use causeway_postgres::{Client, PostgresError};
use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    SinkError,
    decode::Loose,
    pattern,
    run::Parts,
    shown::{hex, shown},
    statements,
};

/// Which dead letters are meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Of these tables: a glob over the source's schema.table.
    #[arg(long, value_name = "GLOB")]
    pub table: Option<String>,
    /// With this SQLSTATE.
    #[arg(long, value_name = "STATE")]
    pub sqlstate: Option<String>,
    /// Whose reason has this text in it.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// First seen at this time or later, as PostgreSQL reads times: 2026-11-20T08:00Z, yesterday.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// With this number; can be given several times.
    #[arg(long, value_name = "ID")]
    pub id: Vec<i64>,
}

/// Where a letter is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Neither replayed nor given up: pending or parked.
    Open,
    /// Could not be applied.
    Pending,
    /// Waits for an older record of its key.
    Parked,
    /// A newer change of its key was applied.
    Superseded,
    /// Was applied later.
    Replayed,
    /// Was given up.
    Discarded,
    /// Any of them.
    All,
}

impl Status {
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Open => &["pending", "parked"],
            Self::Pending => &["pending"],
            Self::Parked => &["parked"],
            Self::Superseded => &["superseded"],
            Self::Replayed => &["replayed"],
            Self::Discarded => &["discarded"],
            Self::All => &["pending", "parked", "superseded", "replayed", "discarded"],
        }
    }
}

/// A filter in the form in which the statements take it: parameters 1 to 7.
pub(crate) struct Chosen {
    pipeline: String,
    table: Option<String>,
    sqlstate: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    ids: Option<Vec<i64>>,
    statuses: Vec<&'static str>,
}

impl Chosen {
    pub(crate) fn new(pipeline: &str, filter: &Filter, status: Status) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            table: filter.table.as_deref().map(pattern::like),
            sqlstate: filter.sqlstate.clone(),
            reason: filter.reason.clone(),
            since: filter.since.clone(),
            ids: (!filter.id.is_empty()).then(|| filter.id.clone()),
            statuses: status.names().to_vec(),
        }
    }

    pub(crate) fn params(&self) -> [(&(dyn ToSql + Sync), Type); 7] {
        [
            (&self.pipeline, Type::TEXT),
            (&self.table, Type::TEXT),
            (&self.sqlstate, Type::TEXT),
            (&self.reason, Type::TEXT),
            (&self.since, Type::TEXT),
            (&self.ids, Type::INT8_ARRAY),
            (&self.statuses, Type::TEXT_ARRAY),
        ]
    }
}

impl Filter {
    /// True when it means every letter.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.table.is_none()
            && self.sqlstate.is_none()
            && self.reason.is_none()
            && self.since.is_none()
            && self.id.is_empty()
    }
}

/// Connects, and says so when no sink of the database has ever run.
pub(crate) async fn open(parts: &Parts) -> Result<Client, SinkError> {
    let client = Client::connect(&parts.postgres).await?;
    crate::progress::setup(&client).await?;
    Ok(client)
}

fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> PostgresError {
    move |error| PostgresError::statement(doing, error)
}

/// Lists letters, newest last.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn list(
    parts: &Parts,
    filter: &Filter,
    status: Status,
    limit: i64,
    as_json: bool,
) -> Result<String, SinkError> {
    let client = open(parts).await?;
    let chosen = Chosen::new(&parts.pipeline, filter, status);
    let mut params = chosen.params().to_vec();
    params.push((&limit, Type::INT8));
    let rows = client
        .query_typed(statements::LIST_LETTERS, &params)
        .await
        .map_err(failed("list the dead letters"))?;
    let letters: Vec<Json> = rows.iter().map(described).collect();
    if as_json {
        return Ok(letters.iter().fold(String::new(), |text, letter| format!("{text}{letter}\n")));
    }
    let mut text = format!(
        "{:>6}  {:<10}  {:<20}  {:<8}  {:<28}  record, reason\n",
        "id", "status", "first seen", "sqlstate", "table"
    );
    for letter in &letters {
        let of = |key: &str| letter.get(key).and_then(Json::as_str).unwrap_or("-").to_owned();
        let number = |key: &str| letter.get(key).map_or_else(String::new, Json::to_string);
        text += &format!(
            "{:>6}  {:<10}  {:<20}  {:<8}  {:<28}  {}/{}/{}: {}\n",
            number("id"),
            of("status"),
            of("first_seen"),
            of("sqlstate"),
            of("table"),
            of("topic"),
            number("partition"),
            number("offset"),
            of("reason"),
        );
    }
    Ok(text + &format!("{} letters\n", letters.len()))
}

/// What a letter says of itself, without a value.
fn described(row: &Row) -> Json {
    let lsn = row.get::<_, Option<&[u8]>>("source_lsn").and_then(|lsn| Lsn::try_from(lsn).ok());
    json!({
        "id": row.get::<_, i64>("id"),
        "status": row.get::<_, String>("status"),
        "table": row.get::<_, Option<String>>("source_table"),
        "topic": row.get::<_, String>("topic"),
        "partition": row.get::<_, i32>("partition"),
        "offset": row.get::<_, i64>("offset"),
        "stage": row.get::<_, String>("stage"),
        "sqlstate": row.get::<_, Option<String>>("sqlstate"),
        "column": row.get::<_, Option<String>>("column"),
        "constraint": row.get::<_, Option<String>>("constraint"),
        "reason": row.get::<_, String>("reason"),
        "attempts": row.get::<_, i32>("attempts"),
        "source_lsn": lsn.map(|lsn| lsn.to_string()),
        "first_seen": row.get::<_, String>("first_seen_text"),
        "closed_at": row.get::<_, Option<String>>("closed_at_text"),
        "key_bytes": row.get::<_, Option<i32>>("key_bytes"),
        "value_bytes": row.get::<_, Option<i32>>("value_bytes"),
    })
}

/// Shows one letter; its key and row only when asked to.
///
/// # Errors
/// When there is none of that number, or a server does not answer.
pub async fn show(parts: &Parts, id: i64, with_values: bool) -> Result<String, SinkError> {
    let client = open(parts).await?;
    let filter = Filter { id: vec![id], ..Filter::default() };
    let chosen = Chosen::new(&parts.pipeline, &filter, Status::All);
    let mut params = chosen.params().to_vec();
    params.push((&1i64, Type::INT8));
    let row = client
        .query_typed_opt(statements::LIST_LETTERS, &params)
        .await
        .map_err(failed("read a dead letter"))?
        .ok_or_else(|| {
            SinkError::Asked(format!("there is no dead letter {id} in this pipeline"))
        })?;
    let mut letter = described(&row);
    let mut more = serde_json::Map::new();
    if with_values {
        let body = client
            .query_typed_one(statements::LETTER_BODIES, &[(&vec![id], Type::INT8_ARRAY)])
            .await
            .map_err(failed("read a dead letter"))?;
        let message = crate::replay::message(&body);
        let headers = message
            .headers
            .iter()
            .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
            .collect();
        more.insert("headers".to_owned(), headers);
        let mut records = parts.records()?;
        match records.loose(&message).await? {
            Loose::Read { shape, operation, before, after, key } => {
                more.insert("operation".to_owned(), operation.letter().into());
                more.insert(
                    "key".to_owned(),
                    named(key.iter().map(|(column, value)| (column, value))),
                );
                let columns = shape.reader.columns();
                for (name, image) in [("before", &before), ("after", &after)] {
                    more.insert(
                        name.to_owned(),
                        image.as_ref().map_or(Json::Null, |row| named(columns.iter().zip(row))),
                    );
                }
            }
            Loose::Bytes(why) => {
                more.insert("unreadable".to_owned(), why.into());
                more.insert("key".to_owned(), message.key.as_deref().map(hex).into());
                more.insert("value".to_owned(), message.value.as_deref().map(hex).into());
            }
        }
    }
    if let Some(letter) = letter.as_object_mut() {
        letter.extend(more);
    }
    Ok(format!("{letter:#}\n"))
}

fn named<'a>(fields: impl Iterator<Item = (&'a Column, &'a Value)>) -> Json {
    fields.map(|(column, value)| (column.name.clone(), shown(column.ty, value))).collect()
}

/// Gives letters up.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn discard(parts: &Parts, filter: &Filter, dry_run: bool) -> Result<String, SinkError> {
    let client = open(parts).await?;
    let chosen = Chosen::new(&parts.pipeline, filter, Status::Open);
    let count = if dry_run {
        let sql = statements::COUNT_LETTERS;
        let row = client.query_typed_one(sql, &chosen.params()).await;
        let count: i64 = row.map_err(failed("count the dead letters"))?.get(0);
        u64::try_from(count).unwrap_or(0)
    } else {
        let sql = statements::DISCARD;
        client.execute_typed(sql, &chosen.params()).await.map_err(failed("discard dead letters"))?
    };
    let would = if dry_run { " would be" } else { "" };
    Ok(format!("{count} letters{would} discarded\n"))
}
