//! AFTER triggers.

use std::sync::Arc;

use super::dml::Target;
use super::output::{EnvChange, Output, Stopped};
use super::session::SessionState;
use super::{R, Write};
use crate::sql::{Trigger, parse_trigger};
use crate::store::{Table, TableDef, read, same_name};
use crate::value::{Col, Row, SqlError, Val};

/// What a statement has changed: the row after, the row before, the action.
pub(crate) type Changed = (Option<Row>, Option<Row>, &'static str);

/// A statement's own transaction is nothing that the client knows of.
struct Quiet<'a> {
    out: &'a mut dyn Output,
    whole: bool,
}

impl Output for Quiet<'_> {
    fn columns(&mut self, columns: &[Col]) -> Result<(), Stopped> {
        self.out.columns(columns)
    }
    fn row(&mut self, row: &[Val]) -> Result<(), Stopped> {
        self.out.row(row)
    }
    fn done(&mut self, rows: Option<u64>) {
        self.out.done(rows);
    }
    fn message(&mut self, message: &SqlError) {
        self.out.message(message);
    }
    fn env(&mut self, change: EnvChange) {
        if self.whole {
            self.out.env(change);
        }
    }
    fn stopped(&self) -> bool {
        self.out.stopped()
    }
}

impl SessionState {
    /// The triggers of a table, in the order of their names.
    pub(crate) fn triggers(&self, target: &Target) -> R<Vec<(i32, Arc<Trigger>)>> {
        let objects = read(&target.database.objects);
        if !objects.modules.values().any(|m| m.kind == "TR") {
            return Ok(Vec::new());
        }
        let def = target.table.def();
        let mut found = Vec::new();
        for m in objects.modules.values().filter(|m| m.kind == "TR") {
            let trigger = parse_trigger(&m.text)?;
            let mut parts = trigger.table.iter().rev();
            let own = parts.next().is_some_and(|n| same_name(n, &def.name));
            let schema = parts.next().filter(|s| !s.is_empty());
            if own && schema.map_or("dbo", String::as_str).eq_ignore_ascii_case(&def.schema) {
                found.push((m.object_id, trigger));
            }
        }
        Ok(found)
    }

    /// Runs the triggers that what has changed concerns.
    pub(crate) fn fire(
        &mut self,
        target: &Target,
        triggers: &[(i32, Arc<Trigger>)],
        changed: &[Changed],
        event: Option<&'static str>,
        out: &mut dyn Output,
    ) -> Result<(), Write> {
        for action in ["INSERT", "UPDATE", "DELETE"] {
            let rows: Vec<&Changed> = changed.iter().filter(|c| c.2 == action).collect();
            // A statement that changes no row fires its triggers too; MERGE only those it has used.
            if rows.is_empty() && event != Some(action) {
                continue;
            }
            for (id, trigger) in triggers {
                let wanted = match action {
                    "INSERT" => trigger.insert,
                    "UPDATE" => trigger.update,
                    _ => trigger.delete,
                };
                // RECURSIVE_TRIGGERS is off: a trigger does not fire itself.
                if wanted && !self.frames.iter().any(|f| f.trigger == Some(*id)) {
                    self.fire_one(target, *id, trigger, &rows, out)?;
                }
            }
        }
        Ok(())
    }

    fn fire_one(
        &mut self,
        target: &Target,
        id: i32,
        trigger: &Trigger,
        rows: &[&Changed],
        out: &mut dyn Output,
    ) -> Result<(), Write> {
        let inserted = self.image(target, rows.iter().filter_map(|c| c.0.as_ref()))?;
        let deleted = self.image(target, rows.iter().filter_map(|c| c.1.as_ref()))?;
        let whole = !self.autocommit;
        let mut out = Quiet { out, whole };
        let tries = self.tries;
        let ended = self.nested(|s| {
            s.settings.xact_abort = true;
            s.tries = tries;
            s.push_frame();
            s.frame().trigger = Some(id);
            s.frame().owned = true;
            s.declare_table("inserted", inserted);
            s.declare_table("deleted", deleted);
            let result = s.block(&trigger.body, &mut out);
            s.pop_frame();
            result.map(|_| s.transaction.is_none())
        })?;
        if ended {
            return Err(SqlError::new(
                3609,
                "The transaction ended in the trigger. The batch has been aborted.",
            )
            .into());
        }
        Ok(())
    }

    /// `inserted` or `deleted`: the table's columns without its rules.
    fn image<'a>(
        &mut self,
        target: &Target,
        rows: impl Iterator<Item = &'a Row>,
    ) -> Result<Arc<Table>, Write> {
        let tempdb = self.instance.tempdb();
        let of = target.table.def();
        let mut columns = of.columns.clone();
        for c in &mut columns {
            c.identity = None;
            c.computed = None;
            c.default = None;
        }
        let def = TableDef::new(tempdb.new_object_id(), "dbo", &of.name, columns, tempdb.now());
        let table = Arc::new(Table::new(tempdb.id, def));
        for row in rows {
            self.tx()?.insert(&tempdb, &table, Arc::clone(row))?;
        }
        Ok(table)
    }
}
