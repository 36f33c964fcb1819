//! What changes the source: writers, somebody who adds columns, and a recorder of states.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use causeway_tests::{
    random::Random,
    sqlserver::{Client, SqlServer, exec, rows},
};

use super::TABLES;

/// Tables that writers change.
const WRITTEN: u64 = 4;
/// Keys that are used; few, so that writers meet.
const KEYS: u64 = 400;
/// Between two states that are recorded, and between two columns that are added.
const RECORD: Duration = Duration::from_millis(1_500);
const ALTER: Duration = Duration::from_millis(4_000);

/// What all parts of the load share.
pub(super) struct Load {
    pub(super) sqlserver: &'static SqlServer,
    pub(super) db: String,
    pub(super) stop: AtomicBool,
    pub(super) committed: AtomicU64,
    pub(super) rolled_back: AtomicU64,
    /// Ended by the server: a deadlock, a key that exists.
    pub(super) refused: AtomicU64,
    /// Columns that were added.
    pub(super) added: AtomicU64,
    /// States that were recorded.
    pub(super) recorded: AtomicU64,
}

/// What every version of a table has: `v`, `code` and `note`.
pub(super) type Row = (i64, i32, Option<String>);

/// Rows by their key.
pub(super) type Rows = BTreeMap<i32, Row>;

/// What the tables held when a mark was committed.
pub(super) struct State {
    pub(super) mark: i32,
    pub(super) tables: BTreeMap<String, Rows>,
}

impl Load {
    async fn client(&self) -> Client {
        self.sqlserver.client(&self.db).await.unwrap()
    }

    /// True when so much was done that the comparisons afterwards say something.
    pub(super) fn is_enough(&self) -> bool {
        let least = [
            (&self.committed, 200),
            (&self.rolled_back, 20),
            (&self.added, 1),
            (&self.recorded, 4),
        ];
        least.iter().all(|(done, least)| done.load(Ordering::Relaxed) >= *least)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Makes the tables, with rows.
pub(super) async fn create(sqlserver: &SqlServer, db: &str) {
    let mut client = sqlserver.client(db).await.unwrap();
    for n in 0..WRITTEN {
        // Updates of a column of a unique index are logged as deletes and inserts.
        let unique = if n % 2 == 1 { " UNIQUE" } else { "" };
        let sql = format!(
            "CREATE TABLE dbo.t{n} (id int NOT NULL PRIMARY KEY, v bigint NOT NULL, code int NOT NULL{unique}, \
             note nvarchar(max) NULL)"
        );
        exec(&mut client, &sql).await.unwrap();
        for id in 0..100 {
            let sql = format!("INSERT INTO dbo.t{n} VALUES ({id}, 0, {id}, N'first')");
            exec(&mut client, &sql).await.unwrap();
        }
    }
    let sql = "CREATE TABLE dbo.marks (id int NOT NULL PRIMARY KEY, at int NULL)";
    exec(&mut client, sql).await.unwrap();
    for table in TABLES {
        sqlserver.capture(db, "dbo", table).await.unwrap();
    }
}

/// True when each table has one capture instance, with all columns: those that it had and `added` more.
pub(super) async fn has_one_instance_each(
    client: &mut Client,
    added: usize,
) -> anyhow::Result<bool> {
    let mut found = Vec::new();
    for sql in
        ["SELECT COUNT(*) FROM cdc.change_tables", "SELECT COUNT(*) FROM cdc.captured_columns"]
    {
        let count: i32 = rows(client, sql).await?[0].get(0).unwrap_or(0);
        found.push(usize::try_from(count)?);
    }
    let written = TABLES.len() - 1;
    Ok(found == [TABLES.len(), 4 * written + 2 + added])
}

/// One statement of a transaction.
fn statement(random: &mut Random) -> String {
    let table = format!("dbo.t{}", random.below(WRITTEN));
    let id = random.below(KEYS);
    match random.below(10) {
        0..3 => {
            let code = random.below(1_000_000_000);
            format!("INSERT INTO {table} (id, v, code, note) VALUES ({id}, 1, {code}, N'n{code}')")
        }
        3..6 => format!("UPDATE {table} SET v = v + 1 WHERE id BETWEEN {id} AND {id} + 9"),
        6 => format!("UPDATE {table} SET note = N'{}' WHERE id = {id}", random.bits()),
        7 => format!("UPDATE {table} SET code = {} WHERE id = {id}", random.below(1_000_000_000)),
        // The key changes, and perhaps meets another.
        8 => format!("UPDATE {table} SET id = {} WHERE id = {id}", random.below(KEYS)),
        _ => format!("DELETE FROM {table} WHERE id BETWEEN {id} AND {id} + 2"),
    }
}

/// Writes until told to stop.
pub(super) async fn write(load: std::sync::Arc<Load>, mut random: Random) {
    let mut client = load.client().await;
    while !load.stopped() {
        let mut sql = "BEGIN TRANSACTION; ".to_owned();
        for _ in 0..random.between(1, 5) {
            sql.push_str(&statement(&mut random));
            sql.push_str("; ");
        }
        let rolls_back = random.chance(20);
        sql.push_str(if rolls_back { "ROLLBACK TRANSACTION" } else { "COMMIT TRANSACTION" });
        let counter = match exec(&mut client, &format!("SET XACT_ABORT ON; {sql}")).await {
            Ok(()) if rolls_back => &load.rolled_back,
            Ok(()) => &load.committed,
            // XACT_ABORT has ended the transaction.
            Err(_) => &load.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(random.below(30))).await;
    }
}

/// Adds columns, and gives rows values in old and new ones; gives how many.
pub(super) async fn alter(load: std::sync::Arc<Load>, mut random: Random) -> usize {
    let mut client = load.client().await;
    let mut columns: Vec<(u64, usize)> = Vec::new();
    while !load.stopped() {
        tokio::time::sleep(ALTER / 4).await;
        if columns.is_empty() || random.chance(25) {
            let (table, number) = (random.below(WRITTEN), columns.len());
            let kind = random.pick(&["int NULL", "nvarchar(20) NULL", "int NOT NULL DEFAULT 5"]);
            let sql = format!("ALTER TABLE dbo.t{table} ADD c{number} {kind}");
            if exec(&mut client, &sql).await.is_err() {
                continue;
            }
            columns.push((table, number));
            load.added.fetch_add(1, Ordering::Relaxed);
        }
        let (table, number) = *random.pick(&columns);
        let (value, rest) = (random.below(1_000), random.below(5));
        let sql = format!("UPDATE dbo.t{table} SET c{number} = {value} WHERE id % 5 = {rest}");
        if exec(&mut client, &sql).await.is_err() {
            load.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    columns.len()
}

/// Records what all tables hold, again and again. While the tables are locked nobody has uncommitted changes
/// in them, and none comes before the mark's commit: the state is that of the mark's LSN.
pub(super) async fn record(load: std::sync::Arc<Load>) -> Vec<State> {
    let mut client = load.client().await;
    let mut states = Vec::new();
    let mut mark = 0;
    while !load.stopped() {
        tokio::time::sleep(RECORD).await;
        mark += 1;
        match state(&mut client, mark).await {
            Ok(state) => {
                states.push(state);
                load.recorded.fetch_add(1, Ordering::Relaxed);
            }
            // A deadlock with a writer, who may have been first.
            Err(_) => {
                load.refused.fetch_add(1, Ordering::Relaxed);
                client = load.client().await;
            }
        }
    }
    states
}

async fn state(client: &mut Client, mark: i32) -> anyhow::Result<State> {
    exec(client, "SET XACT_ABORT ON; BEGIN TRANSACTION").await?;
    for n in 0..WRITTEN {
        // Locked before anything is read.
        let sql = format!("SELECT TOP (0) t.id FROM dbo.t{n} AS t WITH (TABLOCKX, HOLDLOCK)");
        rows(client, &sql).await?;
    }
    let mut tables = BTreeMap::new();
    for n in 0..WRITTEN {
        let sql = format!("SELECT t.id, t.v, t.code, t.note FROM dbo.t{n} AS t");
        let found: Rows = rows(client, &sql)
            .await?
            .iter()
            .map(|row| {
                let note = row.get::<&str, _>(3).map(str::to_owned);
                (
                    row.get(0).unwrap_or(-1),
                    (row.get(1).unwrap_or(-1), row.get(2).unwrap_or(-1), note),
                )
            })
            .collect();
        tables.insert(format!("t{n}"), found);
    }
    exec(client, &format!("INSERT INTO dbo.marks VALUES ({mark}, {mark}); COMMIT TRANSACTION"))
        .await?;
    Ok(State { mark, tables })
}
