//! The one configuration file: read, filled in, and cut into the sections that each crate owns.
//!
//! The order is always the same. [`File::load`] reads and parses; [`File::resolve`] replaces each
//! `${scheme:...}` by what a lookup answers; [`File::section`] gives a section as the struct that
//! its owner declared, with unknown keys refused. A mistake is one line that names the file, the
//! line, the section and the key, and never shows a value that came from a reference.
//!
//! A literal `${` is written `$${`.

mod lines;
mod message;
mod reference;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use self::lines::Lines;
use self::reference::Part;

/// The sections a file may have, in the order in which the documentation explains them.
pub const SECTIONS: [&str; 10] = [
    "pipeline",
    "vault",
    "sqlserver",
    "kafka",
    "registry",
    "postgres",
    "source",
    "sink",
    "reconcile",
    "observability",
];

/// How the secrets are reached: its own references are filled in by the vault crate, because the
/// vault must be open before the rest of the file can be.
const VAULT: &str = "vault";

/// The schemes a reference may have.
const SCHEMES: [&str; 3] = ["vault", "env", "file"];

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The keys of a string and its pieces.
type ToFill = (Vec<String>, Vec<Part>);

/// What is wrong with the settings: one line, made for the person who wrote them.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("{path}: the configuration file cannot be read; give another with --config")]
    Read {
        /// As it was given.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}:{column}: not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser expected.
        message: String,
    },
    /// A key or a section is missing, unknown, or has the wrong type.
    #[error("{place} {message}")]
    Invalid {
        /// File, line, section and, when it is known, the key.
        place: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A `${...}` cannot be understood.
    #[error("{place} {message}")]
    Reference {
        /// File, line, section and key.
        place: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A `${...}` was understood, and what it names could not be had.
    #[error("{place} cannot fill in {reference}")]
    Lookup {
        /// File, line, section and key.
        place: String,
        /// The reference as it was written; never what it stands for.
        reference: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

/// A configuration file in memory.
pub struct File {
    path: String,
    table: Table,
    lines: Lines,
    /// What references stood for: never to be shown in a message.
    secrets: Vec<String>,
}

impl fmt::Debug for File {
    /// Only the path: what the file says may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl File {
    /// Reads and parses `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not TOML, or has a section that nobody owns.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: name.clone(), source })?;
        Self::parse(&name, &text)
    }

    /// [`File::load`] for a text that is at hand; `path` is only for messages.
    ///
    /// # Errors
    ///
    /// When the text is not TOML, or has a section that nobody owns.
    pub fn parse(path: &str, text: &str) -> Result<Self, SettingsError> {
        let table: Table = toml::from_str(text).map_err(|error| {
            let (line, column) =
                lines::position(text, error.span().map_or(text.len(), |span| span.start));
            let message = message::one_line(error.message());
            SettingsError::Syntax { path: path.to_owned(), line, column, message }
        })?;
        let file = Self { path: path.to_owned(), table, lines: Lines::of(text), secrets: vec![] };
        for (name, value) in &file.table {
            let place = file.place(&[name]);
            if !SECTIONS.contains(&name.as_str()) {
                let message = message::unknown("section", name, &SECTIONS);
                return Err(SettingsError::Invalid { place, message });
            }
            if !value.is_table() {
                let message = format!("must be a section: write [{name}] on a line of its own");
                return Err(SettingsError::Invalid { place, message });
            }
        }
        Ok(file)
    }

    /// The path it was loaded from, as it was given.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.path)
    }

    /// Whether the section stands in the file.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Every `${...}` in the file, without the braces, in order and without repetitions:
    /// `vault:path#key`, `env:NAME`, `file:path`. Those of `[vault]` itself are included.
    pub fn references(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (name, value) in &self.table {
            each_string(value, &mut vec![name.clone()], &mut |_, text| {
                for part in reference::parts(text).unwrap_or_default() {
                    if let Part::Reference(name) = part
                        && !found.contains(&name)
                    {
                        found.push(name);
                    }
                }
            });
        }
        found
    }

    /// Replaces each `${scheme:...}` outside `[vault]` by what `lookup` answers for `scheme:...`.
    /// Each reference is looked up once, however often it stands in the file.
    ///
    /// # Errors
    ///
    /// When a reference cannot be understood, or `lookup` fails.
    pub async fn resolve<F, Fut, E>(&mut self, mut lookup: F) -> Result<(), SettingsError>
    where
        F: FnMut(String) -> Fut,
        Fut: Future<Output = Result<String, E>>,
        E: Into<Cause>,
    {
        let strings = self.strings_to_fill()?;
        let mut known: HashMap<String, String> = HashMap::new();
        for (keys, parts) in strings {
            let mut filled = String::new();
            for part in &parts {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Reference(name) => {
                        if !known.contains_key(name) {
                            let value = lookup(name.clone()).await.map_err(|error| {
                                SettingsError::Lookup {
                                    place: self.place(&keys),
                                    reference: format!("${{{name}}}"),
                                    source: error.into(),
                                }
                            })?;
                            known.insert(name.clone(), value);
                        }
                        filled.push_str(known.get(name).map_or("", String::as_str));
                    }
                }
            }
            if parts.iter().any(|part| matches!(part, Part::Reference(_))) {
                self.secrets.push(filled.clone());
            }
            set(&mut self.table, &keys, filled);
        }
        self.secrets.extend(known.into_values());
        Ok(())
    }

    /// The strings that hold a `$`, with their keys, taken apart.
    fn strings_to_fill(&self) -> Result<Vec<ToFill>, SettingsError> {
        let mut strings = Vec::new();
        let mut wrong = None;
        for (name, value) in self.table.iter().filter(|(name, _)| *name != VAULT) {
            each_string(value, &mut vec![name.clone()], &mut |keys, text| match reference::parts(
                text,
            ) {
                Ok(parts) if text.contains("${") => strings.push((keys.to_vec(), parts)),
                Ok(_) => {}
                Err(message) => {
                    wrong.get_or_insert((keys.to_vec(), message));
                }
            });
        }
        match wrong {
            None => Ok(strings),
            Some((keys, message)) => {
                Err(SettingsError::Reference { place: self.place(&keys), message })
            }
        }
    }

    /// A section as the struct of its owner.
    ///
    /// # Errors
    ///
    /// When the section is missing, or a key is missing, unknown or of the wrong type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, SettingsError> {
        self.optional(name)?.ok_or_else(|| SettingsError::Invalid {
            place: format!("{}:", self.path),
            message: format!("the section [{name}] is missing"),
        })
    }

    /// A section as the struct of its owner, or the struct's default when the file has none.
    ///
    /// # Errors
    ///
    /// When a key is missing, unknown or of the wrong type.
    pub fn section_or_default<T>(&self, name: &str) -> Result<T, SettingsError>
    where
        T: DeserializeOwned + Default,
    {
        Ok(self.optional(name)?.unwrap_or_default())
    }

    /// A section as the struct of its owner, or `None` when the file has none.
    ///
    /// # Errors
    ///
    /// When a key is missing, unknown or of the wrong type.
    pub fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        let mut value = value.clone();
        loop {
            match value.clone().try_into::<T>() {
                Ok(section) => return Ok(Some(section)),
                Err(error) => {
                    let problem = message::Problem::of(&error);
                    // `port = "${env:PORT}"` is a string after it was filled in; let it be the
                    // number or the truth value that it spells.
                    if self.spelled(name, &problem) && respell(&mut value, &problem.keys) {
                        continue;
                    }
                    return Err(self.invalid(name, &problem));
                }
            }
        }
    }

    /// Whether the problem is a string where a number or truth value belongs, and the string came
    /// from a reference.
    fn spelled(&self, section: &str, problem: &message::Problem) -> bool {
        let mut value = self.table.get(section);
        for key in &problem.keys {
            value = value.and_then(|value| value.get(key.as_str()));
        }
        let text = value.and_then(Value::as_str);
        problem.is_string_for_another_type()
            && text.is_some_and(|text| self.secrets.iter().any(|secret| secret == text))
    }

    fn invalid(&self, section: &str, problem: &message::Problem) -> SettingsError {
        let mut keys = vec![section.to_owned()];
        keys.extend(problem.keys.iter().cloned());
        let mut message = problem.message.clone();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            message = message.replace(secret.as_str(), "***");
        }
        let place = match &problem.unknown {
            // The key that is wrong is one below the table that refuses it.
            Some(key) => {
                let mut below = keys.clone();
                below.push(key.clone());
                format!("{}:{}:{}", self.path, self.lines.find(&below), shown(&keys))
            }
            None => self.place(&keys),
        };
        SettingsError::Invalid { place, message }
    }

    /// `causeway.toml:12: [kafka] properties.a`: where a value stands.
    fn place(&self, keys: &[impl AsRef<str>]) -> String {
        let keys: Vec<String> = keys.iter().map(|key| key.as_ref().to_owned()).collect();
        let line = self.lines.find(&keys);
        if keys.len() > 1
            || self.table.get(keys.first().map_or("", |k| k)).is_some_and(Value::is_table)
        {
            format!("{}:{line}:{}", self.path, shown(&keys))
        } else {
            format!("{}:{line}: {}", self.path, keys.join("."))
        }
    }

    /// A mistake that types cannot see, in the words of the owner's `validate()`: it is given the
    /// file and the section, and the line of the key when `key` names one.
    pub fn refuse(&self, section: &str, key: &str, message: impl Into<String>) -> SettingsError {
        let mut keys = vec![section.to_owned()];
        keys.extend(key.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
        SettingsError::Invalid { place: self.place(&keys), message: message.into() }
    }
}

/// ` [kafka]`, ` [kafka] properties.a:`.
fn shown(keys: &[String]) -> String {
    match keys.split_first() {
        Some((section, [])) => format!(" [{section}]"),
        Some((section, rest)) => format!(" [{section}] {}:", rest.join(".")),
        None => String::new(),
    }
}

/// Calls `see` with the keys and the text of every string inside `value`.
fn each_string(value: &Value, keys: &mut Vec<String>, see: &mut dyn FnMut(&[String], &str)) {
    match value {
        Value::String(text) => see(keys, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                keys.push(index.to_string());
                each_string(item, keys, see);
                keys.pop();
            }
        }
        Value::Table(table) => {
            for (key, item) in table {
                keys.push(key.clone());
                each_string(item, keys, see);
                keys.pop();
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn find<'a>(value: &'a mut Value, keys: &[String]) -> Option<&'a mut Value> {
    keys.iter().try_fold(value, |value, key| match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => None,
    })
}

fn set(table: &mut Table, keys: &[String], text: String) {
    if let Some((section, rest)) = keys.split_first()
        && let Some(value) = table.get_mut(section)
        && let Some(value) = find(value, rest)
    {
        *value = Value::String(text);
    }
}

/// Turns the string at `keys` into the number or truth value that it spells.
fn respell(section: &mut Value, keys: &[String]) -> bool {
    let Some(value) = find(section, keys) else { return false };
    let Some(text) = value.as_str() else { return false };
    let spelled = if let Ok(number) = text.parse::<i64>() {
        Value::Integer(number)
    } else if let Ok(number) = text.parse::<f64>() {
        Value::Float(number)
    } else if let Ok(truth) = text.parse::<bool>() {
        Value::Boolean(truth)
    } else {
        return false;
    };
    *value = spelled;
    true
}

/// What the pipeline is called: the prefix of its topics, its consumer group, the label of its
/// metrics and traces. It has no default: two pipelines with one name would share everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// One to 100 of the characters that Kafka allows in a topic: letters, digits, `.`, `_`, `-`.
    #[serde(deserialize_with = "pipeline_name")]
    pub name: String,
}

fn pipeline_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=100).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(name);
    }
    Err(serde::de::Error::custom(
        "must be 1 to 100 characters long and have only letters, digits, `.`, `_` and `-`, because it names topics",
    ))
}

/// A variable of the environment: the one door by which the environment enters. `None` when it is
/// not set, or is not Unicode.
pub fn var(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

#[cfg(test)]
mod tests;
