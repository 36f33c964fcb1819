//! `causeway-sink pause` and `resume`: tables that are not read for a while. The wish is in PostgreSQL; a
//! running sink looks for it as often as for new topics. What it has read by then is still applied.

use causeway_postgres::{PostgresError, Session};

use tokio_postgres::types::Type;

use crate::{SinkError, decode::table_of, dlq::open, pattern, run::Parts, statements};

/// The globs that are paused.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn patterns(client: &Session, pipeline: &str) -> Result<Vec<String>, PostgresError> {
    let rows = client
        .query_typed(statements::PAUSED, &[(&pipeline, Type::TEXT)])
        .await
        .map_err(|e| PostgresError::statement("look for paused tables", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether a topic is of a paused table.
#[must_use]
pub fn holds(patterns: &[String], pipeline: &str, topic: &str) -> bool {
    let Some(table) = table_of(pipeline, topic) else { return false };
    let name = table.to_string();
    patterns.iter().any(|pattern| pattern::matches(pattern, &name))
}

/// Pauses tables.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn pause(parts: &Parts, tables: &[String]) -> Result<String, SinkError> {
    let client = open(parts).await?;
    client
        .execute_typed(
            statements::PAUSE,
            &[(&parts.pipeline, Type::TEXT), (&tables, Type::TEXT_ARRAY)],
        )
        .await
        .map_err(|e| PostgresError::statement("pause tables", e))?;
    said(&client, parts).await
}

/// Resumes tables, all of them when none is named.
///
/// # Errors
/// When one of them is not paused, or what PostgreSQL answers.
pub async fn resume(parts: &Parts, tables: &[String]) -> Result<String, SinkError> {
    let client = open(parts).await?;
    let before = patterns(&client, &parts.pipeline).await?;
    if let Some(table) = tables.iter().find(|table| !before.contains(table)) {
        return Err(SinkError::Asked(format!(
            "{table} is not paused; paused are: {}",
            before.join(", ")
        )));
    }
    let tables = if tables.is_empty() { &before } else { tables };
    client
        .execute_typed(
            statements::RESUME,
            &[(&parts.pipeline, Type::TEXT), (&tables, Type::TEXT_ARRAY)],
        )
        .await
        .map_err(|e| PostgresError::statement("resume tables", e))?;
    said(&client, parts).await
}

async fn said(client: &Session, parts: &Parts) -> Result<String, SinkError> {
    let now = patterns(client, &parts.pipeline).await?;
    Ok(if now.is_empty() {
        "no table is paused\n".to_owned()
    } else {
        format!("paused: {}\n", now.join(", "))
    })
}
