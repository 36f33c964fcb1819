//! How a running pipeline is seen: logs, metrics, traces, and the four pages that each binary serves.
//!
//! * [`names`] lists every metric there is; dashboards and alert rules may use no other (a test
//!   holds them to it);
//! * [`init`] starts logs, metrics and the export of traces, and gives a [`Guard`] that flushes
//!   them;
//! * [`admin`] serves `/metrics`, `/live`, `/ready` and `/status`;
//! * [`context`] makes the spans of a change's way from its commit to its apply, and carries them in
//!   Kafka headers.
//!
//! # The one promise
//!
//! Being watched never stops the work: a collector that is down costs a warning a minute, and a full
//! queue drops spans, not changes. And no row value and no secret is logged: libraries that log
//! what passes through them are kept above that level unless a directive names them.

pub mod admin;
mod config;
pub mod context;
mod error;
mod export;
mod logs;
mod metrics;
pub mod names;

pub use config::{Config, LogFormat};
pub use error::ObservabilityError;

use opentelemetry_sdk::trace::SdkTracerProvider;

/// Keeps the exporters alive; when it is dropped, what is left is sent, for at most five seconds.
#[derive(Debug)]
#[must_use = "dropping it ends the export of traces"]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.traces.take()
            && let Err(error) = provider.shutdown_with_timeout(export::FLUSH_MAX)
        {
            tracing::warn!(error = %error, "the last traces could not be sent");
        }
    }
}

/// Starts logs, metrics and traces for the whole process; call it once, first.
///
/// # Errors
///
/// When the configuration cannot work, or it was called before. An unreachable collector is no
/// error: it may come later.
pub fn init(
    service: &'static str,
    pipeline: &str,
    config: &Config,
) -> Result<Guard, ObservabilityError> {
    config.validate()?;
    logs::init(service, pipeline, config)?;
    metrics::init(service, pipeline)?;
    let traces = match &config.otlp {
        None => None,
        Some(endpoint) => Some(export::init(service, pipeline, endpoint)?),
    };
    Ok(Guard { traces })
}
