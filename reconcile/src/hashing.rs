//! Ranges whose rows the two servers hash themselves: a number of rows and four sums come over the network, and when they
//! agree the rows do not. When they disagree nothing is said: the rows are read and compared one by one.
//!
//! That is worth it where the network is slow or is paid for; a server hashes rows slower than it streams them to a near
//! client. So the two are measured on the first rows of a large table ([`choose`]), unless the configuration decides.

use std::time::{Duration, Instant};

use causeway_sqlserver::{KeyRange, rows};

use crate::{
    config::Hashing,
    error::ReconcileError,
    fence::Frozen,
    read::{self, Gather, Outcome, Pair, Target},
    report::Sides,
    sides::{Chunk, Shape},
    table::Task,
};

/// Rows that are hashed and read to see which is faster.
pub const PROBE_ROWS: u64 = 20_000;
/// Rows of a table for which that is done.
const PROBE_FROM: u64 = 1_000_000;

/// Who hashes the rows of a table, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// They are read, and hashed here.
    Client(String),
    /// The servers do.
    Server(String),
}

/// What is known before anything is measured; none when it must be.
#[must_use]
pub fn decided(hashing: Hashing, shape: &Shape, rows: Option<u64>, ranges: bool) -> Option<Way> {
    let client = |why: &str| Some(Way::Client(why.to_owned()));
    match (hashing, &shape.no_hashing) {
        (Hashing::Client, _) => client("[reconcile] hashing is \"client\""),
        (Hashing::Auto | Hashing::Server, Some(why)) => client(why),
        (Hashing::Server, None) => {
            Some(Way::Server("[reconcile] hashing is \"server\"".to_owned()))
        }
        (Hashing::Auto, None) if !ranges => client("the table is read at once"),
        (Hashing::Auto, None) if rows.is_none_or(|rows| rows < PROBE_FROM) => {
            client("the table is small")
        }
        (Hashing::Auto, None) => None,
    }
}

/// Whether hashing took so much less time than reading that it is worth the servers' work.
#[must_use]
pub fn is_worth_it(hashed: Duration, read: Duration) -> bool {
    hashed.saturating_mul(5) < read.saturating_mul(4)
}

/// Decides who hashes the rows of a frozen table, by measuring both on its first rows where that is not decided.
///
/// # Errors
/// When a side cannot be read.
pub async fn choose(
    task: &Task<'_>,
    frozen: &mut Frozen,
    ranges: bool,
) -> Result<Way, ReconcileError> {
    let shape = &task.shape;
    let known = shape.source.approximate_rows;
    if let Some(way) = decided(task.config.hashing, shape, known, ranges) {
        return Ok(way);
    }
    task.progress.doing("measuring");
    let lost = || task.lost();
    let mut source = frozen.sources.pop().ok_or_else(lost)?;
    let target = frozen.targets.pop().ok_or_else(lost)?;
    let upto = rows::chunk_end(&mut source, &shape.source, None, PROBE_ROWS)
        .await
        .map_err(|error| shape.source_failed(error))?;
    let mut pair = Pair { source, target: Target::Frozen(target) };
    let chunk = Chunk { range: KeyRange { after: None, upto }, sample: None };
    let began = Instant::now();
    both(&mut pair, shape, &chunk.range).await?;
    let hashed = began.elapsed();
    let began = Instant::now();
    let to = [Gather::spool(task.memory(1)), Gather::spool(task.memory(1))];
    let (pair, _) = Box::pin(read::whole(pair, shape, &chunk, &task.pace(), to)).await?;
    let read = began.elapsed();
    let Pair { source, target } = pair;
    frozen.sources.push(source);
    if let Target::Frozen(target) = target {
        frozen.targets.push(target);
    }
    let measured = format!(
        "{PROBE_ROWS} rows were hashed by the servers in {} ms and read in {} ms",
        hashed.as_millis(),
        read.as_millis()
    );
    tracing::info!(table = %shape.source.id(), "{measured}");
    Ok(if is_worth_it(hashed, read) { Way::Server(measured) } else { Way::Client(measured) })
}

/// Has both servers hash a range at the same time. When they agree, the range is equal and this is what is known of it.
///
/// # Errors
/// When a server does not answer.
pub async fn both(
    pair: &mut Pair,
    shape: &Shape,
    range: &KeyRange,
) -> Result<Option<Outcome>, ReconcileError> {
    let of_source = causeway_sqlserver::hashing::hash_range(&mut pair.source, &shape.source, range);
    let of_target = causeway_postgres::hashing::hash_range(
        pair.target.session(),
        &shape.target,
        shape.columns(),
        &shape.source.table.key,
        range.after.as_deref(),
        range.upto.as_deref(),
    );
    let (source, target) = tokio::join!(of_source, of_target);
    let source = source.map_err(|error| shape.source_failed(error))?;
    let target = target.map_err(|error| shape.target_failed(error))?;
    if source != target {
        return Ok(None);
    }
    let sum = packed(source.sums);
    Ok(Some(Outcome {
        rows: Sides { source: source.rows, target: target.rows },
        sums: Sides { source: sum, target: sum },
        hashed: 1,
        ..Outcome::default()
    }))
}

/// The four sums as one number for the report; what is compared are the four.
fn packed(sums: [i64; 4]) -> u128 {
    sums.iter()
        .fold(0, |all: u128, sum| all.rotate_left(32).wrapping_add(u128::from(sum.cast_unsigned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_must_save_a_fifth() {
        let ms = Duration::from_millis;
        assert!(is_worth_it(ms(79), ms(100)));
        assert!(!is_worth_it(ms(80), ms(100)));
        assert!(!is_worth_it(ms(0), ms(0)));
    }
}
