//! When a batch is closed. Pure: it reads no clock and does no I/O.

use std::time::{Duration, Instant};

use crate::Config;

/// What to do with the batch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Close it.
    Now,
    /// Close it at that time, if nothing else comes.
    At(Instant),
    /// It is empty.
    Idle,
}

/// Counts what is collected, and says when it is enough.
#[derive(Clone, Debug)]
pub struct Limits {
    rows_max: usize,
    bytes_max: usize,
    age_max: Duration,
    rows: usize,
    bytes: usize,
    oldest: Option<Instant>,
}

impl Limits {
    /// An empty batch.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            rows_max: config.batch_rows,
            bytes_max: config.batch_bytes,
            age_max: Duration::from_millis(config.batch_age_ms),
            rows: 0,
            bytes: 0,
            oldest: None,
        }
    }

    /// A record was added.
    pub fn add(&mut self, bytes: usize, now: Instant) {
        self.rows += 1;
        self.bytes += bytes;
        self.oldest.get_or_insert(now);
    }

    /// What to do at that time.
    #[must_use]
    pub fn close(&self, now: Instant) -> Close {
        match self.oldest {
            None => Close::Idle,
            Some(_) if self.rows >= self.rows_max || self.bytes >= self.bytes_max => Close::Now,
            Some(oldest) if now.duration_since(oldest) >= self.age_max => Close::Now,
            Some(oldest) => Close::At(oldest + self.age_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_bytes_and_age_close_a_batch() {
        let config =
            Config { batch_rows: 3, batch_bytes: 100, batch_age_ms: 50, ..Config::default() };
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut limits = Limits::new(&config);
        assert_eq!(limits.close(after(0)), Close::Idle);
        limits.add(10, after(0));
        assert_eq!(limits.close(after(20)), Close::At(after(50)));
        assert_eq!(limits.close(after(50)), Close::Now);
        limits.add(90, after(1));
        assert_eq!(limits.close(after(1)), Close::Now);
        let mut limits = Limits::new(&config);
        (0..3).for_each(|_| limits.add(1, after(0)));
        assert_eq!(limits.close(after(0)), Close::Now);
    }
}
