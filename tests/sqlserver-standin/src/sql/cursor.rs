//! T-SQL cursors: DECLARE ... CURSOR, OPEN, FETCH, CLOSE, DEALLOCATE.

use super::ast::{Cursor, CursorName, Fetch, StmtKind};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::SqlError;

impl Parser<'_> {
    /// After DECLARE: `name [INSENSITIVE] [SCROLL] CURSOR [options] FOR query`.
    pub(super) fn declare_cursor(&mut self) -> Parsed<StmtKind> {
        let name = self.ident()?;
        let mut scroll = false;
        let mut forward = false;
        loop {
            if self.take("SCROLL") {
                scroll = true;
            } else if !self.take("INSENSITIVE") {
                break;
            }
        }
        self.need("CURSOR")?;
        let mut global = true;
        loop {
            let word = match self.peek() {
                Tok::Word(w) => w.to_ascii_uppercase(),
                _ => return Err(self.wrong()),
            };
            match word.as_str() {
                "FOR" => break,
                "LOCAL" => global = false,
                "GLOBAL" => global = true,
                "SCROLL" => scroll = true,
                "FORWARD_ONLY" | "FAST_FORWARD" => forward = true,
                // Rows are read at OPEN: what a static cursor promises, and what the others may do.
                "STATIC" | "READ_ONLY" => {}
                "KEYSET" | "DYNAMIC" | "SCROLL_LOCKS" | "OPTIMISTIC" | "TYPE_WARNING" => {
                    return self.unknown(&format!("{word} cursors"));
                }
                _ => return Err(self.wrong()),
            }
            self.next();
        }
        if scroll && forward {
            let m = "Conflicting cursor options SCROLL and FORWARD_ONLY.";
            return Err(SqlError::new(1048, m).class(15).at_line(self.line()));
        }
        self.need("FOR")?;
        let query = Box::new(self.query()?);
        if self.is("FOR") && self.is_at(1, "UPDATE") {
            return self.unknown("cursors FOR UPDATE");
        }
        self.take_all(&["FOR", "READ", "ONLY"]);
        Ok(StmtKind::Cursor(Box::new(Cursor::Declare { name, global, scroll, query })))
    }

    /// OPEN, FETCH, CLOSE and DEALLOCATE.
    pub(super) fn cursor(&mut self) -> Parsed<StmtKind> {
        let cursor = if self.take("OPEN") {
            Cursor::Open(self.cursor_name()?)
        } else if self.take("CLOSE") {
            Cursor::Close(self.cursor_name()?)
        } else if self.take("DEALLOCATE") {
            Cursor::Deallocate(self.cursor_name()?)
        } else {
            self.need("FETCH")?;
            // `FETCH next` is a cursor of that name.
            let which = if !self.is_at(1, "FROM") && !self.is_fetch_number() {
                Fetch::Next
            } else if self.take("PRIOR") {
                Fetch::Prior
            } else if self.take("FIRST") {
                Fetch::First
            } else if self.take("LAST") {
                Fetch::Last
            } else if self.take("ABSOLUTE") {
                Fetch::Absolute(Box::new(self.value()?))
            } else if self.take("RELATIVE") {
                Fetch::Relative(Box::new(self.value()?))
            } else {
                self.take("NEXT");
                Fetch::Next
            };
            self.take("FROM");
            let name = self.cursor_name()?;
            let mut into = Vec::new();
            if self.take("INTO") {
                into.push(self.variable()?);
                while self.take_sym(",") {
                    into.push(self.variable()?);
                }
            }
            Cursor::Fetch { which, name, into }
        };
        Ok(StmtKind::Cursor(Box::new(cursor)))
    }

    fn is_fetch_number(&self) -> bool {
        (self.is("ABSOLUTE") || self.is("RELATIVE"))
            && (matches!(self.peek_at(1), Tok::Number(_) | Tok::Var(_)) || self.is_sym_at(1, "-"))
    }

    fn cursor_name(&mut self) -> Parsed<CursorName> {
        if matches!(self.peek(), Tok::Var(_)) {
            return self.unknown("cursor variables");
        }
        let global = self.take("GLOBAL");
        Ok(CursorName { name: self.ident()?, global })
    }
}
