//! A database: its objects, its commit numbers, its log.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::table::Table;
use super::{Key, Log, Lsn, Moment, TableDef, fold_name, lock, read, write};

/// A schema.
#[derive(Clone, Debug)]
pub struct Schema {
    pub id: i32,
    pub name: String,
    pub owner: String,
}

/// A view, procedure or other object that is only text.
#[derive(Clone, Debug)]
pub struct Module {
    pub object_id: i32,
    pub schema: String,
    pub name: String,
    /// `V`, `P`, `FN` ...
    pub kind: &'static str,
    /// The whole CREATE statement.
    pub text: String,
    pub create_date: Moment,
    pub modify_date: Moment,
}

/// A user or role of a database.
#[derive(Clone, Debug)]
pub struct Principal {
    pub id: i32,
    pub name: String,
    /// `S` user, `R` role.
    pub kind: &'static str,
    pub login: Option<String>,
    pub members: Vec<String>,
    pub create_date: Moment,
}

/// GRANT or DENY as it was written.
#[derive(Clone, Debug)]
pub struct Grant {
    pub permission: String,
    /// Empty: the database.
    pub object: String,
    pub principal: String,
    pub deny: bool,
}

/// A synonym or user-defined alias type.
#[derive(Clone, Debug)]
pub struct Alias {
    pub object_id: i32,
    pub schema: String,
    pub name: String,
    pub target: String,
}

/// Everything that has a name.
#[derive(Debug, Default)]
pub struct Objects {
    /// By folded name.
    pub schemas: BTreeMap<String, Schema>,
    pub tables: BTreeMap<i32, Arc<Table>>,
    /// (folded schema, folded name) -> object id, for tables.
    pub table_names: BTreeMap<(String, String), i32>,
    /// Views, procedures, functions by (folded schema, folded name).
    pub modules: BTreeMap<(String, String), Arc<Module>>,
    pub synonyms: BTreeMap<(String, String), Arc<Alias>>,
    pub principals: BTreeMap<String, Principal>,
    pub grants: Vec<Grant>,
    next_schema_id: i32,
    next_principal_id: i32,
}

/// What ALTER DATABASE SET changes.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    pub snapshot_isolation: bool,
    pub read_committed_snapshot: bool,
    pub collation: String,
    pub recovery_model: &'static str,
    pub compatibility_level: u8,
    pub single_user: bool,
    pub offline: bool,
    pub read_only: bool,
    /// Other options as written, folded name -> value.
    pub other: BTreeMap<String, String>,
}

/// A database.
#[derive(Debug)]
pub struct Database {
    pub id: i32,
    name: RwLock<String>,
    pub create_date: Moment,
    pub objects: RwLock<Objects>,
    pub options: RwLock<DatabaseOptions>,
    pub log: Log,
    pub is_cdc_enabled: AtomicBool,
    /// Counts DDL statements: a plan compiled under another number is stale.
    pub schema_version: AtomicU64,
    /// For the CDC layer: whatever it keeps per database.
    pub cdc: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// Clock of the instance, for commit times.
    pub(super) clock: Arc<super::Clock>,
    next_object_id: AtomicI32,
    row_version: AtomicU64,
    /// Held while a commit becomes visible.
    pub(super) commit: Mutex<()>,
    visible: AtomicU64,
    /// Read points in use: commit number -> readers.
    snapshots: Mutex<BTreeMap<u64, usize>>,
    garbage: Mutex<VecDeque<(u64, Arc<Table>, Vec<Key>)>>,
}

impl Database {
    pub(super) fn new(id: i32, name: &str, collation: &str, clock: Arc<super::Clock>) -> Self {
        let now = clock.now();
        let mut objects = Objects { next_schema_id: 5, next_principal_id: 5, ..Objects::default() };
        for (id, schema) in [(1, "dbo"), (2, "guest"), (3, "INFORMATION_SCHEMA"), (4, "sys")] {
            let s = Schema { id, name: schema.to_owned(), owner: "dbo".to_owned() };
            objects.schemas.insert(fold_name(schema), s);
        }
        let first = [(0, "public", "R"), (1, "dbo", "S"), (2, "guest", "S")];
        let roles = super::permission::FIXED_ROLES.into_iter().map(|(id, name)| (id, name, "R"));
        for (id, name, kind) in first.into_iter().chain(roles) {
            let login = (name == "dbo").then(|| "sa".to_owned());
            let p = Principal {
                id,
                name: name.to_owned(),
                kind,
                login,
                members: Vec::new(),
                create_date: now,
            };
            objects.principals.insert(fold_name(name), p);
        }
        Self {
            id,
            name: RwLock::new(name.to_owned()),
            create_date: now,
            objects: RwLock::new(objects),
            options: RwLock::new(DatabaseOptions {
                snapshot_isolation: false,
                read_committed_snapshot: false,
                collation: collation.to_owned(),
                recovery_model: "FULL",
                compatibility_level: 160,
                single_user: false,
                offline: false,
                read_only: false,
                other: BTreeMap::new(),
            }),
            log: Log::starting_at(1_000),
            is_cdc_enabled: AtomicBool::new(false),
            schema_version: AtomicU64::new(1),
            cdc: Mutex::new(None),
            clock,
            next_object_id: AtomicI32::new(565_577_053),
            row_version: AtomicU64::new(2_000),
            commit: Mutex::new(()),
            visible: AtomicU64::new(1),
            snapshots: Mutex::new(BTreeMap::new()),
            garbage: Mutex::new(VecDeque::new()),
        }
    }

    pub fn name(&self) -> String {
        read(&self.name).clone()
    }

    /// Error 942 when the database is off line.
    pub fn check_online(&self) -> Result<(), crate::value::SqlError> {
        if read(&self.options).offline {
            let m = format!("Database '{}' cannot be opened because it is offline.", self.name());
            return Err(crate::value::SqlError::new(942, m).class(14).state(4));
        }
        Ok(())
    }

    pub(super) fn set_name(&self, name: &str) {
        name.clone_into(&mut write(&self.name));
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// A new object id.
    pub fn new_object_id(&self) -> i32 {
        self.next_object_id.fetch_add(16, Ordering::SeqCst)
    }

    /// The next value of a rowversion column.
    pub fn next_row_version(&self) -> u64 {
        self.row_version.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// @@DBTS
    pub fn row_version(&self) -> u64 {
        self.row_version.load(Ordering::SeqCst)
    }

    pub fn is_cdc_enabled(&self) -> bool {
        self.is_cdc_enabled.load(Ordering::SeqCst)
    }

    /// The commit number that everyone may see.
    pub fn visible(&self) -> u64 {
        self.visible.load(Ordering::SeqCst)
    }

    /// The end of the log (`sys.dm_db_log_stats.log_end_lsn`), never between a commit record and the moment when
    /// that commit can be seen.
    pub fn log_end(&self) -> Lsn {
        let _commit = lock(&self.commit);
        self.log.last()
    }

    pub(super) fn publish(&self, commit: u64) {
        self.visible.store(commit, Ordering::SeqCst);
    }

    /// A table by schema and name, without regard to case.
    pub fn table(&self, schema: &str, name: &str) -> Option<Arc<Table>> {
        let objects = read(&self.objects);
        let id = objects.table_names.get(&(fold_name(schema), fold_name(name)))?;
        objects.tables.get(id).cloned()
    }

    pub fn table_by_id(&self, object_id: i32) -> Option<Arc<Table>> {
        read(&self.objects).tables.get(&object_id).cloned()
    }

    /// All tables, in the order of their object ids.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        read(&self.objects).tables.values().cloned().collect()
    }

    /// A view, procedure or function.
    pub fn module(&self, schema: &str, name: &str) -> Option<Arc<Module>> {
        read(&self.objects).modules.get(&(fold_name(schema), fold_name(name))).cloned()
    }

    pub fn modules(&self) -> Vec<Arc<Module>> {
        read(&self.objects).modules.values().cloned().collect()
    }

    pub fn schema(&self, name: &str) -> Option<Schema> {
        read(&self.objects).schemas.get(&fold_name(name)).cloned()
    }

    pub fn schemas(&self) -> Vec<Schema> {
        let mut all: Vec<Schema> = read(&self.objects).schemas.values().cloned().collect();
        all.sort_by_key(|s| s.id);
        all
    }

    /// Adds a schema; false when there is one already.
    pub fn add_schema(&self, name: &str, owner: &str) -> bool {
        let mut objects = write(&self.objects);
        if objects.schemas.contains_key(&fold_name(name)) {
            return false;
        }
        let id = objects.next_schema_id;
        objects.next_schema_id += 1;
        let schema = Schema { id, name: name.to_owned(), owner: owner.to_owned() };
        objects.schemas.insert(fold_name(name), schema);
        self.changed();
        true
    }

    pub fn remove_schema(&self, name: &str) -> bool {
        self.changed();
        write(&self.objects).schemas.remove(&fold_name(name)).is_some()
    }

    /// Adds a user (`S`) or role (`R`); false when there is one already.
    pub fn add_principal(&self, name: &str, kind: &'static str, login: Option<&str>) -> bool {
        let mut objects = write(&self.objects);
        if objects.principals.contains_key(&fold_name(name)) {
            return false;
        }
        let id = objects.next_principal_id;
        objects.next_principal_id += 1;
        let login = login.map(str::to_owned);
        let p = Principal {
            id,
            name: name.to_owned(),
            kind,
            login,
            members: Vec::new(),
            create_date: self.now(),
        };
        objects.principals.insert(fold_name(name), p);
        true
    }

    /// Something was created, altered or dropped.
    pub fn changed(&self) {
        self.schema_version.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn insert_table(&self, table: Arc<Table>) {
        let def = table.def();
        let mut objects = write(&self.objects);
        objects.table_names.insert((fold_name(&def.schema), fold_name(&def.name)), table.object_id);
        objects.tables.insert(table.object_id, table);
        drop(objects);
        self.changed();
    }

    pub(super) fn remove_table(&self, table: &Table) {
        let def = table.def();
        let mut objects = write(&self.objects);
        objects.table_names.remove(&(fold_name(&def.schema), fold_name(&def.name)));
        objects.tables.remove(&table.object_id);
        drop(objects);
        self.changed();
    }

    pub(super) fn rename_table(&self, table: &Table, schema: &str, name: &str) -> Arc<TableDef> {
        let old = table.def();
        let mut def = (*old).clone();
        schema.clone_into(&mut def.schema);
        name.clone_into(&mut def.name);
        let mut objects = write(&self.objects);
        objects.table_names.remove(&(fold_name(&old.schema), fold_name(&old.name)));
        objects.table_names.insert((fold_name(schema), fold_name(name)), table.object_id);
        drop(objects);
        self.changed();
        table.redefine(def)
    }

    /// A read point at the newest visible commit; versions that it needs stay while the guard lives.
    pub fn read_point(self: &Arc<Self>) -> ReadPoint {
        let mut snapshots = lock(&self.snapshots);
        let at = self.visible();
        *snapshots.entry(at).or_default() += 1;
        ReadPoint { database: Arc::clone(self), at }
    }

    pub(super) fn discard_later(&self, commit: u64, table: &Arc<Table>, keys: Vec<Key>) {
        if !keys.is_empty() {
            lock(&self.garbage).push_back((commit, Arc::clone(table), keys));
        }
    }

    /// Drops versions that nobody can read any more.
    pub(super) fn collect_garbage(&self) {
        loop {
            let oldest = {
                let snapshots = lock(&self.snapshots);
                snapshots.keys().next().copied().unwrap_or_else(|| self.visible())
            };
            let next = {
                let mut garbage = lock(&self.garbage);
                match garbage.front() {
                    Some((commit, ..)) if *commit <= oldest => garbage.pop_front(),
                    _ => None,
                }
            };
            let Some((_, table, keys)) = next else { return };
            for part in keys.chunks(1024) {
                table.clear_old(part, oldest);
            }
        }
    }
}

/// A commit number that is being read.
#[derive(Debug)]
pub struct ReadPoint {
    database: Arc<Database>,
    at: u64,
}

impl ReadPoint {
    pub fn at(&self) -> u64 {
        self.at
    }
}

impl Drop for ReadPoint {
    fn drop(&mut self) {
        let mut snapshots = lock(&self.database.snapshots);
        let mut oldest_gone = false;
        if let Some(n) = snapshots.get_mut(&self.at) {
            *n -= 1;
            if *n == 0 {
                oldest_gone = snapshots.keys().next() == Some(&self.at);
                snapshots.remove(&self.at);
            }
        }
        drop(snapshots);
        if oldest_gone {
            self.database.collect_garbage();
        }
    }
}
