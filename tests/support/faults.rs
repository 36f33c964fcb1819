//! A TCP proxy that misbehaves on request: it stands between two parts and cuts, delays, refuses
//! or swallows what passes.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// How the proxy treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass as they come.
    Pass,
    /// Each piece of data waits this long, in both directions.
    Delay(Duration),
    /// Connections are accepted and stay open, but nothing passes: the peer is gone without a word.
    HalfOpen,
    /// Nobody listens: a new connection is refused at once. Those that are open are cut.
    Refuse,
}

/// A proxy in front of one server; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<u64>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy on a free port in front of `target` (`host:port`).
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("start a fault proxy")?;
        let address = listener.local_addr().context("start a fault proxy")?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let (cut, cuts) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, address, target.to_owned(), modes, cuts));
        Ok(Self { address, mode, cut, _task: task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it treats connections, the open ones too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Cuts all open connections (the peers see a reset); new ones are treated by the mode.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    target: String,
    mut modes: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if *modes.borrow_and_update() == Mode::Refuse {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = listen(address);
        }
        let Some(open) = &listener else {
            // Refusing, or the port could not be had again: wait for the next order.
            tokio::select! {
                changed = modes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            continue;
        };
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(carry(client, target.clone(), modes.clone(), cuts.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn listen(address: SocketAddr) -> Option<TcpListener> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(address).ok()?;
    socket.listen(128).ok()
}

async fn carry(
    client: TcpStream,
    target: String,
    modes: watch::Receiver<Mode>,
    mut cuts: watch::Receiver<u64>,
) {
    let Ok(server) = TcpStream::connect(&target).await else { return };
    for side in [&client, &server] {
        // A closed socket then sends a reset instead of a polite end: that is what a cut is.
        drop(side.set_zero_linger());
        drop(side.set_nodelay(true));
    }
    cuts.borrow_and_update();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = cuts.changed() => {}
        () = pipe(from_client, to_server, modes.clone()) => {}
        () = pipe(from_server, to_client, modes) => {}
    }
}

async fn pipe(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        loop {
            let mode = *modes.borrow_and_update();
            match mode {
                Mode::Pass => break,
                Mode::Delay(time) => {
                    tokio::time::sleep(time).await;
                    break;
                }
                Mode::HalfOpen => {
                    if modes.changed().await.is_err() {
                        return;
                    }
                }
                Mode::Refuse => return,
            }
        }
        let Some(data) = buffer.get(..count) else { return };
        if to.write_all(data).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                open.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
        (address, tasks)
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<[u8; 2]> {
        stream.write_all(b"hi").await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn it_passes_cuts_swallows_refuses_and_passes_again() {
        let (target, _server) = echo().await;
        let proxy = Proxy::start(&target.to_string()).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&ask(&mut stream).await.unwrap(), b"hi");

        proxy.cut();
        assert!(ask(&mut stream).await.is_err(), "the connection survived the cut");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&ask(&mut stream).await.unwrap(), b"hi");

        proxy.set(Mode::HalfOpen);
        let answer = tokio::time::timeout(Duration::from_millis(200), ask(&mut stream)).await;
        assert!(answer.is_err(), "something passed: {answer:?}");

        proxy.set(Mode::Refuse);
        crate::wait::until("refusal", Duration::from_secs(5), || async {
            Ok(TcpStream::connect(proxy.address()).await.is_err().then_some(()))
        })
        .await
        .unwrap();

        proxy.set(Mode::Delay(Duration::from_millis(50)));
        let start = std::time::Instant::now();
        crate::wait::until("the proxy to listen again", Duration::from_secs(5), || async {
            let mut stream = TcpStream::connect(proxy.address()).await?;
            Ok((&ask(&mut stream).await? == b"hi").then_some(()))
        })
        .await
        .unwrap();
        assert!(start.elapsed() >= Duration::from_millis(100), "both directions are delayed");
    }
}
