//! Faults on request, by SQL and by the control interface, as a client sees them.
#![allow(
    clippy::unwrap_used,
    reason = "a test: helper functions outside #[test] fail by panicking too"
)]

use causeway_sqlserver_standin::{Options, Server};
use futures_util::TryStreamExt;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

type Connection = Client<Compat<TcpStream>>;

async fn start() -> Server {
    let control = Some("127.0.0.1:0".parse().unwrap());
    Server::start(Options { control, ..Options::default() }).await.unwrap()
}

async fn connect(server: &Server) -> tiberius::Result<Connection> {
    let mut config = Config::new();
    config.host("localhost");
    config.port(server.addr.port());
    config.authentication(AuthMethod::sql_server("sa", Options::default().sa_password));
    config.encryption(EncryptionLevel::NotSupported);
    let socket = TcpStream::connect(server.addr).await.unwrap();
    Box::pin(Client::connect(config, socket.compat_write())).await
}

async fn run(client: &mut Connection, sql: &str) -> Result<(), Option<u32>> {
    match client.simple_query(sql).await {
        Ok(stream) => stream.into_results().await.map(|_| ()).map_err(|e| e.code()),
        Err(e) => Err(e.code()),
    }
}

async fn int(client: &mut Connection, sql: &str) -> Option<i32> {
    let row = client.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
    row.get(0)
}

async fn post(server: &Server, target: &str) -> String {
    let mut socket = TcpStream::connect(server.control.unwrap()).await.unwrap();
    let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_victim_and_a_failing_login() {
    let server = start().await;
    let mut client = connect(&server).await.unwrap();
    run(&mut client, "CREATE TABLE #t (a int); BEGIN TRAN; INSERT INTO #t VALUES (1)")
        .await
        .unwrap();
    run(&mut client, "EXEC standin.control N'deadlocks=1'").await.unwrap();
    assert_eq!(run(&mut client, "INSERT INTO #t VALUES (2)").await, Err(Some(1205)));
    assert_eq!(int(&mut client, "SELECT @@TRANCOUNT").await, Some(0));
    assert_eq!(int(&mut client, "SELECT COUNT(*) FROM #t").await, Some(0));
    run(&mut client, "EXEC standin.control N'fail_logins=1'").await.unwrap();
    let failed = connect(&server).await.unwrap_err();
    assert_eq!(failed.code(), Some(18456));
    connect(&server).await.unwrap();
    assert_eq!(run(&mut client, "EXEC standin.control N'nothing=1'").await, Err(Some(50999)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_in_the_middle_of_its_rows() {
    let server = start().await;
    let mut client = connect(&server).await.unwrap();
    assert_eq!(post(&server, "/fault?name=drop_after_bytes&value=200000").await, "HTTP/1.1 200 OK");
    let sql = "WITH n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
               SELECT n, REPLICATE('x', 50) FROM n OPTION (MAXRECURSION 0)";
    let mut rows = client.simple_query(sql).await.unwrap().into_row_stream();
    let mut count = 0;
    let ended = loop {
        match rows.try_next().await {
            Ok(Some(_)) => count += 1,
            ended => break ended,
        }
    };
    assert!(ended.is_err(), "all {count} rows came");
    assert!((1..20_000).contains(&count), "{count} rows");
    drop(rows);
    // once only
    let mut client = connect(&server).await.unwrap();
    run(&mut client, sql).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_closes_connections_and_may_lose_the_data() {
    let server = start().await;
    for (data, kept) in [("keep", true), ("lose", false)] {
        let mut client = connect(&server).await.unwrap();
        if data == "keep" {
            run(&mut client, "CREATE DATABASE d").await.unwrap();
        }
        assert_eq!(post(&server, &format!("/restart?data={data}")).await, "HTTP/1.1 200 OK");
        // a statement that is under way may still end
        let mut last = run(&mut client, "SELECT 1").await;
        for _ in 0..500 {
            if last.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            last = run(&mut client, "SELECT 1").await;
        }
        assert_eq!(last, Err(None), "the connection must be closed");
        let mut client = connect(&server).await.unwrap();
        let found = client.simple_query("SELECT DB_ID('d')").await.unwrap();
        let row = found.into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<i16, _>(0).is_some(), kept, "{data}");
    }
    assert_eq!(post(&server, "/fault?name=nothing").await, "HTTP/1.1 400 Bad Request");
    server.stop().await;
}
