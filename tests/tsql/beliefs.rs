//! The files `beliefs/*.sql`: batches, each closed by what SQL Server answers.
//!
//! `--> a|b` is a row of the answer (of all its result sets, in order), `--! 8134` the number of the error
//! that ends it, `GO` the end of the batch. A batch with neither must succeed and answer no row.

use anyhow::Result;
use causeway_tests::sqlserver::Client;
use tiberius::{ColumnData, error::Error};

/// A batch and its answer.
pub(crate) struct Belief {
    pub(crate) line: usize,
    pub(crate) sql: String,
    pub(crate) expected: Vec<String>,
}

pub(crate) fn read(text: &str) -> Vec<Belief> {
    let mut beliefs = Vec::new();
    let (mut sql, mut expected, mut first) = (String::new(), Vec::new(), 1);
    for (index, line) in text.lines().enumerate() {
        if line.trim() == "GO" {
            if !sql.trim().is_empty() {
                beliefs.push(Belief {
                    line: first,
                    sql: std::mem::take(&mut sql),
                    expected: std::mem::take(&mut expected),
                });
            }
            first = index + 2;
        } else if let Some(row) = line.strip_prefix("--> ") {
            expected.push(row.to_owned());
        } else if let Some(number) = line.strip_prefix("--! ") {
            let number = number.split(' ').next().unwrap_or_default();
            expected.push(format!("error {number}"));
            // It stays in what is sent: the check of the SQL log goes by it, see texts.py.
            sql.push_str(line);
            sql.push('\n');
        } else {
            sql.push_str(line);
            sql.push('\n');
        }
    }
    beliefs
}

/// The rows as text, or the error's number; its message too when it is the stand-in's own.
pub(crate) async fn answer(client: &mut Client, sql: &str) -> Vec<String> {
    let mut run = async || -> Result<Vec<Vec<tiberius::Row>>, Error> {
        client.simple_query(sql).await?.into_results().await
    };
    let sets = match Box::pin(run()).await {
        Ok(sets) => sets,
        Err(Error::Server(e)) if e.code() == 50_999 => {
            return vec![format!("refused: {}", e.message())];
        }
        Err(Error::Server(e)) => return vec![format!("error {}", e.code())],
        Err(e) => return vec![format!("broken: {e}")],
    };
    sets.into_iter()
        .flatten()
        .map(|row| {
            let values: Vec<String> = row.into_iter().map(|value| shown(&value)).collect();
            values.join("|")
        })
        .collect()
}

fn shown(value: &ColumnData<'_>) -> String {
    fn or_null<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(|| "NULL".to_owned(), ToString::to_string)
    }
    match value {
        ColumnData::U8(v) => or_null(v.as_ref()),
        ColumnData::I16(v) => or_null(v.as_ref()),
        ColumnData::I32(v) => or_null(v.as_ref()),
        ColumnData::I64(v) => or_null(v.as_ref()),
        ColumnData::F32(v) => or_null(v.as_ref()),
        ColumnData::F64(v) => or_null(v.as_ref()),
        ColumnData::Bit(v) => or_null(v.map(u8::from).as_ref()),
        ColumnData::String(v) => or_null(v.as_ref()),
        ColumnData::Guid(v) => or_null(v.map(|v| v.to_string().to_uppercase()).as_ref()),
        ColumnData::Numeric(v) => or_null(v.as_ref()),
        ColumnData::Binary(v) => or_null(
            v.as_ref()
                .map(|v| v.iter().fold("0x".to_owned(), |hex, byte| hex + &format!("{byte:02X}")))
                .as_ref(),
        ),
        // Their text is the client's, not the server's: a belief writes CONVERT.
        ColumnData::Xml(_)
        | ColumnData::DateTime(_)
        | ColumnData::SmallDateTime(_)
        | ColumnData::Time(_)
        | ColumnData::Date(_)
        | ColumnData::DateTime2(_)
        | ColumnData::DateTimeOffset(_) => format!("write CONVERT for {value:?}"),
    }
}
