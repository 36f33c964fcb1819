//! A value's binary form, and what PostgreSQL cannot hold.

use causeway_change::{Column, ColumnType, Length, Value};

use crate::{numeric, types};

/// Ticks of 100 ns from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
pub(crate) const EPOCH_TICKS: i64 = 946_684_800 * 10_000_000;
/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;

/// The first day that PostgreSQL has (4714-11-24 BC), counted from its epoch.
pub(crate) const MIN_DAYS: i32 = -2_451_545;
pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A value that its column cannot hold. Never has the value itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} ({ty}): {why}")]
pub struct EncodeError {
    /// The column.
    pub column: String,
    /// Its type in the source.
    pub ty: String,
    /// Why, as a phrase.
    pub why: String,
    /// The SQLSTATE with which PostgreSQL would have refused it.
    pub sqlstate: &'static str,
}

/// Appends a field of a binary row: its length in four bytes and its bytes, or -1 for NULL.
///
/// Times are floored to microseconds, PostgreSQL's grain.
///
/// # Errors
/// When PostgreSQL could not hold the value: a NUL in a text, a text longer than its column, a value of
/// another kind than the column's.
pub fn field(column: &Column, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if value.is_null() {
        out.extend((-1i32).to_be_bytes());
        return Ok(());
    }
    let start = out.len();
    out.extend([0; 4]);
    bytes(column, value, out)?;
    let length = i32::try_from(out.len() - start - 4)
        .map_err(|_| refuse(column, "the value is larger than 2 GB", "54000"))?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn bytes(column: &Column, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match (column.ty, value) {
        (ColumnType::Bit, Value::Bool(b)) => out.push(u8::from(*b)),
        (ColumnType::TinyInt | ColumnType::SmallInt, Value::I16(n)) => out.extend(n.to_be_bytes()),
        (ColumnType::Int, Value::I32(n)) => out.extend(n.to_be_bytes()),
        (ColumnType::BigInt, Value::I64(n)) => out.extend(n.to_be_bytes()),
        (ColumnType::Real, Value::F32(n)) => out.extend(n.to_be_bytes()),
        (ColumnType::Float, Value::F64(n)) => out.extend(n.to_be_bytes()),
        (
            ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney,
            Value::Decimal(n),
        ) => {
            numeric::encode(*n, types::scale(column.ty), out);
        }
        (ColumnType::Date, Value::Date(days)) => {
            let days = days.checked_sub(EPOCH_DAYS).filter(|days| *days >= MIN_DAYS);
            out.extend(days.ok_or_else(|| beyond(column))?.to_be_bytes());
        }
        (ColumnType::Time { .. }, Value::Time(ticks)) => {
            let micros = ticks.div_euclid(10);
            if !(0..=MICROS_PER_DAY).contains(&micros) {
                return Err(beyond(column));
            }
            out.extend(micros.to_be_bytes());
        }
        (
            ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. },
            Value::DateTime(ticks),
        )
        | (ColumnType::DateTimeOffset { .. }, Value::DateTimeOffset { utc: ticks, .. }) => {
            let micros = ticks.checked_sub(EPOCH_TICKS).map(|ticks| ticks.div_euclid(10));
            let micros = micros.filter(|micros| *micros >= i64::from(MIN_DAYS) * MICROS_PER_DAY);
            out.extend(micros.ok_or_else(|| beyond(column))?.to_be_bytes());
        }
        (
            ColumnType::Char(_)
            | ColumnType::VarChar(_)
            | ColumnType::NChar(_)
            | ColumnType::NVarChar(_)
            | ColumnType::Text
            | ColumnType::NText
            | ColumnType::Xml,
            Value::Text(text),
        ) => out.extend(checked(column, text)?.as_bytes()),
        (ColumnType::UniqueIdentifier, Value::Guid(bytes)) => out.extend(bytes),
        (
            ColumnType::Binary(_)
            | ColumnType::VarBinary(_)
            | ColumnType::Image
            | ColumnType::RowVersion
            | ColumnType::Geometry
            | ColumnType::Geography
            | ColumnType::HierarchyId,
            Value::Bytes(bytes),
        ) => out.extend(bytes),
        (_, other) => {
            return Err(refuse(column, &format!("the record holds {}", other.kind()), "42804"));
        }
    }
    Ok(())
}

/// A text that the column can hold.
fn checked<'a>(column: &Column, text: &'a str) -> Result<&'a str, EncodeError> {
    if text.contains('\0') {
        return Err(refuse(
            column,
            "the text holds U+0000, which PostgreSQL cannot store",
            "22021",
        ));
    }
    let limit = match column.ty {
        ColumnType::Char(n) | ColumnType::NChar(n) => usize::from(n),
        ColumnType::VarChar(length) | ColumnType::NVarChar(length) => match length {
            Length::Of(n) => usize::from(n),
            Length::Max => usize::MAX,
        },
        // The others have no limit, or are no texts: the caller matched the kinds.
        ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml
        | ColumnType::Bit
        | ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Decimal { .. }
        | ColumnType::Money
        | ColumnType::SmallMoney
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime
        | ColumnType::SmallDateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => usize::MAX,
    };
    // A text is at most as many characters as bytes, so most need no counting.
    if text.len() > limit && text.chars().count() > limit {
        // Blanks beyond the length of a char(n) are padding and are cut by PostgreSQL itself.
        let padding = text.trim_end_matches(' ').chars().count() <= limit;
        if !padding {
            return Err(refuse(column, &format!("the text is longer than {limit}"), "22001"));
        }
    }
    Ok(text)
}

fn beyond(column: &Column) -> EncodeError {
    refuse(column, "the date or time is outside PostgreSQL's range", "22008")
}

pub(crate) fn refuse(column: &Column, why: &str, sqlstate: &'static str) -> EncodeError {
    EncodeError {
        column: column.name.clone(),
        ty: column.ty.to_string(),
        why: why.to_owned(),
        sqlstate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(ty: ColumnType, value: Value) -> Result<Vec<u8>, EncodeError> {
        let column = Column { name: "c".to_owned(), ty, nullable: true, default: None };
        let mut out = Vec::new();
        field(&column, &value, &mut out).map(|()| out)
    }

    #[test]
    fn times_are_floored_on_both_sides_of_the_epoch() {
        let at =
            |ticks| encode(ColumnType::DateTime2 { scale: 7 }, Value::DateTime(ticks)).unwrap();
        let micros = |n: i64| [&8i32.to_be_bytes()[..], &n.to_be_bytes()].concat();
        assert_eq!(at(EPOCH_TICKS + 19), micros(1));
        assert_eq!(at(EPOCH_TICKS - 1), micros(-1));
    }

    #[test]
    fn what_postgresql_cannot_hold_is_refused_without_its_value() {
        let text = |s: &str| Value::Text(s.to_owned());
        let varchar = ColumnType::VarChar(Length::Of(3));
        for (ty, value, sqlstate) in [
            (varchar, text("a\0b"), "22021"),
            (varchar, text("abcd"), "22001"),
            (ColumnType::Int, text("secret"), "42804"),
        ] {
            let error = encode(ty, value).unwrap_err();
            assert_eq!(error.sqlstate, sqlstate);
            assert!(!error.to_string().contains("secret") && !error.to_string().contains("abcd"));
        }
        assert!(encode(varchar, text("\u{4e16}\u{754c}\u{1f600}")).is_ok());
        assert_eq!(encode(varchar, Value::Null).unwrap(), [0xFF; 4]);
    }
}
