//! UPDATE and SET.

use std::sync::Arc;

use super::output::OutputRows;
use super::{Target, last};
use crate::exec::node::{Env, Kind, Node};
use crate::exec::output::Output;
use crate::exec::plan::QueryPlan;
use crate::exec::run::QueryRun;
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::exec::temporal;
use crate::exec::write::Writer;
use crate::exec::{Count, R, Write};
use crate::sql::ast::{Assign, Expr, Update};
use crate::store::RowUpdate;
use crate::value::{Op, Row, SqlError, Ty, Typed, arith, assign};

/// One assignment of SET.
pub(crate) struct Set {
    pub(super) column: Option<usize>,
    variable: Option<(usize, Ty)>,
    /// None: DEFAULT
    value: Option<Node>,
}

impl SessionState {
    pub(super) fn assignments(
        &mut self,
        set: &[Assign],
        target: &Target,
        sc: &Scope<'_>,
        slot: usize,
    ) -> R<Vec<Set>> {
        let def = target.table.def();
        let mut out: Vec<Set> = Vec::with_capacity(set.len());
        for a in set {
            let (column, variable, op, expr) = match a {
                Assign::Column { name, op, expr } => (Some(name), None, *op, expr),
                Assign::Var { name, op, expr } => (None, Some(name), *op, expr),
                Assign::Both { var, column, expr } => (Some(column), Some(var), None, expr),
            };
            let at = match column {
                Some(name) => {
                    let at = def
                        .ordinal(last(name))
                        .ok_or_else(|| SqlError::invalid_column(last(name)))?;
                    let Some(c) = def.columns.get(at) else { continue };
                    if c.computed.is_some() || c.ty == Ty::RowVersion {
                        let m = if c.ty == Ty::RowVersion {
                            SqlError::new(272, "Cannot update a timestamp column.")
                        } else {
                            SqlError::new(
                                271,
                                format!(
                                    "The column \"{}\" cannot be modified because it is either a computed column or is the result of a UNION operator.",
                                    c.name
                                ),
                            )
                        };
                        return Err(m);
                    }
                    if c.generated.is_some() {
                        return Err(temporal::fixed(&def));
                    }
                    if c.identity.is_some() {
                        return Err(SqlError::new(
                            8102,
                            format!("Cannot update identity column '{}'.", c.name),
                        ));
                    }
                    if out.iter().any(|s| s.column == Some(at)) {
                        let m = format!(
                            "The column name '{}' is specified more than once in the SET clause or column list of an INSERT.",
                            c.name
                        );
                        return Err(SqlError::new(264, m));
                    }
                    Some(at)
                }
                None => None,
            };
            let variable = variable.map(|v| self.find_variable(v)).transpose()?;
            let value = match expr {
                Expr::Default => None,
                e => {
                    let mut n = self.compile(e, sc)?;
                    if let Some(op) = op {
                        let left = match (at, variable) {
                            (Some(at), _) => {
                                let c = def
                                    .columns
                                    .get(at)
                                    .ok_or_else(|| SqlError::invalid_column("?"))?;
                                Node::column(0, slot, at, c.ty, c.nullable)
                            }
                            (None, Some((v, ty))) => Node::new(ty, true, Kind::Var(v)),
                            (None, None) => return Err(SqlError::syntax("=")),
                        };
                        let ty = crate::value::arith_type(op, &left.ty, &n.ty)?;
                        n = Node::new(ty, true, Kind::Arith(op, Box::new(left), Box::new(n)));
                    }
                    Some(n)
                }
            };
            out.push(Set { column: at, variable, value });
        }
        Ok(out)
    }

    pub(crate) fn update(&mut self, u: &Update, out: &mut dyn Output) -> Result<Count, Write> {
        let top = self.limit(u.top.as_ref())?;
        let (target, sc, tree, slot) = self.affected(&u.ctes, &u.target, &u.from)?;
        self.may_change("UPDATE", &target)?;
        if u.condition.is_some() || !u.set.iter().all(Assign::is_constant) {
            self.may_change("SELECT", &target)?;
        }
        temporal::not_history(&target.table.def(), "UPDATE")?;
        let set = self.assignments(&u.set, &target, &sc, slot)?;
        let plan = self.output_plan(u.output.as_ref(), &target)?;
        let w = self.writer(&target)?;
        let mut updates: Vec<RowUpdate> = Vec::new();
        self.read_affected(tree, u.condition.as_ref(), &sc, slot, top, |s, key, row, tuple| {
            let env = Env { rows: tuple, outer: None };
            let after = s.changed_row(&w, &set, row, &env)?;
            updates.push(RowUpdate { key, before: Arc::clone(row), after });
            Ok(())
        })?;
        let assigned: Vec<usize> = set.iter().filter_map(|s| s.column).collect();
        self.apply_updates(&w, &target, &updates, &assigned)?;
        let count = u64::try_from(updates.len()).unwrap_or(u64::MAX);
        let triggers = self.triggers(&target)?;
        let rows = if plan.is_some() || !triggers.is_empty() {
            updates.into_iter().map(|u| (Some(u.after), Some(u.before), "UPDATE")).collect()
        } else {
            Vec::new()
        };
        self.fire(&target, &triggers, &rows, Some("UPDATE"), out)?;
        let sent = self.give(plan, OutputRows { rows }, out)?;
        Ok(Count { rows: count, sent })
    }

    /// The row after SET.
    pub(super) fn changed_row(
        &mut self,
        w: &Writer,
        set: &[Set],
        row: &Row,
        env: &Env<'_>,
    ) -> R<Row> {
        let mut values = row.to_vec();
        for a in set {
            let value = match &a.value {
                Some(n) => self.typed(n, env)?,
                None => match a.column {
                    Some(at) => self.default_value(w, at)?,
                    None => Typed::null(Ty::Int),
                },
            };
            if let Some((at, ty)) = a.variable {
                let v = assign(&value, &ty, None)?;
                self.set_variable_at(at, v);
            }
            if let Some(at) = a.column
                && let Some(c) = w.def.columns.get(at)
            {
                let v = assign(&value, &c.ty, Some((&w.full_name, &c.name)))?;
                if let Some(place) = values.get_mut(at) {
                    *place = v;
                }
            }
        }
        self.finish_row(w, values, "UPDATE")
    }

    pub(super) fn apply_updates(
        &mut self,
        w: &Writer,
        target: &Target,
        updates: &[RowUpdate],
        assigned: &[usize],
    ) -> Result<(), Write> {
        self.keep_history(target, updates.iter().map(|u| &u.before))?;
        self.tx()?.update(&target.database, &target.table, updates, assigned)?;
        if w.has_foreign_keys() {
            for u in updates {
                self.check_foreign(w, target, &u.after, "UPDATE")?;
            }
        }
        self.parents_changed(
            target,
            updates.iter().map(|u| (&u.before, Some(&u.after))).collect(),
            "UPDATE",
        )
    }

    /// SELECT @x = ...
    pub(crate) fn select_assign(&mut self, plan: &QueryPlan) -> R<u64> {
        let mut run = QueryRun::new(plan);
        let mut count = 0;
        loop {
            let (select, tuple) = match run.advance(self)? {
                Some((p, t)) => (p, t.to_vec()),
                None => return Ok(count),
            };
            count += 1;
            let env = Env { rows: &tuple, outer: None };
            let assigns: Vec<(usize, Ty, Option<Op>)> = select.assigns.clone();
            let items: Vec<Node> = select.items.clone();
            for ((at, ty, op), n) in assigns.into_iter().zip(&items) {
                let mut v = self.typed(n, &env)?;
                if let Some(op) = op {
                    let old = Typed::new(ty, self.variable_at(at));
                    v = arith(op, &old, &v)?;
                }
                let v = assign(&v, &ty, None)?;
                self.set_variable_at(at, v);
            }
        }
    }
}
