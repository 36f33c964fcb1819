//! Foreign keys of the target: in which order tables are written so that they hold after every statement.
//!
//! Rows are inserted and updated parents first, deleted children first. Constraints that are deferrable are
//! checked at the end of the transaction instead; they only count where the others leave a choice. A table that
//! refers to itself needs no order: PostgreSQL checks at the end of a statement.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use causeway_postgres::{PostgresError, Session};

use crate::{SinkError, statements};

/// Schema and table.
pub type Name = (String, String);

/// One foreign key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The table that refers.
    pub child: Name,
    /// The table that is referred to.
    pub parent: Name,
    /// The constraint.
    pub constraint: String,
    /// Whether its check can wait for the end of the transaction.
    pub deferrable: bool,
}

/// All foreign keys of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    edges: BTreeSet<Edge>,
    /// Some table refers to itself by a constraint that can be deferred.
    deferrable_self: bool,
}

/// Where each table stands: lower ones are parents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    ranks: HashMap<Name, usize>,
    /// True when every foreign key is kept by the order alone.
    pub complete: bool,
}

impl Order {
    /// The rank of a table.
    #[must_use]
    pub fn rank(&self, table: &Name) -> usize {
        self.ranks.get(table).copied().unwrap_or(0)
    }
}

impl Foreign {
    /// Of a list of constraints.
    #[must_use]
    pub fn new(edges: impl IntoIterator<Item = Edge>) -> Self {
        let (own, edges): (BTreeSet<Edge>, BTreeSet<Edge>) =
            edges.into_iter().partition(|edge| edge.child == edge.parent);
        Self { edges, deferrable_self: own.iter().any(|edge| edge.deferrable) }
    }

    /// Reads them from the target's catalog.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn read(client: &Session) -> Result<Self, PostgresError> {
        let rows = client
            .query_typed(statements::FOREIGN_KEYS, &[])
            .await
            .map_err(|e| PostgresError::statement("read the foreign keys", e))?;
        Ok(Self::new(rows.iter().map(|row| Edge {
            child: (row.get(0), row.get(1)),
            parent: (row.get(2), row.get(3)),
            constraint: row.get(4),
            deferrable: row.get(5),
        })))
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty() && !self.deferrable_self
    }

    /// True when some constraint can be deferred.
    #[must_use]
    pub fn any_deferrable(&self) -> bool {
        self.deferrable_self || self.edges.iter().any(|edge| edge.deferrable)
    }

    /// The order of these tables.
    ///
    /// # Errors
    /// [`SinkError::Table`] when constraints that cannot be deferred make a circle: it names them.
    pub fn order(&self, tables: &BTreeSet<Name>) -> Result<Order, SinkError> {
        let among: Vec<&Edge> = self
            .edges
            .iter()
            .filter(|edge| tables.contains(&edge.child) && tables.contains(&edge.parent))
            .collect();
        if let Ok(ranks) = sorted(tables, &among) {
            return Ok(Order { ranks, complete: true });
        }
        let strict: Vec<&Edge> = among.into_iter().filter(|edge| !edge.deferrable).collect();
        match sorted(tables, &strict) {
            Ok(ranks) => Ok(Order { ranks, complete: false }),
            Err(circle) => Err(refused(&strict, &circle)),
        }
    }
}

/// Ranks, or the tables that are part of a circle or behind one.
fn sorted(
    tables: &BTreeSet<Name>,
    edges: &[&Edge],
) -> Result<HashMap<Name, usize>, BTreeSet<Name>> {
    let mut left: BTreeMap<&Name, BTreeSet<&Name>> =
        tables.iter().map(|table| (table, BTreeSet::new())).collect();
    for edge in edges {
        if let Some(parents) = left.get_mut(&edge.child) {
            parents.insert(&edge.parent);
        }
    }
    let mut ranks = HashMap::new();
    let mut rank = 0;
    while !left.is_empty() {
        let free: Vec<&Name> = left
            .iter()
            .filter(|(_, parents)| !parents.iter().any(|parent| left.contains_key(*parent)))
            .map(|(table, _)| *table)
            .collect();
        if free.is_empty() {
            return Err(left.into_keys().cloned().collect());
        }
        for table in free {
            left.remove(table);
            ranks.insert(table.clone(), rank);
            rank += 1;
        }
    }
    Ok(ranks)
}

fn refused(edges: &[&Edge], circle: &BTreeSet<Name>) -> SinkError {
    let inside: Vec<&&Edge> = edges
        .iter()
        .filter(|edge| circle.contains(&edge.child) && circle.contains(&edge.parent))
        .collect();
    let constraints: Vec<String> = inside
        .iter()
        .map(|edge| {
            format!(
                "{} ({}.{} -> {}.{})",
                edge.constraint, edge.child.0, edge.child.1, edge.parent.0, edge.parent.1
            )
        })
        .collect();
    let first = inside.first();
    let table = first.map(|edge| format!("{}.{}", edge.child.0, edge.child.1)).unwrap_or_default();
    let example = first.map(|edge| edge.constraint.clone()).unwrap_or_default();
    SinkError::Table {
        why: format!(
            "foreign keys make a circle, and none of them can be deferred, so no order of writing keeps them: {}. Let one \
             be checked at the end of the transaction: ALTER TABLE {table} ALTER CONSTRAINT {example} DEFERRABLE",
            constraints.join(", ")
        ),
        table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> Name {
        ("public".to_owned(), table.to_owned())
    }

    /// `a>b` is a foreign key of a to b, `a~b` one that can be deferred.
    fn foreign(words: &[&str]) -> Foreign {
        Foreign::new(words.iter().map(|word| {
            let deferrable = word.contains('~');
            let (child, parent) = word.split_once(['>', '~']).unwrap();
            let constraint = format!("fk_{child}_{parent}");
            Edge { child: name(child), parent: name(parent), constraint, deferrable }
        }))
    }

    fn order(words: &[&str], tables: &[&str]) -> Result<(String, bool), String> {
        let tables: BTreeSet<Name> = tables.iter().map(|table| name(table)).collect();
        let order = foreign(words).order(&tables).map_err(|error| error.to_string())?;
        let mut sorted: Vec<_> = tables.iter().collect();
        sorted.sort_by_key(|table| order.rank(table));
        let sorted: Vec<&str> = sorted.into_iter().map(|(_, table)| table.as_str()).collect();
        Ok((sorted.join(" "), order.complete))
    }

    #[test]
    fn parents_come_before_children() {
        for (words, tables, expected) in [
            (&[][..], &["b", "a"][..], ("a b", true)),
            (&["a>b", "b>c"], &["a", "b", "c"], ("c b a", true)),
            // What is between them is not written, so nothing is to be kept.
            (&["a>b", "b>c"], &["a", "c"], ("a c", true)),
            (&["a>a", "a>b"], &["a", "b"], ("b a", true)),
            // What can be deferred counts when it can.
            (&["a~b"], &["a", "b"], ("b a", true)),
            (&["a~b", "b>a"], &["a", "b"], ("a b", false)),
            (&["a~b", "b~a"], &["a", "b"], ("a b", false)),
        ] {
            assert_eq!(order(words, tables), Ok((expected.0.to_owned(), expected.1)), "{words:?}");
        }
    }

    #[test]
    fn a_circle_that_cannot_be_deferred_is_named() {
        let error = order(&["a>b", "b>c", "c>a", "x>a"], &["a", "b", "c", "x", "y"]).unwrap_err();
        for part in ["fk_a_b", "fk_b_c", "fk_c_a", "ALTER CONSTRAINT fk_a_b DEFERRABLE"] {
            assert!(error.contains(part), "{error}");
        }
        // One that is not among the tables that are written does not matter.
        assert!(order(&["a>b", "b>a"], &["a", "x"]).is_ok());
    }
}
