//! Views and functions: their columns and types.

use super::{Desk, people, text};
use crate::catalog;
use crate::value::{Rowset, Ty, Typed, Val};

#[test]
fn every_view_has_values_of_its_columns() {
    let mut desk = Desk::new();
    people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.scan();
    let names = "databases database_recovery_status types database_principals database_role_members server_principals \
        configurations dm_server_services dm_exec_sessions dm_os_performance_counters dm_exec_connections dm_tran_database_transactions \
        dm_tran_active_transactions dm_cdc_log_scan_sessions dm_cdc_errors dm_os_sys_info extended_properties triggers \
        sequences procedures synonyms change_tracking_tables time_zone_info objects all_objects tables views sql_modules \
        schemas columns all_columns computed_columns identity_columns key_constraints default_constraints \
        check_constraints foreign_keys foreign_key_columns indexes index_columns partitions dm_db_partition_stats \
        allocation_units stats stats_columns";
    for name in names.split_whitespace() {
        let view = desk.view(name);
        check(name, &view);
    }
    for name in [
        "tables",
        "columns",
        "schemata",
        "table_constraints",
        "key_column_usage",
        "constraint_column_usage",
        "referential_constraints",
        "views",
    ] {
        let view = catalog::system_table(&mut desk, None, "INFORMATION_SCHEMA", name, None)
            .unwrap()
            .unwrap();
        check(name, &view);
    }
    for name in ["cdc_jobs", "restorehistory"] {
        let view =
            catalog::system_table(&mut desk, Some("msdb"), "dbo", name, None).unwrap().unwrap();
        check(name, &view);
    }
    let id = desk.function("object_id", &[Typed::nvarchar("dbo.people")]);
    let args = [Typed::new(Ty::Int, id), Typed::int(1)];
    check(
        "histogram",
        &catalog::system_table(&mut desk, None, "sys", "dm_db_stats_histogram", Some(&args))
            .unwrap()
            .unwrap(),
    );
    let this = [Typed::int(desk.database.id)];
    let log = catalog::system_table(&mut desk, None, "sys", "dm_db_log_stats", Some(&this));
    let log = log.unwrap().unwrap();
    check("log", &log);
    assert_eq!(log.rows[0][3].as_str(), Some(desk.database.log_end().to_string()));
    desk.rollback();
    for procedure in
        ["sp_cdc_help_change_data_capture", "sp_cdc_help_jobs", "sp_tables", "sp_configure"]
    {
        for rowset in desk.run(procedure, &[]).unwrap().rowsets {
            assert!(!rowset.rows.is_empty());
            check(procedure, &rowset);
        }
    }
    for procedure in ["sp_columns", "sp_pkeys", "sp_statistics"] {
        let done = desk.run(procedure, &[("table_name", Typed::nvarchar("people"))]).unwrap();
        check(procedure, &done.rowsets[0]);
        assert!(!done.rowsets[0].rows.is_empty());
    }
    for procedure in ["sp_cdc_get_captured_columns", "sp_cdc_get_ddl_history"] {
        let done =
            desk.run(procedure, &[("capture_instance", Typed::nvarchar("dbo_people"))]).unwrap();
        check(procedure, &done.rowsets[0]);
    }
}

#[test]
fn functions_have_the_type_that_was_said() {
    let mut desk = Desk::new();
    people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.scan();
    let name = || Typed::nvarchar("dbo.people");
    let id = Typed::new(Ty::Int, desk.function("object_id", &[name()]));
    let lsn = Typed::new(Ty::Binary(10), desk.function("fn_cdc_get_max_lsn", &[]));
    let instance = || Typed::nvarchar("dbo_people");
    let calls: Vec<(&str, Vec<Typed>, Val)> = vec![
        ("object_id", vec![name(), Typed::nvarchar("U")], id.val.clone()),
        ("object_id", vec![Typed::nvarchar("cdc.fn_cdc_get_all_changes_nobody")], Val::Null),
        ("object_name", vec![id.clone()], text("people")),
        ("object_schema_name", vec![id.clone()], text("dbo")),
        ("schema_id", vec![Typed::nvarchar("cdc")], Val::Int(5)),
        ("schema_name", vec![Typed::int(1)], text("dbo")),
        ("db_name", vec![], text("shop")),
        ("db_id", vec![Typed::nvarchar("SHOP")], Val::Int(5)),
        ("db_id", vec![Typed::nvarchar("nothing")], Val::Null),
        ("col_name", vec![id.clone(), Typed::int(2)], text("name")),
        ("col_length", vec![name(), Typed::nvarchar("name")], Val::Int(100)),
        (
            "columnproperty",
            vec![id.clone(), Typed::nvarchar("name"), Typed::nvarchar("AllowsNull")],
            Val::Int(1),
        ),
        ("objectproperty", vec![id.clone(), Typed::nvarchar("IsUserTable")], Val::Int(1)),
        ("type_name", vec![Typed::int(231)], text("nvarchar")),
        ("type_id", vec![Typed::nvarchar("int")], Val::Int(56)),
        (
            "has_perms_by_name",
            vec![name(), Typed::nvarchar("OBJECT"), Typed::nvarchar("SELECT")],
            Val::Int(1),
        ),
        ("user_name", vec![], text("dbo")),
        ("current_timezone_id", vec![], text("UTC")),
        ("fn_cdc_get_column_ordinal", vec![instance(), Typed::nvarchar("note")], Val::Int(3)),
        ("fn_cdc_is_bit_set", vec![Typed::int(9), Typed::binary(&[1, 0])], Val::Bit(true)),
        (
            "fn_cdc_has_column_changed",
            vec![instance(), Typed::nvarchar("name"), Typed::binary(&[0b101])],
            Val::Bit(false),
        ),
        (
            "fn_cdc_map_time_to_lsn",
            vec![
                Typed::nvarchar("largest less than or equal"),
                Typed::new(Ty::DateTime, Val::DateTime(60_000, 0)),
            ],
            lsn.val.clone(),
        ),
        ("fn_varbintohexstr", vec![Typed::binary(&[0x0a, 0xff])], text("0x0aff")),
        ("fn_cdc_hexstrtobin", vec![Typed::nvarchar("0x0aff")], Val::bytes(&[0x0a, 0xff])),
    ];
    for (name, args, wanted) in calls {
        let got = catalog::scalar(&mut desk, None, None, name, &args).unwrap().unwrap();
        desk.rollback();
        assert_eq!(got.val, wanted, "{name}");
        assert_eq!(Some(got.ty), catalog::scalar_type(name), "{name}");
    }
    let time = desk.function("fn_cdc_map_lsn_to_time", &[lsn]);
    assert!(matches!(time, Val::DateTime(..)));
}

/// Each row has a value for each column, of the column's type.
fn check(name: &str, rowset: &Rowset) {
    for row in &rowset.rows {
        assert_eq!(row.len(), rowset.columns.len(), "{name}");
        for (column, value) in rowset.columns.iter().zip(row.iter()) {
            let what = format!("{name}.{} = {value:?}", column.name);
            assert!(column.nullable || !value.is_null(), "{what}");
            let fits = match column.ty {
                _ if value.is_null() => true,
                Ty::Bit => matches!(value, Val::Bit(_)),
                Ty::TinyInt => matches!(value, Val::Int(0..=255)),
                Ty::SmallInt => matches!(value, Val::Int(-32768..=32767)),
                Ty::Int | Ty::BigInt => matches!(value, Val::Int(_)),
                Ty::Real => matches!(value, Val::Real(_)),
                Ty::Float => matches!(value, Val::Float(_)),
                Ty::Decimal(..) => matches!(value, Val::Dec(_)),
                Ty::DateTime => matches!(value, Val::DateTime(..)),
                Ty::DateTime2(_) => matches!(value, Val::DateTime2(..)),
                Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) => {
                    matches!(value, Val::Str(_))
                }
                Ty::Binary(_) | Ty::VarBinary(_) => matches!(value, Val::Bytes(_)),
                Ty::UniqueIdentifier => matches!(value, Val::Guid(_)),
                Ty::Variant => matches!(value, Val::Variant(_)),
                _ => false,
            };
            assert!(fits, "{what} is no {:?}", column.ty);
        }
    }
}
