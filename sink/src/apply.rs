//! The transaction: rows of all tables, dead letters and offsets, together or not at all.

use std::{
    cmp::Ordering,
    collections::HashMap,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use causeway_change::Lsn;
use causeway_observability::{context, names::sink as names};
use causeway_postgres::{Class, Client, Config as Postgres, client::begin};
use causeway_service::exit::chain_line;

use crate::{
    SinkError,
    change::{Action, Change, Refusal, Shape},
    dead_letter,
    isolate::{Outcome, Refused, Writer},
    letters::{self, Open},
    member,
    policy::OnError,
    progress::{self, Place, Span, Standing},
    table::Tables,
    write::Statements,
};

/// What is applied in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes, per partition in order.
    pub changes: Vec<Change>,
    /// Records that cannot be applied, found while decoding.
    pub refusals: Vec<Refusal>,
    /// Where it begins and ends in each partition.
    pub spans: HashMap<Place, Span>,
}

impl Batch {
    /// The newest commit in it.
    pub(crate) fn source(&self) -> Option<(Lsn, SystemTime)> {
        let newest = self.changes.iter().max_by_key(|change| change.commit_lsn)?;
        let ms = u64::try_from(newest.commit_ms).ok()?;
        Some((newest.commit_lsn?, SystemTime::UNIX_EPOCH + Duration::from_millis(ms)))
    }
}

/// Applies batches; owns the connection that writes.
pub struct Applier {
    postgres: Postgres,
    pipeline: String,
    epoch: i64,
    connection: Option<Connection>,
    tables: Tables,
    open: Open,
}

struct Connection {
    client: Client,
    statements: Statements,
}

/// A run of changes of one topic and one schema.
struct Slice<'a> {
    shape: Arc<Shape>,
    changes: &'a [Change],
}

impl Applier {
    /// For a pipeline, under an epoch.
    #[must_use]
    pub fn new(postgres: Postgres, pipeline: String, epoch: i64) -> Self {
        let tables = Tables::new(&pipeline);
        Self { postgres, pipeline, epoch, connection: None, tables, open: Open::default() }
    }

    /// Applies a batch once and gives the number of dead letters that it made. When its answer was lost before, finds out
    /// whether it was applied.
    ///
    /// # Errors
    /// A transient error leaves the batch as it was, to be tried again. Others are for a person.
    pub async fn apply(&mut self, batch: &mut Batch) -> Result<usize, SinkError> {
        // By topic, because topics are tables; stable, so that each partition keeps its order.
        batch.changes.sort_by(|a, b| {
            let one = Arc::ptr_eq(&a.shape, &b.shape);
            if one { Ordering::Equal } else { a.shape.topic.cmp(&b.shape.topic) }
        });
        let began = Instant::now();
        let start = SystemTime::now();
        let mut attempt = self.transaction(batch, false).await;
        if let Err(error) = &attempt {
            // About one record: find it. About the schema: look at the tables anew, once.
            match error.class() {
                Some(Class::Record) => attempt = self.transaction(batch, true).await,
                Some(Class::Schema) => {
                    tracing::warn!(error = %chain_line(error), "a table changed under us; looking at it again");
                    self.connection = None;
                    attempt = self.transaction(batch, true).await;
                }
                Some(Class::Transient | Class::Stop) | None => {}
            }
        }
        match attempt {
            Ok(refused) => {
                measure(&self.pipeline, batch, began, start);
                Ok(refused)
            }
            Err(error) => {
                // Whatever state the connection is in, nobody uses it again.
                self.connection = None;
                Err(error)
            }
        }
    }

    async fn transaction(&mut self, batch: &Batch, isolated: bool) -> Result<usize, SinkError> {
        // A table that a rolled-back transaction made is not there.
        if isolated || self.connection.is_none() {
            self.tables.forget();
        }
        if self.connection.is_none() {
            self.open.forget();
            let client = Client::connect(&self.postgres).await?;
            let standing =
                progress::standing(&client, &self.pipeline, self.epoch, &batch.spans).await?;
            match standing {
                Standing::Before => {}
                Standing::Applied => {
                    tracing::info!("the batch had been applied; only the answer was lost");
                    let statements = Statements::new(&self.postgres);
                    self.connection = Some(Connection { client, statements });
                    return Ok(batch.refusals.len());
                }
                Standing::Foreign => return Err(self.fenced()),
            }
            let statements = Statements::new(&self.postgres);
            self.connection = Some(Connection { client, statements });
        }
        let Some(Connection { client, statements }) = &mut self.connection else {
            return Err(self.fenced());
        };
        self.open.load(client, &self.pipeline).await?;
        statements.begin();
        // Who takes our partitions over finds our transactions by the lock.
        let begin = format!(
            "{}; SELECT pg_advisory_xact_lock_shared({}, {})",
            begin(&self.postgres),
            member::batch_lock(&self.pipeline),
            member::short(self.epoch),
        );
        let began = Instant::now();
        // Sent now, and answered while what follows is on its way.
        let mut begun = pin!(client.run("begin a transaction", &begin));
        let answered = match futures_util::poll!(begun.as_mut()) {
            Poll::Ready(answer) => {
                answer?;
                true
            }
            Poll::Pending => false,
        };
        let mut outcome = Outcome::default();
        let refused = if isolated { Refused::IsAlone } else { Refused::CostsItsPart };
        let written = async {
            if isolated {
                // A constraint that is checked at the end would fail the commit, and say nothing of which record
                // it was: here it is checked with each statement.
                let at_once = "SET CONSTRAINTS ALL IMMEDIATE";
                client.run("have constraints checked at once", at_once).await?;
            }
            // Letters are locked before rows, here and by a replay, so that the two never wait crosswise.
            outcome.held = self.open.hold(client, &self.pipeline, &batch.changes).await?;
            batch.refusals.iter().for_each(|refusal| outcome.refuse(refusal.clone()));
            for slice in slices(&batch.changes) {
                let mut writer = Writer {
                    client,
                    statements,
                    tables: &mut self.tables,
                    shape: &slice.shape,
                    outcome: &mut outcome,
                };
                writer.write(slice.changes, refused).await?;
            }
            for refusal in &outcome.refusals {
                if refusal.on_error == OnError::Stop {
                    return Err(stop(refusal));
                }
                dead_letter::keep(client, &self.pipeline, refusal).await?;
            }
            letters::supersede(client, &self.pipeline, &outcome.supersede).await?;
            if !answered {
                begun.as_mut().await?;
            }
            stage("write", began);
            let (spans, source) = (&batch.spans, batch.source());
            let committing = Instant::now();
            let moved =
                progress::advance_and_commit(client, &self.pipeline, self.epoch, spans, source);
            let moved = moved.await?;
            stage("commit", committing);
            Ok(moved)
        }
        .await;
        match written {
            Ok(true) => {
                self.open.add(outcome.refusals.iter());
                outcome.refusals.iter().for_each(dead_letter::count);
                Ok(outcome.refusals.len())
            }
            Ok(false) => {
                Err(SinkError::Fenced { pipeline: self.pipeline.clone(), epoch: self.epoch })
            }
            Err(error) => {
                self.tables.forget();
                statements.rolled_back();
                if error.class() == Some(Class::Record) {
                    client.run("roll back", "ROLLBACK").await?;
                }
                Err(error)
            }
        }
    }

    fn fenced(&self) -> SinkError {
        SinkError::Fenced { pipeline: self.pipeline.clone(), epoch: self.epoch }
    }
}

/// The figures and the traces of a batch that is applied.
#[expect(clippy::cast_precision_loss, reason = "a histogram of batch sizes")]
pub(crate) fn measure(pipeline: &str, batch: &Batch, began: Instant, start: SystemTime) {
    names::BATCHES.add(1, &[]);
    names::BATCH_ROWS.record(batch.changes.len() as f64, &[]);
    names::APPLY_SECONDS.record(began.elapsed().as_secs_f64(), &[]);
    for slice in slices(&batch.changes) {
        let table = slice.shape.source.to_string();
        let (mut puts, mut deletes) = (0, 0);
        for change in slice.changes {
            match change.action {
                Action::Put(_) | Action::Match { after: Some(_), .. } => puts += 1,
                Action::Delete | Action::Match { after: None, .. } => deletes += 1,
            }
        }
        for (operation, count) in [("upsert", puts), ("delete", deletes)] {
            if count > 0 {
                names::ROWS_APPLIED.add(count, &[("table", &table), ("operation", operation)]);
            }
        }
    }
    let streamed = batch.changes.iter().filter(|change| !change.snapshot);
    if let Some(oldest) = streamed.filter_map(Change::committed_at).min() {
        let age = SystemTime::now().duration_since(oldest).unwrap_or_default().as_secs_f64();
        names::LATENCY_SECONDS.record(age, &[]);
        names::LAG_SECONDS.set(age, &[]);
    }
    // Only sampled transactions carry a context, and each is one trace however many rows it has.
    let mut seen = std::collections::HashSet::new();
    for change in &batch.changes {
        if change.message.headers.is_empty() {
            continue;
        }
        let headers =
            change.message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let Some(parent) = context::extract(headers) else { continue };
        if seen.insert(parent.trace_id()) {
            let attributes = [
                ("causeway.pipeline", pipeline.to_owned()),
                ("db.collection.name", change.shape.source.to_string()),
                ("causeway.batch.rows", batch.changes.len().to_string()),
            ];
            context::apply_span(&parent, start, &attributes).end();
        }
    }
}

fn stage(stage: &str, began: Instant) {
    names::STAGE_SECONDS.record(began.elapsed().as_secs_f64(), &[("stage", stage)]);
}

pub(crate) fn stop(refusal: &Refusal) -> SinkError {
    SinkError::DeadLetter {
        topic: refusal.message.topic.to_string(),
        partition: refusal.message.partition,
        offset: refusal.message.offset,
        table: refusal
            .source
            .as_ref()
            .map_or_else(|| "an unknown table".to_owned(), ToString::to_string),
        reason: refusal.reason.clone(),
    }
}

/// Cuts changes, sorted by topic, where the topic or the schema changes.
fn slices(changes: &[Change]) -> impl Iterator<Item = Slice<'_>> {
    changes
        .chunk_by(|a, b| {
            Arc::ptr_eq(&a.shape, &b.shape)
                || (a.shape.topic == b.shape.topic && a.shape.schema_id == b.shape.schema_id)
        })
        .filter_map(|changes| Some(Slice { shape: changes.first()?.shape.clone(), changes }))
}
