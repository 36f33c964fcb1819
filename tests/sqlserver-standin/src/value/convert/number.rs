//! Conversion to numbers.

use std::ops::RangeInclusive;

use super::refused;
use super::text::{shown, text_of};
use crate::value::decimal::{self, parse_digits, rescale};
use crate::value::{SqlError, Ty, Typed, Val};

/// The values an integer type holds.
pub(in crate::value) fn int_range(ty: &Ty) -> Option<RangeInclusive<i64>> {
    Some(match ty {
        Ty::TinyInt => 0..=255,
        Ty::SmallInt => i16::MIN.into()..=i16::MAX.into(),
        Ty::Int => i32::MIN.into()..=i32::MAX.into(),
        Ty::BigInt => i64::MIN..=i64::MAX,
        _ => return None,
    })
}

pub(super) fn to_bit(v: &Typed) -> Result<Val, SqlError> {
    Ok(Val::Bit(match &v.val {
        Val::Bit(b) => *b,
        Val::Int(i) | Val::Money(i) => *i != 0,
        Val::Real(f) => *f != 0.0,
        Val::Float(f) => *f != 0.0,
        Val::Dec(n) => *n != 0,
        Val::Bytes(b) => b.iter().any(|b| *b != 0),
        Val::DateTime(d, t) => *d != 0 || *t != 0,
        Val::Str(_) => {
            let s = text_of(v).unwrap_or_default();
            match s.trim().to_ascii_lowercase().as_str() {
                "true" => true,
                "false" | "" => false,
                t if t.trim_start_matches(['-', '+']).bytes().all(|b| b.is_ascii_digit()) => {
                    t.bytes().any(|b| (b'1'..=b'9').contains(&b))
                }
                _ => return Err(SqlError::conversion(v.ty.name(), shown(&s), "bit")),
            }
        }
        _ => return Err(refused(v, &Ty::Bit)),
    }))
}

pub(super) fn to_int(v: &Typed, to: &Ty) -> Result<i64, SqlError> {
    let overflow = || SqlError::overflow(to.name());
    let wide: i128 = match &v.val {
        Val::Bit(b) => i128::from(*b),
        Val::Int(i) => {
            if int_range(to).is_some_and(|r| r.contains(i)) {
                return Ok(*i);
            }
            return Err(match to {
                Ty::TinyInt | Ty::SmallInt => {
                    SqlError::overflow_value(v.ty.name(), &i.to_string(), to.name())
                }
                _ => overflow(),
            });
        }
        Val::Real(f) => float_to_whole(f64::from(*f), to)?,
        Val::Float(f) => float_to_whole(*f, to)?,
        Val::Dec(n) => n / decimal::pow10(v.ty.scale()),
        // money rounds, decimal does not
        Val::Money(m) => rescale((*m).into(), 4, 0).ok_or_else(overflow)?,
        Val::Bytes(b) => {
            let width = usize::try_from(to.max_length()).unwrap_or(8);
            let tail = &b[b.len().saturating_sub(width)..];
            let n = tail.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
            let signed = match to {
                Ty::TinyInt => n as i64,
                Ty::SmallInt => i64::from(n as u16 as i16),
                Ty::Int => i64::from(n as u32 as i32),
                _ => n as i64,
            };
            return Ok(signed);
        }
        Val::DateTime(d, t) => i128::from(*d) + i128::from(*t >= 12_960_000),
        Val::SmallDateTime(d, m) => i128::from(*d) + i128::from(*m >= 720),
        Val::Str(_) => return text_to_int(v, to),
        _ => return Err(refused(v, to)),
    };
    match i64::try_from(wide) {
        Ok(i) if int_range(to).is_some_and(|r| r.contains(&i)) => Ok(i),
        _ => Err(match v.val {
            Val::Dec(_) => SqlError::overflow_from("numeric", to.name()),
            _ => overflow(),
        }),
    }
}

fn float_to_whole(f: f64, to: &Ty) -> Result<i128, SqlError> {
    if !f.is_finite() || f.abs() >= 1e19 {
        let m = format!("Arithmetic overflow error for type {}, value = {f:.6}.", to.name());
        return Err(SqlError::new(232, m).state(3));
    }
    Ok(f.trunc() as i128)
}

fn text_to_int(v: &Typed, to: &Ty) -> Result<i64, SqlError> {
    let s = text_of(v).unwrap_or_default();
    let t = s.trim();
    if t.is_empty() {
        return Ok(0);
    }
    let digits = t.strip_prefix(['-', '+']).unwrap_or(t).trim_start();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(if *to == Ty::BigInt {
            SqlError::varchar_to_numeric(v.ty.name(), "bigint")
        } else {
            SqlError::conversion(v.ty.name(), shown(&s), to.name())
        });
    }
    let magnitude = digits.parse::<i128>().ok();
    let n = magnitude.map(|m| if t.starts_with('-') { -m } else { m });
    match n.and_then(|n| i64::try_from(n).ok()) {
        Some(i) if int_range(to).is_some_and(|r| r.contains(&i)) => Ok(i),
        _ => Err(match to {
            Ty::TinyInt | Ty::SmallInt => {
                let kind = if *to == Ty::TinyInt { "INT1" } else { "INT2" };
                let m = format!(
                    "The conversion of the {} value '{}' overflowed an {kind} column. Use a larger integer column.",
                    v.ty.name(),
                    shown(&s)
                );
                SqlError::new(244, m)
            }
            Ty::Int => SqlError::new(
                248,
                format!(
                    "The conversion of the {} value '{}' overflowed an int column.",
                    v.ty.name(),
                    shown(&s)
                ),
            ),
            _ => SqlError::overflow(to.name()),
        }),
    }
}

pub(super) fn to_float(v: &Typed) -> Result<f64, SqlError> {
    Ok(match &v.val {
        Val::Bit(b) => f64::from(u8::from(*b)),
        Val::Int(i) => *i as f64,
        Val::Real(f) => f64::from(*f),
        Val::Float(f) => *f,
        // through the text: the nearest float of the exact number
        Val::Dec(n) => crate::value::text::decimal_text(*n, v.ty.scale()).parse().unwrap_or(0.0),
        Val::Money(m) => crate::value::text::decimal_text((*m).into(), 4).parse().unwrap_or(0.0),
        Val::DateTime(d, t) => f64::from(*d) + f64::from(*t) / 25_920_000.0,
        Val::SmallDateTime(d, m) => f64::from(*d) + f64::from(*m) / 1440.0,
        Val::Str(_) => {
            let s = text_of(v).unwrap_or_default();
            let t = s.trim();
            let plain = t
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
            if t.is_empty() {
                return Ok(0.0);
            }
            match t.parse::<f64>() {
                Ok(f) if plain && f.is_finite() => f,
                Ok(_) if plain => return Err(SqlError::overflow("float")),
                _ => return Err(SqlError::varchar_to_numeric(v.ty.name(), "float")),
            }
        }
        _ => return Err(refused(v, &Ty::Float)),
    })
}

pub(super) fn to_decimal(v: &Typed, p: u8, s: u8) -> Result<Val, SqlError> {
    let overflow = || SqlError::overflow_from(v.ty.message_name(), "numeric");
    let n = match &v.val {
        Val::Bit(b) => rescale(i128::from(*b), 0, s),
        Val::Int(i) => rescale((*i).into(), 0, s),
        Val::Dec(n) => rescale(*n, v.ty.scale(), s),
        Val::Money(m) => rescale((*m).into(), 4, s),
        Val::Real(f) => float_to_decimal(f64::from(*f), s),
        Val::Float(f) => float_to_decimal(*f, s),
        Val::DateTime(..) | Val::SmallDateTime(..) => float_to_decimal(to_float(v)?, s),
        Val::Bytes(b) => {
            let [_, from, _, sign, rest @ ..] = &b[..] else { return Err(overflow()) };
            let n = rest.iter().rev().take(16).fold(0i128, |n, b| (n << 8) | i128::from(*b));
            rescale(if *sign == 0 { -n } else { n }, *from, s)
        }
        Val::Str(_) => {
            let text = text_of(v).unwrap_or_default();
            let (n, _, from) = parse_digits(text.trim())
                .ok_or_else(|| SqlError::varchar_to_numeric(v.ty.name(), "numeric"))?;
            rescale(n, from, s)
        }
        _ => return Err(refused(v, &Ty::Decimal(p, s))),
    };
    match n {
        Some(n) if decimal::fits(n, p) => Ok(Val::Dec(n)),
        _ => Err(overflow()),
    }
}

fn float_to_decimal(f: f64, scale: u8) -> Option<i128> {
    if !f.is_finite() || f.abs() >= 1e38 {
        return None;
    }
    // one digit more than asked, then half away from zero as SQL Server rounds
    let text = format!("{f:.*}", usize::from(scale) + 1);
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |t| (-1, t));
    let (whole, part) = digits.split_once('.')?;
    let (keep, last) = part.split_at(part.len() - 1);
    let mut n: i128 = format!("{whole}{keep}").parse().ok()?;
    if last.as_bytes().first()? >= &b'5' {
        n += 1;
    }
    Some(sign * n)
}

/// A money text: blanks, a sign, a currency sign and commas.
pub(in crate::value) fn parse_money(text: &str) -> Result<Val, SqlError> {
    let syntax = || {
        SqlError::new(
            235,
            "Cannot convert a char value to money. The char value has incorrect syntax.",
        )
    };
    let t = text.trim();
    if t.is_empty() {
        return Ok(Val::Money(0));
    }
    let plain: String = t.chars().filter(|c| !matches!(c, ',' | '$' | '£' | '€' | '¥')).collect();
    let (n, _, scale) = parse_digits(plain.trim()).ok_or_else(syntax)?;
    let n = rescale(n, scale, 4).and_then(|n| i64::try_from(n).ok());
    n.map(Val::Money).ok_or_else(|| SqlError::overflow("money"))
}

pub(super) fn to_money(v: &Typed, to: &Ty) -> Result<Val, SqlError> {
    let n: Option<i128> = match &v.val {
        Val::Money(m) => Some((*m).into()),
        Val::Str(_) => match parse_money(&text_of(v).unwrap_or_default())? {
            Val::Money(m) => Some(m.into()),
            _ => None,
        },
        Val::Bytes(_) => {
            Some(to_int(v, if *to == Ty::Money { &Ty::BigInt } else { &Ty::Int })?.into())
        }
        _ => match to_decimal(v, 38, 4)? {
            Val::Dec(n) => Some(n),
            _ => None,
        },
    };
    let range =
        if *to == Ty::Money { i64::MIN..=i64::MAX } else { i32::MIN.into()..=i32::MAX.into() };
    match n.and_then(|n| i64::try_from(n).ok()) {
        Some(n) if range.contains(&n) => Ok(Val::Money(n)),
        _ => Err(SqlError::overflow(to.name())),
    }
}
