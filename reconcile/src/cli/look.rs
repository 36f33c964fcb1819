//! The commands that only look: `plan`, `status`, `show`, `history`.
#![expect(clippy::print_stdout, reason = "the answer is what these commands are for")]

use causeway_reconcile::{
    Config, chunks,
    hashing::{self, Way},
    history,
    run::report_of,
    sides::Shape,
};
use causeway_service::exit::{self, Code, UsageContext as _};

use super::app::App;

/// How each table would be compared.
pub(super) async fn plan(app: &App) -> anyhow::Result<Code> {
    let plan = app.plan(&app.config).await?;
    let context = app.context(app.config.clone(), &plan, None, app.stop.clone());
    let fence = match &context.guard {
        None => format!(
            "by time (weaker): a difference is what stands still for {} s",
            app.config.settle_seconds
        ),
        Some(guard) if guard.snapshots => {
            "two frozen snapshots and the keys that changed between them".to_owned()
        }
        Some(_) => {
            "one statement of the source, a frozen target, and the keys that changed meanwhile \
                    (ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON freezes the source too)"
                .to_owned()
        }
    };
    println!("level: {:?}\nfence: {fence}\n", app.config.level);
    for shape in &plan.shapes {
        let report = report_of(shape);
        let rows = shape.source.approximate_rows;
        let cut = context.guard.as_ref().is_some_and(|guard| guard.snapshots)
            && chunks::can_cut(&shape.source)
            && rows.is_some_and(|rows| rows > app.config.chunk_rows);
        let strategy = if cut {
            format!(
                "range: {} chunks of {} rows, {} at a time",
                rows.unwrap_or(0).div_ceil(app.config.chunk_rows),
                app.config.chunk_rows,
                app.config.chunk_workers
            )
        } else if shape.keyless() {
            "hash of whole rows, counted".to_owned()
        } else {
            "hash of the key".to_owned()
        };
        println!("{} -> {}", report.source, report.target);
        println!(
            "  key:      {}",
            if report.key.is_empty() { "(none)".to_owned() } else { report.key.join(", ") }
        );
        println!("  rows:     about {}", rows.map_or_else(|| "?".to_owned(), |n| n.to_string()));
        println!("  strategy: {strategy}");
        let range = causeway_sqlserver::KeyRange::default();
        println!(
            "  source:   {}",
            causeway_sqlserver::rows::range_query(&shape.source, &range, None).text
        );
        let sql = causeway_postgres::rows::range_sql(
            &shape.target,
            shape.columns(),
            &shape.source.table.key,
            None,
            None,
        )?;
        println!("  target:   COPY ({sql}) TO STDOUT (FORMAT binary)");
        hashed(&app.config, shape, cut)?;
        for skipped in &report.columns_skipped {
            println!("  skipped:  {}: {}", skipped.name, skipped.reason);
        }
    }
    for refused in plan.refused() {
        println!(
            "{}: not comparable: {}",
            refused.source,
            refused.reason.as_deref().unwrap_or_default()
        );
    }
    Ok(Code::Done)
}

/// Who hashes the rows of a table, and by which statements.
fn hashed(config: &Config, shape: &Shape, cut: bool) -> anyhow::Result<()> {
    let rows = shape.source.approximate_rows;
    match hashing::decided(config.hashing, shape, rows, cut) {
        Some(Way::Client(why)) => {
            println!("  hashing:  client: {why}");
            return Ok(());
        }
        Some(Way::Server(why)) => println!("  hashing:  server: {why}"),
        None => {
            println!("  hashing:  by whoever is faster on the first {} rows", hashing::PROBE_ROWS);
        }
    }
    let range = causeway_sqlserver::KeyRange::default();
    let text = causeway_sqlserver::hashing::hash_query(&shape.source, &range).text;
    println!("  source:   {text}");
    let (columns, key) = (shape.columns(), &shape.source.table.key);
    let text = causeway_postgres::hashing::hash_sql(&shape.target, columns, key, None, None)?;
    println!("  target:   {text}");
    Ok(())
}

/// When each table was compared and found equal last.
pub(super) async fn status(app: &App) -> anyhow::Result<Code> {
    let client = app.pools.target().await.usage("read the history")?;
    history::setup(&client).await?;
    let tables = history::tables(&client, &app.pipeline).await?;
    let width = tables.iter().map(|t| t.table.len()).max().unwrap_or(5).max(5);
    println!(
        "{:<width$}  {:<9}  {:<20}  {:<20}  {:>12}  OPEN",
        "TABLE", "STATUS", "COMPARED", "VERIFIED", "AGE"
    );
    for state in &tables {
        let (at, age) = match &state.verified {
            Some((at, seconds)) => (at.as_str(), format!("{seconds:.0} s")),
            None => ("never", "-".to_owned()),
        };
        println!(
            "{:<width$}  {:<9}  {:<20}  {at:<20}  {age:>12}  {}",
            state.table, state.status, state.compared_at, state.open
        );
    }
    Ok(Code::Done)
}

/// What a run found.
pub(super) async fn show(app: &App, run: &str, json: bool) -> anyhow::Result<Code> {
    let client = app.pools.target().await.usage("read the history")?;
    history::setup(&client).await?;
    let (run, report) = history::find(&client, &app.pipeline, run)
        .await?
        .ok_or_else(|| exit::usage(format!("run {run} is not in the history")))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Code::Done);
    }
    let text = |path: &str| {
        report
            .pointer(path)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .unwrap_or_default()
    };
    println!(
        "run {run}: {}, {} to {}, {} tables, {} rows, {} differences",
        text("/result"),
        text("/started_at"),
        text("/finished_at"),
        text("/totals/tables"),
        text("/totals/rows_compared"),
        text("/totals/differences")
    );
    for table in report.get("tables").and_then(|tables| tables.as_array()).into_iter().flatten() {
        let cell = |name: &str| {
            table
                .get(name)
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .unwrap_or_default()
        };
        println!(
            "  {}  {}  missing {}, extra {}, different {}, in flight {}, unstable {}",
            cell("source"),
            cell("status"),
            cell("missing_in_target"),
            cell("extra_in_target"),
            cell("different"),
            cell("in_flight_resolved"),
            cell("unstable")
        );
    }
    for kept in history::differences(&client, &app.pipeline, &run, false).await? {
        let (first, last, fixed) = &kept.life;
        println!(
            "  {} {} {}{}: first seen {first}, last seen {last}, {}",
            kept.table,
            kept.key,
            kept.state,
            kept.class.as_ref().map(|class| format!(" ({class})")).unwrap_or_default(),
            fixed.as_ref().map_or_else(|| "open".to_owned(), |at| format!("fixed {at}"))
        );
    }
    Ok(Code::Done)
}

/// The newest runs.
pub(super) async fn history(app: &App, limit: i64) -> anyhow::Result<Code> {
    let client = app.pools.target().await.usage("read the history")?;
    history::setup(&client).await?;
    for line in history::runs(&client, &app.pipeline, limit).await? {
        println!("{line}");
    }
    Ok(Code::Done)
}
