//! System procedures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arguments::Arguments;
use super::properties::{SETTINGS, find_setting};
use super::view::{View, bit, int, maybe_text, same, split_name, text};
use super::{Host, ProcArg, ProcResult, odbc, types, world};
use crate::cdc::instance::{self, CaptureInstance, Request, string, whole};
use crate::cdc::state::{CaptureJob, CleanupJob, State, state};
use crate::cdc::tables::{captured_columns, change_tables, ddl_history};
use crate::cdc::{capture, cleanup, control, database as cdc_database, wrapper as cdc_wrapper};
use crate::store::{Database, Instance, Mode, Table, TableDef, fold_name, lock, read, write};
use crate::value::{Rowset, SqlError, Val};

type Done = Result<Option<ProcResult>, SqlError>;

fn nothing() -> Done {
    Ok(Some(ProcResult::default()))
}

fn rowset(rowset: Rowset) -> Done {
    Ok(Some(ProcResult { rowsets: vec![rowset], ..ProcResult::default() }))
}

/// See [`super::procedure`].
pub(super) fn call(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: Option<&str>,
    name: &str,
    args: &[ProcArg],
) -> Done {
    let instance = Arc::clone(host.instance());
    let here = world::find(&instance, &host.database(), database)?;
    let name = name.to_lowercase();
    let schema = schema.map(str::to_lowercase);
    if schema.as_deref() == Some("standin") {
        return if name == "control" { standin(host, &instance, &here, args) } else { Ok(None) };
    }
    if !matches!(schema.as_deref(), None | Some("sys" | "dbo" | "")) {
        return Ok(None);
    }
    if name.starts_with("sp_cdc_") {
        return cdc(host, &instance, &here, &name, args);
    }
    match name.as_str() {
        "sp_rename" => rename(host, &here, args),
        "sp_configure" => configure(&instance, args),
        "sp_addrolemember" | "sp_droprolemember" => role_member(&here, &name, args),
        "sp_getapplock" => get_lock(host, &here, args),
        "sp_releaseapplock" => nothing(),
        "sp_who" | "sp_who2" => rowset(super::server::sessions(&instance)?),
        "sp_addextendedproperty" | "sp_updateextendedproperty" | "sp_dropextendedproperty" => {
            nothing()
        }
        "sp_updatestats" | "sp_changedbowner" | "sp_recompile" => nothing(),
        "sp_helpdb" => rowset(super::server::databases(&instance)?),
        _ => odbc::call(&here, &name, args),
    }
}

fn cdc(
    host: &mut dyn Host,
    instance: &Arc<Instance>,
    here: &Arc<Database>,
    name: &str,
    args: &[ProcArg],
) -> Done {
    match name {
        "sp_cdc_enable_db" | "sp_cdc_disable_db" => super::security::sysadmin_only(host, here)?,
        "sp_cdc_help_change_data_capture"
        | "sp_cdc_get_captured_columns"
        | "sp_cdc_get_ddl_history" => {}
        _ => super::security::owner_only(host, here)?,
    }
    match name {
        "sp_cdc_enable_db" => {
            Arguments::new(name, &[], args)?;
            cdc_database::enable(instance, host.transaction(), here)?;
            nothing()
        }
        "sp_cdc_disable_db" => {
            cdc_database::disable(instance, host.transaction(), here)?;
            nothing()
        }
        "sp_cdc_enable_table" => enable_table(host, instance, here, args),
        "sp_cdc_disable_table" => {
            let given =
                Arguments::new(name, &["source_schema", "source_name", "capture_instance"], args)?;
            let (schema, table) =
                (given.required("source_schema")?, given.required("source_name")?);
            instance::disable(
                host.transaction(),
                here,
                &schema,
                &table,
                &given.required("capture_instance")?,
            )?;
            nothing()
        }
        "sp_cdc_cleanup_change_table" => {
            let names = ["capture_instance", "low_water_mark", "threshold", "fcleanupfailed"];
            let given = Arguments::new(name, &names, args)?;
            let one = given.required("capture_instance")?;
            cleanup::change_table(host.transaction(), here, &one, given.lsn("low_water_mark")?)?;
            let failed = given.position("fcleanupfailed");
            let outputs =
                failed.map(|at| (at, crate::value::Typed::bit(false))).into_iter().collect();
            Ok(Some(ProcResult { outputs, ..ProcResult::default() }))
        }
        "sp_cdc_scan" => {
            let names = ["maxtrans", "maxscans", "continuous", "pollinginterval", "is_from_job"];
            let given = Arguments::new(name, &names, args)?;
            let state = enabled(here)?;
            let most = given.int("maxtrans")?.unwrap_or(500) * given.int("maxscans")?.unwrap_or(10);
            capture::scan(
                instance,
                here,
                &state,
                usize::try_from(most).unwrap_or(usize::MAX).max(1),
            )?;
            nothing()
        }
        "sp_cdc_generate_wrapper_function" => {
            let names =
                ["capture_instance", "closed_high_end_point", "column_list", "update_flag_list"];
            let given = Arguments::new(name, &names, args)?;
            for other in ["closed_high_end_point", "column_list", "update_flag_list"] {
                if given.text(other)?.is_some() {
                    return Err(SqlError::unknown(format_args!("{name} with @{other}")));
                }
            }
            enabled(here)?;
            let one = given.text("capture_instance")?;
            rowset(cdc_wrapper::scripts(host.transaction(), here, one.as_deref())?)
        }
        "sp_cdc_help_change_data_capture" => help(host, here, args),
        "sp_cdc_get_captured_columns" => get_captured_columns(host, here, args),
        "sp_cdc_get_ddl_history" => get_ddl_history(host, here, args),
        "sp_cdc_help_jobs" | "sp_cdc_change_job" | "sp_cdc_add_job" | "sp_cdc_drop_job"
        | "sp_cdc_start_job" | "sp_cdc_stop_job" => jobs(here, name, args),
        _ => Ok(None),
    }
}

/// The state of a database with CDC; error 22901 without.
fn enabled(here: &Database) -> Result<Arc<State>, SqlError> {
    state(here).filter(|_| here.is_cdc_enabled()).ok_or_else(|| instance::not_enabled(here))
}

fn enable_table(
    host: &mut dyn Host,
    instance: &Arc<Instance>,
    here: &Arc<Database>,
    args: &[ProcArg],
) -> Done {
    let names = [
        "source_schema",
        "source_name",
        "role_name",
        "capture_instance",
        "supports_net_changes",
        "index_name",
        "captured_column_list",
        "filegroup_name",
        "allow_partition_switch",
    ];
    let given = Arguments::new("sp_cdc_enable_table", &names, args)?;
    if given.position("role_name").is_none() {
        given.required("role_name")?;
    }
    let unquoted = |name: String| match here.schema(&name) {
        Some(_) => name,
        None => split_name(&name).pop().unwrap_or(name),
    };
    let request = Request {
        schema: unquoted(given.required("source_schema")?),
        table: given.required("source_name")?,
        role: given.text("role_name")?,
        instance: given.text("capture_instance")?,
        net_changes: given.bit("supports_net_changes")?,
        index: given.text("index_name")?,
        columns: given.text("captured_column_list")?,
        filegroup: given.text("filegroup_name")?,
        partition_switch: given.bit("allow_partition_switch")?,
    };
    instance::enable(instance, host.transaction(), here, &request)?;
    nothing()
}

fn jobs(here: &Arc<Database>, name: &str, args: &[ProcArg]) -> Done {
    let names = [
        "job_type",
        "maxtrans",
        "maxscans",
        "continuous",
        "pollinginterval",
        "retention",
        "threshold",
    ];
    let names_of_add = [
        "job_type",
        "start_job",
        "maxtrans",
        "maxscans",
        "continuous",
        "pollinginterval",
        "retention",
        "threshold",
    ];
    let given = if name == "sp_cdc_add_job" {
        Arguments::new(name, &names_of_add, args)?
    } else {
        Arguments::new(name, &names, args)?
    };
    let state = enabled(here)?;
    let kind = given.text("job_type")?.unwrap_or_else(|| "capture".to_owned()).to_lowercase();
    if kind != "capture" && kind != "cleanup" {
        let message = "The job type must be 'capture' or 'cleanup'.";
        return Err(SqlError::new(22992, message));
    }
    let capture = kind == "capture";
    let mut jobs = lock(&state.jobs);
    match name {
        "sp_cdc_help_jobs" => {
            let jobs = *jobs;
            return rowset(help_jobs(here, &jobs)?);
        }
        "sp_cdc_drop_job" if capture => {
            jobs.capture = None;
            state.stopped.store(true, Ordering::SeqCst);
        }
        "sp_cdc_drop_job" => jobs.cleanup = None,
        "sp_cdc_start_job" if capture => {
            state.stopped.store(jobs.capture.is_none(), Ordering::SeqCst);
        }
        "sp_cdc_stop_job" if capture => state.stopped.store(true, Ordering::SeqCst),
        "sp_cdc_start_job" | "sp_cdc_stop_job" => {}
        _ if capture => {
            let adds = name == "sp_cdc_add_job";
            let mut job = match jobs.capture {
                Some(_) if adds => return Err(job_exists(here, &kind)),
                Some(job) => job,
                None if adds => CaptureJob::new(here.id),
                None => return Err(no_job(here, &kind)),
            };
            job.maxtrans = given.int("maxtrans")?.unwrap_or(job.maxtrans);
            job.maxscans = given.int("maxscans")?.unwrap_or(job.maxscans);
            job.continuous = given.bit("continuous")?.unwrap_or(job.continuous);
            job.pollinginterval = given.int("pollinginterval")?.unwrap_or(job.pollinginterval);
            jobs.capture = Some(job);
            if adds && given.bit("start_job")?.unwrap_or(true) {
                state.stopped.store(false, Ordering::SeqCst);
            }
        }
        _ => {
            let adds = name == "sp_cdc_add_job";
            let mut job = match jobs.cleanup {
                Some(_) if adds => return Err(job_exists(here, &kind)),
                Some(job) => job,
                None if adds => CleanupJob::new(here.id),
                None => return Err(no_job(here, &kind)),
            };
            job.retention = given.int("retention")?.unwrap_or(job.retention);
            job.threshold = given.int("threshold")?.unwrap_or(job.threshold);
            jobs.cleanup = Some(job);
        }
    }
    nothing()
}

fn job_exists(here: &Database, kind: &str) -> SqlError {
    let name = here.name();
    SqlError::new(
        22996,
        format!("The change data capture job '{kind}' of the database '{name}' exists already."),
    )
}

fn no_job(here: &Database, kind: &str) -> SqlError {
    let name = here.name();
    SqlError::new(
        22993,
        format!("The change data capture job '{kind}' of the database '{name}' does not exist."),
    )
}

fn help_jobs(here: &Database, jobs: &crate::cdc::state::Jobs) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "job_id uniqueidentifier!; job_type nvarchar(20)!; job_name sysname!; maxtrans int; maxscans int; continuous bit; \
         pollinginterval bigint; retention bigint; threshold bigint",
    )?;
    let name = here.name();
    if let Some(job) = jobs.capture {
        view.row([
            Val::Guid(job.id),
            text("capture"),
            text(format!("cdc.{name}_capture")),
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
            Val::Guid(job.id),
            text("cleanup"),
            text(format!("cdc.{name}_cleanup")),
            int(0),
            int(0),
            bit(false),
            int(0),
            int(job.retention),
            int(job.threshold),
        ]);
    }
    Ok(view.done())
}

/// Schema and name of an instance's source table.
fn source(here: &Database, one: &CaptureInstance) -> (Option<String>, Option<String>) {
    let def = here.table_by_id(one.source).map(|table| table.def());
    (def.as_ref().map(|def| def.schema.clone()), def.as_ref().map(|def| def.name.clone()))
}

fn bracketed(names: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = names.map(|name| format!("[{}]", name.replace(']', "]]"))).collect();
    all.join(", ")
}

fn help(host: &mut dyn Host, here: &Arc<Database>, args: &[ProcArg]) -> Done {
    let given =
        Arguments::new("sp_cdc_help_change_data_capture", &["source_schema", "source_name"], args)?;
    enabled(here)?;
    let (schema, table) = (given.text("source_schema")?, given.text("source_name")?);
    let mut view = View::new(
        "source_schema sysname; source_table sysname; capture_instance sysname!; object_id int; source_object_id int; \
         start_lsn binary(10); end_lsn binary(10); supports_net_changes bit; has_drop_pending bit; role_name sysname; \
         index_name sysname; filegroup_name sysname; create_date datetime; index_column_list nvarchar(max); \
         captured_column_list nvarchar(max)",
    )?;
    for one in instance::all(host.transaction(), here)? {
        let (of, named) = source(here, &one);
        let wanted = |wanted: &Option<String>, is: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| is.as_ref().is_some_and(|is| same(is, wanted)))
        };
        if !wanted(&schema, &of)
            || !wanted(&table, &named)
            || !super::security::may_see(host, here, &one)?
        {
            continue;
        }
        let tx = host.transaction();
        let keys = instance::key_columns(tx, here, one.change_table)?;
        let columns = instance::columns(tx, here, one.change_table)?;
        let copied = |at: usize| one.row.get(at).cloned().unwrap_or(Val::Null);
        let key_list = (!keys.is_empty()).then(|| bracketed(keys.into_iter()));
        view.row([
            maybe_text(of),
            maybe_text(named),
            text(&one.name),
            int(one.change_table),
            int(one.source),
            copied(change_tables::START_LSN),
            copied(change_tables::END_LSN),
            copied(change_tables::SUPPORTS_NET_CHANGES),
            copied(change_tables::HAS_DROP_PENDING),
            copied(change_tables::ROLE_NAME),
            copied(change_tables::INDEX_NAME),
            copied(change_tables::FILEGROUP_NAME),
            copied(change_tables::CREATE_DATE),
            maybe_text(key_list),
            text(bracketed(columns.into_iter().map(|column| column.name))),
        ]);
    }
    rowset(view.done())
}

fn of_name(
    host: &mut dyn Host,
    here: &Arc<Database>,
    name: &str,
) -> Result<CaptureInstance, SqlError> {
    enabled(here)?;
    let all = instance::all(host.transaction(), here)?;
    let found = all.into_iter().find(|one| same(&one.name, name));
    let seen = match found {
        Some(one) if super::security::may_see(host, here, &one)? => Some(one),
        _ => None,
    };
    seen.ok_or_else(|| {
        SqlError::new(
            22981,
            format!("Object does not exist or access is denied: the capture instance '{name}'."),
        )
    })
}

fn get_captured_columns(host: &mut dyn Host, here: &Arc<Database>, args: &[ProcArg]) -> Done {
    let given = Arguments::new("sp_cdc_get_captured_columns", &["capture_instance"], args)?;
    let one = of_name(host, here, &given.required("capture_instance")?)?;
    let mut view = View::new(
        "source_schema sysname; source_table sysname; capture_instance sysname; column_name sysname; column_id int; \
         ordinal_position int; data_type sysname; character_maximum_length int; numeric_precision tinyint; \
         numeric_precision_radix smallint; numeric_scale int; datetime_precision smallint",
    )?;
    let (schema, table) = source(here, &one);
    let def = here.table_by_id(one.change_table).map(|table| table.def());
    for column in instance::columns(host.transaction(), here, one.change_table)? {
        let held = def.as_ref().and_then(|def| {
            def.columns.get(crate::cdc::tables::change::CAPTURED + column.ordinal - 1)
        });
        let facts = held.map(|held| types::facts(&held.ty));
        view.row([
            maybe_text(schema.as_deref()),
            maybe_text(table.as_deref()),
            text(&one.name),
            text(&column.name),
            int(column.source_column),
            column.row.get(captured_columns::COLUMN_ORDINAL).cloned().unwrap_or(Val::Null),
            column.row.get(captured_columns::COLUMN_TYPE).cloned().unwrap_or(Val::Null),
            facts.filter(|facts| facts.character).map_or(Val::Null, |facts| int(facts.length)),
            facts
                .filter(|facts| facts.precision > 0)
                .map_or(Val::Null, |facts| int(facts.precision)),
            facts.filter(|facts| facts.precision > 0).map_or(Val::Null, |_| int(10)),
            facts.filter(|facts| facts.precision > 0).map_or(Val::Null, |facts| int(facts.scale)),
            Val::Null,
        ]);
    }
    rowset(view.done())
}

fn get_ddl_history(host: &mut dyn Host, here: &Arc<Database>, args: &[ProcArg]) -> Done {
    let given = Arguments::new("sp_cdc_get_ddl_history", &["capture_instance"], args)?;
    let one = of_name(host, here, &given.required("capture_instance")?)?;
    let mut view = View::new(
        "source_schema sysname; source_table sysname; capture_instance sysname; required_column_update bit; \
         ddl_command nvarchar(max); ddl_lsn binary(10); ddl_time datetime",
    )?;
    let (schema, table) = source(here, &one);
    let history = instance::cdc_table(here, "ddl_history")?;
    for (_, row) in host.transaction().scan(here, &history) {
        if whole(&row, ddl_history::OBJECT_ID) != Some(one.change_table) {
            continue;
        }
        let copied = |at: usize| row.get(at).cloned().unwrap_or(Val::Null);
        view.row([
            maybe_text(schema.as_deref()),
            maybe_text(table.as_deref()),
            text(&one.name),
            copied(ddl_history::REQUIRED_COLUMN_UPDATE),
            text(string(&row, ddl_history::DDL_COMMAND)),
            copied(ddl_history::DDL_LSN),
            copied(ddl_history::DDL_TIME),
        ]);
    }
    rowset(view.done())
}

fn rename(host: &mut dyn Host, here: &Arc<Database>, args: &[ProcArg]) -> Done {
    let given = Arguments::new("sp_rename", &["objname", "newname", "objtype"], args)?;
    let (name, new) = (given.required("objname")?, given.required("newname")?);
    let kind = given.text("objtype")?.map(|kind| kind.to_uppercase());
    let no_item = || {
        let shown = kind.as_deref().unwrap_or("(null)");
        let database = here.name();
        SqlError::new(
            15225,
            format!(
                "No item by the name of '{name}' could be found in the current database '{database}', given that \
                 @itemtype was input as '{shown}'."
            ),
        )
        .class(11)
    };
    let parts = split_name(&name);
    let table_of = |parts: &[String]| match parts {
        [table] => here.table("dbo", table),
        [.., schema, table] => here.table(if schema.is_empty() { "dbo" } else { schema }, table),
        [] => None,
    };
    // Without a type the name is that of an object, else of a column.
    let is_column = kind.is_none()
        && table_of(&parts).is_none()
        && parts.split_last().is_some_and(|(column, table)| {
            table_of(table).is_some_and(|table| table.def().ordinal(column).is_some())
        });
    let tx = host.transaction();
    match kind.as_deref().or(is_column.then_some("COLUMN")) {
        None | Some("OBJECT") => {
            if let Some(table) = table_of(&parts) {
                let schema = table.def().schema.clone();
                if here.table(&schema, &new).is_some() {
                    return Err(in_use(&new));
                }
                tx.rename_table(here, &table, &schema, &new)?;
            } else {
                rename_constraint(tx, here, parts.last().map_or("", String::as_str), &new)
                    .ok_or_else(no_item)??;
            }
        }
        Some("COLUMN") => {
            let wrong = || {
                let message = "Either the parameter @objname is ambiguous or the claimed @objtype (COLUMN) is wrong.";
                SqlError::new(15248, message).class(11)
            };
            let (column, table) = parts.split_last().ok_or_else(wrong)?;
            let table = table_of(table).ok_or_else(wrong)?;
            crate::cdc::before_rename_column(tx, here, &table, column)?;
            let mut def = (*table.def()).clone();
            if def.ordinal(&new).is_some_and(|at| Some(at) != def.ordinal(column)) {
                return Err(in_use(&new));
            }
            let at = def.ordinal(column).ok_or_else(wrong)?;
            if let Some(column) = def.columns.get_mut(at) {
                column.name.clone_from(&new);
            }
            tx.redefine_table(here, &table, def)?;
        }
        Some("INDEX") => {
            let (index, table) = parts.split_last().ok_or_else(no_item)?;
            let table = table_of(table).ok_or_else(no_item)?;
            let mut def = (*table.def()).clone();
            let found = def
                .indexes
                .iter_mut()
                .find(|known| same(&known.name, index))
                .ok_or_else(no_item)?;
            found.name.clone_from(&new);
            tx.redefine_table(here, &table, def)?;
        }
        Some(other) => {
            return Err(SqlError::unknown(format!("sp_rename with @objtype = '{other}'")));
        }
    }
    here.changed();
    let caution =
        "Caution: Changing any part of an object name could break scripts and stored procedures.";
    Ok(Some(ProcResult { messages: vec![SqlError::info(15477, caution)], ..ProcResult::default() }))
}

fn rename_constraint(
    tx: &mut crate::store::Transaction,
    here: &Arc<Database>,
    name: &str,
    new: &str,
) -> Option<Result<(), SqlError>> {
    here.tables().iter().find_map(|table| {
        let mut def = (*table.def()).clone();
        let slot = constraint_name(&mut def, name)?;
        new.clone_into(slot);
        Some(tx.redefine_table(here, table, def))
    })
}

fn constraint_name<'a>(def: &'a mut TableDef, name: &str) -> Option<&'a mut String> {
    let keys = def.indexes.iter_mut().filter(|index| index.primary_key || index.unique_constraint);
    let keys = keys.map(|index| &mut index.name);
    let foreign = def.foreign_keys.iter_mut().map(|key| &mut key.name);
    let checks = def.checks.iter_mut().map(|check| &mut check.name);
    let defaults = def
        .columns
        .iter_mut()
        .filter_map(|column| column.default.as_mut())
        .map(|default| &mut default.name);
    keys.chain(foreign).chain(checks).chain(defaults).find(|known| same(known, name))
}

fn in_use(new: &str) -> SqlError {
    SqlError::new(
        15335,
        format!("Error: The new name '{new}' is already in use as a object name and would cause a duplicate that is not permitted."),
    )
    .class(11)
}

fn configure(instance: &Instance, args: &[ProcArg]) -> Done {
    let given = Arguments::new("sp_configure", &["configname", "configvalue"], args)?;
    let value_of = |name: &str, default: i32| {
        let set = read(&instance.configuration).get(&fold_name(name)).copied();
        set.unwrap_or_else(|| default.into())
    };
    let Some(name) = given.text("configname")? else {
        let mut view = View::new(
            "name nvarchar(35)!; minimum int!; maximum int!; config_value int!; run_value int!",
        )?;
        for setting in &SETTINGS {
            let (least, greatest) = setting.range();
            let value = || int(value_of(setting.name(), setting.default));
            view.row([text(setting.name()), int(least), int(greatest), value(), value()]);
        }
        return rowset(view.done());
    };
    let setting = find_setting(&name).ok_or_else(|| {
        let message = format!(
            "The configuration option '{name}' does not exist, or it may be an advanced option."
        );
        SqlError::new(15123, message)
    })?;
    let before = value_of(setting.name(), setting.default);
    let Some(value) = given.int("configvalue")? else {
        let mut view = View::new(
            "name nvarchar(35)!; minimum int!; maximum int!; config_value int!; run_value int!",
        )?;
        let (least, greatest) = setting.range();
        view.row([text(setting.name()), int(least), int(greatest), int(before), int(before)]);
        return rowset(view.done());
    };
    if !setting.allows(value) {
        let message = format!(
            "'{value}' is not a valid value for configuration option '{}'.",
            setting.name()
        );
        return Err(SqlError::new(15129, message));
    }
    write(&instance.configuration).insert(fold_name(setting.name()), value);
    let message = format!(
        "Configuration option '{}' changed from {before} to {value}. Run the RECONFIGURE statement to install.",
        setting.name()
    );
    Ok(Some(ProcResult { messages: vec![SqlError::info(15457, message)], ..ProcResult::default() }))
}

fn role_member(here: &Database, name: &str, args: &[ProcArg]) -> Done {
    let given = Arguments::new(name, &["rolename", "membername"], args)?;
    let (role, member) = (given.required("rolename")?, given.required("membername")?);
    let mut objects = write(&here.objects);
    let unknown = |name: &str| {
        let message = format!("User or role '{name}' does not exist in this database.");
        SqlError::new(15410, message).class(11)
    };
    if !objects.principals.contains_key(&fold_name(&member)) {
        return Err(unknown(&member));
    }
    let found = objects.principals.get_mut(&fold_name(&role)).ok_or_else(|| unknown(&role))?;
    found.members.retain(|known| !same(known, &member));
    if name == "sp_addrolemember" {
        found.members.push(member);
    }
    nothing()
}

/// An application lock: a lock on a table that does not exist, held until the transaction ends.
fn get_lock(host: &mut dyn Host, here: &Arc<Database>, args: &[ProcArg]) -> Done {
    let names = ["resource", "lockmode", "lockowner", "locktimeout", "dbprincipal"];
    let given = Arguments::new("sp_getapplock", &names, args)?;
    if given.text("lockowner")?.is_some_and(|owner| !same(&owner, "transaction")) {
        return Err(SqlError::unknown("sp_getapplock with @LockOwner = 'Session'"));
    }
    let mode = match given.required("lockmode")?.to_lowercase().as_str() {
        "shared" | "intentshared" => Mode::Shared,
        _ => Mode::Exclusive,
    };
    let resource = given.required("resource")?;
    // Object ids of tables are positive.
    let id = resource
        .encode_utf16()
        .fold(17i32, |sum, unit| sum.wrapping_mul(31).wrapping_add(unit.into()));
    let pseudo = Table::new(
        here.id,
        TableDef::new(id | i32::MIN, "applock", &resource, Vec::new(), here.now()),
    );
    let timeout = given.int("locktimeout")?.and_then(|ms| u64::try_from(ms).ok());
    let tx = host.transaction();
    let before = tx.patience.timeout;
    if let Some(ms) = timeout {
        tx.patience.timeout = Some(std::time::Duration::from_millis(ms));
    }
    let locked = tx.lock_table(&pseudo, mode);
    tx.patience.timeout = before;
    let status = match locked {
        Ok(()) => 0,
        Err(error) if error.number == 1222 => -1,
        Err(error) if error.number == 1205 => -3,
        Err(error) => return Err(error),
    };
    Ok(Some(ProcResult { status, ..ProcResult::default() }))
}

/// `EXEC standin.control N'...'`: faults and controls that a real server does not have.
fn standin(
    host: &mut dyn Host,
    instance: &Arc<Instance>,
    here: &Arc<Database>,
    args: &[ProcArg],
) -> Done {
    let given = Arguments::new("control", &["command"], args)?;
    let command = given.required("command")?;
    let (name, value) = command
        .split_once('=')
        .map_or((command.as_str(), None), |(name, value)| (name, Some(value)));
    let control = control(instance);
    let number = || {
        value.and_then(|value| value.trim().parse::<u64>().ok()).ok_or_else(|| {
            SqlError::unknown(format!(
                "the control '{command}': it wants a number, as in {name}=20"
            ))
        })
    };
    match name.trim().to_lowercase().as_str() {
        "pause_capture" => control.pause(),
        "resume_capture" => control.resume(),
        "capture_latency_ms" => control.set_latency_ms(number()?),
        "idle_row_seconds" => control.set_idle_row_seconds(number()?),
        "without_command_id" => {
            control.set_without_command_id(value.is_none_or(|value| value.trim() != "0"));
        }
        "scan" => {
            capture::scan(instance, here, &*enabled(here)?, usize::MAX)?;
        }
        "cleanup" => cleanup::everything(host.transaction(), here, false)?,
        "idle_cleanup" => cleanup::everything(host.transaction(), here, true)?,
        // The log is lost before it was captured.
        "truncate_log" => here.log.clear(),
        other if instance.faults.arm(other, value)? => {}
        _ => return Err(SqlError::unknown(format!("the control '{command}'"))),
    }
    nothing()
}
