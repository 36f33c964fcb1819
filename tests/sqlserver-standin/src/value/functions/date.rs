//! Date and time functions. The clock is the executor's.

use super::super::calendar::{
    DAY_1753, DAY_1900, DAY_LAST, DAY_NAMES, MONTH_NAMES, TICKS_PER_DAY, TICKS_PER_MINUTE,
    TICKS_PER_SECOND, civil_from_days, datetime_from_civil, days_from_civil, days_in_month,
};
use super::super::{SqlError, Ty, Typed, Val, cast};
use super::Args;

/// A part of a date, as DATEADD, DATEDIFF and DATEPART name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Year,
    Quarter,
    Month,
    DayOfYear,
    Day,
    Week,
    WeekDay,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Offset,
    IsoWeek,
}

impl Part {
    /// By any of its names.
    pub fn parse(name: &str) -> Result<Self, SqlError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "year" | "yy" | "yyyy" => Self::Year,
            "quarter" | "qq" | "q" => Self::Quarter,
            "month" | "mm" | "m" => Self::Month,
            "dayofyear" | "dy" | "y" => Self::DayOfYear,
            "day" | "dd" | "d" => Self::Day,
            "week" | "wk" | "ww" => Self::Week,
            "weekday" | "dw" | "w" => Self::WeekDay,
            "hour" | "hh" => Self::Hour,
            "minute" | "mi" | "n" => Self::Minute,
            "second" | "ss" | "s" => Self::Second,
            "millisecond" | "ms" => Self::Millisecond,
            "microsecond" | "mcs" => Self::Microsecond,
            "nanosecond" | "ns" => Self::Nanosecond,
            "tzoffset" | "tz" => Self::Offset,
            "iso_week" | "isowk" | "isoww" => Self::IsoWeek,
            other => {
                let m = format!("'{other}' is not a recognized datepart option.");
                return Err(SqlError::new(155, m).class(15));
            }
        })
    }
}

/// The date part may arrive as a text argument: DATEADD, DATEDIFF, DATEPART, DATENAME.
fn part_of(a: &Args<'_>) -> Result<Part, SqlError> {
    Part::parse(&a.string(0)?.unwrap_or_default())
}

/// Calls a date function; `None` when there is no such function here.
pub(super) fn call(a: &Args<'_>) -> Option<Result<Typed, SqlError>> {
    Some(match a.name {
        "dateadd" => a.count(3).and_then(|()| date_add(part_of(a)?, a.get(1)?, a.get(2)?)),
        "datediff" => a.count(3).and_then(|()| date_diff(part_of(a)?, a.get(1)?, a.get(2)?, false)),
        "datediff_big" => {
            a.count(3).and_then(|()| date_diff(part_of(a)?, a.get(1)?, a.get(2)?, true))
        }
        "datepart" => a.count(2).and_then(|()| date_part(part_of(a)?, a.get(1)?)),
        "datename" => a.count(2).and_then(|()| date_name(part_of(a)?, a.get(1)?)),
        "year" => a.count(1).and_then(|()| date_part(Part::Year, a.get(0)?)),
        "month" => a.count(1).and_then(|()| date_part(Part::Month, a.get(0)?)),
        "day" => a.count(1).and_then(|()| date_part(Part::Day, a.get(0)?)),
        "eomonth" => end_of_month(a),
        "datefromparts" => date_from_parts(a),
        "datetimefromparts" => datetime_from_parts(a),
        "datetime2fromparts" => datetime2_from_parts(a),
        "timefromparts" => time_from_parts(a),
        "switchoffset" => offset_call(a, true),
        "todatetimeoffset" => offset_call(a, false),
        "isdate" => is_date(a),
        _ => return None,
    })
}

/// A local moment with the type it came in.
struct Local {
    ty: Ty,
    day: i32,
    ticks: u64,
    offset: i16,
}

/// Texts and numbers count as datetime (texts as datetime2 where the digits ask for it).
fn local(x: &Typed) -> Result<Option<Local>, SqlError> {
    let x = if x.ty.is_date() {
        x.clone()
    } else if x.ty.is_text() {
        let ty = Ty::DateTimeOffset(7);
        let val = cast(x, &ty, None)?;
        Typed { ty, val }
    } else {
        Typed { ty: Ty::DateTime, val: cast(x, &Ty::DateTime, None)? }
    };
    let offset = match x.val {
        Val::Null => return Ok(None),
        Val::DateTimeOffset { offset, .. } => offset,
        _ => 0,
    };
    let ty = x.ty;
    let full = match x.val {
        Val::DateTimeOffset { .. } => x.val,
        Val::Time(_)
        | Val::Date(_)
        | Val::DateTime2(..)
        | Val::DateTime(..)
        | Val::SmallDateTime(..) => cast(&x, &Ty::DateTimeOffset(7), None)?,
        _ => return Ok(None),
    };
    let Val::DateTimeOffset { day, ticks, .. } = full else { return Ok(None) };
    let (day, ticks) = super::super::convert::local_moment(day, ticks, offset);
    Ok(Some(Local { ty, day, ticks, offset }))
}

/// A local moment as a value of its type.
fn back(l: &Local) -> Result<Typed, SqlError> {
    let text_like = Typed::new(Ty::DateTime2(7), Val::DateTime2(l.day, l.ticks));
    let val = match l.ty {
        Ty::DateTimeOffset(_) => {
            let per_day = TICKS_PER_DAY as i64;
            let t = l.ticks as i64 - i64::from(l.offset) * TICKS_PER_MINUTE as i64;
            Val::DateTimeOffset {
                day: l.day + t.div_euclid(per_day) as i32,
                ticks: t.rem_euclid(per_day) as u64,
                offset: l.offset,
            }
        }
        _ => cast(&text_like, &l.ty, None)?,
    };
    Ok(Typed { ty: l.ty, val })
}

/// DATEADD
pub fn date_add(part: Part, n: &Typed, x: &Typed) -> Result<Typed, SqlError> {
    let ty = if x.ty.is_date() { x.ty } else { Ty::DateTime };
    let (Some(n), Some(mut l)) = (n.to_i64()?, local(x)?) else { return Ok(Typed::null(ty)) };
    l.ty = ty;
    let not_for = || {
        SqlError::new(
            9810,
            format!(
                "The datepart {part:?} is not supported by date function dateadd for data type {}.",
                ty.name()
            ),
        )
    };
    let small = matches!(
        part,
        Part::Hour
            | Part::Minute
            | Part::Second
            | Part::Millisecond
            | Part::Microsecond
            | Part::Nanosecond
    );
    if (ty == Ty::Date && small) || (matches!(ty, Ty::Time(_)) && !small) {
        return Err(not_for());
    }
    let overflow = || SqlError::adding_overflow(ty.name());
    let months = match part {
        Part::Year => Some(n.saturating_mul(12)),
        Part::Quarter => Some(n.saturating_mul(3)),
        Part::Month => Some(n),
        _ => None,
    };
    if let Some(months) = months {
        let c = civil_from_days(l.day);
        let all = i64::from(c.year) * 12 + i64::from(c.month) - 1;
        let all = all.saturating_add(months);
        let (year, month) = (all.div_euclid(12), all.rem_euclid(12) as u32 + 1);
        let year = i32::try_from(year).map_err(|_| overflow())?;
        if !(1..=9999).contains(&year) {
            return Err(overflow());
        }
        l.day = days_from_civil(year, month, c.day.min(days_in_month(year, month)));
    } else {
        let ticks: i128 = match part {
            Part::DayOfYear | Part::Day | Part::WeekDay => i128::from(TICKS_PER_DAY),
            Part::Week | Part::IsoWeek => i128::from(TICKS_PER_DAY) * 7,
            Part::Hour => i128::from(TICKS_PER_MINUTE) * 60,
            Part::Minute => TICKS_PER_MINUTE.into(),
            Part::Second => TICKS_PER_SECOND.into(),
            Part::Millisecond => 10_000,
            Part::Microsecond => 10,
            Part::Nanosecond => 1,
            Part::Offset | Part::Year | Part::Quarter | Part::Month => return Err(not_for()),
        };
        // nanoseconds count in hundreds, rounded
        let delta = if part == Part::Nanosecond {
            (i128::from(n) + if n < 0 { -50 } else { 50 }) / 100
        } else {
            i128::from(n) * ticks
        };
        let per_day = i128::from(TICKS_PER_DAY);
        let all = i128::from(l.day) * per_day + i128::from(l.ticks) + delta;
        let all = if matches!(ty, Ty::Time(_)) {
            all.rem_euclid(per_day) + i128::from(DAY_1900) * per_day
        } else {
            all
        };
        l.day = i32::try_from(all.div_euclid(per_day)).map_err(|_| overflow())?;
        l.ticks = all.rem_euclid(per_day) as u64;
    }
    let first = if matches!(ty, Ty::DateTime) { DAY_1753 } else { 0 };
    if l.day < first || l.day > DAY_LAST {
        return Err(overflow());
    }
    back(&l)
}

/// DATEDIFF and DATEDIFF_BIG: boundaries crossed, not time passed.
pub fn date_diff(part: Part, from: &Typed, to: &Typed, big: bool) -> Result<Typed, SqlError> {
    let ty = if big { Ty::BigInt } else { Ty::Int };
    let (Some(a), Some(b)) = (local(from)?, local(to)?) else { return Ok(Typed::null(ty)) };
    // with offsets the difference is taken in UTC
    let utc = |l: &Local| {
        i128::from(l.day) * i128::from(TICKS_PER_DAY) + i128::from(l.ticks)
            - i128::from(l.offset) * i128::from(TICKS_PER_MINUTE)
    };
    let count = |unit: i128| utc(&b).div_euclid(unit) - utc(&a).div_euclid(unit);
    let month = |l: &Local| {
        let c = civil_from_days((utc(l).div_euclid(i128::from(TICKS_PER_DAY))) as i32);
        i128::from(c.year) * 12 + i128::from(c.month) - 1
    };
    let day = i128::from(TICKS_PER_DAY);
    let n = match part {
        Part::Year => month(&b).div_euclid(12) - month(&a).div_euclid(12),
        Part::Quarter => month(&b).div_euclid(3) - month(&a).div_euclid(3),
        Part::Month => month(&b) - month(&a),
        Part::DayOfYear | Part::Day | Part::WeekDay => count(day),
        // weeks begin on Sunday whatever DATEFIRST is; 0001-01-01 was a Monday
        Part::Week | Part::IsoWeek => {
            (utc(&b) + day).div_euclid(7 * day) - (utc(&a) + day).div_euclid(7 * day)
        }
        Part::Hour => count(i128::from(TICKS_PER_MINUTE) * 60),
        Part::Minute => count(TICKS_PER_MINUTE.into()),
        Part::Second => count(TICKS_PER_SECOND.into()),
        Part::Millisecond => count(10_000),
        Part::Microsecond => count(10),
        Part::Nanosecond => count(1) * 100,
        Part::Offset => {
            return Err(SqlError::new(
                9806,
                "The datepart tzoffset is not supported by date function datediff.",
            ));
        }
    };
    let overflow = || {
        SqlError::new(535, "The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff with a less precise datepart.").state(0)
    };
    let n = i64::try_from(n).map_err(|_| overflow())?;
    if !big && i32::try_from(n).is_err() {
        return Err(overflow());
    }
    Ok(Typed::new(ty, Val::Int(n)))
}

fn week_day(day: i32) -> i64 {
    // DATEFIRST 7: Sunday is 1; day 0 was a Monday
    i64::from((day + 1).rem_euclid(7)) + 1
}

/// DATEPART
pub fn date_part(part: Part, x: &Typed) -> Result<Typed, SqlError> {
    let Some(l) = local(x)? else { return Ok(Typed::null(Ty::Int)) };
    let c = civil_from_days(l.day);
    let fraction = l.ticks % TICKS_PER_SECOND;
    let seconds = (l.ticks / TICKS_PER_SECOND) as i64;
    let first = days_from_civil(c.year, 1, 1);
    let n = match part {
        Part::Year => c.year.into(),
        Part::Quarter => i64::from((c.month - 1) / 3 + 1),
        Part::Month => c.month.into(),
        Part::DayOfYear => i64::from(l.day - first) + 1,
        Part::Day => c.day.into(),
        Part::Week => (i64::from(l.day - first) + week_day(first) - 1) / 7 + 1,
        Part::WeekDay => week_day(l.day),
        Part::Hour => seconds / 3600,
        Part::Minute => seconds / 60 % 60,
        Part::Second => seconds % 60,
        Part::Millisecond => {
            (fraction / 10_000) as i64
                + i64::from(l.ty == Ty::DateTime && fraction % 10_000 >= 5000)
        }
        Part::Microsecond => (fraction / 10) as i64,
        Part::Nanosecond => (fraction * 100) as i64,
        Part::Offset => l.offset.into(),
        Part::IsoWeek => {
            // the week of the Thursday
            let thursday = l.day - l.day.rem_euclid(7) + 3;
            let y = civil_from_days(thursday).year;
            i64::from((thursday - days_from_civil(y, 1, 1)) / 7) + 1
        }
    };
    Ok(Typed::new(Ty::Int, Val::Int(n)))
}

/// DATENAME
pub fn date_name(part: Part, x: &Typed) -> Result<Typed, SqlError> {
    let ty = Ty::NVarChar(30);
    let Some(l) = local(x)? else { return Ok(Typed::null(ty)) };
    let text = match part {
        Part::Month => MONTH_NAMES[civil_from_days(l.day).month as usize - 1].to_owned(),
        Part::WeekDay => DAY_NAMES[l.day.rem_euclid(7) as usize].to_owned(),
        Part::Offset => {
            let minutes = l.offset.unsigned_abs();
            format!(
                "{}{:02}:{:02}",
                if l.offset < 0 { '-' } else { '+' },
                minutes / 60,
                minutes % 60
            )
        }
        _ => date_part(part, x)?.val.as_int().unwrap_or(0).to_string(),
    };
    Ok(Typed::new(ty, Val::str(&text)))
}

fn end_of_month(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(1, 2)?;
    let months = if a.list.len() == 2 { a.get(1)?.clone() } else { Typed::int(0) };
    let date = Typed::new(Ty::Date, cast(a.get(0)?, &Ty::Date, None)?);
    let Val::Date(day) = date_add(Part::Month, &months, &date)?.val else {
        return Ok(Typed::null(Ty::Date));
    };
    let c = civil_from_days(day);
    let last = days_from_civil(c.year, c.month, days_in_month(c.year, c.month));
    Ok(Typed::new(Ty::Date, Val::Date(last)))
}

/// All arguments as integers; `None` when one is NULL.
fn integers(a: &Args<'_>, count: usize) -> Result<Option<Vec<i64>>, SqlError> {
    a.count(count)?;
    (0..count).map(|i| a.int(i)).collect()
}

fn invalid(what: &str) -> SqlError {
    SqlError::new(
        289,
        format!(
            "Cannot construct data type {what}, some of the arguments have values which are not valid."
        ),
    )
}

fn day_of(p: &[i64]) -> Option<i32> {
    let [y, m, d, ..] = p else { return None };
    datetime_from_civil(i32::try_from(*y).ok()?, u32::try_from(*m).ok()?, u32::try_from(*d).ok()?)
}

fn clock_of(p: &[i64]) -> Option<u64> {
    let [h, m, s, ..] = p else { return None };
    ((0..24).contains(h) && (0..60).contains(m) && (0..60).contains(s))
        .then(|| (h * 3600 + m * 60 + s) as u64 * TICKS_PER_SECOND)
}

fn fraction_of(f: i64, scale: i64) -> Option<u64> {
    let scale = u32::try_from(scale).ok().filter(|s| *s <= 7)?;
    let f = u64::try_from(f).ok().filter(|f| *f < 10u64.pow(scale))?;
    Some(f * 10u64.pow(7 - scale))
}

fn date_from_parts(a: &Args<'_>) -> Result<Typed, SqlError> {
    let Some(p) = integers(a, 3)? else { return Ok(Typed::null(Ty::Date)) };
    let day = day_of(&p).ok_or_else(|| invalid("date"))?;
    Ok(Typed::new(Ty::Date, Val::Date(day)))
}

fn datetime_from_parts(a: &Args<'_>) -> Result<Typed, SqlError> {
    let Some(p) = integers(a, 7)? else { return Ok(Typed::null(Ty::DateTime)) };
    let parts = || Some((day_of(&p)?, clock_of(&p[3..])? + fraction_of(p[6], 3)?));
    let (day, ticks) = parts().ok_or_else(|| invalid("datetime"))?;
    let full = Typed::new(Ty::DateTime2(7), Val::DateTime2(day, ticks));
    Ok(Typed::new(Ty::DateTime, cast(&full, &Ty::DateTime, None)?))
}

fn datetime2_from_parts(a: &Args<'_>) -> Result<Typed, SqlError> {
    let Some(p) = integers(a, 8)? else { return Ok(Typed::null(Ty::DateTime2(7))) };
    let parts = || Some((day_of(&p)?, clock_of(&p[3..])? + fraction_of(p[6], p[7])?));
    let (day, ticks) = parts().ok_or_else(|| invalid("datetime2"))?;
    Ok(Typed::new(Ty::DateTime2(p[7] as u8), Val::DateTime2(day, ticks)))
}

fn time_from_parts(a: &Args<'_>) -> Result<Typed, SqlError> {
    let Some(p) = integers(a, 5)? else { return Ok(Typed::null(Ty::Time(7))) };
    let parts = || Some(clock_of(&p)? + fraction_of(p[3], p[4])?);
    let ticks = parts().ok_or_else(|| invalid("time"))?;
    Ok(Typed::new(Ty::Time(p[4] as u8), Val::Time(ticks)))
}

/// SWITCHOFFSET keeps the moment, TODATETIMEOFFSET keeps the local time.
fn offset_call(a: &Args<'_>, switch: bool) -> Result<Typed, SqlError> {
    a.count(2)?;
    let scale = match a.ty(0)? {
        Ty::DateTime2(s) | Ty::DateTimeOffset(s) => s,
        Ty::DateTime => 3,
        _ => 7,
    };
    let ty = Ty::DateTimeOffset(scale);
    let zone = a.get(1)?;
    let minutes = if zone.ty.is_text() {
        match a.string(1)? {
            None => None,
            Some(s) => {
                let (sign, rest) = match s.trim().split_at_checked(1) {
                    Some(("-", r)) => (-1, r),
                    Some(("+", r)) => (1, r),
                    _ => return Err(invalid_zone()),
                };
                let (h, m) = rest.split_once(':').ok_or_else(invalid_zone)?;
                match (h.parse::<i64>(), m.parse::<i64>()) {
                    (Ok(h @ 0..=14), Ok(m @ 0..=59)) => Some(sign * (h * 60 + m)),
                    _ => return Err(invalid_zone()),
                }
            }
        }
    } else {
        a.int(1)?
    };
    let x = Typed::new(ty, cast(a.get(0)?, &ty, None)?);
    let (Some(minutes), Val::DateTimeOffset { day, ticks, offset }) = (minutes, &x.val) else {
        return Ok(Typed::null(ty));
    };
    if minutes.unsigned_abs() > 840 {
        return Err(invalid_zone());
    }
    let new = minutes as i16;
    if switch {
        return Ok(Typed::new(ty, Val::DateTimeOffset { day: *day, ticks: *ticks, offset: new }));
    }
    let (day, ticks) = super::super::convert::local_moment(*day, *ticks, *offset);
    back(&Local { ty, day, ticks, offset: new })
}

fn invalid_zone() -> SqlError {
    SqlError::new(9812, "The timezone provided to builtin function is invalid.")
}

fn is_date(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let x = a.get(0)?;
    let ok = !x.is_null()
        && (x.ty.is_text() || matches!(x.ty, Ty::DateTime | Ty::SmallDateTime))
        && cast(x, &Ty::DateTime, None).is_ok();
    Ok(Typed::int(ok.into()))
}

/// The patterns of FORMAT for dates that tests use.
pub(super) fn format_date(x: &Typed, pattern: &str) -> Option<Result<String, SqlError>> {
    let l = match local(x) {
        Ok(l) => l?,
        Err(e) => return Some(Err(e)),
    };
    let c = civil_from_days(l.day);
    let seconds = l.ticks / TICKS_PER_SECOND;
    let mut out = String::new();
    let chars: Vec<char> = pattern.chars().collect();
    // one letter is the name of a pattern, which depends on the culture
    if chars.len() == 1 {
        return None;
    }
    let mut i = 0;
    while let Some(&ch) = chars.get(i) {
        let n = chars[i..].iter().take_while(|x| **x == ch).count();
        i += n;
        match (ch, n) {
            ('y', 4) => out.push_str(&format!("{:04}", c.year)),
            ('y', 2) => out.push_str(&format!("{:02}", c.year % 100)),
            ('M', 4) => out.push_str(MONTH_NAMES[c.month as usize - 1]),
            ('M', 3) => out.push_str(&MONTH_NAMES[c.month as usize - 1][..3]),
            ('M', 1 | 2) => out.push_str(&format!("{:0n$}", c.month)),
            ('d', 1 | 2) => out.push_str(&format!("{:0n$}", c.day)),
            ('H', 1 | 2) => out.push_str(&format!("{:0n$}", seconds / 3600)),
            ('m', 1 | 2) => out.push_str(&format!("{:0n$}", seconds / 60 % 60)),
            ('s', 1 | 2) => out.push_str(&format!("{:0n$}", seconds % 60)),
            ('f', 1..=7) => out.push_str(&format!("{:07}", l.ticks % TICKS_PER_SECOND)[..n]),
            ('-' | ':' | '/' | '.' | ' ' | 'T', _) => out.extend(std::iter::repeat_n(ch, n)),
            _ => return None,
        }
    }
    Some(Ok(out))
}

#[cfg(test)]
mod tests {
    use super::super::call as function;
    use super::*;

    fn at(s: &str, ty: Ty) -> Typed {
        Typed::new(ty, cast(&Typed::varchar(s), &ty, None).unwrap())
    }
    fn show(t: &Typed) -> String {
        cast(t, &Ty::VarChar(60), Some(121)).unwrap().as_str().unwrap_or_else(|| "NULL".to_owned())
    }

    #[test]
    fn dates() {
        let v = Typed::varchar;
        let i = Typed::int;
        let d2 = |s| at(s, Ty::DateTime2(7));
        for (name, list, want) in [
            ("dateadd", vec![v("month"), i(1), at("2024-01-31", Ty::Date)], "2024-02-29"),
            (
                "dateadd",
                vec![v("day"), i(-1), at("2024-03-01", Ty::DateTime)],
                "2024-02-29 00:00:00.000",
            ),
            ("dateadd", vec![v("ns"), i(150), d2("2024-01-01")], "2024-01-01 00:00:00.0000002"),
            ("dateadd", vec![v("hour"), i(25), at("23:00", Ty::Time(0))], "00:00:00"),
            ("eomonth", vec![at("2024-02-03", Ty::Date)], "2024-02-29"),
            ("datefromparts", vec![i(2024), i(2), i(29)], "2024-02-29"),
            (
                "datetime2fromparts",
                vec![i(2024), i(2), i(29), i(1), i(2), i(3), i(5), i(1)],
                "2024-02-29 01:02:03.5",
            ),
            (
                "switchoffset",
                vec![at("2024-01-01 00:00 +00:00", Ty::DateTimeOffset(0)), v("-05:00")],
                "2023-12-31 19:00:00 -05:00",
            ),
            (
                "todatetimeoffset",
                vec![at("2024-01-01", Ty::DateTime2(0)), v("+02:00")],
                "2024-01-01 00:00:00 +02:00",
            ),
        ] {
            assert_eq!(show(&function(name, &list).unwrap().unwrap()), want, "{name} {list:?}");
        }
        for (name, list, want) in [
            ("datediff", vec![v("year"), d2("2023-12-31"), d2("2024-01-01")], 1),
            ("datediff", vec![v("day"), d2("2023-12-31 23:59"), d2("2024-01-01")], 1),
            ("datediff", vec![v("week"), d2("2024-01-06"), d2("2024-01-07")], 1),
            ("datediff_big", vec![v("ns"), d2("2024-01-01"), d2("2024-01-02")], 86_400_000_000_000),
            ("datepart", vec![v("weekday"), d2("2024-01-07")], 1),
            ("datepart", vec![v("iso_week"), d2("2021-01-03")], 53),
            ("datepart", vec![v("ns"), d2("2024-01-01 00:00:00.1234567")], 123_456_700),
            ("year", vec![d2("2024-01-01")], 2024),
            ("isdate", vec![v("2024-02-30")], 0),
            ("isdate", vec![v("2024-02-29")], 1),
        ] {
            assert_eq!(
                function(name, &list).unwrap().unwrap().val.as_int(),
                Some(want),
                "{name} {list:?}"
            );
        }
        let name = function("datename", &[v("weekday"), d2("2024-01-01")]).unwrap().unwrap();
        assert_eq!(name.val.as_str().unwrap(), "Monday");
        let f = function("format", &[d2("2024-02-29 01:02:03.5"), v("yyyy-MM-dd HH:mm:ss.fff")])
            .unwrap();
        assert_eq!(f.unwrap().val.as_str().unwrap(), "2024-02-29 01:02:03.500");
        let too_far = function("datediff", &[v("ns"), d2("2024-01-01"), d2("2024-01-02")]).unwrap();
        assert_eq!(too_far.unwrap_err().number, 535);
    }
}
