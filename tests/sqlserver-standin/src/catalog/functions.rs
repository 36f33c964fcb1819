//! System scalar functions: names and ids, properties, permissions, who is asking.

use super::meta::{Meta, TableMeta};
use super::properties::{self, variant_int, variant_text};
use super::types;
use super::view::{SYSNAME, argument_bytes, argument_int, argument_text, same, split_name};
use super::world::World;
use crate::value::{SqlError, Ty, Typed, Val};

fn name(value: Option<impl AsRef<str>>) -> Typed {
    value.map_or(Typed::null(SYSNAME), |value| Typed::new(SYSNAME, Val::str(value.as_ref())))
}

fn int(value: Option<impl Into<i64>>) -> Typed {
    value.map_or(Typed::null(Ty::Int), |value| Typed::new(Ty::Int, Val::Int(value.into())))
}

fn yes(value: bool) -> Typed {
    int(Some(i64::from(value)))
}

fn database_name(world: &World, args: &[Typed], at: usize) -> Result<Option<String>, SqlError> {
    let id = argument_int(args, at)?;
    Ok(if args.len() > at {
        id.and_then(|id| world.database_by_id(id))
    } else {
        Some(world.current())
    })
}

/// The type of a system function's result, by its name without a schema; `None` when it is not known here.
pub(super) fn result_type(name: &str) -> Option<Ty> {
    Some(match name.to_lowercase().as_str() {
        "object_id"
        | "schema_id"
        | "columnproperty"
        | "objectproperty"
        | "objectpropertyex"
        | "indexproperty"
        | "type_id"
        | "fulltextserviceproperty"
        | "has_perms_by_name"
        | "has_dbaccess"
        | "is_srvrolemember"
        | "is_member"
        | "is_rolemember"
        | "suser_id"
        | "user_id"
        | "database_principal_id"
        | "fn_cdc_get_column_ordinal" => Ty::Int,
        "object_name" | "object_schema_name" | "schema_name" | "db_name" | "original_db_name"
        | "col_name" | "type_name" | "suser_sname" | "suser_name" | "original_login"
        | "system_user" | "user_name" | "user" | "current_user" | "session_user" | "host_name"
        | "app_name" | "program_name" => SYSNAME,
        "object_definition" | "fn_varbintohexstr" | "fn_varbintohexsubstring" => {
            Ty::NVarChar(crate::value::MAX)
        }
        "db_id" | "col_length" => Ty::SmallInt,
        "serverproperty" | "databasepropertyex" | "collationproperty" => Ty::Variant,
        "suser_sid" => Ty::VarBinary(85),
        "host_id" => Ty::Char(10),
        "current_transaction_id" => Ty::BigInt,
        "current_timezone_id" => Ty::VarChar(100),
        "current_timezone" => Ty::VarChar(255),
        "ident_current" | "ident_seed" | "ident_incr" => Ty::Decimal(38, 0),
        "stats_date" | "fn_cdc_map_lsn_to_time" => Ty::DateTime,
        "fn_cdc_get_max_lsn"
        | "fn_cdc_get_min_lsn"
        | "fn_cdc_increment_lsn"
        | "fn_cdc_decrement_lsn"
        | "fn_cdc_map_time_to_lsn" => Ty::Binary(10),
        "fn_cdc_is_bit_set" | "fn_cdc_has_column_changed" | "fn_cdc_check_parameters" => Ty::Bit,
        "fn_cdc_hexstrtobin" => Ty::VarBinary(crate::value::MAX),
        _ => return None,
    })
}

/// The function `function` (lower case) with these arguments; `None` when it is not one of these.
pub(crate) fn call(
    world: &World,
    function: &str,
    args: &[Typed],
) -> Result<Option<Typed>, SqlError> {
    let first = || argument_text(args, 0);
    let number = |at| argument_int(args, at);
    Ok(Some(match function {
        "object_id" => int(object_id(world, first()?, argument_text(args, 1)?)?),
        "object_name" => {
            let (id, database) = (number(0)?, database_name(world, args, 1)?);
            name(match (id, database) {
                (Some(id), Some(database)) => match world.table(&database, id)? {
                    Some(def) => Some(def.name.clone()),
                    None => object_name(&world.meta(&database)?, id),
                },
                _ => None,
            })
        }
        "object_schema_name" => {
            let (id, database) = (number(0)?, database_name(world, args, 1)?);
            name(match (id, database) {
                (Some(id), Some(database)) => match world.table(&database, id)? {
                    Some(def) => Some(def.schema.clone()),
                    None => object_schema(&world.meta(&database)?, id),
                },
                _ => None,
            })
        }
        "object_definition" => {
            let meta = world.meta(&world.current())?;
            let id = number(0)?.unwrap_or(0);
            let found = meta
                .views
                .iter()
                .find(|view| i64::from(view.object_id) == id)
                .map(|view| view.definition.clone());
            let ty = Ty::NVarChar(crate::value::MAX);
            found.map_or(Typed::null(ty), |found| Typed::new(ty, Val::str(&found)))
        }
        "schema_id" => {
            let wanted = first()?.unwrap_or_else(|| "dbo".to_owned());
            int(world.here.schema(&wanted).map(|schema| schema.id))
        }
        "schema_name" => {
            let id = if args.is_empty() { Some(1) } else { number(0)? };
            let schemas = world.here.schemas();
            name(
                schemas
                    .into_iter()
                    .find(|schema| Some(i64::from(schema.id)) == id)
                    .map(|schema| schema.name),
            )
        }
        "db_id" => {
            let wanted = if args.is_empty() { Some(world.current()) } else { first()? };
            Typed::new(
                Ty::SmallInt,
                wanted
                    .and_then(|name| world.database_id(&name))
                    .map_or(Val::Null, |id| Val::Int(id.into())),
            )
        }
        "db_name" | "original_db_name" => name(database_name(world, args, 0)?),
        "col_name" => {
            let (table, column) = (number(0)?.unwrap_or(0), number(1)?.unwrap_or(0));
            let database = database_name(world, args, 2)?.unwrap_or_else(|| world.current());
            let def = world.table(&database, table)?;
            let columns = def.as_ref().map(|def| def.columns.as_slice()).unwrap_or_default();
            name(
                columns
                    .iter()
                    .find(|known| i64::from(known.id) == column)
                    .map(|known| known.name.clone()),
            )
        }
        "col_length" => {
            let found = object_id(world, first()?, None)?;
            let meta = world.meta(&world.current())?;
            let column = argument_text(args, 1)?.unwrap_or_default();
            let column =
                found.and_then(|id| meta.table(id)).and_then(|table| table.column(&column));
            Typed::new(
                Ty::SmallInt,
                column.map_or(Val::Null, |column| Val::Int(column.facts().length.into())),
            )
        }
        "columnproperty" => {
            let meta = world.meta(&world.current())?;
            let table = meta.table(number(0)?.unwrap_or(0));
            let property = argument_text(args, 2)?.unwrap_or_default();
            int(column_property(table, &argument_text(args, 1)?.unwrap_or_default(), &property))
        }
        "objectproperty" | "objectpropertyex" => {
            let meta = world.meta(&world.current())?;
            int(object_property(
                &meta,
                number(0)?.unwrap_or(0),
                &argument_text(args, 1)?.unwrap_or_default(),
            ))
        }
        "indexproperty" => {
            let meta = world.meta(&world.current())?;
            let wanted = argument_text(args, 1)?.unwrap_or_default();
            let table = meta.table(number(0)?.unwrap_or(0));
            let index = table
                .and_then(|table| table.indexes.iter().find(|index| same(&index.name, &wanted)));
            let property = argument_text(args, 2)?.unwrap_or_default().to_lowercase();
            int(index.and_then(|index| match property.as_str() {
                "indexid" => Some(i64::from(index.id)),
                "isunique" => Some(i64::from(index.unique)),
                "isclustered" => Some(i64::from(index.clustered)),
                "isdisabled" => Some(i64::from(index.disabled)),
                _ => None,
            }))
        }
        "type_name" => name(number(0)?.and_then(types::name)),
        "type_id" => int(first()?
            .and_then(|name| types::id(split_name(&name).last().map_or("", String::as_str)))),
        "serverproperty" => {
            first()?.map_or(Typed::null(Ty::Variant), |name| properties::server_property(&name))
        }
        "databasepropertyex" => match first()?.and_then(|name| world.database_id(&name)) {
            Some(id) => database_property(world, id, &argument_text(args, 1)?.unwrap_or_default()),
            None => Typed::null(Ty::Variant),
        },
        "collationproperty" => {
            match argument_text(args, 1)?.unwrap_or_default().to_lowercase().as_str() {
                "codepage" => variant_int(1252),
                "lcid" => variant_int(1033),
                "comparisonstyle" => variant_int(196_609),
                "version" => variant_int(0),
                _ => Typed::null(Ty::Variant),
            }
        }
        "fulltextserviceproperty" => yes(false),
        "suser_sname" | "suser_name" | "original_login" | "system_user" => {
            name(Some(world.login()))
        }
        "suser_id" => int(match first()? {
            None if args.is_empty() => Some(1),
            None => None,
            Some(login) => {
                let logins = crate::store::read(&world.instance.logins);
                // the first 256 numbers are the server's own
                let at = logins.keys().position(|l| *l == crate::store::fold_name(&login));
                match at {
                    Some(_) if same(&login, "sa") => Some(1),
                    Some(at) => i32::try_from(at).ok().map(|at| 257 + at),
                    None => None,
                }
            }
        }),
        "suser_sid" => Typed::new(Ty::VarBinary(85), Val::bytes(&[1])),
        "host_name" => name(Some(world.host())),
        "app_name" | "program_name" => name(Some(world.application())),
        "host_id" => Typed::new(Ty::Char(10), Val::str("1         ")),
        "current_transaction_id" => Typed::new(Ty::BigInt, Val::Int(world.transaction_id())),
        "current_timezone_id" => Typed::new(Ty::VarChar(100), Val::str("UTC")),
        "current_timezone" => {
            Typed::new(Ty::VarChar(255), Val::str("(UTC) Coordinated Universal Time"))
        }
        "ident_current" => identity(world, first()?, |i| i.last.unwrap_or(i.seed))?,
        "ident_seed" => identity(world, first()?, |i| i.seed)?,
        "ident_incr" => identity(world, first()?, |i| i.increment)?,
        "stats_date" => Typed::null(Ty::DateTime),
        "fn_varbintohexstr" | "fn_varbintohexsubstring" => {
            let bytes = argument_bytes(args, usize::from(function == "fn_varbintohexsubstring"))?;
            let hex =
                |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let ty = Ty::NVarChar(crate::value::MAX);
            bytes.map_or(Typed::null(ty), |bytes| {
                Typed::new(ty, Val::str(&format!("0x{}", hex(bytes))))
            })
        }
        _ => return Ok(None),
    }))
}

/// The id of an object by its name, which may have a database and a schema before it.
pub(crate) fn object_id(
    world: &World,
    name: Option<String>,
    kind: Option<String>,
) -> Result<Option<i64>, SqlError> {
    let Some(name) = name else { return Ok(None) };
    let mut parts = split_name(&name);
    let object = parts.pop().unwrap_or_default();
    let schema =
        parts.pop().filter(|schema| !schema.is_empty()).unwrap_or_else(|| "dbo".to_owned());
    let database = match parts.pop() {
        Some(database) if !database.is_empty() => database,
        _ => world.current(),
    };
    if object.starts_with('#') {
        return Ok(world.temporary(&object).map(i64::from));
    }
    if world.database_id(&database).is_none() {
        return Ok(None);
    }
    let kind = kind.map(|kind| kind.trim().to_uppercase());
    let wants = |kinds: &[&str]| kind.as_deref().is_none_or(|kind| kinds.contains(&kind));
    if wants(&["U"])
        && let Some(table) =
            world.instance.database(&database).and_then(|database| database.table(&schema, &object))
    {
        return Ok(Some(table.object_id.into()));
    }
    let meta = world.meta(&database)?;
    let fits = |s: &str, n: &str| same(s, &schema) && same(n, &object);
    if wants(&["V"])
        && let Some(view) = meta
            .views
            .iter()
            .find(|view| fits(meta.schema_name(view.schema_id).unwrap_or(""), &view.name))
    {
        return Ok(Some(view.object_id.into()));
    }
    for table in meta.tables.iter().filter(|table| same(&table.schema, &schema)) {
        let index = table.indexes.iter().find(|index| {
            same(&index.name, &object)
                && (index.primary && wants(&["PK"]) || index.constraint && wants(&["UQ"]))
        });
        let default = table.columns.iter().filter_map(|column| column.default.as_ref());
        let default =
            default.filter(|_| wants(&["D"])).find(|default| same(&default.name, &object));
        let check =
            table.checks.iter().filter(|_| wants(&["C"])).find(|check| same(&check.name, &object));
        let key = table
            .foreign_keys
            .iter()
            .filter(|_| wants(&["F"]))
            .find(|key| same(&key.name, &object));
        let found = index.map(|index| index.constraint_id);
        let found = found.or(default.map(|default| default.object_id));
        let found = found.or(check.map(|check| check.object_id)).or(key.map(|key| key.object_id));
        if let Some(found) = found {
            return Ok(Some(found.into()));
        }
    }
    Ok(None)
}

fn object_name(meta: &Meta, id: i64) -> Option<String> {
    if let Some(table) = meta.table(id) {
        return Some(table.name.clone());
    }
    if let Some(view) = meta.views.iter().find(|view| i64::from(view.object_id) == id) {
        return Some(view.name.clone());
    }
    constraint(meta, id).map(|found| found.1)
}

fn constraint(meta: &Meta, id: i64) -> Option<(&TableMeta, String)> {
    meta.tables.iter().find_map(|table| {
        let index = table.indexes.iter().filter(|index| index.primary || index.constraint);
        let index = index.map(|index| (index.constraint_id, &index.name));
        let default = table.columns.iter().filter_map(|column| column.default.as_ref());
        let default = default.map(|default| (default.object_id, &default.name));
        let check = table.checks.iter().map(|check| (check.object_id, &check.name));
        let key = table.foreign_keys.iter().map(|key| (key.object_id, &key.name));
        let mut all = index.chain(default).chain(check).chain(key);
        all.find(|found| i64::from(found.0) == id).map(|found| (table, found.1.clone()))
    })
}

fn object_schema(meta: &Meta, id: i64) -> Option<String> {
    if let Some(table) = meta.table(id) {
        return Some(table.schema.clone());
    }
    if let Some(view) = meta.views.iter().find(|view| i64::from(view.object_id) == id) {
        return meta.schema_name(view.schema_id).map(str::to_owned);
    }
    constraint(meta, id).map(|found| found.0.schema.clone())
}

fn column_property(table: Option<&TableMeta>, column: &str, property: &str) -> Option<i64> {
    let column = table?.column(column)?;
    let facts = column.facts();
    match property.to_lowercase().as_str() {
        "allowsnull" => Some(column.nullable.into()),
        "columnid" | "ordinal" => Some(column.id.into()),
        "isidentity" => Some(column.identity.is_some().into()),
        "iscomputed" => Some(column.computed.is_some().into()),
        "issparse" => Some(column.sparse.into()),
        "isrowguidcol" => Some(column.row_guid.into()),
        "generatedalwaystype" => Some(column.generated.into()),
        "isdeterministic" => column.computed.as_ref().map(|_| 1),
        "ishidden" | "iscolumnset" | "isfulltextindexed" | "isidnotforrepl" => Some(0),
        "precision" => Some(match column.ty {
            Ty::NChar(_) | Ty::NVarChar(_) if facts.length > 0 => i64::from(facts.length / 2),
            Ty::Char(_)
            | Ty::VarChar(_)
            | Ty::Binary(_)
            | Ty::VarBinary(_)
            | Ty::NChar(_)
            | Ty::NVarChar(_) => facts.length.into(),
            _ => facts.precision.into(),
        }),
        "scale" => (!facts.character).then_some(facts.scale.into()),
        "charmaxlen" => match column.ty {
            Ty::NChar(_) | Ty::NVarChar(_) if facts.length > 0 => Some(i64::from(facts.length / 2)),
            _ => facts.character.then_some(facts.length.into()),
        },
        _ => None,
    }
}

fn object_property(meta: &Meta, id: i64, property: &str) -> Option<i64> {
    let property = property.to_lowercase();
    if let Some(table) = meta.table(id) {
        return match property.as_str() {
            "istable" => Some(1),
            "isusertable" => Some((!table.system).into()),
            "ismsshipped" => Some(table.system.into()),
            "tablehasidentity" => {
                Some(table.columns.iter().any(|column| column.identity.is_some()).into())
            }
            "tablehasprimarykey" => Some(table.primary_key().is_some().into()),
            "tablehasclustindex" => Some(table.indexes.iter().any(|index| index.clustered).into()),
            "tablehasuniquecnst" => Some(table.indexes.iter().any(|index| index.constraint).into()),
            "tablehasforeignkey" => Some((!table.foreign_keys.is_empty()).into()),
            "tabletemporaltype" => Some(table.temporal.into()),
            "schemaid" => Some(table.schema_id.into()),
            "ownerid" => Some(1),
            "cardinality" => Some(table.rows),
            _ => Some(0),
        };
    }
    if meta.views.iter().any(|view| i64::from(view.object_id) == id) {
        return Some((property == "isview").into());
    }
    constraint(meta, id).map(|(table, name)| match property.as_str() {
        "isconstraint" => 1,
        "isprimarykey" => {
            table.indexes.iter().any(|index| index.primary && index.name == name).into()
        }
        "isuniquecnst" => {
            table.indexes.iter().any(|index| index.constraint && index.name == name).into()
        }
        "isforeignkey" => table.foreign_keys.iter().any(|key| key.name == name).into(),
        "ischeckcnst" => table.checks.iter().any(|check| check.name == name).into(),
        _ => 0,
    })
}

fn database_property(world: &World, id: i32, property: &str) -> Typed {
    match property.to_lowercase().as_str() {
        "updateability" => variant_text("READ_WRITE"),
        "status" => variant_text("ONLINE"),
        "recovery" => variant_text("FULL"),
        "useraccess" => variant_text("MULTI_USER"),
        "collation" => variant_text(&world.collation(id)),
        "version" => variant_int(957),
        "lcid" => variant_int(1033),
        "comparisonstyle" => variant_int(196_609),
        "sqlsortorder" => variant_int(52),
        "isautoclose" | "isautoshrink" | "isinstandby" | "isansinulldefault" | "ispublished" => {
            variant_int(0)
        }
        "isautocreatestatistics" | "isautoupdatestatistics" => variant_int(1),
        _ => Typed::null(Ty::Variant),
    }
}

fn identity(
    world: &World,
    name: Option<String>,
    value: impl Fn(&super::meta::IdentityMeta) -> i128,
) -> Result<Typed, SqlError> {
    let ty = Ty::Decimal(38, 0);
    let Some(id) = object_id(world, name, None)? else { return Ok(Typed::null(ty)) };
    let meta = world.meta(&world.current())?;
    let columns = meta.table(id).map(|table| table.columns.as_slice()).unwrap_or_default();
    let found = columns.iter().find_map(|column| column.identity.as_ref());
    Ok(found.map_or(Typed::null(ty), |found| Typed::new(ty, Val::Dec(value(found)))))
}
