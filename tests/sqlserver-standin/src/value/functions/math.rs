//! Mathematical functions.

use super::super::{SqlError, Ty, Typed, Val, decimal};
use super::Args;

/// Calls a mathematical function; `None` when there is no such function here.
pub(super) fn call(a: &Args<'_>) -> Option<Result<Typed, SqlError>> {
    Some(match a.name {
        "abs" => abs(a),
        "sign" => sign(a),
        "floor" => whole(a, false),
        "ceiling" => whole(a, true),
        "round" => round(a),
        "power" => power(a),
        "sqrt" => float(a, f64::sqrt),
        "square" => float(a, |f| f * f),
        "exp" => float(a, f64::exp),
        "log10" => float(a, f64::log10),
        "log" => log(a),
        "sin" => float(a, f64::sin),
        "cos" => float(a, f64::cos),
        "tan" => float(a, f64::tan),
        "atan" => float(a, f64::atan),
        "pi" => a.count(0).map(|()| Typed::float(std::f64::consts::PI)),
        "rand" => rand(a),
        "isnumeric" => is_numeric(a),
        _ => return None,
    })
}

/// The type these functions return for an argument: small integers become int, texts and bits float.
fn widened(ty: &Ty) -> Ty {
    match ty {
        Ty::TinyInt | Ty::SmallInt | Ty::Int => Ty::Int,
        Ty::BigInt => Ty::BigInt,
        Ty::Decimal(p, s) => Ty::Decimal(*p, *s),
        Ty::Money | Ty::SmallMoney => Ty::Money,
        _ => Ty::Float,
    }
}

fn number(a: &Args<'_>) -> Result<(Ty, Val), SqlError> {
    let x = a.get(0)?;
    if !x.ty.is_number() && !x.ty.is_text() {
        return Err(SqlError::invalid_argument(x.ty.name(), 1, a.name));
    }
    let ty = widened(&x.ty);
    Ok((ty, super::super::cast(x, &ty, None)?))
}

fn abs(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let (ty, val) = number(a)?;
    let overflow = || SqlError::overflow(ty.name());
    let val = match val {
        Val::Int(i) if ty == Ty::Int && i == i64::from(i32::MIN) => return Err(overflow()),
        Val::Int(i) => Val::Int(i.checked_abs().ok_or_else(overflow)?),
        Val::Money(i) => Val::Money(i.checked_abs().ok_or_else(overflow)?),
        Val::Dec(n) => Val::Dec(n.abs()),
        Val::Float(f) => Val::Float(f.abs()),
        other => other,
    };
    Ok(Typed { ty, val })
}

fn sign(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let (ty, val) = number(a)?;
    let val = match val {
        Val::Int(i) => Val::Int(i.signum()),
        Val::Money(i) => Val::Money(i.signum() * 10_000),
        Val::Dec(n) => Val::Dec(n.signum() * decimal::pow10(ty.scale())),
        Val::Float(f) => Val::Float(if f == 0.0 { 0.0 } else { f.signum() }),
        other => other,
    };
    Ok(Typed { ty, val })
}

fn whole(a: &Args<'_>, up: bool) -> Result<Typed, SqlError> {
    a.count(1)?;
    let (ty, val) = number(a)?;
    let step = |n: i128, unit: i128| {
        let low = n.div_euclid(unit);
        if up && n.rem_euclid(unit) != 0 { low + 1 } else { low }
    };
    Ok(match val {
        Val::Dec(n) => Typed::new(
            Ty::Decimal(ty.precision(), 0),
            Val::Dec(step(n, decimal::pow10(ty.scale()))),
        ),
        Val::Null if matches!(ty, Ty::Decimal(..)) => Typed::null(Ty::Decimal(ty.precision(), 0)),
        Val::Money(m) => {
            let n = step(m.into(), 10_000) * 10_000;
            let m = i64::try_from(n).map_err(|_| SqlError::overflow("money"))?;
            Typed::new(ty, Val::Money(m))
        }
        Val::Float(f) => Typed::new(ty, Val::Float(if up { f.ceil() } else { f.floor() })),
        val => Typed { ty, val },
    })
}

fn round(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(2, 3)?;
    let (ty, val) = number(a)?;
    let Some(digits) = a.int(1)? else { return Ok(Typed::null(ty)) };
    let digits = digits.clamp(-1000, 1000);
    let cut = a.list.len() == 3 && a.int(2)?.is_some_and(|f| f != 0);
    let at = |n: i128, scale: i64| -> i128 {
        let places = scale - digits;
        if places <= 0 {
            return n;
        }
        if places > 38 {
            return 0;
        }
        let unit = 10i128.pow(places as u32);
        let (q, r) = (n / unit, n % unit);
        if !cut && r.abs() >= unit - r.abs() { (q + n.signum()) * unit } else { q * unit }
    };
    let overflow = || SqlError::overflow(ty.name());
    let val = match val {
        Val::Int(i) => {
            let n = i64::try_from(at(i.into(), 0)).map_err(|_| overflow())?;
            if ty == Ty::Int && i32::try_from(n).is_err() {
                return Err(overflow());
            }
            Val::Int(n)
        }
        Val::Money(m) => Val::Money(i64::try_from(at(m.into(), 4)).map_err(|_| overflow())?),
        Val::Dec(n) => {
            let n = at(n, ty.scale().into());
            if !decimal::fits(n, ty.precision()) {
                return Err(SqlError::overflow("numeric"));
            }
            Val::Dec(n)
        }
        Val::Float(f) => {
            let unit = 10f64.powi(digits.clamp(-300, 300) as i32);
            let scaled = f * unit;
            let r = if cut { scaled.trunc() } else { scaled.round() } / unit;
            Val::Float(if r.is_finite() { r } else { f })
        }
        other => other,
    };
    Ok(Typed { ty, val })
}

fn power(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let ty = widened(&a.ty(0)?);
    let (Some(x), Some(y)) = (a.float(0)?, a.float(1)?) else { return Ok(Typed::null(ty)) };
    if let (Val::Int(base), Some(n)) = (&a.get(0)?.val, a.int(1)?)
        && ty != Ty::Float
        && y.fract() == 0.0
        && n >= 0
    {
        let r = u32::try_from(n).ok().and_then(|n| base.checked_pow(n));
        return match r {
            Some(r) if ty == Ty::BigInt || i32::try_from(r).is_ok() => {
                Ok(Typed::new(ty, Val::Int(r)))
            }
            _ => Err(SqlError::new(
                232,
                format!(
                    "Arithmetic overflow error for type {}, value = {:.6}.",
                    ty.name(),
                    x.powf(y)
                ),
            )
            .state(3)),
        };
    }
    let r = x.powf(y);
    if !r.is_finite() {
        return Err(SqlError::new(3623, "An invalid floating point operation occurred."));
    }
    let val = super::super::cast(&Typed::float(r), &ty, None)?;
    Ok(Typed { ty, val })
}

fn float(a: &Args<'_>, f: impl Fn(f64) -> f64) -> Result<Typed, SqlError> {
    a.count(1)?;
    let Some(x) = a.float(0)? else { return Ok(Typed::null(Ty::Float)) };
    let r = f(x);
    if r.is_finite() {
        Ok(Typed::float(r))
    } else {
        Err(SqlError::new(3623, "An invalid floating point operation occurred."))
    }
}

fn log(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(1, 2)?;
    let base = if a.list.len() == 2 { a.float(1)? } else { Some(std::f64::consts::E) };
    let (Some(x), Some(base)) = (a.float(0)?, base) else { return Ok(Typed::null(Ty::Float)) };
    let r = if a.list.len() == 2 { x.ln() / base.ln() } else { x.ln() };
    if r.is_finite() {
        Ok(Typed::float(r))
    } else {
        Err(SqlError::new(3623, "An invalid floating point operation occurred."))
    }
}

/// RAND(seed). Without a seed the executor has the state, so it is not here.
fn rand(a: &Args<'_>) -> Result<Typed, SqlError> {
    if a.list.is_empty() {
        return Err(SqlError::unknown("RAND() without a seed"));
    }
    a.count(1)?;
    let seed = a.int(0)?.unwrap_or(0) as u64;
    // one step of a splitmix generator: the same seed gives the same number, which is all tests need
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    Ok(Typed::float((z >> 11) as f64 / (1u64 << 53) as f64))
}

fn is_numeric(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let x = a.get(0)?;
    // these alone count as numbers: learn.microsoft.com/sql/t-sql/functions/isnumeric-transact-sql
    let sign = x.ty.is_text()
        && x.val.as_str().is_some_and(|s| matches!(s.trim(), "+" | "-" | "$" | "." | ","));
    let yes = !x.is_null()
        && (sign
            || x.ty.is_number()
            || (x.ty.is_text()
                && [Ty::Decimal(38, 10), Ty::Float, Ty::Money]
                    .iter()
                    .any(|t| super::super::cast(x, t, None).is_ok())
                && x.val.as_str().is_some_and(|s| !s.trim().is_empty())));
    Ok(Typed::int(yes.into()))
}

#[cfg(test)]
mod tests {
    use super::super::call as function;
    use super::*;

    #[test]
    fn numbers() {
        let dec = |n, p, s| Typed::new(Ty::Decimal(p, s), Val::Dec(n));
        let i = Typed::int;
        for (name, list, want) in [
            ("abs", vec![i(-3)], i(3)),
            ("floor", vec![dec(-150, 5, 2)], dec(-2, 5, 0)),
            ("ceiling", vec![dec(150, 5, 2)], dec(2, 5, 0)),
            ("round", vec![dec(1255, 5, 2), i(1)], dec(1260, 5, 2)),
            ("round", vec![dec(1255, 5, 2), i(1), i(1)], dec(1250, 5, 2)),
            ("round", vec![i(155), i(-1)], i(160)),
            ("round", vec![Typed::float(2.5), i(0)], Typed::float(3.0)),
            ("power", vec![i(2), i(10)], i(1024)),
            ("sqrt", vec![i(9)], Typed::float(3.0)),
            ("sign", vec![i(-9)], i(-1)),
            ("isnumeric", vec![Typed::varchar("1e5")], i(1)),
            ("isnumeric", vec![Typed::varchar("x")], i(0)),
        ] {
            assert_eq!(function(name, &list).unwrap().unwrap(), want, "{name} {list:?}");
        }
        assert_eq!(function("sqrt", &[i(-1)]).unwrap().unwrap_err().number, 3623);
        let r = function("rand", &[i(1)]).unwrap().unwrap();
        assert_eq!(r, function("rand", &[i(1)]).unwrap().unwrap());
    }
}
