//! Keys with an open dead letter: what a later change of such a key may do.
//!
//! A later change that says the whole row, or that the row is gone, makes the letter pointless: the
//! letter is `superseded`, in the transaction that applies the change. So whoever replays a letter knows
//! that nothing newer was applied. A later change that says the row only in part cannot be applied, for
//! the row under it is not the one that it was made for: it becomes a letter too, `parked`. With
//! `on_error = "park_key"` every later change does.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::pin,
    sync::Arc,
};

use causeway_postgres::{PostgresError, Session};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;

use crate::{
    change::{Change, Refusal, row_key},
    policy::OnError,
    statements,
};

/// Which keys may have an open letter: by a digest, so that a million of them are little. What it says
/// is asked of PostgreSQL again before it counts.
#[derive(Debug, Default)]
pub struct Open {
    keys: Option<HashSet<u64>>,
}

/// A key: topic, and bytes without the registry's frame.
type Key = (Arc<str>, Vec<u8>);

fn digest(topic: &str, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, key).hash(&mut hasher);
    hasher.finish()
}

impl Open {
    /// Reads the keys, if that was not done yet on this connection.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn load(&mut self, client: &Session, pipeline: &str) -> Result<(), PostgresError> {
        if self.keys.is_some() {
            return Ok(());
        }
        let failed = |e| PostgresError::statement("read the open dead letters", e);
        let rows = client
            .query_typed_raw(statements::OPEN_KEYS, [(pipeline, Type::TEXT)])
            .await
            .map_err(failed)?;
        let mut rows = pin!(rows);
        let mut keys = HashSet::new();
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            keys.insert(digest(row.get(0), row.get(1)));
        }
        self.keys = Some(keys);
        Ok(())
    }

    /// Forgets them: the next load reads them again.
    pub fn forget(&mut self) {
        self.keys = None;
    }

    /// Letters were committed.
    pub fn add<'a>(&mut self, refusals: impl Iterator<Item = &'a Refusal>) {
        let Some(keys) = &mut self.keys else { return };
        for refusal in refusals {
            if let Some(key) = row_key(&refusal.message) {
                keys.insert(digest(&refusal.message.topic, key));
            }
        }
    }

    /// Locks the open letters of the keys that are changed, and tells which there are.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn hold(
        &mut self,
        client: &Session,
        pipeline: &str,
        changes: &[Change],
    ) -> Result<Held, PostgresError> {
        let mut held = Held::default();
        let Some(keys) = self.keys.as_mut().filter(|keys| !keys.is_empty()) else {
            return Ok(held);
        };
        let asked: HashSet<(&str, &[u8])> = changes
            .iter()
            .filter_map(|change| Some((&*change.message.topic, change.key()?)))
            .filter(|(topic, key)| keys.contains(&digest(topic, key)))
            .collect();
        if asked.is_empty() {
            return Ok(held);
        }
        let (topics, row_keys): (Vec<&str>, Vec<&[u8]>) = asked.iter().copied().unzip();
        let rows = client
            .query_typed(
                statements::HOLD,
                &[
                    (&pipeline, Type::TEXT),
                    (&topics, Type::TEXT_ARRAY),
                    (&row_keys, Type::BYTEA_ARRAY),
                ],
            )
            .await
            .map_err(|e| PostgresError::statement("look for open dead letters", e))?;
        for row in &rows {
            let key = (Arc::from(row.get::<_, &str>(0)), row.get::<_, Vec<u8>>(1));
            held.add(key, row.get(2), row.get(3));
        }
        // They were replayed or discarded by somebody else.
        for (topic, key) in asked {
            if held.find(topic, key).is_none() {
                keys.remove(&digest(topic, key));
            }
        }
        Ok(held)
    }
}

/// Partition and offset.
type Stands = (i32, i64);

/// The open letters that matter to a batch: where the oldest of each key stands.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// By topic and key.
    letters: HashMap<Arc<str>, HashMap<Vec<u8>, Stands>>,
}

/// What becomes of changes beside open letters.
#[derive(Debug, Default)]
pub struct Sorted {
    /// To be applied, in order.
    pub apply: Vec<Change>,
    /// To be set aside.
    pub parked: Vec<Refusal>,
    /// Keys whose older letters have nothing to say once `apply` is applied, with the place of the change.
    pub supersede: Vec<(Arc<str>, Vec<u8>, i32, i64)>,
}

impl Held {
    /// Whether one of the changes is of a key with a letter.
    #[must_use]
    pub fn meets(&self, changes: &[Change]) -> bool {
        let mut changes = changes.iter();
        !self.letters.is_empty()
            && changes.any(|change| {
                let topic = &change.message.topic;
                change.key().is_some_and(|key| self.find(topic, key).is_some())
            })
    }

    fn add(&mut self, key: Key, partition: i32, offset: i64) {
        let (topic, key) = key;
        let keys = self.letters.entry(topic).or_default();
        let place = keys.entry(key).or_insert((partition, offset));
        if place.0 == partition {
            place.1 = place.1.min(offset);
        }
    }

    fn find(&self, topic: &str, key: &[u8]) -> Option<(i32, i64)> {
        self.letters.get(topic)?.get(key).copied()
    }

    /// A record of this batch becomes a letter.
    pub fn refused(&mut self, refusal: &Refusal) {
        let message = &refusal.message;
        if let Some(key) = row_key(message) {
            self.add((message.topic.clone(), key.to_vec()), message.partition, message.offset);
        }
    }

    /// Decides what becomes of each change, in order. Pure.
    #[must_use]
    pub fn sort(&self, changes: &[Change]) -> Sorted {
        let mut sorted = Sorted::default();
        let mut closed: HashSet<&[u8]> = HashSet::new();
        for change in changes {
            let message = &change.message;
            let letter = change.key().filter(|key| !closed.contains(key));
            let letter = letter.and_then(|key| Some((key, self.find(&message.topic, key)?)));
            // In another partition nothing can be said of the order: then the change counts as later.
            let later = letter.filter(|(_, (partition, offset))| {
                *partition != message.partition || message.offset > *offset
            });
            match later {
                None => sorted.apply.push(change.clone()),
                Some(_) if change.shape.policy.on_error == OnError::ParkKey || change.partial => {
                    sorted.parked.push(parked(change));
                }
                Some((key, _)) => {
                    closed.insert(key);
                    let (partition, offset) = (message.partition, message.offset);
                    sorted.supersede.push((message.topic.clone(), key.to_vec(), partition, offset));
                    sorted.apply.push(change.clone());
                }
            }
        }
        sorted
    }
}

fn parked(change: &Change) -> Refusal {
    Refusal {
        message: change.message.clone(),
        source: Some(change.shape.source.clone()),
        commit_lsn: change.commit_lsn,
        stage: "TASK_PUT",
        sqlstate: None,
        column: None,
        constraint: None,
        reason: "an older record of its key is a dead letter; it waits until that one is replayed or discarded"
            .to_owned(),
        on_error: change.shape.policy.on_error,
        parked: true,
    }
}

/// Marks letters that newer changes made pointless.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn supersede(
    client: &Session,
    pipeline: &str,
    changes: &[(Arc<str>, Vec<u8>, i32, i64)],
) -> Result<(), PostgresError> {
    if changes.is_empty() {
        return Ok(());
    }
    let (mut topics, mut keys, mut partitions, mut offsets) = (vec![], vec![], vec![], vec![]);
    for (topic, key, partition, offset) in changes {
        topics.push(topic.as_ref());
        keys.push(key.as_slice());
        partitions.push(*partition);
        offsets.push(*offset);
    }
    client
        .execute_typed(
            statements::SUPERSEDE,
            &[
                (&pipeline, Type::TEXT),
                (&topics, Type::TEXT_ARRAY),
                (&keys, Type::BYTEA_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&offsets, Type::INT8_ARRAY),
            ],
        )
        .await
        .map_err(|e| PostgresError::statement("mark superseded dead letters", e))?;
    Ok(())
}

#[cfg(test)]
#[path = "letters_tests.rs"]
mod tests;
