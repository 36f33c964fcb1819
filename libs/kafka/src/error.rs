//! [`Error`]: what can go wrong with Kafka, and what to do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A failed operation on Kafka.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be right.
    #[error("[kafka] {0}")]
    Config(String),
    /// A call failed; `doing` says on which topic or partition.
    #[error("{doing}{}", hint_text(.hint.as_ref()))]
    Client {
        /// What was being done.
        doing: String,
        /// What the client last said of its connections, when that may be the reason.
        hint: Option<String>,
        /// Why it failed.
        source: Box<KafkaError>,
    },
    /// A step of a transaction failed.
    #[error("{doing} of the transactional producer {transactional_id}: {fault}{}", hint_text(.hint.as_ref()))]
    Transaction {
        /// What was being done.
        doing: &'static str,
        /// Which producer.
        transactional_id: String,
        /// What that means for the producer.
        fault: Fault,
        /// What the client last said of its connections, when that may be the reason.
        hint: Option<String>,
        /// Why it failed.
        source: Box<KafkaError>,
    },
    /// Records were accepted by the client and then not by the broker.
    #[error("deliver {failed} record(s), the first to {topic}")]
    Delivery {
        /// Topic of the first of them.
        topic: String,
        /// How many.
        failed: u64,
        /// Whether they belong to a transaction, which must then be aborted.
        transactional: bool,
        /// Why the first failed.
        source: Box<KafkaError>,
    },
    /// The user may not do it.
    #[error(
        "{doing}: the Kafka user lacks the right {operation} on {resource}; grant it with \
         kafka-acls --add --allow-principal User:<user> --operation {operation} ..."
    )]
    Rights {
        /// What was being done.
        doing: String,
        /// Kafka's name of the operation.
        operation: &'static str,
        /// What it was wanted on, such as `topic shop.orders`.
        resource: String,
        /// What the broker said.
        source: Box<KafkaError>,
    },
    /// Kafka does not know the user or the password, or the TLS handshake failed.
    #[error(
        "log in to Kafka: {reason}; look at [kafka.properties] (security.protocol, sasl.*, ssl.*)"
    )]
    Login {
        /// What the client saw.
        reason: String,
    },
    /// A topic is not there.
    #[error("{doing}: there is no topic {topic}")]
    MissingTopic {
        /// What was being done.
        doing: &'static str,
        /// The topic.
        topic: String,
    },
    /// A topic is there and not as it must be.
    #[error("topic {topic} {reason}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it and how to mend it.
        reason: String,
    },
    /// The offset to read from is no longer, or not yet, in the topic: records are missing.
    #[error(
        "read {topic}[{partition}] from offset {wanted}: the topic has {low} to {high}; retention \
         overtook the reader or the topic was made again, so records are lost to it"
    )]
    Gap {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Offset that the reader stands at.
        wanted: i64,
        /// First offset that is there.
        low: i64,
        /// Offset after the last that is there.
        high: i64,
    },
    /// Nothing came within the time allowed.
    #[error("{doing}: no answer within {after_ms} ms{}", hint_text(.hint.as_ref()))]
    Timeout {
        /// What was being done.
        doing: String,
        /// The time allowed.
        after_ms: u128,
        /// What the client last said of its connections.
        hint: Option<String>,
    },
    /// The thread that does the work is gone.
    #[error("{doing}: the client has been shut down")]
    Closed {
        /// What was being done.
        doing: &'static str,
    },
}

/// What an error of a transaction means for its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another producer with the same id has started; this one must stop.
    Fenced,
    /// The transaction must be aborted; the producer can begin the next.
    Abortable,
    /// The same call can be made again.
    Transient,
    /// The producer is of no use any more: open a new one.
    Fatal,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fenced => "another producer with this id has taken over",
            Self::Abortable => "the transaction must be aborted",
            Self::Transient => "it can be tried again",
            Self::Fatal => "the producer must be made anew",
        })
    }
}

fn hint_text(hint: Option<&String>) -> String {
    hint.map(|hint| format!(" (last seen: {hint})")).unwrap_or_default()
}

impl Error {
    /// Whether the same operation can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Client { source, .. } => is_transient(source),
            Self::Transaction { fault, .. } => match fault {
                // After an abort the same records can be sent again.
                Fault::Transient | Fault::Abortable => true,
                Fault::Fenced | Fault::Fatal => false,
            },
            Self::Delivery { source, transactional, .. } => {
                is_transient(source)
                    || (*transactional
                        && source.rdkafka_error_code().is_some_and(|c| AFTER_ABORT.contains(&c)))
            }
            Self::Timeout { .. } => true,
            Self::Config(_)
            | Self::Rights { .. }
            | Self::Login { .. }
            | Self::MissingTopic { .. }
            | Self::Topic { .. }
            | Self::Gap { .. }
            | Self::Closed { .. } => false,
        }
    }

    /// Whether a record, or a batch of them, is larger than the client, the topic or the broker takes.
    /// The same records fail again and again; after an abort others can be sent.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::Client { source, .. }
            | Self::Delivery { source, .. }
            | Self::Transaction { source, .. } => {
                source.rdkafka_error_code().is_some_and(|code| TOO_LARGE.contains(&code))
            }
            Self::Config(_)
            | Self::Rights { .. }
            | Self::Login { .. }
            | Self::MissingTopic { .. }
            | Self::Topic { .. }
            | Self::Gap { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. } => false,
        }
    }

    /// Whether another producer with the same transactional id has taken over.
    ///
    /// A twin is sometimes noticed first by a delivery that wants an abort
    /// ([`Error::needs_abort`]); the abort then fails with an error that is fenced.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Transaction { fault, .. } => *fault == Fault::Fenced,
            Self::Delivery { source, .. } | Self::Client { source, .. } => {
                source.rdkafka_error_code().is_some_and(|code| FENCED.contains(&code))
            }
            Self::Config(_)
            | Self::Rights { .. }
            | Self::Login { .. }
            | Self::MissingTopic { .. }
            | Self::Topic { .. }
            | Self::Gap { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. } => false,
        }
    }

    /// Whether the open transaction must be aborted before the producer can go on.
    #[must_use]
    pub fn needs_abort(&self) -> bool {
        match self {
            Self::Transaction { fault, .. } => *fault == Fault::Abortable,
            Self::Delivery { transactional, .. } => *transactional && !self.is_fenced(),
            Self::Client { .. }
            | Self::Config(_)
            | Self::Rights { .. }
            | Self::Login { .. }
            | Self::MissingTopic { .. }
            | Self::Topic { .. }
            | Self::Gap { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. } => false,
        }
    }

    /// Sorts an error of librdkafka: rights and configuration have their own kinds.
    pub(crate) fn client(
        doing: String,
        resource: &str,
        source: KafkaError,
        hint: Option<String>,
    ) -> Self {
        if let KafkaError::ClientConfig(_, what, key, _) = &source {
            // The value is left out: it can be a password.
            return Self::Config(format!("properties.\"{key}\": {what}"));
        }
        if let KafkaError::ClientCreation(what) = &source {
            return Self::Config(what.clone());
        }
        match source.rdkafka_error_code().and_then(missing_right) {
            Some((operation, kind)) => Self::Rights {
                doing,
                operation,
                resource: if kind == "cluster" {
                    kind.to_owned()
                } else {
                    format!("{kind} {resource}")
                },
                source: Box::new(source),
            },
            None => Self::Client { doing, hint, source: Box::new(source) },
        }
    }

    /// Sorts an error of a transaction's step.
    pub(crate) fn transaction(
        doing: &'static str,
        transactional_id: &str,
        source: KafkaError,
        hint: Option<String>,
    ) -> Self {
        let fault = if let KafkaError::Transaction(error) = &source {
            classify(
                error.code(),
                error.is_fatal(),
                error.txn_requires_abort(),
                error.is_retriable(),
            )
        } else {
            source.rdkafka_error_code().map_or(Fault::Fatal, |code| {
                classify(code, false, false, TRANSIENT.contains(&code))
            })
        };
        if let Some((operation, kind)) = source.rdkafka_error_code().and_then(missing_right) {
            return Self::Rights {
                doing: doing.to_owned(),
                operation,
                resource: format!("{kind} {transactional_id}"),
                source: Box::new(source),
            };
        }
        Self::Transaction {
            doing,
            transactional_id: transactional_id.to_owned(),
            fault,
            hint,
            source: Box::new(source),
        }
    }
}

/// What an error's flags mean for the producer. The flags are librdkafka's; the code only tells a twin
/// from other fatal reasons.
fn classify(code: RDKafkaErrorCode, fatal: bool, requires_abort: bool, retriable: bool) -> Fault {
    if FENCED.contains(&code) || (fatal && code == RDKafkaErrorCode::InvalidProducerEpoch) {
        Fault::Fenced
    } else if fatal {
        Fault::Fatal
    } else if requires_abort {
        Fault::Abortable
    } else if retriable {
        Fault::Transient
    } else {
        Fault::Fatal
    }
}

/// A twin and nothing else. `InvalidProducerEpoch` is not here: the broker says it too when it has
/// given up a transaction that took too long, and only the abort tells which it was.
const FENCED: [RDKafkaErrorCode; 2] = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced];

/// A record, or a batch of them, is too large.
const TOO_LARGE: [RDKafkaErrorCode; 2] =
    [RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::MessageBatchTooLarge];

/// Failed deliveries that an abort and another try mend, besides what is transient anyway.
const AFTER_ABORT: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::InvalidProducerEpoch,
    RDKafkaErrorCode::DuplicateSequenceNumber,
    RDKafkaErrorCode::OutOfOrderSequenceNumber,
    RDKafkaErrorCode::UnknownProducerId,
    RDKafkaErrorCode::PurgeQueue,
    RDKafkaErrorCode::PurgeInflight,
];

/// Kafka's name of the right that is missing, and of the kind of resource.
fn missing_right(code: RDKafkaErrorCode) -> Option<(&'static str, &'static str)> {
    if code == RDKafkaErrorCode::TopicAuthorizationFailed {
        Some(("Read, Write, Describe or Create", "topic"))
    } else if code == RDKafkaErrorCode::GroupAuthorizationFailed {
        Some(("Read", "group"))
    } else if code == RDKafkaErrorCode::TransactionalIdAuthorizationFailed {
        Some(("Write", "transactional-id"))
    } else if code == RDKafkaErrorCode::ClusterAuthorizationFailed {
        Some(("Create", "cluster"))
    } else {
        None
    }
}

/// Errors that pass by themselves: a broker restarts, a leader moves, a coordinator loads.
const TRANSIENT: [RDKafkaErrorCode; 25] = [
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::Resolve,
    RDKafkaErrorCode::MessageTimedOut,
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::QueueFull,
    RDKafkaErrorCode::WaitingForCoordinator,
    RDKafkaErrorCode::TimedOutQueue,
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::BrokerNotAvailable,
    RDKafkaErrorCode::ReplicaNotAvailable,
    RDKafkaErrorCode::NetworkException,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::NotEnoughReplicas,
    RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
    RDKafkaErrorCode::ConcurrentTransactions,
    RDKafkaErrorCode::KafkaStorageError,
    RDKafkaErrorCode::FencedLeaderEpoch,
    RDKafkaErrorCode::PreferredLeaderNotAvailable,
    RDKafkaErrorCode::ThrottlingQuotaExceeded,
    RDKafkaErrorCode::UnknownTopicId,
];

fn is_transient(error: &KafkaError) -> bool {
    if let KafkaError::Transaction(error) = error {
        return error.is_retriable();
    }
    error.rdkafka_error_code().is_some_and(|code| TRANSIENT.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_an_error_say_what_to_do() {
        use RDKafkaErrorCode as Code;
        for (code, fatal, abort, retriable, fault) in [
            (Code::Fenced, true, false, false, Fault::Fenced),
            (Code::ProducerFenced, false, true, false, Fault::Fenced),
            (Code::InvalidProducerEpoch, true, false, false, Fault::Fenced),
            (Code::InvalidProducerEpoch, false, true, false, Fault::Abortable),
            (Code::MessageTimedOut, false, true, false, Fault::Abortable),
            (Code::OperationTimedOut, false, false, true, Fault::Transient),
            (Code::OutOfOrderSequenceNumber, true, false, false, Fault::Fatal),
            (Code::State, false, false, false, Fault::Fatal),
        ] {
            assert_eq!(classify(code, fatal, abort, retriable), fault, "{code:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_transient_and_what_a_person_must_mend_is_not() {
        let client = |code| {
            Error::client("read".to_owned(), "t", KafkaError::MessageConsumption(code), None)
        };
        assert!(client(RDKafkaErrorCode::BrokerTransportFailure).is_transient());
        assert!(!client(RDKafkaErrorCode::UnknownTopicOrPartition).is_transient());
        let rights = client(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert!(!rights.is_transient());
        assert!(rights.to_string().contains("on topic t"), "{rights}");
    }

    #[test]
    fn a_failed_delivery_of_a_transaction_wants_an_abort() {
        let delivery = |code, transactional| Error::Delivery {
            topic: "t".to_owned(),
            failed: 1,
            transactional,
            source: Box::new(KafkaError::MessageProduction(code)),
        };
        let late = delivery(RDKafkaErrorCode::MessageTimedOut, true);
        assert!(late.needs_abort() && late.is_transient() && !late.is_fenced());
        let fenced = delivery(RDKafkaErrorCode::Fenced, true);
        assert!(fenced.is_fenced() && !fenced.needs_abort());
        let maybe_fenced = delivery(RDKafkaErrorCode::InvalidProducerEpoch, true);
        assert!(maybe_fenced.needs_abort() && maybe_fenced.is_transient());
        for transactional in [false, true] {
            let too_large = delivery(RDKafkaErrorCode::MessageSizeTooLarge, transactional);
            assert!(!too_large.is_transient() && too_large.is_too_large());
            assert!(!delivery(RDKafkaErrorCode::MessageTimedOut, transactional).is_too_large());
        }
    }
}
