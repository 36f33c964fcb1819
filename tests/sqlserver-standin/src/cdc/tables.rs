//! The tables that CDC brings into a database: their columns and keys (Microsoft's pages on the `cdc` schema;
//! research/source.md A.0.2 and A.0.5).

use crate::catalog::view::SYSNAME;
use crate::store::{Column, Index, KeyColumn, Moment, TableDef};
use crate::value::{MAX, Ty};

/// The schema of everything that CDC creates.
pub(crate) const SCHEMA: &str = "cdc";
/// The length of an LSN in a table.
pub(crate) const LSN: Ty = Ty::Binary(10);

/// Positions of the columns of `cdc.change_tables`.
pub(crate) mod change_tables {
    pub(crate) const OBJECT_ID: usize = 0;
    pub(crate) const SOURCE_OBJECT_ID: usize = 2;
    pub(crate) const CAPTURE_INSTANCE: usize = 3;
    pub(crate) const START_LSN: usize = 4;
    pub(crate) const END_LSN: usize = 5;
    pub(crate) const SUPPORTS_NET_CHANGES: usize = 6;
    pub(crate) const HAS_DROP_PENDING: usize = 7;
    pub(crate) const ROLE_NAME: usize = 8;
    pub(crate) const INDEX_NAME: usize = 9;
    pub(crate) const FILEGROUP_NAME: usize = 10;
    pub(crate) const CREATE_DATE: usize = 11;
}

/// Positions of the columns of `cdc.captured_columns`.
pub(crate) mod captured_columns {
    pub(crate) const OBJECT_ID: usize = 0;
    pub(crate) const COLUMN_NAME: usize = 1;
    pub(crate) const COLUMN_ID: usize = 2;
    pub(crate) const COLUMN_TYPE: usize = 3;
    pub(crate) const COLUMN_ORDINAL: usize = 4;
    pub(crate) const IS_COMPUTED: usize = 5;
}

/// Positions of the columns of `cdc.index_columns`.
pub(crate) mod index_columns {
    pub(crate) const OBJECT_ID: usize = 0;
    pub(crate) const COLUMN_NAME: usize = 1;
}

/// Positions of the columns of `cdc.lsn_time_mapping`.
pub(crate) mod lsn_time_mapping {
    pub(crate) const START_LSN: usize = 0;
    pub(crate) const TRAN_END_TIME: usize = 2;
}

/// Positions of the columns of `cdc.ddl_history`.
pub(crate) mod ddl_history {
    pub(crate) const OBJECT_ID: usize = 1;
    pub(crate) const REQUIRED_COLUMN_UPDATE: usize = 2;
    pub(crate) const DDL_COMMAND: usize = 3;
    pub(crate) const DDL_LSN: usize = 4;
    pub(crate) const DDL_TIME: usize = 5;
}

/// Positions of the first columns of a change table.
pub(crate) mod change {
    pub(crate) const START_LSN: usize = 0;
    pub(crate) const SEQVAL: usize = 2;
    pub(crate) const OPERATION: usize = 3;
    pub(crate) const UPDATE_MASK: usize = 4;
    /// The first captured column.
    pub(crate) const CAPTURED: usize = 5;
}

fn table(
    id: i32,
    name: &str,
    now: Moment,
    columns: &[(&str, Ty, bool)],
    key: &[usize],
    key_name: &str,
) -> TableDef {
    let columns = (1..)
        .zip(columns)
        .map(|(n, (name, ty, nullable))| Column::new(n, name, *ty, *nullable))
        .collect();
    let mut def = TableDef::new(id, SCHEMA, name, columns, now);
    def.is_ms_shipped = true;
    def.indexes.push(clustered(key_name, key, true));
    def
}

fn clustered(name: &str, key: &[usize], unique: bool) -> Index {
    Index {
        id: 1,
        name: name.to_owned(),
        unique,
        clustered: true,
        primary_key: false,
        unique_constraint: false,
        constraint_id: 0,
        system_named: false,
        columns: key
            .iter()
            .map(|column| KeyColumn { column: *column, descending: false })
            .collect(),
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

/// The catalogue of CDC; `id` gives each table its object id.
pub(crate) fn catalogue(now: Moment, mut id: impl FnMut() -> i32) -> Vec<TableDef> {
    vec![
        table(
            id(),
            "change_tables",
            now,
            &[
                ("object_id", Ty::Int, false),
                ("version", Ty::Int, true),
                ("source_object_id", Ty::Int, true),
                ("capture_instance", SYSNAME, false),
                ("start_lsn", LSN, true),
                ("end_lsn", LSN, true),
                ("supports_net_changes", Ty::Bit, true),
                ("has_drop_pending", Ty::Bit, true),
                ("role_name", SYSNAME, true),
                ("index_name", SYSNAME, true),
                ("filegroup_name", SYSNAME, true),
                ("create_date", Ty::DateTime, true),
                ("partition_switch", Ty::Bit, false),
            ],
            &[0],
            "change_tables_clustered_idx",
        ),
        table(
            id(),
            "captured_columns",
            now,
            &[
                ("object_id", Ty::Int, false),
                ("column_name", SYSNAME, false),
                ("column_id", Ty::Int, true),
                ("column_type", SYSNAME, false),
                ("column_ordinal", Ty::Int, false),
                ("is_computed", Ty::Bit, true),
            ],
            &[0, 4],
            "captured_columns_clustered_idx",
        ),
        table(
            id(),
            "index_columns",
            now,
            &[
                ("object_id", Ty::Int, false),
                ("column_name", SYSNAME, false),
                ("index_ordinal", Ty::TinyInt, false),
                ("column_id", Ty::Int, false),
            ],
            &[0, 2],
            "index_columns_clustered_idx",
        ),
        table(
            id(),
            "ddl_history",
            now,
            &[
                ("source_object_id", Ty::Int, true),
                ("object_id", Ty::Int, false),
                ("required_column_update", Ty::Bit, true),
                ("ddl_command", Ty::NVarChar(MAX), true),
                ("ddl_lsn", LSN, false),
                ("ddl_time", Ty::DateTime, true),
            ],
            &[1, 4],
            "ddl_history_clustered_idx",
        ),
        table(
            id(),
            "lsn_time_mapping",
            now,
            &[
                ("start_lsn", LSN, false),
                ("tran_begin_time", Ty::DateTime, true),
                ("tran_end_time", Ty::DateTime, true),
                ("tran_id", Ty::VarBinary(10), true),
                ("tran_begin_lsn", LSN, true),
            ],
            &[0],
            "lsn_time_mapping_clustered_idx",
        ),
    ]
}

/// The type that a captured column of this type has in a change table.
pub(crate) fn captured_type(ty: Ty) -> Ty {
    match ty {
        Ty::RowVersion => Ty::Binary(8),
        other => other,
    }
}

/// A change table: the columns of CDC around the captured columns, which are all nullable.
pub(crate) fn change_table(
    id: i32,
    instance: &str,
    now: Moment,
    captured: &[Column],
    command_id: bool,
) -> TableDef {
    let mut columns = vec![
        Column::new(1, "__$start_lsn", LSN, false),
        Column::new(2, "__$end_lsn", LSN, true),
        Column::new(3, "__$seqval", LSN, false),
        Column::new(4, "__$operation", Ty::Int, false),
        Column::new(5, "__$update_mask", Ty::VarBinary(128), true),
    ];
    let mut next = 6;
    for source in captured {
        let mut column = Column::new(next, &source.name, captured_type(source.ty), true);
        column.collation.clone_from(&source.collation);
        if source.ty != Ty::RowVersion {
            column.declared.clone_from(&source.declared);
        }
        columns.push(column);
        next += 1;
    }
    let mut key = vec![change::START_LSN, change::SEQVAL, change::OPERATION];
    if command_id {
        key.insert(1, columns.len());
        columns.push(Column::new(next, "__$command_id", Ty::Int, true));
    }
    let mut def = TableDef::new(id, SCHEMA, &format!("{instance}_CT"), columns, now);
    def.is_ms_shipped = true;
    def.indexes.push(clustered(&format!("{instance}_CT_clustered_idx"), &key, true));
    def
}
