//! Pure: in which steps the changes of a piece are written, so that foreign keys and unique values hold after
//! each.
//!
//! Of each key only what is last counts. A row that a child is moved away from is deleted after the child is
//! updated, so upserts come first, parents before children, and then deletes, children before parents. A
//! unique value that moves to another row of its table wants the opposite; it is tried second.

use std::{collections::HashMap, sync::Arc};

use crate::{
    change::{Action, Change},
    policy::Writing,
    whole::foreign::Order,
};

/// Which comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Rows that are there afterwards.
    Puts,
    /// Rows that are gone afterwards.
    Deletes,
}

/// The slices to write, one after the other: each of one topic and one schema.
#[must_use]
pub fn phases(changes: &[Change], order: &Order, first: First) -> Vec<Vec<Change>> {
    let mut last: HashMap<(&Arc<str>, &[u8]), usize> = HashMap::new();
    for (n, change) in changes.iter().enumerate() {
        if let Some(key) = change.key() {
            last.insert((&change.shape.topic, key), n);
        }
    }
    let (mut puts, mut deletes) = (Vec::new(), Vec::new());
    for (n, change) in changes.iter().enumerate() {
        let key = change.key().filter(|_| change.shape.policy.write == Writing::Upsert);
        let Some(key) = key else {
            // Such tables keep what happened, or are never deleted from: in their own order.
            puts.push(change.clone());
            continue;
        };
        let Some(end) = last.get(&(&change.shape.topic, key)).copied() else { continue };
        let ends_deleted = matches!(changes.get(end).map(|c| &c.action), Some(Action::Delete));
        match change.action {
            Action::Delete if n == end => deletes.push(change.clone()),
            // The row comes again, as a whole.
            Action::Delete => {}
            Action::Put(_) | Action::Match { .. } if ends_deleted => {}
            Action::Put(_) | Action::Match { .. } => puts.push(change.clone()),
        }
    }
    // Stable: a topic's own order stays.
    let rank = |change: &Change| (order.rank(&change.shape.target), change.shape.topic.clone());
    puts.sort_by_cached_key(|change| rank(change));
    deletes.sort_by_cached_key(|change| std::cmp::Reverse(rank(change)));
    let (puts, deletes) = (cut(puts), cut(deletes));
    match first {
        First::Puts => puts.into_iter().chain(deletes).collect(),
        First::Deletes => deletes.into_iter().chain(puts).collect(),
    }
}

/// Cuts where the topic or the schema changes.
fn cut(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut slices: Vec<Vec<Change>> = Vec::new();
    for change in changes {
        match slices.last_mut() {
            Some(slice)
                if slice.last().is_some_and(|last| {
                    last.shape.topic == change.shape.topic
                        && last.shape.schema_id == change.shape.schema_id
                }) =>
            {
                slice.push(change);
            }
            Some(_) | None => slices.push(vec![change]),
        }
    }
    slices
}

#[cfg(test)]
#[path = "phases_tests.rs"]
mod tests;
