//! Runs source and sink over a table for each type and compares all three forms.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value};
use causeway_tests::{config::Config, names, process::Proc, shared, sqlserver, wait};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::{Value as Json, json};

use crate::{
    cases::{CASES, Case, OLD_LARGE, expand},
    document,
};

/// First id of the rows that the change tables bring; those of the snapshot begin at 1.
const STREAMED: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_exactly_by_snapshot_and_by_stream() -> Result<()> {
    let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
    let (registry, postgres) = (shared::registry().await, shared::postgres().await);
    let name = names::unique("types");
    sqlserver.create_captured_database(&name).await?;
    postgres.create_database(&name).await?;
    let cases: Vec<&Case> = CASES.iter().chain(OLD_LARGE).collect();

    let mut client = sqlserver.client(&name).await?;
    for (i, case) in cases.iter().enumerate() {
        let create =
            format!("CREATE TABLE dbo.c{i} (id int NOT NULL PRIMARY KEY, v {} NULL)", case.sql);
        sqlserver::exec(&mut client, &create).await?;
        insert(&mut client, i, case, 1).await?;
        sqlserver.capture(&name, "dbo", &format!("c{i}")).await?;
    }

    let folder = tempfile::tempdir()?;
    let config = Config::new(&name)
        .sqlserver(sqlserver, &name)
        .kafka(kafka)
        .registry(registry)
        .postgres(postgres, &name)
        .write(folder.path())?;
    let mut source = Proc::start("causeway-source", &["run"], &config)?;
    let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
    source.ready(Duration::from_secs(60)).await?;
    sink.ready(Duration::from_secs(60)).await?;
    let target = postgres.client(&name).await?;
    let arrived = async |first: usize| -> Result<()> {
        for (i, case) in cases.iter().enumerate() {
            let what = format!("{} rows of {} from id {first}", case.values.len(), case.sql);
            wait::until(&what, Duration::from_secs(90), || async {
                let sql = format!("SELECT count(*) FROM public.c{i} WHERE id >= {first}");
                let count: i64 = target.query_one(&sql, &[]).await?.get(0);
                Ok((usize::try_from(count)? == case.values.len()).then_some(()))
            })
            .await
            .with_context(|| format!("source:\n{}\nsink:\n{}", source.tail(5), sink.tail(5)))?;
        }
        Ok(())
    };
    arrived(1).await?;
    for (i, case) in cases.iter().enumerate() {
        insert(&mut client, i, case, STREAMED).await?;
    }
    arrived(STREAMED).await?;

    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let topic = format!("{name}.{name}.dbo.c{i}");
        let (schema, records) = read_topic(kafka.bootstrap(), registry.url(), &topic).await?;
        let avro = avro_type(&schema).context("the schema has no column v")?;
        let postgres = column_type(&target, &format!("c{i}")).await?;
        check(&mut wrong, case, "Avro type", &avro, case.avro);
        check(&mut wrong, case, "PostgreSQL type", &postgres, case.postgres);
        for first in [1, STREAMED] {
            for (n, (literal, json, text)) in case.values.iter().enumerate() {
                let id = first + n;
                let got = records.get(&id).map_or_else(|| "missing".to_owned(), Json::to_string);
                let want = wanted(case, &expand(json)).to_string();
                check(&mut wrong, case, &format!("Avro of {literal} ({id})"), &got, &want);
                let sql = format!("SELECT v::text FROM public.c{i} WHERE id = {id}");
                // character(n) loses its padding in a cast to text; format keeps it.
                let sql = if case.postgres.starts_with("character(") {
                    format!(
                        "SELECT rpad(v, {}) FROM public.c{i} WHERE id = {id}",
                        length(case.postgres)
                    )
                } else {
                    sql
                };
                let got: Option<String> = target.query_one(&sql, &[]).await?.get(0);
                let want = text.map(expand);
                check(
                    &mut wrong,
                    case,
                    &format!("PostgreSQL of {literal} ({id})"),
                    &format!("{got:?}"),
                    &format!("{want:?}"),
                );
            }
        }
        found.push((*case, avro, postgres));
    }
    ensure!(source.terminate(Duration::from_secs(20)).await? == 0, "the source did not end with 0");
    let ended = sink.terminate(Duration::from_secs(20)).await?;
    ensure!(ended == 0, "the sink ended with {ended}:\n{}", sink.tail(20));
    ensure!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    document::write(&found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_beyond_the_range_of_nanoseconds_neither_kills_nor_wraps() -> Result<()> {
    let (sqlserver, kafka) = (shared::sqlserver().await, shared::kafka().await);
    let (registry, postgres) = (shared::registry().await, shared::postgres().await);
    let name = names::unique("sentinel");
    sqlserver.create_captured_database(&name).await?;
    postgres.create_database(&name).await?;
    let mut client = sqlserver.client(&name).await?;
    let values = [
        "2018-07-13 11:23:45.3456789",
        "9999-12-31 23:59:59.9999999",
        "0001-01-01 00:00:00",
        "2018-07-13 11:23:45.3456789",
    ];
    sqlserver::exec(
        &mut client,
        "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, v datetime2(7) NULL)",
    )
    .await?;
    let rows = |first: usize| {
        let rows: Vec<_> =
            values.iter().enumerate().map(|(i, v)| format!("({}, '{v}')", first + i)).collect();
        format!("INSERT INTO dbo.t (id, v) VALUES {}", rows.join(", "))
    };
    sqlserver::exec(&mut client, &rows(1)).await?;
    sqlserver.capture(&name, "dbo", "t").await?;
    let folder = tempfile::tempdir()?;
    let config = Config::new(&name)
        .sqlserver(sqlserver, &name)
        .kafka(kafka)
        .registry(registry)
        .postgres(postgres, &name)
        .write(folder.path())?;
    let mut source = Proc::start("causeway-source", &["run"], &config)?;
    let mut sink = Proc::start("causeway-sink", &["run"], &config)?;
    source.ready(Duration::from_secs(60)).await?;
    sqlserver::exec(&mut client, &rows(STREAMED)).await?;
    let target = postgres.client(&name).await?;
    wait::until("all rows", Duration::from_secs(60), || async {
        let count: i64 = target.query_one("SELECT count(*) FROM public.t", &[]).await?.get(0);
        Ok((count == 8).then_some(()))
    })
    .await
    .with_context(|| format!("source:\n{}\nsink:\n{}", source.tail(5), sink.tail(5)))?;
    for first in [1, STREAMED] {
        let sql = format!(
            "SELECT v::text FROM public.t WHERE id >= {first} AND id < {} ORDER BY id",
            first + 4
        );
        let got: Vec<String> =
            target.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            got,
            [
                "2018-07-13 11:23:45.345678",
                "9999-12-31 23:59:59.999999",
                "0001-01-01 00:00:00",
                "2018-07-13 11:23:45.345678"
            ]
        );
    }
    ensure!(source.terminate(Duration::from_secs(20)).await? == 0);
    ensure!(sink.terminate(Duration::from_secs(20)).await? == 0);
    Ok(())
}

/// What the table says, as the decoder's JSON: a float through Rust's own parser, which keeps every
/// bit, a decimal as its text.
fn wanted(case: &Case, text: &str) -> Json {
    if let ("float" | "double", Ok(number)) = (case.avro, text.parse::<f64>()) {
        return json!(number);
    }
    if case.avro.ends_with("Decimal") && text != "null" {
        return json!(text);
    }
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn check(wrong: &mut Vec<String>, case: &Case, what: &str, got: &str, want: &str) {
    if got != want {
        let short = |text: &str| text.chars().take(120).collect::<String>();
        wrong.push(format!("{}: {what}: got {}, want {}", case.sql, short(got), short(want)));
    }
}

async fn insert(
    client: &mut sqlserver::Client,
    table: usize,
    case: &Case,
    first: usize,
) -> Result<()> {
    for (n, (literal, _, _)) in case.values.iter().enumerate() {
        let sql = format!("INSERT INTO dbo.c{table} (id, v) VALUES ({}, {literal})", first + n);
        sqlserver::exec(client, &sql).await?;
    }
    Ok(())
}

fn length(ty: &str) -> &str {
    ty.trim_start_matches("character(").trim_end_matches(')')
}

async fn column_type(client: &causeway_tests::postgres::Client, table: &str) -> Result<String> {
    let sql = format!(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'public.{table}'::regclass AND attname = 'v'"
    );
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

/// `int, int16`: the Avro type of column v and what Connect calls it.
fn avro_type(schema: &Json) -> Option<String> {
    let after = schema["fields"][0]["type"].as_array()?.iter().find(|t| t.is_object())?;
    let field = after["fields"].as_array()?.iter().find(|f| f["name"] == "v")?;
    let ty = field["type"].as_array()?.iter().find(|t| **t != "null")?;
    if let Some(name) = ty.as_str() {
        return Some(name.to_owned());
    }
    let connect = ty.get("connect.type").or_else(|| ty.get("connect.name"));
    let name = ty["type"].as_str()?;
    Some(
        connect.map_or_else(
            || name.to_owned(),
            |c| format!("{name}, {}", c.as_str().unwrap_or_default()),
        ),
    )
}

/// The newest value schema of a topic, and column v of every row by id. Decoded by apache-avro, not
/// by our own decoder.
async fn read_topic(
    bootstrap: &str,
    registry: &str,
    topic: &str,
) -> Result<(Json, BTreeMap<usize, Json>)> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "types")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let partitions = metadata.topics().first().context("no metadata")?.partitions().len();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut schemas: BTreeMap<u32, (Json, Schema)> = BTreeMap::new();
    let mut rows = BTreeMap::new();
    let mut ended = 0;
    while ended < partitions {
        let message =
            match consumer.poll(Duration::from_secs(10)).context("no answer from Kafka")? {
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => {
                    ended += 1;
                    continue;
                }
                other => other?,
            };
        let Some(payload) = message.payload() else { continue };
        ensure!(payload.first() == Some(&0), "no registry frame");
        let id = u32::from_be_bytes(payload[1..5].try_into()?);
        let (json, schema) = match schemas.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let answer: Json =
                    reqwest::get(format!("{registry}/schemas/ids/{id}")).await?.json().await?;
                let text = answer["schema"].as_str().context("no schema in the answer")?;
                new.insert((serde_json::from_str(text)?, Schema::parse_str(text)?))
            }
        };
        let reader = GenericDatumReader::builder(schema).build()?;
        let value = reader.read_value(&mut &payload[5..])?;
        let after = field(&value, "after").context("no after")?;
        let Some(Value::Int(row)) = field(after, "id") else { anyhow::bail!("no id") };
        let v = field(after, "v").context("no v")?;
        rows.insert(usize::try_from(*row)?, to_json(v, json)?);
    }
    let (json, _) = schemas.into_values().next_back().context("the topic is empty")?;
    Ok((json, rows))
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Union(_, inner) => field(inner, name),
        Value::Record(fields) => {
            let value = &fields.iter().find(|(n, _)| n == name)?.1;
            Some(if let Value::Union(_, inner) = value { inner } else { value })
        }
        _ => None,
    }
}

fn to_json(value: &Value, schema: &Json) -> Result<Json> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Boolean(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Long(n) => json!(n),
        Value::Float(n) => json!(f64::from(*n)),
        Value::Double(n) => json!(n),
        Value::String(s) => json!(s),
        Value::Bytes(b) => json!(format!("0x{}", hex(b))),
        Value::Decimal(d) => {
            let bytes: Vec<u8> = d.clone().try_into()?;
            json!(decimal(&bytes, scale(schema).context("a decimal without scale")?))
        }
        other => anyhow::bail!("unexpected {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn scale(schema: &Json) -> Option<usize> {
    let row = schema["fields"][0]["type"].as_array()?.iter().find(|t| t.is_object())?;
    let v = row["fields"].as_array()?.iter().find(|f| f["name"] == "v")?;
    let ty = v["type"].as_array()?.iter().find(|t| t.is_object())?;
    usize::try_from(ty["scale"].as_u64()?).ok()
}

/// Big-endian two's complement with a scale, as text.
fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let start = if negative { -1i128 } else { 0 };
    let unscaled = bytes.iter().fold(start, |n, b| (n << 8) | i128::from(*b));
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if negative { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}
