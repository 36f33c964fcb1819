//! Calls of functions.

use super::aggregate::is_aggregate;
use super::{common, is_null_literal};
use crate::catalog;
use crate::exec::node::{Kind, Known, Node};
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::exec::{R, known};
use crate::sql::FunctionBody;
use crate::sql::ast::Call;
use crate::value::{SqlError, Ty, Typed, Val, functions, try_cast};

impl SessionState {
    pub(super) fn call_node(&mut self, c: &Call, sc: &Scope<'_>) -> R<Node> {
        let name = c.name.last().map(|n| n.to_ascii_lowercase()).unwrap_or_default();
        if c.name.len() == 1 {
            if c.over.is_some() {
                return self.window_node(&name, c, sc);
            }
            if is_aggregate(&name) {
                return self.aggregate_node(&name, c, sc);
            }
            if c.star || c.distinct || !c.within.is_empty() {
                return Err(SqlError::unknown_function(&name));
            }
            match name.as_str() {
                "isnull" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let (Some(a), Some(b), None) = (args.next(), args.next(), args.next()) else {
                        return Err(SqlError::argument_count("isnull", 2));
                    };
                    let ty = if is_null_literal(&a) { b.ty } else { a.ty };
                    let (nullable, collation) =
                        (a.nullable && b.nullable, a.collation.or(b.collation));
                    let (a, b) = (a.cast(ty), b.cast(ty));
                    return Ok(Node {
                        ty,
                        nullable,
                        collation,
                        kind: Kind::IsNullThen(Box::new(a), Box::new(b)),
                    });
                }
                "coalesce" => {
                    let args = self.args(c, sc)?;
                    if args.len() < 2 {
                        return Err(SqlError::argument_count("coalesce", 2));
                    }
                    if args.iter().all(is_null_literal) {
                        return Err(SqlError::new(
                            4127,
                            "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.",
                        ));
                    }
                    let ty = common(args.iter());
                    let nullable = args.iter().all(|a| a.nullable);
                    let collation = args.iter().find_map(|a| a.collation);
                    let mut out: Option<Node> = None;
                    for a in args.into_iter().rev() {
                        let a = a.cast(ty);
                        out = Some(match out {
                            None => a,
                            Some(rest) => Node {
                                ty,
                                nullable,
                                collation,
                                kind: Kind::IsNullThen(Box::new(a), Box::new(rest)),
                            },
                        });
                    }
                    return out.ok_or_else(|| SqlError::argument_count("coalesce", 2));
                }
                "nullif" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let (Some(a), Some(b), None) = (args.next(), args.next(), args.next()) else {
                        return Err(SqlError::argument_count("nullif", 2));
                    };
                    let (ty, collation) = (a.ty, a.collation);
                    return Ok(Node {
                        ty,
                        nullable: true,
                        collation,
                        kind: Kind::NullIf(Box::new(a), Box::new(b)),
                    });
                }
                "choose" => {
                    let mut args = self.args(c, sc)?.into_iter();
                    let Some(index) = args.next() else {
                        return Err(SqlError::argument_count("choose", 2));
                    };
                    let rest: Vec<Node> = args.collect();
                    let ty = common(rest.iter());
                    let whens = (1..).zip(rest).map(|(i, n)| {
                        let n = n.cast(ty);
                        let at = Node::constant(Ty::Int, Val::Int(i));
                        let kind = Kind::Compare(
                            crate::sql::ast::Cmp::Eq,
                            Box::new(index.clone()),
                            Box::new(at),
                        );
                        (Node::condition(kind), n)
                    });
                    let whens = whens.collect();
                    return Ok(Node::new(ty, true, Kind::Case { whens, otherwise: None }));
                }
                _ => {}
            }
            if c.args.is_empty()
                && let Some((k, ty)) = known::find(&name)
            {
                let nullable = !matches!(
                    k,
                    Known::GetDate | Known::SysDateTime | Known::SysUtcDateTime | Known::NewId
                );
                return Ok(Node::new(ty, nullable, Kind::Known(k)));
            }
            let args = self.args(c, sc)?;
            let samples = Self::samples(&args);
            let found = functions::call(&name, &samples);
            if let Some(result) = found {
                let result = match result {
                    Ok(t) => t,
                    // A function may refuse a NULL; any other value of the type will do to learn the result's type.
                    Err(e) if samples.iter().all(|s| !s.is_null()) => return Err(e),
                    Err(e) => match functions::call(&name, &Self::filled(&samples)) {
                        Some(Ok(t)) => t,
                        _ => return Err(e),
                    },
                };
                let nullable = args.iter().any(|a| a.nullable) || result.is_null();
                let collation = args.iter().find_map(|a| a.collation);
                return Ok(Node {
                    ty: result.ty,
                    nullable,
                    collation,
                    kind: Kind::Call(name, args),
                });
            }
            return match catalog::scalar(self, None, None, &name, &samples)? {
                Some(t) => Ok(Node::new(
                    t.ty,
                    true,
                    Kind::System { database: None, schema: None, name, args },
                )),
                None => Err(SqlError::unknown_function(c.name.last().map_or("", String::as_str))),
            };
        }
        let mut parts = c.name.iter().rev().skip(1);
        let schema = parts.next().cloned().filter(|s| !s.is_empty());
        let database = parts.next().cloned().filter(|s| !s.is_empty());
        let original = c.name.last().cloned().unwrap_or_default();
        if let Some(f) = self.user_function(database.as_deref(), schema.as_deref(), &original)?
            && let FunctionBody::Scalar { returns, .. } = &f.body
        {
            let home = self.home(database.as_deref())?;
            self.need_permission("EXECUTE", &home, schema.as_deref().unwrap_or("dbo"), &original)?;
            let args = Self::function_arguments(&f, &c.name.join("."), &c.args)?;
            let args = args.iter().map(|a| self.compile(a, sc)).collect::<R<Vec<_>>>()?;
            let ty = self.type_of(returns)?;
            let schema = Some(schema.unwrap_or_else(|| "dbo".to_owned()));
            let kind = Kind::System { database, schema, name: original, args };
            return Ok(Node::new(ty, true, kind));
        }
        let args = self.args(c, sc)?;
        let samples = Self::samples(&args);
        match catalog::scalar(self, database.as_deref(), schema.as_deref(), &original, &samples)? {
            Some(t) => {
                Ok(Node::new(t.ty, true, Kind::System { database, schema, name: original, args }))
            }
            None => {
                let first = c.name.first().cloned().unwrap_or_default();
                let m = format!(
                    "Cannot find either column \"{first}\" or the user-defined function or aggregate \"{}\", or the \
                     name is ambiguous.",
                    c.name.join(".")
                );
                Err(SqlError::new(4121, m))
            }
        }
    }

    /// Arguments to learn a function's type with: constants as they are, everything else NULL of its type.
    fn samples(args: &[Node]) -> Vec<Typed> {
        args.iter()
            .map(|a| match &a.kind {
                Kind::Const(v) => Typed::new(a.ty, v.clone()),
                _ => Typed::null(a.ty),
            })
            .collect()
    }

    fn filled(samples: &[Typed]) -> Vec<Typed> {
        samples
            .iter()
            .map(|s| {
                if s.is_null() {
                    let zero = try_cast(&Typed::int(1), &s.ty, None).unwrap_or_default();
                    Typed::new(s.ty, zero)
                } else {
                    s.clone()
                }
            })
            .collect()
    }
}
