//! Who may do what in a database: logins and their users, roles, GRANT and DENY. Decisions only; whoever is about to
//! do something asks.
//!
//! Source: Microsoft's pages on database-level roles, GRANT and DENY object permissions: DENY outweighs GRANT, `dbo` and
//! members of sysadmin are never asked, and a permission on a schema or database covers what is in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Database, LoginDef, Objects, fold_name, read, same_name};

/// Numbers and names of the fixed roles of a database, as `sys.database_principals` shows them.
pub(super) const FIXED_ROLES: [(i32, &str); 9] = [
    (16384, "db_owner"),
    (16385, "db_accessadmin"),
    (16386, "db_securityadmin"),
    (16387, "db_ddladmin"),
    (16389, "db_backupoperator"),
    (16390, "db_datareader"),
    (16391, "db_datawriter"),
    (16392, "db_denydatareader"),
    (16393, "db_denydatawriter"),
];

/// What a permission is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Database,
    Schema(String),
    /// Schema and name.
    Object(String, String),
}

impl Scope {
    /// `SCHEMA::a`, `OBJECT::a.b`, `a.b` or `b` as GRANT has it; empty: the database.
    pub fn parse(written: &str) -> Self {
        let written = written.trim();
        let (class, name) = match written.split_once("::") {
            Some((class, name)) => (class.trim().to_uppercase(), name.trim()),
            None => (String::new(), written),
        };
        let mut parts = crate::catalog::view::split_name(name);
        match class.as_str() {
            _ if name.is_empty() => Self::Database,
            "DATABASE" => Self::Database,
            "SCHEMA" => Self::Schema(parts.pop().unwrap_or_default()),
            _ => {
                let own = parts.pop().unwrap_or_default();
                let schema = parts.pop().filter(|s| !s.is_empty());
                Self::Object(schema.unwrap_or_else(|| "dbo".to_owned()), own)
            }
        }
    }

    /// Whether what is said of this scope holds for the other one.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Database, _) => true,
            (Self::Schema(a), Self::Schema(b) | Self::Object(b, _)) => same_name(a, b),
            (Self::Object(a, x), Self::Object(b, y)) => same_name(a, b) && same_name(x, y),
            (Self::Schema(_) | Self::Object(..), _) => false,
        }
    }

    /// What everybody may read.
    fn is_catalogue(&self) -> bool {
        let (Self::Schema(schema) | Self::Object(schema, _)) = self else { return false };
        ["sys", "INFORMATION_SCHEMA"].iter().any(|s| same_name(s, schema))
    }
}

/// A login as a database sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The name of its user.
    pub user: String,
    /// `dbo`: nothing is refused.
    pub owner: bool,
    /// Folded names: the user, its roles and theirs, `public`.
    principals: BTreeSet<String>,
}

impl Standing {
    /// Whether the user is in a role, through other roles too.
    pub fn is_member(&self, role: &str) -> bool {
        self.principals.contains(&fold_name(role)) || (self.owner && same_name(role, "db_owner"))
    }

    fn in_any(&self, roles: &[&str]) -> bool {
        roles.iter().any(|role| self.principals.contains(*role))
    }

    /// Whether everything is allowed that CDC keeps for the owner of a database.
    pub fn owns(&self) -> bool {
        self.owner || self.in_any(&["db_owner"])
    }

    /// Whether a permission, by its name in capitals, is held.
    pub fn may(&self, objects: &Objects, permission: &str, on: &Scope) -> bool {
        if self.owner {
            return true;
        }
        let writes = matches!(permission, "INSERT" | "UPDATE" | "DELETE");
        if permission == "SELECT" && on.is_catalogue() {
            return true;
        }
        let mine =
            objects.grants.iter().filter(|g| self.principals.contains(&fold_name(&g.principal)));
        let (mut granted, mut denied) = (false, false);
        for grant in mine {
            let same = grant.permission == permission
                || grant.permission == "CONTROL"
                || (grant.permission == "ALTER" && permission.starts_with("CREATE "))
                || (matches!(grant.permission.as_str(), "ALL" | "ALL PRIVILEGES")
                    && (writes || matches!(permission, "SELECT" | "EXECUTE" | "REFERENCES")));
            if same && Scope::parse(&grant.object).covers(on) {
                if grant.deny {
                    denied = true;
                } else {
                    granted = true;
                }
            }
        }
        denied |= permission == "SELECT" && self.in_any(&["db_denydatareader"]);
        denied |= writes && self.in_any(&["db_denydatawriter"]);
        if denied {
            return false;
        }
        let defines = permission == "ALTER"
            || permission == "REFERENCES"
            || permission.starts_with("CREATE ");
        granted
            || self.in_any(&["db_owner"])
            || permission == "CONNECT"
            || (permission == "SELECT" && self.in_any(&["db_datareader"]))
            || (writes && self.in_any(&["db_datawriter"]))
            || (defines && self.in_any(&["db_ddladmin"]))
    }
}

impl Database {
    /// The user of a login here; `None` when it may not enter. A login that the server does not know belongs to the
    /// server itself.
    pub fn standing(&self, logins: &BTreeMap<String, LoginDef>, login: &str) -> Option<Standing> {
        if logins.get(&fold_name(login)).is_none_or(|l| l.sysadmin) {
            let principals = BTreeSet::from(["public".to_owned(), "dbo".to_owned()]);
            return Some(Standing { user: "dbo".to_owned(), owner: true, principals });
        }
        let objects = read(&self.objects);
        let own = objects
            .principals
            .values()
            .find(|p| p.kind == "S" && p.login.as_ref().is_some_and(|l| same_name(l, login)));
        // `guest` is enabled in master, tempdb and msdb
        let guest = matches!(self.id, 1 | 2 | 4).then(|| objects.principals.get("guest")).flatten();
        let user = own.or(guest)?;
        let mut principals = BTreeSet::from(["public".to_owned()]);
        let mut found = vec![fold_name(&user.name)];
        while let Some(name) = found.pop() {
            let roles = objects
                .principals
                .values()
                .filter(|p| p.kind == "R" && p.members.iter().any(|m| fold_name(m) == name));
            found.extend(roles.map(|p| fold_name(&p.name)).filter(|r| !principals.contains(r)));
            principals.insert(name);
        }
        Some(Standing { user: user.name.clone(), owner: same_name(&user.name, "dbo"), principals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Grant;

    fn standing(names: &[&str]) -> Standing {
        Standing {
            user: "u".to_owned(),
            owner: false,
            principals: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    #[test]
    fn a_deny_outweighs_every_grant_and_the_owner_is_not_asked() {
        let mut objects = Objects::default();
        let grant = |permission: &str, object: &str, deny| Grant {
            permission: permission.to_owned(),
            object: object.to_owned(),
            principal: "U".to_owned(),
            deny,
        };
        objects.grants = vec![
            grant("SELECT", "SCHEMA::sales", false),
            grant("SELECT", "OBJECT::[sales].[secret]", true),
            grant("INSERT", "dbo.t", false),
            grant("CONTROL", "owned", false),
        ];
        let object = |s: &str, n: &str| Scope::Object(s.to_owned(), n.to_owned());
        let me = standing(&["u", "public"]);
        for (permission, on, expected) in [
            ("SELECT", object("Sales", "orders"), true),
            ("SELECT", object("sales", "Secret"), false),
            ("SELECT", object("dbo", "t"), false),
            ("INSERT", object("dbo", "T"), true),
            ("UPDATE", object("dbo", "t"), false),
            ("DELETE", object("dbo", "owned"), true),
            ("SELECT", object("sys", "tables"), true),
            ("CREATE TABLE", Scope::Database, false),
        ] {
            assert_eq!(me.may(&objects, permission, &on), expected, "{permission} {on:?}");
        }
        let reader = standing(&["u", "db_datareader"]);
        assert!(reader.may(&objects, "SELECT", &object("dbo", "t")));
        assert!(!reader.may(&objects, "SELECT", &object("sales", "secret")));
        let denied = standing(&["u", "db_owner", "db_denydatareader"]);
        assert!(!denied.may(&objects, "SELECT", &object("dbo", "t")));
        assert!(denied.may(&objects, "CREATE TABLE", &Scope::Database));
        let mut owner = denied;
        owner.owner = true;
        assert!(owner.may(&objects, "SELECT", &object("sales", "secret")));
    }
}
