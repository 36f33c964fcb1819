//! Which names an expression can see.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::R;
use super::node::Node;
use super::plan::{Aggregate, Window};
use crate::sql::ast::{Cte, Name};
use crate::store::same_name;
use crate::value::{Collation, Filled, SqlError, Ty};

/// A column that a table of FROM offers.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) name: String,
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
    pub(crate) filled: Filled,
    pub(crate) collation: Option<Collation>,
    /// Not in `*`.
    pub(crate) hidden: bool,
}

/// A table of FROM.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    /// Alias, or the table's own name.
    pub(crate) alias: String,
    /// `[database, schema, table]` when it has no alias.
    pub(crate) path: Vec<String>,
    pub(crate) columns: Vec<Offered>,
    pub(crate) slot: usize,
}

/// GROUP BY, aggregates and window functions of a SELECT, while its items are compiled.
#[derive(Debug, Default)]
pub(crate) struct Grouping {
    /// Items are compiled: columns must be grouped.
    pub(crate) grouped: bool,
    /// Aggregates are allowed here.
    pub(crate) aggregates_allowed: bool,
    pub(crate) windows_allowed: bool,
    pub(crate) keys: Vec<Node>,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) windows: Vec<Window>,
    pub(crate) group_slot: usize,
    pub(crate) window_slot: usize,
}

/// Common table expressions in reach: those of `list` before `upto`, then the parent's.
#[derive(Debug)]
pub(crate) struct Ctes {
    pub(crate) list: Arc<Vec<Cte>>,
    pub(crate) upto: usize,
    /// The one that is being defined and refers to itself: name, number of the work table, columns.
    pub(crate) work: Option<(String, usize, Vec<Offered>)>,
    pub(crate) parent: Option<Rc<Ctes>>,
}

#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) tables: RefCell<Vec<Visible>>,
    pub(crate) outer: Option<&'a Scope<'a>>,
    /// A derived table does not see its neighbours.
    pub(crate) hidden: Cell<bool>,
    pub(crate) ctes: Option<Rc<Ctes>>,
    pub(crate) grouping: RefCell<Grouping>,
    /// Something inside refers to a scope outside.
    pub(crate) correlated: Cell<bool>,
}

impl<'a> Scope<'a> {
    pub(crate) fn inside(outer: Option<&'a Self>, ctes: Option<Rc<Ctes>>) -> Self {
        Self { outer, ctes, ..Self::default() }
    }

    /// A scope with one table, for defaults, checks and OUTPUT.
    pub(crate) fn of(tables: Vec<Visible>) -> Self {
        Self { tables: RefCell::new(tables), ..Self::default() }
    }

    pub(crate) fn next_slot(&self) -> usize {
        self.tables.borrow().len()
    }

    /// A column by its name: depth, slot, position, description.
    pub(crate) fn resolve(&self, name: &Name) -> R<(usize, usize, usize, Offered)> {
        let mut scope = Some(self);
        let mut depth = 0;
        let mut known = name.len() == 1;
        while let Some(s) = scope {
            if let Some((_, qualifier)) = name.split_last() {
                known |= !s.hidden.get() && s.tables.borrow().iter().any(|t| matches(t, qualifier));
            }
            if !s.hidden.get()
                && let Some((slot, column, offered)) = s.here(name)?
            {
                if depth > 0 {
                    self.mark(depth);
                }
                return Ok((depth, slot, column, offered));
            }
            depth += 1;
            scope = s.outer;
        }
        Err(if known {
            SqlError::invalid_column(name.last().map_or("", String::as_str))
        } else {
            let m = format!("The multi-part identifier \"{}\" could not be bound.", name.join("."));
            SqlError::new(4104, m)
        })
    }

    fn mark(&self, depth: usize) {
        let mut scope = Some(self);
        for _ in 0..depth {
            if let Some(s) = scope {
                s.correlated.set(true);
                scope = s.outer;
            }
        }
    }

    fn here(&self, name: &Name) -> R<Option<(usize, usize, Offered)>> {
        let Some((column, qualifier)) = name.split_last() else { return Ok(None) };
        let mut found: Option<(usize, usize, Offered)> = None;
        for t in self.tables.borrow().iter() {
            if !matches(t, qualifier) {
                continue;
            }
            let positions =
                t.columns.iter().enumerate().filter(|(_, c)| same_name(&c.name, column));
            for (i, c) in positions {
                if found.is_some() {
                    return Err(SqlError::ambiguous_column(column));
                }
                found = Some((t.slot, i, c.clone()));
            }
        }
        Ok(found)
    }
}

/// Whether `t`, `s.t`, `d.s.t` in front of a column or a star means this table.
pub(crate) fn matches(t: &Visible, qualifier: &[String]) -> bool {
    match qualifier {
        [] => true,
        [one] => same_name(&t.alias, one),
        many => {
            !t.path.is_empty()
                && many
                    .iter()
                    .rev()
                    .zip(t.path.iter().rev())
                    .all(|(a, b)| same_name(a, b) || (a.is_empty() && same_name(b, "dbo")))
        }
    }
}
