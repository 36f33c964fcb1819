//! T-SQL into tokens.

use crate::value::SqlError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    /// A bare word: keyword or name.
    Word(String),
    /// `[name]` or `"name"`.
    Quoted(String),
    /// `@name` or `@@name`.
    Var(String),
    Number(String),
    Money(String),
    Hex(Vec<u8>),
    Str(String),
    NStr(String),
    /// An operator or a bracket.
    Sym(&'static str),
    Eof,
}

/// A token and where it is: byte offsets and the line, from 1.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub tok: Tok,
    pub from: usize,
    pub to: usize,
    pub line: u32,
}

const SYMBOLS: [&str; 36] = [
    "<=>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<=", ">=", "<>", "!=", "!<", "!>",
    "::", "||", "(", ")", ",", ";", ".", "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^",
    "~", ":", "!",
];

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '#'
}
fn goes_on(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '@' | '$')
}

fn is_word(tok: &Tok, word: &str) -> bool {
    matches!(tok, Tok::Word(w) if w.eq_ignore_ascii_case(word))
}

/// Splits a batch into tokens; the last one is `Eof`.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, SqlError> {
    let mut out: Vec<Token> = Vec::with_capacity(sql.len() / 4 + 4);
    let mut at = 0;
    let mut line = 1u32;
    let mut quotes_text = false;
    let rest = |at: usize| sql.get(at..).unwrap_or("");
    loop {
        let tail = rest(at);
        let Some(c) = tail.chars().next() else { break };
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() || c == '\u{feff}' || c == '\0' {
            at += c.len_utf8();
            continue;
        }
        if tail.starts_with("--") {
            at += tail.find('\n').unwrap_or(tail.len());
            continue;
        }
        if tail.starts_with("/*") {
            let end = comment(tail).ok_or_else(|| {
                SqlError::new(113, "Missing end comment mark '*/'.").class(15).at_line(line)
            })?;
            line += newlines(tail.get(..end).unwrap_or(""));
            at += end;
            continue;
        }
        let next = tail.chars().nth(1).unwrap_or(' ');
        let (tok, len) = if c == '\'' || ((c == 'N' || c == 'n') && next == '\'') {
            let skip = usize::from(c != '\'');
            let (text, len) = quoted(tail.get(skip..).unwrap_or(""), '\'')
                .ok_or_else(|| unclosed(tail).at_line(line))?;
            let text = text.replace("\\\r\n", "").replace("\\\n", "");
            (if skip == 1 { Tok::NStr(text) } else { Tok::Str(text) }, len + skip)
        } else if c == '[' {
            let (text, len) = quoted(tail, ']').ok_or_else(|| unclosed(tail).at_line(line))?;
            (Tok::Quoted(text), len)
        } else if c == '"' {
            let (text, len) = quoted(tail, '"').ok_or_else(|| unclosed(tail).at_line(line))?;
            (if quotes_text { Tok::Str(text) } else { Tok::Quoted(text) }, len)
        } else if c == '@' {
            let len = span(tail, goes_on);
            (Tok::Var(tail.get(..len).unwrap_or("").to_owned()), len)
        } else if tail.starts_with("0x") || tail.starts_with("0X") {
            let digits = span(tail.get(2..).unwrap_or(""), |c| c.is_ascii_hexdigit());
            (Tok::Hex(hex(tail.get(2..2 + digits).unwrap_or(""))), digits + 2)
        } else if c.is_ascii_digit() || (c == '.' && next.is_ascii_digit()) {
            let len = number(tail);
            (Tok::Number(tail.get(..len).unwrap_or("").to_owned()), len)
        } else if matches!(c, '$' | '\u{a3}' | '\u{20ac}')
            && (next.is_ascii_digit() || next == '.' || next == '-')
        {
            let skip = c.len_utf8() + usize::from(next == '-');
            let digits = span(tail.get(skip..).unwrap_or(""), |c| c.is_ascii_digit() || c == '.');
            (
                Tok::Money(tail.get(c.len_utf8()..skip + digits).unwrap_or("").to_owned()),
                skip + digits,
            )
        } else if starts_name(c) || (c == '$' && (next.is_alphabetic())) {
            let len = span(tail, goes_on);
            (Tok::Word(tail.get(..len).unwrap_or("").to_owned()), len)
        } else if let Some(s) = SYMBOLS.iter().find(|s| tail.starts_with(**s)) {
            (Tok::Sym(s), s.len())
        } else {
            return Err(SqlError::syntax(&c.to_string()).at_line(line));
        };
        if let Tok::Word(w) = &tok
            && let [.., set, option] = out.as_slice()
            && is_word(&set.tok, "SET")
            && is_word(&option.tok, "QUOTED_IDENTIFIER")
        {
            // SET QUOTED_IDENTIFIER holds from where it stands, while the batch is read
            quotes_text = w.eq_ignore_ascii_case("OFF");
        }
        out.push(Token { tok, from: at, to: at + len, line });
        line += newlines(tail.get(..len).unwrap_or(""));
        at += len;
    }
    out.push(Token { tok: Tok::Eof, from: sql.len(), to: sql.len(), line });
    Ok(out)
}

fn newlines(s: &str) -> u32 {
    u32::try_from(s.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX)
}

fn span(s: &str, good: impl Fn(char) -> bool) -> usize {
    s.char_indices().find(|(_, c)| !good(*c)).map_or(s.len(), |(i, _)| i)
}

fn unclosed(tail: &str) -> SqlError {
    let text: String = tail.chars().skip(1).take(30).collect();
    SqlError::new(105, format!("Unclosed quotation mark after the character string '{text}'."))
        .class(15)
}

/// The text between quotes and the length with them; a doubled closing quote stands for one.
fn quoted(s: &str, close: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = s.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c != close {
            out.push(c);
        } else if chars.next_if(|(_, next)| *next == close).is_some() {
            out.push(close);
        } else {
            return Some((out, i + close.len_utf8()));
        }
    }
    None
}

/// Length of a comment; comments nest.
fn comment(s: &str) -> Option<usize> {
    let b = s.as_bytes();
    let (mut i, mut depth) = (0, 0);
    while i + 1 < b.len() {
        match (b.get(i), b.get(i + 1)) {
            (Some(b'/'), Some(b'*')) => {
                depth += 1;
                i += 2;
            }
            (Some(b'*'), Some(b'/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => i += 1,
        }
    }
    None
}

fn number(s: &str) -> usize {
    let b = s.as_bytes();
    let digits = |mut i: usize| {
        while b.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let mut i = digits(0);
    if b.get(i) == Some(&b'.') {
        i = digits(i + 1);
    }
    if matches!(b.get(i), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(b.get(i + 1), Some(b'+' | b'-')));
        let end = digits(i + 1 + sign);
        if end > i + 1 + sign {
            i = end;
        } else if !b.get(i + 1).is_some_and(u8::is_ascii_alphanumeric) {
            i += 1 + sign;
        }
    }
    i
}

fn hex(digits: &str) -> Vec<u8> {
    let nibbles: Vec<u8> = digits
        .chars()
        .filter_map(|c| c.to_digit(16))
        .filter_map(|d| u8::try_from(d).ok())
        .collect();
    let odd = nibbles.len() % 2;
    let mut out: Vec<u8> = nibbles.iter().take(odd).copied().collect();
    out.extend(
        nibbles.get(odd..).unwrap_or(&[]).chunks(2).map(|p| p.iter().fold(0, |a, n| a << 4 | n)),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Tok> {
        tokens(sql).unwrap().into_iter().map(|t| t.tok).collect()
    }

    #[test]
    fn every_kind_of_token() {
        let got = kinds(
            "SELECT [a]]b], \"c\"\"d\", N'x''y', 'z', 0x0aF, 1.5e-3, .5, $12.34, @@v, @p -- c\n/* a /* b */ c */ <> #t",
        );
        let word = |s: &str| Tok::Word(s.to_owned());
        let sym = |s| Tok::Sym(s);
        let want = vec![
            word("SELECT"),
            Tok::Quoted("a]b".to_owned()),
            sym(","),
            Tok::Quoted("c\"d".to_owned()),
            sym(","),
            Tok::NStr("x'y".to_owned()),
            sym(","),
            Tok::Str("z".to_owned()),
            sym(","),
            Tok::Hex(vec![0, 0xaf]),
            sym(","),
            Tok::Number("1.5e-3".to_owned()),
            sym(","),
            Tok::Number(".5".to_owned()),
            sym(","),
            Tok::Money("12.34".to_owned()),
            sym(","),
            Tok::Var("@@v".to_owned()),
            sym(","),
            Tok::Var("@p".to_owned()),
            sym("<>"),
            word("#t"),
            Tok::Eof,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn lines_and_open_quotes() {
        let t = tokens("a\n/*\n*/ b").unwrap();
        assert_eq!(t.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 3, 3]);
        assert_eq!(tokens("SELECT 'abc").unwrap_err().number, 105);
        assert_eq!(tokens("/* x").unwrap_err().number, 113);
    }
}
