//! `INFORMATION_SCHEMA`: tables, columns, keys.

use super::meta::{ColumnMeta, Meta};
use super::types;
use super::view::{View, int, maybe_text, text};
use crate::value::{Rowset, SqlError, Ty, Val};

/// `INFORMATION_SCHEMA.TABLES`.
pub(crate) fn tables(meta: &Meta, catalog: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME sysname!; TABLE_TYPE varchar(10)",
    )?;
    for table in &meta.tables {
        view.row([text(catalog), text(&table.schema), text(&table.name), text("BASE TABLE")]);
    }
    for v in &meta.views {
        view.row([
            text(catalog),
            maybe_text(meta.schema_name(v.schema_id)),
            text(&v.name),
            text("VIEW"),
        ]);
    }
    Ok(view.done())
}

/// `INFORMATION_SCHEMA.SCHEMATA`.
pub(crate) fn schemata(meta: &Meta, catalog: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "CATALOG_NAME nvarchar(128); SCHEMA_NAME nvarchar(128)!; SCHEMA_OWNER nvarchar(128)",
    )?;
    for (_, name) in &meta.schemas {
        view.row([text(catalog), text(name), text("dbo")]);
    }
    Ok(view.done())
}

/// The numbers that INFORMATION_SCHEMA.COLUMNS has of a type.
struct Numbers {
    characters: Option<i64>,
    octets: Option<i64>,
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
    fraction: Option<i64>,
}

fn numbers(ty: &Ty) -> Numbers {
    let facts = types::facts(ty);
    let mut numbers = Numbers {
        characters: None,
        octets: None,
        precision: None,
        radix: None,
        scale: None,
        fraction: None,
    };
    let length = i64::from(facts.length);
    match ty {
        Ty::Char(_) | Ty::VarChar(_) | Ty::Binary(_) | Ty::VarBinary(_) => {
            (numbers.characters, numbers.octets) = (Some(length), Some(length));
        }
        Ty::NChar(_) | Ty::NVarChar(_) => {
            numbers.characters = Some(if length < 0 { -1 } else { length / 2 });
            numbers.octets = Some(length);
        }
        Ty::Text | Ty::Image => {
            (numbers.characters, numbers.octets) = (Some(2_147_483_647), Some(2_147_483_647));
        }
        Ty::NText => {
            (numbers.characters, numbers.octets) = (Some(1_073_741_823), Some(2_147_483_646));
        }
        Ty::Xml => (numbers.characters, numbers.octets) = (Some(-1), Some(-1)),
        Ty::TinyInt
        | Ty::SmallInt
        | Ty::Int
        | Ty::BigInt
        | Ty::Decimal(..)
        | Ty::Money
        | Ty::SmallMoney => {
            numbers.precision = Some(facts.precision.into());
            numbers.radix = Some(10);
            numbers.scale = Some(facts.scale.into());
        }
        Ty::Real | Ty::Float => {
            (numbers.precision, numbers.radix) = (Some(facts.precision.into()), Some(2));
        }
        Ty::Date | Ty::SmallDateTime => numbers.fraction = Some(0),
        Ty::DateTime => numbers.fraction = Some(3),
        Ty::Time(scale) | Ty::DateTime2(scale) | Ty::DateTimeOffset(scale) => {
            numbers.fraction = Some((*scale).into());
        }
        Ty::Bit | Ty::UniqueIdentifier | Ty::RowVersion | Ty::Variant | Ty::Udt(_) => {}
    }
    numbers
}

fn number(value: Option<i64>) -> Val {
    value.map_or(Val::Null, Val::Int)
}

/// `INFORMATION_SCHEMA.COLUMNS`.
pub(crate) fn columns(meta: &Meta, catalog: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME nvarchar(128)!; COLUMN_NAME nvarchar(128); \
         ORDINAL_POSITION int; COLUMN_DEFAULT nvarchar(4000); IS_NULLABLE varchar(3); DATA_TYPE nvarchar(128); \
         CHARACTER_MAXIMUM_LENGTH int; CHARACTER_OCTET_LENGTH int; NUMERIC_PRECISION tinyint; \
         NUMERIC_PRECISION_RADIX smallint; NUMERIC_SCALE int; DATETIME_PRECISION smallint; \
         CHARACTER_SET_CATALOG sysname; CHARACTER_SET_SCHEMA sysname; CHARACTER_SET_NAME sysname; \
         COLLATION_CATALOG sysname; COLLATION_SCHEMA sysname; COLLATION_NAME sysname; DOMAIN_CATALOG sysname; \
         DOMAIN_SCHEMA sysname; DOMAIN_NAME sysname",
    )?;
    let mut add = |schema: Option<&str>, table: &str, n: i64, column: &ColumnMeta| {
        let facts = column.facts();
        let numbers = numbers(&column.ty);
        let charset = match column.ty {
            Ty::NChar(_) | Ty::NVarChar(_) | Ty::NText => Some("UNICODE"),
            Ty::Char(_) | Ty::VarChar(_) | Ty::Text => Some("iso_1"),
            _ => None,
        };
        view.row([
            text(catalog),
            maybe_text(schema),
            text(table),
            text(&column.name),
            int(n),
            maybe_text(column.default.as_ref().map(|default| &default.definition)),
            text(if column.nullable { "YES" } else { "NO" }),
            text(facts.name),
            number(numbers.characters),
            number(numbers.octets),
            number(numbers.precision),
            number(numbers.radix),
            number(numbers.scale),
            number(numbers.fraction),
            Val::Null,
            Val::Null,
            maybe_text(charset),
            Val::Null,
            Val::Null,
            maybe_text(
                facts.character.then(|| column.collation.as_deref().unwrap_or(&meta.collation)),
            ),
            Val::Null,
            Val::Null,
            Val::Null,
        ]);
    };
    for table in &meta.tables {
        for (n, column) in (1i64..).zip(&table.columns) {
            add(Some(&table.schema), &table.name, n, column);
        }
    }
    for v in &meta.views {
        for (n, column) in (1i64..).zip(&v.columns) {
            add(meta.schema_name(v.schema_id), &v.name, n, column);
        }
    }
    Ok(view.done())
}

/// `INFORMATION_SCHEMA.TABLE_CONSTRAINTS`.
pub(crate) fn table_constraints(meta: &Meta, catalog: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "CONSTRAINT_CATALOG nvarchar(128); CONSTRAINT_SCHEMA nvarchar(128); CONSTRAINT_NAME sysname!; \
         TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME sysname; CONSTRAINT_TYPE varchar(11); \
         IS_DEFERRABLE varchar(2)!; INITIALLY_DEFERRED varchar(2)!",
    )?;
    for table in &meta.tables {
        let keys = table.indexes.iter().filter(|index| index.primary || index.constraint);
        let keys =
            keys.map(|index| (&index.name, if index.primary { "PRIMARY KEY" } else { "UNIQUE" }));
        let foreign = table.foreign_keys.iter().map(|key| (&key.name, "FOREIGN KEY"));
        let checks = table.checks.iter().map(|check| (&check.name, "CHECK"));
        for (name, kind) in keys.chain(foreign).chain(checks) {
            view.row([
                text(catalog),
                text(&table.schema),
                text(name),
                text(catalog),
                text(&table.schema),
                text(&table.name),
                text(kind),
                text("NO"),
                text("NO"),
            ]);
        }
    }
    Ok(view.done())
}

const USAGE: &str = "CONSTRAINT_CATALOG nvarchar(128); CONSTRAINT_SCHEMA nvarchar(128); CONSTRAINT_NAME nvarchar(128)!; \
    TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME nvarchar(128); COLUMN_NAME nvarchar(128)";

/// `INFORMATION_SCHEMA.KEY_COLUMN_USAGE`; `CONSTRAINT_COLUMN_USAGE` is the same without the ordinal.
pub(crate) fn key_column_usage(
    meta: &Meta,
    catalog: &str,
    ordinal: bool,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(&if ordinal {
        format!("{USAGE}; ORDINAL_POSITION int!")
    } else {
        USAGE.to_owned()
    })?;
    for table in &meta.tables {
        let keys = table.indexes.iter().filter(|index| index.primary || index.constraint);
        let keys =
            keys.map(|index| (&index.name, index.keys.iter().map(|key| key.0).collect::<Vec<_>>()));
        let foreign = table.foreign_keys.iter();
        let foreign =
            foreign.map(|key| (&key.name, key.columns.iter().map(|pair| pair.0).collect()));
        for (name, columns) in keys.chain(foreign) {
            for (n, column) in (1i64..).zip(columns) {
                let mut row = vec![
                    text(catalog),
                    text(&table.schema),
                    text(name),
                    text(catalog),
                    text(&table.schema),
                    text(&table.name),
                    maybe_text(table.column_name(column)),
                ];
                row.extend(ordinal.then(|| int(n)));
                view.push(row);
            }
        }
    }
    Ok(view.done())
}

/// `INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS`.
pub(crate) fn referential_constraints(meta: &Meta, catalog: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "CONSTRAINT_CATALOG nvarchar(128); CONSTRAINT_SCHEMA nvarchar(128); CONSTRAINT_NAME sysname!; \
         UNIQUE_CONSTRAINT_CATALOG nvarchar(128); UNIQUE_CONSTRAINT_SCHEMA nvarchar(128); UNIQUE_CONSTRAINT_NAME sysname; \
         MATCH_OPTION varchar(7); UPDATE_RULE varchar(11); DELETE_RULE varchar(11)",
    )?;
    let rule = |code| match code {
        1 => "CASCADE",
        2 => "SET NULL",
        3 => "SET DEFAULT",
        _ => "NO ACTION",
    };
    for table in &meta.tables {
        for key in &table.foreign_keys {
            let there = meta.table(key.referenced.into());
            view.row([
                text(catalog),
                text(&table.schema),
                text(&key.name),
                text(catalog),
                maybe_text(there.map(|table| &table.schema)),
                maybe_text(there.and_then(|table| table.primary_key()).map(|index| &index.name)),
                text("SIMPLE"),
                text(rule(key.on_update)),
                text(rule(key.on_delete)),
            ]);
        }
    }
    Ok(view.done())
}
