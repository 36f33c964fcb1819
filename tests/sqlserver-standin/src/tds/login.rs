//! LOGIN7 (2.2.6.4).

use super::ProtocolError;
use super::cursor::text;

/// What the client says about itself.
#[derive(Clone, Debug, Default)]
pub struct Login7 {
    pub tds_version: u32,
    pub packet_size: u32,
    pub host: String,
    pub user: String,
    pub password: String,
    pub app: String,
    pub library: String,
    pub database: String,
    pub read_only_intent: bool,
    pub integrated: bool,
}

impl Login7 {
    pub fn parse(b: &[u8]) -> Result<Self, ProtocolError> {
        if b.len() < 94 {
            return Err(ProtocolError::malformed("a LOGIN7 that is too short"));
        }
        let u32_at = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        let field = |i: usize| -> Result<&[u8], ProtocolError> {
            let offset = usize::from(u16::from_le_bytes([b[i], b[i + 1]]));
            let units = usize::from(u16::from_le_bytes([b[i + 2], b[i + 3]]));
            if units == 0 {
                return Ok(&[]);
            }
            b.get(offset..offset + units * 2)
                .ok_or_else(|| ProtocolError::malformed("a LOGIN7 field outside the message"))
        };
        // the password is hidden by swapping half bytes and XOR
        let password: Vec<u8> = field(44)?.iter().map(|x| (x ^ 0xA5).rotate_left(4)).collect();
        Ok(Self {
            tds_version: u32_at(4),
            packet_size: u32_at(8),
            host: text(field(36)?),
            user: text(field(40)?),
            password: text(&password),
            app: text(field(48)?),
            library: text(field(60)?),
            database: text(field(68)?),
            read_only_intent: b[26] & 0x20 != 0,
            integrated: b[25] & 0x80 != 0,
        })
    }
}
