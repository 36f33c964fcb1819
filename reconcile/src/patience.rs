//! How a statement that a lock held up is tried again.

use std::time::Duration;

use crate::error::ReconcileError;

/// Attempts after the first one.
const AGAIN: u32 = 5;

/// The attempts of one statement. Only where it stands alone: the server has ended the transaction that a lock timeout
/// happened in, and with it the snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    failed: u32,
}

impl Patience {
    /// How long to wait before the statement is tried again: longer each time, so that whoever holds the lock is not
    /// pressed. None when it is given up: the error is another one, or it came too often.
    pub fn after(&mut self, error: &ReconcileError) -> Option<Duration> {
        if !error.is_source_lock_timeout() || self.failed == AGAIN {
            return None;
        }
        self.failed += 1;
        Some(Duration::from_millis(100 << self.failed))
    }

    /// Waits until the statement may be tried again.
    ///
    /// # Errors
    /// The error itself, when it is given up.
    pub async fn wait(&mut self, error: ReconcileError) -> Result<(), ReconcileError> {
        let Some(pause) = self.after(&error) else { return Err(error) };
        tracing::warn!(
            error = %causeway_service::exit::chain_line(&error),
            again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "somebody holds a lock"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use causeway_change::TableId;
    use causeway_sqlserver::SqlServerError;

    use super::*;

    #[test]
    fn another_error_is_not_waited_for() {
        let source = Box::new(SqlServerError::Broken { doing: "read".to_owned() });
        let error = ReconcileError::Source { table: TableId::new("dbo", "t"), source };
        assert_eq!(Patience::default().after(&error), None);
    }
}
