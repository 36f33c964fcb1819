//! One trace from a change's commit to its apply, carried by Kafka headers.
//!
//! The source opens the trace with the span of the commit, whose start is the commit time in SQL
//! Server; its context travels in the headers of the records, as W3C `traceparent` and as Jaeger's
//! `uber-trace-id`; the sink adds the span of the apply as a child. Which transactions are traced is
//! decided from their position, so that every process that sees one decides alike.

use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context as Otel, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// W3C Trace Context, <https://www.w3.org/TR/trace-context/>.
pub const TRACEPARENT: &str = "traceparent";
/// The vendor list that goes with it.
pub const TRACESTATE: &str = "tracestate";
/// Jaeger's own header, <https://www.jaegertracing.io/sdk-migration/#propagation-format>.
pub const UBER_TRACE_ID: &str = "uber-trace-id";

/// Names the tracer in what is exported.
const TRACER: &str = "causeway";

/// What a span says about itself. No row values: names, positions and counts.
pub type Attributes<'a> = &'a [(&'static str, String)];

/// A place in a trace: hand it to [`inject`], or hang further spans below it.
#[derive(Clone, Debug, Default)]
pub struct Context(Otel);

impl Context {
    /// The trace as 32 hexadecimal digits, for a log line.
    pub fn trace_id(&self) -> String {
        self.0.span().span_context().trace_id().to_string()
    }

    /// Whether it is part of a real trace.
    pub fn is_valid(&self) -> bool {
        self.0.span().span_context().is_valid()
    }

    /// Ends its span now.
    pub fn end(&self) {
        self.0.span().end();
    }

    /// Ends its span at the given time.
    pub fn end_at(&self, time: SystemTime) {
        self.0.span().end_with_timestamp(time);
    }

    /// Ends its span now, as failed. `why` names what failed and shows no values.
    pub fn fail(&self, why: impl Into<String>) {
        self.0.span().set_status(Status::error(why.into()));
        self.end();
    }

    /// Adds to what the span says about itself.
    pub fn set(&self, attributes: Attributes<'_>) {
        self.0.span().set_attributes(key_values(attributes));
    }
}

fn key_values(attributes: Attributes<'_>) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| KeyValue::new(*name, value.clone())).collect()
}

/// Opens a trace with the span of a commit in the source, which began at `start`. It ends when
/// [`Context::end`] is called: the source does so when the change stands in Kafka.
pub fn commit_span(name: &'static str, start: SystemTime, attributes: Attributes<'_>) -> Context {
    span(&Otel::new(), name, SpanKind::Producer, start, attributes)
}

/// A span below `parent`, which may be of another process.
pub fn child_span(
    parent: &Context,
    name: &'static str,
    kind: SpanKind,
    start: SystemTime,
    attributes: Attributes<'_>,
) -> Context {
    span(&parent.0, name, kind, start, attributes)
}

/// The span of an apply: a child of the commit that `parent` was carried from.
pub fn apply_span(parent: &Context, start: SystemTime, attributes: Attributes<'_>) -> Context {
    child_span(parent, "apply", SpanKind::Consumer, start, attributes)
}

fn span(
    parent: &Otel,
    name: &'static str,
    kind: SpanKind,
    start: SystemTime,
    attributes: Attributes<'_>,
) -> Context {
    let tracer = global::tracer(TRACER);
    let builder = tracer
        .span_builder(name)
        .with_kind(kind)
        .with_start_time(start)
        .with_attributes(key_values(attributes));
    let span = tracer.build_with_context(builder, parent);
    Context(parent.with_span(span))
}

/// Jaeger's own form. Deprecated upstream in favour of W3C's, which we prefer and always send too;
/// kept for consumers that were built with Jaeger's old clients (docs/adr/0001-jaeger-by-otlp.md).
#[expect(deprecated, reason = "old Jaeger clients read nothing else")]
fn jaeger() -> impl TextMapPropagator {
    opentelemetry_jaeger_propagator::Propagator::new()
}

/// The headers that carry `context`; none when there is no trace.
pub fn inject(context: &Context) -> Vec<(String, String)> {
    let mut headers = Headers(Vec::new());
    if context.is_valid() {
        TraceContextPropagator::new().inject_context(&context.0, &mut headers);
        jaeger().inject_context(&context.0, &mut headers);
    }
    // An empty tracestate says nothing.
    headers.0.retain(|(_, value)| !value.is_empty());
    headers.0
}

/// The trace that the headers of a record carry: W3C's if it is there and whole, else Jaeger's.
pub fn extract<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Context> {
    let ours = [TRACEPARENT, TRACESTATE, UBER_TRACE_ID];
    let found: Vec<(String, String)> = headers
        .into_iter()
        .filter_map(|(name, value)| {
            let name = ours.iter().find(|known| known.eq_ignore_ascii_case(name))?;
            Some(((*name).to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let headers = Headers(found);
    let empty = Otel::new();
    let w3c = Context(TraceContextPropagator::new().extract_with_context(&empty, &headers));
    if w3c.is_valid() {
        return Some(w3c);
    }
    let jaeger = Context(jaeger().extract_with_context(&empty, &headers));
    jaeger.is_valid().then_some(jaeger)
}

/// Whether a transaction is traced: `lsn_hash` is a hash of its position, spread over all of u64;
/// `ratio` is the share to trace.
pub fn sampled(lsn_hash: u64, ratio: f64) -> bool {
    if ratio >= 1.0 {
        return true;
    }
    // 32 bits are as fine as anybody sets a ratio, and exact in an f64.
    let high = u32::try_from(lsn_hash >> 32).unwrap_or(u32::MAX);
    f64::from(high) < ratio * (f64::from(u32::MAX) + 1.0)
}

struct Headers(Vec<(String, String)>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn parsed(headers: &[(&str, &str)]) -> Option<Context> {
        extract(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn either_header_carries_a_trace() {
        let w3c = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let uber = format!("{TRACE}:00f067aa0ba902b7:0:1");
        for headers in [
            vec![("traceparent", w3c.as_str())],
            vec![("Traceparent", w3c.as_str()), ("other", "x")],
            vec![("uber-trace-id", uber.as_str())],
            vec![("traceparent", "broken"), ("uber-trace-id", uber.as_str())],
        ] {
            let context = parsed(&headers).unwrap();
            assert_eq!(context.trace_id(), TRACE, "{headers:?}");
        }
        for headers in [vec![], vec![("other", "x")], vec![("traceparent", "00-0-0-00")]] {
            assert!(parsed(&headers).is_none(), "{headers:?}");
        }
        assert!(extract([("traceparent", [0xff, 0xfe].as_slice())]).is_none());
    }

    #[test]
    fn what_is_injected_is_extracted_by_both_forms() {
        let context =
            parsed(&[("uber-trace-id", &format!("{TRACE}:00f067aa0ba902b7:0:1"))]).unwrap();
        let headers = inject(&context);
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [TRACEPARENT, UBER_TRACE_ID]);
        for (name, value) in &headers {
            assert_eq!(extract([(name.as_str(), value.as_bytes())]).unwrap().trace_id(), TRACE);
        }
        assert!(inject(&Context::default()).is_empty());
    }

    #[test]
    fn without_an_exporter_a_span_costs_nothing_and_carries_nothing() {
        let context = commit_span("commit", SystemTime::now(), &[("table", "dbo.t".to_owned())]);
        assert!(!context.is_valid());
        assert!(inject(&context).is_empty());
        context.end();
    }

    #[test]
    fn the_share_of_sampled_positions_is_the_ratio() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (ratio, low, high) in
            [(0.0, 0, 0), (0.01, 50, 150), (0.5, 4_800, 5_200), (1.0, 10_000, 10_000)]
        {
            let taken = (0..10_000).filter(|n| sampled(spread(*n), ratio)).count();
            assert!((low..=high).contains(&taken), "{ratio}: {taken}");
        }
        assert!(sampled(u64::MAX, 1.0));
        assert!(!sampled(0, 0.0));
    }
}
