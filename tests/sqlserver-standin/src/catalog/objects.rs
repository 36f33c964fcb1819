//! `sys.objects` and the views that extend it, `sys.schemas`, `sys.columns`.

use super::meta::{ColumnMeta, Meta, TableMeta};
use super::view::{View, bit, int, maybe_int, maybe_text, text};
use crate::value::{Rowset, SqlError, Ty, Val};

const OBJECT: &str = "name sysname!; object_id int!; principal_id int; schema_id int!; parent_object_id int!; type char(2); \
    type_desc nvarchar(60); create_date datetime!; modify_date datetime!; is_ms_shipped bit!; is_published bit!; \
    is_schema_published bit!";

struct Object<'a> {
    name: &'a str,
    id: i32,
    schema: i32,
    parent: i32,
    kind: &'static str,
    description: &'static str,
    created: &'a Val,
    modified: &'a Val,
    system: bool,
}

impl Object<'_> {
    fn values(&self) -> Vec<Val> {
        vec![
            text(self.name),
            int(self.id),
            Val::Null,
            int(self.schema),
            int(self.parent),
            text(format!("{:<2}", self.kind)),
            text(self.description),
            self.created.clone(),
            self.modified.clone(),
            bit(self.system),
            bit(false),
            bit(false),
        ]
    }
}

fn of_table(table: &TableMeta) -> Object<'_> {
    Object {
        name: &table.name,
        id: table.object_id,
        schema: table.schema_id,
        parent: 0,
        kind: "U",
        description: "USER_TABLE",
        created: &table.created,
        modified: &table.modified,
        system: table.system,
    }
}

fn of_constraint<'a>(
    table: &'a TableMeta,
    name: &'a str,
    id: i32,
    kind: &'static str,
) -> Object<'a> {
    let description = match kind {
        "PK" => "PRIMARY_KEY_CONSTRAINT",
        "UQ" => "UNIQUE_CONSTRAINT",
        "F" => "FOREIGN_KEY_CONSTRAINT",
        "C" => "CHECK_CONSTRAINT",
        _ => "DEFAULT_CONSTRAINT",
    };
    Object { name, id, kind, description, parent: table.object_id, ..of_table(table) }
}

/// `sys.objects`; `functions` are those that CDC made.
pub(crate) fn objects(
    meta: &Meta,
    functions: &[(String, i32)],
    created: &Val,
) -> Result<Rowset, SqlError> {
    let mut view = View::new(OBJECT)?;
    let schema = meta.schemas.iter().find(|schema| schema.1 == "cdc").map_or(0, |schema| schema.0);
    for (name, id) in functions {
        let object = Object {
            name,
            id: *id,
            schema,
            parent: 0,
            kind: "IF",
            description: "SQL_INLINE_TABLE_VALUED_FUNCTION",
            created,
            modified: created,
            system: true,
        };
        view.push(object.values());
    }
    for table in &meta.tables {
        view.push(of_table(table).values());
        for index in table.indexes.iter().filter(|index| index.primary || index.constraint) {
            let kind = if index.primary { "PK" } else { "UQ" };
            view.push(of_constraint(table, &index.name, index.constraint_id, kind).values());
        }
        for default in table.columns.iter().filter_map(|column| column.default.as_ref()) {
            view.push(of_constraint(table, &default.name, default.object_id, "D").values());
        }
        for check in &table.checks {
            view.push(of_constraint(table, &check.name, check.object_id, "C").values());
        }
        for key in &table.foreign_keys {
            view.push(of_constraint(table, &key.name, key.object_id, "F").values());
        }
    }
    for v in &meta.views {
        view.push(of_view(v).values());
    }
    Ok(view.done())
}

fn of_view(view: &super::meta::ViewMeta) -> Object<'_> {
    Object {
        name: &view.name,
        id: view.object_id,
        schema: view.schema_id,
        parent: 0,
        kind: "V",
        description: "VIEW",
        created: &view.created,
        modified: &view.created,
        system: false,
    }
}

/// `sys.views`.
pub(crate) fn views(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view =
        View::new(&format!("{OBJECT}; with_check_option bit!; is_date_correlation_view bit!"))?;
    for v in &meta.views {
        let mut row = of_view(v).values();
        row.extend([bit(false), bit(false)]);
        view.push(row);
    }
    Ok(view.done())
}

/// `sys.sql_modules`: the definitions of views.
pub(crate) fn sql_modules(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_id int!; definition nvarchar(max); uses_ansi_nulls bit; is_schema_bound bit",
    )?;
    for v in &meta.views {
        view.row([int(v.object_id), text(&v.definition), bit(true), bit(false)]);
    }
    Ok(view.done())
}

/// `sys.tables`.
pub(crate) fn tables(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{OBJECT}; lob_data_space_id int!; filestream_data_space_id int; max_column_id_used int!; \
         lock_on_bulk_load bit!; uses_ansi_nulls bit; is_replicated bit; has_replication_filter bit; \
         is_merge_published bit; is_sync_tran_subscribed bit; has_unchecked_assembly_data bit!; text_in_row_limit int; \
         large_value_types_out_of_row bit; is_tracked_by_cdc bit; lock_escalation tinyint; lock_escalation_desc nvarchar(60); \
         is_filetable bit; is_memory_optimized bit; durability tinyint; durability_desc nvarchar(60); temporal_type tinyint; \
         temporal_type_desc nvarchar(60); history_table_id int; is_remote_data_archive_enabled bit; is_external bit!; \
         is_node bit; is_edge bit"
    ))?;
    for table in &meta.tables {
        let mut row = of_table(table).values();
        let temporal = match table.temporal {
            1 => "HISTORY_TABLE",
            2 => "SYSTEM_VERSIONED_TEMPORAL_TABLE",
            _ => "NON_TEMPORAL_TABLE",
        };
        row.extend([
            int(0),
            Val::Null,
            int(table.columns.iter().map(|column| column.id).max().unwrap_or(0)),
            bit(false),
            bit(true),
            bit(false),
            bit(false),
            bit(false),
            bit(false),
            bit(false),
            int(0),
            bit(false),
            bit(table.tracked_by_cdc),
            int(0),
            text("TABLE"),
            bit(false),
            bit(false),
            int(0),
            text("SCHEMA_AND_DATA"),
            int(table.temporal),
            text(temporal),
            maybe_int(table.history_table),
            bit(false),
            bit(false),
            bit(false),
            bit(false),
        ]);
        view.push(row);
    }
    Ok(view.done())
}

/// `sys.schemas`.
pub(crate) fn schemas(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new("name sysname!; schema_id int!; principal_id int")?;
    for (id, name) in &meta.schemas {
        view.row([text(name), int(*id), int(1)]);
    }
    Ok(view.done())
}

const COLUMN: &str = "object_id int!; name sysname; column_id int!; system_type_id tinyint!; user_type_id int!; \
    max_length smallint!; precision tinyint!; scale tinyint!; collation_name sysname; is_nullable bit; is_ansi_padded bit!; \
    is_rowguidcol bit!; is_identity bit!; is_computed bit!; is_filestream bit!; is_replicated bit; is_non_sql_subscribed bit; \
    is_merge_published bit; is_dts_replicated bit; is_xml_document bit!; xml_collection_id int!; default_object_id int!; \
    rule_object_id int!; is_sparse bit; is_column_set bit; generated_always_type tinyint; \
    generated_always_type_desc nvarchar(60); encryption_type int; encryption_type_desc nvarchar(64); \
    is_hidden bit!; is_masked bit!; graph_type int";

fn column_values(object_id: i32, column: &ColumnMeta, collation: &str) -> Vec<Val> {
    let facts = column.facts();
    let letters = facts.character.then(|| column.collation.as_deref().unwrap_or(collation));
    let generated = match column.generated {
        1 => "AS_ROW_START",
        2 => "AS_ROW_END",
        _ => "NOT_APPLICABLE",
    };
    vec![
        int(object_id),
        text(&column.name),
        int(column.id),
        int(facts.system_id),
        int(facts.user_id),
        int(facts.length),
        int(facts.precision),
        int(facts.scale),
        maybe_text(letters),
        bit(column.nullable),
        bit(matches!(
            column.ty,
            Ty::Char(_)
                | Ty::VarChar(_)
                | Ty::NChar(_)
                | Ty::NVarChar(_)
                | Ty::Binary(_)
                | Ty::VarBinary(_)
        )),
        bit(column.row_guid),
        bit(column.identity.is_some()),
        bit(column.computed.is_some()),
        bit(false),
        bit(false),
        bit(false),
        bit(false),
        bit(false),
        bit(false),
        int(0),
        int(column.default.as_ref().map_or(0, |default| default.object_id)),
        int(0),
        bit(column.sparse),
        bit(false),
        int(column.generated),
        text(generated),
        Val::Null,
        Val::Null,
        bit(column.hidden),
        bit(false),
        Val::Null,
    ]
}

fn each_column(meta: &Meta) -> impl Iterator<Item = (i32, &ColumnMeta)> {
    let tables = meta
        .tables
        .iter()
        .flat_map(|table| table.columns.iter().map(|column| (table.object_id, column)));
    let views = meta
        .views
        .iter()
        .flat_map(|view| view.columns.iter().map(|column| (view.object_id, column)));
    tables.chain(views)
}

/// `sys.columns`, `sys.all_columns`.
pub(crate) fn columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(COLUMN)?;
    for (object_id, column) in each_column(meta) {
        view.push(column_values(object_id, column, &meta.collation));
    }
    Ok(view.done())
}

/// `sys.computed_columns`.
pub(crate) fn computed_columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{COLUMN}; definition nvarchar(max); uses_database_collation bit!; is_persisted bit!"
    ))?;
    for (object_id, column) in each_column(meta) {
        if let Some(computed) = &column.computed {
            let mut row = column_values(object_id, column, &meta.collation);
            row.extend([text(&computed.definition), bit(true), bit(computed.persisted)]);
            view.push(row);
        }
    }
    Ok(view.done())
}

/// `sys.identity_columns`: seed, increment and last value are `sql_variant` of the column's type.
pub(crate) fn identity_columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{COLUMN}; seed_value sql_variant; increment_value sql_variant; last_value sql_variant; is_not_for_replication bit"
    ))?;
    for (object_id, column) in each_column(meta) {
        if let Some(identity) = &column.identity {
            let whole = |value: i128| {
                let value = match column.ty {
                    Ty::Decimal(..) => Val::Dec(value),
                    _ => i64::try_from(value).map_or(Val::Null, Val::Int),
                };
                Val::Variant(Box::new((column.ty, value)))
            };
            let mut row = column_values(object_id, column, &meta.collation);
            row.extend([
                whole(identity.seed),
                whole(identity.increment),
                identity.last.map_or(Val::Null, whole),
                bit(false),
            ]);
            view.push(row);
        }
    }
    Ok(view.done())
}

/// `sys.key_constraints`.
pub(crate) fn key_constraints(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{OBJECT}; unique_index_id int; is_system_named bit!; is_enforced bit"
    ))?;
    for table in &meta.tables {
        for index in table.indexes.iter().filter(|index| index.primary || index.constraint) {
            let kind = if index.primary { "PK" } else { "UQ" };
            let mut row = of_constraint(table, &index.name, index.constraint_id, kind).values();
            row.extend([int(index.id), bit(index.system_named), bit(true)]);
            view.push(row);
        }
    }
    Ok(view.done())
}

/// `sys.default_constraints`.
pub(crate) fn default_constraints(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{OBJECT}; parent_column_id int!; definition nvarchar(max); is_system_named bit!"
    ))?;
    for table in &meta.tables {
        for column in &table.columns {
            if let Some(default) = &column.default {
                let mut row = of_constraint(table, &default.name, default.object_id, "D").values();
                row.extend([int(column.id), text(&default.definition), bit(default.system_named)]);
                view.push(row);
            }
        }
    }
    Ok(view.done())
}

/// `sys.check_constraints`.
pub(crate) fn check_constraints(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{OBJECT}; is_disabled bit!; is_not_for_replication bit!; is_not_trusted bit!; parent_column_id int!; \
         definition nvarchar(max); uses_database_collation bit; is_system_named bit!"
    ))?;
    for table in &meta.tables {
        for check in &table.checks {
            let mut row = of_constraint(table, &check.name, check.object_id, "C").values();
            row.extend([
                bit(check.disabled),
                bit(false),
                bit(false),
                int(check.column),
                text(&check.definition),
                bit(true),
                bit(check.system_named),
            ]);
            view.push(row);
        }
    }
    Ok(view.done())
}

fn action(code: u8) -> &'static str {
    match code {
        1 => "CASCADE",
        2 => "SET_NULL",
        3 => "SET_DEFAULT",
        _ => "NO_ACTION",
    }
}

/// `sys.foreign_keys`.
pub(crate) fn foreign_keys(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(&format!(
        "{OBJECT}; referenced_object_id int; key_index_id int; is_disabled bit!; is_not_for_replication bit!; \
         is_not_trusted bit!; delete_referential_action tinyint; delete_referential_action_desc nvarchar(60); \
         update_referential_action tinyint; update_referential_action_desc nvarchar(60); is_system_named bit!"
    ))?;
    for table in &meta.tables {
        for key in &table.foreign_keys {
            let mut row = of_constraint(table, &key.name, key.object_id, "F").values();
            row.extend([
                int(key.referenced),
                int(1),
                bit(key.disabled),
                bit(false),
                bit(false),
                int(key.on_delete),
                text(action(key.on_delete)),
                int(key.on_update),
                text(action(key.on_update)),
                bit(key.system_named),
            ]);
            view.push(row);
        }
    }
    Ok(view.done())
}

/// `sys.foreign_key_columns`.
pub(crate) fn foreign_key_columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "constraint_object_id int!; constraint_column_id int!; parent_object_id int!; parent_column_id int!; \
         referenced_object_id int!; referenced_column_id int!",
    )?;
    for table in &meta.tables {
        for key in &table.foreign_keys {
            for (n, (here, there)) in (1i64..).zip(&key.columns) {
                view.row([
                    int(key.object_id),
                    int(n),
                    int(table.object_id),
                    int(*here),
                    int(key.referenced),
                    int(*there),
                ]);
            }
        }
    }
    Ok(view.done())
}
