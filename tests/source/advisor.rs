//! SQL Server's capture job is named when it is what changes wait for, with the call that helps.

use causeway_tests::{
    config::Config,
    names,
    process::Proc,
    shared,
    sqlserver::{Options, SqlServer},
    wait,
};

use crate::LIMIT;

/// Transactions in the log: more than a minute's work for a job that takes one a second.
const TRANSACTIONS: usize = 90;

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_job_that_is_the_limit_is_named_with_the_call_that_helps() {
    let (kafka, registry) = tokio::join!(shared::kafka(), shared::registry());
    let slow = Options { capture_latency_ms: 1000, ..Options::default() };
    let sqlserver = SqlServer::start(slow).await.unwrap();
    let name = names::unique("advice");
    sqlserver.create_captured_database(&name).await.unwrap();
    sqlserver.exec(&name, "CREATE TABLE dbo.a (id int NOT NULL PRIMARY KEY)").await.unwrap();
    sqlserver.capture(&name, "dbo", "a").await.unwrap();
    let one = "EXEC sys.sp_cdc_change_job @job_type = N'capture', @maxtrans = 1, @maxscans = 1";
    sqlserver.exec(&name, one).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(&name)
        .sqlserver(&sqlserver, &name)
        .kafka(kafka)
        .registry(registry)
        .set("source.snapshot.mode", "no_data")
        .write(folder.path())
        .unwrap();
    for id in 0..TRANSACTIONS {
        sqlserver.exec(&name, &format!("INSERT INTO dbo.a VALUES ({id})")).await.unwrap();
    }
    let mut source = Proc::start("causeway-source", &["run"], &config).unwrap();
    source.ready(LIMIT).await.unwrap();
    let end = std::time::Instant::now() + LIMIT;
    let call = loop {
        let status = source.status().await.unwrap();
        let capture = &status["capture"];
        if capture["limit"] == "full" {
            break capture["call"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < end, "{capture}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(call.contains("sp_cdc_change_job") && call.contains("@maxtrans = 10"), "{call}");
    let page = source.page("/metrics").await.unwrap();
    let is_full = |page: &str| {
        page.lines().any(|line| {
            line.starts_with("causeway_source_capture_limit")
                && line.contains("kind=\"full\"")
                && line.ends_with(" 1")
        })
    };
    assert!(is_full(&page), "{page}");
    let line = source.logged("it is what changes wait for", LIMIT).await.unwrap().to_string();
    assert!(line.contains("sp_cdc_change_job"), "{line}");
    // What it says helps.
    sqlserver.exec(&name, &call).await.unwrap();
    let end = std::time::Instant::now() + LIMIT;
    while source.status().await.unwrap()["capture"]["limit"] == "full" {
        assert!(std::time::Instant::now() < end, "{}", source.tail(10));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    wait::until("all changes captured", LIMIT, || async {
        let mut client = sqlserver.client(&name).await?;
        let sql = "SELECT COUNT(*) FROM cdc.dbo_a_CT";
        let found = causeway_tests::sqlserver::rows(&mut client, sql).await?;
        Ok(found
            .first()
            .and_then(|row| row.get::<i32, _>(0))
            .filter(|n| usize::try_from(*n) == Ok(TRANSACTIONS)))
    })
    .await
    .unwrap();
    // The time of each is split.
    let metrics = source.metrics().await.unwrap();
    let count = metrics.sum("causeway_source_latency_seconds_count").unwrap_or(0.0);
    assert!(count > 0.0, "{count}");
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
