//! `causeway-source offsets`: what is stored, in words; another snapshot; a connector's place.

use causeway_change::Operation;
use causeway_tests::{sqlserver, wait};

use crate::{LIMIT, rig::Rig};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL";

#[tokio::test(flavor = "multi_thread")]
async fn one_table_is_copied_again_when_it_is_reset() {
    let rig = Rig::new("reset").await;
    rig.table("a", COLUMNS).await;
    rig.table("b", COLUMNS).await;
    rig.exec("INSERT INTO dbo.a VALUES (1, 1), (2, 2); INSERT INTO dbo.b VALUES (1, 1)").await;
    let shown = rig.command(&["offsets", "show"]).await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("the next start is the first"), "{}", shown.stdout);
    let mut source = rig.start();
    let mut reader = rig.reader(&["a", "b"]).await;
    rig.equal(&mut reader, &["a", "b"], &mut source).await;
    wait::until("both snapshots", LIMIT, || {
        let shown = rig.command(&["offsets", "show"]);
        async move {
            let shown = shown.await.stdout;
            Ok((shown.matches("snapshot done").count() == 2).then_some(()))
        }
    })
    .await
    .unwrap();
    // The tests' admin ports are not known beforehand: the source is found out by what it wrote.
    source.kill9();
    let refused = rig.command(&["offsets", "reset", "--table", "dbo.a", "--yes"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("one may be running elsewhere"), "{}", refused.stderr);
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let dry = rig.command(&["offsets", "reset", "--table", "DBO.A"]).await;
    assert!(dry.code == 0 && dry.stdout.contains("Nothing was changed"), "{}", dry.stdout);
    let unknown = rig.command(&["offsets", "reset", "--table", "dbo.c", "--yes"]).await;
    assert!(unknown.code == 2 && unknown.stderr.contains("known are dbo.a, dbo.b"));
    let done = rig.command(&["offsets", "reset", "--table", "dbo.a", "--yes"]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let shown = rig.command(&["offsets", "show"]).await.stdout;
    assert!(shown.contains("dbo.a: its snapshot is taken again at the next start"), "{shown}");
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let reads = |reader: &crate::rig::Reader, table: &str| {
        reader.events.iter().filter(|e| e.table == table && e.operation == Operation::Read).count()
    };
    reader.drain(std::time::Duration::from_secs(2)).await;
    assert_eq!((reads(&reader, "a"), reads(&reader, "b")), (4, 1));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    // All of it.
    assert_eq!(rig.command(&["offsets", "reset", "--yes"]).await.code, 0);
    let shown = rig.command(&["offsets", "show"]).await.stdout;
    assert!(shown.contains("the next start is the first"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debezium_connectors_place_is_taken_over() {
    let rig = Rig::new("takeover").await;
    rig.table("a", COLUMNS).await;
    for i in 1..=6 {
        rig.exec(&format!("INSERT INTO dbo.a VALUES ({i}, 0)")).await;
    }
    let changes = wait::until("capture", LIMIT, || async {
        let mut client = rig.sqlserver.client(&rig.name).await?;
        let sql = "SELECT __$start_lsn, __$seqval FROM cdc.dbo_a_CT ORDER BY __$start_lsn";
        let rows = sqlserver::rows(&mut client, sql).await?;
        Ok((rows.len() == 6).then_some(rows))
    })
    .await
    .unwrap();
    let lsn = |column: usize| {
        let bytes: &[u8] = changes[3].get(column).unwrap();
        causeway_change::Lsn::try_from(bytes).unwrap().to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.txt");
    let text = format!(
        "[\"inventory\",{{\"server\":\"{0}\",\"database\":\"{0}\"}}]\t{{\"commit_lsn\":\"{1}\",\
         \"change_lsn\":\"{2}\",\"event_serial_no\":1}}\n",
        rig.name,
        lsn(0),
        lsn(1)
    );
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let dry = rig.command(&["offsets", "import-debezium", &file]).await;
    assert!(dry.code == 0 && dry.stdout.contains("Nothing was written"), "{}", dry.stderr);
    let done = rig.command(&["offsets", "import-debezium", &file, "--yes"]).await;
    assert!(done.code == 0 && done.stdout.contains("dbo.a: goes on"), "{}", done.stderr);
    let twice = rig.command(&["offsets", "import-debezium", &file, "--yes"]).await;
    assert!(twice.code == 2 && twice.stderr.contains("has a position"), "{}", twice.stderr);
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    rig.exec("INSERT INTO dbo.a VALUES (7, 0)").await;
    let mut reader = rig.reader(&["a"]).await;
    while !reader.tables.get("a").is_some_and(|rows| rows.contains_key("000000000007")) {
        source.must_run().unwrap();
        reader.drain(std::time::Duration::from_millis(300)).await;
    }
    // The connector's last transaction again, and nothing before it; no copy.
    let keys: Vec<&str> =
        reader.events.iter().map(|e| e.key.trim_start_matches('0')).collect::<Vec<_>>();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["4", "5", "6", "7"]);
    assert!(reader.events.iter().all(|e| e.operation == Operation::Create));
}
