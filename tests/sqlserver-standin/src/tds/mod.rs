//! The server side of TDS 7.4: packets, handshake, requests and the tokens of a reply. No SQL in here.
//!
//! Source of the formats: the open specification MS-TDS; the section is named where it matters.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "codec: widths are those of the wire, lengths are checked before they are narrowed, and a \
              wildcard arm is the common form on the wire"
)]

pub mod bulk;
pub mod cursor;
pub mod login;
pub mod packet;
pub mod prelogin;
pub mod reply;
pub mod request;
pub mod tls;
pub mod tokens;
pub mod types;
pub mod values;

/// `SQL_Latin1_General_CP1_CI_AS` as COLMETADATA carries it.
pub const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

/// Packet types (2.2.3.1.1).
pub mod kind {
    pub const BATCH: u8 = 1;
    pub const RPC: u8 = 3;
    pub const REPLY: u8 = 4;
    pub const ATTENTION: u8 = 6;
    pub const BULK: u8 = 7;
    pub const TRANSACTION: u8 = 14;
    pub const LOGIN7: u8 = 16;
    pub const PRELOGIN: u8 = 18;
}

/// Something a client sent does not follow the protocol, or is a part of it that the stand-in lacks.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("the connection failed while {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the client sent {0}")]
    Malformed(String),
    #[error("the stand-in does not support {0}")]
    Unsupported(String),
}

impl ProtocolError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}
