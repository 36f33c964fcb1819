//! The reply of a request: it takes what the executor produces, encodes it at once and hands full
//! buffers to the task that writes the socket. The channel between them is short, so a slow client
//! holds the executor back and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::tokens;
use crate::exec::output::{EnvChange, Output, Stopped};
use crate::value::{Col, SqlError, Typed, Val};

/// Buffers of about this size go to the writer.
const BUFFER: usize = 32 << 10;

/// How an attention that interrupts a reply is acknowledged. MS-TDS allows both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AttentionStyle {
    /// The interrupted reply ends with the acknowledgement.
    InReply,
    /// The reply ends as if nothing had happened; the acknowledgement is a message of its own. Microsoft's JDBC driver
    /// counts on it: when its attention left before the end of the reply came, it waits for one message more.
    #[default]
    Separate,
}

/// See the module.
#[derive(Debug)]
pub struct Reply {
    buffer: Vec<u8>,
    writer: mpsc::Sender<Vec<u8>>,
    stop: Arc<AtomicBool>,
    /// Where an attention is acknowledged: in this message, or in one of its own.
    style: AttentionStyle,
    columns: Vec<Col>,
    /// Statements of a call end with DONEINPROC.
    in_procedure: bool,
    /// A DONE whose "more" bit is known only when something follows.
    pending: Option<(u16, Option<u64>)>,
    /// An error was sent since the last DONE.
    failed: bool,
    gone: bool,
    /// The executor broke its own promise; told to the client as an error.
    broken: Option<SqlError>,
}

impl Reply {
    /// `stop` is set when an attention has come or the client is gone.
    pub fn new(
        writer: mpsc::Sender<Vec<u8>>,
        stop: Arc<AtomicBool>,
        style: AttentionStyle,
        in_procedure: bool,
    ) -> Self {
        Self {
            buffer: Vec::with_capacity(BUFFER + 4096),
            writer,
            stop,
            style,
            columns: Vec::new(),
            in_procedure,
            pending: None,
            failed: false,
            gone: false,
            broken: None,
        }
    }

    fn settle(&mut self) {
        if let Some((status, rows)) = self.pending.take() {
            tokens::done(&mut self.buffer, tokens::DONE, status | tokens::MORE, rows);
        }
    }

    fn send(&mut self) {
        if self.gone || self.buffer.is_empty() {
            self.buffer.clear();
            return;
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER + 4096));
        if self.writer.blocking_send(full).is_err() {
            self.gone = true;
        }
    }

    fn stopping(&self) -> bool {
        self.gone || self.stop.load(Ordering::Relaxed)
    }

    /// Whether the session will add the acknowledgement of an attention to this message.
    fn stays_open(&self) -> bool {
        self.style == AttentionStyle::InReply && self.stop.load(Ordering::Relaxed)
    }

    /// Ends a batch or a transaction request. `error` is what ended it early. True when the message is
    /// to be ended by the acknowledgement of an attention.
    pub fn finish_batch(mut self, error: Option<&SqlError>) -> bool {
        // what the executor returns after a stop only says that it stopped
        let error = if self.stopping() || self.broken.is_some() { None } else { error };
        let broken = self.broken.take();
        for e in [broken.as_ref(), error].into_iter().flatten() {
            self.message(e);
            self.done(None);
        }
        let (status, rows) = self.pending.take().unwrap_or((0, None));
        let open = self.stays_open();
        let more = if open { tokens::MORE } else { 0 };
        tokens::done(&mut self.buffer, tokens::DONE, status | more, rows);
        self.send();
        open
    }

    /// Ends one call of an RPC request; `last` when no other call follows in it. The result is that of
    /// [`Reply::finish_batch`], and then no other call may follow.
    pub fn finish_call(
        &mut self,
        status: i32,
        outputs: &[(u16, String, Typed)],
        error: Option<&SqlError>,
        last: bool,
    ) -> bool {
        // what the executor returns after a stop only says that it stopped
        let error = if self.stopping() || self.broken.is_some() { None } else { error };
        let broken = self.broken.take();
        for e in [broken.as_ref(), error].into_iter().flatten() {
            self.message(e);
        }
        let failed = std::mem::take(&mut self.failed);
        if broken.is_none() && error.is_none() {
            tokens::return_status(&mut self.buffer, status);
            for (ordinal, name, value) in outputs {
                let at = self.buffer.len();
                if tokens::return_value(&mut self.buffer, *ordinal, name, value).is_err() {
                    self.buffer.truncate(at);
                    let e = mismatch(name, value.ty.declared(), &value.val);
                    tokens::message(&mut self.buffer, &e, "");
                }
            }
        }
        let error_bit = if failed { tokens::ERROR } else { 0 };
        let open = self.stays_open();
        let more = if last && !open { 0 } else { tokens::MORE };
        tokens::done(&mut self.buffer, tokens::DONE_PROC, error_bit | more, None);
        if last || open {
            self.send();
        }
        open
    }
}

fn mismatch(name: &str, ty: String, val: &Val) -> SqlError {
    let kind = format!("{val:?}");
    let kind: String = kind.chars().take_while(|c| c.is_alphanumeric()).collect();
    SqlError::unknown(format_args!(
        "how to send {kind} as {ty} (column '{name}'); this is a defect of it"
    ))
}

impl Output for Reply {
    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.stop))
    }

    fn columns(&mut self, columns: &[Col]) -> Result<(), Stopped> {
        self.settle();
        self.columns = columns.to_vec();
        tokens::columns(&mut self.buffer, columns);
        if self.stopping() { Err(Stopped) } else { Ok(()) }
    }

    fn row(&mut self, row: &[Val]) -> Result<(), Stopped> {
        debug_assert_eq!(row.len(), self.columns.len());
        if let Err((i, _)) = tokens::row(&mut self.buffer, &self.columns, row) {
            if let (Some(c), Some(v)) = (self.columns.get(i), row.get(i)) {
                self.broken = Some(mismatch(&c.name, c.ty.declared(), v));
            }
            return Err(Stopped);
        }
        if self.buffer.len() >= BUFFER {
            self.send();
        }
        if self.stopping() { Err(Stopped) } else { Ok(()) }
    }

    fn done(&mut self, rows: Option<u64>) {
        let status = if std::mem::take(&mut self.failed) { tokens::ERROR } else { 0 };
        if self.in_procedure {
            tokens::done(&mut self.buffer, tokens::DONE_IN_PROC, status | tokens::MORE, rows);
        } else {
            self.settle();
            self.pending = Some((status, rows));
        }
    }

    fn message(&mut self, message: &SqlError) {
        self.settle();
        if message.class > 10 {
            self.failed = true;
        }
        tokens::message(&mut self.buffer, message, "");
        if self.buffer.len() >= BUFFER {
            self.send();
        }
    }

    fn env(&mut self, change: EnvChange) {
        self.settle();
        let out = &mut self.buffer;
        match change {
            EnvChange::Database { new, old } => {
                tokens::env_text(out, 1, &new, &old);
                let m =
                    SqlError::info(5701, format!("Changed database context to '{new}'.")).state(2);
                tokens::message(out, &m, "");
            }
            EnvChange::TransactionBegin(id) => tokens::env_bytes(out, 8, &id.to_le_bytes(), &[]),
            EnvChange::TransactionCommit(id) => tokens::env_bytes(out, 9, &[], &id.to_le_bytes()),
            EnvChange::ResetDone => tokens::env_bytes(out, 18, &[], &[]),
            EnvChange::TransactionRollback(id) => {
                tokens::env_bytes(out, 10, &[], &id.to_le_bytes());
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stopping()
    }
}
