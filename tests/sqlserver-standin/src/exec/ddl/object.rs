//! TRUNCATE, views and procedures, DROP, SELECT INTO.

use crate::exec::ddl::no_object;
use crate::exec::ddl::temporal::refuse_versioned;
use std::sync::Arc;

use crate::cdc;
use crate::exec::dml::Target;
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::exec::{R, Write};
use crate::sql::ast::{DropKind, ModuleKind, Name, Query};
use crate::store::{
    Column, Database, Identity, Module, Table, TableDef, fold_name, same_name, write,
};
use crate::value::{Filled, SqlError, Val};

impl SessionState {
    pub(super) fn truncated(&mut self, name: &Name) -> R<(Arc<Database>, Arc<Table>)> {
        let (database, table) = self.find_table(name)?.ok_or_else(|| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.join("."));
            SqlError::new(4701, m)
        })?;
        refuse_versioned(&table.def(), "Truncate", name)?;
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

    pub(super) fn create_module(
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
            ModuleKind::Trigger { .. } => "TR",
            ModuleKind::Other(k) => k,
        };
        let old = database.module(&schema, &own).filter(|m| m.kind == letter);
        if alter && old.is_none() {
            return Err(SqlError::invalid_object(&name.join(".")));
        }
        if !alter && !(or_alter && old.is_some()) && self.taken(&database, &schema, &own) {
            return Err(SqlError::exists(&own));
        }
        if let ModuleKind::Trigger { table } = kind
            && self.find_table(table)?.is_none()
        {
            let m = format!(
                "The object '{}' does not exist or is invalid for this operation.",
                table.join(".")
            );
            return Err(SqlError::new(8197, m).state(4));
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

    /// A table's triggers go with it.
    fn drop_triggers(&mut self, database: &Arc<Database>, table: &Arc<Table>) -> R<()> {
        let target = Target { database: Arc::clone(database), table: Arc::clone(table) };
        for (id, _) in self.triggers(&target)? {
            let mut objects = write(&database.objects);
            let key = objects.modules.iter().find(|m| m.1.object_id == id).map(|m| m.0.clone());
            if let Some(key) = key
                && let Some(old) = objects.modules.remove(&key)
            {
                drop(objects);
                database.changed();
                let d = Arc::clone(database);
                self.tx()?.on_rollback(move || {
                    write(&d.objects).modules.insert(key, old);
                });
            }
        }
        Ok(())
    }

    pub(super) fn drop_object(&mut self, kind: DropKind, name: &Name, if_exists: bool) -> R<()> {
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
                refuse_versioned(&table.def(), "Drop", name)?;
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
                self.drop_triggers(&database, &table)?;
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
                let fits = |k: &str| k == letter || (letter == "FN" && matches!(k, "IF" | "TF"));
                match objects.modules.get(&key).filter(|m| fits(m.kind)).cloned() {
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
            if c.filled == Filled::Identity
                && !columns.iter().any(|o: &Column| o.identity.is_some())
            {
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
