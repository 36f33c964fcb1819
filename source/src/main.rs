//! `causeway-source`: from SQL Server to Kafka.

#![expect(clippy::print_stdout, reason = "what `check` and `status` are asked for")]

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use causeway_change::TableId;
use causeway_observability::admin::{self, Health};
use causeway_service::{
    exit::{self, Code, UsageContext as _},
    settings::{File, Pipeline},
    shutdown,
};
use causeway_source::{
    Findings, Settings,
    offsets::{self, OffsetsError, Reset},
    send::{self, Outgoing},
};
use clap::{Args, Parser, Subcommand};
use tokio::task::JoinSet;

// The driver asks for memory several times for each row: this one takes less of the processor's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Show, reset or import what the source has stored of its progress.
    #[command(long_about = OFFSETS_HELP)]
    Offsets {
        #[command(subcommand)]
        command: Offsets,
    },
    /// Ask a running source for another snapshot, or to pause.
    #[command(long_about = SIGNAL_HELP)]
    Signal {
        #[command(flatten)]
        common: Common,
        /// The signal's name, by which its notifications are found; a name that was done before is
        /// ignored. Made up when it is left out.
        #[arg(long, global = true)]
        id: Option<String>,
        #[command(subcommand)]
        command: SignalCommand,
    },
}

const SIGNAL_HELP: &str = "\
Ask a running source for another snapshot, or to pause.

The signal is written to the topic <pipeline>.signal, in Debezium's JSON, so any other program can write
it too; the source takes it within a second, or when it starts. What becomes of it is told in the topic
<pipeline>.notifications and on /status.

  causeway-source signal execute-snapshot --table dbo.orders
  causeway-source signal execute-snapshot --table dbo.orders --filter \"created > '2024-01-01'\"
  causeway-source signal execute-snapshot --table dbo.orders --keys '[{\"id\": 7}, {\"id\": 9}]'
  causeway-source signal stop-snapshot --table dbo.orders
  causeway-source signal pause

A snapshot is taken while changes stream; nothing is locked and nothing is written to SQL Server.";

#[derive(Subcommand)]
enum SignalCommand {
    /// Copy tables again, or some of their rows.
    ///
    /// The rows are published as reads (op r) and carry the newest values; a row that changes
    /// meanwhile is published as the stream has it. It does not find rows that exist in the target
    /// only: that is causeway-reconcile's work.
    ExecuteSnapshot {
        /// A table, as SCHEMA.TABLE; may be given several times.
        #[arg(long = "table", required = true)]
        tables: Vec<String>,
        /// Only the rows for which this T-SQL condition holds.
        #[arg(long, conflicts_with = "keys")]
        filter: Option<String>,
        /// Only these keys: a JSON list of {"column": value}, of [value, …] in key order, or of
        /// values. A key that does not exist gives nothing.
        #[arg(long)]
        keys: Option<String>,
        /// A column that is never NULL and by which the rows are read in order, in the place of the
        /// key, because an index begins with it.
        #[arg(long)]
        surrogate_key: Option<String>,
    },
    /// Give up snapshots that signals asked for: of these tables, or all.
    StopSnapshot {
        /// A table, as SCHEMA.TABLE; may be given several times.
        #[arg(long = "table")]
        tables: Vec<String>,
    },
    /// Read no more chunks of snapshots; changes go on streaming.
    PauseSnapshot,
    /// Read chunks again.
    ResumeSnapshot,
    /// Read nothing at all until resume, over restarts too. Mind the retention of the cleanup job.
    Pause,
    /// Go on after a pause.
    Resume,
}

const OFFSETS_HELP: &str = "\
Show, reset or import what the source has stored of its progress.

The source keeps its position and the state of each table's snapshot in the compacted topic
<pipeline>.offsets, written in the same Kafka transaction as the data. So a start always goes on exactly
behind what is published, and these commands are needed only to go on from somewhere else:

  * a table must be copied again (a gap, a mistake in the target):  offsets reset --table dbo.orders --yes
  * everything must be copied again:                                offsets reset --yes
  * a Debezium connector is replaced:                               offsets import-debezium FILE --yes

Without --yes they say what they would do and change nothing. They refuse while a source runs, as far as
that can be known.";

#[derive(Subcommand)]
enum Offsets {
    /// Say in words where the source stands. Reads only; a running source is not disturbed.
    Show(Common),
    /// Forget the position and all snapshots, or take the snapshot of one table again.
    ///
    /// With --table the position stays: at the next start the table is copied again, whatever the
    /// snapshot mode, while the others go on. Without it the next start is the first: all tables
    /// are copied, and changes that were captured before are in the copies.
    ///
    /// Rows that were deleted while nobody looked are not deleted in the target by a copy;
    /// causeway-reconcile finds them.
    Reset {
        #[command(flatten)]
        common: Common,
        /// The table, as SCHEMA.TABLE.
        #[arg(long, value_parser = table)]
        table: Option<TableId>,
        /// Do it, and do not only say what would be done.
        #[arg(long)]
        yes: bool,
        /// Do it although a source may be running: it is fenced, and goes on five seconds later from
        /// what is stored then.
        #[arg(long)]
        force: bool,
    },
    /// Go on where a Debezium SQL Server connector stands, without copying the tables again.
    ///
    /// FILE holds the connector's offsets, in one of these forms; - reads them from standard input:
    ///
    ///   curl http://connect:8083/connectors/NAME/offsets
    ///
    ///   kafka-console-consumer --bootstrap-server HOST:PORT --topic connect-offsets \
    ///     --from-beginning --property print.key=true
    ///
    ///   {"commit_lsn": "00000027:00000ac0:0002", "change_lsn": "00000027:00000ac0:0001"}
    ///
    /// Stop the connector first. Its last transaction is published again as a whole, because it may
    /// have stopped inside it; a sink that has the rows already changes nothing by it. With
    /// [pipeline] name = the connector's topic.prefix, the topics are the same.
    #[command(verbatim_doc_comment)]
    ImportDebezium {
        #[command(flatten)]
        common: Common,
        /// The file, or - for standard input.
        file: PathBuf,
        /// Do it, and do not only say what would be done.
        #[arg(long)]
        yes: bool,
    },
}

fn table(text: &str) -> Result<TableId, String> {
    match text.split_once('.') {
        Some((schema, name)) if !schema.is_empty() && !name.is_empty() => {
            Ok(TableId::new(schema, name))
        }
        Some(_) | None => Err("a table is written SCHEMA.TABLE, such as dbo.orders".to_owned()),
    }
}

#[derive(Args)]
struct Common {
    /// The pipeline's configuration.
    #[arg(long, default_value = "causeway.toml", global = true)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::block_on(async {
        match cli.command {
            Command::Check(common) => check(common).await,
            Command::Run(common) => run(common).await,
            Command::Status(common) => status(common).await,
            Command::Offsets { command } => offsets(command).await,
            Command::Signal { common, id, command } => signal(common, id, command).await,
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
    let (_, observability) = load(&common).await?;
    let address = observability.source_listen;
    let status =
        offsets::ask(address).await.with_context(|| format!("no source answers at {address}"))?;
    println!("{}", serde_json::to_string_pretty(&status)?);
    Ok(Code::Done)
}

async fn offsets(command: Offsets) -> anyhow::Result<Code> {
    let said = match command {
        Offsets::Show(common) => offsets::show(&load(&common).await?.0).await,
        Offsets::Reset { common, table, yes, force } => {
            let (settings, observability) = load(&common).await?;
            let listen = observability.source_listen;
            offsets::reset(&settings, &Reset { table, yes, force, listen }).await
        }
        Offsets::ImportDebezium { common, file, yes } => {
            let (settings, _) = load(&common).await?;
            let text = if file.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("read standard input")?;
                text
            } else {
                std::fs::read_to_string(&file)
                    .with_context(|| format!("read {}", file.display()))
                    .usage("import the offsets of a connector")?
            };
            offsets::import(&settings, &text, yes).await
        }
    };
    match said {
        Ok(said) => {
            println!("{}", said.trim_end());
            Ok(Code::Done)
        }
        Err(OffsetsError::Source(error)) if !error.is_usage() => {
            Err(error).context("the offsets were not changed")
        }
        Err(error) => Err(error).usage("the offsets were not changed"),
    }
}

async fn signal(
    common: Common,
    id: Option<String>,
    command: SignalCommand,
) -> anyhow::Result<Code> {
    let (settings, _) = load(&common).await?;
    let (kind, data) = match command {
        SignalCommand::ExecuteSnapshot { tables, filter, keys, surrogate_key } => {
            let keys: Option<serde_json::Value> = match keys {
                Some(text) => Some(serde_json::from_str(&text).usage("--keys is not JSON")?),
                None => None,
            };
            if keys.as_ref().is_some_and(|keys| !keys.is_array()) {
                return Err(exit::usage("--keys is not a JSON list"));
            }
            let surrogate = surrogate_key.as_deref();
            let data = send::snapshot(&tables, filter.as_deref(), surrogate, keys.as_ref());
            ("execute-snapshot", data)
        }
        SignalCommand::StopSnapshot { tables } => ("stop-snapshot", send::tables(&tables)),
        SignalCommand::PauseSnapshot => ("pause-snapshot", serde_json::json!({})),
        SignalCommand::ResumeSnapshot => ("resume-snapshot", serde_json::json!({})),
        SignalCommand::Pause => ("pause", serde_json::json!({})),
        SignalCommand::Resume => ("resume", serde_json::json!({})),
    };
    match send::send(&settings, Outgoing { id, kind, data }).await {
        Ok(id) => {
            println!("signal {id} is in topic {}", causeway_source::run::signals_topic(&settings));
            Ok(Code::Done)
        }
        Err(error) if error.is_usage() => Err(error).usage("send a signal"),
        Err(error) => Err(error).context("send a signal"),
    }
}
