//! Rows that are larger than Kafka takes go to the dead letters, and the rest goes on.

use std::collections::BTreeSet;

use causeway_kafka::topic;
use causeway_tests::sqlserver::exec;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};

use crate::{LIMIT, rig::Rig};

const COLUMNS: &str = "id int NOT NULL PRIMARY KEY, x int NULL, body nvarchar(max) NULL";

/// A text that no compression makes much smaller.
fn noise(seed: u64, characters: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(characters);
    while text.len() < characters {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text.truncate(characters);
    text
}

fn header(message: &causeway_kafka::Message, name: &str) -> String {
    let found = message.headers.iter().find(|(n, _)| n == name);
    String::from_utf8(found.unwrap_or_else(|| panic!("no header {name}")).1.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_our_own_limit_goes_to_the_dead_letters() {
    let mut rig = Rig::new("large").await;
    rig.table("a", COLUMNS).await;
    rig.set(r#"kafka.properties."message.max.bytes""#, "20000");
    // One in the copy, one in the stream.
    rig.exec(&format!(
        "INSERT INTO dbo.a VALUES (1, 1, N'small'), (2, 1, N'{}')",
        noise(1, 30_000)
    ))
    .await;
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    let mut client = rig.client().await;
    exec(&mut client, &format!("INSERT INTO dbo.a VALUES (3, 1, N'{}')", noise(2, 30_000)))
        .await
        .unwrap();
    // Too large with its image before the change, and small enough without.
    exec(&mut client, "UPDATE dbo.a SET body = N'small again' WHERE id = 3").await.unwrap();
    exec(&mut client, "INSERT INTO dbo.a VALUES (4, 1, N'small')").await.unwrap();
    exec(&mut client, "DELETE FROM dbo.a WHERE id = 2").await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    let letters = rig.records("dead-letters", 2).await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let topic = format!("{0}.{0}.dbo.a", rig.name);
        assert_eq!(header(letter, "__connect.errors.topic"), topic);
        assert_eq!(header(letter, "__connect.errors.stage"), "KAFKA_PRODUCE");
        assert_eq!(header(letter, "errors.table"), "dbo.a");
        let reason = header(letter, "__connect.errors.exception.message");
        assert!(reason.contains("without the values of body"), "{reason}");
        assert!(letter.value.as_ref().unwrap().len() < 2_000 && letter.key.is_some());
    }
    let count = source.metrics().await.unwrap().sum("causeway_source_dead_letters_total");
    assert_eq!(count, Some(2.0));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_less_than_we_send_is_not_asked_for_ever() {
    let rig = Rig::new("narrow").await;
    rig.table("a", COLUMNS).await;
    let name = topic::table(&rig.name, &rig.name, &causeway_change::TableId::new("dbo", "a"));
    let admin: AdminClient<_> = rig.kafka.client_config().create().unwrap();
    let made =
        NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "15000");
    let made = admin.create_topics([&made], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let mut client = rig.client().await;
    let row = |id: u64, characters| format!("({id}, 1, N'{}')", noise(id, characters));
    // Together the small ones are more than the topic takes, too.
    let small: Vec<String> = (10..30).map(|id| row(id, 2_000)).collect();
    exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", small.join(","))).await.unwrap();
    exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", row(1, 30_000))).await.unwrap();
    let mut source = rig.start();
    source.logged("snapshot published", LIMIT).await.unwrap();
    exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", row(2, 30_000))).await.unwrap();
    exec(&mut client, &format!("INSERT INTO dbo.a VALUES {}", row(3, 50))).await.unwrap();
    // The second may have met the copy too, when that was not committed yet.
    let letters = rig.records("dead-letters", 2).await;
    let keys: BTreeSet<_> = letters.iter().map(|letter| letter.key.clone()).collect();
    assert_eq!((keys.len(), letters.len() <= 3), (2, true));
    exec(&mut client, "DELETE FROM dbo.a WHERE id IN (1, 2)").await.unwrap();
    let mut reader = rig.reader(&["a"]).await;
    rig.equal(&mut reader, &["a"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_stops_the_source_when_that_is_wanted() {
    let mut rig = Rig::new("largestop").await;
    rig.table("a", COLUMNS).await;
    rig.set(r#"kafka.properties."message.max.bytes""#, "20000");
    rig.set("source.oversized", "stop");
    rig.exec(&format!("INSERT INTO dbo.a VALUES (1, 1, N'{}')", noise(1, 30_000))).await;
    let mut source = rig.start();
    assert_eq!(source.wait(LIMIT).await.unwrap(), 1);
    let stderr = source.stderr();
    assert!(stderr.contains("Kafka refuses a row of dbo.a"), "{stderr}");
}
