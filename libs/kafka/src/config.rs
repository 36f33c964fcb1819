//! How to reach Kafka and the schema registry: the `[kafka]` and `[registry]` sections, and what
//! librdkafka is told.

use std::{collections::BTreeMap, fmt};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use serde::{Deserialize, Deserializer};

use crate::Error;

/// The `[kafka]` section.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Brokers to ask first, `host:port` separated by commas.
    pub bootstrap: String,
    /// Partitions of the topics that are created. More let more sinks share the work; an existing
    /// topic keeps its number, because keys would move.
    #[serde(default = "three")]
    pub partitions: i32,
    /// Copies of each partition. With 1 a lost broker loses data.
    #[serde(default = "one")]
    pub replication: i32,
    /// librdkafka properties, passed through: `security.protocol`, `sasl.username` and so on. Those
    /// that the promises rest on are refused.
    #[serde(default, deserialize_with = "properties")]
    pub properties: BTreeMap<String, String>,
}

fn three() -> i32 {
    3
}

fn one() -> i32 {
    1
}

/// The `[registry]` section.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Base address of Confluent's API; Apicurio has it under `/apis/ccompat/v7`.
    pub url: String,
    /// User of basic authentication.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
}

/// Values may be passwords and are not printed.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bootstrap", &self.bootstrap)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

/// Reads TOML scalars as texts, and an unquoted `security.protocol = "ssl"`, which TOML takes for a
/// table in a table, as the one name that was meant.
fn properties<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    fn flatten(
        prefix: &str,
        value: serde_json::Value,
        out: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        use serde_json::Value as Json;
        let text = match value {
            Json::String(text) => text,
            Json::Bool(b) => b.to_string(),
            Json::Number(n) => n.to_string(),
            Json::Object(inner) => {
                for (key, value) in inner {
                    flatten(&format!("{prefix}.{key}"), value, out)?;
                }
                return Ok(());
            }
            Json::Null | Json::Array(_) => {
                return Err(format!("property \"{prefix}\" must be a text, a number or a boolean"));
            }
        };
        out.insert(prefix.to_owned(), text);
        Ok(())
    }
    let given = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    let mut out = BTreeMap::new();
    for (key, value) in given {
        flatten(&key, value, &mut out).map_err(serde::de::Error::custom)?;
    }
    Ok(out)
}

/// Properties that the promises rest on, with the reason to leave them alone.
const FIXED: [(&str, &str); 12] = [
    ("bootstrap.servers", "it is the field bootstrap"),
    ("metadata.broker.list", "it is the field bootstrap"),
    ("group.id", "it is the name of the pipeline"),
    ("transactional.id", "it is made from the name of the pipeline"),
    ("enable.idempotence", "exactly once rests on it"),
    ("acks", "exactly once rests on it"),
    ("request.required.acks", "exactly once rests on it"),
    ("isolation.level", "exactly once rests on it"),
    ("enable.auto.commit", "positions are kept with the data"),
    ("auto.offset.reset", "a gap must be noticed, not skipped"),
    ("enable.partition.eof", "the end of a compacted topic is found by it"),
    ("partitioner", "keys must go where Java clients look for them"),
];

impl Config {
    /// A configuration with defaults for everything but the address.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            partitions: three(),
            replication: one(),
            properties: BTreeMap::new(),
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`Error::Config`], which names the field.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        if self.bootstrap.trim().is_empty() {
            return wrong("bootstrap is empty; it must be host:port".to_owned());
        }
        if !(1..=10_000).contains(&self.partitions) {
            return wrong(format!("partitions is {}; it must be 1 to 10000", self.partitions));
        }
        if !(1..=32).contains(&self.replication) {
            return wrong(format!("replication is {}; it must be 1 to 32", self.replication));
        }
        for (property, reason) in FIXED {
            if self.properties.contains_key(property) {
                return wrong(format!("properties.\"{property}\" cannot be set: {reason}"));
            }
        }
        Ok(())
    }

    /// Bytes of key, value and headers above which our own producers refuse a record.
    #[must_use]
    pub fn message_max_bytes(&self) -> usize {
        let set = self.properties.get("message.max.bytes").and_then(|text| text.parse().ok());
        set.or_else(|| MESSAGE_MAX_BYTES.parse().ok()).unwrap_or(usize::MAX)
    }

    /// What every client has in common; the user's properties come last and win.
    fn common(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "causeway")
            // Small requests must not wait for an acknowledgement: 16 ms of 31 ms a commit.
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            // rdkafka would ask a logger that is not there and then keep errors to itself.
            .set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in own.iter().copied() {
            config.set(key, value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// For metadata and administration.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.common(&[])
    }

    /// For a producer; `message.max.bytes` must fit what [`crate::Admin::ensure_topics`] gives topics.
    pub(crate) fn producer(&self) -> ClientConfig {
        self.common(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            // Java's partitioner, so that a key is where every other client looks for it.
            ("partitioner", "murmur2_random"),
            ("linger.ms", "1"),
            ("batch.size", "1000000"),
            ("message.max.bytes", MESSAGE_MAX_BYTES),
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", "65536"),
        ])
    }

    /// For the transactional producer.
    pub(crate) fn transactional(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer();
        config.set("transactional.id", transactional_id);
        if !self.properties.contains_key("retry.backoff.ms") {
            // The broker says CONCURRENT_TRANSACTIONS while it writes the last markers; the client
            // waits this long before it asks again. With 100 a commit takes 15 ms, with 5 it takes 9.
            config.set("retry.backoff.ms", "5");
        }
        config
    }

    /// For a consumer with assignment by hand. The group is where information about progress goes.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        self.common(&[
            ("group.id", group),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "false"),
            // Assignment is by hand, so no broker waits for a poll; a slow sink must not be expelled.
            ("max.poll.interval.ms", "86400000"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "100"),
            // A full queue is normal here and must not stop fetching for a second.
            ("fetch.queue.backoff.ms", "10"),
            // Compressed: records take several times this once they are here. A larger record comes
            // all the same, alone; `message.max.bytes` would raise the limit to its own size.
            ("fetch.max.bytes", "2097152"),
            ("queued.max.messages.kbytes", "8192"),
            ("statistics.interval.ms", "1000"),
        ])
    }

    /// For a member of the group that gives a lease; `who` is what other members know it by.
    pub(crate) fn lease(&self, group: &str, who: &str) -> ClientConfig {
        let mut config = self.common(&[
            ("group.id", group),
            ("group.protocol", "classic"),
            // Who has the lease keeps it when another comes.
            ("partition.assignment.strategy", "cooperative-sticky"),
            // The least that brokers allow by default.
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "1000"),
            ("max.poll.interval.ms", "60000"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "latest"),
        ]);
        config.set("client.id", who);
        config
    }
}

/// The largest record, 16 MiB: rows with large texts are sent, those beyond are refused by name.
pub(crate) const MESSAGE_MAX_BYTES: &str = "16777216";

impl RegistryConfig {
    /// A configuration without authentication.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), user: None, password: None }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`Error::Config`], which names the field.
    pub fn validate(&self) -> Result<(), Error> {
        if !(self.url.starts_with("http://") || self.url.starts_with("https://")) {
            return Err(Error::Config(
                "registry.url must begin with http:// or https://".to_owned(),
            ));
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(Error::Config(
                "registry.password is set and registry.user is not".to_owned(),
            ));
        }
        Ok(())
    }

    /// The address without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn properties_are_texts_whatever_the_file_has() {
        let config = parse(
            r#"{"bootstrap":"h:1","properties":{"sasl.username":"u","socket.timeout.ms":1000,
               "security":{"protocol":"ssl"},"ssl":{"ca":{"location":"/ca"}},"log.queue":false}}"#,
        )
        .unwrap();
        let expected = [
            ("log.queue", "false"),
            ("sasl.username", "u"),
            ("security.protocol", "ssl"),
            ("socket.timeout.ms", "1000"),
            ("ssl.ca.location", "/ca"),
        ];
        let got: Vec<_> = config.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, expected);
        assert_eq!((config.partitions, config.replication), (3, 1));
        assert!(config.validate().is_ok());
    }

    #[test]
    fn the_users_properties_win_over_the_defaults() {
        let mut config = Config::new("h:1");
        config.properties.insert("compression.type".to_owned(), "zstd".to_owned());
        config.properties.insert("retry.backoff.ms".to_owned(), "50".to_owned());
        let transactional = config.transactional("id");
        assert_eq!(transactional.get("compression.type"), Some("zstd"));
        assert_eq!(transactional.get("retry.backoff.ms"), Some("50"));
        assert_eq!(Config::new("h:1").transactional("id").get("retry.backoff.ms"), Some("5"));
    }

    #[test]
    fn what_would_break_a_promise_is_refused_by_name() {
        for (property, _) in FIXED {
            let mut config = Config::new("h:1");
            config.properties.insert(property.to_owned(), "x".to_owned());
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(property), "{error}");
        }
        assert!(parse(r#"{"bootstrap":"h:1","bootstrapp":"x"}"#).is_err());
        assert!(Config::new(" ").validate().is_err());
        assert!(Config { partitions: 0, ..Config::new("h:1") }.validate().is_err());
        assert!(RegistryConfig::new("localhost:8081").validate().is_err());
    }

    #[test]
    fn no_secret_is_printed() {
        let mut config = Config::new("h:1");
        config.properties.insert("sasl.password".to_owned(), "hunter2".to_owned());
        assert!(!format!("{config:?}").contains("hunter2"));
        let registry = RegistryConfig {
            password: Some("hunter2".to_owned()),
            user: Some("u".to_owned()),
            url: "http://h".to_owned(),
        };
        assert!(!format!("{registry:?}").contains("hunter2"));
    }
}
