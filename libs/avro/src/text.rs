//! The texts inside a record: GUIDs, LSNs, ISO 8601 dates and times; written without allocation,
//! read without a calendar library.

use causeway_change::{
    Lsn,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, civil_from_days, days_from_civil},
};

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

fn put_hex(byte: u8, digits: &[u8; 16], out: &mut Vec<u8>) {
    let digit = |n: u8| digits.get(usize::from(n)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

/// Appends a GUID in upper case with its four hyphens.
pub(crate) fn put_guid(guid: &[u8; 16], out: &mut Vec<u8>) {
    for (i, byte) in guid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        put_hex(*byte, UPPER, out);
    }
}

/// Reads a GUID in either case, with hyphens, with or without braces.
pub(crate) fn guid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    grouped(text.as_bytes(), b'-', &[4, 6, 8, 10])
}

/// Reads an LSN as [`put_lsn`] writes it.
pub(crate) fn lsn(text: &str) -> Option<Lsn> {
    grouped(text.as_bytes(), b':', &[4, 8]).map(Lsn::from_bytes)
}

/// Reads hexadecimal bytes with a separator in front of some of them.
#[inline]
fn grouped<const N: usize>(mut text: &[u8], separator: u8, before: &[usize]) -> Option<[u8; N]> {
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        if before.contains(&i) {
            let (first, rest) = text.split_first()?;
            if *first != separator {
                return None;
            }
            text = rest;
        }
        let ([high, low], rest) = text.split_first_chunk::<2>()?;
        *byte = hex(*high)? << 4 | hex(*low)?;
        text = rest;
    }
    text.is_empty().then_some(out)
}

#[inline]
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends an LSN as Debezium writes it: `00000027:00000ac0:0002`.
pub(crate) fn put_lsn(lsn: &Lsn, out: &mut Vec<u8>) {
    for (i, byte) in lsn.as_bytes().iter().enumerate() {
        if matches!(i, 4 | 8) {
            out.push(b':');
        }
        put_hex(*byte, LOWER, out);
    }
}

/// Appends a number with at least `width` digits.
fn put_number(n: i64, width: u32, out: &mut Vec<u8>) {
    let mut place = 10i64.pow(width.saturating_sub(1));
    while n / place >= 10 {
        place *= 10;
    }
    while place > 0 {
        // A digit is below ten.
        out.push(b'0' + u8::try_from(n / place % 10).unwrap_or(0));
        place /= 10;
    }
}

/// Appends a moment with its own offset, as Java's `ISO_OFFSET_DATE_TIME` prints it: as many digits
/// of a second as needed, `Z` for no offset.
pub(crate) fn put_zoned(utc: i64, offset_minutes: i16, out: &mut Vec<u8>) {
    let local = utc.saturating_add(i64::from(offset_minutes) * 60 * TICKS_PER_SECOND);
    let days = local.div_euclid(TICKS_PER_DAY);
    let ticks = local.rem_euclid(TICKS_PER_DAY);
    let (year, month, day) =
        civil_from_days(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }));
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    put_number(i64::from(year).abs(), 4, out);
    out.push(b'-');
    put_number(i64::from(month), 2, out);
    out.push(b'-');
    put_number(i64::from(day), 2, out);
    out.push(b'T');
    let seconds = ticks / TICKS_PER_SECOND;
    put_number(seconds / 3600, 2, out);
    out.push(b':');
    put_number(seconds / 60 % 60, 2, out);
    out.push(b':');
    put_number(seconds % 60, 2, out);
    let mut fraction = ticks % TICKS_PER_SECOND;
    if fraction > 0 {
        let mut digits = 7;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        out.push(b'.');
        put_number(fraction, digits, out);
    }
    if offset_minutes == 0 {
        out.push(b'Z');
    } else {
        out.push(if offset_minutes < 0 { b'-' } else { b'+' });
        let minutes = i64::from(offset_minutes).abs();
        put_number(minutes / 60, 2, out);
        out.push(b':');
        put_number(minutes % 60, 2, out);
    }
}

/// What is left of a text while it is read from the left.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn eat(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == wanted).then(|| self.0 = rest)
    }

    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<(i64, usize)> {
        let mut value = 0i64;
        let mut count = 0;
        while let Some((digit @ b'0'..=b'9', rest)) = self.0.split_first() {
            if count == most {
                return None;
            }
            value = value * 10 + i64::from(digit - b'0');
            count += 1;
            self.0 = rest;
        }
        (count >= least).then_some((value, count))
    }

    /// Days since 1970-01-01.
    fn date(&mut self) -> Option<i32> {
        let negative = match self.peek()? {
            b'-' => self.eat(b'-').map(|()| true)?,
            b'+' => self.eat(b'+').map(|()| false)?,
            _ => false,
        };
        let (year, _) = self.digits(4, 6)?;
        self.eat(b'-')?;
        let (month, _) = self.digits(2, 2)?;
        self.eat(b'-')?;
        let (day, _) = self.digits(2, 2)?;
        let year = i32::try_from(if negative { -year } else { year }).ok()?;
        let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let days = days_from_civil(year, month, day);
        // The 31st of April is no day.
        (civil_from_days(days) == (year, month, day)).then_some(days)
    }

    /// Ticks since midnight; digits finer than a tick are cut off.
    fn time(&mut self) -> Option<i64> {
        let (hour, _) = self.digits(2, 2)?;
        self.eat(b':')?;
        let (minute, _) = self.digits(2, 2)?;
        let mut second = 0;
        let mut fraction = 0;
        if self.peek() == Some(b':') {
            self.eat(b':')?;
            second = self.digits(2, 2)?.0;
            if self.peek() == Some(b'.') {
                self.eat(b'.')?;
                let (digits, count) = self.digits(1, 9)?;
                fraction = match count {
                    8 => digits / 10,
                    9 => digits / 100,
                    _ => digits * 10i64.pow(7 - u32::try_from(count).ok()?),
                };
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some((hour * 3600 + minute * 60 + second) * TICKS_PER_SECOND + fraction)
    }

    /// Minutes east of UTC; no offset at all counts as UTC when it may be left out.
    fn offset(&mut self, required: bool) -> Option<i16> {
        let east = match self.peek() {
            None => return (!required).then_some(0),
            Some(b'Z') => return self.eat(b'Z').map(|()| 0),
            Some(b'+') => true,
            Some(b'-') => false,
            Some(_) => return None,
        };
        self.eat(if east { b'+' } else { b'-' })?;
        let (hours, _) = self.digits(2, 2)?;
        self.eat(b':')?;
        let (minutes, _) = self.digits(2, 2)?;
        if self.peek() == Some(b':') {
            self.eat(b':')?;
            // Seconds in an offset exist in old zones only.
            if self.digits(2, 2)?.0 != 0 {
                return None;
            }
        }
        if hours > 18 || minutes > 59 {
            return None;
        }
        let minutes = i16::try_from(hours * 60 + minutes).ok()?;
        Some(if east { minutes } else { -minutes })
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Reads `2018-07-13T12:23:45.456+11:00` as ticks UTC and minutes of offset.
pub(crate) fn zoned(text: &str) -> Option<(i64, i16)> {
    let mut scan = Scan(text.as_bytes());
    let local = date_time(&mut scan)?;
    let offset = scan.offset(true)?;
    scan.end()?;
    Some((local.checked_sub(i64::from(offset) * 60 * TICKS_PER_SECOND)?, offset))
}

/// Reads `2018-07-13T13:23:45.78Z` as ticks of a wall clock: the zone says nothing.
pub(crate) fn iso_timestamp(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let local = date_time(&mut scan)?;
    scan.offset(false)?;
    scan.end()?;
    Some(local)
}

/// Reads `2018-07-13Z` as days.
pub(crate) fn iso_date(text: &str) -> Option<i32> {
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    scan.offset(false)?;
    scan.end()?;
    Some(days)
}

/// Reads `10:23:45.68Z` as ticks since midnight.
pub(crate) fn iso_time(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let ticks = scan.time()?;
    scan.offset(false)?;
    scan.end()?;
    Some(ticks)
}

fn date_time(scan: &mut Scan<'_>) -> Option<i64> {
    let days = scan.date()?;
    scan.eat(b'T')?;
    let ticks = scan.time()?;
    i64::from(days).checked_mul(TICKS_PER_DAY)?.checked_add(ticks)
}

/// Appends the digits of a decimal, `scale` of them after the point: at most 41 bytes.
pub(crate) fn put_decimal(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    let width = usize::from(scale) + 1;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs());
    if unscaled < 0 {
        out.push(b'-');
    }
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

/// The number of 64 bits that is nearest to a decimal.
pub(crate) fn nearest_double(unscaled: i128, scale: u8) -> f64 {
    let mut text = Vec::with_capacity(41);
    put_decimal(unscaled, scale, &mut text);
    // Reading a text rounds once, a division of two rounded numbers would round twice.
    std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Reads a decimal number as an unscaled value of `scale`: what Debezium writes with
/// `decimal.handling.mode=string` and what a double prints as. Digits that the scale has no room
/// for must be zeros.
pub(crate) fn decimal(text: &str, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    // The power of ten of the last digit read.
    let mut power = exponent;
    let mut value = 0i128;
    let mut any = false;
    let mut after_point = false;
    for &byte in digits {
        match byte {
            b'.' if !after_point => after_point = true,
            b'0'..=b'9' => {
                any = true;
                value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                power = power.checked_sub(i32::from(after_point))?;
            }
            _ => return None,
        }
    }
    if !any {
        return None;
    }
    let mut shift = power.checked_add(i32::from(scale))?;
    while shift > 0 && value != 0 {
        value = value.checked_mul(10)?;
        shift -= 1;
    }
    while shift < 0 && value != 0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
        shift += 1;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned_text(utc: i64, offset: i16) -> String {
        let mut out = Vec::new();
        put_zoned(utc, offset, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_moment_is_written_with_its_offset_and_read_back() {
        // 2018-07-13T01:23:45.456Z
        let utc = (i64::from(days_from_civil(2018, 7, 13)) * 86_400 + 5_025) * TICKS_PER_SECOND
            + 4_560_000;
        for (ticks, offset, text) in [
            (utc, 660, "2018-07-13T12:23:45.456+11:00"),
            (utc, 0, "2018-07-13T01:23:45.456Z"),
            (utc, -210, "2018-07-12T21:53:45.456-03:30"),
            (utc + 1, 0, "2018-07-13T01:23:45.4560001Z"),
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 0, "1969-12-31T23:59:59.9999999Z"),
            (
                i64::from(days_from_civil(9999, 12, 31)) * TICKS_PER_DAY,
                840,
                "9999-12-31T14:00:00+14:00",
            ),
            (i64::from(days_from_civil(1, 1, 1)) * TICKS_PER_DAY, 0, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(zoned_text(ticks, offset), text);
            assert_eq!(zoned(text), Some((ticks, offset)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2018-07-13",
            "2018-07-13T12:23:45",
            "2018-02-30T00:00:00Z",
            "2018-07-13T24:00:00Z",
            "2018-07-13T12:23:45Z ",
            "2018-07-13 12:23:45Z",
            "2018-07-13T12:23:45.Z",
            "infinity",
            "99999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(zoned(text), None, "{text:?} was accepted");
        }
    }

    #[test]
    fn the_isostring_mode_of_debezium_is_read() {
        assert_eq!(iso_date("2018-07-13Z"), Some(17_725));
        assert_eq!(iso_time("10:23:45.68Z"), Some(374_256_800_000));
        assert_eq!(iso_timestamp("2018-07-13T13:23:45.78Z"), Some(15_314_882_257_800_000));
    }

    #[test]
    fn a_guid_is_upper_case_and_comes_back() {
        let text = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        let bytes = guid(text).unwrap();
        let mut out = Vec::new();
        put_guid(&bytes, &mut out);
        assert_eq!(out, text.as_bytes());
        assert_eq!(guid(&format!("{{{}}}", text.to_lowercase())), Some(bytes));
        for text in ["", "6F9619FF8B86D011B42D00C04FC964FF", "6F9619FF-8B86-D011-B42D-00C04FC964F"]
        {
            assert_eq!(guid(text), None, "{text:?} was accepted");
        }
    }

    #[test]
    fn an_lsn_is_written_as_it_prints() {
        let lsn: Lsn = "00000027:00000ac0:0002".parse().unwrap();
        let mut out = Vec::new();
        put_lsn(&lsn, &mut out);
        assert_eq!(out, lsn.to_string().into_bytes());
        assert_eq!(super::lsn(&lsn.to_string()), Some(lsn));
        for text in ["", "27:758:3", "00000027:00000ac0:0002:", "0000002g:00000ac0:0002"] {
            assert_eq!(super::lsn(text), None, "{text:?} was accepted");
        }
    }

    #[test]
    fn a_decimal_text_is_exact_or_refused() {
        for (text, scale, value) in [
            ("123.45", 2, Some(12_345)),
            ("-0.5", 4, Some(-5_000)),
            ("1E+3", 0, Some(1_000)),
            ("0E-10", 2, Some(0)),
            ("1.50", 1, Some(15)),
            ("1.55", 1, None),
            ("", 2, None),
            ("1.2.3", 2, None),
            ("NaN", 2, None),
            ("99999999999999999999999999999999999999", 0, Some(10i128.pow(38) - 1)),
            ("1E+2000000000", 0, None),
        ] {
            assert_eq!(decimal(text, scale), value, "{text:?}");
        }
    }
}
