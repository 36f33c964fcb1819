//! The offsets topic for people: shown in words, reset, and written from a Debezium connector's offsets.

use std::{collections::BTreeMap, net::SocketAddr};

use causeway_change::{Lsn, TableId};
use causeway_kafka::{Admin, Record, Transactional, read_compacted, topic};
use causeway_sqlserver::{Client, catalog, log};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    SourceError,
    choose::choose_for_import,
    debezium::{self, DebeziumError},
    message_key,
    run::{Settings, offsets_topic},
    shared::now_ns,
    state::{self, SnapshotState, Stored, TableState},
};

/// A source that lives writes its position at least this often, idle or not.
const SILENT_MS: i64 = 60_000;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why the offsets were not changed.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// A server, or what is stored.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A source runs, or may.
    #[error(
        "{0}; stop it first (a source that runs would go on with what it has in memory), or give --force, which \
         takes the transactional id over; the source then begins again from what is stored"
    )]
    Running(String),
    /// Nothing is stored.
    #[error("nothing is stored for database {database} in topic {topic}")]
    Nothing {
        /// Topic.
        topic: String,
        /// Database.
        database: String,
    },
    /// A table that is not known.
    #[error("nothing is stored of table {table}; known are {known}")]
    UnknownTable {
        /// What was asked for.
        table: TableId,
        /// What there is.
        known: String,
    },
    /// A position exists.
    #[error(
        "the pipeline has a position in database {database} already; causeway-source offsets reset --yes removes it"
    )]
    Exists {
        /// Database.
        database: String,
    },
    /// The connector's offsets.
    #[error(transparent)]
    Debezium(#[from] DebeziumError),
}

async fn records(settings: &Settings) -> Result<Records, OffsetsError> {
    let topic = topic::offsets(&settings.pipeline);
    let exists = Admin::new(&settings.kafka).map_err(SourceError::from)?.describe(&topic).await;
    if exists.map_err(SourceError::from)?.is_none() {
        return Ok(Records::new());
    }
    Ok(read_compacted(&settings.kafka, &topic).await.map_err(SourceError::from)?)
}

/// What is stored, in words.
pub async fn show(settings: &Settings) -> Result<String, OffsetsError> {
    let records = records(settings).await?;
    let mut text =
        format!("pipeline {}, topic {}\n", settings.pipeline, topic::offsets(&settings.pipeline));
    text.push_str(&describe(&records, now_ns() / 1_000_000)?);
    Ok(text)
}

/// Every database of the topic.
fn describe(records: &Records, now_ms: i64) -> Result<String, SourceError> {
    let databases = state::databases(records);
    if databases.is_empty() {
        return Ok("nothing is stored: the next start is the first\n".to_owned());
    }
    let mut text = String::new();
    for database in databases {
        let stored = state::read(records, &database)?;
        let mut lines = vec![
            format!("\ndatabase {database}"),
            format!("  position  {}", position_line(&stored, now_ms)),
        ];
        for (id, table) in &stored.tables {
            lines.push(format!("  table     {id}: {}", table_line(table)));
        }
        for (id, adhoc) in &stored.adhoc {
            for table in &adhoc.tables {
                let (schema, name, rows) = (&table.schema, &table.name, table.snapshot.rows());
                lines.push(format!("  signal    {id}: {schema}.{name} at {rows} rows"));
            }
        }
        if stored.signals.paused {
            lines.push("  the source is paused by a signal".to_owned());
        }
        if stored.signals.snapshots_paused {
            lines.push("  snapshots are paused by a signal".to_owned());
        }
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

fn position_line(stored: &Stored, now_ms: i64) -> String {
    let Some(position) = stored.position else {
        return "none: the next start begins at what is captured then".to_owned();
    };
    let place = if position.is_transaction_end() {
        format!("{}, the end of a transaction", position.commit_lsn)
    } else {
        format!(
            "{}, inside a transaction (command {}, seqval {}, operation {})",
            position.commit_lsn, position.command_id, position.seqval, position.operation
        )
    };
    let since = stored.written_ms.map_or_else(String::new, |ms| {
        format!("; written {} s ago", (now_ms.saturating_sub(ms) / 1_000).max(0))
    });
    let stopped = if stored.stopped { ", when the source stopped" } else { "" };
    format!("{place}{since}{stopped}")
}

fn table_line(table: &TableState) -> String {
    if table.reset {
        return "its snapshot is taken again at the next start".to_owned();
    }
    let snapshot = match &table.snapshot {
        SnapshotState::Skipped => "no snapshot was wanted".to_owned(),
        SnapshotState::Running { rows, .. } => format!("snapshot at {rows} rows"),
        SnapshotState::Done { rows } => format!("snapshot done, {rows} rows"),
    };
    let since = table.since.as_deref().unwrap_or("(not known yet)");
    format!("{snapshot}; capture instance {}, complete from {since}", table.instance)
}

/// A source that runs with this configuration, as far as that can be known.
async fn runs(settings: &Settings, listen: SocketAddr, stored: &Stored) -> Option<String> {
    if let Some(status) = ask(listen).await
        && status.get("pipeline").and_then(Json::as_str) == Some(&settings.pipeline)
    {
        return Some(format!("a source of pipeline {} answers at {listen}", settings.pipeline));
    }
    let ago = (now_ns() / 1_000_000).saturating_sub(stored.written_ms?);
    (!stored.stopped && ago < SILENT_MS).then(|| {
        format!(
            "the position was written {} s ago and not by a source that stopped, so one may be running elsewhere (wait {} s \
             when it was killed)",
            ago / 1_000,
            SILENT_MS / 1_000
        )
    })
}

/// `/status` of a source; none when nobody answers.
pub async fn ask(listen: SocketAddr) -> Option<Json> {
    let mut tcp = tokio::net::TcpStream::connect(listen).await.ok()?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// What `reset` is asked to do.
#[derive(Clone, Debug)]
pub struct Reset {
    /// One table; all when none.
    pub table: Option<TableId>,
    /// Do it; else only say what would be done.
    pub yes: bool,
    /// Although a source may run.
    pub force: bool,
    /// Where a source that runs would answer.
    pub listen: SocketAddr,
}

/// Forgets what is stored, of one table or of all, and says what that means.
pub async fn reset(settings: &Settings, reset: &Reset) -> Result<String, OffsetsError> {
    let records = records(settings).await?;
    let nothing = |database: &str| OffsetsError::Nothing {
        topic: topic::offsets(&settings.pipeline),
        database: database.to_owned(),
    };
    let database = state::databases(&records)
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(&settings.sqlserver.database))
        .ok_or_else(|| nothing(&settings.sqlserver.database))?;
    let stored = state::read(&records, &database)?;
    if let Some(reason) = runs(settings, reset.listen, &stored).await
        && !reset.force
    {
        return Err(OffsetsError::Running(reason));
    }
    let (writes, what) = match &reset.table {
        Some(asked) => {
            let found = stored
                .tables
                .iter()
                .find(|(id, _)| id.to_string().eq_ignore_ascii_case(&asked.to_string()));
            let (id, table) = found.ok_or_else(|| OffsetsError::UnknownTable {
                table: asked.clone(),
                known: stored.tables.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            })?;
            let again = TableState { reset: true, ..table.clone() };
            let write = (state::table_key(&database, id), Some(state::table_value(&again)));
            let what = format!(
                "{id}: its snapshot is taken again at the next start, from its newest capture instance. Rows that \
                 were deleted unseen stay in the target: causeway-reconcile finds them"
            );
            (vec![write], what)
        }
        None => {
            let keys = state::keys_of(&records, &database);
            let what = format!(
                "database {database}: position and {} table(s) are forgotten; the next start is the first: it copies \
                 all tables and streams from what is captured then. Changes in between and deletes are not seen: \
                 causeway-reconcile finds what is left over",
                stored.tables.len()
            );
            (keys.into_iter().map(|key| (key, None)).collect(), what)
        }
    };
    if !reset.yes {
        return Ok(format!("{what}.\nNothing was changed; --yes does it"));
    }
    write(settings, &writes).await?;
    Ok(format!("{what}.\nDone"))
}

/// Writes records to the offsets topic, in one transaction that fences whoever runs.
async fn write(
    settings: &Settings,
    writes: &[(String, Option<String>)],
) -> Result<(), SourceError> {
    Admin::new(&settings.kafka)?.ensure_topics(&[offsets_topic(&settings.pipeline)]).await?;
    let id = topic::transactional_id(&settings.pipeline);
    let producer = Transactional::open(&settings.kafka, &id).await?;
    producer.begin()?;
    let topic = topic::offsets(&settings.pipeline);
    for (key, value) in writes {
        producer.ready().await?;
        producer.send(Record {
            topic: &topic,
            partition: Some(0),
            key: Some(key.as_bytes()),
            value: value.as_ref().map(String::as_bytes),
            headers: &[],
            timestamp_ms: None,
        })?;
    }
    producer.commit().await?;
    Ok(())
}

/// Takes over where a Debezium connector stands, and says what that means.
pub async fn import(settings: &Settings, text: &str, yes: bool) -> Result<String, OffsetsError> {
    let mut client =
        Box::pin(Client::connect(&settings.sqlserver)).await.map_err(SourceError::from)?;
    let facts = catalog::database(&mut client).await.map_err(SourceError::from)?;
    let database = facts.name;
    let offset = debezium::parse(text, &database)?;
    let stored = state::read(&records(settings).await?, &database)?;
    if stored.position.is_some() {
        return Err(OffsetsError::Exists { database });
    }
    let position = offset.position();
    let selection = settings.source.selection();
    let mut discovery =
        catalog::discover(&mut client, &selection).await.map_err(SourceError::from)?;
    message_key::apply(&settings.source.message_key_columns, &mut discovery)?;
    let max = log::tick(&mut client).await.map_err(SourceError::from)?.max_lsn;
    let mut said = Vec::new();
    if max.is_some_and(|max| max < offset.commit_lsn) {
        return Err(SourceError::WentBack {
            max: max.unwrap_or(Lsn::ZERO),
            position: offset.commit_lsn,
        }
        .into());
    }
    let mut writes = Vec::new();
    for chosen in choose_for_import(discovery, position) {
        let id = chosen.table;
        let complete = chosen.start_lsn.is_some_and(|low| low <= position.commit_lsn.next());
        let table = TableState {
            instance: chosen.instance.clone(),
            object_id: chosen.object_id,
            since: chosen.start_lsn.map(|low| low.to_string()),
            snapshot: SnapshotState::Done { rows: 0 },
            micro_columns: Default::default(),
            reset: !complete,
            halted: None,
            copied_at: None,
        };
        writes.push((state::table_key(&database, &id), Some(state::table_value(&table))));
        said.push(if complete {
            format!("  {id}: goes on from the capture instance {}", chosen.instance)
        } else {
            format!(
                "  {id}: changes after the connector's position are not there (the table is new, or they were \
                 cleaned up), so it is copied at the next start"
            )
        });
    }
    let written =
        state::Written { at_ms: now_ns() / 1_000_000, stopped: true, ..state::Written::default() };
    writes.push((state::position_key(&database), Some(state::position_value(&position, &written))));
    let mut words = format!(
        "database {database}: the source goes on at {}{}\n{}",
        offset.commit_lsn,
        if offset.change_lsn.is_some() {
            ", whose transaction is published again as a whole (the connector may have stopped inside it)"
        } else {
            ", behind the connector's snapshot"
        },
        said.join("\n")
    );
    if let Some(server) = offset.server.filter(|server| *server != settings.pipeline) {
        words.push_str(&format!(
            "\nnote: the connector's topic.prefix is {server} and [pipeline] name is {}: the topics have other names",
            settings.pipeline
        ));
    }
    if !yes {
        return Ok(format!("{words}\nNothing was written; --yes does it"));
    }
    write(settings, &writes).await?;
    Ok(format!("{words}\nDone. Do not start the connector again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Position;

    #[test]
    fn what_is_stored_reads_like_sentences() {
        let table = |reset, snapshot| TableState {
            instance: "dbo_orders".to_owned(),
            object_id: 7,
            since: Some("00000001:00000002:0003".to_owned()),
            snapshot,
            micro_columns: Default::default(),
            reset,
            halted: None,
            copied_at: None,
        };
        let put = |records: &mut Records, key: String, value: String| {
            records.insert(key.into_bytes(), value.into_bytes());
        };
        let mut records = Records::new();
        assert!(describe(&records, 0).unwrap().contains("the next start is the first"));
        let end = Position::end_of(Lsn::from_parts(1, 2, 3));
        let written = state::Written { at_ms: 5_000, stopped: true, ..state::Written::default() };
        put(&mut records, state::position_key("shop"), state::position_value(&end, &written));
        for (name, reset, snapshot) in [
            ("a", false, SnapshotState::Done { rows: 12 }),
            ("b", true, SnapshotState::Skipped),
            ("c", false, SnapshotState::Skipped),
        ] {
            let key = state::table_key("shop", &TableId::new("dbo", name));
            put(&mut records, key, state::table_value(&table(reset, snapshot)));
        }
        let text = describe(&records, 12_000).unwrap();
        for line in [
            "database shop",
            "  position  00000001:00000002:0003, the end of a transaction; written 7 s ago, when the source stopped",
            "  table     dbo.a: snapshot done, 12 rows; capture instance dbo_orders, complete from 00000001:00000002:0003",
            "  table     dbo.b: its snapshot is taken again at the next start",
            "  table     dbo.c: no snapshot was wanted; capture instance",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
