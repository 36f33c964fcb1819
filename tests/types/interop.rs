//! A client that others wrote reads our topics: Confluent's Python client with its AvroDeserializer.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use causeway_tests::{cache, config::Config, names, process::Proc, shared, sqlserver, wait};
use serde_json::{Value as Json, json};

/// The interpreter of a virtual environment with the client, made once in the cache.
fn python() -> Result<std::path::PathBuf> {
    let folder = cache::once("python-confluent-kafka", |folder| {
        let run = |program: &Path, args: &[&str]| {
            cache::run(std::process::Command::new(program).args(args))
        };
        run(Path::new("python3"), &["-m", "venv", &folder.join("venv").to_string_lossy()])
            .context("make a virtual environment (Debian: python3-venv)")?;
        run(
            &folder.join("venv/bin/pip"),
            &["install", "-q", "confluent-kafka[avro,schemaregistry]==2.12.1"],
        )
        .context("install confluent-kafka from PyPI")?;
        Ok(())
    })?;
    Ok(folder.join("venv/bin/python"))
}

#[tokio::test(flavor = "multi_thread")]
async fn confluents_client_reads_the_same_values_in_the_same_order() -> Result<()> {
    let python = tokio::task::spawn_blocking(python).await??;
    let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
    let (registry, postgres) = (shared::registry().await, shared::postgres().await);
    let name = names::unique("interop");
    sqlserver.create_captured_database(&name).await?;
    postgres.create_database(&name).await?;
    let mut client = sqlserver.client(&name).await?;
    sqlserver::exec(
        &mut client,
        "CREATE TABLE dbo.orders (id int NOT NULL PRIMARY KEY, customer nvarchar(50) NOT NULL, total decimal(18,2) NULL, \
         placed datetime2(6) NULL, mark varbinary(8) NULL, code uniqueidentifier NULL)",
    )
    .await?;
    sqlserver::exec(
        &mut client,
        "INSERT INTO dbo.orders VALUES (1, N'Gr\u{fc}n', 12.50, '2024-02-29 23:59:59.123456', 0x00FF, '6F9619FF-8B86-D011-B42D-00C04FC964FF')",
    )
    .await?;
    sqlserver.capture(&name, "dbo", "orders").await?;
    let folder = tempfile::tempdir()?;
    let config = Config::new(&name)
        .sqlserver(sqlserver, &name)
        .kafka(kafka)
        .registry(registry)
        .postgres(postgres, &name)
        .set("kafka.partitions", 1)
        .write(folder.path())?;
    let mut source = Proc::start("causeway-source", &["run"], &config)?;
    source.ready(Duration::from_secs(60)).await?;
    let topic = format!("{name}.{name}.dbo.orders");
    let records = async || read(&python, kafka.bootstrap(), registry.url(), &topic).await;
    wait::until("the snapshot", Duration::from_secs(60), || async {
        Ok((!records().await?.is_empty()).then_some(()))
    })
    .await
    .with_context(|| source.tail(5))?;
    for sql in [
        "INSERT INTO dbo.orders (id, customer, total) VALUES (2, N'Ann', -0.01)",
        "UPDATE dbo.orders SET total = 13 WHERE id = 1",
        "UPDATE dbo.orders SET id = 3 WHERE id = 2",
        "DELETE FROM dbo.orders WHERE id = 1",
    ] {
        sqlserver::exec(&mut client, sql).await?;
    }
    let got = wait::until("eight records", Duration::from_secs(60), || async {
        let records = records().await?;
        Ok((records.len() >= 8).then_some(records))
    })
    .await
    .with_context(|| source.tail(5))?;
    ensure!(source.terminate(Duration::from_secs(20)).await? == 0);

    let short: Vec<Json> = got
        .iter()
        .map(|r| {
            json!([
                r["key"]["id"],
                r["value"]["op"],
                r["value"]["before"]["id"],
                r["value"]["after"]["id"],
                r["value"]["after"]["total"]
            ])
        })
        .collect();
    assert_eq!(
        json!(short),
        json!([
            [1, "r", null, 1, "12.50"],
            [2, "c", null, 2, "-0.01"],
            [1, "u", 1, 1, "13.00"],
            [2, "d", 2, null, null],
            [2, null, null, null, null],
            [3, "c", null, 3, "-0.01"],
            [1, "d", 1, null, null],
            [1, null, null, null, null],
        ]),
    );
    let first = &got[0]["value"];
    assert_eq!(
        first["after"],
        json!({"id": 1, "customer": "Gr\u{fc}n", "total": "12.50", "placed": 1_709_251_199_123_456_i64,
               "mark": "0x00ff", "code": "6F9619FF-8B86-D011-B42D-00C04FC964FF"})
    );
    let source = &first["source"];
    assert_eq!(
        json!([
            source["connector"],
            source["name"],
            source["db"],
            source["schema"],
            source["table"]
        ]),
        json!(["sqlserver", name, name, "dbo", "orders"])
    );
    let update = &got[2]["value"];
    assert_eq!(
        (&update["source"]["snapshot"], &update["source"]["event_serial_no"]),
        (&json!("false"), &json!(2))
    );
    assert_eq!(update["before"]["total"], "12.50");
    Ok(())
}

async fn read(python: &Path, bootstrap: &str, registry: &str, topic: &str) -> Result<Vec<Json>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/types/reader.py");
    let output = tokio::process::Command::new(python)
        .args([script, bootstrap, registry, topic])
        .stdin(Stdio::null())
        .output()
        .await
        .context("run the Python client")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
