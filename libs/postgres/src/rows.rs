//! Rows out of a table, as the values that the source's columns have.

use std::pin::Pin;

use bytes::Bytes;
use causeway_change::{Column, Row, Value, ValueRef};
use futures_util::StreamExt as _;
use tokio_postgres::CopyOutStream;

use crate::{PostgresError, Session, copy::Reader, decode, encode, identifier, literal, types};

/// The rows of a table, streamed by binary COPY.
pub struct TableRows<'a> {
    stream: Pin<Box<CopyOutStream>>,
    reader: Reader,
    columns: &'a [Column],
    table: String,
}

impl TableRows<'_> {
    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// When the connection fails, or a value is not one that the source's column could hold.
    pub async fn next_row(&mut self) -> Result<Option<Row>, PostgresError> {
        if !self.advance().await? {
            return Ok(None);
        }
        let mut row = Vec::with_capacity(self.columns.len());
        self.values(|value| row.push(value.to_value()))?;
        Ok(Some(row))
    }

    /// Goes to the next row, whose values [`Self::values`] gives; false after the last.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn advance(&mut self) -> Result<bool, PostgresError> {
        loop {
            if self.reader.advance().map_err(|why| self.wrong("(all)", why))? {
                return Ok(true);
            }
            match self.stream.next().await {
                Some(Ok(bytes)) => self.reader.feed(bytes),
                Some(Err(error)) => {
                    return Err(PostgresError::statement(format!("read {}", self.table), error));
                }
                None if self.reader.ended() => return Ok(false),
                None => return Err(self.wrong("(all)", "the stream ended before its trailer")),
            }
        }
    }

    /// Gives `each` the values of the current row where they lie, in the order of the columns.
    ///
    /// # Errors
    /// When a value is not one that the source's column could hold.
    pub fn values<'r>(&'r self, mut each: impl FnMut(ValueRef<'r>)) -> Result<(), PostgresError> {
        for (i, column) in self.columns.iter().enumerate() {
            let field = self
                .reader
                .field(i)
                .ok_or_else(|| self.wrong(&column.name, "the field is missing"))?;
            each(match field {
                None => ValueRef::Null,
                Some(bytes) => decode::value_ref(column.ty, bytes)
                    .map_err(|why| self.wrong(&column.name, why))?,
            });
        }
        Ok(())
    }

    fn wrong(&self, column: &str, why: &str) -> PostgresError {
        PostgresError::Row {
            table: self.table.clone(),
            column: column.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// `"name"::type` for each column, so that a hand-made table with a wider type is compared by the
/// source's type, and one with another kind fails by name.
fn select_list(columns: &[Column]) -> Result<String, PostgresError> {
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            Ok(format!("{}::{}", identifier::quote(&column.name)?, types::base_type(column.ty)))
        })
        .collect::<Result<_, PostgresError>>()?;
    Ok(list.join(", "))
}

/// Streams all rows, in whatever order the server likes.
///
/// # Errors
/// When the table or a column is missing or may not be read.
pub async fn stream_table<'a>(
    client: &Session,
    table: &(String, String),
    columns: &'a [Column],
) -> Result<TableRows<'a>, PostgresError> {
    let name = identifier::table(&table.0, &table.1)?;
    let sql =
        format!("COPY (SELECT {} FROM {name}) TO STDOUT (FORMAT binary)", select_list(columns)?);
    let doing = format!("read {}.{}", table.0, table.1);
    let stream = client.copy_out(&sql).await.map_err(|e| PostgresError::statement(&doing, e))?;
    Ok(TableRows {
        stream: Box::pin(stream),
        reader: Reader::default(),
        columns,
        table: format!("{}.{}", table.0, table.1),
    })
}

/// Streams the rows whose key is greater than `after` and not greater than `upto`, in whatever order the
/// server likes; `None` is no bound. `key` are the indexes of the key's columns.
///
/// A bound must be of types whose order PostgreSQL and the source share: whole numbers, decimals, dates
/// and times without zone.
///
/// # Errors
/// As [`stream_table`].
pub async fn stream_range<'a>(
    client: &Session,
    table: &(String, String),
    columns: &'a [Column],
    key: &[usize],
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<TableRows<'a>, PostgresError> {
    let sql = range_sql(table, columns, key, after, upto)?;
    let shown = format!("{}.{}", table.0, table.1);
    let stream = client
        .copy_out(&format!("COPY ({sql}) TO STDOUT (FORMAT binary)"))
        .await
        .map_err(|e| PostgresError::statement(format!("read {shown}"), e))?;
    Ok(TableRows { stream: Box::pin(stream), reader: Reader::default(), columns, table: shown })
}

/// The text of [`stream_range`]. COPY takes no parameters, so the bounds stand in it as literals.
///
/// # Errors
/// When a name cannot be written.
pub fn range_sql(
    table: &(String, String),
    columns: &[Column],
    key: &[usize],
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<String, PostgresError> {
    let name = identifier::table(&table.0, &table.1)?;
    let filter = conditions(columns, key, after, upto)?;
    Ok(format!("SELECT {} FROM {name}{filter}", select_list(columns)?))
}

/// ` WHERE` and the bounds of a range, or nothing.
pub(crate) fn conditions(
    columns: &[Column],
    key: &[usize],
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<String, PostgresError> {
    let key: Vec<&Column> = key.iter().filter_map(|&i| columns.get(i)).collect();
    let names: Vec<String> =
        key.iter().map(|column| identifier::quote(&column.name)).collect::<Result<_, _>>()?;
    let mut conditions = Vec::new();
    for (bound, compare) in [(after, ">"), (upto, "<=")] {
        if let Some(values) = bound {
            let literals: Vec<String> = key
                .iter()
                .zip(values)
                .map(|(column, value)| literal::literal(column.ty, value))
                .collect();
            conditions.push(format!("({}) {compare} ({})", names.join(", "), literals.join(", ")));
        }
    }
    Ok(if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    })
}

/// The number of rows of a table.
///
/// # Errors
/// When the table is missing or may not be read.
pub async fn count(client: &Session, table: &(String, String)) -> Result<u64, PostgresError> {
    let name = identifier::table(&table.0, &table.1)?;
    let row = client
        .query_one(&format!("SELECT count(*) FROM {name}"), &[])
        .await
        .map_err(|e| PostgresError::statement(format!("count {}.{}", table.0, table.1), e))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

/// Reads the rows of the given keys, in no particular order; keys without a row are missing.
///
/// `key` are the indexes of the key's columns, each of `keys` has their values in that order.
///
/// # Errors
/// As [`stream_table`], and when a key cannot be written in PostgreSQL.
pub async fn select_by_keys(
    client: &Session,
    table: &(String, String),
    columns: &[Column],
    key: &[usize],
    keys: &[Row],
) -> Result<Vec<Row>, PostgresError> {
    let mut rows = Vec::with_capacity(keys.len());
    let key: Vec<&Column> = key.iter().filter_map(|&i| columns.get(i)).collect();
    if key.is_empty() || keys.is_empty() {
        return Ok(rows);
    }
    let name = identifier::table(&table.0, &table.1)?;
    let shown = format!("{}.{}", table.0, table.1);
    let doing = format!("read rows of {shown} by key");
    let failed = |e| PostgresError::statement(&doing, e);
    // The keys travel by COPY into a temporary table: no limit on their number, and their binary form
    // is the one that the rows were written with.
    let shape: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(i, column)| format!("k{i} {}", types::sql_type(column.ty)))
        .collect();
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS pg_temp.causeway_keys; CREATE TEMP TABLE causeway_keys ({})",
            shape.join(", ")
        ))
        .await
        .map_err(failed)?;
    let mut copy = crate::copy::Rows::default();
    for values in keys {
        let out = copy.begin(key.len());
        for (column, value) in key.iter().zip(values) {
            encode::field(column, value, out).map_err(|error| PostgresError::Row {
                table: shown.clone(),
                column: error.column,
                why: error.why,
            })?;
        }
    }
    let sink = client
        .copy_in::<_, Bytes>("COPY pg_temp.causeway_keys FROM STDIN (FORMAT binary)")
        .await
        .map_err(failed)?;
    let mut sink = Box::pin(sink);
    futures_util::SinkExt::send(&mut sink, copy.finish()).await.map_err(failed)?;
    sink.as_mut().finish().await.map_err(failed)?;
    let join: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(i, column)| Ok(format!("t.{} = k.k{i}", identifier::quote(&column.name)?)))
        .collect::<Result<_, PostgresError>>()?;
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            Ok(format!("t.{}::{}", identifier::quote(&column.name)?, types::base_type(column.ty)))
        })
        .collect::<Result<_, PostgresError>>()?;
    let sql = format!(
        "COPY (SELECT {} FROM pg_temp.causeway_keys k JOIN {name} t ON {}) TO STDOUT (FORMAT binary)",
        list.join(", "),
        join.join(" AND ")
    );
    let stream = client.copy_out(&sql).await.map_err(failed)?;
    let mut found =
        TableRows { stream: Box::pin(stream), reader: Reader::default(), columns, table: shown };
    while let Some(row) = found.next_row().await? {
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::ColumnType;

    #[test]
    fn a_range_is_a_comparison_of_rows() {
        let column =
            |name: &str, ty| Column { name: name.to_owned(), ty, nullable: false, default: None };
        let columns = [column("a", ColumnType::Int), column("b", ColumnType::Date)];
        let table = ("public".to_owned(), "t".to_owned());
        let (low, high) = ([Value::I32(1), Value::Date(0)], [Value::I32(9), Value::Date(1)]);
        let sql = range_sql(&table, &columns, &[0, 1], Some(&low), Some(&high)).unwrap();
        assert_eq!(
            sql,
            "SELECT \"a\"::int4, \"b\"::date FROM \"public\".\"t\" WHERE \
             (\"a\", \"b\") > ('1'::integer, '1970-01-01'::date) AND \
             (\"a\", \"b\") <= ('9'::integer, '1970-01-02'::date)"
        );
        let all = range_sql(&table, &columns, &[0], None, None).unwrap();
        assert!(all.ends_with("FROM \"public\".\"t\""), "{all}");
    }
}
