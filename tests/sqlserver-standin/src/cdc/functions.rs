//! The functions of CDC: the scalar ones of `sys`, and the two that each instance gets in `cdc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instance::{self, CaptureInstance, cdc_table};
use super::tables::{self, SCHEMA, change, lsn_time_mapping};
use super::{lsn, mask};
use crate::catalog::view::{argument_bytes, argument_int, argument_text, same};
use crate::store::{Database, KeyRange, TableDef, Transaction, encode_part, successor};
use crate::value::{Col, Row, Rowset, SqlError, Ty, Typed, Val, cast, key_bytes};

/// The highest LSN that the capture job has come to; `None` before its first scan and after a cleanup of an idle database.
pub(crate) fn max_lsn(
    tx: &mut Transaction,
    database: &Arc<Database>,
) -> Result<Option<Vec<u8>>, SqlError> {
    let table = cdc_table(database, "lsn_time_mapping")?;
    let last = tx.cursor(database, &table, None, KeyRange::default(), true).next();
    Ok(last.and_then(|(_, row)| instance::binary(&row, lsn_time_mapping::START_LSN)))
}

fn find(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
) -> Result<Option<CaptureInstance>, SqlError> {
    if !database.is_cdc_enabled() {
        return Ok(None);
    }
    Ok(instance::all(tx, database)?.into_iter().find(|one| same(&one.name, name)))
}

/// The low endpoint of an instance; zeros when it is unknown.
fn min_lsn(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
) -> Result<Vec<u8>, SqlError> {
    Ok(find(tx, database, name)?.and_then(|one| one.start).unwrap_or_else(|| vec![0; 10]))
}

fn lsn_value(value: Option<&[u8]>) -> Typed {
    value.map_or(Typed::null(tables::LSN), |bytes| {
        Typed::new(tables::LSN, Val::bytes(&lsn::fit(bytes)))
    })
}

fn bit(value: Option<bool>) -> Typed {
    value.map_or(Typed::null(Ty::Bit), Typed::bit)
}

/// A scalar function of `sys` whose name (lower case) begins with `fn_cdc_`; `None` when there is none of that name.
pub(crate) fn scalar(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
    args: &[Typed],
) -> Result<Option<Typed>, SqlError> {
    Ok(Some(match name {
        "fn_cdc_get_max_lsn" => {
            let found = if database.is_cdc_enabled() { max_lsn(tx, database)? } else { None };
            lsn_value(found.as_deref())
        }
        "fn_cdc_get_min_lsn" => match argument_text(args, 0)? {
            Some(name) => lsn_value(Some(&min_lsn(tx, database, &name)?)),
            None => lsn_value(Some(&[0; 10])),
        },
        "fn_cdc_increment_lsn" => {
            let bytes = argument_bytes(args, 0)?.map(|bytes| lsn::increment(&bytes));
            lsn_value(bytes.as_ref().map(<[u8; 10]>::as_slice))
        }
        "fn_cdc_decrement_lsn" => {
            let bytes = argument_bytes(args, 0)?.map(|bytes| lsn::decrement(&bytes));
            lsn_value(bytes.as_ref().map(<[u8; 10]>::as_slice))
        }
        "fn_cdc_map_lsn_to_time" => match argument_bytes(args, 0)? {
            Some(wanted) => lsn_to_time(tx, database, &lsn::fit(&wanted))?,
            None => Typed::null(Ty::DateTime),
        },
        "fn_cdc_map_time_to_lsn" => {
            let relation = argument_text(args, 0)?.unwrap_or_default();
            let time = args.get(1).map_or(Ok(Val::Null), |time| cast(time, &Ty::DateTime, None))?;
            lsn_value(time_to_lsn(tx, database, &relation, &time)?.as_deref())
        }
        "fn_cdc_is_bit_set" => match (argument_int(args, 0)?, argument_bytes(args, 1)?) {
            (Some(position), Some(bytes)) => bit(Some(
                usize::try_from(position).is_ok_and(|position| mask::is_set(&bytes, position)),
            )),
            _ => bit(None),
        },
        "fn_cdc_get_column_ordinal" => {
            let found = ordinal(tx, database, argument_text(args, 0)?, argument_text(args, 1)?)?;
            found.and_then(|n| i32::try_from(n).ok()).map_or(Typed::null(Ty::Int), Typed::int)
        }
        "fn_cdc_has_column_changed" => {
            let found = ordinal(tx, database, argument_text(args, 0)?, argument_text(args, 1)?)?;
            let bytes = argument_bytes(args, 2)?;
            bit(found.zip(bytes).map(|(ordinal, bytes)| mask::is_set(&bytes, ordinal)))
        }
        "fn_cdc_hexstrtobin" => {
            let text = argument_text(args, 0)?.unwrap_or_default();
            let digits: Vec<u32> = text
                .trim_start_matches("0x")
                .chars()
                .filter_map(|digit| digit.to_digit(16))
                .collect();
            let bytes =
                digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit));
            let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
            Typed::new(Ty::VarBinary(crate::value::MAX), Val::bytes(&bytes))
        }
        "fn_cdc_check_parameters" => {
            let (name, option) = (
                argument_text(args, 0)?.unwrap_or_default(),
                argument_text(args, 3)?.unwrap_or_default(),
            );
            let net = argument_int(args, 4)? == Some(1);
            let bounds = (argument_bytes(args, 1)?, argument_bytes(args, 2)?);
            bit(Some(range(tx, database, &name, bounds, &option, net)?.is_some()))
        }
        _ => return Ok(None),
    }))
}

fn ordinal(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: Option<String>,
    column: Option<String>,
) -> Result<Option<usize>, SqlError> {
    let (Some(name), Some(column)) = (name, column) else { return Ok(None) };
    let Some(one) = find(tx, database, &name)? else { return Ok(None) };
    let columns = instance::columns(tx, database, one.change_table)?;
    Ok(columns
        .iter()
        .find(|captured| same(&captured.name, &column))
        .map(|captured| captured.ordinal))
}

fn lsn_to_time(
    tx: &mut Transaction,
    database: &Arc<Database>,
    wanted: &[u8; 10],
) -> Result<Typed, SqlError> {
    if !database.is_cdc_enabled() {
        return Ok(Typed::null(Ty::DateTime));
    }
    let table = cdc_table(database, "lsn_time_mapping")?;
    let mut key = Vec::new();
    key_bytes(&tables::LSN, &Val::bytes(wanted), &mut key);
    let found = tx.cursor(database, &table, None, KeyRange::prefix(&key), false).next();
    let time = found.and_then(|(_, row)| row.get(lsn_time_mapping::TRAN_END_TIME).cloned());
    Ok(Typed::new(Ty::DateTime, time.unwrap_or(Val::Null)))
}

/// `sys.fn_cdc_map_time_to_lsn`: the times of transactions rise with their LSNs.
fn time_to_lsn(
    tx: &mut Transaction,
    database: &Arc<Database>,
    relation: &str,
    time: &Val,
) -> Result<Option<Vec<u8>>, SqlError> {
    let Val::DateTime(day, part) = *time else { return Ok(None) };
    if !database.is_cdc_enabled() {
        return Ok(None);
    }
    let table = cdc_table(database, "lsn_time_mapping")?;
    let (backward, equal) = match relation.trim().to_lowercase().as_str() {
        "largest less than" => (true, false),
        "largest less than or equal" => (true, true),
        "smallest greater than" => (false, false),
        "smallest greater than or equal" => (false, true),
        _ => return Ok(None),
    };
    let fits = |row: (i32, u32), time: (i32, u32)| {
        (if backward { row < time } else { row > time }) || (equal && row == time)
    };
    let mut rows = tx.cursor(database, &table, None, KeyRange::default(), backward);
    Ok(rows.find_map(|(_, row)| match row.get(lsn_time_mapping::TRAN_END_TIME) {
        Some(Val::DateTime(d, p)) if fits((*d, *p), (day, part)) => {
            instance::binary(&row, lsn_time_mapping::START_LSN)
        }
        _ => None,
    }))
}

/// The first and the last LSN.
type Range = (lsn::Bytes, lsn::Bytes);

/// The range that a function was asked for, when it is within what is there and the option is known.
fn range(
    tx: &mut Transaction,
    database: &Arc<Database>,
    name: &str,
    bounds: (Option<Vec<u8>>, Option<Vec<u8>>),
    option: &str,
    net: bool,
) -> Result<Option<Range>, SqlError> {
    let (Some(from), Some(to)) = bounds else { return Ok(None) };
    let (from, to) = (lsn::fit(&from), lsn::fit(&to));
    let option = option.trim().to_lowercase();
    let known = if net {
        ["all", "all with mask", "all with merge"].contains(&option.as_str())
    } else {
        ["all", "all update old"].contains(&option.as_str())
    };
    let Some(low) = find(tx, database, name)?.and_then(|one| one.start) else { return Ok(None) };
    let Some(high) = max_lsn(tx, database)? else { return Ok(None) };
    let within =
        from.as_slice() >= low.as_slice() && to.as_slice() <= high.as_slice() && from <= to;
    Ok((known && within).then_some((from, to)))
}

/// Error 313, which CDC raises on purpose when the range is not there.
fn out_of_range(function: &str) -> SqlError {
    SqlError::new(
        313,
        format!("An insufficient number of arguments were supplied for the procedure or function cdc.{function} ... ."),
    )
    .state(3)
}

/// `cdc.fn_cdc_get_all_changes_<instance>` and `cdc.fn_cdc_get_net_changes_<instance>`; `None` when there is no such function.
pub(crate) fn changes(
    tx: &mut Transaction,
    database: &Arc<Database>,
    function: &str,
    args: &[Typed],
) -> Result<Option<Rowset>, SqlError> {
    const ALL: &str = "fn_cdc_get_all_changes_";
    const NET: &str = "fn_cdc_get_net_changes_";
    let cut = |prefix: &str| {
        function
            .get(..prefix.len())
            .filter(|start| same(start, prefix))
            .and_then(|_| function.get(prefix.len()..))
    };
    let (name, net) = match (cut(ALL), cut(NET)) {
        (Some(name), _) => (name, false),
        (None, Some(name)) => (name, true),
        (None, None) => return Ok(None),
    };
    let Some(one) = find(tx, database, name)? else { return Ok(None) };
    let Some(table) = database.table_by_id(one.change_table) else { return Ok(None) };
    let has_net =
        one.row.get(tables::change_tables::SUPPORTS_NET_CHANGES).and_then(Val::as_int) == Some(1);
    if net && !has_net {
        return Ok(None);
    }
    if args.len() != 3 {
        let wording = if args.len() < 3 { "An insufficient number of" } else { "Too many" };
        let message = format!(
            "{wording} arguments were supplied for the procedure or function cdc.{function}."
        );
        return Err(SqlError::new(if args.len() < 3 { 313 } else { 8144 }, message).state(3));
    }
    let option = argument_text(args, 2)?.unwrap_or_default();
    let bounds = (argument_bytes(args, 0)?, argument_bytes(args, 1)?);
    let shown = if net { NET } else { ALL };
    let Some((from, to)) = range(tx, database, name, bounds, &option, net)? else {
        return Err(out_of_range(shown));
    };
    let def = table.def();
    let mut keys = KeyRange::default();
    let mut low = Vec::new();
    key_bytes(&tables::LSN, &Val::bytes(&from), &mut low);
    keys.low = Some(low);
    let mut high = Vec::new();
    key_bytes(&tables::LSN, &Val::bytes(&to), &mut high);
    keys.high = successor(&high);
    let rows = tx.cursor(database, &table, None, keys, false).map(|(_, row)| row);
    let option = option.trim().to_lowercase();
    if net {
        let rows: Vec<Row> = rows.collect();
        let identity = instance::key_columns(tx, database, one.change_table)?;
        return Ok(Some(net_changes(&def, &rows, &identity, &option)));
    }
    let old = option == "all update old";
    let mut rowset = Rowset::new(result_columns(&def, false));
    for row in rows {
        if old || row.get(change::OPERATION).and_then(Val::as_int) != Some(3) {
            rowset.rows.push(result_row(&row, captured_end(&def)));
        }
    }
    Ok(Some(rowset))
}

/// Where the captured columns of a change table end.
fn captured_end(def: &TableDef) -> usize {
    let last = def.columns.last().is_some_and(|column| column.name == "__$command_id");
    def.columns.len() - usize::from(last)
}

/// The columns of a function: those of the change table without `__$end_lsn` and `__$command_id`, and for net changes
/// without `__$seqval`.
fn result_columns(def: &TableDef, net: bool) -> Vec<Col> {
    let fixed: &[usize] = if net {
        &[change::START_LSN, change::OPERATION, change::UPDATE_MASK]
    } else {
        &[change::START_LSN, change::SEQVAL, change::OPERATION, change::UPDATE_MASK]
    };
    let places = fixed.iter().copied().chain(change::CAPTURED..captured_end(def));
    places
        .filter_map(|at| def.columns.get(at))
        .map(|column| Col::new(&column.name, column.ty))
        .collect()
}

fn result_row(row: &Row, end: usize) -> Row {
    let fixed = [change::START_LSN, change::SEQVAL, change::OPERATION, change::UPDATE_MASK];
    fixed
        .into_iter()
        .chain(change::CAPTURED..end)
        .map(|at| row.get(at).cloned().unwrap_or(Val::Null))
        .collect()
}

/// One row for each key that is different after the range than before it.
fn net_changes(def: &TableDef, rows: &[Row], identity: &[String], option: &str) -> Rowset {
    let places: Vec<usize> = identity.iter().filter_map(|name| def.ordinal(name)).collect();
    let mut keys: BTreeMap<Vec<u8>, (usize, usize, Vec<u8>)> = BTreeMap::new();
    for (n, row) in rows.iter().enumerate() {
        let operation = row.get(change::OPERATION).and_then(Val::as_int);
        if operation == Some(3) {
            continue;
        }
        let mut key = Vec::new();
        for at in &places {
            if let (Some(column), Some(value)) = (def.columns.get(*at), row.get(*at)) {
                encode_part(column, value, false, &mut key);
            }
        }
        let bits = instance::binary(row, change::UPDATE_MASK).unwrap_or_default();
        let entry = keys.entry(key).or_insert_with(|| (n, n, vec![0; bits.len()]));
        entry.1 = n;
        for (to, from) in entry.2.iter_mut().zip(&bits) {
            *to |= from;
        }
    }
    let mut changed: Vec<_> = keys.into_values().collect();
    changed.sort_by_key(|entry| entry.1);
    let mut rowset = Rowset::new(result_columns(def, true));
    for (first, last, bits) in changed {
        let (Some(first), Some(row)) = (rows.get(first), rows.get(last)) else { continue };
        let operation = |row: &Row| row.get(change::OPERATION).and_then(Val::as_int).unwrap_or(0);
        let (was_new, is_gone) = (operation(first) == 2, operation(row) == 1);
        let net = match (was_new, is_gone) {
            (true, true) => continue,
            (false, true) => 1,
            (true, false) => 2,
            (false, false) => 4,
        };
        let net = if option == "all with merge" && net != 1 { 5 } else { net };
        let mask =
            if option == "all with mask" && net == 4 { Val::bytes(&bits) } else { Val::Null };
        let mut values =
            vec![row.get(change::START_LSN).cloned().unwrap_or(Val::Null), Val::Int(net), mask];
        values.extend(
            (change::CAPTURED..captured_end(def))
                .map(|at| row.get(at).cloned().unwrap_or(Val::Null)),
        );
        rowset.push(values);
    }
    rowset
}

/// The names of the functions that a database has because of CDC, with the object id of their change table.
pub(crate) fn names(
    tx: &mut Transaction,
    database: &Arc<Database>,
) -> Result<Vec<(String, i32)>, SqlError> {
    if !database.is_cdc_enabled() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for one in instance::all(tx, database)? {
        names.push((format!("fn_cdc_get_all_changes_{}", one.name), one.change_table + 1));
        if one.row.get(tables::change_tables::SUPPORTS_NET_CHANGES).and_then(Val::as_int) == Some(1)
        {
            names.push((format!("fn_cdc_get_net_changes_{}", one.name), one.change_table + 2));
        }
    }
    Ok(names)
}

/// Whether `schema` is where CDC's own functions are.
pub(crate) fn is_here(schema: &str) -> bool {
    same(schema, SCHEMA)
}
