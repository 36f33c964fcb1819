//! CDC as a whole, below the executor: row changes through the store, procedures and views through the catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::capture;
use super::state::{control, state};
use crate::catalog::{self, Host, ProcArg, ProcResult};
use crate::exec::output::Login;
use crate::store::{
    Column, Database, DdlKind, Index, Instance, Isolation, KeyColumn, Patience, RowUpdate,
    Settings, Table, TableDef, Transaction,
};
use crate::value::{MAX, Rowset, SqlError, Ty, Typed, Val};

/// A session without an executor: every call is a statement.
struct Desk {
    instance: Arc<Instance>,
    database: Arc<Database>,
    login: Login,
    tx: Option<Transaction>,
}

impl Host for Desk {
    fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
    fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }
    fn login(&self) -> &Login {
        &self.login
    }
    fn transaction(&mut self) -> &mut Transaction {
        let instance = &self.instance;
        self.tx.get_or_insert_with(|| {
            let mut tx =
                Transaction::begin(instance, Isolation::ReadCommitted, Patience::default());
            tx.begin_statement();
            tx
        })
    }
    fn temporary(&self, _: &str) -> Option<i32> {
        None
    }
}

fn index(columns: &[usize], primary_key: bool, name: &str, id: i32) -> Index {
    Index {
        id,
        name: name.to_owned(),
        unique: true,
        clustered: primary_key,
        primary_key,
        unique_constraint: false,
        constraint_id: 0,
        system_named: false,
        columns: columns
            .iter()
            .map(|column| KeyColumn { column: *column, descending: false })
            .collect(),
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

impl Desk {
    /// A database with CDC whose job only scans when told to.
    fn new() -> Self {
        let instance = Instance::new(Settings::default());
        let database = instance.create_database("shop", None).unwrap();
        let mut desk = Self { instance, database, login: Login::default(), tx: None };
        control(&desk.instance).pause();
        desk.run("sp_cdc_enable_db", &[]).unwrap();
        desk
    }

    fn commit(&mut self) {
        if let Some(tx) = self.tx.take() {
            tx.commit();
        }
    }

    fn rollback(&mut self) {
        self.tx = None;
    }

    fn statement(&mut self) -> &mut Transaction {
        let tx = self.transaction();
        tx.begin_statement();
        tx
    }

    /// A procedure with named arguments, in a transaction of its own.
    fn run(&mut self, name: &str, args: &[(&str, Typed)]) -> Result<ProcResult, SqlError> {
        let args: Vec<ProcArg> = args
            .iter()
            .map(|(name, value)| ProcArg {
                name: Some(format!("@{name}")),
                value: value.clone(),
                output: false,
            })
            .collect();
        let done = catalog::procedure(self, None, Some("sys"), name, &args);
        match done {
            Ok(done) => {
                self.commit();
                Ok(done.expect("a known procedure"))
            }
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn enable(&mut self, table: &str, more: &[(&str, Typed)]) -> Result<ProcResult, SqlError> {
        let mut args = vec![
            ("source_schema", Typed::nvarchar("dbo")),
            ("source_name", Typed::nvarchar(table)),
            ("role_name", Typed::null(Ty::NVarChar(128))),
        ];
        args.extend(more.iter().cloned());
        self.run("sp_cdc_enable_table", &args)
    }

    fn scan(&mut self) -> bool {
        let state = state(&self.database).unwrap();
        capture::scan(&self.instance, &self.database, &state, usize::MAX).unwrap()
    }

    fn create(&mut self, name: &str, columns: &[(&str, Ty)], indexes: Vec<Index>) -> Arc<Table> {
        let database = Arc::clone(&self.database);
        let columns =
            (1..).zip(columns).map(|(n, (name, ty))| Column::new(n, name, *ty, n > 1)).collect();
        let mut def = TableDef::new(database.new_object_id(), "dbo", name, columns, database.now());
        def.indexes = indexes;
        let table = self.statement().create_table(&database, Table::new(database.id, def)).unwrap();
        self.commit();
        table
    }

    fn table(&self, schema: &str, name: &str) -> Arc<Table> {
        self.database.table(schema, name).unwrap_or_else(|| panic!("no table {schema}.{name}"))
    }

    fn rows(&mut self, schema: &str, name: &str) -> Vec<Vec<Val>> {
        let table = self.table(schema, name);
        let database = Arc::clone(&self.database);
        let mut tx =
            Transaction::begin(&self.instance, Isolation::ReadCommitted, Patience::default());
        tx.begin_statement();
        tx.scan(&database, &table).map(|(_, row)| row.to_vec()).collect()
    }

    fn insert(&mut self, table: &Arc<Table>, row: &[Val]) {
        let database = Arc::clone(&self.database);
        self.statement().insert(&database, table, row.into()).unwrap();
    }

    /// UPDATE table SET columns = change(row) WHERE test(row); how many rows.
    fn update(
        &mut self,
        table: &Arc<Table>,
        assigned: &[usize],
        test: impl Fn(&[Val]) -> bool,
        change: impl Fn(&mut Vec<Val>),
    ) -> usize {
        let database = Arc::clone(&self.database);
        let tx = self.statement();
        let rows: Vec<RowUpdate> = tx
            .scan(&database, table)
            .filter(|(_, row)| test(row))
            .map(|(key, before)| RowUpdate {
                key,
                after: crate::store::edited(&before, &change),
                before,
            })
            .collect();
        tx.update(&database, table, &rows, assigned).unwrap();
        rows.len()
    }

    fn delete(&mut self, table: &Arc<Table>, test: impl Fn(&[Val]) -> bool) {
        let database = Arc::clone(&self.database);
        let tx = self.statement();
        let rows: Vec<_> = tx.scan(&database, table).filter(|(_, row)| test(row)).collect();
        for (key, row) in rows {
            tx.delete(&database, table, &key, &row).unwrap();
        }
    }

    fn function(&mut self, name: &str, args: &[Typed]) -> Val {
        let found = catalog::scalar(self, None, Some("sys"), name, args)
            .unwrap()
            .expect("a known function");
        self.rollback();
        found.val
    }

    fn changes(
        &mut self,
        instance: &str,
        from: &Val,
        to: &Val,
        option: &str,
    ) -> Result<Option<Rowset>, SqlError> {
        let lsn = |value: &Val| Typed::new(Ty::Binary(10), value.clone());
        let args = [lsn(from), lsn(to), Typed::nvarchar(option)];
        let name = format!("fn_cdc_get_all_changes_{instance}");
        let found = catalog::system_table(self, None, "cdc", &name, Some(&args));
        self.rollback();
        found
    }

    fn view(&mut self, name: &str) -> Rowset {
        let found =
            catalog::system_table(self, None, "sys", name, None).unwrap().expect("a known view");
        self.rollback();
        found
    }
}

fn text(value: &str) -> Val {
    Val::str(value)
}

/// Operation, command id and captured values of every row of a change table.
fn brief(rows: &[Vec<Val>]) -> Vec<(i64, i64, Vec<Val>)> {
    let one = |row: &Vec<Val>| {
        let end = row.len() - 1;
        (row[3].as_int().unwrap(), row[end].as_int().unwrap(), row[5..end].to_vec())
    };
    rows.iter().map(one).collect()
}

fn people(desk: &mut Desk) -> Arc<Table> {
    desk.create(
        "people",
        &[("id", Ty::Int), ("name", Ty::NVarChar(50)), ("note", Ty::NVarChar(MAX))],
        vec![index(&[0], true, "pk_people", 1)],
    )
}

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
    assert_eq!(desk.function("fn_cdc_get_max_lsn", &[]), start);
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
    super::cleanup::everything(desk.transaction(), &database, true).unwrap();
    desk.commit();
    assert!(desk.function("fn_cdc_get_max_lsn", &[]).is_null());
}

#[test]
fn ddl_is_recorded_and_types_follow() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(1), text("one"), Val::Null]);
    desk.commit();
    let database = Arc::clone(&desk.database);
    let add = DdlKind::AddColumn { column: "extra".to_owned() };
    super::on_ddl(desk.statement(), &database, &table, "ALTER TABLE people ADD extra int", add);
    let mut def = (*table.def()).clone();
    def.columns.push(Column::new(4, "extra", Ty::Int, true));
    let wider =
        |row: &crate::value::Row| Ok(crate::store::edited(row, |values| values.push(Val::Null)));
    desk.transaction().rewrite_table(&database, &table, def, wider).unwrap();
    desk.commit();
    desk.insert(&table, &[Val::Int(2), text("two"), Val::Null, Val::Int(7)]);
    desk.commit();
    let alter = DdlKind::AlterColumn { column: "name".to_owned() };
    super::on_ddl(
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
    super::on_ddl(desk.statement(), &database, &table, "ALTER TABLE people DROP COLUMN note", drop);
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
    assert!(super::before_truncate(&table).is_err_and(|error| error.number == 4711));
    let renamed = super::before_rename_column(desk.statement(), &database, &table, "NAME");
    assert_eq!(renamed.unwrap_err().number, 4928);
    super::before_drop_table(desk.statement(), &database, &table).unwrap();
    desk.commit();
    assert!(desk.rows("cdc", "ddl_history").is_empty());
    assert!(!table.is_tracked());
}

#[test]
fn every_view_has_values_of_its_columns() {
    let mut desk = Desk::new();
    people(&mut desk);
    desk.enable("people", &[]).unwrap();
    desk.scan();
    let names = "databases database_recovery_status types database_principals database_role_members server_principals \
        configurations dm_server_services dm_exec_sessions dm_exec_connections dm_tran_database_transactions \
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
                Ty::Char(_) | Ty::VarChar(_) | Ty::NVarChar(_) => matches!(value, Val::Str(_)),
                Ty::Binary(_) | Ty::VarBinary(_) => matches!(value, Val::Bytes(_)),
                Ty::UniqueIdentifier => matches!(value, Val::Guid(_)),
                Ty::Variant => matches!(value, Val::Variant(_)),
                _ => false,
            };
            assert!(fits, "{what} is no {:?}", column.ty);
        }
    }
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

/// A generator of its own, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The rows of a change table applied in the order of its clustered key.
fn replayed(rows: &[Vec<Val>]) -> BTreeMap<i64, Vec<Val>> {
    let mut state = BTreeMap::new();
    for row in rows {
        let values = row[5..row.len() - 1].to_vec();
        let key = values[0].as_int().unwrap();
        match row[3].as_int().unwrap() {
            1 => {
                assert_eq!(state.remove(&key), Some(values), "a delete has the row that was there");
            }
            2 => assert!(state.insert(key, values).is_none(), "an insert is of a new key"),
            3 => assert_eq!(
                state.get(&key),
                Some(&values),
                "a before image is the row that was there"
            ),
            4 => assert!(state.insert(key, values).is_some()),
            other => panic!("operation {other}"),
        }
    }
    state
}

#[test]
fn change_tables_replayed_are_the_tables() {
    for seed in 1..=12u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut desk = Desk::new();
        let columns = [("id", Ty::Int), ("name", Ty::NVarChar(50)), ("code", Ty::Int)];
        let tables = [
            desk.create("one", &columns, vec![index(&[0], true, "pk_one", 1)]),
            desk.create(
                "two",
                &columns,
                vec![index(&[0], true, "pk_two", 1), index(&[2], false, "ux_two", 2)],
            ),
        ];
        desk.enable("one", &[]).unwrap();
        desk.enable("two", &[]).unwrap();
        let mut code = 0;
        for _ in 0..120 {
            for _ in 0..=dice.roll(4) {
                let table = &tables[usize::try_from(dice.roll(2)).unwrap()];
                let (low, high) =
                    (i64::try_from(dice.roll(40)).unwrap(), i64::try_from(dice.roll(6)).unwrap());
                let chosen = move |row: &[Val]| {
                    row[0].as_int().is_some_and(|id| (low..=low + high).contains(&id))
                };
                match dice.roll(6) {
                    0 | 1 => {
                        let taken: Vec<i64> = {
                            let database = Arc::clone(&desk.database);
                            let tx = desk.statement();
                            tx.scan(&database, table)
                                .filter_map(|(_, row)| row[0].as_int())
                                .collect()
                        };
                        if let Some(id) = (low..).find(|id| !taken.contains(id)) {
                            code += 1;
                            desk.insert(
                                table,
                                &[Val::Int(id), text(&format!("n{code}")), Val::Int(code)],
                            );
                        }
                    }
                    2 => {
                        let name = text(&format!("u{}", dice.roll(3)));
                        desk.update(table, &[1], chosen, move |row| row[1] = name.clone());
                    }
                    3 => {
                        let shift = 1000 + code;
                        code += 100;
                        desk.update(table, &[2], chosen, move |row| {
                            row[2] = Val::Int(shift + row[0].as_int().unwrap() % 50);
                        });
                        code += 1000;
                    }
                    4 => {
                        // Swap two keys of one statement: mirror the range.
                        let (from, to) = (low, low + high);
                        let both =
                            move |row: &[Val]| row[0] == Val::Int(from) || row[0] == Val::Int(to);
                        let swap = move |row: &mut Vec<Val>| {
                            row[0] = Val::Int(from + to - row[0].as_int().unwrap());
                        };
                        let database = Arc::clone(&desk.database);
                        let there = {
                            let tx = desk.statement();
                            tx.scan(&database, table).filter(|(_, row)| both(row)).count()
                        };
                        if there == 2 {
                            desk.update(table, &[0], both, swap);
                        }
                    }
                    _ => desk.delete(table, chosen),
                }
            }
            if dice.roll(3) == 0 {
                desk.rollback();
            } else {
                desk.commit();
            }
            if dice.roll(10) == 0 {
                desk.scan();
            }
        }
        desk.scan();
        for name in ["one", "two"] {
            let now: BTreeMap<i64, Vec<Val>> = desk
                .rows("dbo", name)
                .into_iter()
                .map(|row| (row[0].as_int().unwrap(), row))
                .collect();
            let changes = desk.rows("cdc", &format!("dbo_{name}_CT"));
            assert!(changes.len() > 50, "seed {seed}: {} changes", changes.len());
            assert_eq!(replayed(&changes), now, "seed {seed}, table {name}");
        }
    }
}

#[test]
fn net_changes_are_one_row_for_each_key_that_differs() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    for id in 1..=3 {
        desk.insert(&table, &[Val::Int(id), text("old"), Val::Null]);
    }
    desk.commit();
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(4), text("came"), Val::Null]);
    desk.insert(&table, &[Val::Int(5), text("came and went"), Val::Null]);
    desk.commit();
    desk.update(&table, &[1], |row| row[0] == Val::Int(4), |row| row[1] = text("stayed"));
    desk.update(&table, &[1], |row| row[0] == Val::Int(1), |row| row[1] = text("new"));
    desk.delete(&table, |row| row[0] == Val::Int(2) || row[0] == Val::Int(5));
    desk.commit();
    desk.scan();
    let low = desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]);
    let high = desk.function("fn_cdc_get_max_lsn", &[]);
    let lsn = |value: &Val| Typed::new(Ty::Binary(10), value.clone());
    let mut net = |option: &str| {
        let args = [lsn(&low), lsn(&high), Typed::nvarchar(option)];
        let name = "fn_cdc_get_net_changes_dbo_people";
        let found =
            catalog::system_table(&mut desk, None, "cdc", name, Some(&args)).unwrap().unwrap();
        desk.rollback();
        let mut rows: Vec<_> = found
            .rows
            .iter()
            .map(|row| {
                (row[3].as_int().unwrap(), row[1].as_int().unwrap(), row[2].clone(), row[4].clone())
            })
            .collect();
        rows.sort_by_key(|row| row.0);
        rows
    };
    assert_eq!(
        net("all"),
        [
            (1, 4, Val::Null, text("new")),
            (2, 1, Val::Null, text("old")),
            (4, 2, Val::Null, text("stayed")),
        ]
    );
    assert_eq!(net("all with mask")[0].2, Val::bytes(&[0b010]));
    assert_eq!(net("all with merge").iter().map(|row| row.1).collect::<Vec<_>>(), [5, 1, 5]);
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
    super::check_text_size(&desk.instance, &table, &row(40_000)).unwrap();
    desk.enable("people", &[]).unwrap();
    super::check_text_size(&desk.instance, &table, &row(32_768)).unwrap();
    let refused = super::check_text_size(&desk.instance, &table, &row(32_769)).unwrap_err();
    assert_eq!(refused.number, 7139);
    let args =
        [("configname", Typed::nvarchar("max text repl size")), ("configvalue", Typed::int(-1))];
    assert_eq!(desk.run("sp_configure", &args).unwrap().messages[0].number, 15457);
    super::check_text_size(&desk.instance, &table, &row(40_000)).unwrap();
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

#[test]
fn concurrent_sessions_are_captured_in_the_order_of_their_commits() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    for id in 1..=8 {
        desk.insert(&table, &[Val::Int(id), text("first"), Val::Null]);
    }
    desk.commit();
    desk.enable("people", &[]).unwrap();
    let before = desk.rows("dbo", "people");
    control(&desk.instance).set_latency_ms(1);
    control(&desk.instance).resume();
    std::thread::scope(|scope| {
        for writer in 1..=3u64 {
            let (instance, database) = (Arc::clone(&desk.instance), Arc::clone(&desk.database));
            let table = Arc::clone(&table);
            scope.spawn(move || {
                let mut dice = Dice(writer * 77);
                for turn in 0..150 {
                    let id = i64::try_from(1 + dice.roll(8)).unwrap();
                    let mut tx = Transaction::begin(
                        &instance,
                        Isolation::ReadCommitted,
                        Patience::default(),
                    );
                    tx.begin_statement();
                    let rows: Vec<RowUpdate> = tx
                        .scan(&database, &table)
                        .filter(|(_, row)| row[0] == Val::Int(id))
                        .map(|(key, before)| RowUpdate {
                            after: crate::store::edited(&before, |row| {
                                row[1] = text(&format!("{writer}.{turn}"));
                            }),
                            key,
                            before,
                        })
                        .collect();
                    // A lost race is a rollback here.
                    if tx.update(&database, &table, &rows, &[1]).is_ok() && dice.roll(5) != 0 {
                        tx.commit();
                    }
                }
            });
        }
    });
    for _ in 0..500 {
        if desk.database.log.waiting() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    control(&desk.instance).pause();
    let inserts = before.iter().map(|row| {
        let mut line = vec![Val::Null, Val::Null, Val::Null, Val::Int(2), Val::Null];
        line.extend(row.iter().cloned());
        line.push(Val::Int(0));
        line
    });
    let all: Vec<Vec<Val>> = inserts.chain(desk.rows("cdc", "dbo_people_CT")).collect();
    assert!(all.len() > 200, "{} rows", all.len());
    let now = desk.rows("dbo", "people").into_iter().map(|row| (row[0].as_int().unwrap(), row));
    assert_eq!(replayed(&all), now.collect());
}
