//! Writes a signal to the signals topic: what `causeway-source signal` does.

use causeway_kafka::{Admin, Producer, Record, TopicSpec};
use serde_json::{Value as Json, json};

use crate::{
    SourceError,
    run::{Settings, signals_topic},
    shared::now_ns,
};

/// A signal to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its name; made up when none.
    pub id: Option<String>,
    /// Its type, such as `execute-snapshot`.
    pub kind: &'static str,
    /// Its data.
    pub data: Json,
}

/// The data of a signal about tables. The names are taken literally, not as expressions.
#[must_use]
pub fn tables(names: &[String]) -> Json {
    let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
    json!({ "data-collections": names })
}

/// The data of an `execute-snapshot`.
#[must_use]
pub fn snapshot(
    names: &[String],
    filter: Option<&str>,
    surrogate_key: Option<&str>,
    keys: Option<&Json>,
) -> Json {
    let mut data = tables(names);
    let conditions: Vec<Json> = names
        .iter()
        .filter(|_| filter.is_some() || keys.is_some())
        .map(|name| {
            let mut condition = json!({ "data-collection": regex::escape(name) });
            if let Some(fields) = condition.as_object_mut() {
                fields.extend(filter.map(|f| ("filter".to_owned(), f.into())));
                fields.extend(keys.map(|k| ("keys".to_owned(), k.clone())));
            }
            condition
        })
        .collect();
    if let Some(fields) = data.as_object_mut() {
        fields.insert("type".to_owned(), "incremental".into());
        if !conditions.is_empty() {
            fields.insert("additional-conditions".to_owned(), conditions.into());
        }
        fields.extend(surrogate_key.map(|key| ("surrogate-key".to_owned(), key.into())));
    }
    data
}

/// Sends a signal and gives its id.
pub async fn send(settings: &Settings, signal: Outgoing) -> Result<String, SourceError> {
    let topic = signals_topic(settings);
    let spec =
        TopicSpec { name: topic.clone(), partitions: 1, compacted: false, retention_ms: None };
    Admin::new(&settings.kafka)?.ensure_topics(&[spec]).await?;
    let id = signal.id.unwrap_or_else(|| format!("cli-{:x}", now_ns()));
    let value = json!({ "id": id, "type": signal.kind, "data": signal.data }).to_string();
    let record = Record {
        topic: &topic,
        partition: Some(0),
        key: Some(settings.pipeline.as_bytes()),
        value: Some(value.as_bytes()),
        ..Record::default()
    };
    Producer::new(&settings.kafka)?.send(record).await?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Command, parse};
    use causeway_change::TableId;

    #[test]
    fn what_is_sent_is_understood() {
        let names = ["dbo.orders".to_owned()];
        let keys = json!([[7]]);
        let data = snapshot(&names, None, Some("at"), Some(&keys));
        let text = json!({ "id": "a", "type": "execute-snapshot", "data": data }).to_string();
        let Command::ExecuteSnapshot(request) = parse(&text, "x").unwrap().command else {
            panic!()
        };
        let condition = request.condition("shop", &TableId::new("dbo", "orders")).unwrap();
        assert_eq!(condition.keys, Some(vec![json!([7])]));
        assert_eq!(request.condition("shop", &TableId::new("dbo", "orders_old")), None);
        assert_eq!(request.surrogate_key.as_deref(), Some("at"));
        let plain = snapshot(&names, None, None, None);
        assert!(plain.get("additional-conditions").is_none());
    }
}
