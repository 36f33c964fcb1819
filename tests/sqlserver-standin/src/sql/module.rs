//! Functions and triggers: what their CREATE statements say.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use super::ast::{Name, ProcParam, Query, Stmt, TableSpec, TypeName};
use super::parser::{Parsed, Parser};
use crate::store::lock;

/// A user-defined function.
#[derive(Debug)]
pub struct Function {
    pub params: Vec<ProcParam>,
    pub body: FunctionBody,
}

#[derive(Debug)]
pub enum FunctionBody {
    Scalar {
        returns: TypeName,
        body: Vec<Stmt>,
    },
    /// RETURNS TABLE
    Inline(Box<Query>),
    /// RETURNS @t TABLE (...)
    Table {
        variable: String,
        spec: Box<TableSpec>,
        body: Vec<Stmt>,
    },
}

impl Function {
    /// The letters of sys.objects.type.
    pub fn kind(&self) -> &'static str {
        match self.body {
            FunctionBody::Scalar { .. } => "FN",
            FunctionBody::Inline(_) => "IF",
            FunctionBody::Table { .. } => "TF",
        }
    }
}

/// An AFTER trigger.
#[derive(Debug)]
pub struct Trigger {
    pub table: Name,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub body: Vec<Stmt>,
}

/// More modules than this empty the cache.
const LIMIT: usize = 1_000;
type Cache<T> = LazyLock<Mutex<HashMap<String, Arc<T>>>>;
static FUNCTIONS: Cache<Function> = LazyLock::new(Mutex::default);
static TRIGGERS: Cache<Trigger> = LazyLock::new(Mutex::default);

fn cached<T>(
    cache: &Mutex<HashMap<String, Arc<T>>>,
    sql: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Parsed<T>,
    word: &str,
) -> Parsed<Arc<T>> {
    if let Some(found) = lock(cache).get(sql) {
        return Ok(Arc::clone(found));
    }
    let mut p = Parser::new(sql)?;
    while !p.take(word) {
        if p.is_end() {
            return Err(p.wrong());
        }
        p.next();
    }
    let module = Arc::new(parse(&mut p)?);
    let mut cache = lock(cache);
    if cache.len() >= LIMIT {
        cache.clear();
    }
    cache.insert(sql.to_owned(), Arc::clone(&module));
    Ok(module)
}

/// The function of a `CREATE FUNCTION` text; parsed once.
pub fn parse_function(sql: &str) -> Parsed<Arc<Function>> {
    cached(&FUNCTIONS, sql, |p| p.function().map(|f| f.1), "FUNCTION")
}

/// The trigger of a `CREATE TRIGGER` text; parsed once.
pub fn parse_trigger(sql: &str) -> Parsed<Arc<Trigger>> {
    cached(&TRIGGERS, sql, |p| p.trigger().map(|t| t.1), "TRIGGER")
}

impl Parser<'_> {
    fn module_options(&mut self) -> Parsed<()> {
        if !self.take("WITH") {
            return Ok(());
        }
        loop {
            // what only matters to a cost or to permissions
            let known = self.take("SCHEMABINDING")
                || self.take("ENCRYPTION")
                || self.take_all(&["RETURNS", "NULL", "ON", "NULL", "INPUT"])
                || self.take_all(&["CALLED", "ON", "NULL", "INPUT"])
                || self.take_all(&["EXECUTE", "AS", "CALLER"]);
            if !known {
                return self.unknown("this option of a function or trigger");
            }
            if !self.take_sym(",") {
                return Ok(());
            }
        }
    }

    fn rest(&mut self) -> Parsed<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            while self.take_sym(";") {}
            if self.is_end() {
                return Ok(body);
            }
            body.push(self.statement()?);
        }
    }

    /// Everything after FUNCTION.
    pub(super) fn function(&mut self) -> Parsed<(Name, Function)> {
        let name = self.name()?;
        self.need_sym("(")?;
        let params = self.parameters()?;
        self.need_sym(")")?;
        self.need("RETURNS")?;
        let body = if self.take("TABLE") {
            self.module_options()?;
            self.take("AS");
            self.need("RETURN")?;
            // the brackets around it are a query's own
            FunctionBody::Inline(Box::new(self.query()?))
        } else if let super::lexer::Tok::Var(variable) = self.peek().clone() {
            self.next();
            self.need("TABLE")?;
            let mut spec = self.table_body(vec![variable.clone()])?;
            spec.name = vec![variable.clone()];
            self.module_options()?;
            self.take("AS");
            FunctionBody::Table { variable, spec: Box::new(spec), body: self.function_block()? }
        } else {
            let returns = self.type_name()?;
            self.module_options()?;
            self.take("AS");
            FunctionBody::Scalar { returns, body: self.function_block()? }
        };
        while self.take_sym(";") {}
        if self.is_end() { Ok((name, Function { params, body })) } else { Err(self.wrong()) }
    }

    fn function_block(&mut self) -> Parsed<Vec<Stmt>> {
        if !self.is("BEGIN") {
            return Err(self.wrong());
        }
        self.rest()
    }

    /// Everything after TRIGGER.
    pub(super) fn trigger(&mut self) -> Parsed<(Name, Trigger)> {
        let name = self.name()?;
        self.need("ON")?;
        if self.is_any(&["DATABASE", "ALL"]) {
            return self.unknown("DDL and logon triggers");
        }
        let table = self.name()?;
        self.module_options()?;
        if self.is("INSTEAD") {
            return self.unknown("INSTEAD OF triggers");
        }
        if !self.take("FOR") {
            self.need("AFTER")?;
        }
        let (mut insert, mut update, mut delete) = (false, false, false);
        loop {
            if self.take("INSERT") {
                insert = true;
            } else if self.take("UPDATE") {
                update = true;
            } else {
                self.need("DELETE")?;
                delete = true;
            }
            if !self.take_sym(",") {
                break;
            }
        }
        self.take_all(&["NOT", "FOR", "REPLICATION"]);
        self.need("AS")?;
        let body = self.rest()?;
        Ok((name, Trigger { table, insert, update, delete, body }))
    }
}
