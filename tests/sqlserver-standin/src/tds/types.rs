//! TYPE_INFO: how a type is described in COLMETADATA, RETURNVALUE and RPC parameters (2.2.5.6).

use super::cursor::Cursor;
use super::{COLLATION, ProtocolError};
use crate::value::{MAX, Ty, Udt};

/// Bytes of the time part of a scale.
pub(super) fn time_length(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// Bytes of a decimal with its sign.
pub(super) fn decimal_length(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

pub(super) fn put_utf16(out: &mut Vec<u8>, s: &str) {
    out.extend(s.encode_utf16().flat_map(u16::to_le_bytes));
}

/// A text with a one-byte length; longer texts are cut.
pub(super) fn put_b_varchar(out: &mut Vec<u8>, s: &str) {
    let units: Vec<u16> = s.encode_utf16().take(255).collect();
    out.push(units.len() as u8);
    out.extend(units.iter().flat_map(|u| u.to_le_bytes()));
}

/// A text with a two-byte length; longer texts are cut.
pub(super) fn put_us_varchar(out: &mut Vec<u8>, s: &str) {
    let units: Vec<u16> = s.encode_utf16().take(16_000).collect();
    out.extend((units.len() as u16).to_le_bytes());
    out.extend(units.iter().flat_map(|u| u.to_le_bytes()));
}

fn sized(out: &mut Vec<u8>, token: u8, n: u16, width: u16, collation: bool) {
    out.push(token);
    out.extend((if n == MAX { MAX } else { n * width }).to_le_bytes());
    if collation {
        out.extend(COLLATION);
    }
}

/// Writes TYPE_INFO. A column that is NOT NULL has the fixed-length form where there is one, as SQL
/// Server sends it: drivers report different types for the two.
pub fn put_type(out: &mut Vec<u8>, ty: &Ty, nullable: bool) {
    match ty {
        Ty::Bit if !nullable => out.push(0x32),
        Ty::TinyInt if !nullable => out.push(0x30),
        Ty::SmallInt if !nullable => out.push(0x34),
        Ty::Int if !nullable => out.push(0x38),
        Ty::BigInt if !nullable => out.push(0x7F),
        Ty::Real if !nullable => out.push(0x3B),
        Ty::Float if !nullable => out.push(0x3E),
        Ty::Money if !nullable => out.push(0x3C),
        Ty::SmallMoney if !nullable => out.push(0x7A),
        Ty::DateTime if !nullable => out.push(0x3D),
        Ty::SmallDateTime if !nullable => out.push(0x3A),
        Ty::Bit => out.extend([0x68, 1]),
        Ty::TinyInt => out.extend([0x26, 1]),
        Ty::SmallInt => out.extend([0x26, 2]),
        Ty::Int => out.extend([0x26, 4]),
        Ty::BigInt => out.extend([0x26, 8]),
        Ty::Real => out.extend([0x6D, 4]),
        Ty::Float => out.extend([0x6D, 8]),
        Ty::Money => out.extend([0x6E, 8]),
        Ty::SmallMoney => out.extend([0x6E, 4]),
        Ty::DateTime => out.extend([0x6F, 8]),
        Ty::SmallDateTime => out.extend([0x6F, 4]),
        Ty::Decimal(p, s) => out.extend([0x6C, decimal_length(*p), *p, *s]),
        Ty::UniqueIdentifier => out.extend([0x24, 16]),
        Ty::Date => out.push(0x28),
        Ty::Time(s) => out.extend([0x29, *s]),
        Ty::DateTime2(s) => out.extend([0x2A, *s]),
        Ty::DateTimeOffset(s) => out.extend([0x2B, *s]),
        Ty::NVarChar(n) => sized(out, 0xE7, *n, 2, true),
        Ty::NChar(n) => sized(out, 0xEF, *n, 2, true),
        Ty::VarChar(n) => sized(out, 0xA7, *n, 1, true),
        Ty::Char(n) => sized(out, 0xAF, *n, 1, true),
        Ty::VarBinary(n) => sized(out, 0xA5, *n, 1, false),
        Ty::Binary(n) => sized(out, 0xAD, *n, 1, false),
        Ty::RowVersion => sized(out, 0xAD, 8, 1, false),
        Ty::Xml => out.extend([0xF1, 0]),
        Ty::Udt(udt) => {
            sized(out, 0xF0, if *udt == Udt::HierarchyId { 892 } else { MAX }, 1, false);
            put_b_varchar(out, "master");
            put_b_varchar(out, "sys");
            put_b_varchar(out, ty.name());
            let class = match udt {
                Udt::Geometry => "SqlGeometry",
                Udt::Geography => "SqlGeography",
                Udt::HierarchyId => "SqlHierarchyId",
            };
            let assembly = format!(
                "Microsoft.SqlServer.Types.{class}, Microsoft.SqlServer.Types, Version=11.0.0.0, \
                 Culture=neutral, PublicKeyToken=89845dcd8080cc91"
            );
            put_us_varchar(out, &assembly);
        }
        Ty::Text | Ty::NText | Ty::Image => {
            out.push(match ty {
                Ty::Text => 0x23,
                Ty::NText => 0x63,
                _ => 0x22,
            });
            let most = if *ty == Ty::NText { i32::MAX - 1 } else { i32::MAX };
            out.extend(most.to_le_bytes());
            if *ty != Ty::Image {
                out.extend(COLLATION);
            }
        }
        Ty::Variant => {
            out.push(0x62);
            out.extend(8009u32.to_le_bytes());
        }
    }
}

/// How a parameter's type was written: the fixed-length forms have no length before the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireType {
    pub ty: Ty,
    pub fixed: bool,
    /// A UTF-8 collation: varchar bytes are UTF-8.
    pub utf8: bool,
}

/// Reads the TYPE_INFO of an RPC parameter or a bulk-load column.
pub fn parse_type(c: &mut Cursor<'_>) -> Result<WireType, ProtocolError> {
    let token = c.u8()?;
    let fixed = |ty| Ok(WireType { ty, fixed: true, utf8: false });
    let by_length =
        |c: &mut Cursor<'_>, choices: &[(u8, Ty)]| {
            let n = c.u8()?;
            choices.iter().find(|(l, _)| *l == n).map(|(_, t)| *t).ok_or_else(|| {
                ProtocolError::malformed(format!("type 0x{token:02X} with length {n}"))
            })
        };
    let ty = match token {
        0x1F => Ty::NVarChar(1),
        0x30 => return fixed(Ty::TinyInt),
        0x32 => return fixed(Ty::Bit),
        0x34 => return fixed(Ty::SmallInt),
        0x38 => return fixed(Ty::Int),
        0x3A => return fixed(Ty::SmallDateTime),
        0x3B => return fixed(Ty::Real),
        0x3C => return fixed(Ty::Money),
        0x3D => return fixed(Ty::DateTime),
        0x3E => return fixed(Ty::Float),
        0x7A => return fixed(Ty::SmallMoney),
        0x7F => return fixed(Ty::BigInt),
        0x26 => {
            by_length(c, &[(1, Ty::TinyInt), (2, Ty::SmallInt), (4, Ty::Int), (8, Ty::BigInt)])?
        }
        0x68 => by_length(c, &[(1, Ty::Bit)])?,
        0x6D => by_length(c, &[(4, Ty::Real), (8, Ty::Float)])?,
        0x6E => by_length(c, &[(4, Ty::SmallMoney), (8, Ty::Money)])?,
        0x6F => by_length(c, &[(4, Ty::SmallDateTime), (8, Ty::DateTime)])?,
        0x24 => by_length(c, &[(16, Ty::UniqueIdentifier)])?,
        0x6A | 0x6C => {
            c.u8()?;
            let (p, s) = (c.u8()?, c.u8()?);
            if p == 0 || p > 38 || s > p {
                return Err(ProtocolError::malformed(format!("decimal({p},{s})")));
            }
            Ty::Decimal(p, s)
        }
        0x28 => Ty::Date,
        0x29..=0x2B => {
            let s = c.u8()?;
            if s > 7 {
                return Err(ProtocolError::malformed(format!("a time of scale {s}")));
            }
            match token {
                0x29 => Ty::Time(s),
                0x2A => Ty::DateTime2(s),
                _ => Ty::DateTimeOffset(s),
            }
        }
        0xE7 | 0xEF | 0xA7 | 0xAF => {
            let n = c.u16()?;
            let utf8 = c.take(5)?[3] & 0x04 != 0;
            let wide = matches!(token, 0xE7 | 0xEF);
            let n = if n == MAX { MAX } else { (n / if wide { 2 } else { 1 }).max(1) };
            let ty = match token {
                0xE7 => Ty::NVarChar(n),
                0xEF => Ty::NChar(n),
                0xA7 => Ty::VarChar(n),
                _ => Ty::Char(n),
            };
            return Ok(WireType { ty, fixed: false, utf8 });
        }
        0xA5 => Ty::VarBinary(c.u16()?.max(1)),
        0xAD => Ty::Binary(c.u16()?.max(1)),
        0x63 | 0x23 => {
            c.u32()?;
            c.take(5)?;
            if token == 0x63 { Ty::NText } else { Ty::Text }
        }
        0x22 => {
            c.u32()?;
            Ty::Image
        }
        0x62 => {
            c.u32()?;
            Ty::Variant
        }
        0xF1 => {
            if c.u8()? == 1 {
                c.b_varchar()?;
                c.b_varchar()?;
                c.us_varchar()?;
            }
            Ty::Xml
        }
        0xF0 => {
            c.b_varchar()?;
            c.b_varchar()?;
            match c.b_varchar()?.to_ascii_lowercase().as_str() {
                "geometry" => Ty::Udt(Udt::Geometry),
                "geography" => Ty::Udt(Udt::Geography),
                "hierarchyid" => Ty::Udt(Udt::HierarchyId),
                other => {
                    return Err(ProtocolError::Unsupported(format!("a parameter of type {other}")));
                }
            }
        }
        other => {
            return Err(ProtocolError::Unsupported(format!("a parameter of type 0x{other:02X}")));
        }
    };
    Ok(WireType { ty, fixed: false, utf8: false })
}
