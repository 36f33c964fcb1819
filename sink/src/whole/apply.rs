//! Writes pieces: one transaction for each whole piece, or for several that make up a large source transaction.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    time::{Instant, SystemTime},
};

use causeway_postgres::{Class, Client, Config as Postgres, client::begin};
use causeway_service::exit::chain_line;

use crate::{
    SinkError,
    apply::{Batch, measure, stop},
    change::Refusal,
    dead_letter,
    isolate::{Outcome, Refused, Writer},
    letters::{self, Open},
    member::{self, Me},
    policy::OnError,
    progress::{self, Place, Span},
    table::Tables,
    whole::{
        foreign::{Foreign, Name},
        phases::{First, phases},
    },
    write::Statements,
};

/// A piece that is decoded.
#[derive(Debug, Default)]
pub struct Ready {
    /// Changes, refusals and offsets.
    pub batch: Batch,
    /// Whether the transaction is committed after it.
    pub whole: bool,
    /// Source transactions that end in it.
    pub transactions: u64,
    /// Records that no entry names.
    pub loose: u64,
    /// The source transaction of a piece that is not whole.
    pub id: Option<String>,
}

/// What became of a piece.
#[derive(Debug, Default)]
pub struct Done {
    /// Dead letters of a transaction that is committed.
    pub refused: usize,
    /// The offsets that it moved; none while a transaction goes on.
    pub spans: HashMap<Place, Span>,
}

/// How a piece is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// In this order, all at once.
    Ordered(First),
    /// Record by record where it must be: what PostgreSQL refuses becomes a dead letter.
    Isolated,
}

/// Owns the connection that writes, for one session.
pub struct Applier {
    client: Client,
    statements: Statements,
    postgres: Postgres,
    me: Me,
    tables: Tables,
    open: Open,
    foreign: Foreign,
    /// What the open transaction moves.
    spans: HashMap<Place, Span>,
    /// Pieces in the open transaction; none is open when there is none.
    pieces: usize,
    refused: Vec<Refusal>,
}

impl Applier {
    /// Connects.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn open(postgres: &Postgres, me: &Me) -> Result<Self, SinkError> {
        let client = Client::connect(postgres).await?;
        let foreign = Foreign::read(&client).await?;
        let mut open = Open::default();
        open.load(&client, &me.pipeline).await?;
        Ok(Self {
            client,
            statements: Statements::new(postgres),
            postgres: postgres.clone(),
            me: me.clone(),
            tables: Tables::new(&me.pipeline),
            open,
            foreign,
            spans: HashMap::new(),
            pieces: 0,
            refused: Vec::new(),
        })
    }

    /// Writes a piece, and commits when it is whole. After an error nothing of the transaction is applied, and
    /// the applier is of no more use; but when the answer to the COMMIT was lost, it may be applied: offsets tell.
    ///
    /// # Errors
    /// What waiting or a person must mend.
    pub async fn apply(&mut self, ready: &Ready) -> Result<Done, SinkError> {
        let (began, start) = (Instant::now(), SystemTime::now());
        if self.pieces == 0 {
            // Who takes our partitions over finds our transactions by the lock.
            let begin = format!(
                "{}; SELECT pg_advisory_xact_lock_shared({}, {})",
                begin(&self.postgres),
                member::batch_lock(&self.me.pipeline),
                member::short(self.me.epoch),
            );
            self.client.run("begin a transaction", &begin).await?;
            self.statements.begin();
        }
        self.pieces += 1;
        for (place, span) in &ready.batch.spans {
            let known = self.spans.entry(place.clone()).or_insert(*span);
            known.next = span.next;
        }
        let outcome = self.write(ready).await?;
        for refusal in &outcome.refusals {
            if refusal.on_error == OnError::Stop {
                return Err(stop(refusal));
            }
            dead_letter::keep(&self.client, &self.me.pipeline, refusal).await?;
        }
        letters::supersede(&self.client, &self.me.pipeline, &outcome.supersede).await?;
        // What follows in this transaction must know them.
        self.open.add(outcome.refusals.iter());
        self.refused.extend(outcome.refusals);
        let mut done = Done::default();
        if ready.whole {
            done.spans = std::mem::take(&mut self.spans);
            let source = ready.batch.source();
            let moved = progress::advance_and_commit(
                &self.client,
                &self.me.pipeline,
                self.me.epoch,
                &done.spans,
                source,
            );
            if !moved.await? {
                return Err(self.me.fenced());
            }
            self.pieces = 0;
            done.refused = self.refused.len();
            self.refused.drain(..).for_each(|refusal| dead_letter::count(&refusal));
        }
        measure(&self.me.pipeline, &ready.batch, began, start);
        Ok(done)
    }

    /// Tries until the piece is written: each attempt under a savepoint of its own.
    async fn write(&mut self, ready: &Ready) -> Result<Outcome, SinkError> {
        let mut attempts = vec![Attempt::Isolated];
        let first = if self.foreign.is_empty() { First::Deletes } else { First::Puts };
        let mut attempt = Attempt::Ordered(first);
        loop {
            // Boxed: it is large, and waits in an even larger one.
            let tried: Pin<Box<dyn Future<Output = _> + Send + '_>> =
                Box::pin(self.attempt(ready, attempt));
            let error = match tried.await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            self.tables.forget();
            match error.class() {
                Some(Class::Record) => self.statements.rolled_back(),
                Some(Class::Schema) => self.statements.forget(),
                Some(Class::Transient | Class::Stop) | None => return Err(error),
            }
            tracing::debug!(error = %chain_line(&error), ?attempt, "a piece is tried again, in another way");
            let undo = "ROLLBACK TO causeway_piece; RELEASE causeway_piece";
            self.client.run("undo a piece", undo).await?;
            let foreign = Foreign::read(&self.client).await?;
            let is_order = matches!(error.sqlstate(), Some("23503" | "23505"));
            if attempt == Attempt::Ordered(First::Puts) && is_order {
                attempts.push(Attempt::Ordered(First::Deletes));
            }
            if attempt != Attempt::Isolated && foreign != self.foreign {
                // Somebody has added one since.
                attempts.push(Attempt::Ordered(First::Puts));
            }
            self.foreign = foreign;
            attempt = match attempts.pop() {
                Some(next) => next,
                None => return Err(refused(ready, &error)),
            };
        }
    }

    async fn attempt(&mut self, ready: &Ready, attempt: Attempt) -> Result<Outcome, SinkError> {
        let Self { client, statements, tables, foreign, .. } = self;
        let changes = &ready.batch.changes;
        let written: BTreeSet<Name> =
            changes.iter().map(|change| change.shape.target.clone()).collect();
        let order = foreign.order(&written)?;
        let isolated = attempt == Attempt::Isolated;
        // A record is found by the statement that fails. What earlier pieces left to be checked at the end of
        // the transaction cannot be asked for now.
        let at_once = isolated && order.complete && ready.whole && self.pieces == 1;
        let deferrable = foreign.any_deferrable();
        let constraints = match (deferrable, at_once) {
            (false, _) => "",
            (true, false) => "; SET CONSTRAINTS ALL DEFERRED",
            (true, true) => "; SET CONSTRAINTS ALL IMMEDIATE",
        };
        client.run("set a savepoint", &format!("SAVEPOINT causeway_piece{constraints}")).await?;
        let mut outcome = Outcome {
            // Letters are locked before rows, here and by a replay, so that the two never wait crosswise.
            held: self.open.hold(client, &self.me.pipeline, changes).await?,
            ..Outcome::default()
        };
        ready.batch.refusals.iter().for_each(|refusal| outcome.refuse(refusal.clone()));
        let first = match attempt {
            Attempt::Ordered(first) => first,
            Attempt::Isolated if foreign.is_empty() => First::Deletes,
            Attempt::Isolated => First::Puts,
        };
        let refused = if isolated { Refused::IsAlone } else { Refused::Fails };
        for slice in phases(changes, &order, first) {
            let Some(shape) = slice.first().map(|change| change.shape.clone()) else { continue };
            let outcome = &mut outcome;
            let mut writer = Writer { client, statements, tables, shape: &shape, outcome };
            writer.write(&slice, refused).await?;
        }
        if deferrable && ready.whole {
            // Here, where it can be undone; the commit would fail all the same.
            client.run("check the constraints", "SET CONSTRAINTS ALL IMMEDIATE").await?;
        }
        client.run("release a savepoint", "RELEASE causeway_piece").await?;
        Ok(outcome)
    }
}

/// What no way of writing gets past.
fn refused(ready: &Ready, error: &SinkError) -> SinkError {
    let what = match &ready.id {
        Some(id) => {
            format!("the source transaction {id}, which is larger than [sink] batch_bytes,")
        }
        None => "a group of source transactions".to_owned(),
    };
    SinkError::Whole { what, why: chain_line(error) }
}
