//! [`Lsn`]: a place in SQL Server's transaction log.

use std::{fmt, str::FromStr};

/// A log sequence number: ten bytes, of which four are the virtual log file, four the block and
/// two the slot.
///
/// The bytes are kept as SQL Server sends them (`binary(10)`): they are big-endian, so comparing
/// the bytes compares the places. The text form is Debezium's and that of
/// `sys.dm_cdc_log_scan_sessions`: `00000027:00000ac0:0002`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn([u8; 10]);

/// What is wrong with a text or a byte string that should be an [`Lsn`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LsnError {
    /// A `binary(10)` of another length.
    #[error("an LSN has 10 bytes, not {0}")]
    Length(usize),
    /// A text that is not three groups of 8, 8 and 4 hexadecimal digits.
    #[error("an LSN is written 00000027:00000ac0:0002 (8, 8 and 4 hexadecimal digits)")]
    Text,
}

impl Lsn {
    /// The place before every change; SQL Server's answer for "no such capture instance".
    pub const ZERO: Self = Self([0; 10]);
    /// The place after every change.
    pub const MAX: Self = Self([0xFF; 10]);

    /// From the ten bytes of a `binary(10)`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// The ten bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// True for [`Lsn::ZERO`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The next place: this one plus one as an 80-bit number, as `sys.fn_cdc_increment_lsn` counts.
    /// [`Lsn::MAX`] stays.
    #[must_use]
    pub fn next(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                return Self(bytes);
            }
        }
        Self::MAX
    }

    /// From the three numbers of the text form.
    #[must_use]
    pub fn from_parts(file: u32, block: u32, slot: u16) -> Self {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&file.to_be_bytes());
        bytes[4..8].copy_from_slice(&block.to_be_bytes());
        bytes[8..].copy_from_slice(&slot.to_be_bytes());
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Lsn {
    type Error = LsnError;

    fn try_from(bytes: &[u8]) -> Result<Self, LsnError> {
        bytes.try_into().map(Self).map_err(|_| LsnError::Length(bytes.len()))
    }
}

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(text: &str) -> Result<Self, LsnError> {
        let mut parts = text.split(':');
        let mut part = |digits: usize| {
            let part = parts.next().ok_or(LsnError::Text)?;
            // from_str_radix alone would accept a sign.
            if part.len() != digits || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(LsnError::Text);
            }
            u32::from_str_radix(part, 16).map_err(|_| LsnError::Text)
        };
        let (file, block, slot) = (part(8)?, part(8)?, part(4)?);
        if parts.next().is_some() {
            return Err(LsnError::Text);
        }
        Ok(Self::from_parts(file, block, u16::try_from(slot).map_err(|_| LsnError::Text)?))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if i == 4 || i == 8 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_two_forms_of_one_lsn() {
        let lsn: Lsn = "00000027:00000ac0:0002".parse().unwrap();
        assert_eq!(lsn.as_bytes(), &[0, 0, 0, 0x27, 0, 0, 0x0a, 0xc0, 0, 2]);
        assert_eq!(lsn.to_string(), "00000027:00000ac0:0002");
        assert_eq!(Lsn::try_from(&lsn.as_bytes()[..]).unwrap(), lsn);
    }

    #[test]
    fn what_is_not_an_lsn_is_refused() {
        for text in [
            "",
            "27:758:3",
            "0000002g:00000758:0003",
            "+0000027:00000758:0003",
            "00000027:00000758:0003:",
        ] {
            assert_eq!(text.parse::<Lsn>(), Err(LsnError::Text), "{text:?} was accepted");
        }
        assert_eq!(Lsn::try_from(&[0u8; 9][..]), Err(LsnError::Length(9)));
    }

    #[test]
    fn the_order_is_the_order_of_the_bytes() {
        let a = Lsn::from_parts(1, u32::MAX, u16::MAX);
        assert!(a < Lsn::from_parts(2, 0, 0));
        assert_eq!(a.next(), Lsn::from_parts(2, 0, 0));
        assert_eq!(Lsn::MAX.next(), Lsn::MAX);
    }
}
