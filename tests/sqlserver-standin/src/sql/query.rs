//! SELECT.

use std::sync::Arc;

use super::ast::{Cte, Expr, Query, Select, SelectItem, SetExpr, SetOp, Top};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::{Op, SqlError};

impl Parser<'_> {
    /// WITH a AS (...), b AS (...)
    pub(super) fn ctes(&mut self) -> Parsed<Arc<Vec<Cte>>> {
        let mut out = Vec::new();
        if self.take("WITH") {
            loop {
                let name = self.ident()?;
                let columns = if self.is_sym("(") { self.name_list()? } else { Vec::new() };
                self.need("AS")?;
                self.need_sym("(")?;
                let query = self.query()?;
                self.need_sym(")")?;
                out.push(Cte { name, columns, query });
                if !self.take_sym(",") {
                    break;
                }
            }
        }
        Ok(Arc::new(out))
    }

    pub(super) fn query(&mut self) -> Parsed<Query> {
        let ctes = self.ctes()?;
        self.query_with(ctes)
    }

    pub(super) fn query_with(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<Query> {
        self.deeper_query(|p| p.whole_query(ctes))
    }

    fn whole_query(&mut self, ctes: Arc<Vec<Cte>>) -> Parsed<Query> {
        let body = self.union()?;
        let mut q = Query {
            ctes,
            body,
            order: Vec::new(),
            offset: None,
            fetch: None,
            xml_path: None,
            max_recursion: None,
        };
        if self.is("ORDER") {
            q.order = self.order_by()?;
            if self.take("OFFSET") {
                q.offset = Some(self.value()?);
                if !self.take("ROWS") {
                    self.need("ROW")?;
                }
                if self.take("FETCH") {
                    if !self.take("NEXT") {
                        self.need("FIRST")?;
                    }
                    q.fetch = Some(self.value()?);
                    if !self.take("ROWS") {
                        self.need("ROW")?;
                    }
                    self.need("ONLY")?;
                }
            }
        }
        if self.is("FOR") {
            self.next();
            if self.take("XML") && self.take("PATH") {
                let mut element = "row".to_owned();
                if self.take_sym("(") {
                    element = self.string()?;
                    self.need_sym(")")?;
                }
                while self.take_sym(",") {
                    if !self.take("TYPE") {
                        return self.unknown("this option of FOR XML");
                    }
                }
                q.xml_path = Some(element);
            } else if !self.take("BROWSE") {
                return self.unknown("FOR JSON, FOR XML AUTO and the like");
            }
        }
        if self.is("OPTION") {
            q.max_recursion = self.option()?;
        }
        Ok(q)
    }

    /// OPTION (...): hints change plans, never results; MAXRECURSION is kept.
    pub(super) fn option(&mut self) -> Parsed<Option<u32>> {
        self.need("OPTION")?;
        self.need_sym("(")?;
        let mut limit = None;
        loop {
            let word = match self.next() {
                Tok::Word(w) => w.to_ascii_uppercase(),
                _ => return Err(self.wrong()),
            };
            match word.as_str() {
                "MAXRECURSION" => limit = u32::try_from(self.integer()?).ok(),
                "RECOMPILE" => {}
                "MAXDOP" | "FAST" | "QUERYTRACEON" => {
                    self.integer()?;
                }
                "HASH" | "MERGE" | "LOOP" | "CONCAT" | "FORCE" | "KEEP" | "KEEPFIXED"
                | "ROBUST" | "EXPAND" | "ORDER" => {
                    self.next();
                }
                "OPTIMIZE" => {
                    self.need("FOR")?;
                    if !self.take("UNKNOWN") {
                        self.skip_parentheses()?;
                    }
                }
                "LABEL" => {
                    self.need_sym("=")?;
                    self.next();
                }
                "USE" | "TABLE" => {
                    self.take("HINT");
                    self.skip_parentheses()?;
                }
                _ => {
                    return self.unknown(&format!("the query hint {word}"));
                }
            }
            if !self.take_sym(",") {
                break;
            }
        }
        self.need_sym(")")?;
        Ok(limit)
    }

    fn union(&mut self) -> Parsed<SetExpr> {
        let mut left = self.intersect()?;
        loop {
            let op = if self.take("UNION") {
                SetOp::Union
            } else if self.take("EXCEPT") {
                SetOp::Except
            } else {
                return Ok(left);
            };
            let all = op == SetOp::Union && self.take("ALL");
            let right = self.intersect()?;
            left = SetExpr::Op { op, all, left: Box::new(left), right: Box::new(right) };
        }
    }

    fn intersect(&mut self) -> Parsed<SetExpr> {
        let mut left = self.term()?;
        while self.take("INTERSECT") {
            let right = self.term()?;
            left = SetExpr::Op {
                op: SetOp::Intersect,
                all: false,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
        Ok(left)
    }

    fn term(&mut self) -> Parsed<SetExpr> {
        if self.take_sym("(") {
            let q = self.query()?;
            self.need_sym(")")?;
            return Ok(SetExpr::Query(Box::new(q)));
        }
        if self.is("VALUES") {
            return Ok(SetExpr::Values(self.values()?));
        }
        Ok(SetExpr::Select(Box::new(self.select()?)))
    }

    pub(super) fn values(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        self.need("VALUES")?;
        let mut rows: Vec<Vec<Expr>> = Vec::new();
        loop {
            self.need_sym("(")?;
            let row = self.value_list()?;
            self.need_sym(")")?;
            if rows.first().is_some_and(|r| r.len() != row.len()) {
                return Err(SqlError::new(
                    10709,
                    "The number of columns for each row in a table value constructor must be the same.",
                )
                .at_line(self.line()));
            }
            rows.push(row);
            if !self.take_sym(",") {
                return Ok(rows);
            }
        }
    }

    pub(super) fn top(&mut self) -> Parsed<Option<Top>> {
        if !self.take("TOP") {
            return Ok(None);
        }
        let count = if self.take_sym("(") {
            let e = self.value()?;
            self.need_sym(")")?;
            e
        } else {
            match self.peek().clone() {
                Tok::Number(n) => {
                    self.next();
                    Expr::Lit(crate::value::literal_number(&n)?)
                }
                Tok::Var(v) => {
                    self.next();
                    Expr::Var(v)
                }
                _ => return Err(self.wrong()),
            }
        };
        let percent = self.take("PERCENT");
        let ties = self.take_all(&["WITH", "TIES"]);
        Ok(Some(Top { count, percent, ties }))
    }

    fn select(&mut self) -> Parsed<Select> {
        let line = self.line();
        self.need("SELECT")?;
        let distinct = self.take("DISTINCT");
        if !distinct {
            self.take("ALL");
        }
        let top = self.top()?;
        let items = self.select_items()?;
        let into = if self.take("INTO") { Some(self.name()?) } else { None };
        let from = if self.take("FROM") { self.table_list()? } else { Vec::new() };
        let condition = if self.take("WHERE") { Some(self.condition()?) } else { None };
        let mut group = Vec::new();
        if self.take("GROUP") {
            self.need("BY")?;
            if self.is_any(&["GROUPING", "ROLLUP", "CUBE"]) && !self.is_sym_at(1, ",") {
                return self.unknown("GROUPING SETS, ROLLUP and CUBE");
            }
            group = self.value_list()?;
        }
        let having = if self.take("HAVING") { Some(self.condition()?) } else { None };
        Ok(Select { line, distinct, top, items, into, from, condition, group, having })
    }

    pub(super) fn select_items(&mut self) -> Parsed<Vec<SelectItem>> {
        let mut out = vec![self.select_item()?];
        while self.take_sym(",") {
            out.push(self.select_item()?);
        }
        Ok(out)
    }

    pub(super) fn assign_op(&mut self) -> Option<Option<Op>> {
        let op = match self.peek() {
            Tok::Sym("=") => None,
            Tok::Sym("+=") => Some(Op::Add),
            Tok::Sym("-=") => Some(Op::Sub),
            Tok::Sym("*=") => Some(Op::Mul),
            Tok::Sym("/=") => Some(Op::Div),
            Tok::Sym("%=") => Some(Op::Mod),
            Tok::Sym("&=") => Some(Op::BitAnd),
            Tok::Sym("|=") => Some(Op::BitOr),
            Tok::Sym("^=") => Some(Op::BitXor),
            _ => return None,
        };
        self.next();
        Some(op)
    }

    fn select_item(&mut self) -> Parsed<SelectItem> {
        if self.take_sym("*") {
            return Ok(SelectItem::Star(Vec::new()));
        }
        if let Tok::Var(v) = self.peek().clone()
            && !v.starts_with("@@")
        {
            let at = self.position();
            self.next();
            if let Some(op) = self.assign_op() {
                return Ok(SelectItem::Assign { var: v, op, expr: self.value()? });
            }
            self.back_to(at);
        }
        // alias = value
        if (self.is_name() || matches!(self.peek(), Tok::Str(_))) && self.is_sym_at(1, "=") {
            let alias = self.alias()?;
            self.next();
            return Ok(SelectItem::Expr { expr: self.value()?, alias: Some(alias) });
        }
        // t.* and dbo.t.*
        if self.is_name() {
            let at = self.position();
            let mut parts = vec![self.ident()?];
            while self.take_sym(".") {
                if self.take_sym("*") {
                    return Ok(SelectItem::Star(parts));
                }
                match self.next() {
                    Tok::Word(w) => parts.push(w),
                    Tok::Quoted(q) => parts.push(q),
                    _ => break,
                }
            }
            self.back_to(at);
        }
        let expr = self.value()?;
        let named =
            self.take("AS") || self.is_name() || matches!(self.peek(), Tok::Str(_) | Tok::NStr(_));
        let alias = if named { Some(self.alias()?) } else { None };
        Ok(SelectItem::Expr { expr, alias })
    }
}
