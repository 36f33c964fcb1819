//! Functions that tell who is asking and what it may do, and the permissions of CDC.
//!
//! Source: Microsoft's pages on HAS_PERMS_BY_NAME, IS_MEMBER, IS_ROLEMEMBER, IS_SRVROLEMEMBER, HAS_DBACCESS, USER_ID and
//! `sys.fn_my_permissions`; on `sys.sp_cdc_enable_db` (sysadmin), `sys.sp_cdc_enable_table` (db_owner) and
//! `sys.sp_cdc_help_change_data_capture` and `cdc.fn_cdc_get_all_changes_...` (SELECT on what is captured, and the
//! gating role when there is one). A server permission is held by members of sysadmin only.

use std::sync::Arc;

use super::Host;
use super::view::{View, argument_int, argument_text, same, text};
use super::world::World;
use crate::cdc::instance::{self, CaptureInstance, string};
use crate::cdc::tables::change_tables;
use crate::exec::permission;
use crate::store::{Database, PermissionScope, Standing, fold_name, read};
use crate::value::{Rowset, SqlError, Ty, Typed, Val};

/// What a user can have on a database or an object, of what is modelled.
const PERMISSIONS: [&str; 9] = [
    "CONNECT",
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "EXECUTE",
    "REFERENCES",
    "ALTER",
    "CREATE TABLE",
];

fn flag(value: Option<bool>) -> Typed {
    value.map_or(Typed::null(Ty::Int), |yes| Typed::int(yes.into()))
}

fn standing(world: &World, database: &Database) -> Option<Standing> {
    database.standing(&read(&world.instance.logins), world.login())
}

/// One of the functions; `None` when there is none of that name.
pub(super) fn scalar(
    world: &World,
    function: &str,
    args: &[Typed],
) -> Result<Option<Typed>, SqlError> {
    let first = argument_text(args, 0)?;
    let here = standing(world, &world.here);
    let sysadmin =
        |login: &str| read(&world.instance.logins).get(&fold_name(login)).map(|l| l.sysadmin);
    let objects = read(&world.here.objects);
    Ok(Some(match function {
        "has_dbaccess" => {
            let database = first.and_then(|name| world.instance.database(&name));
            flag(database.map(|database| standing(world, &database).is_some()))
        }
        "is_member" | "is_rolemember" => {
            let role = first
                .filter(|r| objects.principals.get(&fold_name(r)).is_some_and(|p| p.kind == "R"));
            if function == "is_rolemember" && args.len() > 1 {
                return Err(SqlError::unknown("IS_ROLEMEMBER of another principal"));
            }
            flag(role.map(|role| here.is_some_and(|s| s.is_member(&role))))
        }
        "is_srvrolemember" => {
            let login = argument_text(args, 1)?.unwrap_or_else(|| world.login().to_owned());
            let role = first.unwrap_or_default().to_lowercase();
            match role.as_str() {
                "public" => flag(Some(true)),
                "sysadmin" => flag(sysadmin(&login)),
                "serveradmin" | "securityadmin" | "processadmin" | "setupadmin" | "bulkadmin"
                | "diskadmin" | "dbcreator" => flag(Some(false)),
                _ => flag(None),
            }
        }
        "has_perms_by_name" => {
            let class = argument_text(args, 1)?.map(|c| c.trim().to_uppercase());
            let permission = argument_text(args, 2)?.unwrap_or_default().trim().to_uppercase();
            let Some(here) = here else { return Ok(Some(flag(Some(false)))) };
            let on = match (first, class.as_deref()) {
                (None, None | Some("")) => {
                    let public = matches!(permission.as_str(), "CONNECT SQL" | "VIEW ANY DATABASE");
                    let all = sysadmin(world.login()).unwrap_or(true);
                    return Ok(Some(flag(Some(all || public))));
                }
                (Some(name), Some("DATABASE")) => {
                    let Some(other) = world.instance.database(name.trim_matches(['[', ']'])) else {
                        return Ok(Some(flag(None)));
                    };
                    let Some(there) = standing(world, &other) else {
                        return Ok(Some(flag(Some(false))));
                    };
                    if other.id != world.here.id {
                        let held = there.may(
                            &read(&other.objects),
                            &permission,
                            &PermissionScope::Database,
                        );
                        return Ok(Some(flag(Some(held))));
                    }
                    PermissionScope::Database
                }
                (Some(name), Some("SCHEMA")) => PermissionScope::parse(&format!("SCHEMA::{name}")),
                (Some(name), Some("OBJECT")) => {
                    let on = PermissionScope::parse(&name);
                    if let PermissionScope::Object(schema, own) = &on {
                        let key = (fold_name(schema), fold_name(own));
                        let known = objects.table_names.contains_key(&key)
                            || objects.modules.contains_key(&key)
                            || same(schema, "sys")
                            || own.to_lowercase().starts_with("fn_cdc_");
                        if !known {
                            return Ok(Some(flag(None)));
                        }
                    }
                    on
                }
                _ => return Ok(Some(flag(None))),
            };
            flag(Some(here.may(&objects, &permission, &on)))
        }
        "user_name" if !args.is_empty() => {
            let id = argument_int(args, 0)?;
            let found = objects.principals.values().find(|p| Some(i64::from(p.id)) == id);
            found.map_or(Typed::null(name_type()), |p| Typed::new(name_type(), Val::str(&p.name)))
        }
        "user_name" | "user" | "current_user" | "session_user" => {
            let user = here.map_or_else(|| "guest".to_owned(), |s| s.user);
            Typed::new(name_type(), Val::str(&user))
        }
        "user_id" | "database_principal_id" => {
            let wanted = match first {
                Some(name) => Some(name),
                None if args.is_empty() => here.map(|s| s.user),
                None => None,
            };
            let found =
                wanted.and_then(|name| objects.principals.get(&fold_name(&name)).map(|p| p.id));
            found.map_or(Typed::null(Ty::Int), Typed::int)
        }
        _ => return Ok(None),
    }))
}

fn name_type() -> Ty {
    Ty::NVarChar(128)
}

/// `sys.fn_my_permissions`.
pub(super) fn my_permissions(
    host: &dyn Host,
    here: &Database,
    args: &[Typed],
) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "entity_name nvarchar(128)!; subentity_name nvarchar(128)!; permission_name nvarchar(60)",
    )?;
    let entity = argument_text(args, 0)?;
    let on = match &entity {
        Some(name) => PermissionScope::parse(name),
        None => PermissionScope::Database,
    };
    let standing = host.standing(here)?;
    let objects = read(&here.objects);
    let title = entity.unwrap_or_else(|| "database".to_owned());
    for permission in PERMISSIONS {
        if standing.may(&objects, permission, &on) {
            view.row([text(&title), text(""), text(permission)]);
        }
    }
    Ok(view.done())
}

/// Error 22904 for whoever is not the owner of the database.
pub(super) fn owner_only(host: &dyn Host, here: &Database) -> Result<(), SqlError> {
    if host.standing(here)?.owns() {
        return Ok(());
    }
    let m =
        "Caller is not authorized to initiate the requested action. DBO privileges are required.";
    Err(SqlError::new(22904, m))
}

/// Error 22902 for whoever is not a member of sysadmin.
pub(super) fn sysadmin_only(host: &dyn Host, here: &Database) -> Result<(), SqlError> {
    if host.standing(here)?.owner {
        return Ok(());
    }
    let m = "Caller is not authorized to initiate the requested action. System administrator privileges are required.";
    Err(SqlError::new(22902, m))
}

/// Whether the session may see the changes of a capture instance.
pub(super) fn may_see(
    host: &dyn Host,
    here: &Database,
    one: &CaptureInstance,
) -> Result<bool, SqlError> {
    let standing = host.standing(here)?;
    if standing.owns() && !standing.is_member("db_denydatareader") {
        return Ok(true);
    }
    let role = Some(string(&one.row, change_tables::ROLE_NAME)).filter(|role| !role.is_empty());
    if !role.is_none_or(|role| standing.is_member(&role)) {
        return Ok(false);
    }
    let Some(table) = here.table_by_id(one.source) else { return Ok(false) };
    let def = table.def();
    let on = PermissionScope::Object(def.schema.clone(), def.name.clone());
    Ok(standing.may(&read(&here.objects), "SELECT", &on))
}

/// Error 229 for a function over an instance whose changes the session may not see.
pub(crate) fn may_read_changes(
    host: &mut dyn Host,
    here: &Arc<Database>,
    function: &str,
) -> Result<(), SqlError> {
    if host.standing(here)?.owner || !here.is_cdc_enabled() {
        return Ok(());
    }
    let lower = function.to_lowercase();
    for one in instance::all(host.transaction(), here)? {
        let own = ["fn_cdc_get_all_changes_", "fn_cdc_get_net_changes_"]
            .iter()
            .any(|prefix| lower.strip_prefix(prefix).is_some_and(|rest| same(rest, &one.name)));
        if own && !may_see(host, here, &one)? {
            return Err(permission::denied("SELECT", here, "cdc", function));
        }
    }
    Ok(())
}
