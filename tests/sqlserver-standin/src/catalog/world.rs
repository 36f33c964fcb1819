//! A session's surroundings, copied out so that views and functions need not borrow it.

use std::sync::Arc;

use super::meta::{ColumnMeta, Meta, ViewMeta};
use super::{Host, describe, moment};
use crate::exec::output::Login;
use crate::store::{Database, Instance, TableDef};
use crate::value::SqlError;

/// What names and ids are looked up in.
pub(crate) struct World {
    pub(crate) instance: Arc<Instance>,
    pub(crate) here: Arc<Database>,
    login: Login,
    transaction: i64,
    temporary: Vec<(String, i32)>,
}

impl World {
    /// The world of a session, as seen from `database` or its current one. Error: 911 when there is no such database.
    pub(crate) fn new(host: &mut dyn Host, database: Option<&str>) -> Result<Self, SqlError> {
        let instance = Arc::clone(host.instance());
        let here = find(&instance, &host.database(), database)?;
        Ok(Self {
            here,
            login: host.login().clone(),
            transaction: i64::try_from(host.transaction().id).unwrap_or(0),
            temporary: Vec::new(),
            instance,
        })
    }

    /// Remembers the id of a temporary table that a name in the arguments may mean.
    pub(crate) fn note_temporary(&mut self, name: &str, id: i32) {
        self.temporary.push((name.to_owned(), id));
    }

    /// The name of the current database.
    pub(crate) fn current(&self) -> String {
        self.here.name()
    }

    pub(crate) fn database_id(&self, name: &str) -> Option<i32> {
        self.instance.database(name).map(|database| database.id)
    }

    pub(crate) fn database_by_id(&self, id: i64) -> Option<String> {
        self.instance.database_by_id(i32::try_from(id).ok()?).map(|database| database.name())
    }

    pub(crate) fn collation(&self, id: i32) -> String {
        let database = self.instance.database_by_id(id);
        database.map_or_else(String::new, |database| {
            crate::store::read(&database.options).collation.clone()
        })
    }

    pub(crate) fn login(&self) -> &str {
        &self.login.user
    }

    pub(crate) fn host(&self) -> &str {
        &self.login.host
    }

    pub(crate) fn application(&self) -> &str {
        &self.login.app
    }

    pub(crate) fn transaction_id(&self) -> i64 {
        self.transaction
    }

    pub(crate) fn temporary(&self, name: &str) -> Option<i32> {
        self.temporary.iter().find(|known| super::view::same(&known.0, name)).map(|known| known.1)
    }

    /// The definition of a table by its object id.
    pub(crate) fn table(&self, database: &str, id: i64) -> Result<Option<Arc<TableDef>>, SqlError> {
        let database = find(&self.instance, &self.here, Some(database))?;
        Ok(i32::try_from(id).ok().and_then(|id| database.table_by_id(id)).map(|table| table.def()))
    }

    /// The description of a database's objects.
    pub(crate) fn meta(&self, database: &str) -> Result<Meta, SqlError> {
        let database = find(&self.instance, &self.here, Some(database))?;
        Ok(meta(&database))
    }
}

/// The database of a name, or the current one.
pub(crate) fn find(
    instance: &Instance,
    current: &Arc<Database>,
    name: Option<&str>,
) -> Result<Arc<Database>, SqlError> {
    match name {
        Some(name) if !name.is_empty() => {
            let found = instance.database(name).ok_or_else(|| SqlError::no_database(name))?;
            found.check_online().map(|()| found)
        }
        _ => Ok(Arc::clone(current)),
    }
}

/// The description of a database's objects. Columns of views are left out.
pub(crate) fn meta(database: &Database) -> Meta {
    let schemas: Vec<(i32, String)> =
        database.schemas().into_iter().map(|schema| (schema.id, schema.name)).collect();
    let id = |name: &str| {
        schemas
            .iter()
            .find(|schema| super::view::same(&schema.1, name))
            .map_or(1, |schema| schema.0)
    };
    let tables = database
        .tables()
        .iter()
        .map(|table| describe::table(table, id(&table.def().schema)))
        .collect();
    let views = database.modules();
    let views = views.iter().filter(|module| module.kind == "V").map(|module| ViewMeta {
        object_id: module.object_id,
        schema_id: id(&module.schema),
        name: module.name.clone(),
        definition: module.text.clone(),
        created: moment(module.create_date),
        columns: Vec::new(),
    });
    let views = views.collect();
    let collation = crate::store::read(&database.options).collation.clone();
    Meta { schemas, tables, views, collation }
}

/// Gives the views of a description their columns, which only the executor can tell.
pub(crate) fn add_view_columns(host: &mut dyn Host, database: &Arc<Database>, meta: &mut Meta) {
    for view in &mut meta.views {
        let schema = meta.schemas.iter().find(|schema| schema.0 == view.schema_id);
        let schema = schema.map_or("dbo", |schema| schema.1.as_str());
        let columns = host.view_columns(database, schema, &view.name);
        view.columns =
            (1..).zip(columns).map(|(id, column)| ColumnMeta::plain(id, &column)).collect();
    }
}
