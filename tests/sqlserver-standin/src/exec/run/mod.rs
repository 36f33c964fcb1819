//! Rows are pulled through these iterators, one by one; nothing is kept that need not be.

mod query;
mod range;
mod select;
mod source;

pub(in crate::exec) use query::QueryRun;
pub(in crate::exec) use source::Run;
