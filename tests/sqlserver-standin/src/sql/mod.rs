//! T-SQL: a tokenizer and a recursive-descent parser of its grammar, as far as the stand-in knows it.
//!
//! It is a parser of T-SQL only, so what is not T-SQL (LIMIT, `::`, row values, TRUE) is a syntax error here as
//! on a real server; T-SQL that the stand-in has no answer for is refused with error 50999.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a parser looks for the token it wants; every other one is an error"
)]

pub mod ast;
mod bulk;
mod cache;
mod cursor;
mod ddl;
mod depth;
mod dml;
mod exec;
mod expr;
mod from;
mod lexer;
mod module;
mod parser;
mod query;
mod statement;

pub use cache::parse_cached;
pub use module::{Function, FunctionBody, Trigger, parse_function, parse_trigger};
pub use statement::{parse, parse_expression, parse_procedure, parse_view};
