//! CDC as a whole, below the executor: row changes through the store, procedures and views through the catalogue.

mod ddl;
mod instance;
mod job;
mod replay;
mod view;

use std::sync::Arc;

use super::capture;
use super::state::{control, state};
use crate::catalog::{self, Host, ProcArg, ProcResult};
use crate::exec::output::Login;
use crate::store::{
    Column, Database, Index, Instance, Isolation, KeyColumn, Patience, RowUpdate, Settings, Table,
    TableDef, Transaction,
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
