//! TLS as TDS 7.4 has it: the handshake travels in PRELOGIN packets, the rest goes raw.
//!
//! TLS 1.2 only: with 1.3 the server sends tickets after its handshake, and whether those are wrapped is
//! not specified.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, version::TLS12};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};

use super::kind;

/// A self-signed certificate for localhost and the acceptor that uses it.
pub struct Identity {
    pub certificate_pem: String,
    pub acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("making a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
}

impl Identity {
    /// Makes a new certificate.
    pub fn generate() -> Result<Self, IdentityError> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|e| rustls::Error::General(e.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12])?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        Ok(Self { certificate_pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// A socket that wraps what goes through it in PRELOGIN packets until the handshake is over.
#[derive(Debug)]
pub struct Wrapped {
    socket: TcpStream,
    raw: Arc<AtomicBool>,
    /// Header bytes read so far.
    head: Vec<u8>,
    /// Bytes left of the packet being read.
    left: usize,
    out: Vec<u8>,
    sent: usize,
    framed: bool,
}

impl Wrapped {
    /// The socket itself, after a login that alone was encrypted.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.left == 0 && me.raw.load(Ordering::Acquire) {
            return Pin::new(&mut me.socket).poll_read(cx, buf);
        }
        while me.left == 0 {
            let mut header = [0u8; 8];
            let mut part = ReadBuf::new(&mut header[..8 - me.head.len()]);
            ready!(Pin::new(&mut me.socket).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            me.head.extend_from_slice(part.filled());
            if let [_, _, high, low, ..] = me.head[..]
                && me.head.len() == 8
            {
                me.left = usize::from(u16::from_be_bytes([high, low])).saturating_sub(8);
                me.head.clear();
            }
        }
        let mut small = [0u8; 4096];
        let n = me.left.min(buf.remaining()).min(small.len());
        let mut part = ReadBuf::new(&mut small[..n]);
        ready!(Pin::new(&mut me.socket).poll_read(cx, &mut part))?;
        me.left -= part.filled().len();
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.raw.load(Ordering::Acquire) && self.out.is_empty() {
            return Pin::new(&mut self.socket).poll_write(cx, data);
        }
        // collected until the flush: one flight of the handshake is one packet
        self.out.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !me.out.is_empty() {
            if !me.framed {
                let [high, low] = ((me.out.len() + 8) as u16).to_be_bytes();
                me.out.splice(0..0, [kind::PRELOGIN, 1, high, low, 0, 0, 0, 0]);
                me.framed = true;
            }
            while me.sent < me.out.len() {
                me.sent += ready!(Pin::new(&mut me.socket).poll_write(cx, &me.out[me.sent..]))?;
            }
            me.out.clear();
            me.sent = 0;
            me.framed = false;
        }
        Pin::new(&mut me.socket).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Runs the handshake.
pub async fn accept(socket: TcpStream, acceptor: &TlsAcceptor) -> io::Result<TlsStream<Wrapped>> {
    let raw = Arc::new(AtomicBool::new(false));
    let wrapped = Wrapped {
        socket,
        raw: Arc::clone(&raw),
        head: Vec::new(),
        left: 0,
        out: Vec::new(),
        sent: 0,
        framed: false,
    };
    let stream = acceptor.accept(wrapped).await?;
    raw.store(true, Ordering::Release);
    Ok(stream)
}
