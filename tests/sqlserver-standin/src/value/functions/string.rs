//! String functions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::collation::{Collation, compare_collated, fold};
use super::super::like::pattern_index;
use super::super::{MAX, SqlError, Ty, Typed, Val, decimal};
use super::Args;

/// Calls a string function; `None` when there is no such function here.
pub(super) fn call(a: &Args<'_>) -> Option<Result<Typed, SqlError>> {
    Some(match a.name {
        "len" => len(a),
        "datalength" => data_length(a),
        "substring" => substring(a),
        "left" | "right" => edge(a),
        "upper" => map(a, |s| s.iter().map(|u| fold(*u)).collect()),
        "lower" => map(a, |s| s.iter().map(|u| lower(*u)).collect()),
        "ltrim" => trim_call(a, true, false),
        "rtrim" => trim_call(a, false, true),
        "trim" => trim_call(a, true, true),
        "reverse" => map(a, |s| s.iter().rev().copied().collect()),
        "replace" => replace(a),
        "charindex" => char_index(a),
        "patindex" => pat_index(a),
        "replicate" => replicate(a),
        "space" => space(a),
        "stuff" => stuff(a),
        "concat" => concat(a),
        "concat_ws" => concat_ws(a),
        "char" => char_of(a),
        "nchar" => nchar(a),
        "ascii" => code(a, true),
        "unicode" => code(a, false),
        "str" => str_of(a),
        "quotename" => quote_name(a),
        "string_escape" => string_escape(a),
        "translate" => translate(a),
        "difference" | "soundex" => Err(SqlError::unknown(format_args!("the function {}", a.name))),
        "format" => format_call(a),
        _ => return None,
    })
}

/// varchar or nvarchar of a length, after the first argument.
fn text_type(ty: &Ty, length: usize) -> Ty {
    let unicode = ty.is_unicode();
    let limit = if unicode { 4000 } else { 8000 };
    let n = if length > limit { MAX } else { length.max(1) as u16 };
    if unicode { Ty::NVarChar(n) } else { Ty::VarChar(n) }
}

/// The varying form of an argument's type.
fn varying(ty: &Ty) -> Ty {
    match ty {
        Ty::Char(n) | Ty::VarChar(n) => Ty::VarChar(*n),
        Ty::NChar(n) | Ty::NVarChar(n) => Ty::NVarChar(*n),
        Ty::NText | Ty::Xml => Ty::NVarChar(MAX),
        Ty::Text => Ty::VarChar(MAX),
        Ty::UniqueIdentifier => Ty::VarChar(36),
        _ => Ty::VarChar(30),
    }
}

fn done(ty: Ty, val: Option<Vec<u16>>) -> Result<Typed, SqlError> {
    Ok(Typed { ty, val: val.map_or(Val::Null, |v| Val::Str(v.into())) })
}

fn map(a: &Args<'_>, f: impl Fn(&[u16]) -> Vec<u16>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let ty = varying(&a.ty(0)?);
    done(ty, a.text(0)?.map(|s| f(&s)))
}

fn lower(u: u16) -> u16 {
    let Some(c) = char::from_u32(u.into()) else { return u };
    let mut l = c.to_lowercase();
    match (l.next(), l.next()) {
        (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(u),
        _ => u,
    }
}

fn without_blanks(s: &[u16]) -> &[u16] {
    let n = s.iter().rposition(|u| *u != 0x20).map_or(0, |i| i + 1);
    &s[..n]
}

fn len(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let x = a.get(0)?;
    let ty = if matches!(x.ty.length(), Some(MAX)) { Ty::BigInt } else { Ty::Int };
    let n = match &x.val {
        Val::Null => return Ok(Typed::null(ty)),
        Val::Bytes(b) => b.len(),
        _ => a.text(0)?.map_or(0, |s| without_blanks(&s).len()),
    };
    Ok(Typed::new(ty, Val::Int(n as i64)))
}

fn data_length(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let x = a.get(0)?;
    let ty = if x.ty.is_large() { Ty::BigInt } else { Ty::Int };
    Ok(Typed::new(ty, data_length_of(x).map_or(Val::Null, Val::Int)))
}

fn data_length_of(x: &Typed) -> Option<i64> {
    Some(match &x.val {
        Val::Null => return None,
        Val::Str(s) if x.ty.is_unicode() => s.len() as i64 * 2,
        Val::Str(s) => s.len() as i64,
        Val::Bytes(b) => b.len() as i64,
        Val::Variant(inner) => return data_length_of(&Typed::new(inner.0, inner.1.clone())),
        _ => i64::from(x.ty.max_length()),
    })
}

fn substring(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(3)?;
    let x = a.get(0)?;
    let (start, length) = (a.int(1)?, a.int(2)?);
    if length.is_some_and(|n| n < 0) {
        return Err(SqlError::invalid_length("substring"));
    }
    // positions before 1 count, but give nothing
    let bounds = |size: usize, start: i64, length: i64| {
        let from = start.saturating_sub(1).clamp(0, size as i64) as usize;
        let to =
            start.saturating_sub(1).saturating_add(length).clamp(from as i64, size as i64) as usize;
        from..to
    };
    if x.ty.is_binary() {
        let ty = Ty::VarBinary(x.ty.length().unwrap_or(MAX));
        return Ok(match (&x.val, start, length) {
            (Val::Bytes(b), Some(s), Some(n)) => {
                Typed::new(ty, Val::bytes(&b[bounds(b.len(), s, n)]))
            }
            _ => Typed::null(ty),
        });
    }
    let ty = varying(&x.ty);
    let val = match (a.text(0)?, start, length) {
        (Some(t), Some(s), Some(n)) => Some(t[bounds(t.len(), s, n)].to_vec()),
        _ => None,
    };
    done(ty, val)
}

fn edge(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let ty = varying(&a.ty(0)?);
    let n = a.int(1)?;
    if n.is_some_and(|n| n < 0) {
        return Err(SqlError::new(
            536,
            format!("Invalid length parameter passed to the {} function.", a.name),
        ));
    }
    let val = match (a.text(0)?, n) {
        (Some(t), Some(n)) => {
            let n = t.len().min(n as usize);
            Some(if a.name == "left" { t[..n].to_vec() } else { t[t.len() - n..].to_vec() })
        }
        _ => None,
    };
    done(ty, val)
}

/// TRIM(x), TRIM(characters FROM x) as (x, characters).
fn trim_call(a: &Args<'_>, front: bool, back: bool) -> Result<Typed, SqlError> {
    a.between(1, 2)?;
    let set: Option<Arc<[u16]>> =
        if a.list.len() == 2 { a.text(1)? } else { Some([0x20u16].as_slice().into()) };
    let ty = varying(&a.ty(0)?);
    let val = match (a.text(0)?, set) {
        (Some(s), Some(set)) => {
            let mut s = &s[..];
            while front && s.first().is_some_and(|u| set.contains(u)) {
                s = &s[1..];
            }
            while back && s.last().is_some_and(|u| set.contains(u)) {
                s = &s[..s.len() - 1];
            }
            Some(s.to_vec())
        }
        _ => None,
    };
    done(ty, val)
}

fn same(a: &[u16], b: &[u16]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| {
            x == y
                || (*x != 0x20
                    && *y != 0x20
                    && compare_collated(&[*x], &[*y], Collation::CiAs) == Ordering::Equal)
        })
}

fn find(text: &[u16], what: &[u16], from: usize) -> Option<usize> {
    if what.is_empty() || what.len() > text.len() {
        return None;
    }
    (from..=text.len() - what.len()).find(|i| same(&text[*i..*i + what.len()], what))
}

fn replace(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(3)?;
    let unicode = a.list.iter().any(|t| t.ty.is_unicode());
    let large = a.list.iter().any(|t| t.ty.is_large());
    let n = if large {
        MAX
    } else if unicode {
        4000
    } else {
        8000
    };
    let ty = if unicode { Ty::NVarChar(n) } else { Ty::VarChar(n) };
    let (Some(t), Some(what), Some(with)) = (a.text(0)?, a.text(1)?, a.text(2)?) else {
        return Ok(Typed::null(ty));
    };
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(i) = find(&t, &what, at) {
        out.extend_from_slice(&t[at..i]);
        out.extend_from_slice(&with);
        at = i + what.len();
    }
    out.extend_from_slice(&t[at..]);
    done(ty, Some(out))
}

fn char_index(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(2, 3)?;
    let ty = if a.ty(1)?.is_large() { Ty::BigInt } else { Ty::Int };
    let start = if a.list.len() == 3 { a.int(2)?.unwrap_or(1).max(1) as usize - 1 } else { 0 };
    let (Some(what), Some(text)) = (a.text(0)?, a.text(1)?) else { return Ok(Typed::null(ty)) };
    Ok(Typed::new(ty, Val::Int(find(&text, &what, start).map_or(0, |i| i as i64 + 1))))
}

fn pat_index(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let ty = if a.ty(1)?.is_large() { Ty::BigInt } else { Ty::Int };
    let (Some(pattern), Some(text)) = (a.text(0)?, a.text(1)?) else { return Ok(Typed::null(ty)) };
    Ok(Typed::new(ty, Val::Int(pattern_index(&text, &pattern).map_or(0, |i| i as i64 + 1))))
}

/// Bound of a `(max)` text that REPLICATE makes; SQL Server's own is 2 GB.
const LARGEST_TEXT: usize = 1 << 28;

fn replicate(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let x = a.ty(0)?;
    let limit = if x.is_large() {
        MAX
    } else if x.is_unicode() {
        4000
    } else {
        8000
    };
    let ty = if x.is_unicode() { Ty::NVarChar(limit) } else { Ty::VarChar(limit) };
    let (Some(s), Some(n)) = (a.text(0)?, a.int(1)?) else { return Ok(Typed::null(ty)) };
    if n < 0 {
        return Ok(Typed::null(ty));
    }
    // a non-max result is cut at 8000 bytes
    let most = if limit == MAX { LARGEST_TEXT } else { limit.into() };
    let mut out = s.repeat((n as usize).min(most / s.len().max(1) + 1));
    out.truncate(most);
    done(ty, Some(out))
}

fn space(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let n = a.int(0)?;
    done(Ty::VarChar(8000), n.filter(|n| *n >= 0).map(|n| vec![0x20; (n as usize).min(8000)]))
}

fn stuff(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(4)?;
    let ty = text_type(&a.ty(0)?, usize::from(MAX));
    let (Some(t), Some(start), Some(length)) = (a.text(0)?, a.int(1)?, a.int(2)?) else {
        return Ok(Typed::null(ty));
    };
    if start < 1 || length < 0 || start > t.len() as i64 {
        return Ok(Typed::null(ty));
    }
    let with = a.text(3)?.unwrap_or_else(|| Arc::from([]));
    let from = start as usize - 1;
    let to = (from + length as usize).min(t.len());
    done(ty, Some([&t[..from], &with[..], &t[to..]].concat()))
}

fn concat_type(list: &[Typed]) -> Ty {
    let unicode = list.iter().any(|t| t.ty.is_unicode());
    let total: usize = list
        .iter()
        .map(|t| match varying(&t.ty).length() {
            Some(MAX) | None => 100_000,
            Some(n) => usize::from(n),
        })
        .sum();
    text_type(if unicode { &Ty::NText } else { &Ty::Text }, total)
}

fn concat(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(2, 254)?;
    let mut out = Vec::new();
    for i in 0..a.list.len() {
        if let Some(s) = a.text(i)? {
            out.extend_from_slice(&s);
        }
    }
    done(concat_type(a.list), Some(out))
}

fn concat_ws(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(3, 254)?;
    let separator = a.text(0)?.unwrap_or_else(|| Arc::from([]));
    let mut parts = Vec::new();
    for i in 1..a.list.len() {
        parts.extend(a.text(i)?);
    }
    let unicode = a.list.iter().any(|t| t.ty.is_unicode());
    let ty = if unicode { Ty::NVarChar(4000) } else { Ty::VarChar(8000) };
    done(ty, Some(parts.join(&separator[..])))
}

fn char_of(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let n = a.int(0)?.and_then(|n| u8::try_from(n).ok());
    done(Ty::Char(1), n.map(|b| super::super::decode_cp1252(&[b]).collect()))
}

fn nchar(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(1)?;
    let n = a.int(0)?.and_then(|n| u16::try_from(n).ok());
    done(Ty::NChar(1), n.map(|u| vec![u]))
}

fn code(a: &Args<'_>, page: bool) -> Result<Typed, SqlError> {
    a.count(1)?;
    let n = a
        .text(0)?
        .and_then(|s| s.first().copied())
        .map(|u| if page { i64::from(super::super::text::cp1252_byte(u)) } else { i64::from(u) });
    Ok(Typed::new(Ty::Int, n.map_or(Val::Null, Val::Int)))
}

fn str_of(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(1, 3)?;
    let width = if a.list.len() > 1 { a.int(1)?.unwrap_or(10) } else { 10 };
    let decimals = if a.list.len() > 2 { a.int(2)?.unwrap_or(0) } else { 0 };
    let ty = Ty::VarChar(width.clamp(1, 8000) as u16);
    let Some(f) = a.float(0)? else { return Ok(Typed::null(ty)) };
    let width = width.clamp(0, 8000) as usize;
    let text = format!("{f:.*}", decimals.clamp(0, 16) as usize);
    let whole = text.split('.').next().unwrap_or("").len();
    let text = if whole > width {
        "*".repeat(width)
    } else {
        let keep = text.len().min(width);
        format!("{:>width$}", text[..keep].trim_end_matches('.'))
    };
    done(ty, Some(text.encode_utf16().collect()))
}

fn quote_name(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(1, 2)?;
    let ty = Ty::NVarChar(258);
    let quote = if a.list.len() == 2 { a.string(1)? } else { Some("[".to_owned()) };
    let (Some(name), Some(quote)) = (a.text(0)?, quote) else { return Ok(Typed::null(ty)) };
    let (open, close) = match quote.chars().next() {
        Some('[' | ']') | None => ('[', ']'),
        Some('"') => ('"', '"'),
        Some('\'') => ('\'', '\''),
        Some('(' | ')') => ('(', ')'),
        Some('{' | '}') => ('{', '}'),
        Some('<' | '>') => ('<', '>'),
        Some('`') => ('`', '`'),
        Some(_) => return Ok(Typed::null(ty)),
    };
    if name.len() > 128 {
        return Ok(Typed::null(ty));
    }
    let mut out = vec![open as u16];
    for u in name.iter() {
        out.push(*u);
        if *u == close as u16 {
            out.push(*u);
        }
    }
    out.push(close as u16);
    done(ty, Some(out))
}

fn string_escape(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let ty = Ty::NVarChar(MAX);
    if a.string(1)?.is_some_and(|s| !s.eq_ignore_ascii_case("json")) {
        return Err(SqlError::new(13_654, "An invalid value was specified for argument 2."));
    }
    let Some(s) = a.text(0)? else { return Ok(Typed::null(ty)) };
    let mut out = Vec::new();
    for u in s.iter() {
        let plain = match u {
            0x22 => "\\\"",
            0x5C => "\\\\",
            0x2F => "\\/",
            0x08 => "\\b",
            0x0C => "\\f",
            0x0A => "\\n",
            0x0D => "\\r",
            0x09 => "\\t",
            0..=0x1F => {
                out.extend(format!("\\u{u:04x}").encode_utf16());
                continue;
            }
            _ => {
                out.push(*u);
                continue;
            }
        };
        out.extend(plain.encode_utf16());
    }
    done(ty, Some(out))
}

fn translate(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(3)?;
    let ty = varying(&a.ty(0)?);
    let (Some(t), Some(from), Some(to)) = (a.text(0)?, a.text(1)?, a.text(2)?) else {
        return Ok(Typed::null(ty));
    };
    if from.len() != to.len() {
        return Err(SqlError::new(
            9828,
            "The second and third arguments of the TRANSLATE built-in function must contain an equal number of characters.",
        ));
    }
    let out = t
        .iter()
        .map(|u| from.iter().position(|f| same(&[*f], &[*u])).map_or(*u, |i| to[i]))
        .collect();
    done(ty, Some(out))
}

/// FORMAT: only the patterns that tests use, `D5`, `N2`, `0000`, `yyyy-MM-dd HH:mm:ss`.
fn format_call(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.between(2, 3)?;
    let ty = Ty::NVarChar(4000);
    let (x, Some(pattern)) = (a.get(0)?, a.string(1)?) else { return Ok(Typed::null(ty)) };
    if x.is_null() {
        return Ok(Typed::null(ty));
    }
    let refuse = || SqlError::unknown(format_args!("the FORMAT pattern '{pattern}'"));
    if x.ty.is_date() {
        return super::date::format_date(x, &pattern)
            .ok_or_else(refuse)?
            .map(|s| Typed::new(ty, Val::str(&s)));
    }
    let digits = |p: &str| p.parse::<usize>().ok();
    let text = match pattern.as_bytes().first() {
        Some(b'D' | b'd') => {
            let n = a.int(0)?.unwrap_or(0);
            let width = digits(&pattern[1..]).unwrap_or(0);
            format!("{}{:0>width$}", if n < 0 { "-" } else { "" }, n.unsigned_abs())
        }
        Some(b'N' | b'n' | b'F' | b'f') => {
            let scale = digits(&pattern[1..]).unwrap_or(2).min(10) as u8;
            let n = match super::super::cast(x, &Ty::Decimal(38, scale), None)? {
                Val::Dec(n) => n,
                _ => 0,
            };
            let plain = super::super::text::decimal_text(n, scale);
            if matches!(pattern.as_bytes().first(), Some(b'F' | b'f')) {
                plain
            } else {
                grouped(&plain)
            }
        }
        Some(b'0') if pattern.bytes().all(|b| b == b'0') => {
            let n = match super::super::cast(x, &Ty::Decimal(38, 0), None)? {
                Val::Dec(n) => n,
                _ => 0,
            };
            format!(
                "{}{:0>width$}",
                if n < 0 { "-" } else { "" },
                n.unsigned_abs(),
                width = pattern.len()
            )
        }
        _ => {
            let rounded = |places: usize| {
                let scale = u8::try_from(places).ok().filter(|s| *s <= 20)?;
                match super::super::cast(x, &Ty::Decimal(38, scale), None) {
                    Ok(Val::Dec(n)) => Some(super::super::text::decimal_text(n, scale)),
                    _ => None,
                }
            };
            super::pattern::format(&pattern, "0", rounded).ok_or_else(refuse)?
        }
    };
    let _ = decimal::pow10;
    Ok(Typed::new(ty, Val::str(&text)))
}

fn grouped(plain: &str) -> String {
    let (sign, rest) = plain.strip_prefix('-').map_or(("", plain), |r| ("-", r));
    let (whole, part) = rest.split_once('.').unwrap_or((rest, ""));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if part.is_empty() { format!("{sign}{out}") } else { format!("{sign}{out}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::super::call as function;
    use super::*;

    #[test]
    fn strings() {
        let n = Typed::nvarchar;
        let i = Typed::int;
        for (name, list, want) in [
            ("substring", vec![n("abcdef"), i(2), i(3)], "bcd"),
            ("substring", vec![n("abcdef"), i(0), i(3)], "ab"),
            ("substring", vec![n("abc"), i(3), i(100)], "c"),
            ("substring", vec![n("abc"), Typed::bigint(i64::MIN), Typed::bigint(i64::MAX)], ""),
            ("replicate", vec![Typed::new(Ty::NVarChar(MAX), Val::str("a")), i(2)], "aa"),
            ("left", vec![n("abc"), i(2)], "ab"),
            ("right", vec![n("abc"), i(2)], "bc"),
            ("upper", vec![n("aé")], "AÉ"),
            ("lower", vec![n("AÉ")], "aé"),
            ("trim", vec![n("  a b ")], "a b"),
            ("ltrim", vec![n("  a ")], "a "),
            ("rtrim", vec![n("  a ")], "  a"),
            ("replace", vec![n("aXbx"), n("x"), n("--")], "a--b--"),
            ("replicate", vec![n("ab"), i(3)], "ababab"),
            ("space", vec![i(2)], "  "),
            ("stuff", vec![n("abcdef"), i(2), i(3), n("X")], "aXef"),
            ("reverse", vec![n("abc")], "cba"),
            ("concat", vec![n("a"), Typed::null(Ty::Int), i(1)], "a1"),
            ("concat_ws", vec![n(","), n("a"), Typed::null(Ty::Int), i(1)], "a,1"),
            ("char", vec![i(65)], "A"),
            ("nchar", vec![i(0x6F22)], "漢"),
            ("str", vec![Typed::float(3.147), i(6), i(2)], "  3.15"),
            ("quotename", vec![n("a]b")], "[a]]b]"),
            ("string_escape", vec![n("a\"\n"), n("json")], "a\\\"\\n"),
            ("translate", vec![n("abc"), n("ac"), n("12")], "1b2"),
            ("format", vec![i(42), n("D5")], "00042"),
            ("format", vec![Typed::float(1234.5), n("N2")], "1,234.50"),
        ] {
            let got = function(name, &list).unwrap().unwrap();
            assert_eq!(got.val.as_str().unwrap(), want, "{name} {list:?}");
        }
        for (name, list, want) in [
            ("len", vec![n("ab  ")], 2),
            ("datalength", vec![n("ab  ")], 8),
            ("datalength", vec![Typed::varchar("ab  ")], 4),
            ("datalength", vec![i(1)], 4),
            ("charindex", vec![n("C"), n("abc")], 3),
            ("charindex", vec![n("b"), n("abcb"), i(3)], 4),
            ("charindex", vec![n("z"), n("abc")], 0),
            ("patindex", vec![n("%[0-9]%"), n("ab1")], 3),
            ("ascii", vec![n("€")], 0x80),
            ("unicode", vec![n("€")], 0x20AC),
        ] {
            let got = function(name, &list).unwrap().unwrap();
            assert_eq!(got.val.as_int(), Some(want), "{name} {list:?}");
        }
        assert_eq!(function("substring", &[n("a"), i(1), i(-1)]).unwrap().unwrap_err().number, 537);
    }
}
