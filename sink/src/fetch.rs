//! Reads records and makes batches of them, while the batch before is being applied.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_kafka::{Consumer, Message, consumer::EARLIEST, topic};
use causeway_observability::names::sink as names;
use causeway_postgres::{Client, Config as Postgres, PostgresError};
use causeway_service::exit::chain_line;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SinkError,
    apply::Batch,
    batch::{Close, Limits},
    decode::{Decoded, Records},
    lane::{Board, Work},
    member::Me,
    pause,
    progress::{self, Held, Place, Span},
    run::Parts,
    share::{self, Unit},
};

/// How often a sink looks whether partitions are to be taken or given up.
const SHARE: Duration = Duration::from_secs(1);

/// The task that fetches.
pub struct Fetcher {
    consumer: Consumer,
    records: Records,
    config: Config,
    postgres: Postgres,
    me: Me,
    board: Arc<Board>,
    /// One for each lane: what it is to apply.
    lanes: Vec<Filling>,
    /// The partitions that are or were ours; those of now are in `owned`.
    slots: Vec<Slot>,
    owned: HashMap<Place, usize>,
    /// The slot of the record before: most records are of the same partition.
    last: usize,
    /// Partitions of tables that somebody paused.
    paused: HashSet<Place>,
    session: Option<Client>,
}

/// A partition that is read.
struct Slot {
    place: Place,
    /// The offset to be read next.
    position: i64,
    lane: usize,
    /// Where the batch that is being filled begins; none when it has nothing of this partition.
    begun: Option<i64>,
    /// Records that are not counted yet, and the table that they are counted for.
    read: u64,
    label: Option<String>,
}

/// The batch that a lane gets next.
struct Filling {
    works: mpsc::Sender<Work>,
    batch: Batch,
    limits: Limits,
}

impl Fetcher {
    /// One for some lanes.
    #[must_use]
    pub fn new(
        consumer: Consumer,
        records: Records,
        parts: &Parts,
        me: Me,
        board: Arc<Board>,
        lanes: Vec<mpsc::Sender<Work>>,
    ) -> Self {
        let filling =
            |works| Filling { works, batch: Batch::default(), limits: Limits::new(&parts.sink) };
        Self {
            consumer,
            records,
            config: parts.sink.clone(),
            postgres: parts.postgres.clone(),
            me,
            board,
            lanes: lanes.into_iter().map(filling).collect(),
            slots: Vec::new(),
            owned: HashMap::new(),
            last: 0,
            paused: HashSet::new(),
            session: None,
        }
    }

    /// Fetches until it is stopped. Of each lane one batch is filled, one waits and one is applied.
    ///
    /// # Errors
    /// What is not transient: a gap, missing rights, another sink.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SinkError> {
        self.discover().await?;
        self.share(&stop).await?;
        self.pause().await?;
        let ticker = |every| {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks.reset();
            ticks
        };
        let mut discover = ticker(Duration::from_secs(self.config.discover_seconds));
        let mut share = ticker(SHARE);
        loop {
            if !self.flush_due(Instant::now(), &stop).await {
                return Ok(());
            }
            let due =
                self.lanes.iter().filter_map(|lane| match lane.limits.close(Instant::now()) {
                    Close::At(due) => Some(due),
                    Close::Now | Close::Idle => None,
                });
            let due = due.min().map_or_else(
                || tokio::time::Instant::now() + Duration::from_secs(3600),
                tokio::time::Instant::from,
            );
            // What was fetched and not applied is fetched again: the offsets are in PostgreSQL.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = share.tick() => self.share(&stop).await?,
                _ = discover.tick() => {
                    self.discover().await?;
                    self.pause().await?;
                }
                () = tokio::time::sleep_until(due) => {}
                messages = self.consumer.next_batch() => {
                    let messages = messages?;
                    let began = Instant::now();
                    for message in messages {
                        if !self.take(message, began, &stop).await? {
                            return Ok(());
                        }
                    }
                    names::STAGE_SECONDS.record(began.elapsed().as_secs_f64(), &[("stage", "decode")]);
                }
            }
            self.publish();
        }
    }

    /// Takes one record; false when stopped.
    async fn take(
        &mut self,
        message: Message,
        now: Instant,
        stop: &CancellationToken,
    ) -> Result<bool, SinkError> {
        let Some(at) = self.slot(&message) else { return Ok(true) };
        let message = Arc::new(message);
        let next = message.offset + 1;
        let Some(decoded) = self.records.decode_patiently(&message, stop).await? else {
            return Ok(false);
        };
        let Some(slot) = self.slots.get_mut(at) else { return Ok(true) };
        let Some(lane) = self.lanes.get_mut(slot.lane) else { return Ok(true) };
        slot.begun.get_or_insert(slot.position);
        slot.position = next;
        slot.read += 1;
        match decoded {
            Decoded::Change(change) => {
                lane.limits.add(change.size(), now);
                if slot.label.is_none() {
                    slot.label = Some(change.shape.source.to_string());
                }
                lane.batch.changes.push(change);
            }
            Decoded::Moved(pair) => {
                let (old, new) = *pair;
                for change in [old, new] {
                    lane.limits.add(change.size(), now);
                    lane.batch.changes.push(change);
                }
            }
            Decoded::Refused(refusal) => {
                lane.limits.add(message.size(), now);
                lane.batch.refusals.push(*refusal);
            }
            // It moves the offsets, so it is a part of the batch all the same.
            Decoded::Nothing => lane.limits.add(64, now),
        }
        if lane.limits.close(now) == Close::Now {
            let lane = slot.lane;
            return Ok(self.flush(lane, stop).await);
        }
        Ok(true)
    }

    /// The slot of a record; none when it is not ours any more, or was applied already: it was fetched
    /// before its partition went away and came back.
    fn slot(&mut self, message: &Message) -> Option<usize> {
        let same = |slot: &Slot| slot.place.1 == message.partition && slot.place.0 == message.topic;
        if !self.slots.get(self.last).is_some_and(same) {
            self.last = *self.owned.get(&(message.topic.clone(), message.partition))?;
        }
        let slot = self.slots.get(self.last)?;
        (message.offset >= slot.position).then_some(self.last)
    }

    /// Sends the batches that have waited long enough; false when stopped.
    async fn flush_due(&mut self, now: Instant, stop: &CancellationToken) -> bool {
        for lane in 0..self.lanes.len() {
            let due = self.lanes.get(lane).is_some_and(|l| l.limits.close(now) == Close::Now);
            if due && !self.flush(lane, stop).await {
                return false;
            }
        }
        true
    }

    /// Sends what a lane has; false when stopped.
    async fn flush(&mut self, number: usize, stop: &CancellationToken) -> bool {
        let Some(lane) = self.lanes.get_mut(number) else { return true };
        let mut batch = std::mem::take(&mut lane.batch);
        lane.limits = Limits::new(&self.config);
        for slot in self.slots.iter_mut().filter(|slot| slot.lane == number) {
            if let Some(expected) = slot.begun.take() {
                batch.spans.insert(slot.place.clone(), Span { expected, next: slot.position });
            }
            if let (true, Some(table)) = (slot.read > 0, &slot.label) {
                names::ROWS_READ.add(std::mem::take(&mut slot.read), &[("table", table)]);
            }
        }
        if batch.spans.is_empty() {
            return true;
        }
        self.send(number, Work::Batch(batch), stop).await
    }

    async fn send(&self, lane: usize, work: Work, stop: &CancellationToken) -> bool {
        let Some(lane) = self.lanes.get(lane) else { return true };
        let began = Instant::now();
        let sent = tokio::select! {
            sent = lane.works.send(work) => sent.is_ok(),
            () = stop.cancelled() => false,
        };
        names::STAGE_SECONDS.record(began.elapsed().as_secs_f64(), &[("stage", "queue")]);
        sent
    }

    /// Notes partitions that are new in PostgreSQL, for whoever gets them.
    async fn discover(&mut self) -> Result<(), SinkError> {
        let pipeline = self.me.pipeline.clone();
        let topics = match self.consumer.topics(&topic::tables_prefix(&pipeline)).await {
            Ok(topics) => topics,
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain_line(&error), "Kafka did not list its topics; asking again");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let ours = topics.iter().filter(|info| topic::is_table(&pipeline, &info.name));
        let all: Vec<Place> = ours
            .flat_map(|info| {
                let name: Arc<str> = info.name.as_str().into();
                (0..info.partitions).map(move |partition| (name.clone(), partition))
            })
            .collect();
        let noted = async {
            let client = self.session().await?;
            let known = progress::held(&client, &pipeline).await?;
            let mut new = Vec::new();
            for place in all.into_iter().filter(|place| !known.contains_key(place)) {
                let low = self.consumer.watermarks(&place.0, place.1).await?.low;
                new.push((place, low));
            }
            if !new.is_empty() {
                progress::know(&client, &pipeline, &new).await?;
            }
            self.session = Some(client);
            Ok::<_, SinkError>(new.len())
        };
        match noted.await {
            Ok(0) => Ok(()),
            Ok(_) => self.share(&CancellationToken::new()).await,
            // PostgreSQL or Kafka is away: the next look finds the same partitions.
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain_line(&error), "new topics must wait");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes and gives up partitions, so that all sinks of the pipeline have as many.
    async fn share(&mut self, stop: &CancellationToken) -> Result<(), SinkError> {
        let moves = match self.moves().await {
            Ok(moves) => moves,
            // PostgreSQL is away: nobody can take anything.
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error),
        };
        let (claimed, release) = moves;
        if !release.is_empty() {
            self.release(&release, stop).await?;
        }
        if claimed.is_empty() {
            return Ok(());
        }
        let mut reads = Vec::with_capacity(claimed.len());
        for ((topic, partition), next) in claimed {
            // A record of before is nowhere to be had, so a partition without records has nothing to lose.
            let low = match self.consumer.watermarks(&topic, partition).await {
                Ok(marks) => marks.low,
                // The consumer finds out by itself.
                Err(error) if error.is_transient() => next,
                Err(error) => return Err(error.into()),
            };
            if next < low {
                return Err(SinkError::Gap { topic: topic.to_string(), partition, low, next });
            }
            tracing::info!(topic = %topic, partition, offset = next, "partition taken");
            reads.push((topic.to_string(), partition, if next == 0 { EARLIEST } else { next }));
            let place = (topic, partition);
            let lane = self.lane(&place);
            let (begun, read, label) = (None, 0, None);
            self.owned.insert(place.clone(), self.slots.len());
            self.slots.push(Slot { place, position: next, lane, begun, read, label });
        }
        self.consumer.add(&reads).await?;
        self.pause().await
    }

    /// What PostgreSQL says of all sinks and partitions comes to this: what is ours from now on, and what
    /// is to be given up.
    async fn moves(&mut self) -> Result<(Vec<(Place, i64)>, Vec<Place>), SinkError> {
        let client = self.session().await?;
        let moves = self.moves_by(&client).await?;
        self.session = Some(client);
        Ok(moves)
    }

    /// The connection for questions; who had no answer on it must not give it back.
    async fn session(&mut self) -> Result<Client, PostgresError> {
        match self.session.take() {
            Some(client) if !client.is_closed() => Ok(client),
            Some(_) | None => Client::connect(&self.postgres).await,
        }
    }

    async fn moves_by(
        &self,
        client: &Client,
    ) -> Result<(Vec<(Place, i64)>, Vec<Place>), SinkError> {
        if !self.me.touch(client).await? {
            return Err(self.me.fenced());
        }
        let alive = self.me.alive(client).await?;
        // Asked for first: what was committed by now is what PostgreSQL must have.
        let committed = self.board.committed();
        let held = progress::held(client, &self.me.pipeline).await?;
        let lost = self.owned.keys().any(|place| {
            let least = committed.get(place).copied().unwrap_or(0);
            // A server that lost its last commits has gone back; idle partitions would never notice.
            held.get(place).is_none_or(|h| h.epoch != self.me.epoch || h.next < least)
        });
        if lost || !alive.contains(&self.me.epoch) {
            return Err(self.me.fenced());
        }
        self.board.members(alive.len());
        let moves = share::decide(self.me.epoch, &alive, &self.units(&held));
        // What is on its way to be given up is ours still, but we do not read it.
        let release = moves.release.into_iter().filter(|p| self.owned.contains_key(p)).collect();
        let claimed = match moves.claim.as_slice() {
            [] => Vec::new(),
            from => self.me.claim(client, from).await?,
        };
        Ok((claimed, release))
    }

    /// Partitions that go together: all of a target, where rows are not found by the key of their
    /// records, or where several topics may have one target.
    fn units(&self, held: &BTreeMap<Place, Held>) -> Vec<Unit> {
        let mut units: BTreeMap<(String, Option<i32>), Unit> = BTreeMap::new();
        let index = topic::transactions(&self.me.pipeline);
        for (place, Held { epoch, .. }) in held {
            let (topic, partition) = place;
            // Another mode's, from before.
            if **topic == *index {
                continue;
            }
            let (kind, apart) = match self.records.together(topic) {
                None => (topic.to_string(), Some(*partition)),
                Some(target) => (target, None),
            };
            let unit = units
                .entry((kind.clone(), apart))
                .or_insert_with(|| Unit { kind, places: Vec::new() });
            unit.places.push((place.clone(), *epoch));
        }
        units.into_values().collect()
    }

    /// The lane of a partition that we take: that of the others of its unit, or the one that has least.
    fn lane(&self, place: &Place) -> usize {
        let of = |slot: &&Slot| self.owned.contains_key(&slot.place);
        let now = || self.slots.iter().filter(of);
        if let Some(target) = self.records.together(&place.0) {
            let same =
                |slot: &&Slot| self.records.together(&slot.place.0).as_ref() == Some(&target);
            if let Some(slot) = now().find(same) {
                return slot.lane;
            }
        }
        let load = |lane: &usize| {
            let on = now().filter(|slot| slot.lane == *lane);
            let (same, others): (Vec<_>, Vec<_>) = on.partition(|slot| slot.place.0 == place.0);
            (same.len(), others.len())
        };
        (0..self.lanes.len()).min_by_key(load).unwrap_or(0)
    }

    /// Stops reading partitions, has the rest applied and then gives them up.
    async fn release(
        &mut self,
        places: &[Place],
        stop: &CancellationToken,
    ) -> Result<(), SinkError> {
        let list: Vec<(&str, i32)> = places.iter().map(|(t, p)| (t.as_ref(), *p)).collect();
        self.consumer.remove(&list).await?;
        let mut by_lane: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        for place in places {
            let lane = self.owned.get(place).and_then(|at| self.slots.get(*at)).map(|s| s.lane);
            by_lane.entry(lane.unwrap_or(0)).or_default().push(place.clone());
        }
        for (lane, places) in by_lane {
            if !self.flush(lane, stop).await {
                return Ok(());
            }
            for place in &places {
                self.owned.remove(place);
                self.paused.remove(place);
            }
            if !self.send(lane, Work::Release(places), stop).await {
                return Ok(());
            }
        }
        // What is left of them in the consumer's queue finds no slot.
        let owned = std::mem::take(&mut self.owned);
        self.slots.retain(|slot| owned.contains_key(&slot.place));
        self.owned =
            self.slots.iter().enumerate().map(|(at, slot)| (slot.place.clone(), at)).collect();
        self.last = 0;
        Ok(())
    }

    /// Stops and begins reading the tables that `causeway-sink pause` and `resume` name.
    async fn pause(&mut self) -> Result<(), SinkError> {
        let asked = async {
            let client = self.session().await?;
            let patterns = pause::patterns(&client, &self.me.pipeline).await?;
            self.session = Some(client);
            Ok::<_, PostgresError>(patterns)
        };
        let patterns = match asked.await {
            Ok(patterns) => patterns,
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let wanted: HashSet<Place> = self
            .owned
            .keys()
            .filter(|(topic, _)| pause::holds(&patterns, &self.me.pipeline, topic))
            .cloned()
            .collect();
        let list = |places: std::collections::hash_set::Difference<'_, Place, _>| {
            places.map(|(topic, partition)| (topic.to_string(), *partition)).collect::<Vec<_>>()
        };
        let (stop, begin) =
            (list(wanted.difference(&self.paused)), list(self.paused.difference(&wanted)));
        if !stop.is_empty() {
            tracing::info!(partitions = stop.len(), "paused");
            self.consumer.pause(&stop)?;
        }
        if !begin.is_empty() {
            tracing::info!(partitions = begin.len(), "resumed");
            self.consumer.resume(&begin)?;
        }
        self.paused = wanted;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn publish(&self) {
        names::PARTITIONS.set(self.owned.len() as f64, &[]);
        if let Some(lag) = self.consumer.lag() {
            names::LAG_RECORDS.set(lag as f64, &[]);
            if lag == 0 {
                names::LAG_SECONDS.set(0.0, &[]);
            }
        }
    }
}
