//! A Kafka broker of its own: Apache Kafka in KRaft mode, one node that is broker and controller.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use tempfile::TempDir;

use crate::{cache, child::Child, ports};

const VERSION: &str = "4.3.0";

/// A running broker; stops and is removed when dropped.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    jars: PathBuf,
    options: Options,
    child: Option<Child>,
    // After the child: the broker must be gone before its folder.
    folder: TempDir,
}

/// How a broker differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ask clients for a password and grant nothing but to `admin`: `(user, password)` of each
    /// account besides `admin` (password `admin`). Clients need `security.protocol =
    /// SASL_PLAINTEXT` and `sasl.mechanism = PLAIN`.
    pub accounts: Vec<(String, String)>,
    /// Further lines of server.properties.
    pub settings: Vec<(String, String)>,
    /// The most heap, in MB; 0 means 256.
    pub heap_mb: u32,
}

impl Kafka {
    /// Starts a broker with the usual options. It takes about six seconds.
    ///
    /// # Errors
    /// Java or Maven is not installed, or the broker does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a broker.
    ///
    /// # Errors
    /// Java or Maven is not installed, or the broker does not start; the message has the end of
    /// its log.
    pub async fn start_with(options: Options) -> Result<Self> {
        let jars = tokio::task::spawn_blocking(jars).await.context("fetch Kafka")??;
        let folder = tempfile::Builder::new()
            .prefix("causeway-kafka-")
            .tempdir()
            .context("make a folder for Kafka")?;
        let (port, controller) = (ports::free()?, ports::free()?);
        fs::write(
            folder.path().join("server.properties"),
            properties(
                port,
                controller,
                &folder.path().join("data").display().to_string(),
                &options,
            ),
        )
        .context("write server.properties")?;
        fs::write(folder.path().join("log4j2.properties"), include_str!("kafka/log4j2.properties"))
            .context("write log4j2.properties")?;
        let formatted = formatted(&jars)?;
        let data = folder.path().join("data");
        fs::create_dir_all(&data).context("make Kafka's data folder")?;
        for entry in fs::read_dir(&formatted).context("read a formatted folder")?.flatten() {
            fs::copy(entry.path(), data.join(entry.file_name()))
                .context("copy a formatted folder")?;
        }
        let own = Own { jars, options, child: None, folder };
        let mut kafka = Self { bootstrap: format!("127.0.0.1:{port}"), own: Some(own) };
        kafka.restart().await?;
        Ok(kafka)
    }

    /// A broker that runs already.
    #[must_use]
    pub fn external(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), own: None }
    }

    /// `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client's settings for this broker, as `admin` when it asks for a password.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        if self.own.as_ref().is_some_and(|own| !own.options.accounts.is_empty()) {
            config
                .set("security.protocol", "SASL_PLAINTEXT")
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", "admin")
                .set("sasl.password", "admin");
        }
        config
    }

    /// The process id; none when the broker is not ours or is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref()?.child.as_ref().map(Child::pid)
    }

    /// SIGKILL; its data and ports stay.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.own.as_mut().and_then(|own| own.child.take()) {
            child.kill9();
        }
    }

    /// Starts the broker again on the same data and ports.
    ///
    /// # Errors
    /// It does not start; the message has the end of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9();
        let config = self.client_config();
        let Some(own) = self.own.as_mut() else { bail!("Kafka is not ours to restart") };
        let folder = own.folder.path();
        let heap = if own.options.heap_mb == 0 { 256 } else { own.options.heap_mb };
        let mut command = Command::new("java");
        command
            .arg(format!("-Xmx{heap}m"))
            .args(["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                folder.join("log4j2.properties").display()
            ))
            .arg("-cp")
            .arg(format!("{}/*", own.jars.display()))
            .arg("kafka.Kafka")
            .arg(folder.join("server.properties"))
            .current_dir(folder);
        own.child = Some(Child::start("kafka", &mut command, folder, Some(folder))?);
        let end = std::time::Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(child) = own.child.as_mut() {
                child.must_run()?;
            }
            // First the port: a librdkafka client that is refused backs off for longer than needed.
            if tokio::net::TcpStream::connect(&self.bootstrap).await.is_ok() {
                let config = config.clone();
                let ready = tokio::task::spawn_blocking(move || answers(&config)).await;
                match ready.context("ask Kafka")? {
                    Ok(()) => return Ok(()),
                    Err(error) if std::time::Instant::now() > end => return Err(error),
                    Err(_) => {}
                }
            }
            if std::time::Instant::now() > end {
                let tail = own.child.as_ref().map(|child| child.tail(30)).unwrap_or_default();
                bail!("Kafka does not listen after 90 s:\n{tail}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The broker is registered and says so to clients.
fn answers(config: &ClientConfig) -> Result<()> {
    let consumer: BaseConsumer = config.create().context("make a Kafka client")?;
    let metadata = consumer
        .fetch_metadata(None, Duration::from_secs(5))
        .context("ask Kafka for its brokers")?;
    if metadata.brokers().is_empty() {
        bail!("Kafka has no broker yet");
    }
    Ok(())
}

fn jars() -> Result<PathBuf> {
    cache::once(&format!("kafka-{VERSION}"), |folder| {
        let goal = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";
        let output = format!("-DoutputDirectory={}", folder.display());
        cache::maven(include_str!("kafka/pom.xml"), folder, &[goal.to_owned(), output])
    })
}

/// A formatted data folder, made once: formatting takes a Java start of more than two seconds.
///
/// All brokers of the tests have the same cluster id; no client ever sees two as one, because
/// each asks only its own bootstrap address.
fn formatted(jars: &std::path::Path) -> Result<PathBuf> {
    cache::once(&format!("kafka-{VERSION}-formatted"), |folder| {
        let temp = tempfile::tempdir().context("make a folder")?;
        let config = temp.path().join("server.properties");
        let data = temp.path().join("data");
        let text = properties(9092, 9093, &data.display().to_string(), &Options::default());
        fs::write(&config, text).context("write server.properties")?;
        cache::run(
            Command::new("java")
                .args(["-XX:TieredStopAtLevel=1", "-cp"])
                .arg(format!("{}/*", jars.display()))
                .args(["kafka.tools.StorageTool", "format", "-t", "Y2F1c2V3YXktdGVzdHMtMQ", "-c"])
                .arg(&config),
        )
        .context("format Kafka's data folder")?;
        for entry in fs::read_dir(&data).context("read Kafka's data folder")?.flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name())).context("copy")?;
            }
        }
        Ok(())
    })
}

fn properties(port: u16, controller: u16, data: &str, options: &Options) -> String {
    let secured = !options.accounts.is_empty();
    let protocol = if secured { "SASL_PLAINTEXT" } else { "PLAINTEXT" };
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
inter.broker.listener.name={protocol}
controller.listener.names=CONTROLLER
listener.security.protocol.map={protocol}:{protocol},CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"
    );
    if secured {
        // The controller's own connection has no name; clients cannot come that way.
        text.push_str(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
",
        );
        let mut jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"admin\" password=\"admin\" user_admin=\"admin\""
            .to_owned();
        for (user, password) in &options.accounts {
            jaas.push_str(&format!(" user_{user}=\"{password}\""));
        }
        text.push_str(&format!("listener.name.sasl_plaintext.plain.sasl.jaas.config={jaas};\n"));
    }
    for (name, value) in &options.settings {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}
