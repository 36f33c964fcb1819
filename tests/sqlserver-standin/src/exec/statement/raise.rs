//! RAISERROR and THROW.

use crate::exec::R;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::sql::ast::Expr;
use crate::value::{SqlError, Typed, Val};

impl SessionState {
    pub(super) fn raise(
        &mut self,
        message: &Expr,
        severity: &Expr,
        state: &Expr,
        args: &[Expr],
        line: u32,
        out: &mut dyn Output,
    ) -> R<()> {
        let first = self.value_of(message)?;
        let mut number = 50000;
        let template = match &first.val {
            Val::Int(n) => {
                number = i32::try_from(*n).unwrap_or(50000);
                format!(
                    "Error {n}, severity {{}}, state {{}} was raised, but no message with that error number was found in sys.messages."
                )
            }
            _ => first.to_string16()?.map(|s| String::from_utf16_lossy(&s)).unwrap_or_default(),
        };
        let severity = self.value_of(severity)?.to_i64()?.unwrap_or(0).clamp(0, 25);
        let state = self.value_of(state)?.to_i64()?.unwrap_or(1).clamp(0, 255);
        let mut values = Vec::with_capacity(args.len());
        for a in args {
            values.push(self.value_of(a)?);
        }
        let text = print_format(&template, &values)?;
        let error = SqlError {
            number,
            class: u8::try_from(severity).unwrap_or(16),
            state: u8::try_from(state).unwrap_or(1),
            message: text,
            line,
        };
        if error.class <= 10 {
            out.message(&SqlError {
                number: if error.class == 0 { number } else { error.number },
                ..error
            });
            return Ok(());
        }
        if self.tries > 0 {
            return Err(error);
        }
        self.last_error = error.number;
        out.message(&error);
        out.done(None);
        Ok(())
    }
}

/// The % places of RAISERROR.
pub(super) fn print_format(template: &str, args: &[Typed]) -> R<String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(n) = chars.peek() {
            if n.is_ascii_digit() || matches!(n, '-' | '+' | '.' | '#' | '*' | 'l' | 'h' | 'I') {
                spec.push(*n);
                chars.next();
            } else {
                break;
            }
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(kind @ ('d' | 'i' | 's' | 'u' | 'x' | 'X' | 'o')) => {
                let text = match args.next() {
                    Some(a) if matches!(kind, 'x' | 'X') => {
                        format!("{:x}", a.to_i64()?.unwrap_or(0))
                    }
                    Some(a) => a
                        .to_string16()?
                        .map_or_else(|| "(null)".to_owned(), |s| String::from_utf16_lossy(&s)),
                    None => "(null)".to_owned(),
                };
                out.push_str(&text);
            }
            Some(other) => {
                out.push('%');
                out.push_str(&spec);
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    Ok(out)
}
