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
    check::{Finding, check},
    run::{self, Parts},
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
        }
    })
}

async fn run(parts: Parts, watched: causeway_observability::Config) -> anyhow::Result<Code> {
    // First of all: who is told to stop while it still looks around ends with 0, too.
    let stop = shutdown::token().usage("listen for signals")?;
    let findings = tokio::select! {
        findings = check(&parts) => findings,
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
