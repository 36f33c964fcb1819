//! Row to bytes: [`Encoder`] writes Avro directly, without a tree in between.

use std::collections::BTreeSet;

use causeway_change::{Lsn, Operation, Table, Value};

use crate::{
    EncodeError, Options, SchemaError, TransactionBlock, UNAVAILABLE,
    encoding::{Encoding, OutOfNanoseconds},
    frame,
    schema::{self, Field, Union},
    text, transaction, wire,
};

/// What stands in `source.connector`.
const CONNECTOR: &[u8] = b"sqlserver";

/// Writes the keys and the envelopes of one version of one table.
#[derive(Clone, Debug)]
pub struct Encoder {
    table: String,
    fields: Vec<Field>,
    key: Vec<usize>,
    key_schema: Option<String>,
    value_schema: String,
}

/// One change of one row, with where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The row before; its values in the order of the table's columns.
    pub before: Option<&'a [Value]>,
    /// The row after.
    pub after: Option<&'a [Value]>,
    /// What happened.
    pub operation: Operation,
    /// Where it comes from.
    pub source: SourceBlock<'a>,
    /// When the change was processed here, in nanoseconds since 1970-01-01T00:00Z.
    pub ts_ns: i64,
}

/// Debezium's `source` block (research B.2); `connector` is always `sqlserver`, `sequence` null.
#[derive(Clone, Copy, Debug)]
pub struct SourceBlock<'a> {
    /// Version of the program that writes.
    pub version: &'a str,
    /// Name of the pipeline, which is the topic prefix.
    pub name: &'a str,
    /// Database.
    pub db: &'a str,
    /// Schema of the table.
    pub schema: &'a str,
    /// Name of the table.
    pub table: &'a str,
    /// When the transaction was committed, or the snapshot read, in nanoseconds since
    /// 1970-01-01T00:00Z.
    pub ts_ns: i64,
    /// Whether the row comes from a snapshot, and which place in it.
    pub snapshot: Snapshot,
    /// `__$seqval`; none in a snapshot.
    pub change_lsn: Option<Lsn>,
    /// `__$start_lsn`; in a snapshot the place that it stands for.
    pub commit_lsn: Option<Lsn>,
    /// Order among changes of one place: 1, and 2 for an update; none in a snapshot.
    pub event_serial_no: Option<i64>,
}

/// The values of `source.snapshot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshot {
    /// Not from a snapshot.
    #[default]
    False,
    /// The first row of all.
    First,
    /// The first row of its table.
    FirstInDataCollection,
    /// A row between the first and the last.
    True,
    /// The last row of its table.
    LastInDataCollection,
    /// The last row of all.
    Last,
    /// From an incremental snapshot.
    Incremental,
}

impl Snapshot {
    /// The word in the envelope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::First => "first",
            Self::FirstInDataCollection => "first_in_data_collection",
            Self::True => "true",
            Self::LastInDataCollection => "last_in_data_collection",
            Self::Last => "last",
            Self::Incremental => "incremental",
        }
    }
}

impl Encoder {
    /// Compiles the schemas and the plan of a table.
    ///
    /// `topic` names the schemas (`<topic>.Key`, `.Value`, `.Envelope`). `micro_columns` are the
    /// `datetime2(7)` columns that are written with microseconds because a value of theirs was met
    /// outside the range of nanoseconds ([`EncodeError::NanosecondRange`]).
    ///
    /// # Errors
    /// [`SchemaError::Table`] when the table has no columns or its key names none of them.
    pub fn new(
        table: &Table,
        topic: &str,
        options: &Options,
        micro_columns: &BTreeSet<String>,
    ) -> Result<Self, SchemaError> {
        if table.columns.is_empty() {
            return Err(SchemaError::Table {
                table: table.id.to_string(),
                reason: "it has no columns",
            });
        }
        let fields = schema::fields(table, options, micro_columns);
        let key_schema = schema::key(table, topic, &fields, options)?;
        let value_schema = schema::value(topic, &fields, options);
        Ok(Self {
            table: table.id.to_string(),
            fields,
            key: table.key.clone(),
            key_schema,
            value_schema,
        })
    }

    /// The key's schema as it is registered; none for a table without key.
    #[must_use]
    pub fn key_schema(&self) -> Option<&str> {
        self.key_schema.as_deref()
    }

    /// The envelope's schema as it is registered.
    #[must_use]
    pub fn value_schema(&self) -> &str {
        &self.value_schema
    }

    /// Appends the record key of a whole table row, with the frame of the key schema's `id`.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` may then end in half a key.
    pub fn encode_key(&self, row: &[Value], id: u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.key.is_empty() {
            return Err(EncodeError::NoKey { table: self.table.clone() });
        }
        self.check_width(row)?;
        frame::write(id, out);
        for &index in &self.key {
            if let (Some(field), Some(value)) = (self.fields.get(index), row.get(index)) {
                put_value(field, value, out)?;
            }
        }
        Ok(())
    }

    /// Appends an envelope, with the frame of the value schema's `id`; its field `transaction` is null.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` may then end in half an envelope.
    pub fn encode_value(
        &self,
        e: &Envelope<'_>,
        id: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_numbered(e, None, id, out)
    }

    /// As [`Encoder::encode_value`], with the event's place in its transaction.
    ///
    /// # Errors
    /// As [`Encoder::encode_value`].
    pub fn encode_numbered(
        &self,
        e: &Envelope<'_>,
        transaction: Option<&TransactionBlock>,
        id: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        frame::write(id, out);
        self.put_row(e.before, out)?;
        self.put_row(e.after, out)?;
        put_tail(e, transaction, out);
        Ok(())
    }

    /// Appends an envelope of a row that was read, with what [`Tail::of`] made of the rest.
    ///
    /// # Errors
    /// As [`Encoder::encode_value`].
    pub fn encode_read(
        &self,
        after: &[Value],
        tail: &Tail,
        id: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        frame::write(id, out);
        self.put_row(None, out)?;
        self.put_row(Some(after), out)?;
        out.extend_from_slice(&tail.0);
        Ok(())
    }

    fn check_width(&self, row: &[Value]) -> Result<(), EncodeError> {
        if row.len() == self.fields.len() {
            return Ok(());
        }
        Err(EncodeError::Width {
            table: self.table.clone(),
            expected: self.fields.len(),
            found: row.len(),
        })
    }

    fn put_row(&self, row: Option<&[Value]>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Some(row) = row else {
            out.push(0);
            return Ok(());
        };
        self.check_width(row)?;
        wire::put_long(1, out);
        for (field, value) in self.fields.iter().zip(row) {
            put_value(field, value, out)?;
        }
        Ok(())
    }
}

/// What follows the rows in an envelope: all rows that are read at one moment have it in common.
#[derive(Clone, Debug)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// The rest of `envelope`, whose rows do not matter; its field `transaction` is null.
    #[must_use]
    pub fn of(envelope: &Envelope<'_>) -> Self {
        let mut bytes = Vec::new();
        put_tail(envelope, None, &mut bytes);
        Self(bytes)
    }
}

fn put_tail(e: &Envelope<'_>, transaction: Option<&TransactionBlock>, out: &mut Vec<u8>) {
    put_source(&e.source, out);
    transaction::put_block(transaction, out);
    wire::put_bytes(e.operation.letter().as_bytes(), out);
    for unit_ns in [1_000_000, 1_000, 1] {
        put_some_long(e.ts_ns.div_euclid(unit_ns), out);
    }
}

fn put_source(source: &SourceBlock<'_>, out: &mut Vec<u8>) {
    wire::put_bytes(source.version.as_bytes(), out);
    wire::put_bytes(CONNECTOR, out);
    wire::put_bytes(source.name.as_bytes(), out);
    wire::put_long(source.ts_ns.div_euclid(1_000_000), out);
    // The branch of the string is the first here, because the field has a default.
    out.push(0);
    wire::put_bytes(source.snapshot.as_str().as_bytes(), out);
    wire::put_bytes(source.db.as_bytes(), out);
    // No sequence.
    out.push(0);
    put_some_long(source.ts_ns.div_euclid(1_000), out);
    put_some_long(source.ts_ns, out);
    wire::put_bytes(source.schema.as_bytes(), out);
    wire::put_bytes(source.table.as_bytes(), out);
    for lsn in [source.change_lsn, source.commit_lsn] {
        match lsn {
            None => out.push(0),
            Some(lsn) => {
                wire::put_long(1, out);
                put_patched(out, |out| text::put_lsn(&lsn, out));
            }
        }
    }
    match source.event_serial_no {
        None => out.push(0),
        Some(n) => put_some_long(n, out),
    }
}

fn put_some_long(n: i64, out: &mut Vec<u8>) {
    wire::put_long(1, out);
    wire::put_long(n, out);
}

/// Appends a text of less than 64 bytes whose length is known only afterwards: such a length is one
/// byte.
fn put_patched(out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    text(out);
    let length = u8::try_from(out.len() - at - 1).unwrap_or(0);
    debug_assert!(length < 64, "the length of a short text is one byte");
    if let Some(place) = out.get_mut(at) {
        *place = length << 1;
    }
}

#[inline]
fn put_value(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match (field.union, value) {
        (Union::NullFirst, Value::Null) => {
            out.push(0);
            return Ok(());
        }
        (Union::NullLast, Value::Null) => {
            wire::put_long(1, out);
            return Ok(());
        }
        (Union::NullFirst, _) => wire::put_long(1, out),
        (Union::NullLast, _) => out.push(0),
        (Union::Never, _) => {}
    }
    match (field.encoding, value) {
        (Encoding::Text, Value::Text(text)) => wire::put_bytes(text.as_bytes(), out),
        (Encoding::Boolean, Value::Bool(b)) => out.push(u8::from(*b)),
        (Encoding::Int16, Value::I16(n)) => wire::put_long(i64::from(*n), out),
        (Encoding::Int32, Value::I32(n)) => wire::put_long(i64::from(*n), out),
        (Encoding::Int64, Value::I64(n)) => wire::put_long(*n, out),
        (Encoding::Float32, Value::F32(x)) => out.extend_from_slice(&x.to_le_bytes()),
        (Encoding::Float64, Value::F64(x)) => out.extend_from_slice(&x.to_le_bytes()),
        (Encoding::Decimal { .. }, Value::Decimal(n)) => wire::put_decimal(*n, out),
        (Encoding::Bytes, Value::Bytes(bytes)) => wire::put_bytes(bytes, out),
        (Encoding::DecimalText { scale }, Value::Decimal(n)) => {
            put_patched(out, |out| text::put_decimal(*n, scale, out));
        }
        (Encoding::DecimalDouble { scale }, Value::Decimal(n)) => {
            out.extend_from_slice(&text::nearest_double(*n, scale).to_le_bytes());
        }
        (Encoding::Guid, Value::Guid(guid)) => {
            put_patched(out, |out| text::put_guid(guid, out));
        }
        (Encoding::Zoned, Value::DateTimeOffset { utc, offset_minutes }) => {
            put_patched(out, |out| text::put_zoned(*utc, *offset_minutes, out));
        }
        (Encoding::Text | Encoding::Bytes, Value::Unavailable | Value::TooLarge(_)) => {
            wire::put_bytes(UNAVAILABLE.as_bytes(), out);
        }
        (encoding, value) => match encoding.integer(value) {
            Ok(Some(n)) => wire::put_long(n, out),
            Ok(None) => {
                return Err(EncodeError::Kind {
                    column: field.column.name.clone(),
                    expected: field.column.ty.to_string(),
                    found: value.kind(),
                });
            }
            Err(OutOfNanoseconds) => {
                return Err(EncodeError::NanosecondRange { column: field.column.name.clone() });
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use causeway_change::{Column, ColumnType, Length, TableId};

    use super::*;

    fn one_column(ty: ColumnType, nullable: bool) -> Encoder {
        let table = Table {
            database: "db".to_owned(),
            id: TableId::new("dbo", "t"),
            columns: vec![Column { name: "x".to_owned(), ty, nullable, default: None }],
            key: vec![0],
        };
        Encoder::new(&table, "p.db.dbo.t", &Options::default(), &BTreeSet::new()).unwrap()
    }

    fn key_bytes(ty: ColumnType, value: Value) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        one_column(ty, false).encode_key(&[value], 7, &mut out)?;
        assert_eq!(out[..5], [0, 0, 0, 0, 7]);
        Ok(out.split_off(5))
    }

    #[test]
    fn values_are_debeziums() {
        let ticks = |days: i64, ms: i64| days * 864_000_000_000 + ms * 10_000;
        for (ty, value, number) in [
            (ColumnType::Date, Value::Date(17_725), 17_725),
            (ColumnType::Time { scale: 2 }, Value::Time(374_256_800_000), 37_425_680),
            (ColumnType::Time { scale: 4 }, Value::Time(374_256_789_000), 37_425_678_900),
            (ColumnType::Time { scale: 7 }, Value::Time(374_256_789_012), 37_425_678_901_200),
            (
                ColumnType::DateTime2 { scale: 7 },
                Value::DateTime(ticks(17_725, 41_025_340)),
                1_531_481_025_340_000_000,
            ),
            (ColumnType::DateTime, Value::DateTime(ticks(17_725, 48_225_780)), 1_531_488_225_780),
            (ColumnType::DateTime2 { scale: 0 }, Value::DateTime(-1), -1),
        ] {
            let mut expected = Vec::new();
            wire::put_long(number, &mut expected);
            assert_eq!(key_bytes(ty, value), Ok(expected), "{ty}");
        }
    }

    #[test]
    fn a_sentinel_says_which_column_needs_microseconds() {
        let year_9999 = Value::DateTime(2_932_896 * 864_000_000_000);
        assert_eq!(
            key_bytes(ColumnType::DateTime2 { scale: 7 }, year_9999),
            Err(EncodeError::NanosecondRange { column: "x".to_owned() })
        );
    }

    #[test]
    fn a_value_of_another_kind_is_refused_by_name_and_kind() {
        let error = key_bytes(ColumnType::Int, Value::Text("secret".to_owned())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "encode column x: a string cannot stand in a column of type int"
        );
        assert!(key_bytes(ColumnType::Int, Value::Null).is_err());
        assert!(key_bytes(ColumnType::Int, Value::Unavailable).is_err());
        assert!(matches!(
            one_column(ColumnType::Int, true).encode_key(&[], 1, &mut Vec::new()),
            Err(EncodeError::Width { expected: 1, found: 0, .. })
        ));
    }

    #[test]
    fn a_tail_made_once_gives_the_same_bytes() {
        let row = [Value::I32(7)];
        let envelope = Envelope {
            before: None,
            after: Some(&row),
            operation: Operation::Read,
            source: SourceBlock {
                version: "1",
                name: "p",
                db: "db",
                schema: "dbo",
                table: "t",
                ts_ns: 1_531_481_025_340_000_001,
                snapshot: Snapshot::True,
                change_lsn: None,
                commit_lsn: Some(Lsn::ZERO),
                event_serial_no: None,
            },
            ts_ns: 1_531_481_025_341_000_002,
        };
        let encoder = one_column(ColumnType::Int, false);
        let (mut whole, mut read) = (Vec::new(), Vec::new());
        encoder.encode_value(&envelope, 9, &mut whole).unwrap();
        encoder.encode_read(&row, &Tail::of(&envelope), 9, &mut read).unwrap();
        assert_eq!(whole, read);
    }

    #[test]
    fn what_is_not_known_is_the_placeholder() {
        for ty in [ColumnType::NVarChar(Length::Max), ColumnType::VarBinary(Length::Max)] {
            let bytes = key_bytes(ty, Value::Unavailable).unwrap();
            assert_eq!(&bytes[1..], UNAVAILABLE.as_bytes());
        }
    }
}
