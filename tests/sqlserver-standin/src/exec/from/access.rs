//! How the rows of a table are got at: scan, seek by key, order.

use crate::exec::from::{WantedOrder, bit};

use crate::exec::R;
use crate::exec::eval::joint;
use crate::exec::node::{Kind, Node};
use crate::exec::plan::{Access, BoundPlan};
use crate::sql::ast::Cmp;
use crate::store::{TableDef, same_name};
use crate::value::{Collation, SqlError, Ty, Typed, cast, unify};

/// Whether a value of type `from` can be looked up in an index over `column`: converting it keeps the order.
pub(crate) fn seekable(column: &Ty, from: &Ty) -> bool {
    let class = |t: &Ty| match t {
        Ty::Bit
        | Ty::TinyInt
        | Ty::SmallInt
        | Ty::Int
        | Ty::BigInt
        | Ty::Decimal(..)
        | Ty::Money
        | Ty::SmallMoney => 1,
        Ty::Real | Ty::Float => 2,
        Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) => 3,
        Ty::Binary(_) | Ty::VarBinary(_) | Ty::RowVersion => 4,
        Ty::Date | Ty::DateTime | Ty::SmallDateTime | Ty::DateTime2(_) => 5,
        Ty::Time(_) => 6,
        Ty::DateTimeOffset(_) => 7,
        Ty::UniqueIdentifier => 8,
        Ty::Text | Ty::NText | Ty::Image | Ty::Xml | Ty::Variant | Ty::Udt(_) => 0,
    };
    let (c, f) = (class(column), class(from));
    c != 0 && (c == f || (f == 3 && unify(column, from) == *column))
}

/// Whether a comparison of a column with a value goes by the rules that order its index: it does not under another
/// collation, nor when a varchar column of a SQL collation is converted because the value is Unicode. SQL Server scans, too.
fn follows(column: &Node, value: &Node) -> bool {
    let own = Collation::of(column.collation, &column.ty);
    let texts = column.ty.is_text() && value.ty.is_text();
    seekable(&column.ty, &value.ty) && (!texts || joint(column, value) == own)
}

/// A comparison of a column of `slot` with something that does not need the table.
pub(super) struct Usable<'a> {
    column: usize,
    op: Cmp,
    value: &'a Node,
}

pub(super) fn usable(n: &Node, slot: usize) -> Option<Usable<'_>> {
    let Kind::Compare(op, a, b) = &n.kind else { return None };
    let column = |n: &Node| match n.kind {
        Kind::Column { depth: 0, slot: s, column } if s == slot => Some(column),
        _ => None,
    };
    let free = |n: &Node| n.slots().is_some_and(|s| s & bit(slot) == 0);
    let flip = |op: Cmp| match op {
        Cmp::Lt => Cmp::Gt,
        Cmp::Le => Cmp::Ge,
        Cmp::Gt => Cmp::Lt,
        Cmp::Ge => Cmp::Le,
        Cmp::Eq | Cmp::Ne => op,
    };
    if *op == Cmp::Ne {
        return None;
    }
    if let Some(c) = column(a)
        && free(b)
        && follows(a, b)
    {
        return Some(Usable { column: c, op: *op, value: b });
    }
    if let Some(c) = column(b)
        && free(a)
        && follows(b, a)
    {
        return Some(Usable { column: c, op: flip(*op), value: a });
    }
    None
}

/// `(a > x) OR (a = x AND b > y) OR ...`: the values of a bound over the given columns.
pub(super) fn keyset<'a>(
    n: &'a Node,
    slot: usize,
    columns: &[usize],
    above: bool,
) -> Option<(Vec<&'a Node>, bool)> {
    let (first, rest) = columns.split_first()?;
    let branches = n.branches();
    let strict = if above { Cmp::Gt } else { Cmp::Lt };
    let loose = if above { Cmp::Ge } else { Cmp::Le };
    if let [one] = branches.as_slice() {
        // a >= x AND (a > x OR b > y)
        let parts = one.parts();
        if let [single] = parts.as_slice() {
            let u = usable(single, slot)?;
            return (u.column == *first && (u.op == strict || u.op == loose))
                .then(|| (vec![u.value], u.op == loose));
        }
        return None;
    }
    // The branch `a > x`.
    let head = branches.iter().find_map(|b| {
        let parts = b.parts();
        let [single] = parts.as_slice() else { return None };
        usable(single, slot).filter(|u| u.column == *first && u.op == strict)
    })?;
    // The others: `a = x AND ...`, the longest tail wins only when all agree; take the first that fits.
    let mut tail: Option<(Vec<&Node>, bool)> = None;
    for b in &branches {
        let parts = b.parts();
        if let [single] = parts.as_slice() {
            match usable(single, slot) {
                Some(u) if u.column == *first && u.op == strict => continue,
                _ => return None,
            }
        }
        let equal = parts.iter().any(|p| {
            usable(p, slot)
                .is_some_and(|u| u.column == *first && u.op == Cmp::Eq && u.value.same(head.value))
        });
        if !equal {
            return None;
        }
        let others: Vec<&Node> = parts
            .iter()
            .copied()
            .filter(|p| !usable(p, slot).is_some_and(|u| u.column == *first && u.op == Cmp::Eq))
            .collect();
        // Only a tail of one part keeps its shape; a longer one still gives `a = x` as a bound.
        let found = match others.as_slice() {
            [single] => keyset(single, slot, rest, above),
            many => flat(many, slot, rest, above),
        };
        let found = found.unwrap_or((Vec::new(), true));
        // The widest bound covers all branches: compare by length, the shorter is the wider.
        tail = Some(match tail {
            None => found,
            Some(t) => wider(t, found),
        });
    }
    let (values, inclusive) = tail?;
    let mut out = vec![head.value];
    out.extend(values);
    Some((out, inclusive))
}

/// `b = y AND c > z` after the first column was equal.
pub(super) fn flat<'a>(
    parts: &[&'a Node],
    slot: usize,
    columns: &[usize],
    above: bool,
) -> Option<(Vec<&'a Node>, bool)> {
    let (first, rest) = columns.split_first()?;
    let equal = parts
        .iter()
        .find_map(|p| usable(p, slot).filter(|u| u.column == *first && u.op == Cmp::Eq))?;
    let others: Vec<&Node> = parts
        .iter()
        .copied()
        .filter(|p| !usable(p, slot).is_some_and(|u| u.column == *first && u.op == Cmp::Eq))
        .collect();
    let (values, inclusive) = match others.as_slice() {
        [] => (Vec::new(), true),
        [single] => keyset(single, slot, rest, above)?,
        many => flat(many, slot, rest, above)?,
    };
    let mut out = vec![equal.value];
    out.extend(values);
    Some((out, inclusive))
}

/// Of two bounds that share their beginning, one that includes both: `a=1 AND b>2` and `a=1 AND b=2 AND c>3` meet in the
/// longer one when the shorter is strict on the same value.
pub(super) fn wider<'a>(
    a: (Vec<&'a Node>, bool),
    b: (Vec<&'a Node>, bool),
) -> (Vec<&'a Node>, bool) {
    let (short, long) = if a.0.len() <= b.0.len() { (a, b) } else { (b, a) };
    let prefix = short.0.iter().zip(&long.0).all(|(x, y)| x.same(y));
    if prefix && !short.1 && short.0.len() < long.0.len() {
        return long;
    }
    if prefix {
        return short;
    }
    let n = short.0.iter().zip(&long.0).take_while(|(x, y)| x.same(y)).count();
    (short.0.into_iter().take(n).collect(), true)
}

/// Chooses the index. `order` is marked as satisfied when the rows come in that order.
pub(super) fn choose(
    def: &TableDef,
    slot: usize,
    filter: &[Node],
    order: &mut Option<WantedOrder>,
    hint: Option<&str>,
) -> R<Access> {
    let wanted = order.take_if(|o| o.slot == slot);
    if let Some(o) = order.as_ref()
        && o.slot != slot
    {
        // The order is that of another table, which is not the leftmost.
        *order = None;
    }
    let mut best: Option<(i64, Access, bool)> = None;
    let candidates = def.indexes.iter().enumerate().map(|(i, ix)| (Some(i), ix));
    for (position, index) in candidates {
        if index.filter.is_some() || index.disabled {
            continue;
        }
        if let Some(h) = hint
            && !same_name(&index.name, h)
            && index.id.to_string() != h
        {
            continue;
        }
        let columns: Vec<usize> = index.columns.iter().map(|k| k.column).collect();
        let mut access = Access { index: position, ..Access::default() };
        let mut equal: Vec<Node> = Vec::new();
        for column in &columns {
            let Some(u) = filter
                .iter()
                .filter_map(|n| usable(n, slot))
                .find(|u| u.column == *column && u.op == Cmp::Eq)
            else {
                break;
            };
            equal.push(u.value.clone());
        }
        let n = equal.len();
        let rest: Vec<usize> = columns.iter().skip(n).copied().collect();
        let same_direction = index.columns.windows(2).all(|w| match w {
            [a, b] => a.descending == b.descending,
            _ => true,
        });
        let mut alternatives: Vec<Vec<Node>> = Vec::new();
        if n == 0 {
            for part in filter {
                let found = alternatives_of(part, slot, &columns);
                if !found.is_empty()
                    && (alternatives.is_empty() || found.len() < alternatives.len())
                {
                    alternatives = found;
                }
            }
        }
        if alternatives.is_empty() {
            for part in filter {
                for above in [true, false] {
                    if !same_direction && rest.len() > 1 {
                        let Some(first) = rest.first() else { continue };
                        if let Some((values, inclusive)) =
                            keyset(part, slot, std::slice::from_ref(first), above)
                        {
                            push_bound(&mut access, above, values, inclusive);
                        }
                    } else if let Some((values, inclusive)) = keyset(part, slot, &rest, above) {
                        push_bound(&mut access, above, values, inclusive);
                    }
                }
            }
        }
        let ranged = !access.lower.is_empty() || !access.upper.is_empty();
        let several = !alternatives.is_empty();
        access.equal = if several {
            alternatives
        } else if n > 0 {
            vec![equal]
        } else {
            Vec::new()
        };
        let (ordered, backward) = match &wanted {
            Some(o) if !several => satisfies(index, n, &access, filter, slot, &o.columns),
            _ => (false, false),
        };
        access.backward = ordered && backward;
        let unique_hit = index.unique && n == columns.len();
        let score = i64::try_from(n).unwrap_or(0) * 10
            + i64::from(several) * 9
            + i64::from(ranged) * 5
            + i64::from(unique_hit) * 100
            + i64::from(ordered) * 3
            + i64::from(index.clustered);
        let useful = n > 0 || ranged || several || ordered || hint.is_some();
        if useful && best.as_ref().is_none_or(|b| score > b.0) {
            best = Some((score, access, ordered));
        }
    }
    if let Some(h) = hint
        && best.is_none()
        && h != "0"
        && !def.indexes.iter().any(|i| same_name(&i.name, h) || i.id.to_string() == h)
    {
        let m = format!(
            "Index '{h}' on table '{}' (specified in the FROM clause) does not exist.",
            def.full_name()
        );
        return Err(SqlError::new(308, m));
    }
    let (access, ordered) = best.map_or_else(|| (Access::default(), false), |b| (b.1, b.2));
    if let Some(mut o) = wanted {
        o.satisfied = ordered;
        *order = Some(o);
    }
    Ok(access)
}

pub(super) fn push_bound(access: &mut Access, above: bool, values: Vec<&Node>, inclusive: bool) {
    let bound = BoundPlan { values: values.into_iter().cloned().collect(), inclusive };
    if above { access.lower.push(bound) } else { access.upper.push(bound) }
}

/// IN lists and ORs of equalities: the values of the index's first columns for each branch.
pub(super) fn alternatives_of(part: &Node, slot: usize, columns: &[usize]) -> Vec<Vec<Node>> {
    if let Kind::InList(a, list, false) = &part.kind
        && let Kind::Column { depth: 0, slot: s, column } = a.kind
        && s == slot
        && columns.first() == Some(&column)
        && list.iter().all(|v| v.slots().is_some_and(|x| x & bit(slot) == 0) && follows(a, v))
    {
        return list.iter().map(|v| vec![v.clone()]).collect();
    }
    let branches = part.branches();
    if branches.len() < 2 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(branches.len());
    for b in branches {
        let parts = b.parts();
        let mut values = Vec::new();
        for column in columns {
            match parts
                .iter()
                .filter_map(|p| usable(p, slot))
                .find(|u| u.column == *column && u.op == Cmp::Eq)
            {
                Some(u) => values.push(u.value.clone()),
                None => break,
            }
        }
        if values.is_empty() {
            return Vec::new();
        }
        out.push(values);
    }
    out
}

/// Whether reading the index gives the wanted order; the second: backward.
pub(super) fn satisfies(
    index: &crate::store::Index,
    equal: usize,
    access: &Access,
    filter: &[Node],
    slot: usize,
    wanted: &[(usize, bool)],
) -> (bool, bool) {
    let _ = access;
    // Columns that are bound to one value do not matter in the order.
    let fixed: Vec<usize> = filter
        .iter()
        .filter_map(|n| usable(n, slot))
        .filter(|u| u.op == Cmp::Eq)
        .map(|u| u.column)
        .collect();
    let mut keys = index.columns.iter().skip(equal).filter(|k| !fixed.contains(&k.column));
    let mut backward = None;
    for (column, descending) in wanted {
        if fixed.contains(column) {
            continue;
        }
        let Some(k) = keys.next() else {
            // The whole unique key was used up: nothing is left to be ordered.
            return (index.unique, backward.unwrap_or(false));
        };
        if k.column != *column {
            return (false, false);
        }
        let turned = k.descending != *descending;
        if *backward.get_or_insert(turned) != turned {
            return (false, false);
        }
    }
    (true, backward.unwrap_or(false))
}

/// The bytes of a bound's values; what happens when a value does not convert exactly.
pub(crate) enum Encoded {
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// These bytes and everything near: the bound has to be inclusive.
    Near(Vec<u8>),
    /// A NULL: nothing compares true.
    Never,
    /// No use as a bound.
    Unbounded,
}

/// Encodes values for the columns of an index from `from` on.
pub(crate) fn encode(
    def: &TableDef,
    columns: &[crate::store::KeyColumn],
    values: &[Typed],
) -> Encoded {
    let mut out = Vec::with_capacity(values.len() * 12);
    for (k, v) in columns.iter().zip(values) {
        let Some(column) = def.columns.get(k.column) else { return Encoded::Unbounded };
        if v.is_null() {
            return Encoded::Never;
        }
        let Ok(converted) = cast(v, &column.ty, None) else {
            return if out.is_empty() { Encoded::Unbounded } else { Encoded::Near(out) };
        };
        let back = crate::value::compare(v, &Typed::new(column.ty, converted.clone()));
        let exact = crate::exec::eval::alike(&v.ty, &column.ty) && !cut(&column.ty, v)
            || matches!(back, Ok(Some(std::cmp::Ordering::Equal)));
        crate::store::encode_part(column, &converted, k.descending, &mut out);
        if !exact {
            return Encoded::Near(out);
        }
    }
    Encoded::Exact(out)
}

/// Whether converting to the column's type may lose something.
pub(super) fn cut(column: &Ty, v: &Typed) -> bool {
    let _ = v;
    !matches!(column, Ty::BigInt)
}
