//! On which line each key stands.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys (section, key, ...) to line, counted from 1.
pub(super) struct Lines(HashMap<Vec<String>, usize>);

impl Lines {
    /// The lines of a text that is valid TOML; empty for one that is not.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = HashMap::new();
        if let Ok(table) = DeTable::parse(text) {
            walk(text, table.get_ref(), &mut Vec::new(), &mut lines);
        }
        Self(lines)
    }

    /// The line of the key, or of the nearest key above it that has one.
    pub(super) fn find(&self, keys: &[String]) -> usize {
        (0..=keys.len())
            .rev()
            .find_map(|length| self.0.get(keys.get(..length)?))
            .copied()
            .unwrap_or(1)
    }
}

fn walk(
    text: &str,
    table: &DeTable<'_>,
    keys: &mut Vec<String>,
    lines: &mut HashMap<Vec<String>, usize>,
) {
    for (key, value) in table {
        keys.push(key.get_ref().to_string());
        lines.entry(keys.clone()).or_insert(position(text, key.span().start).0);
        below(text, value, keys, lines);
        keys.pop();
    }
}

fn below(
    text: &str,
    value: &Spanned<DeValue<'_>>,
    keys: &mut Vec<String>,
    lines: &mut HashMap<Vec<String>, usize>,
) {
    if let Some(table) = value.get_ref().as_table() {
        walk(text, table, keys, lines);
    } else if let Some(items) = value.get_ref().as_array() {
        for (index, item) in items.iter().enumerate() {
            keys.push(index.to_string());
            lines.insert(keys.clone(), position(text, item.span().start).0);
            below(text, item, keys, lines);
            keys.pop();
        }
    }
}

/// Line and column of a byte, counted from 1.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn every_key_has_its_line() {
        let text = "[kafka]\nbootstrap = \"a\"\n\n[kafka.properties]\n\"a.b\" = \"c\"\n[source]\ntables = [\n  \"x\",\n  \"y\",\n]\n";
        let lines = Lines::of(text);
        for (path, line) in [
            ("kafka/bootstrap", 2),
            ("kafka/properties", 4),
            ("kafka/properties/a.b", 5),
            ("source", 6),
            ("source/tables/1", 9),
            ("source/missing", 6),
            ("nowhere", 1),
        ] {
            assert_eq!(lines.find(&keys(path)), line, "{path}");
        }
    }
}
