//! The value of a column's DEFAULT, when it is a constant.

use causeway_change::{
    ColumnType, Length, Value,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, days_from_civil},
};

/// Parses the definition that `sys.default_constraints` shows, such as `((1))`, `(N'new')` or `((0.00))`.
///
/// `None` for everything that is no constant of the column's own kind: a function (`getdate()`), an
/// expression, or a literal that SQL Server would convert by rules of its own.
#[must_use]
pub fn parse(definition: &str, ty: &ColumnType) -> Option<Value> {
    let text = unwrap(definition.trim());
    if text.eq_ignore_ascii_case("null") {
        return None;
    }
    match ty {
        ColumnType::Bit => match text {
            "0" => Some(Value::Bool(false)),
            "1" => Some(Value::Bool(true)),
            _ => match string(text)?.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(Value::Bool(true)),
                "false" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
        },
        ColumnType::TinyInt => text.parse::<u8>().ok().map(|n| Value::I16(i16::from(n))),
        ColumnType::SmallInt => text.parse().ok().map(Value::I16),
        ColumnType::Int => text.parse().ok().map(Value::I32),
        // what is too large for an int is a decimal to SQL Server, which shows its point: `((3147483648.))`
        ColumnType::BigInt => text.strip_suffix('.').unwrap_or(text).parse().ok().map(Value::I64),
        ColumnType::Real => {
            number(text)?.parse().ok().filter(|n: &f32| n.is_finite()).map(Value::F32)
        }
        ColumnType::Float => {
            number(text)?.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::F64)
        }
        ColumnType::Decimal { precision, scale } => decimal(text, *precision, *scale),
        ColumnType::Money => decimal(text, 19, 4),
        ColumnType::SmallMoney => decimal(text, 10, 4),
        ColumnType::Date => date(&string(text)?).map(Value::Date),
        // Without the blanks that a row is padded with, as Debezium has it.
        ColumnType::Char(most) | ColumnType::NChar(most) => {
            short(string(text)?, *most).map(Value::Text)
        }
        ColumnType::VarChar(Length::Of(most)) | ColumnType::NVarChar(Length::Of(most)) => {
            short(string(text)?, *most).map(Value::Text)
        }
        ColumnType::VarChar(Length::Max)
        | ColumnType::NVarChar(Length::Max)
        | ColumnType::Text
        | ColumnType::NText => string(text).map(Value::Text),
        ColumnType::Time { scale } => clock(&string(text)?, *scale).map(Value::Time),
        ColumnType::DateTime => {
            let ticks = moment(&string(text)?, 3, Dashes::DependOnLanguage)?;
            // It counts 1/300 s, which it shows as milliseconds that end in these.
            let milliseconds = ticks.rem_euclid(TICKS_PER_SECOND) / 10_000;
            matches!(milliseconds % 10, 0 | 3 | 7).then_some(Value::DateTime(ticks))
        }
        ColumnType::SmallDateTime => {
            let ticks = moment(&string(text)?, 0, Dashes::DependOnLanguage)?;
            (ticks.rem_euclid(60 * TICKS_PER_SECOND) == 0).then_some(Value::DateTime(ticks))
        }
        ColumnType::DateTime2 { scale } => {
            moment(&string(text)?, *scale, Dashes::Always).map(Value::DateTime)
        }
        ColumnType::DateTimeOffset { scale } => offset_moment(&string(text)?, *scale),
        ColumnType::Binary(most) | ColumnType::VarBinary(Length::Of(most)) => {
            binary(text).filter(|bytes| bytes.len() <= usize::from(*most)).map(Value::Bytes)
        }
        ColumnType::VarBinary(Length::Max) | ColumnType::Image => binary(text).map(Value::Bytes),
        // Conversion is SQL Server's business; a wrong default is worse than none.
        ColumnType::Xml
        | ColumnType::UniqueIdentifier
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => None,
    }
}

/// Takes away brackets that enclose the whole text.
fn unwrap(text: &str) -> &str {
    let mut text = text;
    while let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        if !balanced(inner) {
            break;
        }
        text = inner.trim();
    }
    text
}

/// True when no bracket outside a string closes what is not open.
fn balanced(text: &str) -> bool {
    let (mut depth, mut in_string) = (0_i32, false);
    for c in text.chars() {
        match c {
            '\'' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => {
                depth -= 1;
                if depth < 0 {
                    return false;
                }
            }
            _ => {}
        }
    }
    depth == 0
}

/// The text of one string literal, `'…'` or `N'…'`.
fn string(text: &str) -> Option<String> {
    let quoted = text.strip_prefix(['N', 'n']).unwrap_or(text);
    let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    // A single quote inside is doubled; one that is not ends the literal, so this is an expression.
    if inner.replace("''", "").contains('\'') {
        return None;
    }
    Some(inner.replace("''", "'"))
}

/// A text that is not longer than its column, which SQL Server would refuse to insert.
fn short(text: String, most: u16) -> Option<String> {
    (text.encode_utf16().count() <= usize::from(most)).then_some(text)
}

/// `0x00FF`; an odd number of digits has a zero in front.
fn binary(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let digits = if digits.len() % 2 == 0 { digits.to_owned() } else { format!("0{digits}") };
    let byte = |pair: &[u8]| {
        let pair =
            std::str::from_utf8(pair).ok().filter(|_| pair.iter().all(u8::is_ascii_hexdigit));
        u8::from_str_radix(pair?, 16).ok()
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fffffff` in ticks of 100 ns; none when digits would be rounded away.
fn clock(text: &str, scale: u8) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let mut part = |below: i64| {
        let text = parts.next()?;
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| digits && *n < below)
    };
    let (hours, minutes) = (part(24)?, part(60)?);
    let has_seconds = whole.len() > 5;
    let seconds = if has_seconds { part(60)? } else { 0 };
    if parts.next().is_some() || (!has_seconds && !fraction.is_empty()) || text.ends_with('.') {
        return None;
    }
    let significant = fraction.trim_end_matches('0');
    if significant.len() > usize::from(scale) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ticks: i64 = format!("{significant:0<7}").parse().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * TICKS_PER_SECOND + ticks)
}

/// What `yyyy-mm-dd` without a `T` behind it means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dashes {
    /// Year, month, day.
    Always,
    /// To `datetime` and `smalldatetime` month and day change places under SET DATEFORMAT dmy:
    /// <https://learn.microsoft.com/sql/t-sql/data-types/datetime-transact-sql>
    DependOnLanguage,
}

/// A date with or without a time, in ticks of 100 ns since 1970.
fn moment(text: &str, scale: u8, dashes: Dashes) -> Option<i64> {
    let text = text.trim_end();
    let (day, time, is_iso) = match (text.split_once('T'), text.split_once(' ')) {
        (Some((day, time)), _) => (day, Some(time), true),
        (None, Some((day, time))) => (day, Some(time), false),
        (None, None) => (text, None, false),
    };
    let days = date(day)?;
    let (_, month, of_month) = causeway_change::time::civil_from_days(days);
    let dashed = day.contains('-');
    if dashes == Dashes::DependOnLanguage && dashed && !is_iso && month != of_month {
        return None;
    }
    let ticks = time.map_or(Some(0), |time| clock(time, scale))?;
    Some(i64::from(days) * TICKS_PER_DAY + ticks)
}

/// A date and time with an offset: `Z`, `+hh:mm`, or none, which is UTC.
fn offset_moment(text: &str, scale: u8) -> Option<Value> {
    let text = text.trim_end();
    let local = |text: &str| moment(text, scale, Dashes::Always);
    if let Some(utc) = text.strip_suffix('Z') {
        return Some(Value::DateTimeOffset { utc: local(utc)?, offset_minutes: 0 });
    }
    let sign = text.as_bytes().get(text.len().checked_sub(6)?).copied();
    let (Some(b'+' | b'-'), true) =
        (sign, text.is_char_boundary(text.len() - 6) && text.contains(':'))
    else {
        return Some(Value::DateTimeOffset { utc: local(text)?, offset_minutes: 0 });
    };
    let (wall, offset) = text.split_at(text.len() - 6);
    let minutes = clock(offset.get(1..)?, 0)? / (60 * TICKS_PER_SECOND);
    let minutes = if sign == Some(b'-') { -minutes } else { minutes };
    let offset_minutes = i16::try_from(minutes).ok().filter(|m| m.abs() <= 14 * 60)?;
    let utc = local(wall.trim_end())? - minutes * 60 * TICKS_PER_SECOND;
    Some(Value::DateTimeOffset { utc, offset_minutes })
}

/// A numeric literal: what Rust would accept beyond it (`inf`, `nan`) is none.
fn number(text: &str) -> Option<&str> {
    text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)).then_some(text)
}

fn decimal(text: &str, precision: u8, scale: u8) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_prefix('$').unwrap_or(digits);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // More digits than the column keeps would be rounded.
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    let unscaled: i128 = format!("0{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
    if unscaled >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(Value::Decimal(if negative { -unscaled } else { unscaled }))
}

/// `yyyy-mm-dd` or `yyyymmdd`, the forms that no language setting changes for `date`.
fn date(text: &str) -> Option<i32> {
    let digits: String = match text.len() {
        10 if text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().get(7) == Some(&b'-') => {
            text.replace('-', "")
        }
        8 => text.to_owned(),
        _ => return None,
    };
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year: i32 = digits.get(..4)?.parse().ok()?;
    let month: u32 = digits.get(4..6)?.parse().ok()?;
    let day: u32 = digits.get(6..)?.parse().ok()?;
    let days = days_from_civil(year, month, day);
    // What does not come back as it went in (31 February) is no date.
    (causeway_change::time::civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Length;

    #[test]
    fn constants_are_parsed_and_everything_else_is_left_alone() {
        let text = ColumnType::NVarChar(Length::Of(20));
        let money = ColumnType::Decimal { precision: 9, scale: 2 };
        let cases: Vec<(&str, ColumnType, Option<Value>)> = vec![
            ("((1))", ColumnType::Int, Some(Value::I32(1))),
            ("((-1))", ColumnType::BigInt, Some(Value::I64(-1))),
            ("((3147483648.))", ColumnType::BigInt, Some(Value::I64(3_147_483_648))),
            ("((1.5))", ColumnType::BigInt, None),
            ("((1))", ColumnType::Bit, Some(Value::Bool(true))),
            ("((255))", ColumnType::TinyInt, Some(Value::I16(255))),
            ("((256))", ColumnType::TinyInt, None),
            ("(getdate())", ColumnType::DateTime, None),
            ("((0.5))", money, Some(Value::Decimal(50))),
            ("((0.505))", money, None),
            ("((1.500))", money, Some(Value::Decimal(150))),
            ("((12345678))", money, None),
            ("(N'O''Neill')", text, Some(Value::Text("O'Neill".to_owned()))),
            ("('a'+'b')", text, None),
            ("('(')", text, Some(Value::Text("(".to_owned()))),
            ("(NULL)", text, None),
            ("('')", text, Some(Value::Text(String::new()))),
            ("((1)+(2))", ColumnType::Int, None),
            ("((1.5))", ColumnType::Float, Some(Value::F64(1.5))),
            ("(inf)", ColumnType::Float, None),
            ("('2018-07-13')", ColumnType::Date, Some(Value::Date(17_725))),
            ("('2018-02-31')", ColumnType::Date, None),
            ("(newid())", ColumnType::UniqueIdentifier, None),
            ("('ab')", ColumnType::Char(5), Some(Value::Text("ab".to_owned()))),
            ("('abcdef')", ColumnType::Char(5), None),
            ("(0x00FF)", ColumnType::Binary(4), Some(Value::Bytes(vec![0, 255]))),
            ("(0xABC)", ColumnType::VarBinary(Length::Max), Some(Value::Bytes(vec![0x0a, 0xbc]))),
            ("(0x)", ColumnType::Image, Some(Value::Bytes(Vec::new()))),
            ("(0x0102)", ColumnType::VarBinary(Length::Of(1)), None),
            ("((1))", ColumnType::Binary(4), None),
        ];
        for (definition, ty, expected) in cases {
            assert!(parse(definition, &ty) == expected, "{definition} as {ty}");
        }
    }

    #[test]
    fn dates_and_times_are_parsed_where_no_setting_changes_them_and_nothing_is_rounded() {
        let day = 19_724 * TICKS_PER_DAY;
        let at = |hours: i64, minutes: i64, seconds: i64| {
            ((hours * 60 + minutes) * 60 + seconds) * TICKS_PER_SECOND
        };
        let new_year = -25_567 * TICKS_PER_DAY;
        let cases: Vec<(&str, ColumnType, Option<i64>)> = vec![
            ("('2024-01-02T03:04:05')", ColumnType::DateTime, Some(day + at(3, 4, 5))),
            ("('20240102 03:04')", ColumnType::DateTime, Some(day + at(3, 4, 0))),
            (
                "('2024-01-02T03:04:05.997')",
                ColumnType::DateTime,
                Some(day + at(3, 4, 5) + 9_970_000),
            ),
            ("('2024-01-02T03:04:05.678')", ColumnType::DateTime, None),
            // To a server that reads days first this is 1 February.
            ("('2024-01-02 03:04:05')", ColumnType::DateTime, None),
            ("('1900-01-01')", ColumnType::DateTime, Some(new_year)),
            ("('19000101')", ColumnType::SmallDateTime, Some(new_year)),
            ("('2024-01-02T03:04:00')", ColumnType::SmallDateTime, Some(day + at(3, 4, 0))),
            ("('2024-01-02T03:04:05')", ColumnType::SmallDateTime, None),
            (
                "('2024-01-02 03:04:05')",
                ColumnType::DateTime2 { scale: 0 },
                Some(day + at(3, 4, 5)),
            ),
            ("('2024-01-02')", ColumnType::DateTime2 { scale: 7 }, Some(day)),
            ("('2024-01-02T03:04:05.1')", ColumnType::DateTime2 { scale: 0 }, None),
            ("('2024-01-02T24:00:00')", ColumnType::DateTime2 { scale: 0 }, None),
            ("(getdate())", ColumnType::DateTime2 { scale: 0 }, None),
            ("('03:04:05.678')", ColumnType::Time { scale: 3 }, Some(at(3, 4, 5) + 6_780_000)),
            ("('03:04:05.67800')", ColumnType::Time { scale: 3 }, Some(at(3, 4, 5) + 6_780_000)),
            ("('3:04 PM')", ColumnType::Time { scale: 3 }, None),
            ("('03:04.5')", ColumnType::Time { scale: 3 }, None),
        ];
        for (definition, ty, expected) in cases {
            let is_time = matches!(ty, ColumnType::Time { .. });
            let expected = expected
                .map(|ticks| if is_time { Value::Time(ticks) } else { Value::DateTime(ticks) });
            assert!(parse(definition, &ty) == expected, "{definition} as {ty}");
        }
        let moments = [
            ("('2024-01-02T03:04:05.678+01:00')", Some((day + at(2, 4, 5) + 6_780_000, 60))),
            ("('2024-01-02 03:04:05 -00:30')", Some((day + at(3, 34, 5), -30))),
            ("('2024-01-02T03:04:05Z')", Some((day + at(3, 4, 5), 0))),
            ("('2024-01-02')", Some((day, 0))),
            ("('2024-01-02T03:04:05+15:00')", None),
            ("(sysdatetimeoffset())", None),
        ];
        for (definition, expected) in moments {
            let expected =
                expected.map(|(utc, offset_minutes)| Value::DateTimeOffset { utc, offset_minutes });
            let found = parse(definition, &ColumnType::DateTimeOffset { scale: 3 });
            assert!(found == expected, "{definition}");
        }
    }
}
