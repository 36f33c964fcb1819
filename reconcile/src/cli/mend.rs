//! The commands that act on what a run found: `recheck` and `repair`.
#![expect(clippy::print_stdout, reason = "the answer is what these commands are for")]

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use causeway_change::Row;
use causeway_reconcile::{
    fence::dirty,
    history::{self, Kept},
    progress::Progress,
    recheck::{self, Suspect},
    repair::{self, Action, Caps, Count},
    report::{Report, TableReport},
    run::{Context, Plan, report_of},
    sides::{self, Scratch, Shape},
    signal,
};
use causeway_service::exit::{self, Code, UsageContext as _};

use super::app::{App, Outputs, now, publish};

/// How differences are mended.
#[derive(clap::Args)]
pub(crate) struct How {
    /// Write statements for PostgreSQL to this file, and to FILE.undo.sql those that undo them. They hold row
    /// values; nothing is executed.
    #[arg(long, value_name = "FILE")]
    emit_sql: Option<PathBuf>,
    /// Ask the source to copy the rows once more through the stream, wait, and look again.
    #[arg(long, conflicts_with = "emit_sql")]
    signal: bool,
    /// Also delete rows that only the target has (with --emit-sql).
    #[arg(long)]
    allow_deletes: bool,
    /// Rows that one repair may touch.
    #[arg(long, default_value_t = 10_000)]
    max_rows: usize,
    /// Part of a table, in percent, that one repair may touch (where that is more than 100 rows).
    #[arg(long, default_value_t = 1.0)]
    max_percent: f64,
    /// How long the rows are waited for after --signal, in seconds.
    #[arg(long, default_value_t = 120)]
    wait_seconds: u64,
}

/// What a run left open, by table.
struct Open {
    run: String,
    tables: BTreeMap<String, Vec<Kept>>,
    plan: Plan,
}

async fn open(app: &App, run: &str) -> anyhow::Result<Open> {
    let client = app.pools.target().await.usage("read the history")?;
    history::setup(&client).await?;
    let (run, _) = history::find(&client, &app.pipeline, run)
        .await?
        .ok_or_else(|| exit::usage(format!("run {run} is not in the history")))?;
    let mut tables: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
    for kept in history::differences(&client, &app.pipeline, &run, true).await? {
        tables.entry(kept.table.clone()).or_default().push(kept);
    }
    let plan = app.plan(&app.config).await?;
    Ok(Open { run, tables, plan })
}

impl Open {
    /// The table of a difference, if it is still compared and its rows have keys.
    fn shape(&self, table: &str) -> Result<Arc<Shape>, String> {
        let found = self.plan.shapes.iter().find(|shape| shape.source.id().to_string() == table);
        match found {
            None => Err(format!("{table} is not among the tables that are compared")),
            Some(shape) if shape.keyless() => {
                Err(format!("{table} has no key: its rows cannot be asked for one by one"))
            }
            Some(shape) => Ok(Arc::new(shape.clone())),
        }
    }
}

/// Looks again at what a run found.
pub(super) async fn recheck(app: &App, run: &str, outputs: &Outputs) -> anyhow::Result<Code> {
    let started_at = now();
    let open = open(app, run).await?;
    let context = app.context(app.config.clone(), &open.plan, None, app.stop.clone());
    let mut reports = Vec::new();
    let mut looked_at = Vec::new();
    for (table, kept) in &open.tables {
        reports.push(recheck_table(&context, &open, table, kept).await);
        looked_at.extend(kept.iter().cloned());
    }
    if open.tables.is_empty() {
        println!("run {} left nothing open", open.run);
        return Ok(Code::Done);
    }
    let id = uuid::Uuid::new_v4().to_string();
    let report = Report::new(id, app.pipeline.clone(), started_at, now(), reports);
    publish(&report, outputs, &app.config)?;
    let mut client = app.pools.target().await?;
    history::record(&mut client, &report, "recheck", &looked_at).await?;
    Ok(super::code(report.exit_code))
}

async fn recheck_table(context: &Context, open: &Open, table: &str, kept: &[Kept]) -> TableReport {
    let shape = match open.shape(table) {
        Ok(shape) => shape,
        Err(reason) => {
            let mut report = TableReport::new(table.to_owned(), String::new());
            report.reason = Some(reason);
            return report;
        }
    };
    let mut report = report_of(&shape);
    report.strategy = "recheck";
    let bars = indicatif::MultiProgress::new();
    let task = context.task(shape, Progress::new(&bars, table.to_owned(), None));
    // A difference that is gone is resolved, not in flight: it was proved once.
    let suspects = kept.iter().map(|kept| Suspect::new(kept.key_bytes.clone(), false)).collect();
    match Box::pin(recheck::judge(&task, suspects, &mut report)).await {
        Ok(()) => report.conclude(),
        Err(error) => {
            report.behind = error.is_fence();
            report.reason = Some(exit::chain_line(&error));
        }
    }
    report
}

/// Mends what a run found.
pub(super) async fn repair(app: &App, run: &str, how: &How) -> anyhow::Result<Code> {
    let open = open(app, run).await?;
    let caps = Caps { rows: how.max_rows, percent: how.max_percent, deletes: how.allow_deletes };
    let mut todo = Vec::new();
    let mut all = 0;
    for (table, kept) in &open.tables {
        let shape = open.shape(table).map_err(exit::usage)?;
        let actions = actions(app, &shape, kept).await?;
        let count = Count::of(&actions);
        println!(
            "{table}: {} to insert, {} to update, {} to delete{}, {} equal by now",
            count.inserts,
            count.updates,
            count.deletes,
            if caps.deletes { "" } else { " (left alone without --allow-deletes)" },
            kept.len() - actions.len()
        );
        if let Some(why) = count.refused(&caps, shape.source.approximate_rows) {
            return Err(exit::usage(format!("{table}: {why}; nothing was done")));
        }
        all += count.inserts + count.updates + if caps.deletes { count.deletes } else { 0 };
        todo.push((shape, actions));
    }
    if all > caps.rows {
        return Err(exit::usage(format!(
            "{all} rows are more than --max-rows {}; nothing was done",
            caps.rows
        )));
    }
    if todo.iter().all(|(_, actions)| actions.is_empty()) {
        println!("run {} left nothing to repair", open.run);
        return Ok(Code::Done);
    }
    if let Some(path) = &how.emit_sql {
        emit(&open.run, &todo, caps.deletes, path)?;
        println!("nothing was executed; recheck the run after the statements were");
        return Ok(Code::Other(1));
    }
    if how.signal {
        return through_the_stream(app, &open, &todo, how).await;
    }
    println!(
        "this was a dry run: --emit-sql FILE writes statements, --signal copies the rows through the stream"
    );
    Ok(Code::Other(1))
}

/// What must be done to each row, by what both sides hold now.
async fn actions(app: &App, shape: &Shape, kept: &[Kept]) -> anyhow::Result<Vec<Action>> {
    let mut actions = Vec::new();
    for batch in kept.chunks(500) {
        let keys: Vec<Row> = batch
            .iter()
            .map(|kept| dirty::values(shape, &kept.key_bytes))
            .collect::<Result<_, _>>()?;
        let target = app.pools.target().await?;
        let mut there = by_key(shape, sides::target_rows(&target, shape, &keys).await?)?;
        let mut client = app.pools.source.get().await?;
        let mut here = by_key(shape, sides::source_rows(&mut client, shape, &keys).await?)?;
        app.pools.source.put(client);
        for kept in batch {
            match (here.remove(&kept.key_bytes), there.remove(&kept.key_bytes)) {
                (Some((_, row)), None) => actions.push(Action::Insert(row)),
                (None, Some((_, row))) => actions.push(Action::Delete(row)),
                (Some((a, source)), Some((b, target))) if a != b => {
                    actions.push(Action::Update(source, target));
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }
    Ok(actions)
}

fn by_key(shape: &Shape, rows: Vec<Row>) -> anyhow::Result<HashMap<Vec<u8>, (u128, Row)>> {
    let mut scratch = Scratch::default();
    let mut map = HashMap::with_capacity(rows.len());
    for row in rows {
        shape.digest(&row, &mut scratch)?;
        map.insert(scratch.key.clone(), (scratch.digest, row));
    }
    Ok(map)
}

/// Writes the statements and those that undo them; only the owner may read them. Files that are there stay: the
/// undo of an earlier repair may still be needed.
fn emit(
    run: &str,
    todo: &[(Arc<Shape>, Vec<Action>)],
    deletes: bool,
    path: &Path,
) -> anyhow::Result<()> {
    let undo = PathBuf::from(format!("{}.undo.sql", path.display()));
    let head = |what: &str| {
        format!(
            "-- {what} of reconciliation run {run}, written {}.\n-- It holds row values.\nBEGIN;\n",
            now()
        )
    };
    let mut apply_text = head("Repair");
    let mut undo_lines = Vec::new();
    for (shape, actions) in todo {
        for action in actions {
            let statements = repair::statements(&shape.source.table, &shape.target, action)?;
            if matches!(action, Action::Delete(_)) && !deletes {
                continue;
            }
            apply_text.push_str(&statements.apply);
            apply_text.push('\n');
            undo_lines.push(statements.undo);
        }
    }
    apply_text.push_str("COMMIT;\n");
    // The last first.
    undo_lines.reverse();
    let undo_text = format!("{}{}\nCOMMIT;\n", head("Undo of the repair"), undo_lines.join("\n"));
    // The undo first: there are no statements without it.
    write_private(&undo, &undo_text)?;
    write_private(path, &apply_text)?;
    println!("statements: {}\nto undo them: {}", path.display(), undo.display());
    Ok(())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| {
            format!("write {} (a file that is there is not overwritten)", path.display())
        })
}

/// Asks the source for the rows, and looks until they have arrived or the time is over.
async fn through_the_stream(
    app: &App,
    open: &Open,
    todo: &[(Arc<Shape>, Vec<Action>)],
    how: &How,
) -> anyhow::Result<Code> {
    let kafka = app.kafka.as_ref().ok_or_else(|| {
        exit::usage("--signal needs the section [kafka]; --emit-sql works without it")
    })?;
    // The source does a signal once: a second repair of a run is another request, for other rows.
    let repair = uuid::Uuid::new_v4();
    for (shape, actions) in todo {
        let table = &shape.source.table;
        let keys: Vec<Row> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Insert(row) | Action::Update(row, _) => Some(row),
                // What the source does not have it cannot copy.
                Action::Delete(_) => None,
            })
            .map(|row| table.key.iter().filter_map(|&i| row.get(i).cloned()).collect())
            .collect();
        for (n, keys) in keys.chunks(signal::KEYS).enumerate() {
            let id = format!("reconcile-{repair}-{}-{n}", table.id);
            let columns: Vec<_> = table.key_columns().collect();
            let text = signal::text(&id, &table.id, columns.iter().copied(), keys);
            signal::send(kafka, &app.pipeline, &text).await?;
            println!("{}: asked the source for {} rows (signal {id})", table.id, keys.len());
        }
    }
    let end = Instant::now() + Duration::from_secs(how.wait_seconds);
    loop {
        let mut left = 0;
        for (table, kept) in &open.tables {
            let shape = open.shape(table).map_err(exit::usage)?;
            let still = actions(app, &shape, kept).await?;
            left += still.iter().filter(|action| !matches!(action, Action::Delete(_))).count();
        }
        if left == 0 || Instant::now() >= end || app.stop.is_cancelled() {
            println!(
                "{left} of the rows differ still; run: causeway-reconcile recheck {}",
                open.run
            );
            let extra = todo.iter().any(|(_, actions)| {
                actions.iter().any(|action| matches!(action, Action::Delete(_)))
            });
            return Ok(if left == 0 && !extra { Code::Done } else { Code::Other(1) });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
