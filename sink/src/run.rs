//! The tasks and the way out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use causeway_kafka::{Config as Kafka, Consumer, Registry, RegistryConfig};
use causeway_observability::{admin::Health, names::sink as names};
use causeway_postgres::{Client, Config as Postgres};
use causeway_service::{exit::chain_line, retry::Backoff};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, SinkError,
    apply::{Applier, Batch},
    dead_letter::Mirror,
    decode::Records,
    fetch::Fetcher,
    policy::Policies,
    progress,
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

/// Applies changes until it is stopped; the batch in flight is finished first.
///
/// # Errors
/// What waiting cannot mend.
pub async fn run(parts: Parts, health: Health, stop: CancellationToken) -> Result<(), SinkError> {
    let Some(epoch) = take_epoch(&parts, &health, &stop).await? else { return Ok(()) };
    let consumer = Consumer::open(&parts.kafka, &parts.pipeline).await?;
    let fetcher = Fetcher {
        consumer,
        records: parts.records()?,
        config: parts.sink.clone(),
        postgres: parts.postgres.clone(),
        pipeline: parts.pipeline.clone(),
        epoch,
        positions: HashMap::new(),
        paused: HashSet::new(),
    };
    // One batch waits while one is applied.
    let (send, receive) = mpsc::channel(1);
    let over = stop.child_token();
    let mut tasks = JoinSet::new();
    tasks.spawn(fetcher.run(send, over.clone()));
    let applier = Applier::new(parts.postgres.clone(), parts.pipeline.clone(), epoch);
    let refused = Arc::new(Notify::new());
    let mirror = Mirror::new(&parts.kafka, &parts.pipeline)?;
    tasks.spawn(mirror_all(mirror, parts.postgres.clone(), refused.clone(), over.clone()));
    let result = apply_all(receive, applier, &refused, &health, &stop).await;
    over.cancel();
    health.set_ready(false);
    let mut results = vec![result];
    while let Some(ended) = tasks.join_next().await {
        // What a panic says may hold a value.
        results.push(ended.unwrap_or(Err(SinkError::Panicked)));
    }
    // The applier's own error comes first: the others often follow from it.
    results.into_iter().collect()
}

/// Prepares the target and takes an epoch, waiting for PostgreSQL as long as it takes.
async fn take_epoch(
    parts: &Parts,
    health: &Health,
    stop: &CancellationToken,
) -> Result<Option<i64>, SinkError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let taken = async {
            let client = Client::connect(&parts.postgres).await?;
            progress::setup(&client).await?;
            progress::next_epoch(&client, &parts.pipeline).await
        }
        .await
        .map_err(SinkError::from);
        match taken {
            Ok(epoch) => {
                tracing::info!(epoch, "epoch taken");
                return Ok(Some(epoch));
            }
            Err(error) if error.is_transient() => {
                if !wait(&error, &mut backoff, health, stop).await {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn apply_all(
    mut batches: mpsc::Receiver<Batch>,
    mut applier: Applier,
    refused: &Notify,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut applied_rows: u64 = 0;
    health.set_ready(true);
    health.set_status(json!({"sink": {"state": "applying", "applied": 0}}));
    loop {
        let Some(mut batch) = batches.recv().await else { return Ok(()) };
        let count = loop {
            match applier.apply(&mut batch).await {
                Ok(count) => break count,
                Err(error) if error.is_transient() => {
                    names::ERRORS.add(1, &[("part", "postgres")]);
                    if !wait(&error, &mut backoff, health, stop).await {
                        // Not applied, and its offsets are not either: the next start reads it again.
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        };
        backoff.reset();
        if count > 0 {
            refused.notify_one();
        }
        applied_rows += u64::try_from(batch.changes.len()).unwrap_or(0);
        health.set_ready(true);
        let offsets: serde_json::Map<_, _> = batch
            .spans
            .iter()
            .map(|((topic, partition), span)| (format!("{topic}/{partition}"), span.next.into()))
            .collect();
        health.set_status(json!({"sink": {
            "state": "applying", "error": null, "applied": applied_rows, "next_offsets": offsets,
        }}));
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Copies dead letters to their topic, beside the batches: a topic that is away must hold up none.
async fn mirror_all(
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

/// Says what is waited for, and waits; false when stopped.
async fn wait(
    error: &SinkError,
    backoff: &mut Backoff,
    health: &Health,
    stop: &CancellationToken,
) -> bool {
    let text = chain_line(error);
    tracing::warn!(error = %text, "waiting");
    health.set_ready(false);
    health.set_status(json!({"sink": {"state": "waiting", "error": text}}));
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(backoff.next()) => true,
    }
}
