//! Definition of databases, tables, indexes and modules: which statement is which.

mod access;
mod alter;
mod alter_column;
mod constraint;
mod database;
mod definition;
mod index;
mod object;
mod table;
mod temporal;

use std::sync::Arc;

use crate::cdc;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::exec::{R, Write};
use crate::sql::ast::{DropKind, Stmt, StmtKind};
use crate::store::{Grant, LoginDef, PermissionScope, TableDef, fold_name, read, same_name, write};
use crate::value::{SqlError, Ty, Typed, Val, assign, cast};

/// A name for a constraint that was given none, as SQL Server makes them up.
pub(super) fn made_up(prefix: &str, table: &str, column: &str, id: i32) -> String {
    let short = |s: &str, n: usize| s.chars().take(n).collect::<String>();
    let column = if column.is_empty() { String::new() } else { format!("{}__", short(column, 5)) };
    format!("{prefix}__{}__{column}{id:08X}", short(table, 9))
}

/// `(text)` as the catalogue shows definitions.
pub(super) fn parenthesised(text: &str) -> String {
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

pub(super) fn no_object(verb: &str, what: &str, name: &str) -> SqlError {
    let m = format!(
        "Cannot {verb} the {what} '{name}', because it does not exist or you do not have permission."
    );
    SqlError::new(3701, m).class(11).state(5)
}

impl SessionState {
    pub(crate) fn define(&mut self, s: &Stmt, out: &mut dyn Output) -> R<()> {
        self.may_define(s)?;
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
                    let busy = self.instance.database(name).is_some_and(|d| {
                        // Not those that are leaving.
                        read(&self.instance.sessions)
                            .values()
                            .any(|s| same_name(&s.database, &d.name()) && !s.end.is_killed())
                    });
                    if busy || same_name(name, &self.db().name()) {
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
            StmtKind::AlterDatabase { name, options, termination } => {
                return self.alter_database(name.as_deref(), options, *termination, out);
            }
            _ => {}
        }
        self.atomic(|state| state.define_in(s, out))
    }

    pub(super) fn define_in(&mut self, s: &Stmt, out: &mut dyn Output) -> Result<(), Write> {
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
            StmtKind::AlterServerRole { member, add } => {
                let mut logins = write(&self.instance.logins);
                let Some(l) = logins.get_mut(&fold_name(member)) else {
                    return Err(SqlError::new(15151, format!("Cannot add the server principal '{member}', because it does not exist or you do not have permission.")).into());
                };
                l.sysadmin = *add;
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
            StmtKind::CreateType { name, ty, nullable } => {
                let mut text = self.type_of(ty)?.declared();
                if *nullable == Some(false) {
                    text.push_str(NOT_NULL);
                }
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
                if p.permission.contains('(') {
                    return Err(SqlError::unknown("permissions on columns").into());
                }
                let permissions: Vec<&str> = p.permission.split(',').map(str::trim).collect();
                for principal in &p.principals {
                    if !objects.principals.contains_key(&fold_name(principal))
                        && !read(&self.instance.logins).contains_key(&fold_name(principal))
                    {
                        let m = format!(
                            "Cannot find the user '{principal}', because it does not exist or you do not have permission."
                        );
                        return Err(SqlError::new(15151, m).into());
                    }
                    for permission in &permissions {
                        let on = PermissionScope::parse(&p.object);
                        objects.grants.retain(|g| {
                            !(g.permission == *permission
                                && PermissionScope::parse(&g.object) == on
                                && same_name(&g.principal, principal))
                        });
                        if p.verb != "REVOKE" {
                            objects.grants.push(Grant {
                                permission: (*permission).to_owned(),
                                object: p.object.clone(),
                                principal: principal.clone(),
                                deny: p.verb == "DENY",
                            });
                        }
                    }
                }
            }
            StmtKind::Dbcc { command, args, .. } => self.dbcc(command, args, out)?,
            _ => return Err(SqlError::unknown("this statement").into()),
        }
        Ok(())
    }
}

/// What an alias type that takes no NULL has behind its base type.
pub(in crate::exec) const NOT_NULL: &str = " NOT NULL";

/// The clustered index comes first, then by number.
pub(super) fn order_indexes(def: &mut TableDef) {
    def.indexes.sort_by_key(|i| (!i.clustered, i.id));
}

pub(super) fn too_many_clustered(def: &TableDef) -> SqlError {
    let old = def.clustered().map(|c| c.1.name.clone()).unwrap_or_default();
    let m = format!(
        "Cannot create more than one clustered index on table '{}'. Drop the existing clustered index '{old}' before creating another.",
        def.full_name()
    );
    SqlError::new(1902, m).state(3)
}

/// ALTER COLUMN converts what an assignment would, and a little more.
pub(super) fn assign_or_cast(v: &Typed, to: &Ty, table: &str, column: &str) -> R<Val> {
    match assign(v, to, Some((table, column))) {
        Ok(v) => Ok(v),
        Err(e) if e.number == 257 => cast(v, to, None),
        Err(e) => Err(e),
    }
}
