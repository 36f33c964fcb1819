//! What an operator can choose, compared with the same choice of Debezium's: how values are written, numbered
//! transactions, snapshots on request.

use anyhow::Result;
use causeway_tests::wait;
use serde_json::{Value as Json, json};

use crate::{
    LIMIT,
    both::Both,
    histories,
    known::{DECIMALS_AS_TEXT, KNOWN},
    records::Record,
    source_records::prepare,
};

const SIGNALS: &str = "dbo.signals";

/// The records that a snapshot on request has given.
fn on_request(records: &[Record]) -> usize {
    records.iter().filter(|record| record.text("/source/snapshot") == "incremental").count()
}

/// Puts a signal where both read it, and waits until both have published so many rows of a table.
async fn ask(both: &mut Both, id: &str, data: &Json, table: &str, rows: usize) -> Result<()> {
    let text = data.to_string().replace('\'', "''");
    both.exec(&format!("INSERT INTO {SIGNALS} VALUES ('{id}', 'execute-snapshot', '{text}')"))
        .await?;
    for prefix in [both.ours.clone(), both.theirs.clone()] {
        let this = &*both;
        wait::until(
            &format!("{rows} rows of {table} in the topics of {prefix}"),
            LIMIT,
            || async {
                let found = this.records(&prefix, table).await?;
                Ok((on_request(&found) >= rows).then_some(()))
            },
        )
        .await?;
    }
    Ok(())
}

/// What differs between the two topics about transactions. Debezium tells of an end with the first event after it, so
/// its last may be missing; and it writes to the table of signals, whose rows we do not publish.
async fn transactions(both: &Both) -> Result<Vec<String>> {
    let read = async |prefix: &str| -> Result<Vec<Record>> {
        let mut found = both.topic_records(&format!("{prefix}.transaction")).await?;
        for record in &mut found {
            record.headers.clear();
            let Some(value) = record.value.as_object_mut() else { continue };
            value.remove("ts_ms");
            // Debezium lists the tables in no order.
            if let Some(tables) = value.get_mut("data_collections").and_then(Json::as_array_mut) {
                tables.sort_by_key(|one| one["data_collection"].to_string());
            }
        }
        Ok(found)
    };
    let signals = format!("{}.{SIGNALS}", both.database);
    let (mut our, their) = (read(&both.ours).await?, read(&both.theirs).await?);
    let only_signals = |record: &&Record| {
        let collections = record.value["data_collections"].as_array();
        collections.is_some_and(|all| all.iter().all(|one| one["data_collection"] == signals))
    };
    let left_out: Vec<Json> =
        their.iter().filter(only_signals).map(|record| record.value["id"].clone()).collect();
    let mut their: Vec<Record> =
        their.into_iter().filter(|record| !left_out.contains(&record.value["id"])).collect();
    // What was committed while one of them began is in its snapshot.
    let first = |records: &[Record]| records.first().map(|r| r.value["id"].to_string());
    let from = first(&our).max(first(&their));
    our.retain(|record| Some(record.value["id"].to_string()) >= from);
    their.retain(|record| Some(record.value["id"].to_string()) >= from);
    // One that began last has no end, and may be one of signals.
    if their.last().is_some_and(|record| record.text("/status") == "BEGIN") {
        their.pop();
    }
    let mut wrong = both
        .schema_differences("transaction", &|prefix| format!("{prefix}.transaction"), &[])
        .await?;
    if their.len() < 20 || our.len() < their.len() {
        wrong.push(format!(
            "transactions: {} records of ours, {} of theirs",
            our.len(),
            their.len()
        ));
    }
    for (number, (our, their)) in our.iter().zip(&their).enumerate() {
        if our != their {
            wrong.push(format!(
                "transactions, record {number}:\n  ours   {our:?}\n  theirs {their:?}"
            ));
        }
    }
    Ok(wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_chosen_is_debeziums() -> Result<()> {
    let mut both = Both::new("peerchoice").await?;
    let all = [histories::ORDERS, histories::DEFAULTS];
    for history in &all {
        prepare(&mut both, history).await?;
    }
    both.exec(&format!(
        "CREATE TABLE {SIGNALS} (id varchar(42) NOT NULL PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048) NULL)"
    ))
    .await?;
    both.sqlserver.capture(&both.database, "dbo", "signals").await?;
    let signals = format!("{}.{SIGNALS}", both.database);
    both.start(
        |config| {
            config
                .set("source.decimals", "string")
                .set("source.temporal", "connect")
                .set("source.transaction_metadata", true)
                .set("source.signals.table", SIGNALS)
        },
        &json!({
            "decimal.handling.mode": "string",
            "time.precision.mode": "connect",
            "provide.transaction.metadata": "true",
            "signal.data.collection": signals,
        }),
    )
    .await?;
    for sql in all.iter().flat_map(|history| history.then) {
        both.exec(sql).await?;
    }
    both.level().await?;
    let lines = format!("{}.dbo.lines", both.database);
    let filtered = json!({
        "data-collections": [lines],
        "type": "incremental",
        "additional-conditions": [{"data-collection": lines, "filter": "order_id > 1 AND line < 9"}],
    });
    ask(&mut both, "filtered", &filtered, "dbo.lines", 2).await?;
    let orders = format!("{}.dbo.orders", both.database);
    let whole = json!({"data-collections": [orders], "type": "incremental"});
    ask(&mut both, "whole", &whole, "dbo.orders", 4).await?;
    both.exec("UPDATE dbo.orders SET total = 1 WHERE id = 1").await?;
    both.level().await?;
    let mut wrong = Vec::new();
    for table in all.iter().flat_map(|history| history.tables) {
        wrong.extend(both.differences(table, &[KNOWN, DECIMALS_AS_TEXT]).await?);
    }
    wrong.extend(transactions(&both).await?);
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
    both.stop().await
}
