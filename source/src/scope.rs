//! Pure: which rows a copy reads, and in which order.

use causeway_change::Value;
use causeway_sqlserver::SourceTable;
use serde_json::Value as Json;

use crate::keys;

/// What a copy of a table reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Columns by which the rows are ordered, as indexes: the key, or a surrogate and then the key.
    pub order: Vec<usize>,
    /// A condition in T-SQL.
    pub filter: Option<String>,
    /// Only the rows of these keys.
    pub keys: Option<Vec<Vec<Value>>>,
    /// Whether a signal asked for it; else it is the table's first copy.
    pub by_signal: bool,
}

impl Scope {
    /// The whole table, in the order of its key.
    #[must_use]
    pub fn whole(source: &SourceTable) -> Self {
        Self { order: source.table.key.clone(), filter: None, keys: None, by_signal: false }
    }

    /// What a signal asks for; an error says why it cannot be done.
    pub fn asked(
        source: &SourceTable,
        filter: Option<&str>,
        surrogate_key: Option<&str>,
        keys: Option<&[Json]>,
    ) -> Result<Self, String> {
        if source.table.key.is_empty() {
            return Err(format!(
                "{} has no key: nobody could tell its rows from those that were sent before. Empty the target's table \
                 and use causeway-source offsets reset --table, or name columns in [source] message_key_columns",
                source.table.id
            ));
        }
        let mut scope = Self { by_signal: true, ..Self::whole(source) };
        if let Some(filter) = filter {
            one_expression(filter)?;
            scope.filter = Some(filter.to_owned());
        }
        if let Some(name) = surrogate_key {
            let table = &source.table;
            let column =
                table.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name)).ok_or_else(
                    || format!("the surrogate key {name} is not a column of {}", table.id),
                )?;
            if table.columns.get(column).is_none_or(|c| c.nullable) {
                return Err(format!(
                    "the surrogate key {name} of {} may be NULL; rows cannot be put in order by it",
                    table.id
                ));
            }
            // With the key behind it no two rows are equal.
            scope.order.retain(|i| *i != column);
            scope.order.insert(0, column);
        }
        if let Some(list) = keys {
            if scope.filter.is_some() {
                return Err("a filter and a list of keys exclude each other".to_owned());
            }
            let parsed: Result<Vec<_>, String> = list.iter().map(|k| key(source, k)).collect();
            scope.keys = Some(parsed?);
        }
        Ok(scope)
    }
}

/// A key as a person or a program writes it: `{"id": 7}`, `[7]`, or `7` for a key of one column.
fn key(source: &SourceTable, json: &Json) -> Result<Vec<Value>, String> {
    let table = &source.table;
    let columns: Vec<_> = table.key_columns().collect();
    let shape = || {
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        format!("a key of {} has the columns {}", table.id, names.join(", "))
    };
    let values: Vec<&Json> = match json {
        Json::Object(fields) if fields.len() == columns.len() => columns
            .iter()
            .map(|c| {
                let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(&c.name));
                found.map(|(_, value)| value).ok_or_else(shape)
            })
            .collect::<Result<_, _>>()?,
        Json::Array(values) if values.len() == columns.len() => values.iter().collect(),
        Json::Object(_) | Json::Array(_) => return Err(shape()),
        single if columns.len() == 1 => vec![single],
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return Err(shape()),
    };
    columns
        .iter()
        .zip(values)
        .map(|(column, json)| {
            keys::read(json, &column.ty).ok_or_else(|| {
                format!("the value of {} in a key of {} is no {}", column.name, table.id, column.ty)
            })
        })
        .collect()
}

/// Refuses a condition that is more than one expression: it stands between our parentheses, and what cannot
/// leave them cannot be another statement.
fn one_expression(filter: &str) -> Result<(), String> {
    let mut depth = 0_i32;
    let mut chars = filter.chars().peekable();
    let wrong = |what: &str| Err(format!("the filter has {what}; it must be one condition"));
    if filter.trim().is_empty() {
        return wrong("nothing in it");
    }
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' | '[' => {
                let end = if c == '[' { ']' } else { c };
                // A doubled end stands for itself; the second one begins a new run, which is as right.
                if !chars.by_ref().any(|c| c == end) {
                    return wrong("a quotation without end");
                }
            }
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth < 0 {
                    return wrong("a closing parenthesis too many");
                }
            }
            ';' => return wrong("a semicolon"),
            '-' if chars.peek() == Some(&'-') => return wrong("a comment"),
            '/' if chars.peek() == Some(&'*') => return wrong("a comment"),
            _ => {}
        }
    }
    if depth == 0 { Ok(()) } else { wrong("a parenthesis without end") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{Column, ColumnType, Length, Table, TableId};
    use causeway_sqlserver::ColumnRead;
    use serde_json::json;
    use std::sync::Arc;

    fn source() -> SourceTable {
        let columns = [
            ("id", ColumnType::Int, false),
            ("code", ColumnType::VarChar(Length::Of(9)), false),
            ("note", ColumnType::Int, true),
            ("at", ColumnType::BigInt, false),
        ];
        let reads = columns.map(|(name, ty, _)| ColumnRead {
            name: name.to_owned(),
            ty,
            collation: None,
            ordinal: 1,
            in_source: true,
            largest: None,
        });
        let columns = columns.map(|(name, ty, nullable)| Column {
            name: name.to_owned(),
            ty,
            nullable,
            default: None,
        });
        SourceTable {
            table: Arc::new(Table {
                database: "d".to_owned(),
                id: TableId::new("dbo", "t"),
                columns: columns.to_vec(),
                key: vec![1, 0],
            }),
            columns: reads.to_vec(),
            object_id: 1,
            key_index: None,
            approximate_rows: None,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_surrogate_key_stands_before_the_key() {
        let order = |name| Scope::asked(&source(), None, Some(name), None).map(|s| s.order);
        assert_eq!(order("at"), Ok(vec![3, 1, 0]));
        assert_eq!(order("ID"), Ok(vec![0, 1]));
        assert!(order("note").unwrap_err().contains("may be NULL"));
        assert!(order("x").unwrap_err().contains("is not a column"));
    }

    #[test]
    fn keys_are_read_by_name_or_in_key_order() {
        let source = source();
        let wanted = vec![Value::Text("a".to_owned()), Value::I32(7)];
        for json in [json!({"id": 7, "CODE": "a"}), json!(["a", 7]), json!(["a", "7"])] {
            assert!(key(&source, &json).unwrap() == wanted, "{json}");
        }
        for json in [json!(7), json!(["a"]), json!({"id": 7}), json!(["a", "x"]), json!(null)] {
            assert!(key(&source, &json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_filter_stays_between_its_parentheses() {
        for good in ["a > 5", "a = 'it''s; -- (' AND [b]]x] IN (1, 2)", "a - 1 / 2 > 0"] {
            assert_eq!(one_expression(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "1 = 1) DROP TABLE t WHERE (1 = 1",
            "1 = 1; DROP TABLE t",
            "1 = 1 -- ",
            "a = 'x",
            "(a = 1",
            "a /* */ = 1",
            "[a = 1",
        ] {
            assert!(one_expression(bad).is_err(), "{bad}");
        }
    }
}
