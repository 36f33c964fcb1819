//! The OUTPUT clause.

use std::sync::Arc;

use super::{Target, last};
use crate::exec::from::offered;
use crate::exec::node::{Env, Node};
use crate::exec::output::Output;
use crate::exec::scope::{Offered, Scope, Visible};
use crate::exec::session::SessionState;
use crate::exec::{R, Write};
use crate::sql::ast::{Expr, OutputClause, SelectItem};
use crate::store::same_name;
use crate::value::{Col, Filled, Row, SqlError, Ty, Typed, Val};

/// The rows of OUTPUT: inserted, deleted, action.
pub(super) struct OutputRows {
    pub(super) rows: Vec<(Option<Row>, Option<Row>, &'static str)>,
}

/// A compiled OUTPUT clause.
pub(super) struct OutputPlan {
    items: Vec<Node>,
    columns: Vec<Col>,
    into: Option<(Target, Vec<usize>)>,
}

impl SessionState {
    pub(super) fn output_plan(
        &mut self,
        clause: Option<&OutputClause>,
        target: &Target,
    ) -> R<Option<OutputPlan>> {
        let Some(clause) = clause else { return Ok(None) };
        let columns = offered(&target.table.def());
        let nullable: Vec<Offered> = columns
            .iter()
            .cloned()
            .map(|mut c| {
                c.nullable = true;
                c
            })
            .collect();
        let visible = |alias: &str, columns: Vec<Offered>, slot| Visible {
            alias: alias.to_owned(),
            path: Vec::new(),
            columns,
            slot,
        };
        let action = Offered {
            name: "$action".to_owned(),
            ty: Ty::NVarChar(10),
            nullable: false,
            filled: Filled::Client,
            collation: None,
            hidden: false,
        };
        let sc = Scope::of(vec![
            visible("inserted", columns, 0),
            visible("deleted", nullable, 1),
            visible("", vec![action], 2),
        ]);
        let (mut items, mut out) = (Vec::new(), Vec::new());
        for item in &clause.items {
            match item {
                SelectItem::Star(q) => {
                    let Some(slot) = q
                        .first()
                        .and_then(|q| ["inserted", "deleted"].iter().position(|a| same_name(a, q)))
                    else {
                        return Err(SqlError::syntax("*"));
                    };
                    let tables = sc.tables.borrow();
                    let Some(t) = tables.get(slot) else { continue };
                    for (i, c) in t.columns.iter().enumerate().filter(|(_, c)| !c.hidden) {
                        items.push(Node::column(0, slot, i, c.ty, c.nullable));
                        out.push(Col {
                            name: c.name.clone(),
                            ty: c.ty,
                            nullable: c.nullable,
                            filled: c.filled,
                        });
                    }
                }
                SelectItem::Expr { expr, alias } => {
                    let n = self.compile(expr, &sc)?;
                    let own = match expr {
                        Expr::Column(name) => last(name).to_owned(),
                        _ => String::new(),
                    };
                    out.push(Col {
                        name: alias.clone().unwrap_or(own),
                        ty: n.ty,
                        nullable: n.nullable,
                        filled: Filled::Client,
                    });
                    items.push(n);
                }
                SelectItem::Assign { .. } => return Err(SqlError::syntax("=")),
            }
        }
        let into = match &clause.into {
            Some((r, names)) => {
                let t = self.target(r)?;
                let columns = self.insert_columns(&t, names, false)?;
                if columns.len() != items.len() {
                    return Err(SqlError::new(
                        213,
                        "Column name or number of supplied values does not match table definition.",
                    ));
                }
                Some((t, columns))
            }
            None => None,
        };
        Ok(Some(OutputPlan { items, columns: out, into }))
    }

    /// Sends the rows of OUTPUT, or puts them into their table. Ok(true): they went to the client.
    pub(super) fn give(
        &mut self,
        plan: Option<OutputPlan>,
        rows: OutputRows,
        out: &mut dyn Output,
    ) -> Result<bool, Write> {
        let Some(plan) = plan else { return Ok(false) };
        let empty: Row = Arc::from([]);
        let mut results: Vec<Vec<Val>> = Vec::with_capacity(rows.rows.len());
        for (inserted, deleted, action) in rows.rows {
            let tuple = [
                inserted.unwrap_or_else(|| Arc::clone(&empty)),
                deleted.unwrap_or_else(|| Arc::clone(&empty)),
                Arc::from([Val::str(action)]),
            ];
            let env = Env { rows: &tuple, outer: None };
            results.push(plan.items.iter().map(|n| self.eval(n, &env)).collect::<R<_>>()?);
        }
        match plan.into {
            Some((target, columns)) => {
                let w = self.writer(&target)?;
                for row in results {
                    let given = columns
                        .iter()
                        .copied()
                        .zip(row.into_iter().zip(&plan.columns).map(|(v, c)| Typed::new(c.ty, v)));
                    self.insert_row(&w, &target, given.collect())?;
                }
                Ok(false)
            }
            None => {
                self.send_columns(&plan.columns, out)?;
                for row in &results {
                    self.send_row(row, out)?;
                }
                Ok(true)
            }
        }
    }
}
