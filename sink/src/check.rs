//! What is wrong before anything is written: one list, each line with what mends it.

use causeway_kafka::{Admin, Registry, topic};
use causeway_postgres::{Client, PostgresError};
use causeway_service::exit::chain_line;

use crate::run::Parts;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What is wrong and how to mend it; none when it is right.
    pub problem: Option<String>,
}

/// Looks at everything that the sink needs. Writes nothing.
pub async fn check(parts: &Parts) -> Vec<Finding> {
    let mut findings = Vec::new();
    postgres(parts, &mut findings).await;
    let kafka = async {
        let admin = Admin::new(&parts.kafka)?;
        admin.list(&topic::tables_prefix(&parts.pipeline)).await
    };
    findings.push(match kafka.await {
        Ok(_) => right("Kafka answers"),
        Err(error) => {
            Finding { what: "Kafka answers".to_owned(), problem: Some(chain_line(&error)) }
        }
    });
    let registry = async { Registry::new(&parts.registry)?.check().await };
    findings.push(match registry.await {
        Ok(()) => right("the schema registry answers"),
        Err(error) => wrong("the schema registry answers", chain_line(&error)),
    });
    findings
}

async fn postgres(parts: &Parts, findings: &mut Vec<Finding>) {
    let what = "PostgreSQL answers";
    let client = match Client::connect(&parts.postgres).await {
        Ok(client) => client,
        Err(error) => {
            findings.push(wrong(what, chain_line(&error)));
            return;
        }
    };
    findings.push(right(what));
    let may_create = "the user may create schemas in the target database";
    let asked = client
        .query_one(
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
        Err(error) => wrong(may_create, chain_line(&error)),
    });
    for schema in parts.postgres.schemas.values() {
        let what = format!("the user may create tables in schema {schema}");
        let asked = client
            .query_opt(
                "SELECT has_schema_privilege(n.oid, 'CREATE') FROM pg_namespace n WHERE n.nspname = $1",
                &[schema],
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
            Err(error) => findings.push(wrong(&what, chain_line(&error))),
        }
    }
}

fn right(what: &str) -> Finding {
    Finding { what: what.to_owned(), problem: None }
}

fn wrong(what: &str, problem: String) -> Finding {
    Finding { what: what.to_owned(), problem: Some(problem) }
}
