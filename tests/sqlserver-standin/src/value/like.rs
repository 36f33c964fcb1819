//! LIKE patterns.

use std::cmp::Ordering;

use super::collation::{Collation, compare_collated};

/// Whether `text LIKE pattern ESCAPE escape`; case-insensitive, blanks at the end of the text count
/// only when the pattern asks for them.
pub fn like(text: &[u16], pattern: &[u16], escape: Option<u16>, collation: Collation) -> bool {
    if like_unicode(text, pattern, escape, collation) {
        return true;
    }
    let items = compile(pattern, escape);
    // a pattern without blanks at its end also matches a text that has some
    let mut shorter = text;
    while let [rest @ .., 0x20] = shorter {
        shorter = rest;
        if matches(shorter, &items, collation) {
            return true;
        }
    }
    false
}

/// The same for Unicode texts, where blanks at the end count.
pub fn like_unicode(
    text: &[u16],
    pattern: &[u16],
    escape: Option<u16>,
    collation: Collation,
) -> bool {
    matches(text, &compile(pattern, escape), collation)
}

enum Item {
    One(u16),
    Any,
    Many,
    /// negated, ranges
    Set(bool, Vec<(u16, u16)>),
}

fn compile(p: &[u16], escape: Option<u16>) -> Vec<Item> {
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&u) = p.get(i) {
        i += 1;
        if Some(u) == escape {
            if let Some(&next) = p.get(i) {
                out.push(Item::One(next));
                i += 1;
            }
            continue;
        }
        match char::from_u32(u.into()) {
            Some('%') => out.push(Item::Many),
            Some('_') => out.push(Item::Any),
            Some('[') => {
                let Some(end) =
                    p.iter().skip(i + 1).position(|c| *c == u16::from(b']')).map(|n| n + i + 1)
                else {
                    out.push(Item::One(u));
                    continue;
                };
                let negated = p.get(i) == Some(&u16::from(b'^'));
                let inside = &p[i + usize::from(negated)..end];
                let mut ranges = Vec::new();
                let mut k = 0;
                while let Some(&a) = inside.get(k) {
                    match (inside.get(k + 1), inside.get(k + 2)) {
                        (Some(&dash), Some(&b)) if dash == u16::from(b'-') => {
                            ranges.push((a, b));
                            k += 3;
                        }
                        _ => {
                            ranges.push((a, a));
                            k += 1;
                        }
                    }
                }
                out.push(Item::Set(negated, ranges));
                i = end + 1;
            }
            _ => out.push(Item::One(u)),
        }
    }
    out
}

fn matches(text: &[u16], items: &[Item], collation: Collation) -> bool {
    // the usual two-pointer walk: on a mismatch go back to the last `%` and let it take one more
    let (mut t, mut i) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match items.get(i) {
            Some(Item::Many) => {
                back = Some((i + 1, t));
                i += 1;
                continue;
            }
            Some(item) if t < text.len() && one(item, text[t], collation) => {
                i += 1;
                t += 1;
                continue;
            }
            None if t == text.len() => return true,
            _ => {}
        }
        match back {
            Some((next, from)) if from < text.len() => {
                back = Some((next, from + 1));
                i = next;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

fn one(item: &Item, u: u16, collation: Collation) -> bool {
    let order = |a: u16, b: u16| {
        // a lone blank would be trimmed by the comparison
        if a == 0x20 || b == 0x20 { a.cmp(&b) } else { compare_collated(&[a], &[b], collation) }
    };
    match item {
        Item::One(p) => *p == u || order(*p, u) == Ordering::Equal,
        Item::Any => true,
        Item::Many => false,
        Item::Set(negated, ranges) => {
            let hit = ranges.iter().any(|(a, b)| {
                order(*a, u) != Ordering::Greater && order(u, *b) != Ordering::Greater
            });
            hit != *negated
        }
    }
}

/// Position (from 0) of the first match of a PATINDEX pattern.
pub(super) fn pattern_index(text: &[u16], pattern: &[u16]) -> Option<usize> {
    let percent = u16::from(b'%');
    let anchored = pattern.first() != Some(&percent);
    let tail: &[u16] = if anchored { pattern } else { &pattern[1..] };
    let items = compile(tail, None);
    if anchored {
        return matches(text, &items, Collation::CiAs).then_some(0);
    }
    (0..=text.len()).find(|i| matches(&text[*i..], &items, Collation::CiAs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, want) in [
            ("abc", "a%", true),
            ("abc", "A_C", true),
            ("abc", "%b%", true),
            ("abc", "b%", false),
            ("abc", "[a-c]bc", true),
            ("abc", "[^a]bc", false),
            ("a%c", "a[%]c", true),
            ("abc", "a[%]c", false),
            ("abc  ", "abc", true),
            ("abc", "abc ", false),
            ("", "%", true),
            ("aXbXc", "%x%x%", true),
            ("dbo_x", "dbo!_x", true),
        ] {
            let t: Vec<u16> = text.encode_utf16().collect();
            let p: Vec<u16> = pattern.encode_utf16().collect();
            assert_eq!(
                like(&t, &p, Some(u16::from(b'!')), Collation::CiAs),
                want,
                "{text} {pattern}"
            );
        }
    }
}
