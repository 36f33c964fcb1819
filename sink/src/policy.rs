//! `[[sink.tables]]`: what is different for some tables. Rules are read in order, later ones win.

use causeway_change::TableId;
use serde::Deserialize;

use crate::{DeadLetters, pattern};

/// One `[[sink.tables]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableRule {
    /// Which tables: a glob over `schema.table` of the source.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What becomes of a record that can never be applied, and of what follows it.
    pub on_error: Option<OnError>,
    /// A text with U+0000.
    pub nul: Option<OnUnfit>,
    /// A date or time that PostgreSQL does not have.
    pub time_range: Option<OnUnfit>,
    /// A text that is longer than its column.
    pub text_length: Option<OnUnfit>,
    /// The records have a column that the target does not have.
    pub new_column: Option<OnChange>,
    /// A column of the target is too narrow for its new type.
    pub wider_column: Option<OnChange>,
    /// A column of the target is NOT NULL, and the source's is not any more.
    pub null_column: Option<OnChange>,
    /// The target has a column that the records do not have any more: it was dropped or renamed.
    pub lost_column: Option<OnChange>,
    /// The target, `{schema}` and `{table}` filled in; with one dot, schema and table.
    pub target: Option<String>,
    /// Columns that are written: globs. The key's columns always are.
    pub include: Option<Vec<String>>,
    /// Columns that are not written all the same: globs.
    pub exclude: Option<Vec<String>>,
    /// Where the key of a row comes from.
    pub key: Option<KeyFrom>,
    /// The key's columns: of the record's key, or with `key = "value"` of its value.
    pub key_fields: Option<Vec<String>>,
    /// What a row does to the table.
    pub write: Option<Writing>,
    /// What a delete does to the table.
    pub delete: Option<Deleting>,
    /// Columns that say where a row comes from.
    pub metadata: Option<Vec<Meta>>,
}

/// Where the key of a row comes from (`pk.mode` of the JDBC sinks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFrom {
    /// The record's key.
    #[default]
    Record,
    /// Columns of the record's value: `key_fields`.
    Value,
    /// Topic, partition and offset: every change is a row of its own, a history of the table.
    Kafka,
    /// There is none: every change is a row.
    None,
}

impl KeyFrom {
    /// True when every change becomes a row, and none replaces another.
    #[must_use]
    pub fn is_history(self) -> bool {
        match self {
            Self::Kafka | Self::None => true,
            Self::Record | Self::Value => false,
        }
    }
}

/// What a row does to the table (`insert.mode` of the JDBC sinks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writing {
    /// It is inserted, or replaces the row of its key.
    #[default]
    Upsert,
    /// It is inserted; a row that is there already is a dead letter.
    Insert,
    /// It replaces the row of its key; without one nothing happens.
    Update,
}

/// What a delete does to the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deleting {
    /// The row is deleted.
    #[default]
    Delete,
    /// The row stays, and its column `__deleted` becomes true.
    Soft,
    /// Nothing.
    Ignore,
}

/// A column that says where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meta {
    /// `__op`: `r`, `c`, `u` or `d`.
    Op,
    /// `__lsn`: the commit's LSN, ten bytes.
    Lsn,
    /// `__commit_time`: when it was committed.
    CommitTime,
    /// `__topic`: topic of the record.
    Topic,
    /// `__partition`: its partition.
    Partition,
    /// `__offset`: its offset.
    Offset,
    /// `__deleted`, by `delete = "soft"`.
    #[serde(skip)]
    Deleted,
}

/// What becomes of a record that can never be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Nothing of its batch is applied, and the sink stops.
    Stop,
    /// It is set aside, and a later change of its key is applied.
    #[default]
    Dlq,
    /// It is set aside, and so are the later changes of its key, until it is replayed or discarded.
    ParkKey,
}

/// What becomes of a value that PostgreSQL cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnfit {
    /// Its record is treated as `on_error` says.
    #[default]
    Error,
    /// The nearest value that PostgreSQL can hold takes its place, and is counted.
    Replace,
    /// Its record is set aside, also where `on_error` is `stop`.
    Dlq,
}

/// What becomes of a table that the newest records do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// The table follows: the column is added, widened, made nullable; a lost one is kept, empty from
    /// then on.
    #[default]
    Follow,
    /// The records that need it are set aside.
    Dlq,
    /// The sink stops.
    Stop,
}

/// What holds for one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of a record that can never be applied.
    pub on_error: OnError,
    /// What becomes of a text with U+0000.
    pub nul: OnUnfit,
    /// What becomes of a date or time that PostgreSQL does not have.
    pub time_range: OnUnfit,
    /// What becomes of a text that is too long.
    pub text_length: OnUnfit,
    /// What becomes of a new column.
    pub new_column: OnChange,
    /// What becomes of a column that is too narrow.
    pub wider_column: OnChange,
    /// What becomes of a column that may be NULL now.
    pub null_column: OnChange,
    /// What becomes of a column that is gone.
    pub lost_column: OnChange,
    /// Template of the target.
    pub target: Option<String>,
    /// Globs over the columns that are written; none means all.
    pub include: Option<Vec<String>>,
    /// Globs over the columns that are not.
    pub exclude: Vec<String>,
    /// Where the key of a row comes from.
    pub key: KeyFrom,
    /// The key's columns; none means all of the record's key.
    pub key_fields: Option<Vec<String>>,
    /// What a row does to the table.
    pub write: Writing,
    /// What a delete does to the table.
    pub delete: Deleting,
    /// Columns that say where a row comes from.
    pub metadata: Vec<Meta>,
}

impl Policy {
    /// Whether a column of the value is written, unless it is of the key.
    #[must_use]
    pub fn writes(&self, column: &str) -> bool {
        let among = |globs: &[String]| globs.iter().any(|glob| pattern::matches(glob, column));
        self.include.as_deref().is_none_or(among) && !among(&self.exclude)
    }

    /// Schema and table of the target; `default` is what `[postgres].schemas` says.
    #[must_use]
    pub fn target(&self, default: (String, String)) -> (String, String) {
        let Some(template) = &self.target else { return default };
        let filled = template.replace("{schema}", &default.0).replace("{table}", &default.1);
        match filled.split_once('.') {
            Some((schema, table)) => (schema.to_owned(), table.to_owned()),
            None => (default.0, filled),
        }
    }

    /// The columns beside the value's own.
    #[must_use]
    pub fn metas(&self) -> Vec<Meta> {
        let mut metas = self.metadata.clone();
        let more: &[Meta] = match (self.key, self.delete) {
            (KeyFrom::Kafka, _) => &[Meta::Op, Meta::Topic, Meta::Partition, Meta::Offset],
            (KeyFrom::None, _) => &[Meta::Op],
            (KeyFrom::Record | KeyFrom::Value, Deleting::Soft) => &[Meta::Deleted],
            (KeyFrom::Record | KeyFrom::Value, Deleting::Delete | Deleting::Ignore) => &[],
        };
        for meta in more {
            if !metas.contains(meta) {
                metas.push(*meta);
            }
        }
        metas
    }
}

/// The rules of all tables.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    rules: Vec<TableRule>,
    general: OnError,
}

impl Policies {
    /// From `[sink]`.
    #[must_use]
    pub fn new(rules: &[TableRule], dead_letters: DeadLetters) -> Self {
        let general = match dead_letters {
            DeadLetters::Continue => OnError::Dlq,
            DeadLetters::Stop => OnError::Stop,
        };
        Self { rules: rules.to_vec(), general }
    }

    /// What holds for a table of the source.
    #[must_use]
    pub fn of(&self, table: &TableId) -> Policy {
        let mut policy = Policy { on_error: self.general, ..Policy::default() };
        let name = table.to_string();
        for rule in self.rules.iter().filter(|rule| pattern::matches(&rule.pattern, &name)) {
            set(&mut policy.on_error, rule.on_error);
            set(&mut policy.nul, rule.nul);
            set(&mut policy.time_range, rule.time_range);
            set(&mut policy.text_length, rule.text_length);
            set(&mut policy.new_column, rule.new_column);
            set(&mut policy.wider_column, rule.wider_column);
            set(&mut policy.null_column, rule.null_column);
            set(&mut policy.lost_column, rule.lost_column);
            set(&mut policy.key, rule.key);
            set(&mut policy.write, rule.write);
            set(&mut policy.delete, rule.delete);
            policy.target = rule.target.clone().or(policy.target);
            policy.include = rule.include.clone().or(policy.include);
            policy.key_fields = rule.key_fields.clone().or(policy.key_fields);
            policy.exclude = rule.exclude.clone().unwrap_or(policy.exclude);
            policy.metadata = rule.metadata.clone().unwrap_or(policy.metadata);
        }
        policy
    }
}

fn set<T: Copy>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What types cannot say of the rules.
///
/// # Errors
/// A sentence that names the rule.
pub fn validate(rules: &[TableRule]) -> Result<(), String> {
    for (i, rule) in rules.iter().enumerate() {
        if rule.pattern.is_empty() {
            return Err(format!(
                "[[sink.tables]] number {} has no match: say which tables it is for, such as \"dbo.*\"",
                i + 1
            ));
        }
        let wrong = |what: &str| Err(format!("[[sink.tables]] of {:?}: {what}", rule.pattern));
        if rule.key == Some(KeyFrom::Value) && rule.key_fields.as_ref().is_none_or(Vec::is_empty) {
            return wrong("key is \"value\", which needs key_fields");
        }
        if rule.key.is_some_and(|key| key != KeyFrom::Record)
            && rule.on_error == Some(OnError::ParkKey)
        {
            return wrong("on_error = \"park_key\" needs the record's key");
        }
        if rule.key.is_some_and(KeyFrom::is_history)
            && (rule.delete.is_some() || rule.write.is_some_and(|write| write != Writing::Insert))
        {
            return wrong("every change becomes a row with this key: leave out delete and write");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rules_win_key_by_key() {
        let rule = |pattern: &str, on_error, nul| TableRule {
            pattern: pattern.to_owned(),
            on_error,
            nul,
            ..TableRule::default()
        };
        let policies = Policies::new(
            &[
                rule("dbo.*", Some(OnError::ParkKey), Some(OnUnfit::Replace)),
                rule("dbo.log*", Some(OnError::Dlq), None),
            ],
            DeadLetters::Stop,
        );
        let of = |name: &str| policies.of(&TableId::new("dbo", name));
        assert_eq!(of("orders").on_error, OnError::ParkKey);
        assert_eq!((of("log1").on_error, of("log1").nul), (OnError::Dlq, OnUnfit::Replace));
        assert_eq!(policies.of(&TableId::new("sales", "x")).on_error, OnError::Stop);
        assert!(validate(&[rule("", None, None)]).unwrap_err().contains("number 1"));
    }
}
