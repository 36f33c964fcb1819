//! Order and equality as SQL Server has them; of texts: [`super::collation`].

use std::cmp::Ordering;

use super::collation::{Collation, compare_collated, sort_key};
use super::{SqlError, Ty, Typed, Val, cast, unify};

/// Order of uniqueidentifier: the last group first, then the others from right to left.
pub fn compare_guid(a: &[u8; 16], b: &[u8; 16]) -> Ordering {
    guid_key(a).cmp(&guid_key(b))
}

fn guid_key(g: &[u8; 16]) -> [u8; 16] {
    // positions in text order; SqlGuid compares stored bytes 10-15, 8-9, 6-7, 4-5, 0-3, and stores the
    // first three groups little-endian
    [10, 11, 12, 13, 14, 15, 8, 9, 7, 6, 5, 4, 3, 2, 1, 0].map(|i: usize| g[i])
}

fn trim_zeros(mut b: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = b {
        b = rest;
    }
    b
}

/// Compares two values of one type, texts by the rules of `collation`. NULL is lowest, as in ORDER BY.
pub fn compare_vals(a: &Val, b: &Val, collation: Collation) -> Ordering {
    match (a, b) {
        (Val::Null, Val::Null) => Ordering::Equal,
        (Val::Null, _) => Ordering::Less,
        (_, Val::Null) => Ordering::Greater,
        (Val::Int(x), Val::Int(y)) | (Val::Money(x), Val::Money(y)) => x.cmp(y),
        (Val::Bit(x), Val::Bit(y)) => x.cmp(y),
        (Val::Real(x), Val::Real(y)) => x.partial_cmp(y).unwrap_or(Ordering::Equal),
        (Val::Float(x), Val::Float(y)) => x.partial_cmp(y).unwrap_or(Ordering::Equal),
        (Val::Dec(x), Val::Dec(y)) => x.cmp(y),
        (Val::Guid(x), Val::Guid(y)) => compare_guid(x, y),
        (Val::Str(x), Val::Str(y)) => compare_collated(x, y, collation),
        (Val::Bytes(x), Val::Bytes(y)) => trim_zeros(x).cmp(trim_zeros(y)),
        (Val::Date(x), Val::Date(y)) => x.cmp(y),
        (Val::Time(x), Val::Time(y)) => x.cmp(y),
        (Val::DateTime2(d, t), Val::DateTime2(e, u)) => (d, t).cmp(&(e, u)),
        (
            Val::DateTimeOffset { day: d, ticks: t, .. },
            Val::DateTimeOffset { day: e, ticks: u, .. },
        ) => (d, t).cmp(&(e, u)),
        (Val::DateTime(d, t), Val::DateTime(e, u)) => (d, t).cmp(&(e, u)),
        (Val::SmallDateTime(d, t), Val::SmallDateTime(e, u)) => (d, t).cmp(&(e, u)),
        (Val::Variant(x), Val::Variant(y)) => variants(x, y),
        // values of two types do not meet here: the caller has converted them
        _ => kind(a).cmp(&kind(b)),
    }
}

/// sql_variant: the family decides first, then the values.
fn variants(x: &(Ty, Val), y: &(Ty, Val)) -> Ordering {
    let by_family = family(&x.0).cmp(&family(&y.0));
    if by_family != Ordering::Equal {
        return by_family;
    }
    let a = Typed::new(x.0, x.1.clone());
    let b = Typed::new(y.0, y.1.clone());
    compare(&a, &b).ok().flatten().unwrap_or(Ordering::Equal)
}

fn family(t: &Ty) -> u8 {
    match t {
        t if t.is_date() => 9,
        Ty::Float | Ty::Real => 8,
        t if t.is_number() => 7,
        t if t.is_text() => 5,
        t if t.is_binary() => 4,
        Ty::UniqueIdentifier => 3,
        _ => 2,
    }
}

fn kind(v: &Val) -> u8 {
    match v {
        Val::Null => 0,
        Val::Bit(_) => 1,
        Val::Int(_) => 2,
        Val::Real(_) => 3,
        Val::Float(_) => 4,
        Val::Dec(_) => 5,
        Val::Money(_) => 6,
        Val::Guid(_) => 7,
        Val::Str(_) => 8,
        Val::Bytes(_) => 9,
        Val::Date(_) => 10,
        Val::Time(_) => 11,
        Val::DateTime2(..) => 12,
        Val::DateTimeOffset { .. } => 13,
        Val::DateTime(..) => 14,
        Val::SmallDateTime(..) => 15,
        Val::Variant(_) => 16,
    }
}

/// Compares two values after converting them to their common type; `None` when one is NULL.
pub fn compare(a: &Typed, b: &Typed) -> Result<Option<Ordering>, SqlError> {
    for (x, y) in [(a, b), (b, a)] {
        if matches!(x.ty, Ty::Text | Ty::NText | Ty::Image | Ty::Xml) {
            return Err(SqlError::incompatible(x.ty.name(), y.ty.name(), "equal to").state(1));
        }
    }
    if a.is_null() || b.is_null() {
        return Ok(None);
    }
    let same = a.ty == b.ty
        || (a.ty.is_int() && b.ty.is_int())
        || (a.ty.is_text() && b.ty.is_text())
        || (a.ty.is_binary() && b.ty.is_binary());
    if same {
        let collation = Collation::between(None, &a.ty, &b.ty);
        return Ok(Some(compare_vals(&a.val, &b.val, collation)));
    }
    if let (Some(x), Some(y)) = (comparable_decimal(a), comparable_decimal(b)) {
        return Ok(Some(compare_decimals(x, y)));
    }
    let common = unify(&a.ty, &b.ty);
    // int against datetime: SQL Server converts the number
    let (a, b) = (cast(a, &common, None)?, cast(b, &common, None)?);
    Ok(Some(compare_vals(&a, &b, Collation::of(None, &common))))
}

/// Exact numbers compare by value, whatever precision their common type would have.
fn comparable_decimal(t: &Typed) -> Option<(i128, u8)> {
    match t.val {
        Val::Dec(n) => Some((n, t.ty.scale())),
        Val::Int(i) => Some((i.into(), 0)),
        Val::Money(m) => Some((m.into(), 4)),
        Val::Bit(b) => Some((b.into(), 0)),
        _ => None,
    }
}

fn compare_decimals((a, s): (i128, u8), (b, t): (i128, u8)) -> Ordering {
    let scale = s.max(t);
    let up = |n: i128, from: u8| n.checked_mul(super::decimal::pow10(scale - from));
    match (up(a, s), up(b, t)) {
        (Some(x), Some(y)) => x.cmp(&y),
        // only one with the smaller scale can overflow, and it then has the larger magnitude
        (None, _) => a.cmp(&0),
        (_, None) => 0.cmp(&b),
    }
}

/// Appends bytes whose memcmp order is SQL Server's order of the type, NULL first; texts in the server's collation.
pub fn key_bytes(ty: &Ty, val: &Val, out: &mut Vec<u8>) {
    collated_key_bytes(ty, None, val, out);
}

/// The same for texts of a collation of their own.
pub fn collated_key_bytes(ty: &Ty, own: Option<Collation>, val: &Val, out: &mut Vec<u8>) {
    if val.is_null() {
        return out.push(0);
    }
    out.push(1);
    match val {
        Val::Null => {}
        Val::Bit(b) => out.push((*b).into()),
        Val::Int(i) | Val::Money(i) => out.extend(((*i as u64) ^ (1 << 63)).to_be_bytes()),
        Val::Real(f) => out.extend(float_key(f64::from(*f))),
        Val::Float(f) => out.extend(float_key(*f)),
        Val::Dec(n) => out.extend(((*n as u128) ^ (1 << 127)).to_be_bytes()),
        Val::Guid(g) => out.extend(guid_key(g)),
        Val::Str(s) => sort_key(s, Collation::of(own, ty), out),
        Val::Bytes(b) => {
            // shorter binaries count as padded with zeros; 0 is escaped because 0 0 ends the key
            for byte in trim_zeros(b) {
                out.push(*byte);
                if *byte == 0 {
                    out.push(0xFF);
                }
            }
            out.extend([0, 0]);
        }
        Val::Date(d) => out.extend(((*d as u32) ^ (1 << 31)).to_be_bytes()),
        Val::Time(t) => out.extend(t.to_be_bytes()),
        Val::DateTime2(d, t) | Val::DateTimeOffset { day: d, ticks: t, .. } => {
            out.extend(((*d as u32) ^ (1 << 31)).to_be_bytes());
            out.extend(t.to_be_bytes());
        }
        Val::DateTime(d, t) => {
            out.extend(((*d as u32) ^ (1 << 31)).to_be_bytes());
            out.extend(t.to_be_bytes());
        }
        Val::SmallDateTime(d, m) => {
            out.extend(d.to_be_bytes());
            out.extend(m.to_be_bytes());
        }
        Val::Variant(inner) => {
            out.push(family(&inner.0));
            // numbers of one family compare by value: all go to decimal(38,10) as far as they fit
            let typed = Typed::new(inner.0, inner.1.clone());
            let common = match family(&inner.0) {
                9 => Ty::DateTimeOffset(7),
                8 => Ty::Float,
                7 => Ty::Decimal(38, 10),
                _ => inner.0,
            };
            match cast(&typed, &common, None) {
                Ok(v) => key_bytes(&common, &v, out),
                Err(_) => key_bytes(&inner.0, &inner.1, out),
            }
        }
    }
}

fn float_key(f: f64) -> [u8; 8] {
    // -0.0 equals 0.0
    let bits = if f == 0.0 { 0 } else { f.to_bits() };
    (if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_from_the_right() {
        let low = [0xFF; 10].iter().copied().chain([0, 0, 0, 0, 0, 1]).collect::<Vec<_>>();
        let high = [0; 10].iter().copied().chain([0, 0, 0, 0, 0, 2]).collect::<Vec<_>>();
        let (low, high): ([u8; 16], [u8; 16]) = (low.try_into().unwrap(), high.try_into().unwrap());
        assert_eq!(compare_guid(&low, &high), Ordering::Less);
    }

    #[test]
    fn keys_follow_values() {
        let lists: Vec<(Ty, Vec<Val>)> = vec![
            (
                Ty::BigInt,
                vec![Val::Null, Val::Int(i64::MIN), Val::Int(-1), Val::Int(0), Val::Int(i64::MAX)],
            ),
            (
                Ty::Float,
                [f64::MIN, -1.0, -0.5, 0.0, 1e-300, 2.0, f64::MAX].map(Val::Float).to_vec(),
            ),
            (Ty::Decimal(38, 2), [-100i128, -1, 0, 7, 10i128.pow(37)].map(Val::Dec).to_vec()),
            (
                Ty::VarBinary(9),
                vec![
                    Val::bytes(&[]),
                    Val::bytes(&[0, 1]),
                    Val::bytes(&[1]),
                    Val::bytes(&[1, 0, 1]),
                    Val::bytes(&[1, 1]),
                ],
            ),
            (Ty::DateTime, vec![Val::DateTime(-1, 5), Val::DateTime(0, 0), Val::DateTime(0, 1)]),
        ];
        for (ty, list) in lists {
            for pair in list.windows(2) {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                key_bytes(&ty, &pair[0], &mut a);
                key_bytes(&ty, &pair[1], &mut b);
                assert!(a < b, "{pair:?}");
                assert_eq!(
                    compare_vals(&pair[0], &pair[1], Collation::default()),
                    Ordering::Less,
                    "{pair:?}"
                );
            }
        }
    }

    #[test]
    fn mixed_types() {
        let cases = [
            (Typed::int(1), Typed::varchar("01"), Some(Ordering::Equal)),
            (Typed::int(2), Typed::new(Ty::Decimal(3, 1), Val::Dec(19)), Some(Ordering::Greater)),
            (Typed::nvarchar("a"), Typed::varchar("A "), Some(Ordering::Equal)),
            (Typed::null(Ty::Int), Typed::int(1), None),
        ];
        for (a, b, want) in cases {
            assert_eq!(compare(&a, &b).unwrap(), want);
        }
        assert_eq!(compare(&Typed::int(1), &Typed::varchar("x")).unwrap_err().number, 245);
    }
}
