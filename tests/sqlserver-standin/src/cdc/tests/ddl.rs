//! DDL on captured tables.

use std::sync::Arc;

use super::{Desk, brief, people, text};
use crate::catalog::Host;
use crate::store::{Column, DdlKind};
use crate::value::{Ty, Typed, Val};

#[test]
fn ddl_is_recorded_and_types_follow() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(1), text("one"), Val::Null]);
    desk.commit();
    let database = Arc::clone(&desk.database);
    let add = DdlKind::AddColumn { column: "extra".to_owned() };
    crate::cdc::on_ddl(
        desk.statement(),
        &database,
        &table,
        "ALTER TABLE people ADD extra int",
        add,
    );
    let mut def = (*table.def()).clone();
    def.columns.push(Column::new(4, "extra", Ty::Int, true));
    let wider =
        |row: &crate::value::Row| Ok(crate::store::edited(row, |values| values.push(Val::Null)));
    desk.transaction().rewrite_table(&database, &table, def, wider).unwrap();
    desk.commit();
    desk.insert(&table, &[Val::Int(2), text("two"), Val::Null, Val::Int(7)]);
    desk.commit();
    let alter = DdlKind::AlterColumn { column: "name".to_owned() };
    crate::cdc::on_ddl(
        desk.statement(),
        &database,
        &table,
        "ALTER TABLE people ALTER COLUMN name nvarchar(80)",
        alter,
    );
    let mut def = (*table.def()).clone();
    def.columns[1].ty = Ty::NVarChar(80);
    desk.transaction().rewrite_table(&database, &table, def, |row| Ok(Arc::clone(row))).unwrap();
    desk.commit();
    let drop = DdlKind::DropColumn { column: "note".to_owned() };
    crate::cdc::on_ddl(
        desk.statement(),
        &database,
        &table,
        "ALTER TABLE people DROP COLUMN note",
        drop,
    );
    let mut def = (*table.def()).clone();
    def.columns.remove(2);
    let narrower = |row: &crate::value::Row| {
        Ok(crate::store::edited(row, |values| {
            values.remove(2);
        }))
    };
    desk.transaction().rewrite_table(&database, &table, def, narrower).unwrap();
    desk.commit();
    desk.insert(&table, &[Val::Int(3), text("three"), Val::Int(8)]);
    desk.commit();
    desk.scan();
    let seen = brief(&desk.rows("cdc", "dbo_people_CT"));
    let rows: Vec<_> = seen.into_iter().map(|row| row.2).collect();
    assert_eq!(
        rows,
        [
            vec![Val::Int(1), text("one"), Val::Null],
            vec![Val::Int(2), text("two"), Val::Null],
            vec![Val::Int(3), text("three"), Val::Null]
        ]
    );
    assert_eq!(desk.table("cdc", "dbo_people_CT").def().columns[6].ty, Ty::NVarChar(80));
    let history = desk.rows("cdc", "ddl_history");
    let required: Vec<Val> = history.iter().map(|row| row[2].clone()).collect();
    assert_eq!(required, [Val::Bit(false), Val::Bit(true), Val::Bit(false)]);
    assert!(crate::cdc::before_truncate(&table).is_err_and(|error| error.number == 4711));
    let renamed = crate::cdc::before_rename_column(desk.statement(), &database, &table, "NAME");
    assert_eq!(renamed.unwrap_err().number, 4928);
    crate::cdc::before_drop_table(desk.statement(), &database, &table).unwrap();
    desk.commit();
    assert!(desk.rows("cdc", "ddl_history").is_empty());
    assert!(!table.is_tracked());
}

#[test]
fn renaming_is_refused_for_captured_columns_and_allowed_for_tables() {
    let mut desk = Desk::new();
    people(&mut desk);
    desk.enable("people", &[("captured_column_list", Typed::nvarchar("id,name"))]).unwrap();
    let args = |name: &str, new: &str, kind: Option<&str>| {
        let kind = kind.map_or(Typed::null(Ty::NVarChar(13)), Typed::nvarchar);
        [("objname", Typed::nvarchar(name)), ("newname", Typed::nvarchar(new)), ("objtype", kind)]
    };
    let refused =
        desk.run("sp_rename", &args("dbo.people.name", "called", Some("COLUMN"))).unwrap_err();
    assert_eq!(refused.number, 4928);
    desk.run("sp_rename", &args("people.note", "remark", Some("COLUMN"))).unwrap();
    desk.run("sp_rename", &args("people", "persons", None)).unwrap();
    assert_eq!(desk.run("sp_rename", &args("people", "x", None)).unwrap_err().number, 15225);
    let help = desk.run("sp_cdc_help_change_data_capture", &[]).unwrap();
    let row = &help.rowsets[0].rows[0];
    assert_eq!((&row[1], &row[2]), (&text("persons"), &text("dbo_people")));
    assert_eq!((&row[13], &row[14]), (&text("[id]"), &text("[id], [name]")));
}
