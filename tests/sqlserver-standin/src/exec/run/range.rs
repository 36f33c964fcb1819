//! What the iterators ask of the session: filters, key ranges, table functions.

use crate::exec::run::query::QueryRun;
use std::sync::Arc;

use crate::catalog;
use crate::exec::R;
use crate::exec::eval::hash_key;
use crate::exec::from::{Encoded, encode};
use crate::exec::node::{Env, Node};
use crate::exec::plan::{Access, BoundPlan, QueryPlan, TableFunction};
use crate::exec::session::SessionState;
use crate::store::{KeyRange, Table, successor};
use crate::value::{Row, SqlError, Typed, Val};

impl SessionState {
    pub(crate) fn all_pass(&mut self, filter: &[Node], env: &Env<'_>) -> R<bool> {
        for f in filter {
            if !self.passes(f, env)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// TOP, OFFSET and FETCH.
    pub(crate) fn count_of(&mut self, n: Option<&Node>, env: &Env<'_>) -> R<Option<u64>> {
        let Some(n) = n else { return Ok(None) };
        match self.typed(n, env)?.to_i64()? {
            Some(v) => u64::try_from(v).map(Some).map_err(|_| {
                SqlError::new(1060, "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.").class(15)
            }),
            None => Err(SqlError::new(1060, "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.").class(15)),
        }
    }

    /// Bytes that sort as ORDER BY wants.
    pub(crate) fn sort_key(&mut self, order: &[(Node, bool)], env: &Env<'_>) -> R<Vec<u8>> {
        let mut bytes = Vec::with_capacity(order.len() * 12);
        for (n, descending) in order {
            let v = self.eval(n, env)?;
            let from = bytes.len();
            hash_key(&n.ty, n.collation, &v, &mut bytes);
            if *descending && let Some(part) = bytes.get_mut(from..) {
                for b in part {
                    *b = !*b;
                }
            }
        }
        Ok(bytes)
    }

    /// All rows of a query, or the first few.
    pub(crate) fn collect(
        &mut self,
        plan: &QueryPlan,
        outer: Option<&Env<'_>>,
        most: Option<usize>,
    ) -> R<Vec<Row>> {
        let mut run = QueryRun::new(plan);
        let mut out = Vec::new();
        while let Some(row) = run.next(self, outer)? {
            out.push(row);
            if most.is_some_and(|m| out.len() >= m) {
                break;
            }
        }
        Ok(out)
    }

    /// The ranges of an index that a plan asks for, in its order and without overlap.
    pub(super) fn key_ranges(
        &mut self,
        table: &Arc<Table>,
        access: &Access,
        env: &Env<'_>,
    ) -> R<Vec<KeyRange>> {
        let def = table.def();
        let Some(index) = access.index.and_then(|i| def.indexes.get(i)) else {
            return Ok(vec![KeyRange::default()]);
        };
        let values = |s: &mut Self, nodes: &[Node]| {
            nodes.iter().map(|n| s.typed(n, env)).collect::<R<Vec<_>>>()
        };
        if access.equal.len() > 1 {
            let mut ranges = Vec::with_capacity(access.equal.len());
            for alternative in &access.equal {
                let v = values(self, alternative)?;
                match encode(&def, &index.columns, &v) {
                    Encoded::Exact(b) | Encoded::Near(b) => ranges.push(KeyRange::prefix(&b)),
                    Encoded::Never => {}
                    Encoded::Unbounded => return Ok(vec![KeyRange::default()]),
                }
            }
            ranges.sort_by(|a, b| a.low.cmp(&b.low));
            let mut out: Vec<KeyRange> = Vec::with_capacity(ranges.len());
            for r in ranges {
                match out.last_mut() {
                    // No upper end is above every upper end.
                    Some(last) if last.high.as_ref().is_none_or(|h| Some(h) > r.low.as_ref()) => {
                        if last.high.is_some() && (r.high.is_none() || r.high > last.high) {
                            last.high = r.high;
                        }
                    }
                    _ => out.push(r),
                }
            }
            return Ok(out);
        }
        let mut prefix = Vec::new();
        let mut used = 0;
        if let Some(equal) = access.equal.first() {
            let v = values(self, equal)?;
            used = v.len();
            match encode(&def, &index.columns, &v) {
                Encoded::Exact(b) => prefix = b,
                Encoded::Near(b) => return Ok(vec![KeyRange::prefix(&b)]),
                Encoded::Never => return Ok(Vec::new()),
                Encoded::Unbounded => return Ok(vec![KeyRange::default()]),
            }
        }
        let mut range =
            if prefix.is_empty() { KeyRange::default() } else { KeyRange::prefix(&prefix) };
        let rest = index.columns.get(used..).unwrap_or(&[]);
        let turned = rest.first().is_some_and(|k| k.descending);
        let sides: [(&Vec<BoundPlan>, bool); 2] = [(&access.lower, true), (&access.upper, false)];
        for (bounds, above) in sides {
            for b in bounds {
                let v = values(self, &b.values)?;
                let (bytes, inclusive) = match encode(&def, rest, &v) {
                    Encoded::Exact(bytes) => (bytes, b.inclusive),
                    Encoded::Near(bytes) => (bytes, true),
                    // A NULL in the first place: nothing can be true. Further behind only that branch is lost.
                    Encoded::Never if v.first().is_some_and(Typed::is_null) => {
                        return Ok(Vec::new());
                    }
                    Encoded::Never => {
                        let known: Vec<Typed> =
                            v.into_iter().take_while(|t| !t.is_null()).collect();
                        match encode(&def, rest, &known) {
                            Encoded::Exact(bytes) | Encoded::Near(bytes) => (bytes, true),
                            Encoded::Never | Encoded::Unbounded => continue,
                        }
                    }
                    Encoded::Unbounded => continue,
                };
                let mut key = prefix.clone();
                key.extend(bytes);
                if above != turned {
                    let low = if inclusive { Some(key) } else { successor(&key) };
                    let Some(low) = low else { return Ok(Vec::new()) };
                    if range.low.as_ref().is_none_or(|l| low > *l) {
                        range.low = Some(low);
                    }
                } else {
                    let high = if inclusive { successor(&key) } else { Some(key) };
                    if let Some(high) = high
                        && range.high.as_ref().is_none_or(|h| high < *h)
                    {
                        range.high = Some(high);
                    }
                }
            }
        }
        // A comparison is never true for NULL; NULLs come first in an ascending index.
        if !access.upper.is_empty() && access.lower.is_empty() && !turned {
            let mut low = prefix;
            low.push(1);
            if range.low.as_ref().is_none_or(|l| low > *l) {
                range.low = Some(low);
            }
        }
        Ok(vec![range])
    }

    pub(super) fn call_table_function(
        &mut self,
        function: &TableFunction,
        args: &[Node],
        env: &Env<'_>,
    ) -> R<Vec<Row>> {
        let values = args.iter().map(|a| self.typed(a, env)).collect::<R<Vec<_>>>()?;
        match function {
            TableFunction::User(function) => Ok(self.function_rows(function, &values)?.1),
            TableFunction::System { database, schema, name } => {
                let rows =
                    catalog::system_table(self, database.as_deref(), schema, name, Some(&values))?;
                Ok(rows.map(|r| r.rows).unwrap_or_default())
            }
            TableFunction::StringSplit => {
                let text = values.first().map(Typed::to_string16).transpose()?.flatten();
                let separator = values.get(1).map(Typed::to_string16).transpose()?.flatten();
                let (Some(text), Some(separator)) = (text, separator) else {
                    return Ok(Vec::new());
                };
                let [one] = separator.as_ref() else {
                    return Err(SqlError::new(
                        214,
                        "Procedure expects parameter 'separator' of type 'nchar(1)/nvarchar(1)'.",
                    ));
                };
                let ordinal = values.len() > 2;
                let rows = text.split(|c| c == one).zip(1..).map(|(part, i)| {
                    let mut row = vec![Val::Str(part.into())];
                    if ordinal {
                        row.push(Val::Int(i));
                    }
                    row.into()
                });
                Ok(rows.collect())
            }
            TableFunction::Series => {
                let mut numbers = Vec::new();
                for v in &values {
                    let Some(n) = v.to_i64()? else { return Ok(Vec::new()) };
                    numbers.push(n);
                }
                let (Some(from), Some(to)) = (numbers.first().copied(), numbers.get(1).copied())
                else {
                    return Err(SqlError::argument_range("generate_series", 2, 3));
                };
                let step = numbers.get(2).copied().unwrap_or(if from <= to { 1 } else { -1 });
                if step == 0 {
                    return Err(SqlError::new(
                        4199,
                        "Argument value 0 is invalid for argument 3 of generate_series function.",
                    ));
                }
                let mut out: Vec<Row> = Vec::new();
                let mut at = from;
                while (step > 0 && at <= to) || (step < 0 && at >= to) {
                    out.push(Arc::from([Val::Int(at)]));
                    let Some(next) = at.checked_add(step) else { break };
                    at = next;
                }
                Ok(out)
            }
        }
    }

    pub(super) fn xml_path(
        &mut self,
        plan: &QueryPlan,
        element: &str,
        outer: Option<&Env<'_>>,
    ) -> R<Val> {
        let rows = self.collect(plan, outer, None)?;
        if rows.is_empty() {
            return Ok(Val::Null);
        }
        let escape = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let mut out = String::new();
        for row in rows {
            if !element.is_empty() {
                out.push_str(&format!("<{element}>"));
            }
            for (v, c) in row.iter().zip(&plan.columns) {
                let Some(text) = Typed::new(c.ty, v.clone()).to_string16()? else { continue };
                let text = escape(&String::from_utf16_lossy(&text));
                if c.name.is_empty() {
                    out.push_str(&text);
                } else {
                    out.push_str(&format!("<{0}>{text}</{0}>", c.name));
                }
            }
            if !element.is_empty() {
                out.push_str(&format!("</{element}>"));
            }
        }
        Ok(Val::str(&out))
    }
}
