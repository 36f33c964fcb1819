//! Statements run one after the other: control of flow, errors, results.

mod call;
mod option;
mod raise;

use crate::exec::statement::call::declared;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exec::node::Env;
use crate::exec::output::{EnvChange, Output, Stopped};
use crate::exec::run::QueryRun;
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::exec::{R, STOPPED, stopped};
use crate::sql::ast::{
    Batch, Cursor, DropKind, Exec, Expr, Insert, InsertSource, Query, SetExpr, Stmt, StmtKind,
};
use crate::store::same_name;
use crate::value::{Col, Row, SqlError, Ty, Typed, Val, arith, assign};

/// How a list of statements ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
    Return(i32),
    /// To the label in the session's `goto`.
    Goto,
}

/// Errors that end the batch, not only the statement.
pub(super) fn ends_batch(e: &SqlError) -> bool {
    matches!(
        e.number,
        STOPPED
            | 207
            | 208
            | 209
            | 241
            | 242
            | 245
            | 248
            | 295
            | 1205
            | 1934
            | 3960
            | 3961
            | 3609
            | 3998
            | 4104
            | 4121
            | 50999
            | 8120
    ) || e.class == 15
        || e.class >= 19
}

/// Errors that end the transaction, too.
pub(super) fn ends_transaction(e: &SqlError) -> bool {
    matches!(e.number, 1205 | 3960 | 3961)
}

impl SessionState {
    pub(crate) fn batch(&mut self, batch: &Batch, out: &mut dyn Output) -> R<i32> {
        match self.block(&batch.statements, out)? {
            Flow::Return(status) => Ok(status),
            Flow::Next | Flow::Break | Flow::Continue => Ok(0),
            Flow::Goto => {
                let m = format!(
                    "A GOTO statement references the label '{}' but the label has not been declared.",
                    self.goto
                );
                Err(SqlError::new(133, m).class(15))
            }
        }
    }

    pub(crate) fn block(&mut self, statements: &[Stmt], out: &mut dyn Output) -> R<Flow> {
        let mut at = 0;
        while let Some(s) = statements.get(at) {
            at += 1;
            if out.stopped() {
                return Err(stopped());
            }
            match self.guarded(s, out)? {
                Flow::Next => {}
                Flow::Goto => {
                    let here = |s: &Stmt| matches!(&s.kind, StmtKind::Label(n) if same_name(n, &self.goto));
                    match statements.iter().position(here) {
                        Some(label) => at = label,
                        None => return Ok(Flow::Goto),
                    }
                }
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    /// Runs a statement; an error that does not end the batch is sent.
    pub(super) fn guarded(&mut self, s: &Stmt, out: &mut dyn Output) -> R<Flow> {
        let error = match self.one(s, out) {
            Ok(flow) => {
                let keeps = matches!(
                    s.kind,
                    StmtKind::If { .. }
                        | StmtKind::While { .. }
                        | StmtKind::Block(_)
                        | StmtKind::TryCatch { .. }
                        | StmtKind::RaisError { .. }
                        | StmtKind::Exec(_)
                );
                if !keeps {
                    self.last_error = 0;
                }
                return Ok(flow);
            }
            Err(e) => e,
        };
        // Errors of the statements inside come with their line already.
        let nested = matches!(
            s.kind,
            StmtKind::If { .. }
                | StmtKind::While { .. }
                | StmtKind::Block(_)
                | StmtKind::TryCatch { .. }
        );
        let line = if error.line <= 1 && !nested { s.line } else { error.line };
        let error = error.at_line(line);
        if error.number == STOPPED {
            return Err(error);
        }
        self.last_error = error.number;
        self.row_count = 0;
        if !nested && !matches!(s.kind, StmtKind::Exec(_)) {
            let unresolved = matches!(error.number, 207 | 208 | 4104);
            self.unresolved = unresolved.then_some(self.frames.len());
        }
        let aborts = self.settings.xact_abort
            && self.depth > 0
            && error.class > 10
            && !matches!(s.kind, StmtKind::RaisError { .. });
        if self.tries > 0 {
            if self.depth > 0 && (aborts || ends_transaction(&error)) {
                self.doomed = true;
            }
            return Err(error);
        }
        if ends_transaction(&error) || aborts {
            self.roll_back_all(out);
            return Err(error);
        }
        let thrown = matches!(s.kind, StmtKind::Throw(_));
        if ends_batch(&error) || thrown || self.settings.xact_abort || nested {
            return Err(error);
        }
        out.message(&error);
        out.done(None);
        Ok(Flow::Next)
    }

    pub(super) fn truth(&mut self, e: &Expr) -> R<bool> {
        self.atomic(|s| {
            let n = s.compile(e, &Scope::default())?;
            Ok(s.passes(&n, &Env::EMPTY)?)
        })
    }

    pub(crate) fn value_of(&mut self, e: &Expr) -> R<Typed> {
        if let Expr::Lit(t) = e {
            return Ok(t.clone());
        }
        self.atomic(|s| {
            let n = s.compile(e, &Scope::default())?;
            Ok(s.typed(&n, &Env::EMPTY)?)
        })
    }

    pub(crate) fn text_of(&mut self, e: &Expr) -> R<Option<String>> {
        Ok(self.value_of(e)?.to_string16()?.map(|s| String::from_utf16_lossy(&s)))
    }

    pub(super) fn done(&mut self, rows: Option<u64>, out: &mut dyn Output) {
        out.done(rows.filter(|_| !self.settings.no_count));
    }

    /// SET IMPLICIT_TRANSACTIONS ON: most statements begin a transaction.
    pub(super) fn implicit(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        if !self.settings.implicit_transactions || self.depth > 0 {
            return Ok(());
        }
        let begins = match &s.kind {
            StmtKind::Drop { kind: DropKind::Database, .. } => false,
            StmtKind::Query(q) => reads_table(&q.body),
            StmtKind::Cursor(c) => matches!(**c, Cursor::Open(_) | Cursor::Fetch { .. }),
            StmtKind::Insert(_)
            | StmtKind::Update(_)
            | StmtKind::Delete(_)
            | StmtKind::Merge(_)
            | StmtKind::Truncate(_)
            | StmtKind::CreateTable(_)
            | StmtKind::CreateIndex(_)
            | StmtKind::AlterTable { .. }
            | StmtKind::Drop { .. }
            | StmtKind::DropIndex { .. }
            | StmtKind::CreateModule { .. }
            | StmtKind::Permission(_) => true,
            _ => false,
        };
        if begins { self.begin(None, out) } else { Ok(()) }
    }

    pub(super) fn one(&mut self, s: &Stmt, out: &mut dyn Output) -> R<Flow> {
        self.implicit(s, out)?;
        match &s.kind {
            StmtKind::Query(q) => {
                let n = self.query(q, out)?;
                if let Some(n) = n {
                    self.row_count = i64::try_from(n).unwrap_or(i64::MAX);
                    self.done(Some(n), out);
                }
            }
            StmtKind::Insert(_)
            | StmtKind::Update(_)
            | StmtKind::Delete(_)
            | StmtKind::Merge(_) => self.change(s, out)?,
            StmtKind::Declare(list) => {
                for (name, ty, value) in list {
                    let ty = declared(self.type_of(ty)?);
                    if self.is_declared(name) && value.is_none() {
                        // A loop comes by again: the value stays.
                        continue;
                    }
                    let val = match value {
                        Some(e) => {
                            let v = self.value_of(e)?;
                            assign(&v, &ty, None)?
                        }
                        None => Val::Null,
                    };
                    self.declare(name, ty, val);
                }
            }
            StmtKind::DeclareTable(name, spec) => {
                let table = self.atomic(|s| Ok(s.make_variable_table(name, spec)?))?;
                self.declare_table(name, table);
            }
            StmtKind::SetVar { name, op, expr } => {
                let (at, ty) = self.find_variable(name)?;
                let mut v = self.value_of(expr)?;
                if let Some(op) = op {
                    let old = Typed::new(ty, self.variable_at(at));
                    v = arith(*op, &old, &v)?;
                }
                let v = assign(&v, &ty, None)?;
                self.set_variable_at(at, v);
            }
            StmtKind::SetOption(words, value) => self.set_option(words, value.as_ref())?,
            StmtKind::IdentityInsert(name, on) => {
                let (database, table) = self.need_table(name)?;
                let def = table.def();
                if def.identity().is_none() {
                    let m = format!(
                        "Table '{}' does not have the identity property. Cannot perform SET operation.",
                        def.full_name()
                    );
                    return Err(SqlError::new(8106, m));
                }
                if *on {
                    if let Some((d, t)) = self.identity_insert
                        && (d, t) != (database.id, table.object_id)
                    {
                        let other = self
                            .instance
                            .database_by_id(d)
                            .and_then(|d| d.table_by_id(t))
                            .map(|t| t.def().full_name());
                        if let Some(other) = other {
                            let m = format!(
                                "IDENTITY_INSERT is already ON for table '{}.{other}'. Cannot perform SET operation for table '{}'.",
                                database.name(),
                                def.name
                            );
                            return Err(SqlError::new(8107, m));
                        }
                    }
                    self.identity_insert = Some((database.id, table.object_id));
                } else if self.identity_insert == Some((database.id, table.object_id)) {
                    self.identity_insert = None;
                }
            }
            StmtKind::If { condition, then, otherwise } => {
                if self.truth(condition)? {
                    return self.guarded(then, out);
                }
                if let Some(e) = otherwise {
                    return self.guarded(e, out);
                }
            }
            StmtKind::While { condition, body } => {
                while self.truth(condition)? {
                    if out.stopped() {
                        return Err(stopped());
                    }
                    match self.guarded(body, out)? {
                        Flow::Next | Flow::Continue => {}
                        Flow::Break => break,
                        Flow::Return(n) => return Ok(Flow::Return(n)),
                        Flow::Goto => return Ok(Flow::Goto),
                    }
                }
            }
            StmtKind::Block(list) => return self.block(list, out),
            StmtKind::TryCatch { tries, catches } => return self.try_catch(tries, catches, out),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Label(_) => {}
            StmtKind::Goto(label) => {
                self.goto.clone_from(label);
                return Ok(Flow::Goto);
            }
            StmtKind::Return(Some(e)) if self.frame().function => {
                let value = self.value_of(e)?;
                self.frame().returned = Some(value);
                return Ok(Flow::Return(0));
            }
            StmtKind::Return(e) => {
                let status = match e {
                    Some(e) => {
                        self.value_of(e)?.to_i64()?.and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
                    }
                    None => 0,
                };
                return Ok(Flow::Return(status));
            }
            StmtKind::Print(e) => {
                let text = self.text_of(e)?.unwrap_or_else(|| " ".to_owned());
                out.message(&SqlError::info(0, text).at_line(s.line));
            }
            StmtKind::RaisError { message, severity, state, args } => {
                self.raise(message, severity, state, args, s.line, out)?;
            }
            StmtKind::Throw(parts) => {
                return Err(match parts {
                    None => match self.caught() {
                        Some(e) => e.clone(),
                        None => SqlError::new(
                            10704,
                            "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement.",
                        )
                        .class(15),
                    },
                    Some((number, message, state)) => {
                        let number = self.value_of(number)?.to_i64()?.and_then(|n| i32::try_from(n).ok()).unwrap_or(50000);
                        if number < 50_000 {
                            let m = format!(
                                "Error number {number} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."
                            );
                            return Err(SqlError::new(35100, m).state(10));
                        }
                        let message = self.text_of(message)?.unwrap_or_default();
                        let state = self.value_of(state)?.to_i64()?.and_then(|n| u8::try_from(n).ok()).unwrap_or(1);
                        SqlError::new(number, message).state(state).at_line(s.line)
                    }
                });
            }
            StmtKind::WaitFor { delay, time } => {
                if !delay {
                    return Err(SqlError::unknown("WAITFOR TIME"));
                }
                let v = self.value_of(time)?;
                let length = crate::value::cast(&v, &Ty::Time(7), None)
                    .or_else(|_| crate::value::cast(&v, &Ty::DateTime, None))?;
                let length = match length {
                    Val::Time(t) => Duration::from_micros(t / 10),
                    Val::DateTime(_, t) => Duration::from_micros(u64::from(t) * 1_000_000 / 300),
                    _ => Duration::ZERO,
                };
                let end = Instant::now() + length;
                while let Some(left) = end.checked_duration_since(Instant::now()) {
                    if out.stopped() {
                        return Err(stopped());
                    }
                    std::thread::sleep(left.min(Duration::from_millis(10)));
                }
            }
            StmtKind::Exec(e) => {
                self.exec(e, out)?;
            }
            StmtKind::Use(name) => self.use_database(name, out)?,
            StmtKind::Begin(name) => {
                if self.depth == 0 {
                    self.transaction_name = match name {
                        Some(v) if v.starts_with('@') => self.text_of(&Expr::Var(v.clone()))?,
                        other => other.clone(),
                    };
                }
                let name = self.transaction_name.clone();
                self.begin(None, out)?;
                self.transaction_name = name;
                out.done(None);
            }
            StmtKind::Commit => {
                self.commit(out)?;
                out.done(None);
            }
            StmtKind::Rollback(name) => {
                let name = match name {
                    Some(v) if v.starts_with('@') => self.text_of(&Expr::Var(v.clone()))?,
                    other => other.clone(),
                };
                self.rollback(name.as_deref(), out)?;
                out.done(None);
            }
            StmtKind::Save(name) => {
                let name = if name.starts_with('@') {
                    self.text_of(&Expr::Var(name.clone()))?.unwrap_or_default()
                } else {
                    name.clone()
                };
                self.save(&name, out)?;
                out.done(None);
            }
            StmtKind::Cursor(c) => self.cursor(c, out)?,
            StmtKind::Kill(e) => {
                let spid = self.value_of(e)?.to_i64()?.unwrap_or(0);
                self.kill(spid)?;
                out.done(None);
            }
            StmtKind::Ignored => out.done(None),
            _ => {
                self.define(s, out)?;
                out.done(None);
            }
        }
        Ok(Flow::Next)
    }

    /// A SELECT. None: it went into a table or variables and has answered already.
    pub(super) fn query(&mut self, q: &Query, out: &mut dyn Output) -> R<Option<u64>> {
        if let Some(into) = into(&q.body) {
            let n = self.atomic(|s| Ok(s.select_into(q, into)?))?;
            self.row_count = i64::try_from(n).unwrap_or(i64::MAX);
            self.done(Some(n), out);
            return Ok(None);
        }
        let limit = self.settings.row_limit;
        let mut sent_columns = false;
        self.atomic(|s| {
            let plan = s.query_in(q, &Scope::default())?;
            if plan.assigns() {
                let n = s.select_assign(&plan)?;
                s.row_count = i64::try_from(n).unwrap_or(i64::MAX);
                return Ok(None);
            }
            if !sent_columns {
                s.send_columns(&plan.columns, out)?;
                sent_columns = true;
            }
            if s.settings.format_only {
                return Ok(Some(0));
            }
            let mut run = QueryRun::new(&plan);
            let mut buffer = Vec::with_capacity(plan.columns.len());
            let mut n = 0;
            while (limit == 0 || n < limit) && run.next_into(s, None, &mut buffer)? {
                s.send_row(&buffer, out)?;
                n += 1;
            }
            Ok(Some(n))
        })
    }

    pub(super) fn change(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        if self.depth > 0 && self.instance.faults.deadlock() {
            return Err(SqlError::deadlock(self.login.spid.into()));
        }
        // The rows of INSERT ... EXEC come from statements of their own, those of INSERT BULK in the next message.
        let rows = match &s.kind {
            StmtKind::Insert(i) => match &i.source {
                InsertSource::Exec(e) => Some(self.captured(e, i, out)?),
                InsertSource::Bulk(b) => match self.bulk_rows.take() {
                    None => {
                        self.atomic(|state| Ok(state.announce_bulk(i, b)?))?;
                        self.done(None, out);
                        return Ok(());
                    }
                    rows => rows,
                },
                InsertSource::Query(_) | InsertSource::Default => None,
            },
            _ => None,
        };
        let count = self.atomic(|state| match &s.kind {
            StmtKind::Insert(i) => state.insert(i, rows.as_ref(), out),
            StmtKind::Update(u) => state.update(u, out),
            StmtKind::Delete(d) => state.delete(d, out),
            StmtKind::Merge(m) => state.merge(m, out),
            _ => Err(SqlError::unknown("this statement").into()),
        })?;
        let _ = count.sent;
        self.row_count = i64::try_from(count.rows).unwrap_or(i64::MAX);
        self.done(Some(count.rows), out);
        Ok(())
    }

    pub(super) fn captured(
        &mut self,
        e: &Exec,
        i: &Insert,
        out: &mut dyn Output,
    ) -> R<(Vec<Col>, Vec<Row>)> {
        let _ = i;
        let mut capture = Capture { columns: Vec::new(), rows: Vec::new(), out };
        self.exec(e, &mut capture)?;
        Ok((capture.columns, capture.rows))
    }

    pub(super) fn try_catch(
        &mut self,
        tries: &[Stmt],
        catches: &[Stmt],
        out: &mut dyn Output,
    ) -> R<Flow> {
        self.tries += 1;
        let frames = self.frames.len();
        let result = self.block(tries, out);
        self.tries -= 1;
        let error = match result {
            Ok(flow) => return Ok(flow),
            Err(e) if e.number == STOPPED || e.class >= 20 => return Err(e),
            // a name is looked up when the statement is compiled, before anything can catch it
            Err(e) if self.unresolved == Some(frames) => {
                self.end_autocommit(false);
                return Err(e);
            }
            Err(e) => e,
        };
        while self.frames.len() > frames {
            self.pop_frame();
        }
        self.end_autocommit(false);
        if self.depth > 0 && (ends_transaction(&error) || self.settings.xact_abort) {
            self.doomed = true;
        }
        self.last_error = error.number;
        self.frame().caught.push(error);
        let result = self.block(catches, out);
        self.frame().caught.pop();
        result
    }
}

pub(super) fn into(e: &SetExpr) -> Option<&crate::sql::ast::Name> {
    match e {
        SetExpr::Select(s) => s.into.as_ref(),
        SetExpr::Op { left, .. } => into(left),
        SetExpr::Query(q) => into(&q.body),
        SetExpr::Values(_) => None,
    }
}

pub(super) fn reads_table(e: &SetExpr) -> bool {
    match e {
        SetExpr::Select(s) => !s.from.is_empty(),
        SetExpr::Query(q) => reads_table(&q.body),
        SetExpr::Values(_) => false,
        SetExpr::Op { left, right, .. } => reads_table(left) || reads_table(right),
    }
}

/// Keeps the rows of a nested request for INSERT ... EXEC.
pub(super) struct Capture<'a> {
    columns: Vec<Col>,
    rows: Vec<Row>,
    out: &'a mut dyn Output,
}

impl Output for Capture<'_> {
    fn columns(&mut self, columns: &[Col]) -> Result<(), Stopped> {
        if self.columns.is_empty() {
            self.columns = columns.to_vec();
        }
        Ok(())
    }
    fn row(&mut self, row: &[Val]) -> Result<(), Stopped> {
        self.rows.push(Arc::from(row));
        if self.out.stopped() { Err(Stopped) } else { Ok(()) }
    }
    fn done(&mut self, _: Option<u64>) {}
    fn message(&mut self, message: &SqlError) {
        self.out.message(message);
    }
    fn env(&mut self, change: EnvChange) {
        self.out.env(change);
    }
    fn stopped(&self) -> bool {
        self.out.stopped()
    }
}
