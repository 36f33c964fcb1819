//! A schema registry of its own: Apicurio, which speaks Confluent's API.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{cache, child::Child, ports};

const VERSION: &str = "2.6.13.Final";

/// A running registry; stops when dropped. It keeps its schemas in memory, so a test that kills
/// other servers leaves this one alone.
#[derive(Debug)]
pub struct Registry {
    url: String,
    _own: Option<(Child, TempDir)>,
}

impl Registry {
    /// Starts a registry. It takes about four seconds.
    ///
    /// # Errors
    /// Java or Maven is not installed, or the registry does not start; the message has the end of
    /// its log.
    pub async fn start() -> Result<Self> {
        let home = tokio::task::spawn_blocking(home).await.context("fetch the registry")??;
        let jar = home.join(format!("apicurio-registry-app-{VERSION}-runner.jar"));
        let folder = tempfile::Builder::new()
            .prefix("causeway-registry-")
            .tempdir()
            .context("make a folder for the registry")?;
        let port = ports::free()?;
        let mut command = Command::new("java");
        command
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.io.tmpdir={}", folder.path().display()))
            .arg("-jar")
            .arg(&jar)
            .env("QUARKUS_HTTP_HOST", "127.0.0.1")
            .env("QUARKUS_HTTP_PORT", port.to_string())
            .current_dir(folder.path());
        let mut child = Child::start("registry", &mut command, folder.path(), Some(folder.path()))?;
        let url = format!("http://127.0.0.1:{port}/apis/ccompat/v7");
        let end = std::time::Instant::now() + Duration::from_secs(90);
        let http = reqwest::Client::new();
        loop {
            child.must_run()?;
            let answer = http.get(format!("{url}/subjects")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(Self { url, _own: Some((child, folder)) });
            }
            if std::time::Instant::now() > end {
                bail!("the registry does not answer after 90 s:\n{}", child.tail(30));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A registry that runs already.
    #[must_use]
    pub fn external(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), _own: None }
    }

    /// The base URL of Confluent's API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn home() -> Result<PathBuf> {
    cache::once(&format!("apicurio-registry-{VERSION}"), |folder| {
        let goal = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy".to_owned();
        let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
        let output = format!("-DoutputDirectory={}", folder.display());
        cache::maven(include_str!("kafka/pom.xml"), folder, &[goal, artifact, output])?;
        let tar = folder.join(format!("apicurio-registry-app-{VERSION}-all.tar.gz"));
        cache::run(Command::new("tar").arg("-xzf").arg(&tar).arg("-C").arg(folder))
            .context("unpack the registry")?;
        fs::remove_file(&tar).context("remove the registry's archive")
    })
}
