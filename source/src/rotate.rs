//! Capture instances that follow their tables: when a column was added, a new instance is made, and the old
//! one is dropped when nothing is read from it any more.
//!
//! It is the only thing with which the source writes to the source database, and only with
//! `rotate_capture_instances`. It remembers nothing: what is to be done is seen in the database and in which
//! instance the stored position belongs to, so a crash at any point is a start like every other. The switch
//! from one instance to the next and the values of the new columns are the pump's part.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use causeway_change::TableId;
use causeway_observability::names::source as names;
use causeway_service::exit;
use causeway_sqlserver::{
    Client, SqlServerError,
    rotation::{self, InstanceFacts, Mark, TableInstances, disable_text},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// How often the history of DDL is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often what could not be done is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// A table has at most so many capture instances.
const SLOTS: usize = 2;
/// The longest name of a capture instance.
const LONGEST_NAME: usize = 100;
/// Between the base of a name and its number.
const SUFFIX: &str = "_cw";

/// What the pump and the rotation tell each other.
#[derive(Debug, Default)]
pub struct Rotation(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The instance of each table that the stored position belongs to.
    reading: BTreeMap<TableId, i32>,
    /// What keeps tables from following, for people.
    blocked: BTreeMap<TableId, String>,
}

impl Rotation {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position that is stored now belongs to this instance of a table.
    pub fn reads(&self, table: &TableId, object_id: i32) {
        self.state().reading.insert(table.clone(), object_id);
    }

    /// What keeps tables from following.
    #[must_use]
    pub fn blocked(&self) -> BTreeMap<String, String> {
        self.state().blocked.iter().map(|(id, why)| (id.to_string(), why.clone())).collect()
    }
}

/// What is to be done about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All is as it should be, or will be without us.
    Nothing,
    /// Make an instance of this name, with these columns or with all.
    Make {
        /// Name.
        name: String,
        /// Columns, when some are not wanted.
        columns: Option<Vec<String>>,
    },
    /// Drop this instance: nothing is read from it any more.
    Drop(String),
    /// A person must do something: why, and what.
    Blocked(String),
}

/// Pure: a name that we gave, or that the first of a line has, as base and number.
fn parts(name: &str) -> (&str, u32) {
    name.rsplit_once(SUFFIX)
        .and_then(|(base, number)| Some((base, number.parse().ok().filter(|n| *n >= 2)?)))
        .unwrap_or((name, 1))
}

/// Pure: the next name of a line that nobody has. A base is cut where the name would be too long.
fn next_name(name: &str, taken: &BTreeSet<String>) -> String {
    let (base, number) = parts(name);
    let mut number = number;
    loop {
        number += 1;
        let suffix = format!("{SUFFIX}{number}");
        let room = LONGEST_NAME.saturating_sub(suffix.len());
        let next: String = base.chars().take(room).chain(suffix.chars()).collect();
        // As SQL Server compares names by default.
        if !taken.contains(&next.to_lowercase()) {
            return next;
        }
    }
}

/// Pure: whether `newer` was made by us to follow `older`.
fn follows(newer: &str, older: &str) -> bool {
    let ((new_base, new), (old_base, old)) = (parts(newer), parts(older));
    let cut = newer.chars().count() == LONGEST_NAME && old_base.starts_with(new_base);
    new > old && (new_base == old_base || cut)
}

/// Pure: what is to be done about a table of which `reading` is read. `taken` are the names of all
/// instances, in lower case.
#[must_use]
pub fn decide(table: &TableInstances, reading: Option<i32>, taken: &BTreeSet<String>) -> Step {
    let instances = &table.instances;
    let (Some(newest), Some(reading)) = (instances.last(), reading) else { return Step::Nothing };
    let Some(at) = instances.iter().position(|i| i.object_id == reading) else {
        return Step::Nothing;
    };
    let (older, rest) = instances.split_at(at);
    let Some(now) = rest.first() else { return Step::Nothing };
    if let Some(old) = older.iter().find(|old| follows(&now.name, &old.name)) {
        return Step::Drop(old.name.clone());
    }
    if newest.lacks.is_empty() {
        return Step::Nothing;
    }
    if instances.len() < SLOTS {
        let columns = (!newest.left_out.is_empty()).then(|| {
            let wanted = |column: &&String| !newest.left_out.contains(*column);
            table.columns.iter().filter(wanted).cloned().collect()
        });
        return Step::Make { name: next_name(&newest.name, taken), columns };
    }
    // One that takes over soon leaves the place of the older one, if that is ours to drop.
    if older.is_empty() && follows(&newest.name, &now.name) {
        return Step::Nothing;
    }
    Step::Blocked(blocked(table, newest, now))
}

fn blocked(table: &TableInstances, newest: &InstanceFacts, now: &InstanceFacts) -> String {
    let names: Vec<&str> = table.instances.iter().map(|i| i.name.as_str()).collect();
    let other = table.instances.iter().find(|i| i.object_id != now.object_id);
    let advice = other.map(|i| disable_text(&table.id, &i.name)).unwrap_or_default();
    format!(
        "the columns {} of {} are not captured, and no capture instance can be made because both places are \
         taken ({}); drop the one that nobody reads; this source reads {}, so when no other program reads the \
         other: {advice}",
        newest.lacks.join(", "),
        table.id,
        names.join(", "),
        now.name,
    )
}

/// Starts the task. It ends when `stop` is cancelled.
pub fn start(shared: &Arc<Shared>, stop: &CancellationToken, tasks: &mut JoinSet<()>) {
    if shared.config.rotate_capture_instances {
        let rotator =
            Rotator { shared: Arc::clone(shared), client: None, seen: None, looked: None };
        tasks.spawn(rotator.run(stop.clone()));
    }
}

struct Rotator {
    shared: Arc<Shared>,
    client: Option<Client>,
    /// What was looked at last, and which instances were read then.
    seen: Option<(Mark, BTreeMap<TableId, i32>)>,
    looked: Option<Instant>,
}

impl Rotator {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // A statement that is cut off is done or not done: the next start sees which.
                round = Box::pin(self.round()) => round,
            };
            let wait = match round {
                Ok(()) => LOOK,
                Err(error) => {
                    self.client = None;
                    self.seen = None;
                    tracing::warn!(
                        error = exit::chain_line(&error),
                        "the capture instances could not be looked at; they are again"
                    );
                    AGAIN
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), SqlServerError> {
        let mut client = match self.client.take() {
            Some(client) if !client.is_broken() => client,
            Some(_) | None => self.shared.pool.get().await?,
        };
        let mark = rotation::mark(&mut client).await?;
        let reading = self.shared.rotation.state().reading.clone();
        let now = Some((mark, reading));
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= AGAIN);
        if now != self.seen || is_due {
            self.looked = Some(Instant::now());
            self.act(&mut client, now.as_ref().map(|(_, reading)| reading)).await?;
            self.seen = now;
        }
        self.client = Some(client);
        Ok(())
    }

    async fn act(
        &self,
        client: &mut Client,
        reading: Option<&BTreeMap<TableId, i32>>,
    ) -> Result<(), SqlServerError> {
        let tables = rotation::look(client, &self.shared.config.selection()).await?;
        let taken: BTreeSet<String> = tables
            .iter()
            .flat_map(|table| table.instances.iter().map(|i| i.name.to_lowercase()))
            .collect();
        for table in &tables {
            let reading = reading.and_then(|reading| reading.get(&table.id)).copied();
            let step = decide(table, reading, &taken);
            let done = match &step {
                Step::Nothing => Ok(()),
                Step::Make { name, columns } => {
                    let options = table.instances.last().map(|i| i.options.clone());
                    let options = options.unwrap_or_default();
                    tracing::info!(table = %table.id, instance = name, "columns were added: a capture instance is made");
                    rotation::enable(client, &table.id, name, columns.as_deref(), &options).await
                }
                Step::Drop(name) => {
                    tracing::info!(table = %table.id, instance = name, "a capture instance that is read no more is dropped");
                    rotation::disable(client, &table.id, name).await
                }
                Step::Blocked(why) => {
                    self.block(&table.id, why);
                    continue;
                }
            };
            match (step, done) {
                (_, Err(error)) if client.is_broken() => return Err(error),
                (_, Err(error)) => {
                    let line = exit::chain_line(&error);
                    self.block(&table.id, &format!("{line}; it is tried again"));
                }
                (Step::Make { .. }, Ok(())) => {
                    names::ROTATIONS.add(1, &[("table", &table.id.to_string()), ("step", "made")]);
                    self.unblock(&table.id);
                }
                (Step::Drop(_), Ok(())) => {
                    names::ROTATIONS
                        .add(1, &[("table", &table.id.to_string()), ("step", "dropped")]);
                    self.unblock(&table.id);
                }
                (Step::Nothing | Step::Blocked(_), Ok(())) => self.unblock(&table.id),
            }
        }
        Ok(())
    }

    /// Says once what is wrong.
    fn block(&self, table: &TableId, why: &str) {
        let before = self.shared.rotation.state().blocked.insert(table.clone(), why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::error!(table = %table, reason = why, "the capture instance cannot follow its table");
        }
    }

    fn unblock(&self, table: &TableId) {
        self.shared.rotation.state().blocked.remove(table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, object_id: i32, lacks: &[&str]) -> InstanceFacts {
        InstanceFacts {
            name: name.to_owned(),
            object_id,
            lacks: lacks.iter().map(|s| (*s).to_owned()).collect(),
            ..InstanceFacts::default()
        }
    }

    fn step(instances: &[InstanceFacts], reading: i32) -> Step {
        let table = TableInstances {
            id: TableId::new("dbo", "t"),
            columns: vec!["id".to_owned(), "secret".to_owned(), "z".to_owned()],
            instances: instances.to_vec(),
        };
        let taken = instances.iter().map(|i| i.name.to_lowercase()).collect();
        decide(&table, Some(reading), &taken)
    }

    fn make(name: &str) -> Step {
        Step::Make { name: name.to_owned(), columns: None }
    }

    #[test]
    fn every_state_that_a_crash_can_leave_goes_on() {
        let (old, new) = (instance("dbo_t", 1, &["z"]), instance("dbo_t_cw2", 2, &[]));
        // The column was added; the instance is made; the stream has switched; the old one is dropped.
        assert_eq!(step(std::slice::from_ref(&old), 1), make("dbo_t_cw2"));
        assert_eq!(step(&[old.clone(), new.clone()], 1), Step::Nothing);
        assert_eq!(step(&[old, new.clone()], 2), Step::Drop("dbo_t".to_owned()));
        assert_eq!(step(&[new], 2), Step::Nothing);
        assert_eq!(step(&[instance("dbo_t_cw2", 2, &["w"])], 2), make("dbo_t_cw3"));
    }

    #[test]
    fn a_second_change_waits_for_the_place_of_the_first() {
        let (old, new) = (instance("dbo_t", 1, &["z", "w"]), instance("dbo_t_cw2", 2, &["w"]));
        assert_eq!(step(&[old.clone(), new.clone()], 1), Step::Nothing);
        assert_eq!(step(&[old, new], 2), Step::Drop("dbo_t".to_owned()));
    }

    #[test]
    fn the_instances_of_others_are_left_alone() {
        let (ours, others) = (instance("dbo_t", 1, &["z"]), instance("dbo_t_v2", 2, &["z"]));
        for reading in [1, 2] {
            let Step::Blocked(why) = step(&[ours.clone(), others.clone()], reading) else {
                panic!("{reading}")
            };
            assert!(why.contains("both places are taken (dbo_t, dbo_t_v2)"), "{why}");
            let other = if reading == 1 { "N'dbo_t_v2'" } else { "N'dbo_t'" };
            assert!(why.ends_with(other), "{why}");
        }
        // An operator's own second instance takes over without us, and its predecessor stays.
        let made = instance("dbo_t_v2", 2, &[]);
        assert_eq!(step(&[ours.clone(), made.clone()], 1), Step::Nothing);
        assert_eq!(step(&[ours, made], 2), Step::Nothing);
    }

    #[test]
    fn what_was_left_out_stays_out() {
        let mut old = instance("dbo_t", 1, &["z"]);
        old.left_out = vec!["secret".to_owned()];
        let columns = Some(vec!["id".to_owned(), "z".to_owned()]);
        assert_eq!(step(&[old], 1), Step::Make { name: "dbo_t_cw2".to_owned(), columns });
    }

    #[test]
    fn names_follow_one_another_and_are_never_too_long() {
        let none = BTreeSet::new();
        assert_eq!(next_name("a", &none), "a_cw2");
        assert_eq!(next_name("a_cw9", &none), "a_cw10");
        assert_eq!(next_name("a_cwx", &none), "a_cwx_cw2");
        assert_eq!(next_name("A", &BTreeSet::from(["a_cw2".to_owned()])), "A_cw3");
        let long = "ä".repeat(100);
        let next = next_name(&long, &none);
        assert_eq!(next.chars().count(), 100);
        assert!(follows(&next, &long));
        assert!(follows("a_cw2", "a") && follows("a_cw3", "a_cw2"));
        assert!(!follows("a", "a_cw2") && !follows("b_cw2", "a") && !follows("a_v2", "a"));
    }
}
