//! Finished spans to a collector by OTLP over HTTP, without ever holding up the work.
//!
//! Spans wait in a bounded queue of the SDK's batch processor, which drops when it is full. Its
//! thread calls the exporter, and the exporter sends on a small runtime of its own: so traces are
//! sent, and flushed at the end, whatever the state of the runtime that the service runs on.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};

use crate::ObservabilityError;

/// How long the end of the process waits for the last spans.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// How often spans are sent.
const EVERY: Duration = Duration::from_secs(1);
/// Spans that wait at most; more are dropped.
const QUEUE_MAX: usize = 8_192;
/// How often a failing collector is mentioned.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Starts the export and makes it the process's own.
pub(crate) fn init(
    service: &'static str,
    pipeline: &str,
    endpoint: &str,
) -> Result<SdkTracerProvider, ObservabilityError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ObservabilityError::Traces {
        endpoint: endpoint.to_owned(),
        source,
    };
    let exporter = Exporter::new(endpoint).map_err(failed)?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_scheduled_delay(EVERY)
        .build();
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("causeway.pipeline", pipeline.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        // Which transactions are traced is decided before a span is made: `context::sampled`.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(
            BatchSpanProcessor::builder(exporter).with_batch_config(batches).build(),
        )
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}

/// Where spans are sent: `/v1/traces` below a bare address, as the OTLP specification says.
fn traces_url(endpoint: &str) -> String {
    let trimmed = endpoint.trim_end_matches('/');
    let has_path = trimmed.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path { trimmed.to_owned() } else { format!("{trimmed}/v1/traces") }
}

#[derive(Debug)]
struct Exporter {
    inner: Arc<Otlp>,
    runtime: Option<tokio::runtime::Runtime>,
    endpoint: String,
    trouble: Mutex<Trouble>,
}

impl Exporter {
    fn new(endpoint: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut client = reqwest::Client::builder().timeout(REQUEST_MAX);
        if endpoint.starts_with("http://") {
            // A machine without certificate authorities must still reach a plain collector.
            client = client.tls_certs_only(Vec::new());
        }
        let inner = Otlp::builder()
            .with_http()
            .with_http_client(client.build()?)
            .with_endpoint(traces_url(endpoint))
            .with_timeout(REQUEST_MAX)
            .build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        Ok(Self {
            inner: Arc::new(inner),
            runtime: Some(runtime),
            endpoint: endpoint.to_owned(),
            trouble: Mutex::default(),
        })
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(runtime) = &self.runtime else { return Err(OTelSdkError::AlreadyShutdown) };
        let count = batch.len();
        let inner = self.inner.clone();
        let sending = runtime.spawn(async move { inner.export(batch).await });
        let outcome = match sending.await {
            Ok(outcome) => outcome,
            Err(gone) => Err(OTelSdkError::InternalFailure(gone.to_string())),
        };
        let Ok(mut trouble) = self.trouble.lock() else { return outcome };
        match &outcome {
            Ok(()) => {
                if let Some(dropped) = trouble.over() {
                    tracing::info!(endpoint = self.endpoint, dropped, "traces are sent again");
                }
            }
            Err(error) => {
                if let Some(dropped) = trouble.again(count, Instant::now()) {
                    tracing::warn!(
                        endpoint = self.endpoint,
                        dropped,
                        error = %error,
                        "traces cannot be sent; the pipeline goes on without them"
                    );
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is being sent before the processor runs, so nobody else holds it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A collector that does not answer: mentioned once in a while, with what was lost.
#[derive(Debug, Default)]
struct Trouble {
    dropped: usize,
    mentioned: Option<Instant>,
}

impl Trouble {
    /// A batch of `count` was lost; `Some(lost so far)` when it is time to say so.
    fn again(&mut self, count: usize, now: Instant) -> Option<usize> {
        self.dropped = self.dropped.saturating_add(count);
        let due = self.mentioned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if due {
            self.mentioned = Some(now);
        }
        due.then_some(self.dropped)
    }

    /// A batch was sent; `Some(lost in all)` when that ends a trouble.
    fn over(&mut self) -> Option<usize> {
        self.mentioned.take()?;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_to_a_bare_address_only() {
        for (endpoint, url) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint), url);
        }
    }

    #[test]
    fn a_failing_collector_is_mentioned_once_a_minute() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        assert_eq!(trouble.over(), None);
        assert_eq!(trouble.again(3, start), Some(3));
        assert_eq!(trouble.again(4, start + Duration::from_secs(59)), None);
        assert_eq!(trouble.again(5, start + Duration::from_secs(60)), Some(12));
        assert_eq!(trouble.over(), Some(12));
        assert_eq!(trouble.over(), None);
        assert_eq!(trouble.again(1, start + Duration::from_secs(61)), Some(1));
    }
}
