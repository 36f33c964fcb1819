//! The schema registry: one id for one schema, and no incompatible version.

use causeway_kafka::{Registry, RegistryConfig, RegistryError};
use causeway_tests::{names, shared};

fn schema(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Value","namespace":"t","fields":[{fields}]}}"#)
}

async fn registry() -> (Registry, String) {
    let url = shared::registry().await.url().to_owned();
    (Registry::new(&RegistryConfig::new(&url)).unwrap(), url)
}

#[tokio::test]
async fn a_schema_has_one_id_and_comes_back_by_it() {
    let (registry, url) = registry().await;
    registry.check().await.unwrap();
    let subject = format!("{}-value", names::unique("shop.db.dbo.t"));
    let text = schema(r#"{"name":"id","type":{"type":"int","connect.default":1},"default":1}"#);
    let id = registry.register(&subject, &text).await.unwrap();
    assert_eq!(registry.register(&subject, &text).await.unwrap(), id);
    // Without the cache of the first as well.
    let other = Registry::new(&RegistryConfig::new(format!("{url}/"))).unwrap();
    assert_eq!(other.register(&subject, &text).await.unwrap(), id);
    let back = other.schema(id).await.unwrap();
    let (back, text): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&back).unwrap(), serde_json::from_str(&text).unwrap());
    assert_eq!(back, text, "the properties came back");

    let level =
        reqwest::get(format!("{url}/config/{subject}")).await.unwrap().text().await.unwrap();
    assert!(level.contains("FORWARD_TRANSITIVE"), "{level}");
}

#[tokio::test]
async fn a_column_may_be_added_and_an_incompatible_change_is_refused() {
    let (registry, _) = registry().await;
    let subject = format!("{}-value", names::unique("shop.db.dbo.t"));
    let id = r#"{"name":"id","type":"int"}"#;
    let note = r#"{"name":"note","type":["null","string"],"default":null}"#;
    let first = registry.register(&subject, &schema(id)).await.unwrap();
    let second = registry.register(&subject, &schema(&format!("{id},{note}"))).await.unwrap();
    assert_ne!(first, second);
    let error =
        registry.register(&subject, &schema(r#"{"name":"id","type":"string"}"#)).await.unwrap_err();
    assert!(!error.is_transient());
    match error {
        RegistryError::Incompatible { subject: at, message } => {
            assert_eq!(at, subject);
            assert!(!message.is_empty());
            println!("the registry says: {message}");
        }
        other => panic!("wanted Incompatible, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_register_one_schema_at_the_same_moment_get_one_id() {
    let (first, url) = registry().await;
    let id = r#"{"name":"id","type":"int"}"#;
    for round in 0..5 {
        let subject = format!("{}-value", names::unique("shop.db.dbo.t"));
        first.register(&subject, &schema(id)).await.unwrap();
        let note = format!(r#"{{"name":"note{round}","type":["null","string"],"default":null}}"#);
        let wanted = schema(&format!("{id},{note}"));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (subject, wanted) = (subject.clone(), wanted.clone());
            // Each without the cache of the others, as processes are.
            let registry = Registry::new(&RegistryConfig::new(&url)).unwrap();
            tasks.spawn(async move { registry.register(&subject, &wanted).await.unwrap() });
        }
        let ids: std::collections::BTreeSet<u32> = tasks.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
}

#[tokio::test]
async fn errors_say_what_was_asked_where_and_whether_to_try_again() {
    let (registry, url) = registry().await;
    let error = registry.schema(987_654_321).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("987654321") && !error.is_transient(), "{error}");

    let error =
        registry.register(&names::unique("s"), "{\"type\":\"nonsense\"}").await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    println!("the registry says: {error}");

    let nowhere = Registry::new(&RegistryConfig::new("http://127.0.0.1:1")).unwrap();
    for error in [
        nowhere.check().await.unwrap_err(),
        nowhere.schema(1).await.unwrap_err(),
        nowhere.register("s", "\"int\"").await.unwrap_err(),
    ] {
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
        assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1"), "{error}");
    }

    // The right server, the wrong path.
    let wrong = url.replace("/apis/ccompat/v7", "/apis/nothing");
    let error = Registry::new(&RegistryConfig::new(wrong)).unwrap().check().await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
}
