//! Bytes to row: [`Decoder`] is compiled from the writer's schema once, and then reads records by a
//! plan without looking at the schema again.

use causeway_change::{Column, Lsn, Operation, Row, Table, TableId, ValueRef};
use serde_json::Value as Json;

use crate::{
    DecodeError, SchemaError,
    reading::{self, Reading},
    schema::parameter,
    text,
    wire::{Fault, Reader},
    writer_schema::{RecordField, Shape, TypeId, WriterSchema},
};

/// Reads envelopes of one schema, ours or Debezium's.
///
/// It never panics and never allocates more than the bytes it is given justify.
#[derive(Clone, Debug)]
pub struct Decoder {
    schema: WriterSchema,
    table: Table,
    row: RowPlan,
    /// Whether the rows stand in a union with null, by the branch of the null.
    before_null: Option<i64>,
    after_null: Option<i64>,
    steps: Vec<EnvelopeStep>,
    source: Vec<SourceStep>,
}

/// One decoded change.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What happened.
    pub operation: Operation,
    /// The row before; none for creates and reads, and when the writer left it out.
    pub before: Option<Row>,
    /// The row after; every operation but a delete has it.
    pub after: Option<Row>,
    /// Where it comes from.
    pub source: DecodedSource,
    /// When the writer processed the change, in milliseconds since 1970-01-01T00:00Z.
    pub ts_ms: Option<i64>,
}

/// A change whose rows were not collected: see [`Decoder::stream`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head<'a> {
    /// What happened.
    pub operation: Operation,
    /// The bytes of the row before, for [`Decoder::stream_image`].
    pub before: Option<&'a [u8]>,
    /// Whether there was a row after.
    pub after: bool,
    /// Where it comes from.
    pub source: DecodedSource,
    /// When the writer processed the change, in milliseconds since 1970-01-01T00:00Z.
    pub ts_ms: Option<i64>,
}

/// What is used of Debezium's `source` block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodedSource {
    /// LSN of the transaction's commit.
    pub commit_lsn: Option<Lsn>,
    /// LSN of the change record.
    pub change_lsn: Option<Lsn>,
    /// Order among changes of one place.
    pub event_serial_no: Option<i64>,
    /// When the transaction was committed, in milliseconds since 1970-01-01T00:00Z; 0 when unknown.
    pub ts_ms: i64,
    /// The same in nanoseconds, for writers that have it.
    pub ts_ns: Option<i64>,
    /// Whether the row was read by a snapshot (of any kind).
    pub snapshot: bool,
}

/// Which table a record comes from, by its `source` block: names as the source writes them, where
/// the schema's name has them made legal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Topic prefix.
    pub name: String,
    /// Database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
}

#[derive(Clone, Copy, Debug)]
enum EnvelopeStep {
    Before,
    After,
    Source,
    Operation { null: Option<i64> },
    TsMs { null: Option<i64> },
    Skip(TypeId),
}

#[derive(Clone, Copy, Debug)]
enum SourceStep {
    Name { null: Option<i64> },
    Database { null: Option<i64> },
    Schema { null: Option<i64> },
    Table { null: Option<i64> },
    CommitLsn { null: Option<i64> },
    ChangeLsn { null: Option<i64> },
    EventSerialNo { null: Option<i64> },
    TsMs { null: Option<i64> },
    TsNs { null: Option<i64> },
    Snapshot { null: Option<i64> },
    Skip(TypeId),
}

/// How the columns of a record follow each other.
#[derive(Clone, Debug)]
struct RowPlan {
    columns: Vec<(Reading, Option<i64>)>,
}

impl Decoder {
    /// Compiles the plan for the records of an envelope schema.
    ///
    /// # Errors
    /// [`SchemaError`] when the text is no Avro schema, no envelope, or a column has no type here.
    pub fn new(writer_schema: &str) -> Result<Self, SchemaError> {
        let schema = WriterSchema::parse(writer_schema)?;
        let root = schema.get(schema.root());
        let name = root
            .text("connect.name")
            .or(root.name.as_deref())
            .unwrap_or("(without a name)")
            .to_owned();
        let not_an_envelope = |reason: &str| SchemaError::NotAnEnvelope {
            schema: name.clone(),
            reason: reason.to_owned(),
        };
        let Shape::Record(fields) = &root.shape else {
            return Err(not_an_envelope("it is not a record"));
        };
        let find = |wanted: &str| fields.iter().find(|field| field.name == wanted);
        let image = |wanted: &str| {
            let field = find(wanted)
                .ok_or_else(|| not_an_envelope(&format!("it has no field {wanted}")))?;
            Ok::<_, SchemaError>(schema.optional(field.ty))
        };
        let (before, before_null) = image("before")?;
        let (after, after_null) = image("after")?;
        let op = find("op").ok_or_else(|| not_an_envelope("it has no field op"))?;
        let source = find("source").ok_or_else(|| not_an_envelope("it has no field source"))?;
        if !matches!(schema.get(schema.optional(op.ty).0).shape, Shape::String) {
            return Err(not_an_envelope("its field op is not a string"));
        }
        let Shape::Record(columns) = &schema.get(after).shape else {
            return Err(not_an_envelope("its field after is not a record"));
        };
        let Shape::Record(source_fields) = &schema.get(source.ty).shape else {
            return Err(not_an_envelope("its field source is not a record"));
        };
        let (columns, row) = plan(&schema, columns, &name)?;
        if before != after {
            let Shape::Record(before_columns) = &schema.get(before).shape else {
                return Err(not_an_envelope("its field before is not a record"));
            };
            if plan(&schema, before_columns, &name)?.0 != columns {
                return Err(not_an_envelope("its fields before and after have different columns"));
            }
        }
        let steps = fields.iter().map(|field| envelope_step(&schema, field)).collect();
        let source = source_fields.iter().map(|field| source_step(&schema, field)).collect();
        let table = table(&name, columns);
        Ok(Self { schema, table, row, before_null, after_null, steps, source })
    }

    /// The table as the schema describes it: columns with types from `__debezium.source.column.*`
    /// where they are, from the logical names otherwise. The key is empty (it is in the key's
    /// schema); database, schema and name are those of the schema's name, made legal for Avro:
    /// [`Decoder::origin`] has the original ones.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Reads one envelope, without the frame.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not of this schema or a value has no place in its type.
    pub fn decode(&self, avro_bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let mut reader = Reader::new(avro_bytes);
        let reader = &mut reader;
        let mut before = None;
        let mut after = None;
        let mut source = DecodedSource::default();
        let mut operation = None;
        let mut ts_ms = None;
        for step in &self.steps {
            match *step {
                EnvelopeStep::Before => before = self.image(self.before_null, reader)?,
                EnvelopeStep::After => after = self.image(self.after_null, reader)?,
                EnvelopeStep::Source => source = self.source(reader)?,
                EnvelopeStep::Operation { null } => {
                    operation = Some(letter(null, reader)?);
                }
                EnvelopeStep::TsMs { null } => {
                    ts_ms = at("ts_ms", reader, |reader| optional(null, reader, Reader::long))?;
                }
                EnvelopeStep::Skip(ty) => {
                    at("the envelope", reader, |reader| self.schema.skip(ty, reader))?;
                }
            }
        }
        end(reader)?;
        let operation = operation.ok_or(DecodeError::Operation)?;
        if after.is_none() && operation != Operation::Delete {
            return Err(DecodeError::MissingImage {
                operation: operation.letter(),
                image: "after",
            });
        }
        Ok(Decoded { operation, before, after, source, ts_ms })
    }

    /// Reads one envelope, without the frame, and hands the fields of the row after to `put`, each
    /// with the index of its column, without copying them. The row before is only measured.
    ///
    /// # Errors
    /// What `put` answers, or [`DecodeError`] as of [`Decoder::decode`]; fields may have been put by
    /// then.
    pub fn stream<'a, E: From<DecodeError>>(
        &self,
        avro_bytes: &'a [u8],
        mut put: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<Head<'a>, E> {
        let mut reader = Reader::new(avro_bytes);
        let reader = &mut reader;
        let mut before = None;
        let mut after = false;
        let mut source = DecodedSource::default();
        let mut operation = None;
        let mut ts_ms = None;
        for step in &self.steps {
            match *step {
                EnvelopeStep::Before => {
                    if !at("a row", reader, |reader| is_null(self.before_null, reader))? {
                        let start = reader.offset();
                        self.row.skip(&self.table.columns, reader)?;
                        before = avro_bytes.get(start..reader.offset());
                    }
                }
                EnvelopeStep::After => {
                    after = !at("a row", reader, |reader| is_null(self.after_null, reader))?;
                    if after {
                        self.row.stream(&self.table.columns, reader, &mut put)?;
                    }
                }
                EnvelopeStep::Source => source = self.source(reader)?,
                EnvelopeStep::Operation { null } => operation = Some(letter(null, reader)?),
                EnvelopeStep::TsMs { null } => {
                    ts_ms = at("ts_ms", reader, |reader| optional(null, reader, Reader::long))?;
                }
                EnvelopeStep::Skip(ty) => {
                    at("the envelope", reader, |reader| self.schema.skip(ty, reader))?;
                }
            }
        }
        end(reader)?;
        let operation = operation.ok_or(DecodeError::Operation)?;
        if !after && operation != Operation::Delete {
            let (operation, image) = (operation.letter(), "after");
            return Err(DecodeError::MissingImage { operation, image }.into());
        }
        Ok(Head { operation, before, after, source, ts_ms })
    }

    /// Hands the fields of a row that [`Decoder::stream`] only measured to `put`.
    ///
    /// # Errors
    /// What `put` answers, or [`DecodeError`].
    pub fn stream_image<'a, E: From<DecodeError>>(
        &self,
        image: &'a [u8],
        mut put: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.row.stream(&self.table.columns, &mut Reader::new(image), &mut put)
    }

    /// The names in the `source` block of a record: for the first record of a schema, to learn how
    /// its table is really called.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn origin(&self, avro_bytes: &[u8]) -> Result<Origin, DecodeError> {
        let mut reader = Reader::new(avro_bytes);
        let reader = &mut reader;
        let mut origin = Origin::default();
        for step in &self.steps {
            match *step {
                EnvelopeStep::Before => drop(self.image(self.before_null, reader)?),
                EnvelopeStep::After => drop(self.image(self.after_null, reader)?),
                EnvelopeStep::Source => {
                    for step in &self.source {
                        at("source", reader, |reader| {
                            self.origin_step(*step, reader, &mut origin)
                        })?;
                    }
                    return Ok(origin);
                }
                EnvelopeStep::Operation { null } => {
                    at("op", reader, |reader| optional(null, reader, Reader::string))?;
                }
                EnvelopeStep::TsMs { null } => {
                    at("ts_ms", reader, |reader| optional(null, reader, Reader::long))?;
                }
                EnvelopeStep::Skip(ty) => {
                    at("the envelope", reader, |reader| self.schema.skip(ty, reader))?;
                }
            }
        }
        Ok(origin)
    }

    fn origin_step(
        &self,
        step: SourceStep,
        reader: &mut Reader<'_>,
        origin: &mut Origin,
    ) -> Result<(), Fault> {
        let mut text = |null: Option<i64>| {
            Ok::<_, Fault>(optional(null, reader, Reader::string)?.unwrap_or_default().to_owned())
        };
        match step {
            SourceStep::Name { null } => origin.name = text(null)?,
            SourceStep::Database { null } => origin.database = text(null)?,
            SourceStep::Schema { null } => origin.schema = text(null)?,
            SourceStep::Table { null } => origin.table = text(null)?,
            SourceStep::CommitLsn { null }
            | SourceStep::ChangeLsn { null }
            | SourceStep::Snapshot { null } => drop(optional(null, reader, Reader::string)?),
            SourceStep::EventSerialNo { null }
            | SourceStep::TsMs { null }
            | SourceStep::TsNs { null } => drop(optional(null, reader, Reader::long)?),
            SourceStep::Skip(ty) => self.schema.skip(ty, reader)?,
        }
        Ok(())
    }

    #[inline]
    fn image(
        &self,
        null: Option<i64>,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Row>, DecodeError> {
        if at("a row", reader, |reader| is_null(null, reader))? {
            return Ok(None);
        }
        self.row.read(&self.table.columns, reader).map(Some)
    }

    fn source(&self, reader: &mut Reader<'_>) -> Result<DecodedSource, DecodeError> {
        let mut source = DecodedSource::default();
        for step in &self.source {
            at("source", reader, |reader| {
                match *step {
                    SourceStep::Name { null }
                    | SourceStep::Database { null }
                    | SourceStep::Schema { null }
                    | SourceStep::Table { null } => {
                        optional(null, reader, Reader::bytes)?;
                    }
                    SourceStep::CommitLsn { null } => source.commit_lsn = lsn(null, reader)?,
                    SourceStep::ChangeLsn { null } => source.change_lsn = lsn(null, reader)?,
                    SourceStep::EventSerialNo { null } => {
                        source.event_serial_no = optional(null, reader, Reader::long)?;
                    }
                    SourceStep::TsMs { null } => {
                        source.ts_ms = optional(null, reader, Reader::long)?.unwrap_or(0);
                    }
                    SourceStep::TsNs { null } => {
                        source.ts_ns = optional(null, reader, Reader::long)?;
                    }
                    SourceStep::Snapshot { null } => {
                        let word = optional(null, reader, Reader::string)?;
                        source.snapshot = word.is_some_and(|word| word != "false");
                    }
                    SourceStep::Skip(ty) => self.schema.skip(ty, reader)?,
                }
                Ok(())
            })?;
        }
        Ok(source)
    }
}

/// Reads the keys of one schema.
#[derive(Clone, Debug)]
pub struct KeyDecoder {
    columns: Vec<Column>,
    row: RowPlan,
}

impl KeyDecoder {
    /// Compiles the plan for the keys of a schema.
    ///
    /// # Errors
    /// [`SchemaError`] when the schema is not a record whose columns have types here.
    pub fn new(writer_schema: &str) -> Result<Self, SchemaError> {
        let schema = WriterSchema::parse(writer_schema)?;
        let (root, _) = schema.optional(schema.root());
        let root = schema.get(root);
        let name = root.name.clone().unwrap_or_else(|| "(without a name)".to_owned());
        let Shape::Record(fields) = &root.shape else {
            return Err(SchemaError::Avro {
                schema: name,
                reason: format!("a key is a record of columns, not {}", root.describe()),
            });
        };
        let (columns, row) = plan(&schema, fields, &name)?;
        Ok(Self { columns, row })
    }

    /// The key's columns in key order, under their original names where the schema has them.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads one key, without the frame, and hands its fields to `put`.
    ///
    /// # Errors
    /// What `put` answers, or [`DecodeError`].
    pub fn stream<'a, E: From<DecodeError>>(
        &self,
        avro_bytes: &'a [u8],
        mut put: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = Reader::new(avro_bytes);
        self.row.stream(&self.columns, &mut reader, &mut put)?;
        Ok(end(&reader)?)
    }

    /// Reads one key, without the frame.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not of this schema.
    pub fn decode(&self, avro_bytes: &[u8]) -> Result<Row, DecodeError> {
        let mut reader = Reader::new(avro_bytes);
        let row = self.row.read(&self.columns, &mut reader)?;
        end(&reader)?;
        Ok(row)
    }
}

impl RowPlan {
    #[inline]
    fn read(&self, columns: &[Column], reader: &mut Reader<'_>) -> Result<Row, DecodeError> {
        let mut row = Row::with_capacity(self.columns.len());
        for (i, (reading, null)) in self.columns.iter().enumerate() {
            let value = match is_null(*null, reader) {
                Ok(true) => Ok(causeway_change::Value::Null),
                Ok(false) => reading.read(reader),
                Err(fault) => Err(fault),
            };
            match value {
                Ok(value) => row.push(value),
                Err(fault) => return Err(column_error(columns.get(i), fault, reader.offset())),
            }
        }
        Ok(row)
    }

    #[inline]
    fn stream<'a, E: From<DecodeError>>(
        &self,
        columns: &[Column],
        reader: &mut Reader<'a>,
        put: &mut impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (i, (reading, null)) in self.columns.iter().enumerate() {
            let field = match is_null(*null, reader) {
                Ok(true) => Ok(ValueRef::Null),
                Ok(false) => reading.read_field(reader),
                Err(fault) => Err(fault),
            };
            match field {
                Ok(field) => put(i, field)?,
                Err(fault) => {
                    return Err(column_error(columns.get(i), fault, reader.offset()).into());
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn skip(&self, columns: &[Column], reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for (i, (reading, null)) in self.columns.iter().enumerate() {
            let skipped = match is_null(*null, reader) {
                Ok(true) => Ok(()),
                Ok(false) => reading.skip(reader),
                Err(fault) => Err(fault),
            };
            skipped.map_err(|fault| column_error(columns.get(i), fault, reader.offset()))?;
        }
        Ok(())
    }
}

/// Debezium's letter of an operation.
fn letter(null: Option<i64>, reader: &mut Reader<'_>) -> Result<Operation, DecodeError> {
    match at("op", reader, |reader| optional(null, reader, Reader::string))? {
        Some("c") => Ok(Operation::Create),
        Some("u") => Ok(Operation::Update),
        Some("d") => Ok(Operation::Delete),
        Some("r") => Ok(Operation::Read),
        Some(_) | None => Err(DecodeError::Operation),
    }
}

fn column_error(column: Option<&Column>, fault: Fault, offset: usize) -> DecodeError {
    let (name, ty) = column.map_or_else(Default::default, |c| (c.name.clone(), c.ty.to_string()));
    match fault {
        Fault::Truncated => DecodeError::Truncated { place: format!("column {name}"), offset },
        Fault::Malformed(reason) => {
            DecodeError::Malformed { place: format!("column {name}"), reason, offset }
        }
        Fault::Range => DecodeError::Range { column: name, ty },
    }
}

/// Runs a read and says where it failed.
#[inline]
fn at<'a, T>(
    place: &'static str,
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Result<T, DecodeError> {
    read(reader).map_err(|fault| {
        let (place, offset) = (place.to_owned(), reader.offset());
        match fault {
            Fault::Truncated => DecodeError::Truncated { place, offset },
            Fault::Malformed(reason) => DecodeError::Malformed { place, reason, offset },
            Fault::Range => {
                DecodeError::Malformed { place, reason: "a value is out of range", offset }
            }
        }
    })
}

/// A record of this schema ends with its last field; more bytes mean another schema.
fn end(reader: &Reader<'_>) -> Result<(), DecodeError> {
    if reader.remaining() == 0 {
        return Ok(());
    }
    Err(DecodeError::Malformed {
        place: "a record".to_owned(),
        reason: "bytes are left over: it was written with another schema",
        offset: reader.offset(),
    })
}

/// Reads the branch of a union with null, if there is one.
#[inline]
fn is_null(null: Option<i64>, reader: &mut Reader<'_>) -> Result<bool, Fault> {
    let Some(null) = null else { return Ok(false) };
    match reader.long()? {
        branch @ (0 | 1) => Ok(branch == null),
        _ => Err(Fault::Malformed("a union has no such branch")),
    }
}

#[inline]
fn optional<'a, T>(
    null: Option<i64>,
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if is_null(null, reader)? { Ok(None) } else { read(reader).map(Some) }
}

/// An LSN; Debezium writes `NULL` for none in places.
fn lsn(null: Option<i64>, reader: &mut Reader<'_>) -> Result<Option<Lsn>, Fault> {
    match optional(null, reader, Reader::string)? {
        None | Some("NULL" | "") => Ok(None),
        Some(text) => text::lsn(text).map(Some).ok_or(Fault::Malformed("a text is not an LSN")),
    }
}

/// The columns of a record and the plan to read them.
fn plan(
    schema: &WriterSchema,
    fields: &[RecordField],
    name: &str,
) -> Result<(Vec<Column>, RowPlan), SchemaError> {
    let mut columns = Vec::with_capacity(fields.len());
    let mut steps = Vec::with_capacity(fields.len());
    for field in fields {
        let (id, null) = schema.optional(field.ty);
        let ty = schema.get(id);
        let original = ty.parameter(parameter::NAME).and_then(Json::as_str);
        let column_name = original.unwrap_or(&field.name).to_owned();
        let Some((column_type, reading)) = reading::of(ty) else {
            return Err(SchemaError::Column {
                schema: name.to_owned(),
                column: column_name,
                shape: ty.describe(),
            });
        };
        let default = field.default.as_ref().and_then(|json| reading.default(json));
        columns.push(Column {
            name: column_name,
            ty: column_type,
            nullable: null.is_some(),
            default,
        });
        steps.push((reading, null));
    }
    Ok((columns, RowPlan { columns: steps }))
}

fn envelope_step(schema: &WriterSchema, field: &RecordField) -> EnvelopeStep {
    let (id, null) = schema.optional(field.ty);
    match (field.name.as_str(), &schema.get(id).shape) {
        ("before", _) => EnvelopeStep::Before,
        ("after", _) => EnvelopeStep::After,
        ("source", _) => EnvelopeStep::Source,
        ("op", Shape::String) => EnvelopeStep::Operation { null },
        ("ts_ms", Shape::Long) => EnvelopeStep::TsMs { null },
        _ => EnvelopeStep::Skip(field.ty),
    }
}

fn source_step(schema: &WriterSchema, field: &RecordField) -> SourceStep {
    let (id, null) = schema.optional(field.ty);
    match (field.name.as_str(), &schema.get(id).shape) {
        ("name", Shape::String) => SourceStep::Name { null },
        ("db", Shape::String) => SourceStep::Database { null },
        ("schema", Shape::String) => SourceStep::Schema { null },
        ("table", Shape::String) => SourceStep::Table { null },
        ("commit_lsn", Shape::String) => SourceStep::CommitLsn { null },
        ("change_lsn", Shape::String) => SourceStep::ChangeLsn { null },
        ("snapshot", Shape::String) => SourceStep::Snapshot { null },
        ("event_serial_no", Shape::Long) => SourceStep::EventSerialNo { null },
        ("ts_ms", Shape::Long) => SourceStep::TsMs { null },
        ("ts_ns", Shape::Long) => SourceStep::TsNs { null },
        // Other connectors' sources have other fields.
        _ => SourceStep::Skip(field.ty),
    }
}

/// `<prefix>.<database>.<schema>.<table>.Envelope` taken apart from its end.
fn table(name: &str, columns: Vec<Column>) -> Table {
    let name = name.strip_suffix(".Envelope").unwrap_or(name);
    let mut parts = name.rsplit('.').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (table, schema, database) = (part(), part(), part());
    Table { database, id: TableId::new(schema, table), columns, key: Vec::new() }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
