//! Watches SQL Server's capture job, and says when it is what changes wait for.

use std::time::Instant;

use causeway_change::Lsn;
use causeway_observability::names::source as names;
use causeway_sqlserver::capture::{self, CaptureJob};
use serde_json::{Value as Json, json};

use super::Pump;
use crate::{
    SourceError,
    advice::{Advice, Limit, Seen, advise},
};

/// What is known of the capture job.
#[derive(Debug)]
pub(super) struct Watch {
    /// What told the newest scan apart, and since when.
    mark: Option<((i64, i64), Instant)>,
    job: Option<CaptureJob>,
    /// The login may not see how the job is set: it is not asked again.
    job_hidden: bool,
    advice: Advice,
}

impl Default for Watch {
    fn default() -> Self {
        let advice = Advice::none(Limit::Unknown);
        Self { mark: None, job: None, job_hidden: false, advice }
    }
}

impl Watch {
    /// For `/status`.
    pub(super) fn json(&self) -> Json {
        let Advice { limit, text, call } = &self.advice;
        json!({
            "limit": limit.name(),
            "advice": (!text.is_empty()).then_some(text),
            "call": call,
        })
    }
}

impl Pump {
    /// Looks at the job, and speaks when what it is has changed.
    pub(super) async fn look_at_capture(&mut self, max: Option<Lsn>) -> Result<(), SourceError> {
        if !self.shared.sight.scans {
            return Ok(());
        }
        let sessions = capture::scan_sessions(&mut self.sql).await?;
        let Some(newest) = sessions.first() else { return Ok(()) };
        let milliseconds = u32::try_from(newest.latency_ms).unwrap_or(u32::MAX);
        names::CAPTURE_LAG_SECONDS.set(f64::from(milliseconds) / 1000.0, &[]);
        if !self.capture.job_hidden {
            self.capture.job = capture::capture_job(&mut self.sql).await?;
            self.capture.job_hidden = self.capture.job.is_none();
        }
        let log_end = self.shared.sight.log_end_lsn(&mut self.sql).await?;
        let mark = newest.mark();
        let since = match self.capture.mark {
            Some((before, since)) if before == mark => since,
            Some(_) | None => Instant::now(),
        };
        self.capture.mark = Some((mark, since));
        let advice = advise(&Seen {
            sessions,
            job: self.capture.job,
            // Whoever may not see the log goes by the scans alone.
            is_behind: log_end.is_none_or(|end| max.is_none_or(|max| max < end)),
            still: since.elapsed(),
        });
        for name in Limit::NAMES {
            let is_it = advice.limit.name() == Some(name);
            names::CAPTURE_LIMIT.set(f64::from(u8::from(is_it)), &[("kind", name)]);
        }
        let changed = advice.limit != self.capture.advice.limit;
        if changed && advice.limit.is_serious() {
            tracing::warn!(call = advice.call, "{}", advice.text);
        } else if changed && !advice.text.is_empty() {
            tracing::info!(call = advice.call, "{}", advice.text);
        } else if changed && self.capture.advice.limit.is_serious() {
            tracing::info!("the capture job keeps up again");
        }
        self.capture.advice = advice;
        Ok(())
    }
}
