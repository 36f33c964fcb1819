//! User-defined functions.

use std::sync::Arc;

use super::R;
use super::output::{EnvChange, Output, Stopped};
use super::scope::Scope;
use super::session::SessionState;
use crate::sql::ast::{Expr, Stmt};
use crate::sql::{Function, FunctionBody, parse_function};
use crate::value::{Col, Row, SqlError, Typed, Val, assign};

/// A function may not answer the client.
struct Silent;

impl Output for Silent {
    fn columns(&mut self, _: &[Col]) -> Result<(), Stopped> {
        Ok(())
    }
    fn row(&mut self, _: &[Val]) -> Result<(), Stopped> {
        Ok(())
    }
    fn done(&mut self, _: Option<u64>) {}
    fn message(&mut self, _: &SqlError) {}
    fn env(&mut self, _: EnvChange) {}
    fn stopped(&self) -> bool {
        false
    }
}

pub(super) fn too_deep() -> SqlError {
    SqlError::new(
        217,
        "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
    )
}

impl SessionState {
    /// The user's function of that name, when there is one.
    pub(crate) fn user_function(
        &self,
        database: Option<&str>,
        schema: Option<&str>,
        name: &str,
    ) -> R<Option<Arc<Function>>> {
        let home = match database {
            Some(d) => match self.instance.database(d) {
                Some(home) => home,
                None => return Ok(None),
            },
            None => self.db(),
        };
        match home.module(schema.unwrap_or("dbo"), name) {
            Some(m) if matches!(m.kind, "FN" | "IF" | "TF") => parse_function(&m.text).map(Some),
            _ => Ok(None),
        }
    }

    /// The database of a name, or the current one.
    pub(crate) fn home(&self, database: Option<&str>) -> R<Arc<crate::store::Database>> {
        match database {
            Some(d) => self.instance.database(d).ok_or_else(|| SqlError::no_database(d)),
            None => Ok(self.db()),
        }
    }

    /// The arguments as written, DEFAULT replaced by the parameter's default.
    pub(crate) fn function_arguments(
        function: &Function,
        name: &str,
        args: &[Expr],
    ) -> R<Vec<Expr>> {
        if args.len() != function.params.len() {
            let m = if args.len() > function.params.len() {
                SqlError::new(
                    8144,
                    format!("Procedure or function {name} has too many arguments specified."),
                )
                .state(2)
            } else {
                SqlError::new(
                    313,
                    format!(
                        "An insufficient number of arguments were supplied for the procedure or function {name}."
                    ),
                )
                .state(2)
            };
            return Err(m);
        }
        Ok(args
            .iter()
            .zip(&function.params)
            .map(|(a, p)| match (a, &p.default) {
                (Expr::Default, Some(d)) => d.clone(),
                (a, _) => a.clone(),
            })
            .collect())
    }

    /// Runs something of its own in the middle of a statement: the statement's transaction stays open.
    pub(super) fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        if self.frames.len() > 32 {
            return Err(too_deep());
        }
        let settings = self.settings.clone();
        let (autocommit, tries, rows) = (self.autocommit, self.tries, self.row_count);
        if autocommit {
            self.autocommit = false;
            self.depth += 1;
        }
        let result = f(self);
        if autocommit && self.depth > 0 {
            self.depth -= 1;
            self.autocommit = self.transaction.is_some();
            self.doomed = false;
        }
        self.settings = settings;
        self.tries = tries;
        self.row_count = rows;
        // cached by the addresses of plans, and those of the nested statements are gone
        self.subqueries.clear();
        result
    }

    fn with_parameters<T>(
        &mut self,
        function: &Function,
        values: &[Typed],
        f: impl FnOnce(&mut Self) -> R<T>,
    ) -> R<T> {
        let mut variables = Vec::with_capacity(values.len());
        for (p, v) in function.params.iter().zip(values) {
            let ty = self.type_of(&p.ty)?;
            variables.push((p.name.clone(), ty, assign(v, &ty, None)?));
        }
        self.nested(|s| {
            s.push_frame();
            s.frame().owned = true;
            for (name, ty, val) in variables {
                s.declare(&name, ty, val);
            }
            let result = f(s);
            s.pop_frame();
            result
        })
    }

    fn function_body(&mut self, body: &[Stmt]) -> R<Option<Typed>> {
        self.frame().function = true;
        // an error ends the function and the statement that calls it
        self.tries = 1;
        self.block(body, &mut Silent)?;
        Ok(self.frame().returned.take())
    }

    /// The value of a scalar function.
    pub(crate) fn call_function(&mut self, function: &Function, values: &[Typed]) -> R<Typed> {
        let FunctionBody::Scalar { returns, body } = &function.body else {
            return Err(SqlError::unknown("a table-valued function as a value"));
        };
        let ty = self.type_of(returns)?;
        let value = self.with_parameters(function, values, |s| s.function_body(body))?;
        match value {
            Some(v) => Ok(Typed::new(ty, assign(&v, &ty, None)?)),
            None => Ok(Typed::null(ty)),
        }
    }

    /// The rows of a table-valued function.
    pub(crate) fn function_rows(
        &mut self,
        function: &Function,
        values: &[Typed],
    ) -> R<(Vec<Col>, Vec<Row>)> {
        self.with_parameters(function, values, |s| match &function.body {
            FunctionBody::Scalar { .. } => Err(SqlError::unknown("a scalar function in FROM")),
            FunctionBody::Inline(query) => {
                let plan = s.query_in(query, &Scope::default())?;
                let rows = s.collect(&plan, None, None)?;
                Ok((plan.columns, rows))
            }
            FunctionBody::Table { variable, spec, body } => {
                let table = s.make_variable_table(variable, spec)?;
                let columns = table
                    .def()
                    .columns
                    .iter()
                    .map(|c| Col { nullable: c.nullable, ..Col::new(&c.name, c.ty) })
                    .collect();
                s.declare_table(variable, Arc::clone(&table));
                s.function_body(body)?;
                let tempdb = s.instance.tempdb();
                let rows = s.tx()?.scan(&tempdb, &table).map(|(_, row)| row).collect();
                Ok((columns, rows))
            }
        })
    }
}
