//! Signals become one token: a loop that watches it stops where it is safe to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that was told twice to stop: 128 + SIGINT, as a shell says it.
const IMPATIENT: i32 = 130;

/// A token that the first SIGTERM or SIGINT cancels. The second signal ends the process at once,
/// with exit code 130: whoever sends it does not want to wait any longer.
///
/// # Errors
///
/// When the operating system does not let us handle the signals.
pub fn token() -> io::Result<CancellationToken> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    // Not on a JoinSet: nobody waits for it, it lives as long as the process.
    drop(tokio::runtime::Handle::current().spawn(watch(terminate, interrupt, stop.clone())));
    Ok(stop)
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    stop.cancel();
    next(&mut terminate, &mut interrupt).await;
    std::process::exit(IMPATIENT);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_cancels_the_token() {
        let stop = token().unwrap();
        assert!(!stop.is_cancelled());
        let status = std::process::Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        tokio::time::timeout(std::time::Duration::from_secs(10), stop.cancelled()).await.unwrap();
    }
}
