//! One line for each event, with the service and the pipeline on every line.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::{Config, LogFormat, ObservabilityError};

/// What comes before the user's directives: libraries that log statements with their parameters,
/// requests with their headers, or errors that we handle and log ourselves. A directive that names
/// one of them replaces its line here.
const QUIET: &str = "tokio_postgres=info,tiberius=warn,rdkafka=info,librdkafka=info,apache_avro=warn,\
hyper=info,hyper_util=info,reqwest=info,h2=info,rustls=info,vaultrs=off,rustify=off,\
opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off,opentelemetry_otlp=off";

/// Installs the subscriber of the process; lines go to stderr.
pub(crate) fn init(
    service: &'static str,
    pipeline: &str,
    config: &Config,
) -> Result<(), ObservabilityError> {
    let form =
        Form { service, pipeline: pipeline.to_owned(), json: config.log_format == LogFormat::Json };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .fmt_fields(JsonFields::new())
        .event_format(form)
        .with_filter(filter(&config.log));
    tracing_subscriber::registry()
        .with(lines)
        .try_init()
        .map_err(|_| ObservabilityError::Started { what: "the logs" })
}

/// Our caps first, so that a directive of the user on the same target replaces them.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::new(format!("{QUIET},{directives}"))
}

/// Writes an event as JSON, or as text with the same parts.
struct Form {
    service: &'static str,
    pipeline: String,
    json: bool,
}

impl<S> FormatEvent<S, JsonFields> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                let extensions = span.extensions();
                if let Some(formatted) = extensions.get::<FormattedFields<JsonFields>>()
                    && let Ok(Value::Object(more)) = serde_json::from_str(&formatted.fields)
                {
                    fields.extend(more);
                }
            }
        }
        event.record(&mut Gather(&mut fields));
        let message = fields.shift_remove("message").unwrap_or_default();
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        // Events of the `log` crate carry their origin in fields of this prefix.
        let target = fields
            .get("log.target")
            .and_then(Value::as_str)
            .unwrap_or(event.metadata().target())
            .to_owned();
        fields.retain(|name, _| !name.starts_with("log."));
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level();
        if self.json {
            let mut line = Map::new();
            line.insert("time".to_owned(), time.into());
            line.insert("level".to_owned(), level.as_str().into());
            line.insert("service".to_owned(), self.service.into());
            line.insert("pipeline".to_owned(), self.pipeline.as_str().into());
            line.insert("target".to_owned(), target.into());
            line.insert("message".to_owned(), message.into());
            for (name, value) in fields {
                line.entry(name).or_insert(value);
            }
            return writeln!(writer, "{}", Value::Object(line));
        }
        write!(writer, "{time} {level:>5} {} {target}: {}", self.service, one_line(&message))?;
        for (name, value) in &fields {
            write!(writer, " {name}={value}")?;
        }
        writeln!(writer)
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Collects the fields of an event as JSON values.
struct Gather<'a>(&'a mut Map<String, Value>);

impl Gather<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Gather<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut next = value.source();
        while let Some(cause) = next {
            let said = cause.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            next = cause.source();
        }
        self.put(field, text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, directives: &str, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(JsonFields::new())
            .event_format(Form { service: "causeway-sink", pipeline: "shop".to_owned(), json })
            .with_filter(filter(directives));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), act);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_json_carries_service_pipeline_and_the_fields_of_its_spans() {
        let text = logged(true, "info", || {
            let span = tracing::info_span!("apply", table = "dbo.orders", rows = 3);
            let _entered = span.enter();
            tracing::warn!(rows = 5, ok = true, "wrote \"a\"\nbatch");
            tracing::debug!("not shown");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for (key, value) in [
            ("level", Value::from("WARN")),
            ("service", "causeway-sink".into()),
            ("pipeline", "shop".into()),
            ("message", "wrote \"a\"\nbatch".into()),
            ("table", "dbo.orders".into()),
            ("rows", 5.into()),
            ("ok", true.into()),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_line_of_text_has_the_same_parts() {
        let text =
            logged(false, "info", || tracing::info!(address = "127.0.0.1:1", "admin\nlistening"));
        assert!(text.contains(" INFO causeway-sink "), "{text}");
        assert!(text.ends_with(": admin listening address=\"127.0.0.1:1\"\n"), "{text}");
    }

    #[test]
    fn libraries_that_log_values_are_quiet_unless_they_are_named() {
        let speak = || tracing::debug!(target: "tokio_postgres::query", "parameters: [42]");
        assert_eq!(logged(true, "debug", speak), "");
        assert!(logged(true, "info,tokio_postgres=debug", speak).contains("42"));
        let own = || tracing::debug!(target: "causeway_sink::apply", "batch closed");
        assert!(logged(true, "debug", own).contains("batch closed"));
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        let error = ObservabilityError::Listen {
            address: "127.0.0.1:9101".parse().unwrap(),
            source: std::io::Error::other("address in use"),
        };
        let text = logged(true, "info", || {
            tracing::error!(error = &error as &dyn std::error::Error, "start");
        });
        assert!(text.contains("[observability]: address in use"), "{text}");
    }
}
