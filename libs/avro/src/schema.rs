//! Table to Avro schema, as the AvroConverter registers Debezium's schemas.
//!
//! The order of properties and fields is part of the text that a registry compares; the tests hold
//! a whole example against it.

use std::collections::BTreeSet;

use causeway_change::{Column, ColumnType, Length, Table};
use serde_json::{Map, Value as Json, json};

use crate::{SchemaError, encoding::Encoding, names};

/// What a source can choose about its schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How dates and times are written.
    pub temporal: Temporal,
    /// How decimals and money are written.
    pub decimals: Decimals,
    /// Whether each column carries its SQL Server type, length, scale and name in
    /// `__debezium.source.column.*` parameters, from which a sink makes exact types.
    pub source_types: bool,
    /// Whether the columns of the key do, too: then a key alone says what it is. Debezium leaves them out there.
    pub key_types: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            temporal: Temporal::Adaptive,
            decimals: Decimals::Precise,
            source_types: true,
            key_types: true,
        }
    }
}

/// How dates and times are written: Debezium's `time.precision.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporal {
    /// The coarsest unit that keeps every digit of the column's type: milliseconds, microseconds or
    /// nanoseconds. Debezium's default.
    #[default]
    Adaptive,
    /// Microseconds, which PostgreSQL keeps; the seventh digit of a second is cut off.
    Microseconds,
    /// As adaptive, with times of day in microseconds always.
    AdaptiveTimeMicroseconds,
    /// Connect's own types, which keep milliseconds: what is finer is cut off.
    Connect,
}

/// How decimals and money are written: Debezium's `decimal.handling.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decimals {
    /// Bytes that hold every digit.
    #[default]
    Precise,
    /// Their digits as text.
    String,
    /// The nearest number of 64 bits, which has 15 to 17 digits.
    Double,
}

/// A parameter of a column's schema that says what it is in SQL Server (Debezium's
/// `column.propagate.source.type`).
pub(crate) mod parameter {
    /// Type name in upper case.
    pub(crate) const TYPE: &str = "__debezium.source.column.type";
    /// Length or precision.
    pub(crate) const LENGTH: &str = "__debezium.source.column.length";
    /// Digits after the point, of numbers and of seconds.
    pub(crate) const SCALE: &str = "__debezium.source.column.scale";
    /// Name before it was made legal.
    pub(crate) const NAME: &str = "__debezium.source.column.name";
}

/// Which way a nullable column's union is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Union {
    /// No union: NOT NULL.
    Never,
    /// `["null", T]`: no default.
    NullFirst,
    /// `[T, "null"]`: the default's branch must be first.
    NullLast,
}

/// One column, ready to be written into a schema and into records.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) column: Column,
    pub(crate) legal_name: String,
    pub(crate) encoding: Encoding,
    pub(crate) union: Union,
    pub(crate) default: Option<Json>,
}

/// The columns of a table with everything decided.
pub(crate) fn fields(
    table: &Table,
    options: &Options,
    micro_columns: &BTreeSet<String>,
) -> Vec<Field> {
    let legal_names = names::fields(table.columns.iter().map(|c| c.name.as_str()));
    table
        .columns
        .iter()
        .zip(legal_names)
        .map(|(column, legal_name)| {
            let constant = column.default.as_ref().filter(|value| !value.is_null());
            let mut encoding =
                Encoding::of(column.ty, options, micro_columns.contains(&column.name));
            // A sentinel such as 9999-12-31 as default leaves the nanoseconds like a value does.
            if constant.is_some_and(|value| encoding.integer(value).is_err()) {
                encoding = Encoding::of(column.ty, options, true);
            }
            let default = constant.and_then(|value| encoding.default_json(value));
            let union = match (column.nullable, &default) {
                (false, _) => Union::Never,
                (true, None) => Union::NullFirst,
                (true, Some(_)) => Union::NullLast,
            };
            Field { column: column.clone(), legal_name, encoding, union, default }
        })
        .collect()
}

/// The key's schema; none for a table without key.
pub(crate) fn key(
    table: &Table,
    topic: &str,
    fields: &[Field],
    options: &Options,
) -> Result<Option<String>, SchemaError> {
    if table.key.is_empty() {
        return Ok(None);
    }
    let options = Options { source_types: options.source_types && options.key_types, ..*options };
    let columns = table
        .key
        .iter()
        .map(|&i| fields.get(i).map(|field| field_json(field, &options)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| SchemaError::Table {
            table: table.id.to_string(),
            reason: "its key names a column that it does not have",
        })?;
    let name = names::full(&format!("{topic}.Key")).into_owned();
    Ok(Some(record(&name, columns, None, "").to_string()))
}

/// The envelope's schema.
pub(crate) fn value(topic: &str, fields: &[Field], options: &Options) -> String {
    let row_name = names::full(&format!("{topic}.Value")).into_owned();
    let envelope_name = names::full(&format!("{topic}.Envelope")).into_owned();
    let (namespace, row_short) = split(&row_name);
    let columns = fields.iter().map(|field| field_json(field, options)).collect();
    // The row's namespace is the envelope's and therefore left out; its second use is by name.
    let row = record(&row_name, columns, None, namespace);
    let long = || json!("long");
    let string = || json!("string");
    let envelope = record(
        &envelope_name,
        vec![
            optional("before", row),
            optional("after", json!(row_short)),
            required("source", source()),
            optional("transaction", transaction()),
            required("op", string()),
            optional("ts_ms", long()),
            optional("ts_us", long()),
            optional("ts_ns", long()),
        ],
        Some(2),
        "",
    );
    envelope.to_string()
}

/// Debezium's source block of version 1, in its order.
fn source() -> Json {
    let snapshot = json!({
        "type": "string",
        "connect.version": 1,
        "connect.parameters": {
            "allowed":
                "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"
        },
        "connect.default": "false",
        "connect.name": "io.debezium.data.Enum"
    });
    record(
        "io.debezium.connector.sqlserver.Source",
        vec![
            required("version", json!("string")),
            required("connector", json!("string")),
            required("name", json!("string")),
            required("ts_ms", json!("long")),
            json!({"name": "snapshot", "type": [snapshot, "null"], "default": "false"}),
            required("db", json!("string")),
            optional("sequence", json!("string")),
            optional("ts_us", json!("long")),
            optional("ts_ns", json!("long")),
            required("schema", json!("string")),
            required("table", json!("string")),
            optional("change_lsn", json!("string")),
            optional("commit_lsn", json!("string")),
            optional("event_serial_no", json!("long")),
        ],
        Some(1),
        "",
    )
}

fn transaction() -> Json {
    record(
        "event.block",
        vec![
            required("id", json!("string")),
            required("total_order", json!("long")),
            required("data_collection_order", json!("long")),
        ],
        Some(1),
        "",
    )
}

fn required(name: &str, ty: Json) -> Json {
    json!({"name": name, "type": ty})
}

fn optional(name: &str, ty: Json) -> Json {
    json!({"name": name, "type": ["null", ty], "default": null})
}

/// A record; the namespace is written unless it is the one around it.
fn record(full_name: &str, fields: Vec<Json>, version: Option<u32>, around: &str) -> Json {
    let (namespace, short) = split(full_name);
    let mut json = Map::new();
    json.insert("type".to_owned(), json!("record"));
    json.insert("name".to_owned(), json!(short));
    if namespace != around {
        json.insert("namespace".to_owned(), json!(namespace));
    }
    json.insert("fields".to_owned(), Json::Array(fields));
    if let Some(version) = version {
        json.insert("connect.version".to_owned(), json!(version));
    }
    json.insert("connect.name".to_owned(), json!(full_name));
    Json::Object(json)
}

fn split(full_name: &str) -> (&str, &str) {
    full_name.rsplit_once('.').unwrap_or(("", full_name))
}

/// One field of a row: name, type, default.
fn field_json(field: &Field, options: &Options) -> Json {
    let ty = type_json(field, options);
    let mut json = Map::new();
    json.insert("name".to_owned(), json!(field.legal_name));
    let (ty, default) = match (field.union, &field.default) {
        (Union::Never, default) => (ty, default.clone()),
        (Union::NullFirst, _) => (json!(["null", ty]), Some(Json::Null)),
        (Union::NullLast, default) => (json!([ty, "null"]), default.clone()),
    };
    json.insert("type".to_owned(), ty);
    if let Some(default) = default {
        json.insert("default".to_owned(), default);
    }
    Json::Object(json)
}

/// The type with its properties in the AvroConverter's order (research B.5).
fn type_json(field: &Field, options: &Options) -> Json {
    let encoding = field.encoding;
    let mut properties = Map::new();
    let mut parameters = Map::new();
    if let Encoding::Decimal { precision, scale } = encoding {
        properties.insert("scale".to_owned(), json!(scale));
        properties.insert("precision".to_owned(), json!(precision));
        parameters.insert("scale".to_owned(), json!(scale.to_string()));
        parameters.insert("connect.decimal.precision".to_owned(), json!(precision.to_string()));
    }
    if options.source_types {
        let mut say = |key: &str, value: String| parameters.insert(key.to_owned(), json!(value));
        let (length, scale) = declared(field.column.ty);
        say(parameter::TYPE, field.column.ty.name().to_ascii_uppercase());
        say(parameter::LENGTH, length.to_string());
        if let Some(scale) = scale {
            say(parameter::SCALE, scale.to_string());
        }
        say(parameter::NAME, field.column.name.clone());
    }
    if encoding.connect_name().is_some() {
        properties.insert("connect.version".to_owned(), json!(1));
    }
    if !parameters.is_empty() {
        properties.insert("connect.parameters".to_owned(), Json::Object(parameters));
    }
    if let Some(default) = &field.default {
        properties.insert("connect.default".to_owned(), default.clone());
    }
    if let Some(name) = encoding.connect_name() {
        properties.insert("connect.name".to_owned(), json!(name));
    }
    if encoding == Encoding::Int16 {
        properties.insert("connect.type".to_owned(), json!("int16"));
    }
    if let Some(name) = encoding.avro_logical() {
        properties.insert("logicalType".to_owned(), json!(name));
    }
    if properties.is_empty() {
        return json!(encoding.avro_type());
    }
    let mut json = Map::new();
    json.insert("type".to_owned(), json!(encoding.avro_type()));
    json.append(&mut properties);
    Json::Object(json)
}

/// Length and scale of a type as Microsoft's JDBC driver reports a column's size, which is what
/// Debezium propagates.
fn declared(ty: ColumnType) -> (u32, Option<u8>) {
    const MAX: u32 = 0x7FFF_FFFF;
    // The digits of a second come with a point in front.
    let seconds = |width: u32, scale: u8| {
        (width + if scale == 0 { 0 } else { 1 + u32::from(scale) }, Some(scale))
    };
    let length = |length: Length| match length {
        Length::Of(n) => (u32::from(n), None),
        Length::Max => (MAX, None),
    };
    match ty {
        ColumnType::Bit => (1, None),
        ColumnType::TinyInt => (3, Some(0)),
        ColumnType::SmallInt => (5, Some(0)),
        ColumnType::Int => (10, Some(0)),
        ColumnType::BigInt => (19, Some(0)),
        ColumnType::Real => (24, None),
        ColumnType::Float => (53, None),
        ColumnType::Decimal { precision, scale } => (u32::from(precision), Some(scale)),
        ColumnType::Money => (19, Some(4)),
        ColumnType::SmallMoney => (10, Some(4)),
        ColumnType::Date => (10, Some(0)),
        ColumnType::Time { scale } => seconds(8, scale),
        ColumnType::DateTime => (23, Some(3)),
        ColumnType::SmallDateTime => (16, Some(0)),
        ColumnType::DateTime2 { scale } => seconds(19, scale),
        ColumnType::DateTimeOffset { scale } => seconds(26, scale),
        ColumnType::Char(n) | ColumnType::NChar(n) | ColumnType::Binary(n) => (u32::from(n), None),
        ColumnType::VarChar(n) | ColumnType::NVarChar(n) | ColumnType::VarBinary(n) => length(n),
        ColumnType::Text
        | ColumnType::Image
        | ColumnType::Xml
        | ColumnType::Geometry
        | ColumnType::Geography => (MAX, None),
        ColumnType::NText => (MAX / 2, None),
        ColumnType::UniqueIdentifier => (36, None),
        ColumnType::RowVersion => (8, None),
        ColumnType::HierarchyId => (892, None),
    }
}

/// The column type that a source's parameters describe; none when SQL Server has no such type.
///
/// Accepts what Microsoft's driver reports as well: `INT IDENTITY`, `DECIMAL() IDENTITY`, `NUMERIC`,
/// `SYSNAME`.
pub(crate) fn column_type(
    name: &str,
    length: Option<i64>,
    scale: Option<i64>,
) -> Option<ColumnType> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_suffix(" identity").unwrap_or(&name);
    let name = name.split('(').next().unwrap_or(name).trim();
    let digits = |least: i64, most: u8| {
        scale.filter(|s| *s >= least).and_then(|s| u8::try_from(s).ok()).filter(|s| *s <= most)
    };
    // A time without a scale has the one that SQL Server gives it.
    let second = || if scale.is_some() { digits(0, 7) } else { Some(7) };
    let sized =
        |most: u16| length.and_then(|n| u16::try_from(n).ok()).filter(|n| (1..=most).contains(n));
    let varying = |most: u16| sized(most).map_or(Length::Max, Length::Of);
    Some(match name {
        "bit" => ColumnType::Bit,
        "tinyint" => ColumnType::TinyInt,
        "smallint" => ColumnType::SmallInt,
        "int" => ColumnType::Int,
        "bigint" => ColumnType::BigInt,
        "real" => ColumnType::Real,
        "float" => ColumnType::Float,
        "decimal" | "numeric" => {
            let precision = u8::try_from(length?).ok().filter(|p| (1..=38).contains(p))?;
            let scale = if scale.is_some() { digits(0, precision)? } else { 0 };
            ColumnType::Decimal { precision, scale }
        }
        "money" => ColumnType::Money,
        "smallmoney" => ColumnType::SmallMoney,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time { scale: second()? },
        "datetime" => ColumnType::DateTime,
        "smalldatetime" => ColumnType::SmallDateTime,
        "datetime2" => ColumnType::DateTime2 { scale: second()? },
        "datetimeoffset" => ColumnType::DateTimeOffset { scale: second()? },
        "char" => ColumnType::Char(sized(8000)?),
        "varchar" => ColumnType::VarChar(varying(8000)),
        "nchar" => ColumnType::NChar(sized(4000)?),
        "nvarchar" => ColumnType::NVarChar(varying(4000)),
        "sysname" => ColumnType::NVarChar(Length::Of(128)),
        "text" => ColumnType::Text,
        "ntext" => ColumnType::NText,
        "xml" => ColumnType::Xml,
        "uniqueidentifier" => ColumnType::UniqueIdentifier,
        "binary" => ColumnType::Binary(sized(8000)?),
        "varbinary" => ColumnType::VarBinary(varying(8000)),
        "image" => ColumnType::Image,
        "timestamp" | "rowversion" => ColumnType::RowVersion,
        "geometry" => ColumnType::Geometry,
        "geography" => ColumnType::Geography,
        "hierarchyid" => ColumnType::HierarchyId,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
