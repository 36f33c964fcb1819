//! A line each second: rows in and out, lag, memory.

use std::time::{Duration, Instant};

use anyhow::Result;
use causeway_observability::names;
use causeway_tests::process::Proc;

/// Rows per second, lag and memory, as the metrics of the processes tell.
pub(crate) struct Progress {
    start: Instant,
    shown: Instant,
    asked: Instant,
    changed: u64,
    state: State,
    before: (u64, u64, u64),
}

/// What the two processes said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Rows that the source has put into Kafka.
    pub(crate) published: u64,
    /// Rows that the sink has committed to PostgreSQL.
    pub(crate) applied: u64,
    /// Records in Kafka that are not applied yet.
    pub(crate) waiting: u64,
}

/// How often the processes are asked.
const ASK: Duration = Duration::from_millis(250);

impl Progress {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let state = State::default();
        Self { start: now, shown: now, asked: now, changed: 0, state, before: (0, 0, 0) }
    }

    /// Counts rows that were changed in SQL Server.
    pub(crate) fn changed(&mut self, rows: u64) {
        self.changed += rows;
    }

    /// What the processes said last.
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    /// Asks the processes when it is time, and prints a line once a second.
    ///
    /// # Errors
    /// One of them has ended.
    pub(crate) async fn tick(&mut self, source: &mut Proc, sink: &mut Proc) -> Result<()> {
        if self.asked.elapsed() < ASK {
            return Ok(());
        }
        self.asked = Instant::now();
        source.must_run()?;
        sink.must_run()?;
        let mut lag = None;
        // A process that is starting has no page yet: then the last figures stay.
        if let Ok(page) = source.metrics().await {
            self.state.published = whole(page.sum(names::source::ROWS_PUBLISHED.name));
        }
        if let Ok(page) = sink.metrics().await {
            self.state.applied = whole(page.sum(names::sink::ROWS_APPLIED.name));
            self.state.waiting = whole(page.sum(names::sink::LAG_RECORDS.name));
            lag = page.max(names::sink::LAG_SECONDS.name);
        }
        let passed = self.shown.elapsed();
        if passed >= Duration::from_secs(1) {
            self.show(passed, lag, source.rss_mb()?, sink.rss_mb()?);
        }
        Ok(())
    }

    fn show(&mut self, passed: Duration, lag: Option<f64>, source_mb: f64, sink_mb: f64) {
        let now = (self.changed, self.state.published, self.state.applied);
        let per_second = |now: u64, before: u64| {
            grouped(u128_to_u64(
                u128::from(now.saturating_sub(before)) * 1000 / passed.as_millis().max(1),
            ))
        };
        let lag = lag.map_or_else(|| "-".to_owned(), |lag| format!("{lag:.2} s"));
        println!(
            "{:>4} s | changed {:>7}/s | to Kafka {:>8}/s | applied {:>8}/s ({} in all) | lag {lag:>7} | \
             source {source_mb:.0} MB, sink {sink_mb:.0} MB",
            self.start.elapsed().as_secs(),
            per_second(now.0, self.before.0),
            per_second(now.1, self.before.1),
            per_second(now.2, self.before.2),
            grouped(now.2),
        );
        (self.before, self.shown) = (now, Instant::now());
    }
}

fn u128_to_u64(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A counter's value: metrics are floating point, rows are whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
fn whole(value: Option<f64>) -> u64 {
    value.filter(|value| *value > 0.0).map_or(0, |value| value as u64)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
