//! The words of a mistake, made from what the deserializer says.

/// What the deserializer refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Keys from the section down to the table or value that was refused.
    pub(super) keys: Vec<String>,
    /// For a person, without the value that was refused.
    pub(super) message: String,
    /// The key that nobody knows, if that is the problem.
    pub(super) unknown: Option<String>,
}

impl Problem {
    /// Reads toml's error: `MESSAGE` and, on a line of its own, ``in `a.b` ``.
    pub(super) fn of(error: &toml::de::Error) -> Self {
        let raw = one_line(error.message());
        let printed = error.to_string();
        let keys = printed
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("in `")?.strip_suffix('`'))
            .map(|keys| keys.split('.').map(str::to_owned).collect())
            .unwrap_or_default();
        let (message, unknown) = words(&raw);
        let mut problem = Self { keys, message, unknown };
        // toml counts the unknown key itself among the keys; we name it in the message.
        if problem.unknown.is_some() && problem.keys.last() == problem.unknown.as_ref() {
            problem.keys.pop();
        }
        problem
    }

    /// Whether a string stands where another type belongs.
    pub(super) fn is_string_for_another_type(&self) -> bool {
        self.message.starts_with("is a string")
    }
}

/// Serde's words to ours; the unknown key, if that is what it is about.
fn words(raw: &str) -> (String, Option<String>) {
    if let Some((name, expected)) = quoted_after(raw, "unknown field ") {
        return (unknown("key", name, &quoted(expected)), Some(name.to_owned()));
    }
    if let Some((name, expected)) = quoted_after(raw, "unknown variant ") {
        return (unknown("value", name, &quoted(expected)), None);
    }
    if let Some((name, _)) = quoted_after(raw, "missing field ") {
        return (format!("the key `{name}` is missing"), None);
    }
    if let Some((found, expected)) =
        raw.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        // What was found is `string "..."`: the value is left out, it may be a secret.
        let found = match found.split([' ', '`', '"']).next().unwrap_or(found) {
            "string" => "is a string; ",
            "integer" | "floating" => "is a number; ",
            "boolean" => "is true or false; ",
            "sequence" => "is a list; ",
            "map" => "is a table; ",
            _ => "",
        };
        return (format!("{found}it must be {}", kind(expected)), None);
    }
    if let Some((_, expected)) =
        raw.strip_prefix("invalid value: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return (format!("has a value that is not allowed; it must be {}", kind(expected)), None);
    }
    (raw.to_owned(), None)
}

/// Rust's and serde's word for a type, in words for a person.
fn kind(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "string only" => "a string",
        other => other,
    }
}

/// ``unknown field `name`, rest`` to `name` and `rest`.
fn quoted_after<'a>(raw: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    raw.strip_prefix(prefix)?.strip_prefix('`')?.split_once('`')
}

/// The names between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// ``unknown key `bootstap`; did you mean `bootstrap`?``, or the names that are known.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 3);
    match nearest {
        Some((_, candidate)) => format!("unknown {what} `{name}`; did you mean `{candidate}`?"),
        None if known.is_empty() => format!("unknown {what} `{name}`; there are none here"),
        None => format!("unknown {what} `{name}`; known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance, without regard to case and `-` against `_`.
fn distance(a: &str, b: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let b: Vec<char> = b.chars().map(fold).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(fold).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Line breaks and indentation become single blanks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(
            unknown("key", "bootstap", &["bootstrap", "partitions"]),
            "unknown key `bootstap`; did you mean `bootstrap`?"
        );
        assert_eq!(
            unknown("key", "Poll-Interval-MS", &["poll_interval_ms"]),
            "unknown key `Poll-Interval-MS`; did you mean `poll_interval_ms`?"
        );
        assert_eq!(
            unknown("key", "colour", &["url", "user"]),
            "unknown key `colour`; known are url, user"
        );
        assert_eq!(unknown("key", "x", &[]), "unknown key `x`; there are none here");
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let (message, _) = words("invalid type: string \"hunter2, expected u8\", expected u16");
        assert_eq!(message, "is a string; it must be a whole number from 0 to 65535");
        let (message, _) = words("invalid value: integer `70000`, expected u16");
        assert_eq!(
            message,
            "has a value that is not allowed; it must be a whole number from 0 to 65535"
        );
    }
}
