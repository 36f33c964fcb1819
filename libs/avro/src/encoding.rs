//! How the value of a column stands in Avro: decided once for each column, used by the schema and
//! by the encoder, so that the two cannot disagree.

use causeway_change::{ColumnType, Value, time::TICKS_PER_SECOND};
use serde_json::{Value as Json, json};

use crate::{Decimals, Options, Temporal, text, wire};

/// The Avro type of a column and the meaning of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// boolean
    Boolean,
    /// int, marked as `int16`
    Int16,
    /// int
    Int32,
    /// long
    Int64,
    /// float
    Float32,
    /// double
    Float64,
    /// bytes: big-endian two's complement of the unscaled value
    Decimal { precision: u8, scale: u8 },
    /// string: the decimal digits, as many after the point as the column has
    DecimalText { scale: u8 },
    /// double: the nearest
    DecimalDouble { scale: u8 },
    /// string
    Text,
    /// bytes
    Bytes,
    /// string: the GUID in upper case, as Microsoft's drivers print it
    Guid,
    /// int: days since 1970-01-01
    Date,
    /// int: milliseconds since midnight
    TimeMillis,
    /// long: microseconds since midnight
    TimeMicros,
    /// long: nanoseconds since midnight
    TimeNanos,
    /// int: as [`Self::Date`], under Connect's own name
    ConnectDate,
    /// int: milliseconds since midnight, under Connect's own name
    ConnectTime,
    /// long: milliseconds since 1970-01-01, under Connect's own name
    ConnectTimestamp,
    /// long: milliseconds since 1970-01-01
    TimestampMillis,
    /// long: microseconds since 1970-01-01
    TimestampMicros,
    /// long: nanoseconds since 1970-01-01
    TimestampNanos,
    /// string: ISO 8601 with the row's own offset
    Zoned,
}

impl Encoding {
    /// The encoding of a column type (research B.3, B.4).
    ///
    /// `micro` writes a `datetime2(7)` with microseconds although the mode is adaptive, because its
    /// values leave the range of nanoseconds.
    pub(crate) fn of(ty: ColumnType, options: &Options, micro: bool) -> Self {
        let temporal = options.temporal;
        let decimal = |precision, scale| match options.decimals {
            Decimals::Precise => Self::Decimal { precision, scale },
            Decimals::String => Self::DecimalText { scale },
            Decimals::Double => Self::DecimalDouble { scale },
        };
        match ty {
            ColumnType::Bit => Self::Boolean,
            ColumnType::TinyInt | ColumnType::SmallInt => Self::Int16,
            ColumnType::Int => Self::Int32,
            ColumnType::BigInt => Self::Int64,
            ColumnType::Real => Self::Float32,
            ColumnType::Float => Self::Float64,
            ColumnType::Decimal { precision, scale } => decimal(precision, scale),
            ColumnType::Money => decimal(19, 4),
            ColumnType::SmallMoney => decimal(10, 4),
            ColumnType::Date if temporal == Temporal::Connect => Self::ConnectDate,
            ColumnType::Date => Self::Date,
            ColumnType::Time { scale } => match temporal {
                Temporal::Connect => Self::ConnectTime,
                Temporal::Microseconds | Temporal::AdaptiveTimeMicroseconds => Self::TimeMicros,
                Temporal::Adaptive if scale <= 3 => Self::TimeMillis,
                Temporal::Adaptive if scale <= 6 => Self::TimeMicros,
                Temporal::Adaptive => Self::TimeNanos,
            },
            ColumnType::DateTime | ColumnType::SmallDateTime => match temporal {
                Temporal::Connect => Self::ConnectTimestamp,
                Temporal::Adaptive | Temporal::AdaptiveTimeMicroseconds => Self::TimestampMillis,
                Temporal::Microseconds => Self::TimestampMicros,
            },
            ColumnType::DateTime2 { scale } => match temporal {
                Temporal::Connect => Self::ConnectTimestamp,
                Temporal::Adaptive | Temporal::AdaptiveTimeMicroseconds if scale <= 3 => {
                    Self::TimestampMillis
                }
                Temporal::Adaptive | Temporal::AdaptiveTimeMicroseconds if scale > 6 && !micro => {
                    Self::TimestampNanos
                }
                Temporal::Adaptive
                | Temporal::AdaptiveTimeMicroseconds
                | Temporal::Microseconds => Self::TimestampMicros,
            },
            ColumnType::DateTimeOffset { .. } => Self::Zoned,
            ColumnType::Char(_)
            | ColumnType::VarChar(_)
            | ColumnType::NChar(_)
            | ColumnType::NVarChar(_)
            | ColumnType::Text
            | ColumnType::NText
            | ColumnType::Xml => Self::Text,
            ColumnType::UniqueIdentifier => Self::Guid,
            ColumnType::Binary(_)
            | ColumnType::VarBinary(_)
            | ColumnType::Image
            | ColumnType::RowVersion
            | ColumnType::Geometry
            | ColumnType::Geography
            | ColumnType::HierarchyId => Self::Bytes,
        }
    }

    /// The Avro type without properties.
    pub(crate) fn avro_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int16
            | Self::Int32
            | Self::Date
            | Self::TimeMillis
            | Self::ConnectDate
            | Self::ConnectTime => "int",
            Self::Int64
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos
            | Self::ConnectTimestamp => "long",
            Self::Float32 => "float",
            Self::Float64 | Self::DecimalDouble { .. } => "double",
            Self::Decimal { .. } | Self::Bytes => "bytes",
            Self::Text | Self::Guid | Self::Zoned | Self::DecimalText { .. } => "string",
        }
    }

    /// The name of Connect's or Debezium's logical type, version 1 of which it is.
    pub(crate) fn connect_name(self) -> Option<&'static str> {
        match self {
            Self::Decimal { .. } => Some("org.apache.kafka.connect.data.Decimal"),
            Self::ConnectDate => Some("org.apache.kafka.connect.data.Date"),
            Self::ConnectTime => Some("org.apache.kafka.connect.data.Time"),
            Self::ConnectTimestamp => Some("org.apache.kafka.connect.data.Timestamp"),
            Self::Date => Some("io.debezium.time.Date"),
            Self::TimeMillis => Some("io.debezium.time.Time"),
            Self::TimeMicros => Some("io.debezium.time.MicroTime"),
            Self::TimeNanos => Some("io.debezium.time.NanoTime"),
            Self::TimestampMillis => Some("io.debezium.time.Timestamp"),
            Self::TimestampMicros => Some("io.debezium.time.MicroTimestamp"),
            Self::TimestampNanos => Some("io.debezium.time.NanoTimestamp"),
            Self::Zoned => Some("io.debezium.time.ZonedTimestamp"),
            Self::Boolean
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Float32
            | Self::Float64
            | Self::DecimalText { .. }
            | Self::DecimalDouble { .. }
            | Self::Text
            | Self::Bytes
            | Self::Guid => None,
        }
    }

    /// The name of Avro's own logical type, where the converter writes one.
    pub(crate) fn avro_logical(self) -> Option<&'static str> {
        match self {
            Self::Decimal { .. } => Some("decimal"),
            Self::ConnectDate => Some("date"),
            Self::ConnectTime => Some("time-millis"),
            Self::ConnectTimestamp => Some("timestamp-millis"),
            Self::Boolean
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Float32
            | Self::Float64
            | Self::DecimalText { .. }
            | Self::DecimalDouble { .. }
            | Self::Text
            | Self::Bytes
            | Self::Guid
            | Self::Date
            | Self::TimeMillis
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos
            | Self::Zoned => None,
        }
    }

    /// The value as an integer, for the encodings that write one.
    ///
    /// Ticks of 100 ns that the unit cannot keep are cut off towards the past, as `datetime2(6)`
    /// would be by a reader of microseconds; only microseconds for seven digits can meet that.
    pub(crate) fn integer(self, value: &Value) -> Result<Option<i64>, OutOfNanoseconds> {
        Ok(match (self, value) {
            (Self::Int16, Value::I16(n)) => Some(i64::from(*n)),
            (Self::Int32, Value::I32(n)) => Some(i64::from(*n)),
            (Self::Int64, Value::I64(n)) => Some(*n),
            (Self::Date | Self::ConnectDate, Value::Date(days)) => Some(i64::from(*days)),
            (Self::TimeMillis | Self::ConnectTime, Value::Time(ticks))
            | (Self::TimestampMillis | Self::ConnectTimestamp, Value::DateTime(ticks)) => {
                Some(ticks.div_euclid(TICKS_PER_SECOND / 1_000))
            }
            (Self::TimeMicros, Value::Time(ticks))
            | (Self::TimestampMicros, Value::DateTime(ticks)) => Some(ticks.div_euclid(10)),
            (Self::TimeNanos, Value::Time(ticks))
            | (Self::TimestampNanos, Value::DateTime(ticks)) => {
                Some(ticks.checked_mul(100).ok_or(OutOfNanoseconds)?)
            }
            (
                Self::Boolean
                | Self::Int16
                | Self::Int32
                | Self::Int64
                | Self::Float32
                | Self::Float64
                | Self::Decimal { .. }
                | Self::DecimalText { .. }
                | Self::DecimalDouble { .. }
                | Self::Text
                | Self::Bytes
                | Self::Guid
                | Self::Date
                | Self::TimeMillis
                | Self::TimeMicros
                | Self::TimeNanos
                | Self::TimestampMillis
                | Self::TimestampMicros
                | Self::TimestampNanos
                | Self::ConnectDate
                | Self::ConnectTime
                | Self::ConnectTimestamp
                | Self::Zoned,
                _,
            ) => None,
        })
    }

    /// A constant default as Avro's JSON; none when the value is not of this encoding.
    ///
    /// Bytes are a string whose characters are the bytes (ISO-8859-1), as the Avro specification
    /// has it.
    pub(crate) fn default_json(self, value: &Value) -> Option<Json> {
        if let Ok(Some(n)) = self.integer(value) {
            return Some(json!(n));
        }
        let latin1 = |bytes: &[u8]| Json::String(bytes.iter().map(|&b| char::from(b)).collect());
        match (self, value) {
            (Self::Boolean, Value::Bool(b)) => Some(json!(b)),
            (Self::Float32, Value::F32(x)) => x.is_finite().then(|| {
                // Through the shortest decimal: 0.1 stays 0.1 and does not become 0.10000000149.
                x.to_string().parse::<f64>().map_or(Json::Null, |x| json!(x))
            }),
            (Self::Float64, Value::F64(x)) => x.is_finite().then(|| json!(x)),
            (Self::Decimal { .. }, Value::Decimal(n)) => {
                let (bytes, from) = wire::minimal(*n);
                bytes.get(from..).map(latin1)
            }
            (Self::DecimalText { scale }, Value::Decimal(n)) => {
                let mut out = Vec::new();
                text::put_decimal(*n, scale, &mut out);
                String::from_utf8(out).ok().map(Json::String)
            }
            (Self::DecimalDouble { scale }, Value::Decimal(n)) => {
                Some(json!(text::nearest_double(*n, scale)))
            }
            (Self::Text, Value::Text(text)) => Some(json!(text)),
            (Self::Bytes, Value::Bytes(bytes)) => Some(latin1(bytes)),
            (Self::Guid, Value::Guid(guid)) => {
                let mut out = Vec::new();
                text::put_guid(guid, &mut out);
                String::from_utf8(out).ok().map(Json::String)
            }
            (Self::Zoned, Value::DateTimeOffset { utc, offset_minutes }) => {
                let mut out = Vec::new();
                text::put_zoned(*utc, *offset_minutes, &mut out);
                String::from_utf8(out).ok().map(Json::String)
            }
            (
                Self::Boolean
                | Self::Int16
                | Self::Int32
                | Self::Int64
                | Self::Float32
                | Self::Float64
                | Self::Decimal { .. }
                | Self::DecimalText { .. }
                | Self::DecimalDouble { .. }
                | Self::Text
                | Self::Bytes
                | Self::Guid
                | Self::Date
                | Self::TimeMillis
                | Self::TimeMicros
                | Self::TimeNanos
                | Self::TimestampMillis
                | Self::TimestampMicros
                | Self::TimestampNanos
                | Self::ConnectDate
                | Self::ConnectTime
                | Self::ConnectTimestamp
                | Self::Zoned,
                _,
            ) => None,
        }
    }
}

/// The timestamp is not within the reach of 64 bits of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfNanoseconds;
