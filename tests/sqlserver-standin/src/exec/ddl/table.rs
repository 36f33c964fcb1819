//! CREATE TABLE: columns, computed columns, defaults.

use crate::exec::ddl::definition::definition;
use crate::exec::ddl::{order_indexes, temporal};
use std::sync::Arc;

use crate::exec::R;
use crate::exec::from::offered;
use crate::exec::node::Node;
use crate::exec::scope::{Scope, Visible};
use crate::exec::session::SessionState;
use crate::sql::ast::{ColumnSpec, ConstraintSpec, KeySpec, TableSpec};
use crate::store::{
    Column, Computed, Database, Generated, Identity, Table, TableDef, read, same_name,
};
use crate::value::{SqlError, Ty};

impl SessionState {
    pub(super) fn create_table(&mut self, spec: &TableSpec) -> R<()> {
        let (database, schema, own) = self.place_for(&spec.name)?;
        if self.taken(&database, &schema, &own) {
            return Err(SqlError::exists(&own));
        }
        let def = self.build(&database, &schema, &own, spec)?;
        temporal::check_period(&def, spec)?;
        let temporary = own.starts_with('#');
        let table = self.add_table(&database, def)?;
        match &spec.versioning {
            Some(_) if temporary => {
                Err(SqlError::unknown("a temporary table that keeps its versions"))
            }
            Some(wanted) => self.turn_on_versions(&database, &table, wanted),
            None => Ok(()),
        }
    }

    pub(super) fn add_table(&mut self, database: &Arc<Database>, def: TableDef) -> R<Arc<Table>> {
        let own = def.name.clone();
        if own.starts_with('#') && !own.starts_with("##") {
            let table = Arc::new(Table::new(database.id, def));
            self.add_temporary(&own, Arc::clone(&table));
            return Ok(table);
        }
        let table = Table::new(database.id, def);
        self.tx()?.create_table(database, table)
    }

    pub(crate) fn make_variable_table(&mut self, name: &str, spec: &TableSpec) -> R<Arc<Table>> {
        let tempdb = self.instance.tempdb();
        let def = self.build(&tempdb, "dbo", name, spec)?;
        Ok(Arc::new(Table::new(tempdb.id, def)))
    }

    /// The definition of a new table.
    pub(super) fn build(
        &mut self,
        database: &Arc<Database>,
        schema: &str,
        own: &str,
        spec: &TableSpec,
    ) -> R<TableDef> {
        let id = database.new_object_id();
        let mut def = TableDef::new(id, schema, own, Vec::new(), database.now());
        def.next_column_id = 1;
        let mut constraints: Vec<&ConstraintSpec> = Vec::new();
        let every = || spec.columns.iter().flat_map(|c| &c.constraints).chain(&spec.constraints);
        let primary = |c: &&ConstraintSpec| matches!(c, ConstraintSpec::Key(k) if k.primary);
        if every().filter(primary).count() > 1 {
            let m = format!("Cannot add multiple PRIMARY KEY constraints to table '{own}'.");
            return Err(SqlError::new(8110, m).state(0));
        }
        if spec.columns.iter().filter(|c| c.identity.is_some()).count() > 1 {
            let m = format!(
                "Multiple identity columns specified for table '{own}'. Only one identity column per table is allowed."
            );
            return Err(SqlError::new(2744, m).state(2));
        }
        for c in &spec.columns {
            self.add_column(database, &mut def, c)?;
            constraints.extend(&c.constraints);
        }
        for c in &spec.columns {
            self.computed_type(&mut def, &c.name)?;
        }
        constraints.extend(&spec.constraints);
        // Keys first: whether the primary key is clustered depends on the others.
        let explicit = constraints
            .iter()
            .any(|c| matches!(c, ConstraintSpec::Key(KeySpec { clustered: Some(true), .. })))
            || spec.indexes.iter().any(|i| i.clustered);
        for c in &constraints {
            if let ConstraintSpec::Key(k) = c {
                let clustered = k.clustered.unwrap_or(k.primary && !explicit);
                self.add_key(database, &mut def, k, clustered)?;
            }
        }
        for c in constraints {
            if !matches!(c, ConstraintSpec::Key(_)) {
                self.add_constraint(database, &mut def, c)?;
            }
        }
        for i in &spec.indexes {
            let index = self.index_of(&def, i)?;
            def.indexes.push(index);
        }
        order_indexes(&mut def);
        Ok(def)
    }

    pub(super) fn add_column(
        &mut self,
        database: &Arc<Database>,
        def: &mut TableDef,
        c: &ColumnSpec,
    ) -> R<()> {
        if def.columns.iter().any(|o| same_name(&o.name, &c.name)) {
            let m = format!(
                "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                c.name, def.name
            );
            return Err(SqlError::new(2705, m).state(3));
        }
        let column = self.column_of(database, def, c)?;
        def.next_column_id = def.next_column_id.max(column.id) + 1;
        def.columns.push(column);
        Ok(())
    }

    pub(super) fn column_of(
        &mut self,
        database: &Arc<Database>,
        def: &TableDef,
        c: &ColumnSpec,
    ) -> R<Column> {
        let id = def.next_column_id;
        let primary = c
            .constraints
            .iter()
            .any(|k| matches!(k, ConstraintSpec::Key(KeySpec { primary: true, .. })));
        let Some(ty) = &c.ty else {
            let mut column = Column::new(id, &c.name, Ty::Int, c.nullable.unwrap_or(true));
            column.computed = c
                .computed
                .as_ref()
                .map(|t| Computed { text: definition(t), persisted: c.persisted });
            return Ok(column);
        };
        let resolved = self.type_of(ty).map_err(|e| {
            if e.number == 243 || e.number == 2715 {
                let m = format!(
                    "Column, parameter, or variable #{id}: Cannot find data type {}.",
                    ty.base
                );
                SqlError::new(2715, m).state(6)
            } else if e.number == 1007 {
                let m = format!(
                    "Column, parameter, or variable #{id}: Specified column precision is greater than the maximum precision of 38."
                );
                SqlError::new(2750, m)
            } else {
                e
            }
        })?;
        let nullable = match c.nullable {
            Some(n) => n,
            None => {
                !(primary
                    || c.identity.is_some()
                    || resolved == Ty::RowVersion
                    || self.refuses_null(ty))
            }
        };
        if primary && c.nullable == Some(true) {
            let m = format!(
                "Cannot define PRIMARY KEY constraint on nullable column in table '{}'.",
                def.name
            );
            return Err(SqlError::new(8111, m));
        }
        let mut column = Column::new(id, &c.name, resolved, nullable);
        let base = ty.base.rsplit('.').next().unwrap_or(&ty.base);
        if !same_name(base, resolved.name()) {
            column.declared = Some(base.to_lowercase());
        }
        if let Some((seed, increment)) = c.identity {
            if !matches!(
                resolved,
                Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt | Ty::Decimal(_, 0)
            ) {
                let m = format!(
                    "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.",
                    c.name
                );
                return Err(SqlError::new(2749, m));
            }
            column.identity = Some(Identity { seed, increment });
            column.nullable = false;
        }
        let own = c.collation.clone().filter(|c| c != "DATABASE_DEFAULT");
        let default = read(&database.options).collation.clone();
        let text = matches!(
            resolved,
            Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) | Ty::Text | Ty::NText
        );
        column.collation = own
            .or_else(|| (default != self.instance.settings.collation).then_some(default))
            .filter(|_| text);
        column.generated = c.generated.map(|start| match start {
            true => Generated::RowStart,
            false => Generated::RowEnd,
        });
        column.hidden = c.hidden;
        if column.generated.is_some() && c.nullable.is_none() {
            column.nullable = false;
        }
        column.sparse = c.sparse;
        column.row_guid = c.row_guid;
        Ok(column)
    }

    /// Computed columns get the type of their expression.
    pub(super) fn computed_type(&mut self, def: &mut TableDef, name: &str) -> R<()> {
        let Some(at) = def.ordinal(name) else { return Ok(()) };
        let Some(text) =
            def.columns.get(at).and_then(|c| c.computed.as_ref()).map(|c| c.text.clone())
        else {
            return Ok(());
        };
        let n = self.table_expression(def, &text, false)?;
        if let Some(c) = def.columns.get_mut(at) {
            c.ty = n.ty;
            c.nullable = c.nullable && n.nullable
                || matches!(c.computed, Some(Computed { persisted: false, .. })) && n.nullable;
        }
        Ok(())
    }

    pub(super) fn table_expression(
        &mut self,
        def: &TableDef,
        text: &str,
        condition: bool,
    ) -> R<Node> {
        let e = crate::sql::parse_expression(text, condition)?;
        let sc = Scope::of(vec![Visible {
            alias: def.name.clone(),
            path: Vec::new(),
            columns: offered(def),
            slot: 0,
        }]);
        self.compile(&e, &sc)
    }
}
