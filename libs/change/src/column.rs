//! [`Column`] and the closed list of what a column can hold.

use crate::Value;

/// One column of a [`crate::Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name as written in the catalogue.
    pub name: String,
    /// What it holds.
    pub ty: ColumnType,
    /// Whether the source allows NULL.
    pub nullable: bool,
    /// The value of a constant default (`DEFAULT ((1))`); functions such as `getdate()` have none.
    pub default: Option<Value>,
}

/// The declared length of a character or binary column, in characters or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// A number: 1 to 8000 (4000 for the n-types).
    Of(u16),
    /// `max`: up to 2 GB.
    Max,
}

/// The SQL Server types that are replicated, with what decides their range.
///
/// The list is closed: a type added here does not compile until SQL Server, Avro, PostgreSQL and
/// the row digest each know what to do with it. The comment of each says which [`Value`] it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// [`Value::Bool`]
    Bit,
    /// 0 to 255: [`Value::I16`]
    TinyInt,
    /// [`Value::I16`]
    SmallInt,
    /// [`Value::I32`]
    Int,
    /// [`Value::I64`]
    BigInt,
    /// [`Value::F32`]
    Real,
    /// [`Value::F64`]
    Float,
    /// [`Value::Decimal`], unscaled
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// [`Value::Decimal`] of precision 19 and scale 4
    Money,
    /// [`Value::Decimal`] of precision 10 and scale 4
    SmallMoney,
    /// [`Value::Date`]
    Date,
    /// [`Value::Time`]
    Time {
        /// Digits of a second, 0 to 7.
        scale: u8,
    },
    /// [`Value::DateTime`]; 1/300 s, rounded to milliseconds as SQL Server prints them
    DateTime,
    /// [`Value::DateTime`]; whole minutes
    SmallDateTime,
    /// [`Value::DateTime`]
    DateTime2 {
        /// Digits of a second, 0 to 7.
        scale: u8,
    },
    /// [`Value::DateTimeOffset`]
    DateTimeOffset {
        /// Digits of a second, 0 to 7.
        scale: u8,
    },
    /// [`Value::Text`], padded with blanks to the length
    Char(u16),
    /// [`Value::Text`]
    VarChar(Length),
    /// [`Value::Text`], padded with blanks to the length
    NChar(u16),
    /// [`Value::Text`]
    NVarChar(Length),
    /// [`Value::Text`]; the deprecated LOB
    Text,
    /// [`Value::Text`]; the deprecated LOB
    NText,
    /// [`Value::Text`], as SQL Server serialises it
    Xml,
    /// [`Value::Guid`]
    UniqueIdentifier,
    /// [`Value::Bytes`], padded with zeros to the length
    Binary(u16),
    /// [`Value::Bytes`]
    VarBinary(Length),
    /// [`Value::Bytes`]; the deprecated LOB
    Image,
    /// [`Value::Bytes`] of 8 bytes; `timestamp` is its old name
    RowVersion,
    /// [`Value::Bytes`]: the serialised form of `geometry` (MS-SSCLRT)
    Geometry,
    /// [`Value::Bytes`]: the serialised form of `geography` (MS-SSCLRT)
    Geography,
    /// [`Value::Bytes`]: the serialised form of `hierarchyid`
    HierarchyId,
}

impl ColumnType {
    /// True for the types whose value a change table may leave out when an update did not touch it
    /// (research A.0.4): NULL there can mean "unchanged".
    #[must_use]
    pub fn is_large(&self) -> bool {
        match self {
            Self::VarChar(Length::Max)
            | Self::NVarChar(Length::Max)
            | Self::VarBinary(Length::Max)
            | Self::Text
            | Self::NText
            | Self::Image
            | Self::Xml => true,
            Self::Bit
            | Self::TinyInt
            | Self::SmallInt
            | Self::Int
            | Self::BigInt
            | Self::Real
            | Self::Float
            | Self::Decimal { .. }
            | Self::Money
            | Self::SmallMoney
            | Self::Date
            | Self::Time { .. }
            | Self::DateTime
            | Self::SmallDateTime
            | Self::DateTime2 { .. }
            | Self::DateTimeOffset { .. }
            | Self::Char(_)
            | Self::VarChar(Length::Of(_))
            | Self::NChar(_)
            | Self::NVarChar(Length::Of(_))
            | Self::UniqueIdentifier
            | Self::Binary(_)
            | Self::VarBinary(Length::Of(_))
            | Self::RowVersion
            | Self::Geometry
            | Self::Geography
            | Self::HierarchyId => false,
        }
    }

    /// The name of the type without length, in lower case, as `sys.types` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Float => "float",
            Self::Decimal { .. } => "decimal",
            Self::Money => "money",
            Self::SmallMoney => "smallmoney",
            Self::Date => "date",
            Self::Time { .. } => "time",
            Self::DateTime => "datetime",
            Self::SmallDateTime => "smalldatetime",
            Self::DateTime2 { .. } => "datetime2",
            Self::DateTimeOffset { .. } => "datetimeoffset",
            Self::Char(_) => "char",
            Self::VarChar(_) => "varchar",
            Self::NChar(_) => "nchar",
            Self::NVarChar(_) => "nvarchar",
            Self::Text => "text",
            Self::NText => "ntext",
            Self::Xml => "xml",
            Self::UniqueIdentifier => "uniqueidentifier",
            Self::Binary(_) => "binary",
            Self::VarBinary(_) => "varbinary",
            Self::Image => "image",
            Self::RowVersion => "timestamp",
            Self::Geometry => "geometry",
            Self::Geography => "geography",
            Self::HierarchyId => "hierarchyid",
        }
    }
}

impl std::fmt::Display for ColumnType {
    /// The type as T-SQL declares it: `decimal(18,2)`, `nvarchar(max)`, `datetime2(7)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Decimal { precision, scale } => write!(f, "({precision},{scale})"),
            Self::Time { scale } | Self::DateTime2 { scale } | Self::DateTimeOffset { scale } => {
                write!(f, "({scale})")
            }
            Self::Char(n)
            | Self::NChar(n)
            | Self::Binary(n)
            | Self::VarChar(Length::Of(n))
            | Self::NVarChar(Length::Of(n))
            | Self::VarBinary(Length::Of(n)) => write!(f, "({n})"),
            Self::VarChar(Length::Max)
            | Self::NVarChar(Length::Max)
            | Self::VarBinary(Length::Max) => f.write_str("(max)"),
            Self::Bit
            | Self::TinyInt
            | Self::SmallInt
            | Self::Int
            | Self::BigInt
            | Self::Real
            | Self::Float
            | Self::Money
            | Self::SmallMoney
            | Self::Date
            | Self::DateTime
            | Self::SmallDateTime
            | Self::Text
            | Self::NText
            | Self::Xml
            | Self::UniqueIdentifier
            | Self::Image
            | Self::RowVersion
            | Self::Geometry
            | Self::Geography
            | Self::HierarchyId => Ok(()),
        }
    }
}
