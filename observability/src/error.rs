//! What can be wrong with the way in which we are watched.

use std::io;
use std::net::SocketAddr;

/// Logs, metrics, traces or the admin pages cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ObservabilityError {
    /// The `[observability]` section cannot work.
    #[error("[observability] {key} {message}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong, and how to mend it.
        message: String,
    },
    /// `init` was called before, or another subscriber or recorder is installed.
    #[error("start {what}: it was started before in this process")]
    Started {
        /// Logs or metrics.
        what: &'static str,
    },
    /// The histogram buckets of a metric are refused.
    #[error("start the metrics")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// The exporter cannot be built.
    #[error("start the export of traces to {endpoint}")]
    Traces {
        /// The collector.
        endpoint: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The admin pages cannot be served.
    #[error("serve the admin pages on {address}; choose another listen address in [observability]")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ObservabilityError {
    /// Whether the same start may succeed later without a person's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::Started { .. }
            | Self::Metrics(_)
            | Self::Traces { .. }
            | Self::Listen { .. } => false,
        }
    }
}
