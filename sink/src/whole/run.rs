//! Sessions: from one connection to the next failure. A session begins at the offsets in PostgreSQL, as after a
//! crash, so a failure that passes is a new session and there is only one way of going on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use causeway_kafka::Consumer;
use causeway_observability::names::sink as names;
use causeway_service::{exit::chain_line, retry::Backoff};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    SinkError,
    ahead::Ahead,
    dead_letter::Mirror,
    lane::Board,
    member::Me,
    run::{Parts, mirror_all},
    whole::{
        apply::{Applier, Done, Ready},
        gather::{Gatherer, Source},
    },
};

/// The number on the board of the only lane.
const LANE: usize = 0;

/// Applies whole transactions as one member until it is stopped; the one in flight is finished first unless it is
/// a large one.
///
/// # Errors
/// What waiting cannot mend.
pub async fn run(
    parts: &Parts,
    me: &Me,
    board: &Arc<Board>,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    let over = stop.child_token();
    let refused = Arc::new(Notify::new());
    let mirror = Mirror::new(&parts.kafka, &parts.pipeline)?;
    let mut beside = JoinSet::new();
    beside.spawn(mirror_all(mirror, parts.postgres.clone(), refused.clone(), over.clone()));
    beside.spawn(me.clone().beat(parts.postgres.clone(), over.clone()));
    beside.spawn(Ahead::new(parts, me)?.run(over.clone()));
    let mut results = Vec::new();
    let mut work = Box::pin(sessions(parts, me, board, &over, &refused));
    loop {
        tokio::select! {
            ended = &mut work => {
                results.push(ended);
                break;
            }
            Some(ended) = beside.join_next() => {
                // Each of them runs until all stop. What a panic says may hold a value.
                over.cancel();
                results.push(ended.unwrap_or(Err(SinkError::Panicked)));
            }
        }
    }
    over.cancel();
    while let Some(ended) = beside.join_next().await {
        results.push(ended.unwrap_or(Err(SinkError::Panicked)));
    }
    // The first one's error comes first: the others often follow from it.
    results.into_iter().collect()
}

/// One session after the other.
async fn sessions(
    parts: &Parts,
    me: &Me,
    board: &Arc<Board>,
    stop: &CancellationToken,
    refused: &Notify,
) -> Result<(), SinkError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    // To read a large transaction again is work for all servers, and a person needs minutes.
    let mut patience = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));
    let mut applied = Applied::default();
    loop {
        let (before, transactions) = (applied.pieces, applied.transactions);
        let ended = session(parts, me, board, stop, refused, &mut applied).await;
        if applied.transactions > transactions {
            patience.reset();
        }
        let (error, wait) = match ended {
            Err(error) if error.is_transient() => {
                if applied.pieces > before {
                    backoff.reset();
                }
                (error, backoff.next())
            }
            // To end would begin the same again, as often as somebody starts us.
            Err(error @ SinkError::Whole { .. }) => (error, patience.next()),
            result => return result,
        };
        names::ERRORS.add(1, &[("part", error.part())]);
        let text = chain_line(&error);
        tracing::warn!(error = %text, "waiting");
        board.waiting(LANE, text);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn session(
    parts: &Parts,
    me: &Me,
    board: &Arc<Board>,
    stop: &CancellationToken,
    refused: &Notify,
    applied: &mut Applied,
) -> Result<(), SinkError> {
    let mut applier = Applier::open(&parts.postgres, me).await?;
    let consumer = Consumer::open(&parts.kafka, &parts.pipeline).await?;
    // What an older session committed may be lost with a server: this one begins where PostgreSQL is now.
    board.begin();
    applied.open = 0;
    board.health().set_status(json!({"sink": {"consistency": "transaction"}}));
    let gatherer = Gatherer::new(Source {
        consumer,
        records: parts.records()?,
        config: parts.sink.clone(),
        postgres: parts.postgres.clone(),
        me: me.clone(),
        board: board.clone(),
    });
    // One piece waits while one is written.
    let (send, mut receive) = mpsc::channel::<Ready>(1);
    let over = stop.child_token();
    let mut tasks = JoinSet::new();
    tasks.spawn(gatherer.run(send, over.clone()));
    let mut result = Ok(());
    while let Some(ready) = receive.recv().await {
        match applier.apply(&ready).await {
            Ok(done) => {
                if done.refused > 0 {
                    refused.notify_one();
                }
                tell(board, &ready, &done, applied);
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        // A large transaction is read again at the next start.
        if stop.is_cancelled() {
            break;
        }
    }
    over.cancel();
    drop(receive);
    while let Some(ended) = tasks.join_next().await {
        // What a panic says may hold a value. The applier's own error comes first.
        let ended = ended.unwrap_or(Err(SinkError::Panicked));
        result = result.and(ended);
    }
    result
}

/// What was applied since the sink joined.
#[derive(Debug, Default)]
struct Applied {
    pieces: u64,
    /// Changes of the transaction that is open.
    open: usize,
    transactions: u64,
    /// Records that no entry names.
    loose: u64,
}

fn tell(board: &Board, ready: &Ready, done: &Done, applied: &mut Applied) {
    applied.pieces += 1;
    applied.open += ready.batch.changes.len();
    if !ready.whole {
        board.passed(LANE, 0, &HashMap::new());
        return;
    }
    applied.transactions += ready.transactions;
    applied.loose += ready.loose;
    names::TRANSACTIONS.add(ready.transactions, &[]);
    board.passed(LANE, std::mem::take(&mut applied.open), &done.spans);
    board.health().set_status(json!({"sink": {
        "transactions": { "applied": applied.transactions, "loose_records": applied.loose },
    }}));
}
