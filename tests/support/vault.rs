//! An HTTP server that answers as HashiCorp Vault does, with faults: KV version 2, AppRole, token
//! lookup and renewal, `sys/health`, and Vault's error bodies.
//!
//! Written after <https://developer.hashicorp.com/vault/api-docs>. What it must not get wrong is
//! checked against the real Vault by the same tests in the conformance run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::http::{self, Answer, Request};

/// The token that may do everything.
pub const ROOT_TOKEN: &str = "root";
/// The token that AppRole gives out.
const APPROLE_TOKEN: &str = "hvs.approle";

/// What is wrong with the server, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Sealed: 503 on everything but `sys/health`.
    Sealed,
    /// Takes this long for each answer.
    Slow(Duration),
    /// Answers with a page of HTML, as a proxy in between would.
    NotVault,
    /// An internal error: 500.
    Broken,
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    /// By mount and path: the versions, oldest first; `None` is deleted.
    secrets: BTreeMap<String, Vec<Option<Value>>>,
    /// AppRole: role id to secret id.
    roles: BTreeMap<String, String>,
    /// Tokens and the paths (`secret/data/...`) that each may read; `*` at the end is a prefix.
    tokens: BTreeMap<String, Vec<String>>,
    /// Method and path of what was asked.
    asked: Vec<String>,
}

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct Vault {
    address: String,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl Vault {
    /// Starts on a free port, unsealed, with the key-value engine at `secret/`.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for Vault")?;
        let address = format!("http://{}", listener.local_addr()?);
        let mut state = State::default();
        state.tokens.insert(ROOT_TOKEN.to_owned(), vec!["*".to_owned()]);
        let state = Arc::new(Mutex::new(state));
        let mut serving = JoinSet::new();
        let shared = state.clone();
        serving.spawn(http::serve(listener, move |request| {
            let shared = shared.clone();
            async move {
                let (answer, wait) = {
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    (state.answer(&request), state.fault)
                };
                if let Fault::Slow(time) = wait {
                    tokio::time::sleep(time).await;
                }
                answer
            }
        }));
        Ok(Self { address, state, _serving: serving })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes a new version of a secret in the engine at `secret/`.
    pub fn put(&self, path: &str, keys: Value) {
        self.with(|state| {
            state.secrets.entry(format!("secret/{path}")).or_default().push(Some(keys));
        });
    }

    /// Deletes the newest version, as `vault kv delete` does.
    pub fn delete(&self, path: &str) {
        self.with(|state| {
            let versions = state.secrets.get_mut(&format!("secret/{path}"));
            if let Some(last) = versions.and_then(|versions| versions.last_mut()) {
                *last = None;
            }
        });
    }

    /// A role whose token may read `paths` (below `secret/data/`; `*` at the end is a prefix).
    pub fn approle(&self, role_id: &str, secret_id: &str, paths: &[&str]) {
        self.with(|state| {
            state.roles.insert(role_id.to_owned(), secret_id.to_owned());
            let paths = paths.iter().map(|path| format!("secret/data/{path}")).collect();
            state.tokens.insert(APPROLE_TOKEN.to_owned(), paths);
        });
    }

    /// A token that may read `paths`.
    pub fn token(&self, token: &str, paths: &[&str]) {
        self.with(|state| {
            let paths = paths.iter().map(|path| format!("secret/data/{path}")).collect();
            state.tokens.insert(token.to_owned(), paths);
        });
    }

    /// Makes it fail from now on.
    pub fn fail(&self, fault: Fault) {
        self.with(|state| state.fault = fault);
    }

    /// What was asked until now: `GET /v1/secret/data/shop`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.with(|state| state.asked.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        self.asked.push(format!("{} {}", request.method, request.path));
        match self.fault {
            Fault::NotVault => return Answer::html("<html><body>Bad gateway?</body></html>"),
            Fault::Broken => return errors(500, &["internal error"]),
            Fault::Sealed if request.path == "/v1/sys/health" => {
                return Answer::json(503, &json!({"initialized": true, "sealed": true}));
            }
            Fault::Sealed => return errors(503, &["Vault is sealed"]),
            Fault::None | Fault::Slow(_) => {}
        }
        if request.path == "/v1/sys/health" {
            return Answer::json(
                200,
                &json!({"initialized": true, "sealed": false, "standby": false}),
            );
        }
        let Some(path) = request.path.strip_prefix("/v1/") else { return errors(404, &[]) };
        if path == "auth/approle/login" {
            return self.log_in(request);
        }
        let Some(token) = request.header("x-vault-token") else {
            return errors(400, &["missing client token"]);
        };
        let Some(readable) = self.tokens.get(token) else {
            return errors(403, &["permission denied", "invalid token"]);
        };
        if matches!(path, "auth/token/lookup-self" | "auth/token/renew-self") {
            return authenticated(token);
        }
        let allowed = readable.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == allowed,
        });
        if !allowed {
            return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
        }
        let Some((mount, below)) = path.split_once("/data/") else {
            return errors(404, &["no handler for route"]);
        };
        let versions = self.secrets.get(&format!("{mount}/{below}"));
        let Some((versions, newest)) = versions.and_then(|v| Some((v, v.last()?))) else {
            return errors(404, &[]);
        };
        let metadata = json!({
            "created_time": "2026-01-01T00:00:00.000000000Z",
            "custom_metadata": null,
            "deletion_time": if newest.is_none() { "2026-01-02T00:00:00.000000000Z" } else { "" },
            "destroyed": false,
            "version": versions.len(),
        });
        // A deleted version is 404 with metadata, and without `errors`.
        let status = if newest.is_some() { 200 } else { 404 };
        Answer::json(
            status,
            &json!({
                "request_id": "b1f6f0b0-0000-0000-0000-000000000001",
                "lease_id": "", "renewable": false, "lease_duration": 0,
                "data": {"data": newest, "metadata": metadata},
                "wrap_info": null, "warnings": null, "auth": null,
            }),
        )
    }

    fn log_in(&self, request: &Request) -> Answer {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        match self.roles.get(text("role_id")) {
            Some(secret) if secret == text("secret_id") => authenticated(APPROLE_TOKEN),
            Some(_) | None => errors(400, &["invalid role or secret ID"]),
        }
    }
}

fn authenticated(token: &str) -> Answer {
    Answer::json(
        200,
        &json!({
            "request_id": "b1f6f0b0-0000-0000-0000-000000000002",
            "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
            "wrap_info": null, "warnings": null,
            "auth": {
                "client_token": token, "accessor": "a", "policies": ["default"],
                "token_policies": ["default"], "metadata": {"role_name": "causeway"},
                "lease_duration": 1200, "renewable": true, "entity_id": "e",
                "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0,
            },
        }),
    )
}

fn errors(status: u16, errors: &[&str]) -> Answer {
    Answer::json(status, &json!({"errors": errors}))
}
