//! The store's definitions as the catalogue's description.

use super::meta::{
    CheckMeta, ColumnMeta, ComputedMeta, DefaultMeta, ForeignKeyMeta, IdentityMeta, IndexMeta,
    TableMeta,
};
use super::moment;
use crate::store::{Action, Generated, Table, TableDef, Temporal};

/// The description of a table; `schema_id` is the id of its schema.
pub(crate) fn table(table: &Table, schema_id: i32) -> TableMeta {
    let def = table.def();
    TableMeta {
        object_id: def.object_id,
        schema_id,
        schema: def.schema.clone(),
        name: def.name.clone(),
        system: def.is_ms_shipped,
        created: moment(def.create_date),
        modified: moment(def.modify_date),
        columns: columns(&def, table.identity_last()),
        indexes: indexes(&def),
        checks: checks(&def),
        foreign_keys: foreign_keys(&def),
        rows: i64::try_from(table.approximate_rows()).unwrap_or(i64::MAX),
        tracked_by_cdc: table.is_tracked(),
        temporal: match def.temporal {
            Temporal::No => 0,
            Temporal::History(_) => 1,
            Temporal::Current(_) => 2,
        },
        history_table: match def.temporal {
            Temporal::Current(history) => Some(history),
            Temporal::No | Temporal::History(_) => None,
        },
    }
}

fn columns(def: &TableDef, last: Option<i128>) -> Vec<ColumnMeta> {
    let one = |column: &crate::store::Column| ColumnMeta {
        id: column.id,
        name: column.name.clone(),
        ty: column.ty,
        declared: column.declared.clone(),
        row_guid: column.row_guid,
        nullable: column.nullable,
        identity: column.identity.map(|identity| IdentityMeta {
            seed: identity.seed,
            increment: identity.increment,
            last,
        }),
        computed: column.computed.as_ref().map(|computed| ComputedMeta {
            definition: computed.text.clone(),
            persisted: computed.persisted,
        }),
        default: column.default.as_ref().map(|default| DefaultMeta {
            object_id: default.object_id,
            name: default.name.clone(),
            definition: default.text.clone(),
            system_named: default.system_named,
        }),
        collation: column.collation.clone(),
        sparse: column.sparse,
        generated: match column.generated {
            None => 0,
            Some(Generated::RowStart) => 1,
            Some(Generated::RowEnd) => 2,
        },
        hidden: column.hidden,
    };
    def.columns.iter().map(one).collect()
}

fn id_at(def: &TableDef, at: usize) -> i32 {
    def.columns.get(at).map_or(0, |column| column.id)
}

fn indexes(def: &TableDef) -> Vec<IndexMeta> {
    let one = |index: &crate::store::Index| IndexMeta {
        id: index.id,
        name: index.name.clone(),
        clustered: index.clustered,
        unique: index.unique,
        primary: index.primary_key,
        constraint: index.unique_constraint,
        constraint_id: index.constraint_id,
        system_named: index.system_named,
        disabled: index.disabled,
        filter: index.filter.as_ref().map(|filter| filter.text.clone()),
        keys: index.columns.iter().map(|key| (id_at(def, key.column), key.descending)).collect(),
        included: index.included.iter().map(|at| id_at(def, *at)).collect(),
    };
    def.indexes.iter().map(one).collect()
}

fn checks(def: &TableDef) -> Vec<CheckMeta> {
    let one = |check: &crate::store::Check| CheckMeta {
        object_id: check.object_id,
        name: check.name.clone(),
        definition: check.text.clone(),
        column: check.column.map_or(0, |at| id_at(def, at)),
        system_named: check.system_named,
        disabled: check.disabled,
    };
    def.checks.iter().map(one).collect()
}

fn action(action: Action) -> u8 {
    match action {
        Action::NoAction => 0,
        Action::Cascade => 1,
        Action::SetNull => 2,
        Action::SetDefault => 3,
    }
}

fn foreign_keys(def: &TableDef) -> Vec<ForeignKeyMeta> {
    let one = |key: &crate::store::ForeignKey| ForeignKeyMeta {
        object_id: key.object_id,
        name: key.name.clone(),
        referenced: key.parent,
        columns: key
            .columns
            .iter()
            .map(|at| id_at(def, *at))
            .zip(key.parent_columns.iter().copied())
            .collect(),
        on_delete: action(key.on_delete),
        on_update: action(key.on_update),
        system_named: key.system_named,
        disabled: key.disabled,
    };
    def.foreign_keys.iter().map(one).collect()
}
