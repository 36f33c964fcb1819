//! How long one change takes at light load, from its commit in SQL Server on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{kafka::Kafka, postgres, random::Random, sqlserver};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
};

use crate::orders;

const SAMPLES: i64 = 200;
const LIMIT: Duration = Duration::from_secs(30);

/// Milliseconds.
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Until a reader of committed records has the event.
pub(crate) async fn source(
    kafka: &Kafka,
    client: &mut sqlserver::Client,
    topic: &str,
) -> Result<Times> {
    let consumer: StreamConsumer = kafka
        .client_config()
        .set("group.id", "causeway-benches")
        .set("isolation.level", "read_committed")
        .create()
        .context("make a consumer")?;
    let mut from = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).context("ask for metadata")?;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (_, end) =
            consumer.fetch_watermarks(topic, partition.id(), LIMIT).context("ask for the end")?;
        from.add_partition_offset(topic, partition.id(), Offset::Offset(end)).context("assign")?;
    }
    consumer.assign(&from).context("assign")?;
    let mut times = Vec::new();
    let mut random = Random::new(17);
    for sample in 0..SAMPLES {
        insert(client, 2_000_000_000 + sample, &mut random).await?;
        let start = Instant::now();
        tokio::time::timeout(LIMIT, consumer.recv())
            .await
            .with_context(|| format!("sample {sample} did not arrive"))?
            .context("read the topic")?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        pause(&mut random).await;
    }
    percentiles(times)
}

/// Until PostgreSQL shows the row.
pub(crate) async fn pipeline(
    target: &postgres::Client,
    client: &mut sqlserver::Client,
) -> Result<Times> {
    let query = target
        .prepare("SELECT count(*) FROM public.orders WHERE order_id = $1")
        .await
        .context("prepare")?;
    let mut random = Random::new(13);
    let mut times = Vec::new();
    for sample in 0..SAMPLES {
        let id = 1_000_000_000 + sample;
        insert(client, id, &mut random).await?;
        let start = Instant::now();
        loop {
            let found: i64 = target.query_one(&query, &[&id]).await.context("look")?.get(0);
            if found > 0 {
                break;
            }
            if start.elapsed() > LIMIT {
                bail!("row {id} did not arrive in {LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        pause(&mut random).await;
    }
    percentiles(times)
}

async fn insert(client: &mut sqlserver::Client, id: i64, random: &mut Random) -> Result<()> {
    let number = u64::try_from(id).context("count")?;
    let sql = format!("INSERT INTO dbo.orders VALUES ({})", orders::values(number, random));
    sqlserver::exec(client, &sql).await
}

/// Not in step with the polls of the source: a different time before each row.
async fn pause(random: &mut Random) {
    tokio::time::sleep(Duration::from_millis(random.between(5, 60))).await;
}

fn percentiles(mut times: Vec<f64>) -> Result<Times> {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().context("no sample");
    Ok(Times { p50: at(50)?, p99: at(99)? })
}
