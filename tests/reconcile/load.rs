//! The promise of the fence, under load: what is in flight is never a difference, and what was planted behind the
//! pipeline's back is found, named and mended through the stream, and nothing else is touched.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use causeway_tests::{
    process, shared,
    sqlserver::{Client, exec},
};

use crate::{both::Ran, fence::Working};

/// How large a test is.
#[derive(Clone, Copy)]
struct Size {
    /// Rows of `dbo.goods`. The load writes to the first two thirds of them, and inserts above them.
    rows: u64,
    /// Changes a second that are aimed at.
    rate: u64,
    /// Runs while the load goes on.
    runs: u64,
}

const SLICE: Size = Size { rows: 12_000, rate: 500, runs: 3 };
const WHOLE: Size = Size { rows: 1_000_000, rate: 5_000, runs: 20 };

/// Batches of the load a second.
const BATCHES: u64 = 20;

/// Updates, inserts, deletes, and rows that go and come again, so many a second or as fast as the server takes them.
async fn load(client: &mut Client, size: Size, stop: &AtomicBool, done: &AtomicU64) -> Result<()> {
    let hot = size.rows * 2 / 3;
    let share = (size.rate / BATCHES / 5).max(1);
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / BATCHES));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut n: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let first = n * 7919 * share % (hot - 3 * share) + 1;
        let new = size.rows + 1 + n * share;
        let old = (size.rows + 1 + n * share).saturating_sub(20 * share).max(size.rows + 1);
        let rows: Vec<String> =
            (new..new + share).map(|id| format!("({id}, N'new', 1, NULL, NULL)")).collect();
        exec(
            client,
            &format!(
                "UPDATE dbo.goods SET price = price + 1, name = N'step {n}' WHERE id BETWEEN {first} AND {}; \
                 INSERT INTO dbo.goods VALUES {}; \
                 DELETE FROM dbo.goods WHERE id BETWEEN {old} AND {} AND id < {new}; \
                 DELETE FROM dbo.goods WHERE id = {first}; \
                 INSERT INTO dbo.goods VALUES ({first}, N'again {n}', {n}, NULL, NULL); \
                 UPDATE dbo.codes SET n = {n} WHERE n > {n} AND n < {n} + 3",
                first + 3 * share - 1,
                rows.join(", "),
                old + share - 1,
            ),
        )
        .await?;
        n += 1;
        done.fetch_add(5 * share + 2, Ordering::Relaxed);
    }
    Ok(())
}

/// A hundred differences of every kind and class, in rows that the load leaves alone: statements, and for each
/// column and class how many.
fn planted(quiet: u64) -> (String, [(&'static str, &'static str, u64); 8]) {
    let at = |from: u64, upto: u64| format!("id BETWEEN {} AND {}", quiet + from, quiet + upto);
    let every_hundredth = |n: u64| {
        let first = (quiet + 200).div_ceil(100) * 100;
        let ids: Vec<String> = (0..n).map(|i| (first + 100 * i).to_string()).collect();
        format!("id IN ({})", ids.join(", "))
    };
    let sql = [
        format!("DELETE FROM goods WHERE {}", at(1, 10)),
        "INSERT INTO goods SELECT n, 'extra', 1, NULL, NULL FROM unnest(ARRAY[-4, -3, -2, -1, 900000001, 900000002, \
         900000003, 900000004]) n"
            .to_owned(),
        format!("UPDATE goods SET name = upper(name) WHERE {}", at(11, 22)),
        format!("UPDATE goods SET name = name || ' ' WHERE {}", at(23, 32)),
        format!("UPDATE goods SET name = replace(name, '\u{e4}', '?') WHERE {}", at(33, 42)),
        format!("UPDATE goods SET at = at + interval '2 hours' WHERE {}", at(43, 54)),
        format!("UPDATE goods SET at = date_trunc('second', at) WHERE {}", at(55, 64)),
        format!("UPDATE goods SET price = 0 WHERE {}", at(65, 80)),
        format!("UPDATE goods SET weight = NULL WHERE {}", at(81, 86)),
        format!("UPDATE goods SET name = '' WHERE {}", every_hundredth(6)),
    ];
    let classes = [
        ("name", "case", 12),
        ("name", "trailing_blank", 10),
        ("name", "encoding", 10),
        ("name", "null_empty", 6),
        ("at", "time_zone", 12),
        ("at", "rounding", 10),
        ("price", "value", 16),
        ("weight", "value", 6),
    ];
    (sql.join(";\n"), classes)
}

/// What writes to the quiet rows from now on leaves a trace.
fn traced(quiet: u64, rows: u64) -> String {
    format!(
        "CREATE TABLE touched (id int NOT NULL);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO touched VALUES (coalesce(NEW.id, OLD.id)); RETURN coalesce(NEW, OLD); END';
         CREATE TRIGGER note AFTER INSERT OR UPDATE ON goods FOR EACH ROW
           WHEN (NEW.id > {quiet} AND NEW.id <= {rows} OR NEW.id < 1 OR NEW.id > 900000000) EXECUTE FUNCTION note();
         CREATE TRIGGER note_delete AFTER DELETE ON goods FOR EACH ROW
           WHEN (OLD.id > {quiet} AND OLD.id <= {rows} OR OLD.id < 1 OR OLD.id > 900000000) EXECUTE FUNCTION note()"
    )
}

fn not_different(ran: &Ran, what: &str) {
    for table in ["dbo.goods", "dbo.codes"] {
        let status = &ran.table(table)["status"];
        assert!(
            *status == "equal" || *status == "unstable",
            "{what}: {table} is {status}: {}\n{:#}",
            ran.text,
            ran.report
        );
    }
}

async fn under_load(snapshots: bool, size: Size) -> Result<()> {
    let chunk = ("reconcile.chunk_rows", i64::try_from(size.rows / 12)?);
    let working = Box::pin(Working::with_rows(snapshots, &[chunk], size.rows)).await?;
    let mut client = shared::sqlserver().await.client(&working.pipeline.name).await?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let watch = Box::pin(watched(&working, snapshots, size, &done));
    let loading = load(&mut client, size, &stop, &done);
    tokio::select! {
        watched = watch => watched?,
        loaded = loading => loaded.context("the load ended")?,
    }
    stop.store(true, Ordering::Relaxed);
    Ok(())
}

async fn watched(working: &Working, snapshots: bool, size: Size, done: &AtomicU64) -> Result<()> {
    let began = std::time::Instant::now();
    for n in 0..size.runs {
        let before = done.load(Ordering::Relaxed);
        let ran = working.run(&[]).await?;
        not_different(&ran, &format!("run {n}"));
        let mode = if snapshots { "snapshot" } else { "statement" };
        assert_eq!(ran.table("dbo.goods")["fence"]["mode"], mode, "{}", ran.text);
        assert_eq!(ran.table("dbo.goods")["fence"]["confidence"], "proved", "{}", ran.text);
        assert!(done.load(Ordering::Relaxed) > before, "the load stood still");
    }
    for level in ["counts", "checksum", "sample"] {
        let ran = working.run(&["--level", level]).await?;
        not_different(&ran, level);
    }
    let (changes, seconds) = (done.load(Ordering::Relaxed), began.elapsed().as_secs().max(1));
    eprintln!("{} runs while {} changes a second flowed", size.runs, changes / seconds);

    let quiet = size.rows * 2 / 3;
    let (sql, classes) = planted(quiet);
    working.target(&sql).await?;
    working.target(&traced(quiet, size.rows)).await?;
    let ran = working.run(&["--tables", "dbo.goods"]).await?;
    let table = ran.table("dbo.goods");
    assert_eq!(ran.code, 1, "{}", ran.text);
    assert_eq!(
        (&table["missing_in_target"], &table["extra_in_target"], &table["different"]),
        (&10.into(), &8.into(), &82.into()),
        "{}\n{table:#}",
        ran.text
    );
    for (column, class, count) in classes {
        assert_eq!(
            table["columns"][column]["classes"][class], count,
            "{column} {class}: {table:#}"
        );
    }
    if snapshots {
        assert_eq!(table["strategy"], "range", "{table:#}");
        let ran = working.run(&["--tables", "dbo.goods", "--level", "checksum"]).await?;
        assert_eq!(ran.code, 1, "{}", ran.text);
    }
    Box::pin(mended(working, ran.report["run_id"].as_str().context("run_id")?)).await?;

    let ran = working.run(&["--tables", "dbo.goods"]).await?;
    let status = &ran.table("dbo.goods")["status"];
    assert!(*status == "equal" || *status == "unstable", "{}", ran.text);
    // What was planted was written, and nothing else: the deleted and changed ones by the stream, the others gone.
    let client = shared::postgres().await.client(&working.pipeline.name).await?;
    let touched: i64 =
        client.query_one("SELECT count(DISTINCT id) FROM touched", &[]).await?.get(0);
    assert_eq!(touched, 100);
    Ok(())
}

/// What the source has comes through the stream; what only the target has is deleted by a statement.
async fn mended(working: &Working, run: &str) -> Result<()> {
    let repair = async |arguments: &[&str]| {
        let limit = Duration::from_secs(300);
        process::run("causeway-reconcile", arguments, working.pipeline.path(), limit).await
    };
    let through = repair(&["repair", run, "--signal"]).await?;
    assert!(
        through.stdout.contains("0 of the rows differ still"),
        "{}{}",
        through.stdout,
        through.stderr
    );
    let file = working.folder.path().join("extra.sql");
    let path = file.to_str().context("a path in UTF-8")?;
    let emitted = repair(&["repair", run, "--emit-sql", path, "--allow-deletes"]).await?;
    assert_eq!(emitted.code, 1, "{}{}", emitted.stdout, emitted.stderr);
    let sql = std::fs::read_to_string(&file)?;
    assert_eq!(sql.matches("DELETE FROM").count(), 8, "{sql}");
    assert!(!sql.contains("UPDATE") && !sql.contains("INSERT"), "{sql}");
    working.target(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_flight_are_never_differences_and_a_hundred_planted_are_found_and_mended()
-> Result<()> {
    Box::pin(under_load(true, SLICE)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_flight_are_never_differences_without_snapshots_either() -> Result<()> {
    Box::pin(under_load(false, SLICE)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twenty runs over a million rows under load: make conformance"]
async fn twenty_runs_under_load_over_a_million_rows_with_a_hundred_planted() -> Result<()> {
    Box::pin(under_load(true, WHOLE)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twenty runs over a million rows under load: make conformance"]
async fn twenty_runs_under_load_over_a_million_rows_without_snapshots() -> Result<()> {
    Box::pin(under_load(false, WHOLE)).await
}
