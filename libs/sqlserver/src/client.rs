//! [`Client`]: one connection, which asks one question at a time.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use causeway_change::Lsn;
use futures_util::{Stream, StreamExt};
use tiberius::{ColumnData, QueryItem, ToSql};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::{Config, SqlServerError, queries};

/// One parameter of a statement, of the type that SQL Server is told.
#[derive(Clone, Debug)]
pub struct Param(pub(crate) ColumnData<'static>);

impl ToSql for Param {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

impl From<i32> for Param {
    fn from(n: i32) -> Self {
        Self(ColumnData::I32(Some(n)))
    }
}

impl From<i64> for Param {
    fn from(n: i64) -> Self {
        Self(ColumnData::I64(Some(n)))
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self(ColumnData::String(Some(Cow::Owned(text.to_owned()))))
    }
}

impl From<Lsn> for Param {
    fn from(lsn: Lsn) -> Self {
        Self(ColumnData::Binary(Some(Cow::Owned(lsn.as_bytes().to_vec()))))
    }
}

/// A T-SQL text, its parameters `@P1`, `@P2`, …, and what it is for.
#[derive(Clone, Debug)]
pub struct Query {
    /// What we are doing, as the end of a sentence: "list the captured tables".
    pub doing: String,
    /// The text.
    pub text: String,
    /// The parameters in order.
    pub params: Vec<Param>,
}

impl Query {
    /// A text without parameters.
    pub fn new(doing: impl Into<String>, text: impl Into<String>) -> Self {
        Self { doing: doing.into(), text: text.into(), params: Vec::new() }
    }

    /// Adds the next parameter.
    #[must_use]
    pub fn bind(mut self, param: impl Into<Param>) -> Self {
        self.params.push(param.into());
        self
    }
}

/// One row of an answer to one of our own questions; columns are counted from 0.
#[derive(Debug)]
pub struct Record {
    pub(crate) row: tiberius::Row,
}

impl Record {
    /// The values in order.
    #[must_use]
    pub fn into_values(self) -> impl ExactSizeIterator<Item = ColumnData<'static>> {
        self.row.into_iter()
    }

    /// Which of the batch's result sets the row belongs to, from 0.
    #[must_use]
    pub fn result_set(&self) -> usize {
        self.row.result_index()
    }

    fn data(&self, column: usize) -> Result<&ColumnData<'static>, SqlServerError> {
        self.row.cells().nth(column).map(|(_, data)| data).ok_or_else(|| {
            SqlServerError::Catalog(format!("an answer has no column number {column}"))
        })
    }

    fn mismatch(&self, column: usize, expected: &str) -> SqlServerError {
        let name = self.row.columns().get(column).map_or("?", |c| c.name());
        let kind = self.row.columns().get(column).map_or_else(
            || "nothing".to_owned(),
            |c| format!("{:?}", c.column_type()).to_lowercase(),
        );
        SqlServerError::Value { column: name.to_owned(), sent: kind, expected: expected.to_owned() }
    }

    /// A string, or NULL.
    pub fn text(&self, column: usize) -> Result<Option<&str>, SqlServerError> {
        if let ColumnData::String(text) = self.data(column)? {
            Ok(text.as_deref())
        } else {
            Err(self.mismatch(column, "a string"))
        }
    }

    /// A string that may not be NULL.
    pub fn required_text(&self, column: usize) -> Result<&str, SqlServerError> {
        self.text(column)?.ok_or_else(|| self.mismatch(column, "a string, not NULL"))
    }

    /// Any whole number or bit, or NULL.
    pub fn number(&self, column: usize) -> Result<Option<i64>, SqlServerError> {
        match self.data(column)? {
            ColumnData::U8(n) => Ok(n.map(i64::from)),
            ColumnData::I16(n) => Ok(n.map(i64::from)),
            ColumnData::I32(n) => Ok(n.map(i64::from)),
            ColumnData::I64(n) => Ok(*n),
            ColumnData::Bit(b) => Ok(b.map(i64::from)),
            ColumnData::F32(_)
            | ColumnData::F64(_)
            | ColumnData::String(_)
            | ColumnData::Guid(_)
            | ColumnData::Binary(_)
            | ColumnData::Numeric(_)
            | ColumnData::Xml(_)
            | ColumnData::DateTime(_)
            | ColumnData::SmallDateTime(_)
            | ColumnData::Time(_)
            | ColumnData::Date(_)
            | ColumnData::DateTime2(_)
            | ColumnData::DateTimeOffset(_) => Err(self.mismatch(column, "a whole number")),
        }
    }

    /// A whole number that may not be NULL.
    pub fn required_number(&self, column: usize) -> Result<i64, SqlServerError> {
        self.number(column)?.ok_or_else(|| self.mismatch(column, "a whole number, not NULL"))
    }

    /// An `int` that may not be NULL.
    pub fn required_int(&self, column: usize) -> Result<i32, SqlServerError> {
        i32::try_from(self.required_number(column)?)
            .map_err(|_| self.mismatch(column, "a number of 32 bits"))
    }

    /// A bit or number, NULL being false.
    pub fn flag(&self, column: usize) -> Result<bool, SqlServerError> {
        Ok(self.number(column)?.unwrap_or(0) != 0)
    }

    /// Bytes, or NULL.
    pub fn bytes(&self, column: usize) -> Result<Option<&[u8]>, SqlServerError> {
        if let ColumnData::Binary(bytes) = self.data(column)? {
            Ok(bytes.as_deref())
        } else {
            Err(self.mismatch(column, "bytes"))
        }
    }

    /// A `binary(10)` LSN, or NULL.
    pub fn lsn(&self, column: usize) -> Result<Option<Lsn>, SqlServerError> {
        self.bytes(column)?
            .map(|bytes| {
                Lsn::try_from(bytes).map_err(|source| {
                    let name = self.row.columns().get(column).map_or("?", |c| c.name());
                    SqlServerError::Lsn { column: name.to_owned(), source }
                })
            })
            .transpose()
    }

    /// A wall clock (`datetime` or `datetime2`), in ticks of 100 ns since 1970, or NULL.
    pub fn date_time(&self, column: usize) -> Result<Option<i64>, SqlServerError> {
        let data = self.data(column)?;
        crate::value::date_time_ticks(data).ok_or_else(|| self.mismatch(column, "a date and time"))
    }
}

/// One connection to one database.
///
/// It is used by one task. When an answer is given up half way, or the connection fails, it is
/// *broken*: every later question fails at once, and the owner opens a new one. `cancel_query` of the
/// driver is never called: it can hand every later question the answer of the one before.
pub struct Client {
    driver: tiberius::Client<Compat<TcpStream>>,
    /// True from the moment a question is sent until its answer has been read to the end.
    in_answer: bool,
    broken: bool,
}

impl Client {
    /// Connects, logs in and sets the session up.
    pub async fn connect(config: &Config) -> Result<Self, SqlServerError> {
        let (mut host, mut port) = (config.host.clone(), config.port);
        // A listener of Azure or of an availability group may send us on once.
        for _ in 0..3 {
            let address = format!("{host}:{port}");
            let timeout = Duration::from_millis(config.connect_timeout_ms);
            let connected = tokio::time::timeout(timeout, TcpStream::connect((&*host, port)));
            let tcp = match connected.await {
                Ok(Ok(tcp)) => tcp,
                Ok(Err(source)) => return Err(SqlServerError::Connect { address, source }),
                Err(_) => {
                    let source = std::io::Error::new(
                        std::io::ErrorKind::TimedOut,
                        format!("no answer within {} ms", config.connect_timeout_ms),
                    );
                    return Err(SqlServerError::Connect { address, source });
                }
            };
            tcp.set_nodelay(true)
                .map_err(|source| SqlServerError::Connect { address: address.clone(), source })?;
            let driver = config.driver(&host, port);
            match Box::pin(tiberius::Client::connect(driver, tcp.compat_write())).await {
                Ok(driver) => {
                    let mut client = Self { driver, in_answer: false, broken: false };
                    client.run(queries::session(config.lock_timeout_ms)).await?;
                    return Ok(client);
                }
                Err(tiberius::error::Error::Routing { host: to, port: at }) => {
                    (host, port) = (to, at);
                }
                Err(source) => {
                    return Err(SqlServerError::of_login(
                        &address,
                        &config.user,
                        &config.database,
                        source,
                    ));
                }
            }
        }
        Err(SqlServerError::Connect {
            address: config.address(),
            source: std::io::Error::other("the server sends us from one address to the next"),
        })
    }

    /// True when the connection may not be used again.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken || self.in_answer
    }

    /// Asks, and gives the rows one by one as they come. Dropping the answer before its end breaks the
    /// connection, which is the only safe way to give up a large answer.
    pub async fn stream(&mut self, query: &Query) -> Result<Records<'_>, SqlServerError> {
        if self.is_broken() {
            return Err(SqlServerError::Broken { doing: query.doing.clone() });
        }
        self.in_answer = true;
        let Self { driver, in_answer, broken } = self;
        let asked = if query.params.is_empty() {
            driver.simple_query(query.text.as_str()).await
        } else {
            let params: Vec<&dyn ToSql> = query.params.iter().map(|p| p as &dyn ToSql).collect();
            driver.query(query.text.as_str(), &params).await
        };
        match asked {
            Ok(answer) => Ok(Records { answer, in_answer, broken, doing: query.doing.clone() }),
            Err(source) => {
                let error = SqlServerError::of(&query.doing, source);
                *broken = error.breaks_connection();
                *in_answer = false;
                Err(error)
            }
        }
    }

    /// Asks, and collects the rows: for answers that are known to be small.
    pub async fn all(&mut self, query: &Query) -> Result<Vec<Record>, SqlServerError> {
        let mut records = self.stream(query).await?;
        let mut all = Vec::new();
        while let Some(record) = records.next().await {
            all.push(record?);
        }
        Ok(all)
    }

    /// Asks, and gives the first row of the answer.
    pub async fn one(&mut self, query: &Query) -> Result<Option<Record>, SqlServerError> {
        Ok(self.all(query).await?.into_iter().next())
    }

    /// Runs a statement that answers nothing.
    pub async fn run(&mut self, query: Query) -> Result<(), SqlServerError> {
        self.all(&query).await.map(drop)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("broken", &self.is_broken()).finish_non_exhaustive()
    }
}

/// The rows of an answer, as they come.
pub struct Records<'a> {
    answer: tiberius::QueryStream<'a>,
    in_answer: &'a mut bool,
    broken: &'a mut bool,
    doing: String,
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("doing", &self.doing).finish_non_exhaustive()
    }
}

impl Stream for Records<'_> {
    type Item = Result<Record, SqlServerError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            return match Pin::new(&mut this.answer).poll_next(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => {
                    *this.in_answer = false;
                    Poll::Ready(None)
                }
                Poll::Ready(Some(Ok(QueryItem::Row(row)))) => Poll::Ready(Some(Ok(Record { row }))),
                Poll::Ready(Some(Ok(QueryItem::Metadata(_)))) => continue,
                Poll::Ready(Some(Err(source))) => {
                    let error = SqlServerError::of(&this.doing, source);
                    *this.broken |= error.breaks_connection();
                    // A statement's own error ends the answer; the driver reads what is left of it
                    // before the next question.
                    *this.in_answer = false;
                    Poll::Ready(Some(Err(error)))
                }
            };
        }
    }
}
