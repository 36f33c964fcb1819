//! Statements other than queries and DDL: control of flow, variables, transactions, settings.

use std::sync::Arc;

use super::ast::{Batch, Expr, Permission, Stmt, StmtKind};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::{Op, SqlError, Typed};

/// Parses a batch.
pub fn parse(sql: &str) -> Parsed<Batch> {
    let mut p = Parser::new(sql)?;
    let mut statements = Vec::new();
    loop {
        while p.take_sym(";") {}
        if p.is_end() {
            break;
        }
        // The first statement may be a procedure call without EXEC.
        let bare = statements.is_empty() && p.is_name() && !p.is_known_word();
        let statement = if bare { p.bare_call()? } else { p.statement()? };
        if !statements.is_empty()
            && let StmtKind::CreateModule { kind, .. } = &statement.kind
        {
            let what = match kind {
                super::ast::ModuleKind::View => "VIEW",
                super::ast::ModuleKind::Procedure { .. } => "PROCEDURE",
                super::ast::ModuleKind::Trigger { .. } => "TRIGGER",
                super::ast::ModuleKind::Other(_) => "FUNCTION",
            };
            let m = format!("'CREATE/ALTER {what}' must be the first statement in a query batch.");
            return Err(SqlError::new(111, m).class(15).at_line(statement.line));
        }
        statements.push(statement);
    }
    declared_twice(&statements, &mut Vec::new())?;
    Ok(Batch { text: Arc::from(sql), statements })
}

/// A variable may be declared once in a batch, wherever that stands.
fn declared_twice<'a>(list: &'a [Stmt], seen: &mut Vec<&'a str>) -> Parsed<()> {
    for s in list {
        match &s.kind {
            StmtKind::Declare(names) => {
                for (name, ..) in names {
                    if seen.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                        let m = format!(
                            "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
                        );
                        return Err(SqlError::new(134, m).class(15).at_line(s.line));
                    }
                    seen.push(name);
                }
            }
            StmtKind::Block(body) => declared_twice(body, seen)?,
            StmtKind::If { then, otherwise, .. } => {
                declared_twice(std::slice::from_ref(then), seen)?;
                if let Some(o) = otherwise {
                    declared_twice(std::slice::from_ref(o), seen)?;
                }
            }
            StmtKind::While { body, .. } => declared_twice(std::slice::from_ref(body), seen)?,
            StmtKind::TryCatch { tries, catches } => {
                declared_twice(tries, seen)?;
                declared_twice(catches, seen)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Parses one expression, as in a default or a check constraint.
pub fn parse_expression(sql: &str, condition: bool) -> Parsed<Expr> {
    let mut p = Parser::new(sql)?;
    let e = if condition { p.condition()? } else { p.value()? };
    if p.is_end() { Ok(e) } else { Err(p.wrong()) }
}

/// Statements whose first word is no reserved word.
const OPEN_WORDS: &[&str] = &["THROW", "ENABLE", "DISABLE", "GO"];

impl Parser<'_> {
    fn is_known_word(&self) -> bool {
        self.is_any(OPEN_WORDS)
    }

    fn bare_call(&mut self) -> Parsed<Stmt> {
        let (line, from) = (self.line(), self.from());
        let at = self.position();
        // name arguments: put back what a call of exec() expects by parsing its tail.
        let name = self.name()?;
        if self.is_sym(":") {
            self.back_to(at);
            return self.statement();
        }
        if self.is_sym("(") || self.is_sym("=") {
            self.back_to(at);
            return Err(self.wrong());
        }
        self.back_to(at);
        let kind = StmtKind::Exec(Box::new(self.exec_tail()?));
        if !self.is_end() && !self.is_sym(";") && matches!(self.peek(), Tok::Sym(_)) {
            return Err(self.wrong());
        }
        let _ = name;
        Ok(Stmt { line, text: self.shared(from, self.to()), kind })
    }

    pub(super) fn statement(&mut self) -> Parsed<Stmt> {
        let (line, from) = (self.line(), self.from());
        let kind = self.deeper(Self::kind)?;
        let to = self.to();
        while self.take_sym(";") {}
        Ok(Stmt { line, text: self.shared(from, to), kind })
    }

    fn kind(&mut self) -> Parsed<StmtKind> {
        let word = match self.peek() {
            Tok::Word(w) => w.to_ascii_uppercase(),
            Tok::Sym("(") => {
                return Ok(StmtKind::Query(Box::new(self.query()?)));
            }
            _ => return Err(self.wrong()),
        };
        match word.as_str() {
            "SELECT" => Ok(StmtKind::Query(Box::new(self.query()?))),
            "WITH" => {
                let ctes = self.ctes()?;
                if self.is("INSERT") {
                    self.insert(ctes)
                } else if self.is("UPDATE") {
                    self.update(ctes)
                } else if self.is("DELETE") {
                    self.delete(ctes)
                } else if self.is("MERGE") {
                    self.merge(ctes)
                } else {
                    Ok(StmtKind::Query(Box::new(self.query_with(ctes)?)))
                }
            }
            "INSERT" => self.insert(Arc::default()),
            "UPDATE" => self.update(Arc::default()),
            "DELETE" => self.delete(Arc::default()),
            "MERGE" => self.merge(Arc::default()),
            "TRUNCATE" => {
                self.next();
                self.need("TABLE")?;
                Ok(StmtKind::Truncate(self.name()?))
            }
            "DECLARE" => self.declare(),
            "SET" => self.set(),
            "IF" => {
                self.next();
                let condition = self.condition()?;
                let then = Box::new(self.statement()?);
                let otherwise =
                    if self.take("ELSE") { Some(Box::new(self.statement()?)) } else { None };
                Ok(StmtKind::If { condition, then, otherwise })
            }
            "WHILE" => {
                self.next();
                let condition = self.condition()?;
                let body = Box::new(self.statement()?);
                Ok(StmtKind::While { condition, body })
            }
            "BEGIN" => self.begin(),
            "BREAK" => {
                self.next();
                Ok(StmtKind::Break)
            }
            "CONTINUE" => {
                self.next();
                Ok(StmtKind::Continue)
            }
            "GOTO" => {
                self.next();
                Ok(StmtKind::Goto(self.ident()?))
            }
            "RETURN" => {
                self.next();
                let value = match self.peek() {
                    Tok::Number(_) | Tok::Var(_) | Tok::Str(_) | Tok::NStr(_) | Tok::Hex(_) => true,
                    Tok::Quoted(_) | Tok::Money(_) => true,
                    Tok::Sym(s) => *s == "-" || *s == "(" || *s == "+" || *s == "~",
                    Tok::Word(_) => {
                        self.is_any(&["CASE", "CAST", "CONVERT", "NULL", "COALESCE", "NULLIF"])
                            || (self.is_name()
                                && (self.is_sym_at(1, "(") || self.is_sym_at(1, ".")))
                    }
                    Tok::Eof => false,
                };
                Ok(StmtKind::Return(if value { Some(self.value()?) } else { None }))
            }
            "PRINT" => {
                self.next();
                Ok(StmtKind::Print(self.value()?))
            }
            "RAISERROR" => self.raiserror(),
            "THROW" => {
                self.next();
                if self.is_end() || self.is_sym(";") || self.is("END") {
                    return Ok(StmtKind::Throw(None));
                }
                let number = self.value()?;
                self.need_sym(",")?;
                let message = self.value()?;
                self.need_sym(",")?;
                Ok(StmtKind::Throw(Some((number, message, self.value()?))))
            }
            "WAITFOR" => {
                self.next();
                let delay = self.take("DELAY");
                if !delay {
                    self.need("TIME")?;
                }
                Ok(StmtKind::WaitFor { delay, time: self.value()? })
            }
            "EXEC" | "EXECUTE" => Ok(StmtKind::Exec(Box::new(self.exec()?))),
            "USE" => {
                self.next();
                Ok(StmtKind::Use(self.ident()?))
            }
            "COMMIT" => {
                self.next();
                if !self.take("WORK") && (self.take("TRAN") || self.take("TRANSACTION")) {
                    self.transaction_name();
                }
                if self.is("WITH") && self.is_sym_at(1, "(") {
                    self.next();
                    self.skip_parentheses()?;
                }
                Ok(StmtKind::Commit)
            }
            "ROLLBACK" => {
                self.next();
                let mut name = None;
                if !self.take("WORK") && (self.take("TRAN") || self.take("TRANSACTION")) {
                    name = self.transaction_name();
                }
                Ok(StmtKind::Rollback(name))
            }
            "SAVE" => {
                self.next();
                if !self.take("TRAN") {
                    self.need("TRANSACTION")?;
                }
                match self.transaction_name() {
                    Some(name) => Ok(StmtKind::Save(name)),
                    None => Err(self.wrong()),
                }
            }
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "GRANT" | "DENY" | "REVOKE" => self.permission(),
            "DBCC" => self.dbcc(),
            "KILL" => {
                self.next();
                Ok(StmtKind::Kill(self.value()?))
            }
            "CHECKPOINT" => {
                self.next();
                Ok(StmtKind::Ignored)
            }
            "RECONFIGURE" => {
                self.next();
                self.take_all(&["WITH", "OVERRIDE"]);
                Ok(StmtKind::Ignored)
            }
            "ENABLE" | "DISABLE" if self.is_at(1, "TRIGGER") => {
                self.unknown("ENABLE and DISABLE TRIGGER")
            }
            "OPEN" | "FETCH" | "CLOSE" | "DEALLOCATE" => self.cursor(),
            "BACKUP" | "RESTORE" | "BULK" | "REVERT" => {
                self.unknown(&format!("the statement {word}"))
            }
            _ if self.is_name() && self.is_sym_at(1, ":") => {
                let name = self.ident()?;
                self.need_sym(":")?;
                Ok(StmtKind::Label(name))
            }
            _ => Err(self.wrong()),
        }
    }

    fn transaction_name(&mut self) -> Option<String> {
        match self.peek().clone() {
            Tok::Var(v) => {
                self.next();
                Some(v)
            }
            _ if self.is_name() && !self.is_any(OPEN_WORDS) => self.ident().ok(),
            _ => None,
        }
    }

    fn begin(&mut self) -> Parsed<StmtKind> {
        self.need("BEGIN")?;
        if self.take("DISTRIBUTED") {
            return self.unknown("distributed transactions");
        }
        if self.take("TRAN") || self.take("TRANSACTION") {
            let name = self.transaction_name();
            if self.take_all(&["WITH", "MARK"]) && matches!(self.peek(), Tok::Str(_) | Tok::NStr(_))
            {
                self.next();
            }
            return Ok(StmtKind::Begin(name));
        }
        if self.take("TRY") {
            let tries = self.until_end()?;
            self.need("TRY")?;
            while self.take_sym(";") {}
            self.need("BEGIN")?;
            self.need("CATCH")?;
            let catches = self.until_end()?;
            self.need("CATCH")?;
            return Ok(StmtKind::TryCatch { tries, catches });
        }
        let body = self.until_end()?;
        Ok(StmtKind::Block(body))
    }

    /// Statements up to and including END.
    fn until_end(&mut self) -> Parsed<Vec<Stmt>> {
        let mut out = Vec::new();
        loop {
            while self.take_sym(";") {}
            if self.take("END") {
                return Ok(out);
            }
            if self.is_end() {
                return Err(self.wrong());
            }
            out.push(self.statement()?);
        }
    }

    fn declare(&mut self) -> Parsed<StmtKind> {
        self.need("DECLARE")?;
        if self.is_name() && ["CURSOR", "SCROLL", "INSENSITIVE"].iter().any(|w| self.is_at(1, w)) {
            return self.declare_cursor();
        }
        let mut out = Vec::new();
        loop {
            let name = self.variable()?;
            self.take("AS");
            if self.is("TABLE") {
                self.next();
                let mut spec = self.table_body(vec![name.clone()])?;
                spec.name = vec![name.clone()];
                return Ok(StmtKind::DeclareTable(name, Box::new(spec)));
            }
            if self.is("CURSOR") {
                return self.unknown("cursor variables");
            }
            let ty = self.type_name()?;
            let value = if self.take_sym("=") { Some(self.value()?) } else { None };
            out.push((name, ty, value));
            if !self.take_sym(",") {
                return Ok(StmtKind::Declare(out));
            }
        }
    }

    fn set(&mut self) -> Parsed<StmtKind> {
        self.need("SET")?;
        if let Tok::Var(name) = self.peek().clone() {
            self.next();
            let op = match self.next() {
                Tok::Sym("=") => None,
                Tok::Sym("+=") => Some(Op::Add),
                Tok::Sym("-=") => Some(Op::Sub),
                Tok::Sym("*=") => Some(Op::Mul),
                Tok::Sym("/=") => Some(Op::Div),
                Tok::Sym("%=") => Some(Op::Mod),
                Tok::Sym("&=") => Some(Op::BitAnd),
                Tok::Sym("|=") => Some(Op::BitOr),
                Tok::Sym("^=") => Some(Op::BitXor),
                _ => {
                    self.back_to(self.position() - 1);
                    return Err(self.wrong());
                }
            };
            return Ok(StmtKind::SetVar { name, op, expr: self.value()? });
        }
        if self.take("IDENTITY_INSERT") {
            let table = self.name()?;
            let on = self.on_off()?;
            return Ok(StmtKind::IdentityInsert(table, on));
        }
        if self.take_all(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            let mut words = vec!["ISOLATION".to_owned()];
            while let Tok::Word(w) = self.peek()
                && words.len() < 3
                && ["READ", "UNCOMMITTED", "COMMITTED", "REPEATABLE", "SERIALIZABLE", "SNAPSHOT"]
                    .contains(&w.to_ascii_uppercase().as_str())
            {
                words.push(w.to_ascii_uppercase());
                self.next();
            }
            if !matches!(
                words.join(" ").as_str(),
                "ISOLATION READ UNCOMMITTED"
                    | "ISOLATION READ COMMITTED"
                    | "ISOLATION REPEATABLE READ"
                    | "ISOLATION SERIALIZABLE"
                    | "ISOLATION SNAPSHOT"
            ) {
                return Err(self.wrong());
            }
            return Ok(StmtKind::SetOption(words, None));
        }
        if self.take("STATISTICS") {
            let mut words = vec!["STATISTICS".to_owned()];
            while let Tok::Word(w) = self.peek().clone() {
                self.next();
                words.push(w.to_ascii_uppercase());
                if w.eq_ignore_ascii_case("ON") || w.eq_ignore_ascii_case("OFF") {
                    break;
                }
                self.take_sym(",");
            }
            return Ok(StmtKind::SetOption(words, None));
        }
        let mut words = Vec::new();
        loop {
            match self.next() {
                Tok::Word(w) => words.push(w.to_ascii_uppercase()),
                _ => {
                    self.back_to(self.position() - 1);
                    return Err(self.wrong());
                }
            }
            if !self.take_sym(",") {
                break;
            }
        }
        let value = match self.peek().clone() {
            Tok::Word(w) => {
                self.next();
                Expr::Lit(Typed::nvarchar(&w))
            }
            Tok::Number(_) | Tok::Var(_) | Tok::Str(_) | Tok::NStr(_) | Tok::Hex(_) => {
                self.value()?
            }
            Tok::Sym("-") => self.value()?,
            _ => return Err(self.wrong()),
        };
        Ok(StmtKind::SetOption(words, Some(value)))
    }

    pub(super) fn on_off(&mut self) -> Parsed<bool> {
        if self.take("ON") {
            return Ok(true);
        }
        self.need("OFF")?;
        Ok(false)
    }

    fn raiserror(&mut self) -> Parsed<StmtKind> {
        self.need("RAISERROR")?;
        self.need_sym("(")?;
        let mut args = self.value_list()?;
        self.need_sym(")")?;
        if self.take("WITH") {
            loop {
                let _ = self.take("NOWAIT") || self.take("LOG") || self.take("SETERROR");
                if !self.take_sym(",") {
                    break;
                }
            }
        }
        if args.len() < 3 {
            return Err(SqlError::syntax(")").at_line(self.line()));
        }
        let rest = args.split_off(3);
        let mut three = args.into_iter();
        match (three.next(), three.next(), three.next()) {
            (Some(message), Some(severity), Some(state)) => {
                Ok(StmtKind::RaisError { message, severity, state, args: rest })
            }
            _ => Err(self.wrong()),
        }
    }

    fn permission(&mut self) -> Parsed<StmtKind> {
        let verb = if self.take("GRANT") {
            "GRANT"
        } else if self.take("DENY") {
            "DENY"
        } else {
            self.need("REVOKE")?;
            self.take_all(&["GRANT", "OPTION", "FOR"]);
            "REVOKE"
        };
        let mut permission = String::new();
        while !self.is_any(&["ON", "TO", "FROM"]) && !self.is_end() {
            let (from, to) = (self.from(), self.token().to);
            if !permission.is_empty() {
                permission.push(' ');
            }
            permission.push_str(&self.text(from, to).to_ascii_uppercase());
            self.next();
        }
        let mut object = String::new();
        if self.take("ON") {
            let from = self.from();
            while !self.is_any(&["TO", "FROM"]) && !self.is_end() {
                self.next();
            }
            self.text(from, self.to()).clone_into(&mut object);
        }
        if !self.take("TO") {
            self.need("FROM")?;
        }
        let mut principals = Vec::new();
        loop {
            principals.push(if self.take("PUBLIC") { "public".to_owned() } else { self.ident()? });
            if !self.take_sym(",") {
                break;
            }
        }
        self.take_all(&["WITH", "GRANT", "OPTION"]);
        self.take("CASCADE");
        if self.take("AS") {
            self.ident()?;
        }
        Ok(StmtKind::Permission(Permission { permission, object, principals, verb }))
    }

    fn dbcc(&mut self) -> Parsed<StmtKind> {
        self.need("DBCC")?;
        let command = match self.next() {
            Tok::Word(w) => w.to_ascii_uppercase(),
            _ => return Err(self.wrong()),
        };
        let (mut args, mut words) = (Vec::new(), Vec::new());
        if self.take_sym("(") {
            while !self.is_sym(")") {
                if self.is_name() {
                    let n = self.name()?;
                    args.push(Expr::Lit(Typed::nvarchar(&n.join("."))));
                } else {
                    args.push(self.value()?);
                }
                if !self.take_sym(",") {
                    break;
                }
            }
            self.need_sym(")")?;
        }
        if self.take("WITH") {
            words.push(self.ident()?.to_ascii_uppercase());
            while self.take_sym(",") {
                words.push(self.ident()?.to_ascii_uppercase());
            }
        }
        Ok(StmtKind::Dbcc { command, args, words })
    }
}

/// The query of a `CREATE VIEW` or `ALTER VIEW` statement, and its column names.
pub fn parse_view(sql: &str) -> Parsed<(super::ast::Query, Vec<String>)> {
    let mut p = Parser::new(sql)?;
    while !p.take("VIEW") {
        if p.is_end() {
            return Err(p.wrong());
        }
        p.next();
    }
    p.name()?;
    let names = if p.is_sym("(") { p.name_list()? } else { Vec::new() };
    if p.take("WITH") {
        p.names()?;
    }
    p.need("AS")?;
    Ok((p.query()?, names))
}

/// The parameters and the body of a `CREATE PROCEDURE` statement.
pub fn parse_procedure(sql: &str) -> Parsed<(Vec<super::ast::ProcParam>, Vec<Stmt>)> {
    let mut p = Parser::new(sql)?;
    while !(p.take("PROCEDURE") || p.take("PROC")) {
        if p.is_end() {
            return Err(p.wrong());
        }
        p.next();
    }
    p.name()?;
    let params = p.procedure_head()?;
    let mut body = Vec::new();
    loop {
        while p.take_sym(";") {}
        if p.is_end() {
            return Ok((params, body));
        }
        body.push(p.statement()?);
    }
}
