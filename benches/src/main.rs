//! `causeway-benches`: how fast the parts are on this machine, beside the raw limit of what they
//! stand on, measured in the same run.
//!
//! The pipeline's figures come from the binaries as processes, on a real Kafka, a real PostgreSQL
//! and the SQL Server stand-in; a source can be no faster than the stand-in's plain read, and a
//! sink no faster than PostgreSQL's plain COPY.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod avro;
mod bad;
mod changes;
mod feed;
mod latency;
mod methods;
mod orders;
mod peers;
mod pipeline;
mod raw;
mod reconcile;
mod result;
mod sink;
mod standin;
mod transactions;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use result::Results;

/// Measures the parts and writes target/bench/latest.json.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rows of the table that is copied; half as many changes follow.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    rows: u64,
    /// Rows to which the sink's table grows.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    grow: u32,
    /// A setting of the sink that is not its default: `batch_rows=20000`. May be given several times.
    #[arg(long = "sink-set", value_name = "KEY=NUMBER", value_parser = setting)]
    sink_set: Vec<(String, i64)>,
    /// Only the measurements whose name starts so: `avro`, `source`, `sink.upsert`.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Rows of the table that the reconciler compares.
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    reconcile_rows: u64,
    /// Also measure PyPI's reladiff on two PostgreSQL databases with the same rows.
    #[arg(long)]
    reladiff: bool,
    /// Where to write the figures.
    #[arg(long, value_name = "FILE", default_value = "target/bench/latest.json")]
    json: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Our programs beside those of others that do the same work.
    Peers(peers::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(&Args::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    if let Some(Command::Peers(options)) = &args.command {
        return Box::pin(peers::run(options)).await;
    }
    let mut results = Results::default();
    let wanted = |parts: &[&str]| parts.iter().any(|part| is_wanted(part, &args.only));
    if wanted(&["avro"]) {
        avro::run(&mut results)?;
    }
    if wanted(&["sink", "raw"]) {
        let rows = u32::try_from(args.rows).context("fewer rows than four billion")?;
        let size = sink::Size { rows, grow: args.grow, set: &args.sink_set };
        Box::pin(sink::run(&mut results, size, |part| wanted(&[part]))).await?;
    }
    if wanted(&["reconcile", "reladiff"]) {
        let peers = args.reladiff || args.only.starts_with("reladiff");
        Box::pin(reconcile::run(&mut results, args.reconcile_rows, peers)).await?;
    }
    if wanted(&["standin.read2", "standin.changes", "standin.memory"]) {
        Box::pin(standin::run(&mut results)).await?;
    }
    // `standin.read` is the limit of what it measures.
    if wanted(&["standin.read", "source", "pipeline"]) {
        Box::pin(pipeline::run(&mut results, args.rows, &args.only)).await?;
    }
    results.keep(&args.only);
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::write(&args.json, results.json()?)
        .with_context(|| format!("write {}", args.json.display()))?;
    print!("{}", results.table());
    println!("written to {}", args.json.display());
    Ok(())
}

fn setting(text: &str) -> Result<(String, i64), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=NUMBER")?;
    let value = value.parse().map_err(|_| format!("{value} is no number"))?;
    Ok((format!("sink.{key}"), value))
}

/// Whether figures whose name starts with `only` are among those whose name is `part` or starts with it.
fn is_wanted(part: &str, only: &str) -> bool {
    part.starts_with(only) || only.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'))
}
