//! `causeway-sink status` and `causeway-sink offsets`: where the sink stands, from PostgreSQL, Kafka and
//! the running sink itself.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use causeway_kafka::Consumer;
use causeway_postgres::PostgresError;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_postgres::types::Type;

use crate::{
    SinkError, decode::table_of, dlq::open, pause, progress::next_epoch, run::Parts, statements,
};

/// How long the running sink may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// One partition.
#[derive(Clone, Debug)]
struct Partition {
    topic: String,
    partition: i32,
    next: i64,
    target: Option<String>,
    /// Seconds since the newest commit that was applied.
    age: Option<f64>,
    applied_at: String,
    open_letters: i64,
    low: i64,
    high: i64,
}

impl Partition {
    fn lag(&self) -> i64 {
        (self.high - self.next).max(0)
    }
}

async fn partitions(parts: &Parts) -> Result<(Vec<Partition>, Vec<String>), SinkError> {
    let client = open(parts).await?;
    let rows = client
        .query_typed(statements::STANDING, &[(&parts.pipeline, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("read the offsets", e))?;
    let consumer = Consumer::open(&parts.kafka, &parts.pipeline).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (topic, partition): (String, i32) = (row.get(0), row.get(1));
        let marks = consumer.watermarks(&topic, partition).await?;
        let target = row
            .get::<_, Option<&str>>(3)
            .zip(row.get::<_, Option<&str>>(4))
            .map(|(schema, table)| format!("{schema}.{table}"));
        found.push(Partition {
            topic,
            partition,
            next: row.get(2),
            target,
            age: row.get(5),
            applied_at: row.get(6),
            open_letters: row.get(8),
            low: marks.low,
            high: marks.high,
        });
    }
    let paused = pause::patterns(&client, &parts.pipeline).await?;
    Ok((found, paused))
}

/// Says where every table stands.
///
/// # Errors
/// When PostgreSQL or Kafka does not answer; a sink that does not run is no error.
pub async fn status(parts: &Parts, admin: SocketAddr, as_json: bool) -> Result<String, SinkError> {
    let (found, paused) = partitions(parts).await?;
    let running = ask(admin).await.filter(|status| status.get("sink").is_some());
    let sink = running.as_ref().and_then(|status| status.get("sink"));
    let of = |key: &str| sink.and_then(|sink| sink.get(key)).and_then(Json::as_str);
    let state = of("state").unwrap_or("not running");
    let mut topics: BTreeMap<&str, Vec<&Partition>> = BTreeMap::new();
    for partition in &found {
        topics.entry(&partition.topic).or_default().push(partition);
    }
    let tables: Vec<Json> = topics
        .into_iter()
        .map(|(topic, partitions)| {
            let lag: i64 = partitions.iter().map(|p| p.lag()).sum();
            let letters: i64 = partitions.iter().map(|p| p.open_letters).sum();
            let source = table_of(&parts.pipeline, topic);
            let is_paused = pause::holds(&paused, &parts.pipeline, topic);
            let state = match (is_paused, lag, sink.is_some()) {
                (true, _, _) => "paused",
                (false, _, false) => "not running",
                (false, 0, true) => "up to date",
                (false, _, true) => "applying",
            };
            json!({
                "table": source.map(|table| table.to_string()),
                "target": partitions.iter().find_map(|p| p.target.clone()),
                "topic": topic,
                "state": state,
                "lag": lag,
                "dead_letters": letters,
                "newest_commit_seconds_ago": partitions.iter().filter_map(|p| p.age).reduce(f64::min),
                "applied_at": partitions.iter().map(|p| p.applied_at.as_str()).max(),
            })
        })
        .collect();
    if as_json {
        let whole = json!({
            "pipeline": parts.pipeline, "state": state, "error": of("error"), "paused": paused, "tables": tables,
        });
        return Ok(format!("{whole:#}\n"));
    }
    let mut text = format!("pipeline {}: {state}", parts.pipeline);
    if let Some(error) = of("error") {
        text += &format!(" ({error})");
    }
    text += &format!(
        "\n{:<32}  {:<32}  {:<11}  {:>10}  {:>12}  applied\n",
        "table", "target", "state", "lag", "dead letters"
    );
    for table in &tables {
        let of = |key: &str| table.get(key).and_then(Json::as_str).unwrap_or("-").to_owned();
        let number = |key: &str| table.get(key).map_or_else(String::new, Json::to_string);
        text += &format!(
            "{:<32}  {:<32}  {:<11}  {:>10}  {:>12}  {}\n",
            of("table"),
            of("target"),
            of("state"),
            number("lag"),
            number("dead_letters"),
            of("applied_at"),
        );
    }
    Ok(text)
}

/// The status page of the sink that runs beside us, if one does.
async fn ask(admin: SocketAddr) -> Option<Json> {
    let page = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        let request = b"GET /status HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8(answer).ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    };
    tokio::time::timeout(ANSWER, page).await.ok()?
}

/// Shows the offsets.
///
/// # Errors
/// When PostgreSQL or Kafka does not answer.
pub async fn offsets(parts: &Parts) -> Result<String, SinkError> {
    let (found, _) = partitions(parts).await?;
    let mut text = format!(
        "{:<48}  {:>4}  {:>12}  {:>12}  {:>12}  {:>10}\n",
        "topic", "part", "next", "first", "end", "lag"
    );
    for p in &found {
        text += &format!(
            "{:<48}  {:>4}  {:>12}  {:>12}  {:>12}  {:>10}\n",
            p.topic,
            p.partition,
            p.next,
            p.low,
            p.high,
            p.lag()
        );
    }
    Ok(text)
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The first record that is still there.
    Earliest,
    /// The end: what is there now is not applied.
    Latest,
    /// This one.
    Offset(i64),
}

/// Sets the offset to be read next. A sink that runs loses the partitions by it, and takes them again.
///
/// # Errors
/// When there is no such partition or offset, or a server does not answer.
pub async fn reset(
    parts: &Parts,
    topic: &str,
    partition: Option<i32>,
    to: To,
    dry_run: bool,
) -> Result<String, SinkError> {
    let (found, _) = partitions(parts).await?;
    let chosen: Vec<&Partition> = found
        .iter()
        .filter(|p| p.topic == topic && partition.is_none_or(|number| number == p.partition))
        .collect();
    if chosen.is_empty() {
        return Err(SinkError::Asked(format!(
            "the sink has no such partition of {topic}; `causeway-sink offsets show` lists them"
        )));
    }
    let mut moves = Vec::with_capacity(chosen.len());
    for p in chosen {
        let next = match to {
            To::Earliest => p.low,
            To::Latest => p.high,
            To::Offset(offset) if (p.low..=p.high).contains(&offset) => offset,
            To::Offset(offset) => {
                return Err(SinkError::Asked(format!(
                    "offset {offset} is not in {topic} partition {}, which has {} to {}",
                    p.partition, p.low, p.high
                )));
            }
        };
        moves.push((p, next));
    }
    let mut text = String::new();
    for (p, next) in &moves {
        text += &format!("{} partition {}: {} -> {next}\n", p.topic, p.partition, p.next);
    }
    if dry_run {
        return Ok(text + "nothing was changed\n");
    }
    let mut client = open(parts).await?;
    let failed = |e| PostgresError::statement("reset offsets", e);
    let transaction = client.transaction().await.map_err(failed)?;
    let epoch = next_epoch(transaction.client(), &parts.pipeline).await?;
    for (p, next) in &moves {
        transaction
            .execute_typed(
                statements::RESET,
                &[
                    (&parts.pipeline, Type::TEXT),
                    (&p.topic, Type::TEXT),
                    (&p.partition, Type::INT4),
                    (next, Type::INT8),
                    (&epoch, Type::INT8),
                ],
            )
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(text + "sinks that are running go on from there\n")
}
