//! Exact decimal arithmetic with the result precision and scale that SQL Server documents
//! ("Precision, scale, and length").

use super::number::Op;
use super::wide::Wide;
use super::{SqlError, Ty, Typed, Val};

/// 10^38 - 1, the largest unscaled decimal.
pub(super) const LARGEST: u128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

pub(super) fn pow10(n: u8) -> i128 {
    10i128.pow(n.into())
}

/// Precision and scale of `a op b`.
pub fn decimal_result(op: Op, a: (u8, u8), b: (u8, u8)) -> (u8, u8) {
    let ((p1, s1), (p2, s2)) = ((i32::from(a.0), i32::from(a.1)), (i32::from(b.0), i32::from(b.1)));
    let whole = (p1 - s1).max(p2 - s2);
    let (p, s) = match op {
        Op::Add | Op::Sub => {
            let s = s1.max(s2);
            let p = whole + s + 1;
            // addition keeps the whole digits and gives up scale
            let s = if p > 38 { s.min(38 - whole) } else { s };
            (p.min(38), s)
        }
        Op::Mul => cap(p1 + p2 + 1, s1 + s2),
        Op::Div => {
            let s = 6.max(s1 + p2 + 1);
            cap(p1 - s1 + s2 + s, s)
        }
        Op::Mod => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        Op::BitAnd | Op::BitOr | Op::BitXor => (38, 0),
    };
    (p.clamp(1, 38) as u8, s.clamp(0, 38) as u8)
}

fn cap(p: i32, s: i32) -> (i32, i32) {
    if p <= 38 {
        return (p, s);
    }
    let whole = p - s;
    let s = if whole < 32 { s.min(38 - whole) } else { s.min(6) };
    (38, s)
}

/// `unscaled` at scale `from` to scale `to`, half away from zero.
pub(super) fn rescale(unscaled: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return unscaled.checked_mul(pow10(to - from));
    }
    let by = pow10(from - to);
    let (q, r) = (unscaled / by, unscaled % by);
    Some(if r.abs() >= by - r.abs() { q + unscaled.signum() } else { q })
}

/// Whether an unscaled number has at most `precision` digits.
pub(super) fn fits(unscaled: i128, precision: u8) -> bool {
    unscaled.unsigned_abs() < pow10(precision).unsigned_abs()
}

pub(super) fn operate(
    op: Op,
    (a, at): (i128, (u8, u8)),
    (b, bt): (i128, (u8, u8)),
) -> Result<(i128, (u8, u8)), SqlError> {
    let (p, s) = decimal_result(op, at, bt);
    let overflow = || SqlError::overflow("numeric");
    let value = match op {
        Op::Add | Op::Sub => {
            let wide = at.1.max(bt.1);
            let a = rescale(a, at.1, wide);
            let b = rescale(b, bt.1, wide);
            let sum = match (a, b) {
                (Some(a), Some(b)) if op == Op::Add => a.checked_add(b),
                (Some(a), Some(b)) => a.checked_sub(b),
                _ => None,
            };
            sum.and_then(|n| rescale(n, wide, s)).ok_or_else(overflow)?
        }
        Op::Mul => {
            let scale = at.1 + bt.1;
            match a.checked_mul(b) {
                Some(n) => rescale(n, scale, s).ok_or_else(overflow)?,
                None => {
                    let product = Wide::new(a.unsigned_abs()).times(&Wide::new(b.unsigned_abs()));
                    let magnitude = round_wide(&product, scale - s).ok_or_else(overflow)?;
                    signed(magnitude, (a < 0) != (b < 0)).ok_or_else(overflow)?
                }
            }
        }
        Op::Div => {
            if b == 0 {
                return Err(SqlError::divide_by_zero());
            }
            // SQL Server cuts the quotient off, it does not round: 2.0 / 3.0 = 0.666666
            let shift = u32::from(s) + u32::from(bt.1);
            let (n, cut) = if shift >= u32::from(at.1) {
                (shift - u32::from(at.1), 0)
            } else {
                (0, u32::from(at.1) - shift)
            };
            let numerator = 10i128.checked_pow(n).and_then(|f| a.checked_mul(f));
            match numerator {
                Some(n) if cut == 0 => n / b,
                _ => {
                    let wide = Wide::new(a.unsigned_abs()).times_ten_to(n);
                    let (q, _) = wide.divided(b.unsigned_abs());
                    let (q, _) = if cut > 0 { q.divided(10u128.pow(cut)) } else { (q, 0) };
                    q.to_u128().and_then(|m| signed(m, (a < 0) != (b < 0))).ok_or_else(overflow)?
                }
            }
        }
        Op::Mod => {
            if b == 0 {
                return Err(SqlError::divide_by_zero());
            }
            let (a, b) = (rescale(a, at.1, s), rescale(b, bt.1, s));
            match (a, b) {
                (Some(a), Some(b)) => a % b,
                _ => return Err(overflow()),
            }
        }
        Op::BitAnd | Op::BitOr | Op::BitXor => {
            return Err(SqlError::invalid_operator("numeric", op.name()));
        }
    };
    if !fits(value, p) {
        return Err(overflow());
    }
    Ok((value, (p, s)))
}

fn round_wide(n: &Wide, digits: u8) -> Option<u128> {
    if digits == 0 {
        return n.to_u128();
    }
    let by = if digits > 38 {
        // cannot happen for two decimals of scale 38 and a result scale of at least 6
        let (first, _) = n.divided(10u128.pow(u32::from(digits) - 38));
        return round_wide(&first, 38);
    } else {
        10u128.pow(digits.into())
    };
    let (q, r) = n.divided(by);
    let q = q.to_u128()?;
    if r >= by - r { q.checked_add(1) } else { Some(q) }
}

fn signed(magnitude: u128, negative: bool) -> Option<i128> {
    (magnitude <= LARGEST).then(|| {
        let n = magnitude as i128;
        if negative { -n } else { n }
    })
}

/// Digits with an optional point and sign to (unscaled, digits before the point, scale).
pub(super) fn parse_digits(text: &str) -> Option<(i128, u8, u8)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = digits.trim_start();
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && part.is_empty())
        || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let part = part.get(..part.len().min(38))?;
    if whole.len() > 38 {
        return None;
    }
    // digits beyond 38 in all are rounded off by the caller's scale anyway
    let keep = part.len().min(38 - whole.len());
    let (part, rest) = part.split_at(keep);
    let mut n: i128 = 0;
    for b in whole.bytes().chain(part.bytes()) {
        n = n.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
    }
    if rest.bytes().next().is_some_and(|b| b >= b'5') {
        n += 1;
    }
    Some((if negative { -n } else { n }, whole.len() as u8, part.len() as u8))
}

/// A numeric literal: `12` is int (or decimal when too large), `1.50` decimal(3,2), `1e3` float.
pub fn literal_number(text: &str) -> Result<Typed, SqlError> {
    if text.contains(['e', 'E']) {
        let f: f64 = text.parse().map_err(|_| SqlError::syntax(text))?;
        return if f.is_finite() {
            Ok(Typed::float(f))
        } else {
            Err(SqlError::new(168, format!("The floating point value '{text}' is out of the range of computer representation (8 bytes).")).class(15))
        };
    }
    if !text.contains('.')
        && let Ok(i) = text.parse::<i32>()
    {
        return Ok(Typed::int(i));
    }
    let (n, whole, scale) = parse_digits(text).ok_or_else(|| {
        SqlError::new(1007, format!("The number '{text}' is out of the range for numeric representation (maximum precision 38).")).class(15)
    })?;
    let precision = (whole + scale).max(1);
    Ok(Typed::new(Ty::Decimal(precision, scale), Val::Dec(n)))
}

/// A money literal, `$12.34`.
pub fn literal_money(text: &str) -> Result<Typed, SqlError> {
    let val = super::convert::parse_money(text)?;
    Ok(Typed::new(Ty::Money, val))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_types() {
        for (op, a, b, want) in [
            (Op::Add, (10, 2), (8, 4), (13, 4)),
            (Op::Mul, (10, 2), (8, 4), (19, 6)),
            (Op::Div, (10, 2), (8, 4), (23, 11)),
            (Op::Div, (2, 1), (2, 1), (8, 6)),
            (Op::Mul, (38, 10), (38, 10), (38, 6)),
            (Op::Add, (38, 10), (38, 10), (38, 10)),
            (Op::Div, (38, 0), (38, 38), (38, 6)),
            (Op::Mod, (10, 2), (5, 4), (5, 4)),
        ] {
            assert_eq!(decimal_result(op, a, b), want, "{op:?} {a:?} {b:?}");
        }
    }

    #[test]
    fn results() {
        let run = |op, a, at, b, bt| operate(op, (a, at), (b, bt)).map(|(n, _)| n);
        assert_eq!(run(Op::Div, 20, (2, 1), 30, (2, 1)), Ok(666_666));
        assert_eq!(run(Op::Div, -20, (2, 1), 30, (2, 1)), Ok(-666_666));
        let large = LARGEST as i128;
        // 10^38-1 of decimal(38,38) times itself: rounds up to 1 at scale 37 or fewer
        let (n, t) = operate(Op::Mul, (large, (38, 38)), (large, (38, 38))).unwrap();
        assert_eq!(t, (38, 37));
        assert_eq!(n, pow10(37));
        assert_eq!(run(Op::Mul, large, (38, 0), 10, (38, 0)).unwrap_err().number, 8115);
        assert_eq!(run(Op::Div, 1, (1, 0), 0, (1, 0)).unwrap_err().number, 8134);
        // the true quotient 3.3e37 does not fit the six digits after the point of decimal(38,6)
        let third = run(Op::Div, 10i128.pow(37), (38, 0), 3 * 10i128.pow(37), (38, 38));
        assert_eq!(third.unwrap_err().number, 8115);
    }

    #[test]
    fn literals() {
        for (text, ty, val) in [
            ("12", Ty::Int, Val::Int(12)),
            ("2147483648", Ty::Decimal(10, 0), Val::Dec(2_147_483_648)),
            ("1.50", Ty::Decimal(3, 2), Val::Dec(150)),
            ("0.5", Ty::Decimal(1, 1), Val::Dec(5)),
            (".25", Ty::Decimal(2, 2), Val::Dec(25)),
            ("1e3", Ty::Float, Val::Float(1000.0)),
        ] {
            assert_eq!(literal_number(text).unwrap(), Typed::new(ty, val), "{text}");
        }
    }
}
