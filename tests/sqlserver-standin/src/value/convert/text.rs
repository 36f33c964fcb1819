//! Conversion to texts.

use crate::value::text::{cp1252_byte, decode_cp1252, to_text};
use crate::value::{MAX, SqlError, Ty, Typed, Val};

pub(super) fn text_of(v: &Typed) -> Option<String> {
    match &v.val {
        Val::Str(s) => Some(String::from_utf16_lossy(s)),
        _ => None,
    }
}

pub(super) fn shown(s: &str) -> &str {
    s.trim_end_matches(' ')
}

pub(super) fn to_str(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
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
                let digits = crate::value::text::hex(b);
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
