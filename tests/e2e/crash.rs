//! SIGKILL of each part under load: afterwards both sides are equal, nothing was lost, and nothing
//! was applied twice.
//!
//! Three witnesses: the two sides compared row by row; an append-only audit that a trigger writes on
//! the target for every row the sink touches; and the committed records of the topics, counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use causeway_tests::{
    kafka::Kafka,
    pipeline::Pipeline,
    postgres::Postgres,
    process::Proc,
    random::Random,
    shared,
    sqlserver::{SqlServer, exec},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::task::JoinSet;

use crate::LIMIT;

const TABLES: [&str; 2] = ["counters", "entries"];

/// Rows of `counters`; few, so that each changes often.
const COUNTERS: u64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Source,
    Sink,
    Postgres,
    Kafka,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_applied_twice_when_the_source_is_killed() {
    Crash::new("crash_source").await.run(&[Victim::Source; 5], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_applied_twice_when_the_sink_is_killed() {
    Crash::new("crash_sink").await.run(&[Victim::Sink; 5], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_applied_twice_when_the_servers_are_killed() {
    use Victim::{Kafka, Postgres, Sink, Source};
    let victims = [Postgres, Kafka, Postgres, Source, Kafka, Sink, Postgres];
    Crash::new("crash_servers").await.run(&victims, 3).await;
}

/// A pipeline under load, on servers that may be killed.
struct Crash {
    pipeline: Pipeline,
    sqlserver: &'static SqlServer,
    kafka: Kafka,
    postgres: Postgres,
    source: Proc,
    sink: Proc,
}

/// What the load did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    updates: u64,
    inserts: u64,
    deletes: u64,
}

impl Crash {
    /// Everything runs and is equal, and the audit watches the target.
    async fn new(what: &str) -> Self {
        let (kafka, postgres) = tokio::join!(Kafka::start(), Postgres::start());
        let (kafka, postgres) = (kafka.unwrap(), postgres.unwrap());
        let (sqlserver, registry) = tokio::join!(shared::sqlserver(), shared::registry());
        let pipeline = Pipeline::new(what, sqlserver, &kafka, registry, &postgres).await.unwrap();
        let mut client = sqlserver.client(&pipeline.name).await.unwrap();
        for sql in [
            "CREATE TABLE dbo.counters (id int NOT NULL PRIMARY KEY, version bigint NOT NULL, note nvarchar(max) NULL)",
            "CREATE TABLE dbo.entries (id int NOT NULL PRIMARY KEY, version bigint NOT NULL)",
            "INSERT INTO dbo.entries VALUES (0, 0)",
        ] {
            exec(&mut client, sql).await.unwrap();
        }
        for id in 0..COUNTERS {
            let sql = format!("INSERT INTO dbo.counters VALUES ({id}, 0, REPLICATE(N'x', {id}))");
            exec(&mut client, &sql).await.unwrap();
        }
        for table in TABLES {
            sqlserver.capture(&pipeline.name, "dbo", table).await.unwrap();
        }
        let mut source = pipeline.source().unwrap();
        let mut sink = pipeline.sink().unwrap();
        pipeline
            .equal(sqlserver, &postgres, &TABLES, &mut [&mut source, &mut sink], LIMIT)
            .await
            .unwrap();
        let target = postgres.client(&pipeline.name).await.unwrap();
        target.batch_execute(AUDIT).await.unwrap();
        Self { pipeline, sqlserver, kafka, postgres, source, sink }
    }

    async fn run(mut self, victims: &[Victim], seed: u64) {
        let mut random = Random::new(seed);
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        load.spawn(write(self.sqlserver, self.pipeline.name.clone(), seed, Arc::clone(&stop)));
        for victim in victims {
            tokio::time::sleep(Duration::from_millis(random.between(200, 1500))).await;
            let down = Duration::from_millis(random.between(0, 700));
            match victim {
                Victim::Source => {
                    self.source.kill9();
                    tokio::time::sleep(down).await;
                    self.source = self.pipeline.source().unwrap();
                }
                Victim::Sink => {
                    self.sink.kill9();
                    tokio::time::sleep(down).await;
                    self.sink = self.pipeline.sink().unwrap();
                }
                Victim::Postgres => {
                    self.postgres.kill9().await;
                    tokio::time::sleep(down).await;
                    self.postgres.restart().await.unwrap();
                }
                Victim::Kafka => {
                    self.kafka.kill9();
                    tokio::time::sleep(down).await;
                    self.kafka.restart().await.unwrap();
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        let done = load.join_next().await.unwrap().unwrap();
        assert!(done.updates > 100 && done.deletes > 5, "the load did too little: {done:?}");
        let processes = &mut [&mut self.source, &mut self.sink];
        self.pipeline
            .equal(self.sqlserver, &self.postgres, &TABLES, processes, LIMIT)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}, {victims:?}, {done:?}: {error:#}"));
        self.check_audit(done).await;
        self.check_topics(done).await;
    }

    /// Every application of a row moved it forward, and every row came and went once.
    async fn check_audit(&self, done: Done) {
        let target = self.postgres.client(&self.pipeline.name).await.unwrap();
        let count = async |sql: &str| -> i64 { target.query_one(sql, &[]).await.unwrap().get(0) };
        let backwards =
            "SELECT count(*) FROM audit WHERE op = 'UPDATE' AND new_version <= old_version";
        assert_eq!(count(backwards).await, 0, "an update was applied twice, or backwards");
        let broken = "SELECT count(*) FROM (SELECT old_version, lag(new_version) OVER (PARTITION BY
            tbl, id ORDER BY seq) AS before FROM audit WHERE op = 'UPDATE') x WHERE before <> old_version";
        assert_eq!(count(broken).await, 0, "a row changed behind the audit's back");
        let twice = "SELECT count(*) FROM (SELECT tbl, id, op FROM audit WHERE op <> 'UPDATE'
            GROUP BY tbl, id, op HAVING count(*) > 1) x";
        assert_eq!(count(twice).await, 0, "an insert or a delete was applied twice");
        let last = "SELECT sum(version)::bigint FROM counters";
        assert_eq!(count(last).await, i64::try_from(done.updates).unwrap(), "updates were lost");
    }

    /// The topics have each change once.
    async fn check_topics(&self, done: Done) {
        let counters = committed(&self.kafka, &self.pipeline.name, "counters").await;
        assert_eq!(counters.events, COUNTERS + done.updates, "counters: {counters:?}, {done:?}");
        let entries = committed(&self.kafka, &self.pipeline.name, "entries").await;
        assert_eq!(
            entries.events,
            1 + done.inserts + done.deletes,
            "entries: {entries:?}, {done:?}"
        );
        assert_eq!(entries.tombstones, done.deletes, "entries: {entries:?}, {done:?}");
    }
}

/// Changes rows until told to stop.
async fn write(sqlserver: &SqlServer, db: String, seed: u64, stop: Arc<AtomicBool>) -> Done {
    let mut client = sqlserver.client(&db).await.unwrap();
    let mut random = Random::new(seed);
    let mut done = Done::default();
    let mut next = 1;
    let mut oldest = 1;
    while !stop.load(Ordering::Relaxed) {
        match random.below(10) {
            // A transaction over both tables.
            0..3 => {
                let id = random.below(COUNTERS);
                let sql = format!(
                    "BEGIN TRANSACTION; UPDATE dbo.counters SET version = version + 1 WHERE id = {id}; \
                     INSERT INTO dbo.entries VALUES ({next}, {id}); COMMIT TRANSACTION"
                );
                exec(&mut client, &sql).await.unwrap();
                (next, done.updates, done.inserts) = (next + 1, done.updates + 1, done.inserts + 1);
            }
            // The same row twice in one transaction.
            3 => {
                let id = random.below(COUNTERS);
                let update =
                    format!("UPDATE dbo.counters SET version = version + 1 WHERE id = {id}");
                let sql = format!("BEGIN TRANSACTION; {update}; {update}; COMMIT TRANSACTION");
                exec(&mut client, &sql).await.unwrap();
                done.updates += 2;
            }
            4 if oldest < next => {
                let sql = format!("DELETE FROM dbo.entries WHERE id = {oldest}");
                exec(&mut client, &sql).await.unwrap();
                (oldest, done.deletes) = (oldest + 1, done.deletes + 1);
            }
            // All rows at once.
            5 => {
                exec(&mut client, "UPDATE dbo.counters SET version = version + 1").await.unwrap();
                done.updates += COUNTERS;
            }
            _ => {
                let id = random.below(COUNTERS);
                let sql = format!(
                    "UPDATE dbo.counters SET version = version + 1, note = N'{}' WHERE id = {id}",
                    random.bits()
                );
                exec(&mut client, &sql).await.unwrap();
                done.updates += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(random.below(5))).await;
    }
    done
}

const AUDIT: &str = "
CREATE TABLE audit (seq bigserial PRIMARY KEY, tbl text NOT NULL, op text NOT NULL, id int NOT NULL,
  old_version bigint, new_version bigint);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO public.audit (tbl, op, id, old_version) VALUES (TG_TABLE_NAME, TG_OP, OLD.id, OLD.version);
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO public.audit (tbl, op, id, old_version, new_version)
      VALUES (TG_TABLE_NAME, TG_OP, NEW.id, OLD.version, NEW.version);
  ELSE
    INSERT INTO public.audit (tbl, op, id, new_version) VALUES (TG_TABLE_NAME, TG_OP, NEW.id, NEW.version);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON counters FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION audit_row();";

/// The committed records of a table's topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Records with a value.
    pub(crate) events: u64,
    /// Records without.
    pub(crate) tombstones: u64,
}

/// Counts the committed records of the topic of a table of schema `dbo`, from its start to its end.
pub(crate) async fn committed(kafka: &Kafka, pipeline: &str, table: &str) -> Counts {
    let mut config = kafka.client_config();
    config
        .set("group.id", "causeway-tests-count")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let topic = format!("{pipeline}.{pipeline}.dbo.{table}");
    let count = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let wait = Duration::from_secs(30);
        let metadata = consumer.fetch_metadata(Some(&topic), wait).unwrap();
        let partitions: Vec<i32> =
            metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
        assert!(!partitions.is_empty(), "there is no topic {topic}");
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut counts = Counts::default();
        let mut ended = 0;
        while ended < partitions.len() {
            match consumer.poll(wait) {
                Some(Ok(message)) if message.payload().is_some() => counts.events += 1,
                Some(Ok(_)) => counts.tombstones += 1,
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("read {topic}: {error}"),
                None => panic!("read {topic}: nothing came for {wait:?}"),
            }
        }
        counts
    };
    tokio::task::spawn_blocking(count).await.unwrap()
}
