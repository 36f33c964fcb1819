//! What librdkafka calls back: logs, statistics, delivery reports.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use rdkafka::{
    ClientContext, Message as _, Statistics,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};

use crate::{
    Error,
    delivered::{Delivered, Run},
};

/// The callbacks of one client.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The last thing that went wrong with a connection: the reason of most timeouts.
    last: Mutex<Option<String>>,
    /// That the broker did not accept who we are, which does not pass by itself.
    refused: Mutex<Option<String>>,
    failures: Mutex<Failures>,
    /// Where records went whose sender wants to know.
    delivered: Mutex<Delivered>,
    /// Bytes of keys and values that were sent and not yet reported.
    outstanding: AtomicI64,
    /// Records between what was fetched and the end, as of the last statistics; -1 before them.
    behind: AtomicI64,
}

/// Deliveries that failed since the last look.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    pub(crate) first: Option<(String, KafkaError)>,
}

/// A lock whose holder panicked holds a counter or a text: both are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { behind: AtomicI64::new(-1), ..Self::default() }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        lock(&self.last).clone()
    }

    /// The error, or what lies behind it: a client that cannot log in reports timeouts only.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match lock(&self.refused).take() {
            Some(reason) if error.is_transient() => Error::Login { reason },
            Some(_) | None => error,
        }
    }

    pub(crate) fn take_failures(&self) -> Failures {
        std::mem::take(&mut *lock(&self.failures))
    }

    /// Where the records went that were sent with a mark since the last call.
    pub(crate) fn take_delivered(&self) -> Vec<Run> {
        lock(&self.delivered).take()
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.outstanding.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn unsent(&self, bytes: usize) {
        self.outstanding.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn outstanding_bytes(&self) -> i64 {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(crate) fn behind(&self) -> Option<u64> {
        u64::try_from(self.behind.load(Ordering::Relaxed)).ok()
    }

    pub(crate) fn forget_behind(&self) {
        self.behind.store(-1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                // Lost connections are reported at this level and mended by the client itself.
                *lock(&self.last) = Some(message.to_owned());
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut behind = 0;
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            // The partition -1 stands for "not yet known", and what is not desired is not assigned.
            if partition.partition < 0 || !partition.desired {
                continue;
            }
            let end =
                if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            if end >= 0 && partition.next_offset >= 0 {
                // The next offset to fetch is past commit markers, which the last message is not.
                behind += (end - partition.next_offset).max(0);
            }
            behind += partition.fetchq_cnt.max(0);
        }
        self.behind.store(behind, Ordering::Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // "All brokers are down" follows the error that says why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *lock(&self.last) = Some(reason.to_owned());
        }
        let final_codes = [
            RDKafkaErrorCode::Authentication,
            RDKafkaErrorCode::SaslAuthenticationFailed,
            RDKafkaErrorCode::SSL,
        ];
        if error.rdkafka_error_code().is_some_and(|code| final_codes.contains(&code)) {
            *lock(&self.refused) = Some(reason.to_owned());
        }
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    /// 0, or one more than the mark that the record was sent with.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, marked: usize) {
        let message = match result {
            Ok(message) | Err((_, message)) => message,
        };
        let bytes = message.key_len() + message.payload_len();
        self.outstanding.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        let error = match result {
            Err((error, _)) => error.clone(),
            Ok(message) => {
                let Some(mark) = marked.checked_sub(1) else { return };
                if message.offset() >= 0 {
                    lock(&self.delivered).add(mark, message.partition(), message.offset());
                    return;
                }
                // The broker has it from an earlier try and does not know any more where it is. What is
                // said of offsets must be right, so the transaction is sent again.
                KafkaError::MessageProduction(RDKafkaErrorCode::DuplicateSequenceNumber)
            }
        };
        let mut failures = lock(&self.failures);
        failures.count += 1;
        failures.first.get_or_insert_with(|| (message.topic().to_owned(), error));
    }
}
