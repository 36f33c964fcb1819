//! `sys.sp_cdc_generate_wrapper_function`: scripts of functions that read changes by time instead of by LSN.

use std::sync::Arc;

use super::instance::{self, CaptureInstance};
use super::tables::change;
use crate::catalog::types;
use crate::catalog::view::{View, same, text};
use crate::store::{Database, TableDef, Transaction};
use crate::value::{Rowset, SqlError, Val};

/// The scripts of all instances, or of one. Error 22981 when it is not there.
pub(crate) fn scripts(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: Option<&str>,
) -> Result<Rowset, SqlError> {
    let mut view = View::new("function_name nvarchar(145); create_script nvarchar(max)")?;
    let mut found = false;
    for one in instance::all(tx, database)? {
        if name.is_some_and(|name| !same(name, &one.name)) {
            continue;
        }
        found = true;
        let Some(table) = database.table_by_id(one.change_table) else { continue };
        let def = table.def();
        view.row([text(format!("fn_all_changes_{}", one.name)), text(script(&one, &def, false))]);
        let net = one.row.get(super::tables::change_tables::SUPPORTS_NET_CHANGES);
        if net.and_then(Val::as_int) == Some(1) {
            view.row([
                text(format!("fn_net_changes_{}", one.name)),
                text(script(&one, &def, true)),
            ]);
        }
    }
    match name {
        Some(name) if !found => Err(SqlError::new(
            22981,
            format!("Object does not exist or access is denied: the capture instance '{name}'."),
        )),
        _ => Ok(view.done()),
    }
}

fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// The function's own columns come first, then the captured ones, then the operation by its letters.
fn script(one: &CaptureInstance, def: &TableDef, net: bool) -> String {
    let end = def.columns.len()
        - usize::from(def.columns.last().is_some_and(|c| c.name == "__$command_id"));
    let captured = def.columns.get(change::CAPTURED..end).unwrap_or_default();
    let kind = if net { "net" } else { "all" };
    let function = quoted(&format!("fn_{kind}_changes_{}", one.name));
    let source = quoted(&format!("fn_cdc_get_{kind}_changes_{}", one.name));
    let mut columns = vec!["__CDC_STARTLSN binary(10)".to_owned()];
    let mut values = vec!["[__$start_lsn]".to_owned()];
    if !net {
        columns.push("__CDC_SEQVAL binary(10)".to_owned());
        values.push("[__$seqval]".to_owned());
    }
    for column in captured {
        let facts = types::declared_facts(&column.ty, column.declared.as_deref());
        let ty =
            if column.declared.is_some() { facts.name.to_owned() } else { column.ty.declared() };
        columns.push(format!("{} {ty}", quoted(&column.name)));
        values.push(quoted(&column.name));
    }
    columns.push("__CDC_OPERATION varchar(2)".to_owned());
    values.push(
        "case [__$operation] when 1 then 'D' when 2 then 'I' when 3 then 'UO' when 4 then 'UN' when 5 then 'M' end"
            .to_owned(),
    );
    let (instance, columns, values) =
        (one.name.replace('\'', "''"), columns.join(", "), values.join(", "));
    format!(
        "create function {function} (@start_time datetime = null, @end_time datetime = null, \
         @row_filter_option nvarchar(30) = N'all')\n\
         returns @resultset table ({columns})\nas\nbegin\n\
         \tdeclare @from_lsn binary(10), @to_lsn binary(10)\n\
         \tif @start_time is null select @from_lsn = sys.fn_cdc_get_min_lsn(N'{instance}')\n\
         \telse select @from_lsn = sys.fn_cdc_increment_lsn(sys.fn_cdc_map_time_to_lsn('largest less than or equal', @start_time))\n\
         \tif @end_time is null select @to_lsn = sys.fn_cdc_get_max_lsn()\n\
         \telse select @to_lsn = sys.fn_cdc_map_time_to_lsn('largest less than or equal', @end_time)\n\
         \tif @from_lsn is null or @to_lsn is null or @from_lsn > @to_lsn return\n\
         \tinsert into @resultset select {values} from cdc.{source}(@from_lsn, @to_lsn, @row_filter_option)\n\
         \treturn\nend"
    )
}
