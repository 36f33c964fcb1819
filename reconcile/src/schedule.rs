//! Runs by the clock.

use std::{future::Future, sync::Arc};

use causeway_observability::names::reconcile as names;
use tokio::sync::{Mutex, mpsc};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// Why a schedule cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The text is no cron expression.
    #[error(
        "[reconcile] schedule {text:?} is no cron expression of six fields (second minute hour day month weekday), such as \"0 0 2 * * *\""
    )]
    Cron {
        /// The text.
        text: String,
        /// What is wrong with it.
        #[source]
        source: JobSchedulerError,
    },
    /// The scheduler failed.
    #[error("keep the schedule")]
    Scheduler(#[source] JobSchedulerError),
}

/// Calls `run` of a group at the times of `cron` (UTC) until it is stopped. A time that comes while `run` is at
/// work is left out.
///
/// # Errors
/// When `cron` is no cron expression, or the scheduler fails.
pub async fn every<F, Fut>(
    group: &str,
    cron: &str,
    stop: &CancellationToken,
    mut run: F,
) -> Result<(), ScheduleError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = ()>,
{
    // The queue holds one: a second time that comes meanwhile finds it full and is left out.
    let (due, mut times) = mpsc::channel::<()>(1);
    let busy = Arc::new(Mutex::new(()));
    let working = busy.clone();
    let name = group.to_owned();
    let job = Job::new(cron, move |_, _| {
        if working.try_lock().is_err() || due.try_send(()).is_err() {
            names::RUNS_LEFT_OUT.add(1, &[("group", &name), ("reason", "overlap")]);
            tracing::warn!(group = name, "a run is at work; the one that is due now is left out");
        }
    })
    .map_err(|source| ScheduleError::Cron { text: cron.to_owned(), source })?;
    let mut scheduler = JobScheduler::new().await.map_err(ScheduleError::Scheduler)?;
    scheduler.add(job).await.map_err(ScheduleError::Scheduler)?;
    scheduler.start().await.map_err(ScheduleError::Scheduler)?;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            time = times.recv() => {
                if time.is_none() {
                    break;
                }
                let _working = busy.lock().await;
                run().await;
            }
        }
    }
    scheduler.shutdown().await.map_err(ScheduleError::Scheduler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_second_until_stopped() {
        let stop = CancellationToken::new();
        let mut runs = 0;
        let end = stop.clone();
        every("all", "* * * * * *", &stop, || {
            runs += 1;
            if runs == 2 {
                end.cancel();
            }
            std::future::ready(())
        })
        .await
        .unwrap();
        assert_eq!(runs, 2);
    }

    #[tokio::test]
    async fn a_text_that_is_no_cron_expression_is_named() {
        let stop = CancellationToken::new();
        let error = every("all", "at night", &stop, || std::future::ready(())).await.unwrap_err();
        assert!(error.to_string().contains("at night"));
    }
}
