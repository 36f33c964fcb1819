//! A field's binary form by an operation that is chosen once for its column: the way of many rows.
//!
//! [`crate::encode`] does the same from a `Value`, one match after the other; a test of the sink holds the two
//! against each other over all types.

use causeway_change::{Column, ColumnType, Length};

use crate::{
    EncodeError,
    encode::{EPOCH_DAYS, EPOCH_TICKS, MICROS_PER_DAY, MIN_DAYS, refuse},
    numeric,
};

/// How the fields of one column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// boolean
    Bool,
    /// smallint
    Int2,
    /// integer
    Int4,
    /// bigint
    Int8,
    /// real
    Float4,
    /// double precision
    Float8,
    /// numeric
    Numeric {
        /// Digits after the point.
        scale: u8,
    },
    /// date
    Date,
    /// time
    Time,
    /// timestamp
    Timestamp,
    /// timestamp with time zone
    TimestampTz,
    /// any text
    Text {
        /// The most characters.
        limit: usize,
    },
    /// uuid
    Uuid,
    /// bytea
    Bytes,
}

/// Why PostgreSQL could not hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A text with U+0000.
    Nul,
    /// A text with more characters than its column.
    TooLong {
        /// The most characters.
        limit: usize,
    },
    /// A date or time outside PostgreSQL's range; `early` when it is before its begin.
    Beyond {
        /// Before the begin, not after the end.
        early: bool,
    },
    /// A value of another kind than the column's.
    Kind(&'static str),
    /// More than 2 GB.
    Huge,
}

impl Unfit {
    /// With the column's name, for a person.
    #[must_use]
    pub fn of(self, column: &Column) -> EncodeError {
        match self {
            Self::Nul => {
                refuse(column, "the text holds U+0000, which PostgreSQL cannot store", "22021")
            }
            Self::TooLong { limit } => {
                refuse(column, &format!("the text is longer than {limit}"), "22001")
            }
            Self::Beyond { .. } => {
                refuse(column, "the date or time is outside PostgreSQL's range", "22008")
            }
            Self::Kind(kind) => refuse(column, &format!("the record holds {kind}"), "42804"),
            Self::Huge => refuse(column, "the value is larger than 2 GB", "54000"),
        }
    }
}

impl Op {
    /// The operation of a column type.
    #[must_use]
    pub fn of(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Bit => Self::Bool,
            ColumnType::TinyInt | ColumnType::SmallInt => Self::Int2,
            ColumnType::Int => Self::Int4,
            ColumnType::BigInt => Self::Int8,
            ColumnType::Real => Self::Float4,
            ColumnType::Float => Self::Float8,
            ColumnType::Decimal { scale, .. } => Self::Numeric { scale },
            ColumnType::Money | ColumnType::SmallMoney => Self::Numeric { scale: 4 },
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
                Self::Timestamp
            }
            ColumnType::DateTimeOffset { .. } => Self::TimestampTz,
            ColumnType::Char(n)
            | ColumnType::NChar(n)
            | ColumnType::VarChar(Length::Of(n))
            | ColumnType::NVarChar(Length::Of(n)) => Self::Text { limit: usize::from(n) },
            ColumnType::VarChar(Length::Max)
            | ColumnType::NVarChar(Length::Max)
            | ColumnType::Text
            | ColumnType::NText
            | ColumnType::Xml => Self::Text { limit: usize::MAX },
            ColumnType::UniqueIdentifier => Self::Uuid,
            ColumnType::Binary(_)
            | ColumnType::VarBinary(_)
            | ColumnType::Image
            | ColumnType::RowVersion
            | ColumnType::Geometry
            | ColumnType::Geography
            | ColumnType::HierarchyId => Self::Bytes,
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn bool(self, b: bool, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Bool {
            return Err(Unfit::Kind("a boolean"));
        }
        fixed([0, 0, 0, 1, u8::from(b)], out);
        Ok(())
    }

    /// A 16-bit integer.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn i16(self, n: i16, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Int2 {
            return Err(Unfit::Kind("a 16-bit integer"));
        }
        let [a, b] = n.to_be_bytes();
        fixed([0, 0, 0, 2, a, b], out);
        Ok(())
    }

    /// A 32-bit integer.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn i32(self, n: i32, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Int4 {
            return Err(Unfit::Kind("a 32-bit integer"));
        }
        four(n.to_be_bytes(), out);
        Ok(())
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn i64(self, n: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Int8 {
            return Err(Unfit::Kind("a 64-bit integer"));
        }
        eight(n.to_be_bytes(), out);
        Ok(())
    }

    /// A 32-bit float.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn f32(self, x: f32, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Float4 {
            return Err(Unfit::Kind("a 32-bit float"));
        }
        four(x.to_be_bytes(), out);
        Ok(())
    }

    /// A 64-bit float.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn f64(self, x: f64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Float8 {
            return Err(Unfit::Kind("a 64-bit float"));
        }
        eight(x.to_be_bytes(), out);
        Ok(())
    }

    /// An unscaled decimal.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn decimal(self, unscaled: i128, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Self::Numeric { scale } = self else { return Err(Unfit::Kind("a decimal")) };
        measured(out, |out| numeric::encode(unscaled, scale, out))
    }

    /// Days since 1970-01-01.
    ///
    /// # Errors
    /// When the column holds no such values, or PostgreSQL has no such day.
    #[inline]
    pub fn date(self, days: i32, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Date {
            return Err(Unfit::Kind("a date"));
        }
        let days = days.checked_sub(EPOCH_DAYS).filter(|days| *days >= MIN_DAYS);
        four(days.ok_or(Unfit::Beyond { early: true })?.to_be_bytes(), out);
        Ok(())
    }

    /// Ticks of 100 ns since midnight.
    ///
    /// # Errors
    /// When the column holds no such values, or no day has such a time.
    #[inline]
    pub fn time(self, ticks: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Time {
            return Err(Unfit::Kind("a time"));
        }
        let micros = ticks.div_euclid(10);
        if !(0..=MICROS_PER_DAY).contains(&micros) {
            return Err(Unfit::Beyond { early: micros < 0 });
        }
        eight(micros.to_be_bytes(), out);
        Ok(())
    }

    /// Wall clock: ticks of 100 ns since 1970-01-01.
    ///
    /// # Errors
    /// When the column holds no such values, or PostgreSQL has no such time.
    #[inline]
    pub fn date_time(self, ticks: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Timestamp {
            return Err(Unfit::Kind("a timestamp"));
        }
        moment(ticks, out)
    }

    /// A moment: ticks of 100 ns since 1970-01-01, UTC.
    ///
    /// # Errors
    /// When the column holds no such values, or PostgreSQL has no such time.
    #[inline]
    pub fn date_time_offset(self, utc: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::TimestampTz {
            return Err(Unfit::Kind("a timestamp with offset"));
        }
        moment(utc, out)
    }

    /// A text.
    ///
    /// # Errors
    /// When the column holds no such values, or not this one.
    #[inline]
    pub fn text(self, text: &str, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Self::Text { limit } = self else { return Err(Unfit::Kind("a string")) };
        if text.as_bytes().contains(&0) {
            return Err(Unfit::Nul);
        }
        // A text is at most as many characters as bytes, so most need no counting.
        if text.len() > limit && text.chars().count() > limit {
            // Blanks beyond the length are padding and are cut by PostgreSQL itself.
            if text.trim_end_matches(' ').chars().count() > limit {
                return Err(Unfit::TooLong { limit });
            }
        }
        variable(text.as_bytes(), out)
    }

    /// Bytes.
    ///
    /// # Errors
    /// When the column holds no such values, or not so many.
    #[inline]
    pub fn bytes(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Bytes {
            return Err(Unfit::Kind("bytes"));
        }
        variable(bytes, out)
    }

    /// A GUID.
    ///
    /// # Errors
    /// When the column holds no such values.
    #[inline]
    pub fn guid(self, guid: [u8; 16], out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self != Self::Uuid {
            return Err(Unfit::Kind("a GUID"));
        }
        out.extend_from_slice(&16i32.to_be_bytes());
        out.extend_from_slice(&guid);
        Ok(())
    }

    /// PostgreSQL's nearest value for a date or time that it does not have: `-infinity` and `infinity`,
    /// and for times of day their ends.
    pub fn nearest(self, early: bool, out: &mut Vec<u8>) {
        match self {
            Self::Date => four(if early { i32::MIN } else { i32::MAX }.to_be_bytes(), out),
            Self::Time => eight(if early { 0 } else { MICROS_PER_DAY }.to_be_bytes(), out),
            Self::Timestamp | Self::TimestampTz => {
                eight(if early { i64::MIN } else { i64::MAX }.to_be_bytes(), out);
            }
            // Never asked: the others are not out of range.
            Self::Bool
            | Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Float4
            | Self::Float8
            | Self::Numeric { .. }
            | Self::Text { .. }
            | Self::Uuid
            | Self::Bytes => null(out),
        }
    }
}

/// NULL.
#[inline]
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xFF; 4]);
}

#[inline]
fn moment(ticks: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let micros = ticks.checked_sub(EPOCH_TICKS).map(|ticks| ticks.div_euclid(10));
    let micros = micros.filter(|micros| *micros >= i64::from(MIN_DAYS) * MICROS_PER_DAY);
    eight(micros.ok_or(Unfit::Beyond { early: true })?.to_be_bytes(), out);
    Ok(())
}

#[inline]
fn fixed<const N: usize>(bytes: [u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(&bytes);
}

#[inline]
fn four(b: [u8; 4], out: &mut Vec<u8>) {
    let [e, f, g, h] = b;
    fixed([0, 0, 0, 4, e, f, g, h], out);
}

#[inline]
fn eight(b: [u8; 8], out: &mut Vec<u8>) {
    fixed([0, 0, 0, 8], out);
    fixed(b, out);
}

#[inline]
fn variable(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let length = i32::try_from(bytes.len()).map_err(|_| Unfit::Huge)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writes something of a length that is known afterwards.
#[inline]
fn measured(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Unfit> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = i32::try_from(out.len() - start - 4).map_err(|_| Unfit::Huge)?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
