//! Values on the wire (2.2.5.5 and the ROW token).

use super::cursor::{Cursor, units};
use super::types::{WireType, decimal_length, put_type, time_length};
use super::{COLLATION, ProtocolError};
use crate::value::{MAX, Ty, Typed, Val, decode_cp1252, encode_cp1252, guid_to_wire};

/// Size of the parts a large value is sent in.
const PART: usize = 8000;
/// 100 ns units.
const TICKS_PER_DAY: u64 = 864_000_000_000;
/// 9999-12-31 as days since 0001-01-01.
const LAST_DAY: i32 = 3_652_058;
const PLP_NULL: u64 = u64::MAX;
/// "length not known" of a partially length-prefixed value.
const PLP_UNKNOWN: u64 = u64::MAX - 1;

/// The executor produced a value that its column's type cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch;

fn is_plp(ty: &Ty) -> bool {
    matches!(ty, Ty::NVarChar(MAX) | Ty::VarChar(MAX) | Ty::VarBinary(MAX) | Ty::Xml | Ty::Udt(_))
}

fn is_short(ty: &Ty) -> bool {
    matches!(
        ty,
        Ty::NVarChar(_)
            | Ty::NChar(_)
            | Ty::VarChar(_)
            | Ty::Char(_)
            | Ty::VarBinary(_)
            | Ty::Binary(_)
            | Ty::RowVersion
    )
}

fn put_units(out: &mut Vec<u8>, s: &[u16]) {
    let at = out.len();
    out.resize(at + s.len() * 2, 0);
    for (pair, u) in out[at..].chunks_exact_mut(2).zip(s) {
        pair.copy_from_slice(&u.to_le_bytes());
    }
}

/// Writes a value as a row of a column has it.
pub fn put_value(out: &mut Vec<u8>, ty: &Ty, val: &Val, nullable: bool) -> Result<(), Mismatch> {
    if val.is_null() {
        match ty {
            t if is_plp(t) => out.extend(PLP_NULL.to_le_bytes()),
            t if is_short(t) => out.extend(u16::MAX.to_le_bytes()),
            Ty::Variant => out.extend([0; 4]),
            Ty::Bit
            | Ty::TinyInt
            | Ty::SmallInt
            | Ty::Int
            | Ty::BigInt
            | Ty::Real
            | Ty::Float
            | Ty::Money
            | Ty::SmallMoney
            | Ty::DateTime
            | Ty::SmallDateTime
                if !nullable =>
            {
                return Err(Mismatch);
            }
            _ => out.push(0),
        }
        return Ok(());
    }
    // the length byte of the types that have one only when they are nullable
    let length = |out: &mut Vec<u8>, n: u8| {
        if nullable {
            out.push(n);
        }
    };
    match (ty, val) {
        (Ty::Bit, Val::Bit(b)) => {
            length(out, 1);
            out.push((*b).into());
        }
        (Ty::TinyInt, Val::Int(i)) => {
            length(out, 1);
            out.push(*i as u8);
        }
        (Ty::SmallInt, Val::Int(i)) => {
            length(out, 2);
            out.extend((*i as i16).to_le_bytes());
        }
        (Ty::Int, Val::Int(i)) => {
            length(out, 4);
            out.extend((*i as i32).to_le_bytes());
        }
        (Ty::BigInt, Val::Int(i)) => {
            length(out, 8);
            out.extend(i.to_le_bytes());
        }
        (Ty::Real, Val::Real(f)) => {
            length(out, 4);
            out.extend(f.to_le_bytes());
        }
        (Ty::Float, Val::Float(f)) => {
            length(out, 8);
            out.extend(f.to_le_bytes());
        }
        (Ty::SmallMoney, Val::Money(m)) => {
            length(out, 4);
            out.extend((*m as i32).to_le_bytes());
        }
        (Ty::Money, Val::Money(m)) => {
            length(out, 8);
            out.extend(((m >> 32) as i32).to_le_bytes());
            out.extend((*m as u32).to_le_bytes());
        }
        (Ty::DateTime, Val::DateTime(d, t)) => {
            length(out, 8);
            out.extend(d.to_le_bytes());
            out.extend(t.to_le_bytes());
        }
        (Ty::SmallDateTime, Val::SmallDateTime(d, m)) => {
            length(out, 4);
            out.extend(d.to_le_bytes());
            out.extend(m.to_le_bytes());
        }
        (Ty::Decimal(p, _), Val::Dec(n)) => {
            let width = decimal_length(*p);
            out.push(width);
            out.push((*n >= 0).into());
            out.extend(&n.unsigned_abs().to_le_bytes()[..usize::from(width) - 1]);
        }
        (Ty::UniqueIdentifier, Val::Guid(g)) => {
            out.push(16);
            out.extend(guid_to_wire(g));
        }
        (Ty::Date, Val::Date(d)) => {
            out.push(3);
            out.extend(&d.to_le_bytes()[..3]);
        }
        (Ty::Time(s), Val::Time(t)) => {
            out.push(time_length(*s) as u8);
            put_ticks(out, *s, *t);
        }
        (Ty::DateTime2(s), Val::DateTime2(d, t)) => {
            out.push(time_length(*s) as u8 + 3);
            put_ticks(out, *s, *t);
            out.extend(&d.to_le_bytes()[..3]);
        }
        (Ty::DateTimeOffset(s), Val::DateTimeOffset { day, ticks, offset }) => {
            out.push(time_length(*s) as u8 + 5);
            put_ticks(out, *s, *ticks);
            out.extend(&day.to_le_bytes()[..3]);
            out.extend(offset.to_le_bytes());
        }
        (Ty::NVarChar(MAX) | Ty::Xml, Val::Str(s)) => {
            put_parts(out, s.len() as u64 * 2, s.chunks(PART / 2), put_units);
        }
        (Ty::VarChar(MAX), Val::Str(s)) => {
            put_parts(out, s.len() as u64, s.chunks(PART), |out, part| encode_cp1252(part, out));
        }
        (Ty::VarBinary(MAX) | Ty::Udt(_), Val::Bytes(b)) => {
            put_parts(out, b.len() as u64, b.chunks(PART), |out, part| out.extend_from_slice(part));
        }
        (Ty::NVarChar(n) | Ty::NChar(n), Val::Str(s)) => {
            if s.len() > usize::from(*n) {
                return Err(Mismatch);
            }
            out.extend((s.len() as u16 * 2).to_le_bytes());
            put_units(out, s);
        }
        (Ty::VarChar(n) | Ty::Char(n), Val::Str(s)) => {
            if s.len() > usize::from(*n) {
                return Err(Mismatch);
            }
            out.extend((s.len() as u16).to_le_bytes());
            encode_cp1252(s, out);
        }
        (Ty::VarBinary(n) | Ty::Binary(n), Val::Bytes(b)) => {
            if b.len() > usize::from(*n) {
                return Err(Mismatch);
            }
            out.extend((b.len() as u16).to_le_bytes());
            out.extend_from_slice(b);
        }
        (Ty::RowVersion, Val::Bytes(b)) => {
            if b.len() != 8 {
                return Err(Mismatch);
            }
            out.extend(8u16.to_le_bytes());
            out.extend_from_slice(b);
        }
        (Ty::Text, Val::Str(s)) => {
            put_text_pointer(out, s.len());
            encode_cp1252(s, out);
        }
        (Ty::NText, Val::Str(s)) => {
            put_text_pointer(out, s.len() * 2);
            put_units(out, s);
        }
        (Ty::Image, Val::Bytes(b)) => {
            put_text_pointer(out, b.len());
            out.extend_from_slice(b);
        }
        (Ty::Variant, Val::Variant(inner)) => put_variant(out, &inner.0, &inner.1)?,
        _ => return Err(Mismatch),
    }
    Ok(())
}

fn put_ticks(out: &mut Vec<u8>, scale: u8, ticks: u64) {
    let n = ticks / 10u64.pow(7 - u32::from(scale));
    out.extend(&n.to_le_bytes()[..time_length(scale)]);
}

/// A partially length-prefixed value: whole length, parts, an empty part.
fn put_parts<'a, T: 'a>(
    out: &mut Vec<u8>,
    bytes: u64,
    parts: std::slice::Chunks<'a, T>,
    put: impl Fn(&mut Vec<u8>, &'a [T]),
) {
    out.extend(bytes.to_le_bytes());
    for part in parts {
        let at = out.len();
        out.extend([0; 4]);
        put(out, part);
        let n = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&n.to_le_bytes());
    }
    out.extend([0; 4]);
}

/// The text pointer and timestamp before text, ntext and image; nobody reads them.
fn put_text_pointer(out: &mut Vec<u8>, bytes: usize) {
    out.push(16);
    out.extend([0; 24]);
    out.extend((bytes as u32).to_le_bytes());
}

/// sql_variant: base type, its properties, its value without a length.
fn put_variant(out: &mut Vec<u8>, ty: &Ty, val: &Val) -> Result<(), Mismatch> {
    let at = out.len();
    out.extend([0; 4]);
    let mut info = Vec::new();
    put_type(&mut info, ty, false);
    let properties = match ty {
        Ty::NVarChar(_) | Ty::NChar(_) | Ty::VarChar(_) | Ty::Char(_) => {
            let width = if ty.is_unicode() { 2 } else { 1 };
            let n = ty.length().map_or(0, |n| n.min(8000 / width) * width);
            [&COLLATION[..], &n.to_le_bytes()].concat()
        }
        Ty::VarBinary(n) | Ty::Binary(n) => n.min(&8000).to_le_bytes().to_vec(),
        Ty::Decimal(p, s) => vec![*p, *s],
        Ty::Time(s) | Ty::DateTime2(s) | Ty::DateTimeOffset(s) => vec![*s],
        _ => Vec::new(),
    };
    out.extend([info[0], properties.len() as u8]);
    out.extend(properties);
    let mut raw = Vec::new();
    put_value(&mut raw, ty, val, true)?;
    out.extend_from_slice(&raw[if is_short(ty) { 2 } else { 1 }..]);
    let n = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&n.to_le_bytes());
    Ok(())
}

/// Reads a value of an RPC parameter or a bulk-load row.
pub fn parse_value(c: &mut Cursor<'_>, wire: WireType) -> Result<Val, ProtocolError> {
    let ty = wire.ty;
    let joined: Vec<u8>;
    let data: &[u8] = if is_plp(&ty) {
        match c.u64()? {
            PLP_NULL => return Ok(Val::Null),
            total => {
                let mut all = Vec::new();
                loop {
                    match c.u32()? as usize {
                        0 => break,
                        n => all.extend_from_slice(c.take(n)?),
                    }
                }
                if total != PLP_UNKNOWN && total != all.len() as u64 {
                    return Err(ProtocolError::malformed(
                        "a large value of another length than it says",
                    ));
                }
                joined = all;
                &joined
            }
        }
    } else if is_short(&ty) {
        match c.u16()? {
            u16::MAX => return Ok(Val::Null),
            n => c.take(n.into())?,
        }
    } else {
        match ty {
            Ty::Text | Ty::NText | Ty::Image => match c.u32()? {
                u32::MAX => return Ok(Val::Null),
                n => c.take(n as usize)?,
            },
            Ty::Variant => match c.u32()? {
                0 => return Ok(Val::Null),
                n => return parse_variant(&mut Cursor(c.take(n as usize)?)),
            },
            _ if wire.fixed => c.take(usize::try_from(ty.max_length()).unwrap_or(0))?,
            _ => match c.u8()? {
                0 => return Ok(Val::Null),
                n => c.take(n.into())?,
            },
        }
    };
    decode(&ty, data, wire.utf8)
}

fn parse_variant(c: &mut Cursor<'_>) -> Result<Val, ProtocolError> {
    let (token, count) = (c.u8()?, c.u8()?);
    let mut properties = Cursor(c.take(count.into())?);
    let ty = match token {
        0x24 => Ty::UniqueIdentifier,
        0x28 => Ty::Date,
        0x30 => Ty::TinyInt,
        0x32 => Ty::Bit,
        0x34 => Ty::SmallInt,
        0x38 => Ty::Int,
        0x3A => Ty::SmallDateTime,
        0x3B => Ty::Real,
        0x3C => Ty::Money,
        0x3D => Ty::DateTime,
        0x3E => Ty::Float,
        0x7A => Ty::SmallMoney,
        0x7F => Ty::BigInt,
        0x29 => Ty::Time(properties.u8()?.min(7)),
        0x2A => Ty::DateTime2(properties.u8()?.min(7)),
        0x2B => Ty::DateTimeOffset(properties.u8()?.min(7)),
        0x6A | 0x6C => Ty::Decimal(properties.u8()?.clamp(1, 38), properties.u8()?.min(38)),
        0xA5 => Ty::VarBinary(properties.u16()?.max(1)),
        0xAD => Ty::Binary(properties.u16()?.max(1)),
        0xA7 | 0xAF | 0xE7 | 0xEF => {
            properties.take(5)?;
            let n = properties.u16()?.max(1);
            match token {
                0xA7 => Ty::VarChar(n),
                0xAF => Ty::Char(n),
                0xE7 => Ty::NVarChar((n / 2).max(1)),
                _ => Ty::NChar((n / 2).max(1)),
            }
        }
        other => {
            return Err(ProtocolError::Unsupported(format!("sql_variant of type 0x{other:02X}")));
        }
    };
    let val = decode(&ty, c.0, false)?;
    Ok(Val::Variant(Box::new((ty, val))))
}

fn le(b: &[u8]) -> u64 {
    b.iter().rev().take(8).fold(0, |n, b| (n << 8) | u64::from(*b))
}

fn decode(ty: &Ty, d: &[u8], utf8: bool) -> Result<Val, ProtocolError> {
    let wrong =
        || ProtocolError::malformed(format!("a value of {} bytes for {}", d.len(), ty.declared()));
    let exactly = |n: usize| if d.len() == n { Ok(()) } else { Err(wrong()) };
    let ticks = |b: &[u8], scale: u8| match le(b) * 10u64.pow(7 - u32::from(scale)) {
        t @ 0..TICKS_PER_DAY => Ok(t),
        _ => Err(ProtocolError::malformed("a time of more than a day")),
    };
    let day = |b: &[u8]| match le(b) as i32 {
        d @ 0..=LAST_DAY => Ok(d),
        _ => Err(ProtocolError::malformed("a day after 9999-12-31")),
    };
    Ok(match ty {
        Ty::Bit => {
            exactly(1)?;
            Val::Bit(d[0] != 0)
        }
        Ty::TinyInt => {
            exactly(1)?;
            Val::Int(d[0].into())
        }
        Ty::SmallInt => {
            exactly(2)?;
            Val::Int((le(d) as i16).into())
        }
        Ty::Int => {
            exactly(4)?;
            Val::Int((le(d) as i32).into())
        }
        Ty::BigInt => {
            exactly(8)?;
            Val::Int(le(d) as i64)
        }
        Ty::Real => {
            exactly(4)?;
            Val::Real(f32::from_bits(le(d) as u32))
        }
        Ty::Float => {
            exactly(8)?;
            Val::Float(f64::from_bits(le(d)))
        }
        Ty::Decimal(..) => {
            let (sign, digits) = d.split_first().ok_or_else(wrong)?;
            let n =
                digits.iter().rev().take(16).fold(0u128, |n, b| (n << 8) | u128::from(*b)) as i128;
            Val::Dec(if *sign == 0 { n.wrapping_neg() } else { n })
        }
        Ty::SmallMoney => {
            exactly(4)?;
            Val::Money((le(d) as i32).into())
        }
        Ty::Money => {
            exactly(8)?;
            Val::Money(((le(&d[..4]) << 32) | le(&d[4..])) as i64)
        }
        Ty::UniqueIdentifier => {
            let g: [u8; 16] = d.try_into().map_err(|_| wrong())?;
            Val::Guid(guid_to_wire(&g))
        }
        Ty::Date => {
            exactly(3)?;
            Val::Date(day(d)?)
        }
        Ty::Time(s) => {
            exactly(time_length(*s))?;
            Val::Time(ticks(d, *s)?)
        }
        Ty::DateTime2(s) => {
            let n = time_length(*s);
            exactly(n + 3)?;
            Val::DateTime2(day(&d[n..])?, ticks(&d[..n], *s)?)
        }
        Ty::DateTimeOffset(s) => {
            let n = time_length(*s);
            exactly(n + 5)?;
            Val::DateTimeOffset {
                day: day(&d[n..n + 3])?,
                ticks: ticks(&d[..n], *s)?,
                offset: le(&d[n + 3..]) as i16,
            }
        }
        Ty::DateTime => {
            exactly(8)?;
            Val::DateTime(le(&d[..4]) as i32, le(&d[4..]) as u32)
        }
        Ty::SmallDateTime => {
            exactly(4)?;
            Val::SmallDateTime(le(&d[..2]) as u16, le(&d[2..]) as u16)
        }
        Ty::NVarChar(_) | Ty::NChar(_) | Ty::NText => Val::Str(units(d).into()),
        // XML may come with a byte order mark
        Ty::Xml => Val::Str(units(d.strip_prefix(&[0xFF, 0xFE]).unwrap_or(d)).into()),
        Ty::VarChar(_) | Ty::Char(_) | Ty::Text if utf8 => Val::str(&String::from_utf8_lossy(d)),
        Ty::VarChar(_) | Ty::Char(_) | Ty::Text => Val::Str(decode_cp1252(d).collect()),
        Ty::VarBinary(_) | Ty::Binary(_) | Ty::Image | Ty::RowVersion | Ty::Udt(_) => Val::bytes(d),
        Ty::Variant => return parse_variant(&mut Cursor(d)),
    })
}

/// A parameter's value with its type; a NULL of the untyped kind is an nvarchar.
pub fn parse_typed(c: &mut Cursor<'_>) -> Result<Typed, ProtocolError> {
    let untyped = c.peek() == Some(0x1F);
    let wire = super::types::parse_type(c)?;
    let val = if untyped { Val::Null } else { parse_value(c, wire)? };
    Ok(Typed::new(wire.ty, val))
}

#[cfg(test)]
mod tests {
    use super::super::types::parse_type;
    use super::*;
    use crate::value::Udt;

    /// One value of every type, with the extremes.
    pub(crate) fn samples() -> Vec<(Ty, Val)> {
        let lone: Val = Val::Str([0xD800u16, 0x61, 0, 0xDC00].into_iter().collect());
        let big = 99_999_999_999_999_999_999_999_999_999_999_999_999i128;
        vec![
            (Ty::Bit, Val::Bit(true)),
            (Ty::TinyInt, Val::Int(255)),
            (Ty::SmallInt, Val::Int(-32_768)),
            (Ty::Int, Val::Int(i32::MIN.into())),
            (Ty::BigInt, Val::Int(i64::MIN)),
            (Ty::Real, Val::Real(1.1)),
            (Ty::Float, Val::Float(f64::MIN_POSITIVE)),
            (Ty::Decimal(38, 38), Val::Dec(-big)),
            (Ty::Decimal(9, 2), Val::Dec(-1)),
            (Ty::Decimal(19, 0), Val::Dec(9_999_999_999_999_999_999)),
            (Ty::Decimal(28, 4), Val::Dec(0)),
            (Ty::Money, Val::Money(i64::MIN)),
            (Ty::Money, Val::Money(-1)),
            (Ty::SmallMoney, Val::Money(i32::MIN.into())),
            (Ty::Date, Val::Date(3_652_058)),
            (Ty::Time(0), Val::Time(863_990_000_000)),
            (Ty::Time(7), Val::Time(863_999_999_999)),
            (Ty::DateTime, Val::DateTime(-53_690, 25_919_999)),
            (Ty::SmallDateTime, Val::SmallDateTime(65_535, 1439)),
            (Ty::DateTime2(3), Val::DateTime2(0, 863_999_990_000)),
            (Ty::DateTime2(7), Val::DateTime2(3_652_058, 863_999_999_999)),
            (Ty::DateTimeOffset(7), Val::DateTimeOffset { day: 1, ticks: 5, offset: -840 }),
            (Ty::Char(3), Val::str("é€ ")),
            (Ty::VarChar(8000), Val::str("")),
            (Ty::VarChar(MAX), Val::str(&"aé".repeat(9000))),
            (Ty::NChar(4), lone.clone()),
            (Ty::NVarChar(4000), lone.clone()),
            (Ty::NVarChar(MAX), Val::str(&"漢".repeat(9001))),
            (Ty::NVarChar(MAX), Val::str("")),
            (Ty::Binary(3), Val::bytes(&[0, 1, 255])),
            (Ty::VarBinary(8000), Val::bytes(&[])),
            (Ty::VarBinary(MAX), Val::bytes(&[7; 20_000])),
            (Ty::Xml, Val::str("<a>é</a>")),
            (
                Ty::UniqueIdentifier,
                Val::Guid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            ),
            (Ty::Variant, Val::Variant(Box::new((Ty::Decimal(38, 2), Val::Dec(-big))))),
            (Ty::Variant, Val::Variant(Box::new((Ty::NVarChar(4), lone)))),
            (Ty::Variant, Val::Variant(Box::new((Ty::DateTime2(3), Val::DateTime2(9, 10_000))))),
            (Ty::Variant, Val::Variant(Box::new((Ty::Int, Val::Int(-5))))),
        ]
    }

    #[test]
    fn every_value_round_trips() {
        for (ty, val) in samples() {
            for (val, nullable) in [(val.clone(), true), (val, false), (Val::Null, true)] {
                let mut b = Vec::new();
                put_type(&mut b, &ty, nullable);
                put_value(&mut b, &ty, &val, nullable).unwrap_or_else(|_| panic!("{ty:?} {val:?}"));
                let mut c = Cursor(&b);
                let wire = parse_type(&mut c).unwrap();
                assert_eq!(wire.ty, ty);
                assert_eq!(parse_value(&mut c, wire).unwrap(), val, "{ty:?} nullable {nullable}");
                assert!(c.is_empty(), "{ty:?} {val:?} left {} bytes", c.0.len());
            }
        }
    }

    #[test]
    fn row_only_forms() {
        // text, ntext, image and UDT are written and read in different forms
        for (ty, val, length) in [
            (Ty::Text, Val::str("ab"), 29 + 2),
            (Ty::NText, Val::str("ab"), 29 + 4),
            (Ty::Image, Val::bytes(&[1, 2, 3]), 29 + 3),
            (Ty::Udt(Udt::Geography), Val::bytes(&[1, 2]), 8 + 4 + 2 + 4),
            (Ty::RowVersion, Val::bytes(&[0; 8]), 10),
        ] {
            let mut b = Vec::new();
            put_value(&mut b, &ty, &val, true).unwrap();
            assert_eq!(b.len(), length, "{ty:?}");
        }
        let mut b = Vec::new();
        assert_eq!(put_value(&mut b, &Ty::Int, &Val::str("x"), true), Err(Mismatch));
        assert_eq!(put_value(&mut b, &Ty::VarChar(1), &Val::str("xx"), true), Err(Mismatch));
        assert_eq!(put_value(&mut b, &Ty::Int, &Val::Null, false), Err(Mismatch));
    }
}
