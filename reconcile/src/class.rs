//! Why two values differ. Pure.
//!
//! A class is a hint for the person who reads the report: five rows that differ by a microsecond are a type
//! mapping, not lost data. It never makes a difference smaller: what is classified has been counted.

use causeway_change::{Column, Value, time::TICKS_PER_SECOND};
use serde::Serialize;

use crate::digest;

/// What kind of difference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Another value.
    Value,
    /// The same number or time, with fewer digits on one side.
    Rounding,
    /// The same text but for blanks at its end.
    TrailingBlank,
    /// The same text but for letter case.
    Case,
    /// The same text through another character set: `?`, U+FFFD, or UTF-8 read as Latin-1.
    Encoding,
    /// NULL on one side, nothing or blanks on the other.
    NullEmpty,
    /// The same moment but for whole quarters of an hour.
    TimeZone,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Value,
        Self::Rounding,
        Self::TrailingBlank,
        Self::Case,
        Self::Encoding,
        Self::NullEmpty,
        Self::TimeZone,
    ];

    /// As it stands in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Rounding => "rounding",
            Self::TrailingBlank => "trailing_blank",
            Self::Case => "case",
            Self::Encoding => "encoding",
            Self::NullEmpty => "null_empty",
            Self::TimeZone => "time_zone",
        }
    }

    /// What to do about it, as a sentence.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Value => {
                "somebody else wrote to the target, or a change was lost: look for other writers and at the dead letters, then repair the rows"
            }
            Self::Rounding => {
                "the target's column, or whoever wrote to it, keeps fewer digits: compare its type with docs/type-mapping.md, widen it, then repair the rows"
            }
            Self::TrailingBlank => {
                "blanks at the end of a text were cut or added: look for a loader that trims, or a char(n) where a varchar(n) should be, then repair the rows"
            }
            Self::Case => {
                "letter case was changed: look for a trigger or a loader that folds case, or a citext column, then repair the rows"
            }
            Self::Encoding => {
                "the text went through another character set: look for a loader with the wrong client encoding, then repair the rows"
            }
            Self::NullEmpty => {
                "NULL and the empty text were taken for the same: look for a loader or a trigger that replaces one by the other, then repair the rows"
            }
            Self::TimeZone => {
                "times are shifted by whole quarters of an hour: look for a writer with another TimeZone, or a timestamp where a timestamptz should be, then repair the rows"
            }
        }
    }
}

/// The class of two values of a column; `None` when they are equal for the comparison.
#[must_use]
pub fn of(column: &Column, source: &Value, target: &Value) -> Option<Class> {
    if digest::same(column, source, target) {
        return None;
    }
    Some(match (source, target) {
        (Value::Null, other) | (other, Value::Null) => {
            if is_nothing(other) {
                Class::NullEmpty
            } else {
                Class::Value
            }
        }
        (Value::Text(a), Value::Text(b)) => texts(a, b),
        (Value::Decimal(a), Value::Decimal(b)) => numbers(*a, *b),
        (Value::F32(a), Value::F32(b)) => floats(f64::from(*a), f64::from(*b), 1e-5),
        (Value::F64(a), Value::F64(b)) => floats(*a, *b, 1e-6),
        (Value::Time(a), Value::Time(b)) => times(*a, *b, false),
        (Value::DateTime(a), Value::DateTime(b)) => times(*a, *b, true),
        (Value::DateTimeOffset { utc: a, .. }, Value::DateTimeOffset { utc: b, .. }) => {
            times(*a, *b, true)
        }
        _ => Class::Value,
    })
}

/// The class of a whole row from those of its columns: the one they share, or the gravest.
#[must_use]
pub fn of_row(classes: impl Iterator<Item = Class>) -> Class {
    let mut all: Vec<Class> = classes.collect();
    all.sort_unstable();
    all.dedup();
    match all.as_slice() {
        [one] => *one,
        _ => Class::Value,
    }
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.trim_end_matches(' ').is_empty())
        || matches!(value, Value::Bytes(bytes) if bytes.is_empty())
}

fn texts(a: &str, b: &str) -> Class {
    if a.trim_end_matches(' ') == b.trim_end_matches(' ') {
        Class::TrailingBlank
    } else if a.to_lowercase() == b.to_lowercase() {
        Class::Case
    } else if replaced(a, b) || replaced(b, a) || misread(a) == *b || misread(b) == *a {
        Class::Encoding
    } else {
        Class::Value
    }
}

/// Whether `b` is `a` with some characters beyond ASCII replaced by `?` or U+FFFD.
fn replaced(a: &str, b: &str) -> bool {
    a.chars().count() == b.chars().count()
        && a.chars()
            .zip(b.chars())
            .all(|(a, b)| a == b || (!a.is_ascii() && matches!(b, '?' | '\u{FFFD}')))
}

/// The text's UTF-8 read as Windows-1252, which is Latin-1 but for 27 characters.
fn misread(text: &str) -> String {
    const HIGH: [char; 32] = [
        '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}',
        '\u{2021}', '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}',
        '\u{8f}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}',
        '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}',
        '\u{178}',
    ];
    text.bytes()
        .map(|byte| match byte {
            0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).copied().unwrap_or('\u{FFFD}'),
            other => char::from(other),
        })
        .collect()
}

/// The same number when one side's last digits are zero and the difference lies within them, or when only
/// the last digit is off by one.
fn numbers(a: i128, b: i128) -> Class {
    let Some(apart) = a.checked_sub(b).map(i128::unsigned_abs) else { return Class::Value };
    let coarse = |n: i128| {
        let mut unit = 1u128;
        while unit < u128::MAX / 10 && n.unsigned_abs().is_multiple_of(unit * 10) && unit <= apart {
            unit *= 10;
        }
        unit
    };
    // A zero is coarse without end: 0 against 5 is no rounding.
    let unit = [a, b].into_iter().filter(|n| *n != 0).map(coarse).max().unwrap_or(1);
    let close = apart < unit && apart.saturating_mul(10) < a.unsigned_abs().max(b.unsigned_abs());
    if apart == 1 || close { Class::Rounding } else { Class::Value }
}

fn floats(a: f64, b: f64, relative: f64) -> Class {
    if (a - b).abs() <= relative * a.abs().max(b.abs()) { Class::Rounding } else { Class::Value }
}

fn times(a: i64, b: i64, zoned: bool) -> Class {
    // The target counts microseconds: what is finer is not what differs.
    let (a, b) = (a.div_euclid(10) * 10, b.div_euclid(10) * 10);
    let apart = a.abs_diff(b);
    let second = TICKS_PER_SECOND.unsigned_abs();
    // datetime counts 1/300 s; a rounded time is at most a unit of the coarser side away.
    let coarse = |t: i64| {
        if t.unsigned_abs().is_multiple_of(60 * second) {
            60 * second
        } else if t.unsigned_abs().is_multiple_of(second) {
            second
        } else {
            second / 100
        }
    };
    if apart < coarse(a).max(coarse(b)) {
        Class::Rounding
    } else if zoned && apart.is_multiple_of(900 * second) && apart <= 26 * 3600 * second {
        Class::TimeZone
    } else {
        Class::Value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{ColumnType, Length};

    const HOUR: i64 = 3600 * TICKS_PER_SECOND;

    fn class(ty: ColumnType, source: Value, target: Value) -> Option<Class> {
        let column = Column { name: "c".to_owned(), ty, nullable: true, default: None };
        let there = of(&column, &source, &target);
        assert_eq!(there, of(&column, &target, &source), "{ty}: the sides count alike");
        there
    }

    #[test]
    fn texts_are_classified() {
        let ty = ColumnType::NVarChar(Length::Of(50));
        for (a, b, expected) in [
            ("abc", "abc", None),
            ("abc", "abc ", Some(Class::TrailingBlank)),
            ("abc", "ABC", Some(Class::Case)),
            ("\u{c4}b", "\u{e4}b", Some(Class::Case)),
            ("caf\u{e9}", "caf?", Some(Class::Encoding)),
            ("\u{7121}\u{1f600}", "?\u{FFFD}", Some(Class::Encoding)),
            ("caf\u{e9}", "caf\u{c3}\u{a9}", Some(Class::Encoding)),
            ("\u{20ac}", "\u{e2}\u{201a}\u{ac}", Some(Class::Encoding)),
            ("\u{e9}", "\u{fc}", Some(Class::Value)),
            ("e\u{301}", "\u{e9}", Some(Class::Value)),
            ("abc", "a?c", Some(Class::Value)),
            ("", " ", Some(Class::TrailingBlank)),
        ] {
            let text = |s: &str| Value::Text(s.to_owned());
            assert_eq!(class(ty, text(a), text(b)), expected, "{a:?} {b:?}");
        }
        let empty = Value::Text("  ".to_owned());
        assert_eq!(class(ty, Value::Null, empty), Some(Class::NullEmpty));
        assert_eq!(class(ty, Value::Null, Value::Text("x".to_owned())), Some(Class::Value));
        // The padding of char(n) is no difference at all.
        let (a, b) = (Value::Text("a".to_owned()), Value::Text("a  ".to_owned()));
        assert_eq!(class(ColumnType::Char(3), a, b), None);
    }

    #[test]
    fn numbers_and_times_are_classified() {
        let decimal = ColumnType::Decimal { precision: 38, scale: 4 };
        for (a, b, expected) in [
            (12_345, 12_346, Class::Rounding),
            (123_456_789, 123_450_000, Class::Rounding),
            (123_456_789, 123_460_000, Class::Rounding),
            (10_000, 50_000, Class::Value),
            (0, 5, Class::Value),
            (12_345, -12_345, Class::Value),
            (i128::MAX, i128::MIN, Class::Value),
        ] {
            let there = class(decimal, Value::Decimal(a), Value::Decimal(b));
            assert_eq!(there, Some(expected), "{a} {b}");
        }
        let at = ColumnType::DateTime2 { scale: 7 };
        let base = 17_725 * 24 * HOUR + 11 * HOUR + 1_234_567;
        for (apart, expected) in [
            (0, None),
            (10, Some(Class::Rounding)),
            (33_333, Some(Class::Rounding)),
            (-1_234_567, Some(Class::Rounding)),
            (2 * HOUR, Some(Class::TimeZone)),
            (2 * HOUR - 7, Some(Class::TimeZone)),
            (-HOUR * 11 / 2, Some(Class::TimeZone)),
            (30 * HOUR, Some(Class::Value)),
            (17 * TICKS_PER_SECOND, Some(Class::Value)),
        ] {
            let there = class(at, Value::DateTime(base), Value::DateTime(base + apart));
            assert_eq!(there, expected, "{apart}");
        }
        assert_eq!(
            class(ColumnType::Float, Value::F64(0.36640625), Value::F64(0.3664062)),
            Some(Class::Rounding)
        );
        assert_eq!(
            class(ColumnType::Float, Value::F64(0.0), Value::F64(-0.0)),
            Some(Class::Rounding)
        );
        assert_eq!(class(ColumnType::Int, Value::I32(1), Value::I32(2)), Some(Class::Value));
    }

    #[test]
    fn a_row_has_the_class_that_its_columns_share() {
        assert_eq!(of_row([Class::Case, Class::Case].into_iter()), Class::Case);
        assert_eq!(of_row([Class::Case, Class::Rounding].into_iter()), Class::Value);
    }
}
