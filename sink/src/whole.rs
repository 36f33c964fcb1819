//! `apply.consistency = "transaction"`: source transactions, whole and in commit order.
//!
//! # The promise
//!
//! A reader of the target sees of each source transaction all rows or none, and when it sees one it sees all
//! that were committed before. The transaction index says which records belong together; where it stands is
//! a row of the same progress, under the same epoch, moved in the same transaction. Small transactions
//! share one of PostgreSQL's. A large one is written as it comes and committed at its end, so memory is
//! bounded by bytes in any case.
//!
//! Reading order: [`assemble`] (records and entries become pieces), [`foreign`] and [`phases`] (in which order
//! a piece is written): all pure; [`gather`] (what reads), [`apply`] (what writes), [`mod@run`] (sessions).

pub mod apply;
pub mod assemble;
pub mod foreign;
pub mod gather;
pub mod phases;
pub mod run;

pub use run::run;
