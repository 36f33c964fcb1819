//! Debezium's JDBC sink in the place of ours: our events are what it expects, and the reconciler
//! says so. What that sink cannot represent is written down here, and nowhere hidden.

use anyhow::Result;
use causeway_tests::{
    connect::{self, Connect},
    pipeline::Pipeline,
    process, shared,
    sqlserver::exec,
    wait,
};
use serde_json::Value as Json;

use crate::LIMIT;

/// Columns of every kind that Debezium's sink writes exactly.
const TABLE: &str = "CREATE TABLE dbo.things (
  id int NOT NULL PRIMARY KEY,
  small smallint NULL,
  big bigint NULL,
  flag bit NULL,
  r real NULL,
  f float NULL,
  price decimal(18,2) NULL,
  wide decimal(38,10) NULL,
  name nvarchar(100) NULL,
  code varchar(20) NULL,
  body nvarchar(max) NULL,
  bytes varbinary(50) NULL,
  d date NULL,
  dt2 datetime2(6) NULL,
  dto datetimeoffset(6) NULL)";

/// Rows whose last change is an update that did not touch their large text: every 7th of 200, less those that
/// were deleted (every 11th), had no large text (every 10th), or came back whole under another key (every 13th).
const LARGE_UPDATED: i64 = 22;

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_sink_applies_what_our_source_writes() -> Result<()> {
    let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
    let (registry, postgres) = (shared::registry().await, shared::postgres().await);
    let mut pipeline = Pipeline::new("swap_sink", sqlserver, kafka, registry, postgres).await?;
    // Debezium's sink takes the source's type names for PostgreSQL's where both have one: BIT would become bit(1).
    pipeline.config =
        pipeline.config.clone().set("kafka.partitions", 1).set("source.source_types", false);
    pipeline.write()?;
    let name = pipeline.name.clone();
    sqlserver.exec(&name, TABLE).await?;
    sqlserver.capture(&name, "dbo", "things").await?;
    let mut client = sqlserver.client(&name).await?;
    for id in 1..=200 {
        exec(&mut client, &insert(id)).await?;
    }
    let mut source = pipeline.source()?;
    source.ready(LIMIT).await?;
    source.logged("snapshot published", LIMIT).await?;

    let mut debezium = Connect::start(kafka, registry, 512).await?;
    let topics = vec![format!("{name}.{name}.dbo.things")];
    let config = connect::debezium_sink(&topics, postgres, &name);
    debezium.create("sink", config).await?;
    for sql in [
        "UPDATE dbo.things SET price = price + 1, name = N'changed ' + name WHERE id % 7 = 0",
        "DELETE FROM dbo.things WHERE id % 11 = 0",
        "UPDATE dbo.things SET id = id + 1000 WHERE id % 13 = 0",
    ] {
        exec(&mut client, sql).await?;
    }
    for id in 201..=300 {
        exec(&mut client, &insert(id)).await?;
    }
    // Its progress is in nobody's table, so the reconciler judges by time: no [kafka].
    let folder = tempfile::tempdir()?;
    let judge = pipeline.config.clone().without("kafka").write(folder.path())?;
    let settled = wait::until("nothing but what that sink loses to differ", LIMIT, || async {
        debezium.states("sink").await?;
        let file = folder.path().join("report.json").display().to_string();
        let args = ["run", "--json", &file];
        let ended = process::run("causeway-reconcile", &args, &judge, LIMIT).await?;
        let report: Json = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let table = &report["tables"][0];
        let columns: Vec<_> =
            table["columns"].as_object().into_iter().flat_map(|c| c.keys()).collect();
        // The updates left the large value out, and that sink writes the words that stand for it.
        let only_large = columns == ["body"] && table["different"] == LARGE_UPDATED;
        let else_equal = table["missing_in_target"] == 0 && table["extra_in_target"] == 0;
        anyhow::ensure!(only_large && else_equal, "{}\n{report:#}", ended.stdout);
        Ok(Some(report))
    })
    .await;
    let report = settled.map_err(|error| error.context(debezium.tail(30)))?;
    assert_eq!(report["totals"]["tables"], 1, "{report:#}");
    let target = postgres.client(&name).await?;
    let sql = "SELECT count(*) FROM things WHERE body = '__debezium_unavailable_value'";
    let placeholders: i64 = target.query_one(sql, &[]).await?.get(0);
    assert_eq!(placeholders, LARGE_UPDATED);
    assert_eq!(source.terminate(LIMIT).await?, 0);
    Ok(())
}

fn insert(id: u32) -> String {
    let null = id.is_multiple_of(10);
    let value = |sql: String| if null { "NULL".to_owned() } else { sql };
    format!(
        "INSERT INTO dbo.things VALUES ({id}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
        value(format!("{}", i32::try_from(id).unwrap_or(0) - 100)),
        value(format!("{}", u64::from(id) * 10_000_000_000)),
        value(format!("{}", id % 2)),
        value(format!("{id}.5")),
        value(format!("{id}e-20")),
        value(format!("-{id}.05")),
        value(format!("{id}.0123456789")),
        value(format!("N'Zoë {id} 東京'")),
        value(format!("'code {id}  '")),
        value(format!("REPLICATE(N'long {id} ', 50)")),
        value(format!("0x00FF{id:04}")),
        value(format!("'2024-02-{:02}'", 1 + id % 29)),
        value(format!("'1969-12-31T23:59:59.{id:06}'")),
        value(format!("'2024-06-01T12:00:00.{id:06}+05:30'")),
    )
}
