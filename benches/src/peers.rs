//! `make bench-peers`: our programs beside those that do the same work today, on the same servers, in one
//! run, each alone on the machine while it works.
//!
//! What is compared is the steady rate (the start of a process does not count), the most resident memory
//! of the whole process, and the processor time for each million rows.

mod counter;
mod sink;
mod source;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use counter::Counter;

/// What `causeway-benches peers` is asked for.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which of our programs.
    #[arg(long, value_enum, default_value_t = Half::All)]
    half: Half,
    /// Rows of the table that is copied; half as many changes follow.
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    rows: u64,
    /// Where to write the figures.
    #[arg(long, value_name = "FILE", default_value = "target/bench/peers.json")]
    json: std::path::PathBuf,
}

/// One of our programs, with its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Half {
    /// All of them.
    All,
    /// causeway-source and Debezium's SQL Server connector.
    Source,
    /// causeway-sink and Debezium's JDBC sink.
    Sink,
}

/// Measures and writes.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut table = Table::default();
    if matches!(options.half, Half::All | Half::Source) {
        Box::pin(source::run(&mut table, options.rows)).await?;
    }
    if matches!(options.half, Half::All | Half::Sink) {
        Box::pin(sink::run(&mut table, options.rows)).await?;
    }
    if let Some(folder) = options.json.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::write(&options.json, table.json()?)
        .with_context(|| format!("write {}", options.json.display()))?;
    print!("{}", table.text());
    println!("written to {}", options.json.display());
    Ok(())
}

/// One program at one piece of work.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The work: `source.snapshot`.
    work: &'static str,
    /// Who did it.
    who: String,
    /// Rows that count.
    rows: u64,
    /// Steady rate.
    rows_per_second: f64,
    /// The most resident memory of the process, in MB.
    peak_mb: f64,
    /// Processor time of the process for a million rows, in seconds.
    cpu_seconds_per_million: f64,
    /// Our rate divided by theirs; 1 for us.
    times_as_fast: f64,
    /// Our memory divided by theirs; 1 for us.
    part_of_memory: f64,
    /// What both should be; none for us.
    goal: Option<Goal>,
}

/// What we want to be beside somebody.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    /// At least so many times as fast.
    times_as_fast: f64,
    /// At most this part of the memory.
    part_of_memory: f64,
}

/// Who was measured: the first of a piece of work is ours.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Figure>);

impl Table {
    /// Adds a figure, and says so at once. The first of each piece of work must be ours.
    pub(crate) fn add(
        &mut self,
        work: &'static str,
        who: &str,
        measured: Measured,
        goal: Option<Goal>,
    ) {
        let Measured { rows, rate, mb, cpu } = measured;
        let ours = self.0.iter().find(|figure| figure.work == work);
        let (our_rate, our_mb) = ours.map_or((rate, mb), |f| (f.rows_per_second, f.peak_mb));
        let ratio = |a: f64, b: f64| if b > 0.0 { (a / b * 100.0).round() / 100.0 } else { 0.0 };
        eprintln!("{work}, {who}: {rate:.0} rows/s, {mb:.0} MB, {cpu:.2} s CPU for a million rows");
        self.0.push(Figure {
            work,
            who: who.to_owned(),
            rows,
            rows_per_second: rate.round(),
            peak_mb: mb.round(),
            cpu_seconds_per_million: (cpu * 100.0).round() / 100.0,
            times_as_fast: ratio(our_rate, rate),
            part_of_memory: ratio(our_mb, mb),
            goal,
        });
    }

    fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.0).context("write the figures")? + "\n")
    }

    fn text(&self) -> String {
        let mut text = format!(
            "\n{:<16} {:<22} {:>10} {:>10} {:>9} {:>14} {:>18} {:>18}\n",
            "work",
            "who",
            "rows",
            "rows/s",
            "peak MB",
            "CPU s/million",
            "ours faster",
            "ours/memory"
        );
        // The figure, and the goal behind it.
        let beside = |text: String, goal: Option<String>| {
            goal.map_or_else(|| text.clone(), |goal| format!("{text} ({goal})"))
        };
        for f in &self.0 {
            text += &format!(
                "{:<16} {:<22} {:>10} {:>10.0} {:>9.0} {:>14.2} {:>18} {:>18}\n",
                f.work,
                f.who,
                f.rows,
                f.rows_per_second,
                f.peak_mb,
                f.cpu_seconds_per_million,
                beside(
                    format!("{:.2}x", f.times_as_fast),
                    f.goal.map(|goal| format!("{}x", goal.times_as_fast)),
                ),
                beside(
                    format!("{:.2}", f.part_of_memory),
                    f.goal.map(|goal| format!("{:.2}", goal.part_of_memory)),
                ),
            );
        }
        text
    }
}

/// What came of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Rows in all.
    pub(crate) rows: u64,
    /// Rows per second, steady.
    pub(crate) rate: f64,
    /// The most resident memory, in MB.
    pub(crate) mb: f64,
    /// Processor seconds for a million rows, steady.
    pub(crate) cpu: f64,
}

/// How long a program may take for its rows before we give up.
const LIMIT: Duration = Duration::from_secs(1200);
/// The steady part begins when this part of the rows is there.
const BEGINS: f64 = 0.05;

/// Watches a count go up to `goal`; `alive` gives memory and processor time of the process that does it, or
/// fails when it has ended.
pub(crate) async fn measure(
    goal: u64,
    mut count: impl AsyncFnMut() -> Result<u64>,
    mut alive: impl FnMut() -> Result<(f64, f64)>,
) -> Result<Measured> {
    let begin = Instant::now();
    let whole = as_f64(goal);
    let mut first: Option<(Instant, f64, f64)> = None;
    loop {
        let (mb, cpu) = alive()?;
        let now = Instant::now();
        let found = as_f64(count().await?);
        if first.is_none() && found >= whole * BEGINS {
            first = Some((now, found, cpu));
        }
        if found >= whole {
            let Some((start, before, cpu_before)) = first else { bail!("no rows") };
            let rows = found - before;
            if rows <= 0.0 {
                bail!("{goal} rows came at once: too few to measure");
            }
            let rate = rows / (now - start).as_secs_f64();
            return Ok(Measured { rows: goal, rate, mb, cpu: (cpu - cpu_before) * 1e6 / rows });
        }
        if begin.elapsed() > LIMIT {
            bail!("{found} of {goal} rows after {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn as_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_against_ours() {
        let mut table = Table::default();
        let measured = |rate, mb| Measured { rows: 10, rate, mb, cpu: 1.0 };
        let goal = Goal { times_as_fast: 4.0, part_of_memory: 0.2 };
        table.add("source.snapshot", "causeway", measured(500.0, 50.0), None);
        table.add("source.snapshot", "theirs", measured(100.0, 500.0), Some(goal));
        table.add("source.stream", "causeway", measured(300.0, 60.0), None);
        let json: serde_json::Value = serde_json::from_str(&table.json().unwrap()).unwrap();
        assert_eq!(json[0]["times_as_fast"], 1.0);
        assert_eq!(
            (&json[1]["times_as_fast"], &json[1]["part_of_memory"]),
            (&5.0.into(), &0.1.into())
        );
        assert_eq!(json[2]["times_as_fast"], 1.0);
        let text = table.text();
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("5.00x (4x)") && text.contains("0.10 (0.20)"), "{text}");
    }
}
