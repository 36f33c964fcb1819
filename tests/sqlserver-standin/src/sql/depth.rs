//! How deep a statement may nest.
//!
//! Parsing, compiling, evaluating and dropping a statement recurse as deep as its tree, so the tree has a limit, and a
//! deeper one is refused with SQL Server's own error 191. Where SQL Server's limit lies depends on its stack and is not
//! documented, but for subqueries (32 levels: Microsoft documentation, "Subqueries"); ours is what two megabytes of stack
//! hold, a test sees to it.
//!
//! Conditions of many terms do not count: `a OR b OR c ...` becomes a tree as flat as it can be, and keeps its order.

use super::ast::Expr;
use super::parser::{Parsed, Parser};
use crate::value::SqlError;

/// Levels of a statement's tree.
pub(super) const DEEPEST: u16 = 128;
/// Queries inside each other.
pub(super) const DEEPEST_QUERY: u16 = 32;

/// Where a parser is in the tree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    /// Levels around this place.
    around: u16,
    queries: u16,
    /// Levels of what was parsed last, from the surrounding level on.
    below: u16,
}

impl Parser<'_> {
    fn too_deep(&self) -> SqlError {
        let m = "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries.";
        SqlError::new(191, m).class(15).at_line(self.line())
    }

    /// Parses something one level deeper.
    pub(super) fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth.around >= DEEPEST {
            return Err(self.too_deep());
        }
        let beside = std::mem::take(&mut self.depth.below);
        self.depth.around += 1;
        let result = f(self);
        self.depth.around -= 1;
        let below = self.depth.below + 1;
        self.depth.below = beside.max(below);
        if below > DEEPEST { Err(self.too_deep()) } else { result }
    }

    /// Parses a query inside whatever is around it.
    pub(super) fn deeper_query<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth.queries > DEEPEST_QUERY {
            return Err(self.too_deep());
        }
        self.depth.queries += 1;
        let result = self.deeper(f);
        self.depth.queries -= 1;
        result
    }

    /// `a + b + c ...`: each link puts all before it one level deeper.
    pub(super) fn chain<T>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut Links) -> Parsed<T>,
    ) -> Parsed<T> {
        let beside = std::mem::take(&mut self.depth.below);
        let mut links = Links(0);
        let result = f(self, &mut links);
        self.depth.below = beside.max(self.depth.below).max(links.0);
        result
    }

    /// One more link: what was parsed since the last is beside it.
    pub(super) fn link(&mut self, links: &mut Links) -> Parsed<()> {
        links.0 = links.0.max(std::mem::take(&mut self.depth.below)) + 1;
        if links.0 > DEEPEST { Err(self.too_deep()) } else { Ok(()) }
    }
}

/// The height of a chain.
pub(super) struct Links(u16);

/// Joins terms into a tree as flat as can be, in their order.
pub(super) fn balanced(
    mut terms: Vec<Expr>,
    join: fn(Box<Expr>, Box<Expr>) -> Expr,
) -> Option<Expr> {
    if terms.len() < 2 {
        return terms.pop();
    }
    let right = terms.split_off(terms.len().div_ceil(2));
    Some(join(Box::new(balanced(terms, join)?), Box::new(balanced(right, join)?)))
}
