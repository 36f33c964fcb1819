//! The four pages that each binary serves, for Prometheus, for a supervisor and for people.
//!
//! * `/metrics`: Prometheus' text format;
//! * `/live`: 200 while the process works; 503 when a restart would help;
//! * `/ready`: 200 while it does its work; 503 before that, and while it cannot;
//! * `/status`: a JSON object, what it is doing right now.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::ObservabilityError;
use crate::metrics::render;

/// What the pages say; every clone speaks about the same process. Starts live and not ready.
#[derive(Clone, Debug)]
pub struct Health(Arc<RwLock<Says>>);

#[derive(Debug)]
struct Says {
    live: bool,
    ready: bool,
    status: Map<String, Value>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Live, not ready, with nothing to tell.
    pub fn new() -> Self {
        Self(Arc::new(RwLock::new(Says { live: true, ready: false, status: Map::new() })))
    }

    /// Whether it does its work.
    pub fn set_ready(&self, ready: bool) {
        self.change(|says| says.ready = ready);
    }

    /// Whether the process is worth keeping; `false` asks for a restart.
    pub fn set_live(&self, live: bool) {
        self.change(|says| says.live = live);
    }

    /// Puts the keys of `status` into `/status`; `null` takes a key out. Objects are merged, all
    /// else replaces what was there. No row values: whoever reaches the port reads it.
    pub fn set_status(&self, status: Value) {
        if let Value::Object(keys) = status {
            self.change(|says| merge(&mut says.status, keys));
        }
    }

    /// Whether `/ready` answers 200.
    pub fn is_ready(&self) -> bool {
        self.read(|says| says.ready)
    }

    fn is_live(&self) -> bool {
        self.read(|says| says.live)
    }

    fn status(&self) -> Value {
        self.read(|says| {
            let mut status = says.status.clone();
            status.insert("live".to_owned(), says.live.into());
            status.insert("ready".to_owned(), says.ready.into());
            Value::Object(status)
        })
    }

    // A panic elsewhere does not make these few values wrong, so a poisoned lock is still read.
    fn change(&self, act: impl FnOnce(&mut Says)) {
        act(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, look: impl FnOnce(&Says) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn merge(into: &mut Map<String, Value>, keys: Map<String, Value>) {
    for (key, value) in keys {
        match (into.get_mut(&key), value) {
            (_, Value::Null) => {
                into.shift_remove(&key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Listens on `listen` (port 0: a free port) and gives the address and the server, which runs until
/// `stop`. The address is logged as `admin listening`, so that whoever started us finds it.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send + 'static), ObservabilityError>
{
    let failed = |source| ObservabilityError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %address, "admin listening");
    let server = axum::serve(listener, router(health));
    // Not graceful: a scraper that keeps its connection open must not keep the process alive.
    let serving = async move {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = async { server.await } => outcome,
        }
    };
    Ok((address, serving))
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .with_state(health)
}

async fn metrics() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render())
}

async fn live(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_live(), "live", "not live: restart me")
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_ready(), "ready", "not ready: see /status")
}

async fn status(State(health): State<Health>) -> Json<Value> {
    Json(health.status())
}

fn answer(well: bool, yes: &'static str, no: &'static str) -> (StatusCode, &'static str) {
    if well { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_is_merged_by_key() {
        let health = Health::new();
        health.set_status(json!({"phase": "snapshot", "tables": {"a": 1, "b": 2}}));
        health.set_status(json!({"phase": "stream", "tables": {"b": 3}, "lag": 0.5}));
        health.set_status(json!({"lag": null}));
        health.set_status(json!("ignored"));
        health.set_ready(true);
        assert_eq!(
            health.status(),
            json!({"phase": "stream", "tables": {"a": 1, "b": 3}, "live": true, "ready": true})
        );
    }

    #[tokio::test]
    async fn the_pages_answer_until_the_stop() {
        let health = Health::new();
        let stop = CancellationToken::new();
        let any = "127.0.0.1:0".parse().unwrap();
        let (address, server) = serve(any, health.clone(), stop.clone()).await.unwrap();
        let ask = async |path: &str| {
            let client = reqwest::Client::builder().tls_certs_only(Vec::new()).build().unwrap();
            let url = format!("http://{address}{path}");
            let answer = client.get(url).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let asking = async {
            assert_eq!(ask("/live").await.0, 200);
            assert_eq!(ask("/ready").await.0, 503);
            health.set_ready(true);
            assert_eq!(ask("/ready").await, (200, "ready".to_owned()));
            health.set_live(false);
            assert_eq!(ask("/live").await.0, 503);
            assert_eq!(ask("/metrics").await.0, 200);
            assert_eq!(ask("/nowhere").await.0, 404);
            assert_eq!(ask("/status").await.1, r#"{"live":false,"ready":true}"#);
            stop.cancel();
        };
        let (served, ()) = tokio::join!(server, asking);
        served.unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let Err(error) = serve(address, Health::new(), CancellationToken::new()).await else {
            panic!("listened twice")
        };
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
