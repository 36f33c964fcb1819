//! EXEC.

use super::ast::{Exec, ExecArg, Expr};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
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
