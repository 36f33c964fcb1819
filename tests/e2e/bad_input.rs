//! What a person got wrong: one clear line, exit code 2, and nothing is written anywhere.

use std::time::Duration;

use causeway_tests::{
    config::Config,
    kafka::{Kafka, Options},
    names,
    pipeline::Pipeline,
    ports,
    process::{self, Ended},
    sqlserver::exec,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::Servers;

/// The time in which a mistake must be told.
const SOON: Duration = Duration::from_secs(60);

/// A pipeline with one table that would work.
async fn sound(servers: &Servers, what: &str) -> Pipeline {
    let pipeline = servers.pipeline(what).await;
    let sql = "CREATE TABLE dbo.things (id int NOT NULL PRIMARY KEY)";
    servers.sqlserver.exec(&pipeline.name, sql).await.unwrap();
    servers.sqlserver.capture(&pipeline.name, "dbo", "things").await.unwrap();
    pipeline
}

async fn run(binary: &str, pipeline: &Pipeline) -> Ended {
    process::run(binary, &["run"], pipeline.path(), SOON).await.unwrap()
}

/// One line on stderr that has all of `words`, and exit code 2.
fn refused(case: &str, ended: &Ended, words: &[&str]) {
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(ended.code, 2, "{case}: exit code {}\n{}", ended.code, ended.stderr);
    assert_eq!(lines.len(), 1, "{case}: not one line\n{}", ended.stderr);
    for word in words {
        assert!(
            lines[0].to_lowercase().contains(&word.to_lowercase()),
            "{case}: the line does not say {word:?}:\n{}",
            lines[0]
        );
    }
}

/// No topic of the pipeline, no table in the target.
async fn nothing_written(case: &str, servers: &Servers, kafka: &Kafka, pipeline: &Pipeline) {
    let config = kafka.client_config();
    let topics = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>()
    })
    .await
    .unwrap();
    let ours: Vec<_> = topics.iter().filter(|topic| topic.starts_with(&pipeline.name)).collect();
    assert!(ours.is_empty(), "{case}: topics were made: {ours:?}");
    let target = servers.postgres.client(&pipeline.name).await.unwrap();
    let tables: i64 = target
        .query_one(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(tables, 0, "{case}: something was made in the target");
}

#[tokio::test]
async fn wrong_configuration_is_refused_in_one_line() {
    let servers = Servers::get().await;
    let nobody = i64::from(ports::free().unwrap());
    let mut pipeline = sound(&servers, "bad").await;
    let sound = pipeline.config.clone();
    let dead = format!("127.0.0.1:{nobody}");
    type Change<'a> = &'a dyn Fn(Config) -> Config;
    let cases: [(&str, &str, Change<'_>, &[&str]); 10] = [
        (
            "unknown key of the source",
            "causeway-source",
            &|config| config.set("kafka.bootstrapp", "x"),
            &["kafka", "bootstrapp"],
        ),
        (
            "unknown key of the sink",
            "causeway-sink",
            &|config| config.set("sink.batch_rowz", 5),
            &["sink", "batch_rowz"],
        ),
        (
            "unknown section",
            "causeway-source",
            &|config| config.set("postgress.host", "x"),
            &["postgress"],
        ),
        (
            "SQL Server's password",
            "causeway-source",
            &|config| config.set("sqlserver.password", "wrong"),
            &["sa", "password"],
        ),
        (
            "PostgreSQL's password",
            "causeway-sink",
            &|config| config.set("postgres.password", "wrong"),
            &["postgres", "password"],
        ),
        (
            "SQL Server is away",
            "causeway-source",
            &|config| config.set("sqlserver.port", nobody),
            &[&dead],
        ),
        (
            "PostgreSQL is away",
            "causeway-sink",
            &|config| config.set("postgres.port", nobody),
            &[&nobody.to_string()],
        ),
        (
            "Kafka is away, the source asks",
            "causeway-source",
            &|config| config.set("kafka.bootstrap", dead.as_str()),
            &["kafka", &dead],
        ),
        (
            "Kafka is away, the sink asks",
            "causeway-sink",
            &|config| config.set("kafka.bootstrap", dead.as_str()),
            &["kafka", &dead],
        ),
        (
            "the registry is away",
            "causeway-source",
            &|config| config.set("registry.url", format!("http://{dead}/apis/ccompat/v7")),
            &["registry", &dead],
        ),
    ];
    for (case, binary, change, words) in cases {
        pipeline.config = change(sound.clone());
        pipeline.write().unwrap();
        refused(case, &run(binary, &pipeline).await, words);
        nothing_written(case, &servers, servers.kafka, &pipeline).await;
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_captured_is_refused_in_one_line() {
    let servers = Servers::get().await;

    // CDC off.
    let mut pipeline = servers.pipeline("bad_cdc").await;
    let plain = names::unique("plain");
    servers.sqlserver.exec("master", &format!("CREATE DATABASE [{plain}]")).await.unwrap();
    pipeline.config = pipeline.config.clone().set("sqlserver.database", plain.as_str());
    pipeline.write().unwrap();
    refused("CDC off", &run("causeway-source", &pipeline).await, &[&plain, "sp_cdc_enable_db"]);
    nothing_written("CDC off", &servers, servers.kafka, &pipeline).await;

    // A table without key, and no snapshot isolation.
    let pipeline = sound(&servers, "bad_key").await;
    let mut client = servers.sqlserver.client(&pipeline.name).await.unwrap();
    exec(&mut client, "CREATE TABLE dbo.heap (a int NULL)").await.unwrap();
    exec(&mut client, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF").await.unwrap();
    servers.sqlserver.capture(&pipeline.name, "dbo", "heap").await.unwrap();
    refused(
        "no key",
        &run("causeway-source", &pipeline).await,
        &["dbo.heap", "key", "ALLOW_SNAPSHOT_ISOLATION"],
    );
    nothing_written("no key", &servers, servers.kafka, &pipeline).await;
}

#[tokio::test]
async fn a_missing_right_to_topics_is_refused_in_one_line() {
    let servers = Servers::get().await;
    let accounts = vec![("limited".to_owned(), "secret".to_owned())];
    let kafka = Kafka::start_with(Options { accounts, ..Options::default() }).await.unwrap();
    let mut pipeline = sound(&servers, "bad_right").await;
    pipeline.config = pipeline
        .config
        .clone()
        .kafka(&kafka)
        .set(r#"kafka.properties."security.protocol""#, "SASL_PLAINTEXT")
        .set(r#"kafka.properties."sasl.mechanism""#, "PLAIN")
        .set(r#"kafka.properties."sasl.username""#, "limited")
        .set(r#"kafka.properties."sasl.password""#, "secret");
    pipeline.write().unwrap();
    let ended = run("causeway-source", &pipeline).await;
    refused("no right to topics", &ended, &[&pipeline.name]);
    nothing_written("no right to topics", &servers, &kafka, &pipeline).await;
}
