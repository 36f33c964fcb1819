//! How far a run is, for the terminal, for `/status` and for the metrics.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use causeway_observability::names::reconcile as names;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One table's progress. The bar is drawn on a terminal only.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    table: String,
    read: AtomicU64,
    rows: u64,
    began: Instant,
    /// When the next line is due, in seconds after the beginning, where there are no bars.
    next_line: Option<AtomicU64>,
}

/// Seconds between two lines of a log.
const LINE_EVERY: u64 = 30;

impl Progress {
    /// For a table of about `rows` rows.
    #[must_use]
    pub fn new(bars: &indicatif::MultiProgress, table: String, rows: Option<u64>) -> Self {
        // Both sides count, so that the bar moves while either reads.
        let bar = bars.add(ProgressBar::new(rows.unwrap_or(0).saturating_mul(2)));
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            let template = "{prefix:30} {bar:30} {pos:>10}/{len:<10} {per_sec:>14} {eta:>5} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_prefix(table.clone());
        Self {
            bar,
            table,
            read: AtomicU64::new(0),
            rows: rows.unwrap_or(0).saturating_mul(2),
            began: Instant::now(),
            next_line: (!terminal).then(|| AtomicU64::new(LINE_EVERY)),
        }
    }

    /// Rows were read from one side, `source` or `target`.
    pub fn rows(&self, side: &'static str, count: u64) {
        let read = self.read.fetch_add(count, Ordering::Relaxed) + count;
        self.bar.set_position(read);
        self.line(read);
        names::ROWS_COMPARED.add(count, &[("table", &self.table), ("side", side)]);
    }

    /// Without a terminal, a line now and then.
    fn line(&self, read: u64) {
        let Some(next) = &self.next_line else { return };
        let seconds = self.began.elapsed().as_secs();
        let due = next.load(Ordering::Relaxed);
        if seconds >= due
            && next
                .compare_exchange(due, seconds + LINE_EVERY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let rate = read / seconds.max(1);
            let left = self.rows.saturating_sub(read) / rate.max(1);
            tracing::info!(
                table = self.table,
                rows = read,
                rows_per_second = rate,
                eta_seconds = left,
                "comparing"
            );
        }
    }

    /// What is being done.
    pub fn doing(&self, what: &'static str) {
        self.bar.set_message(what);
        tracing::debug!(table = self.table, doing = what, "comparing");
    }

    /// The table is done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
