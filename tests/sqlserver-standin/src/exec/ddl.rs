//! CREATE, ALTER, DROP and the like.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dml::Target;
use super::from::offered;
use super::node::{Env, Node};
use super::output::Output;
use super::scope::{Scope, Visible};
use super::session::SessionState;
use super::{R, Write};
use crate::cdc;
use crate::sql::ast::{
    AlterTable, ColumnSpec, ConstraintSpec, DatabaseOption, DropKind, ForeignSpec, IndexSpec,
    KeySpec, ModuleKind, Name, Query, RefAction, Stmt, StmtKind, TableSpec,
};
use crate::store::{
    Action, Check, Column, Computed, Database, DdlKind, DefaultConstraint, Filter, ForeignKey,
    Grant, Identity, Index, KeyColumn, LoginDef, Module, Table, TableDef, Transaction, edited,
    fold_name, read, same_name, write,
};
use crate::value::{SqlError, Ty, Typed, Val, assign, cast};

/// A name for a constraint that was given none, as SQL Server makes them up.
fn made_up(prefix: &str, table: &str, column: &str, id: i32) -> String {
    let short = |s: &str, n: usize| s.chars().take(n).collect::<String>();
    let column = if column.is_empty() { String::new() } else { format!("{}__", short(column, 5)) };
    format!("{prefix}__{}__{column}{id:08X}", short(table, 9))
}

/// `(text)` as the catalogue shows definitions.
fn parenthesised(text: &str) -> String {
    let t = text.trim();
    let wrapped = t.starts_with('(') && t.ends_with(')') && {
        let mut depth = 0;
        let last = t.chars().count();
        t.chars().enumerate().all(|(i, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth > 0 || i + 1 == last
        })
    };
    let number = t.parse::<f64>().is_ok();
    match (wrapped, number) {
        (true, _) => t.to_owned(),
        (false, true) => format!("(({t}))"),
        (false, false) => format!("({t})"),
    }
}

fn no_object(verb: &str, what: &str, name: &str) -> SqlError {
    let m = format!(
        "Cannot {verb} the {what} '{name}', because it does not exist or you do not have permission."
    );
    SqlError::new(3701, m).class(11).state(5)
}

impl SessionState {
    pub(crate) fn define(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        // Those that no transaction takes part in.
        match &s.kind {
            StmtKind::CreateDatabase { name, collation } => {
                return match self.instance.create_database(name, collation.as_deref()) {
                    Some(_) => Ok(()),
                    None => {
                        let m = format!(
                            "Database '{name}' already exists. Choose a different database name."
                        );
                        Err(SqlError::new(1801, m).state(3))
                    }
                };
            }
            StmtKind::Drop { kind: DropKind::Database, names, if_exists } => {
                for name in names {
                    let name = name.last().map_or("", String::as_str);
                    if same_name(name, &self.db().name()) {
                        let m = format!(
                            "Cannot drop database \"{name}\" because it is currently in use."
                        );
                        return Err(SqlError::new(3702, m).state(4));
                    }
                    if ["master", "tempdb", "model", "msdb"].iter().any(|n| same_name(n, name)) {
                        let m = format!(
                            "Cannot drop the database '{name}' because it is a system database."
                        );
                        return Err(SqlError::new(3708, m));
                    }
                    match self.instance.drop_database(name) {
                        Some(d) => cdc::dropped_database(&d),
                        None if *if_exists => {}
                        None => return Err(no_object("drop", "database", name)),
                    }
                }
                return Ok(());
            }
            StmtKind::AlterDatabase { name, options } => {
                return self.alter_database(name.as_deref(), options);
            }
            _ => {}
        }
        self.atomic(|state| state.define_in(s, out))
    }

    fn define_in(&mut self, s: &Stmt, out: &mut dyn Output) -> Result<(), Write> {
        let database = self.db();
        match &s.kind {
            StmtKind::CreateTable(spec) => self.create_table(spec)?,
            StmtKind::Truncate(name) => {
                let (database, table) = self.truncated(name)?;
                cdc::before_truncate(&table)?;
                self.tx()?.truncate_table(&database, &table)?;
            }
            StmtKind::CreateIndex(spec) => self.create_index(spec, &s.text)?,
            StmtKind::CreateSchema { name, owner } => {
                if !database.add_schema(name, owner.as_deref().unwrap_or("dbo")) {
                    return Err(SqlError::exists(name).into());
                }
                let (d, n) = (Arc::clone(&database), name.clone());
                self.tx()?.on_rollback(move || {
                    d.remove_schema(&n);
                });
            }
            StmtKind::CreateModule { name, kind, alter, or_alter } => {
                self.create_module(name, kind, *alter, *or_alter, &s.text)?;
            }
            StmtKind::CreateLogin { name, password, database } => {
                let mut logins = write(&self.instance.logins);
                if logins.contains_key(&fold_name(name)) {
                    return Err(SqlError::new(
                        15025,
                        format!("The server principal '{name}' already exists."),
                    )
                    .into());
                }
                logins.insert(
                    fold_name(name),
                    LoginDef {
                        name: name.clone(),
                        password: password.clone(),
                        default_database: database.clone().unwrap_or_else(|| "master".to_owned()),
                        sysadmin: false,
                        disabled: false,
                    },
                );
            }
            StmtKind::AlterLogin { name, password, disable } => {
                let mut logins = write(&self.instance.logins);
                let Some(l) = logins.get_mut(&fold_name(name)) else {
                    return Err(SqlError::new(15151, format!("Cannot alter the login '{name}', because it does not exist or you do not have permission.")).into());
                };
                if let Some(p) = password {
                    p.clone_into(&mut l.password);
                }
                if let Some(d) = disable {
                    l.disabled = *d;
                }
            }
            StmtKind::CreateUser { name, login } => {
                if let Some(l) = login
                    && !read(&self.instance.logins).contains_key(&fold_name(l))
                {
                    return Err(SqlError::new(
                        15007,
                        format!("'{l}' is not a valid login or you do not have permission."),
                    )
                    .into());
                }
                if !database.add_principal(name, "S", login.as_deref()) {
                    return Err(SqlError::new(
                        15023,
                        format!(
                            "User, group, or role '{name}' already exists in the current database."
                        ),
                    )
                    .into());
                }
            }
            StmtKind::CreateRole { name } => {
                if !database.add_principal(name, "R", None) {
                    return Err(SqlError::new(
                        15023,
                        format!(
                            "User, group, or role '{name}' already exists in the current database."
                        ),
                    )
                    .into());
                }
            }
            StmtKind::AlterRole { name, member, add } => {
                let mut objects = write(&database.objects);
                let Some(role) =
                    objects.principals.get_mut(&fold_name(name)).filter(|p| p.kind == "R")
                else {
                    return Err(SqlError::new(15151, format!("Cannot alter the role '{name}', because it does not exist or you do not have permission.")).into());
                };
                role.members.retain(|m| !same_name(m, member));
                if *add {
                    role.members.push(member.clone());
                }
            }
            StmtKind::CreateType { name, ty } => {
                let text = self.type_of(ty)?.declared();
                self.add_alias("type:", name, text)?;
            }
            StmtKind::CreateSynonym { name, target } => {
                self.add_alias("", name, target.join("\u{1}"))?;
            }
            StmtKind::AlterTable { table, action } => self.alter_table(table, action, &s.text)?,
            StmtKind::AlterSchema { schema, object } => {
                let (database, table) = self.need_table(object)?;
                if database.schema(schema).is_none() {
                    let m = format!(
                        "Cannot alter the schema '{schema}', because it does not exist or you do not have permission."
                    );
                    return Err(SqlError::new(15151, m).into());
                }
                let name = table.def().name.clone();
                self.tx()?.rename_table(&database, &table, schema, &name)?;
            }
            StmtKind::Drop { kind, names, if_exists } => {
                for name in names {
                    self.drop_object(*kind, name, *if_exists)?;
                }
            }
            StmtKind::DropIndex { indexes, if_exists } => {
                for (index, table) in indexes {
                    self.drop_index(index, table, *if_exists, &s.text)?;
                }
            }
            StmtKind::Permission(p) => {
                let mut objects = write(&database.objects);
                for principal in &p.principals {
                    if !objects.principals.contains_key(&fold_name(principal))
                        && !read(&self.instance.logins).contains_key(&fold_name(principal))
                    {
                        let m = format!(
                            "Cannot find the user '{principal}', because it does not exist or you do not have permission."
                        );
                        return Err(SqlError::new(15151, m).into());
                    }
                    objects.grants.retain(|g| {
                        !(g.permission == p.permission
                            && same_name(&g.object, &p.object)
                            && same_name(&g.principal, principal))
                    });
                    if p.verb != "REVOKE" {
                        objects.grants.push(Grant {
                            permission: p.permission.clone(),
                            object: p.object.clone(),
                            principal: principal.clone(),
                            deny: p.verb == "DENY",
                        });
                    }
                }
            }
            StmtKind::Dbcc { command, args, .. } => self.dbcc(command, args, out)?,
            _ => return Err(SqlError::unknown("this statement").into()),
        }
        Ok(())
    }

    fn dbcc(
        &mut self,
        command: &str,
        args: &[crate::sql::ast::Expr],
        out: &mut dyn Output,
    ) -> R<()> {
        match command {
            "CHECKIDENT" => {
                let mut values = Vec::new();
                for a in args {
                    let n = self.compile(a, &Scope::default())?;
                    values.push(self.typed(&n, &Env::EMPTY)?);
                }
                let text = |v: Option<&Typed>| -> R<String> {
                    Ok(v.map(Typed::to_string16)
                        .transpose()?
                        .flatten()
                        .map(|s| String::from_utf16_lossy(&s))
                        .unwrap_or_default())
                };
                let name = text(values.first())?;
                let parts: Name =
                    name.split('.').map(|p| p.trim_matches(['[', ']']).to_owned()).collect();
                let (_, table) = self.need_table(&parts)?;
                let Some((_, identity)) = table.def().identity() else {
                    let m = format!("'{name}' does not contain an identity column.");
                    return Err(SqlError::new(7997, m));
                };
                let old = table.identity_last();
                if text(values.get(1))?.eq_ignore_ascii_case("RESEED")
                    && let Some(n) = values.get(2).map(Typed::to_i64).transpose()?.flatten()
                {
                    // In a table that never had a row the next value is the new seed itself.
                    let n = i128::from(n);
                    table.set_identity(Some(if old.is_none() {
                        n - identity.increment
                    } else {
                        n
                    }));
                }
                let shown = old.map_or_else(|| "NULL".to_owned(), |v| v.to_string());
                out.message(&SqlError::info(
                    7998,
                    format!("Checking identity information: current identity value '{shown}'."),
                ));
                Ok(())
            }
            "TRACEON" | "TRACEOFF" | "FREEPROCCACHE" | "DROPCLEANBUFFERS" | "UPDATEUSAGE"
            | "CHECKDB" | "CHECKTABLE" | "SHRINKFILE" | "SHRINKDATABASE" | "FREESYSTEMCACHE" => {
                Ok(())
            }
            _ => Err(SqlError::unknown(format!("DBCC {command}"))),
        }
    }

    fn alter_database(&mut self, name: Option<&str>, options: &[DatabaseOption]) -> R<()> {
        let database = match name {
            Some(n) if !same_name(n, "CURRENT") => self.instance.database(n).ok_or_else(|| {
                SqlError::new(5011, format!("User does not have permission to alter database '{n}', the database does not exist, or the database is not in a state that allows access checks.")).class(14)
            })?,
            _ => self.db(),
        };
        if self.depth > 0 {
            return Err(SqlError::new(
                226,
                "ALTER DATABASE statement not allowed within multi-statement transaction.",
            )
            .state(6));
        }
        for o in options {
            let mut set = write(&database.options);
            match o {
                DatabaseOption::SnapshotIsolation(on) => set.snapshot_isolation = *on,
                DatabaseOption::ReadCommittedSnapshot(on) => set.read_committed_snapshot = *on,
                DatabaseOption::Recovery(model) => {
                    set.recovery_model = match model.as_str() {
                        "FULL" => "FULL",
                        "SIMPLE" => "SIMPLE",
                        "BULK_LOGGED" => "BULK_LOGGED",
                        _ => return Err(SqlError::syntax(model)),
                    }
                }
                DatabaseOption::CompatibilityLevel(level) => set.compatibility_level = *level,
                DatabaseOption::SingleUser(on) => set.single_user = *on,
                DatabaseOption::ReadOnly(on) => set.read_only = *on,
                DatabaseOption::Collate(c) => c.clone_into(&mut set.collation),
                DatabaseOption::Rename(new) => {
                    drop(set);
                    if !self.instance.rename_database(&database.name(), new) {
                        let m = format!(
                            "The database '{new}' already exists. Specify a unique database name."
                        );
                        return Err(SqlError::new(1801, m));
                    }
                }
                DatabaseOption::Other(k, v) => {
                    set.other.insert(fold_name(k), v.clone());
                }
            }
        }
        Ok(())
    }

    fn add_alias(&mut self, prefix: &str, name: &Name, target: String) -> R<()> {
        let (database, schema, own) = self.locate(name)?;
        let schema = schema.unwrap_or_else(|| "dbo".to_owned());
        let key = (format!("{prefix}{}", fold_name(&schema)), fold_name(&own));
        let mut objects = write(&database.objects);
        if objects.synonyms.contains_key(&key) {
            return Err(SqlError::exists(&own));
        }
        let alias =
            crate::store::Alias { object_id: database.new_object_id(), schema, name: own, target };
        objects.synonyms.insert(key, Arc::new(alias));
        drop(objects);
        database.changed();
        Ok(())
    }

    // ---- tables ----

    /// Database, schema and own name of a table to be made.
    fn place_for(&mut self, name: &Name) -> R<(Arc<Database>, String, String)> {
        let (database, schema, own) = self.locate(name)?;
        if own.starts_with('#') {
            return Ok((self.instance.tempdb(), "dbo".to_owned(), own));
        }
        let schema = schema.unwrap_or_else(|| "dbo".to_owned());
        let Some(found) = database.schema(&schema) else {
            let m = format!(
                "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
            );
            return Err(SqlError::new(2760, m));
        };
        Ok((database, found.name, own))
    }

    fn taken(&self, database: &Database, schema: &str, own: &str) -> bool {
        if own.starts_with('#') {
            return self.temporary_table(own).is_some();
        }
        let key = (fold_name(schema), fold_name(own));
        let objects = read(&database.objects);
        objects.table_names.contains_key(&key)
            || objects.modules.contains_key(&key)
            || objects.synonyms.contains_key(&key)
    }

    fn create_table(&mut self, spec: &TableSpec) -> R<()> {
        let (database, schema, own) = self.place_for(&spec.name)?;
        if self.taken(&database, &schema, &own) {
            return Err(SqlError::exists(&own));
        }
        let def = self.build(&database, &schema, &own, spec)?;
        self.add_table(&database, def).map(|_| ())
    }

    fn add_table(&mut self, database: &Arc<Database>, def: TableDef) -> R<Arc<Table>> {
        let own = def.name.clone();
        if own.starts_with('#') && !own.starts_with("##") {
            let table = Arc::new(Table::new(database.id, def));
            self.add_temporary(&own, Arc::clone(&table));
            return Ok(table);
        }
        let table = Table::new(database.id, def);
        self.tx()?.create_table(database, table)
    }

    pub(crate) fn make_variable_table(&mut self, name: &str, spec: &TableSpec) -> R<Arc<Table>> {
        let tempdb = self.instance.tempdb();
        let def = self.build(&tempdb, "dbo", name, spec)?;
        Ok(Arc::new(Table::new(tempdb.id, def)))
    }

    /// The definition of a new table.
    fn build(
        &mut self,
        database: &Arc<Database>,
        schema: &str,
        own: &str,
        spec: &TableSpec,
    ) -> R<TableDef> {
        let id = database.new_object_id();
        let mut def = TableDef::new(id, schema, own, Vec::new(), database.now());
        def.next_column_id = 1;
        let mut constraints: Vec<&ConstraintSpec> = Vec::new();
        for c in &spec.columns {
            self.add_column(database, &mut def, c)?;
            constraints.extend(&c.constraints);
        }
        for c in &spec.columns {
            self.computed_type(&mut def, &c.name)?;
        }
        constraints.extend(&spec.constraints);
        // Keys first: whether the primary key is clustered depends on the others.
        let explicit = constraints
            .iter()
            .any(|c| matches!(c, ConstraintSpec::Key(KeySpec { clustered: Some(true), .. })))
            || spec.indexes.iter().any(|i| i.clustered);
        for c in &constraints {
            if let ConstraintSpec::Key(k) = c {
                let clustered = k.clustered.unwrap_or(k.primary && !explicit);
                self.add_key(database, &mut def, k, clustered)?;
            }
        }
        for c in constraints {
            if !matches!(c, ConstraintSpec::Key(_)) {
                self.add_constraint(database, &mut def, c)?;
            }
        }
        for i in &spec.indexes {
            let index = self.index_of(&def, i)?;
            def.indexes.push(index);
        }
        order_indexes(&mut def);
        Ok(def)
    }

    fn add_column(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        c: &ColumnSpec,
    ) -> R<()> {
        if def.columns.iter().any(|o| same_name(&o.name, &c.name)) {
            let m = format!(
                "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                c.name, def.name
            );
            return Err(SqlError::new(2705, m).state(3));
        }
        let column = self.column_of(database, def, c)?;
        def.next_column_id = def.next_column_id.max(column.id) + 1;
        def.columns.push(column);
        Ok(())
    }

    fn column_of(&mut self, database: &Arc<Database>, def: &TableDef, c: &ColumnSpec) -> R<Column> {
        let id = def.next_column_id;
        let primary = c
            .constraints
            .iter()
            .any(|k| matches!(k, ConstraintSpec::Key(KeySpec { primary: true, .. })));
        let Some(ty) = &c.ty else {
            let mut column = Column::new(id, &c.name, Ty::Int, c.nullable.unwrap_or(true));
            column.computed = c
                .computed
                .as_ref()
                .map(|t| Computed { text: parenthesised(&t.text), persisted: c.persisted });
            return Ok(column);
        };
        let resolved = self.type_of(ty).map_err(|e| {
            if e.number == 243 || e.number == 2715 {
                let m = format!(
                    "Column, parameter, or variable #{id}: Cannot find data type {}.",
                    ty.base
                );
                SqlError::new(2715, m).state(6)
            } else {
                e
            }
        })?;
        let nullable = match c.nullable {
            Some(n) => n,
            None => !(primary || c.identity.is_some() || resolved == Ty::RowVersion),
        };
        if primary && c.nullable == Some(true) {
            let m = format!(
                "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                def.name
            );
            return Err(SqlError::new(8111, m));
        }
        let mut column = Column::new(id, &c.name, resolved, nullable);
        let base = ty.base.rsplit('.').next().unwrap_or(&ty.base);
        if !same_name(base, resolved.name()) {
            column.declared = Some(base.to_lowercase());
        }
        if let Some((seed, increment)) = c.identity {
            if !matches!(
                resolved,
                Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt | Ty::Decimal(_, 0)
            ) {
                let m = format!(
                    "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.",
                    c.name
                );
                return Err(SqlError::new(2749, m));
            }
            column.identity = Some(Identity { seed, increment });
            column.nullable = false;
        }
        let own = c.collation.clone().filter(|c| c != "DATABASE_DEFAULT");
        let default = read(&database.options).collation.clone();
        let text = matches!(
            resolved,
            Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) | Ty::Text | Ty::NText
        );
        column.collation = own
            .or_else(|| (default != self.instance.settings.collation).then_some(default))
            .filter(|_| text);
        column.sparse = c.sparse;
        column.row_guid = c.row_guid;
        Ok(column)
    }

    /// Computed columns get the type of their expression.
    fn computed_type(&mut self, def: &mut TableDef, name: &str) -> R<()> {
        let Some(at) = def.ordinal(name) else { return Ok(()) };
        let Some(text) =
            def.columns.get(at).and_then(|c| c.computed.as_ref()).map(|c| c.text.clone())
        else {
            return Ok(());
        };
        let n = self.table_expression(def, &text, false)?;
        if let Some(c) = def.columns.get_mut(at) {
            c.ty = n.ty;
            c.nullable = c.nullable && n.nullable
                || matches!(c.computed, Some(Computed { persisted: false, .. })) && n.nullable;
        }
        Ok(())
    }

    fn table_expression(&mut self, def: &TableDef, text: &str, condition: bool) -> R<Node> {
        let e = crate::sql::parse_expression(text, condition)?;
        let sc = Scope::of(vec![Visible {
            alias: def.name.clone(),
            path: Vec::new(),
            columns: offered(def),
            slot: 0,
        }]);
        self.compile(&e, &sc)
    }

    fn key_columns(def: &TableDef, columns: &[(String, bool)]) -> R<Vec<KeyColumn>> {
        columns
            .iter()
            .map(|(name, descending)| {
                let column = def.ordinal(name).ok_or_else(|| {
                    let m = format!("Column name '{name}' does not exist in the target table or view.");
                    SqlError::new(1911, m)
                })?;
                let ty = def.columns.get(column).map_or(Ty::Int, |c| c.ty);
                let bad = matches!(ty, Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Udt(_))
                    || matches!(ty, Ty::VarChar(n) | Ty::NVarChar(n) | Ty::VarBinary(n) if n == crate::value::MAX);
                if bad {
                    let m = format!("Column '{name}' in table '{}' is of a type that is invalid for use as a key column in an index.", def.full_name());
                    return Err(SqlError::new(1919, m));
                }
                Ok(KeyColumn { column, descending: *descending })
            })
            .collect()
    }

    fn add_key(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        k: &KeySpec,
        clustered: bool,
    ) -> R<()> {
        if k.primary && def.primary_key().is_some() {
            let m = format!("Table '{}' already has a primary key defined on it.", def.name);
            return Err(SqlError::new(1779, m));
        }
        let columns = Self::key_columns(def, &k.columns)?;
        if k.primary {
            for c in &columns {
                if let Some(col) = def.columns.get_mut(c.column) {
                    col.nullable = false;
                }
            }
        }
        if clustered && def.clustered().is_some() {
            return Err(too_many_clustered(def));
        }
        let id = database.new_object_id();
        let prefix = if k.primary { "PK" } else { "UQ" };
        let name = match &k.name {
            Some(n) => {
                Self::free_constraint(database, n)?;
                n.clone()
            }
            None => made_up(prefix, &def.name, "", id),
        };
        def.indexes.push(Index {
            id: if clustered { 1 } else { def.next_index_id() },
            name,
            unique: true,
            clustered,
            primary_key: k.primary,
            unique_constraint: !k.primary,
            constraint_id: id,
            system_named: k.name.is_none(),
            columns,
            included: Vec::new(),
            filter: None,
            disabled: false,
        });
        Ok(())
    }

    /// Constraint names are unique in a database.
    fn free_constraint(database: &Database, name: &str) -> R<()> {
        if database.id == 2 {
            return Ok(());
        }
        let used = database.tables().iter().any(|t| {
            let d = t.def();
            d.indexes.iter().any(|i| i.constraint_id != 0 && same_name(&i.name, name))
                || d.checks.iter().any(|c| same_name(&c.name, name))
                || d.foreign_keys.iter().any(|f| same_name(&f.name, name))
                || d.columns
                    .iter()
                    .any(|c| c.default.as_ref().is_some_and(|x| same_name(&x.name, name)))
        });
        if used { Err(SqlError::exists(name)) } else { Ok(()) }
    }

    fn add_constraint(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        c: &ConstraintSpec,
    ) -> R<()> {
        let id = database.new_object_id();
        match c {
            ConstraintSpec::Key(k) => {
                let clustered = k.clustered.unwrap_or(k.primary && def.clustered().is_none());
                self.add_key(database, def, k, clustered)
            }
            ConstraintSpec::Check { name, check, column } => {
                if let Some(n) = name {
                    Self::free_constraint(database, n)?;
                }
                self.table_expression(def, &check.text, true)?;
                let named = name.clone();
                let own = column.as_deref().unwrap_or("");
                let name = named.unwrap_or_else(|| made_up("CK", &def.name, own, id));
                def.checks.push(Check {
                    system_named: name.starts_with("CK__"),
                    name,
                    object_id: id,
                    text: parenthesised(&check.text),
                    column: column.as_deref().and_then(|c| def.ordinal(c)),
                    disabled: false,
                });
                Ok(())
            }
            ConstraintSpec::Default { name, value, column, .. } => {
                if let Some(n) = name {
                    Self::free_constraint(database, n)?;
                }
                let at = def.ordinal(column).ok_or_else(|| {
                    SqlError::new(1752, format!("Column '{column}' in table '{}' is invalid for creating a default constraint.", def.name))
                })?;
                self.compile(&value.expr, &Scope::default())?;
                let made = made_up("DF", &def.name, column, id);
                let Some(c) = def.columns.get_mut(at) else { return Ok(()) };
                if c.default.is_some() {
                    return Err(SqlError::new(1781, "Column already has a DEFAULT bound to it."));
                }
                c.default = Some(DefaultConstraint {
                    system_named: name.is_none(),
                    name: name.clone().unwrap_or(made),
                    object_id: id,
                    text: parenthesised(&value.text),
                });
                Ok(())
            }
            ConstraintSpec::Foreign(f) => self.add_foreign(database, def, f, id),
        }
    }

    fn add_foreign(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        f: &ForeignSpec,
        id: i32,
    ) -> R<()> {
        if let Some(n) = &f.name {
            Self::free_constraint(database, n)?;
        }
        let (_, schema, own) = self.locate(&f.parent)?;
        let itself = same_name(&own, &def.name)
            && schema.as_deref().is_none_or(|s| same_name(s, &def.schema));
        let parent_def = if itself {
            Arc::new(def.clone())
        } else {
            let found = self.find_table(&f.parent)?;
            let Some((_, t)) = found else {
                let m = format!(
                    "Foreign key '{}' references invalid table '{}'.",
                    f.name.clone().unwrap_or_default(),
                    f.parent.join(".")
                );
                return Err(SqlError::new(1767, m));
            };
            t.def()
        };
        let parent_names: Vec<String> = if f.parent_columns.is_empty() {
            let Some(pk) = parent_def.primary_key() else {
                let m = format!(
                    "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list in the foreign key '{}'.",
                    f.parent.join("."),
                    f.name.clone().unwrap_or_default()
                );
                return Err(SqlError::new(1776, m));
            };
            pk.columns
                .iter()
                .filter_map(|k| parent_def.columns.get(k.column))
                .map(|c| c.name.clone())
                .collect()
        } else {
            f.parent_columns.clone()
        };
        let mut columns = Vec::new();
        for n in &f.columns {
            columns.push(def.ordinal(n).ok_or_else(|| {
                SqlError::new(1769, format!("Foreign key '{}' references invalid column '{n}' in referencing table '{}'.", f.name.clone().unwrap_or_default(), def.name))
            })?);
        }
        let mut parent_columns = Vec::new();
        let mut ordinals = Vec::new();
        for n in &parent_names {
            let at = parent_def.ordinal(n).ok_or_else(|| {
                SqlError::new(1770, format!("Foreign key '{}' references invalid column '{n}' in referenced table '{}'.", f.name.clone().unwrap_or_default(), parent_def.name))
            })?;
            ordinals.push(at);
            parent_columns.extend(parent_def.columns.get(at).map(|c| c.id));
        }
        let key = parent_def.indexes.iter().any(|i| {
            i.unique
                && i.filter.is_none()
                && i.columns.len() == ordinals.len()
                && i.columns.iter().all(|k| ordinals.contains(&k.column))
        });
        if !key || columns.len() != parent_columns.len() {
            let m = format!(
                "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list in the foreign key '{}'.",
                f.parent.join("."),
                f.name.clone().unwrap_or_default()
            );
            return Err(SqlError::new(1776, m));
        }
        let action = |a: RefAction| match a {
            RefAction::NoAction => Action::NoAction,
            RefAction::Cascade => Action::Cascade,
            RefAction::SetNull => Action::SetNull,
            RefAction::SetDefault => Action::SetDefault,
        };
        let own = f.columns.first().map_or("", String::as_str);
        def.foreign_keys.push(ForeignKey {
            name: f.name.clone().unwrap_or_else(|| made_up("FK", &def.name, own, id)),
            object_id: id,
            system_named: f.name.is_none(),
            columns,
            parent: parent_def.object_id,
            parent_columns,
            on_delete: action(f.on_delete),
            on_update: action(f.on_update),
            disabled: false,
        });
        Ok(())
    }

    // ---- indexes ----

    fn index_of(&mut self, def: &TableDef, spec: &IndexSpec) -> R<Index> {
        if def.indexes.iter().any(|i| same_name(&i.name, &spec.name)) && !spec.drop_existing {
            let m = format!(
                "The operation failed because an index or statistics with name '{}' already exists on table '{}'.",
                spec.name,
                def.full_name()
            );
            return Err(SqlError::new(1913, m));
        }
        let columns = Self::key_columns(def, &spec.columns)?;
        let mut included = Vec::new();
        for n in &spec.included {
            included.push(def.ordinal(n).ok_or_else(|| {
                SqlError::new(
                    1911,
                    format!("Column name '{n}' does not exist in the target table or view."),
                )
            })?);
        }
        if spec.clustered && def.clustered().is_some_and(|c| !same_name(&c.1.name, &spec.name)) {
            return Err(too_many_clustered(def));
        }
        let filter = match &spec.filter {
            Some(f) => Some(self.filter_of(def, &f.text)?),
            None => None,
        };
        Ok(Index {
            id: if spec.clustered { 1 } else { def.next_index_id() },
            name: spec.name.clone(),
            unique: spec.unique,
            clustered: spec.clustered,
            primary_key: false,
            unique_constraint: false,
            constraint_id: 0,
            system_named: false,
            columns,
            included,
            filter,
            disabled: false,
        })
    }

    /// The predicate of a filtered index as a function of the row. Only what needs no session is allowed there.
    fn filter_of(&mut self, def: &TableDef, text: &str) -> R<Filter> {
        let n = self.table_expression(def, text, true)?;
        let test = super::filter::pure(n)?;
        Ok(Filter { text: parenthesised(text), test })
    }

    fn create_index(&mut self, spec: &IndexSpec, text: &str) -> R<()> {
        let (database, table) = self.need_table(&spec.table).map_err(|_| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", spec.table.join("."));
            SqlError::new(1088, m).state(12)
        })?;
        let mut def = (*table.def()).clone();
        if spec.drop_existing {
            def.indexes.retain(|i| !same_name(&i.name, &spec.name));
        }
        let index = self.index_of(&def, spec)?;
        def.indexes.push(index);
        order_indexes(&mut def);
        self.rewrite(&database, &table, def, text, DdlKind::Index)
    }

    fn drop_index(&mut self, name: &str, table: &Name, if_exists: bool, text: &str) -> R<()> {
        let Some((database, t)) = self.find_table(table)? else {
            return if if_exists {
                Ok(())
            } else {
                Err(no_object("drop", "index", &format!("{}.{name}", table.join("."))))
            };
        };
        let mut def = (*t.def()).clone();
        let Some(at) = def.indexes.iter().position(|i| same_name(&i.name, name)) else {
            return if if_exists {
                Ok(())
            } else {
                Err(no_object("drop", "index", &format!("{}.{name}", table.join("."))))
            };
        };
        if let Some(i) = def.indexes.get(at)
            && i.constraint_id != 0
        {
            let kind = if i.primary_key { "PRIMARY KEY" } else { "UNIQUE KEY" };
            let m = format!(
                "An explicit DROP INDEX is not allowed on index '{}.{name}'. It is being used for {kind} constraint enforcement.",
                table.join(".")
            );
            return Err(SqlError::new(3723, m).state(4));
        }
        def.indexes.remove(at);
        self.rewrite(&database, &t, def, text, DdlKind::Index)
    }

    /// Puts a definition in place whose rows are the same.
    fn rewrite(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        def: TableDef,
        text: &str,
        kind: DdlKind,
    ) -> R<()> {
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| Ok(Arc::clone(row)))?;
        cdc::on_ddl(tx, database, table, text, kind);
        Ok(())
    }

    // ---- ALTER TABLE ----

    fn alter_table(&mut self, name: &Name, action: &AlterTable, text: &str) -> R<()> {
        let (database, table) = self.need_table(name).map_err(|_| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.join("."));
            SqlError::new(4902, m)
        })?;
        self.tx()?.lock_table(&table, crate::store::Mode::SchemaModify)?;
        let mut def = (*table.def()).clone();
        match action {
            AlterTable::Add { columns, constraints, with_values, no_check } => {
                if !columns.is_empty() {
                    self.alter_add(&database, &table, def, columns, *with_values, text)?;
                    def = (*table.def()).clone();
                }
                for c in constraints {
                    self.alter_constraint(&database, &table, &mut def, c, *no_check, text)?;
                }
                Ok(())
            }
            AlterTable::DropColumns(names, if_exists) => {
                for n in names {
                    self.alter_drop_column(&database, &table, n, *if_exists, text)?;
                }
                Ok(())
            }
            AlterTable::DropConstraints(names, if_exists) => {
                for n in names {
                    let mut def = (*table.def()).clone();
                    let mut found = false;
                    for c in &mut def.columns {
                        if c.default.as_ref().is_some_and(|d| same_name(&d.name, n)) {
                            c.default = None;
                            found = true;
                        }
                    }
                    let before = (def.checks.len(), def.foreign_keys.len(), def.indexes.len());
                    def.checks.retain(|c| !same_name(&c.name, n));
                    def.foreign_keys.retain(|c| !same_name(&c.name, n));
                    if let Some(i) =
                        def.indexes.iter().find(|i| i.constraint_id != 0 && same_name(&i.name, n))
                    {
                        if i.primary_key && table.is_tracked() {
                            let m = format!(
                                "Cannot alter the table '{}' because the primary key is used by Change Data Capture.",
                                def.name
                            );
                            return Err(SqlError::new(22858, m));
                        }
                        let referenced = database.tables().iter().any(|t| {
                            t.def().foreign_keys.iter().any(|f| {
                                f.parent == table.object_id && {
                                    let mut ids: Vec<i32> = i
                                        .columns
                                        .iter()
                                        .filter_map(|k| def.columns.get(k.column))
                                        .map(|c| c.id)
                                        .collect();
                                    ids.sort_unstable();
                                    let mut own = f.parent_columns.clone();
                                    own.sort_unstable();
                                    ids == own
                                }
                            })
                        });
                        if referenced {
                            let m = format!(
                                "The constraint '{n}' is being referenced by table '{}', foreign key constraint.",
                                def.name
                            );
                            return Err(SqlError::new(3725, m));
                        }
                    }
                    def.indexes.retain(|i| i.constraint_id == 0 || !same_name(&i.name, n));
                    let indexes = def.indexes.len() != before.2;
                    found |=
                        (def.checks.len(), def.foreign_keys.len(), def.indexes.len()) != before;
                    if !found {
                        if *if_exists {
                            continue;
                        }
                        return Err(SqlError::new(3728, format!("'{n}' is not a constraint.")));
                    }
                    if indexes {
                        self.rewrite(&database, &table, def, text, DdlKind::Constraint)?;
                    } else {
                        let tx = self.tx()?;
                        tx.redefine_table(&database, &table, def)?;
                        cdc::on_ddl(tx, &database, &table, text, DdlKind::Constraint);
                    }
                }
                Ok(())
            }
            AlterTable::AlterColumn(spec) => self.alter_column(&database, &table, spec, text),
            AlterTable::Check { enable, names } => {
                for c in &mut def.checks {
                    if names.is_empty() || names.iter().any(|n| same_name(n, &c.name)) {
                        c.disabled = !enable;
                    }
                }
                for f in &mut def.foreign_keys {
                    if names.is_empty() || names.iter().any(|n| same_name(n, &f.name)) {
                        f.disabled = !enable;
                    }
                }
                self.tx()?.redefine_table(&database, &table, def)
            }
            AlterTable::Ignored => Ok(()),
        }
    }

    fn alter_add(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        mut def: TableDef,
        columns: &[ColumnSpec],
        with_values: bool,
        text: &str,
    ) -> R<()> {
        let first = def.columns.len();
        let mut more = Vec::new();
        for c in columns {
            self.add_column(database, &mut def, c)?;
        }
        for c in columns {
            self.computed_type(&mut def, &c.name)?;
            for k in &c.constraints {
                match k {
                    ConstraintSpec::Default { .. } => self.add_constraint(database, &mut def, k)?,
                    other => more.push(other.clone()),
                }
            }
        }
        // What the existing rows get.
        let filled = table.approximate_rows() > 0;
        let mut values: Vec<Val> = Vec::new();
        let mut identity: Option<(usize, Identity)> = None;
        let mut computed: Vec<(usize, Node)> = Vec::new();
        for (at, c) in def.columns.iter().enumerate().skip(first) {
            let spec = columns.get(at - first);
            let given = with_values
                || spec.is_some_and(|s| {
                    s.constraints
                        .iter()
                        .any(|k| matches!(k, ConstraintSpec::Default { with_values: true, .. }))
                });
            let mut v = Val::Null;
            if let Some(d) = &c.default
                && (!c.nullable || given)
            {
                let e = crate::sql::parse_expression(&d.text, false)?;
                let n = self.compile(&e, &Scope::default())?;
                let t = self.typed(&n, &Env::EMPTY)?;
                v = assign(&t, &c.ty, Some((&def.name, &c.name)))?;
            }
            if let Some(i) = c.identity {
                identity = Some((at, i));
            } else if let Some(x) = &c.computed {
                let text = x.text.clone();
                let n = self.table_expression(&def, &text, false)?;
                computed.push((at, n));
            } else if c.ty == Ty::RowVersion {
                v = Val::bytes(&database.next_row_version().to_be_bytes());
            } else if v.is_null() && !c.nullable && filled {
                let m = format!(
                    "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column '{}' cannot be added to non-empty table '{}' because it does not satisfy these conditions.",
                    c.name, def.name
                );
                return Err(SqlError::new(4901, m));
            }
            values.push(v);
        }
        let columns_now = def.columns.clone();
        // The transaction is lent out while rows are rewritten; computed columns need the session.
        let mut tx: Option<Transaction> = None;
        std::mem::swap(&mut tx, &mut self.transaction);
        let result = match tx.as_mut() {
            Some(t) => t.rewrite_table(database, table, def, |row| {
                let mut out = edited(row, |v| v.extend(values.iter().cloned()));
                if let Some((at, i)) = identity {
                    let n = table.next_identity(i.seed, i.increment);
                    let ty = columns_now.get(at).map_or(Ty::Int, |c| c.ty);
                    let val = cast(&Typed::new(Ty::Decimal(38, 0), Val::Dec(n)), &ty, None)?;
                    out = edited(&out, |v| {
                        if let Some(p) = v.get_mut(at) {
                            *p = val;
                        }
                    });
                }
                for (at, n) in &computed {
                    let tuple = [Arc::clone(&out)];
                    let val = self.eval(n, &Env { rows: &tuple, outer: None })?;
                    out = edited(&out, |v| {
                        if let Some(p) = v.get_mut(*at) {
                            *p = val;
                        }
                    });
                }
                Ok(out)
            }),
            None => Ok(()),
        };
        self.transaction = tx;
        result?;
        let tx = self.tx()?;
        // One statement is one row of the history, however many columns it adds.
        if let Some(c) = columns.first() {
            cdc::on_ddl(tx, database, table, text, DdlKind::AddColumn { column: c.name.clone() });
        }
        for c in more {
            let mut def = (*table.def()).clone();
            self.alter_constraint(database, table, &mut def, &c, false, text)?;
        }
        Ok(())
    }

    fn alter_constraint(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        def: &mut TableDef,
        c: &ConstraintSpec,
        no_check: bool,
        text: &str,
    ) -> R<()> {
        if let ConstraintSpec::Key(k) = c
            && k.primary
        {
            for (name, _) in &k.columns {
                if def.column(name).is_some_and(|c| c.nullable) {
                    let m = format!(
                        "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                        def.name
                    );
                    return Err(SqlError::new(8111, m));
                }
            }
        }
        self.add_constraint(database, def, c)?;
        match c {
            ConstraintSpec::Key(_) => {
                order_indexes(def);
                self.rewrite(database, table, def.clone(), text, DdlKind::Constraint)?;
            }
            ConstraintSpec::Check { .. } | ConstraintSpec::Foreign(_) => {
                self.tx()?.redefine_table(database, table, def.clone())?;
                if !no_check {
                    self.verify(database, table)?;
                }
                cdc::on_ddl(self.tx()?, database, table, text, DdlKind::Constraint);
            }
            ConstraintSpec::Default { with_values, column, .. } => {
                let _ = (with_values, column);
                let tx = self.tx()?;
                tx.redefine_table(database, table, def.clone())?;
                cdc::on_ddl(tx, database, table, text, DdlKind::Constraint);
            }
        }
        *def = (*table.def()).clone();
        Ok(())
    }

    /// All rows keep the constraint that was added last.
    fn verify(&mut self, database: &Arc<Database>, table: &Arc<Table>) -> R<()> {
        let def = table.def();
        let rows: Vec<_> = self.tx()?.scan(database, table).map(|(_, r)| r).collect();
        let target = Target { database: Arc::clone(database), table: Arc::clone(table) };
        let w = self.writer(&target)?;
        for row in rows {
            self.check_foreign(&w, &target, &row, "ALTER TABLE")?;
            for c in def.checks.iter().filter(|c| !c.disabled) {
                let n = self.table_expression(&def, &c.text, true)?;
                let tuple = [Arc::clone(&row)];
                if self.test(&n, &Env { rows: &tuple, outer: None })? == Some(false) {
                    return Err(SqlError::constraint(
                        "ALTER TABLE",
                        "CHECK",
                        &c.name,
                        &database.name(),
                        &def.full_name(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn alter_drop_column(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        name: &str,
        if_exists: bool,
        text: &str,
    ) -> R<()> {
        let mut def = (*table.def()).clone();
        let Some(at) = def.ordinal(name) else {
            if if_exists {
                return Ok(());
            }
            let m = format!(
                "ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{}'.",
                def.name
            );
            return Err(SqlError::new(4924, m));
        };
        let users: Vec<(&str, String)> = def
            .indexes
            .iter()
            .filter(|i| i.columns.iter().any(|k| k.column == at) || i.included.contains(&at))
            .map(|i| (if i.constraint_id == 0 { "index" } else { "object" }, i.name.clone()))
            .chain(
                def.columns
                    .get(at)
                    .and_then(|c| c.default.as_ref())
                    .map(|d| ("object", d.name.clone())),
            )
            .chain(
                def.checks
                    .iter()
                    .filter(|c| c.column == Some(at))
                    .map(|c| ("object", c.name.clone())),
            )
            .chain(
                def.foreign_keys
                    .iter()
                    .filter(|f| f.columns.contains(&at))
                    .map(|f| ("object", f.name.clone())),
            )
            .collect();
        if let Some((kind, user)) = users.first() {
            let m = format!("The {kind} '{user}' is dependent on column '{name}'.");
            return Err(SqlError::new(5074, m));
        }
        if def.columns.len() == 1 {
            let m = format!(
                "ALTER TABLE DROP COLUMN failed because '{name}' is the only data column in table '{}'. A table must have at least one data column.",
                def.name
            );
            return Err(SqlError::new(4923, m));
        }
        cdc::before_drop_column(self.tx()?, database, table, name)?;
        def.columns.remove(at);
        let shift = |c: usize| if c > at { c - 1 } else { c };
        for i in &mut def.indexes {
            for k in &mut i.columns {
                k.column = shift(k.column);
            }
            for c in &mut i.included {
                *c = shift(*c);
            }
        }
        for f in &mut def.foreign_keys {
            for c in &mut f.columns {
                *c = shift(*c);
            }
        }
        for c in &mut def.checks {
            c.column = c.column.map(shift);
        }
        self.refilter(&mut def)?;
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| {
            Ok(edited(row, |v| {
                if at < v.len() {
                    v.remove(at);
                }
            }))
        })?;
        cdc::on_ddl(tx, database, table, text, DdlKind::DropColumn { column: name.to_owned() });
        Ok(())
    }

    /// Filters of indexes know columns by position.
    fn refilter(&mut self, def: &mut TableDef) -> R<()> {
        let texts: BTreeMap<usize, String> = def
            .indexes
            .iter()
            .enumerate()
            .filter_map(|(i, x)| Some((i, x.filter.as_ref()?.text.clone())))
            .collect();
        for (i, text) in texts {
            let filter = self.filter_of(def, &text)?;
            if let Some(x) = def.indexes.get_mut(i) {
                x.filter = Some(filter);
            }
        }
        Ok(())
    }

    fn alter_column(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        spec: &ColumnSpec,
        text: &str,
    ) -> R<()> {
        let mut def = (*table.def()).clone();
        let Some(at) = def.ordinal(&spec.name) else {
            let m = format!(
                "ALTER TABLE ALTER COLUMN failed because column '{}' does not exist in table '{}'.",
                spec.name, def.name
            );
            return Err(SqlError::new(4924, m));
        };
        let Some(old) = def.columns.get(at).cloned() else { return Ok(()) };
        if old.computed.is_some() || old.ty == Ty::RowVersion {
            let m = format!(
                "Cannot alter column '{}' because it is '{}'.",
                old.name,
                if old.computed.is_some() { "COMPUTED" } else { "timestamp" }
            );
            return Err(SqlError::new(4928, m));
        }
        let mut new = self.column_of(
            database,
            &def,
            &ColumnSpec { nullable: spec.nullable.or(Some(true)), ..spec.clone() },
        )?;
        let key = def.indexes.iter().find(|i| i.columns.iter().any(|k| k.column == at));
        if let Some(i) = key {
            let longer = match (old.ty, new.ty) {
                (Ty::VarChar(a), Ty::VarChar(b))
                | (Ty::NVarChar(a), Ty::NVarChar(b))
                | (Ty::VarBinary(a), Ty::VarBinary(b)) => b >= a && b != crate::value::MAX,
                (a, b) => a == b,
            };
            if !longer {
                let kind = if i.constraint_id == 0 { "index" } else { "object" };
                let m = format!("The {kind} '{}' is dependent on column '{}'.", i.name, old.name);
                return Err(SqlError::new(5074, m));
            }
            if i.primary_key {
                if spec.nullable == Some(true) {
                    return Err(SqlError::new(
                        8111,
                        format!(
                            "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                            def.name
                        ),
                    ));
                }
                new.nullable = old.nullable;
            }
        }
        new.id = old.id;
        new.name.clone_from(&old.name);
        new.identity = old.identity;
        new.default = old.default;
        new.sparse = old.sparse;
        new.row_guid = old.row_guid;
        if old.identity.is_some() {
            new.nullable = false;
        }
        let full = format!("{}.{}", database.name(), def.full_name());
        let (from, to, nullable, own) = (old.ty, new.ty, new.nullable, new.name.clone());
        if let Some(c) = def.columns.get_mut(at) {
            *c = new;
        }
        self.refilter(&mut def)?;
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| {
            let v = row.get(at).cloned().unwrap_or_default();
            if v.is_null() && !nullable {
                return Err(SqlError::null_into(&full, &own, "UPDATE"));
            }
            let v = if from == to {
                v
            } else {
                assign_or_cast(&Typed::new(from, v), &to, &full, &own)?
            };
            Ok(edited(row, |values| {
                if let Some(p) = values.get_mut(at) {
                    *p = v;
                }
            }))
        })?;
        cdc::on_ddl(tx, database, table, text, DdlKind::AlterColumn { column: own });
        Ok(())
    }

    // ---- everything else ----

    fn truncated(&mut self, name: &Name) -> R<(Arc<Database>, Arc<Table>)> {
        let (database, table) = self.find_table(name)?.ok_or_else(|| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.join("."));
            SqlError::new(4701, m)
        })?;
        let referenced = database.tables().iter().any(|t| {
            t.object_id != table.object_id
                && t.def().foreign_keys.iter().any(|f| f.parent == table.object_id)
        });
        if referenced {
            let m = format!(
                "Cannot truncate table '{}' because it is being referenced by a FOREIGN KEY constraint.",
                name.join(".")
            );
            return Err(SqlError::new(4712, m));
        }
        Ok((database, table))
    }

    fn create_module(
        &mut self,
        name: &Name,
        kind: &ModuleKind,
        alter: bool,
        or_alter: bool,
        text: &str,
    ) -> R<()> {
        let (database, schema, own) = self.place_for(name)?;
        let key = (fold_name(&schema), fold_name(&own));
        let letter = match kind {
            ModuleKind::View => "V",
            ModuleKind::Procedure { .. } => "P",
            ModuleKind::Other(k) => k,
        };
        let old = database.module(&schema, &own).filter(|m| m.kind == letter);
        if alter && old.is_none() {
            return Err(SqlError::invalid_object(&name.join(".")));
        }
        if !alter && !(or_alter && old.is_some()) && self.taken(&database, &schema, &own) {
            return Err(SqlError::exists(&own));
        }
        if matches!(kind, ModuleKind::View) {
            // The names inside have to exist.
            let (query, _) = Self::view_query(text)?;
            let plan = self.query_in(&query, &Scope::default())?;
            if let Some(at) = plan.columns.iter().position(|c| c.name.is_empty())
                && Self::view_query(text)?.1.is_empty()
            {
                let m = format!(
                    "Create View or Function failed because no column name was specified for column {}.",
                    at + 1
                );
                return Err(SqlError::new(4511, m));
            }
        }
        let now = database.now();
        let module = Module {
            object_id: old.as_ref().map_or_else(|| database.new_object_id(), |m| m.object_id),
            schema,
            name: own,
            kind: letter,
            text: text.to_owned(),
            create_date: old.as_ref().map_or(now, |m| m.create_date),
            modify_date: now,
        };
        write(&database.objects).modules.insert(key.clone(), Arc::new(module));
        database.changed();
        let d = Arc::clone(&database);
        self.tx()?.on_rollback(move || {
            let mut objects = write(&d.objects);
            match old {
                Some(m) => objects.modules.insert(key, m),
                None => objects.modules.remove(&key),
            };
        });
        Ok(())
    }

    fn drop_object(&mut self, kind: DropKind, name: &Name, if_exists: bool) -> R<()> {
        let text = name.join(".");
        let own = name.last().cloned().unwrap_or_default();
        match kind {
            DropKind::Table => {
                let Some((database, table)) = self.find_table(name)? else {
                    return if if_exists { Ok(()) } else { Err(no_object("drop", "table", &text)) };
                };
                if own.starts_with('#') && !own.starts_with("##") {
                    self.remove_temporary(&own);
                    return Ok(());
                }
                let referenced = database.tables().iter().any(|t| {
                    t.object_id != table.object_id
                        && t.def().foreign_keys.iter().any(|f| f.parent == table.object_id)
                });
                if referenced {
                    let m = format!(
                        "Could not drop object '{text}' because it is referenced by a FOREIGN KEY constraint."
                    );
                    return Err(SqlError::new(3726, m));
                }
                cdc::before_drop_table(self.tx()?, &database, &table)?;
                self.tx()?.drop_table(&database, &table)
            }
            DropKind::View | DropKind::Procedure | DropKind::Function | DropKind::Trigger => {
                let (letter, what) = match kind {
                    DropKind::View => ("V", "view"),
                    DropKind::Procedure => ("P", "procedure"),
                    DropKind::Trigger => ("TR", "trigger"),
                    _ => ("FN", "function"),
                };
                let (database, schema, own) = self.locate(name)?;
                let key = (fold_name(schema.as_deref().unwrap_or("dbo")), fold_name(&own));
                let mut objects = write(&database.objects);
                match objects.modules.get(&key).filter(|m| m.kind == letter).cloned() {
                    Some(old) => {
                        objects.modules.remove(&key);
                        drop(objects);
                        database.changed();
                        let d = Arc::clone(&database);
                        self.tx()?.on_rollback(move || {
                            write(&d.objects).modules.insert(key, old);
                        });
                        Ok(())
                    }
                    None if if_exists => Ok(()),
                    None => Err(no_object("drop", what, &text)),
                }
            }
            DropKind::Schema => {
                let database = self.db();
                let Some(found) = database.schema(&own) else {
                    return if if_exists {
                        Ok(())
                    } else {
                        Err(SqlError::new(
                            15151,
                            format!(
                                "Cannot drop the schema '{own}', because it does not exist or you do not have permission."
                            ),
                        ))
                    };
                };
                let user = database
                    .tables()
                    .iter()
                    .map(|t| t.def())
                    .find(|d| same_name(&d.schema, &own))
                    .map(|d| d.name.clone());
                if let Some(user) = user {
                    let m = format!(
                        "Cannot drop schema '{own}' because it is being referenced by object '{user}'."
                    );
                    return Err(SqlError::new(3729, m));
                }
                database.remove_schema(&own);
                let d = Arc::clone(&database);
                self.tx()?.on_rollback(move || {
                    d.add_schema(&found.name, &found.owner);
                });
                Ok(())
            }
            DropKind::Login => {
                let gone = write(&self.instance.logins).remove(&fold_name(&own));
                if gone.is_some() || if_exists {
                    Ok(())
                } else {
                    Err(SqlError::new(
                        15151,
                        format!(
                            "Cannot drop the login '{own}', because it does not exist or you do not have permission."
                        ),
                    ))
                }
            }
            DropKind::User | DropKind::Role => {
                let what = if kind == DropKind::User { "user" } else { "role" };
                let database = self.db();
                let gone = write(&database.objects).principals.remove(&fold_name(&own));
                if gone.is_some() || if_exists {
                    Ok(())
                } else {
                    Err(SqlError::new(
                        15151,
                        format!(
                            "Cannot drop the {what} '{own}', because it does not exist or you do not have permission."
                        ),
                    ))
                }
            }
            DropKind::Type | DropKind::Synonym => {
                let prefix = if kind == DropKind::Type { "type:" } else { "" };
                let (database, schema, own) = self.locate(name)?;
                let key = (
                    format!("{prefix}{}", fold_name(schema.as_deref().unwrap_or("dbo"))),
                    fold_name(&own),
                );
                let gone = write(&database.objects).synonyms.remove(&key);
                database.changed();
                if gone.is_some() || if_exists {
                    Ok(())
                } else {
                    Err(no_object(
                        "drop",
                        if kind == DropKind::Type { "type" } else { "synonym" },
                        &text,
                    ))
                }
            }
            DropKind::Sequence => {
                if if_exists {
                    Ok(())
                } else {
                    Err(no_object("drop", "sequence object", &text))
                }
            }
            DropKind::Database => Err(SqlError::unknown("DROP DATABASE here")),
        }
    }

    /// SELECT ... INTO
    pub(crate) fn select_into(&mut self, q: &Query, name: &Name) -> R<u64> {
        let plan = self.query_in(q, &Scope::default())?;
        let (database, schema, own) = self.place_for(name)?;
        if self.taken(&database, &schema, &own) {
            return Err(SqlError::exists(&own));
        }
        let mut columns = Vec::with_capacity(plan.columns.len());
        for (c, id) in plan.columns.iter().zip(1..) {
            if c.name.is_empty() {
                let m = format!(
                    "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. Change the alias to a valid name. (column {id})"
                );
                return Err(SqlError::new(1038, m).class(15));
            }
            let mut column = Column::new(id, &c.name, c.ty, c.nullable);
            if c.identity && !columns.iter().any(|o: &Column| o.identity.is_some()) {
                column.identity = Some(Identity { seed: 1, increment: 1 });
                column.nullable = false;
            }
            columns.push(column);
        }
        let rows = self.collect(&plan, None, None)?;
        let def = TableDef::new(database.new_object_id(), &schema, &own, columns, database.now());
        let table = self.add_table(&database, def)?;
        let identity = table.def().identity();
        let mut n = 0;
        for row in rows {
            if let Some((at, i)) = identity
                && let Some(Val::Int(v)) = row.get(at)
            {
                table.note_identity(i128::from(*v), i.increment);
            }
            match self.tx()?.insert(&database, &table, row) {
                Ok(_) => n += 1,
                Err(Write::Error(e)) => return Err(e),
                Err(Write::Again) => return Err(SqlError::lock_timeout()),
            }
        }
        Ok(n)
    }
}

/// The clustered index comes first, then by number.
fn order_indexes(def: &mut TableDef) {
    def.indexes.sort_by_key(|i| (!i.clustered, i.id));
}

fn too_many_clustered(def: &TableDef) -> SqlError {
    let old = def.clustered().map(|c| c.1.name.clone()).unwrap_or_default();
    let m = format!(
        "Cannot create more than one clustered index on table '{}'. Drop the existing clustered index '{old}' before creating another.",
        def.full_name()
    );
    SqlError::new(1902, m).state(3)
}

/// ALTER COLUMN converts what an assignment would, and a little more.
fn assign_or_cast(v: &Typed, to: &Ty, table: &str, column: &str) -> R<Val> {
    match assign(v, to, Some((table, column))) {
        Ok(v) => Ok(v),
        Err(e) if e.number == 257 => cast(v, to, None),
        Err(e) => Err(e),
    }
}
