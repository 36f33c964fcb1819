//! Tables and columns before their first record: what the registry says of our topics is done to the target by the
//! code that a record would go through. So an empty table is there, and a new column without a value.
//!
//! Each topic is looked after by the sink that has its partition 0. The records need none of this: it never stops
//! the sink, what a rule or a person must decide waits for the record, and who holds a lock on a table is not waited for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_kafka::topic;
use causeway_postgres::{Client, Config as Postgres, client::begin};
use causeway_service::exit::chain_line;
use tokio_util::sync::CancellationToken;

use crate::{
    SinkError,
    change::Shape,
    decode::{Newest, Records},
    member::Me,
    pause, progress,
    run::Parts,
    table::Tables,
};

/// How often we look which topics are ours.
const TICK: Duration = Duration::from_secs(1);
/// How long a lock is waited for. Shorter than PostgreSQL's `deadlock_timeout` (1 s): of two that wait for
/// each other it is we who give way, not a batch.
const WAIT: &str = "SET LOCAL lock_timeout = '500ms'";

/// Looks at the registry for as long as the sink runs.
pub struct Ahead {
    me: Me,
    postgres: Postgres,
    records: Records,
    every: Duration,
    client: Option<Client>,
    topics: HashMap<Arc<str>, Known>,
    /// What was said already, so that it is not said every few seconds.
    said: BTreeSet<String>,
}

/// What we know of a topic.
#[derive(Debug)]
struct Known {
    /// When the registry was asked last.
    asked: Instant,
    /// The newest version that the table has been made to fit.
    done: Option<u32>,
}

impl Ahead {
    /// For one member.
    ///
    /// # Errors
    /// When the registry's address is none.
    pub fn new(parts: &Parts, me: &Me) -> Result<Self, SinkError> {
        Ok(Self {
            me: me.clone(),
            postgres: parts.postgres.clone(),
            records: parts.records()?,
            every: Duration::from_secs(parts.sink.schema_seconds),
            client: None,
            topics: HashMap::new(),
            said: BTreeSet::new(),
        })
    }

    /// Looks until it is stopped. With `schema_seconds = 0` it does nothing.
    ///
    /// # Errors
    /// None: what keeps it from looking is tried again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SinkError> {
        loop {
            let look = async {
                if self.every.is_zero() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(TICK).await;
                self.look().await
            };
            let looked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                looked = look => looked,
            };
            match looked {
                Ok(()) => {}
                Err(error) => {
                    self.client = None;
                    self.say(&chain_line(&error), "tables are not made ahead of their records");
                }
            }
        }
    }

    /// One look at the topics whose time has come.
    async fn look(&mut self) -> Result<(), SinkError> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            Some(_) | None => Client::connect(&self.postgres).await?,
        };
        let held = progress::held(&client, &self.me.pipeline).await?;
        let ours: BTreeSet<Arc<str>> = held
            .into_iter()
            .filter(|((topic, partition), held)| {
                *partition == 0
                    && held.epoch == self.me.epoch
                    && topic::is_table(&self.me.pipeline, topic)
            })
            .map(|((topic, _), _)| topic)
            .collect();
        // A topic that comes back is looked at at once.
        self.topics.retain(|topic, _| ours.contains(topic));
        let paused = pause::patterns(&client, &self.me.pipeline).await?;
        for topic in ours {
            let known = self.topics.get(&topic);
            if known.is_some_and(|known| known.asked.elapsed() < self.every)
                || pause::holds(&paused, &self.me.pipeline, &topic)
            {
                continue;
            }
            let done = known.and_then(|known| known.done);
            let done = self.look_at(&client, &topic, done).await?;
            self.topics.insert(topic, Known { asked: Instant::now(), done });
        }
        self.client = Some(client);
        Ok(())
    }

    /// Looks at one topic; gives the version that its table fits now.
    async fn look_at(
        &mut self,
        client: &Client,
        topic: &str,
        done: Option<u32>,
    ) -> Result<Option<u32>, SinkError> {
        let shape = match self.records.newer(topic, done).await {
            Ok(Some(shape)) => shape,
            Ok(None) => return Ok(done),
            Err(Newest::Registry(error)) => return Err(error.into()),
            Err(Newest::Schema(why)) => {
                self.say(&format!("{topic}: {why}"), "the newest schema of a topic cannot be read");
                return Ok(done);
            }
        };
        let fitted = fit(client, &self.postgres, &self.me.pipeline, &shape).await;
        match fitted {
            Ok(()) => Ok(Some(shape.schema_id)),
            // Somebody works on the table: the next look, or a record.
            Err(error) if error.is_transient() && !client.is_closed() => {
                tracing::debug!(topic, error = %chain_line(&error), "a table is not made ahead of its records now");
                Ok(done)
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                self.say(
                    &format!("{topic}: {}", chain_line(&error)),
                    "a table does not follow its newest schema; the first record that has it will say so",
                );
                Ok(done)
            }
        }
    }

    fn say(&mut self, error: &str, what: &str) {
        if self.said.len() >= 1_000 {
            self.said.clear();
        }
        if self.said.insert(error.to_owned()) {
            tracing::warn!(error, "{what}");
        }
    }
}

/// Makes a table fit a shape, in a transaction of its own.
async fn fit(
    client: &Client,
    postgres: &Postgres,
    pipeline: &str,
    shape: &Shape,
) -> Result<(), SinkError> {
    client.run("begin a transaction", &format!("{}; {WAIT}", begin(postgres))).await?;
    let fitted = Tables::new(pipeline).fit(client, shape).await;
    let end = if fitted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.run("end a transaction", end).await;
    fitted.and(ended.map_err(SinkError::from))
}
