//! `causeway-source`: from SQL Server to Kafka.

#![expect(clippy::print_stdout, reason = "what `check` and `status` are asked for")]

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use causeway_observability::admin::{self, Health};
use causeway_service::{
    exit::{self, Code, UsageContext as _},
    settings::{File, Pipeline},
    shutdown,
};
use causeway_source::{Findings, Settings};
use clap::{Args, Parser, Subcommand};
use tokio::task::JoinSet;

/// Publishes the changes of a SQL Server database to Kafka.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at everything that would stop the source, and say what mends it. Writes nothing.
    Check(Common),
    /// Check, then copy and stream until told to stop.
    Run(Common),
    /// Ask a running source where it is.
    Status(Common),
}

#[derive(Args)]
struct Common {
    /// The pipeline's configuration.
    #[arg(long, default_value = "causeway.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::block_on(async {
        match cli.command {
            Command::Check(common) => check(common).await,
            Command::Run(common) => run(common).await,
            Command::Status(common) => status(common).await,
        }
    })
}

/// Reads the configuration, with its secrets.
async fn load(common: &Common) -> anyhow::Result<(Settings, causeway_observability::Config)> {
    let mut file = File::load(&common.config)?;
    let vault: Option<causeway_vault::Config> = file.optional("vault")?;
    let resolver = causeway_vault::resolver(vault.as_ref()).await.usage("open the vault")?;
    file.resolve(async |reference| resolver.lookup(&reference).await).await?;
    let observability: causeway_observability::Config = file.section_or_default("observability")?;
    observability.validate().usage("[observability]")?;
    let settings = Settings {
        pipeline: file.section::<Pipeline>("pipeline")?.name,
        source: file.section_or_default("source")?,
        sqlserver: file.section("sqlserver")?,
        kafka: file.section("kafka")?,
        registry: file.section("registry")?,
        sample_ratio: observability.sample_ratio,
    };
    let path = common.config.display().to_string();
    settings.source.validate().usage(path.clone())?;
    settings.sqlserver.validate().usage(path.clone())?;
    settings.kafka.validate().usage(path.clone())?;
    settings.registry.validate().usage(path)?;
    Ok((settings, observability))
}

async fn check(common: Common) -> anyhow::Result<Code> {
    let (settings, _) = load(&common).await?;
    let Findings(mut findings) = causeway_source::check(&settings).await;
    findings.sort_by_key(|finding| finding.severity);
    for finding in &findings {
        println!("{finding}");
    }
    let errors = Findings(findings).errors().count();
    if errors == 0 {
        println!("check: nothing keeps the source from running");
        Ok(Code::Done)
    } else {
        println!("check: {errors} error(s)");
        Ok(Code::Other(exit::USAGE))
    }
}

async fn run(common: Common) -> anyhow::Result<Code> {
    let (settings, observability) = load(&common).await?;
    let findings = causeway_source::check(&settings).await;
    let errors: Vec<String> = findings.errors().map(ToString::to_string).collect();
    if !errors.is_empty() {
        for line in errors {
            eprintln!("{line}");
        }
        return Ok(Code::Other(exit::USAGE));
    }
    match causeway_source::run::create_topics(&settings).await {
        Ok(()) => {}
        Err(error) if error.is_usage() => return Err(error).usage("create the topics"),
        // What passes is tried again as long as it takes.
        Err(error) if error.is_transient() => {}
        Err(error) => return Err(error).context("create the topics"),
    }
    let _guard =
        causeway_observability::init("causeway-source", &settings.pipeline, &observability)?;
    for finding in &findings.0 {
        tracing::warn!("{finding}");
    }
    let stop = shutdown::token().context("handle signals")?;
    let health = Health::new();
    let (_, admin) =
        admin::serve(observability.source_listen, health.clone(), stop.clone()).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(admin);
    let result = causeway_source::run(&settings, &health, &stop).await;
    stop.cancel();
    tasks.shutdown().await;
    match result {
        Ok(()) => Ok(Code::Done),
        Err(error) if error.is_usage() => Err(error).usage("the source stopped"),
        Err(error) => Err(error).context("the source stopped"),
    }
}

/// `/status` of the source that runs with this configuration.
async fn status(common: Common) -> anyhow::Result<Code> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let (_, observability) = load(&common).await?;
    let address = observability.source_listen;
    let mut tcp = tokio::net::TcpStream::connect(address)
        .await
        .with_context(|| format!("no source answers at {address}"))?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.context("ask for the status")?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.context("read the status")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: serde_json::Value = serde_json::from_str(body).context("read the status")?;
    println!("{}", serde_json::to_string_pretty(&json)?);
    Ok(Code::Done)
}
