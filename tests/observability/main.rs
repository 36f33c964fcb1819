//! One trace from the commit to the apply, as a collector receives it; and the pages of a process.
//!
//! Logs, metrics and the tracer belong to the whole process, so this file has one test that starts
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has found something"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use causeway_observability::{Config, admin, context, init, names};
use causeway_tests::http::{self, Answer};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// An OTLP/HTTP collector that keeps what it is sent.
async fn collector(serving: &mut JoinSet<()>) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let keep = received.clone();
    serving.spawn(http::serve(listener, move |request| {
        let keep = keep.clone();
        async move {
            if request.path != "/v1/traces"
                || request.header("content-type") != Some("application/x-protobuf")
            {
                return Answer::empty(404);
            }
            match ExportTraceServiceRequest::decode(request.body.as_slice()) {
                Ok(batch) => {
                    keep.lock().unwrap().push(batch);
                    Answer::empty(200)
                }
                Err(_) => Answer::empty(400),
            }
        }
    }));
    (url, received)
}

fn spans(received: &Received) -> Vec<Span> {
    let batches = received.lock().unwrap();
    let resources = batches.iter().flat_map(|batch| &batch.resource_spans);
    resources.flat_map(|r| &r.scope_spans).flat_map(|s| s.spans.clone()).collect()
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[tokio::test]
async fn one_trace_from_commit_to_apply_reaches_the_collector() {
    let mut serving = JoinSet::new();
    let (url, received) = collector(&mut serving).await;
    let config = Config { otlp: Some(url), sample_ratio: 1.0, ..Config::default() };
    let guard = init("causeway-source", "shop", &config).unwrap();
    assert!(init("causeway-source", "shop", &config).is_err(), "twice in one process");

    // The source: a commit two seconds ago, carried by the headers of a record.
    let committed = SystemTime::now() - Duration::from_secs(2);
    let table = [("causeway.table", "dbo.orders".to_owned())];
    let commit = context::commit_span("commit", committed, &table);
    let headers = context::inject(&commit);
    commit.end();

    // The sink: it reads bytes from Kafka, in either form, beside headers of others.
    for name in [context::TRACEPARENT, context::UBER_TRACE_ID] {
        let carried = headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(header, value)| (header.as_str(), value.as_bytes()));
        let parent = context::extract(carried.chain([("other", b"x".as_slice())])).unwrap();
        assert_eq!(parent.trace_id(), commit.trace_id(), "{name}");
        let apply = context::apply_span(&parent, SystemTime::now(), &table);
        if name == context::UBER_TRACE_ID {
            apply.fail("dead letter");
        } else {
            apply.end();
        }
    }

    // The pages.
    names::sink::ROWS_APPLIED.add(3, &[("table", "dbo.orders"), ("operation", "upsert")]);
    names::sink::APPLY_SECONDS.record(0.02, &[]);
    let stop = CancellationToken::new();
    let any = "127.0.0.1:0".parse().unwrap();
    let (address, pages) = admin::serve(any, admin::Health::new(), stop.clone()).await.unwrap();
    serving.spawn(async move { pages.await.unwrap() });
    let page = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    let page = page.text().await.unwrap();
    for line in [
        "# TYPE causeway_sink_rows_applied_total counter",
        "# TYPE causeway_sink_apply_seconds histogram",
        "# HELP causeway_sink_rows_applied_total Rows committed to PostgreSQL.",
        "process_resident_memory_bytes{",
        "causeway_sink_apply_seconds_bucket{",
    ] {
        assert!(page.contains(line), "{line} is not in:\n{page}");
    }
    let metrics = causeway_tests::metrics::Metrics::parse(&page);
    assert_eq!(metrics.sum("causeway_sink_rows_applied_total"), Some(3.0));
    assert!(metrics.sum("process_resident_memory_bytes").unwrap() > 1e6);
    let sample = metrics.0.iter().find(|s| s.name == "causeway_sink_rows_applied_total").unwrap();
    assert_eq!(sample.labels["pipeline"], "shop");
    assert_eq!(sample.labels["service"], "causeway-source");
    stop.cancel();

    // The end of the process sends what is left.
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
    let spans = spans(&received);
    assert_eq!(spans.len(), 3, "{spans:?}");
    let root = spans.iter().find(|span| span.name == "commit").unwrap();
    assert!(root.parent_span_id.is_empty());
    assert_eq!(root.start_time_unix_nano, nanos(committed));
    assert!(root.end_time_unix_nano > root.start_time_unix_nano + 1_900_000_000);
    for apply in spans.iter().filter(|span| span.name == "apply") {
        assert_eq!(apply.trace_id, root.trace_id);
        assert_eq!(apply.parent_span_id, root.span_id);
        let said = apply.attributes.iter().find(|a| a.key == "causeway.table").unwrap();
        let value = said.value.as_ref().and_then(|value| value.value.clone());
        assert_eq!(value, Some(Value::StringValue("dbo.orders".to_owned())));
    }
    let failed = spans.iter().filter(|span| span.status.as_ref().is_some_and(|s| s.code == 2));
    assert_eq!(failed.count(), 1);
    let resource = received.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    let name = resource.attributes.iter().find(|a| a.key == "service.name").unwrap();
    let name = name.value.as_ref().and_then(|value| value.value.clone());
    assert_eq!(name, Some(Value::StringValue("causeway-source".to_owned())));
}
