//! How one column of a writer's schema is read: its [`ColumnType`] and the way from its bytes to a
//! [`Value`].
//!
//! The SQL Server type in the parameters wins when the bytes can hold it; otherwise the logical name
//! decides, so that topics of a connector that propagates no types, and of other databases'
//! connectors, are read too.

use causeway_change::{ColumnType, Length, Value, ValueRef};
use serde_json::Value as Json;

use crate::{
    UNAVAILABLE,
    schema::{self, parameter},
    text,
    wire::{self, Fault, Reader},
    writer_schema::{Shape, Type},
};

/// The way from bytes to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// A float in a column of double precision.
    Float32Widened,
    Decimal,
    /// `decimal.handling.mode=string`
    DecimalText {
        scale: u8,
    },
    /// `decimal.handling.mode=double`
    DecimalDouble {
        scale: u8,
    },
    Text,
    /// Text that can be the placeholder.
    LargeText,
    Bytes,
    /// Bytes that can be the placeholder.
    LargeBytes,
    Guid,
    Date,
    TimeMillis,
    TimeMicros,
    TimeNanos,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    Zoned,
    IsoDate,
    IsoTime,
    IsoTimestamp,
}

/// The column type and the reading of a field's type; none when it has none here.
pub(crate) fn of(ty: &Type) -> Option<(ColumnType, Reading)> {
    let (plain_type, plain) = by_logical_name(ty)?;
    let declared = ty.parameter(parameter::TYPE).and_then(Json::as_str).and_then(|name| {
        schema::column_type(
            name,
            ty.parameter_number(parameter::LENGTH),
            ty.parameter_number(parameter::SCALE),
        )
    });
    let (column_type, reading) = declared
        .and_then(|declared| Some((declared, reading_as(declared, plain_type, plain)?)))
        .unwrap_or((plain_type, plain));
    // Only what a change table may leave out can be the placeholder.
    let reading = match (reading, column_type.is_large()) {
        (Reading::Text, true) => Reading::LargeText,
        (Reading::Bytes, true) => Reading::LargeBytes,
        (reading, _) => reading,
    };
    Some((column_type, reading))
}

/// By Avro type and logical name alone (research B.3, B.4).
fn by_logical_name(ty: &Type) -> Option<(ColumnType, Reading)> {
    let name = ty.logical_name();
    Some(match &ty.shape {
        Shape::Boolean => (ColumnType::Bit, Reading::Boolean),
        Shape::Int => match name {
            Some("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" | "date") => {
                (ColumnType::Date, Reading::Date)
            }
            Some(
                "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" | "time-millis",
            ) => (ColumnType::Time { scale: 3 }, Reading::TimeMillis),
            Some(_) | None => match ty.text("connect.type") {
                Some("int8" | "int16") => (ColumnType::SmallInt, Reading::Int16),
                Some(_) | None => (ColumnType::Int, Reading::Int32),
            },
        },
        Shape::Long => match name {
            Some("io.debezium.time.MicroTime" | "time-micros") => {
                (ColumnType::Time { scale: 6 }, Reading::TimeMicros)
            }
            Some("io.debezium.time.NanoTime") => {
                (ColumnType::Time { scale: 7 }, Reading::TimeNanos)
            }
            Some(
                "io.debezium.time.Timestamp"
                | "org.apache.kafka.connect.data.Timestamp"
                | "timestamp-millis",
            ) => (ColumnType::DateTime2 { scale: 3 }, Reading::TimestampMillis),
            Some("io.debezium.time.MicroTimestamp" | "timestamp-micros") => {
                (ColumnType::DateTime2 { scale: 6 }, Reading::TimestampMicros)
            }
            Some("io.debezium.time.NanoTimestamp") => {
                (ColumnType::DateTime2 { scale: 7 }, Reading::TimestampNanos)
            }
            Some(_) | None => (ColumnType::BigInt, Reading::Int64),
        },
        Shape::Float => (ColumnType::Real, Reading::Float32),
        Shape::Double => (ColumnType::Float, Reading::Float64),
        Shape::Bytes => match name {
            Some("org.apache.kafka.connect.data.Decimal" | "decimal") => {
                let scale = ty.number("scale").or_else(|| ty.parameter_number("scale"))?;
                let scale = u8::try_from(scale).ok().filter(|scale| *scale <= 38)?;
                let precision = ty
                    .number("precision")
                    .or_else(|| ty.parameter_number("connect.decimal.precision"))
                    .and_then(|p| u8::try_from(p).ok())
                    // Connect writes 64 when it knows none.
                    .filter(|p| (1..=38).contains(p) && *p >= scale)
                    .unwrap_or(38);
                (ColumnType::Decimal { precision, scale }, Reading::Decimal)
            }
            Some(_) | None => (ColumnType::VarBinary(Length::Max), Reading::Bytes),
        },
        Shape::String => match name {
            Some("io.debezium.time.ZonedTimestamp") => {
                (ColumnType::DateTimeOffset { scale: 7 }, Reading::Zoned)
            }
            Some("io.debezium.time.IsoDate") => (ColumnType::Date, Reading::IsoDate),
            Some("io.debezium.time.IsoTime") => (ColumnType::Time { scale: 7 }, Reading::IsoTime),
            Some("io.debezium.time.IsoTimestamp") => {
                (ColumnType::DateTime2 { scale: 7 }, Reading::IsoTimestamp)
            }
            Some("io.debezium.data.Uuid" | "uuid") => (ColumnType::UniqueIdentifier, Reading::Guid),
            Some("io.debezium.data.Xml") => (ColumnType::Xml, Reading::Text),
            Some(_) | None => (ColumnType::NVarChar(Length::Max), Reading::Text),
        },
        Shape::Null
        | Shape::Fixed(_)
        | Shape::Enum
        | Shape::Array(_)
        | Shape::Map(_)
        | Shape::Union(_)
        | Shape::Record(_) => return None,
    })
}

/// The reading of a declared type from bytes that would by themselves be `plain`; none when such
/// bytes cannot hold it.
fn reading_as(declared: ColumnType, plain_type: ColumnType, plain: Reading) -> Option<Reading> {
    let same_scale = |scale: u8| matches!(plain_type, ColumnType::Decimal { scale: written, .. } if written == scale);
    let decimal = |scale: u8| {
        if plain == Reading::Decimal && same_scale(scale) {
            Some(Reading::Decimal)
        } else if plain == Reading::Text {
            Some(Reading::DecimalText { scale })
        } else if plain == Reading::Float64 {
            Some(Reading::DecimalDouble { scale })
        } else {
            None
        }
    };
    let only = |wanted: &[Reading]| wanted.contains(&plain).then_some(plain);
    match declared {
        ColumnType::Bit => only(&[Reading::Boolean]),
        ColumnType::TinyInt | ColumnType::SmallInt => {
            only(&[Reading::Int16, Reading::Int32]).map(|_| Reading::Int16)
        }
        ColumnType::Int => only(&[Reading::Int32]),
        ColumnType::BigInt => only(&[Reading::Int64]),
        ColumnType::Real => only(&[Reading::Float32]),
        ColumnType::Float if plain == Reading::Float32 => Some(Reading::Float32Widened),
        ColumnType::Float => only(&[Reading::Float64]),
        ColumnType::Decimal { scale, .. } => decimal(scale),
        ColumnType::Money | ColumnType::SmallMoney => decimal(4),
        ColumnType::Date => only(&[Reading::Date, Reading::IsoDate]),
        ColumnType::Time { .. } => {
            only(&[Reading::TimeMillis, Reading::TimeMicros, Reading::TimeNanos, Reading::IsoTime])
        }
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => only(&[
            Reading::TimestampMillis,
            Reading::TimestampMicros,
            Reading::TimestampNanos,
            Reading::IsoTimestamp,
        ]),
        ColumnType::DateTimeOffset { .. } => only(&[Reading::Zoned]),
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => only(&[Reading::Text]),
        ColumnType::UniqueIdentifier => {
            only(&[Reading::Text, Reading::Guid]).map(|_| Reading::Guid)
        }
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => only(&[Reading::Bytes]),
    }
}

impl Reading {
    /// Reads one value.
    #[inline]
    pub(crate) fn read(self, reader: &mut Reader<'_>) -> Result<Value, Fault> {
        self.read_field(reader).map(ValueRef::to_value)
    }

    /// Reads one value where it stands: nothing is copied.
    #[inline]
    pub(crate) fn read_field<'a>(self, reader: &mut Reader<'a>) -> Result<ValueRef<'a>, Fault> {
        Ok(match self {
            Self::Text => ValueRef::Text(reader.string()?),
            Self::LargeText => match reader.string()? {
                UNAVAILABLE => ValueRef::Unavailable,
                text => ValueRef::Text(text),
            },
            Self::Bytes => ValueRef::Bytes(reader.bytes()?),
            Self::LargeBytes => match reader.bytes()? {
                bytes if bytes == UNAVAILABLE.as_bytes() => ValueRef::Unavailable,
                bytes => ValueRef::Bytes(bytes),
            },
            Self::Boolean => ValueRef::Bool(reader.boolean()?),
            Self::Int16 | Self::Int32 | Self::Date | Self::TimeMillis => {
                return self.integer(i64::from(reader.int()?));
            }
            Self::Int64
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos => return self.integer(reader.long()?),
            Self::Float32 => ValueRef::F32(reader.float()?),
            Self::Float32Widened => ValueRef::F64(f64::from(reader.float()?)),
            Self::Float64 => ValueRef::F64(reader.double()?),
            Self::Decimal => ValueRef::Decimal(reader.decimal()?),
            Self::DecimalDouble { scale } => double(reader.double()?, scale)?,
            Self::DecimalText { .. }
            | Self::Guid
            | Self::Zoned
            | Self::IsoDate
            | Self::IsoTime
            | Self::IsoTimestamp => return self.text(reader.string()?),
        })
    }

    fn integer<'a>(self, n: i64) -> Result<ValueRef<'a>, Fault> {
        Ok(match self {
            Self::Int16 => ValueRef::I16(i16::try_from(n).map_err(|_| Fault::Range)?),
            Self::Int32 => ValueRef::I32(i32::try_from(n).map_err(|_| Fault::Range)?),
            Self::Date => ValueRef::Date(i32::try_from(n).map_err(|_| Fault::Range)?),
            Self::Int64 => ValueRef::I64(n),
            Self::TimeMillis => ValueRef::Time(ticks(n, 10_000)?),
            Self::TimeMicros => ValueRef::Time(ticks(n, 10)?),
            Self::TimeNanos => ValueRef::Time(n.div_euclid(100)),
            Self::TimestampMillis => ValueRef::DateTime(ticks(n, 10_000)?),
            Self::TimestampMicros => ValueRef::DateTime(ticks(n, 10)?),
            Self::TimestampNanos => ValueRef::DateTime(n.div_euclid(100)),
            Self::Boolean
            | Self::Float32
            | Self::Float64
            | Self::Float32Widened
            | Self::Decimal
            | Self::DecimalText { .. }
            | Self::DecimalDouble { .. }
            | Self::Text
            | Self::LargeText
            | Self::Bytes
            | Self::LargeBytes
            | Self::Guid
            | Self::Zoned
            | Self::IsoDate
            | Self::IsoTime
            | Self::IsoTimestamp => return Err(Fault::Malformed("not an integer")),
        })
    }

    /// Reads over one value.
    #[inline]
    pub(crate) fn skip(self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        match self {
            Self::Boolean => drop(reader.boolean()?),
            Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Date
            | Self::TimeMillis
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos => drop(reader.long()?),
            Self::Float32 | Self::Float32Widened => drop(reader.float()?),
            Self::Float64 | Self::DecimalDouble { .. } => drop(reader.double()?),
            Self::Decimal
            | Self::DecimalText { .. }
            | Self::Text
            | Self::LargeText
            | Self::Bytes
            | Self::LargeBytes
            | Self::Guid
            | Self::Zoned
            | Self::IsoDate
            | Self::IsoTime
            | Self::IsoTimestamp => drop(reader.bytes()?),
        }
        Ok(())
    }

    fn text(self, text: &str) -> Result<ValueRef<'_>, Fault> {
        let known = match self {
            Self::Text | Self::LargeText => Some(ValueRef::Text(text)),
            Self::Guid => text::guid(text).map(ValueRef::Guid),
            Self::Zoned => text::zoned(text)
                .map(|(utc, offset_minutes)| ValueRef::DateTimeOffset { utc, offset_minutes }),
            Self::IsoDate => text::iso_date(text).map(ValueRef::Date),
            Self::IsoTime => text::iso_time(text).map(ValueRef::Time),
            Self::IsoTimestamp => text::iso_timestamp(text).map(ValueRef::DateTime),
            Self::DecimalText { scale } => text::decimal(text, scale).map(ValueRef::Decimal),
            Self::Boolean
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Float32
            | Self::Float64
            | Self::Float32Widened
            | Self::Decimal
            | Self::DecimalDouble { .. }
            | Self::Bytes
            | Self::LargeBytes
            | Self::Date
            | Self::TimeMillis
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos => None,
        };
        known.ok_or(Fault::Malformed("the text does not have the form that its type has"))
    }

    /// The constant default of a field; none when the JSON is not one of this reading.
    pub(crate) fn default(self, json: &Json) -> Option<Value> {
        match json {
            Json::Null | Json::Array(_) | Json::Object(_) => None,
            Json::Bool(b) => (self == Self::Boolean).then_some(Value::Bool(*b)),
            Json::Number(n) => {
                if self == Self::Float32 {
                    // The text of the JSON is the shortest decimal of the float.
                    n.to_string().parse().ok().map(Value::F32)
                } else if matches!(self, Self::Float64 | Self::Float32Widened) {
                    n.as_f64().map(Value::F64)
                } else if let Self::DecimalDouble { scale } = self {
                    double(n.as_f64()?, scale).ok().map(ValueRef::to_value)
                } else {
                    self.integer(n.as_i64()?).ok().map(ValueRef::to_value)
                }
            }
            Json::String(text) => {
                if matches!(self, Self::Bytes | Self::LargeBytes) {
                    Some(Value::Bytes(latin1(text)?))
                } else if self == Self::Decimal {
                    wire::unscaled(&latin1(text)?).ok().map(Value::Decimal)
                } else {
                    self.text(text).ok().map(ValueRef::to_value)
                }
            }
        }
    }
}

fn ticks(n: i64, unit: i64) -> Result<i64, Fault> {
    n.checked_mul(unit).ok_or(Fault::Range)
}

/// The decimal nearest to a double.
fn double<'a>(x: f64, scale: u8) -> Result<ValueRef<'a>, Fault> {
    let printed = format!("{x:.0$}", usize::from(scale));
    text::decimal(&printed, scale).map(ValueRef::Decimal).ok_or(Fault::Range)
}

/// Avro's JSON form of bytes: a character for each.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
