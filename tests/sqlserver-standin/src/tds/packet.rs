//! Packets: an 8-byte header and a part of a message (2.2.3).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{ProtocolError, kind};

const HEADER: usize = 8;
/// Requests above this size are refused; the largest text a test sends is far smaller.
const LARGEST_REQUEST: usize = 256 << 20;
/// Status bits of a request's first packet that ask for a reset of the session.
pub const RESET: u8 = 0x08;
pub const RESET_KEEP_TRANSACTION: u8 = 0x10;

/// A whole request.
#[derive(Debug)]
pub struct Message {
    pub kind: u8,
    /// Status of the first packet.
    pub status: u8,
    pub body: Vec<u8>,
}

/// Reads packets up to the end of a message; `None` when the client has closed the connection.
pub async fn read_message<R: AsyncRead + Unpin>(
    r: &mut R,
) -> Result<Option<Message>, ProtocolError> {
    let mut message = Message { kind: 0, status: 0, body: Vec::new() };
    let mut first = true;
    loop {
        let mut header = [0u8; HEADER];
        match r.read_exact(&mut header).await {
            Ok(_) => {}
            Err(e) if first && e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(ProtocolError::io("reading a packet header")(e)),
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < HEADER {
            return Err(ProtocolError::malformed(format!("a packet of length {length}")));
        }
        if first {
            message.kind = header[0];
            message.status = header[1];
            first = false;
        } else if message.kind != header[0] {
            return Err(ProtocolError::malformed(format!(
                "a packet of type {} inside a message of type {}",
                header[0], message.kind
            )));
        }
        let at = message.body.len();
        if at + length > LARGEST_REQUEST {
            return Err(ProtocolError::Unsupported(format!(
                "a request above {LARGEST_REQUEST} bytes"
            )));
        }
        message.body.resize(at + length - HEADER, 0);
        r.read_exact(&mut message.body[at..])
            .await
            .map_err(ProtocolError::io("reading a packet"))?;
        if header[1] & 1 == 1 {
            return Ok(Some(message));
        }
    }
}

/// Cuts a reply into packets. What it holds back is less than a packet.
#[derive(Debug)]
pub struct PacketWriter<W> {
    inner: W,
    packet_size: usize,
    id: u8,
    /// Bytes of the next packet.
    rest: Vec<u8>,
    /// Packets ready to be written in one call.
    ready: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> PacketWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, packet_size: 4096, id: 0, rest: Vec::new(), ready: Vec::new() }
    }
    pub fn set_packet_size(&mut self, bytes: usize) {
        self.packet_size = bytes;
    }
    fn packet(&mut self, body: &[u8], last: bool) {
        self.id = self.id.wrapping_add(1);
        let [high, low] = ((body.len() + HEADER) as u16).to_be_bytes();
        self.ready.extend([kind::REPLY, u8::from(last), high, low, 0, 0, self.id, 0]);
        self.ready.extend_from_slice(body);
    }
    /// Sends what fills packets; the end of a message always has bytes left for its last packet.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), ProtocolError> {
        let room = self.packet_size - HEADER;
        if !self.rest.is_empty() {
            let n = data.len().min(room - self.rest.len());
            self.rest.extend_from_slice(&data[..n]);
            data = &data[n..];
            if self.rest.len() < room || data.is_empty() {
                return Ok(());
            }
            let full = std::mem::take(&mut self.rest);
            self.packet(&full, false);
            self.rest = full;
            self.rest.clear();
        }
        while data.len() > room {
            self.packet(&data[..room], false);
            data = &data[room..];
        }
        self.rest.extend_from_slice(data);
        self.send().await
    }
    async fn send(&mut self) -> Result<(), ProtocolError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let r =
            self.inner.write_all(&self.ready).await.map_err(ProtocolError::io("sending a reply"));
        self.ready.clear();
        r
    }
    /// Ends the message.
    pub async fn finish(&mut self) -> Result<(), ProtocolError> {
        let last = std::mem::take(&mut self.rest);
        self.packet(&last, true);
        self.rest = last;
        self.rest.clear();
        self.id = 0;
        self.send().await?;
        self.inner.flush().await.map_err(ProtocolError::io("sending a reply"))
    }
    /// Closes the sending side.
    pub async fn shutdown(&mut self) {
        // the client may have gone already
        drop(self.inner.shutdown().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_survive_every_cut() {
        for size in [0usize, 1, 503, 504, 505, 1008, 5000] {
            for step in [1usize, 100, 504, 505, 10_000] {
                let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                let mut out = Vec::new();
                let mut w = PacketWriter::new(&mut out);
                w.set_packet_size(512);
                for piece in data.chunks(step) {
                    w.write(piece).await.unwrap();
                }
                w.finish().await.unwrap();
                let mut r = &out[..];
                let m = read_message(&mut r).await.unwrap().unwrap();
                assert_eq!(m.body, data, "{size} bytes in steps of {step}");
                assert!(r.is_empty());
            }
        }
    }
}
