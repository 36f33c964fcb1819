//! Which tables there are, which are captured, what their columns hold and what their keys are.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use causeway_change::{Column, ColumnType, Lsn, Table, TableId};

use crate::{Client, Patterns, SqlServerError, default, queries, types};

/// Which tables and columns are wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Tables, as `schema.table`.
    pub include: Patterns,
    /// Tables that are left out all the same.
    pub exclude: Patterns,
    /// Columns, as `schema.table.column`, that are left out.
    pub exclude_columns: Patterns,
    /// Values of more bytes are measured and not read; none reads them all.
    pub largest_value: Option<u64>,
}

impl Selection {
    /// True when the table is wanted.
    #[must_use]
    pub fn wants(&self, id: &TableId) -> bool {
        let name = id.to_string();
        self.include.matches(&name) && !self.exclude.matches(&name)
    }

    pub(crate) fn leaves_out(&self, id: &TableId, column: &str) -> bool {
        !self.exclude_columns.is_empty() && self.exclude_columns.matches(&format!("{id}.{column}"))
    }
}

/// One column as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRead {
    /// Name.
    pub name: String,
    /// What it holds.
    pub ty: ColumnType,
    /// Its collation, when it is not the database's.
    pub collation: Option<String>,
    /// Its place in the update mask, from 1; 0 for a table that is not read from a change table.
    pub ordinal: u32,
    /// False when the change table still has the column but the table does not.
    pub in_source: bool,
    /// Of a type of any size: values of more bytes are measured and not read.
    pub largest: Option<u64>,
}

/// One table as it is read: the words for the pipeline, and how its columns are selected.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceTable {
    /// Columns and key in the pipeline's words.
    pub table: Arc<Table>,
    /// How each column of `table` is read, in the same order.
    pub columns: Vec<ColumnRead>,
    /// `object_id` of the table.
    pub object_id: i32,
    /// Name of the index whose columns are the key.
    pub key_index: Option<String>,
    /// About how many rows it has.
    pub approximate_rows: Option<u64>,
    /// Columns that are not read, and why.
    pub left_out: Vec<LeftOut>,
}

impl SourceTable {
    /// Schema and name.
    #[must_use]
    pub fn id(&self) -> &TableId {
        &self.table.id
    }

    /// Columns whose values may be too large to be read; each has its size behind the columns of a row.
    pub(crate) fn measured(&self) -> impl Iterator<Item = usize> {
        let columns = self.columns.iter().enumerate();
        columns.filter(|(_, column)| column.largest.is_some()).map(|(i, _)| i)
    }

    /// How the key's columns are read, in key order.
    pub fn key_reads(&self) -> impl Iterator<Item = &ColumnRead> {
        self.table.key.iter().filter_map(|&i| self.columns.get(i))
    }
}

/// A column that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Column.
    pub column: String,
    /// Why.
    pub reason: String,
}

/// One capture instance of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureInstance {
    /// Its name, from which the change table's name is made.
    pub name: String,
    /// `object_id` of the change table: another one means another instance, whatever the name says.
    pub object_id: i32,
    /// Its low-water mark: changes before it have been cleaned up or never were captured. `None` until the
    /// capture job has seen the instance.
    pub start_lsn: Option<Lsn>,
    /// True when the change table has `__$command_id`.
    pub has_command_id: bool,
    /// The table, with the columns that the instance captures.
    pub source: SourceTable,
}

/// A table that cannot be replicated as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Table.
    pub table: TableId,
    /// The column that is the reason.
    pub column: String,
    /// Why, as the end of a sentence.
    pub reason: String,
}

/// What the catalogue has of what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Capture instances, oldest first.
    pub instances: Vec<CaptureInstance>,
    /// Columns that no target could hold; their tables are not in `instances`.
    pub refused: Vec<Refused>,
}

/// What the database is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its name as written in the catalogue.
    pub name: String,
    /// `SERVERPROPERTY('EngineEdition')`: 5 is Azure SQL Database, 8 Managed Instance.
    pub engine_edition: i32,
    /// `SERVERPROPERTY('ProductVersion')`
    pub version: String,
    /// Whether `sys.sp_cdc_enable_db` has been run.
    pub cdc_enabled: bool,
    /// Whether `ALLOW_SNAPSHOT_ISOLATION` is on.
    pub snapshot_isolation: bool,
    /// Whether `READ_COMMITTED_SNAPSHOT` is on.
    pub read_committed_snapshot: bool,
    /// Collation.
    pub collation: String,
}

impl DatabaseFacts {
    /// The major version, 16 for SQL Server 2022. Azure has what the newest has, whatever number it says.
    #[must_use]
    pub fn major_version(&self) -> u32 {
        if matches!(self.engine_edition, 5 | 8) {
            return u32::MAX;
        }
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// Reads what the database is set to.
pub async fn database(client: &mut Client) -> Result<DatabaseFacts, SqlServerError> {
    let record = client.one(&queries::database()).await?.ok_or_else(|| {
        SqlServerError::Catalog("sys.databases does not list the database we are in".to_owned())
    })?;
    Ok(DatabaseFacts {
        engine_edition: record.required_int(0)?,
        version: record.text(1)?.unwrap_or("unknown").to_owned(),
        name: record.required_text(2)?.to_owned(),
        cdc_enabled: record.flag(3)?,
        snapshot_isolation: record.number(4)? == Some(1),
        read_committed_snapshot: record.flag(5)?,
        collation: record.text(6)?.unwrap_or_default().to_owned(),
    })
}

struct RawColumn {
    column_id: i32,
    name: String,
    type_name: String,
    max_length: i16,
    precision: u8,
    scale: u8,
    nullable: bool,
    computed: bool,
    collation: Option<String>,
    default: Option<String>,
}

struct RawKey {
    index: String,
    columns: Vec<i32>,
}

/// All that the catalogue says of all tables.
struct Catalog {
    database: DatabaseFacts,
    columns: HashMap<i32, Vec<RawColumn>>,
    keys: HashMap<i32, Vec<RawKey>>,
    rows: HashMap<i32, u64>,
}

impl Catalog {
    async fn read(client: &mut Client) -> Result<Self, SqlServerError> {
        let database = database(client).await?;
        let mut columns: HashMap<i32, Vec<RawColumn>> = HashMap::new();
        for record in client.all(&queries::table_columns()).await? {
            let (max_length, precision, scale) = sizes(&record, 4)?;
            columns.entry(record.required_int(0)?).or_default().push(RawColumn {
                column_id: record.required_int(1)?,
                name: record.required_text(2)?.to_owned(),
                type_name: record.required_text(3)?.to_owned(),
                max_length,
                precision,
                scale,
                nullable: record.flag(7)?,
                computed: record.flag(8)?,
                collation: record.text(9)?.map(str::to_owned),
                default: record.text(10)?.map(str::to_owned),
            });
        }
        let mut by_index: BTreeMap<(i32, usize), RawKey> = BTreeMap::new();
        let mut last: Option<(i32, i64, usize)> = None;
        for record in client.all(&queries::key_columns()).await? {
            let (object, index) = (record.required_int(0)?, record.required_number(1)?);
            // The order of the answer is the order of preference.
            let rank = match last {
                Some((o, i, rank)) if o == object => rank + usize::from(i != index),
                Some(_) | None => 0,
            };
            last = Some((object, index, rank));
            let key = by_index.entry((object, rank)).or_insert_with(|| RawKey {
                index: record.text(2).ok().flatten().unwrap_or_default().to_owned(),
                columns: Vec::new(),
            });
            key.columns.push(record.required_int(4)?);
        }
        let mut keys: HashMap<i32, Vec<RawKey>> = HashMap::new();
        for ((object, _), key) in by_index {
            keys.entry(object).or_default().push(key);
        }
        let mut rows = HashMap::new();
        match client.all(&queries::approximate_rows()).await {
            Ok(records) => {
                for record in records {
                    let count = record.number(1)?.unwrap_or(0);
                    rows.insert(record.required_int(0)?, u64::try_from(count).unwrap_or(0));
                }
            }
            // Only progress needs it.
            Err(error) if error.is_missing_object() || error.is_permission() => {
                tracing::debug!(error = %error, "the sizes of the tables are not known");
            }
            Err(error) => return Err(error),
        }
        Ok(Self { database, columns, keys, rows })
    }

    /// Builds one table from the columns that are read of it, in their order.
    fn table(
        &self,
        id: TableId,
        object_id: i32,
        wanted: Vec<Wanted<'_>>,
        mut left_out: Vec<LeftOut>,
        selection: &Selection,
    ) -> Result<SourceTable, Refused> {
        let mut columns = Vec::new();
        let mut reads = Vec::new();
        let mut ids = Vec::new();
        for w in wanted {
            if selection.leaves_out(&id, &w.name) {
                left_out.push(LeftOut {
                    column: w.name,
                    reason: "excluded by configuration".to_owned(),
                });
                continue;
            }
            if w.raw.is_some_and(|raw| raw.computed) {
                left_out.push(LeftOut {
                    column: w.name,
                    reason: "computed: change tables hold no value for it".to_owned(),
                });
                continue;
            }
            let ty = w.ty.map_err(|reason| Refused {
                table: id.clone(),
                column: w.name.clone(),
                reason,
            })?;
            columns.push(Column {
                name: w.name.clone(),
                ty,
                nullable: w.raw.is_none_or(|raw| raw.nullable),
                default: w
                    .raw
                    .and_then(|raw| raw.default.as_deref())
                    .and_then(|definition| default::parse(definition, &ty)),
            });
            let collation = w.raw.and_then(|raw| raw.collation.clone());
            reads.push(ColumnRead {
                name: w.name,
                ty,
                collation: collation.filter(|c| *c != self.database.collation && is_word(c)),
                ordinal: w.ordinal,
                in_source: w.raw.is_some(),
                largest: selection.largest_value.filter(|_| types::is_unbounded(&ty)),
            });
            ids.push(w.raw.map_or(0, |raw| raw.column_id));
        }
        // The first unique index whose columns are all read and never NULL.
        let mut key = Vec::new();
        let mut key_index = None;
        for candidate in self.keys.get(&object_id).into_iter().flatten() {
            let places: Option<Vec<usize>> = candidate
                .columns
                .iter()
                .map(|column| {
                    ids.iter()
                        .position(|id| id == column)
                        .filter(|&i| columns.get(i).is_some_and(|c: &Column| !c.nullable))
                })
                .collect();
            if let Some(places) = places {
                key = places;
                key_index = Some(candidate.index.clone());
                break;
            }
        }
        let table = Table { database: self.database.name.clone(), id, columns, key };
        Ok(SourceTable {
            table: Arc::new(table),
            columns: reads,
            object_id,
            key_index,
            approximate_rows: self.rows.get(&object_id).copied(),
            left_out,
        })
    }
}

/// A column of a change table: its name, and its type or why it has none.
type ChangeColumn = (String, Result<ColumnType, String>);

/// A column that should be read, before its type is known to be one that can be.
struct Wanted<'a> {
    name: String,
    ty: Result<ColumnType, String>,
    ordinal: u32,
    raw: Option<&'a RawColumn>,
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Length, precision and scale in three columns from `first` on.
fn sizes(record: &crate::Record, first: usize) -> Result<(i16, u8, u8), SqlServerError> {
    let narrow = |column: usize| -> Result<i64, SqlServerError> { record.required_number(column) };
    let wrong = |_| SqlServerError::Catalog("a column's length is out of range".to_owned());
    Ok((
        i16::try_from(narrow(first)?).map_err(wrong)?,
        u8::try_from(narrow(first + 1)?).map_err(wrong)?,
        u8::try_from(narrow(first + 2)?).map_err(wrong)?,
    ))
}

/// The tables that match, with or without CDC: what the reconciler reads.
pub async fn tables(
    client: &mut Client,
    selection: &Selection,
) -> Result<(Vec<SourceTable>, Vec<Refused>), SqlServerError> {
    let catalog = Catalog::read(client).await?;
    let (mut tables, mut refused) = (Vec::new(), Vec::new());
    for record in client.all(&queries::tables()).await? {
        let object_id = record.required_int(0)?;
        let id = TableId::new(record.required_text(1)?, record.required_text(2)?);
        if !selection.wants(&id) {
            continue;
        }
        let wanted = catalog
            .columns
            .get(&object_id)
            .into_iter()
            .flatten()
            .map(|raw| Wanted {
                name: raw.name.clone(),
                ty: types::column_type(&raw.type_name, raw.max_length, raw.precision, raw.scale),
                ordinal: 0,
                raw: Some(raw),
            })
            .collect();
        match catalog.table(id, object_id, wanted, Vec::new(), selection) {
            Ok(table) => tables.push(table),
            Err(refusal) => refused.push(refusal),
        }
    }
    Ok((tables, refused))
}

/// The capture instances of the tables that match.
pub async fn discover(
    client: &mut Client,
    selection: &Selection,
) -> Result<Discovery, SqlServerError> {
    let catalog = Catalog::read(client).await?;
    let mut change_columns: HashMap<i32, Vec<ChangeColumn>> = HashMap::new();
    let mut with_command_id = HashSet::new();
    for record in client.all(&queries::change_table_columns()).await? {
        let object_id = record.required_int(0)?;
        let name = record.required_text(1)?;
        if name == "__$command_id" {
            with_command_id.insert(object_id);
        }
        let (max_length, precision, scale) = sizes(&record, 3)?;
        let ty = types::column_type(record.required_text(2)?, max_length, precision, scale);
        change_columns.entry(object_id).or_default().push((name.to_owned(), ty));
    }
    struct Captured {
        name: String,
        ordinal: u32,
        column_id: i32,
    }
    let mut captured: HashMap<i32, Vec<Captured>> = HashMap::new();
    for record in client.all(&queries::captured_columns()).await? {
        let ordinal = u32::try_from(record.required_number(2)?)
            .map_err(|_| SqlServerError::Catalog("a column's ordinal is negative".to_owned()))?;
        captured.entry(record.required_int(0)?).or_default().push(Captured {
            name: record.required_text(1)?.to_owned(),
            ordinal,
            column_id: record.required_int(3)?,
        });
    }
    let mut discovery = Discovery::default();
    for record in client.all(&queries::capture_instances()).await? {
        let object_id = record.required_int(0)?;
        let source_object_id = record.required_int(1)?;
        let id = TableId::new(record.required_text(5)?, record.required_text(6)?);
        // An instance that is being dropped is read no more (trap 10).
        if record.flag(4)? || !selection.wants(&id) {
            continue;
        }
        let in_source = catalog.columns.get(&source_object_id).map_or(&[][..], Vec::as_slice);
        let in_change = change_columns.get(&object_id).map_or(&[][..], Vec::as_slice);
        let mut wanted = Vec::new();
        let mut names = HashSet::new();
        for c in captured.get(&object_id).into_iter().flatten() {
            names.insert(c.column_id);
            let raw = in_source.iter().find(|raw| raw.column_id == c.column_id);
            let is_rowversion = raw.is_some_and(|raw| raw.type_name == "timestamp");
            let ty = match in_change.iter().find(|(name, _)| *name == c.name) {
                // The change table keeps a rowversion as binary(8).
                Some(_) | None if is_rowversion => Ok(ColumnType::RowVersion),
                Some((_, ty)) => ty.clone(),
                None => Err("the change table does not have it".to_owned()),
            };
            // A renamed column keeps the captured name in the change table and has another in the table.
            let raw = raw.filter(|raw| raw.name == c.name);
            wanted.push(Wanted { name: c.name.clone(), ty, ordinal: c.ordinal, raw });
        }
        let left_out = in_source
            .iter()
            .filter(|raw| !names.contains(&raw.column_id))
            .map(|raw| LeftOut {
                column: raw.name.clone(),
                reason: "not captured by the capture instance".to_owned(),
            })
            .collect();
        match catalog.table(id, source_object_id, wanted, left_out, selection) {
            Ok(source) => discovery.instances.push(CaptureInstance {
                name: record.required_text(2)?.to_owned(),
                object_id,
                start_lsn: record.lsn(3)?.filter(|lsn| !lsn.is_zero()),
                has_command_id: with_command_id.contains(&object_id),
                source,
            }),
            Err(refusal) => discovery.refused.push(refusal),
        }
    }
    Ok(discovery)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use causeway_change::Length;

    /// `dbo.orders(id int primary key, name varchar(20), total money)`
    pub(crate) fn orders() -> CaptureInstance {
        let catalog = catalog();
        let wanted = wanted(&catalog);
        let source = catalog
            .table(TableId::new("dbo", "orders"), 1, wanted, Vec::new(), &everything())
            .unwrap();
        CaptureInstance {
            name: "dbo_orders".to_owned(),
            object_id: 77,
            start_lsn: Some(Lsn::from_parts(1, 1, 1)),
            has_command_id: true,
            source,
        }
    }

    fn everything() -> Selection {
        Selection {
            include: Patterns::new(["*"]),
            exclude: Patterns::default(),
            exclude_columns: Patterns::default(),
            largest_value: None,
        }
    }

    fn raw(
        column_id: i32,
        name: &str,
        type_name: &str,
        max_length: i16,
        nullable: bool,
    ) -> RawColumn {
        RawColumn {
            column_id,
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            max_length,
            precision: 0,
            scale: 0,
            nullable,
            computed: name == "double",
            collation: (type_name == "varchar").then(|| "Greek_CI_AS".to_owned()),
            default: None,
        }
    }

    fn catalog() -> Catalog {
        Catalog {
            database: DatabaseFacts {
                name: "shop".to_owned(),
                engine_edition: 3,
                version: "16".to_owned(),
                cdc_enabled: true,
                snapshot_isolation: false,
                read_committed_snapshot: false,
                collation: "Latin1_General_CI_AS".to_owned(),
            },
            columns: HashMap::from([(
                1,
                vec![
                    raw(1, "id", "int", 4, false),
                    raw(2, "name", "varchar", 20, true),
                    raw(3, "total", "money", 8, false),
                    raw(4, "double", "money", 8, false),
                    raw(5, "code", "int", 4, true),
                ],
            )]),
            keys: HashMap::from([(
                1,
                vec![
                    RawKey { index: "nullable".to_owned(), columns: vec![5] },
                    RawKey { index: "pk".to_owned(), columns: vec![3, 1] },
                ],
            )]),
            rows: HashMap::from([(1, 12)]),
        }
    }

    fn wanted(catalog: &Catalog) -> Vec<Wanted<'_>> {
        catalog.columns[&1]
            .iter()
            .map(|raw| Wanted {
                name: raw.name.clone(),
                ty: types::column_type(&raw.type_name, raw.max_length, 0, 0),
                ordinal: u32::try_from(raw.column_id).unwrap(),
                raw: Some(raw),
            })
            .collect()
    }

    #[test]
    fn the_key_is_the_first_unique_index_without_null() {
        let orders = orders();
        assert_eq!(orders.source.key_index.as_deref(), Some("pk"));
        // In the order of the index, not of the columns.
        assert_eq!(orders.source.table.key, [2, 0]);
    }

    #[test]
    fn a_computed_column_is_left_out_with_its_reason() {
        let orders = orders();
        assert_eq!(orders.source.table.column("double"), None);
        assert_eq!(orders.source.left_out[0].column, "double");
    }

    #[test]
    fn only_a_foreign_collation_is_remembered() {
        let orders = orders();
        assert_eq!(orders.source.columns[1].collation.as_deref(), Some("Greek_CI_AS"));
        assert_eq!(orders.source.columns[0].collation, None);
        assert_eq!(orders.source.columns[1].ty, ColumnType::VarChar(Length::Of(20)));
    }

    #[test]
    fn an_excluded_key_column_is_no_key() {
        let catalog = catalog();
        let selection =
            Selection { exclude_columns: Patterns::new(["dbo.orders.total"]), ..everything() };
        let table = catalog
            .table(TableId::new("dbo", "orders"), 1, wanted(&catalog), Vec::new(), &selection)
            .unwrap();
        assert!(table.table.key.is_empty());
    }
}
