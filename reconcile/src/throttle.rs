//! A limit of rows a second for all readers together: the source has other work to do.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Lets so many rows a second through.
#[derive(Debug, Default)]
pub struct Throttle {
    rows_per_second: Option<u64>,
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Without a limit when none is given.
    #[must_use]
    pub fn new(rows_per_second: Option<u64>) -> Self {
        Self { rows_per_second, free_at: Mutex::new(None) }
    }

    /// Waits until so many rows more may be read.
    pub async fn take(&self, rows: u64) {
        let Some(rate) = self.rows_per_second.filter(|rate| *rate > 0) else { return };
        let until = {
            let mut free_at = self.free_at.lock().await;
            let until = due(*free_at, Instant::now(), rate, rows);
            *free_at = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

/// When so many rows more are paid for. Time that nobody used is not saved up: no burst after a pause.
fn due(free_at: Option<Instant>, now: Instant, rate: u64, rows: u64) -> Instant {
    let cost = Duration::from_micros(rows.saturating_mul(1_000_000) / rate.max(1));
    free_at.map_or(now, |at| at.max(now)) + cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_the_limit_and_save_nothing_up() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let first = due(None, start, 1000, 500);
        assert_eq!(first, after(500));
        assert_eq!(due(Some(first), start, 1000, 500), after(1000));
        assert_eq!(due(Some(first), after(60_000), 1000, 500), after(60_500));
    }

    #[tokio::test]
    async fn without_a_limit_nothing_waits() {
        Throttle::new(None).take(u64::MAX).await;
        Throttle::new(Some(0)).take(u64::MAX).await;
    }
}
