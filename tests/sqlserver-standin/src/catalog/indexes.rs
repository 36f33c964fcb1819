//! `sys.indexes`, `sys.index_columns`, statistics, partitions and row counts.

use super::meta::{Meta, TableMeta};
use super::view::{View, bit, int, maybe_text, text};
use crate::value::{Rowset, SqlError, Val};

/// `sys.indexes`: a table without a clustered index has a row for the heap (index 0, no name).
pub(crate) fn indexes(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_id int!; name sysname; index_id int!; type tinyint!; type_desc nvarchar(60); is_unique bit; data_space_id int; \
         ignore_dup_key bit; is_primary_key bit; is_unique_constraint bit; fill_factor tinyint!; is_padded bit; \
         is_disabled bit; is_hypothetical bit; allow_row_locks bit; allow_page_locks bit; has_filter bit; \
         filter_definition nvarchar(max); auto_created bit",
    )?;
    for table in &meta.tables {
        if !table.indexes.iter().any(|index| index.clustered) {
            view.push(index_row(table, None, 0, 0, "HEAP", [false; 4], None));
        }
        for index in &table.indexes {
            let (kind, description) =
                if index.clustered { (1, "CLUSTERED") } else { (2, "NONCLUSTERED") };
            let flags = [index.unique, index.primary, index.constraint, index.disabled];
            view.push(index_row(
                table,
                Some(&index.name),
                index.id,
                kind,
                description,
                flags,
                index.filter.as_deref(),
            ));
        }
    }
    Ok(view.done())
}

fn index_row(
    table: &TableMeta,
    name: Option<&str>,
    id: i32,
    kind: u8,
    description: &str,
    [unique, primary, constraint, disabled]: [bool; 4],
    filter: Option<&str>,
) -> Vec<Val> {
    vec![
        int(table.object_id),
        maybe_text(name),
        int(id),
        int(kind),
        text(description),
        bit(unique),
        int(1),
        bit(false),
        bit(primary),
        bit(constraint),
        int(0),
        bit(false),
        bit(disabled),
        bit(false),
        bit(true),
        bit(true),
        bit(filter.is_some()),
        maybe_text(filter),
        bit(false),
    ]
}

/// `sys.index_columns`.
pub(crate) fn index_columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_id int!; index_id int!; index_column_id int!; column_id int!; key_ordinal tinyint!; \
         partition_ordinal tinyint!; is_descending_key bit; is_included_column bit",
    )?;
    for table in &meta.tables {
        for index in &table.indexes {
            let keys = index.keys.iter().map(|(column, descending)| (*column, *descending, false));
            let included = index.included.iter().map(|column| (*column, false, true));
            for (n, (column, descending, included)) in (1i64..).zip(keys.chain(included)) {
                view.row([
                    int(table.object_id),
                    int(index.id),
                    int(n),
                    int(column),
                    int(if included { 0 } else { n }),
                    int(0),
                    bit(descending),
                    bit(included),
                ]);
            }
        }
    }
    Ok(view.done())
}

/// The index ids of a table, the heap's 0 included.
fn ids(table: &TableMeta) -> Vec<i32> {
    let heap = (!table.indexes.iter().any(|index| index.clustered)).then_some(0);
    heap.into_iter().chain(table.indexes.iter().map(|index| index.id)).collect()
}

fn partition_id(table: &TableMeta, index: i32) -> i64 {
    72_057_594_000_000_000 + i64::from(table.object_id) * 16 + i64::from(index)
}

/// `sys.partitions`.
pub(crate) fn partitions(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "partition_id bigint!; object_id int!; index_id int!; partition_number int!; hobt_id bigint!; rows bigint; \
         filestream_filegroup_id smallint!; data_compression tinyint!; data_compression_desc nvarchar(60)",
    )?;
    for table in &meta.tables {
        for index in ids(table) {
            let id = partition_id(table, index);
            view.row([
                int(id),
                int(table.object_id),
                int(index),
                int(1),
                int(id),
                int(table.rows),
                int(0),
                int(0),
                text("NONE"),
            ]);
        }
    }
    Ok(view.done())
}

/// `sys.dm_db_partition_stats`; pages are a guess of 100 rows each.
pub(crate) fn partition_stats(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "partition_id bigint; object_id int!; index_id int!; partition_number int!; in_row_data_page_count bigint; \
         in_row_used_page_count bigint; in_row_reserved_page_count bigint; lob_used_page_count bigint; \
         lob_reserved_page_count bigint; row_overflow_used_page_count bigint; row_overflow_reserved_page_count bigint; \
         used_page_count bigint; reserved_page_count bigint; row_count bigint",
    )?;
    for table in &meta.tables {
        for index in ids(table) {
            let pages = || int(table.rows / 100 + 1);
            view.row([
                int(partition_id(table, index)),
                int(table.object_id),
                int(index),
                int(1),
                pages(),
                pages(),
                pages(),
                int(0),
                int(0),
                int(0),
                int(0),
                pages(),
                pages(),
                int(table.rows),
            ]);
        }
    }
    Ok(view.done())
}

/// `sys.allocation_units`: one unit of in-row data for each partition.
pub(crate) fn allocation_units(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "allocation_unit_id bigint!; type tinyint!; type_desc nvarchar(60); container_id bigint!; data_space_id int; \
         total_pages bigint!; used_pages bigint!; data_pages bigint!",
    )?;
    for table in &meta.tables {
        for index in ids(table) {
            let id = partition_id(table, index);
            let pages = || int(table.rows / 100 + 1);
            view.row([
                int(id + 1),
                int(1),
                text("IN_ROW_DATA"),
                int(id),
                int(1),
                pages(),
                pages(),
                pages(),
            ]);
        }
    }
    Ok(view.done())
}

/// `sys.stats`: each index has statistics with its own id and name.
pub(crate) fn stats(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_id int!; name nvarchar(128); stats_id int!; auto_created bit; user_created bit; no_recompute bit; \
         has_filter bit; filter_definition nvarchar(max); is_temporary bit; is_incremental bit",
    )?;
    for table in &meta.tables {
        for index in &table.indexes {
            view.row([
                int(table.object_id),
                text(&index.name),
                int(index.id),
                bit(false),
                bit(false),
                bit(false),
                bit(index.filter.is_some()),
                maybe_text(index.filter.as_deref()),
                bit(false),
                bit(false),
            ]);
        }
    }
    Ok(view.done())
}

/// `sys.stats_columns`.
pub(crate) fn stats_columns(meta: &Meta) -> Result<Rowset, SqlError> {
    let mut view =
        View::new("object_id int!; stats_id int!; stats_column_id int!; column_id int!")?;
    for table in &meta.tables {
        for index in &table.indexes {
            for (n, (column, _)) in (1i64..).zip(&index.keys) {
                view.row([int(table.object_id), int(index.id), int(n), int(*column)]);
            }
        }
    }
    Ok(view.done())
}
