//! Values as text, and the code page of varchar.

use super::calendar::{
    DAY_1900, MONTH_NAMES, TICKS_PER_DAY, TICKS_PER_MINUTE, TICKS_PER_SECOND, civil_from_days,
};
use super::convert::{datetime_ticks, local_moment};
use super::{SqlError, Ty, Val};

/// The upper half of Windows code page 1252 where it differs from Latin-1 (0x80 to 0x9F).
const CP1252: [u16; 32] = [
    0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039,
    0x0152, 0x8D, 0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
];

/// What a letter of Latin Extended-A (U+0100 to U+017F) becomes in code page 1252, where a letter of it looks alike:
/// Windows' table of best fits. `?`: none does.
const BEST_FIT: &[u8; 128] = b"AaAaAaCcCcCcCcDd\xD0dEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi??JjKk?LlLlLl\
??LlNnNnNn???OoOoOo??RrRrRrSsSsSs??TtTtTtUuUuUuUuUuUuWwYy?ZzZz???";

/// UTF-16 to code page 1252; what it does not have becomes the best fit or `?`.
pub fn encode_cp1252(text: &[u16], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|u| cp1252_byte(*u)));
}

/// One UTF-16 unit in code page 1252.
pub(super) fn cp1252_byte(u: u16) -> u8 {
    match u {
        0..=0x7F | 0xA0..=0xFF => u as u8,
        _ => match CP1252.iter().position(|c| *c == u) {
            Some(i) => 0x80 + i as u8,
            // Full-width forms of ASCII fit as well.
            None if (0xFF01..=0xFF5E).contains(&u) => (u - 0xFF01) as u8 + b'!',
            None => {
                u.checked_sub(0x100).and_then(|i| BEST_FIT.get(usize::from(i))).map_or(b'?', |b| *b)
            }
        },
    }
}

/// Code page 1252 to UTF-16.
pub fn decode_cp1252(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.iter().map(|b| match b {
        0x80..=0x9F => CP1252[usize::from(*b) - 0x80],
        _ => u16::from(*b),
    })
}

/// float as CONVERT style 0 writes it: six significant digits, exponent with three.
pub fn float_text(f: f64, style: i32) -> String {
    match style {
        1 => scientific(f, 7),
        2 => scientific(f, 15),
        3 => scientific(f, 16),
        126 => format!("{f:?}"),
        _ => general(f, 6),
    }
}

/// real as CONVERT writes it.
pub fn real_text(f: f32, style: i32) -> String {
    match style {
        3 => scientific(f.into(), 8),
        _ => float_text(f.into(), style),
    }
}

fn scientific(f: f64, digits: usize) -> String {
    let text = format!("{f:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{mantissa}e{}", three_digits(exponent.parse().unwrap_or(0)))
}

fn three_digits(exponent: i32) -> String {
    format!("{}{:03}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The `%g` of C with a three digit exponent.
fn general(f: f64, significant: usize) -> String {
    if f == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{f:.*e}", significant - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let strip = |s: &str| -> String {
        if s.contains('.') {
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            s.to_owned()
        }
    };
    if exponent < -5 || exponent >= significant as i32 {
        return format!("{}e{}", strip(mantissa), three_digits(exponent));
    }
    let decimals = (significant as i32 - 1 - exponent).max(0) as usize;
    strip(&format!("{f:.decimals$}"))
}

/// An unscaled number with its point.
pub(super) fn decimal_text(n: i128, scale: u8) -> String {
    let digits = n.unsigned_abs().to_string();
    let sign = if n < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

/// money: style 0 two digits, 1 with commas, 2 and 126 four digits.
pub(super) fn money_text(m: i64, style: i32) -> String {
    if matches!(style, 2 | 126) {
        return decimal_text(m.into(), 4);
    }
    let m = i128::from(m);
    let cents = super::decimal::rescale(m, 4, 2).unwrap_or(0);
    let text = decimal_text(cents, 2);
    if style != 1 {
        return text;
    }
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |t| ("-", t));
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    format!("{sign}{grouped}.{part}")
}

/// A uniqueidentifier in upper case, as SQL Server writes it.
pub fn guid_text(g: &[u8; 16]) -> String {
    let mut s = String::with_capacity(36);
    for (i, b) in g.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            s.push('-');
        }
        s.push_str(&hex(&[*b]));
    }
    s
}

/// Upper-case hexadecimal digits.
pub(super) fn hex(b: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    b.iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// The text of a value that is not character and not binary; `style` as in CONVERT.
pub fn to_text(ty: &Ty, val: &Val, style: Option<i32>) -> Result<String, SqlError> {
    let number_style = style.unwrap_or(0);
    Ok(match val {
        Val::Null => String::new(),
        Val::Bit(b) => u8::from(*b).to_string(),
        Val::Int(i) => i.to_string(),
        Val::Real(f) => real_text(*f, number_style),
        Val::Float(f) => float_text(*f, number_style),
        Val::Dec(n) => decimal_text(*n, ty.scale()),
        Val::Money(m) => money_text(*m, number_style),
        Val::Guid(g) => guid_text(g),
        Val::Str(s) => String::from_utf16_lossy(s),
        Val::Bytes(b) => hex(b),
        Val::Variant(inner) => to_text(&inner.0, &inner.1, style)?,
        Val::Date(d) => moment_text(ty, style.unwrap_or(23), Some(*d), 0, None)?,
        Val::Time(t) => moment_text(ty, style.unwrap_or(21), None, *t, None)?,
        Val::DateTime2(d, t) => moment_text(ty, style.unwrap_or(21), Some(*d), *t, None)?,
        Val::DateTimeOffset { day, ticks, offset } => {
            let (d, t) = local_moment(*day, *ticks, *offset);
            let style = style.unwrap_or(21);
            if style == 127 {
                moment_text(ty, style, Some(*day), *ticks, Some(0))?
            } else {
                moment_text(ty, style, Some(d), t, Some(*offset))?
            }
        }
        Val::DateTime(d, t) => {
            moment_text(ty, style.unwrap_or(0), Some(d + DAY_1900), datetime_ticks(*t), None)?
        }
        Val::SmallDateTime(d, m) => moment_text(
            ty,
            style.unwrap_or(0),
            Some(i32::from(*d) + DAY_1900),
            u64::from(*m) * TICKS_PER_MINUTE,
            None,
        )?,
    })
}

/// A moment in one of the styles of CONVERT. A type without day or time leaves that part out.
fn moment_text(
    ty: &Ty,
    style: i32,
    day: Option<i32>,
    ticks: u64,
    offset: Option<i16>,
) -> Result<String, SqlError> {
    debug_assert!(ticks < TICKS_PER_DAY);
    let c = civil_from_days(day.unwrap_or(DAY_1900));
    let (y, m, d) = (c.year, c.month, c.day);
    let seconds = ticks / TICKS_PER_SECOND;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let has_date = day.is_some();
    let has_time = !matches!(ty, Ty::Date);
    let yy = y % 100;
    let mon = &MONTH_NAMES[m as usize - 1][..3];
    let digits = match ty {
        Ty::DateTime | Ty::SmallDateTime => 3,
        other => usize::from(other.scale()),
    };
    let fraction = {
        // a datetime shows its 1/300 s as milliseconds, rounded
        let ticks =
            if matches!(ty, Ty::DateTime) { (ticks + 5000) / 10_000 * 10_000 } else { ticks };
        let all = format!("{:07}", ticks % TICKS_PER_SECOND);
        all[..digits].to_owned()
    };
    let dotted = |mark: char| if digits == 0 { String::new() } else { format!("{mark}{fraction}") };
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    let half = if hour < 12 { "AM" } else { "PM" };
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };

    // (date part, separator, time part)
    let (date, time) = match style {
        0 | 100 => (format!("{mon} {d:>2} {y}"), format!("{hour12:>2}:{minute:02}{half}")),
        9 | 109 => (
            format!("{mon} {d:>2} {y}"),
            format!(
                "{hour12:>2}:{minute:02}:{second:02}{}{half}",
                dotted(if matches!(ty, Ty::DateTime) { ':' } else { '.' })
            ),
        ),
        1 => (format!("{m:02}/{d:02}/{yy:02}"), String::new()),
        101 => (format!("{m:02}/{d:02}/{y:04}"), String::new()),
        2 => (format!("{yy:02}.{m:02}.{d:02}"), String::new()),
        102 => (format!("{y:04}.{m:02}.{d:02}"), String::new()),
        3 => (format!("{d:02}/{m:02}/{yy:02}"), String::new()),
        103 => (format!("{d:02}/{m:02}/{y:04}"), String::new()),
        4 => (format!("{d:02}.{m:02}.{yy:02}"), String::new()),
        104 => (format!("{d:02}.{m:02}.{y:04}"), String::new()),
        5 => (format!("{d:02}-{m:02}-{yy:02}"), String::new()),
        105 => (format!("{d:02}-{m:02}-{y:04}"), String::new()),
        6 => (format!("{d:02} {mon} {yy:02}"), String::new()),
        106 => (format!("{d:02} {mon} {y:04}"), String::new()),
        7 => (format!("{mon} {d:02}, {yy:02}"), String::new()),
        107 => (format!("{mon} {d:02}, {y:04}"), String::new()),
        8 | 24 | 108 => (String::new(), clock),
        10 => (format!("{m:02}-{d:02}-{yy:02}"), String::new()),
        110 => (format!("{m:02}-{d:02}-{y:04}"), String::new()),
        11 => (format!("{yy:02}/{m:02}/{d:02}"), String::new()),
        111 => (format!("{y:04}/{m:02}/{d:02}"), String::new()),
        12 => (format!("{yy:02}{m:02}{d:02}"), String::new()),
        112 => (format!("{y:04}{m:02}{d:02}"), String::new()),
        13 | 113 => (
            format!("{d:02} {mon} {y}"),
            format!("{clock}{}", dotted(if matches!(ty, Ty::DateTime) { ':' } else { '.' })),
        ),
        14 | 114 => (
            String::new(),
            format!("{clock}{}", dotted(if matches!(ty, Ty::DateTime) { ':' } else { '.' })),
        ),
        20 | 120 => (format!("{y:04}-{m:02}-{d:02}"), clock),
        21 | 25 | 121 => (format!("{y:04}-{m:02}-{d:02}"), format!("{clock}{}", dotted('.'))),
        22 => (
            format!("{m:02}/{d:02}/{yy:02}"),
            format!("{hour12:>2}:{minute:02}:{second:02} {half}"),
        ),
        23 => (format!("{y:04}-{m:02}-{d:02}"), String::new()),
        126 | 127 => {
            let part =
                if fraction.bytes().all(|b| b == b'0') { String::new() } else { dotted('.') };
            (format!("{y:04}-{m:02}-{d:02}"), format!("{clock}{part}"))
        }
        other => {
            let m = format!(
                "{other} is not a valid style number when converting from {} to a character string.",
                ty.name()
            );
            return Err(SqlError::new(281, m));
        }
    };
    let (date, time) =
        (if has_date { date } else { String::new() }, if has_time { time } else { String::new() });
    let mut out = match (date.is_empty(), time.is_empty()) {
        (false, false) => {
            format!("{date}{}{time}", if matches!(style, 126 | 127) { "T" } else { " " })
        }
        _ => date + &time,
    };
    if let Some(offset) = offset
        && has_time
        && matches!(
            style,
            0 | 9 | 13 | 14 | 20 | 21 | 25 | 100 | 109 | 113 | 114 | 120 | 121 | 126 | 127
        )
    {
        if style == 127 {
            out.push('Z');
        } else {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs();
            let gap = if style == 126 { "" } else { " " };
            out.push_str(&format!("{gap}{sign}{:02}:{:02}", minutes / 60, minutes % 60));
        }
    } else if style == 127 && has_time && has_date {
        out.push('Z');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats() {
        for (f, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+006"),
            (1_000_000.0, "1e+006"),
            (0.0001, "0.0001"),
            (0.000_001_5, "1.5e-006"),
            (-2.5, "-2.5"),
            (1.0 / 3.0, "0.333333"),
        ] {
            assert_eq!(float_text(f, 0), text);
        }
        assert_eq!(float_text(1.5, 1), "1.5000000e+000");
        assert_eq!(float_text(0.1, 3), "1.0000000000000001e-001");
    }

    #[test]
    fn numbers() {
        assert_eq!(decimal_text(-5, 3), "-0.005");
        assert_eq!(decimal_text(12_345, 2), "123.45");
        assert_eq!(money_text(12_345_678_950, 0), "1234567.90");
        assert_eq!(money_text(12_345_678_950, 1), "1,234,567.90");
        assert_eq!(money_text(-12_345_678_951, 2), "-1234567.8951");
        assert_eq!(money_text(i64::MAX, 2), "922337203685477.5807");
    }

    #[test]
    fn code_page() {
        let mut b = Vec::new();
        let text: Vec<u16> = "aé€Ÿ漢".encode_utf16().collect();
        encode_cp1252(&text, &mut b);
        assert_eq!(b, [b'a', 0xE9, 0x80, 0x9F, b'?']);
        let back: Vec<u16> = decode_cp1252(&b).collect();
        assert_eq!(String::from_utf16_lossy(&back), "aé€Ÿ?");
    }
}
