//! Cursors of a session. Their rows are read at OPEN, as a STATIC cursor's are.

use std::sync::Arc;

use super::R;
use super::output::Output;
use super::scope::Scope;
use super::session::SessionState;
use crate::sql::ast::{Cursor, CursorName, Fetch, Query};
use crate::store::same_name;
use crate::value::{Col, Row, SqlError, Typed, Val, assign};

/// A declared cursor.
#[derive(Debug)]
pub(crate) struct Declared {
    name: String,
    scroll: bool,
    query: Arc<Query>,
    open: Option<Open>,
}

/// Its rows; `at` is the row of the last fetch, counted from 1: 0 is before the first one.
#[derive(Debug)]
struct Open {
    columns: Vec<Col>,
    rows: Vec<Row>,
    at: usize,
}

impl Open {
    /// Moves and returns the row there.
    fn go(&mut self, to: Option<i64>) -> Option<Row> {
        let count = i64::try_from(self.rows.len()).unwrap_or(i64::MAX);
        let to = to.unwrap_or(0).clamp(0, count + 1);
        self.at = usize::try_from(to).unwrap_or(0);
        self.at.checked_sub(1).and_then(|i| self.rows.get(i)).cloned()
    }
}

fn missing(name: &str) -> SqlError {
    SqlError::new(16916, format!("A cursor with the name '{name}' does not exist."))
}

fn not_open() -> SqlError {
    SqlError::new(16917, "Cursor is not open.")
}

impl SessionState {
    pub(super) fn cursor(&mut self, c: &Cursor, out: &mut dyn Output) -> R<()> {
        match c {
            Cursor::Declare { name, global, scroll, query } => {
                // The query is checked now; its tables may not be there later.
                self.atomic(|s| Ok(s.query_in(query, &Scope::default()).map(|_| ())?))?;
                let place = if *global { &mut self.cursors } else { &mut self.frame().cursors };
                if place.iter().any(|d| same_name(&d.name, name)) {
                    let m = format!("A cursor with the name '{name}' already exists.");
                    return Err(SqlError::new(16915, m));
                }
                let query = Arc::new((**query).clone());
                place.push(Declared { name: name.clone(), scroll: *scroll, query, open: None });
                Ok(())
            }
            Cursor::Open(name) => {
                let declared = self.find_cursor(name)?;
                if declared.open.is_some() {
                    return Err(SqlError::new(16905, "The cursor is already open."));
                }
                let query = Arc::clone(&declared.query);
                let (columns, rows) = self.atomic(|s| {
                    let plan = s.query_in(&query, &Scope::default())?;
                    let rows = s.collect(&plan, None, None)?;
                    Ok((plan.columns.clone(), rows))
                })?;
                self.cursor_rows = i64::try_from(rows.len()).unwrap_or(i64::MAX);
                self.find_cursor(name)?.open = Some(Open { columns, rows, at: 0 });
                Ok(())
            }
            Cursor::Fetch { which, name, into } => self.fetch(which, name, into, out),
            Cursor::Close(name) => match self.find_cursor(name)?.open.take() {
                Some(_) => Ok(()),
                None => Err(not_open()),
            },
            Cursor::Deallocate(name) => {
                self.find_cursor(name)?;
                let gone = |all: &mut Vec<Declared>| {
                    let at = all.iter().position(|d| same_name(&d.name, &name.name));
                    at.map(|at| all.remove(at)).is_some()
                };
                if name.global || !gone(&mut self.frame().cursors) {
                    gone(&mut self.cursors);
                }
                Ok(())
            }
        }
    }

    /// A local cursor before a global one.
    fn find_cursor(&mut self, name: &CursorName) -> R<&mut Declared> {
        let local = (!name.global)
            .then(|| self.frame().cursors.iter().position(|d| same_name(&d.name, &name.name)))
            .flatten();
        let found = match local {
            Some(at) => self.frame().cursors.get_mut(at),
            None => self.cursors.iter_mut().find(|d| same_name(&d.name, &name.name)),
        };
        found.ok_or_else(|| missing(&name.name))
    }

    fn fetch(
        &mut self,
        which: &Fetch,
        name: &CursorName,
        into: &[String],
        out: &mut dyn Output,
    ) -> R<()> {
        let number = match which {
            Fetch::Absolute(e) | Fetch::Relative(e) => self.value_of(e)?.to_i64()?,
            Fetch::Next | Fetch::Prior | Fetch::First | Fetch::Last => None,
        };
        let declared = self.find_cursor(name)?;
        let word = match which {
            Fetch::Next => None,
            Fetch::Prior => Some("prior"),
            Fetch::First => Some("first"),
            Fetch::Last => Some("last"),
            Fetch::Absolute(_) => Some("absolute"),
            Fetch::Relative(_) => Some("relative"),
        };
        if let Some(word) = word.filter(|_| !declared.scroll) {
            let m =
                format!("fetch: The fetch type {word} cannot be used with forward only cursors.");
            return Err(SqlError::new(16911, m));
        }
        let open = declared.open.as_mut().ok_or_else(not_open)?;
        if !into.is_empty() && into.len() != open.columns.len() {
            return Err(SqlError::new(
                16924,
                "Cursorfetch: The number of variables declared in the INTO list must match that of selected columns.",
            ));
        }
        let at = i64::try_from(open.at).unwrap_or(0);
        let count = i64::try_from(open.rows.len()).unwrap_or(0);
        let to = match which {
            Fetch::Next => Some(at + 1),
            Fetch::Prior => Some(at - 1),
            Fetch::First => Some(1),
            Fetch::Last => Some(count),
            Fetch::Absolute(_) => number.map(|n| if n < 0 { count + 1 + n } else { n }),
            Fetch::Relative(_) => number.map(|n| at.saturating_add(n)),
        };
        let row = open.go(to);
        let columns = open.columns.clone();
        self.fetch_status = if row.is_some() { 0 } else { -1 };
        self.row_count = i64::from(row.is_some());
        if into.is_empty() {
            self.send_columns(&columns, out)?;
            if let Some(row) = &row {
                self.send_row(row, out)?;
            }
            let sent = u64::from(row.is_some());
            out.done(Some(sent).filter(|_| !self.settings.no_count));
            return Ok(());
        }
        let Some(row) = row else { return Ok(()) };
        for ((name, col), val) in into.iter().zip(&columns).zip(row.iter()) {
            let (at, ty) = self.find_variable(name)?;
            let val: Val = assign(&Typed::new(col.ty, val.clone()), &ty, None)?;
            self.set_variable_at(at, val);
        }
        Ok(())
    }
}
