//! The value of a column's DEFAULT, when it is a constant.

use causeway_change::{ColumnType, Value, time::days_from_civil};

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
        ColumnType::VarChar(_) | ColumnType::NVarChar(_) => string(text).map(Value::Text),
        // Padding, conversion and rounding are SQL Server's business; a wrong default is worse than none.
        ColumnType::Char(_)
        | ColumnType::NChar(_)
        | ColumnType::Time { .. }
        | ColumnType::DateTime
        | ColumnType::SmallDateTime
        | ColumnType::DateTime2 { .. }
        | ColumnType::DateTimeOffset { .. }
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml
        | ColumnType::UniqueIdentifier
        | ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
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
        ];
        for (definition, ty, expected) in cases {
            assert!(parse(definition, &ty) == expected, "{definition} as {ty}");
        }
    }
}
