//! INSERT.

use super::Target;
use super::bulk::given_in_bulk;
use super::output::OutputRows;
use crate::exec::node::Env;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::exec::temporal;
use crate::exec::{Count, R, Write};
use crate::sql::ast::{Expr, Insert, InsertSource, SetExpr};
use crate::value::{Col, Row, SqlError, Ty, Typed};

impl SessionState {
    /// The columns that an INSERT fills, as positions.
    pub(crate) fn insert_columns(
        &mut self,
        target: &Target,
        names: &[String],
        default_all: bool,
    ) -> R<Vec<usize>> {
        let def = target.table.def();
        let identity_on =
            self.identity_insert == Some((target.database.id, target.table.object_id));
        if names.is_empty() {
            let all = def.columns.iter().enumerate().filter(|(_, c)| {
                c.computed.is_none()
                    && !c.hidden
                    && (default_all || c.ty != Ty::RowVersion)
                    && (c.identity.is_none() || identity_on && !names.is_empty())
            });
            return Ok(all.map(|(i, _)| i).collect());
        }
        let mut out = Vec::with_capacity(names.len());
        for n in names {
            let at = def.ordinal(n).ok_or_else(|| SqlError::invalid_column(n))?;
            if out.contains(&at) {
                let m = format!(
                    "The column name '{n}' is specified more than once in the SET clause or column list of an INSERT."
                );
                return Err(SqlError::new(264, m));
            }
            let Some(c) = def.columns.get(at) else { continue };
            if c.computed.is_some() {
                let m = format!(
                    "The column \"{n}\" cannot be modified because it is either a computed column or is the result of a UNION operator."
                );
                return Err(SqlError::new(271, m));
            }
            if c.ty == Ty::RowVersion {
                return Err(SqlError::new(
                    273,
                    "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the timestamp column, or insert a DEFAULT into the timestamp column.",
                ));
            }
            if c.identity.is_some() && !identity_on {
                let m = format!(
                    "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                    def.name
                );
                return Err(SqlError::new(544, m));
            }
            if c.generated.is_some() {
                return Err(temporal::explicit(&def));
            }
            out.push(at);
        }
        if identity_on
            && let Some((i, _)) = def.identity()
            && !out.contains(&i)
        {
            let m = format!(
                "Explicit value must be specified for identity column in table '{}' either when IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
                def.name
            );
            return Err(SqlError::new(545, m));
        }
        Ok(out)
    }

    /// Carries out an INSERT. `rows`: what INSERT ... EXEC got.
    pub(crate) fn insert(
        &mut self,
        i: &Insert,
        rows: Option<&(Vec<Col>, Vec<Row>)>,
        out: &mut dyn Output,
    ) -> Result<Count, Write> {
        let target = self.target(&i.target)?;
        self.may_change("INSERT", &target)?;
        temporal::not_history(&target.table.def(), "INSERT")?;
        let plan = self.output_plan(i.output.as_ref(), &target)?;
        let bulk = match &i.source {
            InsertSource::Bulk(b) => Some(b),
            InsertSource::Query(_) | InsertSource::Default | InsertSource::Exec(_) => None,
        };
        let columns = match bulk {
            Some(_) => Self::bulk_columns(&target, &i.columns)?,
            None => self.insert_columns(&target, &i.columns, false)?,
        };
        let mut w = self.writer(&target)?;
        if bulk.is_some_and(|b| !b.check_constraints) {
            w = w.unchecked();
        }
        let sc = Self::cte_scope(&i.ctes);
        let top = self.limit(i.top.as_ref())?;
        let mut done: Vec<(Option<Row>, Option<Row>, &'static str)> = Vec::new();
        let triggers = match bulk {
            Some(b) if !b.fire_triggers => Vec::new(),
            _ => self.triggers(&target)?,
        };
        let keep = plan.is_some() || w.has_foreign_keys() || !triggers.is_empty();
        let mut count: u64 = 0;
        let mismatch = |given: usize| -> SqlError {
            if i.columns.is_empty() {
                SqlError::new(
                    213,
                    "Column name or number of supplied values does not match table definition.",
                )
            } else if given < columns.len() {
                SqlError::new(109, "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.").class(15)
            } else {
                SqlError::new(110, "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.").class(15)
            }
        };
        let mut add = |s: &mut Self, given: Vec<(usize, Typed)>| -> Result<(), Write> {
            if count >= top {
                return Ok(());
            }
            let row = s.insert_row(&w, &target, given)?;
            count += 1;
            if keep {
                done.push((Some(row), None, "INSERT"));
            }
            Ok(())
        };
        match &i.source {
            InsertSource::Default => add(self, Vec::new())?,
            InsertSource::Exec(_) => {
                if let Some((cols, rows)) = rows {
                    for row in rows {
                        if row.len() != columns.len() {
                            return Err(SqlError::new(213, "Column name or number of supplied values does not match table definition.").into());
                        }
                        let values = row.iter().zip(cols).map(|(v, c)| Typed::new(c.ty, v.clone()));
                        add(self, columns.iter().copied().zip(values).collect())?;
                    }
                }
            }
            InsertSource::Bulk(b) => {
                if let Some((cols, rows)) = rows {
                    for row in rows {
                        let given = given_in_bulk(&w, &columns, cols, row, b.keep_nulls);
                        add(self, given)?;
                    }
                }
            }
            InsertSource::Query(q) => {
                let simple = match &q.body {
                    SetExpr::Values(rows) if q.order.is_empty() && q.ctes.is_empty() => Some(rows),
                    _ => None,
                };
                if let Some(rows) = simple {
                    let mut compiled = Vec::with_capacity(rows.len());
                    for row in rows {
                        if row.len() != columns.len() {
                            return Err(mismatch(row.len()).into());
                        }
                        let mut nodes = Vec::with_capacity(row.len());
                        for (e, at) in row.iter().zip(&columns) {
                            nodes.push(match e {
                                Expr::Default => None,
                                e => Some((*at, self.compile(e, &sc)?)),
                            });
                        }
                        compiled.push(nodes);
                    }
                    for nodes in compiled {
                        let mut given = Vec::with_capacity(nodes.len());
                        for (at, n) in nodes.iter().flatten() {
                            given.push((*at, self.typed(n, &Env::EMPTY)?));
                        }
                        add(self, given)?;
                    }
                } else {
                    let plan = self.query_in(q, &sc)?;
                    if plan.columns.len() != columns.len() {
                        return Err(if i.columns.is_empty() {
                            mismatch(plan.columns.len())
                        } else if plan.columns.len() < columns.len() {
                            SqlError::new(120, "The select list for the INSERT statement contains fewer items than the insert list. The number of SELECT values must match the number of INSERT columns.").class(15)
                        } else {
                            SqlError::new(121, "The select list for the INSERT statement contains more items than the insert list. The number of SELECT values must match the number of INSERT columns.").class(15)
                        }
                        .into());
                    }
                    // Everything is read before anything is written: the source may be the target.
                    let rows = self.collect(&plan, None, usize::try_from(top).ok())?;
                    for row in rows {
                        let values =
                            row.iter().zip(&plan.columns).map(|(v, c)| Typed::new(c.ty, v.clone()));
                        add(self, columns.iter().copied().zip(values).collect())?;
                    }
                }
            }
        }
        if w.has_foreign_keys() {
            for (row, ..) in &done {
                if let Some(row) = row {
                    self.check_foreign(&w, &target, row, "INSERT")?;
                }
            }
        }
        self.fire(&target, &triggers, &done, Some("INSERT"), out)?;
        let sent = self.give(plan, OutputRows { rows: done }, out)?;
        Ok(Count { rows: count, sent })
    }
}
