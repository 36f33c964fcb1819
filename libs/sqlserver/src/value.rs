//! The driver's value to ours, exactly; and ours to a parameter.

use std::borrow::Cow;

use causeway_change::{
    ColumnType, Value, ValueRef,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, civil_from_days},
};
use tiberius::{ColumnData, Uuid, time as wire};

use crate::{Param, SqlServerError};

/// Days from 0001-01-01 (where `date` counts from) to 1970-01-01.
const DAYS_TO_1970: i64 = 719_162;
/// Days from 1900-01-01 (where `datetime` counts from) to 1970-01-01.
const DAYS_1900_TO_1970: i64 = 25_567;

/// The value of a column. `column` is its name, for the error.
pub fn from_wire(
    data: ColumnData<'static>,
    ty: &ColumnType,
    column: &str,
) -> Result<Value, SqlServerError> {
    // The driver's memory becomes ours.
    if is_text(ty)
        && let ColumnData::String(Some(text)) = data
    {
        return Ok(Value::Text(text.into_owned()));
    }
    if is_binary(ty)
        && let ColumnData::Binary(Some(bytes)) = data
    {
        return Ok(Value::Bytes(bytes.into_owned()));
    }
    value_ref(&data, ty, column).map(ValueRef::to_value)
}

fn is_text(ty: &ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::Char(_)
            | ColumnType::VarChar(_)
            | ColumnType::NChar(_)
            | ColumnType::NVarChar(_)
            | ColumnType::Text
            | ColumnType::NText
            | ColumnType::Xml
    )
}

fn is_binary(ty: &ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::Binary(_)
            | ColumnType::VarBinary(_)
            | ColumnType::Image
            | ColumnType::RowVersion
            | ColumnType::Geometry
            | ColumnType::Geography
            | ColumnType::HierarchyId
    )
}

/// The value of a column, where the driver keeps it.
pub fn value_ref<'a>(
    data: &'a ColumnData<'_>,
    ty: &ColumnType,
    column: &str,
) -> Result<ValueRef<'a>, SqlServerError> {
    let value = match (data, ty) {
        (ColumnData::Bit(v), ColumnType::Bit) => v.map(ValueRef::Bool),
        (ColumnData::U8(v), ColumnType::TinyInt) => v.map(|n| ValueRef::I16(i16::from(n))),
        (ColumnData::I16(v), ColumnType::SmallInt) => v.map(ValueRef::I16),
        (ColumnData::I32(v), ColumnType::Int) => v.map(ValueRef::I32),
        (ColumnData::I64(v), ColumnType::BigInt) => v.map(ValueRef::I64),
        (ColumnData::F32(v), ColumnType::Real) => v.map(ValueRef::F32),
        (ColumnData::F64(v), ColumnType::Float) => v.map(ValueRef::F64),
        (
            ColumnData::Numeric(v),
            ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney,
        ) => match v {
            None => None,
            Some(n) => Some(ValueRef::Decimal(decimal(*n, ty, column)?)),
        },
        (ColumnData::Date(v), ColumnType::Date) => match v {
            None => None,
            Some(d) => {
                let days = i64::from(d.days()) - DAYS_TO_1970;
                let days = i32::try_from(days).map_err(|_| mismatch(column, "a date", ty))?;
                Some(ValueRef::Date(days))
            }
        },
        (ColumnData::Time(v), ColumnType::Time { .. }) => match v {
            None => None,
            Some(t) => {
                Some(ValueRef::Time(time_ticks(*t).ok_or_else(|| mismatch(column, "a time", ty))?))
            }
        },
        (
            data @ (ColumnData::DateTime(_)
            | ColumnData::SmallDateTime(_)
            | ColumnData::DateTime2(_)),
            ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. },
        ) => date_time_ticks(data)
            .ok_or_else(|| mismatch(column, "a date and time", ty))?
            .map(ValueRef::DateTime),
        (ColumnData::DateTimeOffset(v), ColumnType::DateTimeOffset { .. }) => match v {
            None => None,
            Some(v) => Some(ValueRef::DateTimeOffset {
                utc: date_time2_ticks(v.datetime2())
                    .ok_or_else(|| mismatch(column, "a date and time", ty))?,
                offset_minutes: v.offset(),
            }),
        },
        (ColumnData::String(v), ty) if is_text(ty) => v.as_deref().map(ValueRef::Text),
        (ColumnData::Guid(v), ColumnType::UniqueIdentifier) => {
            v.map(|guid| ValueRef::Guid(guid.into_bytes()))
        }
        (ColumnData::Binary(v), ty) if is_binary(ty) => v.as_deref().map(ValueRef::Bytes),
        (data, ty) => return Err(mismatch(column, wire_kind(data), ty)),
    };
    Ok(value.unwrap_or(ValueRef::Null))
}

fn mismatch(column: &str, sent: &str, ty: &ColumnType) -> SqlServerError {
    SqlServerError::Value {
        column: column.to_owned(),
        sent: sent.to_owned(),
        expected: ty.to_string(),
    }
}

/// The name of what the driver sent: never the value.
fn wire_kind(data: &ColumnData<'_>) -> &'static str {
    match data {
        ColumnData::U8(_) => "tinyint",
        ColumnData::I16(_) => "smallint",
        ColumnData::I32(_) => "int",
        ColumnData::I64(_) => "bigint",
        ColumnData::F32(_) => "real",
        ColumnData::F64(_) => "float or money",
        ColumnData::Bit(_) => "bit",
        ColumnData::String(_) => "a string",
        ColumnData::Guid(_) => "uniqueidentifier",
        ColumnData::Binary(_) => "bytes",
        ColumnData::Numeric(_) => "decimal",
        ColumnData::Xml(_) => "xml",
        ColumnData::DateTime(_) => "datetime",
        ColumnData::SmallDateTime(_) => "smalldatetime",
        ColumnData::Time(_) => "time",
        ColumnData::Date(_) => "date",
        ColumnData::DateTime2(_) => "datetime2",
        ColumnData::DateTimeOffset(_) => "datetimeoffset",
    }
}

fn decimal(
    n: tiberius::numeric::Numeric,
    ty: &ColumnType,
    column: &str,
) -> Result<i128, SqlServerError> {
    let scale = decimal_scale(ty);
    // The scale of the answer is the column's; a change table whose column was widened in between may
    // differ, and only adding zeros is exact.
    let factor = scale.checked_sub(n.scale()).and_then(|d| 10_i128.checked_pow(u32::from(d)));
    factor
        .and_then(|factor| n.value().checked_mul(factor))
        .ok_or_else(|| mismatch(column, "a decimal of another scale", ty))
}

/// Ticks of 100 ns since midnight.
fn time_ticks(t: wire::Time) -> Option<i64> {
    let factor = 10_u64.checked_pow(u32::from(7_u8.checked_sub(t.scale())?))?;
    i64::try_from(t.increments().checked_mul(factor)?).ok()
}

fn date_time2_ticks(v: wire::DateTime2) -> Option<i64> {
    let days = i64::from(v.date().days()) - DAYS_TO_1970;
    days.checked_mul(TICKS_PER_DAY)?.checked_add(time_ticks(v.time())?)
}

/// Ticks of 100 ns since 1970 of any of the types without zone; `None` for another type, `Some(None)` for
/// NULL. `datetime` counts 1/300 s; SQL Server shows that as milliseconds ending in 0, 3 or 7, and so do we.
pub(crate) fn date_time_ticks(data: &ColumnData<'_>) -> Option<Option<i64>> {
    match data {
        ColumnData::DateTime(None)
        | ColumnData::SmallDateTime(None)
        | ColumnData::DateTime2(None) => Some(None),
        ColumnData::DateTime(Some(v)) => {
            let milliseconds = (i64::from(v.seconds_fragments()) * 10 + 1) / 3;
            let days = i64::from(v.days()) - DAYS_1900_TO_1970;
            Some(Some(days * TICKS_PER_DAY + milliseconds * (TICKS_PER_SECOND / 1000)))
        }
        ColumnData::SmallDateTime(Some(v)) => {
            // On the wire this counts minutes, whatever the driver calls it.
            let minutes = i64::from(v.seconds_fragments());
            let days = i64::from(v.days()) - DAYS_1900_TO_1970;
            Some(Some(days * TICKS_PER_DAY + minutes * 60 * TICKS_PER_SECOND))
        }
        ColumnData::DateTime2(Some(v)) => date_time2_ticks(*v).map(Some),
        ColumnData::U8(_)
        | ColumnData::I16(_)
        | ColumnData::I32(_)
        | ColumnData::I64(_)
        | ColumnData::F32(_)
        | ColumnData::F64(_)
        | ColumnData::Bit(_)
        | ColumnData::String(_)
        | ColumnData::Guid(_)
        | ColumnData::Binary(_)
        | ColumnData::Numeric(_)
        | ColumnData::Xml(_)
        | ColumnData::Time(_)
        | ColumnData::Date(_)
        | ColumnData::DateTimeOffset(_) => None,
    }
}

/// A key's value as a parameter that [`crate::types::key_parameter`] casts back without loss. Decimals and
/// times travel as text in the one form that no language or date format setting changes.
pub fn to_param(value: &Value, ty: &ColumnType) -> Param {
    let text = |text: String| ColumnData::String(Some(Cow::Owned(text)));
    Param(match value {
        Value::Null | Value::Unavailable | Value::TooLarge(_) => ColumnData::String(None),
        Value::Bool(b) => ColumnData::Bit(Some(*b)),
        Value::I16(n) => ColumnData::I16(Some(*n)),
        Value::I32(n) => ColumnData::I32(Some(*n)),
        Value::I64(n) => ColumnData::I64(Some(*n)),
        Value::F32(n) => ColumnData::F32(Some(*n)),
        Value::F64(n) => ColumnData::F64(Some(*n)),
        Value::Decimal(n) => text(decimal_text(*n, decimal_scale(ty))),
        Value::Text(s) => text(s.clone()),
        Value::Bytes(b) => ColumnData::Binary(Some(Cow::Owned(b.clone()))),
        Value::Guid(g) => ColumnData::Guid(Some(Uuid::from_bytes(*g))),
        Value::Date(days) => text(date_text(*days)),
        Value::Time(ticks) => text(time_text(*ticks, scale(ty))),
        Value::DateTime(ticks) => text(date_time_text(*ticks, scale(ty))),
        Value::DateTimeOffset { utc, offset_minutes } => {
            let offset = i64::from(*offset_minutes);
            let local = utc + offset * 60 * TICKS_PER_SECOND;
            let sign = if offset < 0 { '-' } else { '+' };
            text(format!(
                "{}{sign}{:02}:{:02}",
                date_time_text(local, scale(ty)),
                offset.abs() / 60,
                offset.abs() % 60
            ))
        }
    })
}

fn decimal_scale(ty: &ColumnType) -> u8 {
    // The other two are money, which keeps four digits.
    if let ColumnType::Decimal { scale, .. } = ty { *scale } else { 4 }
}

/// Fraction digits that the type may be written with.
fn scale(ty: &ColumnType) -> u8 {
    if let ColumnType::Time { scale }
    | ColumnType::DateTime2 { scale }
    | ColumnType::DateTimeOffset { scale } = ty
    {
        return *scale;
    }
    if *ty == ColumnType::DateTime { 3 } else { 0 }
}

pub(crate) fn decimal_text(unscaled: i128, scale: u8) -> String {
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), usize::from(scale) + 1);
    let sign = if unscaled < 0 { "-" } else { "" };
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

pub(crate) fn date_text(days: i32) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

pub(crate) fn time_text(ticks: i64, scale: u8) -> String {
    let seconds = ticks / TICKS_PER_SECOND;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if scale == 0 {
        return clock;
    }
    let fraction = format!("{:07}", ticks % TICKS_PER_SECOND);
    format!("{clock}.{}", fraction.get(..usize::from(scale)).unwrap_or(&fraction))
}

pub(crate) fn date_time_text(ticks: i64, scale: u8) -> String {
    let days = i32::try_from(ticks.div_euclid(TICKS_PER_DAY)).unwrap_or(i32::MAX);
    format!("{}T{}", date_text(days), time_text(ticks.rem_euclid(TICKS_PER_DAY), scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiberius::numeric::Numeric;

    fn wire(data: ColumnData<'static>, ty: ColumnType) -> Value {
        from_wire(data, &ty, "c").unwrap()
    }

    #[test]
    fn datetime_is_shown_in_milliseconds_that_end_in_0_3_or_7() {
        for (fragments, milliseconds) in [(0, 0), (1, 3), (2, 7), (3, 10), (299, 997)] {
            let data = ColumnData::DateTime(Some(wire::DateTime::new(25_567, fragments)));
            assert!(
                wire(data, ColumnType::DateTime) == Value::DateTime(milliseconds * 10_000),
                "{fragments}"
            );
        }
        // The last moment of the type does not become the next day.
        let last = ColumnData::DateTime(Some(wire::DateTime::new(25_567, 25_919_999)));
        assert!(wire(last, ColumnType::DateTime) == Value::DateTime(86_399_997 * 10_000));
    }

    #[test]
    fn smalldatetime_counts_minutes() {
        let data = ColumnData::SmallDateTime(Some(wire::SmallDateTime::new(25_567, 61)));
        assert!(wire(data, ColumnType::SmallDateTime) == Value::DateTime(3_660 * TICKS_PER_SECOND));
    }

    #[test]
    fn the_extremes_of_datetime2_are_exact() {
        let last =
            wire::DateTime2::new(wire::Date::new(3_652_058), wire::Time::new(863_999_999_999, 7));
        let Value::DateTime(ticks) =
            wire(ColumnData::DateTime2(Some(last)), ColumnType::DateTime2 { scale: 7 })
        else {
            panic!("another kind");
        };
        assert_eq!(date_time_text(ticks, 7), "9999-12-31T23:59:59.9999999");
        let first = wire::DateTime2::new(wire::Date::new(0), wire::Time::new(0, 0));
        let Value::DateTime(ticks) =
            wire(ColumnData::DateTime2(Some(first)), ColumnType::DateTime2 { scale: 0 })
        else {
            panic!("another kind");
        };
        assert_eq!(date_time_text(ticks, 0), "0001-01-01T00:00:00");
    }

    #[test]
    fn a_decimal_keeps_all_its_digits() {
        let ty = ColumnType::Decimal { precision: 38, scale: 10 };
        let n = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
        let data = ColumnData::Numeric(Some(Numeric::new_with_scale(n, 10)));
        assert!(wire(data, ty) == Value::Decimal(n));
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12_345, 2), "123.45");
        assert_eq!(decimal_text(7, 0), "7");
    }

    #[test]
    fn another_type_than_declared_is_an_error_that_names_the_column() {
        let error = from_wire(ColumnData::F64(Some(1.5)), &ColumnType::Money, "fee").unwrap_err();
        assert_eq!(
            error.to_string(),
            "column fee: SQL Server sent float or money where money was expected"
        );
    }

    #[test]
    fn an_offset_is_written_with_its_local_time() {
        let utc = 0;
        let value = Value::DateTimeOffset { utc, offset_minutes: -330 };
        let Param(ColumnData::String(Some(text))) =
            to_param(&value, &ColumnType::DateTimeOffset { scale: 3 })
        else {
            panic!("another kind");
        };
        assert_eq!(text, "1969-12-31T18:30:00.000-05:30");
    }
}
