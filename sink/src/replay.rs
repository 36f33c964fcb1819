//! `causeway-sink dlq replay`: letters are applied after what was wrong is mended, by the same code as the
//! stream, key by key in the order of their topic.
//!
//! Beside a running sink, too: letters are locked before rows are written, by us and by the sink, and a
//! sink that applies a newer change of the key marks the letter `superseded` in that transaction. So an
//! old change never overwrites a newer one. Every key is a transaction of its own.

use std::{collections::BTreeMap, sync::Arc};

use causeway_kafka::Message;
use causeway_postgres::{Class, Client, PostgresError, client::begin};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    SinkError,
    change::{Change, Refusal},
    dead_letter::original,
    decode::{Decoded, Records},
    dlq::{Chosen, Filter, Status, open},
    isolate::refusal,
    run::Parts,
    statements,
    table::Tables,
    write::{Statements, write},
};

/// Letters of one key that are loaded at a time.
const AT_ONCE: usize = 200;

/// A letter, before its record is loaded.
struct Letter {
    id: i64,
    wanted: bool,
}

/// Letters of one key in the order of their topic; a record without key is alone.
type Keys = BTreeMap<(String, Option<Vec<u8>>, i64), Vec<Letter>>;

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Applied.
    pub applied: u64,
    /// Not applied again, with the number of the letter and the reason.
    pub failed: Vec<(i64, String)>,
    /// Not tried, because an older letter of the key stays.
    pub waiting: u64,
}

impl Report {
    /// For a person.
    #[must_use]
    pub fn text(&self, dry_run: bool) -> String {
        let mut text = String::new();
        for (id, reason) in &self.failed {
            text += &format!("letter {id} cannot be applied: {reason}\n");
        }
        let verb = if dry_run { "would be applied" } else { "applied" };
        text + &format!(
            "{} letters {verb}, {} cannot be, {} wait for an older letter of their key\n",
            self.applied,
            self.failed.len(),
            self.waiting
        )
    }
}

struct Replay {
    client: Client,
    begin: &'static str,
    records: Records,
    statements: Statements,
    tables: Tables,
    dry_run: bool,
    report: Report,
}

/// Applies the letters that a filter chooses; a dry run does the same and rolls it back.
///
/// # Errors
/// What is about no record: a server that is away, missing rights.
pub async fn replay(parts: &Parts, filter: &Filter, dry_run: bool) -> Result<Report, SinkError> {
    let client = open(parts).await?;
    let chosen = Chosen::new(&parts.pipeline, filter, Status::Open);
    let rows = client
        .query_typed(statements::REPLAYABLE, &chosen.params())
        .await
        .map_err(|e| PostgresError::statement("read the dead letters", e))?;
    let keys = grouped(&rows);
    let mut replay = Replay {
        client,
        begin: begin(&parts.postgres),
        records: parts.records()?,
        statements: Statements::new(&parts.postgres),
        tables: Tables::new(&parts.pipeline),
        dry_run,
        report: Report::default(),
    };
    for letters in keys.into_values() {
        replay.key(&letters).await?;
    }
    Ok(replay.report)
}

fn grouped(rows: &[Row]) -> Keys {
    let mut keys = Keys::new();
    for row in rows {
        let letter = Letter { id: row.get(0), wanted: row.get(3) };
        let row_key: Option<Vec<u8>> = row.get(2);
        let alone = if row_key.is_none() { letter.id } else { 0 };
        keys.entry((row.get(1), row_key, alone)).or_default().push(letter);
    }
    keys.retain(|_, letters| letters.iter().any(|letter| letter.wanted));
    keys
}

impl Replay {
    /// The letters of one key, oldest first, until one stays.
    async fn key(&mut self, letters: &[Letter]) -> Result<(), SinkError> {
        let first = letters.iter().take_while(|letter| letter.wanted);
        let ids: Vec<i64> = first.map(|letter| letter.id).collect();
        let wanted = letters.iter().filter(|letter| letter.wanted).count();
        self.report.waiting += count(wanted - ids.len());
        let mut left = ids.len();
        for ids in ids.chunks(AT_ONCE) {
            let (done, whole) = self.transaction(ids).await?;
            left -= ids.len();
            if !whole {
                // The one that failed is counted by itself.
                self.report.waiting += count(left + (ids.len() - done).saturating_sub(1));
                break;
            }
        }
        Ok(())
    }

    /// Gives how many letters were dealt with, and whether all of them were.
    async fn transaction(&mut self, ids: &[i64]) -> Result<(usize, bool), SinkError> {
        self.client.run("begin a transaction", self.begin).await?;
        self.statements.begin();
        let mut done = 0;
        let mut applied = Vec::new();
        let mut broken = None;
        let rows = self
            .client
            .query_typed(statements::LOCK_LETTERS, &[(&ids, Type::INT8_ARRAY)])
            .await
            .map_err(|e| PostgresError::statement("lock dead letters", e))?;
        // Letters that were superseded, replayed or discarded meanwhile are not among them any more.
        done += ids.len() - rows.len();
        for row in &rows {
            let id: i64 = row.get(0);
            match self.letter(row).await? {
                None => applied.push(id),
                Some(refusal) => {
                    broken = Some((id, refusal));
                    break;
                }
            }
            done += 1;
        }
        let failed = |e| PostgresError::statement("mark dead letters", e);
        self.client
            .execute_typed(statements::REPLAYED, &[(&applied, Type::INT8_ARRAY)])
            .await
            .map_err(failed)?;
        if let Some((id, refusal)) = &broken {
            let reason = refusal.reason.replace('\0', "\u{fffd}");
            let params: [(&(dyn ToSql + Sync), Type); 5] = [
                (id, Type::INT8),
                (&refusal.sqlstate, Type::TEXT),
                (&refusal.column, Type::TEXT),
                (&refusal.constraint, Type::TEXT),
                (&reason, Type::TEXT),
            ];
            self.client.execute_typed(statements::FAILED_AGAIN, &params).await.map_err(failed)?;
        }
        let end = if self.dry_run { "ROLLBACK" } else { "COMMIT" };
        self.client.run("end a transaction", end).await?;
        if self.dry_run {
            // A table that it made or altered is as it was.
            self.tables.forget();
            self.statements.forget();
        }
        self.report.applied += count(applied.len());
        let whole = broken.is_none();
        self.report.failed.extend(broken.map(|(id, refusal)| (id, refusal.reason)));
        Ok((done, whole))
    }

    /// Applies one letter; none when it worked.
    async fn letter(&mut self, row: &Row) -> Result<Option<Refusal>, SinkError> {
        let changes = match self.records.decode(Arc::new(message(row))).await? {
            Decoded::Nothing => return Ok(None),
            Decoded::Refused(refusal) => return Ok(Some(*refusal)),
            Decoded::Change(change) => vec![change],
            Decoded::Moved(pair) => vec![pair.0, pair.1],
        };
        let failed = |e| PostgresError::statement("apply a dead letter", e);
        self.client.batch_execute("SAVEPOINT causeway_letter").await.map_err(failed)?;
        let Err(error) = self.write(&changes).await else {
            self.client.batch_execute("RELEASE causeway_letter").await.map_err(failed)?;
            return Ok(None);
        };
        if error.class() != Some(Class::Record) {
            return Err(error);
        }
        let back = "ROLLBACK TO causeway_letter; RELEASE causeway_letter";
        self.client.batch_execute(back).await.map_err(failed)?;
        self.tables.forget();
        self.statements.rolled_back();
        Ok(changes.first().map(|change| refusal(change, &error)))
    }

    async fn write(&mut self, changes: &[Change]) -> Result<(), SinkError> {
        let Some(change) = changes.first() else { return Ok(()) };
        let (client, shape) = (&self.client, &*change.shape);
        write(client, &mut self.statements, &mut self.tables, shape, changes).await
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The record of a letter, as it came from Kafka.
pub(crate) fn message(row: &Row) -> Message {
    Message {
        topic: row.get::<_, &str>("topic").into(),
        partition: row.get("partition"),
        offset: row.get("offset"),
        timestamp_ms: row.get("record_time_ms"),
        key: row.get("key"),
        value: row.get("value"),
        headers: original(&row.get("headers")),
    }
}
