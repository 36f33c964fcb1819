//! The values of SQL Server: types, conversion, comparison, arithmetic and scalar functions.
//!
//! A [`Val`] is exactly what travels on the wire, so a value that is stored and read back is the same
//! value. Everything here is pure: no clock, no session, no table.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a test server: narrowing follows a range check that raises SQL Server's own error, and a \
              wildcard arm is the refusal of a conversion that SQL Server does not have either"
)]

mod calendar;
mod collation;
mod compare;
mod convert;
mod decimal;
mod error;
pub mod functions;
mod like;
mod number;
mod text;
mod types;
mod wide;

use std::sync::Arc;

pub use calendar::{
    Civil, Moment, civil_from_days, datetime_from_civil, days_from_civil, days_in_month,
    parse_moment,
};
pub use collation::{Collation, compare_collated, fold};
pub use compare::{collated_key_bytes, compare, compare_guid, compare_vals, key_bytes};
pub(crate) use convert::cast_utf8;
pub use convert::{assign, cast, guid_to_wire, to_bool, try_cast};
pub use decimal::{decimal_result, literal_money, literal_number};
pub use error::SqlError;
pub use like::{like, like_unicode};
pub use number::{Op, arith, arith_type, bit_not, negate};
pub use text::{decode_cp1252, encode_cp1252, float_text, guid_text, real_text, to_text};
pub use types::{parse_type, unify};

/// The length that marks `(max)` types.
pub const MAX: u16 = u16::MAX;

/// A user-defined (CLR) type that SQL Server brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Udt {
    Geometry,
    Geography,
    HierarchyId,
}

/// A SQL Server data type. Lengths of character types are characters, of binary types bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Real,
    Float,
    /// precision, scale
    Decimal(u8, u8),
    Money,
    SmallMoney,
    Date,
    Time(u8),
    DateTime,
    SmallDateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    Char(u16),
    VarChar(u16),
    NChar(u16),
    NVarChar(u16),
    Text,
    NText,
    Image,
    Binary(u16),
    VarBinary(u16),
    Xml,
    UniqueIdentifier,
    RowVersion,
    Variant,
    Udt(Udt),
}

/// One value. Which variant a type uses is fixed; see [`Ty`] and the comments here.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Val {
    #[default]
    Null,
    Bit(bool),
    /// tinyint, smallint, int, bigint
    Int(i64),
    Real(f32),
    Float(f64),
    /// decimal: the unscaled number at the scale of the type
    Dec(i128),
    /// money, smallmoney: ten-thousandths
    Money(i64),
    /// uniqueidentifier, bytes in the order of its text
    Guid([u8; 16]),
    /// char, varchar, nchar, nvarchar, text, ntext, xml: UTF-16, lone surrogates allowed
    Str(Arc<[u16]>),
    /// binary, varbinary, image, rowversion (8 bytes), UDT
    Bytes(Arc<[u8]>),
    /// days since 0001-01-01
    Date(i32),
    /// 100 ns since midnight
    Time(u64),
    /// days since 0001-01-01, 100 ns since midnight
    DateTime2(i32, u64),
    /// day and ticks are UTC; offset in minutes
    DateTimeOffset {
        day: i32,
        ticks: u64,
        offset: i16,
    },
    /// days since 1900-01-01, 1/300 s since midnight
    DateTime(i32, u32),
    /// days since 1900-01-01, minutes since midnight
    SmallDateTime(u16, u16),
    /// `sql_variant`: the base type and its value
    Variant(Box<(Ty, Val)>),
}

/// A value with its type. `Val::Null` has a type too.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    pub ty: Ty,
    pub val: Val,
}

/// A column of a table or of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Col {
    pub name: String,
    pub ty: Ty,
    pub nullable: bool,
    pub filled: Filled,
}

/// Who gives a column its values. Clients leave the others' columns out of a bulk load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Filled {
    #[default]
    Client,
    Identity,
    Expression,
    /// rowversion
    Server,
}

/// A row; as many values as there are columns.
pub type Row = Arc<[Val]>;

/// A result held in memory.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rowset {
    pub columns: Vec<Col>,
    pub rows: Vec<Row>,
}

impl Col {
    /// A nullable column.
    pub fn new(name: impl Into<String>, ty: Ty) -> Self {
        Self { name: name.into(), ty, nullable: true, filled: Filled::Client }
    }
    /// A column that is NOT NULL.
    pub fn not_null(name: impl Into<String>, ty: Ty) -> Self {
        Self { name: name.into(), ty, nullable: false, filled: Filled::Client }
    }
}

impl Rowset {
    /// A result without rows.
    pub fn new(columns: Vec<Col>) -> Self {
        Self { columns, rows: Vec::new() }
    }
    /// Adds a row; the caller keeps to the columns.
    pub fn push(&mut self, row: Vec<Val>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row.into());
    }
}

impl Val {
    /// A character value.
    pub fn str(s: &str) -> Self {
        Self::Str(s.encode_utf16().collect())
    }
    /// A binary value.
    pub fn bytes(b: &[u8]) -> Self {
        Self::Bytes(b.into())
    }
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
    /// The integer, when this is an integer or a bit.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            Self::Bit(b) => Some(i64::from(*b)),
            _ => None,
        }
    }
    /// The text, when this is a character value; lone surrogates become U+FFFD.
    pub fn as_str(&self) -> Option<String> {
        match self {
            Self::Str(s) => Some(String::from_utf16_lossy(s)),
            _ => None,
        }
    }
    /// The bytes, when this is a binary value.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(b) => Some(b),
            _ => None,
        }
    }
}

impl From<&str> for Val {
    fn from(s: &str) -> Self {
        Self::str(s)
    }
}

impl Typed {
    pub fn new(ty: Ty, val: Val) -> Self {
        Self { ty, val }
    }
    /// NULL of a type.
    pub fn null(ty: Ty) -> Self {
        Self { ty, val: Val::Null }
    }
    pub fn int(i: i32) -> Self {
        Self { ty: Ty::Int, val: Val::Int(i.into()) }
    }
    pub fn bigint(i: i64) -> Self {
        Self { ty: Ty::BigInt, val: Val::Int(i) }
    }
    pub fn bit(b: bool) -> Self {
        Self { ty: Ty::Bit, val: Val::Bit(b) }
    }
    pub fn float(f: f64) -> Self {
        Self { ty: Ty::Float, val: Val::Float(f) }
    }
    /// nvarchar as long as the text, as the type of a literal `N'...'`.
    pub fn nvarchar(s: &str) -> Self {
        Self::nvarchar16(s.encode_utf16().collect())
    }
    /// As [`Typed::nvarchar`], from UTF-16.
    pub fn nvarchar16(s: Arc<[u16]>) -> Self {
        let n = if s.len() > 4000 { MAX } else { s.len().max(1) as u16 };
        Self { ty: Ty::NVarChar(n), val: Val::Str(s) }
    }
    /// varchar as long as the text, as the type of a literal `'...'`; what the code page does not have
    /// becomes `?`.
    pub fn varchar(s: &str) -> Self {
        let s: Arc<[u16]> = if s.is_ascii() {
            s.encode_utf16().collect()
        } else {
            let units: Vec<u16> = s.encode_utf16().collect();
            let mut page = Vec::with_capacity(units.len());
            encode_cp1252(&units, &mut page);
            decode_cp1252(&page).collect()
        };
        let n = if s.len() > 8000 { MAX } else { s.len().max(1) as u16 };
        Self { ty: Ty::VarChar(n), val: Val::Str(s) }
    }
    /// varbinary as long as the bytes.
    pub fn binary(b: &[u8]) -> Self {
        let n = if b.len() > 8000 { MAX } else { b.len().max(1) as u16 };
        Self { ty: Ty::VarBinary(n), val: Val::bytes(b) }
    }
    pub fn is_null(&self) -> bool {
        self.val.is_null()
    }
    /// As i64, converting like `CAST(x AS bigint)`; `None` for NULL.
    pub fn to_i64(&self) -> Result<Option<i64>, SqlError> {
        match cast(self, &Ty::BigInt, None)? {
            Val::Int(i) => Ok(Some(i)),
            _ => Ok(None),
        }
    }
    /// As text, converting like `CAST(x AS nvarchar(max))`; `None` for NULL.
    pub fn to_string16(&self) -> Result<Option<Arc<[u16]>>, SqlError> {
        match cast(self, &Ty::NVarChar(MAX), None)? {
            Val::Str(s) => Ok(Some(s)),
            _ => Ok(None),
        }
    }
}
