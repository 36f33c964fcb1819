//! Debezium's connector and our source watch the same database: topic by topic the same schemas, keys, values,
//! tombstones, headers and order, but for what [`crate::known`] lists.

use anyhow::Result;
use causeway_tests::all_types;
use serde_json::json;

use crate::{
    both::Both,
    histories::{self, History},
    known::KNOWN,
};

/// Shows histories to both, and compares their topics.
async fn compare(what: &str, histories: &[History]) -> Result<()> {
    let mut both = Both::new(what).await?;
    for history in histories {
        prepare(&mut both, history).await?;
    }
    both.start(|config| config, &json!({})).await?;
    for sql in histories.iter().flat_map(|history| history.then) {
        both.exec(sql).await?;
    }
    both.level().await?;
    let mut wrong = Vec::new();
    for table in histories.iter().flat_map(|history| history.tables) {
        wrong.extend(both.differences(table, &[KNOWN]).await?);
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
    both.stop().await
}

pub(crate) async fn prepare(both: &mut Both, history: &History) -> Result<()> {
    for sql in history.before.iter().chain(history.capture) {
        both.exec(sql).await?;
    }
    if history.capture.is_empty() {
        for table in history.tables {
            let (schema, name) = table.split_once('.').unwrap_or(("dbo", table));
            both.sqlserver.capture(&both.database, schema, name).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_are_debeziums() -> Result<()> {
    compare(
        "peer",
        &[
            histories::ORDERS,
            histories::DEFERRED,
            histories::KEYS,
            histories::LARGE,
            histories::DEFAULTS,
            histories::EVOLVES,
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes under load: make conformance"]
async fn the_records_are_debeziums_in_odd_corners() -> Result<()> {
    compare(
        "peerodd",
        &[
            histories::KEY_TYPES,
            histories::ODD_DEFAULTS,
            histories::MASK,
            histories::COLUMNS,
            histories::NAMES,
        ],
    )
    .await
}

/// A `datetime2(7)` beyond the years of 64 bits of nanoseconds ends Debezium's task; so not here.
fn literal(
    kind: fn(&all_types::Column) -> &'static str,
) -> impl Fn(&all_types::Column) -> &'static str {
    move |column| match (column.name, kind(column)) {
        ("c_datetime2_7", "'0001-01-01T00:00:00'") => "'1677-09-22T00:00:00'",
        ("c_datetime2_7", "'9999-12-31T23:59:59.9999999'") => "'2262-04-11T23:47:16.8547758'",
        (_, literal) => literal,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes under load: make conformance"]
async fn every_type_and_its_extremes_are_debeziums() -> Result<()> {
    let mut wrong = Vec::new();
    for (temporal, decimals) in [
        ("adaptive", "precise"),
        ("microseconds", "string"),
        ("adaptive_time_microseconds", "double"),
        ("connect", "string"),
    ] {
        let mut both = Both::new("peertypes").await?;
        both.exec(&all_types::create("types")).await?;
        let kinds: [fn(&all_types::Column) -> &'static str; 4] =
            [|c| c.usual, |_| "NULL", |c| c.least, |c| c.most];
        for (id, kind) in (1..).zip(kinds) {
            both.exec(&all_types::insert("types", id, literal(kind))).await?;
        }
        both.sqlserver.capture(&both.database, "dbo", "types").await?;
        both.start(
            |config| config.set("source.temporal", temporal).set("source.decimals", decimals),
            &json!({"time.precision.mode": temporal, "decimal.handling.mode": decimals}),
        )
        .await?;
        for (id, kind) in (11..).zip(kinds) {
            both.exec(&all_types::insert("types", id, literal(kind))).await?;
        }
        both.exec("UPDATE dbo.types SET c_int = 1").await?;
        both.exec("DELETE FROM dbo.types WHERE id > 3").await?;
        both.level().await?;
        wrong.extend(both.differences("dbo.types", &[KNOWN]).await?);
        both.stop().await?;
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
