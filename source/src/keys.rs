//! A key's values as JSON: how a chunk's end is stored, and what the headers of a moved row say.

use causeway_change::{
    ColumnType, Value,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, civil_from_days, days_from_civil},
};
use serde_json::{Value as Json, json};

/// The values as a JSON array that [`from_json`] reads back without loss.
#[must_use]
pub fn to_json(values: &[Value]) -> Json {
    Json::Array(values.iter().map(value_to_json).collect())
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Unavailable | Value::TooLarge(_) => Json::Null,
        Value::Bool(b) => json!(b),
        Value::I16(n) => json!(n),
        Value::I32(n) => json!(n),
        // Beyond 2^53 a JSON number is not safe in every reader.
        Value::I64(n) => json!(n.to_string()),
        // The bits, so that every float comes back as it was.
        Value::F32(n) => json!(n.to_bits().to_string()),
        Value::F64(n) => json!(n.to_bits().to_string()),
        Value::Decimal(n) => json!(n.to_string()),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Guid(bytes) => json!(hex(bytes)),
        Value::Date(days) => json!(days),
        Value::Time(ticks) | Value::DateTime(ticks) => json!(ticks.to_string()),
        Value::DateTimeOffset { utc, offset_minutes } => json!([utc.to_string(), offset_minutes]),
    }
}

/// Reads back what [`to_json`] wrote, by the types of the key's columns. `None` when it does not fit them:
/// the key has changed since.
#[must_use]
pub fn from_json(json: &Json, types: &[ColumnType]) -> Option<Vec<Value>> {
    let values = json.as_array()?;
    if values.len() != types.len() {
        return None;
    }
    values.iter().zip(types).map(|(json, ty)| value_from_json(json, ty)).collect()
}

fn value_from_json(json: &Json, ty: &ColumnType) -> Option<Value> {
    fn number<T: std::str::FromStr>(json: &Json) -> Option<T> {
        json.as_str()?.parse().ok()
    }
    match ty {
        ColumnType::Bit => json.as_bool().map(Value::Bool),
        ColumnType::TinyInt | ColumnType::SmallInt => {
            json.as_i64().and_then(|n| i16::try_from(n).ok()).map(Value::I16)
        }
        ColumnType::Int => json.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::I32),
        ColumnType::BigInt => number(json).map(Value::I64),
        ColumnType::Real => number(json).map(|bits| Value::F32(f32::from_bits(bits))),
        ColumnType::Float => number(json).map(|bits| Value::F64(f64::from_bits(bits))),
        ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney => {
            number(json).map(Value::Decimal)
        }
        ColumnType::Date => json.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::Date),
        ColumnType::Time { .. } => number(json).map(Value::Time),
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            number(json).map(Value::DateTime)
        }
        ColumnType::DateTimeOffset { .. } => {
            let parts = json.as_array()?;
            Some(Value::DateTimeOffset {
                utc: number(parts.first()?)?,
                offset_minutes: i16::try_from(parts.get(1)?.as_i64()?).ok()?,
            })
        }
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => json.as_str().map(|text| Value::Text(text.to_owned())),
        ColumnType::UniqueIdentifier => unhex(json.as_str()?)?.try_into().ok().map(Value::Guid),
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => unhex(json.as_str()?).map(Value::Bytes),
    }
}

/// A moment in ISO 8601, from ticks of 100 ns since 1970, UTC.
#[must_use]
pub fn timestamp(ticks: i64) -> String {
    format!("{}T{}Z", date(ticks.div_euclid(TICKS_PER_DAY)), time(ticks.rem_euclid(TICKS_PER_DAY)))
}

/// A key for people and programs: `{"id":7}`, the text of Debezium's headers on a row that moved.
#[must_use]
pub fn header<'a>(
    columns: impl Iterator<Item = (&'a str, &'a ColumnType)>,
    values: &[Value],
) -> String {
    let fields = columns
        .zip(values)
        .map(|((name, ty), value)| (name.to_owned(), readable(value, ty)))
        .collect();
    Json::Object(fields).to_string()
}

fn readable(value: &Value, ty: &ColumnType) -> Json {
    match value {
        Value::I64(n) => json!(n),
        Value::F32(n) => json!(n),
        Value::F64(n) => json!(n),
        Value::Decimal(n) => {
            let scale = if let ColumnType::Decimal { scale, .. } = ty { *scale } else { 4 };
            json!(decimal(*n, usize::from(scale)))
        }
        Value::Guid(bytes) => {
            let h = hex(bytes).to_uppercase();
            let part = |from: usize, to: usize| h.get(from..to).unwrap_or("").to_owned();
            json!([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
        }
        Value::Date(days) => json!(date(i64::from(*days))),
        Value::DateTime(ticks) => json!(format!(
            "{}T{}",
            date(ticks.div_euclid(TICKS_PER_DAY)),
            time(ticks.rem_euclid(TICKS_PER_DAY))
        )),
        Value::DateTimeOffset { utc, .. } => json!(format!(
            "{}T{}Z",
            date(utc.div_euclid(TICKS_PER_DAY)),
            time(utc.rem_euclid(TICKS_PER_DAY))
        )),
        Value::Time(ticks) => json!(time(*ticks)),
        Value::Null
        | Value::Unavailable
        | Value::TooLarge(_)
        | Value::Bool(_)
        | Value::I16(_)
        | Value::I32(_)
        | Value::Text(_)
        | Value::Bytes(_) => value_to_json(value),
    }
}

/// A key's value as people and programs write it, the reverse of [`header`]; none when it does not fit the
/// type.
#[must_use]
pub fn read(json: &Json, ty: &ColumnType) -> Option<Value> {
    let text = match json {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(b) => return (*ty == ColumnType::Bit).then_some(Value::Bool(*b)),
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    };
    let text = text.trim_end_matches('\0');
    match ty {
        ColumnType::Bit => match text {
            "0" => Some(Value::Bool(false)),
            "1" => Some(Value::Bool(true)),
            _ => None,
        },
        ColumnType::TinyInt | ColumnType::SmallInt => text.parse().ok().map(Value::I16),
        ColumnType::Int => text.parse().ok().map(Value::I32),
        ColumnType::BigInt => text.parse().ok().map(Value::I64),
        ColumnType::Real => text.parse().ok().map(Value::F32),
        ColumnType::Float => text.parse().ok().map(Value::F64),
        ColumnType::Decimal { scale, .. } => unscaled(text, usize::from(*scale)),
        ColumnType::Money | ColumnType::SmallMoney => unscaled(text, 4),
        ColumnType::Date => read_date(text).map(Value::Date),
        ColumnType::Time { .. } => read_time(text).map(Value::Time),
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            read_moment(text.trim_end_matches('Z')).map(Value::DateTime)
        }
        // The moment is what the server compares.
        ColumnType::DateTimeOffset { .. } => read_moment(text.strip_suffix('Z')?)
            .map(|utc| Value::DateTimeOffset { utc, offset_minutes: 0 }),
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => Some(Value::Text(text.to_owned())),
        ColumnType::UniqueIdentifier => {
            unhex(&text.replace('-', ""))?.try_into().ok().map(Value::Guid)
        }
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            unhex(digits.unwrap_or(text)).map(Value::Bytes)
        }
    }
}

fn unscaled(text: &str, scale: usize) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1_i128, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale
        || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let number: i128 = format!("{whole}{fraction:0<scale$}").parse().ok()?;
    Some(Value::Decimal(sign * number))
}

fn read_date(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    let valid = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let days = valid.then(|| days_from_civil(year, month, day))?;
    // 2023-02-30 would become another day.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

fn read_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let fits = (0..24).contains(&h) && (0..60).contains(&m) && (0..60).contains(&s);
    if !fits || fraction.len() > 7 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ticks: i64 = format!("{fraction:0<7}").parse().ok()?;
    Some((h * 3600 + m * 60 + s) * TICKS_PER_SECOND + ticks)
}

fn read_moment(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    Some(i64::from(read_date(date)?) * TICKS_PER_DAY + read_time(time)?)
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn date(days: i64) -> String {
    let (year, month, day) = civil_from_days(i32::try_from(days).unwrap_or(i32::MAX));
    format!("{year:04}-{month:02}-{day:02}")
}

fn time(ticks: i64) -> String {
    let seconds = ticks / TICKS_PER_SECOND;
    format!(
        "{:02}:{:02}:{:02}.{:07}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ticks % TICKS_PER_SECOND
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| text.get(i..i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Length;

    #[test]
    fn every_key_type_comes_back_as_it_went() {
        let cases = [
            (Value::Bool(true), ColumnType::Bit),
            (Value::I16(255), ColumnType::TinyInt),
            (Value::I32(i32::MIN), ColumnType::Int),
            (Value::I64(i64::MAX), ColumnType::BigInt),
            (Value::F64(-0.0), ColumnType::Float),
            (Value::F32(1.1), ColumnType::Real),
            (Value::Decimal(-(10_i128.pow(37))), ColumnType::Decimal { precision: 38, scale: 2 }),
            (Value::Text("ä \" ] ".to_owned()), ColumnType::NVarChar(Length::Of(9))),
            (Value::Bytes(vec![0, 255]), ColumnType::VarBinary(Length::Of(2))),
            (Value::Guid([7; 16]), ColumnType::UniqueIdentifier),
            (Value::Date(-1), ColumnType::Date),
            (Value::Time(1), ColumnType::Time { scale: 7 }),
            (Value::DateTime(i64::MIN), ColumnType::DateTime2 { scale: 7 }),
            (
                Value::DateTimeOffset { utc: -5, offset_minutes: -330 },
                ColumnType::DateTimeOffset { scale: 7 },
            ),
        ];
        for (value, ty) in cases {
            let text = to_json(std::slice::from_ref(&value)).to_string();
            let back = from_json(&serde_json::from_str(&text).unwrap(), &[ty]).unwrap();
            assert!(back == [value], "{ty}: {text}");
        }
    }

    #[test]
    fn what_a_header_says_is_read_back() {
        let datetime2 = ColumnType::DateTime2 { scale: 7 };
        let decimal = ColumnType::Decimal { precision: 9, scale: 3 };
        for (value, ty) in [
            (Value::I64(i64::MIN), ColumnType::BigInt),
            (Value::Decimal(-12_050), decimal),
            (Value::Decimal(-5), ColumnType::Money),
            (Value::Guid([0xab; 16]), ColumnType::UniqueIdentifier),
            (Value::Date(-400), ColumnType::Date),
            (Value::Time(12_345_678), ColumnType::Time { scale: 7 }),
            (Value::DateTime(-1), datetime2),
            (
                Value::DateTimeOffset { utc: 15, offset_minutes: 0 },
                ColumnType::DateTimeOffset { scale: 7 },
            ),
            (Value::Bytes(vec![1, 255]), ColumnType::VarBinary(Length::Of(2))),
            (Value::F64(0.1), ColumnType::Float),
        ] {
            let said = readable(&value, &ty);
            assert!(read(&said, &ty) == Some(value), "{ty}: {said}");
        }
        for (text, ty) in [
            ("2023-02-30", ColumnType::Date),
            ("1.2345", decimal),
            ("12:60", ColumnType::Time { scale: 0 }),
            ("x", ColumnType::Int),
            ("2024-01-01", ColumnType::DateTimeOffset { scale: 0 }),
        ] {
            assert!(read(&json!(text), &ty).is_none(), "{text}");
        }
        assert!(read(&json!("2024-02-29 01:02"), &datetime2).is_some());
    }

    #[test]
    fn a_key_of_another_shape_is_refused() {
        assert!(from_json(&json!([1, 2]), &[ColumnType::Int]).is_none());
        assert!(from_json(&json!(["x"]), &[ColumnType::Int]).is_none());
        assert!(from_json(&json!(["0g"]), &[ColumnType::UniqueIdentifier]).is_none());
    }

    #[test]
    fn a_header_reads_like_the_key() {
        let columns = [("id", &ColumnType::BigInt), ("total", &ColumnType::Money)];
        let text = header(columns.into_iter(), &[Value::I64(7), Value::Decimal(-12_345)]);
        assert_eq!(text, r#"{"id":7,"total":"-1.2345"}"#);
    }
}
