//! Every SQL text, a function each. Names are quoted by `causeway_postgres::identifier` alone.

use causeway_change::Column;
use causeway_postgres::{PostgresError, identifier, types};

/// Schema and tables of our own, in the target database.
pub const SETUP: &str = "
CREATE SCHEMA IF NOT EXISTS _causeway;
CREATE TABLE IF NOT EXISTS _causeway.progress (
  pipeline text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
  next_offset bigint NOT NULL, epoch bigint NOT NULL,
  source_lsn bytea, source_commit_time timestamptz,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (pipeline, topic, partition)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS _causeway.epoch (pipeline text PRIMARY KEY, epoch bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _causeway.dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline text NOT NULL, topic text NOT NULL, partition integer NOT NULL, \"offset\" bigint NOT NULL,
  key bytea, value bytea, headers jsonb NOT NULL, record_time_ms bigint,
  source_table text, source_lsn bytea,
  stage text NOT NULL, sqlstate text, \"column\" text, \"constraint\" text, reason text NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
  status text NOT NULL DEFAULT 'pending', mirrored_at timestamptz,
  UNIQUE (pipeline, topic, partition, \"offset\"));
CREATE INDEX IF NOT EXISTS dead_letter_unmirrored ON _causeway.dead_letter (id) WHERE mirrored_at IS NULL";

/// Takes the next epoch of a pipeline: whoever has an older one cannot commit any more.
pub const NEXT_EPOCH: &str = "INSERT INTO _causeway.epoch AS e VALUES ($1, 1) \
     ON CONFLICT (pipeline) DO UPDATE SET epoch = e.epoch + 1 RETURNING epoch";

/// Takes a partition for an epoch and tells where to read from; `$4` is where a new one begins.
pub const CLAIM: &str = "INSERT INTO _causeway.progress AS p (pipeline, topic, partition, next_offset, epoch) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pipeline, topic, partition) \
     DO UPDATE SET epoch = $5 WHERE p.epoch <= $5 RETURNING next_offset";

/// Moves offsets, if they are still ours and where we left them. Arrays: topic, partition, expected
/// offset, next offset.
pub const ADVANCE: &str = "UPDATE _causeway.progress p SET next_offset = n.next, applied_at = clock_timestamp(), \
       source_lsn = coalesce($7, p.source_lsn), source_commit_time = coalesce($8, p.source_commit_time) \
     FROM unnest($3::text[], $4::int[], $5::bigint[], $6::bigint[]) n(topic, partition, expected, next) \
     WHERE p.pipeline = $1 AND p.epoch = $2 AND p.topic = n.topic AND p.partition = n.partition \
       AND p.next_offset = n.expected";

/// Where the partitions stand, and whose they are.
pub const PROGRESS: &str =
    "SELECT topic, partition, next_offset, epoch FROM _causeway.progress WHERE pipeline = $1";

/// Keeps a record that cannot be applied.
pub const DEAD_LETTER: &str = "INSERT INTO _causeway.dead_letter (pipeline, topic, partition, \"offset\", key, value, headers, \
       record_time_ms, source_table, source_lsn, stage, sqlstate, \"column\", \"constraint\", reason) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     ON CONFLICT (pipeline, topic, partition, \"offset\") DO NOTHING";

/// Dead letters that the topic does not have yet.
pub const UNMIRRORED: &str = "SELECT id, topic, partition, \"offset\", key, value, headers, record_time_ms, source_table, source_lsn, \
       stage, sqlstate, \"column\", \"constraint\", reason, to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
     FROM _causeway.dead_letter WHERE pipeline = $1 AND mirrored_at IS NULL ORDER BY id LIMIT 100";

/// They are in the topic now.
pub const MIRRORED: &str =
    "UPDATE _causeway.dead_letter SET mirrored_at = clock_timestamp() WHERE id = ANY($1)";

/// `unnest($1::int4[], ...)` of these columns.
fn unnest(columns: &[&Column]) -> String {
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| format!("${}::{}[]", i + 1, types::base_type(column.ty)))
        .collect();
    format!("unnest({})", arrays.join(", "))
}

fn quoted<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Result<Vec<String>, PostgresError> {
    columns.into_iter().map(|column| identifier::quote(&column.name)).collect()
}

fn target(table: &(String, String)) -> Result<String, PostgresError> {
    identifier::table(&table.0, &table.1)
}

/// Inserts rows or replaces them by key; appends when there is no key. Parameters: an array a column.
///
/// # Errors
/// When a name cannot be written.
pub fn upsert(
    table: &(String, String),
    columns: &[Column],
    key: &[Column],
) -> Result<String, PostgresError> {
    let names = quoted(columns)?;
    let mut sql = format!(
        "INSERT INTO {} ({}) SELECT * FROM {}",
        target(table)?,
        names.join(", "),
        unnest(&columns.iter().collect::<Vec<_>>()),
    );
    if !key.is_empty() {
        let keys = quoted(key)?;
        let sets: Vec<String> = names
            .iter()
            .filter(|name| !keys.contains(name))
            .map(|name| format!("{name} = EXCLUDED.{name}"))
            .collect();
        sql.push_str(&format!(" ON CONFLICT ({}) ", keys.join(", ")));
        if sets.is_empty() {
            sql.push_str("DO NOTHING");
        } else {
            sql.push_str(&format!("DO UPDATE SET {}", sets.join(", ")));
        }
    }
    Ok(sql)
}

/// Updates some columns of rows that exist. Parameters: an array a column of `columns`, which has the
/// key's columns too.
///
/// # Errors
/// When a name cannot be written.
pub fn update_part(
    table: &(String, String),
    columns: &[&Column],
    key: &[Column],
) -> Result<Option<String>, PostgresError> {
    let names = quoted(columns.iter().copied())?;
    let keys = quoted(key)?;
    let sets: Vec<String> = names
        .iter()
        .filter(|name| !keys.contains(name))
        .map(|name| format!("{name} = u.{name}"))
        .collect();
    if sets.is_empty() {
        return Ok(None);
    }
    let join: Vec<String> = keys.iter().map(|key| format!("t.{key} = u.{key}")).collect();
    Ok(Some(format!(
        "UPDATE {} t SET {} FROM {} u({}) WHERE {}",
        target(table)?,
        sets.join(", "),
        unnest(columns),
        names.join(", "),
        join.join(" AND "),
    )))
}

/// Deletes rows by key. Parameters: an array a key column.
///
/// # Errors
/// When a name cannot be written.
pub fn delete(table: &(String, String), key: &[Column]) -> Result<String, PostgresError> {
    let keys = quoted(key)?;
    let join: Vec<String> = keys.iter().map(|key| format!("t.{key} = k.{key}")).collect();
    Ok(format!(
        "DELETE FROM {} t USING {} k({}) WHERE {}",
        target(table)?,
        unnest(&key.iter().collect::<Vec<_>>()),
        keys.join(", "),
        join.join(" AND "),
    ))
}

/// Binary COPY into the table itself.
///
/// # Errors
/// When a name cannot be written.
pub fn copy(table: &(String, String), columns: &[Column]) -> Result<String, PostgresError> {
    let names = quoted(columns)?.join(", ");
    Ok(format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", target(table)?))
}

/// A new table with exact types, NOT NULL where the source has it, and the key as primary key.
///
/// Large columns are nullable whatever the source says: an update event may come without them.
///
/// # Errors
/// When a name cannot be written.
pub fn create_table(
    table: &(String, String),
    columns: &[Column],
    key: &[Column],
) -> Result<String, PostgresError> {
    let mut lines: Vec<String> = columns
        .iter()
        .map(|column| {
            let not_null = if column.nullable || column.ty.is_large() { "" } else { " NOT NULL" };
            Ok(format!(
                "{} {}{not_null}",
                identifier::quote(&column.name)?,
                types::sql_type(column.ty)
            ))
        })
        .collect::<Result<_, PostgresError>>()?;
    if !key.is_empty() {
        lines.push(format!("PRIMARY KEY ({})", quoted(key)?.join(", ")));
    }
    Ok(format!("CREATE TABLE IF NOT EXISTS {} ({})", target(table)?, lines.join(", ")))
}

#[cfg(test)]
mod tests {
    use causeway_change::{ColumnType, Length};

    use super::*;

    fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
        Column { name: name.to_owned(), ty, nullable, default: None }
    }

    #[test]
    fn the_texts_of_a_small_table() {
        let table = ("public".to_owned(), "Order Lines".to_owned());
        let id = column("id", ColumnType::Int, false);
        let name = column("na\"me", ColumnType::NVarChar(Length::Of(9)), true);
        let columns = [id.clone(), name.clone()];
        let key = [id.clone()];
        assert_eq!(
            upsert(&table, &columns, &key).unwrap(),
            "INSERT INTO \"public\".\"Order Lines\" (\"id\", \"na\"\"me\") SELECT * FROM unnest($1::int4[], $2::varchar[]) \
             ON CONFLICT (\"id\") DO UPDATE SET \"na\"\"me\" = EXCLUDED.\"na\"\"me\""
        );
        assert!(upsert(&table, &key, &key).unwrap().ends_with("ON CONFLICT (\"id\") DO NOTHING"));
        assert!(!upsert(&table, &columns, &[]).unwrap().contains("CONFLICT"));
        assert_eq!(
            delete(&table, &key).unwrap(),
            "DELETE FROM \"public\".\"Order Lines\" t USING unnest($1::int4[]) k(\"id\") WHERE t.\"id\" = k.\"id\""
        );
        assert_eq!(
            create_table(&table, &columns, &key).unwrap(),
            "CREATE TABLE IF NOT EXISTS \"public\".\"Order Lines\" (\"id\" integer NOT NULL, \
             \"na\"\"me\" character varying(9), PRIMARY KEY (\"id\"))"
        );
        assert_eq!(update_part(&table, &[&id], &key).unwrap(), None);
        assert!(update_part(&table, &[&id, &name], &key).unwrap().is_some());
    }
}
