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
    match dice.roll(6) {
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
        for _ in 0..400 {
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
        states.dedup();
        let replayed = replay(&mut looker, states.last().unwrap()).await;
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
