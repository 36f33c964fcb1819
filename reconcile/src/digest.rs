//! The canonical bytes of a row, and their digest.
//!
//! For each column in order: `0x00` for NULL, or `0x01` and the value. Fixed-width values have no
//! length, variable ones are led by their length in four bytes, so the bytes of two different rows
//! are never the same (no separator that could occur in a value, no '' that looks like NULL).
//!
//! The bytes are those of the value *as the target can hold it*: times are floored to microseconds
//! (PostgreSQL's grain), the offset of a `datetimeoffset` is dropped (PostgreSQL keeps the moment),
//! the padding of `char(n)` and `nchar(n)` is dropped (`char(n)` pads in both engines, but counts
//! UTF-16 units in one and characters in the other). Nothing else is normalised: trailing blanks of
//! a varchar, letter case, Unicode form and negative zero are differences.

use causeway_change::{Column, ColumnType, Value, ValueRef};

/// Version of the canonical bytes; in every report, because a later change must not look like drift.
pub const ENCODING: u32 = 1;

/// A value that has no canonical form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "digest column {column}: {kind} cannot stand in a column of type {ty}; this is a defect of causeway-reconcile, please report it"
)]
pub struct DigestError {
    column: String,
    kind: &'static str,
    ty: String,
}

/// Makes canonical bytes of one row after the other, in memory that is used again.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Where the bytes of each column end.
    ends: Vec<usize>,
    wrong: Option<DigestError>,
}

impl Encoder {
    /// Begins a row.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.wrong = None;
    }

    /// Adds the value of the next column. A value that has no canonical form is told at the end of the row.
    pub fn push(&mut self, column: &Column, value: ValueRef<'_>) {
        if let Err(error) = encode(column, value, &mut self.bytes) {
            self.wrong.get_or_insert(error);
        }
        self.ends.push(self.bytes.len());
    }

    /// Ends the row: its 128-bit digest, XXH3 of its canonical bytes.
    ///
    /// # Errors
    /// When a value was of a kind that its column cannot have.
    pub fn digest(&mut self) -> Result<u128, DigestError> {
        match self.wrong.take() {
            Some(error) => Err(error),
            None => Ok(xxhash_rust::xxh3::xxh3_128(&self.bytes)),
        }
    }

    /// Appends the canonical bytes of the columns at the indexes `key`, in that order.
    pub fn key(&self, key: &[usize], out: &mut Vec<u8>) {
        for &i in key {
            let start = i.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |n| *n);
            let end = self.ends.get(i).copied().unwrap_or(start);
            out.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
        }
    }
}

/// The 128-bit digest of a row: XXH3 of its canonical bytes.
///
/// # Errors
/// When a value is of a kind that its column cannot have.
pub fn row(columns: &[Column], values: &[Value]) -> Result<u128, DigestError> {
    let mut encoder = Encoder::default();
    for (column, value) in columns.iter().zip(values) {
        encoder.push(column, value.borrowed());
    }
    encoder.digest()
}

/// Appends the canonical bytes of the key: the columns at the indexes `key`, in key order.
///
/// # Errors
/// When a value is of a kind that its column cannot have.
pub fn key(
    columns: &[Column],
    key: &[usize],
    values: &[Value],
    bytes: &mut Vec<u8>,
) -> Result<(), DigestError> {
    key.iter()
        .filter_map(|&i| Some((columns.get(i)?, values.get(i)?)))
        .try_for_each(|(column, value)| encode(column, value.borrowed(), bytes))
}

/// Whether two values of a column are equal for the comparison: their canonical bytes are.
#[must_use]
pub fn same(column: &Column, a: &Value, b: &Value) -> bool {
    let bytes = |value: &Value| {
        let mut out = Vec::new();
        encode(column, value.borrowed(), &mut out).map(|()| out)
    };
    matches!((bytes(a), bytes(b)), (Ok(a), Ok(b)) if a == b)
}

fn encode(column: &Column, value: ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), DigestError> {
    out.push(u8::from(value != ValueRef::Null));
    match value {
        ValueRef::Null => {}
        ValueRef::Unavailable => {
            return Err(DigestError {
                column: column.name.clone(),
                kind: "an unavailable value",
                ty: column.ty.to_string(),
            });
        }
        ValueRef::Bool(b) => out.push(u8::from(b)),
        ValueRef::I16(n) => out.extend(i64::from(n).to_be_bytes()),
        ValueRef::I32(n) => out.extend(i64::from(n).to_be_bytes()),
        ValueRef::I64(n) => out.extend(n.to_be_bytes()),
        ValueRef::F32(n) => out.extend(n.to_bits().to_be_bytes()),
        ValueRef::F64(n) => out.extend(n.to_bits().to_be_bytes()),
        ValueRef::Decimal(n) => out.extend(n.to_be_bytes()),
        ValueRef::Text(text) => variable(unpadded(column.ty, text).as_bytes(), out),
        ValueRef::Bytes(bytes) => variable(bytes, out),
        ValueRef::Guid(bytes) => out.extend(bytes),
        ValueRef::Date(days) => out.extend(days.to_be_bytes()),
        ValueRef::Time(ticks) | ValueRef::DateTime(ticks) => {
            out.extend(micros(ticks).to_be_bytes());
        }
        ValueRef::DateTimeOffset { utc, .. } => out.extend(micros(utc).to_be_bytes()),
    }
    Ok(())
}

/// Ticks of 100 ns, floored to microseconds: what the sink stores.
fn micros(ticks: i64) -> i64 {
    ticks.div_euclid(10)
}

/// `char(n)` and `nchar(n)` without the blanks that pad them; everything else as it is.
fn unpadded(ty: ColumnType, text: &str) -> &str {
    if matches!(ty, ColumnType::Char(_) | ColumnType::NChar(_)) {
        text.trim_end_matches(' ')
    } else {
        text
    }
}

fn variable(bytes: &[u8], out: &mut Vec<u8>) {
    // A column holds at most 2^31 - 1 bytes, and UTF-8 of it less than 2^32.
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// The values of a key from its canonical bytes, to ask for it again.
///
/// `columns` are the key's, in key order. Times come back in whole microseconds, so ask only where
/// [`key_is_exact`].
///
/// # Errors
/// When the bytes are not those of such a key.
pub fn key_values<'a>(
    columns: impl Iterator<Item = &'a Column>,
    mut bytes: &[u8],
) -> Result<Vec<Value>, DigestError> {
    columns
        .map(|column| {
            decode_value(column, &mut bytes).ok_or_else(|| DigestError {
                column: column.name.clone(),
                kind: "a key that was cut short",
                ty: column.ty.to_string(),
            })
        })
        .collect()
}

fn decode_value(column: &Column, bytes: &mut &[u8]) -> Option<Value> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*head)
    }
    fn variable<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(take(bytes)?)).ok()?;
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(head)
    }
    if take::<1>(bytes)? == [0] {
        return Some(Value::Null);
    }
    Some(match column.ty {
        ColumnType::Bit => Value::Bool(take::<1>(bytes)? != [0]),
        ColumnType::TinyInt | ColumnType::SmallInt => {
            Value::I16(i16::try_from(i64::from_be_bytes(take(bytes)?)).ok()?)
        }
        ColumnType::Int => Value::I32(i32::try_from(i64::from_be_bytes(take(bytes)?)).ok()?),
        ColumnType::BigInt => Value::I64(i64::from_be_bytes(take(bytes)?)),
        ColumnType::Real => Value::F32(f32::from_bits(u32::from_be_bytes(take(bytes)?))),
        ColumnType::Float => Value::F64(f64::from_bits(u64::from_be_bytes(take(bytes)?))),
        ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney => {
            Value::Decimal(i128::from_be_bytes(take(bytes)?))
        }
        ColumnType::Date => Value::Date(i32::from_be_bytes(take(bytes)?)),
        ColumnType::Time { .. } => Value::Time(i64::from_be_bytes(take(bytes)?) * 10),
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            Value::DateTime(i64::from_be_bytes(take(bytes)?) * 10)
        }
        ColumnType::DateTimeOffset { .. } => {
            Value::DateTimeOffset { utc: i64::from_be_bytes(take(bytes)?) * 10, offset_minutes: 0 }
        }
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => Value::Text(String::from_utf8(variable(bytes)?.to_vec()).ok()?),
        ColumnType::UniqueIdentifier => Value::Guid(take(bytes)?),
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => Value::Bytes(variable(bytes)?.to_vec()),
    })
}

/// Whether a key of this type can be asked for again by the value that the target holds.
///
/// Times with 100 ns cannot: two keys of the source may share one microsecond.
#[must_use]
pub fn key_is_exact(ty: ColumnType) -> bool {
    !matches!(
        ty,
        ColumnType::Time { scale: 7 }
            | ColumnType::DateTime2 { scale: 7 }
            | ColumnType::DateTimeOffset { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Length;

    fn column(ty: ColumnType) -> Column {
        Column { name: "c".to_owned(), ty, nullable: true, default: None }
    }

    fn digest(ty: ColumnType, value: Value) -> u128 {
        row(&[column(ty)], &[value]).unwrap()
    }

    #[test]
    fn what_differs_in_truth_differs_in_the_digest() {
        let text = |s: &str| Value::Text(s.to_owned());
        let varchar = ColumnType::VarChar(Length::Of(10));
        for (ty, a, b) in [
            (varchar, text(""), Value::Null),
            (varchar, text("a"), text("a ")),
            (varchar, text("a"), text("A")),
            (ColumnType::Float, Value::F64(0.0), Value::F64(-0.0)),
            (ColumnType::Time { scale: 7 }, Value::Time(9), Value::Time(10)),
            (ColumnType::VarBinary(Length::Max), Value::Bytes(vec![]), Value::Bytes(vec![0])),
        ] {
            assert_ne!(digest(ty, a.clone()), digest(ty, b.clone()), "{ty}: {a:?} and {b:?}");
        }
    }

    #[test]
    fn what_the_target_cannot_tell_apart_has_one_digest() {
        let time = ColumnType::Time { scale: 7 };
        assert_eq!(digest(time, Value::Time(19)), digest(time, Value::Time(10)));
        let at = ColumnType::DateTime2 { scale: 7 };
        assert_eq!(digest(at, Value::DateTime(-1)), digest(at, Value::DateTime(-10)));
        let offset = ColumnType::DateTimeOffset { scale: 3 };
        let moment = |offset_minutes| Value::DateTimeOffset { utc: 70, offset_minutes };
        assert_eq!(digest(offset, moment(60)), digest(offset, moment(0)));
        let padded = Value::Text("ab  ".to_owned());
        assert_eq!(
            digest(ColumnType::NChar(4), padded),
            digest(ColumnType::NChar(4), Value::Text("ab".to_owned()))
        );
    }

    #[test]
    fn columns_cannot_run_into_each_other() {
        let columns = [column(ColumnType::Text), column(ColumnType::Text)];
        let two = |a: &str, b: &str| [Value::Text(a.to_owned()), Value::Text(b.to_owned())];
        let first = row(&columns, &two("ab", "c")).unwrap();
        assert_ne!(first, row(&columns, &two("a", "bc")).unwrap());
    }

    #[test]
    fn a_key_comes_back_from_its_bytes() {
        let columns = [
            column(ColumnType::Int),
            column(ColumnType::NVarChar(Length::Of(20))),
            column(ColumnType::UniqueIdentifier),
            column(ColumnType::DateTime2 { scale: 6 }),
            column(ColumnType::Decimal { precision: 38, scale: 2 }),
            column(ColumnType::Bit),
        ];
        let values = vec![
            Value::I32(-7),
            Value::Text("ä\u{0}".to_owned()),
            Value::Guid([9; 16]),
            Value::DateTime(-1_230),
            Value::Decimal(i128::MIN),
            Value::Null,
        ];
        let mut bytes = Vec::new();
        key(&columns, &[0, 1, 2, 3, 4, 5], &values, &mut bytes).unwrap();
        let mut encoder = Encoder::default();
        for _ in 0..2 {
            encoder.begin();
            for (column, value) in columns.iter().zip(&values) {
                encoder.push(column, value.borrowed());
            }
            let mut again = Vec::new();
            encoder.key(&[0, 1, 2, 3, 4, 5], &mut again);
            assert_eq!(again, bytes);
            again.clear();
            encoder.key(&[5, 0], &mut again);
            assert_eq!(again.len(), 1 + 9);
            assert_eq!(encoder.digest().unwrap(), row(&columns, &values).unwrap());
        }
        assert!(key_values(columns.iter(), &bytes).unwrap() == values);
        assert!(key_values(columns.iter(), &bytes[..9]).is_err());
    }

    #[test]
    fn an_unavailable_value_is_an_error_and_not_a_null() {
        let error = row(&[column(ColumnType::Text)], &[Value::Unavailable]);
        assert!(error.unwrap_err().to_string().contains("column c"));
    }
}
