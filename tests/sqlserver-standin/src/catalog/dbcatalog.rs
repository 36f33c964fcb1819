//! Which name is which view or function.

use std::sync::Arc;

use super::view::{View, argument_int, argument_text, bit, int, same, text};
use super::world::{self, World};
use super::{
    Host, functions, indexes, information_schema, objects, properties, security, server, types,
};
use crate::cdc;
use crate::store::{Database, fold_name, read};
use crate::value::{Rowset, SqlError, Typed, Val};

/// See [`super::system_table`].
pub(super) fn table(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: &str,
    name: &str,
    args: Option<&[Typed]>,
) -> Result<Option<Rowset>, SqlError> {
    let instance = Arc::clone(host.instance());
    let here = world::find(&instance, &host.database(), database)?;
    let name = name.to_lowercase();
    match (schema.to_lowercase().as_str(), args) {
        ("sys", None) => sys(host, &here, &name),
        ("sys", Some(args)) => sys_function(host, &here, &name, args),
        ("information_schema", None) => information(host, &here, &name),
        ("cdc", Some(args)) => cdc::functions::changes(host.transaction(), &here, &name, args),
        ("dbo", None) if same(&here.name(), "msdb") => msdb(host, &name),
        _ => Ok(None),
    }
}

fn sys(host: &mut dyn Host, here: &Arc<Database>, name: &str) -> Result<Option<Rowset>, SqlError> {
    let instance = Arc::clone(host.instance());
    if let Some(found) = described(host, here, name)? {
        return Ok(Some(found));
    }
    Ok(Some(match name {
        "databases" => server::databases(&instance)?,
        "database_recovery_status" => server::recovery_status(&instance)?,
        "types" | "systypes" => types::view(&read(&here.options).collation)?,
        "database_principals" => server::database_principals(here)?,
        "database_role_members" => server::role_members(here)?,
        "server_principals" | "sql_logins" => server::server_principals(&instance)?,
        "configurations" => properties::configurations(|setting| {
            let set = read(&instance.configuration).get(&fold_name(setting.name())).copied();
            let value = set.and_then(|value| i32::try_from(value).ok()).unwrap_or(setting.default);
            (value, value)
        })?,
        "dm_server_services" => properties::services()?,
        "dm_os_performance_counters" => properties::counters(&instance)?,
        "dm_exec_sessions" => server::sessions(&instance)?,
        "dm_exec_connections" => server::connections(&instance)?,
        "dm_tran_database_transactions" => server::database_transactions(host.transaction())?,
        "dm_tran_session_transactions" => server::session_transactions(&instance)?,
        "dm_tran_active_transactions" => server::active_transactions(host.transaction())?,
        "dm_cdc_log_scan_sessions" => server::scan_sessions(here)?,
        "dm_cdc_errors" => View::new(
            "session_id int; phase_number int; entry_time datetime; error_number int; error_severity int; error_state int; \
             error_message nvarchar(1024); start_lsn nvarchar(23); begin_lsn nvarchar(23); sequence_value nvarchar(23)",
        )?
        .done(),
        "dm_os_sys_info" => {
            let mut view = View::new("cpu_count int!; sqlserver_start_time datetime!; physical_memory_kb bigint!")?;
            view.row([int(2), instance.started.datetime(), int(8_388_608)]);
            view.done()
        }
        "extended_properties" => View::new(
            "class tinyint!; class_desc nvarchar(60); major_id int!; minor_id int!; name sysname!; value sql_variant",
        )?
        .done(),
        "triggers" => {
            View::new("name sysname!; object_id int!; parent_class tinyint!; parent_id int!; type char(2)!; is_disabled bit!")?
                .done()
        }
        "sequences" | "procedures" => View::new(
            "name sysname!; object_id int!; schema_id int!; parent_object_id int!; type char(2); type_desc nvarchar(60); \
             create_date datetime!; modify_date datetime!; is_ms_shipped bit!",
        )?
        .done(),
        "synonyms" => synonyms(here)?,
        "change_tracking_tables" => View::new("object_id int!; is_track_columns_updated_on bit!")?.done(),
        "availability_groups" => View::new("group_id uniqueidentifier!; name sysname")?.done(),
        "time_zone_info" => {
            let mut view = View::new("name sysname!; current_utc_offset nvarchar(6)!; is_currently_dst bit!")?;
            view.row([text("UTC"), text("+00:00"), bit(false)]);
            view.done()
        }
        _ => return Ok(None),
    }))
}

fn synonyms(here: &Database) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "name sysname!; object_id int!; schema_id int!; base_object_name nvarchar(1035)",
    )?;
    let objects = read(&here.objects);
    for synonym in objects.synonyms.values() {
        let schema = objects.schemas.get(&fold_name(&synonym.schema)).map_or(1, |schema| schema.id);
        view.row([text(&synonym.name), int(synonym.object_id), int(schema), text(&synonym.target)]);
    }
    Ok(view.done())
}

/// The views over the description of a database's objects.
fn described(
    host: &mut dyn Host,
    here: &Arc<Database>,
    name: &str,
) -> Result<Option<Rowset>, SqlError> {
    const NAMES: [&str; 24] = [
        "objects",
        "all_objects",
        "tables",
        "views",
        "all_views",
        "sql_modules",
        "schemas",
        "columns",
        "all_columns",
        "computed_columns",
        "identity_columns",
        "key_constraints",
        "default_constraints",
        "check_constraints",
        "foreign_keys",
        "foreign_key_columns",
        "indexes",
        "index_columns",
        "partitions",
        "dm_db_partition_stats",
        "allocation_units",
        "stats",
        "stats_columns",
        "sysindexes",
    ];
    if !NAMES.contains(&name) {
        return Ok(None);
    }
    let mut meta = world::meta(here);
    Ok(Some(match name {
        "objects" | "all_objects" => {
            let functions = cdc::functions::names(host.transaction(), here)?;
            objects::objects(&meta, &functions, &here.create_date.datetime())?
        }
        "tables" => objects::tables(&meta)?,
        "views" | "all_views" => objects::views(&meta)?,
        "sql_modules" => objects::sql_modules(&meta)?,
        "schemas" => objects::schemas(&meta)?,
        "columns" | "all_columns" => {
            world::add_view_columns(host, here, &mut meta);
            objects::columns(&meta)?
        }
        "computed_columns" => objects::computed_columns(&meta)?,
        "identity_columns" => objects::identity_columns(&meta)?,
        "key_constraints" => objects::key_constraints(&meta)?,
        "default_constraints" => objects::default_constraints(&meta)?,
        "check_constraints" => objects::check_constraints(&meta)?,
        "foreign_keys" => objects::foreign_keys(&meta)?,
        "foreign_key_columns" => objects::foreign_key_columns(&meta)?,
        "indexes" => indexes::indexes(&meta)?,
        "index_columns" => indexes::index_columns(&meta)?,
        "partitions" => indexes::partitions(&meta)?,
        "dm_db_partition_stats" => indexes::partition_stats(&meta)?,
        "allocation_units" => indexes::allocation_units(&meta)?,
        "stats" => indexes::stats(&meta)?,
        "stats_columns" => indexes::stats_columns(&meta)?,
        _ => return Ok(None),
    }))
}

fn sys_function(
    host: &mut dyn Host,
    here: &Arc<Database>,
    name: &str,
    args: &[Typed],
) -> Result<Option<Rowset>, SqlError> {
    let instance = Arc::clone(host.instance());
    Ok(Some(match name {
        "dm_db_log_stats" => {
            let id = argument_int(args, 0)?;
            let database = match id {
                Some(id) => i32::try_from(id).ok().and_then(|id| instance.database_by_id(id)),
                None => Some(Arc::clone(here)),
            };
            server::log_stats(database.as_ref())?
        }
        "dm_db_stats_histogram" => {
            let (object, stats) =
                (argument_int(args, 0)?.unwrap_or(0), argument_int(args, 1)?.unwrap_or(0));
            server::histogram(host.transaction(), here, object, stats)?
        }
        "dm_db_stats_properties" => {
            let mut view = View::new(
                "object_id int!; stats_id int!; last_updated datetime2(7); rows bigint; rows_sampled bigint; steps int; \
                 unfiltered_rows bigint; modification_counter bigint",
            )?;
            let (object, stats) =
                (argument_int(args, 0)?.unwrap_or(0), argument_int(args, 1)?.unwrap_or(0));
            if let Some(table) = i32::try_from(object).ok().and_then(|id| here.table_by_id(id)) {
                let rows = i64::try_from(table.approximate_rows()).unwrap_or(i64::MAX);
                let updated = here.now().datetime2();
                view.row([
                    int(object),
                    int(stats),
                    updated,
                    int(rows),
                    int(rows),
                    int(1),
                    int(rows),
                    int(0),
                ]);
            }
            view.done()
        }
        "fn_my_permissions" => security::my_permissions(host, here, args)?,
        _ => return Ok(None),
    }))
}

fn information(
    host: &mut dyn Host,
    here: &Arc<Database>,
    name: &str,
) -> Result<Option<Rowset>, SqlError> {
    let mut meta = world::meta(here);
    let catalog = here.name();
    Ok(Some(match name {
        "tables" => information_schema::tables(&meta, &catalog)?,
        "columns" => {
            world::add_view_columns(host, here, &mut meta);
            information_schema::columns(&meta, &catalog)?
        }
        "schemata" => information_schema::schemata(&meta, &catalog)?,
        "table_constraints" => information_schema::table_constraints(&meta, &catalog)?,
        "key_column_usage" => information_schema::key_column_usage(&meta, &catalog, true)?,
        "constraint_column_usage" => information_schema::key_column_usage(&meta, &catalog, false)?,
        "referential_constraints" => information_schema::referential_constraints(&meta, &catalog)?,
        "views" => {
            let mut view = View::new(
                "TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME nvarchar(128)!; \
                 VIEW_DEFINITION nvarchar(4000); CHECK_OPTION varchar(7); IS_UPDATABLE varchar(2)!",
            )?;
            for v in &meta.views {
                let schema = meta.schema_name(v.schema_id).unwrap_or("dbo");
                view.row([
                    text(&catalog),
                    text(schema),
                    text(&v.name),
                    text(&v.definition),
                    text("NONE"),
                    text("NO"),
                ]);
            }
            view.done()
        }
        _ => return Ok(None),
    }))
}

fn msdb(host: &mut dyn Host, name: &str) -> Result<Option<Rowset>, SqlError> {
    Ok(Some(match name {
        "cdc_jobs" => server::cdc_jobs(host.instance())?,
        "restorehistory" => View::new(
            "restore_history_id int!; restore_date datetime; destination_database_name nvarchar(128); \
             user_name nvarchar(128); backup_set_id int!; restore_type char(1); replace bit; recovery bit; restart bit; \
             stop_at datetime; device_count tinyint; stop_at_mark_name nvarchar(128); stop_before bit",
        )?
        .done(),
        _ => return Ok(None),
    }))
}

/// See [`super::scalar`].
pub(super) fn scalar(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: Option<&str>,
    name: &str,
    args: &[Typed],
) -> Result<Option<Typed>, SqlError> {
    if schema.is_some_and(|schema| !same(schema, "sys") && !same(schema, "dbo")) {
        return Ok(None);
    }
    let name = name.to_lowercase();
    let mut world = World::new(host, database)?;
    if name.starts_with("fn_cdc_") {
        return cdc::functions::scalar(host.transaction(), &world.here, &name, args);
    }
    if name == "object_id"
        && let Some(wanted) = argument_text(args, 0)?
        && let Some(object) =
            super::view::split_name(&wanted).last().filter(|object| object.starts_with('#'))
        && let Some(id) = host.temporary(object)
    {
        world.note_temporary(object, id);
    }
    if name == "object_id"
        && let Some(id) = cdc_function(host, &world, args)?
    {
        return Ok(Some(Typed::new(crate::value::Ty::Int, Val::Int(id.into()))));
    }
    if let Some(found) = security::scalar(&world, &name, args)? {
        return Ok(Some(found));
    }
    functions::call(&world, &name, args)
}

/// The id of a function that CDC made, as `OBJECT_ID` gives it.
fn cdc_function(
    host: &mut dyn Host,
    world: &World,
    args: &[Typed],
) -> Result<Option<i32>, SqlError> {
    let Some(wanted) = argument_text(args, 0)? else { return Ok(None) };
    let parts = super::view::split_name(&wanted);
    let [.., schema, name] = parts.as_slice() else { return Ok(None) };
    if !cdc::functions::is_here(schema) || !name.to_lowercase().starts_with("fn_cdc_") {
        return Ok(None);
    }
    let names = cdc::functions::names(host.transaction(), &world.here)?;
    Ok(names.into_iter().find(|known| same(&known.0, name)).map(|known| known.1))
}
