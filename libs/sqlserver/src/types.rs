//! What a column of the catalogue is in our words, how it is selected, and how a key's parameter is typed.

use causeway_change::{ColumnType, Length};

use crate::identifier;

/// The kind of a column by what `sys.columns` and `sys.types` say of it: the base type's name, the length
/// in bytes (-1 for `max`), precision and scale. `Err` is the reason why it is not replicated.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-columns-transact-sql>
pub fn column_type(
    name: &str,
    max_length: i16,
    precision: u8,
    scale: u8,
) -> Result<ColumnType, String> {
    let units = |bytes_each: i16| -> Result<Length, String> {
        if max_length == -1 {
            return Ok(Length::Max);
        }
        u16::try_from(max_length / bytes_each)
            .map(Length::Of)
            .map_err(|_| format!("its length is {max_length}"))
    };
    let fixed = |bytes_each: i16| -> Result<u16, String> {
        u16::try_from(max_length / bytes_each).map_err(|_| format!("its length is {max_length}"))
    };
    Ok(match name.to_ascii_lowercase().as_str() {
        "bit" => ColumnType::Bit,
        "tinyint" => ColumnType::TinyInt,
        "smallint" => ColumnType::SmallInt,
        "int" => ColumnType::Int,
        "bigint" => ColumnType::BigInt,
        "real" => ColumnType::Real,
        // float(1) to float(24) are real in all but name: the length decides.
        "float" if max_length == 4 => ColumnType::Real,
        "float" => ColumnType::Float,
        "decimal" | "numeric" => ColumnType::Decimal { precision, scale },
        "money" => ColumnType::Money,
        "smallmoney" => ColumnType::SmallMoney,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time { scale },
        "datetime" => ColumnType::DateTime,
        "smalldatetime" => ColumnType::SmallDateTime,
        "datetime2" => ColumnType::DateTime2 { scale },
        "datetimeoffset" => ColumnType::DateTimeOffset { scale },
        "char" => ColumnType::Char(fixed(1)?),
        "varchar" => ColumnType::VarChar(units(1)?),
        "nchar" => ColumnType::NChar(fixed(2)?),
        "nvarchar" | "sysname" => ColumnType::NVarChar(units(2)?),
        "text" => ColumnType::Text,
        "ntext" => ColumnType::NText,
        "xml" => ColumnType::Xml,
        "uniqueidentifier" => ColumnType::UniqueIdentifier,
        "binary" => ColumnType::Binary(fixed(1)?),
        "varbinary" => ColumnType::VarBinary(units(1)?),
        "image" => ColumnType::Image,
        "timestamp" | "rowversion" => ColumnType::RowVersion,
        "geometry" => ColumnType::Geometry,
        "geography" => ColumnType::Geography,
        "hierarchyid" => ColumnType::HierarchyId,
        "sql_variant" => {
            return Err("sql_variant has another type in every row, so no column of the target \
                        could hold it"
                .to_owned());
        }
        other => return Err(format!("its type {other} is not known to causeway")),
    })
}

/// The expression that selects a column so that the driver decodes it exactly, under the column's own name.
///
/// * `money`: the driver makes a 64-bit float of it, which cannot hold 922337203685477.5807.
/// * strings of a code page and `xml`: the server converts, because the driver does not know every code
///   page and ends the stream at the first byte that it cannot decode.
/// * CLR types: as bytes, which is what is replicated.
#[must_use]
pub fn select_expression(name: &str, ty: &ColumnType) -> String {
    let column = identifier::quote(name);
    match cast_for_select(ty) {
        Some(to) => format!("CAST({column} AS {to}) AS {column}"),
        None => column,
    }
}

/// The expression for a column that the table no longer has: NULL of the column's type.
#[must_use]
pub fn select_null(name: &str, ty: &ColumnType) -> String {
    let to = cast_for_select(ty).unwrap_or_else(|| declaration(ty));
    format!("CAST(NULL AS {to}) AS {}", identifier::quote(name))
}

/// True for a type whose values may be of any size, up to 2 GB.
#[must_use]
pub fn is_unbounded(ty: &ColumnType) -> bool {
    ty.is_large() || matches!(ty, ColumnType::Geometry | ColumnType::Geography)
}

/// As [`select_expression`], but NULL in the place of a value of more than `largest` bytes as
/// [`select_size`] counts them: the server measures it and does not send it.
/// <https://learn.microsoft.com/sql/t-sql/functions/datalength-transact-sql>
#[must_use]
pub fn select_at_most(name: &str, ty: &ColumnType, largest: u64) -> String {
    let column = identifier::quote(name);
    let value = match cast_for_select(ty) {
        Some(to) => format!("CAST({column} AS {to})"),
        None => column.clone(),
    };
    format!("CASE WHEN {} > {largest} THEN NULL ELSE {value} END AS {column}", size(&column, ty))
}

/// The size of a value that [`select_at_most`] leaves out, else NULL: of bytes how many, of a text its
/// characters, each of which is a byte or more in UTF-8.
#[must_use]
pub fn select_size(name: &str, ty: &ColumnType, largest: u64) -> String {
    let size = size(&identifier::quote(name), ty);
    format!("CASE WHEN {size} > {largest} THEN CAST({size} AS bigint) END")
}

fn size(column: &str, ty: &ColumnType) -> String {
    match ty {
        ColumnType::NVarChar(_) | ColumnType::NText => format!("DATALENGTH({column}) / 2"),
        // How large its binary form is says nothing of its text.
        ColumnType::Xml => format!("DATALENGTH(CAST({column} AS nvarchar(max))) / 2"),
        ColumnType::Bit
        | ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Decimal { .. }
        | ColumnType::Money
        | ColumnType::SmallMoney
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime
        | ColumnType::SmallDateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::Text
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => format!("DATALENGTH({column})"),
    }
}

fn cast_for_select(ty: &ColumnType) -> Option<String> {
    match ty {
        ColumnType::Money => Some("decimal(19,4)".to_owned()),
        ColumnType::SmallMoney => Some("decimal(10,4)".to_owned()),
        ColumnType::Char(n) | ColumnType::VarChar(Length::Of(n)) => {
            Some(if *n <= 4000 { format!("nvarchar({n})") } else { "nvarchar(max)".to_owned() })
        }
        ColumnType::VarChar(Length::Max)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => Some("nvarchar(max)".to_owned()),
        ColumnType::Image | ColumnType::Geometry | ColumnType::Geography => {
            Some("varbinary(max)".to_owned())
        }
        ColumnType::HierarchyId => Some("varbinary(892)".to_owned()),
        ColumnType::Bit
        | ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Decimal { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime
        | ColumnType::SmallDateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::RowVersion => None,
    }
}

/// The type as a CAST names it.
fn declaration(ty: &ColumnType) -> String {
    match ty {
        // `timestamp` is not allowed in CAST of a value; its bytes compare alike.
        ColumnType::RowVersion => "binary(8)".to_owned(),
        ColumnType::Bit
        | ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Decimal { .. }
        | ColumnType::Money
        | ColumnType::SmallMoney
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
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => ty.to_string(),
    }
}

/// `@P1` as an expression of exactly the key column's type, so that the comparison is made in the column's
/// own order and can use its index. A string parameter is `nvarchar`; compared with a `varchar` column it
/// would convert the column, lose the index seek and, under an SQL collation, skip rows.
#[must_use]
pub fn key_parameter(number: usize, ty: &ColumnType, collation: Option<&str>) -> String {
    let is_code_page_text = matches!(ty, ColumnType::Char(_) | ColumnType::VarChar(_));
    match collation {
        // The conversion to the code page must go by the column's collation, not the database's.
        Some(collation) if is_code_page_text => {
            format!("CAST(@P{number} COLLATE {collation} AS {})", declaration(ty))
        }
        Some(_) | None => format!("CAST(@P{number} AS {})", declaration(ty)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_numbers_become_kinds() {
        for (name, length, precision, scale, declared) in [
            ("nvarchar", 200, 0, 0, "nvarchar(100)"),
            ("nvarchar", -1, 0, 0, "nvarchar(max)"),
            ("varchar", 8000, 0, 0, "varchar(8000)"),
            ("nchar", 20, 0, 0, "nchar(10)"),
            ("float", 8, 53, 0, "float"),
            ("float", 4, 24, 0, "real"),
            ("numeric", 17, 38, 10, "decimal(38,10)"),
            ("datetime2", 8, 27, 7, "datetime2(7)"),
            ("timestamp", 8, 0, 0, "timestamp"),
            ("varbinary", -1, 0, 0, "varbinary(max)"),
        ] {
            assert_eq!(column_type(name, length, precision, scale).unwrap().to_string(), declared);
        }
        assert!(column_type("sql_variant", 8016, 0, 0).unwrap_err().contains("sql_variant"));
        assert!(column_type("vector", 20, 0, 0).unwrap_err().contains("vector"));
    }

    #[test]
    fn what_the_driver_cannot_decode_is_cast_by_the_server() {
        assert_eq!(select_expression("a", &ColumnType::Money), "CAST([a] AS decimal(19,4)) AS [a]");
        assert_eq!(
            select_expression("a", &ColumnType::VarChar(Length::Of(5000))),
            "CAST([a] AS nvarchar(max)) AS [a]"
        );
        assert_eq!(select_expression("a]b", &ColumnType::Int), "[a]]b]");
        assert_eq!(select_null("a", &ColumnType::RowVersion), "CAST(NULL AS binary(8)) AS [a]");
    }

    #[test]
    fn what_may_be_too_large_is_measured_by_the_server() {
        let bytes = ColumnType::VarBinary(Length::Max);
        assert_eq!(
            select_at_most("a", &bytes, 1000),
            "CASE WHEN DATALENGTH([a]) > 1000 THEN NULL ELSE [a] END AS [a]"
        );
        assert_eq!(
            select_size("a", &bytes, 1000),
            "CASE WHEN DATALENGTH([a]) > 1000 THEN CAST(DATALENGTH([a]) AS bigint) END"
        );
        assert_eq!(
            select_at_most("a", &ColumnType::Xml, 9),
            "CASE WHEN DATALENGTH(CAST([a] AS nvarchar(max))) / 2 > 9 THEN NULL ELSE CAST([a] AS \
             nvarchar(max)) END AS [a]"
        );
        assert!(is_unbounded(&bytes) && is_unbounded(&ColumnType::Geography));
        assert!(!is_unbounded(&ColumnType::VarBinary(Length::Of(8000))));
    }

    #[test]
    fn trap_21_a_key_parameter_has_the_type_of_its_column() {
        let varchar = ColumnType::VarChar(Length::Of(20));
        assert_eq!(key_parameter(3, &varchar, None), "CAST(@P3 AS varchar(20))");
        assert_eq!(
            key_parameter(1, &varchar, Some("Greek_CI_AS")),
            "CAST(@P1 COLLATE Greek_CI_AS AS varchar(20))"
        );
        assert_eq!(
            key_parameter(1, &ColumnType::Decimal { precision: 9, scale: 2 }, None),
            "CAST(@P1 AS decimal(9,2))"
        );
    }
}
