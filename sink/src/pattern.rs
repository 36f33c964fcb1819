//! Globs over `schema.table`: `*` any characters, `?` one. Case counts as in the catalogue.

/// True when the whole text has the form of the pattern.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let tail = rest.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain(std::iter::once(text.len()))
                .any(|at| text.get(at..).is_some_and(|text| matches(tail, text)))
        }
        Some(wanted) => {
            let mut text = text.chars();
            text.next().is_some_and(|c| wanted == '?' || wanted == c)
                && matches(rest.as_str(), text.as_str())
        }
    }
}

/// The same as a pattern of SQL's LIKE.
#[must_use]
pub fn like(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    for c in pattern.chars() {
        match c {
            '*' => out.push('%'),
            '?' => out.push('_'),
            '%' | '_' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("dbo.*", "dbo.orders", true),
            ("dbo.*", "sales.orders", false),
            ("*.o?ders", "dbo.orders", true),
            ("*", "", true),
            ("dbo.orders", "dbo.orders2", false),
            ("*a*b*", "xxaxxbxx", true),
            ("größe?", "größen", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert_eq!(like("d_o.*?"), "d\\_o.%_");
    }
}
