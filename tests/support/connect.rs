//! Kafka Connect of its own, with the peers that our programs are compared with: Debezium's SQL
//! Server connector and Debezium's JDBC sink, as they are published.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use crate::{cache, child::Child, kafka::Kafka, ports, registry::Registry, wait};

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8";
/// The last version that is published for each; the sink's trails the source's.
const SQLSERVER: &str = "io.debezium:debezium-connector-sqlserver:3.6.1.Final";
const JDBC: &str = "io.debezium:debezium-connector-jdbc:3.6.0.Final";

/// A running Connect worker in standalone mode; stops when dropped.
#[derive(Debug)]
pub struct Connect {
    url: String,
    converter: Map<String, Json>,
    child: Child,
    _folder: TempDir,
}

impl Connect {
    /// Starts a worker. It takes about ten seconds.
    ///
    /// # Errors
    /// Java or Maven is not installed, or the worker does not start; the message has the end of its
    /// log.
    pub async fn start(kafka: &Kafka, registry: &Registry, heap_mb: u32) -> Result<Self> {
        let home = tokio::task::spawn_blocking(home).await.context("fetch Connect")??;
        let folder = tempfile::Builder::new()
            .prefix("causeway-connect-")
            .tempdir()
            .context("make a folder for Connect")?;
        let port = ports::free()?;
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).with_context(|| format!("write {name}"))
        };
        write("log4j2.properties", include_str!("connect/log4j2.properties"))?;
        write(
            "worker.properties",
            &format!(
                "bootstrap.servers={}
listeners=http://127.0.0.1:{port}
plugin.path={}
plugin.discovery=service_load
offset.storage.file.filename={}
offset.flush.interval.ms=500
connector.client.config.override.policy=All
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
",
                kafka.bootstrap(),
                home.join("plugins").display(),
                folder.path().join("offsets").display(),
            ),
        )?;
        let mut command = Command::new("java");
        command
            .arg(format!("-Xmx{heap_mb}m"))
            .arg("-XX:+UseSerialGC")
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                folder.path().join("log4j2.properties").display()
            ))
            .arg("-cp")
            .arg(format!("{}/*", home.join("runtime").display()))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .arg(folder.path().join("worker.properties"))
            .current_dir(folder.path());
        let child = Child::start("connect", &mut command, folder.path(), Some(folder.path()))?;
        let url = format!("http://127.0.0.1:{port}");
        let mut connect = Self { url, converter: converter(registry), child, _folder: folder };
        let end = std::time::Instant::now() + Duration::from_secs(120);
        loop {
            connect.child.must_run()?;
            let answer = reqwest::get(format!("{}/connectors", connect.url)).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(connect);
            }
            if std::time::Instant::now() > end {
                bail!("Connect does not answer after 120 s:\n{}", connect.child.tail(30));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts a connector with Avro in Confluent's wire format, and waits until its tasks run.
    ///
    /// # Errors
    /// Connect refuses the configuration, or a task fails: the message has its trace.
    pub async fn create(&mut self, name: &str, config: Json) -> Result<()> {
        let mut all = self.converter.clone();
        if let Json::Object(config) = config {
            all.extend(config);
        }
        let body = json!({"name": name, "config": all.clone()});
        let answer = reqwest::Client::new()
            .post(format!("{}/connectors", self.url))
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .context("ask Connect for a connector")?;
        if !answer.status().is_success() {
            let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
            bail!("Connect refuses connector {name} ({status}): {text}\n{}", self.tail(20));
        }
        let this = &*self;
        let count =
            all.get("tasks.max").and_then(Json::as_str).and_then(|tasks| tasks.parse().ok());
        // The connector itself has a state, too.
        let wanted = 1 + count.unwrap_or(1);
        wait::until(&format!("connector {name} to run"), Duration::from_secs(60), || async {
            let states = this.states(name).await?;
            let run = states.len() == wanted && states.iter().all(|state| state == "RUNNING");
            Ok(run.then_some(()))
        })
        .await
        .with_context(|| self.tail(30))
    }

    /// The states of a connector and its tasks.
    ///
    /// # Errors
    /// A task has failed: the message has its trace.
    pub async fn states(&self, name: &str) -> Result<Vec<String>> {
        let url = format!("{}/connectors/{name}/status", self.url);
        let status: Json = reqwest::get(url).await?.json().await.context("a connector's status")?;
        let text = |of: &Json, path: &str| {
            of.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let mut states = vec![text(&status, "/connector/state")];
        for task in status.get("tasks").and_then(Json::as_array).into_iter().flatten() {
            let state = text(task, "/state");
            if state == "FAILED" {
                bail!("a task of {name} failed: {}", text(task, "/trace"));
            }
            states.push(state);
        }
        Ok(states)
    }

    /// Tells a connector to `pause`, `stop` (its tasks end, its offsets stay) or `resume`.
    ///
    /// # Errors
    /// Connect refuses, or does not answer.
    pub async fn put(&self, name: &str, action: &str) -> Result<()> {
        let url = format!("{}/connectors/{name}/{action}", self.url);
        let answer = reqwest::Client::new().put(url).send().await.context("tell a connector")?;
        if !answer.status().is_success() {
            bail!("Connect refuses to {action} {name} ({})", answer.status());
        }
        Ok(())
    }

    /// Stops a connector for good.
    ///
    /// # Errors
    /// Connect does not answer.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let url = format!("{}/connectors/{name}", self.url);
        reqwest::Client::new().delete(url).send().await.context("stop a connector")?;
        Ok(())
    }

    /// The process id of the worker.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        self.child.tail(lines)
    }
}

/// Debezium's SQL Server connector, by default settings but for what our events have too.
#[must_use]
pub fn debezium_source(
    prefix: &str,
    server: &crate::sqlserver::SqlServer,
    database: &str,
    kafka: &Kafka,
) -> Json {
    json!({
        "connector.class": "io.debezium.connector.sqlserver.SqlServerConnector",
        "tasks.max": "1",
        "topic.prefix": prefix,
        "database.hostname": server.host(),
        "database.port": server.port().to_string(),
        "database.user": "sa",
        "database.password": server.sa_password(),
        "database.names": database,
        "driver.trustServerCertificate": "true",
        "schema.history.internal.kafka.bootstrap.servers": kafka.bootstrap(),
        "schema.history.internal.kafka.topic": format!("{prefix}.history"),
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
        "include.schema.changes": "false",
        "column.propagate.source.type": ".*",
    })
}

/// Debezium's JDBC sink into PostgreSQL, as upserts with deletes.
#[must_use]
pub fn debezium_sink(
    topics: &[String],
    server: &crate::postgres::Postgres,
    database: &str,
) -> Json {
    json!({
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topics.join(","),
        "connection.url": format!(
            "jdbc:postgresql://{}:{}/{database}", server.host(), server.port()
        ),
        "connection.username": server.user(),
        "connection.password": server.password(),
        "insert.mode": "upsert",
        "delete.enabled": "true",
        "primary.key.mode": "record_key",
        "schema.evolution": "basic",
        "collection.name.format": "${source.table}",
        "quote.identifiers": "true",
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.isolation.level": "read_committed",
    })
}

fn converter(registry: &Registry) -> Map<String, Json> {
    // Apicurio's own API beside the one of Confluent's.
    let url = registry.url().replace("/apis/ccompat/v7", "/apis/registry/v2");
    let mut all = Map::new();
    for side in ["key", "value"] {
        let mut set = |name: &str, value: &str| {
            all.insert(format!("{side}.converter{name}"), Json::String(value.to_owned()));
        };
        set("", "io.apicurio.registry.utils.converter.AvroConverter");
        set(".apicurio.registry.url", &url);
        set(".apicurio.registry.auto-register", "true");
        set(".apicurio.registry.find-latest", "false");
        set(".apicurio.registry.as-confluent", "true");
        // Else the schema's id is in a header, and the record has no frame.
        set(".apicurio.registry.headers.enabled", "false");
        set(".apicurio.registry.use-id", "contentId");
        set(
            ".apicurio.registry.avro-datum-provider",
            "io.apicurio.registry.serde.avro.DefaultAvroDatumProvider",
        );
    }
    all
}

/// The folder with `runtime` (jars of Connect) and `plugins` (a folder each).
fn home() -> Result<PathBuf> {
    cache::once("kafka-connect-4.3.0-debezium-3.6.1", |folder| {
        let jars = |pom: &str, to: &Path| {
            fs::create_dir_all(to).context("make a folder")?;
            let output = format!("-DoutputDirectory={}", to.display());
            cache::maven(pom, folder, &[format!("{COPY}:copy-dependencies"), output])
        };
        jars(include_str!("connect/runtime.xml"), &folder.join("runtime"))?;
        let converter = folder.join("plugins/apicurio-converter");
        jars(include_str!("connect/converter.xml"), &converter)?;
        // Its jar does not say that it has one, so Connect would have to look into every class.
        let services = converter.join("META-INF/services");
        fs::create_dir_all(&services).context("make a folder")?;
        fs::write(
            services.join("org.apache.kafka.connect.storage.Converter"),
            "io.apicurio.registry.utils.converter.AvroConverter\n",
        )
        .context("write the converter's service file")?;
        cache::run(
            Command::new("jar")
                .args(["--create", "--file"])
                .arg(converter.join("services.jar"))
                .arg("-C")
                .arg(&converter)
                .arg("META-INF"),
        )
        .context("pack the converter's service file")?;
        for artifact in [SQLSERVER, JDBC] {
            let what = format!("-Dartifact={artifact}:tar.gz:plugin");
            let output = format!("-DoutputDirectory={}", folder.display());
            let pom = include_str!("connect/runtime.xml");
            cache::maven(pom, folder, &[format!("{COPY}:copy"), what, output])?;
            let mut parts = artifact.split(':').skip(1);
            let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let archive = folder.join(format!("{name}-{version}-plugin.tar.gz"));
            cache::run(
                Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.join("plugins")),
            )
            .context("unpack a plugin")?;
            fs::remove_file(&archive).context("remove a plugin's archive")?;
        }
        Ok(())
    })
}
