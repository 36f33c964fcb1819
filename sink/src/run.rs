//! The tasks and the way out.

use std::{sync::Arc, time::Duration};

use causeway_kafka::{Config as Kafka, Consumer, Registry, RegistryConfig};
use causeway_observability::{admin::Health, names::sink as names};
use causeway_postgres::{Client, Config as Postgres};
use causeway_service::{exit::chain_line, retry::Backoff};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SinkError,
    ahead::Ahead,
    apply::Applier,
    config::Consistency,
    dead_letter::Mirror,
    decode::Records,
    fetch::Fetcher,
    lane::{Board, Lane},
    member::Me,
    policy::Policies,
    progress, whole,
};

/// What a sink needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Name of the pipeline.
    pub pipeline: String,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[registry]`
    pub registry: RegistryConfig,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[sink]`
    pub sink: Config,
}

impl Parts {
    /// What decodes records as the configuration says.
    ///
    /// # Errors
    /// When the registry's address is none.
    pub fn records(&self) -> Result<Records, SinkError> {
        let registry = Registry::new(&self.registry)?;
        let policies = Policies::new(&self.sink.tables, self.sink.dead_letters);
        Ok(Records::new(registry, self.postgres.clone(), self.pipeline.clone(), policies))
    }
}

/// Applies changes until it is stopped; the batches in flight are finished first. Other sinks of the pipeline
/// share the work; one that was thought dead, or whose offsets an operator has set, joins again.
///
/// # Errors
/// What waiting cannot mend.
pub async fn run(parts: Parts, health: Health, stop: CancellationToken) -> Result<(), SinkError> {
    let board = Arc::new(Board::new(health));
    loop {
        let Some(me) = join(&parts, &board, &stop).await? else { return Ok(()) };
        let ended = match parts.sink.apply.consistency {
            Consistency::Row => session(&parts, me.clone(), &board, &stop).await,
            Consistency::Transaction => whole::run(&parts, &me, &board, &stop).await,
        };
        board.end();
        me.leave(&parts.postgres).await;
        match ended {
            Err(error @ SinkError::Fenced { .. }) if !stop.is_cancelled() => {
                names::FENCED.add(1, &[]);
                tracing::warn!(error = %chain_line(&error), "joining again");
            }
            ended => return ended,
        }
    }
}

/// Applies changes as one member, until it is stopped or cannot go on.
async fn session(
    parts: &Parts,
    me: Me,
    board: &Arc<Board>,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    let over = stop.child_token();
    let refused = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::with_capacity(parts.sink.lanes);
    for number in 0..parts.sink.lanes {
        // One batch waits while one is applied.
        let (send, receive) = mpsc::channel(1);
        lanes.push(send);
        let lane = Lane {
            number,
            applier: Applier::new(parts.postgres.clone(), parts.pipeline.clone(), me.epoch),
            me: me.clone(),
            postgres: parts.postgres.clone(),
            refused: refused.clone(),
            board: board.clone(),
        };
        tasks.spawn(lane.run(receive, over.clone()));
    }
    let consumer = Consumer::open(&parts.kafka, &parts.pipeline).await?;
    let fetcher = Fetcher::new(consumer, parts.records()?, parts, me.clone(), board.clone(), lanes);
    tasks.spawn(fetcher.run(over.clone()));
    tasks.spawn(Ahead::new(parts, &me)?.run(over.clone()));
    tasks.spawn(me.beat(parts.postgres.clone(), over.clone()));
    let mirror = Mirror::new(&parts.kafka, &parts.pipeline)?;
    tasks.spawn(mirror_all(mirror, parts.postgres.clone(), refused, over.clone()));
    board.begin();
    let mut results = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        // Each of them runs until all stop. What a panic says may hold a value.
        over.cancel();
        results.push(ended.unwrap_or(Err(SinkError::Panicked)));
    }
    // The first one's error comes first: the others often follow from it.
    results.into_iter().collect()
}

/// Prepares the target and joins the sinks of the pipeline, waiting for PostgreSQL as long as it takes.
async fn join(
    parts: &Parts,
    board: &Board,
    stop: &CancellationToken,
) -> Result<Option<Me>, SinkError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let timeout = Duration::from_millis(parts.sink.member_timeout_ms);
    loop {
        let joined = async {
            let client = Client::connect(&parts.postgres).await?;
            progress::setup(&client).await?;
            Me::join(&client, &parts.pipeline, timeout).await
        }
        .await
        .map_err(SinkError::from);
        match joined {
            Ok(me) => {
                tracing::info!(epoch = me.epoch, "epoch taken");
                return Ok(Some(me));
            }
            Err(error) if error.is_transient() => {
                let text = chain_line(&error);
                tracing::warn!(error = %text, "waiting");
                board.waiting_to_begin(text);
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Copies dead letters to their topic, beside the batches: a topic that is away must hold up none.
pub(crate) async fn mirror_all(
    mirror: Mirror,
    postgres: Postgres,
    refused: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), SinkError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        let copy = async {
            let client = Client::connect(&postgres).await?;
            mirror.copy(&client).await
        };
        let copied = tokio::select! {
            copied = copy => copied,
            () = stop.cancelled() => return Ok(()),
        };
        match copied {
            Ok(_) => {
                backoff.reset();
                tokio::select! {
                    () = refused.notified() => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            Err(error) => {
                tracing::warn!(error = %chain_line(&error), "dead letters are kept in PostgreSQL; their topic must wait");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next()) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }
}
