//! What a server says of itself: system views, dynamic management views, system functions and procedures.
//!
//! The executor calls [`system_table`], [`scalar`] and [`procedure`] with its session as a [`Host`].

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "matches on values and types where only some kinds matter; the map from a type to its catalogue facts is closed"
)]

pub(crate) mod arguments;
mod dbcatalog;
mod describe;
mod functions;
mod indexes;
mod information_schema;
pub(crate) mod meta;
mod objects;
mod odbc;
mod procedures;
pub mod properties;
mod security;
mod server;
pub(crate) mod types;
pub(crate) mod view;
pub(crate) mod world;

use std::sync::Arc;

use crate::exec::output::Login;
use crate::store::{Database, Instance, Moment, Standing, Transaction};
use crate::value::{Col, Rowset, SqlError, Typed, Val};

/// What the catalogue needs of a session.
pub trait Host {
    fn instance(&self) -> &Arc<Instance>;
    /// The current database.
    fn database(&self) -> Arc<Database>;
    fn login(&self) -> &Login;
    /// The transaction of the statement, begun if there was none (autocommit ends it with the statement).
    fn transaction(&mut self) -> &mut Transaction;
    /// The object id of a temporary table of this session.
    fn temporary(&self, name: &str) -> Option<i32>;
    /// The session's user in a database. Error 916 when its login has none there.
    fn standing(&self, database: &Database) -> Result<Standing, SqlError> {
        crate::exec::permission::standing(self.instance(), &self.login().user, database)
    }
    /// The columns of a user's view, for `sys.columns`; none when it cannot be told.
    fn view_columns(&mut self, database: &Arc<Database>, schema: &str, name: &str) -> Vec<Col> {
        let _ = (database, schema, name);
        Vec::new()
    }
}

pub(crate) use security::may_read_changes;

/// An argument of a procedure call.
#[derive(Clone, Debug)]
pub struct ProcArg {
    /// `@name`; none when it goes by position.
    pub name: Option<String>,
    pub value: Typed,
    pub output: bool,
}

/// What a system procedure leaves.
#[derive(Clone, Debug, Default)]
pub struct ProcResult {
    pub rowsets: Vec<Rowset>,
    /// Position in the arguments and final value.
    pub outputs: Vec<(usize, Typed)>,
    pub messages: Vec<SqlError>,
    pub status: i32,
}

/// A system view, a dynamic management view or a table-valued function of CDC; `None` when there is none of that name.
/// `args` are given for a function call.
pub fn system_table(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: &str,
    name: &str,
    args: Option<&[Typed]>,
) -> Result<Option<Rowset>, SqlError> {
    dbcatalog::table(host, database, schema, name, args)
}

/// A system function; `None` when there is none of that name.
pub fn scalar(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: Option<&str>,
    name: &str,
    args: &[Typed],
) -> Result<Option<Typed>, SqlError> {
    dbcatalog::scalar(host, database, schema, name, args)
}

/// The type of a system function's result, for whoever plans a query; `None` when there is none of that name.
pub fn scalar_type(name: &str) -> Option<crate::value::Ty> {
    functions::result_type(name)
}

/// A system procedure; `None` when there is none of that name.
pub fn procedure(
    host: &mut dyn Host,
    database: Option<&str>,
    schema: Option<&str>,
    name: &str,
    args: &[ProcArg],
) -> Result<Option<ProcResult>, SqlError> {
    procedures::call(host, database, schema, name, args)
}

/// A time of the server as `datetime`.
pub(crate) fn moment(moment: Moment) -> Val {
    moment.datetime()
}
