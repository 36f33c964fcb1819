//! Reading little-endian fields of a message.

use super::ProtocolError;

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| {
            ProtocolError::malformed(format!(
                "a message that ends {} bytes too early",
                n - self.0.len()
            ))
        })?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        Ok(self.array::<1>()?[0])
    }
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_le_bytes)
    }
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_le_bytes)
    }
    /// That many UTF-16 units as text; lone surrogates are replaced (names only).
    pub fn utf16(&mut self, units: usize) -> Result<String, ProtocolError> {
        Ok(text(self.take(units * 2)?))
    }
    /// A text with a one-byte length.
    pub fn b_varchar(&mut self) -> Result<String, ProtocolError> {
        let n = self.u8()?;
        self.utf16(n.into())
    }
    /// A text with a two-byte length.
    pub fn us_varchar(&mut self) -> Result<String, ProtocolError> {
        let n = self.u16()?;
        self.utf16(n.into())
    }
}

/// UTF-16 units of little-endian bytes.
pub fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect()
}

/// UTF-16 bytes as text; lone surrogates are replaced.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf16_lossy(&units(bytes))
}
