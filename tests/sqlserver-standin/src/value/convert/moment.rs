//! Conversion to dates and times.

use super::number::to_float;
use super::refused;
use super::text::text_of;
use crate::value::calendar::{
    DAY_1753, DAY_1900, DAY_LAST, Moment, TICKS_PER_DAY, TICKS_PER_MINUTE, TICKS_PER_SECOND,
    parse_moment,
};
use crate::value::{SqlError, Ty, Typed, Val};

/// Ticks of 100 ns for 1/300 s units, rounded.
pub(in crate::value) fn datetime_ticks(units: u32) -> u64 {
    (u64::from(units) * 200_000 + 3) / 6
}

/// UTC to the local day and time of an offset.
pub(in crate::value) fn local_moment(day: i32, ticks: u64, offset: i16) -> (i32, u64) {
    shift(day, ticks, i64::from(offset))
}

/// Moves by minutes.
fn shift(day: i32, ticks: u64, minutes: i64) -> (i32, u64) {
    let per_day = TICKS_PER_DAY as i64;
    let t = ticks as i64 + minutes * TICKS_PER_MINUTE as i64;
    (day + t.div_euclid(per_day) as i32, t.rem_euclid(per_day) as u64)
}

/// Rounds ticks to a scale, half up; the second value is the days carried over.
fn round_ticks(ticks: u64, scale: u8) -> (u64, i32) {
    let unit = 10u64.pow(7 - u32::from(scale.min(7)));
    let rounded = (ticks + unit / 2) / unit * unit;
    if rounded >= TICKS_PER_DAY { (rounded - TICKS_PER_DAY, 1) } else { (rounded, 0) }
}

/// Any date type as day, ticks (local) and offset.
fn moment_of(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Moment, SqlError> {
    Ok(match &v.val {
        Val::Date(d) => Moment { day: Some(*d), ticks: None, offset: None },
        Val::Time(t) => Moment { day: None, ticks: Some(*t), offset: None },
        Val::DateTime2(d, t) => Moment { day: Some(*d), ticks: Some(*t), offset: None },
        Val::DateTimeOffset { day, ticks, offset } => {
            let (d, t) = local_moment(*day, *ticks, *offset);
            Moment { day: Some(d), ticks: Some(t), offset: Some(*offset) }
        }
        Val::DateTime(d, t) => {
            // to a scale up to 3 a datetime gives its milliseconds, above that the exact third
            let exact = datetime_ticks(*t);
            let ticks = if matches!(to, Ty::Time(s) | Ty::DateTime2(s) | Ty::DateTimeOffset(s) if *s <= 3)
            {
                (exact + 5000) / 10_000 * 10_000
            } else {
                exact
            };
            Moment { day: Some(d + DAY_1900), ticks: Some(ticks), offset: None }
        }
        Val::SmallDateTime(d, m) => Moment {
            day: Some(i32::from(*d) + DAY_1900),
            ticks: Some(u64::from(*m) * TICKS_PER_MINUTE),
            offset: None,
        },
        Val::Str(_) => {
            let s = text_of(v).unwrap_or_default();
            let m = parse_moment(&s, style).map_err(|e| {
                // a datetime that has the shape of one, but is none: 242; the newer types say 241
                if matches!(to, Ty::DateTime | Ty::SmallDateTime) && shaped(&s) {
                    SqlError::date_range(v.ty.name(), to.name())
                } else {
                    e
                }
            })?;
            if matches!(to, Ty::DateTime | Ty::SmallDateTime) {
                // datetime knows neither offsets nor more than three digits
                let digits = s
                    .rsplit_once('.')
                    .map_or(0, |(_, f)| f.bytes().take_while(u8::is_ascii_digit).count());
                if m.offset.is_some_and(|o| o != 0) || (digits > 3 && m.ticks.is_some()) {
                    return Err(SqlError::date_syntax());
                }
            }
            m
        }
        Val::Bytes(b) if matches!(to, Ty::DateTime) => {
            let mut full = [0u8; 8];
            for (to, from) in full.iter_mut().rev().zip(b.iter().rev()) {
                *to = *from;
            }
            let day = i32::from_be_bytes([full[0], full[1], full[2], full[3]]);
            let units = u32::from_be_bytes([full[4], full[5], full[6], full[7]]);
            Moment {
                day: Some(day.saturating_add(DAY_1900)),
                ticks: Some(datetime_ticks(units)),
                offset: None,
            }
        }
        Val::Bytes(_) => {
            return Err(SqlError::unknown(format_args!("a conversion of binary to {}", to.name())));
        }
        _ => {
            // a number is days since 1900
            let f = to_float(v)?;
            let day = f.floor();
            if day.abs() > 4e6 {
                return Err(SqlError::overflow(to.name()));
            }
            let units = ((f - day) * 25_920_000.0).round() as u32;
            let (day, units) = if units >= 25_920_000 { (day + 1.0, 0) } else { (day, units) };
            Moment {
                day: Some(day as i32 + DAY_1900),
                ticks: Some(datetime_ticks(units)),
                offset: None,
            }
        }
    })
}

/// Three numbers with a mark between them, or eight digits, as a date.
fn shaped(text: &str) -> bool {
    let date = text.trim().split([' ', 'T']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split(['-', '/', '.']).collect();
    let digits = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [one] => one.len() == 8 && digits(one),
        [_, _, _] => parts.iter().all(digits),
        _ => false,
    }
}

pub(super) fn to_moment(v: &Typed, to: &Ty, style: Option<i32>) -> Result<Val, SqlError> {
    let m = moment_of(v, to, style)?;
    let day = m.day.unwrap_or(DAY_1900);
    let ticks = m.ticks.unwrap_or(0);
    let from = v.ty.name();
    let range = || SqlError::date_range(from, to.name());
    Ok(match to {
        Ty::Date => Val::Date(day),
        Ty::Time(s) => Val::Time(round_ticks(ticks, *s).0),
        Ty::DateTime2(s) => {
            let (t, carry) = round_ticks(ticks, *s);
            if day + carry > DAY_LAST {
                return Err(range());
            }
            Val::DateTime2(day + carry, t)
        }
        Ty::DateTimeOffset(s) => {
            let (t, carry) = round_ticks(ticks, *s);
            let offset = m.offset.unwrap_or(0);
            let (day, ticks) = shift(day + carry, t, -i64::from(offset));
            if !(0..=DAY_LAST).contains(&day) {
                return Err(range());
            }
            Val::DateTimeOffset { day, ticks, offset }
        }
        Ty::DateTime => {
            let (day, units) = datetime_units(day, ticks);
            if !(DAY_1753..=DAY_LAST).contains(&day) {
                return Err(range());
            }
            Val::DateTime(day - DAY_1900, units)
        }
        Ty::SmallDateTime => {
            // from 29.999 s the next minute
            let minutes = (ticks + TICKS_PER_MINUTE - 299_990_000) / TICKS_PER_MINUTE;
            let (day, minutes) =
                if minutes >= 1440 { (day + 1, minutes - 1440) } else { (day, minutes) };
            match (u16::try_from(day - DAY_1900), u16::try_from(minutes)) {
                (Ok(d), Ok(m)) => Val::SmallDateTime(d, m),
                _ => return Err(range()),
            }
        }
        _ => return Err(refused(v, to)),
    })
}

/// Day and 1/300 s units of a moment, rounded.
fn datetime_units(day: i32, ticks: u64) -> (i32, u32) {
    let units = (ticks * 3 + 50_000) / 100_000;
    debug_assert!(units <= 300 * (TICKS_PER_DAY / TICKS_PER_SECOND));
    if units >= 25_920_000 { (day + 1, 0) } else { (day, units as u32) }
}
