//! Topics: created as they must be, and refused when they are not; rights that are missing are named.

use causeway_kafka::{Admin, Config, Error, TopicSpec, Transactional};
use causeway_tests::{
    kafka::{Kafka, Options},
    names,
};

use crate::{config, topic};

fn spec(name: &str, compacted: bool) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions: 2, compacted, retention_ms: Some(-1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once_and_listed_by_prefix() {
    let config = config().await;
    let admin = Admin::new(&config).unwrap();
    let prefix = names::unique("pipe");
    let (a, b) = (format!("{prefix}.a"), format!("{prefix}.b"));
    assert_eq!(admin.ensure_topics(&[spec(&a, false)]).await.unwrap(), [a.as_str()]);
    let both = [spec(&a, false), spec(&b, true)];
    assert_eq!(admin.ensure_topics(&both).await.unwrap(), [b.as_str()]);
    assert!(admin.ensure_topics(&both).await.unwrap().is_empty());
    let listed = admin.list(&format!("{prefix}.")).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|t| (t.name.as_str(), t.partitions)).collect();
    assert_eq!(listed, [(a.as_str(), 2), (b.as_str(), 2)]);
    assert_eq!(admin.describe(&b).await.unwrap().map(|t| t.partitions), Some(2));
    assert_eq!(admin.describe(&prefix).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_lose_positions_is_refused() {
    let config = config().await;
    let name = topic(&config, 1, false).await;
    let error = Admin::new(&config).unwrap().ensure_topics(&[spec(&name, true)]).await.unwrap_err();
    assert!(matches!(error, Error::Topic { .. }), "{error:?}");
    assert!(error.to_string().contains("cleanup.policy=compact"), "{error}");

    let mut config = config.clone();
    config.replication = 3;
    let name = names::unique("replicated");
    let error = Admin::new(&config).unwrap().ensure_topics(&[spec(&name, true)]).await.unwrap_err();
    assert!(error.to_string().contains("replication"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_names_the_topic_and_the_operation() {
    let options =
        Options { accounts: vec![("guest".to_owned(), "guest".to_owned())], ..Options::default() };
    let kafka = Kafka::start_with(options).await.unwrap();
    let mut config = Config::new(kafka.bootstrap());
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "guest"),
        ("sasl.password", "guest"),
    ] {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    let error =
        Admin::new(&config).unwrap().ensure_topics(&[spec("shop.t", false)]).await.unwrap_err();
    let Error::Rights { operation: "Create", resource, .. } = &error else { panic!("{error:?}") };
    assert_eq!(resource, "topic shop.t");
    let error = Transactional::open(&config, "shop.source").await.err().unwrap();
    assert!(matches!(error, Error::Rights { .. }), "{error:?}");
    assert!(error.to_string().contains("transactional-id shop.source"), "{error}");

    config.properties.insert("sasl.password".to_owned(), "wrong".to_owned());
    let error = Admin::new(&config).unwrap().list("").await.unwrap_err();
    println!("wrong password: {error}");
    assert!(error.to_string().to_lowercase().contains("authentication"), "{error}");
}
