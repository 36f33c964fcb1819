//! CAST, CONVERT and assignment to a column.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::calendar::{
    DAY_1753, DAY_1900, DAY_LAST, Moment, TICKS_PER_DAY, TICKS_PER_MINUTE, TICKS_PER_SECOND,
    parse_moment,
};
use super::decimal::{self, parse_digits, rescale};
use super::text::{cp1252_byte, decode_cp1252, encode_cp1252, to_text};
use super::{MAX, SqlError, Ty, Typed, Val};

/// The values an integer type holds.
pub(super) fn int_range(ty: &Ty) -> Option<RangeInclusive<i64>> {
    Some(match ty {
        Ty::TinyInt => 0..=255,
        Ty::SmallInt => i16::MIN.into()..=i16::MAX.into(),
        Ty::Int => i32::MIN.into()..=i32::MAX.into(),
        Ty::BigInt => i64::MIN..=i64::MAX,
        _ => return None,
    })
}

/// Ticks of 100 ns for 1/300 s units, rounded.
pub(super) fn datetime_ticks(units: u32) -> u64 {
    (u64::from(units) * 200_000 + 3) / 6
}

/// UTC to the local day and time of an offset.
pub(super) fn local_moment(day: i32, ticks: u64, offset: i16) -> (i32, u64) {
    shift(day, ticks, i64::from(offset))
}

/// Moves by minutes.
fn shift(day: i32, ticks: u64, minutes: i64) -> (i32, u64) {
    let per_day = TICKS_PER_DAY as i64;
    let t = ticks as i64 + minutes * TICKS_PER_MINUTE as i64;
    (day + t.div_euclid(per_day) as i32, t.rem_euclid(per_day) as u64)
}

/// Rounds ticks to a scale, half up; the second value is the days carried over.
fn round_ticks(ticks: u64, scale: u8) -> (u64, i32) {
    let unit = 10u64.pow(7 - u32::from(scale.min(7)));
    let rounded = (ticks + unit / 2) / unit * unit;
    if rounded >= TICKS_PER_DAY { (rounded - TICKS_PER_DAY, 1) } else { (rounded, 0) }
}

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

// ------------------------------------------------------------------------------------------- numbers

fn text_of(v: &Typed) -> Option<String> {
    match &v.val {
        Val::Str(s) => Some(String::from_utf16_lossy(s)),
        _ => None,
    }
}

fn shown(s: &str) -> &str {
    s.trim_end_matches(' ')
}

fn to_bit(v: &Typed) -> Result<Val, SqlError> {
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

fn to_int(v: &Typed, to: &Ty) -> Result<i64, SqlError> {
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

fn to_float(v: &Typed) -> Result<f64, SqlError> {
    Ok(match &v.val {
        Val::Bit(b) => f64::from(u8::from(*b)),
        Val::Int(i) => *i as f64,
        Val::Real(f) => f64::from(*f),
        Val::Float(f) => *f,
        // through the text: the nearest float of the exact number
        Val::Dec(n) => super::text::decimal_text(*n, v.ty.scale()).parse().unwrap_or(0.0),
        Val::Money(m) => super::text::decimal_text((*m).into(), 4).parse().unwrap_or(0.0),
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

fn to_decimal(v: &Typed, p: u8, s: u8) -> Result<Val, SqlError> {
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
pub(super) fn parse_money(text: &str) -> Result<Val, SqlError> {
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

fn to_money(v: &Typed, to: &Ty) -> Result<Val, SqlError> {
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

// --------------------------------------------------------------------------------------------- dates

/// Any date type as day, ticks (local) and offset.
fn moment_of(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Moment, SqlError> {
    Ok(match &v.val {
        Val::Date(d) => Moment { day: Some(*d), ticks: None, offset: None },
        Val::Time(t) => Moment { day: None, ticks: Some(*t), offset: None },
        Val::DateTime2(d, t) => Moment { day: Some(*d), ticks: Some(*t), offset: None },
        Val::DateTimeOffset { day, ticks, offset } => {
            let (d, t) = local_moment(*day, *ticks, *offset);
            Moment { day: Some(d), ticks: Some(t), offset: Some(*offset) }
        }
        Val::DateTime(d, t) => {
            // to a scale up to 3 a datetime gives its milliseconds, above that the exact third
            let exact = datetime_ticks(*t);
            let ticks = if matches!(to, Ty::Time(s) | Ty::DateTime2(s) | Ty::DateTimeOffset(s) if *s <= 3)
            {
                (exact + 5000) / 10_000 * 10_000
            } else {
                exact
            };
            Moment { day: Some(d + DAY_1900), ticks: Some(ticks), offset: None }
        }
        Val::SmallDateTime(d, m) => Moment {
            day: Some(i32::from(*d) + DAY_1900),
            ticks: Some(u64::from(*m) * TICKS_PER_MINUTE),
            offset: None,
        },
        Val::Str(_) => {
            let s = text_of(v).unwrap_or_default();
            let m = parse_moment(&s, style)?;
            if matches!(to, Ty::DateTime | Ty::SmallDateTime) {
                // datetime knows neither offsets nor more than three digits
                let digits = s
                    .rsplit_once('.')
                    .map_or(0, |(_, f)| f.bytes().take_while(u8::is_ascii_digit).count());
                if m.offset.is_some_and(|o| o != 0) || (digits > 3 && m.ticks.is_some()) {
                    return Err(SqlError::date_syntax());
                }
            }
            m
        }
        Val::Bytes(b) if matches!(to, Ty::DateTime) => {
            let mut full = [0u8; 8];
            for (to, from) in full.iter_mut().rev().zip(b.iter().rev()) {
                *to = *from;
            }
            let day = i32::from_be_bytes([full[0], full[1], full[2], full[3]]);
            let units = u32::from_be_bytes([full[4], full[5], full[6], full[7]]);
            Moment {
                day: Some(day.saturating_add(DAY_1900)),
                ticks: Some(datetime_ticks(units)),
                offset: None,
            }
        }
        Val::Bytes(_) => {
            return Err(SqlError::unknown(format_args!("a conversion of binary to {}", to.name())));
        }
        _ => {
            // a number is days since 1900
            let f = to_float(v)?;
            let day = f.floor();
            if day.abs() > 4e6 {
                return Err(SqlError::overflow(to.name()));
            }
            let units = ((f - day) * 25_920_000.0).round() as u32;
            let (day, units) = if units >= 25_920_000 { (day + 1.0, 0) } else { (day, units) };
            Moment {
                day: Some(day as i32 + DAY_1900),
                ticks: Some(datetime_ticks(units)),
                offset: None,
            }
        }
    })
}

fn to_moment(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    let m = moment_of(v, to, style)?;
    let day = m.day.unwrap_or(DAY_1900);
    let ticks = m.ticks.unwrap_or(0);
    let from = v.ty.name();
    let range = || SqlError::date_range(from, to.name());
    Ok(match to {
        Ty::Date => Val::Date(day),
        Ty::Time(s) => Val::Time(round_ticks(ticks, *s).0),
        Ty::DateTime2(s) => {
            let (t, carry) = round_ticks(ticks, *s);
            if day + carry > DAY_LAST {
                return Err(range());
            }
            Val::DateTime2(day + carry, t)
        }
        Ty::DateTimeOffset(s) => {
            let (t, carry) = round_ticks(ticks, *s);
            let offset = m.offset.unwrap_or(0);
            let (day, ticks) = shift(day + carry, t, -i64::from(offset));
            if !(0..=DAY_LAST).contains(&day) {
                return Err(range());
            }
            Val::DateTimeOffset { day, ticks, offset }
        }
        Ty::DateTime => {
            let (day, units) = datetime_units(day, ticks);
            if !(DAY_1753..=DAY_LAST).contains(&day) {
                return Err(range());
            }
            Val::DateTime(day - DAY_1900, units)
        }
        Ty::SmallDateTime => {
            // from 29.999 s the next minute
            let minutes = (ticks + TICKS_PER_MINUTE - 299_990_000) / TICKS_PER_MINUTE;
            let (day, minutes) =
                if minutes >= 1440 { (day + 1, minutes - 1440) } else { (day, minutes) };
            match (u16::try_from(day - DAY_1900), u16::try_from(minutes)) {
                (Ok(d), Ok(m)) => Val::SmallDateTime(d, m),
                _ => return Err(range()),
            }
        }
        _ => return Err(refused(v, to)),
    })
}

/// Day and 1/300 s units of a moment, rounded.
pub(super) fn datetime_units(day: i32, ticks: u64) -> (i32, u32) {
    let units = (ticks * 3 + 50_000) / 100_000;
    debug_assert!(units <= 300 * (TICKS_PER_DAY / TICKS_PER_SECOND));
    if units >= 25_920_000 { (day + 1, 0) } else { (day, units as u32) }
}

// --------------------------------------------------------------------------------- texts and binaries

fn to_str(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    let limit = match to.length() {
        Some(MAX) | None => usize::MAX,
        Some(n) => usize::from(n),
    };
    let unicode = to.is_unicode();
    let mut units: Vec<u16> = match &v.val {
        Val::Str(s) => {
            let changes = !unicode && v.ty.is_unicode() && s.iter().any(|u| *u > 0x7F);
            let pads = matches!(to, Ty::Char(_) | Ty::NChar(_)) && s.len() < limit;
            if s.len() <= limit && !changes && !pads {
                return Ok(Val::Str(s.clone()));
            }
            if changes {
                s.iter()
                    .take(limit)
                    .flat_map(|u| decode_cp1252(&[cp1252_byte(*u)]).collect::<Vec<_>>())
                    .collect()
            } else {
                s[..s.len().min(limit)].to_vec()
            }
        }
        Val::Bytes(b) => match style.unwrap_or(0) {
            1 | 2 => {
                let digits = super::text::hex(b);
                let text = if style == Some(1) { format!("0x{digits}") } else { digits };
                if text.len() > limit {
                    return Err(SqlError::truncated_short());
                }
                text.encode_utf16().collect()
            }
            _ if unicode => b
                .chunks(2)
                .map(|c| u16::from_le_bytes([c[0], c.get(1).copied().unwrap_or(0)]))
                .take(limit)
                .collect(),
            _ => decode_cp1252(b).take(limit).collect(),
        },
        _ => {
            let text = to_text(&v.ty, &v.val, style)?;
            if text.len() > limit {
                match &v.val {
                    Val::Int(_) | Val::Bit(_) if !unicode => return Ok(Val::str("*")),
                    Val::Guid(_) => {
                        return Err(SqlError::new(
                            8170,
                            "Insufficient result space to convert uniqueidentifier value to char.",
                        ));
                    }
                    Val::Money(_) => {
                        return Err(SqlError::new(
                            234,
                            "There is insufficient result space to convert a money value to varchar.",
                        ));
                    }
                    Val::Int(_) | Val::Bit(_) | Val::Dec(_) | Val::Real(_) | Val::Float(_) => {
                        let from =
                            if matches!(v.val, Val::Dec(_)) { "numeric" } else { "expression" };
                        return Err(SqlError::overflow_from(from, to.name()));
                    }
                    _ => {}
                }
            }
            text.encode_utf16().take(limit).collect()
        }
    };
    if matches!(to, Ty::Char(_) | Ty::NChar(_)) {
        units.resize(limit, 0x20);
    }
    Ok(Val::Str(units.into()))
}

/// Bytes before they are fitted, and whether they are numbers (padded on the left).
fn raw_bytes(v: &Typed, style: Option<i32>) -> Result<(Vec<u8>, bool), SqlError> {
    Ok(match &v.val {
        Val::Bytes(b) => (b.to_vec(), false),
        Val::Str(s) => match style.unwrap_or(0) {
            0 if v.ty.is_unicode() => (s.iter().flat_map(|u| u.to_le_bytes()).collect(), false),
            0 => {
                let mut out = Vec::with_capacity(s.len());
                encode_cp1252(s, &mut out);
                (out, false)
            }
            style => (parse_hex(&String::from_utf16_lossy(s), style, v.ty.name())?, false),
        },
        Val::Bit(b) => (vec![u8::from(*b)], true),
        Val::Int(i) => {
            let width = usize::try_from(v.ty.max_length()).unwrap_or(8);
            (i.to_be_bytes()[8 - width.min(8)..].to_vec(), true)
        }
        Val::Real(f) => (f.to_be_bytes().to_vec(), true),
        Val::Float(f) => (f.to_be_bytes().to_vec(), true),
        Val::Dec(n) => {
            let (p, s) = v.ty.as_decimal().unwrap_or((38, 0));
            let mut out = vec![p, s, 0, u8::from(*n >= 0)];
            let width = usize::try_from(v.ty.max_length()).unwrap_or(17) - 1;
            out.extend(&n.unsigned_abs().to_le_bytes()[..width]);
            (out, false)
        }
        Val::Money(m) if v.ty == Ty::SmallMoney => ((*m as i32).to_be_bytes().to_vec(), true),
        Val::Money(m) => (m.to_be_bytes().to_vec(), true),
        Val::Guid(g) => (guid_to_wire(g).to_vec(), false),
        Val::DateTime(d, t) => ([d.to_be_bytes(), t.to_be_bytes()].concat(), true),
        Val::SmallDateTime(d, m) => ([d.to_be_bytes(), m.to_be_bytes()].concat(), true),
        Val::Date(d) => (d.to_le_bytes()[..3].to_vec(), false),
        Val::Time(t) => (moment_bytes(v.ty.scale(), *t, None, None), false),
        Val::DateTime2(d, t) => (moment_bytes(v.ty.scale(), *t, Some(*d), None), false),
        Val::DateTimeOffset { day, ticks, offset } => {
            (moment_bytes(v.ty.scale(), *ticks, Some(*day), Some(*offset)), false)
        }
        Val::Null | Val::Variant(_) => (Vec::new(), false),
    })
}

fn moment_bytes(scale: u8, ticks: u64, day: Option<i32>, offset: Option<i16>) -> Vec<u8> {
    let width = match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    };
    let mut out = vec![scale];
    out.extend(&(ticks / 10u64.pow(7 - u32::from(scale))).to_le_bytes()[..width]);
    if let Some(d) = day {
        out.extend(&d.to_le_bytes()[..3]);
    }
    if let Some(o) = offset {
        out.extend(o.to_le_bytes());
    }
    out
}

fn parse_hex(text: &str, style: i32, from: &str) -> Result<Vec<u8>, SqlError> {
    let fail = || SqlError::varchar_to_numeric(from, "varbinary");
    let digits = match style {
        1 => text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).ok_or_else(fail)?,
        2 => text,
        other => {
            return Err(SqlError::new(
                281,
                format!(
                    "{other} is not a valid style number when converting from {from} to varbinary."
                ),
            ));
        }
    };
    let nibble = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if !digits.len().is_multiple_of(2) {
        return Err(fail());
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|c| Some((nibble(c[0])? << 4) | nibble(c[1])?))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(fail)
}

fn to_binary(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    let (mut bytes, number) = raw_bytes(v, style)?;
    let limit = match to {
        Ty::Binary(n) => usize::from(*n),
        Ty::VarBinary(n) if *n != MAX => usize::from(*n),
        Ty::RowVersion => 8,
        _ => usize::MAX,
    };
    if bytes.len() > limit {
        if number {
            bytes.drain(..bytes.len() - limit);
        } else {
            bytes.truncate(limit);
        }
    }
    if matches!(to, Ty::Binary(_) | Ty::RowVersion) && bytes.len() < limit {
        if number {
            let missing = limit - bytes.len();
            bytes.splice(0..0, std::iter::repeat_n(0, missing));
        } else {
            bytes.resize(limit, 0);
        }
    }
    Ok(Val::Bytes(Arc::from(bytes)))
}

/// Text order to the stored (wire) order: the first three groups are little-endian.
pub fn guid_to_wire(g: &[u8; 16]) -> [u8; 16] {
    [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|i: usize| g[i])
}

fn to_guid(v: &Typed) -> Result<Val, SqlError> {
    match &v.val {
        Val::Guid(g) => Ok(Val::Guid(*g)),
        Val::Bytes(b) => {
            let mut full = [0u8; 16];
            for (to, from) in full.iter_mut().zip(b.iter()) {
                *to = *from;
            }
            // the permutation is its own inverse
            Ok(Val::Guid(guid_to_wire(&full)))
        }
        Val::Str(s) => {
            let text = String::from_utf16_lossy(s);
            parse_guid(&text).map(Val::Guid).ok_or_else(SqlError::guid_syntax)
        }
        _ => Err(refused(v, &Ty::UniqueIdentifier)),
    }
}

/// 36 characters, perhaps in braces; what follows is ignored, as SQL Server does.
fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let b = text.as_bytes().get(..36)?;
    let mut out = [0u8; 16];
    let mut at = 0;
    for (i, c) in b.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if *c != b'-' {
                return None;
            }
            continue;
        }
        let d = char::from(*c).to_digit(16)? as u8;
        out[at / 2] = (out[at / 2] << 4) | d;
        at += 1;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(n: i128, p: u8, s: u8) -> Typed {
        Typed::new(Ty::Decimal(p, s), Val::Dec(n))
    }
    fn text(v: &Typed, to: Ty, style: Option<i32>) -> String {
        cast(v, &to, style).unwrap_or_else(|e| panic!("{v:?} to {to:?}: {e}")).as_str().unwrap()
    }
    fn moment(s: &str, ty: Ty) -> Typed {
        let v =
            cast(&Typed::varchar(s), &ty, None).unwrap_or_else(|e| panic!("{s} as {ty:?}: {e}"));
        Typed::new(ty, v)
    }

    #[test]
    fn numbers() {
        for (from, to, want) in [
            (Typed::varchar(" 12 "), Ty::Int, Val::Int(12)),
            (Typed::varchar(""), Ty::Int, Val::Int(0)),
            (Typed::varchar("-0012"), Ty::BigInt, Val::Int(-12)),
            (dec(-199, 5, 2), Ty::Int, Val::Int(-1)),
            (Typed::new(Ty::Money, Val::Money(15_000)), Ty::Int, Val::Int(2)),
            (Typed::float(-1.9), Ty::Int, Val::Int(-1)),
            (dec(1_005, 5, 3), Ty::Decimal(5, 2), Val::Dec(101)),
            (dec(-1_005, 5, 3), Ty::Decimal(5, 2), Val::Dec(-101)),
            (Typed::float(1.25), Ty::Decimal(5, 1), Val::Dec(13)),
            (
                Typed::varchar("99999999999999999999999999999999999999"),
                Ty::Decimal(38, 0),
                Val::Dec(decimal::LARGEST as i128),
            ),
            (Typed::varchar("$1,234.56789"), Ty::Money, Val::Money(12_345_679)),
            (Typed::varchar("1.5e3"), Ty::Float, Val::Float(1500.0)),
            (Typed::varchar("TRUE"), Ty::Bit, Val::Bit(true)),
            (Typed::int(5), Ty::Bit, Val::Bit(true)),
            (Typed::binary(&[1, 0, 0, 0, 2]), Ty::Int, Val::Int(2)),
            (Typed::binary(&[0xFF, 0xFF]), Ty::SmallInt, Val::Int(-1)),
            (Typed::int(258), Ty::Binary(8), Val::bytes(&[0, 0, 0, 0, 0, 0, 1, 2])),
            (Typed::int(258), Ty::VarBinary(30), Val::bytes(&[0, 0, 1, 2])),
            (Typed::bigint(258), Ty::Binary(1), Val::bytes(&[2])),
            (Typed::float(1.0), Ty::Binary(8), Val::bytes(&[0x3F, 0xF0, 0, 0, 0, 0, 0, 0])),
            (dec(150, 5, 2), Ty::VarBinary(20), Val::bytes(&[5, 2, 0, 1, 0x96, 0, 0, 0])),
        ] {
            assert_eq!(cast(&from, &to, None), Ok(want), "{from:?} to {to:?}");
        }
        for (from, to, number) in [
            (Typed::varchar("a"), Ty::Int, 245),
            (Typed::varchar("1.5"), Ty::Int, 245),
            (Typed::varchar("3000000000"), Ty::Int, 248),
            (Typed::varchar("300"), Ty::TinyInt, 244),
            (Typed::varchar("a"), Ty::BigInt, 8114),
            (Typed::varchar("a"), Ty::Decimal(5, 2), 8114),
            (Typed::varchar("a"), Ty::Money, 235),
            (Typed::int(300), Ty::TinyInt, 220),
            (Typed::bigint(1 << 40), Ty::Int, 8115),
            (dec(1000, 4, 0), Ty::Decimal(3, 0), 8115),
            (Typed::varchar("x"), Ty::UniqueIdentifier, 8169),
            (Typed::null(Ty::DateTime2(7)), Ty::Int, 529),
        ] {
            assert_eq!(cast(&from, &to, None).unwrap_err().number, number, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn dates() {
        for (from, ty, want) in [
            ("2024-02-29 23:59:59.999", Ty::DateTime, "2024-03-01 00:00:00.000"),
            ("2024-02-29 23:59:59.998", Ty::DateTime, "2024-02-29 23:59:59.997"),
            ("2024-02-29 01:02:03.002", Ty::DateTime, "2024-02-29 01:02:03.003"),
            ("2024-02-29 01:02:03.005", Ty::DateTime, "2024-02-29 01:02:03.007"),
            ("2024-02-29 12:00:29.998", Ty::SmallDateTime, "2024-02-29 12:00:00.000"),
            ("2024-02-29 12:00:29.999", Ty::SmallDateTime, "2024-02-29 12:01:00.000"),
            ("2024-02-29 23:59:59.9999999", Ty::DateTime2(7), "2024-02-29 23:59:59.9999999"),
            ("2024-02-29 23:59:59.9999999", Ty::DateTime2(3), "2024-03-01 00:00:00.000"),
            ("2024-02-29 23:59:59.4999999", Ty::DateTime2(0), "2024-02-29 23:59:59"),
            ("2024-02-29 00:30:00 +01:00", Ty::DateTimeOffset(0), "2024-02-29 00:30:00 +01:00"),
            ("0001-01-01", Ty::Date, "0001-01-01"),
            ("9999-12-31 23:59:59.997", Ty::DateTime, "9999-12-31 23:59:59.997"),
            ("23:59:59.9999999", Ty::Time(7), "23:59:59.9999999"),
            ("10:11:12.5", Ty::Time(0), "10:11:13"),
        ] {
            assert_eq!(text(&moment(from, ty), Ty::VarChar(60), Some(121)), want, "{from} {ty:?}");
        }
        let offset = moment("2024-02-29 00:30:00 +01:00", Ty::DateTimeOffset(7));
        let Val::DateTimeOffset { offset: minutes, ticks, .. } = offset.val else { panic!() };
        assert_eq!((minutes, ticks), (60, (23 * 60 + 30) * TICKS_PER_MINUTE));
        assert_eq!(text(&offset, Ty::VarChar(60), Some(127)), "2024-02-28T23:30:00Z");
        let d = moment("2024-02-29 13:02:03.003", Ty::DateTime);
        for (style, want) in [
            (None, "Feb 29 2024  1:02PM"),
            (Some(126), "2024-02-29T13:02:03.003"),
            (Some(112), "20240229"),
            (Some(108), "13:02:03"),
            (Some(114), "13:02:03:003"),
            (Some(101), "02/29/2024"),
            (Some(109), "Feb 29 2024  1:02:03:003PM"),
        ] {
            assert_eq!(text(&d, Ty::VarChar(40), style), want, "{style:?}");
        }
        // a third of a second survives in datetime2(7), not in datetime2(3)
        let exact = Typed::new(Ty::DateTime2(7), cast(&d, &Ty::DateTime2(7), None).unwrap());
        assert_eq!(text(&exact, Ty::VarChar(40), None), "2024-02-29 13:02:03.0033333");
        for (s, ty, number) in [
            ("x", Ty::DateTime, 241),
            ("1752-12-31", Ty::DateTime, 242),
            ("2024-02-29 01:02:03.1234567", Ty::DateTime, 241),
            ("2080-01-01", Ty::SmallDateTime, 242),
        ] {
            assert_eq!(cast(&Typed::varchar(s), &ty, None).unwrap_err().number, number, "{s}");
        }
    }

    #[test]
    fn texts_and_binaries() {
        let guid = cast(
            &Typed::varchar("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            &Ty::UniqueIdentifier,
            None,
        )
        .unwrap();
        let guid = Typed::new(Ty::UniqueIdentifier, guid);
        assert_eq!(text(&guid, Ty::VarChar(36), None), "6F9619FF-8B86-D011-B42D-00C04FC964FF");
        let stored = cast(&guid, &Ty::Binary(16), None).unwrap();
        assert_eq!(stored.as_bytes().unwrap()[..4], [0xFF, 0x19, 0x96, 0x6F]);
        assert_eq!(
            cast(&Typed::new(Ty::Binary(16), stored), &Ty::UniqueIdentifier, None),
            Ok(guid.val)
        );
        let b = Typed::binary(&[0, 0x1A, 0xFF]);
        assert_eq!(text(&b, Ty::VarChar(30), Some(1)), "0x001AFF");
        assert_eq!(text(&b, Ty::VarChar(30), Some(2)), "001AFF");
        assert_eq!(cast(&Typed::varchar("0x001AFF"), &Ty::VarBinary(3), Some(1)), Ok(b.val));
        assert_eq!(
            cast(&Typed::nvarchar("a"), &Ty::VarBinary(5), None),
            Ok(Val::bytes(&[0x61, 0]))
        );
        assert_eq!(text(&Typed::nvarchar("ab"), Ty::Char(4), None), "ab  ");
        assert_eq!(text(&Typed::nvarchar("漢é"), Ty::VarChar(4), None), "?é");
        assert_eq!(text(&Typed::int(1234), Ty::VarChar(2), None), "*");
        assert_eq!(cast(&Typed::int(1234), &Ty::NVarChar(2), None).unwrap_err().number, 8115);
        let lone = Typed::nvarchar16([0xD800, 0x61].into_iter().collect());
        assert_eq!(cast(&lone, &Ty::NVarChar(MAX), None), Ok(lone.val));
    }

    #[test]
    fn columns() {
        let place = Some(("dbo.t", "c"));
        let long = Typed::nvarchar("abcd");
        assert_eq!(assign(&long, &Ty::VarChar(3), place).unwrap_err().number, 2628);
        assert_eq!(assign(&long, &Ty::VarChar(3), None), Ok(Val::str("abc")));
        assert_eq!(assign(&Typed::varchar("abc  "), &Ty::VarChar(3), place), Ok(Val::str("abc")));
        assert_eq!(assign(&Typed::varchar("x"), &Ty::VarBinary(3), place).unwrap_err().number, 257);
        assert_eq!(assign(&Typed::null(Ty::DateTime), &Ty::DateTime, place), Ok(Val::Null));
        assert_eq!(
            assign(&moment("2024-01-01", Ty::DateTime), &Ty::Int, place).unwrap_err().number,
            257
        );
    }
}
