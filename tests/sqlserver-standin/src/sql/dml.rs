//! INSERT, UPDATE, DELETE, MERGE.

use std::sync::Arc;

use super::ast::{
    Assign, Cte, Delete, Expr, Hints, Insert, InsertSource, Merge, MergeAction, MergeWhen,
    OutputClause, StmtKind, TableRef, Update,
};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::SqlError;

impl Parser<'_> {
    fn output(&mut self) -> Parsed<Option<OutputClause>> {
        if !self.take("OUTPUT") {
            return Ok(None);
        }
        let items = self.select_items()?;
        let into = if self.take("INTO") {
            let target = match self.peek().clone() {
                Tok::Var(name) => {
                    self.next();
                    TableRef::Variable { name, alias: None }
                }
                _ => TableRef::Named { name: self.name()?, alias: None, hints: Hints::default() },
            };
            let columns = if self.is_sym("(") { self.name_list()? } else { Vec::new() };
            Some((target, columns))
        } else {
            None
        };
        Ok(Some(OutputClause { items, into }))
    }

    fn dml_target(&mut self) -> Parsed<TableRef> {
        if let Tok::Var(name) = self.peek().clone() {
            self.next();
            return Ok(TableRef::Variable { name, alias: None });
        }
        let name = self.name()?;
        let hints = self.hints()?;
        Ok(TableRef::Named { name, alias: None, hints })
    }

    pub(super) fn insert(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<StmtKind> {
        self.need("INSERT")?;
        let top = self.top()?;
        if self.is("BULK") {
            return self.insert_bulk();
        }
        self.take("INTO");
        let target = self.dml_target()?;
        let columns =
            if self.is_sym("(") && !self.nested_query() { self.name_list()? } else { Vec::new() };
        let output = self.output()?;
        let source = if self.take_all(&["DEFAULT", "VALUES"]) {
            InsertSource::Default
        } else if self.is_any(&["EXEC", "EXECUTE"]) {
            InsertSource::Exec(Box::new(self.exec()?))
        } else {
            InsertSource::Query(Box::new(self.query()?))
        };
        if self.is("OPTION") {
            self.option()?;
        }
        Ok(StmtKind::Insert(Box::new(Insert { ctes, top, target, columns, output, source })))
    }

    fn assignments(&mut self) -> Parsed<Vec<Assign>> {
        let mut out = Vec::new();
        loop {
            if let Tok::Var(name) = self.peek().clone() {
                self.next();
                let Some(op) = self.assign_op() else { return Err(self.wrong()) };
                if op.is_none() && self.is_name() {
                    let at = self.position();
                    let column = self.name()?;
                    if self.take_sym("=") {
                        out.push(Assign::Both { var: name, column, expr: self.value()? });
                        if self.take_sym(",") {
                            continue;
                        }
                        return Ok(out);
                    }
                    self.back_to(at);
                }
                out.push(Assign::Var { name, op, expr: self.value()? });
            } else {
                let name = self.name()?;
                if self.is_sym("(") {
                    return self.unknown("the .WRITE method of a column");
                }
                let Some(op) = self.assign_op() else { return Err(self.wrong()) };
                out.push(Assign::Column { name, op, expr: self.value()? });
            }
            if !self.take_sym(",") {
                return Ok(out);
            }
        }
    }

    fn from_where(&mut self) -> Parsed<(Vec<TableRef>, Option<Expr>)> {
        let from = if self.take("FROM") { self.table_list()? } else { Vec::new() };
        let condition = if self.take("WHERE") {
            if self.is("CURRENT") {
                return self.unknown("WHERE CURRENT OF");
            }
            Some(self.condition()?)
        } else {
            None
        };
        if self.is("OPTION") {
            self.option()?;
        }
        Ok((from, condition))
    }

    pub(super) fn update(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<StmtKind> {
        self.need("UPDATE")?;
        if self.take("STATISTICS") {
            self.name()?;
            if self.is_sym("(") {
                self.skip_parentheses()?;
            } else if self.is_name() {
                self.ident()?;
            }
            if self.take("WITH") {
                while !self.is_end()
                    && !self.is_sym(";")
                    && (self.is_name()
                        || self.is_sym(",")
                        || self.is("PERCENT")
                        || matches!(self.peek(), Tok::Number(_)))
                {
                    self.next();
                }
            }
            return Ok(StmtKind::Ignored);
        }
        let top = self.top()?;
        let target = self.dml_target()?;
        self.need("SET")?;
        let set = self.assignments()?;
        let output = self.output()?;
        let (from, condition) = self.from_where()?;
        Ok(StmtKind::Update(Box::new(Update { ctes, top, target, set, output, from, condition })))
    }

    pub(super) fn delete(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<StmtKind> {
        self.need("DELETE")?;
        let top = self.top()?;
        self.take("FROM");
        let target = self.dml_target()?;
        let output = self.output()?;
        let (from, condition) = self.from_where()?;
        Ok(StmtKind::Delete(Box::new(Delete { ctes, top, target, output, from, condition })))
    }

    pub(super) fn merge(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<StmtKind> {
        self.need("MERGE")?;
        let _ = self.top()?;
        self.take("INTO");
        let mut target = self.dml_target()?;
        let alias = if self.take("AS") || (self.is_name() && !self.is("USING")) {
            Some(self.ident()?)
        } else {
            None
        };
        if let TableRef::Named { alias: a, .. } | TableRef::Variable { alias: a, .. } = &mut target
        {
            *a = alias;
        }
        self.need("USING")?;
        let source = self.table_join()?;
        self.need("ON")?;
        let on = self.condition()?;
        let mut clauses = Vec::new();
        while self.take("WHEN") {
            let when = if self.take("MATCHED") {
                MergeWhen::Matched
            } else {
                self.need("NOT")?;
                self.need("MATCHED")?;
                if self.take("BY") {
                    if self.take("SOURCE") {
                        MergeWhen::NotMatchedBySource
                    } else {
                        self.need("TARGET")?;
                        MergeWhen::NotMatchedByTarget
                    }
                } else {
                    MergeWhen::NotMatchedByTarget
                }
            };
            let condition = if self.take("AND") { Some(self.condition()?) } else { None };
            self.need("THEN")?;
            let action = if self.take("UPDATE") {
                self.need("SET")?;
                MergeAction::Update(self.assignments()?)
            } else if self.take("DELETE") {
                MergeAction::Delete
            } else {
                self.need("INSERT")?;
                let columns = if self.is_sym("(") { self.name_list()? } else { Vec::new() };
                let values = if self.take_all(&["DEFAULT", "VALUES"]) {
                    None
                } else {
                    let mut rows = self.values()?;
                    if rows.len() != 1 {
                        return Err(self.wrong());
                    }
                    rows.pop()
                };
                MergeAction::Insert { columns, values }
            };
            clauses.push((when, condition, action));
        }
        let output = self.output()?;
        if self.is("OPTION") {
            self.option()?;
        }
        if !self.is_sym(";") {
            return Err(SqlError::new(
                10713,
                "A MERGE statement must be terminated by a semi-colon (;).",
            )
            .class(15)
            .at_line(self.line()));
        }
        Ok(StmtKind::Merge(Box::new(Merge { ctes, target, source, on, clauses, output })))
    }
}
