//! Making a row fit for its table: defaults, identity, computed columns, constraints, foreign keys.

use std::sync::Arc;

use super::dml::Target;
use super::from::{Encoded, encode, offered};
use super::node::{Env, Node};
use super::scope::{Scope, Visible};
use super::session::SessionState;
use super::{R, Write};
use crate::cdc;
use crate::sql::parse_expression;
use crate::store::{Action, Database, ForeignKey, Key, KeyRange, RowUpdate, Table, TableDef};
use crate::value::{Row, SqlError, Ty, Typed, Val, assign, cast};

/// A table with everything compiled that a write needs.
pub(crate) struct Writer {
    pub(crate) def: Arc<TableDef>,
    /// database.schema.table, for messages
    pub(crate) full_name: String,
    defaults: Vec<Option<Node>>,
    computed: Vec<(usize, Node)>,
    /// name, condition
    checks: Vec<(String, Node)>,
    foreign: bool,
}

impl Writer {
    pub(crate) fn has_foreign_keys(&self) -> bool {
        self.foreign
    }

    /// Without CHECK and FOREIGN KEY constraints, as a bulk load writes that does not ask for them.
    pub(crate) fn unchecked(mut self) -> Self {
        self.checks.clear();
        self.foreign = false;
        self
    }

    pub(crate) fn has_default(&self, at: usize) -> bool {
        matches!(self.defaults.get(at), Some(Some(_)))
    }
}

impl SessionState {
    pub(crate) fn writer(&mut self, target: &Target) -> R<Writer> {
        let def = target.table.def();
        let alias = def.name.clone();
        let sc =
            Scope::of(vec![Visible { alias, path: Vec::new(), columns: offered(&def), slot: 0 }]);
        let nothing = Scope::default();
        let mut defaults = Vec::with_capacity(def.columns.len());
        let mut computed = Vec::new();
        for (i, c) in def.columns.iter().enumerate() {
            defaults.push(match &c.default {
                Some(d) => Some(self.compile(&parse_expression(&d.text, false)?, &nothing)?),
                None => None,
            });
            if let Some(text) = &c.computed {
                computed.push((i, self.compile(&parse_expression(&text.text, false)?, &sc)?));
            }
        }
        let mut checks = Vec::new();
        for c in def.checks.iter().filter(|c| !c.disabled) {
            checks.push((c.name.clone(), self.compile(&parse_expression(&c.text, true)?, &sc)?));
        }
        let full_name = format!("{}.{}.{}", target.database.name(), def.schema, def.name);
        let foreign = def.foreign_keys.iter().any(|f| !f.disabled);
        Ok(Writer { def, full_name, defaults, computed, checks, foreign })
    }

    pub(crate) fn default_value(&mut self, w: &Writer, at: usize) -> R<Typed> {
        match w.defaults.get(at) {
            Some(Some(n)) => self.typed(n, &Env::EMPTY),
            _ => Ok(Typed::null(Ty::Int)),
        }
    }

    /// Inserts a row of the given values; the rest is default, identity, computed.
    pub(crate) fn insert_row(
        &mut self,
        w: &Writer,
        target: &Target,
        given: Vec<(usize, Typed)>,
    ) -> Result<Row, Write> {
        let mut values = vec![Val::Null; w.def.columns.len()];
        let mut set = vec![false; w.def.columns.len()];
        for (at, v) in given {
            let Some(c) = w.def.columns.get(at) else { continue };
            let v = assign(&v, &c.ty, Some((&w.full_name, &c.name)))?;
            if let (Some(place), Some(flag)) = (values.get_mut(at), set.get_mut(at)) {
                *place = v;
                *flag = true;
            }
        }
        for (at, c) in w.def.columns.iter().enumerate() {
            let given = set.get(at) == Some(&true);
            if let Some(identity) = c.identity {
                if given {
                    if let Some(v) = values.get(at) {
                        let n = match v {
                            Val::Int(n) => i128::from(*n),
                            Val::Dec(n) => *n,
                            _ => continue,
                        };
                        target.table.note_identity(n, identity.increment);
                        self.identity_was(n);
                    }
                    continue;
                }
                let n = target.table.next_identity(identity.seed, identity.increment);
                let v = cast(&Typed::new(Ty::Decimal(38, 0), Val::Dec(n)), &c.ty, None).map_err(
                    |_| {
                        SqlError::new(
                            8115,
                            format!(
                                "Arithmetic overflow error converting IDENTITY to data type {}.",
                                c.ty.name()
                            ),
                        )
                    },
                )?;
                if let Some(place) = values.get_mut(at) {
                    *place = v;
                }
                self.identity_was(n);
            } else if !given && let Some(Some(n)) = w.defaults.get(at) {
                let v = self.typed(n, &Env::EMPTY)?;
                let v = assign(&v, &c.ty, Some((&w.full_name, &c.name)))?;
                if let Some(place) = values.get_mut(at) {
                    *place = v;
                }
            }
        }
        for (at, c) in w.def.columns.iter().enumerate() {
            if c.ty == Ty::RowVersion
                && let Some(place) = values.get_mut(at)
            {
                *place = Val::Null;
            }
        }
        let row = self.finish_row_in(w, values, "INSERT", &target.database)?;
        cdc::check_text_size(&self.instance, &target.table, &row)?;
        self.tx()?.insert(&target.database, &target.table, Arc::clone(&row))?;
        Ok(row)
    }

    /// Computed columns, rowversion, NOT NULL, CHECK.
    pub(crate) fn finish_row(&mut self, w: &Writer, values: Vec<Val>, statement: &str) -> R<Row> {
        let database = self.db();
        self.finish_row_in(w, values, statement, &database)
    }

    fn finish_row_in(
        &mut self,
        w: &Writer,
        mut values: Vec<Val>,
        statement: &str,
        database: &Arc<Database>,
    ) -> R<Row> {
        for (at, c) in w.def.columns.iter().enumerate() {
            if c.ty == Ty::RowVersion
                && let Some(place) = values.get_mut(at)
            {
                *place = Val::bytes(&database.next_row_version().to_be_bytes());
            }
        }
        if w.def.columns.iter().any(|c| c.generated.is_some()) {
            self.fill_period(&w.def, &mut values)?;
        }
        if !w.computed.is_empty() {
            for (at, n) in &w.computed {
                let row: Row = values.clone().into();
                let tuple = [row];
                let v = self.typed(n, &Env { rows: &tuple, outer: None })?;
                let ty = w.def.columns.get(*at).map_or(n.ty, |c| c.ty);
                if let Some(place) = values.get_mut(*at) {
                    *place = cast(&v, &ty, None)?;
                }
            }
        }
        for (c, v) in w.def.columns.iter().zip(&values) {
            if !c.nullable && v.is_null() {
                return Err(SqlError::null_into(&w.full_name, &c.name, statement));
            }
        }
        let row: Row = values.into();
        if !w.checks.is_empty() {
            let tuple = [Arc::clone(&row)];
            for (name, n) in &w.checks {
                // Unknown is good enough for a CHECK.
                if self.test(n, &Env { rows: &tuple, outer: None })? == Some(false) {
                    let db = database.name();
                    return Err(SqlError::constraint(
                        statement,
                        "CHECK",
                        name,
                        &db,
                        &w.def.full_name(),
                    ));
                }
            }
        }
        Ok(row)
    }

    /// The referenced rows exist.
    pub(crate) fn check_foreign(
        &mut self,
        w: &Writer,
        target: &Target,
        row: &Row,
        statement: &str,
    ) -> R<()> {
        for f in w.def.foreign_keys.iter().filter(|f| !f.disabled) {
            self.check_one_foreign(&w.def, f, &target.database, row, statement)?;
        }
        Ok(())
    }

    pub(crate) fn check_one_foreign(
        &mut self,
        def: &TableDef,
        f: &ForeignKey,
        database: &Arc<Database>,
        row: &Row,
        statement: &str,
    ) -> R<()> {
        let Some(parent) = database.table_by_id(f.parent) else { return Ok(()) };
        let parent_def = parent.def();
        let mut by_column: Vec<(usize, Typed)> = Vec::with_capacity(f.columns.len());
        for (own, id) in f.columns.iter().zip(&f.parent_columns) {
            let (Some(c), Some(v), Some(at)) =
                (def.columns.get(*own), row.get(*own), parent_def.ordinal_of_id(*id))
            else {
                return Ok(());
            };
            if v.is_null() {
                return Ok(());
            }
            by_column.push((at, Typed::new(c.ty, v.clone())));
        }
        let index = parent_def.indexes.iter().enumerate().find(|(_, i)| {
            i.unique
                && i.columns.len() == by_column.len()
                && i.columns.iter().all(|k| by_column.iter().any(|(at, _)| *at == k.column))
        });
        let Some((position, index)) = index else { return Ok(()) };
        let mut values = Vec::with_capacity(by_column.len());
        for k in &index.columns {
            if let Some((_, v)) = by_column.iter().find(|(at, _)| *at == k.column) {
                values.push(v.clone());
            }
        }
        let found = match encode(&parent_def, &index.columns, &values) {
            Encoded::Exact(bytes) => self.tx()?.exists_now(&parent, position, &bytes)?,
            Encoded::Near(_) | Encoded::Never | Encoded::Unbounded => false,
        };
        if found {
            return Ok(());
        }
        let kind = if parent.object_id == def.object_id {
            "FOREIGN KEY SAME TABLE"
        } else {
            "FOREIGN KEY"
        };
        Err(SqlError::constraint(
            statement,
            kind,
            &f.name,
            &database.name(),
            &parent_def.full_name(),
        ))
    }

    /// Rows were deleted, or their keys changed: what refers to them.
    pub(crate) fn parents_changed(
        &mut self,
        target: &Target,
        rows: Vec<(&Row, Option<&Row>)>,
        statement: &str,
    ) -> Result<(), Write> {
        if rows.is_empty() {
            return Ok(());
        }
        let parent_def = target.table.def();
        let children: Vec<(Arc<Table>, ForeignKey)> = target
            .database
            .tables()
            .into_iter()
            .flat_map(|t| {
                let def = t.def();
                let id = target.table.object_id;
                let found: Vec<_> = def
                    .foreign_keys
                    .iter()
                    .filter(|f| f.parent == id && !f.disabled)
                    .cloned()
                    .collect();
                found.into_iter().map(move |f| (Arc::clone(&t), f)).collect::<Vec<_>>()
            })
            .collect();
        for (child, f) in children {
            let child_def = child.def();
            let parents: Vec<usize> =
                f.parent_columns.iter().filter_map(|id| parent_def.ordinal_of_id(*id)).collect();
            for (before, after) in &rows {
                if let Some(after) = after
                    && parents.iter().all(|p| before.get(*p) == after.get(*p))
                {
                    continue;
                }
                let wanted: Vec<Typed> = parents
                    .iter()
                    .filter_map(|p| {
                        Some(Typed::new(parent_def.columns.get(*p)?.ty, before.get(*p)?.clone()))
                    })
                    .collect();
                if wanted.iter().any(Typed::is_null) {
                    continue;
                }
                let found = self.children_of(&target.database, &child, &child_def, &f, &wanted)?;
                if found.is_empty() {
                    continue;
                }
                // Another row may have taken the key over.
                let action = if after.is_some() { f.on_update } else { f.on_delete };
                let child_target =
                    Target { database: Arc::clone(&target.database), table: Arc::clone(&child) };
                match action {
                    Action::NoAction => {
                        let mut broken = false;
                        for (_, row) in &found {
                            broken |= self
                                .check_one_foreign(&child_def, &f, &target.database, row, statement)
                                .is_err();
                        }
                        if broken {
                            let kind = if child.object_id == target.table.object_id {
                                "SAME TABLE REFERENCE"
                            } else {
                                "REFERENCE"
                            };
                            let db = target.database.name();
                            return Err(SqlError::constraint(
                                statement,
                                kind,
                                &f.name,
                                &db,
                                &child_def.full_name(),
                            )
                            .into());
                        }
                    }
                    Action::Cascade if after.is_none() => {
                        self.delete_rows(&child_target, &found)?;
                    }
                    Action::Cascade | Action::SetNull | Action::SetDefault => {
                        let w = self.writer(&child_target)?;
                        let mut updates = Vec::with_capacity(found.len());
                        for (key, row) in found {
                            let mut values = row.to_vec();
                            for (own, p) in f.columns.iter().zip(&parents) {
                                let v = match (action, after) {
                                    (Action::Cascade, Some(after)) => {
                                        let ty =
                                            parent_def.columns.get(*p).map_or(Ty::Int, |c| c.ty);
                                        Typed::new(ty, after.get(*p).cloned().unwrap_or_default())
                                    }
                                    (Action::SetDefault, _) => self.default_value(&w, *own)?,
                                    _ => Typed::null(Ty::Int),
                                };
                                if let (Some(place), Some(c)) =
                                    (values.get_mut(*own), child_def.columns.get(*own))
                                {
                                    *place = assign(&v, &c.ty, Some((&w.full_name, &c.name)))?;
                                }
                            }
                            let after = self.finish_row(&w, values, "UPDATE")?;
                            updates.push(RowUpdate { key, before: row, after });
                        }
                        self.keep_history(&child_target, updates.iter().map(|u| &u.before))?;
                        self.tx()?.update(&target.database, &child, &updates, &f.columns)?;
                        self.parents_changed(
                            &child_target,
                            updates.iter().map(|u| (&u.before, Some(&u.after))).collect(),
                            "UPDATE",
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows of a child table that refer to a key.
    fn children_of(
        &mut self,
        database: &Arc<Database>,
        child: &Arc<Table>,
        def: &TableDef,
        f: &ForeignKey,
        wanted: &[Typed],
    ) -> R<Vec<(Key, Row)>> {
        let index = def.indexes.iter().enumerate().find(|(_, i)| {
            i.filter.is_none()
                && i.columns.first().is_some_and(|k| f.columns.first() == Some(&k.column))
        });
        let mut range = KeyRange::default();
        if let (Some((_, i)), Some(first)) = (index, wanted.first())
            && let Encoded::Exact(bytes) = encode(def, &i.columns, std::slice::from_ref(first))
        {
            range = KeyRange::prefix(&bytes);
        }
        let cursor = self.tx()?.cursor(database, child, index.map(|i| i.0), range, false);
        let mut out = Vec::new();
        for (key, row) in cursor {
            let mut all = true;
            for (own, w) in f.columns.iter().zip(wanted) {
                let ty = def.columns.get(*own).map_or(Ty::Int, |c| c.ty);
                let v = Typed::new(ty, row.get(*own).cloned().unwrap_or_default());
                all &= crate::value::compare(&v, w)? == Some(std::cmp::Ordering::Equal);
            }
            if all {
                out.push((key, row));
            }
        }
        Ok(out)
    }
}
