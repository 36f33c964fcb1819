//! `${scheme:name}` inside a string.

use super::SCHEMES;

/// A piece of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Stays as it is.
    Text(String),
    /// `scheme:name`, to be looked up.
    Reference(String),
}

/// Takes a string apart. `$${` stands for `${`; a `$` before anything else is a plain `$`.
///
/// # Errors
///
/// What is wrong with a reference, and how it is written.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let inside = after.get(2..).unwrap_or("");
        if let Some(escaped) = before.strip_suffix('$') {
            plain.push_str(escaped);
            plain.push_str("${");
            rest = inside;
            continue;
        }
        plain.push_str(before);
        let Some((name, after)) = inside.split_once('}') else {
            return Err("has `${` without its `}`; a literal `${` is written `$${`".to_owned());
        };
        check(name)?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(Part::Reference(name.to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || parts.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn check(name: &str) -> Result<(), String> {
    const FORMS: &str =
        "write ${vault:path#key}, ${env:NAME} or ${file:path}, or $${ for a literal ${";
    let Some((scheme, rest)) = name.split_once(':') else {
        return Err(format!("does not understand ${{{name}}}; {FORMS}"));
    };
    if !SCHEMES.contains(&scheme) || rest.is_empty() {
        return Err(format!("does not understand ${{{name}}}; {FORMS}"));
    }
    if scheme == "vault"
        && !rest.split_once('#').is_some_and(|(p, k)| !p.is_empty() && !k.is_empty())
    {
        return Err(format!(
            "does not say which key of the secret it means: ${{{name}}}; write ${{vault:path#key}}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn reference(name: &str) -> Part {
        Part::Reference(name.to_owned())
    }

    #[test]
    fn a_string_is_taken_apart() {
        for (string, expected) in [
            ("", vec![text("")]),
            ("plain $5 {x}", vec![text("plain $5 {x}")]),
            ("${env:A}", vec![reference("env:A")]),
            (
                "a-${env:A}-${vault:p/q#k}b",
                vec![
                    text("a-"),
                    reference("env:A"),
                    text("-"),
                    reference("vault:p/q#k"),
                    text("b"),
                ],
            ),
            ("$${env:A}", vec![text("${env:A}")]),
            ("x$${y}${file:/a b}", vec![text("x${y}"), reference("file:/a b")]),
        ] {
            assert_eq!(parts(string).as_deref(), Ok(expected.as_slice()), "{string:?}");
        }
    }

    #[test]
    fn a_reference_that_cannot_be_understood_says_how_it_is_written() {
        for string in
            ["${", "${env:A", "${A}", "${env:}", "${consul:a}", "${vault:path}", "${vault:#k}"]
        {
            assert!(parts(string).is_err(), "{string:?} was accepted");
        }
        assert!(parts("${A}").unwrap_err().contains("${env:NAME}"));
    }
}
