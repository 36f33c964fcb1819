//! Days, ticks and the texts of dates. Days count from 0001-01-01, ticks are 100 ns since midnight.

use super::SqlError;

/// 1900-01-01, where datetime and smalldatetime begin to count.
pub(super) const DAY_1900: i32 = 693_595;
/// 1753-01-01, the first day of datetime.
pub(super) const DAY_1753: i32 = 639_905;
/// 9999-12-31.
pub(super) const DAY_LAST: i32 = 3_652_058;
pub(super) const TICKS_PER_SECOND: u64 = 10_000_000;
pub(super) const TICKS_PER_MINUTE: u64 = 60 * TICKS_PER_SECOND;
pub(super) const TICKS_PER_DAY: u64 = 86_400 * TICKS_PER_SECOND;

/// A calendar day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i32,
    pub month: u32,
    pub day: u32,
}

/// Number of days in a month.
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 0001-01-01 to the first of March based era arithmetic; valid for years 1 to 9999.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let m = month as i32;
    let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + day as i32 - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    // 0000-03-01 is day 0 of this count, 0001-01-01 is day 306
    era * 146_097 + doe - 306
}

/// The inverse of [`days_from_civil`].
pub fn civil_from_days(days: i32) -> Civil {
    let z = days + 306;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i32::from(month <= 2);
    Civil { year, month, day }
}

/// A checked day number.
pub fn datetime_from_civil(year: i32, month: u32, day: u32) -> Option<i32> {
    ((1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_in_month(year, month))
    .then(|| days_from_civil(year, month, day))
}

/// What a text says about a moment; parts that it does not mention are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Moment {
    pub day: Option<i32>,
    pub ticks: Option<u64>,
    /// minutes
    pub offset: Option<i16>,
}

/// Order of the parts of a date such as 01/02/2003.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    MonthDayYear,
    DayMonthYear,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
pub(super) const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAY_NAMES: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Reads a date, a time or both, in the forms SQL Server reads under `us_english`. Style 3, 4, 5, 103,
/// 104, 105 puts the day first.
pub fn parse_moment(text: &str, style: Option<i32>) -> Result<Moment, SqlError> {
    let order = match style {
        Some(3 | 4 | 5 | 13 | 103 | 104 | 105 | 113 | 130 | 131) => Parts::DayMonthYear,
        _ => Parts::MonthDayYear,
    };
    let text = text.trim_matches(|c: char| c == ' ' || c == '\t');
    if text.is_empty() {
        return Ok(Moment::default());
    }
    let tokens = tokens(text).ok_or_else(SqlError::date_syntax)?;
    Reader { tokens: &tokens, at: 0, order }.moment().ok_or_else(SqlError::date_syntax)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// value and number of digits
    Number(u64, usize, String),
    Word(String),
    Mark(char),
    Space,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let start = i;
        if c.is_ascii_digit() {
            while chars.get(i).is_some_and(char::is_ascii_digit) {
                i += 1;
            }
            let digits: String = chars[start..i].iter().collect();
            out.push(Token::Number(digits.parse().ok()?, i - start, digits));
        } else if c.is_ascii_alphabetic() {
            while chars.get(i).is_some_and(char::is_ascii_alphabetic) {
                i += 1;
            }
            out.push(Token::Word(chars[start..i].iter().collect::<String>().to_ascii_lowercase()));
        } else if c == ' ' {
            while chars.get(i) == Some(&' ') {
                i += 1;
            }
            out.push(Token::Space);
        } else if matches!(c, '-' | '/' | '.' | ':' | ',' | '+') {
            i += 1;
            out.push(Token::Mark(c));
        } else {
            return None;
        }
    }
    Some(out)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    order: Parts,
}

impl Reader<'_> {
    fn peek(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.at + n)
    }
    fn skip_space(&mut self) {
        while self.peek(0) == Some(&Token::Space) {
            self.at += 1;
        }
    }
    fn mark(&mut self, m: char) -> bool {
        let hit = self.peek(0) == Some(&Token::Mark(m));
        self.at += usize::from(hit);
        hit
    }
    fn number(&mut self) -> Option<(u64, usize)> {
        match self.peek(0) {
            Some(Token::Number(v, n, _)) => {
                let r = (*v, *n);
                self.at += 1;
                Some(r)
            }
            _ => None,
        }
    }

    fn moment(mut self) -> Option<Moment> {
        let mut m = Moment::default();
        if !self.looks_like_time() {
            m.day = Some(self.date()?);
            if let Some(Token::Word(w)) = self.peek(0)
                && w == "t"
            {
                self.at += 1;
            }
            self.skip_space();
        }
        if self.peek(0).is_some() && self.looks_like_time() {
            m.ticks = Some(self.time()?);
            self.skip_space();
        }
        if m.ticks.is_some() || m.day.is_some() {
            m.offset = self.offset()?;
            self.skip_space();
        }
        if self.peek(0).is_some() && m.day.is_none() {
            m.day = Some(self.date()?);
            self.skip_space();
        }
        if self.peek(0).is_some() { None } else { Some(m) }
    }

    fn looks_like_time(&self) -> bool {
        match (self.peek(0), self.peek(1)) {
            (Some(Token::Number(..)), Some(Token::Mark(':'))) => true,
            (Some(Token::Number(..)), Some(Token::Word(w))) => w == "am" || w == "pm",
            (Some(Token::Number(..)), Some(Token::Space)) => {
                matches!(self.peek(2), Some(Token::Word(w)) if w == "am" || w == "pm")
            }
            _ => false,
        }
    }

    fn date(&mut self) -> Option<i32> {
        if let Some(Token::Word(_)) = self.peek(0) {
            let month = self.month_name()?;
            self.skip_space();
            let (a, n) = self.number()?;
            self.skip_space();
            let comma = self.mark(',');
            self.skip_space();
            if n == 4 && !comma {
                return civil(a, month, 1);
            }
            let (y, digits) = self.number()?;
            return civil(year(y, digits)?, month, a);
        }
        let (a, n) = self.number()?;
        match self.peek(0) {
            Some(Token::Mark(m @ ('-' | '/' | '.'))) => {
                let m = *m;
                self.at += 1;
                if let Some(Token::Word(_)) = self.peek(0) {
                    let month = self.month_name()?;
                    self.mark(m).then_some(())?;
                    let (y, digits) = self.number()?;
                    return civil(year(y, digits)?, month, a);
                }
                let (b, _) = self.number()?;
                self.mark(m).then_some(())?;
                let (c, digits) = self.number()?;
                if n == 4 {
                    return civil(a, b, c);
                }
                let y = year(c, digits)?;
                match self.order {
                    Parts::MonthDayYear => civil(y, a, b),
                    Parts::DayMonthYear => civil(y, b, a),
                }
            }
            Some(Token::Space | Token::Word(_)) if n <= 2 => {
                self.skip_space();
                let month = self.month_name()?;
                self.skip_space();
                self.mark(',');
                self.skip_space();
                let (y, digits) = self.number()?;
                civil(year(y, digits)?, month, a)
            }
            _ => match n {
                8 => civil(a / 10_000, a / 100 % 100, a % 100),
                6 => civil(year(a / 10_000, 2)?, a / 100 % 100, a % 100),
                4 => civil(a, 1, 1),
                _ => None,
            },
        }
    }

    fn month_name(&mut self) -> Option<u64> {
        let Some(Token::Word(w)) = self.peek(0) else { return None };
        let i =
            MONTHS.iter().position(|m| m == w || (w.len() == 3 && m.starts_with(w.as_str())))?;
        self.at += 1;
        Some(i as u64 + 1)
    }

    fn time(&mut self) -> Option<u64> {
        let (mut hour, _) = self.number()?;
        let (mut minute, mut second, mut fraction) = (0, 0, 0);
        if self.mark(':') {
            minute = self.number()?.0;
            if self.mark(':') {
                second = self.number()?.0;
                if self.mark('.') {
                    let Some(Token::Number(v, n, _)) = self.peek(0) else { return None };
                    let (v, n) = (*v, *n);
                    self.at += 1;
                    fraction = if n > 7 {
                        let scale = 10u64.checked_pow(n as u32 - 7)?;
                        v.checked_add(scale / 2)? / scale
                    } else {
                        v * 10u64.pow(7 - n as u32)
                    };
                } else if self.mark(':') {
                    fraction =
                        self.number()?.0.checked_mul(10_000).filter(|f| *f < TICKS_PER_SECOND)?;
                }
            }
        }
        let before = self.at;
        self.skip_space();
        match self.peek(0) {
            Some(Token::Word(w)) if w == "am" || w == "pm" => {
                let pm = w == "pm";
                if hour > 12 && !pm {
                    return None;
                }
                if hour <= 12 {
                    hour = hour % 12 + if pm { 12 } else { 0 };
                }
                self.at += 1;
            }
            _ => self.at = before,
        }
        (hour < 24 && minute < 60 && second < 60).then_some(())?;
        Some((hour * 3600 + minute * 60 + second) * TICKS_PER_SECOND + fraction)
    }

    #[allow(clippy::option_option, reason = "outer None: syntax error")]
    fn offset(&mut self) -> Option<Option<i16>> {
        let before = self.at;
        self.skip_space();
        let sign = match self.peek(0) {
            Some(Token::Word(w)) if w == "z" => {
                self.at += 1;
                return Some(Some(0));
            }
            Some(Token::Mark('+')) => 1,
            Some(Token::Mark('-')) => -1,
            _ => {
                self.at = before;
                return Some(None);
            }
        };
        self.at += 1;
        let (h, _) = self.number()?;
        self.mark(':').then_some(())?;
        let (m, _) = self.number()?;
        (h <= 14 && m < 60 && h * 60 + m <= 840).then_some(())?;
        Some(Some(sign * (h * 60 + m) as i16))
    }
}

fn year(y: u64, digits: usize) -> Option<u64> {
    match digits {
        // "two digit year cutoff" is 2049 by default
        1 | 2 => Some(if y < 50 { 2000 + y } else { 1900 + y }),
        4 => Some(y),
        _ => None,
    }
}

fn civil(y: u64, m: u64, d: u64) -> Option<i32> {
    datetime_from_civil(i32::try_from(y).ok()?, u32::try_from(m).ok()?, u32::try_from(d).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip() {
        assert_eq!(days_from_civil(1, 1, 1), 0);
        assert_eq!(days_from_civil(1900, 1, 1), DAY_1900);
        assert_eq!(days_from_civil(1753, 1, 1), DAY_1753);
        assert_eq!(days_from_civil(1970, 1, 1), 719_162);
        assert_eq!(days_from_civil(9999, 12, 31), DAY_LAST);
        for day in (0..=DAY_LAST).step_by(97) {
            let c = civil_from_days(day);
            assert_eq!(days_from_civil(c.year, c.month, c.day), day);
        }
    }

    #[test]
    fn texts_of_moments() {
        let day = days_from_civil(2024, 2, 29);
        let at =
            |h: u64, m: u64, s: u64, f: u64| Some((h * 3600 + m * 60 + s) * TICKS_PER_SECOND + f);
        for (text, want) in [
            ("2024-02-29", (Some(day), None, None)),
            ("20240229", (Some(day), None, None)),
            ("2/29/2024", (Some(day), None, None)),
            ("Feb 29 2024  1:02PM", (Some(day), at(13, 2, 0, 0), None)),
            ("29 February 2024", (Some(day), None, None)),
            ("February 29, 2024 23:59:59", (Some(day), at(23, 59, 59, 0), None)),
            ("2024-02-29T10:11:12.1234567", (Some(day), at(10, 11, 12, 1_234_567), None)),
            ("2024-02-29 10:11:12.5 +01:30", (Some(day), at(10, 11, 12, 5_000_000), Some(90))),
            ("2024-02-29T10:11:12Z", (Some(day), at(10, 11, 12, 0), Some(0))),
            ("2024-02-29 10:11:12.123-08:00", (Some(day), at(10, 11, 12, 1_230_000), Some(-480))),
            ("10:11", (None, at(10, 11, 0, 0), None)),
            ("12:00 AM", (None, at(0, 0, 0, 0), None)),
            ("23:59:59.9999999", (None, at(23, 59, 59, 9_999_999), None)),
            ("", (None, None, None)),
        ] {
            let m = parse_moment(text, None).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((m.day, m.ticks, m.offset), want, "{text}");
        }
        for text in ["2023-02-29", "abc", "2024-13-01", "25:00", "2024-02-29 10:11:12 +15:00", "1"]
        {
            assert!(parse_moment(text, None).is_err(), "{text}");
        }
        assert_eq!(parse_moment("29/02/2024", Some(103)).unwrap().day, Some(day));
    }
}
