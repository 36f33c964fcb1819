//! Names that Avro allows, made from names that SQL Server allows.
//!
//! Avro wants `[A-Za-z_][A-Za-z0-9_]*`. Debezium's `avro` adjustment puts `_` for every other
//! character, and so does this module; the original name of a column travels beside it, in the
//! parameter `__debezium.source.column.name`.

use std::{borrow::Cow, collections::HashSet};

/// A field's name: what Avro does not allow becomes `_`, and a digit at its beginning gets one in front.
#[must_use]
pub fn field(name: &str) -> Cow<'_, str> {
    legal(name)
}

/// A dotted name, each part made legal by itself.
///
/// A part that begins with a digit gets `_` in front of it: Java's Avro does not look at
/// namespaces, other implementations refuse such a part.
#[must_use]
pub fn full(name: &str) -> Cow<'_, str> {
    let well_formed = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && is_tail(part)
    };
    if name.split('.').all(well_formed) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 4);
    for (i, part) in name.split('.').enumerate() {
        if i > 0 {
            out.push('.');
        }
        if part.starts_with(|c: char| c.is_ascii_digit()) || part.is_empty() {
            out.push('_');
        }
        out.extend(part.chars().map(tail));
    }
    Cow::Owned(out)
}

/// The names of a record's fields, in order, made legal and different from each other.
///
/// Two columns can become one name (`order no` and `order_no`): the later one gets `_2`, `_3` and
/// so on. Columns are only ever added at the end, so a name once given stays.
#[must_use]
pub fn fields<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    names
        .map(|name| {
            let made = field(name);
            let mut candidate = made.clone().into_owned();
            let mut n = 2;
            while !taken.insert(candidate.clone()) {
                candidate = format!("{made}_{n}");
                n += 1;
            }
            candidate
        })
        .collect()
}

fn legal(name: &str) -> Cow<'_, str> {
    let head_ok = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if head_ok && is_tail(name) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 1);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(name.chars().map(tail));
    if out.is_empty() {
        out.push('_');
    }
    Cow::Owned(out)
}

fn is_tail(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn tail(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_avro_refuses_becomes_an_underscore() {
        for (name, legal) in [
            ("id", "id"),
            ("order no", "order_no"),
            ("2nd", "_2nd"),
            ("a.b", "a_b"),
            ("größe", "gr__e"),
            ("", "_"),
            ("__$start", "___start"),
        ] {
            assert_eq!(field(name), legal, "{name:?}");
        }
    }

    #[test]
    fn a_dotted_name_keeps_its_parts() {
        assert_eq!(full("shop.db.dbo.orders.Value"), "shop.db.dbo.orders.Value");
        assert_eq!(full("my-shop.2024.dbo.a b.Value"), "my_shop._2024.dbo.a_b.Value");
    }

    #[test]
    fn two_columns_never_share_a_name() {
        let names = ["order no", "order_no", "order-no", "id"];
        assert_eq!(fields(names.into_iter()), ["order_no", "order_no_2", "order_no_3", "id"],);
    }
}
