//! Expressions and conditions.

use super::ast::{Call, Cmp, Edge, Expr, Frame, OrderItem, Over};
use super::depth::{Links, balanced};
use super::lexer::Tok;
use super::parser::{Parsed, Parser, is_reserved};
use crate::value::{Op, SqlError, Typed, literal_money, literal_number};

impl Parser<'_> {
    /// A value.
    pub(super) fn value(&mut self) -> Parsed<Expr> {
        let line = self.line();
        let e = self.or()?;
        if e.is_condition() {
            return Err(self.wrong().at_line(line));
        }
        Ok(e)
    }

    /// A condition.
    pub(super) fn condition(&mut self) -> Parsed<Expr> {
        let e = self.or()?;
        self.must_be_condition(e)
    }

    fn must_be_condition(&self, e: Expr) -> Parsed<Expr> {
        if e.is_condition() {
            return Ok(e);
        }
        let near = match self.peek() {
            Tok::Eof => self.text(self.to().saturating_sub(1), self.to()).to_owned(),
            _ => self.text(self.from(), self.token().to).to_owned(),
        };
        let m = format!(
            "An expression of non-boolean type specified in a context where a condition is expected, near '{near}'."
        );
        Err(SqlError::new(4145, m).class(15).at_line(self.line()))
    }

    fn must_be_value(&self, e: Expr) -> Parsed<Expr> {
        if e.is_condition() { Err(self.wrong()) } else { Ok(e) }
    }

    fn or(&mut self) -> Parsed<Expr> {
        self.deeper(|p| p.terms("OR", Self::and, Expr::Or))
    }

    fn and(&mut self) -> Parsed<Expr> {
        self.terms("AND", Self::not, Expr::And)
    }

    /// One term, or conditions with a word between them.
    fn terms(
        &mut self,
        word: &str,
        one: fn(&mut Self) -> Parsed<Expr>,
        join: fn(Box<Expr>, Box<Expr>) -> Expr,
    ) -> Parsed<Expr> {
        let first = one(self)?;
        if !self.is(word) {
            return Ok(first);
        }
        let mut terms = vec![self.must_be_condition(first)?];
        while self.take(word) {
            let next = one(self)?;
            terms.push(self.must_be_condition(next)?);
        }
        balanced(terms, join).ok_or_else(|| self.wrong())
    }

    fn not(&mut self) -> Parsed<Expr> {
        if self.take("NOT") {
            let e = self.deeper(Self::not)?;
            let e = self.must_be_condition(e)?;
            return Ok(Expr::Not(Box::new(e)));
        }
        self.predicate()
    }

    fn comparison(&mut self) -> Option<Cmp> {
        let Tok::Sym(s) = self.peek() else { return None };
        let op = match *s {
            "=" => Cmp::Eq,
            "<>" | "!=" => Cmp::Ne,
            "<" => Cmp::Lt,
            "<=" | "!>" => Cmp::Le,
            ">" => Cmp::Gt,
            ">=" | "!<" => Cmp::Ge,
            _ => return None,
        };
        self.next();
        Some(op)
    }

    fn predicate(&mut self) -> Parsed<Expr> {
        if self.is("EXISTS") && self.is_sym_at(1, "(") {
            self.next();
            self.need_sym("(")?;
            let q = self.query()?;
            self.need_sym(")")?;
            return Ok(Expr::Exists(Box::new(q)));
        }
        let left = self.sum()?;
        if left.is_condition() {
            return Ok(left);
        }
        if let Some(op) = self.comparison() {
            if self.is_any(&["ALL", "ANY", "SOME"]) {
                let all = self.is("ALL");
                self.next();
                self.need_sym("(")?;
                let query = Box::new(self.query()?);
                self.need_sym(")")?;
                return Ok(Expr::Quantified { op, all, left: Box::new(left), query });
            }
            let right = self.sum()?;
            let right = self.must_be_value(right)?;
            return Ok(Expr::Compare(op, Box::new(left), Box::new(right)));
        }
        if self.take("IS") {
            let not = self.take("NOT");
            if self.take("NULL") {
                return Ok(Expr::IsNull(Box::new(left), not));
            }
            self.need("DISTINCT")?;
            self.need("FROM")?;
            let right = self.sum()?;
            return Ok(Expr::Distinct(Box::new(left), Box::new(right), not));
        }
        let at = self.position();
        let not = self.take("NOT");
        if self.take("BETWEEN") {
            let low = Box::new(self.sum()?);
            self.need("AND")?;
            let high = Box::new(self.sum()?);
            return Ok(Expr::Between { value: Box::new(left), low, high, not });
        }
        if self.take("IN") {
            self.need_sym("(")?;
            if self.is_any(&["SELECT", "WITH"]) || self.nested_query() {
                let query = Box::new(self.query()?);
                self.need_sym(")")?;
                return Ok(Expr::InQuery { value: Box::new(left), query, not });
            }
            let list = self.value_list()?;
            self.need_sym(")")?;
            return Ok(Expr::In { value: Box::new(left), list, not });
        }
        if self.take("LIKE") {
            let pattern = Box::new(self.sum()?);
            let escape = if self.take("ESCAPE") { Some(Box::new(self.sum()?)) } else { None };
            return Ok(Expr::Like { value: Box::new(left), pattern, escape, not });
        }
        self.back_to(at);
        Ok(left)
    }

    /// Whether `((SELECT` and the like come.
    pub(super) fn nested_query(&self) -> bool {
        let mut ahead = 0;
        while self.is_sym_at(ahead, "(") {
            ahead += 1;
        }
        ahead > 0 && self.is_at(ahead, "SELECT")
    }

    pub(super) fn value_list(&mut self) -> Parsed<Vec<Expr>> {
        let mut out = vec![self.value()?];
        while self.take_sym(",") {
            out.push(self.value()?);
        }
        Ok(out)
    }

    fn sum(&mut self) -> Parsed<Expr> {
        self.chain(Self::sum_of)
    }

    fn sum_of(&mut self, links: &mut Links) -> Parsed<Expr> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Tok::Sym("+") => Op::Add,
                Tok::Sym("-") => Op::Sub,
                Tok::Sym("&") => Op::BitAnd,
                Tok::Sym("|") => Op::BitOr,
                Tok::Sym("^") => Op::BitXor,
                _ => return Ok(left),
            };
            left = self.must_be_value(left)?;
            self.next();
            self.link(links)?;
            let right = self.product()?;
            let right = self.must_be_value(right)?;
            left = Expr::Arith(op, Box::new(left), Box::new(right));
        }
    }

    fn product(&mut self) -> Parsed<Expr> {
        self.chain(Self::product_of)
    }

    fn product_of(&mut self, links: &mut Links) -> Parsed<Expr> {
        let mut left = self.unary()?;
        loop {
            let op = match self.peek() {
                Tok::Sym("*") => Op::Mul,
                Tok::Sym("/") => Op::Div,
                Tok::Sym("%") => Op::Mod,
                _ => return Ok(left),
            };
            left = self.must_be_value(left)?;
            self.next();
            self.link(links)?;
            let right = self.unary()?;
            let right = self.must_be_value(right)?;
            left = Expr::Arith(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        if self.take_sym("-") {
            // A negative literal is a literal, so that -9223372036854775808 is a bigint... as far as SQL Server lets it.
            let e = self.deeper(Self::unary)?;
            let e = self.must_be_value(e)?;
            return Ok(match e {
                Expr::Lit(t) if !t.is_null() => match crate::value::negate(&t) {
                    Ok(n) => Expr::Lit(n),
                    Err(_) => Expr::Negate(Box::new(Expr::Lit(t))),
                },
                e => Expr::Negate(Box::new(e)),
            });
        }
        if self.take_sym("+") {
            let e = self.deeper(Self::unary)?;
            return self.must_be_value(e);
        }
        if self.take_sym("~") {
            let e = self.deeper(Self::unary)?;
            return Ok(Expr::BitNot(Box::new(self.must_be_value(e)?)));
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        self.chain(Self::postfix_of)
    }

    fn postfix_of(&mut self, links: &mut Links) -> Parsed<Expr> {
        let mut e = self.primary()?;
        loop {
            if !(self.is("COLLATE") || self.is("AT")) {
                return Ok(e);
            }
            self.link(links)?;
            if self.is("COLLATE") && !e.is_condition() {
                self.next();
                e = Expr::Collate(Box::new(e), self.collation()?);
            } else if self.is("AT") && self.is_at(1, "TIME") && self.is_at(2, "ZONE") {
                self.take_all(&["AT", "TIME", "ZONE"]);
                let zone = self.primary()?;
                e = Expr::AtTimeZone(Box::new(e), Box::new(zone));
            } else {
                return Ok(e);
            }
        }
    }

    pub(super) fn collation(&mut self) -> Parsed<String> {
        if self.take("DATABASE_DEFAULT") || self.take("CATALOG_DEFAULT") {
            return Ok("DATABASE_DEFAULT".to_owned());
        }
        let name = self.ident()?;
        if !name.to_ascii_uppercase().contains('_') {
            let m = format!("Invalid collation '{name}'.");
            return Err(SqlError::new(448, m).at_line(self.line()));
        }
        Ok(name)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let line = self.line();
        let literal = match self.peek() {
            Tok::Number(n) => Some(literal_number(n)),
            Tok::Money(m) => Some(literal_money(m)),
            Tok::Hex(h) => Some(Ok(Typed::binary(h))),
            Tok::Str(s) => Some(Ok(Typed::varchar(s))),
            Tok::NStr(s) => Some(Ok(Typed::nvarchar(s))),
            _ => None,
        };
        if let Some(literal) = literal {
            self.next();
            return literal.map(Expr::Lit).map_err(|e| e.at_line(line));
        }
        match self.peek().clone() {
            Tok::Var(v) => {
                self.next();
                // @x.method() does not exist here; SQL Server's CLR types have it.
                if self.is_sym(".") {
                    return self.unknown("a method of a variable");
                }
                Ok(Expr::Var(v))
            }
            Tok::Sym("(") => {
                if self.nested_query() || (self.is_at(1, "WITH")) {
                    let at = self.position();
                    self.next();
                    // ((SELECT 1) + 2) is a value that begins with a subquery; try the query first.
                    if let Ok(q) = self.query()
                        && self.take_sym(")")
                    {
                        return Ok(Expr::Subquery(Box::new(q)));
                    }
                    self.back_to(at);
                    self.next();
                    if self.is("SELECT") {
                        let q = self.query()?;
                        self.need_sym(")")?;
                        return Ok(Expr::Subquery(Box::new(q)));
                    }
                    self.back_to(at);
                }
                self.next();
                let e = self.or()?;
                if self.is_sym(",") {
                    // A row value, which SQL Server does not have.
                    return self.must_be_condition(e);
                }
                self.need_sym(")")?;
                Ok(e)
            }
            Tok::Word(w) => self.word(&w),
            Tok::Quoted(_) => self.named(),
            _ => Err(self.wrong()),
        }
    }

    fn word(&mut self, w: &str) -> Parsed<Expr> {
        let upper = w.to_ascii_uppercase();
        let called = self.is_sym_at(1, "(");
        match upper.as_str() {
            "NULL" => {
                self.next();
                Ok(Expr::Lit(Typed::null(crate::value::Ty::Int)))
            }
            "CASE" => self.case(),
            "DEFAULT" => {
                self.next();
                Ok(Expr::Default)
            }
            "CAST" | "TRY_CAST" if called => {
                self.next();
                self.need_sym("(")?;
                let value = Box::new(self.value()?);
                self.need("AS")?;
                let ty = self.type_name()?;
                self.need_sym(")")?;
                Ok(Expr::Cast { value, ty, style: None, tries: upper.starts_with("TRY") })
            }
            "PARSE" | "TRY_PARSE" if called => {
                self.next();
                self.need_sym("(")?;
                let value = Box::new(self.value()?);
                self.need("AS")?;
                let ty = self.type_name()?;
                if self.take("USING") {
                    let at = self.position();
                    if !self.string()?.eq_ignore_ascii_case("en-us") {
                        self.back_to(at);
                        return self.unknown("PARSE with a culture other than en-US");
                    }
                }
                self.need_sym(")")?;
                // Numbers, dates and times only; a text is what it takes.
                const TARGETS: [&str; 17] = [
                    "bigint",
                    "int",
                    "smallint",
                    "tinyint",
                    "decimal",
                    "numeric",
                    "float",
                    "real",
                    "smallmoney",
                    "money",
                    "date",
                    "time",
                    "datetime",
                    "smalldatetime",
                    "datetime2",
                    "datetimeoffset",
                    "dec",
                ];
                if !TARGETS.iter().any(|t| ty.base.eq_ignore_ascii_case(t)) {
                    return self.unknown(&format!("PARSE to {}", ty.text));
                }
                Ok(Expr::Cast { value, ty, style: None, tries: upper.starts_with("TRY") })
            }
            "CONVERT" | "TRY_CONVERT" if called => {
                self.next();
                self.need_sym("(")?;
                let ty = self.type_name()?;
                self.need_sym(",")?;
                let value = Box::new(self.value()?);
                let style = if self.take_sym(",") { Some(Box::new(self.value()?)) } else { None };
                self.need_sym(")")?;
                Ok(Expr::Cast { value, ty, style, tries: upper.starts_with("TRY") })
            }
            "IIF" if called => {
                self.next();
                self.need_sym("(")?;
                let when = self.condition()?;
                self.need_sym(",")?;
                let then = self.value()?;
                self.need_sym(",")?;
                let otherwise = self.value()?;
                self.need_sym(")")?;
                Ok(Expr::Case {
                    operand: None,
                    whens: vec![(when, then)],
                    otherwise: Some(Box::new(otherwise)),
                })
            }
            "CURRENT_TIMESTAMP" | "CURRENT_USER" | "SESSION_USER" | "SYSTEM_USER" | "USER" => {
                self.next();
                Ok(Expr::Call(Box::new(plain_call(vec![upper]))))
            }
            "COALESCE" | "NULLIF" | "LEFT" | "RIGHT" if called => {
                self.next();
                self.call(vec![upper])
            }
            "IDENTITY" if called => self.unknown("the IDENTITY function"),
            "NEXT" if self.is_at(1, "VALUE") => self.unknown("NEXT VALUE FOR"),
            _ if is_reserved(w) => Err(self.wrong()),
            _ => self.named(),
        }
    }

    fn case(&mut self) -> Parsed<Expr> {
        self.need("CASE")?;
        let operand = if self.is("WHEN") { None } else { Some(Box::new(self.value()?)) };
        let mut whens = Vec::new();
        while self.take("WHEN") {
            let when = if operand.is_some() { self.value()? } else { self.condition()? };
            self.need("THEN")?;
            whens.push((when, self.value()?));
        }
        if whens.is_empty() {
            return Err(self.wrong());
        }
        let otherwise = if self.take("ELSE") { Some(Box::new(self.value()?)) } else { None };
        self.need("END")?;
        Ok(Expr::Case { operand, whens, otherwise })
    }

    /// A column or a function call.
    fn named(&mut self) -> Parsed<Expr> {
        let name = self.name()?;
        if self.is_sym("::") {
            return Err(self.wrong());
        }
        if self.is_sym("(") {
            return self.call(name);
        }
        Ok(Expr::Column(name))
    }

    fn call(&mut self, name: Vec<String>) -> Parsed<Expr> {
        self.need_sym("(")?;
        let mut call = plain_call(name);
        let last = call.name.last().map(|n| n.to_ascii_uppercase()).unwrap_or_default();
        if self.take_sym("*") {
            call.star = true;
        } else if !self.is_sym(")") {
            if self.take("DISTINCT") {
                call.distinct = true;
            } else {
                self.take("ALL");
            }
            let date_part = matches!(
                last.as_str(),
                "DATEADD" | "DATEDIFF" | "DATEDIFF_BIG" | "DATEPART" | "DATENAME" | "DATETRUNC"
            );
            if date_part {
                // The first argument is a word, not a value.
                let part = self.ident()?;
                call.args.push(Expr::Lit(Typed::varchar(&part)));
                while self.take_sym(",") {
                    call.args.push(self.value()?);
                }
            } else if last == "TRIM" {
                let first = self.value()?;
                if self.take("FROM") {
                    let text = self.value()?;
                    call.args = vec![text, first];
                } else {
                    call.args.push(first);
                }
            } else {
                call.args = self.value_list()?;
            }
        }
        self.need_sym(")")?;
        if self.is("IGNORE") && self.is_at(1, "NULLS") {
            self.take_all(&["IGNORE", "NULLS"]);
            call.ignore_nulls = true;
        }
        self.take_all(&["RESPECT", "NULLS"]);
        if self.is("WITHIN") && self.is_at(1, "GROUP") {
            self.take_all(&["WITHIN", "GROUP"]);
            self.need_sym("(")?;
            call.within = self.order_by()?;
            self.need_sym(")")?;
        }
        if self.take("OVER") {
            call.over = Some(self.over()?);
        }
        if self.is_sym(".") && self.is_sym_at(2, "(") {
            return self.unknown("a method call on a value");
        }
        Ok(Expr::Call(Box::new(call)))
    }

    fn over(&mut self) -> Parsed<Over> {
        self.need_sym("(")?;
        let mut over = Over::default();
        if self.take("PARTITION") {
            self.need("BY")?;
            over.partition = self.value_list()?;
        }
        if self.is("ORDER") {
            over.order = self.order_by()?;
        }
        if self.is_any(&["ROWS", "RANGE"]) {
            let rows = self.is("ROWS");
            self.next();
            let (from, to) = if self.take("BETWEEN") {
                let from = self.edge()?;
                self.need("AND")?;
                (from, self.edge()?)
            } else {
                (self.edge()?, Edge::Current)
            };
            over.frame = Some(Frame { rows, from, to });
        }
        self.need_sym(")")?;
        Ok(over)
    }

    fn edge(&mut self) -> Parsed<Edge> {
        if self.take_all(&["CURRENT", "ROW"]) {
            return Ok(Edge::Current);
        }
        if self.take("UNBOUNDED") {
            return if self.take("PRECEDING") {
                Ok(Edge::First)
            } else {
                self.need("FOLLOWING")?;
                Ok(Edge::Last)
            };
        }
        let n = u64::try_from(self.integer()?).map_err(|_| self.wrong())?;
        if self.take("PRECEDING") {
            Ok(Edge::Before(n))
        } else {
            self.need("FOLLOWING")?;
            Ok(Edge::After(n))
        }
    }

    /// ORDER BY a, b DESC
    pub(super) fn order_by(&mut self) -> Parsed<Vec<OrderItem>> {
        self.need("ORDER")?;
        self.need("BY")?;
        let mut out = Vec::new();
        loop {
            let expr = self.value()?;
            let descending = if self.take("DESC") {
                true
            } else {
                self.take("ASC");
                false
            };
            out.push(OrderItem { expr, descending });
            if !self.take_sym(",") {
                return Ok(out);
            }
        }
    }
}

fn plain_call(name: Vec<String>) -> Call {
    Call {
        name,
        args: Vec::new(),
        star: false,
        distinct: false,
        over: None,
        within: Vec::new(),
        ignore_nulls: false,
    }
}
