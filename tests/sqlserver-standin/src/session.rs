//! One connection: handshake, login, then one request after the other.
//!
//! The executor runs on a blocking thread; this task writes its reply, and a second one keeps reading, so
//! that an attention is seen while rows stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exec::SessionState;
use crate::exec::output::{EnvChange, Isolation, Login, Outcome, Output, Param};
use crate::server::Shared;
use crate::tds::cursor::{Cursor, text};
use crate::tds::login::Login7;
use crate::tds::packet::{Message, PacketWriter, RESET, RESET_KEEP_TRANSACTION, read_message};
use crate::tds::prelogin::{self, Agreed};
use crate::tds::reply::Reply;
use crate::tds::request::{Call, TransactionRequest, all_headers, calls};
use crate::tds::{ProtocolError, kind, tls, tokens};
use crate::value::{SqlError, Ty, Typed, Val, assign, parse_type};

/// A client that says nothing for this long before its login is dropped.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Buffers between the executor and the socket.
const BUFFERS: usize = 2;

/// Serves one connection until the client leaves.
pub async fn serve(mut socket: TcpStream, shared: Arc<Shared>) -> Result<(), ProtocolError> {
    let address = socket.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
    let login = async {
        let Some(first) = read_message(&mut socket).await? else { return Ok(None) };
        if first.kind != kind::PRELOGIN {
            return Err(ProtocolError::Unsupported(format!(
                "a connection that begins with a message of type {}",
                first.kind
            )));
        }
        let wish = prelogin::client_encryption(&first.body)?;
        let (answer, agreed) = prelogin::agree(shared.encryption(), wish);
        let mut out = PacketWriter::new(&mut socket);
        out.write(&prelogin::answer(answer)).await?;
        out.finish().await?;
        Ok(Some(agreed))
    };
    let agreed = tokio::time::timeout(LOGIN_TIMEOUT, login).await.map_err(|_| late())??;
    let accept = |socket| async {
        let accepted = tls::accept(socket, shared.acceptor());
        let accepted = tokio::time::timeout(LOGIN_TIMEOUT, accepted).await.map_err(|_| late())?;
        accepted.map_err(ProtocolError::io("negotiating TLS"))
    };
    match agreed {
        None | Some(Agreed::Refused) => Ok(()),
        Some(Agreed::Plain) => {
            let Some(login) = read_login(&mut socket).await? else { return Ok(()) };
            Session::run(socket, login, false, address, shared).await
        }
        Some(Agreed::Full) => {
            let mut stream = accept(socket).await?;
            let Some(login) = read_login(&mut stream).await? else { return Ok(()) };
            Session::run(stream, login, true, address, shared).await
        }
        Some(Agreed::LoginOnly) => {
            let mut stream = accept(socket).await?;
            let Some(login) = read_login(&mut stream).await? else { return Ok(()) };
            // the client waits for the answer, so nothing of its next message has been read yet
            let socket = stream.into_inner().0.into_socket();
            Session::run(socket, login, false, address, shared).await
        }
    }
}

fn late() -> ProtocolError {
    ProtocolError::malformed("nothing until the login timeout")
}

async fn read_login<S: AsyncRead + Unpin>(s: &mut S) -> Result<Option<Login7>, ProtocolError> {
    let message =
        tokio::time::timeout(LOGIN_TIMEOUT, read_message(s)).await.map_err(|_| late())??;
    match message {
        None => Ok(None),
        Some(m) if m.kind == kind::LOGIN7 => Login7::parse(&m.body).map(Some),
        Some(m) => {
            Err(ProtocolError::malformed(format!("a message of type {} instead of LOGIN7", m.kind)))
        }
    }
}

/// A prepared statement.
struct Prepared {
    sql: String,
    declaration: String,
}

/// What the blocking thread works with; it comes back after each request.
struct Worker {
    state: SessionState,
    prepared: HashMap<i64, Prepared>,
    next_handle: i64,
}

struct Session<W> {
    out: PacketWriter<W>,
    /// Empty while a request runs.
    worker: Option<Worker>,
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    /// The next ATTENTION message was acknowledged already.
    acknowledged: bool,
}

/// Stops the executor when the session ends for whatever reason.
struct StopOnDrop(Arc<AtomicBool>);
impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives the number back when the session ends.
struct Spid {
    number: u16,
    shared: Arc<Shared>,
}
impl Drop for Spid {
    fn drop(&mut self) {
        self.shared.release_spid(self.number);
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Session<W> {
    async fn refuse(mut out: PacketWriter<W>, errors: &[SqlError]) -> Result<(), ProtocolError> {
        let mut reply = Vec::new();
        for e in errors {
            tokens::message(&mut reply, e, "");
        }
        tokens::done(&mut reply, tokens::DONE, tokens::ERROR, None);
        out.write(&reply).await?;
        out.finish().await?;
        out.shutdown().await;
        Ok(())
    }
}

impl Session<()> {
    async fn run<S>(
        stream: S,
        login: Login7,
        encrypted: bool,
        address: String,
        shared: Arc<Shared>,
    ) -> Result<(), ProtocolError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut reader, writer) = tokio::io::split(stream);
        let mut out = PacketWriter::new(writer);
        let instance = shared.instance();
        if let Some(error) = instance.faults.failing_login(&login.user) {
            return Session::refuse(out, &[error]).await;
        }
        if login.integrated || !instance.authenticate(&login.user, &login.password) {
            return Session::refuse(out, &[SqlError::login_failed(&login.user)]).await;
        }
        let spid = Spid { number: shared.take_spid(), shared: Arc::clone(&shared) };
        let who = Login {
            user: login.user.clone(),
            database: login.database,
            host: login.host,
            app: login.app,
            library: login.library,
            read_only_intent: login.read_only_intent,
            spid: spid.number,
            encrypted,
            client_address: address,
        };
        let state = match SessionState::new(instance, who) {
            Ok(state) => state,
            Err(e) => return Session::refuse(out, &[e, SqlError::login_failed(&login.user)]).await,
        };
        let packet_size = match login.packet_size {
            0 => 4096,
            n => usize::try_from(n).unwrap_or(4096).clamp(512, 32_767),
        };
        let mut greeting = Vec::new();
        tokens::login_accepted(&mut greeting, state.database(), packet_size);
        out.write(&greeting).await?;
        out.finish().await?;
        out.set_packet_size(packet_size);

        let stop = Arc::new(AtomicBool::new(false));
        let guard = StopOnDrop(Arc::clone(&stop));
        let (sender, mut requests) = mpsc::channel(4);
        let flag = Arc::clone(&stop);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            loop {
                let message = read_message(&mut reader).await;
                let last = !matches!(message, Ok(Some(_)));
                if last || matches!(&message, Ok(Some(m)) if m.kind == kind::ATTENTION) {
                    flag.store(true, Ordering::Relaxed);
                }
                if sender.send(message).await.is_err() || last {
                    break;
                }
            }
        });
        let end = state.end();
        end.stops(Arc::clone(&stop));
        let worker = Worker { state, prepared: HashMap::new(), next_handle: 1 };
        let mut session = Session { out, worker: Some(worker), stop, shared, acknowledged: false };
        let mut result = Ok(());
        loop {
            let message = tokio::select! {
                biased;
                () = end.killed() => break,
                message = requests.recv() => message,
            };
            let Some(message) = message else { break };
            result = match message {
                Ok(Some(m)) => session.request(m).await,
                Ok(None) => break,
                Err(e) => Err(e),
            };
            if result.is_err() {
                break;
            }
        }
        drop(guard);
        // dropping the state rolls back, which may take a lock: not on this thread
        let worker = session.worker.take();
        if tokio::task::spawn_blocking(move || drop(worker)).await.is_err() {
            tracing::error!("ending the session failed");
        }
        session.out.shutdown().await;
        drop(spid);
        result
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Session<W> {
    async fn request(&mut self, m: Message) -> Result<(), ProtocolError> {
        if m.kind == kind::ATTENTION {
            self.stop.store(false, Ordering::Relaxed);
            if !std::mem::take(&mut self.acknowledged) {
                self.acknowledge().await?;
                self.out.finish().await?;
            }
            return Ok(());
        }
        let mut c = Cursor(&m.body);
        let believed = match m.kind {
            kind::BATCH | kind::RPC | kind::TRANSACTION => all_headers(&mut c)?,
            // a bulk load has no headers: it belongs to the INSERT BULK before it
            kind::BULK => self.worker.as_ref().map_or(0, |w| w.state.transaction()),
            other => return Err(ProtocolError::Unsupported(format!("a request of type {other}"))),
        };
        let reset = m.status & (RESET | RESET_KEEP_TRANSACTION) != 0;
        if !reset && self.worker.as_ref().is_some_and(|w| w.state.transaction() != believed) {
            return self.wrong_transaction().await;
        }
        if matches!(m.kind, kind::BATCH | kind::RPC) {
            self.shared.instance().requests.fetch_add(1, Ordering::Relaxed);
        }
        match m.kind {
            kind::BATCH => {
                let sql = text(c.0);
                self.shared.note_sql(&sql);
                self.execute(reset, false, move |worker, mut reply| {
                    let r = worker.state.run(&sql, &[], &mut reply);
                    reply.finish_batch(r.err().as_ref())
                })
                .await
            }
            kind::BULK => {
                self.execute(reset, false, move |worker, mut reply| {
                    let r = worker.bulk(&m.body, &mut reply);
                    reply.finish_batch(r.err().as_ref())
                })
                .await
            }
            kind::RPC => {
                let calls = calls(&mut c)?;
                for call in &calls {
                    self.note_call(call);
                }
                self.execute(reset, true, move |worker, reply| worker.calls(&calls, reply)).await
            }
            _ => {
                let request = TransactionRequest::parse(&mut c)?;
                self.execute(reset, false, move |worker, reply| worker.transaction(&request, reply))
                    .await
            }
        }
    }

    fn note_call(&self, call: &Call) {
        // where the statement stands in the parameters
        let at = match call.procedure.to_ascii_lowercase().as_str() {
            "sp_executesql" => 0,
            "sp_prepare" | "sp_prepexec" => 2,
            _ => return,
        };
        if let Some(sql) = call.parameters.get(at).and_then(|p| p.value.val.as_str()) {
            self.shared.note_sql(&sql);
        }
    }

    /// Runs a request on a blocking thread and sends what it produces.
    async fn execute(
        &mut self,
        reset: bool,
        in_procedure: bool,
        work: impl FnOnce(&mut Worker, Reply) -> bool + Send + 'static,
    ) -> Result<(), ProtocolError> {
        let Some(mut worker) = self.worker.take() else {
            return Err(ProtocolError::malformed("a request after the executor failed"));
        };
        let (sender, mut buffers) = mpsc::channel(BUFFERS);
        let stop = Arc::clone(&self.stop);
        let style = self.shared.attention_style();
        let running = tokio::task::spawn_blocking(move || {
            let mut reply = Reply::new(sender, stop, style, in_procedure);
            if reset {
                worker.state.reset(&mut reply);
                worker.prepared.clear();
                reply.reset_done();
            }
            let open = work(&mut worker, reply);
            (worker, open)
        });
        let mut sent = Ok(());
        let instance = self.shared.instance();
        let mut bytes = 0;
        while let Some(buffer) = buffers.recv().await {
            bytes += u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            if instance.faults.cut(bytes) {
                let part = buffer.get(..buffer.len() / 2).unwrap_or_default();
                sent = match self.out.write(part).await {
                    Ok(()) => Err(ProtocolError::malformed("a reply that a test wants cut off")),
                    failed => failed,
                };
                break;
            }
            let delay = instance.faults.reply_delay_ms();
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            sent = self.out.write(&buffer).await;
            if sent.is_err() {
                break;
            }
        }
        if sent.is_err() {
            // the client is gone: the executor's next send fails, and a wait of its own ends too
            self.stop.store(true, Ordering::Relaxed);
            drop(buffers);
        }
        let open = match running.await {
            Ok((worker, open)) => {
                self.worker = Some(worker);
                open
            }
            Err(e) => {
                tracing::error!(error = %e, "the executor panicked");
                let mut reply = Vec::new();
                let message = "the executor of the stand-in panicked; see its log";
                tokens::message(&mut reply, &SqlError::new(50_999, message).class(20), "");
                tokens::done(&mut reply, tokens::DONE, tokens::ERROR, None);
                self.out.write(&reply).await?;
                self.out.finish().await?;
                return Err(ProtocolError::malformed("a request that made the executor panic"));
            }
        };
        sent?;
        if open {
            self.acknowledge().await?;
            self.acknowledged = true;
        }
        self.out.finish().await
    }

    async fn acknowledge(&mut self) -> Result<(), ProtocolError> {
        let mut reply = Vec::new();
        tokens::done(&mut reply, tokens::DONE, tokens::ATTENTION, None);
        self.out.write(&reply).await
    }

    async fn wrong_transaction(&mut self) -> Result<(), ProtocolError> {
        let e = SqlError::new(
            3989,
            "New request is not allowed to start because it should come with valid transaction descriptor.",
        );
        let mut reply = Vec::new();
        tokens::message(&mut reply, &e, "");
        tokens::done(&mut reply, tokens::DONE, tokens::ERROR, None);
        self.out.write(&reply).await?;
        self.out.finish().await
    }
}

impl Worker {
    fn bulk(&mut self, body: &[u8], reply: &mut Reply) -> Result<(), SqlError> {
        let (columns, rows) = crate::tds::bulk::parse(body).map_err(|e| {
            let m = format!(
                "The incoming tabular data stream (TDS) protocol stream is incorrect: {e}."
            );
            SqlError::new(4002, m)
        })?;
        self.state.bulk_load(columns, rows, reply)
    }

    fn transaction(&mut self, request: &TransactionRequest, mut reply: Reply) -> bool {
        let state = &mut self.state;
        let then_begin =
            |state: &mut SessionState, next: &Option<Option<Isolation>>, reply: &mut Reply| {
                next.map_or(Ok(()), |level| state.begin(level, reply))
            };
        let r = match request {
            TransactionRequest::Begin { isolation, .. } => state.begin(*isolation, &mut reply),
            TransactionRequest::Commit { begin } => {
                state.commit(&mut reply).and_then(|()| then_begin(state, begin, &mut reply))
            }
            TransactionRequest::Rollback { name, begin } => {
                let name = (!name.is_empty()).then_some(name.as_str());
                state.rollback(name, &mut reply).and_then(|()| then_begin(state, begin, &mut reply))
            }
            TransactionRequest::Save { name } => state.save(name, &mut reply),
        };
        reply.finish_batch(r.err().as_ref())
    }

    fn calls(&mut self, calls: &[Call], mut reply: Reply) -> bool {
        let mut open = false;
        for (i, call) in calls.iter().enumerate() {
            let last = i + 1 == calls.len();
            open = match self.call(call, &mut reply) {
                Ok(done) => reply.finish_call(done.status, &done.values, None, last),
                Err(e) => reply.finish_call(0, &[], Some(&e), last),
            };
            if open {
                break;
            }
        }
        open
    }

    fn call(&mut self, call: &Call, reply: &mut Reply) -> Result<Called, SqlError> {
        let parameters = &call.parameters;
        let name = call.procedure.trim_start_matches("sys.").to_ascii_lowercase();
        let text_at =
            |i: usize| parameters.get(i).and_then(|p| p.value.val.as_str()).unwrap_or_default();
        let rest = |from: usize| parameters.get(from..).unwrap_or_default();
        match name.as_str() {
            "sp_executesql" => self.statement(&text_at(0), &text_at(1), rest(2), 2, reply),
            "sp_prepare" | "sp_prepexec" => {
                let handle = self.next_handle;
                self.next_handle += 1;
                let prepared = Prepared { sql: text_at(2), declaration: text_at(1) };
                let mut called = if name == "sp_prepexec" {
                    self.statement(&prepared.sql, &prepared.declaration, rest(3), 3, reply)?
                } else {
                    declarations(&prepared.declaration)?;
                    Called::default()
                };
                self.prepared.insert(handle, prepared);
                let out_name = parameters.first().map(|p| p.name.clone()).unwrap_or_default();
                called.values.insert(0, (0, out_name, Typed::new(Ty::Int, Val::Int(handle))));
                Ok(called)
            }
            "sp_execute" => {
                let handle = parameters.first().and_then(|p| p.value.val.as_int()).unwrap_or(0);
                let Some(p) = self.prepared.get(&handle) else {
                    let m = format!("Could not find prepared statement with handle {handle}.");
                    return Err(SqlError::new(8179, m));
                };
                let (sql, declaration) = (p.sql.clone(), p.declaration.clone());
                self.statement(&sql, &declaration, rest(1), 1, reply)
            }
            "sp_unprepare" => {
                if let Some(handle) = parameters.first().and_then(|p| p.value.val.as_int()) {
                    self.prepared.remove(&handle);
                }
                Ok(Called::default())
            }
            "sp_reset_connection" => {
                self.state.reset(reply);
                self.prepared.clear();
                Ok(Called::default())
            }
            other if other.starts_with("sp_cursor") => {
                Err(SqlError::unknown(format_args!("server cursors ({other})")))
            }
            _ => {
                let outcome = self.state.call(&call.procedure, parameters, reply)?;
                Ok(Called::new(outcome, parameters, 0))
            }
        }
    }

    /// A statement with parameters; `offset` is where they begin in the call.
    fn statement(
        &mut self,
        sql: &str,
        declaration: &str,
        given: &[Param],
        offset: usize,
        reply: &mut Reply,
    ) -> Result<Called, SqlError> {
        let declared = declarations(declaration)?;
        let mut parameters = Vec::with_capacity(given.len());
        for (i, p) in given.iter().enumerate() {
            // drivers may send the values of a declared list without names
            let found = if p.name.is_empty() {
                declared.get(i)
            } else {
                let name = p.name.trim_start_matches('@');
                declared.iter().find(|d| d.name.trim_start_matches('@').eq_ignore_ascii_case(name))
            };
            parameters.push(match found {
                Some(d) => {
                    let value = if d.ty == p.value.ty {
                        p.value.clone()
                    } else {
                        Typed::new(d.ty, assign(&p.value, &d.ty, None)?)
                    };
                    Param { name: d.name.clone(), value, output: p.output }
                }
                None if !p.name.is_empty() => {
                    let name = &p.name;
                    let m = format!("{name} is not a parameter for procedure sp_executesql.");
                    return Err(SqlError::new(8145, m));
                }
                None => {
                    return Err(SqlError::new(
                        8144,
                        "Procedure or function has too many arguments specified.",
                    ));
                }
            });
        }
        if let Some(missing) =
            declared.iter().find(|d| !parameters.iter().any(|p| p.name == d.name))
        {
            let m = format!(
                "The parameterized query expects the parameter '{}', which was not supplied.",
                missing.name
            );
            return Err(SqlError::new(8178, m));
        }
        let outcome = self.state.run(sql, &parameters, reply)?;
        Ok(Called::new(outcome, given, offset))
    }
}

/// The end of a call: status and output values with their place in the request.
#[derive(Default)]
struct Called {
    status: i32,
    values: Vec<(u16, String, Typed)>,
}

impl Called {
    fn new(outcome: Outcome, parameters: &[Param], offset: usize) -> Self {
        let values = outcome
            .outputs
            .into_iter()
            .filter_map(|(i, value)| {
                let p = parameters.get(i)?;
                Some((u16::try_from(i + offset).ok()?, p.name.clone(), value))
            })
            .collect();
        Self { status: outcome.status, values }
    }
}

/// A declared parameter.
struct Declared {
    name: String,
    ty: Ty,
}

/// Splits `@a int, @b decimal(10,2) OUTPUT`.
fn declarations(list: &str) -> Result<Vec<Declared>, SqlError> {
    let mut out = Vec::new();
    let mut depth = 0i32;
    let pieces = list.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for piece in pieces {
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        let (name, rest) =
            piece.split_once(char::is_whitespace).ok_or_else(|| SqlError::syntax(piece))?;
        if !name.starts_with('@') {
            return Err(SqlError::syntax(name));
        }
        let mut ty = rest.trim();
        // a default and the direction follow the type
        if let Some((before, _)) = ty.split_once('=') {
            ty = before.trim_end();
        }
        let lower = ty.to_ascii_lowercase();
        for word in [" output", " out", " readonly"] {
            if lower.ends_with(word) {
                ty = ty.get(..ty.len() - word.len()).unwrap_or(ty).trim_end();
                break;
            }
        }
        let ty = ty.strip_prefix("AS ").or_else(|| ty.strip_prefix("as ")).unwrap_or(ty);
        out.push(Declared { name: name.to_owned(), ty: parse_type(ty)? });
    }
    Ok(out)
}

impl Reply {
    /// Tells the client that the reset it asked for is done.
    fn reset_done(&mut self) {
        self.env(EnvChange::ResetDone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_parameters() {
        let list =
            declarations("@P1 nvarchar(4000), @p2 decimal(10, 2) OUTPUT,@x varchar(max)=NULL out")
                .unwrap();
        let got: Vec<(String, Ty)> = list.into_iter().map(|d| (d.name, d.ty)).collect();
        let want = [
            ("@P1", Ty::NVarChar(4000)),
            ("@p2", Ty::Decimal(10, 2)),
            ("@x", Ty::VarChar(crate::value::MAX)),
        ];
        assert_eq!(got, want.map(|(n, t)| (n.to_owned(), t)));
        assert!(declarations("").unwrap().is_empty());
        assert!(declarations("x int").is_err());
    }
}
