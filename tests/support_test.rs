//! The servers that the other tests lean on: they start, survive SIGKILL with their data, and end
//! with us.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use causeway_tests::{
    kafka::{Kafka, Options},
    names,
    postgres::Postgres,
    shared, wait,
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

#[tokio::test]
async fn postgres_keeps_what_was_committed_when_it_is_killed() {
    let mut postgres = Postgres::start().await.unwrap();
    let client = postgres.client("postgres").await.unwrap();
    client.batch_execute("CREATE TABLE t AS SELECT 1 AS x").await.unwrap();
    let before = postgres.pid().unwrap();
    postgres.kill9().await;
    assert!(client.query("SELECT x FROM t", &[]).await.is_err(), "a session survived");
    postgres.restart().await.unwrap();
    assert_ne!(postgres.pid().unwrap(), before);
    let client = postgres.client("postgres").await.unwrap();
    let x: i32 = client.query_one("SELECT x FROM t", &[]).await.unwrap().get(0);
    assert_eq!(x, 1);
    let mut wrong =
        Postgres::external(&postgres.url("x").replace("causeway-test@", "no@")).unwrap();
    assert!(wrong.client("postgres").await.is_err(), "a wrong password was let in");
    assert!(wrong.restart().await.is_err());
}

#[tokio::test]
async fn kafka_keeps_its_topics_and_ports_when_it_is_killed() {
    let accounts = vec![("limited".to_owned(), "secret".to_owned())];
    let mut kafka = Kafka::start_with(Options { accounts, ..Options::default() }).await.unwrap();
    let admin: AdminClient<DefaultClientContext> = kafka.client_config().create().unwrap();
    let topic = NewTopic::new("t", 1, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    kafka.kill9();
    kafka.restart().await.unwrap();
    let mut config = kafka.client_config();
    let list = |config: rdkafka::ClientConfig| async move {
        tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = config.create().unwrap();
            let metadata = producer.client().fetch_metadata(None, Duration::from_secs(10)).unwrap();
            metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>()
        })
        .await
        .unwrap()
    };
    assert!(list(config.clone()).await.contains(&"t".to_owned()));
    // An account without rights sees nothing and may make nothing.
    config.set("sasl.username", "limited").set("sasl.password", "secret");
    assert_eq!(list(config.clone()).await, Vec::<String>::new());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new("u", 1, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0);
    assert!(made.is_err(), "the limited account made a topic");
}

#[tokio::test]
async fn the_shared_servers_answer() {
    let (postgres, kafka, registry) =
        tokio::join!(shared::postgres(), shared::kafka(), shared::registry());
    let db = names::unique("support");
    postgres.create_database(&db).await.unwrap();
    let client = postgres.client(&db).await.unwrap();
    let name: String = client.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
    assert_eq!(name, db);

    let subjects = reqwest::get(format!("{}/subjects", registry.url())).await.unwrap();
    assert!(subjects.status().is_success());

    let mut config = kafka.client_config();
    config.set("transactional.id", &db);
    let topic = db.clone();
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<str, str>::to(&topic).payload("x")).unwrap();
        producer.commit_transaction(Duration::from_secs(30)).unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_server_ends_with_the_process_that_started_it() {
    // A process that is killed without a chance to clean up: the watcher must do it.
    let mut stack = Command::new(env!("CARGO_BIN_EXE_causeway-stack"))
        .args(["sleep", "60"])
        .env("KAFKA_BOOTSTRAP", "127.0.0.1:1")
        .env("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
        .env_remove("POSTGRES_URL")
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let parent = stack.id().to_string();
    let find = || {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.unwrap_or_default().split_whitespace().find_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "postgres").then(|| pid.to_owned())
        })
    };
    let server = wait::until("a postmaster", Duration::from_secs(60), || async { Ok(find()) });
    let server = server.await.unwrap();
    let folder = std::fs::read_link(format!("/proc/{server}/cwd")).unwrap();
    stack.kill().unwrap();
    stack.wait().unwrap();
    wait::until("the postmaster and its folder to go", Duration::from_secs(20), || async {
        let gone = !std::path::Path::new("/proc").join(&server).exists() && !folder.exists();
        Ok(gone.then_some(()))
    })
    .await
    .unwrap();
}
