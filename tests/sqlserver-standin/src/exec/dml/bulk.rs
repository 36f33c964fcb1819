//! Bulk load: INSERT BULK says what will come, a message of its own brings the rows (MS-TDS 2.2.6.1).
//!
//! Source of the rules: Microsoft documentation of `bcp`, `BULK INSERT` and `SqlBulkCopyOptions`: constraints and triggers
//! only when asked for, NULL becomes the column's default unless NULLs are kept, an identity column that is in the list
//! keeps the client's values.

use std::sync::Arc;

use super::Target;
use crate::exec::R;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::exec::temporal;
use crate::exec::write::Writer;
use crate::sql::ast::{Bulk, Insert, Stmt, StmtKind};
use crate::value::{Col, Row, SqlError, Typed};

/// The values of one row for their columns.
pub(super) fn given_in_bulk(
    w: &Writer,
    columns: &[usize],
    cols: &[Col],
    row: &Row,
    keep_nulls: bool,
) -> Vec<(usize, Typed)> {
    let values = columns.iter().zip(cols).zip(row.iter());
    values
        .filter(|((at, _), v)| keep_nulls || !v.is_null() || !w.has_default(**at))
        .map(|((at, c), v)| (*at, Typed::new(c.ty, v.clone())))
        .collect()
}

impl SessionState {
    /// The columns of a bulk load, as positions.
    pub(super) fn bulk_columns(target: &Target, names: &[String]) -> R<Vec<usize>> {
        let def = target.table.def();
        let mut out = Vec::with_capacity(names.len());
        for n in names {
            let at = def.ordinal(n).ok_or_else(|| SqlError::invalid_column(n))?;
            if def.columns.get(at).is_some_and(|c| c.computed.is_some()) {
                let m = format!(
                    "The column \"{n}\" cannot be modified because it is either a computed column or is the result of a UNION operator."
                );
                return Err(SqlError::new(271, m));
            }
            if def.columns.get(at).is_some_and(|c| c.generated.is_some()) {
                return Err(temporal::explicit(&def));
            }
            out.push(at);
        }
        Ok(out)
    }

    /// INSERT BULK itself: what it names has to be there; the rows come next.
    pub(crate) fn announce_bulk(&mut self, i: &Insert, bulk: &Bulk) -> R<()> {
        let target = self.target(&i.target)?;
        Self::bulk_columns(&target, &i.columns)?;
        for ty in &bulk.types {
            self.type_of(ty)?;
        }
        self.bulk = Some(Box::new(i.clone()));
        Ok(())
    }

    /// The rows of the load that INSERT BULK announced, as the client typed them.
    /// Errors: 4002 when none was announced, 4816 when a column is missing; those of an INSERT.
    pub fn bulk_load(&mut self, columns: Vec<Col>, rows: Vec<Row>, out: &mut dyn Output) -> R<()> {
        let Some(insert) = self.bulk.take() else {
            return Err(SqlError::new(
                4002,
                "The incoming tabular data stream (TDS) protocol stream is incorrect. The stream ended unexpectedly.",
            ));
        };
        if insert.columns.len() != columns.len() {
            let first = insert.columns.len().min(columns.len()) + 1;
            let m = format!("Invalid column type from bcp client for colid {first}.");
            return Err(SqlError::new(4816, m));
        }
        let text: Arc<str> = "INSERT BULK".into();
        let statement = Stmt { line: 1, text, kind: StmtKind::Insert(insert) };
        self.bulk_rows = Some((columns, rows));
        let result = self.request_of(&[statement], out);
        self.bulk_rows = None;
        result
    }
}
