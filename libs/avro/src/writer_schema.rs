//! The schema that a record was written with, as a graph of types with their properties.
//!
//! General Avro libraries drop properties on primitive types, and those are where Connect keeps the
//! meaning of a column; so the JSON is read here.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::{
    SchemaError,
    wire::{Fault, Reader},
};

/// Index of a type in its [`WriterSchema`]; schemas can refer to themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(usize);

/// What the bytes of a type look like.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<RecordField>),
}

/// A field of a record.
#[derive(Clone, Debug)]
pub(crate) struct RecordField {
    pub(crate) name: String,
    pub(crate) ty: TypeId,
    pub(crate) default: Option<Json>,
}

/// A type: its shape and what else its JSON says.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    pub(crate) shape: Shape,
    /// The full name of a named type.
    pub(crate) name: Option<String>,
    properties: Map<String, Json>,
}

impl Type {
    fn of(shape: Shape) -> Self {
        Self { shape, name: None, properties: Map::new() }
    }

    /// A text property such as `connect.name`.
    pub(crate) fn text(&self, property: &str) -> Option<&str> {
        self.properties.get(property)?.as_str()
    }

    /// A number property such as `scale`; texts that are numbers count.
    pub(crate) fn number(&self, property: &str) -> Option<i64> {
        number(self.properties.get(property)?)
    }

    /// An entry of `connect.parameters`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&Json> {
        self.properties.get("connect.parameters")?.get(name)
    }

    /// An entry of `connect.parameters` as a number.
    pub(crate) fn parameter_number(&self, name: &str) -> Option<i64> {
        number(self.parameter(name)?)
    }

    /// Connect's or Avro's logical name.
    pub(crate) fn logical_name(&self) -> Option<&str> {
        self.text("connect.name").or_else(|| self.text("logicalType"))
    }

    /// For messages: `long (io.debezium.time.Timestamp)`.
    pub(crate) fn describe(&self) -> String {
        let shape = match &self.shape {
            Shape::Null => "null",
            Shape::Boolean => "boolean",
            Shape::Int => "int",
            Shape::Long => "long",
            Shape::Float => "float",
            Shape::Double => "double",
            Shape::Bytes => "bytes",
            Shape::String => "string",
            Shape::Fixed(_) => "fixed",
            Shape::Enum => "enum",
            Shape::Array(_) => "array",
            Shape::Map(_) => "map",
            Shape::Union(_) => "a union of several types",
            Shape::Record(_) => "record",
        };
        match self.logical_name() {
            Some(name) => format!("{shape} ({name})"),
            None => shape.to_owned(),
        }
    }
}

fn number(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

/// Every type of one schema.
#[derive(Clone, Debug)]
pub(crate) struct WriterSchema {
    types: Vec<Type>,
    root: TypeId,
    /// Stands in for an id out of range, which the parser never makes.
    null: Type,
}

/// How deep values may be nested while they are skipped: a schema can refer to itself.
const DEPTH_MAX: u32 = 64;

impl WriterSchema {
    pub(crate) fn parse(text: &str) -> Result<Self, SchemaError> {
        let json: Json = serde_json::from_str(text).map_err(SchemaError::Json)?;
        let mut parser = Parser { types: Vec::new(), named: HashMap::new() };
        let root = parser.ty(&json, "", "the schema")?;
        Ok(Self { types: parser.types, root, null: Type::of(Shape::Null) })
    }

    pub(crate) fn root(&self) -> TypeId {
        self.root
    }

    pub(crate) fn get(&self, id: TypeId) -> &Type {
        self.types.get(id.0).unwrap_or(&self.null)
    }

    /// The one type of a union with null, and the branch of the null; or the type itself.
    pub(crate) fn optional(&self, id: TypeId) -> (TypeId, Option<i64>) {
        if let Shape::Union(branches) = &self.get(id).shape {
            match branches.as_slice() {
                [one] => return (*one, None),
                [a, b] if matches!(self.get(*a).shape, Shape::Null) => return (*b, Some(0)),
                [a, b] if matches!(self.get(*b).shape, Shape::Null) => return (*a, Some(1)),
                _ => {}
            }
        }
        (id, None)
    }

    /// Reads over a value without looking at it.
    pub(crate) fn skip(&self, id: TypeId, reader: &mut Reader<'_>) -> Result<(), Fault> {
        self.skip_at(id, reader, DEPTH_MAX)
    }

    fn skip_at(&self, id: TypeId, reader: &mut Reader<'_>, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Malformed("values are nested too deeply"))?;
        match &self.get(id).shape {
            Shape::Null => {}
            Shape::Boolean => drop(reader.boolean()?),
            Shape::Int | Shape::Long | Shape::Enum => drop(reader.long()?),
            Shape::Float => drop(reader.float()?),
            Shape::Double => drop(reader.double()?),
            Shape::Bytes | Shape::String => drop(reader.bytes()?),
            Shape::Fixed(size) => drop(reader.take(*size)?),
            Shape::Array(item) => self.skip_blocks(*item, false, reader, depth)?,
            Shape::Map(item) => self.skip_blocks(*item, true, reader, depth)?,
            Shape::Union(branches) => {
                let branch = usize::try_from(reader.long()?).ok();
                let branch = branch
                    .and_then(|n| branches.get(n))
                    .ok_or(Fault::Malformed("a union has no such branch"))?;
                self.skip_at(*branch, reader, depth)?;
            }
            Shape::Record(fields) => {
                for field in fields {
                    self.skip_at(field.ty, reader, depth)?;
                }
            }
        }
        Ok(())
    }

    fn skip_blocks(
        &self,
        item: TypeId,
        keyed: bool,
        reader: &mut Reader<'_>,
        depth: u32,
    ) -> Result<(), Fault> {
        loop {
            let mut count = reader.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A negative count is followed by the size of the block in bytes.
                let size = usize::try_from(reader.long()?)
                    .map_err(|_| Fault::Malformed("a block has a negative size"))?;
                reader.take(size)?;
                continue;
            }
            // Items may take no bytes at all (null), so the count itself must be bounded.
            if usize::try_from(count).is_ok_and(|n| n > reader.remaining()) {
                return Err(Fault::Truncated);
            }
            while count > 0 {
                if keyed {
                    reader.bytes()?;
                }
                self.skip_at(item, reader, depth)?;
                count -= 1;
            }
        }
    }
}

struct Parser {
    types: Vec<Type>,
    named: HashMap<String, TypeId>,
}

impl Parser {
    fn add(&mut self, ty: Type) -> TypeId {
        self.types.push(ty);
        TypeId(self.types.len() - 1)
    }

    fn ty(&mut self, json: &Json, namespace: &str, place: &str) -> Result<TypeId, SchemaError> {
        let wrong = |reason: String| SchemaError::Avro { schema: place.to_owned(), reason };
        match json {
            Json::String(name) => {
                if let Some(shape) = primitive(name) {
                    return Ok(self.add(Type::of(shape)));
                }
                let full = qualified(name, namespace);
                let found = self.named.get(&full).or_else(|| self.named.get(name));
                found.copied().ok_or_else(|| wrong(format!("there is no type {name:?}")))
            }
            Json::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| self.ty(branch, namespace, place))
                    .collect::<Result<Vec<_>, _>>()?;
                if branches.is_empty() {
                    return Err(wrong("a union has no branches".to_owned()));
                }
                Ok(self.add(Type::of(Shape::Union(branches))))
            }
            Json::Object(properties) => self.object(properties, namespace, place),
            Json::Null | Json::Bool(_) | Json::Number(_) => {
                Err(wrong("a type is a name, an object or an array".to_owned()))
            }
        }
    }

    fn object(
        &mut self,
        properties: &Map<String, Json>,
        namespace: &str,
        place: &str,
    ) -> Result<TypeId, SchemaError> {
        let wrong = |reason: String| SchemaError::Avro { schema: place.to_owned(), reason };
        let kind = match properties.get("type") {
            Some(Json::String(kind)) => kind.as_str(),
            // {"type": {...}}: the outer object says nothing of its own.
            Some(inner @ (Json::Object(_) | Json::Array(_))) => {
                return self.ty(inner, namespace, place);
            }
            _ => return Err(wrong("an object has no \"type\"".to_owned())),
        };
        if let Some(shape) = primitive(kind) {
            return Ok(self.add(Type { shape, name: None, properties: properties.clone() }));
        }
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let items =
                    properties.get(key).ok_or_else(|| wrong(format!("the {kind} has no {key}")))?;
                let items = self.ty(items, namespace, place)?;
                let shape = if kind == "array" { Shape::Array(items) } else { Shape::Map(items) };
                Ok(self.add(Type { shape, name: None, properties: properties.clone() }))
            }
            "fixed" | "enum" | "record" | "error" => {
                let name = properties
                    .get("name")
                    .and_then(Json::as_str)
                    .ok_or_else(|| wrong(format!("a {kind} has no name")))?;
                let inner = properties.get("namespace").and_then(Json::as_str);
                let full = qualified(name, inner.unwrap_or(namespace));
                // The place is taken before the fields are read: they may name this type.
                let id = self.add(Type {
                    shape: Shape::Null,
                    name: Some(full.clone()),
                    properties: Map::new(),
                });
                self.named.insert(full.clone(), id);
                let shape = match kind {
                    "fixed" => {
                        let size = properties.get("size").and_then(Json::as_u64);
                        Shape::Fixed(
                            size.and_then(|n| usize::try_from(n).ok())
                                .ok_or_else(|| wrong(format!("fixed {full} has no size")))?,
                        )
                    }
                    "enum" => Shape::Enum,
                    _ => Shape::Record(self.fields(properties, &full)?),
                };
                let mut properties = properties.clone();
                // The fields are in the shape; a wide table need not be kept twice.
                properties.remove("fields");
                if let Some(ty) = self.types.get_mut(id.0) {
                    *ty = Type { shape, name: Some(full), properties };
                }
                Ok(id)
            }
            name => {
                // {"type": "Value"}: a named type by its name.
                self.ty(&Json::String(name.to_owned()), namespace, place)
            }
        }
    }

    fn fields(
        &mut self,
        properties: &Map<String, Json>,
        record: &str,
    ) -> Result<Vec<RecordField>, SchemaError> {
        let wrong = |reason: String| SchemaError::Avro { schema: record.to_owned(), reason };
        let namespace = record.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let fields = properties
            .get("fields")
            .and_then(Json::as_array)
            .ok_or_else(|| wrong("the record has no fields".to_owned()))?;
        fields
            .iter()
            .map(|field| {
                let name = field
                    .get("name")
                    .and_then(Json::as_str)
                    .ok_or_else(|| wrong("a field has no name".to_owned()))?;
                let ty =
                    field.get("type").ok_or_else(|| wrong(format!("field {name} has no type")))?;
                Ok(RecordField {
                    name: name.to_owned(),
                    ty: self.ty(ty, namespace, record)?,
                    default: field.get("default").cloned(),
                })
            })
            .collect()
    }
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::String,
        _ => return None,
    })
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn what_is_not_avro_is_refused_with_the_place() {
        for (text, says) in [
            ("{", "not JSON"),
            ("1", "a type is a name"),
            ("[]", "no branches"),
            (r#"{"type":"record","name":"a.R"}"#, "a.R: the record has no fields"),
            (r#"{"type":"record","name":"R","fields":[{"name":"x"}]}"#, "field x has no type"),
            (r#"{"type":"record","name":"R","fields":[{"name":"x","type":"Y"}]}"#, "no type \"Y\""),
            (r#"{"type":"fixed","name":"F"}"#, "no size"),
        ] {
            let error = WriterSchema::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_skipped_to_a_depth() {
        let schema = WriterSchema::parse(
            r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
        )
        .unwrap();
        let nested = |n: usize| [vec![2; n], vec![0]].concat();
        assert_eq!(schema.skip(schema.root(), &mut Reader::new(&nested(3))), Ok(()));
        let deep = schema.skip(schema.root(), &mut Reader::new(&nested(1000)));
        assert_eq!(deep, Err(Fault::Malformed("values are nested too deeply")));
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_at_once() {
        let schema = WriterSchema::parse(r#"{"type":"array","items":"null"}"#).unwrap();
        let mut bytes = Vec::new();
        wire::put_long(i64::MAX, &mut bytes);
        bytes.push(0);
        assert_eq!(schema.skip(schema.root(), &mut Reader::new(&bytes)), Err(Fault::Truncated));
    }

    #[test]
    fn arrays_and_maps_are_skipped_in_both_forms() {
        let schema =
            WriterSchema::parse(r#"{"type":"map","values":{"type":"array","items":"int"}}"#)
                .unwrap();
        // One entry "k" with [1, 2] as a plain block, then a block that tells its size.
        let bytes = [2, 2, b'k', 4, 2, 4, 0, 1, 6, 2, b'k', 0, 0];
        let mut reader = Reader::new(&bytes);
        assert_eq!(schema.skip(schema.root(), &mut reader), Ok(()));
        assert_eq!(reader.remaining(), 0);
    }
}
