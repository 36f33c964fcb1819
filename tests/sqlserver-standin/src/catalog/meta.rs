//! What the catalogue views need to know of a database: a description without locks, copied out of the store.

use crate::value::{Ty, Val};

/// The objects of a database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) schemas: Vec<(i32, String)>,
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) views: Vec<ViewMeta>,
    pub(crate) collation: String,
}

/// A view that a user created.
#[derive(Clone, Debug)]
pub(crate) struct ViewMeta {
    pub(crate) object_id: i32,
    pub(crate) schema_id: i32,
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) created: Val,
    pub(crate) columns: Vec<ColumnMeta>,
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct TableMeta {
    pub(crate) object_id: i32,
    pub(crate) schema_id: i32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Made by the server (change tables and the CDC catalogue).
    pub(crate) system: bool,
    pub(crate) created: Val,
    pub(crate) modified: Val,
    pub(crate) columns: Vec<ColumnMeta>,
    pub(crate) indexes: Vec<IndexMeta>,
    pub(crate) checks: Vec<CheckMeta>,
    pub(crate) foreign_keys: Vec<ForeignKeyMeta>,
    pub(crate) rows: i64,
    pub(crate) tracked_by_cdc: bool,
    /// 0 plain, 1 history, 2 system-versioned.
    pub(crate) temporal: u8,
    pub(crate) history_table: Option<i32>,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct ColumnMeta {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) ty: Ty,
    /// The name of the type as declared, when it is not the type's own.
    pub(crate) declared: Option<String>,
    pub(crate) row_guid: bool,
    pub(crate) nullable: bool,
    pub(crate) identity: Option<IdentityMeta>,
    pub(crate) computed: Option<ComputedMeta>,
    pub(crate) default: Option<DefaultMeta>,
    pub(crate) collation: Option<String>,
    pub(crate) sparse: bool,
    /// 0 plain, 1 row start, 2 row end of a system-versioned table.
    pub(crate) generated: u8,
    pub(crate) hidden: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct IdentityMeta {
    pub(crate) seed: i128,
    pub(crate) increment: i128,
    pub(crate) last: Option<i128>,
}

#[derive(Clone, Debug)]
pub(crate) struct ComputedMeta {
    pub(crate) definition: String,
    pub(crate) persisted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct DefaultMeta {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) system_named: bool,
}

/// An index; a heap is not one.
#[derive(Clone, Debug)]
pub(crate) struct IndexMeta {
    /// 1 is the clustered index.
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) clustered: bool,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    /// Behind a UNIQUE constraint.
    pub(crate) constraint: bool,
    /// The constraint's object id, for primary keys and unique constraints.
    pub(crate) constraint_id: i32,
    pub(crate) system_named: bool,
    pub(crate) disabled: bool,
    pub(crate) filter: Option<String>,
    /// Column id, descending.
    pub(crate) keys: Vec<(i32, bool)>,
    pub(crate) included: Vec<i32>,
}

#[derive(Clone, Debug)]
pub(crate) struct CheckMeta {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) definition: String,
    /// Id of the column it was written with, 0 for the table.
    pub(crate) column: i32,
    pub(crate) system_named: bool,
    pub(crate) disabled: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ForeignKeyMeta {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) referenced: i32,
    /// Column id here, column id there.
    pub(crate) columns: Vec<(i32, i32)>,
    /// 0 no action, 1 cascade, 2 set null, 3 set default.
    pub(crate) on_delete: u8,
    pub(crate) on_update: u8,
    pub(crate) system_named: bool,
    pub(crate) disabled: bool,
}

impl Meta {
    pub(crate) fn schema_name(&self, id: i32) -> Option<&str> {
        self.schemas.iter().find(|schema| schema.0 == id).map(|schema| schema.1.as_str())
    }

    pub(crate) fn table(&self, object_id: i64) -> Option<&TableMeta> {
        self.tables.iter().find(|table| i64::from(table.object_id) == object_id)
    }
}

impl ColumnMeta {
    /// A column of a view.
    pub(crate) fn plain(id: i32, column: &crate::value::Col) -> Self {
        Self {
            id,
            name: column.name.clone(),
            ty: column.ty,
            declared: None,
            row_guid: false,
            nullable: column.nullable,
            identity: None,
            computed: None,
            default: None,
            collation: None,
            sparse: false,
            generated: 0,
            hidden: false,
        }
    }

    /// The facts of the type under the name that was declared.
    pub(crate) fn facts(&self) -> super::types::Facts {
        super::types::declared_facts(&self.ty, self.declared.as_deref())
    }
}

impl TableMeta {
    pub(crate) fn column(&self, name: &str) -> Option<&ColumnMeta> {
        self.columns.iter().find(|column| super::view::same(&column.name, name))
    }

    pub(crate) fn column_name(&self, id: i32) -> Option<&str> {
        self.columns.iter().find(|column| column.id == id).map(|column| column.name.as_str())
    }

    pub(crate) fn primary_key(&self) -> Option<&IndexMeta> {
        self.indexes.iter().find(|index| index.primary)
    }
}
