//! Try again while an error says that it may pass; stop at once when the process stops.

use std::error::Error;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Waits that double from `first` to `max`, each shortened by chance to between half and all of
/// itself, so that many clients of a server that comes back do not arrive together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first.min(max) }
    }

    /// How long to wait before the next attempt.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and a for loop over it would"
    )]
    pub fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        full / 2 + full.mul_f64(chance() / 2.0)
    }

    /// An attempt succeeded: the next failure waits the shortest time again.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.max);
    }
}

impl Default for Backoff {
    /// From a tenth of a second to half a minute: what a restarting server needs.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// A number in 0..1. The keys of `RandomState` differ on each call, which is all that jitter needs.
fn chance() -> f64 {
    let bits = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// Calls `attempt` until it succeeds or fails for good. `None`: `stop` came first.
///
/// An attempt in progress is dropped when `stop` comes, so it must be cancel safe: a connect or a
/// read is, a commit is not.
///
/// # Errors
///
/// The first error that `is_transient` denies.
pub async fn until_stopped<T, E, F, Fut>(
    stop: &CancellationToken,
    mut backoff: Backoff,
    is_transient: impl Fn(&E) -> bool,
    what: &str,
    mut attempt: F,
) -> Result<Option<T>, E>
where
    E: Error + 'static,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut failures = 0_u32;
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            outcome = attempt() => outcome,
        };
        let error = match outcome {
            Ok(value) => {
                if failures > 0 {
                    tracing::info!(what, failures, "succeeded again");
                }
                return Ok(Some(value));
            }
            Err(error) => error,
        };
        if !is_transient(&error) {
            return Err(error);
        }
        failures = failures.saturating_add(1);
        let wait = backoff.next();
        tracing::warn!(
            what,
            failures,
            retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            error = crate::exit::chain_line(&error),
            "failed, will try again"
        );
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Trouble {
        #[error("busy")]
        Busy,
        #[error("refused")]
        Refused,
    }

    fn passes(error: &Trouble) -> bool {
        *error == Trouble::Busy
    }

    #[test]
    fn waits_double_up_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next();
            let full = Duration::from_millis(full);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} for {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_passes_is_tried_again() {
        let tries = Cell::new(0);
        let found = until_stopped(
            &CancellationToken::new(),
            Backoff::default(),
            passes,
            "count",
            || async {
                tries.set(tries.get() + 1);
                if tries.get() < 4 { Err(Trouble::Busy) } else { Ok(tries.get()) }
            },
        )
        .await;
        assert_eq!(found, Ok(Some(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_stays_is_returned_at_once() {
        let found: Result<Option<()>, _> = until_stopped(
            &CancellationToken::new(),
            Backoff::default(),
            passes,
            "count",
            || async { Err(Trouble::Refused) },
        )
        .await;
        assert_eq!(found, Err(Trouble::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_a_wait_and_an_attempt() {
        let stop = CancellationToken::new();
        let backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
        let waiting =
            until_stopped(&stop, backoff, passes, "wait", || async { Err::<(), _>(Trouble::Busy) });
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            stop.cancel();
        };
        let (found, ()) = tokio::join!(waiting, stopping);
        assert_eq!(found, Ok(None));
        let hanging = until_stopped(&stop, Backoff::default(), passes, "hang", || async {
            std::future::pending::<Result<(), Trouble>>().await
        });
        assert_eq!(hanging.await, Ok(None));
    }
}
