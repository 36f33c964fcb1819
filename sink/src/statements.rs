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
CREATE INDEX IF NOT EXISTS dead_letter_unmirrored ON _causeway.dead_letter (id) WHERE mirrored_at IS NULL;
ALTER TABLE _causeway.dead_letter ADD COLUMN IF NOT EXISTS row_key bytea,
  ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 1, ADD COLUMN IF NOT EXISTS closed_at timestamptz;
UPDATE _causeway.dead_letter SET row_key = CASE WHEN length(key) >= 5 AND get_byte(key, 0) = 0
  THEN substring(key FROM 6) ELSE key END WHERE row_key IS NULL AND key IS NOT NULL;
CREATE INDEX IF NOT EXISTS dead_letter_open ON _causeway.dead_letter (pipeline, topic, row_key)
  WHERE status IN ('pending', 'parked');
CREATE TABLE IF NOT EXISTS _causeway.target (
  pipeline text NOT NULL, topic text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL,
  made_oid oid, schema_id bigint NOT NULL, PRIMARY KEY (pipeline, topic));
CREATE TABLE IF NOT EXISTS _causeway.paused (
  pipeline text NOT NULL, pattern text NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (pipeline, pattern));
CREATE TABLE IF NOT EXISTS _causeway.member (
  pipeline text NOT NULL, epoch bigint NOT NULL, seen timestamptz NOT NULL DEFAULT clock_timestamp(),
  locked boolean NOT NULL DEFAULT false, PRIMARY KEY (pipeline, epoch)) WITH (fillfactor = 50)";

/// Whether [`SETUP`] has been run: it ends with the newest of all objects, which is looked for here.
pub const IS_SET_UP: &str = "SELECT to_regclass('_causeway.member') IS NOT NULL";

/// Notes which table a topic is written to, whether we made it, and the newest schema.
pub const TARGET: &str = "INSERT INTO _causeway.target AS t VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (pipeline, topic) DO UPDATE SET table_schema = $3, table_name = $4, made_oid = $5, \
       schema_id = greatest(t.schema_id, $6) \
     WHERE (t.table_schema, t.table_name, t.made_oid, t.schema_id) IS DISTINCT FROM ($3, $4, $5, greatest(t.schema_id, $6))";

/// The globs over source tables that are paused.
pub const PAUSED: &str =
    "SELECT pattern FROM _causeway.paused WHERE pipeline = $1 ORDER BY pattern";

/// Pauses: an array of globs.
pub const PAUSE: &str = "INSERT INTO _causeway.paused (pipeline, pattern) \
     SELECT $1, p FROM unnest($2::text[]) p ON CONFLICT DO NOTHING";

/// Resumes: an array of globs.
pub const RESUME: &str = "DELETE FROM _causeway.paused WHERE pipeline = $1 AND pattern = ANY($2)";

/// Where each partition stands, its table, and its open letters.
pub const STANDING: &str = "SELECT p.topic, p.partition, p.next_offset, t.table_schema, t.table_name, \
       extract(epoch FROM clock_timestamp() - p.source_commit_time)::float8, \
       to_char(p.applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), p.epoch, \
       (SELECT count(*) FROM _causeway.dead_letter d WHERE d.pipeline = $1 AND d.topic = p.topic \
          AND d.partition = p.partition AND d.status IN ('pending', 'parked')) \
     FROM _causeway.progress p LEFT JOIN _causeway.target t ON t.pipeline = p.pipeline AND t.topic = p.topic \
     WHERE p.pipeline = $1 ORDER BY p.topic, p.partition";

/// Sets the offset to be read next of a partition.
pub const RESET: &str = "UPDATE _causeway.progress SET next_offset = $4, epoch = $5 \
     WHERE pipeline = $1 AND topic = $2 AND partition = $3";

/// What [`TARGET`] noted of a topic.
pub const PAST: &str =
    "SELECT made_oid, schema_id FROM _causeway.target WHERE pipeline = $1 AND topic = $2";

/// Takes the next epoch of a pipeline: whoever has an older one cannot commit any more.
pub const NEXT_EPOCH: &str = "INSERT INTO _causeway.epoch AS e VALUES ($1, 1) \
     ON CONFLICT (pipeline) DO UPDATE SET epoch = e.epoch + 1 RETURNING epoch";

/// Notes a sink that has begun: pipeline, epoch.
pub const JOIN: &str = "INSERT INTO _causeway.member (pipeline, epoch) VALUES ($1, $2)";

/// A sink is alive; `$3` says whether its session holds the lock `($4, $5)` from now on. Gives 0 when the
/// others have struck it off.
pub const BEAT: &str = "WITH held AS MATERIALIZED (SELECT CASE WHEN $3 THEN pg_try_advisory_lock($4, $5) ELSE false END AS locked), \
     beat AS (UPDATE _causeway.member m SET seen = clock_timestamp(), locked = held.locked FROM held \
       WHERE m.pipeline = $1 AND m.epoch = $2 RETURNING 1) SELECT count(*) FROM beat";

/// A sink is alive, said by another of its connections.
pub const TOUCH: &str =
    "UPDATE _causeway.member SET seen = clock_timestamp() WHERE pipeline = $1 AND epoch = $2";

/// The sinks that are alive: they have said so within `$2` milliseconds, and where their session holds a lock,
/// it still does, or they are only connecting again.
pub const ALIVE: &str = "SELECT m.epoch FROM _causeway.member m WHERE m.pipeline = $1 \
     AND m.seen > clock_timestamp() - $2 * interval '1 ms' \
     AND (NOT m.locked OR m.seen > clock_timestamp() - interval '2 s' OR EXISTS (SELECT FROM pg_locks l \
       WHERE l.locktype = 'advisory' AND l.classid = $3::oid AND l.objid = (m.epoch % 2147483648)::int4::oid AND l.objsubid = 2 \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())))";

/// Strikes sinks off the list: an array of epochs.
pub const BURY: &str = "DELETE FROM _causeway.member WHERE pipeline = $1 AND epoch = ANY($2)";

/// Ends the transactions that share the advisory locks `($1, any of $2)`.
pub const END_TRANSACTIONS: &str = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l \
     WHERE l.locktype = 'advisory' AND l.classid = $1::oid AND l.objid = ANY($2::int4[]::oid[]) AND l.objsubid = 2 \
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()";

/// A sink leaves, and what it had is free.
pub const LEAVE: &str = "WITH gone AS (DELETE FROM _causeway.member WHERE pipeline = $1 AND epoch = $2) \
     UPDATE _causeway.progress SET epoch = 0 WHERE pipeline = $1 AND epoch = $2";

/// Notes partitions that are new, as nobody's. Arrays: topic, partition, offset of the first record.
pub const KNOW: &str = "INSERT INTO _causeway.progress (pipeline, topic, partition, next_offset, epoch) \
     SELECT $1, n.topic, n.partition, n.first, 0 \
     FROM unnest($2::text[], $3::int[], $4::bigint[]) n(topic, partition, first) ON CONFLICT DO NOTHING";

/// Takes partitions, each from the epoch that it was seen with. Arrays: topic, partition, that epoch.
pub const CLAIM: &str = "UPDATE _causeway.progress p SET epoch = $2 \
     FROM unnest($3::text[], $4::int[], $5::bigint[]) n(topic, partition, holder) \
     WHERE p.pipeline = $1 AND p.topic = n.topic AND p.partition = n.partition AND p.epoch = n.holder \
       AND EXISTS (SELECT FROM _causeway.member m WHERE m.pipeline = $1 AND m.epoch = $2) \
     RETURNING p.topic, p.partition, p.next_offset";

/// Gives partitions up. Arrays: topic, partition.
pub const RELEASE: &str = "UPDATE _causeway.progress p SET epoch = 0 FROM unnest($3::text[], $4::int[]) n(topic, partition) \
     WHERE p.pipeline = $1 AND p.epoch = $2 AND p.topic = n.topic AND p.partition = n.partition";

/// Moves offsets, if they are still ours and where we left them; otherwise it divides by zero, which
/// spoils the transaction: whatever was sent behind it, a COMMIT too, does nothing. Arrays: topic, partition,
/// expected offset, next offset; `$9` is how many must move.
pub const ADVANCE: &str = "WITH moved AS (\
       UPDATE _causeway.progress p SET next_offset = n.next, applied_at = clock_timestamp(), \
         source_lsn = coalesce($7, p.source_lsn), source_commit_time = coalesce($8, p.source_commit_time) \
       FROM unnest($3::text[], $4::int[], $5::bigint[], $6::bigint[]) n(topic, partition, expected, next) \
       WHERE p.pipeline = $1 AND p.epoch = $2 AND p.topic = n.topic AND p.partition = n.partition \
         AND p.next_offset = n.expected RETURNING 1) \
     SELECT 1 / (count(*) = $9)::int FROM moved";

/// Where the partitions stand, and whose they are.
pub const PROGRESS: &str =
    "SELECT topic, partition, next_offset, epoch FROM _causeway.progress WHERE pipeline = $1";

/// Every foreign key: the table that refers, the one that is referred to, the constraint, and whether it can
/// be deferred.
pub const FOREIGN_KEYS: &str = "SELECT cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text, \
       f.conname::text, f.condeferrable \
     FROM pg_constraint f \
     JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
     JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace \
     WHERE f.contype = 'f'";

/// Keeps a record that cannot be applied.
pub const DEAD_LETTER: &str = "INSERT INTO _causeway.dead_letter (pipeline, topic, partition, \"offset\", key, value, headers, \
       record_time_ms, source_table, source_lsn, stage, sqlstate, \"column\", \"constraint\", reason, row_key, status) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
     ON CONFLICT (pipeline, topic, partition, \"offset\") DO UPDATE SET status = EXCLUDED.status, \
       reason = EXCLUDED.reason, sqlstate = EXCLUDED.sqlstate, attempts = dead_letter.attempts + 1, closed_at = NULL";

/// Which keys have letters that are neither replayed nor given up.
pub const OPEN_KEYS: &str = "SELECT DISTINCT topic, row_key FROM _causeway.dead_letter \
     WHERE pipeline = $1 AND status IN ('pending', 'parked') AND row_key IS NOT NULL";

/// The open letters of some keys (arrays: topic, key), locked: a replay waits for us, or we for it.
pub const HOLD: &str = "SELECT d.topic, d.row_key, d.partition, d.\"offset\" FROM _causeway.dead_letter d \
     JOIN unnest($2::text[], $3::bytea[]) n(topic, row_key) ON d.topic = n.topic AND d.row_key = n.row_key \
     WHERE d.pipeline = $1 AND d.status IN ('pending', 'parked') ORDER BY d.id FOR UPDATE OF d";

/// A newer change of their key was applied. Arrays: topic, key, partition, offset of that change.
pub const SUPERSEDE: &str = "UPDATE _causeway.dead_letter d SET status = 'superseded', closed_at = clock_timestamp() \
     FROM unnest($2::text[], $3::bytea[], $4::int[], $5::bigint[]) n(topic, row_key, partition, \"offset\") \
     WHERE d.pipeline = $1 AND d.status IN ('pending', 'parked') AND d.topic = n.topic AND d.row_key = n.row_key \
       AND (d.partition <> n.partition OR d.\"offset\" < n.\"offset\")";

/// Which letters a filter of `dlq` means. Parameters: pipeline, table as a LIKE pattern, SQLSTATE, part of
/// the reason, since, ids, statuses; none of the middle five is no condition.
macro_rules! chosen {
    () => {
        "pipeline = $1 AND ($2::text IS NULL OR coalesce(source_table, topic) LIKE $2) \
         AND ($3::text IS NULL OR sqlstate = $3) AND ($4::text IS NULL OR strpos(reason, $4) > 0) \
         AND ($5::text IS NULL OR first_seen >= $5::text::timestamptz) AND ($6::bigint[] IS NULL OR id = ANY($6)) \
         AND status = ANY($7::text[])"
    };
}

/// The newest letters of a filter, oldest first, without their bodies; the limit is `$8`.
pub const LIST_LETTERS: &str = concat!(
    "SELECT * FROM (SELECT id, status, source_table, topic, partition, \"offset\", stage, sqlstate, \"column\", \
       \"constraint\", reason, attempts, source_lsn, length(key) AS key_bytes, length(value) AS value_bytes, \
       to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS first_seen_text, \
       to_char(closed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS closed_at_text \
     FROM _causeway.dead_letter WHERE ",
    chosen!(),
    " ORDER BY id DESC LIMIT $8) newest ORDER BY id"
);

/// How many letters a filter means.
pub const COUNT_LETTERS: &str =
    concat!("SELECT count(*) FROM _causeway.dead_letter WHERE ", chosen!());

/// Gives letters up.
pub const DISCARD: &str = concat!(
    "UPDATE _causeway.dead_letter SET status = 'discarded', closed_at = clock_timestamp() WHERE ",
    chosen!()
);

/// All open letters in the order in which they are to be replayed, and whether the filter means them.
pub const REPLAYABLE: &str = concat!(
    "SELECT id, topic, row_key, ",
    chosen!(),
    " FROM _causeway.dead_letter WHERE pipeline = $1 AND status IN ('pending', 'parked') \
     ORDER BY topic, row_key, partition, \"offset\""
);

/// Locks letters that are still open, in their order, and gives their records.
pub const LOCK_LETTERS: &str = "SELECT id, topic, partition, \"offset\", key, value, headers, record_time_ms FROM _causeway.dead_letter \
     WHERE id = ANY($1) AND status IN ('pending', 'parked') ORDER BY partition, \"offset\" FOR UPDATE";

/// The records of letters.
pub const LETTER_BODIES: &str = "SELECT id, topic, partition, \"offset\", key, value, headers, record_time_ms \
     FROM _causeway.dead_letter WHERE id = ANY($1)";

/// They were applied.
pub const REPLAYED: &str = "UPDATE _causeway.dead_letter SET status = 'replayed', closed_at = clock_timestamp() WHERE id = ANY($1)";

/// It could not be applied again: number, SQLSTATE, column, constraint, reason.
pub const FAILED_AGAIN: &str = "UPDATE _causeway.dead_letter SET attempts = attempts + 1, status = 'pending', \
       sqlstate = $2, \"column\" = $3, \"constraint\" = $4, reason = $5 WHERE id = $1";

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
    upsert_from(table, columns, key, &unnest(&columns.iter().collect::<Vec<_>>()))
}

/// As [`upsert`], from a table with the same columns in the same order.
///
/// # Errors
/// When a name cannot be written.
pub fn upsert_from(
    table: &(String, String),
    columns: &[Column],
    key: &[Column],
    from: &str,
) -> Result<String, PostgresError> {
    let names = quoted(columns)?;
    let mut sql =
        format!("INSERT INTO {} ({}) SELECT * FROM {from}", target(table)?, names.join(", "));
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

/// Inserts rows; one that is there already is an error. Parameters: an array a column.
///
/// # Errors
/// When a name cannot be written.
pub fn insert(table: &(String, String), columns: &[Column]) -> Result<String, PostgresError> {
    upsert(table, columns, &[])
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

/// How a column of the row before is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// With a parameter.
    Equal,
    /// It is NULL.
    Null,
    /// Not at all: the value is not known.
    Unknown,
}

/// Updates or deletes one row that has these values, by its place; without all of them only when it is the only one.
/// `set` are the columns that an update sets, by their place. Parameters: an array of one element for each column
/// that is compared, then for each that is set.
///
/// # Errors
/// When a name cannot be written.
pub fn match_one(
    table: &(String, String),
    columns: &[Column],
    compared: &[Compared],
    set: &[usize],
    updates: bool,
) -> Result<String, PostgresError> {
    let table = target(table)?;
    let mut given: Vec<&Column> = Vec::new();
    let mut conditions = Vec::new();
    for (column, compared) in columns.iter().zip(compared) {
        let name = identifier::quote(&column.name)?;
        match compared {
            Compared::Equal => {
                // XML has no equality.
                let cast = if types::base_type(column.ty) == "xml" { "::text" } else { "" };
                conditions.push(format!("t.{name}{cast} = u.v{}{cast}", given.len()));
                given.push(column);
            }
            Compared::Null => conditions.push(format!("t.{name} IS NULL")),
            Compared::Unknown => {}
        }
    }
    let compares = given.len();
    given.extend(set.iter().filter_map(|&place| columns.get(place)));
    let names: Vec<String> = (0..given.len()).map(|n| format!("v{n}")).collect();
    // A table of one row and no column cannot be written.
    let values = match names.as_slice() {
        [] => "(SELECT true) u(v)".to_owned(),
        names => format!("{} u({})", unnest(&given), names.join(", ")),
    };
    let conditions = match conditions.as_slice() {
        [] => "true".to_owned(),
        conditions => conditions.join(" AND "),
    };
    let alone = if compared.contains(&Compared::Unknown) {
        " AND (SELECT count(*) FROM found) = 1"
    } else {
        ""
    };
    let found = format!(
        "WITH u AS MATERIALIZED (SELECT * FROM {values}), found AS MATERIALIZED \
         (SELECT t.ctid AS place FROM {table} t, u WHERE {conditions} LIMIT 2)"
    );
    let place = format!("t.ctid = (SELECT place FROM found LIMIT 1){alone}");
    if !updates {
        return Ok(format!("{found} DELETE FROM {table} t WHERE {place}"));
    }
    let mut sets = Vec::new();
    for (n, place) in (compares..).zip(set) {
        if let Some(column) = columns.get(*place) {
            sets.push(format!("{} = u.v{n}", identifier::quote(&column.name)?));
        }
    }
    Ok(format!("{found} UPDATE {table} t SET {} FROM u WHERE {place}", sets.join(", ")))
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

/// A temporary table for the rows of a COPY: the columns of a table with their types as arrays have them,
/// so that what is too long or out of range is refused where it is inserted.
///
/// # Errors
/// When a name cannot be written.
pub fn stage(name: &str, columns: &[Column]) -> Result<String, PostgresError> {
    let names = quoted(columns)?;
    let columns: Vec<String> = names
        .iter()
        .zip(columns)
        .map(|(name, column)| format!("{name} {}", types::base_type(column.ty)))
        .collect();
    Ok(format!("CREATE TEMP TABLE {name} ({}) ON COMMIT DELETE ROWS", columns.join(", ")))
}

/// Binary COPY into such a table.
///
/// # Errors
/// When a name cannot be written.
pub fn copy_stage(name: &str, columns: &[Column]) -> Result<String, PostgresError> {
    Ok(format!("COPY {name} ({}) FROM STDIN (FORMAT binary)", quoted(columns)?.join(", ")))
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
