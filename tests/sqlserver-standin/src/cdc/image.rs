//! What a change of a row looks like in a change table: pure rules, no store.
//!
//! Sources: research/source.md A.0.2 and A.0.4 (Microsoft's page on change tables for the operations and the NULL
//! rules of large values; Debezium's committers for the command ids of deferred updates).

use super::mask;
use crate::catalog::types;
use crate::store::ChangeKind;
use crate::value::{Ty, Val};

/// `__$operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Delete,
    Insert,
    Before,
    After,
}

impl Operation {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Delete => 1,
            Self::Insert => 2,
            Self::Before => 3,
            Self::After => 4,
        }
    }
}

/// A captured column, by its ordinal; where its value is in a row of the source table.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// Position in the row that the log holds; `None` when the column is computed or was dropped.
    pub(crate) at: Option<usize>,
    /// The source column's type.
    pub(crate) ty: Ty,
}

/// A row of a change table, without the columns that are the same for the whole change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) operation: Operation,
    /// The bits of what changed; none where every bit is set.
    pub(crate) mask: Option<Vec<u8>>,
    pub(crate) values: Vec<Val>,
}

/// The rows that a change leaves in a change table with these captured columns: one, or the two images of an
/// update in place; none when the update changed no captured column.
pub(crate) fn lines(change: &ChangeKind, columns: &[Captured]) -> Vec<Line> {
    match change {
        ChangeKind::Insert { after } => {
            vec![line(Operation::Insert, None, columns, after, None)]
        }
        ChangeKind::Delete { before } => {
            vec![line(Operation::Delete, None, columns, before, None)]
        }
        ChangeKind::Update { before, after, changed } => {
            let changed: Vec<bool> = columns
                .iter()
                .map(|column| column.at.is_some_and(|at| changed.contains(&at)))
                .collect();
            if !changed.contains(&true) {
                return Vec::new();
            }
            let bits = || {
                mask::of(
                    columns.len(),
                    (1..).zip(&changed).filter(|(_, set)| **set).map(|(n, _)| n),
                )
            };
            vec![
                line(Operation::Before, Some(bits()), columns, before, Some(&changed)),
                line(Operation::After, Some(bits()), columns, after, Some(&changed)),
            ]
        }
    }
}

fn line(
    operation: Operation,
    mask: Option<Vec<u8>>,
    columns: &[Captured],
    row: &[Val],
    changed: Option<&[bool]>,
) -> Line {
    let values = (0..)
        .zip(columns)
        .map(|(n, column)| {
            let value = column.at.and_then(|at| row.get(at)).unwrap_or(&Val::Null);
            let touched =
                changed.is_none_or(|changed| changed.get::<usize>(n).copied().unwrap_or(true));
            if shown(operation, &column.ty, touched) { value.clone() } else { Val::Null }
        })
        .collect();
    Line { operation, mask, values }
}

/// Whether the change table holds the value of a column of this type.
fn shown(operation: Operation, ty: &Ty, changed: bool) -> bool {
    if types::is_old_lob(ty) {
        match operation {
            Operation::Delete | Operation::Before => false,
            Operation::Insert => true,
            Operation::After => changed,
        }
    } else if types::is_max(ty) {
        match operation {
            Operation::Delete | Operation::Insert => true,
            Operation::Before | Operation::After => changed,
        }
    } else {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::MAX;

    fn columns(types: &[Ty]) -> Vec<Captured> {
        types.iter().enumerate().map(|(at, ty)| Captured { at: Some(at), ty: *ty }).collect()
    }

    fn update(before: &[Val], after: &[Val]) -> ChangeKind {
        let changed = (0..before.len()).filter(|n| before[*n] != after[*n]).collect();
        ChangeKind::Update { before: before.into(), after: after.into(), changed }
    }

    #[test]
    fn an_update_in_place_is_a_pair_with_the_bits_of_what_changed() {
        let columns = columns(&[Ty::Int, Ty::NVarChar(10)]);
        let (before, after) = ([Val::Int(1), Val::str("a")], [Val::Int(1), Val::str("A")]);
        let got = lines(&update(&before, &after), &columns);
        assert_eq!(
            got.iter().map(|l| l.operation).collect::<Vec<_>>(),
            [Operation::Before, Operation::After]
        );
        assert_eq!(got[0].mask, Some(vec![0b10]));
        assert_eq!(got[0].values, before);
        assert_eq!(got[1].values, after);
    }

    #[test]
    fn an_update_of_no_captured_column_leaves_no_row() {
        let columns = columns(&[Ty::Int]);
        let (before, after) = ([Val::Int(1), Val::Int(2)], [Val::Int(1), Val::Int(3)]);
        assert_eq!(lines(&update(&before, &after), &columns), []);
    }

    #[test]
    fn large_values_are_left_out_as_microsoft_documents() {
        let columns = columns(&[Ty::Int, Ty::NVarChar(MAX), Ty::NText, Ty::Xml]);
        let before = [Val::Int(1), Val::str("m"), Val::str("t"), Val::str("<x/>")];
        let after = [Val::Int(2), Val::str("m"), Val::str("t"), Val::str("<y/>")];
        let got = lines(&update(&before, &after), &columns);
        assert_eq!(got[0].values, [Val::Int(1), Val::Null, Val::Null, Val::str("<x/>")]);
        assert_eq!(got[1].values, [Val::Int(2), Val::Null, Val::Null, Val::str("<y/>")]);
        assert_eq!(got[0].mask, Some(vec![0b1001]));
        let gone = lines(&ChangeKind::Delete { before: before.clone().into() }, &columns);
        assert_eq!(gone[0].values, [Val::Int(1), Val::str("m"), Val::Null, Val::str("<x/>")]);
        let new = lines(&ChangeKind::Insert { after: before.clone().into() }, &columns);
        assert_eq!(new[0].values, before);
        let mut text = before.clone();
        text[2] = Val::str("u");
        let changed = lines(&update(&before, &text), &columns);
        assert_eq!((&changed[0].values[2], &changed[1].values[2]), (&Val::Null, &Val::str("u")));
    }

    #[test]
    fn computed_and_dropped_columns_are_null() {
        let columns = [Captured { at: Some(0), ty: Ty::Int }, Captured { at: None, ty: Ty::Int }];
        let got = lines(
            &ChangeKind::Insert { after: [Val::Int(1), Val::Int(2)].as_slice().into() },
            &columns,
        );
        assert_eq!(got[0].values, [Val::Int(1), Val::Null]);
        assert_eq!(got[0].mask, None);
    }
}
