//! Rows of a table: a key range in key order, or the rows of given keys.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use causeway_change::{Row, Value, ValueRef};
use futures_util::{Stream, StreamExt};

use crate::{
    Client, ColumnRead, Query, Record, SourceTable, SqlServerError,
    client::Records,
    identifier::{quote, table},
    queries, types, value,
};

/// SQL Server takes at most 2100 parameters; a few are left for the protocol's own.
const PARAMETERS_MAX: usize = 2_000;

/// Rows whose key is greater than `after` and not greater than `upto`; `None` is no bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRange {
    /// Exclusive lower bound: one value for each key column.
    pub after: Option<Vec<Value>>,
    /// Inclusive upper bound: one value for each key column.
    pub upto: Option<Vec<Value>>,
}

/// Which rows of a table are read, and in which order.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Columns by which the rows are ordered and bounded, as indexes into [`SourceTable::columns`]. Together
    /// they must be unique and never NULL.
    pub order: &'a [usize],
    /// The bounds, a value for each column of `order`.
    pub range: &'a KeyRange,
    /// A condition in T-SQL that an operator wrote; the caller has made sure that it is one expression.
    pub filter: Option<&'a str>,
}

impl<'a> Slice<'a> {
    pub(crate) fn reads(&self, source: &'a SourceTable) -> Vec<&'a ColumnRead> {
        self.order.iter().filter_map(|&i| source.columns.get(i)).collect()
    }
}

/// The rows of an answer, in the pipeline's words.
#[derive(Debug)]
pub struct TableRows<'a> {
    records: Records<'a>,
    source: &'a SourceTable,
}

impl TableRows<'_> {
    /// The next row; `None` after the last. Cancel safe.
    pub async fn next_row(&mut self) -> Result<Option<Row>, SqlServerError> {
        self.next().await.transpose()
    }

    /// The next row where the driver keeps it; `None` after the last. Cancel safe.
    pub async fn next_record(&mut self) -> Result<Option<Record>, SqlServerError> {
        self.records.next().await.transpose()
    }

    /// Gives `each` the values of a row in the order of the columns.
    ///
    /// # Errors
    /// When a value is not one of its column.
    pub fn values<'r>(
        &self,
        record: &'r Record,
        mut each: impl FnMut(ValueRef<'r>),
    ) -> Result<(), SqlServerError> {
        let cells = record.row.cells();
        // Who measures values takes rows by `next_row`.
        check_width(record.row.len(), self.source.columns.len(), self.source)?;
        for ((_, data), column) in cells.zip(&self.source.columns) {
            let value = value::value_ref(data, &column.ty, &column.name)
                .map_err(|error| in_table(error, self.source))?;
            each(value);
        }
        Ok(())
    }
}

impl Stream for TableRows<'_> {
    type Item = Result<Row, SqlServerError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        Pin::new(&mut this.records)
            .poll_next(cx)
            .map(|item| item.map(|record| record.and_then(|record| decode(record, this.source))))
    }
}

/// A record that was selected by the table's own select list.
fn decode(record: Record, source: &SourceTable) -> Result<Row, SqlServerError> {
    decode_values(record.into_values(), source)
}

pub(crate) fn decode_values(
    values: impl ExactSizeIterator<Item = tiberius::ColumnData<'static>>,
    source: &SourceTable,
) -> Result<Row, SqlServerError> {
    check_width(values.len(), source.columns.len() + source.measured().count(), source)?;
    let mut values = values;
    let mut row = Row::with_capacity(source.columns.len());
    for (column, data) in source.columns.iter().zip(values.by_ref()) {
        let value = value::from_wire(data, &column.ty, &column.name);
        row.push(value.map_err(|error| in_table(error, source))?);
    }
    put_sizes(&mut row, values, source);
    Ok(row)
}

/// Puts the sizes of what was too large to be read where NULL stands for it.
pub(crate) fn put_sizes(
    row: &mut Row,
    sizes: impl Iterator<Item = tiberius::ColumnData<'static>>,
    source: &SourceTable,
) {
    for (i, size) in source.measured().zip(sizes) {
        if let tiberius::ColumnData::I64(Some(size)) = size
            && let Some(value) = row.get_mut(i)
        {
            *value = Value::TooLarge(u64::try_from(size).unwrap_or(u64::MAX));
        }
    }
}

fn check_width(width: usize, expected: usize, source: &SourceTable) -> Result<(), SqlServerError> {
    if width == expected {
        return Ok(());
    }
    Err(SqlServerError::Catalog(format!(
        "a row of {} has {width} columns, {expected} were expected",
        source.id()
    )))
}

/// Names the table too.
pub(crate) fn in_table(error: SqlServerError, source: &SourceTable) -> SqlServerError {
    if let SqlServerError::Value { column, sent, expected } = error {
        SqlServerError::Value { column: format!("{}.{column}", source.id()), sent, expected }
    } else {
        error
    }
}

/// Asks for the rows of a key range in key order, at most `limit` of them.
///
/// Dropping the stream before its end closes the connection.
pub async fn stream_table<'a>(
    client: &'a mut Client,
    source: &'a SourceTable,
    range: &KeyRange,
    limit: Option<u64>,
) -> Result<TableRows<'a>, SqlServerError> {
    let query = range_query(source, range, limit);
    let records = client.stream(&query).await?;
    Ok(TableRows { records, source })
}

/// Asks for the rows of a slice in its order, at most `limit` of them.
///
/// Dropping the stream before its end closes the connection.
pub async fn stream_slice<'a>(
    client: &'a mut Client,
    source: &'a SourceTable,
    slice: Slice<'_>,
    limit: Option<u64>,
) -> Result<TableRows<'a>, SqlServerError> {
    let query = slice_query(source, slice, limit);
    let records = client.stream(&query).await?;
    Ok(TableRows { records, source })
}

/// The order columns' values of the row that has `rows` rows of the slice before it; none when there are
/// not so many. The server walks an index and compares in its own order.
pub async fn boundary(
    client: &mut Client,
    source: &SourceTable,
    slice: Slice<'_>,
    rows: u64,
) -> Result<Option<Vec<Value>>, SqlServerError> {
    let query = boundary_query(source, slice, rows);
    let Some(record) = client.one(&query).await? else { return Ok(None) };
    let reads = slice.reads(source);
    record
        .into_values()
        .zip(reads)
        .map(|(data, column)| {
            value::from_wire(data, &column.ty, &column.name)
                .map_err(|error| in_table(error, source))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

/// Reads the rows of the given keys, in no particular order; keys without a row are missing.
pub async fn select_by_keys(
    client: &mut Client,
    source: &SourceTable,
    keys: &[Vec<Value>],
) -> Result<Vec<Row>, SqlServerError> {
    let per_key = source.table.key.len().max(1);
    let mut rows = Vec::with_capacity(keys.len());
    for keys in keys.chunks((PARAMETERS_MAX / per_key).clamp(1, 500)) {
        let query = keys_query(source, keys);
        for record in client.all(&query).await? {
            rows.push(decode(record, source)?);
        }
    }
    Ok(rows)
}

/// The first key of a table in key order; `None` of an empty table.
pub async fn first_key(
    client: &mut Client,
    source: &SourceTable,
) -> Result<Option<Vec<Value>>, SqlServerError> {
    key_of(client, source, &outer_key_query(source, "")).await
}

/// The last key of a table in key order; `None` of an empty table.
pub async fn last_key(
    client: &mut Client,
    source: &SourceTable,
) -> Result<Option<Vec<Value>>, SqlServerError> {
    key_of(client, source, &outer_key_query(source, " DESC")).await
}

/// The text of [`first_key`] and [`last_key`]: a seek to one end of the index.
#[must_use]
fn outer_key_query(source: &SourceTable, direction: &str) -> Query {
    let keys: Vec<&ColumnRead> = source.key_reads().collect();
    let selected: Vec<String> =
        keys.iter().map(|k| types::select_expression(&k.name, &k.ty)).collect();
    let order: Vec<String> =
        keys.iter().map(|k| format!("{}{direction}", quote(&k.name))).collect();
    Query::new(
        format!("find the ends of {}", source.id()),
        format!(
            "SELECT TOP (1) {} FROM {} ORDER BY {}",
            selected.join(", "),
            table(source.id()),
            order.join(", ")
        ),
    )
}

/// The last key of the next `rows` rows in key order after a key: where a chunk ends. `None` when there
/// are no more rows.
pub async fn chunk_end(
    client: &mut Client,
    source: &SourceTable,
    after: Option<&[Value]>,
    rows: u64,
) -> Result<Option<Vec<Value>>, SqlServerError> {
    key_of(client, source, &chunk_end_query(source, after, rows)).await
}

async fn key_of(
    client: &mut Client,
    source: &SourceTable,
    query: &Query,
) -> Result<Option<Vec<Value>>, SqlServerError> {
    let Some(record) = client.one(query).await? else { return Ok(None) };
    let key = record
        .into_values()
        .zip(source.key_reads())
        .map(|(data, column)| {
            value::from_wire(data, &column.ty, &column.name)
                .map_err(|error| in_table(error, source))
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(key))
}

/// The text of [`chunk_end`].
#[must_use]
pub fn chunk_end_query(source: &SourceTable, after: Option<&[Value]>, rows: u64) -> Query {
    let keys: Vec<&ColumnRead> = source.key_reads().collect();
    let mut query = Query::new(format!("find the end of a chunk of {}", source.id()), "");
    let filter = after.map_or_else(String::new, |after| {
        let parameters = parameters(&mut query, &keys, after);
        format!(" WHERE {}", beyond(&keys, &parameters, ">", ">"))
    });
    let selected: Vec<String> =
        keys.iter().map(|k| types::select_expression(&k.name, &k.ty)).collect();
    let names: Vec<String> = keys.iter().map(|k| quote(&k.name)).collect();
    let down: Vec<String> = names.iter().map(|name| format!("{name} DESC")).collect();
    query.text = format!(
        "SELECT TOP (1) {} FROM (SELECT TOP ({rows}) {} FROM {}{filter} ORDER BY {}) AS c ORDER BY {}",
        names.join(", "),
        selected.join(", "),
        table(source.id()),
        names.join(", "),
        down.join(", ")
    );
    query
}

/// The text of [`stream_table`].
#[must_use]
pub fn range_query(source: &SourceTable, range: &KeyRange, limit: Option<u64>) -> Query {
    let slice = Slice { order: &source.table.key, range, filter: None };
    slice_query(source, slice, limit)
}

/// The text of [`stream_slice`].
#[must_use]
pub fn slice_query(source: &SourceTable, slice: Slice<'_>, limit: Option<u64>) -> Query {
    let keys = slice.reads(source);
    let mut query = Query::new(format!("read {}", source.id()), String::new());
    let filter = conditions(&mut query, &keys, slice);
    let top = limit.map_or_else(String::new, |n| format!("TOP ({n}) "));
    let order = order_by(&keys);
    query.text = format!(
        "SELECT {top}{} FROM {}{filter}{order}",
        queries::select_list(&source.columns),
        table(source.id())
    );
    query
}

/// The text of [`boundary`].
#[must_use]
pub fn boundary_query(source: &SourceTable, slice: Slice<'_>, rows: u64) -> Query {
    let keys = slice.reads(source);
    let mut query = Query::new(format!("divide {}", source.id()), String::new());
    let filter = conditions(&mut query, &keys, slice);
    let columns: Vec<String> =
        keys.iter().map(|k| types::select_expression(&k.name, &k.ty)).collect();
    query.text = format!(
        "SELECT {} FROM {}{filter}{} OFFSET {rows} ROWS FETCH NEXT 1 ROWS ONLY",
        columns.join(", "),
        table(source.id()),
        order_by(&keys)
    );
    query
}

pub(crate) fn conditions(query: &mut Query, keys: &[&ColumnRead], slice: Slice<'_>) -> String {
    let mut conditions = Vec::new();
    if let Some(after) = &slice.range.after {
        let parameters = parameters(query, keys, after);
        conditions.push(beyond(keys, &parameters, ">", ">"));
    }
    if let Some(upto) = &slice.range.upto {
        let parameters = parameters(query, keys, upto);
        conditions.push(beyond(keys, &parameters, "<", "<="));
    }
    if let Some(filter) = slice.filter {
        conditions.push(format!("({filter})"));
    }
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

fn order_by(keys: &[&ColumnRead]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    // By the table's name: the select list has casts under the columns' own names.
    let columns: Vec<String> = keys.iter().map(|k| quote(&k.name)).collect();
    format!(" ORDER BY {}", columns.join(", "))
}

/// The text of [`select_by_keys`].
#[must_use]
pub fn keys_query(source: &SourceTable, keys: &[Vec<Value>]) -> Query {
    let columns: Vec<&ColumnRead> = source.key_reads().collect();
    let mut query = Query::new(format!("read rows of {} by key", source.id()), String::new());
    let mut conditions = Vec::new();
    for key in keys {
        let parameters = parameters(&mut query, &columns, key);
        let equal: Vec<String> = columns
            .iter()
            .zip(&parameters)
            .map(|(column, parameter)| format!("{} = {parameter}", quote(&column.name)))
            .collect();
        conditions.push(format!("({})", equal.join(" AND ")));
    }
    query.text = format!(
        "SELECT {} FROM {} WHERE {}",
        queries::select_list(&source.columns),
        table(source.id()),
        conditions.join(" OR ")
    );
    query
}

/// Binds the values and gives the expressions that stand for them.
fn parameters(query: &mut Query, keys: &[&ColumnRead], values: &[Value]) -> Vec<String> {
    keys.iter()
        .zip(values)
        .map(|(column, v)| {
            query.params.push(value::to_param(v, &column.ty));
            types::key_parameter(query.params.len(), &column.ty, column.collation.as_deref())
        })
        .collect()
}

/// `key > (a, b, c)` for a server without row values:
/// `(k1 > a OR (k1 = a AND (k2 > b OR (k2 = b AND k3 > c))))`, the last comparison by `last`. In front
/// stands `k1 >= a`, which is what the index can seek by.
fn beyond(keys: &[&ColumnRead], parameters: &[String], compare: &str, last: &str) -> String {
    let mut condition = String::new();
    for (i, (column, parameter)) in keys.iter().zip(parameters).enumerate().rev() {
        let name = quote(&column.name);
        condition = if i + 1 == keys.len() {
            format!("{name} {last} {parameter}")
        } else {
            format!("({name} {compare} {parameter} OR ({name} = {parameter} AND {condition}))")
        };
    }
    match (keys.first(), parameters.first()) {
        (Some(first), Some(parameter)) if keys.len() > 1 => {
            format!("{} {compare}= {parameter} AND {condition}", quote(&first.name))
        }
        _ => condition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::orders;

    #[test]
    fn a_range_is_a_typed_seek_in_key_order() {
        let source = orders().source;
        let range = KeyRange {
            after: Some(vec![Value::Decimal(12_345), Value::I32(7)]),
            upto: Some(vec![Value::Decimal(20_000), Value::I32(1)]),
        };
        let query = range_query(&source, &range, Some(100));
        assert_eq!(
            query.text,
            "SELECT TOP (100) [id], CAST([name] AS nvarchar(20)) AS [name], \
             CAST([total] AS decimal(19,4)) AS [total], [code] FROM [dbo].[orders] WHERE \
             [total] >= CAST(@P1 AS money) AND ([total] > CAST(@P1 AS money) OR \
             ([total] = CAST(@P1 AS money) AND [id] > CAST(@P2 AS int))) AND \
             [total] <= CAST(@P3 AS money) AND ([total] < CAST(@P3 AS money) OR \
             ([total] = CAST(@P3 AS money) AND [id] <= CAST(@P4 AS int))) \
             ORDER BY [total], [id]"
        );
        assert_eq!(query.params.len(), 4);
        let all = range_query(&source, &KeyRange::default(), None).text;
        assert!(all.ends_with("FROM [dbo].[orders] ORDER BY [total], [id]"), "{all}");
    }

    #[test]
    fn a_chunk_ends_at_a_key_of_the_index() {
        let source = orders().source;
        let query = chunk_end_query(&source, None, 50);
        assert_eq!(
            query.text,
            "SELECT TOP (1) [total], [id] FROM (SELECT TOP (50) CAST([total] AS decimal(19,4)) AS [total], \
             [id] FROM [dbo].[orders] ORDER BY [total], [id]) AS c ORDER BY [total] DESC, [id] DESC"
        );
        let after = [Value::Decimal(1), Value::I32(2)];
        let query = chunk_end_query(&source, Some(&after), 50);
        assert!(query.text.contains("WHERE [total] >= CAST(@P1 AS money) AND"), "{}", query.text);
    }

    #[test]
    fn the_ends_of_a_table_are_found_by_its_index() {
        let source = orders().source;
        assert_eq!(
            outer_key_query(&source, " DESC").text,
            "SELECT TOP (1) CAST([total] AS decimal(19,4)) AS [total], [id] FROM [dbo].[orders] \
             ORDER BY [total] DESC, [id] DESC"
        );
    }

    #[test]
    fn a_slice_may_have_another_order_and_a_condition() {
        let source = orders().source;
        let range = KeyRange { after: Some(vec![Value::I32(7)]), upto: None };
        let slice = Slice { order: &[0], range: &range, filter: Some("[code] > 5 OR 1 = 1") };
        let text = slice_query(&source, slice, None).text;
        assert!(
            text.ends_with(
                " WHERE [id] > CAST(@P1 AS int) AND ([code] > 5 OR 1 = 1) ORDER BY [id]"
            ),
            "{text}"
        );
        let query = boundary_query(
            &source,
            Slice { order: &[2, 0], range: &KeyRange::default(), filter: None },
            500,
        );
        assert_eq!(
            query.text,
            "SELECT CAST([total] AS decimal(19,4)) AS [total], [id] FROM [dbo].[orders] ORDER BY [total], [id] \
             OFFSET 500 ROWS FETCH NEXT 1 ROWS ONLY"
        );
    }

    #[test]
    fn keys_are_asked_for_one_by_one() {
        let source = orders().source;
        let keys = [vec![Value::Decimal(1), Value::I32(1)], vec![Value::Decimal(2), Value::I32(2)]];
        let query = keys_query(&source, &keys);
        assert!(query.text.ends_with(
            "WHERE ([total] = CAST(@P1 AS money) AND [id] = CAST(@P2 AS int)) OR \
             ([total] = CAST(@P3 AS money) AND [id] = CAST(@P4 AS int))"
        ));
    }
}
