//! What is wrong before anything is written: one list, each line with what mends it.

use std::time::Duration;

use causeway_kafka::{Admin, Registry, topic};
use causeway_postgres::{Client, PostgresError, catalog};
use causeway_service::exit::chain_line;

use tokio_postgres::types::Type;

use crate::{decode::Records, run::Parts, table};

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What is wrong and how to mend it; none when it is right.
    pub problem: Option<String>,
    /// Whether the connection was lost while it was looked at, so that nothing is known of it yet.
    pub cut_off: bool,
}

/// How often a start looks again when its connection is lost while it looks.
const LOOKS: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// As [`check`], and again when PostgreSQL went away in the middle: that is an outage, and no fault of the
/// configuration. A PostgreSQL that does not answer at all may be either, and is a finding.
pub async fn check_at_start(parts: &Parts) -> Vec<Finding> {
    let mut findings = check(parts).await;
    for _ in 1..LOOKS {
        if !findings.iter().any(|finding| finding.cut_off) {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        findings = check(parts).await;
    }
    findings
}

/// Looks at everything that the sink needs. Writes nothing.
pub async fn check(parts: &Parts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let client = postgres(parts, &mut findings).await;
    let kafka = async {
        let admin = Admin::new(&parts.kafka)?;
        admin.list(&topic::tables_prefix(&parts.pipeline)).await
    };
    let topics = match kafka.await {
        Ok(topics) => {
            findings.push(right("Kafka answers"));
            topics
        }
        Err(error) => {
            findings.push(wrong("Kafka answers", chain_line(&error)));
            Vec::new()
        }
    };
    let registry = async { Registry::new(&parts.registry)?.check().await };
    match registry.await {
        Ok(()) => {
            findings.push(right("the schema registry answers"));
            let ours = topics.iter().filter(|topic| topic::is_table(&parts.pipeline, &topic.name));
            if let (Some(client), Ok(records)) = (&client, parts.records()) {
                for topic in ours {
                    table(parts, client, &records, &topic.name, &mut findings).await;
                }
            }
        }
        Err(error) => findings.push(wrong("the schema registry answers", chain_line(&error))),
    }
    findings
}

/// Whether the table of a topic can take its newest records; nothing is said of tables that are not
/// there, for the sink makes those.
async fn table(
    parts: &Parts,
    client: &Client,
    records: &Records,
    topic: &str,
    findings: &mut Vec<Finding>,
) {
    // Records that cannot be read are dead letters, each with its reason: no reason to stay away.
    let Ok(Some(shape)) = records.newest(topic).await else { return };
    let what = format!(
        "table {}.{} can take the records of {}",
        shape.target.0, shape.target.1, shape.source
    );
    let looked = async {
        let past = match kept(client).await? {
            true => table::past(client, &parts.pipeline, topic).await?,
            false => table::Past::default(),
        };
        let found = catalog::table(client, &shape.target.0, &shape.target.1).await?;
        Ok::<_, PostgresError>(found.map(|found| table::plan(&found, &shape, &past)))
    };
    let problems = match looked.await {
        Ok(Some(plan)) => plan.problems,
        Ok(None) => table::names_too_long(&shape).collect(),
        Err(error) => {
            findings.push(failed(&what, &error));
            return;
        }
    };
    findings.push(if problems.is_empty() {
        right(&what)
    } else {
        let list = problems.join("; ");
        wrong(&what, format!("table {}.{}: {list}", shape.target.0, shape.target.1))
    });
}

/// Whether our own tables are there.
async fn kept(client: &Client) -> Result<bool, PostgresError> {
    let row = client
        .query_typed_one("SELECT to_regclass('_causeway.target') IS NOT NULL", &[])
        .await
        .map_err(|e| PostgresError::statement("look for our tables", e))?;
    Ok(row.get(0))
}

async fn postgres(parts: &Parts, findings: &mut Vec<Finding>) -> Option<Client> {
    let what = "PostgreSQL answers";
    let client = match Client::connect(&parts.postgres).await {
        Ok(client) => client,
        Err(error) => {
            findings.push(wrong(what, chain_line(&error)));
            return None;
        }
    };
    findings.push(right(what));
    let may_create = "the user may create schemas in the target database";
    let asked = client
        .query_typed_one(
            "SELECT has_database_privilege(current_database(), 'CREATE') OR \
               (SELECT count(*) FROM pg_namespace WHERE nspname = '_causeway') > 0",
            &[],
        )
        .await
        .map_err(|e| PostgresError::statement("ask for rights", e));
    findings.push(match asked {
        Ok(row) if row.get::<_, bool>(0) => right(may_create),
        Ok(_) => wrong(
            may_create,
            format!(
                "grant it: GRANT CREATE ON DATABASE \"{}\" TO \"{}\"",
                parts.postgres.database, parts.postgres.user
            ),
        ),
        Err(error) => failed(may_create, &error),
    });
    for schema in parts.postgres.schemas.values() {
        let what = format!("the user may create tables in schema {schema}");
        let asked = client
            .query_typed_opt(
                "SELECT has_schema_privilege(n.oid, 'CREATE') FROM pg_namespace n WHERE n.nspname = $1",
                &[(schema, Type::TEXT)],
            )
            .await
            .map_err(|e| PostgresError::statement("ask for rights", e));
        match asked {
            Ok(Some(row)) if !row.get::<_, bool>(0) => findings.push(wrong(
                &what,
                format!(
                    "grant it: GRANT CREATE, USAGE ON SCHEMA \"{schema}\" TO \"{}\"",
                    parts.postgres.user
                ),
            )),
            Ok(_) => findings.push(right(&what)),
            Err(error) => findings.push(failed(&what, &error)),
        }
    }
    Some(client)
}

fn right(what: &str) -> Finding {
    Finding { what: what.to_owned(), problem: None, cut_off: false }
}

fn wrong(what: &str, problem: String) -> Finding {
    Finding { what: what.to_owned(), problem: Some(problem), cut_off: false }
}

/// A question that PostgreSQL did not answer, though it had been reached.
fn failed(what: &str, error: &PostgresError) -> Finding {
    Finding { cut_off: error.is_transient(), ..wrong(what, chain_line(error)) }
}
