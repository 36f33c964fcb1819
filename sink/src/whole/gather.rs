//! Reads the index and the tables' topics, and gives pieces to the applier while it can take them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_kafka::{Consumer, Message, consumer::EARLIEST, topic, transactions::Entry};
use causeway_observability::names::sink as names;
use causeway_postgres::{Client, Config as Postgres, PostgresError, Session};
use causeway_service::exit::chain_line;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SinkError,
    change::Change,
    decode::{Decoded, Records},
    lane::Board,
    member::Me,
    pause,
    progress::{self, Place},
    share::{self, Unit},
    whole::{
        apply::Ready,
        assemble::{Arrival, Assembler, Bounds, Piece},
    },
};

/// Entries in memory, above which the index is not read on.
const ENTRIES_MAX: usize = 20_000;
/// What stands on the board for what this task waits for: one more than the only lane.
const GATHERER: usize = 1;
/// How long records may wait for an entry that names them, before that is said.
const UNNAMED: Duration = Duration::from_secs(10);

/// The task that reads.
pub struct Gatherer {
    consumer: Consumer,
    records: Records,
    config: Config,
    postgres: Postgres,
    me: Me,
    board: Arc<Board>,
    session: Option<Client>,
    assembler: Assembler<Decoded>,
    index: Place,
    /// True from when the index's partition is read.
    indexed: bool,
    /// Another sink has the partitions.
    standby: bool,
    /// Partitions that are not fetched, for want of room or because somebody paused their table.
    stopped: HashSet<Place>,
    stalled: HashSet<Place>,
    paused: HashSet<Place>,
    /// Something has come since nothing could be given out.
    fresh: bool,
    unnamed_since: Option<Instant>,
    told: Option<String>,
}

/// What the gatherer is made of.
pub struct Source {
    /// Reads Kafka.
    pub consumer: Consumer,
    /// Decodes.
    pub records: Records,
    /// Limits.
    pub config: Config,
    /// Where offsets are claimed.
    pub postgres: Postgres,
    /// Who we are.
    pub me: Me,
    /// Where the state is shown.
    pub board: Arc<Board>,
}

impl Gatherer {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let index: Place = (topic::transactions(&source.me.pipeline).into(), 0);
        let bytes = source.config.batch_bytes;
        let bounds = Bounds {
            rows: source.config.batch_rows,
            piece: bytes,
            waiting: bytes.saturating_mul(4),
        };
        Self {
            consumer: source.consumer,
            records: source.records,
            config: source.config,
            postgres: source.postgres,
            me: source.me,
            board: source.board,
            session: None,
            assembler: Assembler::new(bounds, index.clone(), 0),
            index,
            indexed: false,
            standby: false,
            stopped: HashSet::new(),
            stalled: HashSet::new(),
            paused: HashSet::new(),
            fresh: false,
            unnamed_since: None,
            told: None,
        }
    }

    /// Reads until it is stopped.
    ///
    /// # Errors
    /// What ends the session: a gap, another sink, a server that is away.
    pub async fn run(
        mut self,
        pieces: mpsc::Sender<Ready>,
        stop: CancellationToken,
    ) -> Result<(), SinkError> {
        self.discover().await?;
        self.look_for_pauses().await?;
        let every = Duration::from_secs(self.config.discover_seconds);
        let mut discover = tokio::time::interval(every);
        discover.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        discover.tick().await;
        let waiting = self.config.batch_bytes.saturating_mul(4);
        loop {
            let full = self.assembler.bytes() >= waiting;
            self.flow()?;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = discover.tick() => {
                    // A server that is away for a moment must not undo a large transaction.
                    for looked in [self.discover().await, self.look_for_pauses().await] {
                        match looked {
                            Err(error) if error.is_transient() => {
                                tracing::warn!(error = %chain_line(&error), "looking again later");
                            }
                            looked => looked?,
                        }
                    }
                    self.tell();
                }
                permit = pieces.reserve(), if self.fresh => {
                    let Ok(permit) = permit else { return Ok(()) };
                    match self.assembler.next_piece() {
                        Some(piece) => permit.send(ready(piece)),
                        None => self.fresh = false,
                    }
                }
                // When there is no room, what can be given out goes first.
                messages = self.consumer.next_batch(), if !(full && self.fresh) => {
                    for message in messages? {
                        self.take(message, &stop).await?;
                    }
                    self.fresh = true;
                }
            }
        }
    }

    async fn take(&mut self, message: Message, stop: &CancellationToken) -> Result<(), SinkError> {
        if message.topic == self.index.0 {
            let entry = Entry::parse(message.value.as_deref().unwrap_or_default());
            let entry = entry.map_err(|error| SinkError::Index {
                topic: message.topic.to_string(),
                offset: message.offset,
                why: error.to_string(),
            })?;
            self.assembler.entry(message.offset, entry);
            return Ok(());
        }
        let message = Arc::new(message);
        let place = (message.topic.clone(), message.partition);
        let Some(item) = self.records.decode_patiently(&message, stop).await? else {
            return Ok(());
        };
        let (bytes, at) = match &item {
            Decoded::Change(change) => {
                names::ROWS_READ.add(1, &[("table", &change.shape.source.to_string())]);
                (change.size(), change.change_lsn)
            }
            Decoded::Moved(pair) => (pair.0.size() + pair.1.size(), pair.1.change_lsn),
            Decoded::Refused(_) => (message.size(), None),
            Decoded::Nothing => (64, None),
        };
        self.assembler.record(&place, Arrival { offset: message.offset, bytes, at, item });
        Ok(())
    }

    /// Stops and begins fetching partitions, as room and pauses want it.
    fn flow(&mut self) -> Result<(), SinkError> {
        self.assembler.restrain(&mut self.stalled, !self.fresh);
        if self.assembler.entries() >= ENTRIES_MAX {
            self.stalled.insert(self.index.clone());
        } else if self.assembler.entries() < ENTRIES_MAX / 2 {
            self.stalled.remove(&self.index);
        }
        if self.stalled.is_empty() && self.paused.is_empty() && self.stopped.is_empty() {
            return Ok(());
        }
        let wanted: HashSet<Place> = self.stalled.union(&self.paused).cloned().collect();
        let list = |places: std::collections::hash_set::Difference<'_, Place, _>| {
            places.map(|(topic, partition)| (topic.to_string(), *partition)).collect::<Vec<_>>()
        };
        let stop = list(wanted.difference(&self.stopped));
        let begin = list(self.stopped.difference(&wanted));
        if !stop.is_empty() {
            self.consumer.pause(&stop)?;
        }
        if !begin.is_empty() {
            self.consumer.resume(&begin)?;
        }
        self.stopped = wanted;
        Ok(())
    }

    /// Takes the partitions, all of them or none, and reads those that are new from where PostgreSQL says.
    async fn discover(&mut self) -> Result<(), SinkError> {
        let pipeline = self.me.pipeline.clone();
        let topics = self.consumer.topics(&topic::tables_prefix(&pipeline)).await?;
        let has_index =
            topics.iter().any(|info| *info.name == *self.index.0 && info.partitions > 0);
        // Without an index nothing can be applied, so nothing is read.
        if !has_index {
            return Ok(());
        }
        let mut there: BTreeSet<Place> = [self.index.clone()].into();
        for info in topics.iter().filter(|info| topic::is_table(&pipeline, &info.name)) {
            let name: Arc<str> = info.name.as_str().into();
            there.extend((0..info.partitions).map(|partition| (name.clone(), partition)));
        }
        let client = self.session().await?;
        let known = progress::held(&client, &pipeline).await?;
        let mut new = Vec::new();
        for place in there.iter().filter(|place| !known.contains_key(*place)) {
            let low = self.consumer.watermarks(&place.0, place.1).await?.low;
            new.push((place.clone(), low));
        }
        if !new.is_empty() {
            progress::know(&client, &pipeline, &new).await?;
        }
        let ours = self.share(&client).await?;
        self.session = Some(client);
        let unread = |place: &Place| match *place == self.index {
            true => !self.indexed,
            false => there.contains(place) && !self.assembler.knows(place),
        };
        let take: Vec<(Place, i64)> = ours.into_iter().filter(|(p, _)| unread(p)).collect();
        self.read(take).await
    }

    /// The partitions that are ours, and the offsets to be read next. They go together: the first living
    /// sink that has some of them has all.
    async fn share(&mut self, client: &Session) -> Result<Vec<(Place, i64)>, SinkError> {
        if !self.me.touch(client).await? {
            return Err(self.me.fenced());
        }
        let alive = self.me.alive(client).await?;
        // Asked for first: what was committed by now is what PostgreSQL must have.
        let committed = self.board.committed();
        let held = progress::held(client, &self.me.pipeline).await?;
        let index = self.indexed.then_some(&self.index);
        let lost = self.assembler.places().chain(index).any(|place| {
            let least = committed.get(place).copied().unwrap_or(0);
            // A server that lost its last commits has gone back; idle partitions would never notice.
            held.get(place).is_none_or(|h| h.epoch != self.me.epoch || h.next < least)
        });
        if lost || !alive.contains(&self.me.epoch) {
            return Err(self.me.fenced());
        }
        let places = held.iter().map(|(place, held)| (place.clone(), held.epoch)).collect();
        let unit = Unit { kind: self.me.pipeline.clone(), places };
        let moves = share::decide(self.me.epoch, &alive, &[unit]);
        if !moves.release.is_empty() {
            // Two began at once, and each has some: who joins again gives up all that it has.
            return Err(self.me.fenced());
        }
        let mut ours: Vec<(Place, i64)> = held
            .into_iter()
            .filter(|(_, held)| held.epoch == self.me.epoch)
            .map(|(place, held)| (place, held.next))
            .collect();
        if !moves.claim.is_empty() {
            ours.extend(self.me.claim(client, &moves.claim).await?);
        }
        self.standby = ours.is_empty();
        self.board.members(alive.len());
        Ok(ours)
    }

    /// Reads partitions from now on.
    async fn read(&mut self, take: Vec<(Place, i64)>) -> Result<(), SinkError> {
        if take.is_empty() {
            return Ok(());
        }
        let mut reads = Vec::with_capacity(take.len());
        for (place, next) in &take {
            let low = self.consumer.watermarks(&place.0, place.1).await?.low;
            let (name, partition, next) = (place.0.to_string(), place.1, *next);
            if next < low && *place == self.index {
                return Err(SinkError::Index {
                    topic: name.clone(),
                    offset: next,
                    why: format!(
                        "it begins at offset {low} now: Kafka's retention removed {} entries that were not applied. \
                         `causeway-sink offsets reset {name} --to earliest` goes on behind them: records that they named \
                         are then applied row by row",
                        low - next
                    ),
                });
            }
            if next < low {
                return Err(SinkError::Gap { topic: name, partition, low, next });
            }
            tracing::info!(topic = %place.0, partition, offset = next, "partition taken");
            reads.push((name, partition, if next == 0 { EARLIEST } else { next }));
        }
        self.consumer.add(&reads).await?;
        for (place, next) in take {
            if place == self.index {
                self.assembler.begin_index(next);
                self.indexed = true;
            } else {
                self.assembler.add(place, next);
            }
        }
        self.fresh = true;
        Ok(())
    }

    /// The connection for questions; who had no answer on it must not give it back.
    async fn session(&mut self) -> Result<Client, PostgresError> {
        match self.session.take() {
            Some(client) if !client.is_closed() => Ok(client),
            Some(_) | None => Client::connect(&self.postgres).await,
        }
    }

    /// Tables that `causeway-sink pause` names: what is behind their records waits for them.
    async fn look_for_pauses(&mut self) -> Result<(), SinkError> {
        let client = self.session().await?;
        let patterns = pause::patterns(&client, &self.me.pipeline).await?;
        self.session = Some(client);
        self.paused = self
            .assembler
            .places()
            .filter(|(topic, _)| pause::holds(&patterns, &self.me.pipeline, topic))
            .cloned()
            .collect();
        Ok(())
    }

    /// Says what is waited for: an index that does not speak of what is there must not go unnoticed.
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn tell(&mut self) {
        let read = self.assembler.places().count() + usize::from(self.indexed);
        names::PARTITIONS.set(read as f64, &[]);
        if let Some(lag) = self.consumer.lag() {
            names::LAG_RECORDS.set(lag as f64, &[]);
        }
        let topic = &self.index.0;
        let turn_on = "is [source] transaction_index on, and does the source run?";
        let unnamed = if self.standby {
            None
        } else if self.indexed {
            self.assembler.unnamed().map(|(count, place, offset)| {
                format!(
                    "{count} records, the first at offset {offset} of {} partition {}, are named by no entry of {topic}: {turn_on}",
                    place.0, place.1
                )
            })
        } else {
            Some(format!("there is no transaction index: topic {topic} is missing; {turn_on}"))
        };
        let since = match (&unnamed, self.unnamed_since) {
            (None, _) => None,
            (Some(_), since) => Some(since.unwrap_or_else(Instant::now)),
        };
        self.unnamed_since = since;
        let wrong =
            unnamed.filter(|_| !self.indexed || since.is_some_and(|at| at.elapsed() >= UNNAMED));
        let waits = if self.standby {
            Some(format!(
                "another sink of {}, which has the partitions; this one takes over when it ends",
                self.me.pipeline
            ))
        } else {
            wrong.clone().or_else(|| self.assembler.waits_for())
        };
        self.board.health().set_status(json!({"sink": {"transactions": {
            "entries_waiting": self.assembler.entries(),
            "bytes_waiting": self.assembler.bytes(),
            "waits_for": waits,
            "paused": !self.paused.is_empty(),
        }}}));
        match &wrong {
            Some(text) => {
                if self.told.as_ref() != Some(text) {
                    tracing::warn!("{text}");
                }
                self.board.waiting(GATHERER, text.clone());
            }
            None if self.told.is_some() => self.board.goes_on(GATHERER),
            None => {}
        }
        self.told = wrong;
    }
}

fn ready(piece: Piece<Decoded>) -> Ready {
    let mut ready = Ready {
        whole: piece.whole,
        transactions: piece.transactions,
        loose: piece.loose,
        id: piece.id,
        ..Ready::default()
    };
    ready.batch.spans = piece.spans;
    let changes: &mut Vec<Change> = &mut ready.batch.changes;
    for item in piece.items {
        match item {
            Decoded::Change(change) => changes.push(change),
            Decoded::Moved(pair) => changes.extend([pair.0, pair.1]),
            Decoded::Refused(refusal) => ready.batch.refusals.push(*refusal),
            Decoded::Nothing => {}
        }
    }
    ready
}
