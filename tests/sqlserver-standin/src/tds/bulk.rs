//! The rows of a bulk load: COLMETADATA, ROW or NBCROW tokens, DONE (2.2.6.1).

use std::sync::Arc;

use super::ProtocolError;
use super::cursor::Cursor;
use super::types::{WireType, parse_type};
use super::values::parse_value;
use crate::value::{Col, Row, Ty, Val};

/// Columns and rows of a bulk load message.
pub fn parse(body: &[u8]) -> Result<(Vec<Col>, Vec<Row>), ProtocolError> {
    let mut c = Cursor(body);
    if c.u8()? != 0x81 {
        return Err(ProtocolError::malformed("a bulk load that does not begin with COLMETADATA"));
    }
    let n = c.u16()?;
    let (mut columns, mut types) = (Vec::new(), Vec::new());
    for _ in 0..n {
        c.u32()?; // user type
        let nullable = c.u16()? & 1 == 1;
        let wire = parse_type(&mut c)?;
        if has_pointer(&wire.ty) {
            // The name of the table: here it is one text, in a reply it has parts.
            c.us_varchar()?;
        }
        let name = c.b_varchar()?;
        columns.push(if nullable { Col::new(name, wire.ty) } else { Col::not_null(name, wire.ty) });
        types.push(wire);
    }
    let mut rows: Vec<Row> = Vec::new();
    while !c.is_empty() {
        let token = c.u8()?;
        let nulls = match token {
            0xD1 => &[],
            0xD2 => c.take(types.len().div_ceil(8))?,
            0xFD => break,
            other => {
                return Err(ProtocolError::malformed(format!(
                    "token 0x{other:02X} in a bulk load"
                )));
            }
        };
        let mut row = Vec::with_capacity(types.len());
        for (i, wire) in types.iter().enumerate() {
            let null = nulls.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 == 1);
            row.push(if null { Val::Null } else { value(&mut c, *wire)? });
        }
        rows.push(Arc::from(row));
    }
    Ok((columns, rows))
}

/// text, ntext and image have a pointer and a time before their bytes.
fn has_pointer(ty: &Ty) -> bool {
    matches!(ty, Ty::Text | Ty::NText | Ty::Image)
}

fn value(c: &mut Cursor<'_>, wire: WireType) -> Result<Val, ProtocolError> {
    if has_pointer(&wire.ty) {
        match c.u8()? {
            0 => return Ok(Val::Null),
            n => c.take(usize::from(n) + 8)?,
        };
    }
    parse_value(c, wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns, `a int NULL` and `t text NULL`.
    fn head() -> Vec<u8> {
        let mut b = vec![0x81, 2, 0];
        b.extend([0, 0, 0, 0, 1, 0, 0x26, 4, 1, b'a', 0]);
        b.extend([0, 0, 0, 0, 1, 0, 0x23, 255, 255, 255, 127, 9, 4, 0xD0, 0, 0x34]);
        b.extend([1, 0, b'x', 0, 1, b't', 0]);
        b
    }

    #[test]
    fn rows_of_both_kinds() {
        let mut b = head();
        b.extend([0xD1, 4, 7, 0, 0, 0, 16]);
        b.extend([0; 24]);
        b.extend([2, 0, 0, 0, b'h', b'i']);
        b.extend([0xD2, 0b10, 4, 8, 0, 0, 0]);
        b.extend([0xD1, 0, 0]);
        b.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (columns, rows) = parse(&b).unwrap();
        let got: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.ty, c.nullable)).collect();
        assert_eq!(got, [("a", Ty::Int, true), ("t", Ty::Text, true)]);
        let want: [&[Val]; 3] =
            [&[Val::Int(7), Val::str("hi")], &[Val::Int(8), Val::Null], &[Val::Null, Val::Null]];
        assert_eq!(rows.iter().map(|r| &**r).collect::<Vec<_>>(), want);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let mut b = head();
        b.extend([0xD1, 4, 7, 0]);
        assert!(parse(&b).is_err());
        assert!(parse(&[0x81]).is_err());
        assert!(parse(&[0xFD]).is_err());
    }
}
