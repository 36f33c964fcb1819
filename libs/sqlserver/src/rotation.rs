//! Making and dropping capture instances: the only texts that write to the source database. The source
//! sends them when `rotate_capture_instances` says so, and nothing else does.

use std::collections::{BTreeMap, HashMap};

use causeway_change::{Lsn, TableId};

use crate::{
    Client, Query, Selection, SqlServerError,
    identifier::{literal, quote},
    queries,
};

/// How SQL Server is asked for a capture instance like an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the function for net changes is made.
    pub net_changes: bool,
    /// Role that gates the changes.
    pub role: Option<String>,
    /// Index that identifies rows, for net changes.
    pub index: Option<String>,
    /// File group of the change table.
    pub filegroup: Option<String>,
    /// Whether partitions may be switched.
    pub partition_switch: bool,
}

/// One capture instance, as it stands to its table's columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceFacts {
    /// Name.
    pub name: String,
    /// `object_id` of its change table.
    pub object_id: i32,
    /// None until the capture job has seen it.
    pub start_lsn: Option<Lsn>,
    /// How it was made.
    pub options: Options,
    /// Columns that were added to the table since, and that it does not capture.
    pub lacks: Vec<String>,
    /// Columns that it was told not to capture, or that the configuration leaves out.
    pub left_out: Vec<String>,
}

/// The capture instances of one table, oldest first, without those that are being dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInstances {
    /// Table.
    pub id: TableId,
    /// Its columns that can be captured, in order.
    pub columns: Vec<String>,
    /// Instances.
    pub instances: Vec<InstanceFacts>,
}

/// A place in the history of DDL; another value says that something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Vec<Option<i64>>, Option<Lsn>);

/// Where the history of DDL is.
pub async fn mark(client: &mut Client) -> Result<Mark, SqlServerError> {
    let record = client.one(&query_mark()).await?;
    Ok(match record {
        Some(record) => {
            Mark(vec![record.number(0)?, record.number(1)?, record.number(2)?], record.lsn(3)?)
        }
        None => Mark(Vec::new(), None),
    })
}

/// Whether the login is a member of the role that may make capture instances.
pub async fn may_rotate(client: &mut Client) -> Result<bool, SqlServerError> {
    match client.one(&query_may_rotate()).await? {
        Some(record) => Ok(record.number(0)? == Some(1)),
        None => Ok(false),
    }
}

/// The capture instances of the tables that match, with what they lack.
pub async fn look(
    client: &mut Client,
    selection: &Selection,
) -> Result<Vec<TableInstances>, SqlServerError> {
    let mut history: HashMap<i32, Vec<String>> = HashMap::new();
    for record in client.all(&query_history()).await? {
        let command = record.text(1)?.unwrap_or_default().to_owned();
        history.entry(record.required_int(0)?).or_default().push(command);
    }
    let mut captured: HashMap<i32, Vec<i32>> = HashMap::new();
    for record in client.all(&queries::captured_columns()).await? {
        captured.entry(record.required_int(0)?).or_default().push(record.required_int(3)?);
    }
    // Id and name; computed columns have no values in change tables.
    let mut columns: HashMap<i32, Vec<(i32, String)>> = HashMap::new();
    for record in client.all(&queries::table_columns()).await? {
        if !record.flag(8)? {
            let column = (record.required_int(1)?, record.required_text(2)?.to_owned());
            columns.entry(record.required_int(0)?).or_default().push(column);
        }
    }
    let mut options: HashMap<i32, Options> = HashMap::new();
    for record in client.all(&query_options()).await? {
        options.insert(
            record.required_int(0)?,
            Options {
                net_changes: record.flag(1)?,
                role: record.text(2)?.map(str::to_owned),
                index: record.text(3)?.map(str::to_owned),
                filegroup: record.text(4)?.map(str::to_owned),
                partition_switch: record.flag(5)?,
            },
        );
    }
    let mut tables: BTreeMap<TableId, TableInstances> = BTreeMap::new();
    for record in client.all(&queries::capture_instances()).await? {
        let object_id = record.required_int(0)?;
        let id = TableId::new(record.required_text(5)?, record.required_text(6)?);
        if record.flag(4)? || !selection.wants(&id) {
            continue;
        }
        let of_table = columns.get(&record.required_int(1)?).map_or(&[][..], Vec::as_slice);
        let (lacks, left_out) = uncaptured(
            of_table,
            captured.get(&object_id).map_or(&[][..], Vec::as_slice),
            history.get(&object_id).map_or(&[][..], Vec::as_slice),
            |column| selection.leaves_out(&id, column),
        );
        let facts = InstanceFacts {
            name: record.required_text(2)?.to_owned(),
            object_id,
            start_lsn: record.lsn(3)?.filter(|lsn| !lsn.is_zero()),
            options: options.remove(&object_id).unwrap_or_default(),
            lacks,
            left_out,
        };
        let table = tables.entry(id.clone()).or_insert_with(|| TableInstances {
            id,
            columns: of_table.iter().map(|(_, name)| name.clone()).collect(),
            instances: Vec::new(),
        });
        table.instances.push(facts);
    }
    Ok(tables.into_values().collect())
}

/// Makes a capture instance of a table: with the columns, or with all.
pub async fn enable(
    client: &mut Client,
    id: &TableId,
    name: &str,
    columns: Option<&[String]>,
    options: &Options,
) -> Result<(), SqlServerError> {
    client.run(query_enable(id, name, columns, options)).await
}

/// Drops a capture instance of a table, with its changes.
pub async fn disable(client: &mut Client, id: &TableId, name: &str) -> Result<(), SqlServerError> {
    client.run(query_disable(id, name)).await
}

/// Pure: the columns of a table that an instance does not capture, those that were added since and those
/// that are not wanted. Ids of columns grow and are not used again; a column with a higher id than all that
/// are captured was added later, or left out from the beginning: the history of DDL, which begins with the
/// instance, tells the two apart.
fn uncaptured(
    columns: &[(i32, String)],
    captured: &[i32],
    history: &[String],
    excluded: impl Fn(&str) -> bool,
) -> (Vec<String>, Vec<String>) {
    let last = captured.iter().copied().max().unwrap_or(0);
    let (mut lacks, mut left_out) = (Vec::new(), Vec::new());
    for (id, name) in columns {
        if excluded(name) {
            left_out.push(name.clone());
        } else if !captured.contains(id) {
            let added = *id > last && history.iter().any(|command| adds(command, name));
            if added { &mut lacks } else { &mut left_out }.push(name.clone());
        }
    }
    (lacks, left_out)
}

/// Whether a statement adds something and has the name as a word.
fn adds(command: &str, column: &str) -> bool {
    let (command, column) = (command.to_lowercase(), column.to_lowercase());
    let quoted = quote(&column);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$');
    let has = |word: &str| {
        command.match_indices(word).any(|(at, _)| {
            let before = command.get(..at).and_then(|text| text.chars().next_back());
            let after = command.get(at + word.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    };
    has("add") && (has(&column) || command.contains(&quoted))
}

/// How many statements there were, how many instances there are, and the newest of both.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-ddl-history-transact-sql>
fn query_mark() -> Query {
    Query::new(
        "look for changes of captured tables",
        "SELECT (SELECT COUNT(*) FROM cdc.ddl_history AS h) AS statements, \
         (SELECT COUNT(*) FROM cdc.change_tables AS ct) AS instances, \
         (SELECT MAX(ct.object_id) FROM cdc.change_tables AS ct) AS newest_instance, \
         (SELECT MAX(h.ddl_lsn) FROM cdc.ddl_history AS h) AS newest_statement",
    )
}

/// <https://learn.microsoft.com/sql/t-sql/functions/is-rolemember-transact-sql>
fn query_may_rotate() -> Query {
    Query::new(
        "ask whether the login may make capture instances",
        "SELECT IS_ROLEMEMBER(N'db_owner') AS is_owner",
    )
}

fn query_history() -> Query {
    Query::new(
        "read the changes of captured tables",
        "SELECT h.object_id, h.ddl_command FROM cdc.ddl_history AS h ORDER BY h.ddl_lsn",
    )
}

/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-change-tables-transact-sql>
fn query_options() -> Query {
    Query::new(
        "read how the capture instances were made",
        "SELECT ct.object_id, ct.supports_net_changes, ct.role_name, ct.index_name, ct.filegroup_name, \
         ct.partition_switch FROM cdc.change_tables AS ct",
    )
}

/// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-enable-table-transact-sql>
fn query_enable(id: &TableId, name: &str, columns: Option<&[String]>, options: &Options) -> Query {
    let text = |value: Option<&str>| value.map_or("NULL".to_owned(), literal);
    let mut more = String::new();
    if let Some(columns) = columns {
        let list: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        more.push_str(&format!(", @captured_column_list = {}", literal(&list.join(", "))));
    }
    if options.net_changes && options.index.is_some() {
        more.push_str(&format!(", @index_name = {}", text(options.index.as_deref())));
    }
    if options.filegroup.is_some() {
        more.push_str(&format!(", @filegroup_name = {}", text(options.filegroup.as_deref())));
    }
    Query::new(
        format!("make the capture instance {name} of {id}"),
        format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = {}, @source_name = {}, @role_name = {}, \
             @capture_instance = {}, @supports_net_changes = {}, @allow_partition_switch = {}{more}",
            literal(&id.schema),
            literal(&id.name),
            text(options.role.as_deref()),
            literal(name),
            u8::from(options.net_changes),
            u8::from(options.partition_switch),
        ),
    )
}

/// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-disable-table-transact-sql>
fn query_disable(id: &TableId, name: &str) -> Query {
    Query::new(format!("drop the capture instance {name} of {id}"), disable_text(id, name))
}

/// The statement that drops a capture instance, for people.
#[must_use]
pub fn disable_text(id: &TableId, name: &str) -> String {
    format!(
        "EXEC sys.sp_cdc_disable_table @source_schema = {}, @source_name = {}, @capture_instance = {}",
        literal(&id.schema),
        literal(&id.name),
        literal(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_was_added_is_not_one_that_was_left_out() {
        let columns: Vec<(i32, String)> =
            ["id", "secret", "name", "tail", "Z", "order no", "config"]
                .into_iter()
                .enumerate()
                .map(|(i, name)| (i32::try_from(i).unwrap() + 1, name.to_owned()))
                .collect();
        let history = [
            "ALTER TABLE dbo.a ALTER COLUMN tail int".to_owned(),
            "alter table dbo.a add z int null, [Order No] int, config int".to_owned(),
        ];
        let (lacks, left_out) = uncaptured(&columns, &[1, 3], &history, |name| name == "config");
        assert_eq!(lacks, ["Z", "order no"]);
        assert_eq!(left_out, ["secret", "tail", "config"]);
        assert_eq!(uncaptured(&columns, &[1, 3], &[], |_| false).0, Vec::<String>::new());
    }

    #[test]
    fn a_name_is_found_as_a_word_only() {
        for (command, column, found) in [
            ("ALTER TABLE t ADD z int", "z", true),
            ("ALTER TABLE t ADD [z] int", "Z", true),
            ("ALTER TABLE t ADD zz int", "z", false),
            ("ALTER TABLE t ADD [a]]b] int", "a]b", true),
            ("ALTER TABLE address DROP COLUMN z", "z", false),
            ("ALTER TABLE t ADD\n\tnote nvarchar(9)", "note", true),
        ] {
            assert_eq!(adds(command, column), found, "{command}");
        }
    }

    #[test]
    fn a_new_instance_is_made_like_the_old() {
        let id = TableId::new("my s", "o'neill");
        let options = Options {
            net_changes: true,
            role: Some("readers".to_owned()),
            index: Some("pk".to_owned()),
            filegroup: None,
            partition_switch: true,
        };
        let columns = ["id".to_owned(), "a]b".to_owned()];
        assert_eq!(
            query_enable(&id, "o_cw2", Some(&columns), &options).text,
            "EXEC sys.sp_cdc_enable_table @source_schema = N'my s', @source_name = N'o''neill', \
             @role_name = N'readers', @capture_instance = N'o_cw2', @supports_net_changes = 1, \
             @allow_partition_switch = 1, @captured_column_list = N'[id], [a]]b]', @index_name = N'pk'"
        );
        assert_eq!(
            query_enable(&id, "o_cw2", None, &Options::default()).text,
            "EXEC sys.sp_cdc_enable_table @source_schema = N'my s', @source_name = N'o''neill', \
             @role_name = NULL, @capture_instance = N'o_cw2', @supports_net_changes = 0, \
             @allow_partition_switch = 0"
        );
    }
}
