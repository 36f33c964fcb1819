//! `causeway-stack COMMAND ARGS...`: starts PostgreSQL, Kafka and the schema registry, runs the
//! command with the environment variables that name them, stops them, and ends with its code.
//!
//! `make test` runs all test binaries under it, so that they share the servers. What the
//! environment already names is not started.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{env, kafka::Kafka, postgres::Postgres, registry::Registry};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn run() -> Result<u8> {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else { bail!("usage: causeway-stack COMMAND ARGS...") };
    let start = Instant::now();
    let (postgres, kafka, registry) = tokio::try_join!(
        async {
            match env::var(env::POSTGRES_URL) {
                Some(url) => Postgres::external(&url),
                None => Postgres::start().await,
            }
        },
        async {
            match env::var(env::KAFKA_BOOTSTRAP) {
                Some(bootstrap) => Ok(Kafka::external(&bootstrap)),
                None => Kafka::start().await,
            }
        },
        async {
            match env::var(env::SCHEMA_REGISTRY_URL) {
                Some(url) => Ok(Registry::external(&url)),
                None => Registry::start().await,
            }
        },
    )?;
    eprintln!(
        "causeway-stack: PostgreSQL {}:{}, Kafka {}, registry {} after {:.1} s",
        postgres.host(),
        postgres.port(),
        kafka.bootstrap(),
        registry.url(),
        start.elapsed().as_secs_f64()
    );
    let mut child = Command::new(&program)
        .args(args)
        .env(env::POSTGRES_URL, postgres.url("postgres"))
        .env(env::KAFKA_BOOTSTRAP, kafka.bootstrap())
        .env(env::SCHEMA_REGISTRY_URL, registry.url())
        .spawn()
        .with_context(|| format!("start {}", program.to_string_lossy()))?;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        if let Some(status) = child.try_wait().context("wait for the command")? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        tokio::select! {
            // The command is in our process group: the terminal has told it too.
            _ = &mut interrupt => {
                drop(child.wait());
                return Ok(130);
            }
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}
