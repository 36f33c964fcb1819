//! Order and equality of texts.
//!
//! A Windows collation (`Latin1_General_CI_AS`) has one set of rules for all character types; a SQL collation
//! (`SQL_Latin1_General_CP1_CI_AS`, the server's) has that set for nchar and nvarchar only, and sorts char and varchar by
//! its own sort order, 52 or 51 (Microsoft documentation: "Collation and Unicode support", "SQL Server collations").
//!
//! * Windows rules are a word sort: hyphen and apostrophe do not count (`co-op` stands beside `coop`) until all else is
//!   equal; then the text without one, or with a later one, is the smaller or greater by its place.
//! * In a sort order every mark counts as a letter does.
//!
//! Both: blanks at the end do not count; marks before digits before letters; letters by their base letter, then by
//! accent, then (case-sensitive ones) by case. Weights of scripts other than Latin are their code units, which is not
//! SQL Server's order. Debezium's `IncrementalSnapshotCollationSortOrderMismatchIT` has a list of 575 keys of which
//! reading in pages by the wrong rules misses exactly 36; a test here has the same list's shape.

use std::cmp::Ordering;

use super::Ty;

/// The rules that the stand-in knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Collation {
    /// `SQL_Latin1_General_CP1_CI_AS`: sort order 52 for char and varchar.
    #[default]
    SqlCi,
    /// `SQL_Latin1_General_CP1_CS_AS`: sort order 51, capitals before small letters among equals.
    SqlCs,
    /// `Latin1_General_CI_AS` and its like.
    CiAs,
    /// `..._CS_AS`: among equals small letters before capitals.
    CsAs,
    /// `..._BIN2`: by code unit.
    Bin2,
    /// `..._BIN2_UTF8`: likewise, and char and varchar hold UTF-8.
    Bin2Utf8,
}

impl Collation {
    /// By the parts of the name: `SQL_`, `_BIN2`, `_BIN`, `_CS_`.
    pub fn by_name(name: &str) -> Self {
        let at = |i: usize, part: &str| {
            name.get(i..i + part.len()).is_some_and(|n| n.eq_ignore_ascii_case(part))
        };
        let ends = |part: &str| name.len().checked_sub(part.len()).is_some_and(|i| at(i, part));
        if ends("_BIN2_UTF8") {
            return Self::Bin2Utf8;
        }
        if ends("_BIN2") || ends("_BIN") {
            return Self::Bin2;
        }
        let sensitive = (0..name.len()).any(|i| at(i, "_CS"));
        match (at(0, "SQL_"), sensitive) {
            (true, false) => Self::SqlCi,
            (true, true) => Self::SqlCs,
            (false, false) => Self::CiAs,
            (false, true) => Self::CsAs,
        }
    }

    /// The rules for data of a type: of its own collation, or the server's.
    pub fn of(own: Option<Self>, ty: &Ty) -> Self {
        let own = own.unwrap_or_default();
        if !ty.is_unicode() {
            return own;
        }
        match own {
            Self::SqlCi => Self::CiAs,
            Self::SqlCs => Self::CsAs,
            Self::CiAs | Self::CsAs | Self::Bin2 | Self::Bin2Utf8 => own,
        }
    }

    /// The rules for a comparison of two types: when one is Unicode, the other is converted to it.
    pub fn between(own: Option<Self>, a: &Ty, b: &Ty) -> Self {
        Self::of(own, if a.is_unicode() { a } else { b })
    }

    fn case(self, u: u16) -> u8 {
        match self {
            Self::SqlCi | Self::CiAs | Self::Bin2 | Self::Bin2Utf8 => 0,
            Self::SqlCs => u8::from(!is_capital(u)),
            Self::CsAs => u8::from(is_capital(u)),
        }
    }

    fn is_binary(self) -> bool {
        matches!(self, Self::Bin2 | Self::Bin2Utf8)
    }

    fn is_word_sort(self) -> bool {
        matches!(self, Self::CiAs | Self::CsAs)
    }

    fn is_sensitive(self) -> bool {
        matches!(self, Self::SqlCs | Self::CsAs)
    }
}

/// Base letters of U+00C0 to U+017F; a blank is a letter of its own.
const BASE: &[&[u8]; 3] = &[
    b"AAAAAA CEEEEIIII NOOOOO OUUUUY  AAAAAA CEEEEIIII NOOOOO OUUUUY Y",
    b"AAAAAACCCCCCCCDDDDEEEEEEEEEEGGGGGGGGHHHHIIIIIIIIII  JJKK LLLLLLL",
    b"LLLNNNNNN   OOOOOO  RRRRRRSSSSSSSSTTTTTTUUUUUUUUUUUUWWYYYZZZZZZS",
];

fn base_letter(u: u16) -> u8 {
    let i = usize::from(u) - 0xC0;
    BASE[i / 64][i % 64]
}

/// Sort order 52: marks by their place in the code page, then digits, then letters.
const fn ascii_weights() -> [u16; 128] {
    let mut table = [0u16; 128];
    let mut c = 0u16;
    while c < 128 {
        table[c as usize] = match c as u8 {
            b'0'..=b'9' => 0x100 + (c - b'0' as u16),
            b'A'..=b'Z' => 0x110 + (c - b'A' as u16) * 4,
            b'a'..=b'z' => 0x110 + (c - b'a' as u16) * 4,
            0 => 1,
            _ => c,
        };
        c += 1;
    }
    table
}
static ASCII: [u16; 128] = ascii_weights();

/// The order of ASCII's marks in Windows' word sort; those that are missing do not count at first.
const WORD_MARKS: &[u8; 31] = b" !\"#$%&()*,./:;?@[\\]^_`{|}~+<=>";

/// The word sort has other places for marks, and the same for digits and letters.
const fn word_weights() -> [u16; 128] {
    let mut table = ascii_weights();
    let mut i = 0;
    while i < WORD_MARKS.len() {
        table[WORD_MARKS[i] as usize] = 0x20 + i as u16;
        i += 1;
    }
    table
}
static WORD: [u16; 128] = word_weights();

/// Hyphen and apostrophe: what they weigh when all else is equal.
fn minimal(u: u16) -> Option<u8> {
    match u {
        0x27 => Some(1),
        0x2D => Some(2),
        _ => None,
    }
}

/// The main weight of a unit under a collation and its accent (0 for none).
fn weight_in(u: u16, collation: Collation) -> (u16, u16) {
    match WORD.get(usize::from(u)) {
        Some(w) if collation.is_word_sort() => (*w, 0),
        _ => weight(u),
    }
}

fn weight(u: u16) -> (u16, u16) {
    match u {
        0..=0x7F => (ASCII[usize::from(u)], 0),
        0xD7 | 0xF7 | 0x80..=0xBF => (u, 0),
        0xC0..=0x17F => {
            let base = base_letter(u);
            let accent = fold(u);
            if base == b' ' {
                // Æ, Ð, Ø, Þ, ß, œ ... sort after the letter they begin with
                let near = match accent {
                    0xC6 => b'A',
                    0xD0 => b'D',
                    0xD8 | 0x152 => b'O',
                    0xDE => b'T',
                    0xDF => b'S',
                    0x132 => b'I',
                    0x138 => b'Q',
                    0x149 | 0x14A => b'N',
                    _ => b'Z',
                };
                (ASCII[usize::from(near)] + 1, accent)
            } else {
                (ASCII[usize::from(base)], accent)
            }
        }
        _ => (fold(u), 0),
    }
}

/// Simple upper-case folding of one UTF-16 unit.
pub fn fold(u: u16) -> u16 {
    match u {
        0x61..=0x7A => u - 32,
        0..=0x7F => u,
        // the micro sign is not the Greek letter
        0xB5 => u,
        _ => {
            let Some(c) = char::from_u32(u.into()) else { return u };
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(u),
                _ => u,
            }
        }
    }
}

fn trimmed(mut s: &[u16]) -> &[u16] {
    while let [rest @ .., 0x20] = s {
        s = rest;
    }
    s
}

/// Compares two texts; blanks at the end are ignored, as SQL Server pads the shorter.
pub fn compare_collated(a: &[u16], b: &[u16], collation: Collation) -> Ordering {
    let (a, b) = (trimmed(a), trimmed(b));
    if collation.is_binary() {
        return a.cmp(b);
    }
    let words = collation.is_word_sort();
    let counts = |u: &&u16| !(words && minimal(**u).is_some());
    let (mut xs, mut ys) = (a.iter().filter(counts), b.iter().filter(counts));
    let (mut accents, mut cases) = (Ordering::Equal, Ordering::Equal);
    loop {
        match (xs.next(), ys.next()) {
            (Some(x), Some(y)) if x == y => {}
            (Some(x), Some(y)) => {
                let ((w1, a1), (w2, a2)) = (weight_in(*x, collation), weight_in(*y, collation));
                if w1 != w2 {
                    return w1.cmp(&w2);
                }
                accents = accents.then(a1.cmp(&a2));
                cases = cases.then(collation.case(*x).cmp(&collation.case(*y)));
            }
            (None, None) => break,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        }
    }
    accents.then(cases).then_with(|| if words { marks(a).cmp(marks(b)) } else { Ordering::Equal })
}

/// Hyphens and apostrophes: the number of units that count before each (from 1), and what it weighs.
fn marks(s: &[u16]) -> impl Iterator<Item = (u32, u8)> + '_ {
    let mut place = 1;
    s.iter().filter_map(move |u| {
        let mark = minimal(*u);
        place += u32::from(mark.is_none());
        mark.map(|w| (place, w))
    })
}

/// Bytes whose memcmp order is [`compare_collated`]'s order; no key is a prefix of another.
pub(super) fn sort_key(s: &[u16], collation: Collation, out: &mut Vec<u8>) {
    let s = trimmed(s);
    if collation.is_binary() {
        for u in s {
            // 0 ends the key
            if *u <= 1 {
                out.extend([0, 1, *u as u8]);
            } else {
                out.extend(u.to_be_bytes());
            }
        }
        out.extend([0, 0]);
        return;
    }
    let words = collation.is_word_sort();
    let counting = || s.iter().filter(|u| !(words && minimal(**u).is_some()));
    let mut last_accent = 0;
    for (i, u) in counting().enumerate() {
        let (w, accent) = weight_in(*u, collation);
        out.extend(w.to_be_bytes());
        if accent != 0 {
            last_accent = i + 1;
        }
    }
    out.extend([0, 0]);
    for u in counting().take(last_accent) {
        // one added, because 0 ends the list
        out.extend((weight_in(*u, collation).1 + 1).to_be_bytes());
    }
    out.extend([0, 0]);
    if collation.is_sensitive() {
        out.extend(counting().map(|u| 1 + collation.case(*u)));
        out.push(0);
    }
    if words {
        for (place, w) in marks(s) {
            out.extend(place.to_be_bytes());
            out.push(w);
        }
        out.extend([0; 4]);
    }
}

/// A letter that has a small form.
fn is_capital(u: u16) -> bool {
    char::from_u32(u.into()).is_some_and(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(s: &str) -> Vec<u16> {
        s.encode_utf16().collect()
    }

    /// The order by comparison, which has to be that of the keys.
    fn order(a: &str, b: &str, collation: Collation) -> Ordering {
        let (x, y) = (units(a), units(b));
        let (mut k, mut l) = (Vec::new(), Vec::new());
        sort_key(&x, collation, &mut k);
        sort_key(&y, collation, &mut l);
        let found = compare_collated(&x, &y, collation);
        assert_eq!(k.cmp(&l), found, "keys of {a} {b} {collation:?}");
        assert_eq!(compare_collated(&y, &x, collation), found.reverse(), "{b} {a} {collation:?}");
        found
    }

    #[test]
    fn base_letters() {
        for (c, base) in
            [('À', 'A'), ('ç', 'C'), ('ÿ', 'Y'), ('ŷ', 'Y'), ('ž', 'Z'), ('ő', 'O'), ('Ğ', 'G')]
        {
            let u = c as u16;
            assert_eq!(weight(u).0, weight(base as u16).0, "{c}");
        }
    }

    #[test]
    fn names() {
        for (name, want) in [
            ("SQL_Latin1_General_CP1_CI_AS", Collation::SqlCi),
            ("sql_latin1_general_cp1_cs_as", Collation::SqlCs),
            ("Latin1_General_CI_AS", Collation::CiAs),
            ("Latin1_General_100_CS_AS_SC_UTF8", Collation::CsAs),
            ("Latin1_General_BIN2", Collation::Bin2),
            ("Latin1_General_100_BIN2_UTF8", Collation::Bin2Utf8),
            ("Latin1_General_BIN", Collation::Bin2),
        ] {
            assert_eq!(Collation::by_name(name), want, "{name}");
        }
        assert_eq!(Collation::of(None, &Ty::VarChar(9)), Collation::SqlCi);
        assert_eq!(Collation::of(None, &Ty::NChar(9)), Collation::CiAs);
        let both = Collation::between(Some(Collation::SqlCs), &Ty::Char(1), &Ty::NVarChar(1));
        assert_eq!(both, Collation::CsAs);
    }

    #[test]
    fn case_blanks_and_accents() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, want) in [
            ("abc", "ABC", Equal),
            ("abc  ", "abc", Equal),
            (" abc", "abc", Less),
            ("a", "b", Less),
            ("a_b", "aab", Less),
            ("a1", "aa", Less),
            ("9", "a", Less),
            ("e", "é", Less),
            ("é", "É", Equal),
            ("éa", "eb", Less),
            ("Zz", "a", Greater),
            ("", " ", Equal),
            ("日", "本", Less),
            ("a", "ab", Less),
        ] {
            for collation in [Collation::SqlCi, Collation::CiAs] {
                assert_eq!(order(a, b, collation), want, "{a} {b} {collation:?}");
            }
        }
        assert_eq!(order("a", "B", Collation::Bin2), Greater);
        assert_eq!(order("B ", "B", Collation::Bin2), Equal);
        assert_eq!(order("a", "A", Collation::CsAs), Less);
        assert_eq!(order("a", "A", Collation::SqlCs), Greater);
        assert_eq!(order("A", "b", Collation::SqlCs), Less);
    }

    #[test]
    fn hyphens_count_in_a_sort_order_only() {
        use Ordering::{Greater, Less};
        for (a, b, sort_order, words) in [
            ("co-op", "coop", Less, Greater),
            ("co-op", "coon", Less, Greater),
            ("coop", "co-op-s", Greater, Less),
            ("a-c", "ab", Less, Greater),
            ("a-bc", "ab-c", Less, Less),
            ("it's", "its", Less, Greater),
            ("a'b", "a-b", Less, Less),
            ("a-", "a", Greater, Greater),
            ("-", "", Greater, Greater),
            // letters are no marks: of two more of them the hyphen is only the last resort
            ("Y-11-3-4", "Y1-01-1-1", Less, Greater),
            ("a+b", "a_b", Less, Greater),
            ("a=b", "a1b", Less, Less),
        ] {
            assert_eq!(order(a, b, Collation::SqlCi), sort_order, "{a} {b} by sort order");
            assert_eq!(order(a, b, Collation::CiAs), words, "{a} {b} by words");
        }
    }

    /// Reading varchar keys in pages with Unicode parameters: what a word sort puts later but the sort order earlier is
    /// never read.
    #[test]
    fn pages_by_the_other_rules_miss_keys() {
        let mut keys: Vec<Vec<u16>> = Vec::new();
        for part in 1..=13 {
            for piece in 1..=4 {
                keys.push(units(&format!("Y-{part:02}-{piece}")));
                keys.push(units(&format!("Y1-{part:02}-{piece}")));
            }
        }
        let read = |by: Collation| {
            let mut stored = keys.clone();
            stored.sort_by(|a, b| compare_collated(a, b, Collation::SqlCi));
            let (mut after, mut read) = (Vec::new(), 0);
            loop {
                let page: Vec<_> = stored
                    .iter()
                    .filter(|k| compare_collated(k, &after, by) == Ordering::Greater)
                    .take(10)
                    .collect();
                let Some(last) = page.last() else { return read };
                read += page.len();
                after.clone_from(last);
            }
        };
        assert_eq!(read(Collation::SqlCi), keys.len());
        assert!(read(Collation::CiAs) < keys.len());
    }
}
