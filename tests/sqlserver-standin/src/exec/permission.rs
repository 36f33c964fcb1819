//! Asks for permission before something is done. A module (view, procedure, function, trigger) that uses objects of its
//! own owner is not asked again for those: ownership chaining, and here everything belongs to `dbo`. Dynamic SQL breaks
//! the chain.

use std::sync::Arc;

use super::R;
use super::session::SessionState;
use crate::sql::ast::{Stmt, StmtKind};
use crate::store::{Database, Instance, PermissionScope, Standing, read};
use crate::value::SqlError;

impl SessionState {
    /// This session's user in a database. Error 916 when its login has none there.
    pub(crate) fn standing_in(&self, database: &Database) -> R<Standing> {
        standing(&self.instance, &self.login.user, database)
    }

    /// Error 229 when this session may not do that with an object.
    pub(crate) fn need_permission(
        &self,
        permission: &str,
        database: &Arc<Database>,
        schema: &str,
        name: &str,
    ) -> R<()> {
        if self.chained() || name.starts_with('#') || name.starts_with('@') || database.id == 2 {
            return Ok(());
        }
        let standing = self.standing_in(database)?;
        let on = PermissionScope::Object(schema.to_owned(), name.to_owned());
        let allowed = standing.owner || standing.may(&read(&database.objects), permission, &on);
        if allowed { Ok(()) } else { Err(denied(permission, database, schema, name)) }
    }

    /// Refuses a definition to whoever may not make it.
    pub(crate) fn may_define(&self, s: &Stmt) -> R<()> {
        if self.chained() {
            return Ok(());
        }
        let database = self.db();
        let standing = self.standing_in(&database)?;
        if standing.owner {
            return Ok(());
        }
        let create = |what: &str| format!("CREATE {what}");
        let permission = match &s.kind {
            // everybody has temporary tables
            StmtKind::CreateTable(spec) if spec.name.last().is_some_and(|n| n.starts_with('#')) => {
                return Ok(());
            }
            StmtKind::Drop { names, .. }
                if names.iter().all(|n| n.last().is_some_and(|n| n.starts_with('#'))) =>
            {
                return Ok(());
            }
            StmtKind::CreateIndex(spec)
                if spec.table.last().is_some_and(|n| n.starts_with('#')) =>
            {
                return Ok(());
            }
            StmtKind::CreateDatabase { .. } => create("DATABASE"),
            StmtKind::CreateTable(_) => create("TABLE"),
            StmtKind::CreateSchema { .. } => create("SCHEMA"),
            StmtKind::CreateType { .. } => create("TYPE"),
            StmtKind::CreateSynonym { .. } => create("SYNONYM"),
            StmtKind::CreateLogin { .. } | StmtKind::AlterLogin { .. } => return Err(not_allowed()),
            StmtKind::CreateUser { .. } if standing.is_member("db_accessadmin") => return Ok(()),
            StmtKind::CreateRole { .. } | StmtKind::AlterRole { .. } | StmtKind::Permission(_)
                if standing.is_member("db_securityadmin") =>
            {
                return Ok(());
            }
            StmtKind::CreateUser { .. }
            | StmtKind::CreateRole { .. }
            | StmtKind::AlterRole { .. }
            | StmtKind::Permission(_)
                if !standing.owns() =>
            {
                return Err(not_allowed());
            }
            _ => "ALTER".to_owned(),
        };
        let server = permission == "CREATE DATABASE";
        let on = PermissionScope::Database;
        if !server && standing.may(&read(&database.objects), &permission, &on) {
            return Ok(());
        }
        if permission == "ALTER" {
            return Err(not_allowed());
        }
        let m = format!("{permission} permission denied in database '{}'.", database.name());
        Err(SqlError::new(262, m).class(14))
    }
}

/// A login's user in a database. Error 916 when it has none there.
pub(crate) fn standing(instance: &Instance, login: &str, database: &Database) -> R<Standing> {
    database.standing(&read(&instance.logins), login).ok_or_else(|| {
        let m = format!(
            "The server principal \"{login}\" is not able to access the database \"{}\" under the current security context.",
            database.name()
        );
        SqlError::new(916, m).class(14).state(2)
    })
}

fn not_allowed() -> SqlError {
    SqlError::new(15247, "User does not have permission to perform this action.").class(16)
}

/// Error 229.
pub(crate) fn denied(permission: &str, database: &Database, schema: &str, name: &str) -> SqlError {
    let m = format!(
        "The {permission} permission was denied on the object '{name}', database '{}', schema '{schema}'.",
        database.name()
    );
    SqlError::new(229, m).class(14).state(5)
}
