//! The stand-in seen by a real client: tiberius.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: helper functions outside #[test] fail by panicking too"
)]

use causeway_sqlserver_standin::tds::prelogin::Encryption;
use causeway_sqlserver_standin::{Options, Server};
use futures_util::TryStreamExt;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, IsolationLevel, Query};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

const PASSWORD: &str = "Pass word!é";
type Connection = Client<Compat<TcpStream>>;

async fn start() -> Server {
    start_with(Encryption::Offered).await
}

async fn start_with(encryption: Encryption) -> Server {
    let options = Options { sa_password: PASSWORD.to_owned(), encryption, ..Options::default() };
    Server::start(options).await.unwrap()
}

fn config(server: &Server, encryption: EncryptionLevel) -> Config {
    let mut c = Config::new();
    c.host("localhost");
    c.port(server.addr.port());
    c.authentication(AuthMethod::sql_server("sa", PASSWORD));
    c.encryption(encryption);
    c.trust_cert();
    c
}

async fn open(server: &Server, c: Config) -> tiberius::Result<Connection> {
    let socket = TcpStream::connect(server.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    Box::pin(Client::connect(c, socket.compat_write())).await
}

async fn connect(server: &Server) -> Connection {
    open(server, config(server, EncryptionLevel::NotSupported)).await.unwrap()
}

async fn int(c: &mut Connection, sql: &str) -> i32 {
    let row = c.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
    row.get(0).unwrap()
}

fn code(e: &tiberius::error::Error) -> u32 {
    e.code().unwrap_or_else(|| panic!("no server error: {e:?}"))
}

#[tokio::test]
async fn every_encryption() {
    for server_mode in [Encryption::Offered, Encryption::Required] {
        let server = start_with(server_mode).await;
        for level in [
            EncryptionLevel::NotSupported,
            EncryptionLevel::Off,
            EncryptionLevel::On,
            EncryptionLevel::Required,
        ] {
            let connected = open(&server, config(&server, level)).await;
            if server_mode == Encryption::Required && level == EncryptionLevel::NotSupported {
                assert!(connected.is_err(), "a client without encryption must be refused");
                continue;
            }
            let mut c = connected.unwrap_or_else(|e| panic!("{server_mode:?} {level:?}: {e}"));
            assert_eq!(int(&mut c, "SELECT 1").await, 1, "{server_mode:?} {level:?}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn certificate_is_checked() {
    let server = start().await;
    let mut c = Config::new();
    c.host("localhost");
    c.port(server.addr.port());
    c.authentication(AuthMethod::sql_server("sa", PASSWORD));
    c.encryption(EncryptionLevel::Required);
    assert!(open(&server, c.clone()).await.is_err(), "an unknown issuer must be refused");
    c.trust_cert_ca_bundle(server.certificate_pem());
    let mut c = open(&server, c).await.unwrap();
    assert_eq!(int(&mut c, "SELECT 1").await, 1);
}

#[tokio::test]
async fn logins() {
    let server = start().await;
    let mut c = config(&server, EncryptionLevel::NotSupported);
    c.authentication(AuthMethod::sql_server("sa", "wrong"));
    assert_eq!(code(&open(&server, c).await.unwrap_err()), 18456);
    let mut c = config(&server, EncryptionLevel::NotSupported);
    c.database("nosuch");
    assert_eq!(code(&open(&server, c).await.unwrap_err()), 4060);
}

#[tokio::test]
async fn parameters_come_back() {
    let server = start().await;
    let mut c = connect(&server).await;
    let mut q = Query::new("SELECT @P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8");
    let long = "漢é".repeat(10_000);
    q.bind(i64::MIN);
    q.bind("x'y");
    q.bind(long.as_str());
    q.bind(Option::<i32>::None);
    q.bind(1.5f64);
    q.bind(true);
    q.bind(uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF));
    q.bind(tiberius::numeric::Numeric::new_with_scale(-99_999_999_999_999_999_999_999_999_999, 10));
    let row = q.query(&mut c).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i64, _>(0), Some(i64::MIN));
    assert_eq!(row.get::<&str, _>(1), Some("x'y"));
    assert_eq!(row.get::<&str, _>(2), Some(long.as_str()));
    assert_eq!(row.get::<i32, _>(3), None);
    assert_eq!(row.get::<f64, _>(4), Some(1.5));
    assert_eq!(row.get::<bool, _>(5), Some(true));
    assert_eq!(
        row.get::<uuid::Uuid, _>(6),
        Some(uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF))
    );
    let n: tiberius::numeric::Numeric = row.get(7).unwrap();
    assert_eq!((n.value(), n.scale()), (-99_999_999_999_999_999_999_999_999_999, 10));
}

/// Declared type, literal, text of the value as CONVERT writes it.
const TYPES: &[(&str, &str, &str)] = &[
    ("bit", "1", "1"),
    ("tinyint", "255", "255"),
    ("smallint", "-32768", "-32768"),
    ("int", "-2147483648", "-2147483648"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("real", "CAST(1.5 AS real)", "1.5"),
    ("float", "2.5e-1", "0.25"),
    (
        "decimal(38,10)",
        "-1234567890123456789012345678.0123456789",
        "-1234567890123456789012345678.0123456789",
    ),
    ("money", "922337203685477.5807", "922337203685477.58"),
    ("smallmoney", "-214748.3648", "-214748.36"),
    ("date", "'9999-12-31'", "9999-12-31"),
    ("time(3)", "'23:59:59.9994'", "23:59:59.999"),
    ("time(7)", "'23:59:59.9999999'", "23:59:59.9999999"),
    ("datetime", "'2024-02-29T23:59:59.998'", "Feb 29 2024 11:59PM"),
    ("smalldatetime", "'2024-02-29T12:00:30'", "Feb 29 2024 12:01PM"),
    ("datetime2(7)", "'0001-01-01T00:00:00.0000001'", "0001-01-01 00:00:00.0000001"),
    (
        "datetimeoffset(7)",
        "'2024-02-29T00:00:00.1234567-14:00'",
        "2024-02-29 00:00:00.1234567 -14:00",
    ),
    ("char(5)", "'ab'", "ab   "),
    ("varchar(20)", "'é€'", "é€"),
    ("varchar(max)", "'long'", "long"),
    ("nchar(5)", "N'漢'", "漢    "),
    ("nvarchar(20)", "N'漢字'", "漢字"),
    ("nvarchar(max)", "N'漢字'", "漢字"),
    ("text", "'some text'", "some text"),
    ("ntext", "N'漢字'", "漢字"),
    ("xml", "'<a>1</a>'", "<a>1</a>"),
    (
        "uniqueidentifier",
        "'6f9619ff-8b86-d011-b42d-00c04fc964ff'",
        "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    ),
];

#[tokio::test]
async fn every_type_through_a_table() {
    let server = start().await;
    let mut c = connect(&server).await;
    for (i, (ty, literal, text)) in TYPES.iter().enumerate() {
        for null in ["NOT NULL", "NULL"] {
            let t = format!("t{i}_{}", null.len());
            let create =
                format!("CREATE TABLE dbo.{t} (id int NOT NULL PRIMARY KEY, v {ty} {null})");
            c.execute(create, &[]).await.unwrap_or_else(|e| panic!("{ty}: {e}"));
            let insert = format!("INSERT INTO dbo.{t} (id, v) VALUES (1, {literal})");
            c.execute(insert, &[]).await.unwrap_or_else(|e| panic!("{ty}: {e}"));
            let read = format!("SELECT v, CONVERT(nvarchar(max), v) FROM dbo.{t} WHERE id = 1");
            let row = c.simple_query(read).await.unwrap().into_row().await;
            let row = row.unwrap_or_else(|e| panic!("{ty}: {e}")).unwrap();
            assert_eq!(row.get::<&str, _>(1), Some(*text), "{ty} {null}");
            if null == "NULL" {
                c.execute(format!("INSERT INTO dbo.{t} VALUES (2, NULL)"), &[]).await.unwrap();
                let read = format!("SELECT id, v FROM dbo.{t} WHERE v IS NULL");
                let row = c.simple_query(read).await.unwrap().into_row().await.unwrap().unwrap();
                assert_eq!(row.get::<i32, _>(0), Some(2), "{ty}");
            }
        }
    }
    for (ty, literal, bytes) in [
        ("binary(4)", "0x0102", vec![1u8, 2, 0, 0]),
        ("varbinary(10)", "0x00FF", vec![0, 255]),
        ("varbinary(max)", "0x0102", vec![1, 2]),
        ("image", "0x0A", vec![10]),
    ] {
        let sql = format!(
            "DECLARE @t TABLE (v {ty}); INSERT INTO @t VALUES ({literal}); SELECT v FROM @t"
        );
        let row = c.simple_query(sql).await.unwrap().into_row().await;
        let row = row.unwrap_or_else(|e| panic!("{ty}: {e}")).unwrap();
        assert_eq!(row.get::<&[u8], _>(0), Some(&bytes[..]), "{ty}");
    }
}

#[tokio::test]
async fn errors_keep_the_connection() {
    let server = start().await;
    let mut c = connect(&server).await;
    for (sql, number) in [
        ("SELECT 1/0", 8134),
        ("SELECT * FROM dbo.nosuch", 208),
        ("SELEC 1", 2812),
        ("SELECT CAST('a' AS int)", 245),
        ("SELECT nosuch FROM (SELECT 1 AS x) t", 207),
        ("EXEC dbo.nosuch", 2812),
    ] {
        let got = match c.simple_query(sql).await {
            Err(e) => code(&e),
            Ok(s) => code(&s.into_results().await.expect_err(sql)),
        };
        assert_eq!(got, number, "{sql}");
        assert_eq!(int(&mut c, "SELECT 7").await, 7, "after {sql}");
    }
    let number = match c.query("SELECT @P1 / @P2", &[&1i32, &0i32]).await {
        Err(e) => code(&e),
        Ok(s) => code(&s.into_results().await.unwrap_err()),
    };
    assert_eq!(number, 8134);
    assert_eq!(int(&mut c, "SELECT 8").await, 8);
}

#[tokio::test]
async fn transactions_by_batch_and_by_request() {
    let server = start().await;
    let mut c = connect(&server).await;
    c.execute("CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)", &[]).await.unwrap();
    let count = "SELECT COUNT(*) FROM dbo.t";
    c.simple_query("BEGIN TRANSACTION").await.unwrap().into_results().await.unwrap();
    c.execute("INSERT INTO dbo.t VALUES (1)", &[]).await.unwrap();
    assert_eq!(int(&mut c, "SELECT @@TRANCOUNT").await, 1);
    c.simple_query("ROLLBACK").await.unwrap().into_results().await.unwrap();
    assert_eq!(int(&mut c, count).await, 0);

    c.begin_transaction_with_isolation(IsolationLevel::Snapshot).await.unwrap();
    c.execute("INSERT INTO dbo.t VALUES (2)", &[]).await.unwrap();
    c.commit_transaction().await.unwrap();
    assert_eq!(int(&mut c, count).await, 1);
    c.begin_transaction().await.unwrap();
    c.execute("INSERT INTO dbo.t VALUES (3)", &[]).await.unwrap();
    c.rollback_transaction().await.unwrap();
    assert_eq!(int(&mut c, count).await, 1);
    assert_eq!(int(&mut c, "SELECT @@TRANCOUNT").await, 0);

    // a connection that is cut rolls back
    let mut other = connect(&server).await;
    other.simple_query("BEGIN TRANSACTION").await.unwrap().into_results().await.unwrap();
    other.execute("INSERT INTO dbo.t VALUES (4)", &[]).await.unwrap();
    drop(other);
    for _ in 0..100 {
        if int(&mut c, "SELECT COUNT(*) FROM dbo.t WITH (READUNCOMMITTED)").await == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the insert of a closed connection is still there");
}

#[tokio::test]
async fn rows_stream_and_the_log_remembers() {
    let server = start().await;
    let mut c = connect(&server).await;
    let sql = "WITH d AS (SELECT v FROM (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) x(v)) \
               SELECT a.v + 10*b.v + 100*c.v + 1000*d.v AS n, N'some text' AS s FROM d a CROSS JOIN d b \
               CROSS JOIN d c CROSS JOIN d d";
    let mut rows = c.simple_query(sql).await.unwrap().into_row_stream();
    let mut sum = 0i64;
    let mut count = 0;
    while let Some(row) = rows.try_next().await.unwrap() {
        sum += i64::from(row.get::<i32, _>(0).unwrap());
        count += 1;
    }
    assert_eq!((count, sum), (10_000, 49_995_000));
    drop(rows);
    assert!(server.sql_log().iter().any(|s| s == sql));
}

#[tokio::test]
async fn attention_in_both_styles() {
    use causeway_sqlserver_standin::tds::reply::AttentionStyle;
    let server = start().await;
    let endless = "WITH d AS (SELECT v FROM (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) x(v)) \
                   SELECT a.v FROM d a CROSS JOIN d b CROSS JOIN d c CROSS JOIN d d CROSS JOIN d e \
                   CROSS JOIN d f CROSS JOIN d g CROSS JOIN d h";
    for style in [AttentionStyle::InReply, AttentionStyle::Separate] {
        server.set_attention_style(style);
        let mut c = connect(&server).await;
        {
            let mut rows = c.simple_query(endless).await.unwrap().into_row_stream();
            assert!(rows.try_next().await.unwrap().is_some());
        }
        // tiberius cannot take an acknowledgement in a message of its own: that is why we never cancel
        let cancelled = c.cancel_query().await;
        if style == AttentionStyle::InReply {
            cancelled.unwrap();
            assert_eq!(int(&mut c, "SELECT 5").await, 5);
        }
    }
    let mut c = connect(&server).await;
    assert_eq!(int(&mut c, "SELECT 6").await, 6);
}
