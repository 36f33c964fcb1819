//! PostgreSQL on a disk that is really full.

use std::os::unix::fs::PermissionsExt as _;

use causeway_tests::{
    disk::SmallDisk,
    postgres::{Options, Postgres},
};

use crate::{
    exactly_once::{audited, once_each, produce, things},
    rig::{LIMIT, Rig, failed},
};

const ROWS: i32 = 25_000;

/// With its log on the same disk, PostgreSQL does not answer with an error but crashes, and may not come up
/// again before there is room: then a person starts it.
async fn full(what: &str, log_too: bool) {
    let disk = match SmallDisk::mount(256) {
        Ok(disk) => disk,
        Err(error) => {
            eprintln!("skipped: a small disk cannot be mounted here (it takes root): {error:#}");
            return;
        }
    };
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let wal = elsewhere.path().join("wal");
    std::fs::create_dir(&wal).unwrap();
    let options = Options {
        within: Some(disk.path().to_owned()),
        wal: (!log_too).then_some(wal),
        ..Options::default()
    };
    let mut postgres = Postgres::start_with(options).await.unwrap();
    let rig = Rig::on(what, &postgres).await;
    audited(&rig, &postgres).await;
    let client = postgres.client(&rig.database).await.unwrap();
    // What is noted of each change is large, so that few are too many.
    client
        .batch_execute("ALTER TABLE audit ADD room char(600) NOT NULL DEFAULT 'x'")
        .await
        .unwrap();
    drop(client);
    let feed = rig.table(things()).await;
    let mut sink = rig.sink();
    produce(&rig, &feed, 0..200).await;
    rig.applied(&postgres, &feed).await;

    disk.fill(4_000).unwrap();
    produce(&rig, &feed, 200..ROWS).await;
    let waiting = sink.status_until("the sink to wait", LIMIT, |status| {
        let error = status["sink"]["error"].as_str().unwrap_or_default();
        status["sink"]["state"] == "waiting"
            && status["ready"] == false
            && (log_too || (error.contains("53100") && error.contains("Free space")))
    });
    waiting.await.unwrap();
    if !log_too {
        // It has looked again more than once, and is still there.
        failed(&mut sink, "disk", 3.0).await;
    }
    sink.must_run().unwrap();

    disk.free().unwrap();
    if log_too {
        postgres.restart().await.unwrap();
    }
    rig.applied(&postgres, &feed).await;
    once_each(&rig, &postgres, i64::from(ROWS)).await;
    sink.status_until("the sink to work", LIMIT, |status| status["sink"]["state"] == "applying")
        .await
        .unwrap();
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_really_full_disk_is_waited_for_and_each_change_is_applied_once() {
    full("disk", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_postgresqls_own_log_loses_nothing() {
    full("disklog", true).await;
}
