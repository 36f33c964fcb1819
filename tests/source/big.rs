//! Values far above what Kafka takes: memory is bounded by one of them for each reader, not by how many there are.

use causeway_tests::sqlserver::exec;

use crate::{LIMIT, rig::Rig};

/// Bytes of each large value.
const LARGE: usize = 24 << 20;
/// Rows that have one, in the copy and in the stream.
const COPIED: usize = 6;
const STREAMED: usize = 4;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of a gigabyte of values: make conformance"]
async fn values_of_24_mb_go_to_the_dead_letters_in_bounded_memory() {
    let rig = Rig::new("huge").await;
    rig.table("a", "id int NOT NULL PRIMARY KEY, body varbinary(max) NULL").await;
    let insert = |id: usize| {
        format!(
            "INSERT INTO dbo.a VALUES ({id}, CONVERT(varbinary(max), REPLICATE(CAST('x' AS varchar(max)), {LARGE})))"
        )
    };
    let mut client = rig.client().await;
    for id in 0..COPIED {
        exec(&mut client, &insert(id)).await.unwrap();
    }
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    for id in 0..STREAMED {
        exec(&mut client, &insert(100 + id)).await.unwrap();
    }
    exec(&mut client, "INSERT INTO dbo.a VALUES (1000, 0x01)").await.unwrap();
    // Too large with the image before, and small enough without.
    exec(&mut client, "DELETE FROM dbo.a WHERE id < 1000").await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    let letters = source.metrics().await.unwrap().sum("causeway_source_dead_letters_total");
    assert_eq!(letters, Some(f64::from(u32::try_from(COPIED + STREAMED).unwrap())));
    // Beside what any source takes: the value that the driver collects, twice while it grows, in each of two
    // readers; or in the stream the one collected and the one merged.
    let (bound, peak) = (150.0 + 4.0 * 25.2, source.peak_mb().unwrap());
    eprintln!("{peak:.0} MB for values of 25 MB");
    assert!(peak < bound, "{peak} MB, of {bound}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
