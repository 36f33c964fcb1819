//! Updates that leave out their large values, while the table is copied.

use std::time::{Duration, Instant};

use causeway_change::Value;
use causeway_tests::{
    process::Proc,
    sqlserver::{Options, exec, rows},
    wait,
};

use crate::{LIMIT, order::words, rig::Rig};

/// A source that has read all of table `a` and publishes nothing of it: capture stands still.
async fn reading(rig: &Rig, count: i32) -> Proc {
    wait::until("the capture of the first rows", LIMIT, || async {
        let mut client = rig.client().await;
        let found = rows(&mut client, "SELECT COUNT(*) FROM cdc.dbo_a_CT").await?;
        Ok((found[0].get::<i32, _>(0) == Some(count)).then_some(()))
    })
    .await
    .unwrap();
    rig.exec("EXEC standin.control N'pause_capture'").await;
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let read = source.metrics().await.unwrap().sum("causeway_source_rows_read_total");
        if read.is_some_and(|read| read >= f64::from(count)) {
            break;
        }
        source.must_run().unwrap();
        assert!(Instant::now() < end, "{read:?} rows were read\n{}", source.tail(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_is_never_told_before_its_commit() {
    let mut rig = Rig::alone("early", Options::default()).await;
    rig.set("kafka.partitions", 1);
    rig.table("a", "id int NOT NULL PRIMARY KEY, x int NULL, note nvarchar(max) NULL").await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 0, N'first'), (2, 0, N'first'), (3, 0, N'first')").await;
    let mut source = reading(&rig, 3).await;
    for sql in [
        "UPDATE dbo.a SET x = 1 WHERE id < 3",
        "UPDATE dbo.a SET x = 2 WHERE id = 1",
        "UPDATE dbo.a SET note = N'second' WHERE id = 2",
        "EXEC standin.control N'resume_capture'",
    ] {
        rig.exec(sql).await;
    }
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(words(&reader, "a"), ["u1", "u2", "u1", "u2", "r1", "r3"]);
    let text = |text: &str| Value::Text(text.to_owned());
    let wanted = [
        (1, Value::Unavailable),
        (1, Value::Unavailable),
        (2, Value::Unavailable),
        (1, text("second")),
        // As the updates left it, with the value that they left alone.
        (2, text("first")),
        (0, text("first")),
    ];
    for (row, (x, note)) in reader.rows_after.iter().zip(wanted) {
        let row = row.as_ref().unwrap();
        assert!(row[1] == Value::I32(x) && row[2] == note, "{:?}", row[0]);
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_such_updates_than_are_kept_in_mind_are_copied_again() {
    let mut rig = Rig::alone("flood", Options::default()).await;
    rig.set("source.snapshot.chunk_rows", 500);
    let columns = "id int NOT NULL PRIMARY KEY, x int NULL, name nvarchar(1000) NULL, note nvarchar(max) NULL";
    rig.table("a", columns).await;
    let mut client = rig.client().await;
    let count = 10_000;
    for from in (0..count).step_by(500) {
        let values: Vec<String> = (from..from + 500)
            .map(|i| format!("({i}, 0, REPLICATE(N'x', 1000), N'note {i}')"))
            .collect();
        exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", values.join(","))).await.unwrap();
    }
    let mut source = reading(&rig, count).await;
    exec(&mut client, "UPDATE dbo.a SET x = id; EXEC standin.control N'resume_capture'")
        .await
        .unwrap();
    source.logged("is read again", LIMIT).await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    reader.drain(Duration::from_millis(300)).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
