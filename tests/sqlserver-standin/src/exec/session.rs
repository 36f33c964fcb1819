//! What a session knows between statements: its database, transaction, variables, settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::cursor::Declared;
use super::eval::Cached;
use super::node::{Kind, Node};
use super::output::{EnvChange, Isolation as Level, Login, Outcome, Output, Param};
use super::scope::Scope;
use super::{R, Write, known, stopped};
use crate::catalog::Host;
use crate::sql::ast::{Insert, Stmt};
use crate::sql::parse_cached;
use crate::store::{
    Database, Instance, Isolation, Moment, Patience, SessionEnd, SessionInfo, Table, Transaction,
    fold_name, same_name, write,
};
use crate::value::{Col, Row, SqlError, Ty, Typed, Val};

/// What SET changes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) no_count: bool,
    pub(crate) xact_abort: bool,
    pub(crate) implicit_transactions: bool,
    /// Milliseconds; -1 waits for ever.
    pub(crate) lock_timeout: i64,
    pub(crate) deadlock_priority: i32,
    pub(crate) date_first: u8,
    pub(crate) text_size: i64,
    pub(crate) isolation: Isolation,
    /// SET ROWCOUNT; 0: no limit.
    pub(crate) row_limit: u64,
    /// Bits of @@OPTIONS.
    pub(crate) bits: i64,
    pub(crate) parse_only: bool,
    pub(crate) no_exec: bool,
    pub(crate) format_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            no_count: false,
            xact_abort: false,
            implicit_transactions: false,
            lock_timeout: -1,
            deadlock_priority: 0,
            date_first: 7,
            text_size: 2_147_483_647,
            isolation: Isolation::ReadCommitted,
            row_limit: 0,
            // ANSI_WARNINGS, PADDING, NULLS, QUOTED_IDENTIFIER, NULL_DFLT_ON, CONCAT_NULL_YIELDS_NULL
            bits: 5496,
            parse_only: false,
            no_exec: false,
            format_only: false,
        }
    }
}

/// The variables of a batch or procedure.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    variables: Vec<(String, Ty, Val)>,
    tables: Vec<(String, Arc<Table>)>,
    /// LOCAL cursors.
    pub(crate) cursors: Vec<Declared>,
    identity: Option<i128>,
    /// Errors that CATCH blocks around this point have caught, the innermost last.
    pub(crate) caught: Vec<SqlError>,
    /// A user-defined function runs here, and what it has returned.
    pub(crate) function: bool,
    pub(crate) returned: Option<Typed>,
    /// A trigger runs here.
    pub(crate) trigger: Option<i32>,
    /// A module runs here: its owner's objects are its own (see `permission`).
    pub(crate) owned: bool,
    /// Temporary tables made here; they go with a procedure or a dynamic text.
    temporary: Vec<String>,
}

/// A connected session. Dropping it rolls back.
#[derive(Debug)]
pub struct SessionState {
    pub(crate) instance: Arc<Instance>,
    pub(crate) login: Login,
    database: Arc<Database>,
    database_name: String,
    first_database: String,
    pub(crate) transaction: Option<Transaction>,
    /// The transaction lasts for the statement only.
    pub(crate) autocommit: bool,
    /// @@TRANCOUNT
    pub(crate) depth: u32,
    pub(crate) transaction_name: Option<String>,
    /// It can only be rolled back.
    pub(crate) doomed: bool,
    pub(crate) frames: Vec<Frame>,
    temporary: BTreeMap<String, Arc<Table>>,
    pub(crate) settings: Settings,
    /// UTC, as the statement sees it.
    pub(crate) now: Moment,
    pub(crate) row_count: i64,
    /// GLOBAL cursors.
    pub(crate) cursors: Vec<Declared>,
    /// @@FETCH_STATUS and @@CURSOR_ROWS
    pub(crate) fetch_status: i64,
    pub(crate) cursor_rows: i64,
    pub(crate) last_error: i32,
    pub(crate) last_identity: Option<i128>,
    pub(crate) identity_insert: Option<(i32, i32)>,
    /// INSERT BULK was said: its rows are to come.
    pub(crate) bulk: Option<Box<Insert>>,
    /// They have come.
    pub(crate) bulk_rows: Option<(Vec<Col>, Vec<Row>)>,
    pub(crate) subqueries: HashMap<usize, Cached>,
    works: HashMap<usize, Arc<Vec<Row>>>,
    next_work: usize,
    pub(crate) max_recursion: u32,
    /// Rows that cursors have looked at, for tests of access paths.
    pub examined: u64,
    ticks: u32,
    pub(crate) stop: Arc<AtomicBool>,
    /// Inside how many TRY blocks.
    pub(crate) tries: u32,
    /// Where GOTO goes.
    pub(crate) goto: String,
    /// The frame in which a name was not found: its own TRY does not catch that.
    pub(crate) unresolved: Option<usize>,
    /// Inside how many views, while a query is compiled.
    views: u32,
    /// For `sys.dm_tran_session_transactions`.
    shown_transaction: Arc<AtomicU64>,
    end: Arc<SessionEnd>,
}

impl SessionState {
    /// A session of a login that has been authenticated. Errors: 4060 when its database cannot be opened.
    pub fn new(instance: Arc<Instance>, login: Login) -> R<Self> {
        let wanted = if login.database.is_empty() {
            let logins = crate::store::read(&instance.logins);
            logins
                .get(&fold_name(&login.user))
                .map_or_else(|| "master".to_owned(), |l| l.default_database.clone())
        } else {
            login.database.clone()
        };
        let database =
            instance.database(&wanted).ok_or_else(|| SqlError::cannot_open_database(&wanted))?;
        database.check_online().map_err(|_| SqlError::cannot_open_database(&wanted))?;
        if database.standing(&crate::store::read(&instance.logins), &login.user).is_none() {
            return Err(SqlError::cannot_open_database(&wanted));
        }
        let (shown_transaction, end) = (Arc::default(), Arc::default());
        write(&instance.sessions).insert(
            login.spid,
            SessionInfo {
                spid: login.spid,
                login: login.user.clone(),
                database: database.name(),
                host: login.host.clone(),
                app: login.app.clone(),
                library: login.library.clone(),
                client_address: login.client_address.clone(),
                encrypted: login.encrypted,
                since: instance.clock.now(),
                transaction: Arc::clone(&shown_transaction),
                end: Arc::clone(&end),
            },
        );
        let now = instance.clock.utc();
        Ok(Self {
            instance,
            login,
            first_database: database.name(),
            database_name: database.name(),
            database,
            transaction: None,
            autocommit: false,
            depth: 0,
            transaction_name: None,
            doomed: false,
            frames: vec![Frame::default()],
            temporary: BTreeMap::new(),
            settings: Settings::default(),
            now,
            row_count: 0,
            cursors: Vec::new(),
            fetch_status: 0,
            cursor_rows: 0,
            last_error: 0,
            last_identity: None,
            identity_insert: None,
            bulk: None,
            bulk_rows: None,
            subqueries: HashMap::new(),
            works: HashMap::new(),
            next_work: 0,
            max_recursion: 100,
            examined: 0,
            ticks: 0,
            stop: Arc::new(AtomicBool::new(false)),
            tries: 0,
            goto: String::new(),
            unresolved: None,
            views: 0,
            shown_transaction,
            end,
        })
    }

    /// Name of the current database.
    pub fn database(&self) -> &str {
        &self.database_name
    }

    pub(crate) fn db(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// How another session ends this one.
    pub fn end(&self) -> Arc<SessionEnd> {
        Arc::clone(&self.end)
    }

    /// Descriptor of the open transaction; 0 when there is none.
    pub fn transaction(&self) -> u64 {
        match &self.transaction {
            Some(t) if self.depth > 0 => t.id,
            _ => 0,
        }
    }

    // ---- requests ----

    /// Runs a batch. An `Err` ended it and has not been sent; statement errors went to `out`.
    pub fn run(&mut self, sql: &str, params: &[Param], out: &mut dyn Output) -> R<Outcome> {
        self.begin_request(out);
        self.bulk = None;
        self.instance.remember_sql(sql);
        // QUOTED_IDENTIFIER, bit 256 of @@OPTIONS, is OFF: the parser has to know
        let batch = if self.settings.bits & 256 == 0 && sql.contains('"') {
            parse_cached(&format!("SET QUOTED_IDENTIFIER OFF {sql}"))?
        } else {
            parse_cached(sql)?
        };
        if self.settings.parse_only {
            return Ok(Outcome::default());
        }
        // The scope of SCOPE_IDENTITY() goes on from batch to batch.
        let identity = self.frames.first().and_then(|f| f.identity);
        self.frames = vec![Frame { identity, ..Frame::default() }];
        for p in params {
            self.declare(&p.name, p.value.ty, p.value.val.clone());
        }
        let result = self.batch(&batch, out);
        let status = self.end_request(result, out)?;
        let mut outputs = Vec::new();
        for (i, p) in params.iter().enumerate() {
            if p.output {
                let (at, ty) = self.find_variable(&p.name)?;
                outputs.push((i, Typed::new(ty, self.variable_at(at))));
            }
        }
        Ok(Outcome { outputs, status })
    }

    /// Runs a procedure by its name, as an RPC does.
    pub fn call(&mut self, procedure: &str, params: &[Param], out: &mut dyn Output) -> R<Outcome> {
        self.begin_request(out);
        self.frames = vec![Frame::default()];
        let name = split_name(procedure);
        let args = params
            .iter()
            .map(|p| crate::catalog::ProcArg {
                name: Some(p.name.clone()).filter(|n| !n.is_empty()),
                value: p.value.clone(),
                output: p.output,
            })
            .collect();
        let result = self.call_procedure(&name, args, out);
        let mut outputs = Vec::new();
        let result = result.map(|(status, values)| {
            outputs = values;
            status
        });
        let status = self.end_request(result, out)?;
        Ok(Outcome { outputs, status })
    }

    /// Runs statements that did not come as text.
    pub(crate) fn request_of(&mut self, statements: &[Stmt], out: &mut dyn Output) -> R<()> {
        self.begin_request(out);
        let identity = self.frames.first().and_then(|f| f.identity);
        self.frames = vec![Frame { identity, ..Frame::default() }];
        let result = self.block(statements, out).map(|_| 0);
        self.end_request(result, out).map(|_| ())
    }

    fn begin_request(&mut self, out: &mut dyn Output) {
        if let Some(flag) = out.stop_flag() {
            self.stop = flag;
        }
        self.tries = 0;
    }

    fn end_request(&mut self, result: R<i32>, out: &mut dyn Output) -> R<i32> {
        self.end_autocommit(result.is_ok());
        match result {
            Ok(status) => {
                if self.doomed && self.depth > 0 {
                    self.roll_back_all(out);
                    return Err(SqlError::new(
                        3998,
                        "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
                    ));
                }
                Ok(status)
            }
            Err(e) => {
                self.last_error = e.number;
                if self.doomed && self.depth > 0 {
                    self.roll_back_all(out);
                }
                Err(e)
            }
        }
    }

    /// sp_reset_connection
    pub fn reset(&mut self, out: &mut dyn Output) {
        self.roll_back_all(out);
        self.temporary.clear();
        self.cursors.clear();
        self.fetch_status = 0;
        self.settings = Settings::default();
        self.identity_insert = None;
        self.frames = vec![Frame::default()];
        if !same_name(&self.database.name(), &self.first_database)
            && let Some(d) = self.instance.database(&self.first_database.clone())
        {
            self.database_name = d.name();
            self.database = d;
        }
    }

    // ---- transactions ----

    fn patience(&self) -> Patience {
        Patience {
            timeout: u64::try_from(self.settings.lock_timeout).ok().map(Duration::from_millis),
            priority: self.settings.deadlock_priority,
            stop: Arc::clone(&self.stop),
            spid: self.login.spid.into(),
        }
    }

    /// The transaction; one for the statement alone when there is none.
    pub(crate) fn tx(&mut self) -> R<&mut Transaction> {
        if self.transaction.is_none() {
            self.start_transaction(self.settings.isolation);
            self.autocommit = true;
            if let Some(t) = &mut self.transaction {
                t.begin_statement();
            }
        }
        self.transaction
            .as_mut()
            .ok_or_else(|| SqlError::unknown("a statement without a transaction"))
    }

    fn start_transaction(&mut self, isolation: Isolation) {
        let patience = self.patience();
        self.transaction = Some(Transaction::begin(&self.instance, isolation, patience));
    }

    /// BEGIN TRANSACTION.
    pub fn begin(&mut self, isolation: Option<Level>, out: &mut dyn Output) -> R<()> {
        if let Some(level) = isolation {
            self.settings.isolation = match level {
                Level::ReadUncommitted => Isolation::ReadUncommitted,
                Level::ReadCommitted => Isolation::ReadCommitted,
                Level::RepeatableRead => Isolation::RepeatableRead,
                Level::Serializable => Isolation::Serializable,
                Level::Snapshot => Isolation::Snapshot,
            };
        }
        self.end_autocommit(true);
        if self.depth == 0 {
            self.start_transaction(self.settings.isolation);
            self.autocommit = false;
            self.doomed = false;
            if let Some(t) = &self.transaction {
                self.shown_transaction.store(t.id, Ordering::Relaxed);
                out.env(EnvChange::TransactionBegin(t.id));
            }
        }
        self.depth += 1;
        Ok(())
    }

    /// COMMIT TRANSACTION.
    pub fn commit(&mut self, out: &mut dyn Output) -> R<()> {
        if self.depth == 0 {
            return Err(SqlError::no_commit());
        }
        if self.doomed {
            return Err(SqlError::new(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. \
                 Roll back the transaction.",
            ));
        }
        self.depth -= 1;
        if self.depth == 0
            && let Some(t) = self.transaction.take()
        {
            let id = t.id;
            self.shown_transaction.store(0, Ordering::Relaxed);
            t.commit();
            self.transaction_name = None;
            out.env(EnvChange::TransactionCommit(id));
        }
        Ok(())
    }

    /// ROLLBACK TRANSACTION, whole or to a savepoint.
    pub fn rollback(&mut self, savepoint: Option<&str>, out: &mut dyn Output) -> R<()> {
        if self.depth == 0 {
            return Err(SqlError::no_rollback());
        }
        if let Some(name) = savepoint.filter(|n| !n.is_empty()) {
            if let Some(t) = &mut self.transaction
                && t.rollback_to(name)
            {
                return Ok(());
            }
            if !self.transaction_name.as_deref().is_some_and(|n| same_name(n, name)) {
                let m = format!(
                    "Cannot roll back {name}. No transaction or savepoint of that name was found."
                );
                return Err(SqlError::new(6401, m));
            }
        }
        self.roll_back_all(out);
        Ok(())
    }

    /// SAVE TRANSACTION.
    pub fn save(&mut self, name: &str, out: &mut dyn Output) -> R<()> {
        let _ = &out;
        if self.depth == 0 {
            return Err(SqlError::new(
                628,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            ));
        }
        let database = self.db();
        if let Some(t) = &mut self.transaction {
            t.save(&database, name);
        }
        Ok(())
    }

    pub(crate) fn roll_back_all(&mut self, out: &mut dyn Output) {
        let kept = self.table_variable_rows();
        self.shown_transaction.store(0, Ordering::Relaxed);
        if let Some(t) = self.transaction.take() {
            let id = t.id;
            t.rollback();
            self.restore_table_variables(kept);
            if self.depth > 0 {
                out.env(EnvChange::TransactionRollback(id));
            }
        }
        self.depth = 0;
        self.doomed = false;
        self.autocommit = false;
        self.transaction_name = None;
    }

    /// Table variables are no part of a transaction: their rows as they are now.
    fn table_variable_rows(&mut self) -> Vec<(Arc<Table>, Vec<Row>)> {
        let tables: Vec<Arc<Table>> = self
            .frames
            .iter()
            .flat_map(|f| &f.tables)
            .filter(|t| t.0.starts_with('@'))
            .map(|t| Arc::clone(&t.1))
            .collect();
        let tempdb = self.instance.tempdb();
        let Some(t) = &mut self.transaction else { return Vec::new() };
        tables
            .into_iter()
            .map(|table| {
                let rows = t.scan(&tempdb, &table).map(|(_, row)| row).collect();
                (table, rows)
            })
            .collect()
    }

    fn restore_table_variables(&mut self, kept: Vec<(Arc<Table>, Vec<Row>)>) {
        if kept.is_empty() {
            return;
        }
        let tempdb = self.instance.tempdb();
        let patience = self.patience();
        let mut t = Transaction::begin(&self.instance, Isolation::ReadCommitted, patience);
        for (table, rows) in kept {
            let old: Vec<_> = t.scan(&tempdb, &table).collect();
            let mut done = old
                .iter()
                .try_for_each(|(key, row)| t.delete(&tempdb, &table, key, row).map(|_| ()));
            for row in rows {
                done = done.and_then(|()| t.insert(&tempdb, &table, row).map(|_| ()));
            }
            if done.is_err() {
                tracing::error!("a table variable could not be kept over a rollback");
            }
        }
        t.commit();
    }

    /// Ends the transaction of a single statement.
    pub(crate) fn end_autocommit(&mut self, commit: bool) {
        if self.autocommit {
            self.autocommit = false;
            if let Some(t) = self.transaction.take() {
                if commit { t.commit() } else { t.rollback() }
            }
        }
    }

    /// Runs a statement that is done wholly or not at all; again, when another transaction got in between.
    pub(crate) fn atomic<T>(&mut self, mut f: impl FnMut(&mut Self) -> Result<T, Write>) -> R<T> {
        self.now = self.instance.clock.utc();
        let mut rounds = 0;
        loop {
            self.subqueries.clear();
            self.max_recursion = 100;
            let patience = self.patience();
            let doomed = self.doomed;
            let isolation = self.settings.isolation;
            let autocommit = self.autocommit;
            let t = self.tx()?;
            t.patience = patience;
            if !autocommit && t.isolation != Isolation::Snapshot && isolation != Isolation::Snapshot
            {
                t.isolation = isolation;
            }
            t.begin_statement();
            let mark = t.here();
            let result = f(self);
            let failure = match result {
                Ok(v) => {
                    if doomed
                        && self.transaction.as_ref().is_some_and(|t| t.here().wrote_since(&mark))
                    {
                        self.undo(&mark);
                        self.end_statement(false);
                        return Err(SqlError::new(
                            3930,
                            "The current transaction cannot be committed and cannot support operations that write to \
                             the log file. Roll back the transaction.",
                        ));
                    }
                    self.end_statement(true);
                    return Ok(v);
                }
                Err(f) => f,
            };
            self.undo(&mark);
            match failure {
                Write::Again if rounds < 100_000 => {
                    rounds += 1;
                    self.tick()?;
                    if rounds > 10 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                Write::Again => {
                    self.end_statement(false);
                    return Err(SqlError::lock_timeout());
                }
                Write::Error(e) => {
                    self.end_statement(false);
                    return Err(e);
                }
            }
        }
    }

    fn undo(&mut self, mark: &crate::store::Mark) {
        if let Some(t) = &mut self.transaction {
            t.back_to(mark);
        }
    }

    fn end_statement(&mut self, ok: bool) {
        if let Some(t) = &mut self.transaction {
            t.end_statement();
        }
        self.end_autocommit(ok);
    }

    /// Looks now and then whether the client wants to stop.
    pub(crate) fn tick(&mut self) -> R<()> {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(256) && self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        Ok(())
    }

    // ---- output ----

    pub(crate) fn send_columns(&mut self, columns: &[Col], out: &mut dyn Output) -> R<()> {
        out.columns(columns).map_err(|_| stopped())
    }

    pub(crate) fn send_row(&mut self, row: &[Val], out: &mut dyn Output) -> R<()> {
        out.row(row).map_err(|_| stopped())
    }

    // ---- variables ----

    pub(crate) fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        // There is always one: it was pushed above.
        #[allow(clippy::indexing_slicing, reason = "the line above made sure of it")]
        &mut self.frames[last]
    }

    pub(crate) fn declare(&mut self, name: &str, ty: Ty, val: Val) {
        let frame = self.frame();
        match frame.variables.iter_mut().find(|v| same_name(&v.0, name)) {
            Some(v) => *v = (name.to_owned(), ty, val),
            None => frame.variables.push((name.to_owned(), ty, val)),
        }
    }

    /// Declared a second time: 134.
    pub(crate) fn is_declared(&mut self, name: &str) -> bool {
        self.frame().variables.iter().any(|v| same_name(&v.0, name))
    }

    pub(crate) fn find_variable(&mut self, name: &str) -> R<(usize, Ty)> {
        let frame = self.frame();
        let at = frame.variables.iter().position(|v| same_name(&v.0, name));
        match at.and_then(|at| Some((at, frame.variables.get(at)?.1))) {
            Some(found) => Ok(found),
            None => Err(SqlError::undeclared(name)),
        }
    }

    pub(crate) fn variable_at(&mut self, at: usize) -> Val {
        self.frame().variables.get(at).map_or(Val::Null, |v| v.2.clone())
    }

    pub(crate) fn set_variable_at(&mut self, at: usize, val: Val) {
        if let Some(v) = self.frame().variables.get_mut(at) {
            v.2 = val;
        }
    }

    pub(crate) fn variable_node(&mut self, name: &str) -> R<Node> {
        if name.starts_with("@@") {
            return match known::find(name) {
                Some((k, ty)) => Ok(Node::new(ty, false, Kind::Known(k))),
                None => Err(SqlError::undeclared(name)),
            };
        }
        let (at, ty) = self.find_variable(name)?;
        Ok(Node::new(ty, true, Kind::Var(at)))
    }

    pub(crate) fn declare_table(&mut self, name: &str, table: Arc<Table>) {
        let frame = self.frame();
        frame.tables.retain(|t| !same_name(&t.0, name));
        frame.tables.push((name.to_owned(), table));
    }

    pub(crate) fn table_variable(&mut self, name: &str) -> R<Arc<Table>> {
        let found =
            self.frame().tables.iter().find(|t| same_name(&t.0, name)).map(|t| Arc::clone(&t.1));
        found.ok_or_else(|| {
            SqlError::new(1087, format!("Must declare the table variable \"{name}\"."))
                .class(15)
                .state(2)
        })
    }

    /// `inserted` and `deleted` in a trigger.
    pub(crate) fn trigger_table(&self, name: &str) -> Option<Arc<Table>> {
        let frame = self.frames.last().filter(|f| f.trigger.is_some())?;
        frame.tables.iter().find(|t| same_name(&t.0, name)).map(|t| Arc::clone(&t.1))
    }

    pub(crate) fn temporary_table(&self, name: &str) -> Option<Arc<Table>> {
        if name.starts_with("##") {
            return self.instance.tempdb().table("dbo", name);
        }
        self.temporary.get(&fold_name(name)).cloned()
    }

    pub(crate) fn add_temporary(&mut self, name: &str, table: Arc<Table>) {
        self.temporary.insert(fold_name(name), table);
        let name = fold_name(name);
        self.frame().temporary.push(name);
    }

    pub(crate) fn remove_temporary(&mut self, name: &str) {
        self.temporary.remove(&fold_name(name));
    }

    pub(crate) fn push_frame(&mut self) {
        self.frames.push(Frame::default());
    }

    /// A procedure or dynamic text ends: its temporary tables go.
    pub(crate) fn pop_frame(&mut self) {
        if let Some(frame) = self.frames.pop() {
            for name in frame.temporary {
                self.temporary.remove(&name);
            }
        }
    }

    pub(crate) fn scope_identity(&mut self) -> Option<i128> {
        self.frame().identity
    }

    pub(crate) fn identity_was(&mut self, n: i128) {
        self.last_identity = Some(n);
        self.frame().identity = Some(n);
    }

    pub(crate) fn caught(&self) -> Option<&SqlError> {
        self.frames.iter().rev().find_map(|f| f.caught.last())
    }

    pub(crate) fn options_bits(&self) -> i64 {
        let mut bits = self.settings.bits;
        for (on, bit) in [
            (self.settings.implicit_transactions, 2),
            (self.settings.no_count, 512),
            (self.settings.xact_abort, 16384),
        ] {
            if on {
                bits |= bit;
            }
        }
        bits
    }

    // ---- recursive queries ----

    pub(crate) fn new_work(&mut self) -> usize {
        self.next_work += 1;
        self.next_work
    }

    pub(crate) fn set_work(&mut self, work: usize, rows: Vec<Row>) {
        self.works.insert(work, Arc::new(rows));
    }

    pub(crate) fn work(&self, work: usize) -> Arc<Vec<Row>> {
        self.works.get(&work).map(Arc::clone).unwrap_or_default()
    }

    // ---- databases ----

    pub(crate) fn use_database(&mut self, name: &str, out: &mut dyn Output) -> R<()> {
        let found = self.instance.database(name).ok_or_else(|| SqlError::no_database(name))?;
        self.may_enter(&found)?;
        self.standing_in(&found)?;
        let old = self.database.name();
        self.database = found;
        let new = self.database.name();
        self.database_name.clone_from(&new);
        if let Some(info) = write(&self.instance.sessions).get_mut(&self.login.spid) {
            info.database.clone_from(&new);
        }
        out.env(EnvChange::Database { new: new.clone(), old });
        out.message(
            &SqlError::info(5701, format!("Changed database context to '{new}'.")).state(2),
        );
        Ok(())
    }

    /// Whether what is done now is done by a module, for its owner.
    pub(crate) fn chained(&self) -> bool {
        self.views > 0 || self.frames.last().is_some_and(|f| f.owned)
    }

    /// Compiles the query of a view, in its database.
    pub(crate) fn in_view<T>(
        &mut self,
        database: &Arc<Database>,
        f: impl FnOnce(&mut Self) -> R<T>,
    ) -> R<T> {
        self.views += 1;
        let result = self.in_database(database, f);
        self.views -= 1;
        result
    }

    /// Does something with another database as the current one.
    pub(crate) fn in_database<T>(
        &mut self,
        database: &Arc<Database>,
        f: impl FnOnce(&mut Self) -> R<T>,
    ) -> R<T> {
        let old = std::mem::replace(&mut self.database, Arc::clone(database));
        let result = f(self);
        self.database = old;
        result
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        if let Some(t) = self.transaction.take() {
            t.rollback();
        }
        write(&self.instance.sessions).remove(&self.login.spid);
    }
}

impl Host for SessionState {
    fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
    fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }
    fn login(&self) -> &Login {
        &self.login
    }
    fn transaction(&mut self) -> &mut Transaction {
        if self.transaction.is_none() {
            self.start_transaction(self.settings.isolation);
            self.autocommit = true;
        }
        let isolation = self.settings.isolation;
        let patience = self.patience();
        let instance = Arc::clone(&self.instance);
        self.transaction.get_or_insert_with(|| Transaction::begin(&instance, isolation, patience))
    }
    fn temporary(&self, name: &str) -> Option<i32> {
        self.temporary_table(name).map(|t| t.object_id)
    }
    fn view_columns(&mut self, database: &Arc<Database>, schema: &str, name: &str) -> Vec<Col> {
        let Some(module) = database.module(schema, name) else { return Vec::new() };
        let Ok((query, names)) = Self::view_query(&module.text) else { return Vec::new() };
        let plan = self.in_view(database, |s| s.query_in(&query, &Scope::default()));
        let mut columns = plan.map(|p| p.columns).unwrap_or_default();
        for (c, n) in columns.iter_mut().zip(names) {
            c.name = n;
        }
        columns
    }
}

/// `[db].schema.proc` as an RPC names it.
fn split_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = String::new();
    let mut quoted = None;
    for c in text.chars() {
        match (quoted, c) {
            (None, '[') => quoted = Some(']'),
            (None, '"') => quoted = Some('"'),
            (Some(q), c) if c == q => quoted = None,
            (None, '.') => out.push(std::mem::take(&mut part)),
            (_, c) => part.push(c),
        }
    }
    out.push(part);
    out
}
