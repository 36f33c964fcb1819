//! [`Field`]: one value where it stands in the record.

use causeway_change::Value;

/// A [`Value`] that borrows its text and bytes from the record.
#[derive(Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// SQL NULL.
    Null,
    /// Left out by the source: not known, and not NULL.
    Unavailable,
    /// As [`Value::Bool`].
    Bool(bool),
    /// As [`Value::I16`].
    I16(i16),
    /// As [`Value::I32`].
    I32(i32),
    /// As [`Value::I64`].
    I64(i64),
    /// As [`Value::F32`].
    F32(f32),
    /// As [`Value::F64`].
    F64(f64),
    /// As [`Value::Decimal`].
    Decimal(i128),
    /// As [`Value::Text`].
    Text(&'a str),
    /// As [`Value::Bytes`].
    Bytes(&'a [u8]),
    /// As [`Value::Guid`].
    Guid([u8; 16]),
    /// As [`Value::Date`].
    Date(i32),
    /// As [`Value::Time`].
    Time(i64),
    /// As [`Value::DateTime`].
    DateTime(i64),
    /// As [`Value::DateTimeOffset`].
    DateTimeOffset {
        /// Ticks of 100 ns since 1970-01-01T00:00Z, UTC.
        utc: i64,
        /// Minutes east of UTC.
        offset_minutes: i16,
    },
}

impl Field<'_> {
    /// The value, with a copy of its text or bytes.
    #[must_use]
    #[inline]
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Unavailable => Value::Unavailable,
            Self::Bool(b) => Value::Bool(b),
            Self::I16(n) => Value::I16(n),
            Self::I32(n) => Value::I32(n),
            Self::I64(n) => Value::I64(n),
            Self::F32(x) => Value::F32(x),
            Self::F64(x) => Value::F64(x),
            Self::Decimal(n) => Value::Decimal(n),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_owned()),
            Self::Guid(guid) => Value::Guid(guid),
            Self::Date(days) => Value::Date(days),
            Self::Time(ticks) => Value::Time(ticks),
            Self::DateTime(ticks) => Value::DateTime(ticks),
            Self::DateTimeOffset { utc, offset_minutes } => {
                Value::DateTimeOffset { utc, offset_minutes }
            }
        }
    }
}

/// Prints nothing of the value: rows must not leak into logs and errors.
impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.into_value().kind())
    }
}
