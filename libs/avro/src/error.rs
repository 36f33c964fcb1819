//! The errors of this crate. None is transient, none holds a value of a row.

/// A table has no Avro schema, or a schema is not one that this crate reads.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The table or its key has no columns, or the key names a column that does not exist.
    #[error("make a schema of {table}: {reason}")]
    Table {
        /// The table.
        table: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is not JSON.
    #[error("read an Avro schema: it is not JSON")]
    Json(#[source] serde_json::Error),
    /// The JSON is not an Avro schema.
    #[error("read the Avro schema {schema}: {reason}")]
    Avro {
        /// Name of the schema, as far as it is known.
        schema: String,
        /// What is wrong at which place.
        reason: String,
    },
    /// The schema is not a Debezium envelope.
    #[error(
        "read the Avro schema {schema}: it is not a Debezium envelope ({reason}); flattened records \
         (ExtractNewRecordState) are not supported yet"
    )]
    NotAnEnvelope {
        /// Name of the schema.
        schema: String,
        /// What is missing.
        reason: String,
    },
    /// A column is written in a way that this crate does not know.
    #[error(
        "read the Avro schema {schema}: column {column} is {shape}, which has no SQL Server type here"
    )]
    Column {
        /// Name of the schema.
        schema: String,
        /// The column.
        column: String,
        /// The Avro type and its logical name.
        shape: String,
    },
}

/// A row could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A timestamp lies outside the years 1677 to 2262, which 64 bits of nanoseconds reach.
    ///
    /// Make the encoder again with the column in `micro_columns`, register its schema, retry.
    #[error("encode column {column}: the timestamp is outside 1677..2262 and needs microseconds")]
    NanosecondRange {
        /// The column.
        column: String,
    },
    /// The row has another number of values than the table has columns.
    #[error("encode a row of {table}: it has {found} values, the table has {expected} columns")]
    Width {
        /// The table.
        table: String,
        /// Columns of the table.
        expected: usize,
        /// Values of the row.
        found: usize,
    },
    /// A value of another kind than its column's.
    #[error("encode column {column}: {found} cannot stand in a column of type {expected}")]
    Kind {
        /// The column.
        column: String,
        /// The column's type.
        expected: String,
        /// Kind of the value.
        found: &'static str,
    },
    /// The table has no key, so no record key can be written.
    #[error("encode the key of a row of {table}: the table has no primary key")]
    NoKey {
        /// The table.
        table: String,
    },
}

impl EncodeError {
    /// Whether the same call can succeed later: never, encoding is pure.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NanosecondRange { .. }
            | Self::Width { .. }
            | Self::Kind { .. }
            | Self::NoKey { .. } => false,
        }
    }
}

/// Bytes could not be read with the schema that they name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("decode {place}: the bytes end at {offset}, inside a value")]
    Truncated {
        /// Column or field.
        place: String,
        /// Byte at which more was wanted, after the frame.
        offset: usize,
    },
    /// Bytes that no writer with this schema makes.
    #[error("decode {place}: {reason} (at byte {offset})")]
    Malformed {
        /// Column or field.
        place: String,
        /// What is wrong.
        reason: &'static str,
        /// Byte after the frame.
        offset: usize,
    },
    /// A well-formed value outside the range of its column's type.
    #[error("decode column {column}: the value does not fit {ty}")]
    Range {
        /// The column.
        column: String,
        /// The column's type.
        ty: String,
    },
    /// An operation that is not one of r, c, u, d.
    #[error(
        "decode the operation: it is none of r, c, u, d (truncations and messages are not rows)"
    )]
    Operation,
    /// An envelope without the row that its operation has.
    #[error("decode an envelope: operation {operation} has no {image} image")]
    MissingImage {
        /// `c`, `u` or `r`.
        operation: &'static str,
        /// `after`.
        image: &'static str,
    },
}

impl DecodeError {
    /// Whether the same bytes can be read later: never, decoding is pure.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::Malformed { .. }
            | Self::Range { .. }
            | Self::Operation
            | Self::MissingImage { .. } => false,
        }
    }
}

/// A record does not begin with the registry's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer than five bytes.
    #[error("a record of a schema registry has 5 bytes in front, this one has {0} in all")]
    Short(usize),
    /// The first byte is not 0.
    #[error("a record of a schema registry begins with byte 0, this one with {0}")]
    Magic(u8),
}
