//! Values as a person reads them: for `dlq show --with-values` and nothing else.

use causeway_change::{
    ColumnType, Value,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, civil_from_days},
};
use serde_json::{Value as Json, json};

/// A value in JSON: numbers where JSON has them exactly, texts for the others.
#[must_use]
pub fn shown(ty: ColumnType, value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Unavailable | Value::TooLarge(_) => json!({"unavailable": true}),
        Value::Bool(b) => json!(b),
        Value::I16(n) => json!(n),
        Value::I32(n) => json!(n),
        Value::I64(n) => json!(n),
        Value::F32(x) => json!(x),
        Value::F64(x) => json!(x),
        Value::Decimal(n) => decimal(*n, causeway_postgres::types::scale(ty)).into(),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => hex(bytes).into(),
        Value::Guid(guid) => {
            let hex = hex(guid);
            let part = |from, to| hex.get(from..to).unwrap_or_default();
            json!([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
        }
        Value::Date(days) => day(*days).into(),
        Value::Time(ticks) => clock(*ticks).into(),
        Value::DateTime(ticks) => moment(*ticks).into(),
        Value::DateTimeOffset { utc, offset_minutes } => {
            json!(format!("{}Z (offset {offset_minutes} minutes)", moment(*utc)))
        }
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn day(days: i32) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(ticks: i64) -> String {
    let (seconds, fraction) =
        (ticks.div_euclid(TICKS_PER_SECOND), ticks.rem_euclid(TICKS_PER_SECOND));
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{fraction:07}", seconds % 60)
}

fn moment(ticks: i64) -> String {
    let days = i32::try_from(ticks.div_euclid(TICKS_PER_DAY)).unwrap_or(i32::MAX);
    format!("{}T{}", day(days), clock(ticks.rem_euclid(TICKS_PER_DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        let two = ColumnType::Decimal { precision: 9, scale: 2 };
        for (ty, value, text) in [
            (two, Value::Decimal(-5), json!("-0.05")),
            (two, Value::Decimal(12_345), json!("123.45")),
            (ColumnType::Decimal { precision: 9, scale: 0 }, Value::Decimal(7), json!("7")),
            (ColumnType::Date, Value::Date(-1), json!("1969-12-31")),
            (
                ColumnType::DateTime2 { scale: 7 },
                Value::DateTime(-1),
                json!("1969-12-31T23:59:59.9999999"),
            ),
            (
                ColumnType::UniqueIdentifier,
                Value::Guid([0xab; 16]),
                json!("abababab-abab-abab-abab-abababababab"),
            ),
            (ColumnType::Image, Value::Bytes(vec![0, 255]), json!("00ff")),
        ] {
            assert_eq!(shown(ty, &value), text);
        }
    }
}
