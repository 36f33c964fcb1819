//! `schedule`: groups of tables, each at its times.

use std::{sync::Arc, time::Duration};

use causeway_observability::names::reconcile as names;
use causeway_reconcile::{Config, config::Group, history, schedule, window};
use causeway_service::exit::{self, Code, UsageContext as _};
use chrono::{Timelike as _, Utc};
use tokio::task::JoinSet;

use super::app::{App, Outputs};

/// Runs until it is stopped.
pub(super) async fn schedule(app: Arc<App>) -> anyhow::Result<Code> {
    let mut groups = app.config.groups.clone();
    if let Some(cron) = app.config.schedule.clone() {
        groups.push(Group {
            name: "all".to_owned(),
            tables: app.config.tables.clone(),
            cron,
            level: None,
            incremental: None,
            jitter_seconds: 0,
            blackout: Vec::new(),
            max_duration_seconds: None,
        });
    }
    if groups.is_empty() {
        return Err(exit::usage(
            "[reconcile] schedule is missing; \"0 0 2 * * *\" runs each night at two",
        ));
    }
    if let Err(error) = remember(&app).await {
        // The metrics begin empty then; the runs do not need it.
        tracing::warn!(error = %exit::line(&error), "the history could not be read");
    }
    let mut running = JoinSet::new();
    for group in groups {
        let app = app.clone();
        running.spawn(async move {
            let stop = app.stop.clone();
            schedule::every(&group.name, &group.cron, &stop, || once(app.clone(), group.clone()))
                .await
        });
    }
    while let Some(ended) = running.join_next().await {
        ended?.usage("keep the schedule")?;
    }
    Ok(Code::Done)
}

/// One run of a group.
async fn once(app: Arc<App>, group: Group) {
    let now = Utc::now();
    let minute = now.hour() * 60 + now.minute();
    if group.blackout.iter().any(|window| window.contains(minute)) {
        names::RUNS_LEFT_OUT.add(1, &[("group", &group.name), ("reason", "blackout")]);
        tracing::info!(group = group.name, "a run is due in a blackout window and is left out");
        return;
    }
    let delay = window::jitter(&group.name, now.timestamp(), group.jitter_seconds);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(delay)) => {}
        () = app.stop.cancelled() => return,
    }
    let config = Arc::new(Config {
        tables: group.tables,
        level: group.level.unwrap_or(app.config.level),
        incremental: group.incremental.unwrap_or(app.config.incremental),
        max_duration_seconds: group.max_duration_seconds.or(app.config.max_duration_seconds),
        ..Config::clone(&app.config)
    });
    // The next time tries again: a database that is away tonight is back tomorrow.
    if let Err(error) = Box::pin(app.pass(config, &Outputs::default(), true)).await {
        tracing::error!(group = group.name, error = %exit::line(&error), "the run failed");
    }
}

/// Sets the time of the last verification of every table, so that a restart does not make it unknown.
async fn remember(app: &App) -> anyhow::Result<()> {
    if !app.config.history {
        return Ok(());
    }
    let client = app.pools.target().await?;
    history::setup(&client).await?;
    for state in history::tables(&client, &app.pipeline).await? {
        if let Some((_, seconds_ago)) = state.verified {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
            let at = Utc::now().timestamp() as f64 - seconds_ago;
            names::VERIFIED_SECONDS.set(at, &[("table", &state.table)]);
        }
    }
    Ok(())
}
