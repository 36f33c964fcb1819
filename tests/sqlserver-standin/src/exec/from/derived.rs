//! What stands in FROM and is no table: derived tables, functions, common table expressions.

use crate::exec::from::place::{has_outer, leaf, mentions};
use crate::exec::from::{Leaf, Tree, offered_columns};
use std::rc::Rc;
use std::sync::Arc;

use crate::catalog;
use crate::exec::R;
use crate::exec::node::{Env, Node};
use crate::exec::plan::{Body, QueryPlan, TableFunction};
use crate::exec::scope::{Ctes, Offered, Scope, Visible};
use crate::exec::session::SessionState;
use crate::sql::ast::{Cte, Name, Query, SetExpr, SetOp};
use crate::store::same_name;
use crate::value::{Col, SqlError, Ty, Typed, Val, unify};

impl SessionState {
    /// Adds a table to the scope.
    pub(super) fn show(
        &mut self,
        sc: &Scope<'_>,
        alias: String,
        path: Vec<String>,
        columns: Vec<Offered>,
    ) -> usize {
        let mut tables = sc.tables.borrow_mut();
        let slot = tables.len();
        tables.push(Visible { alias, path, columns, slot });
        slot
    }

    pub(super) fn derived(
        &mut self,
        query: &Query,
        alias: &str,
        names: &[String],
        sc: &Scope<'_>,
        lateral: bool,
    ) -> R<Tree> {
        let top = matches!(&query.body, SetExpr::Select(s) if s.top.is_some());
        if !query.order.is_empty() && !top && query.offset.is_none() && query.xml_path.is_none() {
            return Err(SqlError::new(
                1033,
                "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.",
            )
            .class(15));
        }
        let twice =
            sc.tables.borrow().iter().any(|t| t.path.is_empty() && same_name(&t.alias, alias));
        if twice {
            let m = format!(
                "The correlation name '{alias}' is specified multiple times in a FROM clause."
            );
            return Err(SqlError::new(1011, m));
        }
        let hidden = sc.hidden.replace(!lateral);
        let inner = Scope::inside(Some(sc), sc.ctes.clone());
        let plan = self.query_in(query, &inner);
        sc.hidden.set(hidden);
        let plan = plan?;
        let mut columns = offered_columns(&plan.columns);
        for (c, collation) in columns.iter_mut().zip(&plan.collations) {
            c.collation = *collation;
        }
        if !names.is_empty() {
            if names.len() != columns.len() {
                let m = format!(
                    "'{alias}' has {} columns than were specified in the column list.",
                    if columns.len() > names.len() { "more" } else { "fewer" }
                );
                return Err(SqlError::new(
                    if columns.len() > names.len() { 8158 } else { 8159 },
                    m,
                ));
            }
            for (c, n) in columns.iter_mut().zip(names) {
                n.clone_into(&mut c.name);
            }
        }
        if let Some(at) = columns.iter().position(|c| c.name.is_empty()) {
            let m = format!("No column name was specified for column {} of '{alias}'.", at + 1);
            return Err(SqlError::new(8155, m).state(2));
        }
        for (i, c) in columns.iter().enumerate() {
            if columns.iter().take(i).any(|o| same_name(&o.name, &c.name)) {
                let m =
                    format!("The column '{}' was specified multiple times for '{alias}'.", c.name);
                return Err(SqlError::new(8156, m));
            }
        }
        let slot = self.show(sc, alias.to_owned(), Vec::new(), columns);
        Ok(leaf(slot, Leaf::Query(Box::new(plan))))
    }

    pub(super) fn function(
        &mut self,
        name: &Name,
        args: &[crate::sql::ast::Expr],
        alias: Option<&str>,
        names: &[String],
        sc: &Scope<'_>,
        lateral: bool,
    ) -> R<Tree> {
        let own = name.last().cloned().unwrap_or_default();
        let mut parts = name.iter().rev().skip(1);
        let schema = parts.next().filter(|s| !s.is_empty());
        let database = parts.next().filter(|s| !s.is_empty());
        let user =
            self.user_function(database.map(String::as_str), schema.map(String::as_str), &own)?;
        let written = match &user {
            Some(f) => Self::function_arguments(f, &name.join("."), args)?,
            None => args.to_vec(),
        };
        let hidden = sc.hidden.replace(!lateral);
        let compiled: R<Vec<Node>> = written
            .iter()
            .map(|a| match a {
                crate::sql::ast::Expr::Default => Ok(Node::constant(Ty::Int, Val::Null)),
                a => self.compile(a, sc),
            })
            .collect();
        sc.hidden.set(hidden);
        let compiled = compiled?;
        let fixed = compiled.iter().all(|n| n.slots() == Some(0) && !has_outer(n));
        let samples: Vec<Typed> = if fixed {
            compiled.iter().map(|n| self.typed(n, &Env::EMPTY)).collect::<R<_>>()?
        } else {
            compiled.iter().map(|n| Typed::null(n.ty)).collect()
        };
        if user.is_some() || schema.is_some_and(|s| s.eq_ignore_ascii_case("cdc")) {
            let home = self.home(database.map(String::as_str))?;
            let schema = schema.map_or("dbo", String::as_str);
            if user.is_some() {
                self.need_permission("SELECT", &home, schema, &own)?;
            } else if !self.chained() {
                catalog::may_read_changes(self, &home, &own)?;
            }
        }
        let lower = own.to_ascii_lowercase();
        let show = |columns: &[Col]| {
            let mut columns = offered_columns(columns);
            for (c, n) in columns.iter_mut().zip(names) {
                n.clone_into(&mut c.name);
            }
            columns
        };
        let title = alias.map_or_else(|| own.clone(), str::to_owned);
        if let Some(function) = user {
            // the columns are those of any call
            let nulls: Vec<Typed> = compiled.iter().map(|n| Typed::null(n.ty)).collect();
            let (columns, _) = self.function_rows(&function, &nulls)?;
            let slot = self.show(sc, title, Vec::new(), show(&columns));
            return Ok(leaf(slot, Leaf::Function(TableFunction::User(function), compiled)));
        }
        if name.len() == 1 && (lower == "string_split" || lower == "generate_series") {
            let (function, columns) = if lower == "string_split" {
                let mut columns = vec![Col::new("value", Ty::NVarChar(4000))];
                if compiled.len() > 2 {
                    columns.push(Col::new("ordinal", Ty::BigInt));
                }
                (TableFunction::StringSplit, columns)
            } else {
                let ty =
                    compiled.iter().map(|n| n.ty).reduce(|a, b| unify(&a, &b)).unwrap_or(Ty::Int);
                (TableFunction::Series, vec![Col::new("value", ty)])
            };
            let slot = self.show(sc, title, Vec::new(), show(&columns));
            return Ok(leaf(slot, Leaf::Function(function, compiled)));
        }
        let schema = name.iter().rev().nth(1).cloned().unwrap_or_else(|| "dbo".to_owned());
        let database = name.iter().rev().nth(2).cloned().filter(|d| !d.is_empty());
        let Some(rows) =
            catalog::system_table(self, database.as_deref(), &schema, &own, Some(&samples))?
        else {
            return Err(SqlError::invalid_object(&name.join(".")));
        };
        let slot = self.show(sc, title, Vec::new(), show(&rows.columns));
        if fixed {
            return Ok(leaf(slot, Leaf::Rows(Arc::new(rows.rows))));
        }
        Ok(leaf(
            slot,
            Leaf::Function(TableFunction::System { database, schema, name: own }, compiled),
        ))
    }

    /// A common table expression of that name.
    pub(super) fn cte(
        &mut self,
        name: &str,
        alias: Option<&str>,
        sc: &Scope<'_>,
    ) -> R<Option<Tree>> {
        let title = alias.unwrap_or(name).to_owned();
        let mut at = sc.ctes.clone();
        let mut outer = sc.outer;
        loop {
            let Some(env) = at else {
                // A subquery's scope shares its parent's list, so the chain of lists is all there is.
                let Some(o) = outer else { return Ok(None) };
                at = o.ctes.clone();
                outer = o.outer;
                continue;
            };
            if let Some((n, work, columns)) = &env.work
                && same_name(n, name)
            {
                let slot = self.show(sc, title, Vec::new(), columns.clone());
                return Ok(Some(leaf(slot, Leaf::Work(*work))));
            }
            let found = env.list.iter().take(env.upto).rposition(|c| same_name(&c.name, name));
            if let Some(position) = found {
                let Some(cte) = env.list.get(position) else { return Ok(None) };
                let (plan, columns) = self.cte_plan(cte, position, &env)?;
                let slot = self.show(sc, title, Vec::new(), columns);
                return Ok(Some(leaf(slot, Leaf::Query(Box::new(plan)))));
            }
            at = env.parent.clone();
        }
    }

    pub(super) fn cte_plan(
        &mut self,
        cte: &Cte,
        position: usize,
        env: &Rc<Ctes>,
    ) -> R<(QueryPlan, Vec<Offered>)> {
        let before = Rc::new(Ctes {
            list: Arc::clone(&env.list),
            upto: position,
            work: None,
            parent: env.parent.clone(),
        });
        let named = |mut columns: Vec<Offered>| -> R<Vec<Offered>> {
            if !cte.columns.is_empty() && cte.columns.len() != columns.len() {
                let more = columns.len() > cte.columns.len();
                let m = format!(
                    "'{}' has {} columns than were specified in the column list.",
                    cte.name,
                    if more { "more" } else { "fewer" }
                );
                return Err(SqlError::new(if more { 8158 } else { 8159 }, m));
            }
            for (c, n) in columns.iter_mut().zip(&cte.columns) {
                n.clone_into(&mut c.name);
            }
            Ok(columns)
        };
        if let SetExpr::Op { op: SetOp::Union, all: true, left, right } = &cte.query.body
            && mentions(right, &cte.name)
        {
            let inner = Scope::inside(None, Some(Rc::clone(&before)));
            let anchor = self.set_expr(left, &inner)?;
            let columns = named(offered_columns(&anchor.columns))?;
            let work = self.new_work();
            let with = Rc::new(Ctes {
                list: Arc::clone(&env.list),
                upto: position,
                work: Some((
                    cte.name.clone(),
                    work,
                    columns
                        .iter()
                        .cloned()
                        .map(|mut c| {
                            c.nullable = true;
                            c
                        })
                        .collect(),
                )),
                parent: env.parent.clone(),
            });
            let inner = Scope::inside(None, Some(with));
            let step = self.set_expr(right, &inner)?;
            if step.columns.len() != anchor.columns.len() {
                return Err(SqlError::new(
                    205,
                    "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                ));
            }
            for (a, b) in anchor.columns.iter().zip(&step.columns) {
                if a.ty != b.ty {
                    let m = format!(
                        "Types don't match between the anchor and the recursive part in column \"{}\" of recursive query \"{}\".",
                        a.name, cte.name
                    );
                    return Err(SqlError::new(240, m));
                }
            }
            let limit = self.max_recursion;
            let plan = QueryPlan {
                columns: anchor.columns.clone(),
                collations: anchor.collations.clone(),
                body: Body::Recursive {
                    anchor: Box::new(anchor),
                    step: Box::new(step),
                    work,
                    limit,
                },
            };
            return Ok((plan, columns));
        }
        let inner = Scope::inside(None, Some(before));
        let plan = self.query_in(&cte.query, &inner)?;
        let columns = named(offered_columns(&plan.columns))?;
        if let Some(at) = columns.iter().position(|c| c.name.is_empty()) {
            let m =
                format!("No column name was specified for column {} of '{}'.", at + 1, cte.name);
            return Err(SqlError::new(8155, m).state(2));
        }
        Ok((plan, columns))
    }
}
