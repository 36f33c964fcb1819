//! CAST, CONVERT and assignment to a column: which conversions there are.

mod binary;
mod guid;
mod moment;
mod number;
#[cfg(test)]
mod tests;
mod text;
mod utf8;

pub use guid::guid_to_wire;
pub(super) use moment::{datetime_ticks, local_moment};
pub(super) use number::{int_range, parse_money};

use super::{MAX, SqlError, Ty, Typed, Val};
use binary::to_binary;
use guid::to_guid;
use moment::to_moment;
use number::{to_bit, to_decimal, to_float, to_int, to_money};
use text::to_str;
pub(crate) use utf8::cast_utf8;

/// A truth value for IIF and the like; not a T-SQL conversion.
pub fn to_bool(v: &Val) -> Option<bool> {
    match v {
        Val::Bit(b) => Some(*b),
        Val::Int(i) => Some(*i != 0),
        _ => None,
    }
}

/// TRY_CAST and TRY_CONVERT: a value that does not convert is NULL; a conversion that cannot be is an
/// error.
pub fn try_cast(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    match cast(v, to, style) {
        Ok(v) => Ok(v),
        Err(e) if e.number == 529 || e.number == 50999 => Err(e),
        Err(_) => Ok(Val::Null),
    }
}

/// CAST (without style) and CONVERT.
pub fn cast(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    if v.ty == *to && style.is_none() {
        return Ok(v.val.clone());
    }
    if let Val::Variant(inner) = &v.val
        && *to != Ty::Variant
    {
        return cast(&Typed::new(inner.0, inner.1.clone()), to, style);
    }
    if v.is_null() {
        // NULL without a type counts as int, and converts to everything
        return if v.ty == Ty::Int || allowed(&v.ty, to) {
            Ok(Val::Null)
        } else {
            Err(refused(v, to))
        };
    }
    if !allowed(&v.ty, to) {
        return Err(refused(v, to));
    }
    match to {
        Ty::Bit => to_bit(v),
        Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt => to_int(v, to).map(Val::Int),
        Ty::Real => {
            let f = to_float(v)?;
            let narrow = f as f32;
            if narrow.is_finite() { Ok(Val::Real(narrow)) } else { Err(SqlError::overflow("real")) }
        }
        Ty::Float => to_float(v).map(Val::Float),
        Ty::Decimal(p, s) => to_decimal(v, *p, *s),
        Ty::Money | Ty::SmallMoney => to_money(v, to),
        Ty::Date
        | Ty::Time(_)
        | Ty::DateTime
        | Ty::SmallDateTime
        | Ty::DateTime2(_)
        | Ty::DateTimeOffset(_) => to_moment(v, to, style),
        Ty::Char(_)
        | Ty::VarChar(_)
        | Ty::NChar(_)
        | Ty::NVarChar(_)
        | Ty::Text
        | Ty::NText
        | Ty::Xml => to_str(v, to, style),
        Ty::Image | Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion => to_binary(v, to, style),
        Ty::UniqueIdentifier => to_guid(v),
        Ty::Variant => Ok(Val::Variant(Box::new((v.ty, v.val.clone())))),
        Ty::Udt(_) => match &v.val {
            Val::Bytes(b) => Ok(Val::Bytes(b.clone())),
            _ => Err(SqlError::unknown(format_args!(
                "a conversion of {} to {}",
                v.ty.name(),
                to.name()
            ))),
        },
    }
}

fn refused(v: &Typed, to: &Ty) -> SqlError {
    SqlError::no_conversion(v.ty.message_name(), to.name())
}

/// Whether an explicit conversion exists (Microsoft's conversion chart).
fn allowed(from: &Ty, to: &Ty) -> bool {
    if from == to || *from == Ty::Variant {
        return true;
    }
    let exact_or_float = |t: &Ty| t.is_number();
    match to {
        Ty::Variant => !from.is_large() && !matches!(from, Ty::Udt(_)),
        Ty::UniqueIdentifier => {
            matches!(from, Ty::Binary(_) | Ty::VarBinary(_))
                || (from.is_text() && !matches!(from, Ty::Text | Ty::NText))
        }
        Ty::Xml => from.is_text() || matches!(from, Ty::Binary(_) | Ty::VarBinary(_) | Ty::Xml),
        Ty::Text => from.is_text(),
        Ty::NText => from.is_text() || *from == Ty::Xml,
        Ty::Image => from.is_binary() || matches!(from, Ty::Char(_) | Ty::VarChar(_)),
        Ty::Udt(_) => {
            matches!(from, Ty::Udt(_)) || matches!(from, Ty::Binary(_) | Ty::VarBinary(_))
        }
        t if t.is_text() => !matches!(from, Ty::Image),
        t if t.is_binary() => !matches!(from, Ty::Text | Ty::NText),
        Ty::Date | Ty::Time(_) | Ty::DateTime2(_) | Ty::DateTimeOffset(_) => {
            (from.is_text() && !matches!(from, Ty::Text | Ty::NText))
                || matches!(from, Ty::Binary(_) | Ty::VarBinary(_))
                || (from.is_date()
                    && !matches!((from, to), (Ty::Date, Ty::Time(_)) | (Ty::Time(_), Ty::Date)))
        }
        Ty::DateTime | Ty::SmallDateTime => !matches!(
            from,
            Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::UniqueIdentifier | Ty::Udt(_)
        ),
        t if exact_or_float(t) => match from {
            Ty::Date | Ty::Time(_) | Ty::DateTime2(_) | Ty::DateTimeOffset(_) => false,
            Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::UniqueIdentifier | Ty::Udt(_) => false,
            Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion => {
                !matches!(to, Ty::Real | Ty::Float)
            }
            _ => true,
        },
        _ => false,
    }
}

/// Whether the conversion also happens without CAST.
fn implicit(from: &Ty, to: &Ty) -> bool {
    if from == to {
        return true;
    }
    if *from == Ty::Variant {
        return false;
    }
    if from.is_text() && to.is_binary() {
        return false;
    }
    if matches!(from, Ty::DateTime | Ty::SmallDateTime) && to.is_number() {
        return false;
    }
    if (to.is_text() && *from == Ty::Xml) || (from.is_text() && matches!(to, Ty::RowVersion)) {
        return false;
    }
    if matches!(from, Ty::Money | Ty::SmallMoney) && to.is_text() {
        return false;
    }
    if from.is_date() && to.is_binary() {
        return false;
    }
    if matches!(from, Ty::Float | Ty::Real) && to.is_binary() {
        return false;
    }
    allowed(from, to)
}

/// The value as it is stored in a column (`place` = table, column) or a variable (`None`, which cuts
/// texts silently).
pub fn assign(v: &Typed, to: &Ty, place: Option<(&str, &str)>) -> Result<Val, SqlError> {
    if v.is_null() {
        return Ok(Val::Null);
    }
    if !implicit(&v.ty, to) {
        return Err(if allowed(&v.ty, to) {
            SqlError::no_implicit(v.ty.message_name(), to.name())
        } else {
            SqlError::clash(v.ty.message_name(), to.name())
        });
    }
    if let Some((table, column)) = place {
        let too_long = match (&v.val, to) {
            (Val::Str(s), t) if t.is_text() => t.length().is_some_and(|n| {
                n != MAX
                    && s.iter().rposition(|u| *u != 0x20).is_some_and(|last| last >= usize::from(n))
            }),
            (Val::Bytes(b), Ty::Binary(n) | Ty::VarBinary(n)) => {
                *n != MAX && b.len() > usize::from(*n)
            }
            _ => false,
        };
        if too_long {
            let shown = match &v.val {
                Val::Str(s) => String::from_utf16_lossy(
                    &s[..usize::from(to.length().unwrap_or(0)).min(s.len())],
                ),
                _ => String::new(),
            };
            return Err(SqlError::truncated(table, column, &shown));
        }
    }
    cast(v, to, None)
}
