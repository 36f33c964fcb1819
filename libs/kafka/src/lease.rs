//! [`Lease`]: of several processes with one name, the one that works.
//!
//! The lease is the assignment of the only partition of a topic in a consumer group in which every process
//! is a member. The broker's coordinator decides, so no clock is compared and nothing outside Kafka is
//! needed: a member that leaves hands over at once, one that dies or freezes is expelled after
//! `session.timeout.ms` (6 s, the least that brokers allow by default). The assignment is sticky: who holds
//! the lease keeps it when others come. It says who *should* work; that nobody else *can* is the
//! transactional id's part ([`crate::Transactional`]).
//!
//! A group takes its time for its first decision: seconds when it was empty, and as long as a member that
//! was killed has not been expelled. A process that sees nobody else alive goes first without waiting for
//! it: of two that begin together at least one sees the other, because each looks after it was listed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::{oneshot, watch};

use crate::{Config, Error, admin::blocking, context::Context};

/// How long the thread waits for the coordinator's word before it looks around.
const POLL: Duration = Duration::from_millis(50);
/// How long a broker may take to list the group's members.
const LIST: Duration = Duration::from_secs(5);
/// How long a confirmation is tried while the group makes up its mind.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long leaving may take; the broker expels us later all the same.
const LEAVE: Duration = Duration::from_secs(10);

/// Who has the lease, as far as this process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nobody has said yet.
    Asking,
    /// Another process, or one that died a moment ago.
    Other,
    /// This process, because there is no other; the group has not said so yet.
    First,
    /// This process.
    Yes,
}

impl Held {
    /// True when this process may work.
    #[must_use]
    pub fn is_ours(self) -> bool {
        match self {
            Self::First | Self::Yes => true,
            Self::Asking | Self::Other => false,
        }
    }
}

/// A place in the group, and perhaps the lease. Dropping it leaves the group in the background.
pub struct Lease {
    shared: Arc<Shared>,
    /// The thread alone owns it, so that it is the thread that waits when it is closed.
    consumer: Weak<BaseConsumer<LeaseContext>>,
    topic: String,
    held: watch::Receiver<Held>,
    ended: Option<oneshot::Receiver<()>>,
}

struct Shared {
    held: watch::Sender<Held>,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Hears the coordinator's decisions.
struct LeaseContext {
    log: Context,
    shared: Arc<Shared>,
}

/// A member of the group.
#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    client_id: &'a str,
}

impl Lease {
    /// Joins the group as `who`, a name that no other process has and that is its `client.id`. `topic` has
    /// one partition; nothing is read from it. `is_gone` says of another member's name that its process is
    /// known to have ended, so that it is not waited for.
    ///
    /// # Errors
    /// [`Error::Config`] when librdkafka refuses a property.
    pub async fn join(
        config: &Config,
        group: &str,
        topic: &str,
        who: &str,
        is_gone: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        config.validate()?;
        let client_config = config.lease(group, who);
        let (held, receiver) = watch::channel(Held::Asking);
        let shared =
            Arc::new(Shared { held, stopped: AtomicBool::new(false), failure: Mutex::new(None) });
        let context = LeaseContext { log: Context::new(), shared: Arc::clone(&shared) };
        let seat = Seat { group: group.to_owned(), who: who.to_owned() };
        let of = topic.to_owned();
        let for_thread = Arc::clone(&shared);
        let (consumer, ended) = blocking("join a consumer group", move || {
            let fail = |source| {
                Error::client(
                    format!("join the consumer group {}", seat.group),
                    &seat.group,
                    source,
                    None,
                )
            };
            let consumer: BaseConsumer<LeaseContext> =
                BaseConsumer::from_config_and_context(&client_config, context).map_err(fail)?;
            consumer.subscribe(&[&of]).map_err(fail)?;
            let consumer = Arc::new(consumer);
            let weak = Arc::downgrade(&consumer);
            let (sender, ended) = oneshot::channel();
            std::thread::Builder::new()
                .name("kafka-lease".to_owned())
                .spawn(move || {
                    seat.run(&consumer, &for_thread, &is_gone);
                    // Leaves the group, unless a confirmation is under way, which ends soon.
                    drop(consumer);
                    // Nobody may be waiting.
                    let _told = sender.send(());
                })
                .map_err(|_| Error::Closed { doing: "start the thread of a lease" })?;
            Ok((weak, ended))
        })
        .await?;
        Ok(Self { shared, consumer, topic: topic.to_owned(), held: receiver, ended: Some(ended) })
    }

    /// Who has the lease.
    #[must_use]
    pub fn held(&self) -> Held {
        *self.held.borrow()
    }

    /// Waits until somebody else than `before` has the lease, or for an error. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Rights`] or [`Error::Login`] when this process may not be a member.
    pub async fn changed(&mut self, before: Held) -> Result<Held, Error> {
        loop {
            if let Some(error) = self.take_failure() {
                return Err(error);
            }
            let held = *self.held.borrow_and_update();
            if held != before {
                return Ok(held);
            }
            self.held.changed().await.map_err(|_| Error::Closed { doing: "hold a lease" })?;
        }
    }

    /// Waits until the lease is not ours. Cancel safe.
    pub async fn lost(&self) {
        let mut held = self.held.clone();
        // The sender lives as long as we do.
        drop(held.wait_for(|held| !held.is_ours()).await);
    }

    /// Asks the coordinator whether the lease is ours still: a process that was frozen does not know. False
    /// when it is not.
    ///
    /// # Errors
    /// Transient ones when the coordinator does not answer.
    pub async fn confirm(&self) -> Result<bool, Error> {
        match self.held() {
            Held::Asking | Held::Other => return Ok(false),
            Held::First => return Ok(true),
            Held::Yes => {}
        }
        let consumer = self.consumer.upgrade().ok_or(Error::Closed { doing: "confirm a lease" })?;
        let (topic, shared) = (self.topic.clone(), Arc::clone(&self.shared));
        blocking("confirm a lease", move || commit(&consumer, &topic, &shared)).await
    }

    /// We went first and should not have: the lease is not ours until the group says so.
    pub fn step_back(&self) {
        self.shared.held.send_if_modified(|held| {
            let first = *held == Held::First;
            if first {
                *held = Held::Other;
            }
            first
        });
    }

    /// Leaves the group, which hands the lease over.
    pub async fn leave(mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(ended) = self.ended.take() {
            // It ends, or the broker will notice.
            drop(tokio::time::timeout(LEAVE, ended).await);
        }
    }

    fn take_failure(&self) -> Option<Error> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
    }
}

/// The coordinator takes offsets from members of the current generation only: a commit that it takes
/// proves that we are one. Nobody reads the offset.
fn commit(
    consumer: &BaseConsumer<LeaseContext>,
    topic: &str,
    shared: &Shared,
) -> Result<bool, Error> {
    let mut list = TopicPartitionList::new();
    let fail =
        |source| Error::client("confirm the lease of the pipeline".to_owned(), topic, source, None);
    list.add_partition_offset(topic, 0, Offset::Offset(0)).map_err(fail)?;
    let begun = Instant::now();
    loop {
        let error = match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let is_settled = match error.rdkafka_error_code() {
            // Either we are expelled, which the thread is about to hear, or another has joined and what we
            // have stays ours in the new generation.
            Some(
                RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::RebalanceInProgress,
            ) => false,
            Some(_) | None => true,
        };
        if !shared.held.borrow().is_ours() {
            return Ok(false);
        }
        if is_settled || begun.elapsed() > CONFIRM {
            return Err(fail(error));
        }
        std::thread::sleep(POLL);
    }
}

/// What the thread knows.
struct Seat {
    group: String,
    who: String,
}

impl Seat {
    fn run(
        &self,
        consumer: &BaseConsumer<LeaseContext>,
        shared: &Shared,
        is_gone: &dyn Fn(&str) -> bool,
    ) {
        while !shared.stopped.load(Ordering::Acquire) {
            if let Some(Err(error)) = consumer.poll(POLL) {
                self.failed(shared, consumer.client().context(), error);
            }
            if *shared.held.borrow() == Held::Asking {
                let found = self.look(consumer, is_gone);
                shared.held.send_if_modified(|held| match found {
                    Some(found) if *held == Held::Asking => {
                        *held = found;
                        true
                    }
                    Some(_) | None => false,
                });
            }
        }
    }

    /// Errors that pass are mended by librdkafka.
    fn failed(&self, shared: &Shared, context: &LeaseContext, error: KafkaError) {
        let doing = format!("be a member of the consumer group {}", self.group);
        let error = Error::client(doing, &self.group, error, context.log.hint());
        let error = context.log.explain(error);
        if matches!(error, Error::Rights { .. } | Error::Login { .. }) {
            *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            // Wakes who waits; the value stays.
            shared.held.send_modify(|_| {});
        } else {
            tracing::debug!(%error, "the membership of the lease's group is disturbed");
        }
    }

    /// Looks who is there, when that can be known.
    fn look(
        &self,
        consumer: &BaseConsumer<LeaseContext>,
        is_gone: &dyn Fn(&str) -> bool,
    ) -> Option<Held> {
        let list = match consumer.fetch_group_list(Some(&self.group), LIST) {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(%error, "the members of the lease's group are not known");
                return None;
            }
        };
        let group = list.groups().iter().find(|group| group.name() == self.group)?;
        let members = group.members().iter().map(|m| Member { client_id: m.client_id() });
        decide(&self.who, members, is_gone)
    }
}

/// Pure: whether we go first. None before we are listed ourselves: somebody else may look at this moment.
fn decide<'a>(
    who: &str,
    members: impl Iterator<Item = Member<'a>>,
    is_gone: &dyn Fn(&str) -> bool,
) -> Option<Held> {
    let mut listed = false;
    let mut other = false;
    for member in members {
        if member.client_id == who {
            listed = true;
        } else if !is_gone(member.client_id) {
            other = true;
        }
    }
    match (listed, other) {
        (false, _) => None,
        (true, true) => Some(Held::Other),
        (true, false) => Some(Held::First),
    }
}

impl ClientContext for LeaseContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for LeaseContext {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let held = match rebalance {
            Rebalance::Assign(list) if list.count() > 0 => {
                // Nothing is wanted of the partition but that it is ours.
                if let Err(error) = consumer.pause(list) {
                    tracing::debug!(%error, "the lease's partition is read");
                }
                tracing::info!("the consumer group gives this process the lease");
                Some(Held::Yes)
            }
            // The group has decided, and not for us; or nothing has changed.
            Rebalance::Assign(_) => {
                (*self.shared.held.borrow() != Held::Yes).then_some(Held::Other)
            }
            Rebalance::Revoke(_) => Some(Held::Other),
            Rebalance::Error(_) => None,
        };
        if let Some(held) = held {
            self.shared.held.send_replace(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_nobody_else_alive_goes_first() {
        let decide = |members: &[&str]| {
            let members = members.iter().map(|client_id| Member { client_id });
            decide("me", members, &|who| who == "dead")
        };
        assert_eq!(decide(&[]), None);
        assert_eq!(decide(&["other"]), None);
        assert_eq!(decide(&["me"]), Some(Held::First));
        assert_eq!(decide(&["dead", "me"]), Some(Held::First));
        assert_eq!(decide(&["dead", "me", "other"]), Some(Held::Other));
    }
}
