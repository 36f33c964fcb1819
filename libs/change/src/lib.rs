//! The words of the pipeline: what a table is, what a value is, what a change is, and how changes are ordered.
//!
//! Everything else in the workspace speaks these words; this crate speaks to nothing. It does no
//! I/O, knows no wire format and has no clock, so that what it says can be checked by reading.
//!
//! Reading order: [`table`] and [`mod@column`] (what is replicated), [`value`] (one value, exactly),
//! [`lsn`] and [`position`] (where a change stands in the history of the source), [`change`] (one
//! change of one row), [`row_hash`] (many rows without their values).

pub mod change;
pub mod column;
pub mod lsn;
pub mod position;
pub mod row_hash;
pub mod table;
pub mod time;
pub mod value;

pub use change::{Change, Operation};
pub use column::{Column, ColumnType, Length};
pub use lsn::{Lsn, LsnError};
pub use position::Position;
pub use row_hash::RowHash;
pub use table::{Table, TableId};
pub use value::{Row, Value, ValueRef};
