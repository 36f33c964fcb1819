//! The command line: what can be asked, and the wiring of each answer.

use std::{path::PathBuf, sync::Arc};

use causeway_reconcile::config::Level;
use causeway_service::exit::Code;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

mod app;
mod look;
mod mend;
mod timed;

use app::{App, Outputs};

/// Compares SQL Server with PostgreSQL, row by row, while replication runs.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Args)]
pub(crate) struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "CAUSEWAY_CONFIG", default_value = "causeway.toml")]
    config: PathBuf,
    /// Only these tables (patterns over `schema.table`), instead of the configured ones.
    #[arg(long, value_name = "PATTERN")]
    tables: Vec<String>,
    /// How deep to look: counts, checksum, full or sample.
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
    /// Read only key ranges with changes since they were found equal, and in turn the others.
    #[arg(long)]
    incremental: bool,
    /// Put the values that differ into the reports, not only keys and columns.
    #[arg(long)]
    show_values: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says how each table would be compared: strategy, SQL, size. Reads no row.
    Plan {
        #[command(flatten)]
        common: Common,
    },
    /// Compares every table once and prints a line for each.
    ///
    /// Exit codes: 0 equal; 1 different; 2 something could not be compared, or the configuration is
    /// wrong; 3 both 1 and 2; 4 wrong use; 5 the pipeline was too far behind; 130 stopped.
    Run {
        #[command(flatten)]
        common: Common,
        /// Go on with the same run that was cut off, if there is one.
        #[arg(long)]
        resume: bool,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Looks again at the differences that a run found. Exit codes as of `run`.
    Recheck {
        /// The run, or `last`.
        run: String,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Mends the differences that a run found. Without --emit-sql or --signal it only says what it would do.
    ///
    /// Exit codes: 0 done, or there is nothing to do; 1 differences are left; 2 it cannot be done.
    Repair {
        /// The run, or `last`.
        run: String,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        how: mend::How,
    },
    /// Says for each table when it was compared and found equal last, and how many differences are open.
    Status {
        #[command(flatten)]
        common: Common,
    },
    /// Shows what a run found, with the life of each difference.
    Show {
        /// The run, or `last`.
        run: String,
        #[command(flatten)]
        common: Common,
        /// The report as it was, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the newest runs.
    History {
        #[command(flatten)]
        common: Common,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: i64,
    },
    /// Compares at the times of `[reconcile].schedule` and of its groups until it is stopped.
    Schedule {
        #[command(flatten)]
        common: Common,
    },
}

/// Does what was asked.
pub(crate) async fn execute(command: Command, stop: CancellationToken) -> anyhow::Result<Code> {
    match command {
        Command::Plan { common } => look::plan(&App::open(common, stop).await?).await,
        Command::Run { common, resume, outputs } => {
            let app = App::open(common, stop.clone()).await?;
            let report = Box::pin(app.pass(app.config.clone(), &outputs, resume)).await?;
            Ok(if stop.is_cancelled() { Code::Other(130) } else { code(report.exit_code) })
        }
        Command::Recheck { run, common, outputs } => {
            let app = App::open(common, stop).await?;
            Box::pin(mend::recheck(&app, &run, &outputs)).await
        }
        Command::Repair { run, common, how } => {
            let app = App::open(common, stop).await?;
            Box::pin(mend::repair(&app, &run, &how)).await
        }
        Command::Status { common } => look::status(&App::open(common, stop).await?).await,
        Command::Show { run, common, json } => {
            look::show(&App::open(common, stop).await?, &run, json).await
        }
        Command::History { common, limit } => {
            look::history(&App::open(common, stop).await?, limit).await
        }
        Command::Schedule { common } => {
            timed::schedule(Arc::new(App::open(common, stop).await?)).await
        }
    }
}

fn code(code: u8) -> Code {
    if code == 0 { Code::Done } else { Code::Other(code) }
}
