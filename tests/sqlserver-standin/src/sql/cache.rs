//! Parsed batches by their text, so that a parameterised statement is parsed once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use super::ast::Batch;
use super::parse;
use crate::store::lock;
use crate::value::SqlError;

/// More texts than this empty the cache; literals in the text would fill it for ever otherwise.
const LIMIT: usize = 2_000;
/// Longer texts are not worth keeping (big INSERT ... VALUES).
const LONGEST: usize = 64 * 1024;

static CACHE: LazyLock<Mutex<HashMap<String, Arc<Batch>>>> = LazyLock::new(Mutex::default);

/// Parses a batch, or finds it in the cache.
pub fn parse_cached(sql: &str) -> Result<Arc<Batch>, SqlError> {
    if let Some(found) = lock(&CACHE).get(sql) {
        return Ok(Arc::clone(found));
    }
    let batch = Arc::new(parse(sql)?);
    if sql.len() <= LONGEST {
        let mut cache = lock(&CACHE);
        if cache.len() >= LIMIT {
            cache.clear();
        }
        cache.insert(sql.to_owned(), Arc::clone(&batch));
    }
    Ok(batch)
}
