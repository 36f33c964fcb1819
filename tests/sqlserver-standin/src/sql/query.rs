//! SELECT and the statements that change rows.

use std::sync::Arc;

use super::ast::{
    Assign, Cte, Delete, Exec, ExecArg, Expr, Hints, Insert, InsertSource, JoinKind, Merge,
    MergeAction, MergeWhen, OutputClause, Query, Select, SelectItem, SetExpr, SetOp, StmtKind,
    TableRef, Top, Update,
};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::{Op, SqlError};

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

    fn values(&mut self) -> Parsed<Vec<Vec<Expr>>> {
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

    fn top(&mut self) -> Parsed<Option<Top>> {
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

    fn assign_op(&mut self) -> Option<Option<Op>> {
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

    pub(super) fn table_list(&mut self) -> Parsed<Vec<TableRef>> {
        let mut out = vec![self.table_join()?];
        while self.take_sym(",") {
            out.push(self.table_join()?);
        }
        Ok(out)
    }

    fn table_join(&mut self) -> Parsed<TableRef> {
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
            return self.unknown("INSERT BULK");
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

    pub(super) fn exec(&mut self) -> Parsed<Exec> {
        if !self.take("EXEC") {
            self.need("EXECUTE")?;
        }
        if self.take_sym("(") {
            let e = self.value()?;
            self.need_sym(")")?;
            if self.is("AT") || self.is("AS") {
                return self.unknown("EXEC ... AT and AS");
            }
            return Ok(Exec::Text(e));
        }
        let mut status = None;
        if matches!(self.peek(), Tok::Var(_)) {
            let v = self.variable()?;
            if self.take_sym("=") {
                status = Some(v);
            } else {
                let args = self.exec_args()?;
                return Ok(Exec::Variable { status, name: v, args });
            }
        }
        if matches!(self.peek(), Tok::Var(_)) {
            let name = self.variable()?;
            let args = self.exec_args()?;
            return Ok(Exec::Variable { status, name, args });
        }
        if self.is("AS") {
            return self.unknown("EXECUTE AS");
        }
        self.exec_named(status)
    }

    /// `name arguments`, as a batch may begin without EXEC.
    pub(super) fn exec_tail(&mut self) -> Parsed<Exec> {
        self.exec_named(None)
    }

    fn exec_named(&mut self, status: Option<String>) -> Parsed<Exec> {
        let name = self.name()?;
        let args = self.exec_args()?;
        if self.take_all(&["WITH", "RESULT", "SETS"]) {
            return self.unknown("WITH RESULT SETS");
        }
        self.take_all(&["WITH", "RECOMPILE"]);
        Ok(Exec::Procedure { status, name, args })
    }

    fn exec_args(&mut self) -> Parsed<Vec<ExecArg>> {
        let mut out = Vec::new();
        if !self.is_exec_arg() {
            return Ok(out);
        }
        loop {
            let mut name = None;
            if let Tok::Var(v) = self.peek().clone()
                && self.is_sym_at(1, "=")
            {
                self.next();
                self.next();
                name = Some(v);
            }
            // An argument is a constant, a variable, DEFAULT, or a bare word that is a string.
            let value = match self.peek().clone() {
                Tok::Word(w)
                    if w.eq_ignore_ascii_case("NULL") || w.eq_ignore_ascii_case("DEFAULT") =>
                {
                    self.value()?
                }
                Tok::Word(_) | Tok::Quoted(_) => {
                    let parts = self.name()?;
                    Expr::Lit(crate::value::Typed::nvarchar(&parts.join(".")))
                }
                Tok::Var(v) => {
                    self.next();
                    Expr::Var(v)
                }
                Tok::Number(_)
                | Tok::Money(_)
                | Tok::Hex(_)
                | Tok::Str(_)
                | Tok::NStr(_)
                | Tok::Sym("-" | "+") => self.exec_constant()?,
                _ => return Err(self.wrong()),
            };
            let output = self.take("OUTPUT") || self.take("OUT");
            out.push(ExecArg { name, value, output });
            if !self.take_sym(",") {
                return Ok(out);
            }
        }
    }

    fn exec_constant(&mut self) -> Parsed<Expr> {
        let negative = self.take_sym("-");
        if !negative {
            self.take_sym("+");
        }
        let e = match self.next() {
            Tok::Number(n) => crate::value::literal_number(&n)?,
            Tok::Money(n) => crate::value::literal_money(&n)?,
            Tok::Hex(h) => crate::value::Typed::binary(&h),
            Tok::Str(s) => crate::value::Typed::varchar(&s),
            Tok::NStr(s) => crate::value::Typed::nvarchar(&s),
            _ => return Err(self.wrong()),
        };
        Ok(Expr::Lit(if negative { crate::value::negate(&e)? } else { e }))
    }

    fn is_exec_arg(&self) -> bool {
        match self.peek() {
            Tok::Word(_) => {
                (self.is_name() || self.is("NULL") || self.is("DEFAULT")) && !self.is("THROW")
            }
            Tok::Quoted(_)
            | Tok::Var(_)
            | Tok::Number(_)
            | Tok::Money(_)
            | Tok::Hex(_)
            | Tok::Str(_)
            | Tok::NStr(_) => true,
            Tok::Sym(s) => *s == "-" || *s == "+",
            Tok::Eof => false,
        }
    }
}
