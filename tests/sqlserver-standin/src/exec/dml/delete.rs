//! DELETE.

use std::sync::Arc;

use super::Target;
use super::output::OutputRows;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::exec::temporal;
use crate::exec::{Count, Write};
use crate::sql::ast::Delete;
use crate::store::Key;
use crate::value::Row;

impl SessionState {
    pub(crate) fn delete(&mut self, d: &Delete, out: &mut dyn Output) -> Result<Count, Write> {
        let top = self.limit(d.top.as_ref())?;
        let (target, sc, tree, slot) = self.affected(&d.ctes, &d.target, &d.from)?;
        self.may_change("DELETE", &target)?;
        if d.condition.is_some() {
            self.may_change("SELECT", &target)?;
        }
        temporal::not_history(&target.table.def(), "DELETE")?;
        let plan = self.output_plan(d.output.as_ref(), &target)?;
        let mut gone: Vec<(Key, Row)> = Vec::new();
        self.read_affected(tree, d.condition.as_ref(), &sc, slot, top, |_, key, row, _| {
            gone.push((key, Arc::clone(row)));
            Ok(())
        })?;
        self.delete_rows(&target, &gone)?;
        let count = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        let triggers = self.triggers(&target)?;
        let rows = if plan.is_some() || !triggers.is_empty() {
            gone.into_iter().map(|(_, r)| (None, Some(r), "DELETE")).collect()
        } else {
            Vec::new()
        };
        self.fire(&target, &triggers, &rows, Some("DELETE"), out)?;
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: count, sent })
    }

    pub(crate) fn delete_rows(
        &mut self,
        target: &Target,
        gone: &[(Key, Row)],
    ) -> Result<(), Write> {
        self.keep_history(target, gone.iter().map(|(_, row)| row))?;
        for (key, row) in gone {
            self.tx()?.delete(&target.database, &target.table, key, row)?;
        }
        self.parents_changed(target, gone.iter().map(|(_, r)| (r, None)).collect(), "DELETE")
    }
}
