//! Rows hashed by PostgreSQL: the same bytes, hashes and sums as SQL Server makes of the same rows.

use causeway_change::{Column, ColumnType, Length, RowHash, Value};

use crate::{PostgresError, Session, identifier, rows, types};

/// How a column becomes bytes; `None` where SQL Server has no such bytes.
fn form(column: &Column) -> Result<Option<String>, PostgresError> {
    // By the source's type, as the rows are read ([`rows`]).
    let c = format!("{}::{}", identifier::quote(&column.name)?, types::base_type(column.ty));
    Ok(Some(match column.ty {
        ColumnType::Bit => format!("boolsend({c})"),
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            format!("int8send(({c})::int8)")
        }
        ColumnType::Real => format!("float4send({c})"),
        ColumnType::Float => format!("float8send({c})"),
        ColumnType::Date => format!("date_send({c})"),
        ColumnType::Time { .. } => format!("time_send({c})"),
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            format!("timestamp_send({c})")
        }
        // The cast to text takes the padding of a char(n).
        ColumnType::Decimal { .. }
        | ColumnType::Money
        | ColumnType::SmallMoney
        | ColumnType::Char(_)
        | ColumnType::NChar(_)
        | ColumnType::VarChar(Length::Of(_))
        | ColumnType::NVarChar(Length::Of(_))
        | ColumnType::UniqueIdentifier => format!("convert_to(({c})::text, 'UTF8')"),
        ColumnType::Binary(_) | ColumnType::VarBinary(Length::Of(_)) | ColumnType::RowVersion => c,
        ColumnType::DateTimeOffset { .. }
        | ColumnType::VarChar(Length::Max)
        | ColumnType::NVarChar(Length::Max)
        | ColumnType::VarBinary(Length::Max)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml
        | ColumnType::Image
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => return Ok(None),
    }))
}

/// The text of [`hash_range`].
///
/// # Errors
/// When a name cannot be written.
pub fn hash_sql(
    table: &(String, String),
    columns: &[Column],
    key: &[usize],
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<String, PostgresError> {
    let (mut forms, mut bytes) = (Vec::new(), Vec::new());
    for (i, column) in columns.iter().enumerate() {
        if let Some(form) = form(column)? {
            forms.push(format!("{form} AS c{i}"));
            bytes.push(format!(
                "CASE WHEN c{i} IS NULL THEN '\\x00'::bytea ELSE '\\x01'::bytea || int4send(octet_length(c{i})) || c{i} END"
            ));
        }
    }
    let sums: Vec<String> = [1, 9, 17, 25]
        .iter()
        .map(|at| format!("coalesce(sum(('x' || substr(h, {at}, 8))::bit(32)::int4), 0)"))
        .collect();
    // OFFSET 0 keeps the planner from computing an expression again wherever its name stands.
    Ok(format!(
        "SELECT count(*), {} FROM (SELECT encode(sha256({}), 'hex') AS h FROM (SELECT {} FROM {}{} OFFSET 0) AS q OFFSET 0) AS r",
        sums.join(", "),
        bytes.join(" || "),
        forms.join(", "),
        identifier::table(&table.0, &table.1)?,
        rows::conditions(columns, key, after, upto)?
    ))
}

/// Has the rows of a range hashed.
///
/// # Errors
/// When the table or a column is missing or may not be read, or the connection fails.
pub async fn hash_range(
    client: &Session,
    table: &(String, String),
    columns: &[Column],
    key: &[usize],
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<RowHash, PostgresError> {
    let sql = hash_sql(table, columns, key, after, upto)?;
    let row = client.query_one(&sql, &[]).await.map_err(|error| {
        PostgresError::statement(format!("hash rows of {}.{}", table.0, table.1), error)
    })?;
    let mut sums = [0; 4];
    for (column, sum) in (1..).zip(&mut sums) {
        *sum = row.get(column);
    }
    Ok(RowHash { rows: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0), sums })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_bytes_that_say_what_is_null_and_how_long_each_value_is() {
        let column =
            |name: &str, ty| Column { name: name.to_owned(), ty, nullable: true, default: None };
        let columns =
            [column("id", ColumnType::Int), column("name", ColumnType::NVarChar(Length::Of(9)))];
        let table = ("public".to_owned(), "t".to_owned());
        let sql = hash_sql(&table, &columns, &[0], Some(&[Value::I32(5)]), None).unwrap();
        assert_eq!(
            sql,
            "SELECT count(*), coalesce(sum(('x' || substr(h, 1, 8))::bit(32)::int4), 0), \
             coalesce(sum(('x' || substr(h, 9, 8))::bit(32)::int4), 0), \
             coalesce(sum(('x' || substr(h, 17, 8))::bit(32)::int4), 0), \
             coalesce(sum(('x' || substr(h, 25, 8))::bit(32)::int4), 0) FROM (SELECT encode(sha256(\
             CASE WHEN c0 IS NULL THEN '\\x00'::bytea ELSE '\\x01'::bytea || int4send(octet_length(c0)) || c0 END || \
             CASE WHEN c1 IS NULL THEN '\\x00'::bytea ELSE '\\x01'::bytea || int4send(octet_length(c1)) || c1 END\
             ), 'hex') AS h FROM (SELECT int8send((\"id\"::int4)::int8) AS c0, \
             convert_to((\"name\"::varchar)::text, 'UTF8') AS c1 FROM \"public\".\"t\" WHERE (\"id\") > ('5'::integer) \
             OFFSET 0) AS q OFFSET 0) AS r"
        );
    }
}
