//! Key ranges of a table, for keys whose order is the same in both engines.

use std::cmp::Ordering;

use causeway_change::{ColumnType, Value};
use causeway_sqlserver::{Client, KeyRange, SourceTable, rows};

use crate::{error::ReconcileError, ledger::choose, sides::Chunk};

/// Whether both engines put values of this type into the same order: whole numbers, decimals, dates and times
/// without zone. Texts, GUIDs and bytes have another order in each, floats have values that only one has.
#[must_use]
pub fn order_is_shared(ty: ColumnType) -> bool {
    match ty {
        ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Decimal { .. }
        | ColumnType::Money
        | ColumnType::SmallMoney
        | ColumnType::Date => true,
        ColumnType::SmallDateTime | ColumnType::DateTime2 { scale: 0..=6 } => true,
        // A datetime is rounded when it is read: a bound would not be the value that is stored.
        ColumnType::DateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::Time { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::Bit
        | ColumnType::Real
        | ColumnType::Float
        | ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => false,
    }
}

/// Whether a table can be cut into ranges: NULL is first in one engine and last in the other.
#[must_use]
pub fn can_cut(source: &SourceTable) -> bool {
    let mut key = source.table.key_columns().peekable();
    key.peek().is_some() && key.all(|column| order_is_shared(column.ty) && !column.nullable)
}

/// Cuts a range of a table into ranges of about `rows` rows, by its own index. Together they have the range's own
/// bounds: of a whole table the first is open below and the last above, so that rows of the target beyond the
/// source's are met too.
///
/// # Errors
/// When SQL Server does not answer.
pub async fn cut(
    client: &mut Client,
    source: &SourceTable,
    range: &KeyRange,
    rows: u64,
) -> Result<Vec<Chunk>, ReconcileError> {
    let mut ends: Vec<Vec<Value>> = Vec::new();
    loop {
        let after = ends.last().or(range.after.as_ref()).map(Vec::as_slice);
        let end = rows::chunk_end(client, source, after, rows).await.map_err(|error| {
            ReconcileError::Source { table: source.id().clone(), source: Box::new(error) }
        })?;
        match end {
            Some(end) if inside(&end, range) => ends.push(end),
            Some(_) | None => return Ok(between(range, ends)),
        }
    }
}

fn inside(end: &[Value], range: &KeyRange) -> bool {
    range.upto.as_ref().is_none_or(|upto| choose::order(end, upto) == Ordering::Less)
}

/// The ranges between the ends; of an open range the last end is not one, because behind it only the target can
/// have rows.
fn between(range: &KeyRange, mut ends: Vec<Vec<Value>>) -> Vec<Chunk> {
    if range.upto.is_none() {
        ends.pop();
    }
    let mut chunks = Vec::with_capacity(ends.len() + 1);
    let mut after = range.after.clone();
    for end in ends {
        let range = KeyRange { after: after.take(), upto: Some(end.clone()) };
        chunks.push(Chunk { range, sample: None });
        after = Some(end);
    }
    chunks.push(Chunk { range: KeyRange { after, upto: range.upto.clone() }, sample: None });
    chunks
}

/// Keeps about a part of the chunks, at least one, spread over the table; `seed` chooses which.
#[must_use]
pub fn sample(chunks: Vec<Chunk>, part: f64, seed: u64) -> Vec<Chunk> {
    let total = chunks.len();
    let chosen = |n: usize| {
        let bytes = [seed.to_le_bytes(), (n as u64).to_le_bytes()].concat();
        crate::sides::sampled(&bytes, part)
    };
    let picked: Vec<Chunk> =
        chunks.iter().enumerate().filter(|(n, _)| chosen(*n)).map(|(_, c)| c.clone()).collect();
    if picked.is_empty() {
        let one = usize::try_from(seed % total.max(1) as u64).unwrap_or(0);
        chunks.into_iter().nth(one).into_iter().collect()
    } else {
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_are_open_at_both_ends() {
        let key = |n| vec![Value::I32(n)];
        let bounds = |chunks: &[Chunk]| -> Vec<_> {
            chunks.iter().map(|c| (c.range.after.clone(), c.range.upto.clone())).collect()
        };
        let all = KeyRange::default();
        assert!(bounds(&between(&all, vec![])) == [(None, None)]);
        assert!(bounds(&between(&all, vec![key(9)])) == [(None, None)]);
        assert!(
            bounds(&between(&all, vec![key(1), key(5), key(9)]))
                == [(None, Some(key(1))), (Some(key(1)), Some(key(5))), (Some(key(5)), None)]
        );
        let part = KeyRange { after: Some(key(3)), upto: Some(key(9)) };
        assert!(bounds(&between(&part, vec![])) == [(Some(key(3)), Some(key(9)))]);
        assert!(
            bounds(&between(&part, vec![key(5)]))
                == [(Some(key(3)), Some(key(5))), (Some(key(5)), Some(key(9)))]
        );
        assert!(inside(&key(8), &part) && !inside(&key(9), &part) && inside(&key(99), &all));
    }

    #[test]
    fn a_sample_has_at_least_one_range() {
        let chunks =
            || between(&KeyRange::default(), (0..101).map(|n| vec![Value::I32(n)]).collect());
        assert_eq!(chunks().len(), 101);
        assert_eq!(sample(chunks(), 0.0, 205).len(), 1);
        let some = sample(chunks(), 0.3, 1).len();
        assert!((15..50).contains(&some), "{some}");
        assert_eq!(sample(chunks(), 1.1, 1).len(), 101);
    }
}
