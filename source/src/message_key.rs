//! Pure: which columns are a table's key, when the configuration says so (Debezium's `message.key.columns`).

use std::{collections::BTreeMap, sync::Arc};

use causeway_sqlserver::{Discovery, Patterns, SourceTable};

use crate::SourceError;

/// Globs over `schema.table`, each with the columns of its tables' key.
pub type MessageKeys = BTreeMap<String, Vec<String>>;

/// Gives the tables of a discovery the keys that are configured.
///
/// # Errors
/// When a table has no such column, or the column may be NULL.
pub fn apply(keys: &MessageKeys, discovery: &mut Discovery) -> Result<(), SourceError> {
    for instance in &mut discovery.instances {
        let name = instance.source.id().to_string();
        let found = keys.iter().find(|(glob, _)| Patterns::new([glob]).matches(&name));
        if let Some((_, columns)) = found {
            set(&mut instance.source, columns)?;
        }
    }
    Ok(())
}

fn set(source: &mut SourceTable, columns: &[String]) -> Result<(), SourceError> {
    let table = &source.table;
    let refused = |reason: String| SourceError::Table {
        table: table.id.clone(),
        reason: format!("[source] message_key_columns: {reason}"),
    };
    let mut key = Vec::with_capacity(columns.len());
    for name in columns {
        let place = table
            .columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                refused(format!("there is no column {name} among those that are read"))
            })?;
        if table.columns.get(place).is_none_or(|column| column.nullable || column.ty.is_large()) {
            return Err(refused(format!(
                "the column {name} may be NULL or is a large one; rows cannot be told apart by it"
            )));
        }
        if !key.contains(&place) {
            key.push(place);
        }
    }
    Arc::make_mut(&mut source.table).key = key;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::{Column, ColumnType, Length, Table, TableId};
    use causeway_sqlserver::CaptureInstance;

    fn discovery() -> Discovery {
        let column = |name: &str, ty, nullable| Column {
            name: name.to_owned(),
            ty,
            nullable,
            default: None,
        };
        let columns = vec![
            column("a", ColumnType::Int, false),
            column("b", ColumnType::Int, false),
            column("c", ColumnType::Int, true),
            column("d", ColumnType::NVarChar(Length::Max), false),
        ];
        let table = Table {
            database: "d".to_owned(),
            id: TableId::new("dbo", "heap"),
            columns,
            key: Vec::new(),
        };
        let source = SourceTable {
            table: Arc::new(table),
            columns: Vec::new(),
            object_id: 1,
            key_index: None,
            approximate_rows: None,
            left_out: Vec::new(),
        };
        let instance = CaptureInstance {
            name: "i".to_owned(),
            object_id: 2,
            start_lsn: None,
            has_command_id: true,
            source,
        };
        Discovery { instances: vec![instance], refused: Vec::new() }
    }

    fn key(glob: &str, columns: &[&str]) -> Result<Vec<usize>, String> {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        let mut found = discovery();
        apply(&MessageKeys::from([(glob.to_owned(), columns)]), &mut found)
            .map_err(|error| error.to_string())?;
        Ok(found.instances[0].source.table.key.clone())
    }

    #[test]
    fn a_key_is_what_the_configuration_says() {
        assert_eq!(key("dbo.heap", &["B", "a"]), Ok(vec![1, 0]));
        assert_eq!(key("dbo.*", &["a", "a"]), Ok(vec![0]));
        assert_eq!(key("dbo.other", &["a"]), Ok(vec![]));
        for (column, said) in [("x", "no column x"), ("c", "may be NULL"), ("d", "large")] {
            let error = key("*", &[column]).unwrap_err();
            assert!(error.contains(said) && error.contains("dbo.heap"), "{error}");
        }
    }
}
