//! Several sinks share a pipeline: partitions move, members die, stand still and come back, and an audit
//! trigger on the target sees each change once.

use std::time::Duration;

use causeway_tests::{postgres::Postgres, process::Proc, shared};

use crate::{
    exactly_once::{audited, once_each, produce, things},
    rig::{LIMIT, Rig},
};

/// Waits until the partitions of a pipeline are those of so many living members, and of nobody else.
async fn shared_by(rig: &Rig, postgres: &Postgres, members: i64, sinks: &mut [&mut Proc]) {
    let sql = "SELECT count(DISTINCT m.epoch) - 1000 * count(*) FILTER (WHERE m.epoch IS NULL) \
               FROM _causeway.progress p LEFT JOIN _causeway.member m USING (pipeline, epoch)";
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let found: i64 = rig.ask(postgres, sql).await.unwrap_or(-1);
        if found == members {
            return;
        }
        for sink in sinks.iter_mut() {
            sink.must_run().unwrap();
        }
        if tokio::time::Instant::now() > end {
            let tails: Vec<String> = sinks.iter().map(|sink| sink.tail(12)).collect();
            panic!("shared by {found} and not by {members}:\n{}", tails.join("\n--\n"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn all(sinks: &mut [Proc]) -> Vec<&mut Proc> {
    sinks.iter_mut().collect()
}

/// Starts, kills and stops sinks for some rounds while records come.
async fn churn(what: &str, rounds: i32, pause: Duration) {
    let mut rig = Rig::new(what).await;
    rig.set("sink.batch_rows", 20);
    rig.set("sink.member_timeout_ms", 2_000);
    let postgres = shared::postgres().await;
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let mut sinks: Vec<Proc> = (0..3).map(|_| rig.sink()).collect();
    produce(&rig, &feed, 0..300).await;
    shared_by(&rig, postgres, 3, &mut all(&mut sinks)).await;
    for round in 0..rounds {
        let ids = (round + 1) * 300..(round + 2) * 300;
        let half = ids.start + 150;
        produce(&rig, &feed, ids.start..half).await;
        let mut sink = sinks.remove(0);
        match round % 3 {
            // Killed in the middle of its work.
            0 => sink.kill9(),
            // Asked to go.
            1 => assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20)),
            // Stands still until it is thought dead, and wakes again.
            _ => {
                sink.signal("STOP").unwrap();
                shared_by(&rig, postgres, 2, &mut all(&mut sinks)).await;
                sink.signal("CONT").unwrap();
                sinks.push(sink);
            }
        }
        produce(&rig, &feed, half..ids.end).await;
        // Whatever is read by now, others have to go on with it.
        rig.applied(postgres, &feed).await;
        while sinks.len() < 3 {
            sinks.push(rig.sink());
        }
        tokio::time::sleep(pause).await;
    }
    shared_by(&rig, postgres, 3, &mut all(&mut sinks)).await;
    once_each(&rig, postgres, i64::from(rounds + 1) * 300).await;
    for sink in &mut sinks {
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sinks_share_the_work_and_one_after_the_other_is_lost() {
    churn("members", 3, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of rebalances: make conformance"]
async fn rebalances_every_five_seconds_for_minutes_apply_each_change_once() {
    churn("rebalances", 24, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_takes_its_share_while_the_first_goes_on() {
    let rig = Rig::new("share").await;
    let postgres = shared::postgres().await;
    audited(&rig, postgres).await;
    let feed = rig.table(things()).await;
    let mut first = rig.sink();
    produce(&rig, &feed, 0..200).await;
    rig.applied(postgres, &feed).await;
    let mut second = rig.sink();
    shared_by(&rig, postgres, 2, &mut [&mut first, &mut second]).await;
    produce(&rig, &feed, 200..400).await;
    once_each(&rig, postgres, 400).await;
    for sink in [&mut first, &mut second] {
        let partitions =
            sink.metrics().await.unwrap().sum("causeway_sink_partitions").unwrap_or_default();
        assert!((1.0..=2.0).contains(&partitions), "{partitions}");
        let fenced = sink.metrics().await.unwrap().sum("causeway_sink_fenced_total");
        assert_eq!(fenced.unwrap_or_default(), 0.0, "a clean hand-over fences nobody");
    }
    // When one goes, the other has all.
    assert_eq!(first.terminate(LIMIT).await.unwrap(), 0, "{}", first.tail(20));
    shared_by(&rig, postgres, 1, &mut [&mut second]).await;
    produce(&rig, &feed, 400..500).await;
    once_each(&rig, postgres, 500).await;
    assert_eq!(second.terminate(LIMIT).await.unwrap(), 0, "{}", second.tail(20));
}
