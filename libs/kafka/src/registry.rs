//! [`Registry`]: schemas by subject and id, on Confluent's API.

use std::{
    collections::HashMap,
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::StatusCode;
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, get_schema_by_id_and_type, post_schema},
    error::SRCError,
    schema_registry_common::{RawError, SchemaType, SuppliedSchema},
};

use crate::RegistryConfig;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A new schema must be readable with every older one: a reader that knows an old version reads on.
const COMPATIBILITY: &str = "FORWARD_TRANSITIVE";

/// A failed request to the schema registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry could not be reached or did not answer in time.
    #[error("{doing}: {url} does not answer")]
    Unreachable {
        /// What was being done, with subject or id.
        doing: String,
        /// Address of the request.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The registry answered with an error.
    #[error("{doing}: {url} answered {status}: {message}")]
    Refused {
        /// What was being done, with subject or id.
        doing: String,
        /// Address of the request.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the registry says.
        message: String,
    },
    /// The schema breaks the subject's compatibility.
    #[error(
        "register a schema under {subject}: the registry refuses it as incompatible with an earlier \
         version: {message}; readers of the old schema could not read the new one: when all of them can be \
         stopped, set the compatibility of the subject to NONE for this change, else use another pipeline name"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What the registry says.
        message: String,
    },
    /// The answer is not what Confluent's API gives.
    #[error(
        "{doing}: {url} gave an answer that is not Confluent's API; is the path of registry.url right? ({message})"
    )]
    Answer {
        /// What was being done.
        doing: String,
        /// Address of the request.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// The client could not be made.
    #[error("[registry] {message}")]
    Config {
        /// What is wrong.
        message: String,
        /// Why.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl RegistryError {
    /// Whether the same request can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            Self::Incompatible { .. } | Self::Answer { .. } | Self::Config { .. } => false,
        }
    }
}

/// A client with a cache: a schema is registered and fetched once. Clones share the cache.
#[derive(Clone)]
pub struct Registry {
    base: String,
    settings: SrSettings,
    http: reqwest::Client,
    login: Option<(String, Option<String>)>,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Default)]
struct Cache {
    ids: HashMap<(String, Arc<str>), u32>,
    schemas: HashMap<u32, Arc<str>>,
}

impl Registry {
    /// Makes a client; nothing is connected.
    ///
    /// # Errors
    /// [`RegistryError::Config`] when the address is not one.
    pub fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let wrong = |message: &str, source: Box<dyn StdError + Send + Sync>| {
            RegistryError::Config { message: message.to_owned(), source: Some(source) }
        };
        config
            .validate()
            .map_err(|e| RegistryError::Config { message: e.to_string(), source: None })?;
        let base = config.base().to_owned();
        let mut builder = SrSettings::new_builder(base.clone());
        builder.set_timeout(TIMEOUT);
        if let Some(user) = &config.user {
            builder.set_basic_authorization(user, config.password.as_deref());
        }
        let settings = builder.build().map_err(|e| wrong("make a client", Box::new(e)))?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|e| wrong("make a client", Box::new(e)))?;
        let login = config.user.clone().map(|user| (user, config.password.clone()));
        Ok(Self { base, settings, http, login, cache: Arc::default() })
    }

    /// Registers an Avro schema and returns its id; the same schema has the same id.
    ///
    /// When the subject is new, its compatibility is set to FORWARD_TRANSITIVE first; an existing one
    /// keeps what its owner chose.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] when an earlier version forbids it.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let key = (subject.to_owned(), Arc::from(schema));
        if let Some(id) = self.cache().ids.get(&key) {
            return Ok(*id);
        }
        if !self.exists(subject).await? {
            self.set_compatibility(subject).await?;
        }
        let doing = || format!("register a schema under {subject}");
        let url = format!("{}/subjects/{subject}/versions", self.base);
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let registered = post_schema(&self.settings, subject.to_owned(), supplied).await;
        let id = match registered {
            Ok(registered) => registered.id,
            Err(error) => {
                let error = sorted(doing(), url, error);
                let RegistryError::Refused { status: 409, message, .. } = error else {
                    return Err(error);
                };
                // Of two that register one schema at the same moment, Apicurio refuses the second as well.
                match self.registered(subject, schema).await? {
                    Some(id) => id,
                    None => {
                        let subject = subject.to_owned();
                        return Err(RegistryError::Incompatible { subject, message });
                    }
                }
            }
        };
        let mut cache = self.cache();
        cache.schemas.insert(id, Arc::clone(&key.1));
        cache.ids.insert(key, id);
        Ok(id)
    }

    /// The id that a schema has under a subject, when it is one of its versions.
    async fn registered(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let url = format!("{}/subjects/{subject}", self.base);
        let doing = format!("look for a schema under {subject}");
        let body = serde_json::json!({ "schema": schema });
        let (status, body) = self.answer(&doing, &url, self.http.post(&url).json(&body)).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(refused(&doing, url, status, &body));
        }
        let told = serde_json::from_str::<serde_json::Value>(&body).ok();
        let id = told.as_ref().and_then(|json| json.get("id")?.as_u64());
        match id.and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(RegistryError::Answer { doing, url, message: "there is no id".to_owned() }),
        }
    }

    /// The schema with an id.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] with status 404 when there is none.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>, RegistryError> {
        if let Some(schema) = self.cache().schemas.get(&id) {
            return Ok(Arc::clone(schema));
        }
        let fetched = get_schema_by_id_and_type(id, &self.settings, SchemaType::Avro).await;
        let fetched = fetched.map_err(|error| {
            let url = format!("{}/schemas/ids/{id}", self.base);
            sorted(format!("fetch the schema with id {id}"), url, error)
        })?;
        let schema: Arc<str> = Arc::from(fetched.schema);
        self.cache().schemas.insert(id, Arc::clone(&schema));
        Ok(schema)
    }

    /// The newest schema of a subject and its id; none when there is no such subject.
    ///
    /// # Errors
    /// What keeps the registry from answering.
    pub async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Latest {
            id: u32,
            schema: String,
        }
        let url = format!("{}/subjects/{subject}/versions/latest", self.base);
        let doing = format!("fetch the newest schema of {subject}");
        let (status, body) = self.answer(&doing, &url, self.http.get(&url)).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => match serde_json::from_str::<Latest>(&body) {
                Ok(latest) => Ok(Some((latest.id, Arc::from(latest.schema)))),
                Err(error) => Err(RegistryError::Answer { doing, url, message: error.to_string() }),
            },
            status => Err(refused(&doing, url, status, &body)),
        }
    }

    /// Whether a registry answers, for a check before the start.
    ///
    /// # Errors
    /// What keeps it from answering.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let url = format!("{}/subjects", self.base);
        let request = self.http.get(&url);
        let doing = "list the subjects of the schema registry";
        let (status, body) = self.answer(doing, &url, request).await?;
        if !status.is_success() {
            return Err(refused(doing, url, status, &body));
        }
        match serde_json::from_str::<Vec<String>>(&body) {
            Ok(_) => Ok(()),
            Err(error) => Err(RegistryError::Answer {
                doing: doing.to_owned(),
                url,
                message: error.to_string(),
            }),
        }
    }

    async fn exists(&self, subject: &str) -> Result<bool, RegistryError> {
        let url = format!("{}/subjects/{subject}/versions", self.base);
        let doing = format!("look for the subject {subject}");
        let (status, body) = self.answer(&doing, &url, self.http.get(&url)).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(refused(&doing, url, status, &body)),
        }
    }

    async fn set_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        let url = format!("{}/config/{subject}", self.base);
        let doing = format!("set the compatibility of the new subject {subject}");
        let body = serde_json::json!({ "compatibility": COMPATIBILITY });
        let (status, body) = self.answer(&doing, &url, self.http.put(&url).json(&body)).await?;
        if status.is_success() { Ok(()) } else { Err(refused(&doing, url, status, &body)) }
    }

    async fn answer(
        &self,
        doing: &str,
        url: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, String), RegistryError> {
        let request = match &self.login {
            Some((user, password)) => request.basic_auth(user, password.as_deref()),
            None => request,
        };
        let unreachable = |source: reqwest::Error| RegistryError::Unreachable {
            doing: doing.to_owned(),
            url: url.to_owned(),
            // The address is in the message already, and could hold a password here.
            source: Box::new(source.without_url()),
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.text().await.map_err(unreachable)?;
        Ok((status, body))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A map whose writer panicked is still a map.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(doing: &str, url: String, status: StatusCode, body: &str) -> RegistryError {
    let told = serde_json::from_str::<serde_json::Value>(body).ok();
    let told = told.as_ref().and_then(|json| json.get("message")).and_then(|m| m.as_str());
    RegistryError::Refused {
        doing: doing.to_owned(),
        url,
        status: status.as_u16(),
        message: told.unwrap_or("no reason given").to_owned(),
    }
}

/// Sorts an error of the registry's crate, which has the status in its text and the registry's
/// message in its cause.
fn sorted(doing: String, url: String, error: SRCError) -> RegistryError {
    let told = error.source().and_then(|source| source.downcast_ref::<RawError>());
    if let Some(told) = told {
        let status = status_of(&error.error).unwrap_or(0);
        return RegistryError::Refused { doing, url, status, message: told.message.clone() };
    }
    if error.retriable {
        return RegistryError::Unreachable { doing, url, source: Box::new(error) };
    }
    RegistryError::Answer { doing, url, message: error.error }
}

fn status_of(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status ")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_in_the_text() {
        let text =
            format!("HTTP request to schema registry failed with status {}", StatusCode::CONFLICT);
        assert_eq!(status_of(&text), Some(409));
        assert_eq!(status_of("something else"), None);
    }

    #[test]
    fn only_what_passes_is_transient() {
        let refused = |status| RegistryError::Refused {
            doing: "register".to_owned(),
            url: "http://h/subjects".to_owned(),
            status,
            message: String::new(),
        };
        for (status, transient) in [
            (500, true),
            (503, true),
            (429, true),
            (401, false),
            (404, false),
            (409, false),
            (422, false),
        ] {
            assert_eq!(refused(status).is_transient(), transient, "{status}");
        }
        let incompatible =
            RegistryError::Incompatible { subject: "s".to_owned(), message: "m".to_owned() };
        assert!(!incompatible.is_transient());
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        assert!(Registry::new(&RegistryConfig::new("localhost:8081")).is_err());
        assert!(Registry::new(&RegistryConfig::new("http://127.0.0.1:1/apis/")).is_ok());
    }
}
