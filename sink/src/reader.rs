//! How the values of a topic are read: Debezium's envelopes, or records that its `ExtractNewRecordState`
//! has flattened.

use causeway_avro::{DecodeError, DecodedSource, Decoder, KeyDecoder, SchemaError};
use causeway_change::{Column, Lsn, Operation, Row, ValueRef};

/// Reads values of one schema.
#[derive(Debug)]
pub enum Reader {
    /// `before, after, source, op`.
    Envelope(Box<Decoder>),
    /// The columns of the row, and some fields of the envelope with `__` before their names.
    Flat(Flat),
}

/// Reads flattened records.
#[derive(Debug)]
pub struct Flat {
    decoder: KeyDecoder,
    /// What each field is.
    fields: Vec<Part>,
}

/// What a field of a flattened record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The column of that number.
    Column(usize),
    /// `__deleted`: the text `true` or `false`, or a boolean.
    Deleted,
    /// `__op`
    Operation,
    /// `__source_ts_ms`
    CommitMs,
    /// `__source_commit_lsn`, `__source_lsn`, `__commit_lsn` or `__lsn`
    CommitLsn,
    /// Another field of the envelope.
    Other,
}

/// What a value says beside its row.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// What happened.
    pub operation: Operation,
    /// The bytes of the row before, when there was one.
    pub before: Option<&'a [u8]>,
    /// Whether there was a row.
    pub after: bool,
    /// Where it comes from.
    pub source: DecodedSource,
}

impl Reader {
    /// Compiles the reader of a schema: an envelope when it looks like one.
    ///
    /// # Errors
    /// When the schema is no record, or a column has no type here.
    pub fn new(schema: &str) -> Result<Self, SchemaError> {
        match Decoder::new(schema) {
            Ok(decoder) => Ok(Self::Envelope(Box::new(decoder))),
            Err(SchemaError::NotAnEnvelope { .. }) => Ok(Self::Flat(Flat::new(schema)?)),
            Err(error) => Err(error),
        }
    }

    /// The columns of the row, in its order.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        match self {
            Self::Envelope(decoder) => decoder.table().columns.clone(),
            Self::Flat(flat) => {
                let columns = flat.decoder.columns().iter().zip(&flat.fields);
                columns
                    .filter(|(_, part)| matches!(part, Part::Column(_)))
                    .map(|(column, _)| column.clone())
                    .collect()
            }
        }
    }

    /// Reads a value and hands the fields of its row to `put`.
    ///
    /// # Errors
    /// What `put` answers, or why the bytes cannot be read.
    pub fn stream<'a, E: From<DecodeError>>(
        &self,
        bytes: &'a [u8],
        mut put: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<Read<'a>, E> {
        match self {
            Self::Envelope(decoder) => {
                let head = decoder.stream(bytes, put)?;
                let (operation, before, after, source) =
                    (head.operation, head.before, head.after, head.source);
                Ok(Read { operation, before, after, source })
            }
            Self::Flat(flat) => flat.stream(bytes, &mut put),
        }
    }

    /// Hands the fields of a row before to `put`.
    ///
    /// # Errors
    /// As [`Reader::stream`].
    pub fn stream_before<'a, E: From<DecodeError>>(
        &self,
        image: &'a [u8],
        put: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Envelope(decoder) => decoder.stream_image(image, put),
            // It has none.
            Self::Flat(_) => Ok(()),
        }
    }

    /// Reads a value into rows: before and after.
    ///
    /// # Errors
    /// Why the bytes cannot be read.
    pub fn rows(&self, bytes: &[u8]) -> Result<(Operation, Option<Row>, Option<Row>), DecodeError> {
        let mut after = Row::new();
        let read = self.stream(bytes, |_, field| {
            after.push(field.to_value());
            Ok::<_, DecodeError>(())
        })?;
        let mut before = Row::new();
        if let Some(image) = read.before {
            self.stream_before(image, |_, field| {
                before.push(field.to_value());
                Ok::<_, DecodeError>(())
            })?;
        }
        Ok((read.operation, read.before.map(|_| before), read.after.then_some(after)))
    }
}

impl Flat {
    fn new(schema: &str) -> Result<Self, SchemaError> {
        let decoder = KeyDecoder::new(schema)?;
        let mut columns = 0;
        let fields = decoder
            .columns()
            .iter()
            .map(|column| match column.name.as_str() {
                "__deleted" => Part::Deleted,
                "__op" => Part::Operation,
                "__source_ts_ms" => Part::CommitMs,
                "__source_commit_lsn" | "__source_lsn" | "__commit_lsn" | "__lsn" => {
                    Part::CommitLsn
                }
                name if name.starts_with("__") => Part::Other,
                _ => {
                    columns += 1;
                    Part::Column(columns - 1)
                }
            })
            .collect();
        Ok(Self { decoder, fields })
    }

    fn stream<'a, E: From<DecodeError>>(
        &self,
        bytes: &'a [u8],
        put: &mut impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<Read<'a>, E> {
        // Without a word about it, a row is what it is now: an upsert.
        let mut operation = Operation::Update;
        let mut deleted = false;
        let mut source = DecodedSource::default();
        self.decoder.stream(bytes, |i, field| {
            match (self.fields.get(i), field) {
                (Some(Part::Column(column)), field) => return put(*column, field),
                (Some(Part::Deleted), ValueRef::Text(text)) => deleted = text == "true",
                (Some(Part::Deleted), ValueRef::Bool(flag)) => deleted = flag,
                (Some(Part::Operation), ValueRef::Text(letter)) => {
                    operation = match letter {
                        "c" => Operation::Create,
                        "r" => Operation::Read,
                        "d" => Operation::Delete,
                        _ => Operation::Update,
                    };
                }
                (Some(Part::CommitMs), ValueRef::I64(ms)) => source.ts_ms = ms,
                (Some(Part::CommitLsn), ValueRef::Text(text)) => {
                    source.commit_lsn = text.parse::<Lsn>().ok();
                }
                // A word of another type says nothing that we know.
                (_, _) => {}
            }
            Ok(())
        })?;
        if deleted {
            operation = Operation::Delete;
        }
        source.snapshot = operation == Operation::Read;
        Ok(Read { operation, before: None, after: true, source })
    }
}

#[cfg(test)]
mod tests {
    use causeway_change::Value;

    use super::*;

    const FLAT: &str = r#"{"type":"record","name":"Value","namespace":"shop.db.dbo.t","fields":[
        {"name":"id","type":"int"},
        {"name":"__op","type":["null","string"],"default":null},
        {"name":"name","type":["null","string"],"default":null},
        {"name":"__table","type":["null","string"],"default":null},
        {"name":"__source_ts_ms","type":["null","long"],"default":null},
        {"name":"__deleted","type":["null","string"],"default":null}]}"#;

    /// id 1, name "x".
    fn record(op: &str, deleted: &str) -> Vec<u8> {
        let mut out = vec![2];
        for text in [op, "x", "t"] {
            out.extend([2, u8::try_from(text.len()).unwrap() * 2]);
            out.extend(text.as_bytes());
        }
        out.extend([2, 20]);
        out.extend([2, u8::try_from(deleted.len()).unwrap() * 2]);
        out.extend(deleted.as_bytes());
        out
    }

    #[test]
    fn a_flattened_record_is_a_row_and_what_happened_to_it() {
        let reader = Reader::new(FLAT).unwrap();
        let names: Vec<_> = reader.columns().into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["id", "name"]);
        for (op, deleted, operation) in [
            ("c", "false", Operation::Create),
            ("u", "false", Operation::Update),
            ("r", "false", Operation::Read),
            ("d", "true", Operation::Delete),
            ("u", "true", Operation::Delete),
        ] {
            let bytes = record(op, deleted);
            let mut row = Vec::new();
            let read = reader
                .stream(&bytes, |i, field| {
                    assert_eq!(i, row.len());
                    row.push(field.to_value());
                    Ok::<_, DecodeError>(())
                })
                .unwrap();
            assert_eq!(row, [Value::I32(1), Value::Text("x".to_owned())]);
            assert_eq!((read.operation, read.source.ts_ms), (operation, 10));
            assert_eq!(read.source.snapshot, op == "r" && deleted == "false");
        }
    }
}
