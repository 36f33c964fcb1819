//! The text of a default, check or computed column as the catalogue shows it. SQL Server does not keep what was
//! written: it writes the parsed expression again. Numbers stand in parentheses of their own and show their type
//! (`3147483648` is a decimal, so `(3147483648.)`; `1.5e2` is a float, so `(1.5000000000000000e+002)`), names in
//! brackets, functions in small letters, CAST as CONVERT, operators without blanks.
//!
//! Source: what `sys.default_constraints.definition` shows on real servers, as the comments of scripts and of tests
//! written against them record it; no page of Microsoft's states the rules. An expression of another kind than those
//! here keeps the text it was written with.

use std::fmt::Write as _;

use super::parenthesised;
use crate::sql::ast::{Cmp, Expr, TextExpr, TypeName};
use crate::value::{Op, Ty, Typed, Val};

/// How tightly an operator binds; a weaker one inside a stronger needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bind {
    Or,
    And,
    Not,
    Compare,
    Add,
    Multiply,
    Whole,
}

/// `(text)` of a definition.
pub(super) fn definition(written: &TextExpr) -> String {
    match render(&written.expr) {
        Some((text, _)) => format!("({text})"),
        None => parenthesised(&written.text),
    }
}

fn render(e: &Expr) -> Option<(String, Bind)> {
    let infix = |left: &Expr, op: &str, right: &Expr, bind: Bind| {
        let next = match bind {
            Bind::Add => Bind::Multiply,
            Bind::Multiply => Bind::Whole,
            other => other,
        };
        Some((format!("{}{op}{}", within(left, bind)?, within(right, next)?), bind))
    };
    match e {
        Expr::Lit(value) => Some((literal(value)?, Bind::Whole)),
        Expr::Column(name) => Some((brackets(name), Bind::Whole)),
        Expr::Negate(inner) => Some((format!("-{}", within(inner, Bind::Whole)?), Bind::Add)),
        Expr::Arith(op, left, right) => {
            let bind = match op {
                Op::Mul | Op::Div | Op::Mod => Bind::Multiply,
                Op::Add | Op::Sub | Op::BitAnd | Op::BitOr | Op::BitXor => Bind::Add,
            };
            infix(left, op_sign(*op), right, bind)
        }
        Expr::Compare(op, left, right) => {
            let (left, right) = (within(left, Bind::Add)?, within(right, Bind::Add)?);
            Some((format!("{left}{}{right}", cmp_sign(*op)), Bind::Compare))
        }
        Expr::And(left, right) => infix(left, " AND ", right, Bind::And),
        Expr::Or(left, right) => infix(left, " OR ", right, Bind::Or),
        Expr::Not(inner) => Some((format!("NOT {}", within(inner, Bind::Compare)?), Bind::Not)),
        Expr::IsNull(inner, not) => {
            let not = if *not { " NOT" } else { "" };
            Some((format!("{} IS{not} NULL", within(inner, Bind::Add)?), Bind::Compare))
        }
        Expr::Between { value, low, high, not: false } => {
            // the server keeps two comparisons
            let value = within(value, Bind::Add)?;
            let (low, high) = (within(low, Bind::Add)?, within(high, Bind::Add)?);
            Some((format!("{value}>={low} AND {value}<={high}"), Bind::And))
        }
        Expr::In { value, list, not: false } => {
            // ... and one for each member, the last one first
            let value = within(value, Bind::Add)?;
            let each: Option<Vec<String>> = list
                .iter()
                .rev()
                .map(|member| Some(format!("{value}={}", within(member, Bind::Add)?)))
                .collect();
            Some((each?.join(" OR "), Bind::Or))
        }
        Expr::Cast { value, ty, style, tries } => {
            let name = if *tries { "TRY_CAST" } else { "CONVERT" };
            let inner = within(value, Bind::Or)?;
            let text = match style {
                _ if *tries => return None,
                Some(style) => {
                    format!("{name}({},{inner},{})", type_text(ty), within(style, Bind::Or)?)
                }
                None => format!("{name}({},{inner})", type_text(ty)),
            };
            Some((text, Bind::Whole))
        }
        Expr::Call(call) => {
            let plain =
                !call.star && !call.distinct && call.over.is_none() && call.within.is_empty();
            if !plain {
                return None;
            }
            let args: Option<Vec<String>> = call.args.iter().map(|a| within(a, Bind::Or)).collect();
            let name = match call.name.as_slice() {
                [own] => match own.to_ascii_lowercase().as_str() {
                    "current_timestamp" => "getdate".to_owned(),
                    "current_user" | "user" | "session_user" => "user_name".to_owned(),
                    "system_user" => "suser_sname".to_owned(),
                    // datepart and its kin take a word that is no value
                    "datepart" | "datename" | "dateadd" | "datediff" | "datediff_big" | "trim" => {
                        return None;
                    }
                    other => other.to_owned(),
                },
                longer => brackets(longer),
            };
            Some((format!("{name}({})", args?.join(",")), Bind::Whole))
        }
        _ => None,
    }
}

fn within(e: &Expr, least: Bind) -> Option<String> {
    let (text, bind) = render(e)?;
    Some(if bind < least { format!("({text})") } else { text })
}

fn brackets(name: &[String]) -> String {
    let quoted: Vec<String> =
        name.iter().map(|part| format!("[{}]", part.replace(']', "]]"))).collect();
    quoted.join(".")
}

/// `varchar(10)` is `[varchar](10)`.
fn type_text(ty: &TypeName) -> String {
    let text = ty.text.trim();
    let at = text.find('(').unwrap_or(text.len());
    let (name, rest) = text.split_at(at);
    let rest: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    format!("[{}]{rest}", name.trim().trim_matches(['[', ']']).to_lowercase())
}

fn op_sign(op: Op) -> &'static str {
    match op {
        Op::Add => "+",
        Op::Sub => "-",
        Op::Mul => "*",
        Op::Div => "/",
        Op::Mod => "%",
        Op::BitAnd => "&",
        Op::BitOr => "|",
        Op::BitXor => "^",
    }
}

fn cmp_sign(op: Cmp) -> &'static str {
    match op {
        Cmp::Eq => "=",
        Cmp::Ne => "<>",
        Cmp::Lt => "<",
        Cmp::Le => "<=",
        Cmp::Gt => ">",
        Cmp::Ge => ">=",
    }
}

fn literal(value: &Typed) -> Option<String> {
    Some(match (&value.val, value.ty) {
        (Val::Null, _) => "NULL".to_owned(),
        (Val::Int(n), _) => format!("({n})"),
        (Val::Dec(unscaled), Ty::Decimal(_, scale)) => format!("({})", decimal(*unscaled, scale)),
        (Val::Float(f), _) => format!("({})", float(*f)),
        (Val::Money(m), _) => {
            let sign = if *m < 0 { "-" } else { "" };
            let m = m.unsigned_abs();
            format!("(${sign}{}.{:04})", m / 10_000, m % 10_000)
        }
        (Val::Str(_), ty) => {
            let wide = matches!(ty, Ty::NChar(_) | Ty::NVarChar(_) | Ty::NText);
            let text = value.val.as_str()?.replace('\'', "''");
            format!("{}'{text}'", if wide { "N" } else { "" })
        }
        (Val::Bytes(bytes), _) => {
            let mut text = "0x".to_owned();
            for byte in bytes.iter() {
                write!(text, "{byte:02X}").ok()?;
            }
            text
        }
        _ => return None,
    })
}

/// A decimal without places ends with its point, or it would be read as an integer.
fn decimal(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    let scale = usize::from(scale);
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, places) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{places}")
}

/// Sixteen places, three digits of exponent.
fn float(f: f64) -> String {
    let text = format!("{f:.16e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:03}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, condition: bool) -> String {
        let expr = crate::sql::parse_expression(text, condition).unwrap();
        definition(&TextExpr { expr, text: text.to_owned() })
    }

    #[test]
    fn definitions_are_written_again_from_what_was_parsed() {
        for (written, expected) in [
            ("1", "((1))"),
            ("(1)", "((1))"),
            ("((1))", "((1))"),
            ("-1", "((-1))"),
            ("3147483648", "((3147483648.))"),
            ("200.1", "((200.1))"),
            (".5", "((0.5))"),
            ("-0.05", "((-0.05))"),
            ("1.2345e2", "((1.2345000000000000e+002))"),
            ("1e-7", "((9.9999999999999995e-008))"),
            ("'it''s'", "('it''s')"),
            ("(N'x')", "(N'x')"),
            ("0x0102aB", "(0x0102AB)"),
            ("NULL", "(NULL)"),
            ("((null))", "(NULL)"),
            ("GETDATE()", "(getdate())"),
            ("CURRENT_TIMESTAMP", "(getdate())"),
            ("CAST(1 AS decimal(10, 2))", "(CONVERT([decimal](10,2),(1)))"),
            ("a + B * (c - 1)", "([a]+[B]*([c]-(1)))"),
            ("a - (b - c)", "([a]-([b]-[c]))"),
            ("DATEADD(day, 1, d)", "(DATEADD(day, 1, d))"),
        ] {
            assert_eq!(shown(written, false), expected, "{written}");
        }
        for (written, expected) in [
            ("a > 0", "([a]>(0))"),
            ("a > 0 AND (b IS NULL OR c <> 'x')", "([a]>(0) AND ([b] IS NULL OR [c]<>'x'))"),
            ("a BETWEEN 1 AND 2", "([a]>=(1) AND [a]<=(2))"),
            ("a IN ('x', 'y')", "([a]='y' OR [a]='x')"),
            ("NOT (a = 1)", "(NOT [a]=(1))"),
            ("a LIKE 'x%'", "(a LIKE 'x%')"),
        ] {
            assert_eq!(shown(written, true), expected, "{written}");
        }
    }

    #[test]
    fn a_definition_means_what_was_written() {
        for written in
            ["a + b * (c - 1)", "a - (b - c)", "(a + b) % 3", "-a + CAST(b AS int)", "-(a + b)"]
        {
            let first = crate::sql::parse_expression(written, false).unwrap();
            let again = crate::sql::parse_expression(&shown(written, false), false).unwrap();
            let text = |e: &Expr| render(e).unwrap().0;
            assert_eq!(text(&first), text(&again), "{written}");
        }
    }
}
