//! PRELOGIN: version and the agreement on encryption (2.2.6.5).

use super::ProtocolError;

/// Values of the ENCRYPTION option.
pub const OFF: u8 = 0;
pub const ON: u8 = 1;
pub const NOT_SUPPORTED: u8 = 2;
pub const REQUIRED: u8 = 3;

/// What the server does about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encryption {
    /// As the client wishes: whole connection, login only, or none.
    #[default]
    Offered,
    /// "Force encryption": a client that cannot is refused.
    Required,
    /// No certificate.
    Unsupported,
}

/// What both sides will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    Plain,
    LoginOnly,
    Full,
    /// The server requires what the client does not support; the answer is sent and the connection closed.
    Refused,
}

/// The ENCRYPTION option of the client; OFF when it sends none.
pub fn client_encryption(body: &[u8]) -> Result<u8, ProtocolError> {
    let mut at = 0;
    while let Some(option) = body.get(at..at + 5) {
        if option[0] == 0xFF {
            break;
        }
        let offset = usize::from(u16::from_be_bytes([option[1], option[2]]));
        if option[0] == 1 {
            // the high bits ask for client certificates, which the stand-in ignores
            return body
                .get(offset)
                .map(|b| b & 0x0F)
                .ok_or_else(|| ProtocolError::malformed("a PRELOGIN option outside the message"));
        }
        at += 5;
    }
    Ok(OFF)
}

/// The server's answer byte and what follows from it.
pub fn agree(server: Encryption, client: u8) -> (u8, Agreed) {
    match (server, client) {
        (Encryption::Unsupported, _) => (NOT_SUPPORTED, Agreed::Plain),
        (Encryption::Offered, NOT_SUPPORTED) => (NOT_SUPPORTED, Agreed::Plain),
        (Encryption::Offered, OFF) => (OFF, Agreed::LoginOnly),
        (Encryption::Required, OFF) => (REQUIRED, Agreed::Full),
        (Encryption::Required, NOT_SUPPORTED) => (REQUIRED, Agreed::Refused),
        (Encryption::Offered | Encryption::Required, _) => (ON, Agreed::Full),
    }
}

/// The server's PRELOGIN: version 16.0.4200, encryption, no instance check, no MARS.
pub fn answer(encryption: u8) -> Vec<u8> {
    let options: [(u8, &[u8]); 5] =
        [(0, &[16, 0, 0x10, 0x68, 0, 0]), (1, &[encryption]), (2, &[0]), (3, &[]), (4, &[0])];
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (token, data) in options {
        head.push(token);
        head.extend(((options.len() * 5 + 1 + tail.len()) as u16).to_be_bytes());
        head.extend((data.len() as u16).to_be_bytes());
        tail.extend_from_slice(data);
    }
    head.push(0xFF);
    head.extend(tail);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (server, client, answer, agreed) in [
            (Encryption::Offered, OFF, OFF, Agreed::LoginOnly),
            (Encryption::Offered, ON, ON, Agreed::Full),
            (Encryption::Offered, REQUIRED, ON, Agreed::Full),
            (Encryption::Offered, NOT_SUPPORTED, NOT_SUPPORTED, Agreed::Plain),
            (Encryption::Required, OFF, REQUIRED, Agreed::Full),
            (Encryption::Required, NOT_SUPPORTED, REQUIRED, Agreed::Refused),
            (Encryption::Unsupported, ON, NOT_SUPPORTED, Agreed::Plain),
        ] {
            assert_eq!(agree(server, client), (answer, agreed), "{server:?} {client}");
        }
        assert_eq!(client_encryption(&answer(ON)).unwrap(), ON);
    }
}
