//! How fast the SQL Server stand-in itself is: other figures must not be its own.
//!
//! One client reads by a raw socket, so that no driver is measured: it logs in, sends one batch, and counts bytes up to
//! the end of the reply, whose last token says how many rows there were.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use causeway_tests::{
    child,
    sqlserver::{self, Options, SqlServer},
    wait,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{pipeline::LIMIT, result::Results};

const DATABASE: &str = "bench_standin";
/// Rows of the table; each of the first half is changed once.
const ROWS: u32 = 1 << 19;
/// Rows of one statement: change tables remember transactions, and ours are small.
const STEP: u32 = 1 << 13;
/// Reads of each kind; the best counts.
const READS: usize = 3;

/// Measures `standin.read2`, `standin.changes` and `standin.memory`.
pub(crate) async fn run(results: &mut Results) -> Result<()> {
    let server = SqlServer::start(Options::default()).await?;
    let pid = server.pid().context("a stand-in of our own")?;
    server.create_captured_database(DATABASE).await?;
    server
        .exec(DATABASE, "CREATE TABLE dbo.pair (id int NOT NULL PRIMARY KEY, v bigint NOT NULL)")
        .await?;
    let (empty, _) = child::memory_mb(pid)?;
    let mut client = server.client(DATABASE).await?;
    sqlserver::exec(&mut client, "INSERT INTO dbo.pair VALUES (1, 1)").await?;
    let mut have = 1;
    while have < ROWS {
        let sql = format!("INSERT INTO dbo.pair SELECT id + {have}, v * 7 % 1000003 FROM dbo.pair");
        sqlserver::exec(&mut client, &sql).await?;
        have *= 2;
    }
    // Capture begins after the fill, as on a table that was there before.
    server.capture(DATABASE, "dbo", "pair").await?;
    for start in (0..ROWS / 2).step_by(usize::try_from(STEP)?) {
        let sql = format!(
            "UPDATE dbo.pair SET v = v + 1 WHERE id BETWEEN {} AND {}",
            start + 1,
            start + STEP
        );
        sqlserver::exec(&mut client, &sql).await?;
    }
    let images = i64::from(ROWS);
    Box::pin(wait::until("the capture job", LIMIT, || async {
        let mut client = server.client(DATABASE).await?;
        let rows = sqlserver::rows(&mut client, "SELECT COUNT_BIG(*) FROM cdc.dbo_pair_CT").await?;
        let count: i64 = rows.first().and_then(|row| row.get(0)).unwrap_or(0);
        Ok((count >= images).then_some(()))
    }))
    .await?;
    let (full, _) = child::memory_mb(pid)?;

    let mut raw = Raw::login(&server).await?;
    let table = raw.best("SELECT id, v FROM dbo.pair", ROWS).await?;
    results.add("standin.read2", "rows/s", table.rate, None, None);
    let changes = raw
        .best(
            "SELECT * FROM cdc.dbo_pair_CT WHERE __$start_lsn > 0x00000000000000000001 \
             ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation",
            ROWS,
        )
        .await?;
    results.add("standin.changes", "rows/s", changes.rate, None, None);
    // The data: what the table and the change table are on the wire.
    let data = (table.bytes + changes.bytes) / 1e6;
    results.add("standin.memory", "x data", (full - empty) / data, None, Some(full));
    Ok(())
}

/// A read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// Rows per second.
    rate: f64,
    /// Size of the reply.
    bytes: f64,
}

/// A connection without TLS and without a driver.
struct Raw(TcpStream);

impl Raw {
    async fn login(server: &SqlServer) -> Result<Self> {
        let socket = TcpStream::connect((server.host(), server.port())).await.context("connect")?;
        socket.set_nodelay(true).context("connect")?;
        let mut raw = Self(socket);
        // PRELOGIN: a version, and encryption that is not supported.
        let mut hello = vec![0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 255];
        hello.extend([16, 0, 0, 0, 0, 0, 2]);
        raw.send(18, &hello).await?;
        raw.reply().await?;
        raw.send(16, &login7("sa", server.sa_password(), DATABASE)?).await?;
        raw.reply().await?;
        Ok(raw)
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let length = u16::try_from(body.len() + 8).context("a request of one packet")?;
        let [high, low] = length.to_be_bytes();
        let packet = [&[kind, 1, high, low, 0, 0, 1, 0], body].concat();
        self.0.write_all(&packet).await.context("send")
    }

    /// Size of a reply, and the rows that its DONE counts.
    async fn reply(&mut self) -> Result<(usize, u64)> {
        let mut buffer = vec![0; 1 << 18];
        let (mut have, mut bytes, mut tail) = (0, 0, Vec::new());
        loop {
            let count = self.0.read(buffer.get_mut(have..).unwrap_or_default()).await?;
            ensure!(count > 0, "the stand-in closed the connection");
            have += count;
            let mut at = 0;
            // Whole packets; the rest moves to the front.
            while let Some(&[_, status, high, low]) =
                buffer.get(at..have).and_then(|data| data.first_chunk::<4>())
            {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(packet) = buffer.get(at..at + length).filter(|_| at + length <= have)
                else {
                    break;
                };
                at += length;
                bytes += length;
                if status & 1 == 1 {
                    tail.extend_from_slice(packet.get(8..).unwrap_or_default());
                    let done = tail.last_chunk::<8>().context("a reply without DONE")?;
                    return Ok((bytes, u64::from_le_bytes(*done)));
                }
                // DONE may begin in the packet before the last.
                let keep = packet.len().saturating_sub(16).max(8);
                tail = packet.get(keep..).unwrap_or_default().to_vec();
            }
            buffer.copy_within(at..have, 0);
            have -= at;
        }
    }

    async fn best(&mut self, sql: &str, rows: u32) -> Result<Read> {
        let mut best = Read::default();
        for _ in 0..READS {
            // ALL_HEADERS with the descriptor of no transaction, then the text.
            let mut body = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
            body.extend(sql.encode_utf16().flat_map(u16::to_le_bytes));
            let start = Instant::now();
            self.send(1, &body).await?;
            let (bytes, count) = self.reply().await?;
            if count != u64::from(rows) {
                bail!("{count} rows of {rows}: {sql}");
            }
            let rate = f64::from(rows) / start.elapsed().as_secs_f64();
            let bytes = f64::from(u32::try_from(bytes).context("a reply above 4 GB")?);
            if rate > best.rate {
                best = Read { rate, bytes };
            }
        }
        Ok(best)
    }
}

/// A LOGIN7 message of TDS 7.4.
fn login7(user: &str, password: &str, database: &str) -> Result<Vec<u8>> {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    // The password is disguised: halves of each byte change places, then 0xA5.
    let secret: Vec<u8> = wide(password).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
    // Host, user, password, application, server, unused, library, language, database.
    let texts = [
        wide("bench"),
        wide(user),
        secret,
        wide("causeway-benches"),
        wide("standin"),
        Vec::new(),
        wide("raw"),
        Vec::new(),
        wide(database),
    ];
    let mut head = Vec::new();
    head.extend(0x7400_0004_u32.to_le_bytes());
    head.extend(32_767_u32.to_le_bytes());
    head.extend([0; 12]);
    head.extend([0xE0, 0x03, 0, 0]);
    head.extend([0; 8]);
    // After the lengths come a client id and the places of SSPI, a file, a new password.
    const HEAD: usize = 36 + 9 * 4 + 6 + 3 * 4 + 4;
    let mut at = HEAD;
    let mut data = Vec::new();
    for text in &texts {
        head.extend(u16::try_from(at)?.to_le_bytes());
        head.extend(u16::try_from(text.len() / 2)?.to_le_bytes());
        data.extend_from_slice(text);
        at += text.len();
    }
    head.extend([0; 6]);
    for _ in 0..3 {
        head.extend(u16::try_from(at)?.to_le_bytes());
        head.extend([0; 2]);
    }
    head.extend([0; 4]);
    let length = u32::try_from(4 + head.len() + data.len())?;
    ensure!(4 + head.len() == HEAD, "a LOGIN7 message of another shape");
    Ok([&length.to_le_bytes()[..], &head, &data].concat())
}
