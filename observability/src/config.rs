//! The `[observability]` section.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::ObservabilityError;

/// How the pipeline is watched. Every key has a default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or directives such as
    /// `info,causeway_sink=debug`. Libraries that would log row values stay quiet unless a
    /// directive names them. Default `info`.
    pub log: String,
    /// `json` for machines, `text` for people. Default `json`.
    pub log_format: LogFormat,
    /// An OTLP/HTTP collector, such as Jaeger: `http://host:4318`. `/v1/traces` is added when the
    /// URL has no path. Default: traces are not exported.
    pub otlp: Option<String>,
    /// The share of source transactions that are traced, 0 to 1. Source and sink take the same ones.
    /// Default 0.01.
    pub sample_ratio: f64,
    /// Where causeway-source serves its admin pages; port 0 takes a free one. Default
    /// `127.0.0.1:9101`.
    pub source_listen: SocketAddr,
    /// Where causeway-sink serves its admin pages. Default `127.0.0.1:9102`.
    pub sink_listen: SocketAddr,
    /// Where causeway-reconcile serves its admin pages. Default `127.0.0.1:9103`.
    pub reconcile_listen: SocketAddr,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line of text.
    Text,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Json,
            otlp: None,
            sample_ratio: 0.01,
            source_listen: local(9101),
            sink_listen: local(9102),
            reconcile_listen: local(9103),
        }
    }
}

impl Config {
    /// What types cannot say.
    ///
    /// # Errors
    ///
    /// Names the key and how to mend it.
    pub fn validate(&self) -> Result<(), ObservabilityError> {
        let wrong = |key, message: String| Err(ObservabilityError::Config { key, message });
        if let Err(error) = EnvFilter::try_new(&self.log) {
            return wrong("log", format!("is not a level or a list of directives: {error}"));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return wrong(
                "sample_ratio",
                format!("is {}; it must be between 0 and 1", self.sample_ratio),
            );
        }
        if let Some(otlp) = &self.otlp {
            let http = otlp.starts_with("http://") || otlp.starts_with("https://");
            if !http || reqwest::Url::parse(otlp).is_err() {
                return wrong("otlp", "must be a URL such as http://127.0.0.1:4318".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        Config::default().validate().unwrap();
        for (config, key) in [
            (Config { log: "loud=very".to_owned(), ..Config::default() }, "log"),
            (Config { sample_ratio: 1.5, ..Config::default() }, "sample_ratio"),
            (Config { sample_ratio: f64::NAN, ..Config::default() }, "sample_ratio"),
            (Config { otlp: Some("127.0.0.1:4318".to_owned()), ..Config::default() }, "otlp"),
            (Config { otlp: Some("http://".to_owned()), ..Config::default() }, "otlp"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("[observability] {key} ")), "{error}");
        }
    }
}
