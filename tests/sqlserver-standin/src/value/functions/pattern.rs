//! FORMAT with a pattern of `0`, `#`, `,`, `.` and literal signs between them.

/// Formats `digits` (a decimal number as text) by a .NET pattern; `None` for patterns with other signs.
pub(super) fn format(
    pattern: &str,
    number: &str,
    round: impl Fn(usize) -> Option<String>,
) -> Option<String> {
    let literal = |c: char| matches!(c, '-' | ' ' | '(' | ')' | '/' | ':');
    if !pattern.chars().all(|c| matches!(c, '0' | '#' | ',' | '.') || literal(c))
        || !pattern.contains(['0', '#'])
    {
        return None;
    }
    let (whole, fraction) = pattern.split_once('.').unwrap_or((pattern, ""));
    if fraction.contains([',', '.']) {
        return None;
    }
    let places = fraction.chars().filter(|c| matches!(c, '0' | '#')).count();
    let rounded = round(places).unwrap_or_else(|| number.to_owned());
    let (negative, rounded) = match rounded.strip_prefix('-') {
        Some(rest) => (rest.bytes().any(|b| b.is_ascii_digit() && b != b'0'), rest.to_owned()),
        None => (false, rounded),
    };
    let (digits, part) = rounded.split_once('.').unwrap_or((&rounded, ""));
    let digits = digits.trim_start_matches('0');
    // a comma between two digits asks for groups of three
    let grouped = whole.trim_end_matches(',').contains(',');
    if whole.ends_with(',') {
        return None;
    }
    let slots = whole.chars().filter(|c| matches!(c, '0' | '#')).count();
    let zeros = {
        // from the first 0 on, every place has a digit
        let places: Vec<char> = whole.chars().filter(|c| matches!(c, '0' | '#')).collect();
        places.iter().position(|c| *c == '0').map_or(0, |at| slots - at)
    };
    let padded = format!("{digits:0>zeros$}");
    let mut left: Vec<char> = padded.chars().collect();
    let mut out: Vec<char> = Vec::new();
    let mut count = 0;
    let mut remaining_slots = slots;
    let push = |out: &mut Vec<char>, c: char, count: &mut usize| {
        if grouped && *count > 0 && count.is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
        *count += 1;
    };
    for c in whole.chars().rev() {
        match c {
            '0' | '#' => {
                remaining_slots -= 1;
                if let Some(d) = left.pop() {
                    push(&mut out, d, &mut count);
                }
                // the first place takes all that is left
                while remaining_slots == 0
                    && let Some(d) = left.pop()
                {
                    push(&mut out, d, &mut count);
                }
            }
            ',' => {}
            c => out.push(c),
        }
    }
    let mut text: String = out.iter().rev().collect();
    let mut decimals: Vec<char> = part.chars().take(places).collect();
    let needed = fraction.rfind('0').map_or(0, |at| at + 1);
    while decimals.len() > needed && decimals.last() == Some(&'0') {
        decimals.pop();
    }
    if !decimals.is_empty() {
        text.push('.');
        text.extend(decimals);
    }
    if negative {
        text.insert(0, '-');
    }
    Some(text)
}
