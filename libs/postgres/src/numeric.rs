//! PostgreSQL's binary `numeric`: base 10,000 digits, a weight, a sign and a display scale.

/// Digits that an `i128` can need in base 10,000, with one more for the alignment at the point.
const GROUPS_MAX: usize = 12;

/// Appends the binary form of `unscaled * 10^-scale`.
pub fn encode(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    // The decimal point must fall between two groups of four digits.
    let pad = (4 - scale % 4) % 4;
    let mut groups = [0u16; GROUPS_MAX];
    let mut count = 0;
    let mut rest = unscaled.unsigned_abs();
    if pad > 0 && rest > 0 {
        let unit = 10u128.pow(4 - u32::from(pad));
        push(&mut groups, &mut count, (rest % unit) * 10u128.pow(u32::from(pad)));
        rest /= unit;
    }
    // Most numbers fit 64 bits, whose division is many times faster.
    let mut small = loop {
        if let Ok(small) = u64::try_from(rest) {
            break small;
        }
        push(&mut groups, &mut count, rest % 10_000);
        rest /= 10_000;
    };
    while small > 0 {
        push(&mut groups, &mut count, u128::from(small % 10_000));
        small /= 10_000;
    }
    let fraction = usize::from(scale.div_ceil(4));
    // Groups are least significant first; trailing zero groups are left out, as PostgreSQL does.
    let zeros = groups.iter().take(count).take_while(|group| **group == 0).count();
    let digits = groups.get(zeros..count).unwrap_or_default();
    let weight =
        i16::try_from(count).unwrap_or(i16::MAX) - i16::try_from(fraction).unwrap_or(0) - 1;
    let weight = if digits.is_empty() { 0 } else { weight };
    out.extend(u16::try_from(digits.len()).unwrap_or(0).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(if unscaled < 0 { 0x4000u16 } else { 0 }.to_be_bytes());
    out.extend(u16::from(scale).to_be_bytes());
    for group in digits.iter().rev() {
        out.extend(group.to_be_bytes());
    }
}

fn push(groups: &mut [u16; GROUPS_MAX], count: &mut usize, group: u128) {
    if let Some(slot) = groups.get_mut(*count) {
        *slot = u16::try_from(group).unwrap_or(0);
    }
    *count += 1;
}

/// The unscaled value at `scale` of a binary numeric; `None` when it is not a number (NaN, infinity),
/// has more decimals than `scale`, or does not fit 38 digits.
#[must_use]
pub fn decode(bytes: &[u8], scale: u8) -> Option<i128> {
    let mut words = bytes.chunks_exact(2).map(|pair| pair.try_into().map(u16::from_be_bytes));
    let mut word = || words.next().and_then(Result::ok);
    let count = word()?;
    let weight = word()?.cast_signed();
    let sign = word()?;
    let _display_scale = word()?;
    // Digit by digit at its own power of ten: with all groups put together first, 38 digits and the
    // zeros that fill the last group would not fit 128 bits.
    let mut value: i128 = 0;
    for place in 0..i32::from(count) {
        let digit = i128::from(word()?);
        let exponent = (i32::from(weight) - place) * 4 + i32::from(scale);
        let part = if digit == 0 {
            0
        } else if exponent >= 0 {
            digit.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?)?
        } else {
            let factor = 10i128.checked_pow(exponent.unsigned_abs())?;
            if digit % factor != 0 {
                return None;
            }
            digit / factor
        };
        value = value.checked_add(part)?;
    }
    match sign {
        0 => Some(value),
        0x4000 => Some(-value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let max = 10i128.pow(38) - 1;
        for scale in 0..=38 {
            for value in
                [0, 1, -1, 9_999, 10_000, 12_345_678, -99_999_999_999, max, -max, 100_000_000]
            {
                let mut bytes = Vec::new();
                encode(value, scale, &mut bytes);
                assert_eq!(
                    decode(&bytes, scale),
                    Some(value),
                    "{value} at scale {scale}: {bytes:?}"
                );
            }
        }
    }

    #[test]
    fn the_bytes_are_postgresqls() {
        let bytes = |value, scale| {
            let mut out = Vec::new();
            encode(value, scale, &mut out);
            out.chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect::<Vec<_>>()
        };
        // From `numeric_send`: count, weight, sign, display scale, groups.
        assert_eq!(bytes(0, 2), [0, 0, 0, 2]);
        assert_eq!(bytes(12_345, 2), [2, 0, 0, 2, 123, 4500]);
        assert_eq!(bytes(-1, 2), [1, 0xFFFF, 0x4000, 2, 100]);
        assert_eq!(bytes(100_000_000, 0), [1, 2, 0, 0, 1]);
    }

    #[test]
    fn nan_and_lost_decimals_are_no_numbers() {
        assert_eq!(decode(&[0, 0, 0, 0, 0xC0, 0, 0, 0], 2), None);
        let mut bytes = Vec::new();
        encode(12_345, 3, &mut bytes);
        assert_eq!(decode(&bytes, 2), None);
    }
}
