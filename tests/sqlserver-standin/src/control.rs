//! The control interface: a few HTTP requests by which a test makes the stand-in misbehave.
//!
//! * `GET /sql-log` - the distinct SQL texts, a JSON list
//! * `POST /capture/pause`, `POST /capture/resume`
//! * `POST /capture/latency?ms=N`
//! * `POST /attention?style=in-reply|separate`
//! * `POST /fault?name=NAME&value=N` - what `EXEC standin.control` arms: `drop_connections`, `drop_after_bytes`,
//!   `reply_delay_ms`, `fail_logins`, `login_error`, `deadlocks`
//! * `POST /restart?data=keep|lose` - every connection closes
//! * `POST /clock/offset?minutes=N` - the server's time zone

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cdc;
use crate::server::Shared;
use crate::tds::reply::AttentionStyle;

/// A request has no body; its head is far below this.
const LARGEST_HEAD: usize = 8 << 10;

pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    let shared = Arc::clone(&shared);
                    open.spawn(async move {
                        if let Err(e) = answer(socket, &shared).await {
                            tracing::info!(error = %e, "control request");
                        }
                    });
                }
            }
            Some(_) = open.join_next() => {}
            _ = stop.changed() => break,
        }
    }
}

async fn answer(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < LARGEST_HEAD {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = act(method, target, shared);
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(reply.as_bytes()).await?;
    socket.shutdown().await
}

fn act(method: &str, target: &str, shared: &Shared) -> (&'static str, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let value = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
    let done = ("200 OK", "{}".to_owned());
    let wrong = |what: &str| ("400 Bad Request", serde_json::json!({ "error": what }).to_string());
    let instance = shared.instance();
    match (method, path) {
        ("GET", "/sql-log") => ("200 OK", serde_json::Value::from(shared.sql_log()).to_string()),
        ("POST", "/capture/pause") => {
            cdc::control(&instance).pause();
            done
        }
        ("POST", "/capture/resume") => {
            cdc::control(&instance).resume();
            done
        }
        ("POST", "/capture/latency") => match value("ms").and_then(|v| v.parse().ok()) {
            Some(ms) => {
                cdc::control(&instance).set_latency_ms(ms);
                done
            }
            None => wrong("ms must be a number"),
        },
        ("POST", "/attention") => match value("style") {
            Some("in-reply") => {
                shared.set_attention_style(AttentionStyle::InReply);
                done
            }
            Some("separate") => {
                shared.set_attention_style(AttentionStyle::Separate);
                done
            }
            _ => wrong("style must be in-reply or separate"),
        },
        ("POST", "/fault") => match value("name") {
            Some(name) => match instance.faults.arm(name, value("value")) {
                Ok(true) => done,
                Ok(false) => wrong("no such fault"),
                Err(e) => wrong(&e.message),
            },
            None => wrong("name must be given"),
        },
        ("POST", "/restart") => match value("data") {
            Some(data @ ("keep" | "lose")) => {
                shared.restart(data == "keep");
                done
            }
            _ => wrong("data must be keep or lose"),
        },
        ("POST", "/clock/offset") => match value("minutes").and_then(|v| v.parse().ok()) {
            Some(minutes) => {
                instance.clock.set_offset_minutes(minutes);
                done
            }
            None => wrong("minutes must be a number"),
        },
        _ => ("404 Not Found", serde_json::json!({ "error": "no such control" }).to_string()),
    }
}
