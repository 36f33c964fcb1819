//! Capture instances: enabling, disabling, cleanup.

use std::sync::Arc;

use super::{Desk, brief, people, text};
use crate::catalog::{self, Host, ProcArg};
use crate::value::{Ty, Typed, Val};

#[test]
fn at_most_two_instances_whose_names_differ_and_each_begins_with_its_own_transaction() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(1), text("one"), Val::Null]);
    desk.commit();
    assert_eq!(desk.enable("people", &[]).unwrap_err().number, 22926);
    let second = [
        ("capture_instance", Typed::nvarchar("second")),
        ("captured_column_list", Typed::nvarchar("[name], id")),
    ];
    desk.enable("people", &second).unwrap();
    assert_eq!(
        desk.enable("people", &[("capture_instance", Typed::nvarchar("third"))])
            .unwrap_err()
            .number,
        22962
    );
    assert_eq!(desk.enable("nobody", &[]).unwrap_err().number, 22931);
    desk.insert(&table, &[Val::Int(2), text("two"), Val::Null]);
    desk.commit();
    desk.scan();
    assert_eq!(desk.rows("cdc", "dbo_people_CT").len(), 2);
    assert_eq!(brief(&desk.rows("cdc", "second_CT")), [(2, 1, vec![Val::Int(2), text("two")])]);
    assert_eq!(
        desk.view("tables").rows.len(),
        8,
        "people, five tables of the catalogue, two change tables"
    );

    let gone = [
        ("source_schema", Typed::nvarchar("dbo")),
        ("source_name", Typed::nvarchar("people")),
        ("capture_instance", Typed::nvarchar("second")),
    ];
    desk.run("sp_cdc_disable_table", &gone).unwrap();
    assert_eq!(desk.run("sp_cdc_disable_table", &gone).unwrap_err().number, 22960);
    assert!(desk.database.table("cdc", "second_CT").is_none());
    assert!(table.is_tracked());
    desk.run("sp_cdc_disable_db", &[]).unwrap();
    assert!(!table.is_tracked() && desk.database.schema("cdc").is_none());
    assert_eq!(desk.enable("people", &[]).unwrap_err().number, 22901);
    assert!(desk.function("fn_cdc_get_max_lsn", &[]).is_null());
}

#[test]
fn a_rolled_back_procedure_leaves_nothing() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    let args: Vec<ProcArg> = ["dbo", "people"]
        .iter()
        .map(|text| ProcArg { name: None, value: Typed::nvarchar(text), output: false })
        .chain([ProcArg { name: None, value: Typed::null(Ty::NVarChar(128)), output: false }])
        .collect();
    catalog::procedure(&mut desk, None, Some("sys"), "sp_cdc_enable_table", &args).unwrap();
    desk.rollback();
    assert!(!table.is_tracked());
    assert!(desk.database.table("cdc", "dbo_people_CT").is_none());
    assert!(desk.rows("cdc", "change_tables").is_empty());
}

#[test]
fn cleanup_moves_the_low_endpoint() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    for id in 1..=3 {
        desk.insert(&table, &[Val::Int(id), Val::Null, Val::Null]);
        desk.commit();
    }
    desk.scan();
    let rows = desk.rows("cdc", "dbo_people_CT");
    let lsn = |value: &Val| ("low_water_mark", Typed::new(Ty::Binary(10), value.clone()));
    let name = ("capture_instance", Typed::nvarchar("dbo_people"));
    let unknown = Val::bytes(&[0, 0, 0, 99, 0, 0, 0, 0, 0, 1]);
    let error =
        desk.run("sp_cdc_cleanup_change_table", &[name.clone(), lsn(&unknown)]).unwrap_err();
    assert_eq!(error.number, 22964);
    let first = desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]);
    desk.run("sp_cdc_cleanup_change_table", &[name.clone(), lsn(&rows[1][0])]).unwrap();
    assert_eq!(desk.rows("cdc", "dbo_people_CT").len(), 2);
    assert_eq!(desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]), rows[1][0]);
    assert_eq!(desk.rows("cdc", "lsn_time_mapping").len(), 2);
    let end = desk.function("fn_cdc_get_max_lsn", &[]);
    assert_eq!(desk.changes("dbo_people", &first, &end, "all").unwrap_err().number, 313);
    let database = Arc::clone(&desk.database);
    crate::cdc::cleanup::everything(desk.transaction(), &database, true).unwrap();
    desk.commit();
    assert!(desk.function("fn_cdc_get_max_lsn", &[]).is_null());
}
