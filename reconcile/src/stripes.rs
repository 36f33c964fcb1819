//! The key ranges that the workers of a table share out among themselves, cut while they are read.
//!
//! To find where a range of so many rows ends, an index would have to be walked before the rows are read: on a table larger
//! than the server's memory that is the whole table twice. So a worker takes a *stripe*, a part of the table whose size
//! nobody knows, asks for its next rows, and where they end the range ends. A worker that has nothing to do is given
//! the upper half of another's stripe, halved by the values of its key: a bound need not be a key that exists.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use causeway_change::{Column, ColumnType, Value};
use causeway_sqlserver::KeyRange;
use tokio::sync::Notify;

use crate::sides::Chunk;

/// What a worker reads next.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A range that is read as it is.
    Whole(Chunk),
    /// A range that is cut while it is read.
    Stripe(KeyRange),
}

/// The first and the last key of a table's source: between what a range without bounds is halved.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// The first; none of an empty table.
    pub first: Option<Vec<Value>>,
    /// The last.
    pub last: Option<Vec<Value>>,
}

/// The work of a table's workers.
#[derive(Debug)]
pub struct Work {
    state: Mutex<State>,
    changed: Notify,
    key: Vec<Column>,
    extent: Extent,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Piece>,
    /// Workers that have a piece; one of them may give some of it away.
    busy: usize,
    /// Workers that wait for a piece.
    idle: usize,
}

impl Work {
    /// All of it, in order. `key` are the key's columns.
    #[must_use]
    pub fn new(pieces: Vec<Piece>, key: Vec<Column>, extent: Extent) -> Self {
        let state = State { waiting: pieces.into(), busy: 0, idle: 0 };
        Self { state: Mutex::new(state), changed: Notify::new(), key, extent }
    }

    /// Halves stripes until there are `pieces` pieces, as far as that can be done.
    pub fn spread(&self, pieces: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in state.waiting.len()..pieces {
            let upper = match state.waiting.front_mut() {
                Some(Piece::Stripe(range)) => self.halve(range),
                Some(Piece::Whole(_)) | None => None,
            };
            let Some(upper) = upper else { return };
            // The largest is in front again.
            state.waiting.rotate_left(1);
            state.waiting.push_back(Piece::Stripe(upper));
        }
    }

    /// The next piece, if one waits. Who is given one must say [`Self::done`] of it.
    #[must_use]
    pub fn take(&self) -> Option<Piece> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = state.waiting.pop_front()?;
        state.busy += 1;
        Some(piece)
    }

    /// The next piece, waited for as long as somebody may give some of his away; none at the end of all work.
    pub async fn wait(&self) -> Option<Piece> {
        loop {
            // Before the look, so that what changes between the look and the wait is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(piece) = state.waiting.pop_front() {
                    state.busy += 1;
                    return Some(piece);
                }
                if state.busy == 0 {
                    return None;
                }
                state.idle += 1;
            }
            changed.await;
            self.state.lock().unwrap_or_else(PoisonError::into_inner).idle -= 1;
        }
    }

    /// Gives the upper half of what is left of a stripe to a worker that waits, if one does.
    pub fn share(&self, range: &mut KeyRange) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.idle == 0 || !state.waiting.is_empty() {
            return;
        }
        if let Some(upper) = self.halve(range) {
            state.waiting.push_back(Piece::Stripe(upper));
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// A piece has been read to its end.
    pub fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy = state.busy.saturating_sub(1);
        if state.busy == 0 {
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Makes a range its lower half and gives the upper one.
    fn halve(&self, range: &mut KeyRange) -> Option<KeyRange> {
        let low = range.after.as_ref().or(self.extent.first.as_ref())?;
        let high = range.upto.as_ref().or(self.extent.last.as_ref())?;
        let middle = middle(&self.key, low, high)?;
        let upper = KeyRange { after: Some(middle.clone()), upto: range.upto.take() };
        range.upto = Some(middle);
        Some(upper)
    }
}

/// A key between two: halfway in the first column in which they differ. None when nothing lies between them there.
#[must_use]
pub fn middle(key: &[Column], low: &[Value], high: &[Value]) -> Option<Vec<Value>> {
    let at = low.iter().zip(high).position(|(a, b)| a != b)?;
    let halfway = halfway(key.get(at)?.ty, low.get(at)?, high.get(at)?)?;
    let mut middle = low.to_vec();
    *middle.get_mut(at)? = halfway;
    Some(middle)
}

fn halfway(ty: ColumnType, low: &Value, high: &Value) -> Option<Value> {
    let between = |low: i128, high: i128, unit: i128| {
        let middle = low.checked_add(high.checked_sub(low)? / 2)?;
        let middle = middle.div_euclid(unit).checked_mul(unit)?;
        (low < middle && middle < high).then_some(middle)
    };
    let whole = |low: i64, high: i64, unit: i64| {
        between(low.into(), high.into(), unit.into()).and_then(|n| i64::try_from(n).ok())
    };
    Some(match (low, high) {
        (Value::I16(a), Value::I16(b)) => {
            Value::I16(whole((*a).into(), (*b).into(), 1)?.try_into().ok()?)
        }
        (Value::I32(a), Value::I32(b)) => {
            Value::I32(whole((*a).into(), (*b).into(), 1)?.try_into().ok()?)
        }
        (Value::I64(a), Value::I64(b)) => Value::I64(whole(*a, *b, 1)?),
        (Value::Date(a), Value::Date(b)) => {
            Value::Date(whole((*a).into(), (*b).into(), 1)?.try_into().ok()?)
        }
        (Value::Decimal(a), Value::Decimal(b)) => Value::Decimal(between(*a, *b, 1)?),
        (Value::DateTime(a), Value::DateTime(b)) => Value::DateTime(whole(*a, *b, unit(ty))?),
        // Of another type no table is cut: `chunks::order_is_shared`.
        _ => return None,
    })
}

/// Ticks of 100 ns between two values of a type: a bound must be one that the type can hold.
fn unit(ty: ColumnType) -> i64 {
    const MINUTE: i64 = 60 * 10_000_000;
    if let ColumnType::DateTime2 { scale } = ty {
        10_i64.pow(u32::from(7_u8.saturating_sub(scale)))
    } else {
        MINUTE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn column(ty: ColumnType) -> Column {
        Column { name: "c".to_owned(), ty, nullable: false, default: None }
    }

    fn key(n: i32) -> Vec<Value> {
        vec![Value::I32(n)]
    }

    fn work(pieces: Vec<Piece>, first: i32, last: i32) -> Work {
        let extent = Extent { first: Some(key(first)), last: Some(key(last)) };
        Work::new(pieces, vec![column(ColumnType::Int)], extent)
    }

    fn bounds(piece: Option<Piece>) -> (Option<Vec<Value>>, Option<Vec<Value>>) {
        match piece {
            Some(Piece::Stripe(range)) => (range.after, range.upto),
            Some(Piece::Whole(_)) | None => panic!("no stripe"),
        }
    }

    /// Asks once.
    async fn nothing_yet(waiting: std::pin::Pin<&mut impl Future<Output = Option<Piece>>>) -> bool {
        tokio::time::timeout(Duration::ZERO, waiting).await.is_err()
    }

    #[test]
    fn a_bound_lies_between_its_keys_and_is_one_that_the_type_can_hold() {
        let two = [column(ColumnType::Int), column(ColumnType::DateTime2 { scale: 0 })];
        let second = 10_000_000;
        let at = |n: i32, ticks: i64| vec![Value::I32(n), Value::DateTime(ticks)];
        assert!(middle(&two, &at(1, 7 * second), &at(9, 0)) == Some(at(5, 7 * second)));
        // The first column is the same: the second is halved, in whole seconds.
        assert!(middle(&two, &at(1, -3 * second), &at(1, 2 * second)) == Some(at(1, -second)));
        assert!(middle(&two, &at(1, 0), &at(1, second)).is_none());
        assert!(middle(&two, &at(1, 0), &at(2, 0)).is_none());
        assert!(middle(&two, &at(1, 0), &at(1, 0)).is_none());
        let whole = [column(ColumnType::Decimal { precision: 38, scale: 0 })];
        let most = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
        let halved = middle(&whole, &[Value::Decimal(-most)], &[Value::Decimal(most)]);
        assert!(halved == Some(vec![Value::Decimal(0)]));
        let big = [column(ColumnType::BigInt)];
        let halved = middle(&big, &[Value::I64(i64::MIN)], &[Value::I64(i64::MAX)]);
        assert!(halved == Some(vec![Value::I64(-1)]));
    }

    #[test]
    fn stripes_that_are_spread_meet_and_stay_open_at_both_ends() {
        let work = work(vec![Piece::Stripe(KeyRange::default())], 0, 1_000_000_000);
        work.spread(2);
        assert!(bounds(work.take()) == (None, Some(key(500_000_000))));
        assert!(bounds(work.take()) == (Some(key(500_000_000)), None));
        assert!(work.take().is_none());
    }

    #[test]
    fn an_empty_table_is_not_halved() {
        let work = Work::new(
            vec![Piece::Stripe(KeyRange::default())],
            vec![column(ColumnType::Int)],
            Extent::default(),
        );
        work.spread(4);
        assert!(bounds(work.take()) == (None, None));
        assert!(work.take().is_none());
    }

    #[tokio::test]
    async fn who_waits_is_given_a_half_and_all_end_with_the_last_piece() {
        let work = work(vec![Piece::Stripe(KeyRange::default())], 0, 100);
        let mut mine = KeyRange::default();
        assert!(work.take().is_some());
        // Nobody waits: nothing is given away.
        work.share(&mut mine);
        assert!(mine == KeyRange::default());
        let mut other = std::pin::pin!(work.wait());
        assert!(nothing_yet(other.as_mut()).await);
        work.share(&mut mine);
        assert!(mine.upto == Some(key(50)));
        let given = tokio::time::timeout(Duration::from_secs(60), other).await.unwrap();
        assert!(bounds(given) == (Some(key(50)), None));
        let mut third = std::pin::pin!(work.wait());
        assert!(nothing_yet(third.as_mut()).await);
        work.done();
        assert!(nothing_yet(third.as_mut()).await);
        work.done();
        assert!(tokio::time::timeout(Duration::from_secs(60), third).await.unwrap().is_none());
    }
}
