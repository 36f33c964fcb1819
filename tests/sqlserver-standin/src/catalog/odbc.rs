//! The catalogue procedures that drivers call: `sp_tables`, `sp_columns`, `sp_pkeys`, `sp_statistics`.

use std::sync::Arc;

use super::arguments::Arguments;
use super::meta::{ColumnMeta, Meta};
use super::view::{View, int, maybe_text, text};
use super::{ProcArg, ProcResult, world};
use crate::store::Database;
use crate::value::{Rowset, SqlError, Ty, Val};

/// Calls one of them; `None` when `name` (lower case) is another.
pub(super) fn call(
    here: &Arc<Database>,
    name: &str,
    args: &[ProcArg],
) -> Result<Option<ProcResult>, SqlError> {
    let rowset = match name {
        "sp_tables" | "sp_tables_rowset" => {
            let names =
                ["table_name", "table_owner", "table_qualifier", "table_type", "fusepattern"];
            let given = Arguments::new(name, &names, args)?;
            tables(
                here,
                &world::meta(here),
                given.text("table_name")?,
                given.text("table_owner")?,
                given.text("table_type")?,
            )?
        }
        "sp_columns" | "sp_columns_100" | "sp_columns_90" => {
            let names = [
                "table_name",
                "table_owner",
                "table_qualifier",
                "column_name",
                "odbcver",
                "fusepattern",
                "namescope",
            ];
            let given = Arguments::new(name, &names, args)?;
            let table = given.text("table_name")?;
            columns(
                here,
                &world::meta(here),
                table,
                given.text("table_owner")?,
                given.text("column_name")?,
            )?
        }
        "sp_pkeys" => {
            let given =
                Arguments::new(name, &["table_name", "table_owner", "table_qualifier"], args)?;
            primary_keys(
                here,
                &world::meta(here),
                given.text("table_name")?,
                given.text("table_owner")?,
            )?
        }
        "sp_statistics" | "sp_statistics_100" => {
            let names = [
                "table_name",
                "table_owner",
                "table_qualifier",
                "index_name",
                "is_unique",
                "accuracy",
            ];
            let given = Arguments::new(name, &names, args)?;
            statistics(
                here,
                &world::meta(here),
                given.text("table_name")?,
                given.text("table_owner")?,
            )?
        }
        _ => return Ok(None),
    };
    Ok(Some(ProcResult { rowsets: vec![rowset], ..ProcResult::default() }))
}

/// Whether a name fits a pattern with `%`, `_` and `[_]`; no pattern fits everything.
fn fits(pattern: Option<&String>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    let units = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    matches(&units(pattern), &units(name))
}

fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['%', rest @ ..] => {
            (0..=name.len()).any(|skip| matches(rest, name.get(skip..).unwrap_or_default()))
        }
        // Drivers write `[_]`: these procedures know no escape character.
        ['[', one, ']', rest @ ..] => {
            name.split_first().is_some_and(|(first, name)| first == one && matches(rest, name))
        }
        ['_', rest @ ..] => name.split_first().is_some_and(|(_, name)| matches(rest, name)),
        [one, rest @ ..] => {
            name.split_first().is_some_and(|(first, name)| first == one && matches(rest, name))
        }
    }
}

fn tables(
    here: &Database,
    meta: &Meta,
    name: Option<String>,
    owner: Option<String>,
    kinds: Option<String>,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_QUALIFIER sysname; TABLE_OWNER sysname; TABLE_NAME sysname; TABLE_TYPE varchar(32); REMARKS varchar(254)",
    )?;
    let wanted = |kind: &str| {
        kinds.as_ref().is_none_or(|kinds| kinds.to_uppercase().contains(&format!("'{kind}'")))
    };
    for table in &meta.tables {
        let kind = if table.system { "SYSTEM TABLE" } else { "TABLE" };
        // Drivers see change tables as tables: they are no system objects to ODBC.
        let kind = if table.schema == "cdc" { "TABLE" } else { kind };
        if wanted(kind) && fits(name.as_ref(), &table.name) && fits(owner.as_ref(), &table.schema) {
            view.row([
                text(here.name()),
                text(&table.schema),
                text(&table.name),
                text(kind),
                Val::Null,
            ]);
        }
    }
    for v in &meta.views {
        let schema = meta.schema_name(v.schema_id).unwrap_or("dbo");
        if wanted("VIEW") && fits(name.as_ref(), &v.name) && fits(owner.as_ref(), schema) {
            view.row([text(here.name()), text(schema), text(&v.name), text("VIEW"), Val::Null]);
        }
    }
    Ok(view.done())
}

/// ODBC's number of a type, and its `SS_DATA_TYPE`.
fn codes(column: &ColumnMeta) -> (i64, i64) {
    match column.ty {
        Ty::Bit => (-7, 50),
        Ty::TinyInt => (-6, 38),
        Ty::SmallInt => (5, 38),
        Ty::Int => (4, 38),
        Ty::BigInt => (-5, 108),
        Ty::Real => (7, 109),
        Ty::Float => (6, 109),
        Ty::Decimal(..) => (if column.facts().name == "numeric" { 2 } else { 3 }, 106),
        Ty::Money | Ty::SmallMoney => (3, 110),
        Ty::Date => (91, 0),
        Ty::Time(_) => (-154, 0),
        Ty::DateTime | Ty::SmallDateTime => (93, 111),
        Ty::DateTime2(_) => (93, 0),
        Ty::DateTimeOffset(_) => (-155, 0),
        Ty::Char(_) => (1, 39),
        Ty::VarChar(_) => (12, 39),
        Ty::NChar(_) => (-8, 39),
        Ty::NVarChar(_) => (-9, 39),
        Ty::Text => (-1, 35),
        Ty::NText => (-10, 35),
        Ty::Image => (-4, 34),
        Ty::Binary(_) | Ty::RowVersion => (-2, 37),
        Ty::VarBinary(_) => (-3, 37),
        Ty::Xml => (-152, 0),
        Ty::UniqueIdentifier => (-11, 37),
        Ty::Variant => (-150, 39),
        Ty::Udt(_) => (-151, 23),
    }
}

/// Precision, length in bytes, scale, radix as ODBC wants them.
fn sizes(column: &ColumnMeta) -> (i64, i64, Option<i64>, Option<i64>) {
    let facts = column.facts();
    let length = i64::from(facts.length);
    let fraction =
        |whole: i64| if facts.scale == 0 { whole } else { whole + 1 + i64::from(facts.scale) };
    match column.ty {
        Ty::NChar(_) | Ty::NVarChar(_) if length > 0 => (length / 2, length, None, None),
        Ty::Char(_)
        | Ty::VarChar(_)
        | Ty::NChar(_)
        | Ty::NVarChar(_)
        | Ty::Binary(_)
        | Ty::VarBinary(_)
        | Ty::Xml => (length.max(0), length.max(0), None, None),
        Ty::Udt(_) | Ty::RowVersion | Ty::Variant => (length.max(0), length.max(0), None, None),
        Ty::Text | Ty::Image => (2_147_483_647, 2_147_483_647, None, None),
        Ty::NText => (1_073_741_823, 2_147_483_646, None, None),
        Ty::Bit => (1, 1, None, None),
        Ty::Real | Ty::Float => (facts.precision.into(), length, None, Some(2)),
        Ty::Decimal(precision, scale) => {
            (precision.into(), i64::from(precision) + 2, Some(scale.into()), Some(10))
        }
        Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt => {
            (facts.precision.into(), length, Some(0), Some(10))
        }
        Ty::Money | Ty::SmallMoney => {
            (facts.precision.into(), i64::from(facts.precision) + 2, Some(4), Some(10))
        }
        Ty::Date => (10, 6, Some(0), None),
        Ty::Time(scale) => (fraction(8), 12, Some(scale.into()), None),
        Ty::DateTime => (23, 16, Some(3), None),
        Ty::SmallDateTime => (16, 16, Some(0), None),
        Ty::DateTime2(scale) => (fraction(19), 16, Some(scale.into()), None),
        Ty::DateTimeOffset(scale) => (fraction(26), 20, Some(scale.into()), None),
        Ty::UniqueIdentifier => (36, 16, None, None),
    }
}

fn columns(
    here: &Database,
    meta: &Meta,
    name: Option<String>,
    owner: Option<String>,
    column_name: Option<String>,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_QUALIFIER sysname; TABLE_OWNER sysname; TABLE_NAME sysname; COLUMN_NAME sysname; DATA_TYPE smallint!; \
         TYPE_NAME sysname; PRECISION int; LENGTH int; SCALE smallint; RADIX smallint; NULLABLE smallint!; \
         REMARKS varchar(254); COLUMN_DEF nvarchar(4000); SQL_DATA_TYPE smallint!; SQL_DATETIME_SUB smallint; \
         CHAR_OCTET_LENGTH int; ORDINAL_POSITION int!; IS_NULLABLE varchar(254); SS_IS_SPARSE smallint; \
         SS_IS_COLUMN_SET smallint; SS_IS_COMPUTED smallint; SS_IS_IDENTITY smallint; SS_UDT_CATALOG_NAME sysname; \
         SS_UDT_SCHEMA_NAME sysname; SS_UDT_ASSEMBLY_TYPE_NAME nvarchar(4000); SS_XML_SCHEMACOLLECTION_CATALOG_NAME sysname; \
         SS_XML_SCHEMACOLLECTION_SCHEMA_NAME sysname; SS_XML_SCHEMACOLLECTION_NAME sysname; SS_DATA_TYPE tinyint",
    )?;
    for table in &meta.tables {
        if !fits(name.as_ref(), &table.name) || !fits(owner.as_ref(), &table.schema) {
            continue;
        }
        for (n, column) in (1i64..).zip(&table.columns) {
            if !fits(column_name.as_ref(), &column.name) {
                continue;
            }
            let (code, server_code) = codes(column);
            let (precision, length, scale, radix) = sizes(column);
            let facts = column.facts();
            let type_name = match &column.identity {
                Some(_) => format!("{} identity", facts.name),
                None => facts.name.to_owned(),
            };
            let (general, sub) = match code {
                91 => (9, Some(1)),
                93 => (9, Some(3)),
                code => (code, None),
            };
            let number = |value: Option<i64>| value.map_or(Val::Null, Val::Int);
            let octets = (facts.character
                || matches!(column.ty, Ty::Binary(_) | Ty::VarBinary(_) | Ty::Image))
            .then_some(length);
            view.row([
                text(here.name()),
                text(&table.schema),
                text(&table.name),
                text(&column.name),
                int(code),
                text(type_name),
                int(precision),
                int(length),
                number(scale),
                number(radix),
                int(u8::from(column.nullable)),
                Val::Null,
                maybe_text(column.default.as_ref().map(|default| &default.definition)),
                int(general),
                number(sub),
                number(octets),
                int(n),
                text(if column.nullable { "YES" } else { "NO" }),
                int(u8::from(column.sparse)),
                int(0),
                int(u8::from(column.computed.is_some())),
                int(u8::from(column.identity.is_some())),
                Val::Null,
                Val::Null,
                Val::Null,
                Val::Null,
                Val::Null,
                Val::Null,
                int(server_code),
            ]);
        }
    }
    Ok(view.done())
}

fn primary_keys(
    here: &Database,
    meta: &Meta,
    name: Option<String>,
    owner: Option<String>,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_QUALIFIER sysname; TABLE_OWNER sysname; TABLE_NAME sysname; COLUMN_NAME sysname; KEY_SEQ smallint!; PK_NAME sysname",
    )?;
    for table in &meta.tables {
        if !fits(name.as_ref(), &table.name) || !fits(owner.as_ref(), &table.schema) {
            continue;
        }
        let Some(key) = table.primary_key() else { continue };
        for (n, (column, _)) in (1i64..).zip(&key.keys) {
            view.row([
                text(here.name()),
                text(&table.schema),
                text(&table.name),
                maybe_text(table.column_name(*column)),
                int(n),
                text(&key.name),
            ]);
        }
    }
    Ok(view.done())
}

fn statistics(
    here: &Database,
    meta: &Meta,
    name: Option<String>,
    owner: Option<String>,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_QUALIFIER sysname; TABLE_OWNER sysname; TABLE_NAME sysname; NON_UNIQUE smallint; INDEX_QUALIFIER sysname; \
         INDEX_NAME sysname; TYPE smallint!; SEQ_IN_INDEX smallint; COLUMN_NAME sysname; COLLATION char(1); CARDINALITY int; \
         PAGES int; FILTER_CONDITION varchar(128)",
    )?;
    for table in &meta.tables {
        if !fits(name.as_ref(), &table.name) || !fits(owner.as_ref(), &table.schema) {
            continue;
        }
        for index in &table.indexes {
            for (n, (column, descending)) in (1i64..).zip(&index.keys) {
                view.row([
                    text(here.name()),
                    text(&table.schema),
                    text(&table.name),
                    int(u8::from(!index.unique)),
                    text(&table.name),
                    text(&index.name),
                    int(if index.clustered { 1 } else { 3 }),
                    int(n),
                    maybe_text(table.column_name(*column)),
                    text(if *descending { "D" } else { "A" }),
                    int(table.rows),
                    int(table.rows / 100 + 1),
                    maybe_text(index.filter.as_deref()),
                ]);
            }
        }
    }
    Ok(view.done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_know_wildcards_and_their_escape() {
        let fit = |pattern: &str, name: &str| fits(Some(&pattern.to_owned()), name);
        assert!(fit("%", "anything") && fit("T_st", "test") && fit("a%z", "abcz"));
        assert!(fit("a[_]b", "a_b") && !fit("a[_]b", "axb"));
        assert!(!fit("a", "ab"));
        assert!(fit("s[_]\\[%]/", "s_\\%/") && !fit("a\\_b", "a_b"));
        assert!(fits(None, "x"));
    }
}
