//! Which column a SQL Server type becomes.

use causeway_change::{ColumnType, Length};

/// The type as `CREATE TABLE` has it.
///
/// Times with 100 ns (scale 7) become microseconds, PostgreSQL's grain; [`crate::encode`] floors them.
/// A length in UTF-16 units is enough for as many characters.
#[must_use]
pub fn sql_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Bit => "boolean".to_owned(),
        ColumnType::TinyInt | ColumnType::SmallInt => "smallint".to_owned(),
        ColumnType::Int => "integer".to_owned(),
        ColumnType::BigInt => "bigint".to_owned(),
        ColumnType::Real => "real".to_owned(),
        ColumnType::Float => "double precision".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::Money => "numeric(19,4)".to_owned(),
        ColumnType::SmallMoney => "numeric(10,4)".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time { scale } => format!("time({})", scale.min(6)),
        ColumnType::DateTime => "timestamp(3)".to_owned(),
        ColumnType::SmallDateTime => "timestamp(0)".to_owned(),
        ColumnType::DateTime2 { scale } => format!("timestamp({})", scale.min(6)),
        ColumnType::DateTimeOffset { scale } => {
            format!("timestamp({}) with time zone", scale.min(6))
        }
        ColumnType::Char(n) | ColumnType::NChar(n) => format!("character({n})"),
        ColumnType::VarChar(Length::Of(n)) | ColumnType::NVarChar(Length::Of(n)) => {
            format!("character varying({n})")
        }
        ColumnType::VarChar(Length::Max)
        | ColumnType::NVarChar(Length::Max)
        | ColumnType::Text
        | ColumnType::NText => "text".to_owned(),
        ColumnType::Xml => "xml".to_owned(),
        ColumnType::UniqueIdentifier => "uuid".to_owned(),
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => "bytea".to_owned(),
    }
}

/// [`sql_type`] without length and precision, as `pg_type` names it: what binary COPY must meet.
#[must_use]
pub fn base_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Bit => "bool",
        ColumnType::TinyInt | ColumnType::SmallInt => "int2",
        ColumnType::Int => "int4",
        ColumnType::BigInt => "int8",
        ColumnType::Real => "float4",
        ColumnType::Float => "float8",
        ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney => "numeric",
        ColumnType::Date => "date",
        ColumnType::Time { .. } => "time",
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            "timestamp"
        }
        ColumnType::DateTimeOffset { .. } => "timestamptz",
        ColumnType::Char(_) | ColumnType::NChar(_) => "bpchar",
        ColumnType::VarChar(Length::Of(_)) | ColumnType::NVarChar(Length::Of(_)) => "varchar",
        ColumnType::VarChar(Length::Max)
        | ColumnType::NVarChar(Length::Max)
        | ColumnType::Text
        | ColumnType::NText => "text",
        ColumnType::Xml => "xml",
        ColumnType::UniqueIdentifier => "uuid",
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => "bytea",
    }
}

/// Scale of the types whose value is an unscaled integer.
#[must_use]
pub fn scale(ty: ColumnType) -> u8 {
    match ty {
        ColumnType::Decimal { scale, .. } => scale,
        ColumnType::Money | ColumnType::SmallMoney => 4,
        ColumnType::Bit
        | ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime
        | ColumnType::SmallDateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => 0,
    }
}
