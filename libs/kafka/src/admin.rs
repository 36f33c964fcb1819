//! [`Admin`]: topics are listed, and created as the pipeline needs them.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::Client,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use crate::{Config, Error, config::MESSAGE_MAX_BYTES, context::Context};

/// How long a broker may take to answer about metadata.
pub(crate) const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a created topic may take to have leaders.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// A topic as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions, if it is created: an existing topic keeps its number.
    pub partitions: i32,
    /// Whether only the latest record of a key is kept, for ever.
    pub compacted: bool,
    /// How long records are kept, in milliseconds; the broker's default when none, -1 for ever.
    pub retention_ms: Option<i64>,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
}

/// Lists and creates topics.
pub struct Admin {
    client: AdminClient<Context>,
    /// Reads metadata: unlike the client above it can be polled for what went wrong.
    reader: Arc<BaseConsumer<Context>>,
    replication: i32,
}

impl Admin {
    /// Makes a client; no connection is waited for.
    ///
    /// # Errors
    /// [`Error::Config`] when librdkafka refuses a property.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let wrong = |source| Error::client("make a Kafka client".to_owned(), "", source, None);
        let client_config = config.admin();
        let client = AdminClient::from_config_and_context(&client_config, Context::new());
        let reader = BaseConsumer::from_config_and_context(&client_config, Context::new());
        Ok(Self {
            client: client.map_err(wrong)?,
            reader: Arc::new(reader.map_err(wrong)?),
            replication: config.replication,
        })
    }

    /// Every topic whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// [`Error::Client`], transient, when no broker answers.
    pub async fn list(&self, prefix: &str) -> Result<Vec<TopicInfo>, Error> {
        let reader = Arc::clone(&self.reader);
        let prefix = prefix.to_owned();
        blocking("list topics", move || {
            let listed = fetch(reader.client(), &prefix);
            // Logs and errors wait in a queue; here they are wanted, and it must not grow.
            for _ in 0..QUEUED_EVENTS {
                drop(reader.poll(Duration::ZERO));
            }
            listed.map_err(|source| not_listed(reader.client(), &prefix, source))
        })
        .await
    }

    /// One topic; none when it does not exist.
    ///
    /// # Errors
    /// As [`Admin::list`].
    pub async fn describe(&self, name: &str) -> Result<Option<TopicInfo>, Error> {
        // By the list of all: asking for one by name can create it.
        Ok(self.list(name).await?.into_iter().find(|topic| topic.name == name))
    }

    /// Creates the topics that are missing and waits until they have leaders; returns their names.
    ///
    /// A topic that must be compacted and exists otherwise is refused, because it would lose what
    /// is kept in it.
    ///
    /// # Errors
    /// [`Error::Rights`] when the user may not create a topic, [`Error::Topic`] when one is not as it
    /// must be, [`Error::Client`] when no broker answers.
    pub async fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<Vec<String>, Error> {
        let existing = self.list("").await?;
        let (present, missing): (Vec<_>, Vec<_>) =
            specs.iter().partition(|spec| existing.iter().any(|topic| topic.name == spec.name));
        for spec in present {
            if spec.compacted {
                self.check_compacted(&spec.name).await?;
            }
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        self.create(&missing).await?;
        self.wait_for_leaders(&missing).await?;
        Ok(missing.into_iter().map(|spec| spec.name.clone()).collect())
    }

    async fn create(&self, specs: &[&TopicSpec]) -> Result<(), Error> {
        let retention: Vec<Option<String>> =
            specs.iter().map(|spec| spec.retention_ms.map(|ms| ms.to_string())).collect();
        let topics: Vec<NewTopic<'_>> = specs
            .iter()
            .zip(&retention)
            .map(|(spec, retention)| {
                let mut topic = NewTopic::new(
                    &spec.name,
                    spec.partitions,
                    TopicReplication::Fixed(self.replication),
                )
                .set("cleanup.policy", if spec.compacted { "compact" } else { "delete" })
                .set("max.message.bytes", MESSAGE_MAX_BYTES);
                if let Some(ms) = retention {
                    topic = topic.set("retention.ms", ms);
                }
                topic
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(CREATE_TIMEOUT))
            .operation_timeout(Some(CREATE_TIMEOUT));
        let hint = || self.reader.client().context().hint();
        let results = self
            .client
            .create_topics(&topics, &options)
            .await
            .map_err(|source| Error::client("create topics".to_owned(), "", source, hint()))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(refused(&name, code, self.replication)),
            }
        }
        Ok(())
    }

    async fn wait_for_leaders(&self, specs: &[&TopicSpec]) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + CREATE_TIMEOUT;
        loop {
            let topics = self.list("").await?;
            let absent = specs.iter().find(|spec| {
                !topics.iter().any(|topic| topic.name == spec.name && topic.partitions > 0)
            });
            let Some(absent) = absent else { return Ok(()) };
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::Timeout {
                    doing: format!("wait for the leaders of topic {}", absent.name),
                    after_ms: CREATE_TIMEOUT.as_millis(),
                    hint: self.reader.client().context().hint(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The largest batch of records that a topic takes, in bytes; none when the user may not look.
    ///
    /// # Errors
    /// [`Error::Client`] when no broker answers.
    pub async fn max_message_bytes(&self, name: &str) -> Result<Option<usize>, Error> {
        Ok(self.topic_setting(name, "max.message.bytes").await?.and_then(|text| text.parse().ok()))
    }

    /// One setting of a topic; none when the user may not look.
    async fn topic_setting(&self, name: &str, setting: &str) -> Result<Option<String>, Error> {
        let doing = || format!("read the configuration of topic {name}");
        let described = self
            .client
            .describe_configs(
                [&ResourceSpecifier::Topic(name)],
                &AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT)),
            )
            .await
            .map_err(|source| {
                Error::client(doing(), name, source, self.reader.client().context().hint())
            })?;
        for resource in described {
            match resource {
                Ok(resource) => {
                    return Ok(resource.get(setting).and_then(|entry| entry.value.clone()));
                }
                // Without the right to look, the operator is trusted.
                Err(RDKafkaErrorCode::TopicAuthorizationFailed) => {}
                Err(code) => {
                    return Err(Error::client(doing(), name, KafkaError::AdminOp(code), None));
                }
            }
        }
        Ok(None)
    }

    async fn check_compacted(&self, name: &str) -> Result<(), Error> {
        let policy = self.topic_setting(name, "cleanup.policy").await?;
        if policy.is_some_and(|policy| policy != "compact") {
            return Err(Error::Topic {
                topic: name.to_owned(),
                reason:
                    "must be compacted, or what it keeps is deleted in time: kafka-configs --alter \
                     --add-config cleanup.policy=compact"
                        .to_owned(),
            });
        }
        Ok(())
    }
}

fn refused(name: &str, code: RDKafkaErrorCode, replication: i32) -> Error {
    if code == RDKafkaErrorCode::InvalidReplicationFactor {
        return Error::Topic {
            topic: name.to_owned(),
            reason: format!(
                "cannot be created with {replication} replicas: there are fewer brokers; lower \
                 kafka.replication"
            ),
        };
    }
    let denied =
        [RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::ClusterAuthorizationFailed];
    let source = KafkaError::AdminOp(code);
    if denied.contains(&code) {
        return Error::Rights {
            doing: format!("create topic {name}"),
            operation: "Create",
            resource: format!("topic {name}"),
            source: Box::new(source),
        };
    }
    Error::client(format!("create topic {name}"), name, source, None)
}

/// Events of a client to look through after a failure; they come a few at a time.
pub(crate) const QUEUED_EVENTS: u32 = 64;

/// Every topic with the prefix, by name; a topic that has no leader yet counts with 0 partitions.
pub(crate) fn list(client: &Client<Context>, prefix: &str) -> Result<Vec<TopicInfo>, Error> {
    fetch(client, prefix).map_err(|source| not_listed(client, prefix, source))
}

fn not_listed(client: &Client<Context>, prefix: &str, source: KafkaError) -> Error {
    let hint = client.context().hint();
    client.context().explain(Error::client(
        "ask Kafka for its topics".to_owned(),
        prefix,
        source,
        hint,
    ))
}

fn fetch(client: &Client<Context>, prefix: &str) -> Result<Vec<TopicInfo>, KafkaError> {
    let metadata = client.fetch_metadata(None, METADATA_TIMEOUT)?;
    let mut topics: Vec<TopicInfo> = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name().starts_with(prefix))
        .map(|topic| {
            let usable = |error: Option<RDKafkaRespErr>| error.is_none();
            let led = usable(topic.error())
                && topic.partitions().iter().all(|p| p.leader() >= 0 && usable(p.error()));
            let partitions = if led { topic.partitions().len() } else { 0 };
            TopicInfo {
                name: topic.name().to_owned(),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            }
        })
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// Runs a call that waits on a thread where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(Error::Closed { doing }))
}
