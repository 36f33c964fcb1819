//! Conversion to uniqueidentifier.

use super::refused;
use crate::value::{SqlError, Ty, Typed, Val};

/// Text order to the stored (wire) order: the first three groups are little-endian.
pub fn guid_to_wire(g: &[u8; 16]) -> [u8; 16] {
    [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|i: usize| g[i])
}

pub(super) fn to_guid(v: &Typed) -> Result<Val, SqlError> {
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
