//! What somebody changed behind the pipeline's back is found, and mended by the stream itself.

use causeway_tests::{
    process,
    sqlserver::{exec, rows},
};

use crate::{LIMIT, STOP, Servers};

#[tokio::test]
async fn wrong_rows_are_mended_through_the_stream_and_nothing_else_is_touched() {
    let servers = Servers::get().await;
    let pipeline = servers.pipeline("repair").await;
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    for sql in [
        "CREATE TABLE dbo.accounts (id int NOT NULL, part uniqueidentifier NOT NULL, owner nvarchar(40) NULL, \
         balance decimal(18,2) NOT NULL, CONSTRAINT pk_accounts PRIMARY KEY (id, part))",
        "INSERT INTO dbo.accounts SELECT n, CAST(HASHBYTES('MD5', CAST(n AS varchar(10))) AS uniqueidentifier), \
         CONCAT(N'owner ', n), n * 1.25 FROM (SELECT a.v * 100 + b.v * 10 + c.v + 1 AS n \
         FROM (VALUES (0), (1), (2), (3), (4)) AS a(v), \
         (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS b(v), \
         (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS c(v)) AS s",
    ] {
        exec(&mut client, sql).await.unwrap();
    }
    servers.sqlserver.capture(&pipeline.name, "dbo", "accounts").await.unwrap();
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let rows_there = pipeline
        .equal(
            servers.sqlserver,
            servers.postgres,
            &["accounts"],
            &mut [&mut source, &mut sink],
            LIMIT,
        )
        .await
        .unwrap();
    assert_eq!(rows_there, 500);

    // Who writes to the table from now on leaves a trace.
    let target = servers.postgres.client(&pipeline.name).await.unwrap();
    target
        .batch_execute(
            "UPDATE accounts SET balance = balance + 1 WHERE id IN (7, 8, 9);
             DELETE FROM accounts WHERE id = 10;
             CREATE TABLE written (id int);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO written VALUES (NEW.id); RETURN NEW; END';
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await
        .unwrap();
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(report["totals"]["differences"], 4, "{report:#}");

    let repair = async |args: &[&str]| {
        let ended = process::run("causeway-reconcile", args, pipeline.path(), LIMIT).await.unwrap();
        (ended.code, format!("{}\n{}", ended.stdout, ended.stderr))
    };
    let (code, said) = repair(&["repair", "last"]).await;
    assert_eq!(code, 1, "a dry run mends nothing: {said}");
    let (code, said) = repair(&["repair", "last", "--signal"]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = repair(&["recheck", "last"]).await;
    assert_eq!(code, 0, "{said}");
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{report:#}", ended.stdout);
    let written: Vec<i32> = target
        .query("SELECT DISTINCT id FROM written ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(written, [7, 8, 9, 10]);
    // Mending a run a second time is another request, though the run and the table are the same.
    target.batch_execute("UPDATE accounts SET balance = 0 WHERE id = 8").await.unwrap();
    let (ended, _) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    let (code, said) = repair(&["repair", "last", "--signal"]).await;
    assert_eq!(code, 0, "{said}");
    target.batch_execute("UPDATE accounts SET balance = 0 WHERE id = 8").await.unwrap();
    let (code, said) = repair(&["repair", "last", "--signal"]).await;
    assert_eq!(code, 0, "{said}");
    // And nothing was written to the source for it.
    let found = rows(&mut client, "SELECT COUNT(*) FROM cdc.dbo_accounts_CT").await.unwrap();
    assert_eq!(found[0].get::<i32, _>(0), Some(0));
    assert_eq!(source.terminate(STOP).await.unwrap(), 0, "{}", source.tail(20));
    assert_eq!(sink.terminate(STOP).await.unwrap(), 0, "{}", sink.tail(20));
}
