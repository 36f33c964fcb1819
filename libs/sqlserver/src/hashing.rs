//! Rows hashed by SQL Server: the number of rows of a key range and sums of their hashes, the same for the same rows in any
//! order.
//!
//! Each column becomes bytes, NULL becomes `0x00` and a value `0x01`, its length and its bytes, so the bytes of two
//! different rows are never the same; a row's hash is SHA-256 of them, of which the first 128 bits count, as four
//! numbers that are summed each by itself. PostgreSQL does the same with the same bytes. Where the two would not agree
//! on the bytes of equal values, the sums differ, which is never believed on its own: the rows are read then.
//!
//! <https://learn.microsoft.com/sql/t-sql/functions/hashbytes-transact-sql>,
//! <https://learn.microsoft.com/sql/t-sql/functions/datediff-big-transact-sql>,
//! <https://learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support#utf8>

use causeway_change::{ColumnType, Length, RowHash};

use crate::{
    Client, KeyRange, Query, SourceTable, SqlServerError,
    identifier::{quote, table},
    rows::{self, Slice},
};

/// Bytes that an expression of T-SQL can hold outside of a `max` type; more is cut off without a word.
const BYTES_MAX: usize = 8000;

/// The first version that has collations in UTF-8: SQL Server 2019.
const UTF8_SINCE: u32 = 15;
/// The first version with `DATEDIFF_BIG` and without a limit of what is hashed: SQL Server 2016.
const SINCE: u32 = 13;

/// Why SQL Server cannot hash the rows of a table; `None` when it can. `version` is its major version, 16 for SQL
/// Server 2022; that of Azure SQL Database is not to be compared, so give the newest.
#[must_use]
pub fn obstacle(source: &SourceTable, version: u32) -> Option<String> {
    if version < SINCE {
        return Some(format!("SQL Server {version} cannot hash rows; {SINCE} (2016) can"));
    }
    let mut whole = 0;
    for column in &source.columns {
        match form(&column.name, &column.ty) {
            None => {
                return Some(format!(
                    "column {} is {}: its bytes are not the same on both servers",
                    column.name, column.ty
                ));
            }
            Some(Form { text: true, .. }) if version < UTF8_SINCE => {
                return Some(format!(
                    "column {} is {}: SQL Server {version} cannot make UTF-8 of it; {UTF8_SINCE} (2019) can",
                    column.name, column.ty
                ));
            }
            // One byte says whether it is NULL, four its length.
            Some(Form { bytes, .. }) => whole += 5 + bytes,
        }
    }
    (whole > BYTES_MAX).then(|| {
        format!("a row can have {whole} bytes, and more than {BYTES_MAX} cannot be hashed at once")
    })
}

/// How a column becomes bytes.
struct Form {
    expression: String,
    /// At most so many.
    bytes: usize,
    /// Whether UTF-8 is made of it.
    text: bool,
}

fn form(name: &str, ty: &ColumnType) -> Option<Form> {
    let c = quote(name);
    let bytes = |expression: String, bytes: usize| Some(Form { expression, bytes, text: false });
    let text = |unicode: String, units: u16| {
        // A unit of UTF-16 is at most three bytes of UTF-8. The collation must stand inside of the CAST, or the text
        // has gone through the database's code page before.
        let bytes = usize::from(units) * 3;
        (bytes <= BYTES_MAX).then(|| Form {
            expression: format!(
                "CAST(CAST({unicode} COLLATE Latin1_General_100_BIN2_UTF8 AS varchar({bytes})) AS varbinary({bytes}))"
            ),
            bytes,
            text: true,
        })
    };
    let micros = |from: &str, value: &str| {
        bytes(format!("CAST(DATEDIFF_BIG(microsecond, {from}, {value}) AS binary(8))"), 8)
    };
    let epoch = "CAST('2000-01-01T00:00:00' AS datetime2(7))";
    match ty {
        ColumnType::Bit => bytes(format!("CAST({c} AS binary(1))"), 1),
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            bytes(format!("CAST(CAST({c} AS bigint) AS binary(8))"), 8)
        }
        ColumnType::Real => bytes(format!("CAST({c} AS binary(4))"), 4),
        ColumnType::Float => bytes(format!("CAST({c} AS binary(8))"), 8),
        // Both servers write all digits behind the point.
        ColumnType::Decimal { .. } => {
            bytes(format!("CAST(CONVERT(varchar(41), {c}) AS varbinary(41))"), 41)
        }
        ColumnType::Money | ColumnType::SmallMoney => bytes(
            format!("CAST(CONVERT(varchar(41), CAST({c} AS decimal(19,4))) AS varbinary(41))"),
            41,
        ),
        ColumnType::Date => {
            bytes(format!("CAST(DATEDIFF(day, CAST('20000101' AS date), {c}) AS binary(4))"), 4)
        }
        ColumnType::Time { .. } => micros("CAST('00:00:00' AS time(7))", &c),
        // Of the thirds of a millisecond the source makes milliseconds.
        ColumnType::DateTime => micros(epoch, &format!("CAST({c} AS datetime2(3))")),
        ColumnType::SmallDateTime => micros(epoch, &format!("CAST({c} AS datetime2(0))")),
        // The boundaries between microseconds are counted: finer times are floored, as the source does.
        ColumnType::DateTime2 { .. } => micros(epoch, &c),
        ColumnType::Char(n) => text(format!("RTRIM(CAST({c} AS nvarchar({n})))"), *n),
        ColumnType::NChar(n) => text(format!("RTRIM({c})"), *n),
        ColumnType::VarChar(Length::Of(n)) => text(format!("CAST({c} AS nvarchar({n}))"), *n),
        ColumnType::NVarChar(Length::Of(n)) => text(c, *n),
        ColumnType::UniqueIdentifier => {
            bytes(format!("CAST(LOWER(CONVERT(char(36), {c})) AS varbinary(36))"), 36)
        }
        ColumnType::Binary(n) | ColumnType::VarBinary(Length::Of(n)) => {
            bytes(format!("CAST({c} AS varbinary({n}))"), usize::from(*n))
        }
        ColumnType::RowVersion => bytes(format!("CAST({c} AS varbinary(8))"), 8),
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
        | ColumnType::HierarchyId => None,
    }
}

/// The text of [`hash_range`]; only of a table without [`obstacle`].
#[must_use]
pub fn hash_query(source: &SourceTable, range: &KeyRange) -> Query {
    let mut query = Query::new(format!("hash rows of {}", source.id()), String::new());
    let slice = Slice { order: &source.table.key, range, filter: None };
    let filter = rows::conditions(&mut query, &slice.reads(source), slice);
    let (mut columns, mut bytes) = (Vec::new(), Vec::new());
    for (i, column) in source.columns.iter().enumerate() {
        if let Some(form) = form(&column.name, &column.ty) {
            columns.push(format!("{} AS c{i}", form.expression));
            bytes.push(format!(
                "CASE WHEN c{i} IS NULL THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(c{i}) AS binary(4)) + c{i} END"
            ));
        }
    }
    let sums: Vec<String> = [1, 5, 9, 13]
        .iter()
        .map(|at| format!("SUM(CAST(CAST(SUBSTRING(h, {at}, 4) AS int) AS bigint))"))
        .collect();
    query.text = format!(
        "SELECT COUNT_BIG(*), {} FROM (SELECT HASHBYTES('SHA2_256', {}) AS h FROM (SELECT {} FROM {}{filter}) AS q) AS r",
        sums.join(", "),
        bytes.join(" + "),
        columns.join(", "),
        table(source.id())
    );
    query
}

/// Has the rows of a range hashed.
///
/// # Errors
/// When the server does not answer.
pub async fn hash_range(
    client: &mut Client,
    source: &SourceTable,
    range: &KeyRange,
) -> Result<RowHash, SqlServerError> {
    let query = hash_query(source, range);
    let record = client.one(&query).await?.ok_or_else(|| {
        SqlServerError::Catalog(format!("sums of {} have no answer", source.id()))
    })?;
    let mut sums = [0; 4];
    for (column, sum) in (1..).zip(&mut sums) {
        // No rows have no sum.
        *sum = record.number(column)?.unwrap_or(0);
    }
    let rows = u64::try_from(record.required_number(0)?).unwrap_or(0);
    Ok(RowHash { rows, sums })
}

#[cfg(test)]
mod tests {
    use causeway_change::Value;

    use super::*;
    use crate::catalog::tests::orders;

    #[test]
    fn a_row_becomes_bytes_that_say_what_is_null_and_how_long_each_value_is() {
        let source = orders().source;
        let range =
            KeyRange { after: Some(vec![Value::Decimal(12_345), Value::I32(7)]), upto: None };
        let query = hash_query(&source, &range);
        assert_eq!(
            query.text,
            "SELECT COUNT_BIG(*), SUM(CAST(CAST(SUBSTRING(h, 1, 4) AS int) AS bigint)), \
             SUM(CAST(CAST(SUBSTRING(h, 5, 4) AS int) AS bigint)), \
             SUM(CAST(CAST(SUBSTRING(h, 9, 4) AS int) AS bigint)), \
             SUM(CAST(CAST(SUBSTRING(h, 13, 4) AS int) AS bigint)) FROM (SELECT HASHBYTES('SHA2_256', \
             CASE WHEN c0 IS NULL THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(c0) AS binary(4)) + c0 END + \
             CASE WHEN c1 IS NULL THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(c1) AS binary(4)) + c1 END + \
             CASE WHEN c2 IS NULL THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(c2) AS binary(4)) + c2 END + \
             CASE WHEN c3 IS NULL THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(c3) AS binary(4)) + c3 END) AS h FROM (SELECT \
             CAST(CAST([id] AS bigint) AS binary(8)) AS c0, \
             CAST(CAST(CAST([name] AS nvarchar(20)) COLLATE Latin1_General_100_BIN2_UTF8 AS varchar(60)) AS varbinary(60)) AS c1, \
             CAST(CONVERT(varchar(41), CAST([total] AS decimal(19,4))) AS varbinary(41)) AS c2, \
             CAST(CAST([code] AS bigint) AS binary(8)) AS c3 FROM [dbo].[orders] WHERE [total] >= CAST(@P1 AS money) AND \
             ([total] > CAST(@P1 AS money) OR ([total] = CAST(@P1 AS money) AND [id] > CAST(@P2 AS int)))) AS q) AS r"
        );
        assert_eq!(query.params.len(), 2);
    }

    #[test]
    fn what_cannot_be_hashed_says_why() {
        let mut source = orders().source;
        assert_eq!(obstacle(&source, 15), None);
        let old = obstacle(&source, 14).unwrap();
        assert!(old.contains("column name is varchar(20)") && old.contains("2019"), "{old}");
        assert!(obstacle(&source, 12).unwrap().contains("2016"));
        source.columns[1].ty = ColumnType::NVarChar(Length::Of(2660));
        assert!(obstacle(&source, 15).unwrap().contains("more than 8000"));
        source.columns[1].ty = ColumnType::NVarChar(Length::Max);
        assert!(obstacle(&source, 15).unwrap().contains("column name is nvarchar(max)"));
    }
}
