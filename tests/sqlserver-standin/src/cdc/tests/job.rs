//! What the capture job writes, and when.

use super::{Desk, brief, people, text};
use crate::catalog::{self, ProcArg};
use crate::cdc::state::control;
use crate::value::{Ty, Typed, Val};

#[test]
fn changes_arrive_with_the_next_scan_and_as_documented() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.insert(&table, &[Val::Int(1), text("before"), Val::Null]);
    desk.commit();
    desk.enable("people", &[]).unwrap();
    assert!(desk.function("fn_cdc_get_max_lsn", &[]).is_null(), "nothing was scanned yet");
    assert_eq!(
        desk.rows("cdc", "change_tables")[0][4],
        Val::Null,
        "the low endpoint is not known yet"
    );
    assert!(desk.scan());
    let start = desk.rows("cdc", "change_tables")[0][4].clone();
    // The instance begins within the transaction that made it, before its commit.
    let max = desk.function("fn_cdc_get_max_lsn", &[]);
    assert!(start.as_bytes() < max.as_bytes() && start.as_bytes().is_some());
    assert_eq!(desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]), start);
    assert_eq!(
        desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("nobody")]),
        Val::bytes(&[0; 10])
    );

    desk.insert(&table, &[Val::Int(2), text("a"), text("long")]);
    desk.insert(&table, &[Val::Int(3), text("b"), text("long")]);
    desk.update(&table, &[1], |row| row[0] == Val::Int(2), |row| row[1] = text("A"));
    desk.commit();
    desk.insert(&table, &[Val::Int(4), text("gone"), Val::Null]);
    desk.rollback();
    desk.update(
        &table,
        &[0],
        |row| row[0] != Val::Int(1),
        |row| row[0] = Val::Int(row[0].as_int().unwrap() + 10),
    );
    desk.commit();
    desk.delete(&table, |row| row[0] == Val::Int(12));
    desk.commit();
    assert_eq!(desk.rows("cdc", "dbo_people_CT"), Vec::<Vec<Val>>::new());
    assert!(desk.scan());
    assert!(!desk.scan(), "nothing is left");

    let rows = desk.rows("cdc", "dbo_people_CT");
    let long = text("long");
    let row = |id: i64, name: &str, note: &Val| vec![Val::Int(id), text(name), note.clone()];
    assert_eq!(
        brief(&rows),
        [
            (2, 1, row(2, "a", &long)),
            (2, 2, row(3, "b", &long)),
            (3, 3, row(2, "a", &Val::Null)),
            (4, 3, row(2, "A", &Val::Null)),
            // The key change: all deletes, then all inserts.
            (1, 1, row(2, "A", &long)),
            (1, 2, row(3, "b", &long)),
            (2, 3, row(12, "A", &long)),
            (2, 4, row(13, "b", &long)),
            (1, 1, row(12, "A", &long)),
        ]
    );
    assert_eq!(rows[2][4], Val::bytes(&[0b010]), "the mask of the update");
    assert_eq!(rows[0][4], Val::bytes(&[0b111]));
    assert_eq!(
        (&rows[2][0], &rows[2][2]),
        (&rows[3][0], &rows[3][2]),
        "a pair shares start and sequence"
    );
    assert_eq!(rows[4][2], rows[6][2], "both halves of a deferred update share their sequence");
    assert!(rows.iter().all(|row| row[2].as_bytes() < row[0].as_bytes()));

    let mapping = desk.rows("cdc", "lsn_time_mapping");
    assert_eq!(mapping.len(), 4, "the enabling transaction and three others");
    let end = desk.function("fn_cdc_get_max_lsn", &[]);
    assert_eq!(mapping[3][0], end);
    let all = desk.changes("dbo_people", &start, &end, "all").unwrap().unwrap();
    assert_eq!(all.rows.len(), 8);
    let names: Vec<&str> = all.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        ["__$start_lsn", "__$seqval", "__$operation", "__$update_mask", "id", "name", "note"]
    );
    assert_eq!(
        desk.changes("dbo_people", &start, &end, "all update old").unwrap().unwrap().rows.len(),
        9
    );
    let live = end_of_log(&desk);
    assert!(live.as_bytes() > end.as_bytes(), "the capture job's own writes move the log on");
}

fn end_of_log(desk: &Desk) -> Val {
    Val::bytes(&desk.database.log_end().bytes())
}

#[test]
fn a_range_that_is_not_there_is_error_313_and_a_missing_instance_is_no_function() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.scan();
    desk.insert(&table, &[Val::Int(1), Val::Null, Val::Null]);
    desk.commit();
    desk.scan();
    let low = desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]);
    let high = desk.function("fn_cdc_get_max_lsn", &[]);
    let below = desk.function("fn_cdc_decrement_lsn", &[Typed::new(Ty::Binary(10), low.clone())]);
    let above = desk.function("fn_cdc_increment_lsn", &[Typed::new(Ty::Binary(10), high.clone())]);
    let mut number = |from: &Val, to: &Val, option: &str| {
        desk.changes("dbo_people", from, to, option).map_or_else(|error| error.number, |_| 0)
    };
    assert_eq!(number(&low, &high, "all"), 0);
    assert_eq!(number(&below, &high, "all"), 313);
    assert_eq!(number(&low, &above, "all"), 313);
    assert_eq!(number(&high, &low, "all"), 313);
    assert_eq!(number(&low, &high, "everything"), 313);
    assert_eq!(number(&Val::Null, &high, "all"), 313);
    assert!(desk.changes("nobody", &low, &high, "all").unwrap().is_none());
}

#[test]
fn the_thread_captures_by_itself() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(1), Val::Null, Val::Null]);
    desk.commit();
    control(&desk.instance).resume();
    for _ in 0..200 {
        if desk.rows("cdc", "dbo_people_CT").len() == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing was captured");
}

#[test]
fn a_paused_job_leaves_everything_in_the_log() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(1), Val::Null, Val::Null]);
    desk.commit();
    std::thread::sleep(std::time::Duration::from_millis(120));
    assert!(desk.rows("cdc", "dbo_people_CT").is_empty());
    let state = desk.view("databases");
    let place = |name: &str| state.columns.iter().position(|column| column.name == name).unwrap();
    let shop = state.rows.iter().find(|row| row[0] == text("shop")).unwrap();
    assert_eq!(shop[place("log_reuse_wait_desc")], text("REPLICATION"));
    let command = ProcArg { name: None, value: Typed::nvarchar("truncate_log"), output: false };
    catalog::procedure(&mut desk, None, Some("standin"), "control", &[command]).unwrap().unwrap();
    desk.commit();
    assert!(!desk.scan(), "the change is lost");
}

#[test]
fn large_values_of_captured_tables_are_limited() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    let row = |length: usize| [Val::Int(1), Val::Null, text(&"x".repeat(length))];
    crate::cdc::check_text_size(&desk.instance, &table, &row(40_000)).unwrap();
    desk.enable("people", &[]).unwrap();
    crate::cdc::check_text_size(&desk.instance, &table, &row(32_768)).unwrap();
    let refused = crate::cdc::check_text_size(&desk.instance, &table, &row(32_769)).unwrap_err();
    assert_eq!(refused.number, 7139);
    let args =
        [("configname", Typed::nvarchar("max text repl size")), ("configvalue", Typed::int(-1))];
    assert_eq!(desk.run("sp_configure", &args).unwrap().messages[0].number, 15457);
    crate::cdc::check_text_size(&desk.instance, &table, &row(40_000)).unwrap();
}
