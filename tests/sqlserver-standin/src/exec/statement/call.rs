//! EXEC: system procedures, dynamic SQL, modules.

use crate::exec::statement::Flow;

use crate::catalog::{self, ProcArg};
use crate::exec::R;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::sql::ast::{Exec, ExecArg, Expr};
use crate::sql::{parse_cached, parse_procedure};
use crate::store::same_name;
use crate::value::{SqlError, Ty, Typed, Val, assign, parse_type};

impl SessionState {
    pub(super) fn exec(&mut self, e: &Exec, out: &mut dyn Output) -> R<()> {
        let (status, name, args) = match e {
            Exec::Text(text) => {
                let Some(sql) = self.text_of(text)? else { return Ok(()) };
                self.dynamic(&sql, Vec::new(), out)?;
                return Ok(());
            }
            Exec::Procedure { status, name, args } => (status, name.clone(), args),
            Exec::Variable { status, name, args } => {
                let text = self.text_of(&Expr::Var(name.clone()))?.unwrap_or_default();
                (
                    status,
                    text.split('.').map(|p| p.trim_matches(['[', ']']).to_owned()).collect(),
                    args,
                )
            }
        };
        if let Some(first) = args.iter().position(|a| a.name.is_some())
            && let Some(at) = args.iter().skip(first).position(|a| a.name.is_none())
        {
            let m = format!(
                "Must pass parameter number {} and subsequent parameters as '@name = value'. After the form '@name = value' has been used, all subsequent parameters must be passed in the form '@name = value'.",
                first + at + 1
            );
            return Err(SqlError::new(119, m).class(15));
        }
        let mut values = Vec::with_capacity(args.len());
        for ExecArg { name, value, output } in args {
            let value = match value {
                Expr::Default => continue,
                e => self.value_of(e)?,
            };
            values.push(ProcArg { name: name.clone(), value, output: *output });
        }
        let (code, outputs) = self.call_procedure(&name, values, out)?;
        let given: Vec<&ExecArg> = args.iter().filter(|a| a.value != Expr::Default).collect();
        for (i, v) in outputs {
            if let Some(ExecArg { value: Expr::Var(var), output: true, .. }) = given.get(i) {
                let (at, ty) = self.find_variable(var)?;
                let v = assign(&v, &ty, None)?;
                self.set_variable_at(at, v);
            }
        }
        if let Some(var) = status {
            let (at, ty) = self.find_variable(var)?;
            let v = assign(&Typed::int(code), &ty, None)?;
            self.set_variable_at(at, v);
        }
        Ok(())
    }

    /// Runs a text in a scope of its own.
    pub(super) fn dynamic(
        &mut self,
        sql: &str,
        variables: Vec<(String, Ty, Val)>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<Val>)> {
        if self.frames.len() > 32 {
            return Err(SqlError::new(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            ));
        }
        let batch = parse_cached(sql)?;
        let database = self.db();
        self.push_frame();
        let names: Vec<String> = variables.iter().map(|v| v.0.clone()).collect();
        for (name, ty, val) in variables {
            self.declare(&name, ty, val);
        }
        let result = self.batch(&batch, out);
        let values = names
            .iter()
            .map(|n| {
                self.find_variable(n)
                    .map(|(at, _)| at)
                    .map(|at| self.variable_at(at))
                    .unwrap_or_default()
            })
            .collect();
        self.pop_frame();
        // USE inside lasts as long as the text.
        if database.id != self.db().id {
            self.use_database(&database.name(), out)?;
        }
        result.map(|status| (status, values))
    }

    /// Calls a procedure: one of this executor, of a user, or of the system.
    pub(crate) fn call_procedure(
        &mut self,
        name: &[String],
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        let mut parts = name.iter().rev();
        let own = parts.next().cloned().unwrap_or_default();
        let schema = parts.next().cloned().filter(|s| !s.is_empty());
        let database = parts.next().cloned().filter(|s| !s.is_empty());
        if own.eq_ignore_ascii_case("sp_executesql") {
            return self.execute_sql(args, out);
        }
        if own.eq_ignore_ascii_case("sp_addtype") {
            return self.add_type(&args, out);
        }
        let home = match &database {
            Some(d) => self.instance.database(d).ok_or_else(|| SqlError::no_database(d))?,
            None => self.db(),
        };
        if let Some(module) =
            home.module(schema.as_deref().unwrap_or("dbo"), &own).filter(|m| m.kind == "P")
        {
            self.need_permission("EXECUTE", &home, &module.schema, &module.name)?;
            return self.user_procedure(&module.text, &own, args, out);
        }
        let ended = self.atomic(|s| {
            Ok(catalog::procedure(s, database.as_deref(), schema.as_deref(), &own, &args)?)
        })?;
        let Some(result) = ended else { return Err(SqlError::no_procedure(&name.join("."))) };
        for m in &result.messages {
            out.message(m);
        }
        for rows in &result.rowsets {
            self.send_columns(&rows.columns, out)?;
            for row in &rows.rows {
                self.send_row(row, out)?;
            }
            self.done(u64::try_from(rows.rows.len()).ok(), out);
        }
        Ok((result.status, result.outputs))
    }

    /// `sp_addtype name, type, 'NOT NULL'`: the old CREATE TYPE ... FROM.
    fn add_type(
        &mut self,
        args: &[ProcArg],
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        let text = |i: usize| -> R<String> {
            let value = args.get(i).map(|a| a.value.to_string16()).transpose()?.flatten();
            Ok(value.map(|s| String::from_utf16_lossy(&s)).unwrap_or_default())
        };
        let (name, ty, null) = (text(0)?, text(1)?, text(2)?);
        let sql = format!("CREATE TYPE [{}] FROM {ty} {null}", name.replace(']', "]]"));
        self.dynamic(&sql, Vec::new(), out)?;
        Ok((0, Vec::new()))
    }

    pub(super) fn execute_sql(
        &mut self,
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        let text = |a: &ProcArg| -> R<String> {
            if !matches!(a.value.ty, Ty::NVarChar(_) | Ty::NChar(_) | Ty::NText) {
                return Err(SqlError::new(
                    214,
                    "Procedure expects parameter '@statement' of type 'ntext/nchar/nvarchar'.",
                )
                .state(2));
            }
            Ok(a.value.to_string16()?.map(|s| String::from_utf16_lossy(&s)).unwrap_or_default())
        };
        let Some(first) = args.first() else {
            return Err(SqlError::new(201, "Procedure or function 'sp_executesql' expects parameter '@statement', which was not supplied.").state(10));
        };
        let sql = text(first)?;
        let declaration = match args.get(1) {
            Some(a) => text(a)?,
            None => String::new(),
        };
        let declared = declarations(&declaration)?;
        let mut variables: Vec<(String, Ty, Val)> =
            declared.iter().map(|(n, t, _)| (n.clone(), *t, Val::Null)).collect();
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut given = vec![false; variables.len()];
        for (i, a) in args.iter().enumerate().skip(2) {
            let at = match &a.name {
                Some(n) => declared.iter().position(|d| same_name(&d.0, n)),
                None => Some(i - 2).filter(|p| *p < declared.len()),
            };
            let Some(at) = at else {
                return Err(SqlError::new(
                    8144,
                    "Procedure or function has too many arguments specified.",
                )
                .state(2));
            };
            if let (Some(v), Some(g)) = (variables.get_mut(at), given.get_mut(at)) {
                v.2 = assign(&a.value, &v.1, None)?;
                *g = true;
            }
            if a.output {
                places.push((i, at));
            }
        }
        if let Some(missing) = given.iter().position(|g| !g) {
            let d = declared
                .iter()
                .map(|(n, t, _)| format!("{n} {}", t.declared()))
                .collect::<Vec<_>>()
                .join(",");
            let name = declared.get(missing).map(|d| d.0.clone()).unwrap_or_default();
            let m = format!(
                "The parameterized query '({d}){sql}' expects the parameter '{name}', which was not supplied."
            );
            return Err(SqlError::new(8178, m));
        }
        let types: Vec<Ty> = variables.iter().map(|v| v.1).collect();
        let (status, values) = self.dynamic(&sql, variables, out)?;
        let outputs = places
            .into_iter()
            .filter_map(|(arg, at)| {
                Some((arg, Typed::new(*types.get(at)?, values.get(at)?.clone())))
            })
            .collect();
        Ok((status, outputs))
    }

    pub(super) fn user_procedure(
        &mut self,
        text: &str,
        name: &str,
        args: Vec<ProcArg>,
        out: &mut dyn Output,
    ) -> R<(i32, Vec<(usize, Typed)>)> {
        if self.frames.len() > 32 {
            return Err(SqlError::new(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            ));
        }
        let (params, body) = parse_procedure(text)?;
        let mut values: Vec<Option<Typed>> = vec![None; params.len()];
        let mut places = Vec::new();
        for (i, a) in args.into_iter().enumerate() {
            let at = match &a.name {
                Some(n) => params.iter().position(|p| same_name(&p.name, n)),
                None => Some(i).filter(|p| *p < params.len()),
            };
            let Some(at) = at else {
                return Err(match a.name {
                    Some(n) => {
                        SqlError::new(8145, format!("{n} is not a parameter for procedure {name}."))
                    }
                    None => SqlError::new(
                        8144,
                        format!("Procedure or function {name} has too many arguments specified."),
                    )
                    .state(2),
                });
            };
            if a.output {
                places.push((i, at));
            }
            if let Some(v) = values.get_mut(at) {
                *v = Some(a.value);
            }
        }
        let mut variables = Vec::with_capacity(params.len());
        for (p, v) in params.iter().zip(values) {
            let ty = declared(self.type_of(&p.ty)?);
            let v = match (v, &p.default) {
                (Some(v), _) => v,
                (None, Some(e)) => self.value_of(e)?,
                (None, None) => {
                    let m = format!(
                        "Procedure or function '{name}' expects parameter '{}', which was not supplied.",
                        p.name
                    );
                    return Err(SqlError::new(201, m).state(4));
                }
            };
            variables.push((p.name.clone(), ty, assign(&v, &ty, None)?));
        }
        let settings = self.settings.clone();
        self.push_frame();
        self.frame().owned = true;
        for (n, ty, v) in &variables {
            self.declare(n, *ty, v.clone());
        }
        let result = self.block(&body, out);
        let outputs = places
            .into_iter()
            .filter_map(|(arg, at)| {
                let (n, ty, _) = variables.get(at)?;
                let (at, _) = self.find_variable(n).ok()?;
                Some((arg, Typed::new(*ty, self.variable_at(at))))
            })
            .collect();
        self.pop_frame();
        self.settings = settings;
        let status = match result? {
            Flow::Return(n) => n,
            Flow::Next | Flow::Break | Flow::Continue | Flow::Goto => 0,
        };
        Ok((status, outputs))
    }
}

/// A declared `varchar` without length is one long.
pub(super) fn declared(ty: Ty) -> Ty {
    ty
}

/// `@a int, @b nvarchar(10) OUTPUT`
pub(super) fn declarations(text: &str) -> R<Vec<(String, Ty, bool)>> {
    let mut out = Vec::new();
    let mut depth = 0;
    let mut part = String::new();
    let mut parts = Vec::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    for p in parts {
        let p = p.trim();
        if p.is_empty() {
            continue;
        }
        let (name, rest) = p.split_once(char::is_whitespace).ok_or_else(|| SqlError::syntax(p))?;
        let mut rest = rest.trim();
        if rest.get(..3).is_some_and(|a| a.eq_ignore_ascii_case("as ")) {
            rest = rest.get(3..).unwrap_or("").trim();
        }
        let upper = rest.to_ascii_uppercase();
        let mut output = false;
        for word in [" OUTPUT", " OUT"] {
            if upper.ends_with(word) {
                output = true;
                rest = rest.get(..rest.len() - word.len()).unwrap_or("").trim();
                break;
            }
        }
        // A default value of a parameter.
        let ty = rest.split('=').next().unwrap_or(rest).trim();
        out.push((name.to_owned(), parse_type(ty)?, output));
    }
    Ok(out)
}
