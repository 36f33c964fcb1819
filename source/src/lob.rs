//! Completes updates that left out a large value, while their table is being copied.
//!
//! A change table leaves out large values that an update did not touch. As long as the table is being
//! copied the sink may not have the row yet, and the chunk's row gives way to the event; so the event
//! must be whole. The values are read by key, many at once. They may be newer than the event; then a
//! later event says the same.

use std::collections::HashMap;

use causeway_change::{Row, Value};
use causeway_sqlserver::{Client, rows};

use crate::{SourceError, fold::Event, tables::Active};

/// Fills in what the events of one table lack. Rows that are gone stay as they are: their delete follows.
pub async fn complete(
    client: &mut Client,
    active: &Active,
    registry: &causeway_kafka::Registry,
    events: &mut [&mut Event],
) -> Result<(), SourceError> {
    let source = &active.instance.source;
    let lacks =
        |row: &Option<Row>| row.as_ref().is_some_and(|row| row.iter().any(Value::is_unavailable));
    let mut wanted = Vec::new();
    for event in events.iter().filter(|event| lacks(&event.after)) {
        if let Some(row) = &event.after {
            let key: Vec<Value> =
                source.table.key.iter().filter_map(|&i| row.get(i).cloned()).collect();
            wanted.push(key);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut found: HashMap<Vec<u8>, Row> = HashMap::new();
    for row in rows::select_by_keys(client, source, &wanted).await? {
        let key = active.key(registry, causeway_change::Lsn::ZERO, &row).await?;
        found.insert(key, row);
    }
    for event in events.iter_mut() {
        let Some(current) = found.get(&event.key) else { continue };
        let Some(after) = &mut event.after else { continue };
        for (value, current) in after.iter_mut().zip(current) {
            if value.is_unavailable() {
                *value = current.clone();
            }
        }
    }
    Ok(())
}
