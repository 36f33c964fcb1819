//! `causeway-demo`: the whole pipeline on one machine, with a picture of it at work.
//!
//! It starts a SQL Server stand-in, Kafka, a schema registry and PostgreSQL, fills a database,
//! starts `causeway-source` and `causeway-sink` on one `causeway.toml`, changes rows while they
//! replicate, and has `causeway-reconcile` compare the two sides at the end. Exit code 0 means
//! equal, 1 means that something differs or failed.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod adventureworks;
mod dataset;
mod progress;
mod run;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Runs the whole pipeline on this machine and proves that both sides are equal.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How long rows are changed while they are replicated, in seconds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Rows of table orders at the start; customers, products and order items in proportion.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    rows: u64,
    /// Changed rows per second at most, so that the machine has room for the pipeline.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    rate: u64,
    /// Replicate the tables of Microsoft's AdventureWorks instead: the folder of its CSV files.
    #[arg(long, value_name = "DIR")]
    adventureworks: Option<PathBuf>,
    /// Leave everything running at the end, and print where it is, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// The same seed makes the same rows and the same changes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match Box::pin(run::run(&args)).await {
        Ok(run::Outcome::Equal) => ExitCode::SUCCESS,
        Ok(run::Outcome::Different) => ExitCode::from(1),
        Err(error) => {
            println!("demo: failed: {error:#}");
            ExitCode::from(1)
        }
    }
}
