//! Pure: signals, in Debezium's words.
//!
//! `{"id": "…", "type": "execute-snapshot", "data": {…}}`; in a signal table the same in three columns. The
//! page docs/signals.md has every form.

use causeway_change::TableId;
use regex::RegexBuilder;
use serde_json::Value as Json;

/// Keys that one signal may list: they are kept in one record until they are read.
const KEYS_MAX: usize = 10_000;

/// One signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Its name: a signal of a name that was done before is ignored.
    pub id: String,
    /// What is wanted.
    pub command: Command,
}

/// What a signal wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Copy tables, or some of their rows, while streaming goes on.
    ExecuteSnapshot(Request),
    /// Give up copies that signals asked for: of these tables, or all of them.
    StopSnapshot(Vec<String>),
    /// Read no more chunks.
    PauseSnapshot,
    /// Read chunks again.
    ResumeSnapshot,
    /// Read nothing at all, changes neither.
    Pause,
    /// Go on.
    Resume,
}

/// Which rows are to be copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Regular expressions over `schema.table` or `database.schema.table`.
    pub collections: Vec<String>,
    /// What holds for some of them.
    pub conditions: Vec<Condition>,
    /// A column by which the rows are ordered, in the place of the key.
    pub surrogate_key: Option<String>,
}

/// What holds for the tables of one expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As in [`Request::collections`].
    pub collection: String,
    /// A condition in T-SQL.
    pub filter: Option<String>,
    /// Only these keys.
    pub keys: Option<Vec<Json>>,
}

/// Reads a signal of the topic; `fallback` names one without an id.
pub fn parse(text: &str, fallback: &str) -> Result<Signal, String> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let kind = json.get("type").and_then(Json::as_str).ok_or("it has no type")?;
    let id = json.get("id").and_then(Json::as_str).filter(|id| !id.is_empty());
    let empty = Json::Null;
    let command = command(kind, json.get("data").unwrap_or(&empty))?;
    Ok(Signal { id: id.unwrap_or(fallback).to_owned(), command })
}

/// Reads a row of the signal table.
pub fn parse_row(id: &str, kind: &str, data: Option<&str>) -> Result<Signal, String> {
    let data: Json = match data.map(str::trim).filter(|data| !data.is_empty()) {
        Some(data) => {
            serde_json::from_str(data).map_err(|error| format!("data is not JSON: {error}"))?
        }
        None => Json::Null,
    };
    Ok(Signal { id: id.to_owned(), command: command(kind, &data)? })
}

fn command(kind: &str, data: &Json) -> Result<Command, String> {
    match kind {
        "execute-snapshot" => request(data).map(Command::ExecuteSnapshot),
        "stop-snapshot" => Ok(Command::StopSnapshot(collections(data)?)),
        "pause-snapshot" => Ok(Command::PauseSnapshot),
        "resume-snapshot" => Ok(Command::ResumeSnapshot),
        "pause" => Ok(Command::Pause),
        "resume" => Ok(Command::Resume),
        other => Err(format!(
            "its type {other} is not known; known are execute-snapshot, stop-snapshot, pause-snapshot, \
             resume-snapshot, pause and resume"
        )),
    }
}

fn collections(data: &Json) -> Result<Vec<String>, String> {
    match data.get("data-collections") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(list)) => list
            .iter()
            .map(|one| {
                one.as_str().map(str::to_owned).ok_or("data-collections must hold texts".to_owned())
            })
            .collect(),
        Some(_) => Err("data-collections must be a list".to_owned()),
    }
}

fn request(data: &Json) -> Result<Request, String> {
    let collections = collections(data)?;
    if collections.is_empty() {
        return Err("data-collections names no table".to_owned());
    }
    for one in &collections {
        expression(one)?;
    }
    if let Some(kind) = data.get("type").and_then(Json::as_str)
        && !kind.eq_ignore_ascii_case("incremental")
    {
        // Ours never blocks the stream; asking for it is met by the same copy.
        if !kind.eq_ignore_ascii_case("blocking") {
            return Err(format!("the type of snapshot {kind} is not known"));
        }
    }
    let mut conditions = Vec::new();
    // The form of before 2.3: one condition for all.
    if let Some(filter) = data.get("additional-condition").and_then(Json::as_str) {
        for collection in &collections {
            conditions.push(Condition {
                collection: collection.clone(),
                filter: Some(filter.to_owned()),
                keys: None,
            });
        }
    }
    if let Some(list) = data.get("additional-conditions").filter(|list| !list.is_null()) {
        let list = list.as_array().ok_or("additional-conditions must be a list")?;
        for one in list {
            let collection = one
                .get("data-collection")
                .and_then(Json::as_str)
                .ok_or("a condition names no data-collection")?;
            expression(collection)?;
            let filter = one.get("filter").and_then(Json::as_str).map(str::to_owned);
            let keys = one.get("keys").and_then(Json::as_array).cloned();
            if filter.is_none() && keys.is_none() {
                return Err(format!("the condition for {collection} has neither filter nor keys"));
            }
            if keys.as_ref().is_some_and(|keys| keys.len() > KEYS_MAX) {
                return Err(format!("one signal lists at most {KEYS_MAX} keys; send several"));
            }
            conditions.push(Condition { collection: collection.to_owned(), filter, keys });
        }
    }
    let surrogate_key = data
        .get("surrogate-key")
        .and_then(Json::as_str)
        .filter(|s| !s.is_empty())
        .map(str::to_owned);
    Ok(Request { collections, conditions, surrogate_key })
}

fn expression(pattern: &str) -> Result<regex::Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .case_insensitive(true)
        .build()
        .map_err(|_| format!("{pattern} is no regular expression"))
}

/// True when an expression means a table: it matches the whole of `schema.table` or
/// `database.schema.table`, or is one of them with brackets.
#[must_use]
pub fn means(pattern: &str, database: &str, table: &TableId) -> bool {
    let (short, long) = (table.to_string(), format!("{database}.{table}"));
    let plain = pattern.replace(['[', ']'], "");
    plain.eq_ignore_ascii_case(&short)
        || plain.eq_ignore_ascii_case(&long)
        || expression(pattern).is_ok_and(|e| e.is_match(&short) || e.is_match(&long))
}

impl Request {
    /// The condition that holds for a table.
    #[must_use]
    pub fn condition(&self, database: &str, table: &TableId) -> Option<&Condition> {
        self.conditions.iter().find(|c| means(&c.collection, database, table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn debeziums_signals_are_understood() {
        let text = json!({
            "id": "a", "type": "execute-snapshot", "data": {
                "data-collections": ["shop.dbo.orders", "dbo\\.item.*"], "type": "INCREMENTAL",
                "additional-conditions": [{"data-collection": "dbo.orders", "filter": "total > 5"},
                    {"data-collection": "dbo.items", "keys": [{"id": 7}]}],
                "surrogate-key": "at"
            }
        })
        .to_string();
        let signal = parse(&text, "x").unwrap();
        assert_eq!(signal.id, "a");
        let Command::ExecuteSnapshot(request) = signal.command else { panic!() };
        assert_eq!(request.surrogate_key.as_deref(), Some("at"));
        let of = |name| request.condition("shop", &TableId::new("dbo", name)).cloned();
        assert_eq!(of("orders").unwrap().filter.as_deref(), Some("total > 5"));
        assert_eq!(of("items").unwrap().keys, Some(vec![json!({"id": 7})]));
        assert_eq!(of("other"), None);
        let old = r#"{"type":"execute-snapshot","data":{"data-collections":["dbo.t"],"additional-condition":"a=1"}}"#;
        let Command::ExecuteSnapshot(old) = parse(old, "kafka-7").unwrap().command else {
            panic!()
        };
        assert_eq!(old.conditions[0].filter.as_deref(), Some("a=1"));
        let stop =
            parse_row("s", "stop-snapshot", Some(r#"{"data-collections":["dbo.t"]}"#)).unwrap();
        assert_eq!(stop.command, Command::StopSnapshot(vec!["dbo.t".to_owned()]));
        for (kind, command) in [
            ("stop-snapshot", Command::StopSnapshot(Vec::new())),
            ("pause-snapshot", Command::PauseSnapshot),
            ("resume-snapshot", Command::ResumeSnapshot),
            ("pause", Command::Pause),
            ("resume", Command::Resume),
        ] {
            assert_eq!(parse_row("i", kind, None).unwrap().command, command);
        }
        assert_eq!(parse(r#"{"type":"pause"}"#, "kafka-7").unwrap().id, "kafka-7");
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_words() {
        for (text, part) in [
            ("x", "not JSON"),
            ("{}", "no type"),
            (r#"{"type":"log"}"#, "log is not known"),
            (r#"{"type":"execute-snapshot"}"#, "names no table"),
            (
                r#"{"type":"execute-snapshot","data":{"data-collections":["("]}}"#,
                "no regular expression",
            ),
            (
                r#"{"type":"execute-snapshot","data":{"data-collections":["a"],"additional-conditions":[{"data-collection":"a"}]}}"#,
                "neither filter nor keys",
            ),
        ] {
            let error = parse(text, "x").unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_expression_means_whole_names() {
        let table = TableId::new("dbo", "Orders");
        for pattern in ["dbo.orders", "[dbo].[orders]", "shop.dbo.orders", "dbo\\..*", ".*"] {
            assert!(means(pattern, "shop", &table), "{pattern}");
        }
        for pattern in ["orders", "dbo.order", "other.dbo.orders"] {
            assert!(!means(pattern, "shop", &table), "{pattern}");
        }
    }
}
