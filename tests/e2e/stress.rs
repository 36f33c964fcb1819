//! Everything at once: eight writers with random transactions over several tables, rollbacks and changed
//! keys; columns that are added; snapshots on request; the source and the sink killed every few seconds.
//! Afterwards the two sides are equal by the reconciler and by plain queries, and the topics, replayed into
//! an empty model, give what the source held at many commits in between, not only at the end.
//!
//! The seed of the long form is made up, that of the short one is always the same, so that a failure is not about
//! the statements; both are printed, and `CAUSEWAY_STRESS_SEED` sets them. A seed gives the same statements again,
//! not the same order among the writers.

mod load;
mod replay;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use causeway_tests::{env, process, random::Random, wait};
use tokio::task::JoinSet;

use self::{load::Load, replay::Replay};
use crate::{LIMIT, STOP, Servers};

const WRITERS: u64 = 8;
/// Tables `t0` to `t3`, and `marks`, by which states are found again.
const TABLES: [&str; 5] = ["t0", "t1", "t2", "t3", "marks"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_stress_the_topics_tell_every_state_and_the_copy_is_equal() {
    stress(Duration::from_secs(15), Some(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make conformance"]
async fn under_long_stress_the_topics_tell_every_state_and_the_copy_is_equal() {
    stress(Duration::from_secs(75), None).await;
}

fn seed(usual: Option<u64>) -> u64 {
    const NAME: &str = "CAUSEWAY_STRESS_SEED";
    match env::var(NAME) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{NAME} is a number")),
        None => usual.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) + now.as_secs() % 100_000 * 1_000_000_000
        }),
    }
}

async fn stress(duration: Duration, usual: Option<u64>) {
    let seed = seed(usual);
    println!("stress: CAUSEWAY_STRESS_SEED={seed}, {duration:?} of load");
    let servers = Servers::get().await;
    let mut pipeline = servers.pipeline("stress").await;
    pipeline.config = pipeline
        .config
        .clone()
        .set("source.rotate_capture_instances", true)
        .set("source.snapshot.chunk_rows", 50)
        .set("source.transaction.max_age_ms", 50);
    pipeline.write().unwrap();
    load::create(servers.sqlserver, &pipeline.name).await;
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let both = &mut [&mut source, &mut sink];
    pipeline.equal(servers.sqlserver, servers.postgres, &TABLES, both, LIMIT).await.unwrap();

    let load = Arc::new(Load {
        sqlserver: servers.sqlserver,
        db: pipeline.name.clone(),
        stop: AtomicBool::new(false),
        committed: AtomicU64::new(0),
        rolled_back: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        added: AtomicU64::new(0),
        recorded: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(load::write(Arc::clone(&load), Random::new(seed ^ (writer + 1))));
    }
    let mut ddl = JoinSet::new();
    ddl.spawn(load::alter(Arc::clone(&load), Random::new(seed ^ 100)));
    let mut truth = JoinSet::new();
    truth.spawn(load::record(Arc::clone(&load)));

    let mut random = Random::new(seed ^ 200);
    let end = Instant::now() + duration;
    let (mut kills, mut signals) = (0, 0);
    // On a busy machine it goes on until enough was done.
    while Instant::now() < end || !load.is_enough() || kills < 2 {
        assert!(Instant::now() < end + LIMIT, "seed {seed}: the load does too little");
        tokio::time::sleep(Duration::from_millis(random.between(500, 2_500))).await;
        // Nothing but we ends them.
        for process in [&mut source, &mut sink] {
            process.must_run().unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        }
        match random.below(5) {
            0 | 1 => {
                source.kill9();
                tokio::time::sleep(Duration::from_millis(random.between(0, 500))).await;
                source = pipeline.source().unwrap();
                kills += 1;
            }
            2 | 3 => {
                sink.kill9();
                tokio::time::sleep(Duration::from_millis(random.between(0, 500))).await;
                sink = pipeline.sink().unwrap();
                kills += 1;
            }
            _ => {
                let table = format!("dbo.t{}", random.below(4));
                let mut args = vec!["signal", "execute-snapshot", "--table", table.as_str()];
                if random.chance(50) {
                    args.extend(["--filter", "id % 2 = 0"]);
                }
                let ended =
                    process::run("causeway-source", &args, pipeline.path(), LIMIT).await.unwrap();
                assert_eq!(ended.code, 0, "seed {seed}: {}", ended.stderr);
                signals += 1;
            }
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let columns = ddl.join_next().await.unwrap().unwrap();
    let states = truth.join_next().await.unwrap().unwrap();
    println!(
        "stress: {} transactions, {} rolled back, {} refused, {columns} columns, {signals} snapshots, {kills} kills, \
         {} states",
        load.committed.load(Ordering::Relaxed),
        load.rolled_back.load(Ordering::Relaxed),
        load.refused.load(Ordering::Relaxed),
        states.len(),
    );
    // Else nothing is proved.
    let different: BTreeSet<_> = states.iter().map(|state| &state.tables).collect();
    assert!(different.len() >= 3, "seed {seed}: {} different states", different.len());

    let both = &mut [&mut source, &mut sink];
    wait::until("the rotations", LIMIT, || async {
        let mut client = servers.sqlserver.client(&pipeline.name).await?;
        Ok(load::has_one_instance_each(&mut client, columns).await?.then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error:#}\n{}", both[0].tail(30)));
    pipeline
        .equal(servers.sqlserver, servers.postgres, &TABLES, both, LIMIT)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "seed {seed}: {}\n{}\n{report:#}", ended.stdout, ended.stderr);

    let mut replay = Replay::new(servers.kafka, servers.registry, &pipeline.name, &TABLES).await;
    replay.read().await;
    let checked = replay.check(&states, seed);
    assert_eq!(checked, states.len(), "seed {seed}: marks are missing in the topic");
    for process in [&mut source, &mut sink] {
        assert_eq!(process.terminate(STOP).await.unwrap(), 0, "seed {seed}: {}", process.tail(30));
    }
}
