//! Rows that Kafka does not take.

use causeway_change::Lsn;
use causeway_kafka::{TopicSpec, topic};

use super::Pump;
use crate::{Oversized, SourceError, index::Of, publish::DeadLetter, tables::Active};

/// What is left of a row without its large values is nearly always below this.
const LETTER_BYTES: usize = 512 << 10;

impl Pump {
    /// Fails when a row that is too large must stop us.
    pub(super) fn refuse_or_stop(
        &self,
        active: &Active,
        lsn: Lsn,
        bytes: usize,
    ) -> Result<(), SourceError> {
        match self.shared.config.oversized {
            Oversized::DeadLetter => Ok(()),
            Oversized::Stop => Err(SourceError::Refused { table: active.id().clone(), lsn, bytes }),
        }
    }

    /// Sets a row aside.
    pub(super) async fn dead_letter(
        &mut self,
        active: &Active,
        key: &[u8],
        value: &[u8],
        of: Of,
        reason: &str,
    ) -> Result<(), SourceError> {
        if !self.dead_letters_exist {
            // Most pipelines never have one. The sink makes the same topic.
            let spec = TopicSpec {
                name: topic::dead_letters(&self.shared.pipeline),
                partitions: 1,
                compacted: false,
                retention_ms: Some(-1),
            };
            self.admin.ensure_topics(&[spec]).await?;
            self.dead_letters_exist = true;
        }
        let lsn = of.lsn();
        tracing::error!(table = %active.id(), %lsn, reason, "a row goes to the dead letters");
        let value = (value.len() <= LETTER_BYTES).then_some(value);
        self.publisher.dead_letter(DeadLetter { active, key, value, lsn, of, reason }).await
    }
}
