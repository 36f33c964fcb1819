//! ALTER DATABASE, DBCC, and where a new object goes.

use std::sync::Arc;

use crate::exec::R;
use crate::exec::node::Env;
use crate::exec::output::Output;
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::sql::ast::{DatabaseOption, Name, Termination};
use crate::store::{Database, fold_name, read, same_name, write};
use crate::value::{SqlError, Typed};

impl SessionState {
    pub(super) fn dbcc(
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

    pub(super) fn alter_database(
        &mut self,
        name: Option<&str>,
        options: &[DatabaseOption],
        termination: Termination,
        out: &mut dyn Output,
    ) -> R<()> {
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
            match o {
                DatabaseOption::SingleUser(true) => self.empty_database(&database, termination)?,
                DatabaseOption::Offline(true) => {
                    self.take_offline(&database, termination, out)?;
                    continue;
                }
                _ => {}
            }
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
                DatabaseOption::Offline(offline) => set.offline = *offline,
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

    pub(super) fn add_alias(&mut self, prefix: &str, name: &Name, target: String) -> R<()> {
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
    pub(super) fn place_for(&mut self, name: &Name) -> R<(Arc<Database>, String, String)> {
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

    pub(super) fn taken(&self, database: &Database, schema: &str, own: &str) -> bool {
        if own.starts_with('#') {
            return self.temporary_table(own).is_some();
        }
        let key = (fold_name(schema), fold_name(own));
        let objects = read(&database.objects);
        objects.table_names.contains_key(&key)
            || objects.modules.contains_key(&key)
            || objects.synonyms.contains_key(&key)
    }
}
