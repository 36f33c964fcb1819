//! Rows of system-versioned tables: what is in the columns of the period, and the old rows that go to the history table.
//!
//! Source: Microsoft's page "Temporal tables": the period begins at the time of the transaction's begin (UTC), and a row
//! that is current ends at the highest value of its type. Only the server writes history tables.

use std::sync::Arc;

use super::dml::Target;
use super::session::SessionState;
use super::{R, Write};
use crate::store::{Generated, TableDef, Temporal};
use crate::value::{Row, SqlError, Ty, Typed, Val, cast};

/// 9999-12-31, days since 0001-01-01.
const LAST_DAY: i32 = 3_652_058;
const LAST_TICK: u64 = 864_000_000_000 - 1;

impl SessionState {
    /// The time at which this transaction changes rows, in a column's precision.
    fn period_start(&mut self, ty: &Ty) -> R<Val> {
        let begun = self.tx()?.begin_utc().datetime2();
        cast(&Typed::new(Ty::DateTime2(7), begun), ty, None)
    }

    /// Fills the columns of the period of a row that becomes the current one.
    pub(super) fn fill_period(&mut self, def: &TableDef, values: &mut [Val]) -> R<()> {
        for (c, place) in def.columns.iter().zip(values) {
            match c.generated {
                None => {}
                Some(Generated::RowStart) => *place = self.period_start(&c.ty)?,
                Some(Generated::RowEnd) => {
                    let Ty::DateTime2(digits) = c.ty else { continue };
                    let step = 10_u64.pow(7 - u32::from(digits.min(7)));
                    *place = Val::DateTime2(LAST_DAY, LAST_TICK / step * step);
                }
            }
        }
        Ok(())
    }

    /// Copies rows that are about to change or go to the table's history.
    pub(super) fn keep_history<'a>(
        &mut self,
        target: &Target,
        rows: impl Iterator<Item = &'a Row>,
    ) -> Result<(), Write> {
        let def = target.table.def();
        let Temporal::Current(history) = def.temporal else { return Ok(()) };
        let Some(history) = target.database.table_by_id(history) else { return Ok(()) };
        let end = def.columns.iter().position(|c| c.generated == Some(Generated::RowEnd));
        let Some((at, ty)) = end.and_then(|at| Some((at, def.columns.get(at)?.ty))) else {
            return Ok(());
        };
        let now = self.period_start(&ty)?;
        for row in rows {
            let mut values = row.to_vec();
            if let Some(place) = values.get_mut(at) {
                *place = now.clone();
            }
            self.tx()?.insert(&target.database, &history, Arc::from(values))?;
        }
        Ok(())
    }
}

/// Error 13559, 13560 or 13561 for a history table.
pub(super) fn not_history(def: &TableDef, statement: &str) -> R<()> {
    let Temporal::History(_) = def.temporal else { return Ok(()) };
    let (number, what) = match statement {
        "INSERT" => (13559, "insert rows in"),
        "DELETE" => (13560, "delete rows from"),
        _ => (13561, "update rows in"),
    };
    let m = format!("Cannot {what} a temporal history table '{}'.", def.full_name());
    Err(SqlError::new(number, m))
}

/// Error 13536: a value for a column of the period.
pub(super) fn explicit(def: &TableDef) -> SqlError {
    let m = format!(
        "Cannot insert an explicit value into a GENERATED ALWAYS column in table '{}'. Use INSERT with a column list to exclude the GENERATED ALWAYS column, or insert a DEFAULT into GENERATED ALWAYS column.",
        def.full_name()
    );
    SqlError::new(13536, m)
}

/// Error 13537: an assignment to a column of the period.
pub(super) fn fixed(def: &TableDef) -> SqlError {
    let m = format!("Cannot update GENERATED ALWAYS columns in table '{}'.", def.full_name());
    SqlError::new(13537, m)
}
