//! What has no value yet: a table without rows, a column without values.

use causeway_tests::wait;

use crate::{LIMIT, STOP, Servers};

/// The columns of a table of the target, with their types; NOT NULL is `!`.
const COLUMNS: &str = "SELECT coalesce(string_agg(attname || ' ' || format_type(atttypid, atttypmod) \
     || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum), '') \
     FROM pg_attribute WHERE attrelid = to_regclass('public.' || $1) AND attnum > 0 AND NOT attisdropped";

async fn empty(consistency: &str) {
    let servers = Servers::get().await;
    let mut pipeline = servers.pipeline(&format!("empty{consistency}")).await;
    pipeline.config = pipeline
        .config
        .clone()
        .set("source.rotate_capture_instances", true)
        .set("source.transaction_index", true)
        .set("sink.apply.consistency", consistency)
        .set("sink.schema_seconds", 1);
    pipeline.write().unwrap();
    let (sqlserver, db) = (servers.sqlserver, pipeline.name.clone());
    for sql in [
        "CREATE TABLE dbo.bare (id int NOT NULL PRIMARY KEY, total decimal(18,2) NULL)",
        "CREATE TABLE dbo.filled (id int NOT NULL PRIMARY KEY, x int NULL)",
        "INSERT INTO dbo.filled VALUES (1, 1)",
    ] {
        sqlserver.exec(&db, sql).await.unwrap();
    }
    for table in ["bare", "filled"] {
        sqlserver.capture(&db, "dbo", table).await.unwrap();
    }
    let mut source = pipeline.source().unwrap();
    let mut sink = pipeline.sink().unwrap();
    let target = servers.postgres.client(&db).await.unwrap();
    let until = async |table: &str, wanted: &str| {
        wait::until(&format!("{table} to have {wanted}"), LIMIT, || async {
            let row = target.query_one(COLUMNS, &[&table]).await?;
            Ok((row.get::<_, String>(0) == wanted).then_some(()))
        })
        .await
    };
    let first = until("bare", "id integer!, total numeric(18,2)").await;
    first.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", source.tail(20), sink.tail(20)));
    until("filled", "id integer!, x integer").await.unwrap();
    // Nothing is written to either of them afterwards.
    for sql in [
        "ALTER TABLE dbo.bare ADD note nvarchar(40) NULL",
        "ALTER TABLE dbo.filled ADD at datetime2(3) NULL",
    ] {
        sqlserver.exec(&db, sql).await.unwrap();
    }
    let second =
        until("bare", "id integer!, total numeric(18,2), note character varying(40)").await;
    second.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", source.tail(20), sink.tail(20)));
    until("filled", "id integer!, x integer, at timestamp(3) without time zone").await.unwrap();
    let both = &mut [&mut source, &mut sink];
    let tables = ["bare", "filled"];
    pipeline.equal(sqlserver, servers.postgres, &tables, both, LIMIT).await.unwrap();
    let (ended, report) = pipeline.reconcile(LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{}\n{report:#}", ended.stdout, ended.stderr);
    for process in [&mut source, &mut sink] {
        assert_eq!(process.terminate(STOP).await.unwrap(), 0, "{}", process.tail(30));
    }
}

#[tokio::test]
async fn an_empty_table_and_a_column_without_values_arrive() {
    empty("row").await;
}

#[tokio::test]
async fn they_arrive_also_where_source_transactions_are_kept_whole() {
    empty("transaction").await;
}
