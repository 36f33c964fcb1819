//! Compares a table of SQL Server with its copy in PostgreSQL by plain queries.
//!
//! The tests do not lean on `causeway-reconcile` alone: what the reconciler and the pipeline both
//! got wrong would look right. This is slower, holds both tables in memory, and shares no code with
//! either.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use tiberius::ColumnData;

use crate::{
    postgres::Client as Target,
    sql::text,
    sqlserver::{Client as Source, rows},
};

/// One column, by its name and its type's name in SQL Server.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    ty: String,
}

/// Compares `source_schema.table` with `target_schema.table`, every row and every column.
///
/// Gives the number of rows.
///
/// # Errors
/// They differ: the message has the first rows that only one side has. Or one cannot be read.
pub async fn table(
    source: &mut Source,
    target: &Target,
    source_schema: &str,
    target_schema: &str,
    table: &str,
) -> Result<usize> {
    let columns = columns(source, source_schema, table).await?;
    let mut left = read_source(source, source_schema, table, &columns).await?;
    let mut right = read_target(target, target_schema, table, &columns).await?;
    left.sort_unstable();
    right.sort_unstable();
    let count = left.len();
    if left == right {
        return Ok(count);
    }
    let mut message = format!(
        "{source_schema}.{table}: {count} rows in SQL Server, {} in PostgreSQL; columns {}",
        right.len(),
        columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    for (side, rows, others) in [("SQL Server", &left, &right), ("PostgreSQL", &right, &left)] {
        let only = rows.iter().filter(|row| others.binary_search(row).is_err()).take(5);
        for row in only {
            write!(message, "\nonly in {side}: {row:.600}").context("write a message")?;
        }
    }
    bail!(message)
}

async fn columns(source: &mut Source, schema: &str, table: &str) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = {} \
         AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
        text(schema),
        text(table)
    );
    let columns: Vec<Column> = rows(source, &sql)
        .await?
        .iter()
        .filter_map(|row| {
            let name = row.get::<&str, _>(0)?.to_owned();
            Some(Column { name, ty: row.get::<&str, _>(1)?.to_lowercase() })
        })
        .collect();
    if columns.is_empty() {
        bail!("SQL Server has no table {schema}.{table}");
    }
    Ok(columns)
}

async fn read_source(
    source: &mut Source,
    schema: &str,
    table: &str,
    columns: &[Column],
) -> Result<Vec<String>> {
    let list: Vec<String> = columns
        .iter()
        .map(|Column { name, ty }| match ty.as_str() {
            // The client reads money as a double, and does not read the CLR types at all.
            "money" | "smallmoney" => format!("CAST([{name}] AS decimal(19,4))"),
            "geometry" | "geography" | "hierarchyid" => {
                format!("CAST([{name}] AS varbinary(max))")
            }
            _ => format!("[{name}]"),
        })
        .collect();
    let sql = format!("SELECT {} FROM [{schema}].[{table}]", list.join(", "));
    let mut texts = Vec::new();
    for row in rows(source, &sql).await? {
        let mut text = String::new();
        for (value, column) in row.into_iter().zip(columns) {
            text.push_str(&written(&value, column));
            text.push('|');
        }
        texts.push(text);
    }
    Ok(texts)
}

async fn read_target(
    target: &Target,
    schema: &str,
    table: &str,
    columns: &[Column],
) -> Result<Vec<String>> {
    let list: Vec<String> = columns
        .iter()
        .map(|Column { name, ty }| {
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let expression = match ty.as_str() {
                "bit" => format!("{quoted}::int::text"),
                "real" => format!("encode(float8send({quoted}::float8), 'hex')"),
                "float" => format!("encode(float8send({quoted}), 'hex')"),
                "binary" | "varbinary" | "image" | "timestamp" | "rowversion" | "geometry"
                | "geography" | "hierarchyid" => format!("encode({quoted}, 'hex')"),
                "uniqueidentifier" => format!("upper({quoted}::text)"),
                "datetimeoffset" => format!("({quoted} AT TIME ZONE 'UTC')::text"),
                "char" | "nchar" => format!("rtrim({quoted}::text)"),
                _ => format!("{quoted}::text"),
            };
            format!("coalesce({expression}, '<NULL>') || '|'")
        })
        .collect();
    let sql = format!("SELECT {} FROM \"{schema}\".\"{table}\"", list.join(" || "));
    let rows = target
        .query(&sql, &[])
        .await
        .with_context(|| format!("read {schema}.{table} from PostgreSQL"))?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect())
}

/// A value as PostgreSQL writes it.
fn written(value: &ColumnData<'_>, column: &Column) -> String {
    let text = match value {
        ColumnData::U8(value) => value.map(|value| value.to_string()),
        ColumnData::I16(value) => value.map(|value| value.to_string()),
        ColumnData::I32(value) => value.map(|value| value.to_string()),
        ColumnData::I64(value) => value.map(|value| value.to_string()),
        ColumnData::F32(value) => value.map(|value| hex(&f64::from(value).to_be_bytes())),
        ColumnData::F64(value) => value.map(|value| hex(&value.to_be_bytes())),
        ColumnData::Bit(value) => value.map(|value| u8::from(value).to_string()),
        ColumnData::String(value) => value.as_ref().map(|value| match column.ty.as_str() {
            "char" | "nchar" => value.trim_end_matches(' ').to_owned(),
            _ => value.to_string(),
        }),
        ColumnData::Guid(value) => value.map(|value| value.to_string().to_uppercase()),
        ColumnData::Binary(value) => value.as_ref().map(|value| hex(value)),
        ColumnData::Numeric(value) => value.map(|value| decimal(value.value(), value.scale())),
        ColumnData::Xml(value) => value.as_ref().map(|value| value.to_string()),
        ColumnData::DateTime(value) => value.map(|value| {
            // A unit is 1/300 s; SQL Server shows it rounded to milliseconds.
            let millis = (u64::from(value.seconds_fragments()) * 10 + 1) / 3;
            format!("{} {}", date(i64::from(value.days()) + DAYS_TO_1900), time(millis * 1000))
        }),
        ColumnData::SmallDateTime(value) => value.map(|value| {
            let micros = u64::from(value.seconds_fragments()) * 60_000_000;
            format!("{} {}", date(i64::from(value.days()) + DAYS_TO_1900), time(micros))
        }),
        ColumnData::Date(value) => value.map(|value| date(i64::from(value.days()))),
        ColumnData::Time(value) => {
            value.map(|value| time(micros(value.increments(), value.scale())))
        }
        ColumnData::DateTime2(value) => value.map(|value| moment(&value)),
        ColumnData::DateTimeOffset(value) => value.map(|value| moment(&value.datetime2())),
    };
    text.unwrap_or_else(|| "<NULL>".to_owned())
}

/// Days from 0001-01-01 to 1900-01-01.
const DAYS_TO_1900: i64 = 693_595;

fn moment(value: &tiberius::time::DateTime2) -> String {
    let time_part = value.time();
    format!(
        "{} {}",
        date(i64::from(value.date().days())),
        time(micros(time_part.increments(), time_part.scale()))
    )
}

/// PostgreSQL keeps microseconds: the seventh digit goes.
fn micros(increments: u64, scale: u8) -> u64 {
    let power = |exponent: u8| 10_u64.pow(u32::from(exponent));
    if scale <= 6 { increments * power(6 - scale) } else { increments / power(scale - 6) }
}

fn time(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!("{:06}", micros % 1_000_000);
    match fraction.trim_end_matches('0') {
        "" => whole,
        fraction => format!("{whole}.{fraction}"),
    }
}

/// The date that many days after 0001-01-01 (proleptic Gregorian).
fn date(days: i64) -> String {
    // Count years from the 1st of March of year 0, so that the leap day is the last of a year.
    let days = days + 306;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn decimal(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_decimals_are_written_as_postgresql_writes_them() {
        assert_eq!(date(0), "0001-01-01");
        assert_eq!(date(DAYS_TO_1900), "1900-01-01");
        assert_eq!(date(3_652_058), "9999-12-31");
        assert_eq!(date(738_944), "2024-02-29");
        assert_eq!(time(micros(863_999_999_999, 7)), "23:59:59.999999");
        assert_eq!(time(micros(45_296, 0)), "12:34:56");
        assert_eq!(time(1_500_000), "00:00:01.5");
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(1234, 0), "1234");
    }
}
