//! The preflight check: everything that would stop the source, in one list, with what mends it. It writes
//! nothing.

use std::fmt;

use causeway_kafka::{Admin, Registry, topic};
use causeway_service::exit;
use causeway_sqlserver::{
    Client, Discovery, SqlServerError, catalog,
    identifier::{literal, quote, table},
    queries, rotation,
};

use crate::{heap, message_key, run::Settings, shared::Sight};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The source cannot run.
    Error,
    /// It can, and something will be worse than it need be.
    Warning,
    /// Good to know.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One thing that was found: a sentence, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, and where.
    pub what: String,
    /// What mends it: T-SQL, or a line of the configuration. Empty when the sentence says it.
    pub mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.what)?;
        if !self.mend.is_empty() {
            write!(f, "; to mend it: {}", self.mend)?;
        }
        Ok(())
    }
}

/// All findings of one check.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, what: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Finding { severity, what: what.into(), mend: mend.into() });
    }

    /// The findings that keep the source from running.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.severity == Severity::Error)
    }
}

/// Looks at everything.
pub async fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    match Client::connect(&settings.sqlserver).await {
        Ok(mut client) => {
            if let Err(error) = check_sqlserver(settings, &mut client, &mut findings).await {
                findings.add(Severity::Error, exit::chain_line(&error), "");
            }
        }
        Err(error) => {
            let mend = mend_connect(&error, settings);
            findings.add(Severity::Error, exit::chain_line(&error), mend);
        }
    }
    check_registry(settings, &mut findings).await;
    check_kafka(settings, &mut findings).await;
    findings
}

fn mend_connect(error: &SqlServerError, settings: &Settings) -> String {
    match error {
        SqlServerError::Connect { .. } => {
            "start the server, or correct host and port in [sqlserver]".to_owned()
        }
        SqlServerError::Login { .. } => format!(
            "correct user and password in [sqlserver], or on the server: CREATE LOGIN {0} WITH PASSWORD = '…'; \
             USE {1}; CREATE USER {0} FOR LOGIN {0};",
            quote(&settings.sqlserver.user),
            quote(&settings.sqlserver.database)
        ),
        SqlServerError::Tls { .. }
        | SqlServerError::Permission { .. }
        | SqlServerError::Server { .. }
        | SqlServerError::Connection { .. }
        | SqlServerError::Broken { .. }
        | SqlServerError::Value { .. }
        | SqlServerError::Lsn { .. }
        | SqlServerError::Catalog(_) => String::new(),
    }
}

async fn check_sqlserver(
    settings: &Settings,
    client: &mut Client,
    findings: &mut Findings,
) -> Result<(), SqlServerError> {
    let facts = catalog::database(client).await?;
    let database = &facts.name;
    if !facts.cdc_enabled {
        findings.add(
            Severity::Error,
            format!("change data capture is off in database {database}"),
            format!("USE {}; EXEC sys.sp_cdc_enable_db;", quote(database)),
        );
        return Ok(());
    }
    for object in ["change_tables", "captured_columns", "lsn_time_mapping"] {
        if !may_select(client, queries::may_select_cdc(object)).await? {
            findings.add(
                Severity::Error,
                format!("user {} may not read cdc.{object}", settings.sqlserver.user),
                format!("GRANT SELECT ON SCHEMA::cdc TO {};", quote(&settings.sqlserver.user)),
            );
        }
    }
    if findings.errors().next().is_some() {
        return Ok(());
    }
    check_capture_job(client, facts.engine_edition, findings).await?;
    let mut discovery = catalog::discover(client, &settings.source.selection()).await?;
    if let Err(error) = message_key::apply(&settings.source.message_key_columns, &mut discovery) {
        findings.add(Severity::Error, exit::chain_line(&error), "");
    }
    check_tables(settings, client, &discovery, findings).await?;
    check_text_size(client, &discovery, findings).await?;
    if settings.source.rotate_capture_instances && !rotation::may_rotate(client).await? {
        let user = quote(&settings.sqlserver.user);
        findings.add(
            Severity::Error,
            format!(
                "user {} may not make capture instances, which [source] rotate_capture_instances asks for: \
                 that takes the role db_owner",
                settings.sqlserver.user
            ),
            format!("USE {}; ALTER ROLE db_owner ADD MEMBER {user};", quote(database)),
        );
    }
    if !facts.snapshot_isolation && !facts.read_committed_snapshot {
        findings.add(
            Severity::Info,
            "neither snapshot isolation nor read committed snapshot is on: reading a snapshot waits for writers \
             of the same rows",
            format!("ALTER DATABASE {} SET ALLOW_SNAPSHOT_ISOLATION ON;", quote(database)),
        );
    }
    let sight = Sight::of(client).await?;
    let keyless = discovery.instances.iter().find(|i| i.source.table.key.is_empty());
    let lacks = heap::lacks(facts.snapshot_isolation, sight.log_end);
    if let (Some(instance), Some(reason), true) =
        (keyless, lacks, settings.source.snapshot.mode.copies())
    {
        findings.add(
            Severity::Error,
            format!("{} cannot be copied: {reason}", instance.source.id()),
            "or [source] message_key_columns, snapshot.mode = \"no_data\" or exclude",
        );
    }
    if !sight.scans || !sight.log_end {
        findings.add(
            Severity::Warning,
            format!(
                "user {} may not see the log and the capture job; each chunk of a snapshot waits up to {} ms \
                 instead of for proof",
                settings.sqlserver.user, settings.source.snapshot.settle_ms
            ),
            format!(
                "USE master; GRANT VIEW SERVER STATE TO {0}; (Azure SQL Database: GRANT VIEW DATABASE STATE TO {0};)",
                quote(&settings.sqlserver.user)
            ),
        );
    }
    Ok(())
}

/// An answer that the login has no right to, or that this server does not have, is no answer.
fn optional<T>(result: Result<Vec<T>, SqlServerError>) -> Result<Vec<T>, SqlServerError> {
    match result {
        Err(error)
            if error.is_permission()
                || error.is_missing_object()
                // No such procedure; not a member of the role that may run it.
                || matches!(error.number(), Some(2812 | 22904 | 22950 | 22963)) =>
        {
            tracing::debug!(error = exit::chain_line(&error), "part of the check is left out");
            Ok(Vec::new())
        }
        result => result,
    }
}

async fn may_select(
    client: &mut Client,
    query: causeway_sqlserver::Query,
) -> Result<bool, SqlServerError> {
    // NULL: there is no such object, which something else will say.
    match client.one(&query).await? {
        Some(record) => Ok(record.number(0)? != Some(0)),
        None => Ok(true),
    }
}

/// SQL Server Agent runs the capture job, except on Azure.
async fn check_capture_job(
    client: &mut Client,
    engine_edition: i32,
    findings: &mut Findings,
) -> Result<(), SqlServerError> {
    const AZURE: [i32; 2] = [5, 8];
    if AZURE.contains(&engine_edition) {
        return Ok(());
    }
    let agent = optional(client.all(&queries::agent()).await)?;
    if let Some(record) = agent.first()
        && record.number(0)? != Some(4)
    {
        findings.add(
            Severity::Warning,
            "SQL Server Agent does not run, so nothing new is captured",
            "start the service (Linux: mssql-conf set sqlagent.enabled true)",
        );
    }
    let asked = client.all(&queries::cdc_jobs()).await;
    let answered = asked.is_ok();
    let jobs = optional(asked)?;
    let mut capture = false;
    for job in &jobs {
        capture |= job.text(1)?.is_some_and(|kind| kind.trim() == "capture");
    }
    if answered && !capture {
        findings.add(
            Severity::Warning,
            "the database has no capture job, so nothing new is captured",
            "EXEC sys.sp_cdc_add_job @job_type = N'capture'; EXEC sys.sp_cdc_start_job @job_type = N'capture';",
        );
    }
    Ok(())
}

async fn check_tables(
    settings: &Settings,
    client: &mut Client,
    discovery: &Discovery,
    findings: &mut Findings,
) -> Result<(), SqlServerError> {
    for refused in &discovery.refused {
        findings.add(
            Severity::Error,
            format!("{}, column {}: {}", refused.table, refused.column, refused.reason),
            format!("[source] exclude_columns = [\"{}.{}\"]", refused.table, refused.column),
        );
    }
    let selection = settings.source.selection();
    let (tables, _) = catalog::tables(client, &selection).await?;
    let captured = |id: &causeway_change::TableId| {
        discovery.instances.iter().any(|i| i.source.id() == id)
            || discovery.refused.iter().any(|r| r.table == *id)
    };
    let enable = |schema: &str, name: &str| {
        format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = {}, @source_name = {}, @role_name = NULL, \
             @supports_net_changes = 0;",
            literal(schema),
            literal(name)
        )
    };
    if discovery.instances.is_empty() && discovery.refused.is_empty() {
        let mend = match tables.first() {
            Some(first) => enable(&first.id().schema, &first.id().name),
            None => "correct the patterns, which are written schema.table".to_owned(),
        };
        findings.add(
            Severity::Error,
            format!("no captured table matches [source] tables = {:?}", settings.source.tables),
            mend,
        );
        return Ok(());
    }
    for left in tables.iter().filter(|t| !captured(t.id())) {
        let by_name = settings.source.tables.iter().any(|p| {
            p.eq_ignore_ascii_case(&left.id().to_string())
                || p.eq_ignore_ascii_case(&left.id().name)
        });
        findings.add(
            if by_name { Severity::Error } else { Severity::Info },
            format!("{} is not captured and is not replicated", left.id()),
            enable(&left.id().schema, &left.id().name),
        );
    }
    for pattern in &settings.source.tables {
        let is_name = !pattern.contains(['*', '?']);
        let one = causeway_sqlserver::Patterns::new([pattern]);
        let found = tables.iter().any(|t| one.matches(&t.id().to_string()))
            || discovery.instances.iter().any(|i| one.matches(&i.source.id().to_string()));
        if is_name && !found {
            findings.add(
                Severity::Error,
                format!("there is no table {pattern}, which [source] tables names"),
                "correct the name, which is written schema.table",
            );
        }
    }
    for instance in &discovery.instances {
        let id = instance.source.id();
        if instance.source.table.key.is_empty() {
            findings.add(
                Severity::Warning,
                format!(
                    "{id} has neither a primary key nor a unique index without NULL among its captured columns: its \
                     records have no key and one partition, the sink finds rows by all their values, and it cannot be \
                     copied again beside what was copied"
                ),
                format!(
                    "ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY (…); and enable CDC on it again, or columns that are \
                     unique and never NULL in [source] message_key_columns",
                    table(id),
                    quote(&format!("PK_{}", id.name))
                ),
            );
        }
        if !may_select(client, queries::may_select(id)).await? {
            findings.add(
                Severity::Error,
                format!("user {} may not read {id}", settings.sqlserver.user),
                format!("GRANT SELECT ON {} TO {};", table(id), quote(&settings.sqlserver.user)),
            );
        }
        let change_table = format!("{}_CT", instance.name);
        if !may_select(client, queries::may_select_cdc(&change_table)).await? {
            findings.add(
                Severity::Error,
                format!("user {} may not read cdc.{change_table}", settings.sqlserver.user),
                format!(
                    "GRANT SELECT ON [cdc].{} TO {};",
                    quote(&change_table),
                    quote(&settings.sqlserver.user)
                ),
            );
        }
    }
    Ok(())
}

/// A captured large column limits what the application may write (error 7139).
async fn check_text_size(
    client: &mut Client,
    discovery: &Discovery,
    findings: &mut Findings,
) -> Result<(), SqlServerError> {
    let large = discovery
        .instances
        .iter()
        .find(|i| i.source.columns.iter().any(|column| column.ty.is_large()));
    let Some(instance) = large else { return Ok(()) };
    let setting = optional(client.all(&queries::max_text_repl_size()).await)?;
    if let Some(record) = setting.first()
        && let Some(limit) = record.number(0)?.filter(|limit| *limit != -1)
    {
        findings.add(
            Severity::Warning,
            format!(
                "`max text repl size` is {limit} bytes: on captured tables such as {} larger values are refused \
                 to the application (error 7139)",
                instance.source.id()
            ),
            "EXEC sp_configure 'max text repl size', -1; RECONFIGURE;",
        );
    }
    Ok(())
}

async fn check_registry(settings: &Settings, findings: &mut Findings) {
    let answer = match Registry::new(&settings.registry) {
        Ok(registry) => registry.check().await,
        Err(error) => Err(error),
    };
    if let Err(error) = answer {
        findings.add(
            Severity::Error,
            exit::chain_line(&error),
            "start the schema registry, or correct url in [registry]",
        );
    }
}

async fn check_kafka(settings: &Settings, findings: &mut Findings) {
    let answer = match Admin::new(&settings.kafka) {
        Ok(admin) => admin.list(&topic::tables_prefix(&settings.pipeline)).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = answer {
        let mend = if error.is_transient() {
            "start the broker, or correct bootstrap in [kafka]"
        } else {
            ""
        };
        let what = format!("Kafka at {}: {}", settings.kafka.bootstrap, exit::chain_line(&error));
        findings.add(Severity::Error, what, mend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_what_mends_it() {
        let finding = Finding {
            severity: Severity::Error,
            what: "change data capture is off in database shop".to_owned(),
            mend: "USE [shop]; EXEC sys.sp_cdc_enable_db;".to_owned(),
        };
        assert_eq!(
            finding.to_string(),
            "error: change data capture is off in database shop; to mend it: USE [shop]; EXEC \
             sys.sp_cdc_enable_db;"
        );
    }
}
