//! FROM: tables, joins and hints.

use super::ast::{Hints, JoinKind, Query, TableRef};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::SqlError;

/// Table hints that are accepted. Those with a meaning here: the lock ones.
const HINTS: &[&str] = &[
    "FORCESCAN",
    "FORCESEEK",
    "HOLDLOCK",
    "KEEPDEFAULTS",
    "KEEPIDENTITY",
    "NOEXPAND",
    "NOLOCK",
    "NOWAIT",
    "PAGLOCK",
    "READCOMMITTED",
    "READCOMMITTEDLOCK",
    "READPAST",
    "READUNCOMMITTED",
    "REPEATABLEREAD",
    "ROWLOCK",
    "SERIALIZABLE",
    "SNAPSHOT",
    "TABLOCK",
    "TABLOCKX",
    "UPDLOCK",
    "XLOCK",
];

impl Parser<'_> {
    pub(super) fn table_list(&mut self) -> Parsed<Vec<TableRef>> {
        let mut out = vec![self.table_join()?];
        while self.take_sym(",") {
            out.push(self.table_join()?);
        }
        Ok(out)
    }

    pub(super) fn table_join(&mut self) -> Parsed<TableRef> {
        let mut left = self.table_primary()?;
        loop {
            if self.is("CROSS") && self.is_at(1, "APPLY")
                || self.is("OUTER") && self.is_at(1, "APPLY")
            {
                let outer = self.is("OUTER");
                self.next();
                self.next();
                let right = self.table_primary()?;
                left = TableRef::Apply { left: Box::new(left), right: Box::new(right), outer };
                continue;
            }
            let kind = if self.take_all(&["CROSS", "JOIN"]) {
                JoinKind::Cross
            } else if self.is_any(&["INNER", "LEFT", "RIGHT", "FULL", "JOIN"]) {
                let kind = if self.take("LEFT") {
                    JoinKind::Left
                } else if self.take("RIGHT") {
                    JoinKind::Right
                } else if self.take("FULL") {
                    JoinKind::Full
                } else {
                    self.take("INNER");
                    JoinKind::Inner
                };
                self.take("OUTER");
                // Join hints.
                let _ = self.take("LOOP")
                    || self.take("HASH")
                    || self.take("MERGE")
                    || self.take("REMOTE");
                self.need("JOIN")?;
                kind
            } else if self.is_any(&["PIVOT", "UNPIVOT"]) {
                return self.unknown("PIVOT");
            } else {
                return Ok(left);
            };
            if kind == JoinKind::Cross {
                let right = Box::new(self.table_primary()?);
                left = TableRef::Join { left: Box::new(left), kind, right, on: None };
            } else {
                // a JOIN b JOIN c ON ... ON ...: the right side may be a join itself.
                let right = self.table_primary()?;
                let right = self.nested_join(right)?;
                self.need("ON")?;
                let on = Some(self.condition()?);
                left = TableRef::Join { left: Box::new(left), kind, right: Box::new(right), on };
            }
        }
    }

    fn nested_join(&mut self, first: TableRef) -> Parsed<TableRef> {
        if self.is("ON") {
            return Ok(first);
        }
        let mut left = first;
        while self.is_any(&["INNER", "LEFT", "RIGHT", "FULL", "JOIN", "CROSS"]) {
            if self.take_all(&["CROSS", "JOIN"]) {
                let right = Box::new(self.table_primary()?);
                left =
                    TableRef::Join { left: Box::new(left), kind: JoinKind::Cross, right, on: None };
                continue;
            }
            let kind = if self.take("LEFT") {
                JoinKind::Left
            } else if self.take("RIGHT") {
                JoinKind::Right
            } else if self.take("FULL") {
                JoinKind::Full
            } else {
                self.take("INNER");
                JoinKind::Inner
            };
            self.take("OUTER");
            self.need("JOIN")?;
            let right = self.table_primary()?;
            let right = Box::new(self.nested_join(right)?);
            self.need("ON")?;
            let on = Some(self.condition()?);
            left = TableRef::Join { left: Box::new(left), kind, right, on };
            if self.is("ON") {
                return Ok(left);
            }
        }
        Ok(left)
    }

    fn table_alias(&mut self) -> Parsed<Option<String>> {
        if self.take("AS") {
            return Ok(Some(self.ident()?));
        }
        // OFFSET is no reserved word, yet never an alias after a table without ORDER BY; WITH introduces hints.
        if self.is_name() && !self.is("OPTION") { Ok(Some(self.ident()?)) } else { Ok(None) }
    }

    fn table_primary(&mut self) -> Parsed<TableRef> {
        if self.take_sym("(") {
            if self.is_any(&["SELECT", "VALUES", "WITH"]) || self.nested_query() {
                let at = self.position();
                if let Ok(q) = self.query()
                    && self.take_sym(")")
                {
                    return self.derived(q);
                }
                self.back_to(at);
                if self.is_any(&["SELECT", "VALUES", "WITH"]) {
                    let q = self.query()?;
                    self.need_sym(")")?;
                    return self.derived(q);
                }
            }
            let inner = self.table_join()?;
            self.need_sym(")")?;
            return Ok(inner);
        }
        if let Tok::Var(name) = self.peek().clone() {
            self.next();
            let alias = self.table_alias()?;
            return Ok(TableRef::Variable { name, alias });
        }
        let name = self.name()?;
        let hint = self.is_sym("(") && (self.is_hint_at(1));
        if self.is_sym("(") && !hint {
            self.next();
            let args = if self.is_sym(")") { Vec::new() } else { self.value_list()? };
            self.need_sym(")")?;
            if self.is("WITH") && self.is_sym_at(1, "(") && !self.is_hint_at(2) {
                return self.unknown("OPENJSON ... WITH");
            }
            let alias = self.table_alias()?;
            let columns =
                if alias.is_some() && self.is_sym("(") { self.name_list()? } else { Vec::new() };
            let _ = self.hints()?;
            return Ok(TableRef::Function { name, args, alias, columns });
        }
        let mut hints = self.hints()?;
        if self.is("FOR") && self.is_at(1, "SYSTEM_TIME") {
            return self.unknown("FOR SYSTEM_TIME");
        }
        let alias = self.table_alias()?;
        if self.is("TABLESAMPLE") {
            return self.unknown("TABLESAMPLE");
        }
        let more = self.hints()?;
        hints.names.extend(more.names);
        hints.index = hints.index.or(more.index);
        Ok(TableRef::Named { name, alias, hints })
    }

    fn is_hint_at(&self, ahead: usize) -> bool {
        matches!(self.peek_at(ahead), Tok::Word(w) if HINTS.contains(&w.to_ascii_uppercase().as_str())
            || w.eq_ignore_ascii_case("INDEX"))
    }

    fn derived(&mut self, query: Query) -> Parsed<TableRef> {
        self.take("AS");
        let alias = self.ident()?;
        let columns = if self.is_sym("(") { self.name_list()? } else { Vec::new() };
        Ok(TableRef::Derived { query: Box::new(query), alias, columns })
    }

    /// WITH (NOLOCK, INDEX(1)); also the old `(NOLOCK)`.
    pub(super) fn hints(&mut self) -> Parsed<Hints> {
        let mut hints = Hints::default();
        if self.is("WITH") && self.is_sym_at(1, "(") {
            self.next();
        } else if !(self.is_sym("(") && self.is_hint_at(1)) {
            return Ok(hints);
        }
        self.need_sym("(")?;
        loop {
            let word = match self.next() {
                Tok::Word(w) => w.to_ascii_uppercase(),
                _ => return Err(self.wrong()),
            };
            if word == "INDEX" {
                let close = self.take_sym("(");
                if !close {
                    self.need_sym("=")?;
                }
                let inner = !close && self.take_sym("(");
                hints.index = Some(match self.next() {
                    Tok::Word(w) | Tok::Quoted(w) | Tok::Number(w) => w,
                    _ => return Err(self.wrong()),
                });
                if close || inner {
                    self.need_sym(")")?;
                }
            } else if HINTS.contains(&word.as_str()) {
                if word == "FORCESEEK" {
                    self.skip_parentheses()?;
                }
                hints.names.push(word);
            } else {
                let m = format!(
                    "\"{word}\" is not a recognized table hints option. If it is intended as a parameter to a table-valued function or to the CHANGETABLE function, ensure that your database compatibility mode is set to 90."
                );
                return Err(SqlError::new(321, m).class(15).at_line(self.line()));
            }
            if !self.take_sym(",") && self.is_sym(")") {
                break;
            }
        }
        self.need_sym(")")?;
        Ok(hints)
    }
}
