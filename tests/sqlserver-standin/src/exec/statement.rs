//! Statements: control of flow, variables, settings, procedures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::node::Env;
use super::output::{EnvChange, Output, Stopped};
use super::run::QueryRun;
use super::scope::Scope;
use super::session::SessionState;
use super::{R, STOPPED, known, stopped};
use crate::catalog::{self, ProcArg};
use crate::sql::ast::{
    Batch, Exec, ExecArg, Expr, Insert, InsertSource, Query, SetExpr, Stmt, StmtKind,
};
use crate::sql::{parse_cached, parse_procedure};
use crate::store::same_name;
use crate::value::{Col, Row, SqlError, Ty, Typed, Val, arith, assign, parse_type};

/// How a list of statements ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
    Return(i32),
}

/// Errors that end the batch, not only the statement.
fn ends_batch(e: &SqlError) -> bool {
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
            | 3998
            | 4104
            | 4121
            | 50999
            | 8120
    ) || e.class == 15
        || e.class >= 19
}

/// Errors that end the transaction, too.
fn ends_transaction(e: &SqlError) -> bool {
    matches!(e.number, 1205 | 3960 | 3961)
}

impl SessionState {
    pub(crate) fn batch(&mut self, batch: &Batch, out: &mut dyn Output) -> R<i32> {
        match self.block(&batch.statements, out)? {
            Flow::Return(status) => Ok(status),
            Flow::Next | Flow::Break | Flow::Continue => Ok(0),
        }
    }

    fn block(&mut self, statements: &[Stmt], out: &mut dyn Output) -> R<Flow> {
        for s in statements {
            if out.stopped() {
                return Err(stopped());
            }
            match self.guarded(s, out)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    /// Runs a statement; an error that does not end the batch is sent.
    fn guarded(&mut self, s: &Stmt, out: &mut dyn Output) -> R<Flow> {
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

    fn truth(&mut self, e: &Expr) -> R<bool> {
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

    fn done(&mut self, rows: Option<u64>, out: &mut dyn Output) {
        out.done(rows.filter(|_| !self.settings.no_count));
    }

    /// SET IMPLICIT_TRANSACTIONS ON: most statements begin a transaction.
    fn implicit(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        if !self.settings.implicit_transactions || self.depth > 0 {
            return Ok(());
        }
        let begins = match &s.kind {
            StmtKind::Query(q) => reads_table(&q.body),
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

    fn one(&mut self, s: &Stmt, out: &mut dyn Output) -> R<Flow> {
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
                    }
                }
            }
            StmtKind::Block(list) => return self.block(list, out),
            StmtKind::TryCatch { tries, catches } => return self.try_catch(tries, catches, out),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
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
            StmtKind::Kill(_) => return Err(SqlError::unknown("KILL")),
            StmtKind::Ignored => out.done(None),
            _ => {
                self.define(s, out)?;
                out.done(None);
            }
        }
        Ok(Flow::Next)
    }

    /// A SELECT. None: it went into a table or variables and has answered already.
    fn query(&mut self, q: &Query, out: &mut dyn Output) -> R<Option<u64>> {
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

    fn change(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        // The rows of INSERT ... EXEC come from statements of their own.
        let rows = match &s.kind {
            StmtKind::Insert(i) => match &i.source {
                InsertSource::Exec(e) => Some(self.captured(e, i, out)?),
                _ => None,
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

    fn captured(&mut self, e: &Exec, i: &Insert, out: &mut dyn Output) -> R<(Vec<Col>, Vec<Row>)> {
        let _ = i;
        let mut capture = Capture { columns: Vec::new(), rows: Vec::new(), out };
        self.exec(e, &mut capture)?;
        Ok((capture.columns, capture.rows))
    }

    fn try_catch(&mut self, tries: &[Stmt], catches: &[Stmt], out: &mut dyn Output) -> R<Flow> {
        self.tries += 1;
        let frames = self.frames.len();
        let result = self.block(tries, out);
        self.tries -= 1;
        let error = match result {
            Ok(flow) => return Ok(flow),
            Err(e) if e.number == STOPPED || e.class >= 20 => return Err(e),
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

    fn raise(
        &mut self,
        message: &Expr,
        severity: &Expr,
        state: &Expr,
        args: &[Expr],
        line: u32,
        out: &mut dyn Output,
    ) -> R<()> {
        let first = self.value_of(message)?;
        let mut number = 50000;
        let template = match &first.val {
            Val::Int(n) => {
                number = i32::try_from(*n).unwrap_or(50000);
                format!(
                    "Error {n}, severity {{}}, state {{}} was raised, but no message with that error number was found in sys.messages."
                )
            }
            _ => first.to_string16()?.map(|s| String::from_utf16_lossy(&s)).unwrap_or_default(),
        };
        let severity = self.value_of(severity)?.to_i64()?.unwrap_or(0).clamp(0, 25);
        let state = self.value_of(state)?.to_i64()?.unwrap_or(1).clamp(0, 255);
        let mut values = Vec::with_capacity(args.len());
        for a in args {
            values.push(self.value_of(a)?);
        }
        let text = print_format(&template, &values)?;
        let error = SqlError {
            number,
            class: u8::try_from(severity).unwrap_or(16),
            state: u8::try_from(state).unwrap_or(1),
            message: text,
            line,
        };
        if error.class <= 10 {
            out.message(&SqlError {
                number: if error.class == 0 { number } else { error.number },
                ..error
            });
            return Ok(());
        }
        if self.tries > 0 {
            return Err(error);
        }
        self.last_error = error.number;
        out.message(&error);
        out.done(None);
        Ok(())
    }

    fn set_option(&mut self, words: &[String], value: Option<&Expr>) -> R<()> {
        let first = words.first().map_or("", String::as_str);
        if first == "ISOLATION" {
            let Some(level) = known::isolation(words.get(1..).unwrap_or(&[])) else {
                return Err(SqlError::syntax(first));
            };
            if level == crate::store::Isolation::Snapshot {
                let database = self.db();
                let on = crate::store::read(&database.options).snapshot_isolation;
                // The error of a real server comes with the first read; the stand-in is as strict, only earlier.
                if !on && self.depth > 0 {
                    let m = format!(
                        "Transaction failed in database '{}' because the statement was run under snapshot isolation but the transaction did not start in snapshot isolation.",
                        database.name()
                    );
                    return Err(SqlError::new(3951, m));
                }
            }
            self.settings.isolation = level;
            if let Some(t) = &mut self.transaction
                && self.depth > 0
                && level != crate::store::Isolation::Snapshot
            {
                t.isolation = level;
            }
            return Ok(());
        }
        let value = match value {
            Some(e) => Some(self.value_of(e)?),
            None => None,
        };
        let text = match &value {
            Some(v) => v.to_string16()?.map(|s| String::from_utf16_lossy(&s).to_ascii_uppercase()),
            None => None,
        }
        .unwrap_or_default();
        let number = || value.as_ref().map(Typed::to_i64).transpose().map(Option::flatten);
        let on = text == "ON";
        let switch =
            || if text == "ON" || text == "OFF" { Ok(on) } else { Err(SqlError::syntax(&text)) };
        for word in words {
            let bit = match word.as_str() {
                "NOCOUNT" => {
                    self.settings.no_count = switch()?;
                    0
                }
                "XACT_ABORT" => {
                    self.settings.xact_abort = switch()?;
                    0
                }
                "IMPLICIT_TRANSACTIONS" => {
                    self.settings.implicit_transactions = switch()?;
                    0
                }
                "LOCK_TIMEOUT" => {
                    self.settings.lock_timeout = number()?.unwrap_or(-1);
                    0
                }
                "DEADLOCK_PRIORITY" => {
                    self.settings.deadlock_priority = match text.as_str() {
                        "LOW" => -5,
                        "NORMAL" => 0,
                        "HIGH" => 5,
                        _ => number()?
                            .and_then(|n| i32::try_from(n).ok())
                            .unwrap_or(0)
                            .clamp(-10, 10),
                    };
                    0
                }
                "TEXTSIZE" => {
                    self.settings.text_size = number()?.filter(|n| *n > 0).unwrap_or(2_147_483_647);
                    0
                }
                "ROWCOUNT" => {
                    self.settings.row_limit =
                        number()?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                    0
                }
                "DATEFIRST" => {
                    self.settings.date_first =
                        number()?.and_then(|n| u8::try_from(n).ok()).unwrap_or(7);
                    0
                }
                "ANSI_WARNINGS" => 8,
                "ANSI_PADDING" => 16,
                "ANSI_NULLS" => 32,
                "ARITHABORT" => 64,
                "ARITHIGNORE" => 128,
                "QUOTED_IDENTIFIER" => 256,
                "ANSI_NULL_DFLT_ON" => 1024,
                "ANSI_NULL_DFLT_OFF" => 2048,
                "CONCAT_NULL_YIELDS_NULL" => 4096,
                "NUMERIC_ROUNDABORT" => 8192,
                "CURSOR_CLOSE_ON_COMMIT" => 4,
                "ANSI_DEFAULTS" => 8 | 16 | 32 | 256 | 1024,
                "DATEFORMAT" => {
                    if !matches!(text.as_str(), "MDY" | "YMD") {
                        return Err(SqlError::unknown(format!("SET DATEFORMAT {text}")));
                    }
                    0
                }
                "LANGUAGE" => {
                    if !matches!(text.as_str(), "US_ENGLISH" | "ENGLISH") {
                        return Err(SqlError::unknown(format!("SET LANGUAGE {text}")));
                    }
                    0
                }
                "PARSEONLY" => {
                    self.settings.parse_only = switch()?;
                    0
                }
                "FMTONLY" => {
                    self.settings.format_only = switch()?;
                    0
                }
                "NOEXEC" => {
                    self.settings.no_exec = switch()?;
                    0
                }
                "STATISTICS"
                | "CONTEXT_INFO"
                | "QUERY_GOVERNOR_COST_LIMIT"
                | "FORCEPLAN"
                | "REMOTE_PROC_TRANSACTIONS"
                | "NO_BROWSETABLE"
                | "FIPS_FLAGGER"
                | "IO"
                | "TIME"
                | "ON"
                | "OFF" => return Ok(()),
                other => {
                    let m = format!("'{other}' is not a recognized SET option.");
                    return Err(SqlError::new(195, m).class(15).state(7));
                }
            };
            if bit != 0 {
                if switch()? {
                    self.settings.bits |= bit;
                } else {
                    self.settings.bits &= !bit;
                }
            }
        }
        Ok(())
    }

    // ---- procedures ----

    fn exec(&mut self, e: &Exec, out: &mut dyn Output) -> R<()> {
        let (status, name, args) = match e {
            Exec::Text(text) => {
                let Some(sql) = self.text_of(text)? else { return Ok(()) };
                self.dynamic(&sql, Vec::new(), out)?;
                return Ok(());
            }
            Exec::Procedure { status, name, args } => (status, name.clone(), args),
            Exec::Variable { status, name, args } => {
                let text = self.text_of(&Expr::Var(name.clone()))?.unwrap_or_default();
                (
                    status,
                    text.split('.').map(|p| p.trim_matches(['[', ']']).to_owned()).collect(),
                    args,
                )
            }
        };
        let mut values = Vec::with_capacity(args.len());
        for ExecArg { name, value, output } in args {
            let value = match value {
                Expr::Default => continue,
                e => self.value_of(e)?,
            };
            values.push(ProcArg { name: name.clone(), value, output: *output });
        }
        let (code, outputs) = self.call_procedure(&name, values, out)?;
        let given: Vec<&ExecArg> = args.iter().filter(|a| a.value != Expr::Default).collect();
        for (i, v) in outputs {
            if let Some(ExecArg { value: Expr::Var(var), output: true, .. }) = given.get(i) {
                let (at, ty) = self.find_variable(var)?;
                let v = assign(&v, &ty, None)?;
                self.set_variable_at(at, v);
            }
        }
        if let Some(var) = status {
            let (at, ty) = self.find_variable(var)?;
            let v = assign(&Typed::int(code), &ty, None)?;
            self.set_variable_at(at, v);
        }
        Ok(())
    }

    /// Runs a text in a scope of its own.
    fn dynamic(
        &mut self,
        sql: &str,
        variables: Vec<(String, Ty, Val)>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<Val>)> {
        if self.frames.len() > 32 {
            return Err(SqlError::new(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            ));
        }
        let batch = parse_cached(sql)?;
        let database = self.db();
        self.push_frame();
        let names: Vec<String> = variables.iter().map(|v| v.0.clone()).collect();
        for (name, ty, val) in variables {
            self.declare(&name, ty, val);
        }
        let result = self.batch(&batch, out);
        let values = names
            .iter()
            .map(|n| {
                self.find_variable(n)
                    .map(|(at, _)| at)
                    .map(|at| self.variable_at(at))
                    .unwrap_or_default()
            })
            .collect();
        self.pop_frame();
        // USE inside lasts as long as the text.
        if database.id != self.db().id {
            self.use_database(&database.name(), out)?;
        }
        result.map(|status| (status, values))
    }

    /// Calls a procedure: one of this executor, of a user, or of the system.
    pub(crate) fn call_procedure(
        &mut self,
        name: &[String],
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        let mut parts = name.iter().rev();
        let own = parts.next().cloned().unwrap_or_default();
        let schema = parts.next().cloned().filter(|s| !s.is_empty());
        let database = parts.next().cloned().filter(|s| !s.is_empty());
        if own.eq_ignore_ascii_case("sp_executesql") {
            return self.execute_sql(args, out);
        }
        let home = match &database {
            Some(d) => self.instance.database(d).ok_or_else(|| SqlError::no_database(d))?,
            None => self.db(),
        };
        if let Some(module) =
            home.module(schema.as_deref().unwrap_or("dbo"), &own).filter(|m| m.kind == "P")
        {
            return self.user_procedure(&module.text, &own, args, out);
        }
        let ended = self.atomic(|s| {
            Ok(catalog::procedure(s, database.as_deref(), schema.as_deref(), &own, &args)?)
        })?;
        let Some(result) = ended else { return Err(SqlError::no_procedure(&name.join("."))) };
        for m in &result.messages {
            out.message(m);
        }
        for rows in &result.rowsets {
            self.send_columns(&rows.columns, out)?;
            for row in &rows.rows {
                self.send_row(row, out)?;
            }
            self.done(u64::try_from(rows.rows.len()).ok(), out);
        }
        Ok((result.status, result.outputs))
    }

    fn execute_sql(
        &mut self,
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        let text = |a: &ProcArg| -> R<String> {
            if !matches!(a.value.ty, Ty::NVarChar(_) | Ty::NChar(_) | Ty::NText) {
                return Err(SqlError::new(
                    214,
                    "Procedure expects parameter '@statement' of type 'ntext/nchar/nvarchar'.",
                )
                .state(2));
            }
            Ok(a.value.to_string16()?.map(|s| String::from_utf16_lossy(&s)).unwrap_or_default())
        };
        let Some(first) = args.first() else {
            return Err(SqlError::new(201, "Procedure or function 'sp_executesql' expects parameter '@statement', which was not supplied.").state(10));
        };
        let sql = text(first)?;
        let declaration = match args.get(1) {
            Some(a) => text(a)?,
            None => String::new(),
        };
        let declared = declarations(&declaration)?;
        let mut variables: Vec<(String, Ty, Val)> =
            declared.iter().map(|(n, t, _)| (n.clone(), *t, Val::Null)).collect();
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut given = vec![false; variables.len()];
        for (i, a) in args.iter().enumerate().skip(2) {
            let at = match &a.name {
                Some(n) => declared.iter().position(|d| same_name(&d.0, n)),
                None => Some(i - 2).filter(|p| *p < declared.len()),
            };
            let Some(at) = at else {
                return Err(SqlError::new(
                    8144,
                    "Procedure or function has too many arguments specified.",
                )
                .state(2));
            };
            if let (Some(v), Some(g)) = (variables.get_mut(at), given.get_mut(at)) {
                v.2 = assign(&a.value, &v.1, None)?;
                *g = true;
            }
            if a.output {
                places.push((i, at));
            }
        }
        if let Some(missing) = given.iter().position(|g| !g) {
            let d = declared
                .iter()
                .map(|(n, t, _)| format!("{n} {}", t.declared()))
                .collect::<Vec<_>>()
                .join(",");
            let name = declared.get(missing).map(|d| d.0.clone()).unwrap_or_default();
            let m = format!(
                "The parameterized query '({d}){sql}' expects the parameter '{name}', which was not supplied."
            );
            return Err(SqlError::new(8178, m));
        }
        let types: Vec<Ty> = variables.iter().map(|v| v.1).collect();
        let (status, values) = self.dynamic(&sql, variables, out)?;
        let outputs = places
            .into_iter()
            .filter_map(|(arg, at)| {
                Some((arg, Typed::new(*types.get(at)?, values.get(at)?.clone())))
            })
            .collect();
        Ok((status, outputs))
    }

    fn user_procedure(
        &mut self,
        text: &str,
        name: &str,
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        if self.frames.len() > 32 {
            return Err(SqlError::new(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            ));
        }
        let (params, body) = parse_procedure(text)?;
        let mut values: Vec<Option<Typed>> = vec![None; params.len()];
        let mut places = Vec::new();
        for (i, a) in args.into_iter().enumerate() {
            let at = match &a.name {
                Some(n) => params.iter().position(|p| same_name(&p.name, n)),
                None => Some(i).filter(|p| *p < params.len()),
            };
            let Some(at) = at else {
                return Err(match a.name {
                    Some(n) => {
                        SqlError::new(8145, format!("{n} is not a parameter for procedure {name}."))
                    }
                    None => SqlError::new(
                        8144,
                        format!("Procedure or function {name} has too many arguments specified."),
                    )
                    .state(2),
                });
            };
            if a.output {
                places.push((i, at));
            }
            if let Some(v) = values.get_mut(at) {
                *v = Some(a.value);
            }
        }
        let mut variables = Vec::with_capacity(params.len());
        for (p, v) in params.iter().zip(values) {
            let ty = declared(self.type_of(&p.ty)?);
            let v = match (v, &p.default) {
                (Some(v), _) => v,
                (None, Some(e)) => self.value_of(e)?,
                (None, None) => {
                    let m = format!(
                        "Procedure or function '{name}' expects parameter '{}', which was not supplied.",
                        p.name
                    );
                    return Err(SqlError::new(201, m).state(4));
                }
            };
            variables.push((p.name.clone(), ty, assign(&v, &ty, None)?));
        }
        let settings = self.settings.clone();
        self.push_frame();
        for (n, ty, v) in &variables {
            self.declare(n, *ty, v.clone());
        }
        let result = self.block(&body, out);
        let outputs = places
            .into_iter()
            .filter_map(|(arg, at)| {
                let (n, ty, _) = variables.get(at)?;
                let (at, _) = self.find_variable(n).ok()?;
                Some((arg, Typed::new(*ty, self.variable_at(at))))
            })
            .collect();
        self.pop_frame();
        self.settings = settings;
        let status = match result? {
            Flow::Return(n) => n,
            Flow::Next | Flow::Break | Flow::Continue => 0,
        };
        Ok((status, outputs))
    }
}

/// A declared `varchar` without length is one long.
fn declared(ty: Ty) -> Ty {
    ty
}

fn into(e: &SetExpr) -> Option<&crate::sql::ast::Name> {
    match e {
        SetExpr::Select(s) => s.into.as_ref(),
        SetExpr::Op { left, .. } => into(left),
        SetExpr::Query(q) => into(&q.body),
        SetExpr::Values(_) => None,
    }
}

fn reads_table(e: &SetExpr) -> bool {
    match e {
        SetExpr::Select(s) => !s.from.is_empty(),
        SetExpr::Query(q) => reads_table(&q.body),
        SetExpr::Values(_) => false,
        SetExpr::Op { left, right, .. } => reads_table(left) || reads_table(right),
    }
}

/// `@a int, @b nvarchar(10) OUTPUT`
fn declarations(text: &str) -> R<Vec<(String, Ty, bool)>> {
    let mut out = Vec::new();
    let mut depth = 0;
    let mut part = String::new();
    let mut parts = Vec::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    for p in parts {
        let p = p.trim();
        if p.is_empty() {
            continue;
        }
        let (name, rest) = p.split_once(char::is_whitespace).ok_or_else(|| SqlError::syntax(p))?;
        let mut rest = rest.trim();
        if rest.get(..3).is_some_and(|a| a.eq_ignore_ascii_case("as ")) {
            rest = rest.get(3..).unwrap_or("").trim();
        }
        let upper = rest.to_ascii_uppercase();
        let mut output = false;
        for word in [" OUTPUT", " OUT"] {
            if upper.ends_with(word) {
                output = true;
                rest = rest.get(..rest.len() - word.len()).unwrap_or("").trim();
                break;
            }
        }
        // A default value of a parameter.
        let ty = rest.split('=').next().unwrap_or(rest).trim();
        out.push((name.to_owned(), parse_type(ty)?, output));
    }
    Ok(out)
}

/// The % places of RAISERROR.
fn print_format(template: &str, args: &[Typed]) -> R<String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(n) = chars.peek() {
            if n.is_ascii_digit() || matches!(n, '-' | '+' | '.' | '#' | '*' | 'l' | 'h' | 'I') {
                spec.push(*n);
                chars.next();
            } else {
                break;
            }
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(kind @ ('d' | 'i' | 's' | 'u' | 'x' | 'X' | 'o')) => {
                let text = match args.next() {
                    Some(a) if matches!(kind, 'x' | 'X') => {
                        format!("{:x}", a.to_i64()?.unwrap_or(0))
                    }
                    Some(a) => a
                        .to_string16()?
                        .map_or_else(|| "(null)".to_owned(), |s| String::from_utf16_lossy(&s)),
                    None => "(null)".to_owned(),
                };
                out.push_str(&text);
            }
            Some(other) => {
                out.push('%');
                out.push_str(&spec);
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    Ok(out)
}

/// Keeps the rows of a nested request for INSERT ... EXEC.
struct Capture<'a> {
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
