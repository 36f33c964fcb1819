//! Conversion to binaries.

use std::sync::Arc;

use super::guid::guid_to_wire;
use crate::value::text::encode_cp1252;
use crate::value::{MAX, SqlError, Ty, Typed, Val};

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

pub(super) fn to_binary(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
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
