//! What a table of PostgreSQL looks like.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use crate::{PostgresError, Session};

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Type without length, as `pg_type` names it: `int4`, `varchar`.
    pub base_type: String,
    /// Type as declared: `numeric(18,2)`.
    pub declared: String,
    /// NOT NULL.
    pub not_null: bool,
    /// GENERATED ALWAYS (stored or identity): it cannot be written.
    pub generated: bool,
    /// A row that does not say it gets a value: DEFAULT, identity or GENERATED.
    pub has_default: bool,
}

/// A table that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingTable {
    /// Columns by name.
    pub columns: BTreeMap<String, TableColumn>,
    /// Columns of the primary key, in its order; empty when it has none.
    pub primary_key: Vec<String>,
    /// Its number: another table of the same name has another one.
    pub oid: u32,
}

/// Looks a table up; `None` when there is none.
///
/// # Errors
/// When the catalogue cannot be read.
pub async fn table(
    client: &Session,
    schema: &str,
    name: &str,
) -> Result<Option<ExistingTable>, PostgresError> {
    let doing = format!("look up {schema}.{name}");
    let failed = |e| PostgresError::statement(&doing, e);
    let columns = client
        .query_typed(
            "SELECT a.attname::text, t.typname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                    a.attgenerated <> '' OR a.attidentity = 'a', \
                    a.atthasdef OR a.attidentity <> '', c.oid \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') \
               AND a.attnum > 0 AND NOT a.attisdropped",
            &[(&schema, Type::TEXT), (&name, Type::TEXT)],
        )
        .await
        .map_err(failed)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let oid = columns.first().map_or(0, |row| row.get(6));
    let columns = columns
        .iter()
        .map(|row| {
            let column = TableColumn {
                base_type: row.get(1),
                declared: row.get(2),
                not_null: row.get(3),
                generated: row.get(4),
                has_default: row.get(5),
            };
            (row.get(0), column)
        })
        .collect();
    let key = client
        .query_typed(
            "SELECT a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
             WHERE n.nspname = $1 AND c.relname = $2 AND i.indisprimary ORDER BY k.place",
            &[(&schema, Type::TEXT), (&name, Type::TEXT)],
        )
        .await
        .map_err(failed)?;
    Ok(Some(ExistingTable {
        columns,
        primary_key: key.iter().map(|row| row.get(0)).collect(),
        oid,
    }))
}
