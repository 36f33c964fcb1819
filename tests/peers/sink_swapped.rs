//! Debezium's JDBC sink in the place of ours: our events are what it expects, and the reconciler
//! says so. What that sink cannot represent is written down here, and nowhere hidden.

use std::time::Duration;

use anyhow::Result;
use causeway_tests::{
    connect::{self, Connect},
    pipeline::Pipeline,
    shared,
    sqlserver::exec,
    wait,
};

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
    let settled = wait::until("the reconciler to say equal", LIMIT, || async {
        debezium.states("sink").await?;
        let (ended, report) = pipeline.reconcile(Duration::from_secs(60)).await?;
        anyhow::ensure!(ended.code == 0, "{}\n{report:#}", ended.stdout);
        Ok(Some(report))
    })
    .await;
    let report = settled.map_err(|error| error.context(debezium.tail(30)))?;
    assert_eq!(report["totals"]["tables"], 1, "{report:#}");
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
