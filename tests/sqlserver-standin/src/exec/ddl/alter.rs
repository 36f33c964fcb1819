//! ALTER TABLE, but for a change of a column.

use crate::exec::ddl::order_indexes;
use std::sync::Arc;

use crate::cdc;
use crate::exec::R;
use crate::exec::dml::Target;
use crate::exec::node::{Env, Node};
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::sql::ast::{AlterTable, ColumnSpec, ConstraintSpec, Name};
use crate::store::{Database, DdlKind, Identity, Table, TableDef, Transaction, edited, same_name};
use crate::value::{SqlError, Ty, Typed, Val, assign, cast};

impl SessionState {
    /// Puts a definition in place whose rows are the same.
    pub(super) fn rewrite(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        def: TableDef,
        text: &str,
        kind: DdlKind,
    ) -> R<()> {
        let tx = self.tx()?;
        tx.rewrite_table(database, table, def, |row| Ok(Arc::clone(row)))?;
        cdc::on_ddl(tx, database, table, text, kind);
        Ok(())
    }

    // ---- ALTER TABLE ----

    pub(super) fn alter_table(&mut self, name: &Name, action: &AlterTable, text: &str) -> R<()> {
        let (database, table) = self.need_table(name).map_err(|_| {
            let m = format!("Cannot find the object \"{}\" because it does not exist or you do not have permissions.", name.join("."));
            SqlError::new(4902, m)
        })?;
        self.tx()?.lock_table(&table, crate::store::Mode::SchemaModify)?;
        let mut def = (*table.def()).clone();
        Self::may_alter_versioned(&def, action)?;
        match action {
            AlterTable::Versioning(Some(wanted)) => {
                self.turn_on_versions(&database, &table, wanted)
            }
            AlterTable::Versioning(None) => self.turn_off_versions(&database, &table),
            AlterTable::Add { columns, constraints, with_values, no_check } => {
                if !columns.is_empty() {
                    self.alter_add(&database, &table, def, columns, *with_values, text)?;
                    def = (*table.def()).clone();
                }
                for c in constraints {
                    self.alter_constraint(&database, &table, &mut def, c, *no_check, text)?;
                }
                Ok(())
            }
            AlterTable::DropColumns(names, if_exists) => {
                for n in names {
                    self.alter_drop_column(&database, &table, n, *if_exists, text)?;
                }
                Ok(())
            }
            AlterTable::DropConstraints(names, if_exists) => {
                for n in names {
                    let mut def = (*table.def()).clone();
                    let mut found = false;
                    for c in &mut def.columns {
                        if c.default.as_ref().is_some_and(|d| same_name(&d.name, n)) {
                            c.default = None;
                            found = true;
                        }
                    }
                    let before = (def.checks.len(), def.foreign_keys.len(), def.indexes.len());
                    def.checks.retain(|c| !same_name(&c.name, n));
                    def.foreign_keys.retain(|c| !same_name(&c.name, n));
                    if let Some(i) =
                        def.indexes.iter().find(|i| i.constraint_id != 0 && same_name(&i.name, n))
                    {
                        if i.primary_key && table.is_tracked() {
                            let m = format!(
                                "Cannot alter the table '{}' because the primary key is used by Change Data Capture.",
                                def.name
                            );
                            return Err(SqlError::new(22858, m));
                        }
                        let referenced = database.tables().iter().any(|t| {
                            t.def().foreign_keys.iter().any(|f| {
                                f.parent == table.object_id && {
                                    let mut ids: Vec<i32> = i
                                        .columns
                                        .iter()
                                        .filter_map(|k| def.columns.get(k.column))
                                        .map(|c| c.id)
                                        .collect();
                                    ids.sort_unstable();
                                    let mut own = f.parent_columns.clone();
                                    own.sort_unstable();
                                    ids == own
                                }
                            })
                        });
                        if referenced {
                            let m = format!(
                                "The constraint '{n}' is being referenced by table '{}', foreign key constraint.",
                                def.name
                            );
                            return Err(SqlError::new(3725, m));
                        }
                    }
                    def.indexes.retain(|i| i.constraint_id == 0 || !same_name(&i.name, n));
                    let indexes = def.indexes.len() != before.2;
                    found |=
                        (def.checks.len(), def.foreign_keys.len(), def.indexes.len()) != before;
                    if !found {
                        if *if_exists {
                            continue;
                        }
                        return Err(SqlError::new(3728, format!("'{n}' is not a constraint.")));
                    }
                    if indexes {
                        self.rewrite(&database, &table, def, text, DdlKind::Constraint)?;
                    } else {
                        let tx = self.tx()?;
                        tx.redefine_table(&database, &table, def)?;
                        cdc::on_ddl(tx, &database, &table, text, DdlKind::Constraint);
                    }
                }
                Ok(())
            }
            AlterTable::AlterColumn(spec) => self.alter_column(&database, &table, spec, text),
            AlterTable::Both(first, second) => {
                self.alter_table(name, first, text)?;
                self.alter_table(name, second, text)
            }
            AlterTable::Check { enable, names, verify } => {
                for c in &mut def.checks {
                    if names.is_empty() || names.iter().any(|n| same_name(n, &c.name)) {
                        c.disabled = !enable;
                    }
                }
                for f in &mut def.foreign_keys {
                    if names.is_empty() || names.iter().any(|n| same_name(n, &f.name)) {
                        f.disabled = !enable;
                    }
                }
                self.tx()?.redefine_table(&database, &table, def)?;
                if *verify { self.verify(&database, &table) } else { Ok(()) }
            }
            AlterTable::Ignored => Ok(()),
        }
    }

    pub(super) fn alter_add(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        mut def: TableDef,
        columns: &[ColumnSpec],
        with_values: bool,
        text: &str,
    ) -> R<()> {
        let first = def.columns.len();
        let mut more = Vec::new();
        for c in columns {
            self.add_column(database, &mut def, c)?;
        }
        for c in columns {
            self.computed_type(&mut def, &c.name)?;
            for k in &c.constraints {
                match k {
                    ConstraintSpec::Default { .. } => self.add_constraint(database, &mut def, k)?,
                    other => more.push(other.clone()),
                }
            }
        }
        // What the existing rows get.
        let filled = table.approximate_rows() > 0;
        let mut values: Vec<Val> = Vec::new();
        let mut identity: Option<(usize, Identity)> = None;
        let mut computed: Vec<(usize, Node)> = Vec::new();
        for (at, c) in def.columns.iter().enumerate().skip(first) {
            let spec = columns.get(at - first);
            let given = with_values
                || spec.is_some_and(|s| {
                    s.constraints
                        .iter()
                        .any(|k| matches!(k, ConstraintSpec::Default { with_values: true, .. }))
                });
            let mut v = Val::Null;
            if let Some(d) = &c.default
                && (!c.nullable || given)
            {
                let e = crate::sql::parse_expression(&d.text, false)?;
                let n = self.compile(&e, &Scope::default())?;
                let t = self.typed(&n, &Env::EMPTY)?;
                v = assign(&t, &c.ty, Some((&def.name, &c.name)))?;
            }
            if let Some(i) = c.identity {
                identity = Some((at, i));
            } else if let Some(x) = &c.computed {
                let text = x.text.clone();
                let n = self.table_expression(&def, &text, false)?;
                computed.push((at, n));
            } else if c.ty == Ty::RowVersion {
                v = Val::bytes(&database.next_row_version().to_be_bytes());
            } else if v.is_null() && !c.nullable && filled {
                let m = format!(
                    "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column '{}' cannot be added to non-empty table '{}' because it does not satisfy these conditions.",
                    c.name, def.name
                );
                return Err(SqlError::new(4901, m));
            }
            values.push(v);
        }
        let columns_now = def.columns.clone();
        // The transaction is lent out while rows are rewritten; computed columns need the session.
        let mut tx: Option<Transaction> = None;
        std::mem::swap(&mut tx, &mut self.transaction);
        let result = match tx.as_mut() {
            Some(t) => t.rewrite_table(database, table, def, |row| {
                let mut out = edited(row, |v| v.extend(values.iter().cloned()));
                if let Some((at, i)) = identity {
                    let n = table.next_identity(i.seed, i.increment);
                    let ty = columns_now.get(at).map_or(Ty::Int, |c| c.ty);
                    let val = cast(&Typed::new(Ty::Decimal(38, 0), Val::Dec(n)), &ty, None)?;
                    out = edited(&out, |v| {
                        if let Some(p) = v.get_mut(at) {
                            *p = val;
                        }
                    });
                }
                for (at, n) in &computed {
                    let tuple = [Arc::clone(&out)];
                    let val = self.eval(n, &Env { rows: &tuple, outer: None })?;
                    out = edited(&out, |v| {
                        if let Some(p) = v.get_mut(*at) {
                            *p = val;
                        }
                    });
                }
                Ok(out)
            }),
            None => Ok(()),
        };
        self.transaction = tx;
        result?;
        let tx = self.tx()?;
        // One statement is one row of the history, however many columns it adds.
        if let Some(c) = columns.first() {
            cdc::on_ddl(tx, database, table, text, DdlKind::AddColumn { column: c.name.clone() });
        }
        for c in more {
            let mut def = (*table.def()).clone();
            self.alter_constraint(database, table, &mut def, &c, false, text)?;
        }
        Ok(())
    }

    pub(super) fn alter_constraint(
        &mut self,
        database: &Arc<Database>,
        table: &Arc<Table>,
        def: &mut TableDef,
        c: &ConstraintSpec,
        no_check: bool,
        text: &str,
    ) -> R<()> {
        if let ConstraintSpec::Key(k) = c
            && k.primary
        {
            for (name, _) in &k.columns {
                if def.column(name).is_some_and(|c| c.nullable) {
                    let m = format!(
                        "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                        def.name
                    );
                    return Err(SqlError::new(8111, m));
                }
            }
        }
        self.add_constraint(database, def, c)?;
        match c {
            ConstraintSpec::Key(_) => {
                order_indexes(def);
                self.rewrite(database, table, def.clone(), text, DdlKind::Constraint)?;
            }
            ConstraintSpec::Check { .. } | ConstraintSpec::Foreign(_) => {
                self.tx()?.redefine_table(database, table, def.clone())?;
                if !no_check {
                    self.verify(database, table)?;
                }
                cdc::on_ddl(self.tx()?, database, table, text, DdlKind::Constraint);
            }
            ConstraintSpec::Default { with_values, column, .. } => {
                let _ = (with_values, column);
                let tx = self.tx()?;
                tx.redefine_table(database, table, def.clone())?;
                cdc::on_ddl(tx, database, table, text, DdlKind::Constraint);
            }
        }
        *def = (*table.def()).clone();
        Ok(())
    }

    /// All rows keep the constraint that was added last.
    pub(super) fn verify(&mut self, database: &Arc<Database>, table: &Arc<Table>) -> R<()> {
        let def = table.def();
        let rows: Vec<_> = self.tx()?.scan(database, table).map(|(_, r)| r).collect();
        let target = Target { database: Arc::clone(database), table: Arc::clone(table) };
        let w = self.writer(&target)?;
        for row in rows {
            self.check_foreign(&w, &target, &row, "ALTER TABLE")?;
            for c in def.checks.iter().filter(|c| !c.disabled) {
                let n = self.table_expression(&def, &c.text, true)?;
                let tuple = [Arc::clone(&row)];
                if self.test(&n, &Env { rows: &tuple, outer: None })? == Some(false) {
                    return Err(SqlError::constraint(
                        "ALTER TABLE",
                        "CHECK",
                        &c.name,
                        &database.name(),
                        &def.full_name(),
                    ));
                }
            }
        }
        Ok(())
    }
}
