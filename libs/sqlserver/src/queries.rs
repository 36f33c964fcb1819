//! Every T-SQL text that is sent, a function each, with the page that describes what it reads.
//!
//! Texts are plain: no text depends on a value other than names (through [`crate::identifier`]) and
//! numbers that we made ourselves; values travel as parameters.

use causeway_change::{Lsn, Position, TableId};

use crate::{
    CaptureInstance, ColumnRead, Query,
    identifier::{change_table, literal, quote, table},
    types,
};

/// Settings of every session.
/// `TEXTSIZE` is the longest large value that is sent; `DEADLOCK_PRIORITY LOW` lets the application win.
/// <https://learn.microsoft.com/sql/t-sql/statements/set-statements-transact-sql>
#[must_use]
pub fn session(lock_timeout_ms: u32) -> Query {
    Query::new(
        "set the session up",
        format!(
            "SET NOCOUNT ON; SET XACT_ABORT ON; SET ANSI_WARNINGS ON; SET TEXTSIZE 2147483647; \
             SET LOCK_TIMEOUT {lock_timeout_ms}; SET DEADLOCK_PRIORITY LOW;"
        ),
    )
}

/// Statements of this session read as of their start and wait for no writer.
/// <https://learn.microsoft.com/sql/t-sql/statements/set-transaction-isolation-level-transact-sql>
#[must_use]
pub fn use_snapshot_isolation() -> Query {
    Query::new("use snapshot isolation", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT;")
}

/// Edition, version, and what the database is set to.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-databases-transact-sql>
#[must_use]
pub fn database() -> Query {
    Query::new(
        "read the settings of the database",
        "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int) AS engine_edition, \
         CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version, \
         d.name, d.is_cdc_enabled, d.snapshot_isolation_state, d.is_read_committed_snapshot_on, \
         d.collation_name \
         FROM sys.databases AS d WHERE d.database_id = DB_ID()",
    )
}

/// Whether the login may see the state of the database and of the server.
/// <https://learn.microsoft.com/sql/t-sql/functions/has-perms-by-name-transact-sql>
#[must_use]
pub fn state_rights() -> Query {
    Query::new(
        "ask for the rights of the login",
        "SELECT HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DATABASE STATE') AS database_state, \
         HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') AS server_state",
    )
}

/// Whether the login may SELECT from one table.
#[must_use]
pub fn may_select(id: &TableId) -> Query {
    Query::new(
        format!("ask for the right to read {id}"),
        format!(
            "SELECT HAS_PERMS_BY_NAME({}, 'OBJECT', 'SELECT') AS may_select",
            literal(&table(id))
        ),
    )
}

/// Whether the login may SELECT from the tables of schema `cdc` that we read.
#[must_use]
pub fn may_select_cdc(object: &str) -> Query {
    Query::new(
        format!("ask for the right to read cdc.{object}"),
        format!(
            "SELECT HAS_PERMS_BY_NAME({}, 'OBJECT', 'SELECT') AS may_select",
            literal(&format!("[cdc].{}", quote(object)))
        ),
    )
}

/// The largest value, in bytes, that a captured large column may be given; -1 is no limit.
/// <https://learn.microsoft.com/sql/database-engine/configure-windows/configure-the-max-text-repl-size-server-configuration-option>
#[must_use]
pub fn max_text_repl_size() -> Query {
    Query::new(
        "read the setting `max text repl size`",
        "SELECT CAST(value_in_use AS int) AS value_in_use FROM sys.configurations \
         WHERE name = N'max text repl size (B)'",
    )
}

/// Whether SQL Server Agent runs; 4 is running.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-server-services-transact-sql>
#[must_use]
pub fn agent() -> Query {
    Query::new(
        "ask whether SQL Server Agent runs",
        "SELECT CAST(status AS int) AS status FROM sys.dm_server_services \
         WHERE servicename LIKE N'SQL Server Agent%'",
    )
}

/// The capture and cleanup jobs of this database.
/// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-help-jobs-transact-sql>
#[must_use]
pub fn cdc_jobs() -> Query {
    Query::new("list the CDC jobs", "EXEC sys.sp_cdc_help_jobs")
}

/// Capture instances with the names of their source tables; history tables of temporal tables are left out.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-change-tables-transact-sql>
#[must_use]
pub fn capture_instances() -> Query {
    Query::new(
        "list the captured tables",
        "SELECT ct.object_id, ct.source_object_id, ct.capture_instance, ct.start_lsn, \
         ct.has_drop_pending, s.name AS schema_name, t.name AS table_name, ct.create_date \
         FROM cdc.change_tables AS ct \
         JOIN sys.tables AS t ON t.object_id = ct.source_object_id \
         JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
         WHERE t.temporal_type <> 1 \
         ORDER BY ct.create_date, ct.object_id",
    )
}

/// The columns that each capture instance captures, in the order of its mask.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-captured-columns-transact-sql>
#[must_use]
pub fn captured_columns() -> Query {
    Query::new(
        "list the captured columns",
        "SELECT cc.object_id, cc.column_name, cc.column_ordinal, cc.column_id, cc.is_computed \
         FROM cdc.captured_columns AS cc ORDER BY cc.object_id, cc.column_ordinal",
    )
}

/// The columns of the change tables, with their types; here too stands whether there is `__$command_id`.
#[must_use]
pub fn change_table_columns() -> Query {
    Query::new(
        "list the columns of the change tables",
        "SELECT c.object_id, c.name, COALESCE(b.name, u.name) AS type_name, \
         c.max_length, c.precision, c.scale \
         FROM sys.columns AS c \
         JOIN cdc.change_tables AS ct ON ct.object_id = c.object_id \
         JOIN sys.types AS u ON u.user_type_id = c.user_type_id \
         LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id \
         ORDER BY c.object_id, c.column_id",
    )
}

/// The users' tables; history tables of temporal tables are left out.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-tables-transact-sql>
#[must_use]
pub fn tables() -> Query {
    Query::new(
        "list the tables",
        "SELECT t.object_id, s.name AS schema_name, t.name AS table_name \
         FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
         WHERE t.is_ms_shipped = 0 AND t.temporal_type <> 1 \
         ORDER BY s.name, t.name",
    )
}

/// The columns of all users' tables. An alias type is shown by its base type.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-columns-transact-sql>
#[must_use]
pub fn table_columns() -> Query {
    Query::new(
        "list the columns of the tables",
        "SELECT c.object_id, c.column_id, c.name, COALESCE(b.name, u.name) AS type_name, \
         c.max_length, c.precision, c.scale, c.is_nullable, c.is_computed, c.collation_name, \
         d.definition \
         FROM sys.columns AS c \
         JOIN sys.tables AS t ON t.object_id = c.object_id \
         JOIN sys.types AS u ON u.user_type_id = c.user_type_id \
         LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id \
         LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id \
         WHERE t.is_ms_shipped = 0 \
         ORDER BY c.object_id, c.column_id",
    )
}

/// The columns of every unique index that could be a key, the primary key first.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-index-columns-transact-sql>
#[must_use]
pub fn key_columns() -> Query {
    Query::new(
        "list the keys of the tables",
        "SELECT i.object_id, i.index_id, i.name, i.is_primary_key, ic.column_id \
         FROM sys.indexes AS i \
         JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id \
         JOIN sys.tables AS t ON t.object_id = i.object_id \
         WHERE i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 \
         AND ic.key_ordinal > 0 AND t.is_ms_shipped = 0 \
         ORDER BY i.object_id, i.is_primary_key DESC, i.index_id, ic.key_ordinal",
    )
}

/// About how many rows each table has, for progress only.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-partitions-transact-sql>
#[must_use]
pub fn approximate_rows() -> Query {
    Query::new(
        "ask for the sizes of the tables",
        "SELECT p.object_id, SUM(p.rows) AS row_count FROM sys.partitions AS p \
         WHERE p.index_id IN (0, 1) GROUP BY p.object_id",
    )
}

/// How far capture has come, how far the server's clock is from UTC, and the low-water mark of every
/// capture instance.
///
/// `MAX(start_lsn)` of the mapping is what `sys.fn_cdc_get_max_lsn` returns, without the locks that
/// compiling that function takes.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-lsn-time-mapping-transact-sql>
#[must_use]
pub fn tick() -> Query {
    Query::new(
        "ask how far capture has come",
        "SELECT MAX(m.start_lsn) AS max_lsn, DATEDIFF(SECOND, GETUTCDATE(), GETDATE()) AS utc_offset \
         FROM cdc.lsn_time_mapping AS m; \
         SELECT ct.object_id, ct.capture_instance, ct.start_lsn, ct.has_drop_pending \
         FROM cdc.change_tables AS ct ORDER BY ct.object_id;",
    )
}

/// The low-water mark of every capture instance.
#[must_use]
pub fn low_water() -> Query {
    Query::new(
        "ask for the low-water marks of the change tables",
        "SELECT ct.object_id, ct.capture_instance, ct.start_lsn, ct.has_drop_pending \
         FROM cdc.change_tables AS ct ORDER BY ct.object_id",
    )
}

/// The transactions after `after` up to `upto`, oldest first. Rows with `tran_id` 0x00 only say that time
/// passed.
#[must_use]
pub fn transactions(after: Lsn, upto: Lsn, limit: usize) -> Query {
    Query::new(
        "list the captured transactions",
        format!(
            "SELECT TOP ({limit}) m.start_lsn, m.tran_end_time FROM cdc.lsn_time_mapping AS m \
             WHERE m.start_lsn > CAST(@P1 AS binary(10)) AND m.start_lsn <= CAST(@P2 AS binary(10)) \
             AND m.tran_id <> 0x00 ORDER BY m.start_lsn"
        ),
    )
    .bind(after)
    .bind(upto)
}

/// The end of one transaction.
#[must_use]
pub fn transaction_end(commit: Lsn) -> Query {
    Query::new(
        "read the time of a transaction",
        "SELECT m.start_lsn, m.tran_end_time FROM cdc.lsn_time_mapping AS m \
         WHERE m.start_lsn = CAST(@P1 AS binary(10))",
    )
    .bind(commit)
}

/// Which of the change tables have a row after `after` up to `upto`: the object ids of those that have.
/// One seek for each table on its clustered index.
#[must_use]
pub fn tables_with_changes<'a>(
    instances: impl IntoIterator<Item = &'a CaptureInstance>,
    after: Lsn,
    upto: Lsn,
) -> Query {
    let probes: Vec<String> = instances
        .into_iter()
        .map(|instance| {
            format!(
                "SELECT {} AS object_id WHERE EXISTS (SELECT 1 FROM {} AS c \
                 WHERE c.[__$start_lsn] > CAST(@P1 AS binary(10)) \
                 AND c.[__$start_lsn] <= CAST(@P2 AS binary(10)))",
                instance.object_id,
                change_table(&instance.name)
            )
        })
        .collect();
    Query::new("ask which tables have changes", probes.join(" UNION ALL ")).bind(after).bind(upto)
}

fn change_select(instance: &CaptureInstance) -> (String, &'static str) {
    // The clustered index has this order, so nothing is sorted.
    let (command, order) = if instance.has_command_id {
        (
            "c.[__$command_id]",
            "c.[__$start_lsn], c.[__$command_id], c.[__$seqval], c.[__$operation]",
        )
    } else {
        ("CAST(0 AS int)", "c.[__$start_lsn], c.[__$seqval], c.[__$operation]")
    };
    // The change table has a column as long as its instance captures it.
    let columns = select(&instance.source.columns, |_| true);
    let text = format!(
        "SELECT c.[__$start_lsn], {command} AS [__$command_id], c.[__$seqval], c.[__$operation], \
         c.[__$update_mask], {columns} FROM {} AS c",
        change_table(&instance.name)
    );
    (text, order)
}

/// The rows of a change table after `after` up to `upto`, in the order of changes.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>
#[must_use]
pub fn changes(instance: &CaptureInstance, after: Lsn, upto: Lsn) -> Query {
    let (select, order) = change_select(instance);
    Query::new(
        format!("read the changes of {}", instance.source.id()),
        format!(
            "{select} WHERE c.[__$start_lsn] > CAST(@P1 AS binary(10)) \
             AND c.[__$start_lsn] <= CAST(@P2 AS binary(10)) ORDER BY {order}"
        ),
    )
    .bind(after)
    .bind(upto)
}

/// The rows of one transaction of a change table after a place inside it.
#[must_use]
pub fn changes_of_transaction(instance: &CaptureInstance, after: &Position) -> Query {
    let (select, order) = change_select(instance);
    let query = |text: String| {
        Query::new(format!("read the rest of a transaction of {}", instance.source.id()), text)
            .bind(after.commit_lsn)
            .bind(after.seqval)
            .bind(i32::from(after.operation))
    };
    let inside = "(c.[__$seqval] > CAST(@P2 AS binary(10)) OR \
                  (c.[__$seqval] = CAST(@P2 AS binary(10)) AND c.[__$operation] > @P3))";
    let start = "WHERE c.[__$start_lsn] = CAST(@P1 AS binary(10)) AND";
    if instance.has_command_id {
        query(format!(
            "{select} {start} (c.[__$command_id] > @P4 OR (c.[__$command_id] = @P4 AND {inside})) \
             ORDER BY {order}"
        ))
        .bind(after.command_id)
    } else {
        query(format!("{select} {start} {inside} ORDER BY {order}"))
    }
}

/// The live end of the transaction log. Needs VIEW SERVER STATE (Azure: VIEW DATABASE STATE); NULL on a
/// secondary replica.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-stats-transact-sql>
#[must_use]
pub fn log_end() -> Query {
    Query::new(
        "read the end of the transaction log",
        "SELECT l.log_end_lsn FROM sys.dm_db_log_stats(DB_ID()) AS l",
    )
}

/// The newest scan of the capture job, and how many scans since then found nothing. Needs VIEW DATABASE
/// STATE; session 0 is the sum of all.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-log-scan-sessions>
#[must_use]
pub fn newest_scan() -> Query {
    Query::new(
        "read the scans of the capture job",
        "SELECT TOP (1) s.session_id, s.empty_scan_count, s.latency FROM sys.dm_cdc_log_scan_sessions AS s \
         WHERE s.session_id > 0 ORDER BY s.session_id DESC",
    )
}

/// The newest sessions of the capture job, of at most `limit`. Needs VIEW DATABASE STATE.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-log-scan-sessions>
#[must_use]
pub fn scan_sessions(limit: usize) -> Query {
    Query::new(
        "read the sessions of the capture job",
        format!(
            "SELECT TOP ({limit}) s.session_id, s.start_time, s.end_time, s.tran_count, s.last_commit_cdc_time, \
             s.empty_scan_count, s.scan_phase FROM sys.dm_cdc_log_scan_sessions AS s \
             WHERE s.session_id > 0 ORDER BY s.session_id DESC"
        ),
    )
}

/// The last captured transaction that ended at least `seconds` ago.
/// <https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-lsn-time-mapping-transact-sql>
#[must_use]
pub fn captured_before(seconds: u32) -> Query {
    Query::new(
        "ask how far capture had come",
        format!(
            "SELECT MAX(m.start_lsn) AS lsn FROM cdc.lsn_time_mapping AS m \
             WHERE m.tran_end_time < DATEADD(SECOND, -{seconds}, GETDATE())"
        ),
    )
}

/// The commit of the newest change of a change table.
#[must_use]
pub fn newest_change(instance: &CaptureInstance) -> Query {
    Query::new(
        format!("find the newest change of {}", instance.source.id()),
        format!(
            "SELECT TOP (1) c.[__$start_lsn] FROM {} AS c ORDER BY c.[__$start_lsn] DESC",
            change_table(&instance.name)
        ),
    )
}

/// The keys that changed after `after` up to `upto`, as often as they did.
#[must_use]
pub fn changed_keys(instance: &CaptureInstance, after: Lsn, upto: Lsn) -> Query {
    let columns: Vec<String> =
        instance.source.key_reads().map(|c| types::select_expression(&c.name, &c.ty)).collect();
    Query::new(
        format!("read the changed keys of {}", instance.source.id()),
        format!(
            "SELECT {} FROM {} AS c WHERE c.[__$start_lsn] > CAST(@P1 AS binary(10)) \
             AND c.[__$start_lsn] <= CAST(@P2 AS binary(10))",
            columns.join(", "),
            change_table(&instance.name)
        ),
    )
    .bind(after)
    .bind(upto)
}

/// Begins a transaction that reads as of its first read, whatever is written meanwhile.
/// <https://learn.microsoft.com/sql/t-sql/statements/set-transaction-isolation-level-transact-sql>
#[must_use]
pub fn begin_snapshot() -> Query {
    Query::new("begin a snapshot", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION;")
}

/// The first read of a snapshot: from now on it stands still.
#[must_use]
pub fn touch(id: &TableId) -> Query {
    Query::new(
        format!("take the snapshot of {id}"),
        format!("SELECT TOP (1) 1 AS one FROM {}", table(id)),
    )
}

/// Keeps writers out of a table until [`let_go`], having waited for those that are at work: at most a second, for
/// who comes behind us waits, too.
/// <https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table>
#[must_use]
pub fn hold_still(id: &TableId) -> Query {
    Query::new(
        format!("keep writers out of {id} for a moment"),
        format!(
            "SET LOCK_TIMEOUT 1000; BEGIN TRANSACTION; SELECT TOP (1) 1 AS one FROM {} WITH (TABLOCK, HOLDLOCK)",
            table(id)
        ),
    )
}

/// Ends the transaction of [`hold_still`].
#[must_use]
pub fn let_go() -> Query {
    Query::new("let writers in again", "COMMIT TRANSACTION;")
}

/// The number of rows of a table.
#[must_use]
pub fn count_rows(id: &TableId) -> Query {
    Query::new(
        format!("count the rows of {id}"),
        format!("SELECT COUNT_BIG(*) AS n FROM {}", table(id)),
    )
}

/// When the first transaction at or after a place ended, and the last at or before another.
#[must_use]
pub fn times_between(low: Lsn, position: Lsn) -> Query {
    Query::new(
        "read the times of two places in the log",
        "SELECT (SELECT MIN(m.tran_end_time) FROM cdc.lsn_time_mapping AS m \
         WHERE m.start_lsn >= CAST(@P1 AS binary(10))) AS low_time, \
         (SELECT MAX(m.tran_end_time) FROM cdc.lsn_time_mapping AS m \
         WHERE m.start_lsn <= CAST(@P2 AS binary(10))) AS position_time",
    )
    .bind(low)
    .bind(position)
}

/// Which history of the log the database is on: a restore begins another. NULL without the right to see it,
/// and on Azure SQL Database.
/// <https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-recovery-status-transact-sql>
#[must_use]
pub fn recovery_fork() -> Query {
    Query::new(
        "ask which recovery fork the database is on",
        "SELECT CAST(r.recovery_fork_guid AS nvarchar(36)) AS recovery_fork \
         FROM sys.database_recovery_status AS r WHERE r.database_id = DB_ID()",
    )
}

/// The select list of a table.
pub(crate) fn select_list(columns: &[ColumnRead]) -> String {
    select(columns, |column| column.in_source)
}

/// The columns, and behind them the sizes of those that may be too large to be read.
fn select(columns: &[ColumnRead], exists: impl Fn(&ColumnRead) -> bool) -> String {
    let values = columns.iter().map(|c| match c.largest {
        _ if !exists(c) => types::select_null(&c.name, &c.ty),
        Some(largest) => types::select_at_most(&c.name, &c.ty, largest),
        None => types::select_expression(&c.name, &c.ty),
    });
    let sizes = columns.iter().filter_map(|c| {
        let largest = c.largest?;
        Some(if exists(c) {
            types::select_size(&c.name, &c.ty, largest)
        } else {
            "CAST(NULL AS bigint)".to_owned()
        })
    });
    let all: Vec<String> = values.chain(sizes).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::orders;

    fn lsn(n: u16) -> Lsn {
        Lsn::from_parts(1, 2, n)
    }

    #[test]
    fn the_rest_of_a_transaction_is_a_seek_on_its_lsn() {
        let mut instance = orders();
        let at = Position { commit_lsn: lsn(1), command_id: 7, seqval: lsn(2), operation: 4 };
        let text = changes_of_transaction(&instance, &at).text;
        assert!(
            text.ends_with(
                "WHERE c.[__$start_lsn] = CAST(@P1 AS binary(10)) AND (c.[__$command_id] > @P4 OR \
                 (c.[__$command_id] = @P4 AND (c.[__$seqval] > CAST(@P2 AS binary(10)) OR \
                 (c.[__$seqval] = CAST(@P2 AS binary(10)) AND c.[__$operation] > @P3)))) ORDER BY \
                 c.[__$start_lsn], c.[__$command_id], c.[__$seqval], c.[__$operation]"
            ),
            "{text}"
        );
        instance.has_command_id = false;
        let query = changes_of_transaction(&instance, &at);
        assert!(query.text.contains("CAST(0 AS int) AS [__$command_id]"));
        assert_eq!(query.params.len(), 3);
    }

    /// What a look and a read of the stream send.
    fn of_the_stream() -> Vec<String> {
        let at = Position { commit_lsn: lsn(1), command_id: 7, seqval: lsn(2), operation: 4 };
        let instance = orders();
        [
            tick(),
            low_water(),
            transactions(lsn(1), lsn(2), 10),
            transaction_end(lsn(1)),
            tables_with_changes([&instance], lsn(1), lsn(2)),
            changes(&instance, lsn(1), lsn(2)),
            changes_of_transaction(&instance, &at),
        ]
        .into_iter()
        .map(|query| query.text.to_uppercase())
        .collect()
    }

    #[test]
    fn trap_23_no_read_is_dirty() {
        for text in of_the_stream() {
            assert!(!text.contains("NOLOCK") && !text.contains("UNCOMMITTED"), "{text}");
        }
        // The generated functions read NOLOCK.
        assert!(of_the_stream().iter().all(|text| !text.contains("FN_CDC_GET_ALL_CHANGES")));
    }

    #[test]
    fn trap_25_times_are_not_joined_to_rows() {
        for text in of_the_stream() {
            let reads_rows = text.contains("_CT]");
            assert!(!(reads_rows && text.contains("LSN_TIME_MAPPING")), "{text}");
            assert!(!text.contains("FN_CDC_MAP_LSN_TO_TIME"), "{text}");
        }
    }

    #[test]
    fn trap_26_the_stream_holds_no_transaction_open() {
        for text in of_the_stream() {
            assert!(!text.contains("TRAN;") && !text.contains("BEGIN TRAN"), "{text}");
        }
        assert!(!session(1).text.to_uppercase().contains("IMPLICIT_TRANSACTIONS ON"));
    }

    #[test]
    fn trap_31_history_tables_are_left_out() {
        for query in [capture_instances(), tables()] {
            assert!(query.text.contains("t.temporal_type <> 1"), "{}", query.text);
        }
    }

    #[test]
    fn sizes_stand_behind_the_columns() {
        let mut columns = orders().source.columns;
        columns[1].ty = causeway_change::ColumnType::Text;
        columns[1].largest = Some(10);
        assert_eq!(
            select_list(&columns),
            "[id], CASE WHEN DATALENGTH([name]) > 10 THEN NULL ELSE CAST([name] AS nvarchar(max)) END \
             AS [name], CAST([total] AS decimal(19,4)) AS [total], [code], \
             CASE WHEN DATALENGTH([name]) > 10 THEN CAST(DATALENGTH([name]) AS bigint) END"
        );
        columns[1].in_source = false;
        assert!(select_list(&columns).ends_with("[code], CAST(NULL AS bigint)"));
    }

    #[test]
    fn the_probe_asks_each_table_once() {
        let text = tables_with_changes([&orders(), &orders()], lsn(1), lsn(2)).text;
        assert_eq!(text.matches("FROM [cdc].[dbo_orders_CT]").count(), 2);
        assert_eq!(text.matches("UNION ALL").count(), 1);
    }
}
