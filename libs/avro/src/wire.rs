//! Avro's binary encoding: variable-length integers, lengths, floats.

/// What is wrong with bytes, without the place, which the caller adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end inside a value.
    Truncated,
    /// No writer makes such bytes.
    Malformed(&'static str),
    /// Well formed, but outside the range of the type wanted.
    Range,
}

/// Appends an int or a long: zigzag, seven bits a byte, low bits first.
pub(crate) fn put_long(n: i64, out: &mut Vec<u8>) {
    let mut rest = ((n << 1) ^ (n >> 63)).cast_unsigned();
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}

/// Appends bytes or a string: its length, then itself.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // A slice is at most isize::MAX bytes.
    put_long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), out);
    out.extend_from_slice(bytes);
}

/// The big-endian bytes of a number and the index of the first that counts: the shortest two's
/// complement form, as Java's `BigInteger.toByteArray`.
pub(crate) fn minimal(n: i128) -> ([u8; 16], usize) {
    let same_as_sign = if n < 0 { n.leading_ones() } else { n.leading_zeros() };
    // One of the leading bits is the sign and stays.
    let from = usize::try_from(same_as_sign.saturating_sub(1) / 8).unwrap_or(0);
    (n.to_be_bytes(), from.min(15))
}

/// Appends a decimal's unscaled value as bytes.
pub(crate) fn put_decimal(n: i128, out: &mut Vec<u8>) {
    let (bytes, from) = minimal(n);
    put_bytes(bytes.get(from..).unwrap_or(&bytes), out);
}

/// Reads Avro from a slice; every read is checked against the end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    all: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, all: bytes.len() }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.all - self.rest.len()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::Malformed("a boolean is neither 0 nor 1")),
        }
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, Fault> {
        let mut value = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Fault::Malformed("an integer has more than 64 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            shift += 7;
            if shift > 63 {
                return Err(Fault::Malformed("an integer has more than ten bytes"));
            }
        }
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::Malformed("an int has more than 32 bits"))
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.long()?;
        let length =
            usize::try_from(length).map_err(|_| Fault::Malformed("a length is negative"))?;
        self.take(length)
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fault::Malformed("a string is not UTF-8"))
    }

    #[inline]
    pub(crate) fn float(&mut self) -> Result<f32, Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(f32::from_le_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// An unscaled decimal of at most sixteen bytes.
    #[inline]
    pub(crate) fn decimal(&mut self) -> Result<i128, Fault> {
        unscaled(self.bytes()?)
    }
}

/// Two's complement, big-endian, of 1 to 16 bytes; longer forms only if the bytes in front say
/// nothing.
pub(crate) fn unscaled(mut bytes: &[u8]) -> Result<i128, Fault> {
    let Some(&first) = bytes.first() else {
        return Err(Fault::Malformed("a decimal has no bytes"));
    };
    let fill = if first >= 0x80 { 0xFF } else { 0 };
    while bytes.len() > 16 {
        match bytes {
            [lead, next, ..] if *lead == fill && (*next >= 0x80) == (fill == 0xFF) => {
                bytes = bytes.split_first().map_or(bytes, |(_, rest)| rest);
            }
            _ => return Err(Fault::Range),
        }
    }
    let mut whole = [fill; 16];
    if let Some(tail) = whole.get_mut(16 - bytes.len()..) {
        tail.copy_from_slice(bytes);
    }
    Ok(i128::from_be_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_size_come_back() {
        for n in [0, -1, 1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN, 1 << 40] {
            let mut out = Vec::new();
            put_long(n, &mut out);
            assert_eq!(Reader::new(&out).long(), Ok(n), "{n}");
        }
        let mut out = Vec::new();
        put_long(-64, &mut out);
        put_long(64, &mut out);
        assert_eq!(out, [0x7F, 0x80, 0x01], "as in the Avro specification");
    }

    #[test]
    fn an_integer_that_never_ends_is_refused() {
        assert!(matches!(Reader::new(&[0xFF; 11]).long(), Err(Fault::Malformed(_))));
        assert_eq!(Reader::new(&[0xFF; 3]).long(), Err(Fault::Truncated));
        let mut just_too_much = [0xFF; 10];
        just_too_much[9] = 2;
        assert!(matches!(Reader::new(&just_too_much).long(), Err(Fault::Malformed(_))));
    }

    #[test]
    fn a_decimal_has_the_bytes_of_javas_big_integer() {
        for (n, bytes) in [
            (0i128, &[0u8][..]),
            (-1, &[0xFF]),
            (127, &[0x7F]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xFF, 0x7F]),
            (256, &[1, 0]),
        ] {
            let mut out = Vec::new();
            put_decimal(n, &mut out);
            assert_eq!(&out[1..], bytes, "{n}");
            assert_eq!(unscaled(bytes), Ok(n));
        }
        for n in [i128::MAX, i128::MIN, 10i128.pow(38) - 1, 1 - 10i128.pow(38)] {
            let mut out = Vec::new();
            put_decimal(n, &mut out);
            assert_eq!(Reader::new(&out).decimal(), Ok(n));
        }
        assert_eq!(unscaled(&[0; 20]), Ok(0));
        assert_eq!(
            unscaled(&[[0xFF; 4].as_slice(), &[0x80; 16]].concat()),
            Ok(i128::from_be_bytes([0x80; 16]))
        );
        assert_eq!(unscaled(&[0x7F; 17]), Err(Fault::Range));
        assert!(unscaled(&[]).is_err());
    }
}
