//! Views of the whole server: databases, principals, sessions, transactions, the log, the capture jobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::moment;
use super::view::{View, bit, int, maybe_text, text};
use crate::cdc::state::{Session, state};
use crate::store::{Database, Instance, KeyRange, Lsn, Part, Transaction, encode_part, lock, read};
use crate::value::{Rowset, SqlError, Val};

/// `sys.databases`.
pub(crate) fn databases(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "name sysname!; database_id int!; source_database_id int; owner_sid varbinary(85); create_date datetime!; \
         compatibility_level tinyint!; collation_name sysname; user_access tinyint; user_access_desc nvarchar(60); \
         is_read_only bit; is_auto_close_on bit!; is_auto_shrink_on bit; state tinyint; state_desc nvarchar(60); \
         is_in_standby bit; is_cleanly_shutdown bit; is_supplemental_logging_enabled bit; \
         snapshot_isolation_state tinyint; snapshot_isolation_state_desc nvarchar(60); is_read_committed_snapshot_on bit; \
         recovery_model tinyint; recovery_model_desc nvarchar(60); page_verify_option tinyint; \
         page_verify_option_desc nvarchar(60); is_auto_create_stats_on bit; is_auto_update_stats_on bit; \
         is_published bit!; is_broker_enabled bit!; log_reuse_wait tinyint; log_reuse_wait_desc nvarchar(60); \
         is_cdc_enabled bit!; is_encrypted bit; containment tinyint; containment_desc nvarchar(60); \
         delayed_durability int; delayed_durability_desc nvarchar(60); is_accelerated_database_recovery_on bit",
    )?;
    for database in instance.databases() {
        let options = read(&database.options).clone();
        let waiting = crate::cdc::capture::waits(&database);
        let recovery = match options.recovery_model {
            "SIMPLE" => 3,
            "BULK_LOGGED" => 2,
            _ => 1,
        };
        view.row([
            text(database.name()),
            int(database.id),
            Val::Null,
            Val::bytes(&[1]),
            moment(database.create_date),
            int(options.compatibility_level),
            text(&options.collation),
            int(u8::from(options.single_user)),
            text(if options.single_user { "SINGLE_USER" } else { "MULTI_USER" }),
            bit(options.read_only),
            bit(false),
            bit(false),
            int(if options.offline { 6 } else { 0 }),
            text(if options.offline { "OFFLINE" } else { "ONLINE" }),
            bit(false),
            bit(false),
            bit(false),
            int(u8::from(options.snapshot_isolation)),
            text(if options.snapshot_isolation { "ON" } else { "OFF" }),
            bit(options.read_committed_snapshot),
            int(recovery),
            text(options.recovery_model),
            int(2),
            text("CHECKSUM"),
            bit(true),
            bit(true),
            bit(false),
            bit(false),
            int(if waiting { 6 } else { 0 }),
            text(if waiting { "REPLICATION" } else { "NOTHING" }),
            bit(database.is_cdc_enabled()),
            bit(false),
            int(0),
            text("NONE"),
            int(0),
            text("DISABLED"),
            bit(false),
        ]);
    }
    Ok(view.done())
}

/// A GUID that stays the same for a database of this server process: it was created then and there.
fn guid(database: &Database, kind: u8) -> Val {
    let mut bytes = [0u8; 16];
    let time = database.create_date.unix_ticks().to_be_bytes();
    let id = database.id.to_be_bytes();
    for (to, from) in bytes.iter_mut().zip(time.iter().chain(&id)) {
        *to = *from;
    }
    if let Some(last) = bytes.last_mut() {
        *last = kind;
    }
    Val::Guid(bytes)
}

/// `sys.database_recovery_status`.
pub(crate) fn recovery_status(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "database_id int!; database_guid uniqueidentifier; family_guid uniqueidentifier; last_log_backup_lsn numeric(25,0); \
         recovery_fork_guid uniqueidentifier; first_recovery_fork_guid uniqueidentifier; fork_point_lsn numeric(25,0)",
    )?;
    for database in instance.databases() {
        view.row([
            int(database.id),
            guid(&database, 1),
            guid(&database, 2),
            Val::Null,
            guid(&database, 3),
            Val::Null,
            Val::Null,
        ]);
    }
    Ok(view.done())
}

/// `sys.database_principals`.
pub(crate) fn database_principals(database: &Database) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "name sysname!; principal_id int!; type char(1)!; type_desc nvarchar(60); default_schema_name sysname; \
         create_date datetime!; modify_date datetime!; owning_principal_id int; sid varbinary(85); is_fixed_role bit!; \
         authentication_type int!; authentication_type_desc nvarchar(60)",
    )?;
    for principal in read(&database.objects).principals.values() {
        let role = principal.kind == "R";
        view.row([
            text(&principal.name),
            int(principal.id),
            text(principal.kind),
            text(if role { "DATABASE_ROLE" } else { "SQL_USER" }),
            maybe_text((!role).then_some("dbo")),
            moment(principal.create_date),
            moment(principal.create_date),
            Val::Null,
            Val::bytes(&principal.id.to_be_bytes()),
            bit(role && principal.id >= 16384),
            int(u8::from(!role)),
            text(if role { "NONE" } else { "INSTANCE" }),
        ]);
    }
    Ok(view.done())
}

/// `sys.database_role_members`.
pub(crate) fn role_members(database: &Database) -> Result<Rowset, SqlError> {
    let mut view = View::new("role_principal_id int!; member_principal_id int!")?;
    let objects = read(&database.objects);
    for role in objects.principals.values() {
        for member in &role.members {
            if let Some(member) = objects.principals.get(&crate::store::fold_name(member)) {
                view.row([int(role.id), int(member.id)]);
            }
        }
    }
    Ok(view.done())
}

/// `sys.server_principals`.
pub(crate) fn server_principals(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "name sysname!; principal_id int!; sid varbinary(85); type char(1)!; type_desc nvarchar(60); is_disabled bit; \
         create_date datetime!; modify_date datetime!; default_database_name sysname; default_language_name sysname; \
         is_fixed_role bit!",
    )?;
    for (id, login) in (1i64..).zip(read(&instance.logins).values()) {
        view.row([
            text(&login.name),
            int(id),
            Val::bytes(&id.to_be_bytes()),
            text("S"),
            text("SQL_LOGIN"),
            bit(login.disabled),
            moment(instance.started),
            moment(instance.started),
            text(&login.default_database),
            text("us_english"),
            bit(false),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_exec_sessions`.
pub(crate) fn sessions(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "session_id smallint!; login_time datetime!; host_name nvarchar(128); program_name nvarchar(128); \
         host_process_id int; client_version int; client_interface_name nvarchar(32); login_name nvarchar(128)!; \
         status nvarchar(30)!; language nvarchar(128); is_user_process bit!; transaction_isolation_level smallint!; \
         original_login_name nvarchar(128)!; database_id smallint!; open_transaction_count int!",
    )?;
    for session in read(&instance.sessions).values() {
        let database = instance.database(&session.database).map_or(1, |database| database.id);
        view.row([
            int(session.spid),
            moment(session.since),
            text(&session.host),
            text(&session.app),
            Val::Null,
            int(7),
            text(&session.library),
            text(&session.login),
            text("running"),
            text("us_english"),
            bit(true),
            int(2),
            text(&session.login),
            int(database),
            int(u8::from(session.transaction.load(Ordering::Relaxed) != 0)),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_exec_connections`.
pub(crate) fn connections(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "session_id int; most_recent_session_id int; connect_time datetime!; net_transport nvarchar(40)!; \
         protocol_type nvarchar(40); protocol_version int; encrypt_option nvarchar(40)!; auth_scheme nvarchar(40)!; \
         client_net_address varchar(48); client_tcp_port int; local_net_address varchar(48); local_tcp_port int",
    )?;
    for session in read(&instance.sessions).values() {
        view.row([
            int(session.spid),
            int(session.spid),
            moment(session.since),
            text("TCP"),
            text("TSQL"),
            int(1_946_157_060),
            text(if session.encrypted { "TRUE" } else { "FALSE" }),
            text("SQL"),
            text(&session.client_address),
            Val::Null,
            text("127.0.0.1"),
            Val::Null,
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_tran_database_transactions`: of the asking session's transaction only.
pub(crate) fn database_transactions(tx: &Transaction) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "transaction_id bigint!; database_id int!; database_transaction_begin_time datetime; database_transaction_type int!; \
         database_transaction_state int!; database_transaction_status int!; database_transaction_log_record_count bigint!; \
         database_transaction_begin_lsn numeric(25,0); database_transaction_last_lsn numeric(25,0); \
         database_transaction_most_recent_savepoint_lsn numeric(25,0); database_transaction_commit_lsn numeric(25,0); \
         database_transaction_last_rollback_lsn numeric(25,0); database_transaction_next_undo_lsn numeric(25,0)",
    )?;
    let number = |lsn: Option<Lsn>| lsn.map_or(Val::Null, |lsn| Val::Dec(lsn.numeric()));
    let id = i64::try_from(tx.id).unwrap_or(0);
    for part in tx.parts() {
        let Part { database, begin_lsn, last_lsn, savepoint_lsn, .. } = part;
        let written = begin_lsn.is_some();
        view.row([
            int(id),
            int(database.id),
            if written { moment(tx.begin_time) } else { Val::Null },
            int(1),
            int(if written { 4 } else { 3 }),
            int(0),
            int(u8::from(written)),
            number(*begin_lsn),
            number(*last_lsn),
            number(*savepoint_lsn),
            Val::Null,
            Val::Null,
            number(*last_lsn),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_tran_session_transactions`: of all sessions that have begun one.
pub(crate) fn session_transactions(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "session_id int!; transaction_id bigint!; transaction_descriptor binary(8)!; enlist_count int!; \
         is_user_transaction bit!; is_local bit!; is_enlisted bit!; is_bound bit!; open_transaction_count int!",
    )?;
    for session in read(&instance.sessions).values() {
        let id = session.transaction.load(Ordering::Relaxed);
        if id != 0 {
            view.row([
                int(session.spid),
                int(i64::try_from(id).unwrap_or(i64::MAX)),
                Val::bytes(&id.to_le_bytes()),
                int(0),
                bit(true),
                bit(true),
                bit(false),
                bit(false),
                int(1),
            ]);
        }
    }
    Ok(view.done())
}

/// `sys.dm_tran_active_transactions`: of the asking session only.
pub(crate) fn active_transactions(tx: &Transaction) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "transaction_id bigint!; name nvarchar(32)!; transaction_begin_time datetime!; transaction_type int!; \
         transaction_state int!",
    )?;
    let id = i64::try_from(tx.id).unwrap_or(0);
    view.row([int(id), text("user_transaction"), moment(tx.begin_time), int(1), int(2)]);
    Ok(view.done())
}

/// `sys.dm_db_log_stats(database_id)`.
pub(crate) fn log_stats(database: Option<&Arc<Database>>) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "database_id int!; recovery_model nvarchar(60); log_min_lsn nvarchar(24); log_end_lsn nvarchar(24); \
         current_vlf_sequence_number bigint; current_vlf_size_mb float; total_vlf_count bigint; total_log_size_mb float; \
         active_vlf_count bigint; active_log_size_mb float; log_truncation_holdup_reason nvarchar(60); \
         log_backup_time datetime; log_backup_lsn nvarchar(24); log_since_last_log_backup_mb float; \
         log_checkpoint_lsn nvarchar(24); log_since_last_checkpoint_mb float; log_recovery_lsn nvarchar(24); \
         log_recovery_size_mb float; recovery_vlf_count bigint",
    )?;
    if let Some(database) = database {
        let end = database.log_end();
        let held = crate::cdc::capture::waits(database);
        let oldest = database.log.peek(1).first().map_or(end, |record| record.begin_lsn);
        view.row([
            int(database.id),
            text(read(&database.options).recovery_model),
            text(oldest.to_string()),
            text(end.to_string()),
            int(end.vlf),
            Val::Float(64.0),
            int(4),
            Val::Float(256.0),
            int(1),
            Val::Float(1.0),
            text(if held { "REPLICATION" } else { "NOTHING" }),
            moment(database.create_date),
            text(oldest.to_string()),
            Val::Float(0.0),
            text(oldest.to_string()),
            Val::Float(0.0),
            text(oldest.to_string()),
            Val::Float(0.0),
            int(1),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_cdc_log_scan_sessions`: the sessions that are kept, and one row (session 0) for all of them.
pub(crate) fn scan_sessions(database: &Database) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "session_id int; start_time datetime; end_time datetime; duration bigint; scan_phase nvarchar(200); error_count int; \
         start_lsn nvarchar(23); current_lsn nvarchar(23); end_lsn nvarchar(23); tran_count bigint; \
         last_commit_lsn nvarchar(23); last_commit_time datetime; log_record_count bigint; schema_change_count int; \
         command_count bigint; first_begin_cdc_lsn nvarchar(23); last_commit_cdc_lsn nvarchar(23); \
         last_commit_cdc_time datetime; latency int; empty_scan_count int; failed_sessions_count int",
    )?;
    let Some(state) = state(database) else { return Ok(view.done()) };
    let sessions: Vec<Session> = lock(&state.sessions).iter().cloned().collect();
    let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else {
        return Ok(view.done());
    };
    let sum = |of: fn(&Session) -> i64| sessions.iter().map(of).sum();
    let newest = sessions.iter().rev();
    let all = Session {
        id: 0,
        start: first.start,
        end: last.end,
        start_lsn: first.start_lsn,
        end_lsn: last.end_lsn,
        transactions: sum(|session| session.transactions),
        last_commit: newest.clone().find_map(|session| session.last_commit),
        captured: newest.clone().find_map(|session| session.captured),
        records: sum(|session| session.records),
        schema_changes: sum(|session| session.schema_changes),
        commands: sum(|session| session.commands),
        empty_scans: sum(|session| session.empty_scans),
    };
    for session in std::iter::once(&all).chain(&sessions) {
        view.push(session_row(session));
    }
    Ok(view.done())
}

const SECOND: i64 = 10_000_000;

fn session_row(session: &Session) -> Vec<Val> {
    // the text ends with a NUL, as Debezium found it on real servers: that makes 23 characters
    let lsn = |lsn: Option<Lsn>| {
        let text_of =
            lsn.map_or_else(|| "00000000:00000000:0000".to_owned(), |lsn| lsn.to_string());
        text(format!("{text_of}\0"))
    };
    let latency = session
        .captured
        .map_or(0, |captured| (session.end.unix_ticks() - captured.2.unix_ticks()).max(0) / SECOND);
    vec![
        int(session.id),
        moment(session.start),
        moment(session.end),
        int((session.end.unix_ticks() - session.start.unix_ticks()) / SECOND),
        text("Done"),
        int(0),
        lsn(session.start_lsn),
        lsn(None),
        lsn(session.end_lsn),
        int(session.transactions),
        lsn(session.last_commit.map(|last| last.0)),
        session.last_commit.map_or(Val::Null, |last| moment(last.1)),
        int(session.records),
        int(session.schema_changes),
        int(session.commands),
        lsn(session.captured.map(|captured| captured.0)),
        lsn(session.captured.map(|captured| captured.1)),
        session.captured.map_or(Val::Null, |captured| moment(captured.2)),
        int(latency),
        int(session.empty_scans),
        int(0),
    ]
}

/// `msdb.dbo.cdc_jobs`.
pub(crate) fn cdc_jobs(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "database_id int!; job_type nvarchar(20)!; job_id uniqueidentifier; maxtrans int; maxscans int; continuous bit; \
         pollinginterval bigint; retention bigint; threshold bigint",
    )?;
    for database in instance.databases() {
        let Some(state) = state(&database) else { continue };
        let jobs = *lock(&state.jobs);
        if let Some(job) = jobs.capture {
            view.row([
                int(database.id),
                text("capture"),
                Val::Guid(job.id),
                int(job.maxtrans),
                int(job.maxscans),
                bit(job.continuous),
                int(job.pollinginterval),
                int(0),
                int(0),
            ]);
        }
        if let Some(job) = jobs.cleanup {
            view.row([
                int(database.id),
                text("cleanup"),
                Val::Guid(job.id),
                int(0),
                int(0),
                bit(false),
                int(0),
                int(job.retention),
                int(job.threshold),
            ]);
        }
    }
    Ok(view.done())
}

/// The most steps of a histogram.
const STEPS: usize = 200;

/// `sys.dm_db_stats_histogram(object_id, stats_id)`, exact: the leading column of the index, at most 200 steps.
pub(crate) fn histogram(
    tx: &mut Transaction,
    database: &Arc<Database>,
    object_id: i64,
    stats_id: i64,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_id int!; stats_id int!; step_number int!; range_high_key sql_variant; range_rows real!; equal_rows real!; \
         distinct_range_rows bigint!; average_range_rows real!",
    )?;
    let table = i32::try_from(object_id).ok().and_then(|id| database.table_by_id(id));
    let Some(table) = table else { return Ok(view.done()) };
    let def = table.def();
    let Some(position) = def.indexes.iter().position(|index| i64::from(index.id) == stats_id)
    else {
        return Ok(view.done());
    };
    let leading =
        def.indexes.get(position).and_then(|index| index.columns.first()).map(|key| key.column);
    let Some((at, column)) = leading.and_then(|at| def.columns.get(at).map(|column| (at, column)))
    else {
        return Ok(view.done());
    };
    // Runs of equal leading values, in the order of the index.
    let mut runs: Vec<(Val, Vec<u8>, u32)> = Vec::new();
    let mut step: Vec<(Val, u32, u32, u32)> = Vec::new();
    let each = u32::try_from(table.approximate_rows() / (STEPS - 1)).unwrap_or(u32::MAX).max(1);
    let (mut rows, mut distinct) = (0u32, 0u32);
    let close = |value: Val,
                 equal: u32,
                 rows: &mut u32,
                 distinct: &mut u32,
                 step: &mut Vec<(Val, u32, u32, u32)>,
                 last: bool| {
        if last || step.is_empty() || *rows + equal >= each {
            step.push((value, std::mem::take(rows), equal, std::mem::take(distinct)));
        } else {
            *rows += equal;
            *distinct += 1;
        }
    };
    for (_, row) in tx.cursor(database, &table, Some(position), KeyRange::default(), false) {
        let value = row.get(at).cloned().unwrap_or(Val::Null);
        let mut bytes = Vec::new();
        encode_part(column, &value, false, &mut bytes);
        match runs.last_mut() {
            Some(run) if run.1 == bytes => run.2 += 1,
            _ => {
                if let Some((value, _, equal)) = runs.pop() {
                    close(value, equal, &mut rows, &mut distinct, &mut step, false);
                }
                runs.push((value, bytes, 1));
            }
        }
    }
    if let Some((value, _, equal)) = runs.pop() {
        close(value, equal, &mut rows, &mut distinct, &mut step, true);
    }
    for (n, (value, rows, equal, distinct)) in (1i64..).zip(step) {
        let high =
            if value.is_null() { Val::Null } else { Val::Variant(Box::new((column.ty, value))) };
        view.row([
            int(object_id),
            int(stats_id),
            int(n),
            high,
            real(rows),
            real(equal),
            int(distinct),
            real(rows.checked_div(distinct).unwrap_or(1)),
        ]);
    }
    Ok(view.done())
}

/// A count as `real`, which is exact to sixteen million.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a count of rows of a test table; real is what the view has"
)]
fn real(count: u32) -> Val {
    Val::Real(f64::from(count) as f32)
}
