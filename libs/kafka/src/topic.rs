//! The one place that names topics, subjects, keys and headers.

use causeway_change::TableId;

/// Kafka's limit for a topic's name.
const NAME_MAX: usize = 249;

/// The topic of a table: `<prefix>.<database>.<schema>.<table>`, as Debezium names it; what Kafka
/// does not allow in a name becomes `_`.
#[must_use]
pub fn table(prefix: &str, database: &str, id: &TableId) -> String {
    sanitized(&format!("{prefix}.{database}.{}.{}", id.schema, id.name))
}

/// The start of the names of all topics of tables of a pipeline. The pipeline's own topics start
/// with it too: see [`is_table`].
#[must_use]
pub fn tables_prefix(prefix: &str) -> String {
    format!("{}.", sanitized(prefix))
}

/// Whether a topic is one of a table of the pipeline: four parts at least, where the pipeline's own
/// topics have two.
#[must_use]
pub fn is_table(prefix: &str, topic: &str) -> bool {
    topic
        .strip_prefix(&tables_prefix(prefix))
        .is_some_and(|rest| rest.split('.').filter(|part| !part.is_empty()).count() >= 3)
}

/// Where the source keeps its position: compacted, one partition.
#[must_use]
pub fn offsets(prefix: &str) -> String {
    sanitized(&format!("{prefix}.offsets"))
}

/// Where records go that cannot be applied: one partition unless it exists.
#[must_use]
pub fn dead_letters(prefix: &str) -> String {
    sanitized(&format!("{prefix}.dead-letters"))
}

/// The transaction index ([`crate::transactions`]): one partition.
#[must_use]
pub fn transactions(prefix: &str) -> String {
    sanitized(&format!("{prefix}.transactions"))
}

/// Debezium's records of where source transactions begin and end: one partition.
#[must_use]
pub fn transaction_metadata(prefix: &str) -> String {
    sanitized(&format!("{prefix}.transaction"))
}

/// Where signals to the source arrive: one partition.
#[must_use]
pub fn signals(prefix: &str) -> String {
    sanitized(&format!("{prefix}.signal"))
}

/// Where the source says how far its snapshots are: one partition.
#[must_use]
pub fn notifications(prefix: &str) -> String {
    sanitized(&format!("{prefix}.notifications"))
}

/// Where the source says that it lives: one partition, compacted.
#[must_use]
pub fn heartbeat(prefix: &str) -> String {
    sanitized(&format!("{prefix}.heartbeat"))
}

/// The topic whose only partition is the lease of the source that works; nothing is written to it.
#[must_use]
pub fn lease(prefix: &str) -> String {
    sanitized(&format!("{prefix}.lease"))
}

/// The consumer group that gives the lease.
#[must_use]
pub fn lease_group(prefix: &str) -> String {
    format!("{}.source", sanitized(prefix))
}

/// The transactional id of a pipeline's source: one for each pipeline, so that a twin is fenced.
#[must_use]
pub fn transactional_id(prefix: &str) -> String {
    format!("{}.source", sanitized(prefix))
}

/// The subject of a topic's keys (TopicNameStrategy).
#[must_use]
pub fn key_subject(topic: &str) -> String {
    format!("{topic}-key")
}

/// The subject of a topic's values (TopicNameStrategy).
#[must_use]
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Names of record headers.
pub mod header {
    /// On the delete that a change of key becomes: the new key.
    pub const NEW_KEY: &str = "__debezium.newkey";
    /// On the create that a change of key becomes: the old key.
    pub const OLD_KEY: &str = "__debezium.oldkey";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Jaeger's trace context.
    pub const UBER_TRACE_ID: &str = "uber-trace-id";

    /// Kafka Connect's headers on a dead letter; every value is a text in UTF-8 (numbers in decimal).
    pub mod connect {
        /// Topic that the record came from.
        pub const TOPIC: &str = "__connect.errors.topic";
        /// Its partition.
        pub const PARTITION: &str = "__connect.errors.partition";
        /// Its offset.
        pub const OFFSET: &str = "__connect.errors.offset";
        /// Name of the connector: the pipeline.
        pub const CONNECTOR_NAME: &str = "__connect.errors.connector.name";
        /// Number of the task.
        pub const TASK_ID: &str = "__connect.errors.task.id";
        /// `VALUE_CONVERTER`, `KEY_CONVERTER` or `TASK_PUT`.
        pub const STAGE: &str = "__connect.errors.stage";
        /// What ran the operation.
        pub const CLASS_NAME: &str = "__connect.errors.class.name";
        /// Kind of the error.
        pub const EXCEPTION_CLASS_NAME: &str = "__connect.errors.exception.class.name";
        /// Message of the error.
        pub const EXCEPTION_MESSAGE: &str = "__connect.errors.exception.message";
        /// The chain of causes, where Java has a stack trace.
        pub const EXCEPTION_STACKTRACE: &str = "__connect.errors.exception.stacktrace";
        /// All ten, in Kafka Connect's order.
        pub const ALL: [&str; 10] = [
            TOPIC,
            PARTITION,
            OFFSET,
            CONNECTOR_NAME,
            TASK_ID,
            STAGE,
            CLASS_NAME,
            EXCEPTION_CLASS_NAME,
            EXCEPTION_MESSAGE,
            EXCEPTION_STACKTRACE,
        ];
    }

    /// What we add to a dead letter.
    pub mod errors {
        /// SQLSTATE of PostgreSQL's error.
        pub const SQLSTATE: &str = "errors.sqlstate";
        /// Constraint that refused the row.
        pub const CONSTRAINT: &str = "errors.constraint";
        /// Target table.
        pub const TABLE: &str = "errors.table";
        /// Target column.
        pub const COLUMN: &str = "errors.column";
        /// How often it was tried.
        pub const ATTEMPTS: &str = "errors.attempts";
        /// When it failed first, ISO 8601.
        pub const FIRST_SEEN: &str = "errors.first.seen";
        /// Commit LSN of the change.
        pub const SOURCE_LSN: &str = "errors.source.lsn";
        /// Schema id of the value.
        pub const SCHEMA_ID: &str = "errors.schema.id";
        /// Version of the program.
        pub const PIPELINE_VERSION: &str = "errors.pipeline.version";
    }
}

/// Puts `_` for what Kafka does not allow; a name that is too long is cut and made distinct by a
/// digest of the whole.
fn sanitized(name: &str) -> String {
    let legal: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    if legal.len() <= NAME_MAX {
        return legal;
    }
    // FNV-1a of the original name: stable for ever, which std's hasher is not.
    let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let cut: String = legal.chars().take(NAME_MAX - 17).collect();
    format!("{cut}_{digest:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_debeziums_topic() {
        for (database, schema, name, topic) in [
            ("inventory", "dbo", "orders", "shop.inventory.dbo.orders"),
            ("my db", "dbo", "order lines", "shop.my_db.dbo.order_lines"),
            ("db", "s", "Größe$#", "shop.db.s.Gr__e__"),
            ("db-1", "s", "a.b", "shop.db-1.s.a.b"),
        ] {
            let made = table("shop", database, &TableId::new(schema, name));
            assert_eq!(made, topic);
            assert!(is_table("shop", &made), "{made}");
        }
    }

    #[test]
    fn the_pipelines_own_topics_are_no_tables() {
        for own in [
            offsets("shop"),
            dead_letters("shop"),
            transactions("shop"),
            transaction_metadata("shop"),
            signals("shop"),
            notifications("shop"),
            heartbeat("shop"),
        ] {
            assert!(own.starts_with("shop."));
            assert!(!is_table("shop", &own), "{own}");
        }
        assert!(!is_table("shop", "shopping.db.dbo.t"));
        // A prefix may have points of its own.
        assert!(is_table("eu.shop", "eu.shop.db.dbo.t"));
        assert!(!is_table("eu", "eu.shop"));
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let long = "x".repeat(300);
        let a = table("p", "d", &TableId::new("s", format!("{long}a")));
        let b = table("p", "d", &TableId::new("s", format!("{long}b")));
        assert_eq!((a.len(), b.len()), (NAME_MAX, NAME_MAX));
        assert_ne!(a, b);
    }

    #[test]
    fn subjects_follow_the_topic() {
        assert_eq!(key_subject("t"), "t-key");
        assert_eq!(value_subject("t"), "t-value");
    }
}
