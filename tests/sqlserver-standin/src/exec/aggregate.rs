//! Aggregates, row by row.

use std::collections::HashSet;
use std::sync::Arc;

use super::R;
use super::eval::hash_key;
use super::node::Env;
use super::plan::{Aggregate, AggregateKind};
use super::session::SessionState;
use crate::value::{Collation, SqlError, Ty, Typed, Val, cast, compare_vals};

/// What an aggregate has seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    count: i64,
    whole: i128,
    float: f64,
    square: f64,
    best: Option<Val>,
    texts: Vec<(Vec<u8>, Arc<[u16]>)>,
    separator: Option<Arc<[u16]>>,
    seen: Option<HashSet<Vec<u8>>>,
}

impl Accumulator {
    pub(crate) fn new(plan: &Aggregate) -> Self {
        Self {
            count: 0,
            whole: 0,
            float: 0.0,
            square: 0.0,
            best: None,
            texts: Vec::new(),
            separator: None,
            seen: plan.distinct.then(HashSet::new),
        }
    }

    /// Takes in a row; true when its value counted.
    pub(crate) fn add(&mut self, plan: &Aggregate, s: &mut SessionState, env: &Env<'_>) -> R<bool> {
        let Some(arg) = &plan.arg else {
            self.count += 1;
            return Ok(true);
        };
        let v = s.eval(arg, env)?;
        if v.is_null() {
            return Ok(false);
        }
        if let Some(seen) = &mut self.seen {
            let mut key = Vec::new();
            hash_key(&arg.ty, arg.collation, &v, &mut key);
            if !seen.insert(key) {
                return Ok(false);
            }
        }
        self.count += 1;
        let overflow = || SqlError::overflow(plan.ty.name());
        match plan.kind {
            AggregateKind::Count => {}
            AggregateKind::Sum | AggregateKind::Avg => match &v {
                Val::Int(n) | Val::Money(n) => self.whole += i128::from(*n),
                Val::Dec(n) => self.whole = self.whole.checked_add(*n).ok_or_else(overflow)?,
                Val::Real(f) => self.float += f64::from(*f),
                Val::Float(f) => self.float += f,
                _ => return Err(SqlError::invalid_operator(arg.ty.name(), "sum")),
            },
            AggregateKind::Min | AggregateKind::Max => {
                let better = self.best.as_ref().is_none_or(|b| {
                    let o = compare_vals(&v, b, Collation::of(arg.collation, &arg.ty));
                    if plan.kind == AggregateKind::Min { o.is_lt() } else { o.is_gt() }
                });
                if better {
                    self.best = Some(v);
                }
            }
            AggregateKind::StringAgg => {
                if let Some(text) = Typed::new(arg.ty, v).to_string16()? {
                    let key = s.sort_key(&plan.order, env)?;
                    if self.separator.is_none()
                        && let Some(sep) = &plan.separator
                    {
                        self.separator = s.typed(sep, env)?.to_string16()?;
                    }
                    self.texts.push((key, text));
                }
            }
            AggregateKind::ChecksumAgg => {
                if let Val::Int(n) = v {
                    self.whole ^= i128::from(n);
                }
            }
            AggregateKind::Var { .. } => {
                if let Val::Float(f) = cast(&Typed::new(arg.ty, v), &Ty::Float, None)? {
                    // Welford's method.
                    #[allow(clippy::cast_precision_loss, reason = "a row count")]
                    let n = self.count as f64;
                    let delta = f - self.float;
                    self.float += delta / n;
                    self.square += delta * (f - self.float);
                }
            }
        }
        Ok(true)
    }

    pub(crate) fn finish(self, plan: &Aggregate) -> R<Val> {
        let overflow = || SqlError::overflow(plan.ty.name());
        let none = self.count == 0;
        #[allow(clippy::cast_precision_loss, reason = "a row count")]
        let count = self.count as f64;
        Ok(match plan.kind {
            AggregateKind::Count => {
                if plan.ty == Ty::Int && i32::try_from(self.count).is_err() {
                    return Err(overflow());
                }
                Val::Int(self.count)
            }
            _ if none => Val::Null,
            AggregateKind::Sum => match plan.ty {
                Ty::Int => Val::Int(i32::try_from(self.whole).map_err(|_| overflow())?.into()),
                Ty::BigInt => Val::Int(i64::try_from(self.whole).map_err(|_| overflow())?),
                Ty::Money => Val::Money(i64::try_from(self.whole).map_err(|_| overflow())?),
                Ty::Float => Val::Float(self.float),
                _ => {
                    if self.whole.unsigned_abs() >= 10u128.pow(38) {
                        return Err(overflow());
                    }
                    Val::Dec(self.whole)
                }
            },
            AggregateKind::Avg => {
                let n = i128::from(self.count);
                match plan.ty {
                    Ty::Int | Ty::BigInt => {
                        Val::Int(i64::try_from(self.whole / n).map_err(|_| overflow())?)
                    }
                    Ty::Money => Val::Money(i64::try_from(self.whole / n).map_err(|_| overflow())?),
                    Ty::Float => Val::Float(self.float / count),
                    Ty::Decimal(_, scale) => {
                        let from = plan
                            .arg
                            .as_ref()
                            .map_or(0, |a| if let Ty::Decimal(_, s) = a.ty { s } else { 0 });
                        let up = 10i128.pow(u32::from(scale.saturating_sub(from)));
                        let (whole, rest) = (self.whole / n, self.whole % n);
                        let whole = whole.checked_mul(up).ok_or_else(overflow)?;
                        let part = rest.checked_mul(up).ok_or_else(overflow)? / n;
                        Val::Dec(whole + part)
                    }
                    _ => Val::Null,
                }
            }
            AggregateKind::Min | AggregateKind::Max => self.best.unwrap_or_default(),
            AggregateKind::StringAgg => {
                let mut texts = self.texts;
                texts.sort_by(|a, b| a.0.cmp(&b.0));
                let separator = self.separator.unwrap_or_default();
                let mut out: Vec<u16> = Vec::new();
                for (i, (_, t)) in texts.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(&separator);
                    }
                    out.extend_from_slice(t);
                }
                let limit = match plan.ty {
                    Ty::VarChar(n) | Ty::NVarChar(n) if n != crate::value::MAX => usize::from(n),
                    _ => usize::MAX,
                };
                if out.len() > limit {
                    return Err(SqlError::new(
                        9829,
                        "STRING_AGG aggregation result exceeded the limit of 8000 bytes. Use LOB types to avoid result truncation.",
                    ));
                }
                Val::Str(out.into())
            }
            AggregateKind::ChecksumAgg => Val::Int(i64::try_from(self.whole).unwrap_or(0)),
            AggregateKind::Var { population, root } => {
                let n = if population { count } else { count - 1.0 };
                if n <= 0.0 {
                    return Ok(if population { Val::Float(0.0) } else { Val::Null });
                }
                let variance = self.square / n;
                Val::Float(if root { variance.sqrt() } else { variance })
            }
        })
    }
}
