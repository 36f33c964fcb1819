//! Random histories over two tables, by sessions that have transactions open at the same time: the change
//! tables, replayed LSN by LSN, are the tables as they were after each commit.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: helper functions outside #[test] fail by panicking too"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_sqlserver_standin::{Options, Server};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

type Connection = Client<Compat<TcpStream>>;
/// Table and key to the other columns.
type State = BTreeMap<(usize, i32), (i32, Option<String>)>;

const TABLES: [&str; 2] = ["one", "two"];
const SESSIONS: usize = 3;
/// Each session has keys of its own, so that none waits for another.
const KEYS: i32 = 15;

async fn connect(server: &Server) -> Connection {
    let mut config = Config::new();
    config.host("localhost");
    config.port(server.addr.port());
    config.authentication(AuthMethod::sql_server("sa", Options::default().sa_password));
    config.encryption(EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(server.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    Box::pin(Client::connect(config, socket.compat_write())).await.unwrap()
}

async fn run(client: &mut Connection, sql: &str) {
    let done = client.simple_query(sql).await.unwrap().into_results().await;
    done.unwrap_or_else(|e| panic!("{e}\n{sql}"));
}

async fn rows(client: &mut Connection, sql: &str) -> Vec<tiberius::Row> {
    client.simple_query(sql).await.unwrap().into_first_result().await.unwrap()
}

async fn state(client: &mut Connection) -> State {
    let mut all = State::new();
    for (at, table) in TABLES.iter().enumerate() {
        for row in rows(client, &format!("SELECT id, code, name FROM h.dbo.{table}")).await {
            let name = row.get::<&str, _>(2).map(str::to_owned);
            all.insert((at, row.get(0).unwrap()), (row.get(1).unwrap(), name));
        }
    }
    all
}

struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: u64) -> i32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i32::try_from(self.0 % sides).unwrap()
    }
}

fn statement(dice: &mut Dice, session: usize, code: &mut i32) -> String {
    let table = TABLES[usize::try_from(dice.roll(2)).unwrap()];
    let first = i32::try_from(session).unwrap() * KEYS;
    let id = first + dice.roll(15);
    let (low, high) = (id, (id + dice.roll(4)).min(first + KEYS - 1));
    *code += 1000;
    match dice.roll(7) {
        0 | 1 => format!(
            "INSERT INTO h.dbo.{table} (id, code, name) SELECT v.n, {code} + v.n, CASE WHEN v.n % 3 = 0 THEN NULL ELSE N'n{code}' END \
             FROM (VALUES ({low}), ({})) AS v (n) WHERE NOT EXISTS (SELECT * FROM h.dbo.{table} t WHERE t.id = v.n)",
            if high == low { first } else { high }
        )
        .replace(&format!("({low}), ({low})"), &format!("({low})")),
        2 => format!("UPDATE h.dbo.{table} SET name = N'u{}' WHERE id BETWEEN {low} AND {high}", dice.roll(3)),
        // a unique key changes: a deferred update
        3 => format!("UPDATE h.dbo.{table} SET code = {code} + id WHERE id BETWEEN {low} AND {high}"),
        4 => format!(
            "MERGE h.dbo.{table} AS t USING (VALUES ({low}, {code}), ({}, {code} + 1)) AS s (id, code) ON t.id = s.id \
             WHEN MATCHED THEN UPDATE SET code = s.code WHEN NOT MATCHED THEN INSERT (id, code, name) VALUES (s.id, s.code, N'm');",
            if high == low { if low == first { first + 1 } else { first } } else { high }
        ),
        // the primary key changes, of one row or of two that change places
        5 => format!(
            "UPDATE h.dbo.{table} SET id = CASE id WHEN {low} THEN {0} ELSE {low} END WHERE id IN ({low}, {0})",
            if high == low { if low == first { first + 1 } else { first } } else { high }
        ),
        _ => format!("DELETE FROM h.dbo.{table} WHERE id BETWEEN {low} AND {high}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_tables_are_the_tables_at_every_lsn() {
    for seed in [3, 1_000_003, 77_777] {
        let server = Server::start(Options::default()).await.unwrap();
        let mut looker = connect(&server).await;
        run(&mut looker, "CREATE DATABASE h").await;
        run(&mut looker, "USE h; EXEC sys.sp_cdc_enable_db").await;
        for table in TABLES {
            let unique = if table == "two" { "UNIQUE" } else { "" };
            run(
                &mut looker,
                &format!("CREATE TABLE dbo.{table} (id int NOT NULL PRIMARY KEY, code int NOT NULL {unique}, name nvarchar(20) NULL)"),
            )
            .await;
            run(
                &mut looker,
                &format!("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}', @role_name = NULL"),
            )
            .await;
        }
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push((connect(&server).await, false));
        }
        let mut dice = Dice(seed);
        let mut code = 0;
        let mut states: Vec<State> = Vec::new();
        let mut second = None;
        for step in 0..400 {
            if step == 250 {
                // Another column, and an instance that has it; the first goes on without. DDL waits for no one here.
                for (client, open) in &mut sessions {
                    if std::mem::take(open) {
                        run(client, "COMMIT").await;
                        states.push(state(&mut looker).await);
                    }
                }
                run(&mut looker, "USE h; ALTER TABLE dbo.one ADD extra int NULL").await;
                run(
                    &mut looker,
                    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'one', \
                    @capture_instance = N'one_2', @role_name = NULL",
                )
                .await;
                second = states.last().cloned();
            }
            if step > 250 && step % 5 == 0 {
                let id = dice.roll(45);
                let sql = format!(
                    "UPDATE h.dbo.one SET extra = {step} WHERE id % 15 = {id} % 15 AND id / 15 = 0"
                );
                let (client, _) = &mut sessions[0];
                run(client, &sql).await;
                states.push(state(&mut looker).await);
            }
            let at = usize::try_from(dice.roll(3)).unwrap();
            let (client, open) = &mut sessions[at];
            match (dice.roll(4), *open) {
                (0, true) => {
                    let end = if dice.roll(3) == 0 { "ROLLBACK" } else { "COMMIT" };
                    run(client, end).await;
                    *open = false;
                }
                (1, true) => {
                    // part of a transaction taken back
                    run(client, "SAVE TRAN s").await;
                    run(client, &statement(&mut dice, at, &mut code)).await;
                    if dice.roll(2) == 0 {
                        run(client, "ROLLBACK TRAN s").await;
                    }
                }
                (0 | 1, false) => {
                    run(client, "BEGIN TRAN").await;
                    *open = true;
                }
                _ => run(client, &statement(&mut dice, at, &mut code)).await,
            }
            states.push(state(&mut looker).await);
        }
        for (client, open) in &mut sessions {
            if *open {
                run(client, "COMMIT").await;
                states.push(state(&mut looker).await);
            }
        }
        let last = states.last().unwrap().clone();
        second_instance(&mut looker, &states, &second.unwrap(), &last).await;
        states.dedup();
        let replayed = replay(&mut looker, &last).await;
        assert!(replayed.len() > 60, "seed {seed}: {} states", replayed.len());
        let first = states.iter().position(|s| s == &replayed[0]).unwrap_or_default();
        assert_eq!(replayed, states[first..], "seed {seed}");
        assert!(
            states[..first].iter().all(State::is_empty),
            "seed {seed}: changes before the first LSN"
        );
        server.stop().await;
    }
}

/// The second instance of `one` goes on from the state at which it began, and has the new column.
async fn second_instance(client: &mut Connection, states: &[State], first: &State, last: &State) {
    let one = |s: &State| -> State {
        s.iter().filter(|(k, _)| k.0 == 0).map(|(k, v)| (*k, v.clone())).collect()
    };
    let began = states.iter().rposition(|s| s == first).unwrap();
    let mut wanted: Vec<State> = states[began..].iter().map(one).collect();
    wanted.dedup();
    // what the table holds in the new column
    let sql = "SELECT id, extra FROM h.dbo.one ORDER BY id";
    let extras = |rows: Vec<tiberius::Row>| -> Vec<(i32, Option<i32>)> {
        rows.iter().map(|r| (r.get(0).unwrap(), r.get(1))).collect()
    };
    let table = extras(rows(client, sql).await);
    for _ in 0..600 {
        let mut now = one(first);
        let mut extra: BTreeMap<i32, Option<i32>> = now.keys().map(|k| (k.1, None)).collect();
        let mut seen = vec![now.clone()];
        let mut lsn = Vec::new();
        let sql = "SELECT __$start_lsn, __$operation, id, code, name, extra FROM h.cdc.one_2_CT \
                   ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation";
        for row in rows(client, sql).await {
            let at = row.get::<&[u8], _>(0).unwrap().to_vec();
            if at != lsn {
                seen.push(now.clone());
                lsn = at;
            }
            let id: i32 = row.get(2).unwrap();
            let value = (row.get::<i32, _>(3).unwrap(), row.get::<&str, _>(4).map(str::to_owned));
            match row.get::<i32, _>(1).unwrap() {
                1 => {
                    assert_eq!(now.remove(&(0, id)), Some(value));
                    assert_eq!(extra.remove(&id), Some(row.get(5)));
                }
                3 => {
                    assert_eq!(now.get(&(0, id)), Some(&value));
                    assert_eq!(extra.get(&id), Some(&row.get(5)));
                }
                _ => {
                    now.insert((0, id), value);
                    extra.insert(id, row.get(5));
                }
            }
        }
        seen.push(now.clone());
        seen.dedup();
        if now == one(last) && extra.into_iter().collect::<Vec<_>>() == table {
            assert_eq!(seen, wanted, "the second instance");
            assert!(table.iter().any(|(_, e)| e.is_some()), "no history changed the new column");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the second instance does not come to the table's last state");
}

/// Sessions that run at the same time over the same rows, wait for each other and are deadlock victims; a reader in SNAPSHOT
/// isolation looks at both tables: each state it sees is one that the change tables had, in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_snapshot_sees_is_a_state_of_the_change_tables() {
    let server = Server::start(Options::default()).await.unwrap();
    let mut looker = connect(&server).await;
    run(&mut looker, "CREATE DATABASE h").await;
    run(&mut looker, "ALTER DATABASE h SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    run(&mut looker, "USE h; EXEC sys.sp_cdc_enable_db").await;
    for table in TABLES {
        run(&mut looker, &format!("CREATE TABLE dbo.{table} (id int NOT NULL PRIMARY KEY, code int NOT NULL, name nvarchar(20) NULL)")).await;
        run(&mut looker, &format!("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}', @role_name = NULL")).await;
    }
    let mut writers = tokio::task::JoinSet::new();
    for session in 0..4u64 {
        let mut client = connect(&server).await;
        writers.spawn(async move {
            let mut dice = Dice(session * 7_919 + 11);
            let mut code = i32::try_from(session).unwrap() * 1_000_000;
            let (mut victims, mut commits) = (0, 0);
            for _ in 0..60 {
                run(&mut client, "BEGIN TRAN").await;
                let mut lost = false;
                for _ in 0..=dice.roll(3) {
                    // all sessions have the same keys
                    let sql = statement(&mut dice, 0, &mut code);
                    let done = match client.simple_query(&sql).await {
                        Ok(stream) => stream.into_results().await.map(|_| ()),
                        Err(e) => Err(e),
                    };
                    match done.map_err(|e| (e.code(), e)) {
                        Ok(()) => {}
                        Err((Some(1205), _)) => lost = true,
                        // two sessions insert the same key: the statement fails, the transaction goes on
                        Err((Some(2627), _)) => {}
                        Err((_, e)) => panic!("{e}\n{sql}"),
                    }
                    if lost {
                        break;
                    }
                }
                match (lost, dice.roll(4)) {
                    (true, _) => victims += 1,
                    (false, 0) => run(&mut client, "ROLLBACK").await,
                    (false, _) => {
                        run(&mut client, "COMMIT").await;
                        commits += 1;
                    }
                }
            }
            (victims, commits)
        });
    }
    let mut seen: Vec<State> = vec![State::new()];
    let mut commits = 0;
    while !writers.is_empty() {
        run(&mut looker, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN").await;
        seen.push(state(&mut looker).await);
        run(&mut looker, "COMMIT; SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
        while let Some(done) = writers.try_join_next() {
            commits += done.unwrap().1;
        }
    }
    seen.push(state(&mut looker).await);
    assert!(commits > 60, "{commits} transactions committed");
    seen.dedup();
    let mut had = replay(&mut looker, seen.last().unwrap()).await;
    had.insert(0, State::new());
    assert!(seen.len() > 10, "the reader saw {} states", seen.len());
    let mut from = had.iter();
    for (i, s) in seen.iter().enumerate() {
        assert!(
            from.any(|h| h == s),
            "state {i} of {} that the reader saw was none, or came in another order",
            seen.len()
        );
    }
}

/// The state after each LSN, once the capture job has come to the last.
async fn replay(client: &mut Connection, last: &State) -> Vec<State> {
    for _ in 0..600 {
        let mut changes: BTreeMap<Vec<u8>, Vec<(usize, tiberius::Row)>> = BTreeMap::new();
        for (at, table) in TABLES.iter().enumerate() {
            let sql = format!(
                "SELECT __$start_lsn, __$operation, id, code, name FROM h.cdc.dbo_{table}_CT \
                 ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation"
            );
            for row in rows(client, &sql).await {
                let lsn = row.get::<&[u8], _>(0).unwrap().to_vec();
                changes.entry(lsn).or_default().push((at, row));
            }
        }
        let mut now = State::new();
        let mut states = Vec::new();
        for rows in changes.values() {
            for (at, row) in rows {
                let key = (*at, row.get::<i32, _>(2).unwrap());
                let value =
                    (row.get::<i32, _>(3).unwrap(), row.get::<&str, _>(4).map(str::to_owned));
                match row.get::<i32, _>(1).unwrap() {
                    1 => assert_eq!(
                        now.remove(&key),
                        Some(value),
                        "a delete has the row that was there"
                    ),
                    2 => assert_eq!(now.insert(key, value), None, "an insert is of a new key"),
                    3 => assert_eq!(
                        now.get(&key),
                        Some(&value),
                        "a before image is the row that was there"
                    ),
                    _ => assert!(
                        now.insert(key, value).is_some(),
                        "an after image is of a row that is there"
                    ),
                }
            }
            states.push(now.clone());
        }
        if &now == last {
            states.dedup();
            return states;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the change tables do not come to the tables' last state");
}
