//! `causeway-sink`: applies the changes of a pipeline to PostgreSQL, exactly once.

use std::{path::PathBuf, process::ExitCode};

use causeway_observability::admin::{self, Health};
use causeway_service::{
    exit::{self, Code, UsageContext as _},
    settings::{File, Pipeline},
    shutdown,
};
use causeway_sink::{
    Config,
    check::{Finding, check, check_at_start},
    dlq::{self, Filter, Status},
    pause,
    replay::replay,
    run::{self, Parts},
    status::{self, To},
};
use clap::{Args, Parser, Subcommand};

/// Applies the changes of a pipeline from Kafka to PostgreSQL, exactly once.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "CAUSEWAY_CONFIG", default_value = "causeway.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at everything that `run` needs and says what is missing; writes nothing.
    ///
    /// Exit code 0: nothing is missing; 2: something is.
    Check(Common),
    /// Applies changes until it is stopped by SIGTERM or SIGINT.
    Run(Common),
    /// Says where every table stands: state, lag, dead letters.
    Status {
        #[command(flatten)]
        common: Common,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows or sets the offsets that are read next.
    #[command(subcommand)]
    Offsets(Offsets),
    /// Stops reading tables until they are resumed; others go on.
    Pause {
        #[command(flatten)]
        common: Common,
        /// Globs over the source's schema.table.
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// Reads paused tables again.
    Resume {
        #[command(flatten)]
        common: Common,
        /// Globs as they were paused; none means all.
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// Looks at records that could not be applied, applies them again, or gives them up.
    #[command(subcommand)]
    Dlq(Dlq),
}

#[derive(Subcommand)]
enum Offsets {
    /// Shows them, beside what Kafka has.
    Show(Common),
    /// Sets them: records are applied again or left out. A running sink is stopped by it.
    Reset {
        #[command(flatten)]
        common: Common,
        /// The topic.
        #[arg(long)]
        topic: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<i32>,
        #[command(flatten)]
        to: Where,
        /// Only say what would be changed.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Where {
    /// To the first record that is still there.
    #[arg(long)]
    to_earliest: bool,
    /// To the end: what is there now is left out.
    #[arg(long)]
    to_latest: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
}

#[derive(Subcommand)]
enum Dlq {
    /// Lists dead letters, newest last, without values.
    List {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        filter: Filter,
        /// Where they are on their way.
        #[arg(long, value_enum, default_value_t = Status::Open)]
        status: Status,
        /// The newest so many.
        #[arg(long, default_value_t = 100)]
        limit: i64,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Shows one dead letter as JSON.
    Show {
        #[command(flatten)]
        common: Common,
        /// Its number, as `list` prints it.
        id: i64,
        /// Its key and row, too: they leave the database by this.
        #[arg(long)]
        with_values: bool,
    },
    /// Applies dead letters after what was wrong is mended; beside a running sink, too.
    ///
    /// In the order of each key; letters that a newer change has superseded are not open any more and
    /// are not applied. Exit code 0: all were applied; 1: some cannot be.
    Replay {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        filter: Filter,
        /// Try it, and roll it back.
        #[arg(long)]
        dry_run: bool,
    },
    /// Gives dead letters up; keys that were parked for them go on.
    Discard {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        filter: Filter,
        /// All of them: needed when there is no other filter.
        #[arg(long)]
        all: bool,
        /// Count them only.
        #[arg(long)]
        dry_run: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::block_on(async {
        match cli.command {
            Command::Check(common) => {
                let (parts, _) = settings(common).await?;
                let findings = check(&parts).await;
                print(&findings);
                refuse(&findings)?;
                Ok(Code::Done)
            }
            Command::Run(common) => {
                let (parts, watched) = settings(common).await?;
                run(parts, watched).await
            }
            Command::Status { common, json } => {
                let (parts, watched) = settings(common).await?;
                say(&status::status(&parts, watched.sink_listen, json).await?);
                Ok(Code::Done)
            }
            Command::Offsets(command) => offsets(command).await,
            Command::Pause { common, tables } => {
                let (parts, _) = settings(common).await?;
                say(&pause::pause(&parts, &tables).await?);
                Ok(Code::Done)
            }
            Command::Resume { common, tables } => {
                let (parts, _) = settings(common).await?;
                say(&pause::resume(&parts, &tables).await?);
                Ok(Code::Done)
            }
            Command::Dlq(command) => letters(command).await,
        }
    })
}

async fn offsets(command: Offsets) -> anyhow::Result<Code> {
    match command {
        Offsets::Show(common) => {
            let (parts, _) = settings(common).await?;
            say(&status::offsets(&parts).await?);
        }
        Offsets::Reset { common, topic, partition, to, dry_run } => {
            let (parts, _) = settings(common).await?;
            let to = match (to.to_offset, to.to_latest) {
                (Some(offset), _) => To::Offset(offset),
                (None, true) => To::Latest,
                (None, false) => To::Earliest,
            };
            say(&status::reset(&parts, &topic, partition, to, dry_run).await?);
        }
    }
    Ok(Code::Done)
}

async fn letters(command: Dlq) -> anyhow::Result<Code> {
    match command {
        Dlq::List { common, filter, status, limit, json } => {
            let (parts, _) = settings(common).await?;
            say(&dlq::list(&parts, &filter, status, limit, json).await?);
        }
        Dlq::Show { common, id, with_values } => {
            let (parts, _) = settings(common).await?;
            say(&dlq::show(&parts, id, with_values).await?);
        }
        Dlq::Replay { common, filter, dry_run } => {
            let (parts, _) = settings(common).await?;
            let report = replay(&parts, &filter, dry_run).await?;
            say(&report.text(dry_run));
            if !report.failed.is_empty() {
                anyhow::bail!("{} letters cannot be applied", report.failed.len());
            }
        }
        Dlq::Discard { common, filter, all, dry_run } => {
            if filter.is_everything() && !all {
                return Err(exit::usage("say which letters, or --all"));
            }
            let (parts, _) = settings(common).await?;
            say(&dlq::discard(&parts, &filter, dry_run).await?);
        }
    }
    Ok(Code::Done)
}

#[expect(clippy::print_stdout, reason = "the answer is what the command is for")]
fn say(text: &str) {
    print!("{text}");
}

async fn run(parts: Parts, watched: causeway_observability::Config) -> anyhow::Result<Code> {
    // First of all: who is told to stop while it still looks around ends with 0, too.
    let stop = shutdown::token().usage("listen for signals")?;
    let findings = tokio::select! {
        findings = check_at_start(&parts) => findings,
        () = stop.cancelled() => return Ok(Code::Done),
    };
    refuse(&findings)?;
    let _guard = causeway_observability::init("causeway-sink", &parts.pipeline, &watched)
        .usage("start logs, metrics and traces")?;
    let health = Health::new();
    let (_, server) = admin::serve(watched.sink_listen, health.clone(), stop.clone())
        .await
        .usage("serve /metrics")?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(server);
    run::run(parts, health, stop).await?;
    tracing::info!("stopped");
    Ok(Code::Done)
}

async fn settings(common: Common) -> anyhow::Result<(Parts, causeway_observability::Config)> {
    let mut file = File::load(&common.config)?;
    let vault =
        causeway_vault::resolver(file.optional("vault")?.as_ref()).await.usage("open the vault")?;
    let vault = &vault;
    file.resolve(|name| async move { vault.lookup(&name).await }).await?;
    let refuse = |error: String| exit::usage(format!("{}: {error}", common.config.display()));
    let pipeline: Pipeline = file.section("pipeline")?;
    let sink: Config = file.section_or_default("sink")?;
    sink.validate().map_err(refuse)?;
    let postgres: causeway_postgres::Config = file.section("postgres")?;
    postgres.validate().map_err(refuse)?;
    let parts = Parts {
        pipeline: pipeline.name,
        kafka: file.section("kafka")?,
        registry: file.section("registry")?,
        postgres,
        sink,
    };
    Ok((parts, file.section_or_default("observability")?))
}

/// One line for all that is wrong: exit code 2, before anything is written.
fn refuse(findings: &[Finding]) -> anyhow::Result<()> {
    let wrong: Vec<&str> = findings.iter().filter_map(|f| f.problem.as_deref()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(exit::usage(wrong.join("; "))) }
}

#[expect(clippy::print_stdout, reason = "the list is what the command is for")]
fn print(findings: &[Finding]) {
    for finding in findings {
        match &finding.problem {
            None => println!("ok    {}", finding.what),
            Some(problem) => println!("WRONG {}: {problem}", finding.what),
        }
    }
}
