//! [`Value`]: one value of one column, exactly.

use std::fmt;

/// The values of one row, in the order of its [`crate::Table`]'s columns.
pub type Row = Vec<Value>;

/// One value. Which kind a column has is said at [`crate::ColumnType`].
///
/// Times count in ticks of 100 ns, the finest that SQL Server keeps, so that nothing is rounded
/// before it must be.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A large value that an update did not touch and that the change table therefore left out:
    /// not known, and not NULL (research A.0.4).
    Unavailable,
    /// A value that was measured and not read, because nothing that it is for takes so much: its size in
    /// bytes, or somewhat less.
    TooLarge(u64),
    /// `bit`
    Bool(bool),
    /// `tinyint` (0 to 255) and `smallint`
    I16(i16),
    /// `int`
    I32(i32),
    /// `bigint`
    I64(i64),
    /// `real`
    F32(f32),
    /// `float`
    F64(f64),
    /// Unscaled value: 123.45 of `decimal(9,2)` is 12345.
    Decimal(i128),
    /// A string. A lone surrogate of UTF-16 has become U+FFFD.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The sixteen bytes in the order in which they are written as text.
    Guid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Ticks of 100 ns since midnight.
    Time(i64),
    /// Wall clock without zone: ticks of 100 ns since 1970-01-01T00:00, negative before it.
    DateTime(i64),
    /// A moment, and the offset that it was written with.
    DateTimeOffset {
        /// Ticks of 100 ns since 1970-01-01T00:00Z, UTC.
        utc: i64,
        /// Minutes east of UTC, -840 to 840.
        offset_minutes: i16,
    },
}

/// A [`Value`] that lies where it was received: a text or bytes in the driver's buffer are not copied.
#[derive(Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// See [`Value::Null`].
    Null,
    /// See [`Value::Unavailable`].
    Unavailable,
    /// See [`Value::Bool`].
    Bool(bool),
    /// See [`Value::I16`].
    I16(i16),
    /// See [`Value::I32`].
    I32(i32),
    /// See [`Value::I64`].
    I64(i64),
    /// See [`Value::F32`].
    F32(f32),
    /// See [`Value::F64`].
    F64(f64),
    /// See [`Value::Decimal`].
    Decimal(i128),
    /// See [`Value::Text`].
    Text(&'a str),
    /// See [`Value::Bytes`].
    Bytes(&'a [u8]),
    /// See [`Value::Guid`].
    Guid([u8; 16]),
    /// See [`Value::Date`].
    Date(i32),
    /// See [`Value::Time`].
    Time(i64),
    /// See [`Value::DateTime`].
    DateTime(i64),
    /// See [`Value::DateTimeOffset`].
    DateTimeOffset {
        /// UTC, as there.
        utc: i64,
        /// Minutes, as there.
        offset_minutes: i16,
    },
}

impl ValueRef<'_> {
    /// The value with memory of its own.
    #[must_use]
    #[inline]
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Unavailable => Value::Unavailable,
            Self::Bool(b) => Value::Bool(b),
            Self::I16(n) => Value::I16(n),
            Self::I32(n) => Value::I32(n),
            Self::I64(n) => Value::I64(n),
            Self::F32(n) => Value::F32(n),
            Self::F64(n) => Value::F64(n),
            Self::Decimal(n) => Value::Decimal(n),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::Guid(bytes) => Value::Guid(bytes),
            Self::Date(days) => Value::Date(days),
            Self::Time(ticks) => Value::Time(ticks),
            Self::DateTime(ticks) => Value::DateTime(ticks),
            Self::DateTimeOffset { utc, offset_minutes } => {
                Value::DateTimeOffset { utc, offset_minutes }
            }
        }
    }
}

/// Prints the kind and never the value, as [`Value`] does.
impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}

impl Value {
    /// The value where it lies.
    #[must_use]
    pub fn borrowed(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            // Either way it is not here.
            Self::Unavailable | Self::TooLarge(_) => ValueRef::Unavailable,
            Self::Bool(b) => ValueRef::Bool(*b),
            Self::I16(n) => ValueRef::I16(*n),
            Self::I32(n) => ValueRef::I32(*n),
            Self::I64(n) => ValueRef::I64(*n),
            Self::F32(n) => ValueRef::F32(*n),
            Self::F64(n) => ValueRef::F64(*n),
            Self::Decimal(n) => ValueRef::Decimal(*n),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
            Self::Guid(bytes) => ValueRef::Guid(*bytes),
            Self::Date(days) => ValueRef::Date(*days),
            Self::Time(ticks) => ValueRef::Time(*ticks),
            Self::DateTime(ticks) => ValueRef::DateTime(*ticks),
            Self::DateTimeOffset { utc, offset_minutes } => {
                ValueRef::DateTimeOffset { utc: *utc, offset_minutes: *offset_minutes }
            }
        }
    }

    /// True for [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// True for [`Value::Unavailable`].
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// The name of the kind, for messages that must not hold the value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Unavailable => "an unavailable value",
            Self::TooLarge(_) => "a value too large to be read",
            Self::Bool(_) => "a boolean",
            Self::I16(_) => "a 16-bit integer",
            Self::I32(_) => "a 32-bit integer",
            Self::I64(_) => "a 64-bit integer",
            Self::F32(_) => "a 32-bit float",
            Self::F64(_) => "a 64-bit float",
            Self::Decimal(_) => "a decimal",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Guid(_) => "a GUID",
            Self::Date(_) => "a date",
            Self::Time(_) => "a time",
            Self::DateTime(_) => "a timestamp",
            Self::DateTimeOffset { .. } => "a timestamp with offset",
        }
    }

    /// Bytes that the value holds in memory, roughly: what queues are bounded by.
    #[must_use]
    pub fn size(&self) -> usize {
        std::mem::size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
                Self::Null
                | Self::Unavailable
                | Self::TooLarge(_)
                | Self::Bool(_)
                | Self::I16(_)
                | Self::I32(_)
                | Self::I64(_)
                | Self::F32(_)
                | Self::F64(_)
                | Self::Decimal(_)
                | Self::Guid(_)
                | Self::Date(_)
                | Self::Time(_)
                | Self::DateTime(_)
                | Self::DateTimeOffset { .. } => 0,
            }
    }
}

/// Prints the kind and never the value: rows must not leak into logs and errors (promise 6).
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}
