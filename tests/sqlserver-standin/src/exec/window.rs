//! Window functions over rows that were collected.

use super::R;
use super::aggregate::Accumulator;
use super::eval::hash_key;
use super::node::Env;
use super::plan::{Window, WindowKind};
use super::session::SessionState;
use crate::sql::ast::Edge;
use crate::value::{Row, SqlError, Val};

fn int(n: usize) -> Val {
    Val::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Computes every window function for every row and puts the values into `slot`.
pub(crate) fn compute(
    s: &mut SessionState,
    windows: &[Window],
    slot: usize,
    tuples: &mut [Vec<Row>],
    outer: Option<&Env<'_>>,
) -> R<()> {
    let mut results: Vec<Vec<Val>> = vec![Vec::with_capacity(windows.len()); tuples.len()];
    for w in windows {
        // Rows in the order of their partitions, and inside in the order of the window.
        let mut keyed = Vec::with_capacity(tuples.len());
        for (i, t) in tuples.iter().enumerate() {
            let env = Env { rows: t, outer };
            let mut part = Vec::new();
            for p in &w.partition {
                let v = s.eval(p, &env)?;
                hash_key(&p.ty, p.collation, &v, &mut part);
            }
            let order = s.sort_key(&w.order, &env)?;
            keyed.push((part, order, i));
        }
        keyed.sort();
        let mut values = vec![Val::Null; tuples.len()];
        for part in keyed.chunk_by(|a, b| a.0 == b.0) {
            let out = partition(s, w, part, tuples, outer)?;
            for ((_, _, i), v) in part.iter().zip(out) {
                if let Some(place) = values.get_mut(*i) {
                    *place = v;
                }
            }
        }
        for (row, v) in results.iter_mut().zip(values) {
            row.push(v);
        }
    }
    for (t, values) in tuples.iter_mut().zip(results) {
        if let Some(place) = t.get_mut(slot) {
            *place = values.into();
        }
    }
    Ok(())
}

type Keyed = (Vec<u8>, Vec<u8>, usize);

fn partition(
    s: &mut SessionState,
    w: &Window,
    part: &[Keyed],
    tuples: &[Vec<Row>],
    outer: Option<&Env<'_>>,
) -> R<Vec<Val>> {
    let n = part.len();
    let row = |i: usize| part.get(i).and_then(|k| tuples.get(k.2)).map_or(&[][..], Vec::as_slice);
    // First and last row with the same order key.
    let mut peers = vec![(0, 0); n];
    let mut from = 0;
    for group in part.chunk_by(|a, b| a.1 == b.1) {
        for place in peers.iter_mut().skip(from).take(group.len()) {
            *place = (from, from + group.len() - 1);
        }
        from += group.len();
    }
    let mut dense = 0;
    let mut out = Vec::with_capacity(n);
    match &w.kind {
        WindowKind::RowNumber => out.extend((1..=n).map(int)),
        WindowKind::Rank => out.extend(peers.iter().map(|p| int(p.0 + 1))),
        WindowKind::DenseRank => {
            for (i, p) in peers.iter().enumerate() {
                if p.0 == i {
                    dense += 1;
                }
                out.push(int(dense));
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "row counts")]
        WindowKind::PercentRank => {
            out.extend(
                peers
                    .iter()
                    .map(|p| Val::Float(if n > 1 { p.0 as f64 / (n - 1) as f64 } else { 0.0 })),
            );
        }
        #[allow(clippy::cast_precision_loss, reason = "row counts")]
        WindowKind::CumeDist => {
            out.extend(peers.iter().map(|p| Val::Float((p.1 + 1) as f64 / n as f64)));
        }
        WindowKind::Ntile(buckets) => {
            let env = Env { rows: row(0), outer };
            let k = s
                .typed(buckets, &env)?
                .to_i64()?
                .and_then(|k| usize::try_from(k).ok())
                .filter(|k| *k > 0);
            let Some(k) = k else {
                return Err(SqlError::new(
                    4194,
                    "The function 'ntile' must have a positive integer argument.",
                ));
            };
            // The first n % k buckets have one row more.
            let (small, big) = (n / k, n % k);
            for i in 0..n {
                let in_big = (small + 1) * big;
                let bucket =
                    if i < in_big { i / (small + 1) } else { big + (i - in_big) / small.max(1) };
                out.push(int(bucket + 1));
            }
        }
        WindowKind::Shift { value, offset, default, forward } => {
            for i in 0..n {
                let env = Env { rows: row(i), outer };
                let k = s
                    .typed(offset, &env)?
                    .to_i64()?
                    .and_then(|k| usize::try_from(k).ok())
                    .unwrap_or(0);
                let at = if *forward { Some(i + k) } else { i.checked_sub(k) };
                out.push(match at.filter(|a| *a < n) {
                    Some(a) => s.eval(value, &Env { rows: row(a), outer })?,
                    None => match default {
                        Some(d) => s.eval(d, &env)?,
                        None => Val::Null,
                    },
                });
            }
        }
        WindowKind::First(value) | WindowKind::Last(value) => {
            let first = matches!(w.kind, WindowKind::First(_));
            for i in 0..n {
                let Some((from, to)) = frame(w, i, n, &peers) else {
                    out.push(Val::Null);
                    continue;
                };
                let at = if first { from } else { to };
                out.push(s.eval(value, &Env { rows: row(at), outer })?);
            }
        }
        WindowKind::Aggregate(a) => {
            // Frames that begin at the first row only grow.
            let growing = w.frame.is_none_or(|f| f.1 == Edge::First);
            let mut running = Accumulator::new(a);
            let mut done = 0;
            for i in 0..n {
                let Some((from, to)) = frame(w, i, n, &peers) else {
                    out.push(Accumulator::new(a).finish(a)?);
                    continue;
                };
                if growing {
                    while done <= to {
                        running.add(a, s, &Env { rows: row(done), outer })?;
                        done += 1;
                    }
                    out.push(running.clone().finish(a)?);
                } else {
                    let mut sum = Accumulator::new(a);
                    for j in from..=to {
                        sum.add(a, s, &Env { rows: row(j), outer })?;
                    }
                    out.push(sum.finish(a)?);
                }
            }
        }
    }
    Ok(out)
}

/// First and last row of the frame of row `i`; None when it is empty.
fn frame(w: &Window, i: usize, n: usize, peers: &[(usize, usize)]) -> Option<(usize, usize)> {
    let Some((rows, from, to)) = w.frame else { return Some((0, n.checked_sub(1)?)) };
    let peer = peers.get(i).copied().unwrap_or((i, i));
    let size = |k: u64| usize::try_from(k).unwrap_or(usize::MAX);
    let from = match from {
        Edge::First => 0,
        Edge::Before(k) => i.saturating_sub(size(k)),
        Edge::Current => {
            if rows {
                i
            } else {
                peer.0
            }
        }
        Edge::After(k) => i.checked_add(size(k))?,
        Edge::Last => n.checked_sub(1)?,
    };
    let to = match to {
        Edge::First => 0,
        Edge::Before(k) => i.checked_sub(size(k))?,
        Edge::Current => {
            if rows {
                i
            } else {
                peer.1
            }
        }
        Edge::After(k) => i.saturating_add(size(k)),
        Edge::Last => n.checked_sub(1)?,
    };
    let to = to.min(n.checked_sub(1)?);
    (from <= to).then_some((from, to))
}
