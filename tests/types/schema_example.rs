//! The registered schemas of the worked example (research B.5.1): a table with defaults, money, GUID,
//! xml, rowversion and every kind of time, compared with the whole JSON, order of properties included.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{config::Config, names, process::Proc, shared, wait};
use serde_json::{Value as Json, json};

const TABLE: &str = "CREATE TABLE dbo.orders (
  id int NOT NULL PRIMARY KEY,
  status tinyint NOT NULL,
  qty int NOT NULL CONSTRAINT df_orders_qty DEFAULT 1,
  total decimal(18,2) NULL,
  fee money NULL,
  is_paid bit NULL CONSTRAINT df_orders_paid DEFAULT 0,
  customer nvarchar(100) NOT NULL,
  guid uniqueidentifier NULL,
  doc xml NULL,
  payload varbinary(max) NULL,
  rv rowversion NULL,
  d date NULL,
  t7 time(7) NULL,
  dt datetime NULL,
  dt2_6 datetime2(6) NULL,
  dt2_7 datetime2(7) NOT NULL,
  dto datetimeoffset NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn the_registered_schemas_are_those_of_the_worked_example() -> Result<()> {
    let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
    let (registry, postgres) = (shared::registry().await, shared::postgres().await);
    let prefix = names::unique("mssql");
    let database = names::unique("inventory");
    sqlserver.create_captured_database(&database).await?;
    postgres.create_database(&database).await?;
    sqlserver.exec(&database, TABLE).await?;
    let insert =
        "INSERT INTO dbo.orders (id, status, customer, dt2_7) VALUES (1, 2, N'Ann', '2024-01-01')";
    sqlserver.exec(&database, insert).await?;
    sqlserver.capture(&database, "dbo", "orders").await?;
    let folder = tempfile::tempdir()?;
    let config = Config::new(&prefix)
        .sqlserver(sqlserver, &database)
        .kafka(kafka)
        .registry(registry)
        .postgres(postgres, &database)
        .set("source.source_types", false)
        .write(folder.path())?;
    let mut source = Proc::start("causeway-source", &["run"], &config)?;
    source.ready(Duration::from_secs(60)).await?;
    let topic = format!("{prefix}.{database}.dbo.orders");
    let registered = async |kind: &str| -> Result<Json> {
        let url = format!("{}/subjects/{topic}-{kind}/versions/latest", registry.url());
        let answer: Json = wait::until("the schema", Duration::from_secs(30), || async {
            let answer = reqwest::get(&url).await?;
            Ok(if answer.status().is_success() { Some(answer.json().await?) } else { None })
        })
        .await
        .with_context(|| source.tail(5))?;
        Ok(serde_json::from_str(answer["schema"].as_str().context("no schema")?)?)
    };
    let key = registered("key").await?;
    let value = registered("value").await?;
    assert_eq!(source.terminate(Duration::from_secs(20)).await?, 0);

    let text = include_str!("envelope_example.json")
        .replace("mssql1.inventory", &format!("{prefix}.{database}"));
    let want: Json = serde_json::from_str(&text)?;
    // As text: the order of properties and fields counts.
    assert_eq!(serde_json::to_string_pretty(&value)?, serde_json::to_string_pretty(&want)?);
    let namespace = format!("{prefix}.{database}.dbo.orders");
    assert_eq!(
        key.to_string(),
        json!({"type": "record", "name": "Key", "namespace": namespace,
               "fields": [{"name": "id", "type": "int"}], "connect.name": format!("{namespace}.Key")})
        .to_string()
    );
    Ok(())
}
