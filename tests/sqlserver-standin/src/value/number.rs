//! Operators: arithmetic, bits, and `+` of texts and dates.

use super::calendar::{DAY_1753, DAY_1900, DAY_LAST};
use super::{MAX, SqlError, Ty, Typed, Val, cast, decimal, unify};

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitAnd,
    BitOr,
    BitXor,
}

impl Op {
    /// As SQL Server's messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "subtract",
            Self::Mul => "multiply",
            Self::Div => "divide",
            Self::Mod => "modulo",
            Self::BitAnd => "'&'",
            Self::BitOr => "'|'",
            Self::BitXor => "'^'",
        }
    }
}

/// The type of `a op b`.
pub fn arith_type(op: Op, a: &Ty, b: &Ty) -> Result<Ty, SqlError> {
    let bits = matches!(op, Op::BitAnd | Op::BitOr | Op::BitXor);
    for t in [a, b] {
        if matches!(
            t,
            Ty::Xml
                | Ty::Udt(_)
                | Ty::Text
                | Ty::NText
                | Ty::Image
                | Ty::Variant
                | Ty::UniqueIdentifier
        ) {
            return Err(SqlError::invalid_operator(t.name(), op.name()));
        }
    }
    if op == Op::Add {
        if a.is_text() && b.is_text() {
            return Ok(concat_type(a, b));
        }
        if a.is_binary() && b.is_binary() {
            let n = match (a.length().unwrap_or(8), b.length().unwrap_or(8)) {
                (MAX, _) | (_, MAX) => MAX,
                (x, y) => (x + y).min(8000),
            };
            return Ok(Ty::VarBinary(n));
        }
    }
    if a.is_date() || b.is_date() {
        let date = if a.is_date() { a } else { b };
        let other = if a.is_date() { b } else { a };
        if !matches!(date, Ty::DateTime | Ty::SmallDateTime)
            || matches!(other, Ty::Date | Ty::Time(_) | Ty::DateTime2(_) | Ty::DateTimeOffset(_))
        {
            return Err(SqlError::clash(other.name(), date.name()));
        }
        if !matches!(op, Op::Add | Op::Sub) {
            return Err(SqlError::invalid_operator(date.name(), op.name()));
        }
        return Ok(if *a == Ty::DateTime || *b == Ty::DateTime {
            Ty::DateTime
        } else {
            Ty::SmallDateTime
        });
    }
    let common = if a.is_binary() && b.is_binary() && bits {
        return Err(SqlError::incompatible(a.name(), b.name(), op.name()));
    } else if a.is_binary() {
        *b
    } else if b.is_binary() {
        *a
    } else {
        unify(a, b)
    };
    if bits {
        return if common.is_int() || common == Ty::Bit {
            Ok(common)
        } else {
            Err(SqlError::incompatible(a.name(), b.name(), op.name()))
        };
    }
    match common {
        t if t.is_text() => Err(SqlError::invalid_operator(t.name(), op.name())),
        Ty::Bit => Err(SqlError::invalid_operator("bit", op.name())),
        Ty::Decimal(..) => {
            let side = |t: &Ty| t.as_decimal().or_else(|| common.as_decimal()).unwrap_or((38, 0));
            let (p, s) = decimal::decimal_result(op, side(a), side(b));
            Ok(Ty::Decimal(p, s))
        }
        Ty::Float | Ty::Real if op == Op::Mod => {
            Err(SqlError::incompatible(a.name(), b.name(), op.name()))
        }
        t => Ok(t),
    }
}

fn concat_type(a: &Ty, b: &Ty) -> Ty {
    let unicode = a.is_unicode() || b.is_unicode();
    let limit = if unicode { 4000 } else { 8000 };
    let n = match (a.length().unwrap_or(MAX), b.length().unwrap_or(MAX)) {
        (MAX, _) | (_, MAX) => MAX,
        (x, y) => (x + y).min(limit),
    };
    if unicode { Ty::NVarChar(n) } else { Ty::VarChar(n) }
}

/// `a op b`. With a NULL operand the result is NULL of the type the operation has.
pub fn arith(op: Op, a: &Typed, b: &Typed) -> Result<Typed, SqlError> {
    let ty = arith_type(op, &a.ty, &b.ty)?;
    if a.is_null() || b.is_null() {
        return Ok(Typed::null(ty));
    }
    let overflow = || SqlError::overflow(ty.name());
    let val = match &ty {
        t if t.is_text() => {
            let (x, y) = (cast(a, &max_of(t), None)?, cast(b, &max_of(t), None)?);
            let (Val::Str(x), Val::Str(y)) = (x, y) else { return Ok(Typed::null(ty)) };
            let mut joined = [&x[..], &y[..]].concat();
            joined.truncate(
                t.length().map_or(usize::MAX, |n| if n == MAX { usize::MAX } else { n.into() }),
            );
            Val::Str(joined.into())
        }
        t if t.is_binary() && op == Op::Add => {
            let joined =
                [a.val.as_bytes().unwrap_or(&[]), b.val.as_bytes().unwrap_or(&[])].concat();
            Val::Bytes(joined.into())
        }
        Ty::DateTime | Ty::SmallDateTime => {
            let parts = |t: &Typed| -> Result<(i64, i64), SqlError> {
                match cast(t, &Ty::DateTime, None)? {
                    Val::DateTime(d, u) => Ok((d.into(), u.into())),
                    _ => Ok((0, 0)),
                }
            };
            const DAY: i64 = 25_920_000;
            let ((d, t), (e, u)) = (parts(a)?, parts(b)?);
            let all = if op == Op::Add { (d + e) * DAY + t + u } else { (d - e) * DAY + t - u };
            let (day, units) = (all.div_euclid(DAY), all.rem_euclid(DAY));
            let absolute = day + i64::from(DAY_1900);
            if absolute < DAY_1753.into() || absolute > DAY_LAST.into() {
                return Err(SqlError::overflow("datetime"));
            }
            let full = Typed::new(Ty::DateTime, Val::DateTime(day as i32, units as u32));
            cast(&full, &ty, None)?
        }
        Ty::Float => {
            let (x, y) = (float(a)?, float(b)?);
            Val::Float(float_op(op, x, y)?)
        }
        Ty::Real => {
            let (x, y) = (float(a)?, float(b)?);
            let r = float_op(op, x, y)? as f32;
            if !r.is_finite() {
                return Err(overflow());
            }
            Val::Real(r)
        }
        Ty::Decimal(..) => {
            let side = |t: &Typed| -> Result<(i128, (u8, u8)), SqlError> {
                let own = t.ty.as_decimal();
                let (ty, shape) = match own {
                    Some(shape) => (Ty::Decimal(shape.0, shape.1), shape),
                    None => {
                        // a text beside a decimal takes the decimal's type
                        let other = if std::ptr::eq(t, a) { &b.ty } else { &a.ty };
                        let shape = other.as_decimal().unwrap_or((38, 0));
                        (Ty::Decimal(shape.0, shape.1), shape)
                    }
                };
                match cast(t, &ty, None)? {
                    Val::Dec(n) => Ok((n, shape)),
                    _ => Ok((0, shape)),
                }
            };
            let (n, _) = decimal::operate(op, side(a)?, side(b)?)?;
            Val::Dec(n)
        }
        Ty::Money | Ty::SmallMoney => {
            let (x, y) = (money(a)?, money(b)?);
            let n: i128 = match op {
                Op::Add => i128::from(x) + i128::from(y),
                Op::Sub => i128::from(x) - i128::from(y),
                Op::Mul => {
                    decimal::rescale(i128::from(x) * i128::from(y), 8, 4).ok_or_else(overflow)?
                }
                _ if y == 0 => return Err(SqlError::divide_by_zero()),
                Op::Div => i128::from(x) * 10_000 / i128::from(y),
                _ => i128::from(x) % i128::from(y),
            };
            let low = if ty == Ty::Money { i64::MIN } else { i32::MIN.into() };
            let high = if ty == Ty::Money { i64::MAX } else { i32::MAX.into() };
            match i64::try_from(n) {
                Ok(n) if (low..=high).contains(&n) => Val::Money(n),
                _ => return Err(overflow()),
            }
        }
        Ty::Bit => {
            let bit = |t: &Typed| t.val.as_int().unwrap_or(0) != 0;
            let (x, y) = (bit(a), bit(b));
            Val::Bit(match op {
                Op::BitAnd => x & y,
                Op::BitOr => x | y,
                _ => x ^ y,
            })
        }
        _ => {
            let int = |t: &Typed| -> Result<i64, SqlError> {
                Ok(cast(t, &ty, None)?.as_int().unwrap_or(0))
            };
            let (x, y) = (int(a)?, int(b)?);
            let n = match op {
                Op::Add => x.checked_add(y),
                Op::Sub => x.checked_sub(y),
                Op::Mul => x.checked_mul(y),
                Op::Div | Op::Mod if y == 0 => return Err(SqlError::divide_by_zero()),
                Op::Div => x.checked_div(y),
                Op::Mod => Some(x.checked_rem(y).unwrap_or(0)),
                Op::BitAnd => Some(x & y),
                Op::BitOr => Some(x | y),
                Op::BitXor => Some(x ^ y),
            };
            let n = n.ok_or_else(overflow)?;
            if !super::convert::int_range(&ty).is_some_and(|r| r.contains(&n)) {
                return Err(overflow());
            }
            Val::Int(n)
        }
    };
    Ok(Typed { ty, val })
}

fn max_of(t: &Ty) -> Ty {
    if t.is_unicode() { Ty::NVarChar(MAX) } else { Ty::VarChar(MAX) }
}

fn float(t: &Typed) -> Result<f64, SqlError> {
    match cast(t, &Ty::Float, None)? {
        Val::Float(f) => Ok(f),
        _ => Ok(0.0),
    }
}

fn money(t: &Typed) -> Result<i64, SqlError> {
    match cast(t, &Ty::Money, None)? {
        Val::Money(m) => Ok(m),
        _ => Ok(0),
    }
}

fn float_op(op: Op, x: f64, y: f64) -> Result<f64, SqlError> {
    let r = match op {
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div if y == 0.0 => return Err(SqlError::divide_by_zero()),
        Op::Div => x / y,
        Op::Mod | Op::BitAnd | Op::BitOr | Op::BitXor => {
            return Err(SqlError::invalid_operator("float", op.name()));
        }
    };
    if r.is_finite() { Ok(r) } else { Err(SqlError::overflow("float")) }
}

/// `-x`
pub fn negate(x: &Typed) -> Result<Typed, SqlError> {
    let val = match &x.val {
        Val::Null => Val::Null,
        Val::Int(i) => {
            let n = i.checked_neg().ok_or_else(|| SqlError::overflow(x.ty.name()))?;
            if x.ty == Ty::TinyInt {
                // unary minus of a tinyint is a smallint
                return Ok(Typed::new(Ty::SmallInt, Val::Int(n)));
            }
            if !super::convert::int_range(&x.ty).is_some_and(|r| r.contains(&n)) {
                return Err(SqlError::overflow(x.ty.name()));
            }
            Val::Int(n)
        }
        Val::Real(f) => Val::Real(-f),
        Val::Float(f) => Val::Float(-f),
        Val::Dec(n) => Val::Dec(-n),
        Val::Money(m) => {
            Val::Money(m.checked_neg().ok_or_else(|| SqlError::overflow(x.ty.name()))?)
        }
        _ => return Err(SqlError::invalid_operator(x.ty.name(), "minus")),
    };
    let ty = if x.is_null() && x.ty == Ty::TinyInt { Ty::SmallInt } else { x.ty };
    Ok(Typed { ty, val })
}

/// `~x`
pub fn bit_not(x: &Typed) -> Result<Typed, SqlError> {
    let val = match (&x.ty, &x.val) {
        (_, Val::Null) => Val::Null,
        (Ty::TinyInt, Val::Int(i)) => Val::Int(255 - i),
        (_, Val::Int(i)) => Val::Int(!i),
        (_, Val::Bit(b)) => Val::Bit(!b),
        _ => return Err(SqlError::invalid_operator(x.ty.name(), "'~'")),
    };
    Ok(Typed { ty: x.ty, val })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let dec = |n, p, s| Typed::new(Ty::Decimal(p, s), Val::Dec(n));
        let money = |m| Typed::new(Ty::Money, Val::Money(m));
        let tiny = |i| Typed::new(Ty::TinyInt, Val::Int(i));
        for (op, a, b, want) in [
            (Op::Div, Typed::int(7), Typed::int(-2), Typed::int(-3)),
            (Op::Mod, Typed::int(-7), Typed::int(3), Typed::int(-1)),
            (Op::Add, Typed::int(1), Typed::bigint(2), Typed::bigint(3)),
            (Op::Add, Typed::int(1), Typed::varchar("2"), Typed::int(3)),
            (Op::Mul, dec(15, 2, 1), Typed::int(2), dec(30, 13, 1)),
            (Op::Div, money(10_000), money(30_000), money(3333)),
            (Op::Mul, money(15_000), Typed::int(3), money(45_000)),
            (Op::BitAnd, Typed::int(6), Typed::int(3), Typed::int(2)),
            (Op::BitAnd, Typed::binary(&[0x0F]), Typed::int(0xFA), Typed::int(0x0A)),
            (Op::Add, Typed::null(Ty::Int), Typed::int(1), Typed::null(Ty::Int)),
            (Op::Add, tiny(1), tiny(2), tiny(3)),
        ] {
            assert_eq!(arith(op, &a, &b).unwrap(), want, "{op:?} {a:?} {b:?}");
        }
        for (op, a, b, number) in [
            (Op::Add, Typed::int(i32::MAX), Typed::int(1), 8115),
            (Op::Add, tiny(255), tiny(1), 8115),
            (Op::Div, Typed::int(1), Typed::int(0), 8134),
            (Op::Add, Typed::varchar("a"), Typed::int(1), 245),
            (Op::Sub, Typed::varchar("a"), Typed::varchar("b"), 8117),
            (Op::Add, Typed::null(Ty::DateTime2(7)), Typed::int(1), 206),
        ] {
            assert_eq!(arith(op, &a, &b).unwrap_err().number, number, "{op:?} {a:?} {b:?}");
        }
        let joined = arith(Op::Add, &Typed::varchar("ab"), &Typed::nvarchar("c")).unwrap();
        assert_eq!(joined, Typed::new(Ty::NVarChar(3), Val::str("abc")));
    }
}
