//! A value as PostgreSQL writes it: for people, and as a literal of a statement that a person will run.

use causeway_change::{
    ColumnType, Value,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, civil_from_days},
};

use crate::types;

/// The text of a value, as `SELECT column::text` would show it; `None` for NULL.
///
/// Times are floored to microseconds, as [`crate::encode`] does.
#[must_use]
pub fn text(ty: ColumnType, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Unavailable | Value::TooLarge(_) => return None,
        Value::Bool(b) => b.to_string(),
        Value::I16(n) => n.to_string(),
        Value::I32(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::F32(n) => format!("{n:?}"),
        Value::F64(n) => format!("{n:?}"),
        Value::Decimal(n) => decimal(*n, usize::from(types::scale(ty))),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => format!("\\x{}", hex(bytes)),
        Value::Guid(bytes) => {
            let h = hex(bytes);
            let part = |from: usize, to: usize| h.get(from..to).unwrap_or_default().to_owned();
            [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
        }
        Value::Date(days) => dated(*days, ""),
        Value::Time(ticks) => time(*ticks),
        Value::DateTime(ticks) => moment(*ticks, ""),
        Value::DateTimeOffset { utc, .. } => moment(*utc, "+00"),
    })
}

/// The value as a literal with its type: `'2024-02-29'::date`, `NULL::integer`.
///
/// A quote is doubled; nothing else has a meaning in a standard string.
#[must_use]
pub fn literal(ty: ColumnType, value: &Value) -> String {
    let kind = types::sql_type(ty);
    match text(ty, value) {
        None => format!("NULL::{kind}"),
        Some(text) => format!("'{}'::{kind}", text.replace('\'', "''")),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        _ = write!(out, "{byte:02x}");
        out
    })
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// PostgreSQL counts years before 1 as BC, without a year 0.
fn dated(days: i32, rest: &str) -> String {
    let (year, month, day) = civil_from_days(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{rest}{era}")
}

fn moment(ticks: i64, zone: &str) -> String {
    let days = i32::try_from(ticks.div_euclid(TICKS_PER_DAY)).unwrap_or(i32::MAX);
    dated(days, &format!(" {}{zone}", time(ticks.rem_euclid(TICKS_PER_DAY))))
}

fn time(ticks: i64) -> String {
    let seconds = ticks / TICKS_PER_SECOND;
    let micros = ticks % TICKS_PER_SECOND / 10;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros == 0 {
        return clock;
    }
    format!("{clock}.{}", format!("{micros:06}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Length;

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        let day = |n: i64| n * TICKS_PER_DAY;
        let at = ColumnType::DateTime2 { scale: 7 };
        for (ty, value, text) in [
            (ColumnType::Decimal { precision: 9, scale: 2 }, Value::Decimal(-5), "-0.05"),
            (ColumnType::Decimal { precision: 38, scale: 0 }, Value::Decimal(1234), "1234"),
            (ColumnType::Money, Value::Decimal(12_345_678), "1234.5678"),
            (at, Value::DateTime(day(-1) + 19), "1969-12-31 00:00:00.000001"),
            (at, Value::DateTime(day(1)), "1970-01-02 00:00:00"),
            (ColumnType::Date, Value::Date(11_016), "2000-02-29"),
            (ColumnType::Date, Value::Date(-719_163), "0001-12-31 BC"),
            (ColumnType::Time { scale: 7 }, Value::Time(day(1) - 1), "23:59:59.999999"),
            (ColumnType::Float, Value::F64(0.36640625), "0.36640625"),
            (ColumnType::VarBinary(Length::Max), Value::Bytes(vec![0, 255]), "\\x00ff"),
        ] {
            assert_eq!(super::text(ty, &value).unwrap(), text, "{ty}");
        }
    }

    #[test]
    fn a_literal_cannot_be_left() {
        let ty = ColumnType::NVarChar(Length::Of(30));
        let text = Value::Text("'; DROP TABLE t; --\\'".to_owned());
        assert_eq!(literal(ty, &text), "'''; DROP TABLE t; --\\'''::character varying(30)");
        assert_eq!(literal(ColumnType::Int, &Value::Null), "NULL::integer");
    }
}
