//! `sqlserver-standin`: the stand-in as a process of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use causeway_sqlserver_standin::tds::prelogin::Encryption;
use causeway_sqlserver_standin::tds::reply::AttentionStyle;
use causeway_sqlserver_standin::{Options, Server};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for SQL Server, for tests and demonstrations: TDS 7.4, T-SQL, change data capture.
#[derive(Debug, Parser)]
#[command(name = "sqlserver-standin", version)]
struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File with the password of sa; one line.
    #[arg(long)]
    sa_password_file: PathBuf,
    /// Time between a commit and its appearance in the change tables, in milliseconds.
    #[arg(long, default_value_t = 20)]
    capture_latency_ms: u64,
    /// What the server does about encryption.
    #[arg(long, value_enum, default_value = "offered")]
    encryption: EncryptionArgument,
    /// How an attention that interrupts a reply is acknowledged.
    #[arg(long, value_enum, default_value = "separate")]
    attention: AttentionArgument,
    /// Write the server's certificate (PEM) here, for clients that verify it.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Write every distinct SQL text here, one JSON string a line.
    #[arg(long)]
    sql_log: Option<PathBuf>,
    /// Address of the control interface (HTTP); port 0 takes a free one.
    #[arg(long)]
    control: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncryptionArgument {
    Offered,
    Required,
    Unsupported,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AttentionArgument {
    InReply,
    Separate,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // a session that waits for a lock holds one of these
        .max_blocking_threads(1024)
        // a statement needs less than 2 MB (see sql/depth.rs); procedures, triggers and functions call each other
        .thread_stack_size(8 << 20)
        .build()
        .context("starting the runtime")?
        .block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let path = &arguments.sa_password_file;
    let password = std::fs::read_to_string(path)
        .with_context(|| format!("reading the password of sa from {}", path.display()))?;
    let server = Server::start(Options {
        listen: arguments.listen,
        sa_password: password.trim_end_matches(['\r', '\n']).to_owned(),
        capture_latency_ms: arguments.capture_latency_ms,
        encryption: match arguments.encryption {
            EncryptionArgument::Offered => Encryption::Offered,
            EncryptionArgument::Required => Encryption::Required,
            EncryptionArgument::Unsupported => Encryption::Unsupported,
        },
        sql_log: arguments.sql_log,
        control: arguments.control,
    })
    .await?;
    server.set_attention_style(match arguments.attention {
        AttentionArgument::InReply => AttentionStyle::InReply,
        AttentionArgument::Separate => AttentionStyle::Separate,
    });
    if let Some(path) = &arguments.certificate {
        std::fs::write(path, server.certificate_pem())
            .with_context(|| format!("writing the certificate to {}", path.display()))?;
    }
    // the lines that whoever started this process waits for
    let mut out = std::io::stdout();
    if let Some(control) = server.control {
        writeln!(out, "control on {control}").context("writing to standard output")?;
    }
    writeln!(out, "listening on {}", server.addr)
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await;
    Ok(())
}
