//! Names, sizes, precedence and combination of types.
//!
//! Numbers are those of `sys.types`; precedence is Microsoft's documented "data type precedence".

use super::{MAX, SqlError, Ty, Udt};

impl Ty {
    /// The name without length, as `sys.types.name`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Float => "float",
            Self::Decimal(..) => "decimal",
            Self::Money => "money",
            Self::SmallMoney => "smallmoney",
            Self::Date => "date",
            Self::Time(_) => "time",
            Self::DateTime => "datetime",
            Self::SmallDateTime => "smalldatetime",
            Self::DateTime2(_) => "datetime2",
            Self::DateTimeOffset(_) => "datetimeoffset",
            Self::Char(_) => "char",
            Self::VarChar(_) => "varchar",
            Self::NChar(_) => "nchar",
            Self::NVarChar(_) => "nvarchar",
            Self::Text => "text",
            Self::NText => "ntext",
            Self::Image => "image",
            Self::Binary(_) => "binary",
            Self::VarBinary(_) => "varbinary",
            Self::Xml => "xml",
            Self::UniqueIdentifier => "uniqueidentifier",
            Self::RowVersion => "timestamp",
            Self::Variant => "sql_variant",
            Self::Udt(Udt::Geometry) => "geometry",
            Self::Udt(Udt::Geography) => "geography",
            Self::Udt(Udt::HierarchyId) => "hierarchyid",
        }
    }

    /// The name as error messages have it: decimal is called numeric there.
    pub fn message_name(&self) -> &'static str {
        if matches!(self, Self::Decimal(..)) { "numeric" } else { self.name() }
    }

    /// The type as it is declared, `nvarchar(50)`.
    pub fn declared(&self) -> String {
        let name = self.name();
        match self {
            Self::Decimal(p, s) => format!("{name}({p},{s})"),
            Self::Time(s) | Self::DateTime2(s) | Self::DateTimeOffset(s) => format!("{name}({s})"),
            Self::VarChar(MAX) | Self::NVarChar(MAX) | Self::VarBinary(MAX) => {
                format!("{name}(max)")
            }
            Self::Char(n)
            | Self::VarChar(n)
            | Self::NChar(n)
            | Self::NVarChar(n)
            | Self::Binary(n)
            | Self::VarBinary(n) => format!("{name}({n})"),
            _ => name.to_owned(),
        }
    }

    /// `sys.types.system_type_id`.
    pub fn system_type_id(&self) -> u8 {
        match self {
            Self::Image => 34,
            Self::Text => 35,
            Self::UniqueIdentifier => 36,
            Self::Date => 40,
            Self::Time(_) => 41,
            Self::DateTime2(_) => 42,
            Self::DateTimeOffset(_) => 43,
            Self::TinyInt => 48,
            Self::SmallInt => 52,
            Self::Int => 56,
            Self::SmallDateTime => 58,
            Self::Real => 59,
            Self::Money => 60,
            Self::DateTime => 61,
            Self::Float => 62,
            Self::Variant => 98,
            Self::NText => 99,
            Self::Bit => 104,
            Self::Decimal(..) => 106,
            Self::SmallMoney => 122,
            Self::BigInt => 127,
            Self::VarBinary(_) => 165,
            Self::VarChar(_) => 167,
            Self::Binary(_) => 173,
            Self::Char(_) => 175,
            Self::RowVersion => 189,
            Self::NVarChar(_) => 231,
            Self::NChar(_) => 239,
            Self::Udt(_) => 240,
            Self::Xml => 241,
        }
    }

    /// `sys.types.user_type_id`.
    pub fn user_type_id(&self) -> i32 {
        match self {
            Self::Udt(Udt::HierarchyId) => 128,
            Self::Udt(Udt::Geometry) => 129,
            Self::Udt(Udt::Geography) => 130,
            other => other.system_type_id().into(),
        }
    }

    /// `sys.columns.max_length`: bytes, -1 for max types.
    pub fn max_length(&self) -> i16 {
        let length = |n: &u16, width: u16| if *n == MAX { -1 } else { (*n * width) as i16 };
        match self {
            Self::Bit | Self::TinyInt => 1,
            Self::SmallInt => 2,
            Self::Int | Self::Real | Self::SmallMoney | Self::SmallDateTime => 4,
            Self::BigInt | Self::Float | Self::Money | Self::DateTime | Self::RowVersion => 8,
            Self::Decimal(p, _) => match p {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            },
            Self::Date => 3,
            Self::Time(s) => time_length(*s),
            Self::DateTime2(s) => time_length(*s) + 3,
            Self::DateTimeOffset(s) => time_length(*s) + 5,
            Self::Char(n) | Self::VarChar(n) | Self::Binary(n) | Self::VarBinary(n) => length(n, 1),
            Self::NChar(n) | Self::NVarChar(n) => length(n, 2),
            Self::Text | Self::NText | Self::Image | Self::UniqueIdentifier => 16,
            Self::Xml | Self::Udt(Udt::Geometry | Udt::Geography) => -1,
            Self::Udt(Udt::HierarchyId) => 892,
            Self::Variant => 8016,
        }
    }

    /// `sys.columns.precision`.
    pub fn precision(&self) -> u8 {
        let with = |base: u8, s: u8| if s == 0 { base } else { base + 1 + s };
        match self {
            Self::Bit => 1,
            Self::TinyInt => 3,
            Self::SmallInt => 5,
            Self::Int | Self::Date | Self::SmallMoney => 10,
            Self::BigInt | Self::Money => 19,
            Self::Real => 24,
            Self::Float => 53,
            Self::Decimal(p, _) => *p,
            Self::Time(s) => with(8, *s),
            Self::DateTime => 23,
            Self::SmallDateTime => 16,
            Self::DateTime2(s) => with(19, *s),
            Self::DateTimeOffset(s) => with(26, *s),
            _ => 0,
        }
    }

    /// `sys.columns.scale`.
    pub fn scale(&self) -> u8 {
        match self {
            Self::Decimal(_, s) | Self::Time(s) | Self::DateTime2(s) | Self::DateTimeOffset(s) => {
                *s
            }
            Self::Money | Self::SmallMoney => 4,
            Self::DateTime => 3,
            _ => 0,
        }
    }

    /// char, varchar, nchar, nvarchar, text, ntext.
    pub fn is_text(&self) -> bool {
        matches!(
            self,
            Self::Char(_)
                | Self::VarChar(_)
                | Self::NChar(_)
                | Self::NVarChar(_)
                | Self::Text
                | Self::NText
        )
    }
    pub fn is_unicode(&self) -> bool {
        matches!(self, Self::NChar(_) | Self::NVarChar(_) | Self::NText | Self::Xml)
    }
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_) | Self::VarBinary(_) | Self::Image | Self::RowVersion)
    }
    /// tinyint, smallint, int, bigint (not bit).
    pub fn is_int(&self) -> bool {
        matches!(self, Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt)
    }
    pub fn is_number(&self) -> bool {
        self.is_int()
            || matches!(
                self,
                Self::Bit
                    | Self::Real
                    | Self::Float
                    | Self::Decimal(..)
                    | Self::Money
                    | Self::SmallMoney
            )
    }
    pub fn is_date(&self) -> bool {
        matches!(
            self,
            Self::Date
                | Self::Time(_)
                | Self::DateTime
                | Self::SmallDateTime
                | Self::DateTime2(_)
                | Self::DateTimeOffset(_)
        )
    }
    /// A `(max)` type or one of text, ntext, image, xml.
    pub fn is_large(&self) -> bool {
        matches!(
            self,
            Self::VarChar(MAX)
                | Self::NVarChar(MAX)
                | Self::VarBinary(MAX)
                | Self::Text
                | Self::NText
                | Self::Image
                | Self::Xml
        )
    }
    /// The declared length in characters (bytes for binary); `None` where there is none.
    pub fn length(&self) -> Option<u16> {
        match self {
            Self::Char(n)
            | Self::VarChar(n)
            | Self::NChar(n)
            | Self::NVarChar(n)
            | Self::Binary(n)
            | Self::VarBinary(n) => Some(*n),
            _ => None,
        }
    }
    /// Precision and scale of a number that takes part in decimal arithmetic.
    pub fn as_decimal(&self) -> Option<(u8, u8)> {
        match self {
            Self::Bit => Some((1, 0)),
            Self::TinyInt => Some((3, 0)),
            Self::SmallInt => Some((5, 0)),
            Self::Int => Some((10, 0)),
            Self::BigInt => Some((19, 0)),
            Self::Decimal(p, s) => Some((*p, *s)),
            Self::Money => Some((19, 4)),
            Self::SmallMoney => Some((10, 4)),
            _ => None,
        }
    }
    /// Documented precedence; the higher number wins.
    pub fn precedence(&self) -> u8 {
        match self {
            Self::Udt(_) => 40,
            Self::Variant => 39,
            Self::Xml => 38,
            Self::DateTimeOffset(_) => 37,
            Self::DateTime2(_) => 36,
            Self::DateTime => 35,
            Self::SmallDateTime => 34,
            Self::Date => 33,
            Self::Time(_) => 32,
            Self::Float => 31,
            Self::Real => 30,
            Self::Decimal(..) => 29,
            Self::Money => 28,
            Self::SmallMoney => 27,
            Self::BigInt => 26,
            Self::Int => 25,
            Self::SmallInt => 24,
            Self::TinyInt => 23,
            Self::Bit => 22,
            Self::NText => 21,
            Self::Text => 20,
            Self::Image => 19,
            Self::RowVersion => 18,
            Self::UniqueIdentifier => 17,
            Self::NVarChar(_) => 16,
            Self::NChar(_) => 15,
            Self::VarChar(_) => 14,
            Self::Char(_) => 13,
            Self::VarBinary(_) => 12,
            Self::Binary(_) => 11,
        }
    }
}

fn time_length(scale: u8) -> i16 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// The type that both are converted to by CASE, COALESCE, UNION and comparisons.
pub fn unify(a: &Ty, b: &Ty) -> Ty {
    if a == b {
        return *a;
    }
    let (high, low) = if a.precedence() >= b.precedence() { (a, b) } else { (b, a) };
    match high {
        Ty::Decimal(..) => match (high.as_decimal(), low.as_decimal()) {
            (Some((p1, s1)), Some((p2, s2))) => {
                let s = s1.max(s2);
                let p = (p1 - s1).max(p2 - s2) + s;
                if p > 38 { Ty::Decimal(38, s - (p - 38).min(s)) } else { Ty::Decimal(p, s) }
            }
            _ => *high,
        },
        Ty::DateTime2(s) => Ty::DateTime2((*s).max(fraction(low))),
        Ty::DateTimeOffset(s) => Ty::DateTimeOffset((*s).max(fraction(low))),
        Ty::Time(s) => Ty::Time((*s).max(fraction(low))),
        Ty::NVarChar(n) => Ty::NVarChar(wide_length(*n, low)),
        Ty::NChar(n) if matches!(low, Ty::VarChar(_)) => Ty::NVarChar(wide_length(*n, low)),
        Ty::NChar(n) => Ty::NChar(wide_length(*n, low)),
        Ty::VarChar(n) => Ty::VarChar(longest(*n, low.length())),
        Ty::Char(n) => Ty::Char(longest(*n, low.length())),
        Ty::VarBinary(n) => Ty::VarBinary(longest(*n, low.length())),
        Ty::Binary(n) => Ty::Binary(longest(*n, low.length())),
        _ => *high,
    }
}

fn fraction(t: &Ty) -> u8 {
    match t {
        Ty::DateTime => 3,
        Ty::Time(s) | Ty::DateTime2(s) | Ty::DateTimeOffset(s) => *s,
        _ => 0,
    }
}

fn longest(n: u16, other: Option<u16>) -> u16 {
    other.map_or(n, |o| n.max(o))
}

fn wide_length(n: u16, low: &Ty) -> u16 {
    match longest(n, low.length()) {
        MAX => MAX,
        length => length.min(4000),
    }
}

/// Parses a type as a column or variable declares it; a length left out is 1.
pub fn parse_type(text: &str) -> Result<Ty, SqlError> {
    parse_with_length(text, 1)
}

impl Ty {
    /// Parses the type of CAST and CONVERT; a length left out is 30.
    pub fn parse_for_cast(text: &str) -> Result<Self, SqlError> {
        parse_with_length(text, 30)
    }
}

fn parse_with_length(text: &str, default: u16) -> Result<Ty, SqlError> {
    let plain: String = text.chars().filter(|c| !matches!(c, '[' | ']' | '"')).collect();
    let plain = plain.trim().to_ascii_lowercase();
    let (name, arguments) = match plain.split_once('(') {
        Some((n, rest)) => {
            let (inside, after) = rest.split_once(')').ok_or_else(|| SqlError::syntax(text))?;
            // "character(10) varying" does not occur; anything after the length is a mistake
            if !after.trim().is_empty() {
                return Err(SqlError::syntax(after.trim()));
            }
            (n.trim().to_owned(), Some(inside.trim().to_owned()))
        }
        None => (plain.clone(), None),
    };
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = name.strip_prefix("sys.").unwrap_or(&name);
    let numbers: Vec<&str> =
        arguments.as_deref().map(|a| a.split(',').map(str::trim).collect()).unwrap_or_default();
    let first = numbers.first().copied();
    let number = |s: Option<&str>| -> Result<Option<u16>, SqlError> {
        s.map(|s| s.parse::<u16>().map_err(|_| SqlError::syntax(s))).transpose()
    };
    let length = |limit: u16, max_allowed: bool| -> Result<u16, SqlError> {
        if first == Some("max") && max_allowed {
            return Ok(MAX);
        }
        let n = number(first)?.unwrap_or(default);
        if n == 0 || n > limit {
            let m = format!(
                "The size ({n}) given to the type '{name}' exceeds the maximum allowed for any data \
                 type (8000)."
            );
            return Err(SqlError::new(131, m).class(15).state(3));
        }
        Ok(n)
    };
    let fraction =
        || -> Result<u8, SqlError> {
            match number(first)?.unwrap_or(7) {
                n @ 0..=7 => Ok(n as u8),
                n => Err(SqlError::new(1002, format!("Line 1: Specified scale {n} is invalid."))
                    .class(15)),
            }
        };
    let ty = match name {
        "bit" => Ty::Bit,
        "tinyint" => Ty::TinyInt,
        "smallint" => Ty::SmallInt,
        "int" | "integer" => Ty::Int,
        "bigint" => Ty::BigInt,
        "real" => Ty::Real,
        "double precision" => Ty::Float,
        "float" => match number(first)? {
            Some(1..=24) => Ty::Real,
            Some(25..=53) | None => Ty::Float,
            Some(n) => {
                return Err(SqlError::new(
                    2750,
                    format!(
                        "Column or parameter #1: Specified column precision {n} is greater than the maximum precision of 53."
                    ),
                ));
            }
        },
        "decimal" | "numeric" | "dec" => {
            let p = number(first)?.unwrap_or(18);
            let s = number(numbers.get(1).copied())?.unwrap_or(0);
            if p == 0 || p > 38 {
                return Err(SqlError::new(1007, format!("The number '{p}' is out of the range for numeric representation (maximum precision 38).")).class(15));
            }
            if s > p {
                return Err(SqlError::new(
                    192,
                    "The scale must be less than or equal to the precision.",
                )
                .class(15));
            }
            Ty::Decimal(p as u8, s as u8)
        }
        "money" => Ty::Money,
        "smallmoney" => Ty::SmallMoney,
        "date" => Ty::Date,
        "time" => Ty::Time(fraction()?),
        "datetime" => Ty::DateTime,
        "smalldatetime" => Ty::SmallDateTime,
        "datetime2" => Ty::DateTime2(fraction()?),
        "datetimeoffset" => Ty::DateTimeOffset(fraction()?),
        "char" | "character" => Ty::Char(length(8000, false)?),
        "varchar" | "char varying" | "character varying" => Ty::VarChar(length(8000, true)?),
        "nchar" | "national char" | "national character" => Ty::NChar(length(4000, false)?),
        "nvarchar" | "national char varying" | "national character varying" => {
            Ty::NVarChar(length(4000, true)?)
        }
        "sysname" => Ty::NVarChar(128),
        "text" => Ty::Text,
        "ntext" | "national text" => Ty::NText,
        "image" => Ty::Image,
        "binary" => Ty::Binary(length(8000, false)?),
        "varbinary" | "binary varying" => Ty::VarBinary(length(8000, true)?),
        "xml" => Ty::Xml,
        "uniqueidentifier" => Ty::UniqueIdentifier,
        "rowversion" | "timestamp" => Ty::RowVersion,
        "sql_variant" => Ty::Variant,
        "geometry" => Ty::Udt(Udt::Geometry),
        "geography" => Ty::Udt(Udt::Geography),
        "hierarchyid" => Ty::Udt(Udt::HierarchyId),
        other => return Err(SqlError::unknown_type(other)),
    };
    Ok(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_parse_and_print() {
        for (text, ty) in [
            ("int", Ty::Int),
            ("[nvarchar](max)", Ty::NVarChar(MAX)),
            ("NVARCHAR ( 50 )", Ty::NVarChar(50)),
            ("char", Ty::Char(1)),
            ("decimal", Ty::Decimal(18, 0)),
            ("numeric(38, 10)", Ty::Decimal(38, 10)),
            ("datetime2", Ty::DateTime2(7)),
            ("time(0)", Ty::Time(0)),
            ("float(24)", Ty::Real),
            ("float(25)", Ty::Float),
            ("double precision", Ty::Float),
            ("national character varying(7)", Ty::NVarChar(7)),
            ("sys.hierarchyid", Ty::Udt(Udt::HierarchyId)),
            ("sysname", Ty::NVarChar(128)),
            ("rowversion", Ty::RowVersion),
        ] {
            assert_eq!(parse_type(text).unwrap(), ty, "{text}");
            assert_eq!(parse_type(&ty.declared()).unwrap(), ty, "{}", ty.declared());
        }
        assert_eq!(Ty::parse_for_cast("varchar").unwrap(), Ty::VarChar(30));
        for (text, number) in [("nosuch", 243), ("varchar(9000)", 131), ("decimal(39)", 1007)] {
            assert_eq!(parse_type(text).unwrap_err().number, number, "{text}");
        }
    }

    #[test]
    fn common_type() {
        for (a, b, c) in [
            (Ty::Int, Ty::BigInt, Ty::BigInt),
            (Ty::Int, Ty::Decimal(5, 2), Ty::Decimal(12, 2)),
            (Ty::VarChar(10), Ty::NVarChar(5), Ty::NVarChar(10)),
            (Ty::VarChar(10), Ty::Int, Ty::Int),
            (Ty::Char(3), Ty::VarChar(2), Ty::VarChar(3)),
            (Ty::NVarChar(4), Ty::NVarChar(MAX), Ty::NVarChar(MAX)),
            (Ty::DateTime2(3), Ty::DateTime2(7), Ty::DateTime2(7)),
            (Ty::Money, Ty::Int, Ty::Money),
            (Ty::Decimal(38, 0), Ty::Decimal(38, 10), Ty::Decimal(38, 0)),
        ] {
            assert_eq!(unify(&a, &b), c, "{a:?} {b:?}");
            assert_eq!(unify(&b, &a), c, "{b:?} {a:?}");
        }
    }
}
