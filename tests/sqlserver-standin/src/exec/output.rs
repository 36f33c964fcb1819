//! What an executing session tells its client, and what a client asks of it. The TDS layer implements
//! [`Output`]; the executor calls it from a blocking thread, so a slow client holds the executor back.

use crate::value::{Col, SqlError, Typed, Val};

/// The client sent an attention or went away: stop the statement and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// A change of the session that the client has to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    Database {
        new: String,
        old: String,
    },
    /// The descriptor of the transaction that began.
    TransactionBegin(u64),
    TransactionCommit(u64),
    TransactionRollback(u64),
    /// The reset that came with a request is done (sent by the session, not by the executor).
    ResetDone,
}

/// The reply of one request, in the order of the calls.
pub trait Output {
    /// Begins a result set.
    fn columns(&mut self, columns: &[Col]) -> Result<(), Stopped>;
    /// A row of the result set begun last. `Err` also when an attention has arrived.
    fn row(&mut self, row: &[Val]) -> Result<(), Stopped>;
    /// Ends a statement; `rows` is the count that the client sees (None: no count, as SET NOCOUNT ON).
    fn done(&mut self, rows: Option<u64>);
    /// An error (class 11 and up: the next `done` carries the error bit) or an informational message.
    fn message(&mut self, message: &SqlError);
    fn env(&mut self, change: EnvChange);
    /// Whether the client has sent an attention; to be asked in loops that send no rows.
    fn stopped(&self) -> bool;
    /// The flag behind `stopped`, so that a statement that waits for a lock can look at it.
    fn stop_flag(&self) -> Option<std::sync::Arc<std::sync::atomic::AtomicBool>> {
        None
    }
}

/// A parameter of a request. The name begins with `@`, or is empty when it goes by position.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub value: Typed,
    pub output: bool,
}

/// What a finished request hands back.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Position in the parameters and final value of each output parameter.
    pub outputs: Vec<(usize, Typed)>,
    /// RETURN value of the procedure.
    pub status: i32,
}

/// Isolation level of a transaction-manager request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Snapshot,
}

/// Who connects.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub user: String,
    pub database: String,
    pub host: String,
    pub app: String,
    /// Client library, as LOGIN7 names it.
    pub library: String,
    pub read_only_intent: bool,
    /// Number of the session (@@SPID).
    pub spid: u16,
    /// Whether the connection is encrypted (sys.dm_exec_connections.encrypt_option).
    pub encrypted: bool,
    pub client_address: String,
}

// What the TDS session calls on `exec::SessionState` (every call on a blocking thread):
//   SessionState::new(instance: Arc<Instance>, login: Login) -> Result<SessionState, SqlError>   // 18456/4060 are decided here:
//   Instance::authenticate(&self, user: &str, password: &str) -> bool
//   fn database(&self) -> &str
//   fn transaction(&self) -> u64                 // descriptor of the open transaction, 0 = none
//   fn run(&mut self, sql: &str, params: &[Param], out: &mut dyn Output) -> Result<Outcome, SqlError>
//        // Err = the batch ended with this error, not yet sent by message(); a statement error that does
//        // not end the batch goes out by message() + done(None)
//   fn call(&mut self, procedure: &str, params: &[Param], out: &mut dyn Output) -> Result<Outcome, SqlError> // RPC by name
//   fn begin(&mut self, isolation: Option<Isolation>, out) / commit(out) / rollback(savepoint: Option<&str>, out) / save(name: &str, out)
//        -> Result<(), SqlError>                 // each calls out.env(..) itself, also BEGIN TRAN etc. inside run()
//   fn reset(&mut self, out)                     // sp_reset_connection: rolls back, drops #temp tables, back to the login database
