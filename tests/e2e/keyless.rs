//! A table without key from end to end: copied while it changes, and changed while everything is killed.

use causeway_tests::{
    random::Random,
    sqlserver::{exec, rows},
    wait,
};

use crate::{LIMIT, STOP, Servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_key_is_the_same_bag_of_rows_over_kills() {
    let servers = Servers::get().await;
    let mut pipeline = servers.pipeline("heaps").await;
    pipeline.config = pipeline.config.clone().set("sink.schema_seconds", 1);
    pipeline.write().unwrap();
    let db = pipeline.name.clone();
    let mut client = servers.sqlserver.client(&db).await.unwrap();
    exec(
        &mut client,
        "CREATE TABLE dbo.heap (a int NULL, b varchar(20) NULL, c decimal(9,2) NULL)",
    )
    .await
    .unwrap();
    for from in (0..2_000).step_by(500) {
        let values: Vec<String> =
            (from..from + 500).map(|i| format!("({}, 'row {}', 1.5)", i % 300, i % 7)).collect();
        exec(&mut client, &format!("INSERT INTO dbo.heap VALUES {}", values.join(",")))
            .await
            .unwrap();
    }
    servers.sqlserver.capture(&db, "dbo", "heap").await.unwrap();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let mut random = Random::new(5);
    for round in 0..120 {
        let a = random.below(300);
        let sql = match random.below(4) {
            0 => format!("INSERT INTO dbo.heap VALUES ({a}, NULL, {round}), ({a}, NULL, {round})"),
            1 => format!("UPDATE TOP (2) dbo.heap SET c = c + 1, b = 'new' WHERE a = {a}"),
            2 => format!("DELETE TOP (1) FROM dbo.heap WHERE a = {a}"),
            _ => format!(
                "BEGIN TRAN; UPDATE dbo.heap SET a = NULL WHERE a = {a}; INSERT INTO dbo.heap VALUES ({a}, 'x', NULL); COMMIT"
            ),
        };
        exec(&mut client, &sql).await.unwrap();
        if round % 40 == 39 {
            source.kill9();
            sink.kill9();
            source = pipeline.source().unwrap();
            sink = pipeline.sink().unwrap();
        }
    }
    let wanted: Vec<String> = rows(
        &mut client,
        "SELECT CONCAT(ISNULL(CAST(a AS varchar(9)), '-'), ' ', ISNULL(b, '-'), ' ', ISNULL(CAST(c AS varchar(20)), '-')) FROM dbo.heap",
    )
    .await
    .unwrap()
    .iter()
    .map(|row| row.get::<&str, _>(0).unwrap().to_owned())
    .collect();
    let sorted = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    let wanted = sorted(wanted);
    let target = servers.postgres.client(&db).await.unwrap();
    let equal = wait::until("the same rows", LIMIT, || async {
        let sql = "SELECT concat(coalesce(a::text, '-'), ' ', coalesce(b, '-'), ' ', coalesce(c::text, '-')) FROM heap";
        let found = target.query(sql, &[]).await?;
        let found = sorted(found.iter().map(|row| row.get(0)).collect());
        anyhow::ensure!(found == wanted, "{} rows, {} wanted", found.len(), wanted.len());
        Ok(Some(()))
    })
    .await;
    equal.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", source.tail(20), sink.tail(20)));
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{}\n{report:#}", ended.stdout, ended.stderr);
    let letters =
        target.query_one("SELECT count(*) FROM _causeway.dead_letter", &[]).await.unwrap();
    assert_eq!(letters.get::<_, i64>(0), 0);
    for process in [&mut source, &mut sink] {
        assert_eq!(process.terminate(STOP).await.unwrap(), 0, "{}", process.tail(30));
    }
}
