//! Does a column of an existing table hold what the records bring? Pure.

/// What an existing column is to a wanted type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It holds every value.
    Holds,
    /// It would as this type, and nothing that is in it is lost.
    Widen(String),
    /// It cannot, and nothing that we may do mends it.
    Refuse,
}

/// A type as PostgreSQL declares it, taken apart: `numeric(18,2)`, `timestamp(3) without time zone`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Declared {
    name: String,
    numbers: Vec<u32>,
}

/// Compares a declared type with a wanted one; both as PostgreSQL writes them.
#[must_use]
pub fn fit(existing: &str, wanted: &str) -> Fit {
    let (old, new) = (split(existing), split(wanted));
    let widen = || Fit::Widen(wanted.to_owned());
    if let (Some(old), Some(new)) = (integer(&old.name), integer(&new.name)) {
        return if old >= new { Fit::Holds } else { widen() };
    }
    match (old.name.as_str(), new.name.as_str()) {
        ("numeric", "numeric") => numeric(&old.numbers, &new.numbers),
        // Every integer has its digits: 5, 10 and 19.
        ("numeric", _) if integer(&new.name).is_some() => {
            let digits = whole_digits(&new.name);
            match old.numbers.as_slice() {
                [] => Fit::Holds,
                [precision, scale] if precision.saturating_sub(*scale) >= digits => Fit::Holds,
                [_, scale] => Fit::Widen(format!("numeric({},{scale})", digits + scale)),
                _ => Fit::Refuse,
            }
        }
        (_, "numeric") if integer(&old.name).is_some() => {
            let digits = whole_digits(&old.name);
            match new.numbers.as_slice() {
                [precision, scale] => {
                    let whole = precision.saturating_sub(*scale).max(digits);
                    Fit::Widen(format!("numeric({},{scale})", whole + scale))
                }
                _ => widen(),
            }
        }
        ("double precision", "real") => Fit::Holds,
        ("real", "double precision") => widen(),
        ("text", "text" | "character varying" | "character")
        | ("character varying", "character varying" | "character" | "text")
        | ("character", "character" | "character varying" | "text") => text(&old, &new),
        ("timestamp without time zone" | "timestamp with time zone", "date") => Fit::Holds,
        ("date", "timestamp without time zone" | "timestamp with time zone") => widen(),
        ("timestamp with time zone", "timestamp without time zone") => {
            scaled(&old.numbers, &new.numbers, |scale| format!("timestamp({scale}) with time zone"))
        }
        (a, b) if a == b => match b {
            "time without time zone" => {
                scaled(&old.numbers, &new.numbers, |scale| format!("time({scale})"))
            }
            "timestamp without time zone" => {
                scaled(&old.numbers, &new.numbers, |scale| format!("timestamp({scale})"))
            }
            "timestamp with time zone" => scaled(&old.numbers, &new.numbers, |scale| {
                format!("timestamp({scale}) with time zone")
            }),
            _ if old.numbers == new.numbers => Fit::Holds,
            _ => Fit::Refuse,
        },
        _ => Fit::Refuse,
    }
}

fn integer(name: &str) -> Option<usize> {
    ["smallint", "integer", "bigint"].iter().position(|known| *known == name)
}

fn whole_digits(name: &str) -> u32 {
    match name {
        "smallint" => 5,
        "integer" => 10,
        _ => 19,
    }
}

/// Digits before the point and after it must both suffice: what holds both types may be neither.
fn numeric(old: &[u32], new: &[u32]) -> Fit {
    match (old, new) {
        ([], _) => Fit::Holds,
        ([p1, s1], [p2, s2]) => {
            let whole = p1.saturating_sub(*s1).max(p2.saturating_sub(*s2));
            let scale = *s1.max(s2);
            if (whole + scale, scale) == (*p1, *s1) {
                Fit::Holds
            } else {
                Fit::Widen(format!("numeric({},{scale})", whole + scale))
            }
        }
        ([_, _], []) => Fit::Widen("numeric".to_owned()),
        _ => Fit::Refuse,
    }
}

/// Without a length a text holds all.
fn text(old: &Declared, new: &Declared) -> Fit {
    let longer = |name: &str, length: u32| Fit::Widen(format!("{name}({length})"));
    match (old.numbers.first(), new.numbers.first()) {
        _ if old.name == "text" => Fit::Holds,
        (None, _) if old.name == "character varying" => Fit::Holds,
        (_, _) if new.name == "text" => Fit::Widen("text".to_owned()),
        (Some(old_length), Some(new_length))
            if old.name == "character" && new.name != "character" =>
        {
            longer("character varying", *old_length.max(new_length))
        }
        (Some(old_length), Some(new_length)) if old_length >= new_length => Fit::Holds,
        (Some(_), Some(new_length)) => longer(&old.name, *new_length),
        _ => Fit::Widen("text".to_owned()),
    }
}

/// Without digits a time has six.
fn scaled(old: &[u32], new: &[u32], name: impl Fn(u32) -> String) -> Fit {
    let digits = |numbers: &[u32]| numbers.first().copied().unwrap_or(6);
    if digits(old) >= digits(new) { Fit::Holds } else { Fit::Widen(name(digits(new))) }
}

/// The short forms that we write get their long names.
fn split(declared: &str) -> Declared {
    let (name, numbers, rest) = match (declared.find('('), declared.find(')')) {
        (Some(open), Some(close)) => (
            declared.get(..open).unwrap_or_default(),
            declared.get(open + 1..close).unwrap_or_default(),
            declared.get(close + 1..).unwrap_or_default(),
        ),
        _ => (declared, "", ""),
    };
    let mut name = format!("{name}{rest}");
    if name == "time" || name == "timestamp" {
        name.push_str(" without time zone");
    }
    let mut numbers: Vec<u32> = numbers.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    // `numeric(5)` has no digits after the point, `character` has one place.
    if name == "numeric" && numbers.len() == 1 {
        numbers.push(0);
    }
    if name == "character" && numbers.is_empty() {
        numbers.push(1);
    }
    Declared { name, numbers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_column_holds_is_told_from_what_it_would_lose() {
        let widen = |to: &str| Fit::Widen(to.to_owned());
        for (existing, wanted, expected) in [
            ("integer", "bigint", widen("bigint")),
            ("bigint", "integer", Fit::Holds),
            ("integer", "text", Fit::Refuse),
            ("text", "integer", Fit::Refuse),
            ("integer", "numeric(12,2)", widen("numeric(12,2)")),
            ("bigint", "numeric(12,2)", widen("numeric(21,2)")),
            ("numeric(12,2)", "integer", Fit::Holds),
            ("numeric(10,2)", "integer", widen("numeric(12,2)")),
            ("numeric", "numeric(38,38)", Fit::Holds),
            ("numeric(10,2)", "numeric(12,2)", widen("numeric(12,2)")),
            ("numeric(12,2)", "numeric(10,2)", Fit::Holds),
            ("numeric(10,2)", "numeric(10,4)", widen("numeric(12,4)")),
            ("real", "double precision", widen("double precision")),
            ("double precision", "real", Fit::Holds),
            ("double precision", "numeric(10,2)", Fit::Refuse),
            ("character varying(10)", "character varying(20)", widen("character varying(20)")),
            ("character varying(20)", "character varying(10)", Fit::Holds),
            ("character varying", "text", Fit::Holds),
            ("character varying(20)", "text", widen("text")),
            ("text", "character(3)", Fit::Holds),
            ("character(3)", "character(5)", widen("character(5)")),
            ("character(3)", "character varying(2)", widen("character varying(3)")),
            ("character varying(3)", "character(5)", widen("character varying(5)")),
            ("time(3) without time zone", "time(6)", widen("time(6)")),
            ("timestamp(3) without time zone", "timestamp(6)", widen("timestamp(6)")),
            ("timestamp without time zone", "timestamp(6)", Fit::Holds),
            (
                "timestamp(3) with time zone",
                "timestamp(6) with time zone",
                widen("timestamp(6) with time zone"),
            ),
            ("timestamp(6) with time zone", "timestamp(3)", Fit::Holds),
            ("timestamp(6) without time zone", "timestamp(6) with time zone", Fit::Refuse),
            ("date", "timestamp(3)", widen("timestamp(3)")),
            ("timestamp(0) without time zone", "date", Fit::Holds),
            ("uuid", "uuid", Fit::Holds),
            ("text", "uuid", Fit::Refuse),
            ("jsonb", "text", Fit::Refuse),
            ("boolean", "boolean", Fit::Holds),
            ("bytea", "bytea", Fit::Holds),
            ("text", "xml", Fit::Refuse),
        ] {
            assert_eq!(fit(existing, wanted), expected, "{existing} <- {wanted}");
        }
    }

    #[test]
    fn widening_ends() {
        // What was widened holds both: nothing flips to and fro between two schema versions.
        let types = ["smallint", "bigint", "numeric(5,2)", "numeric(9,4)", "numeric(19,0)"];
        for a in types {
            for b in types {
                if let Fit::Widen(to) = fit(a, b) {
                    assert_eq!(fit(&to, a), Fit::Holds, "{a} {b} {to}");
                    assert_eq!(fit(&to, b), Fit::Holds, "{a} {b} {to}");
                }
            }
        }
    }
}
