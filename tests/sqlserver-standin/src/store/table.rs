//! A table's rows: one chain of versions per key, newest first. A version that its transaction has not
//! committed yet is also the row's lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::def::{entry, successor};
use super::{Index, Key, TableDef, lock, read, write};
use crate::value::{Row, SqlError, Val};

/// Set in `Version::begin` while the version is uncommitted; the rest is the transaction's id then.
pub(super) const UNCOMMITTED: u64 = 1 << 63;

#[derive(Clone, Debug)]
struct Version {
    /// Commit number from which it is visible, or the mark of its transaction.
    begin: u64,
    /// None: the row is deleted.
    row: Option<Row>,
}

#[derive(Clone, Debug)]
struct Chain {
    head: Version,
    older: Option<Box<Chain>>,
}

impl Chain {
    fn visible(&self, at: u64, mark: u64) -> Option<&Row> {
        let mut chain = self;
        loop {
            let begin = chain.head.begin;
            if begin == mark || (begin & UNCOMMITTED == 0 && begin <= at) {
                return chain.head.row.as_ref();
            }
            chain = chain.older.as_deref()?;
        }
    }

    /// What the row is when everything that others have not committed is left out.
    fn current(&self, mark: u64) -> Option<&Row> {
        self.visible(UNCOMMITTED - 1, mark)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        std::iter::successors(Some(self), |c| c.older.as_deref())
            .filter_map(|c| c.head.row.as_ref())
    }

    fn push(&mut self, begin: u64, row: Option<Row>) {
        let old = std::mem::replace(&mut self.head, Version { begin, row });
        let older = self.older.take();
        self.older = Some(Box::new(Self { head: old, older }));
    }
}

#[derive(Clone, Debug, Default)]
struct Data {
    rows: BTreeMap<Key, Chain>,
    /// By position in `TableDef::indexes`: index key + row key -> length of the index key. Empty for the clustered one.
    indexes: Vec<BTreeMap<Key, u32>>,
    next_row: u64,
}

/// What stands in the way of a write.
pub(super) enum Obstacle {
    /// Another transaction has changed the row and is still open.
    Wait(u64),
    /// Another transaction has changed the row since it was read.
    Stale,
    /// A row with this key exists: position of the index.
    Duplicate(usize),
}

/// How to take a write back.
#[derive(Debug)]
pub(super) enum Undone {
    /// The version was put on top.
    Pop,
    /// The transaction's own version was replaced.
    Restore(Option<Row>),
}

/// A definition and its data, as they were before a DDL statement.
#[derive(Debug)]
pub(super) struct Before {
    def: Arc<TableDef>,
    data: Data,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    pub object_id: i32,
    /// Id of the database.
    pub database: i32,
    def: RwLock<Arc<TableDef>>,
    data: RwLock<Data>,
    /// Number of capture instances: its row changes go to the log while it is above 0.
    tracked: AtomicU32,
    /// Number of rows locked by UPDLOCK.
    pub(super) update_locks: AtomicU32,
    /// The identity value given out last.
    identity: Mutex<Option<i128>>,
}

impl Table {
    pub fn new(database: i32, def: TableDef) -> Self {
        let indexes = def.indexes.iter().map(|_| BTreeMap::new()).collect();
        Self {
            object_id: def.object_id,
            database,
            def: RwLock::new(Arc::new(def)),
            data: RwLock::new(Data { indexes, ..Data::default() }),
            tracked: AtomicU32::new(0),
            update_locks: AtomicU32::new(0),
            identity: Mutex::new(None),
        }
    }

    pub fn def(&self) -> Arc<TableDef> {
        Arc::clone(&read(&self.def))
    }

    pub fn is_tracked(&self) -> bool {
        self.tracked.load(Ordering::SeqCst) > 0
    }

    /// Called by CDC: how many capture instances the table has.
    pub fn set_tracked(&self, instances: u32) {
        self.tracked.store(instances, Ordering::SeqCst);
    }

    /// The identity value given out last; None before the first.
    pub fn identity_last(&self) -> Option<i128> {
        *lock(&self.identity)
    }

    /// DBCC CHECKIDENT, and IDENTITY_INSERT of a value beyond the last one.
    pub fn set_identity(&self, last: Option<i128>) {
        *lock(&self.identity) = last;
    }

    /// The next identity value.
    pub fn next_identity(&self, seed: i128, increment: i128) -> i128 {
        let mut last = lock(&self.identity);
        let next = last.map_or(seed, |v| v + increment);
        *last = Some(next);
        next
    }

    /// An explicit value was inserted into the identity column.
    pub fn note_identity(&self, value: i128, increment: i128) {
        let mut last = lock(&self.identity);
        if last.is_none_or(|v| if increment >= 0 { value > v } else { value < v }) {
            *last = Some(value);
        }
    }

    /// Number of rows, without regard to who sees which (`sys.partitions.rows`).
    pub fn approximate_rows(&self) -> usize {
        read(&self.data).rows.len()
    }

    /// Number of row versions that are kept, the current ones included.
    pub fn versions(&self) -> usize {
        read(&self.data)
            .rows
            .values()
            .map(|c| std::iter::successors(Some(c), |c| c.older.as_deref()).count())
            .sum()
    }

    /// Bytes of a new row's key. Unique clustered: the key columns. Otherwise a number makes it unique.
    fn new_key(def: &TableDef, data: &mut Data, row: &[Val]) -> Key {
        let mut bytes = Vec::with_capacity(24);
        let mut numbered = true;
        if let Some((_, index)) = def.clustered() {
            def.index_key(index, row, &mut bytes);
            numbered = !index.unique;
        }
        if numbered {
            bytes.extend(data.next_row.to_be_bytes());
            data.next_row += 1;
        }
        bytes.into()
    }

    /// Whether the row would keep its place in the table.
    pub(super) fn keeps_key(&self, key: &Key, row: &[Val]) -> bool {
        let def = self.def();
        let Some((_, index)) = def.clustered() else { return true };
        let mut bytes = Vec::with_capacity(24);
        def.index_key(index, row, &mut bytes);
        if index.unique {
            bytes == key.as_ref()
        } else {
            key.get(..key.len() - 8) == Some(bytes.as_slice())
        }
    }

    pub(super) fn insert(
        &self,
        row: Row,
        mark: u64,
        check: bool,
        snapshot: Option<u64>,
    ) -> Result<(Key, Undone), Obstacle> {
        let def = self.def();
        let mut data = write(&self.data);
        let key = Self::new_key(&def, &mut data, &row);
        if let Some(chain) = data.rows.get(&key) {
            let begin = chain.head.begin;
            if begin != mark && begin & UNCOMMITTED != 0 {
                return Err(Obstacle::Wait(begin & !UNCOMMITTED));
            }
            if chain.head.row.is_some() {
                return Err(Obstacle::Duplicate(def.clustered().map_or(0, |c| c.0)));
            }
            if begin != mark && snapshot.is_some_and(|s| begin > s) {
                return Err(Obstacle::Stale);
            }
        }
        if check {
            Self::unique(&def, &data, &key, &row, mark)?;
        }
        let undone = Self::put(&def, &mut data, &key, Some(row), mark);
        Ok((key, undone))
    }

    /// Checks the unique secondary indexes for a row that is, or is about to be, at `key`.
    fn unique(
        def: &TableDef,
        data: &Data,
        key: &Key,
        row: &[Val],
        mark: u64,
    ) -> Result<(), Obstacle> {
        let mut wanted = Vec::new();
        let mut other = Vec::new();
        for (position, index) in def.indexes.iter().enumerate() {
            if !index.unique || index.clustered || index.disabled || !in_index(index, row) {
                continue;
            }
            wanted.clear();
            def.index_key(index, row, &mut wanted);
            let Some(entries) = data.indexes.get(position) else { continue };
            for (e, n) in
                entries.range::<[u8], _>((Bound::Included(wanted.as_slice()), Bound::Unbounded))
            {
                let (index_key, row_key) = split(e, *n);
                if index_key != wanted.as_slice() {
                    break;
                }
                if row_key == key.as_ref() {
                    continue;
                }
                let Some(chain) = data.rows.get(row_key) else { continue };
                let mut same = |r: Option<&Row>| {
                    r.is_some_and(|r| {
                        other.clear();
                        def.index_key(index, r, &mut other);
                        in_index(index, r) && other == wanted
                    })
                };
                let begin = chain.head.begin;
                if begin & UNCOMMITTED != 0 && begin != mark {
                    if same(chain.head.row.as_ref()) || same(chain.current(mark)) {
                        return Err(Obstacle::Wait(begin & !UNCOMMITTED));
                    }
                } else if same(chain.head.row.as_ref()) {
                    return Err(Obstacle::Duplicate(position));
                }
            }
        }
        Ok(())
    }

    /// Checks the unique indexes after the rows of an UPDATE are all in place.
    pub(super) fn check_unique(&self, key: &Key, mark: u64) -> Result<(), Obstacle> {
        let def = self.def();
        let data = read(&self.data);
        match data.rows.get(key).and_then(|c| c.current(mark)) {
            Some(row) => Self::unique(&def, &data, key, row, mark),
            None => Ok(()),
        }
    }

    /// Replaces (or, with None, deletes) the row at `key`, which was read at `at`.
    pub(super) fn replace(
        &self,
        key: &Key,
        row: Option<Row>,
        mark: u64,
        at: u64,
        check: bool,
    ) -> Result<Undone, Obstacle> {
        let def = self.def();
        let mut data = write(&self.data);
        let Some(chain) = data.rows.get(key) else { return Err(Obstacle::Stale) };
        let begin = chain.head.begin;
        if begin != mark {
            if begin & UNCOMMITTED != 0 {
                return Err(Obstacle::Wait(begin & !UNCOMMITTED));
            }
            if begin > at {
                return Err(Obstacle::Stale);
            }
        }
        if chain.head.row.is_none() {
            return Err(Obstacle::Stale);
        }
        if check && let Some(row) = &row {
            Self::unique(&def, &data, key, row, mark)?;
        }
        Ok(Self::put(&def, &mut data, key, row, mark))
    }

    fn put(def: &TableDef, data: &mut Data, key: &Key, row: Option<Row>, mark: u64) -> Undone {
        if let Some(row) = &row {
            Self::add_entries(def, data, key, row);
        }
        let Some(chain) = data.rows.get_mut(key) else {
            let chain = Chain { head: Version { begin: mark, row }, older: None };
            data.rows.insert(Arc::clone(key), chain);
            return Undone::Pop;
        };
        if chain.head.begin == mark {
            let old = std::mem::replace(&mut chain.head.row, row);
            if let Some(old) = &old {
                Self::drop_entries(def, data, key, old);
            }
            Undone::Restore(old)
        } else {
            chain.push(mark, row);
            Undone::Pop
        }
    }

    pub(super) fn undo(&self, key: &Key, undone: Undone) {
        let def = self.def();
        let mut data = write(&self.data);
        match undone {
            Undone::Pop => {
                let Some(chain) = data.rows.get_mut(key) else { return };
                let popped = match chain.older.take() {
                    Some(older) => std::mem::replace(chain, *older).head.row,
                    None => data.rows.remove(key).and_then(|c| c.head.row),
                };
                if let Some(row) = popped {
                    Self::drop_entries(&def, &mut data, key, &row);
                }
            }
            Undone::Restore(old) => {
                if let Some(row) = &old {
                    Self::add_entries(&def, &mut data, key, row);
                }
                let Some(chain) = data.rows.get_mut(key) else { return };
                if let Some(row) = std::mem::replace(&mut chain.head.row, old) {
                    Self::drop_entries(&def, &mut data, key, &row);
                }
            }
        }
    }

    fn add_entries(def: &TableDef, data: &mut Data, key: &Key, row: &[Val]) {
        let mut bytes = Vec::new();
        for (index, entries) in def.indexes.iter().zip(&mut data.indexes) {
            if !index.clustered && in_index(index, row) {
                bytes.clear();
                def.index_key(index, row, &mut bytes);
                entries.insert(entry(&bytes, key), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
        }
    }

    /// Removes the index entries of a version that is gone, unless another version of the row has the same.
    fn drop_entries(def: &TableDef, data: &mut Data, key: &Key, row: &[Val]) {
        let (mut gone, mut other) = (Vec::new(), Vec::new());
        let chain = data.rows.get(key);
        for (index, entries) in def.indexes.iter().zip(&mut data.indexes) {
            if index.clustered || !in_index(index, row) {
                continue;
            }
            gone.clear();
            def.index_key(index, row, &mut gone);
            let needed = chain.is_some_and(|c| {
                c.rows().any(|r| {
                    other.clear();
                    def.index_key(index, r, &mut other);
                    in_index(index, r) && other == gone
                })
            });
            if !needed {
                entries.remove(&entry(&gone, key));
            }
        }
    }

    /// Makes the transaction's versions visible from commit `at`; hands back the keys whose old versions are to be
    /// cleared away later.
    pub(super) fn stamp<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key>,
        mark: u64,
        at: u64,
    ) -> Vec<Key> {
        let mut data = write(&self.data);
        let mut later = Vec::new();
        for key in keys {
            if let Some(chain) = data.rows.get_mut(key)
                && chain.head.begin == mark
            {
                chain.head.begin = at;
                if chain.older.is_some() || chain.head.row.is_none() {
                    later.push(Arc::clone(key));
                }
            }
        }
        later
    }

    /// Drops the versions of a row that nobody who reads at `oldest` or later can see.
    pub(super) fn clear_old(&self, keys: &[Key], oldest: u64) {
        let def = self.def();
        let mut data = write(&self.data);
        for key in keys {
            let mut gone: Vec<Row> = Vec::new();
            let mut remove = false;
            if let Some(top) = data.rows.get_mut(key) {
                let mut chain = &mut *top;
                loop {
                    if chain.head.begin & UNCOMMITTED == 0 && chain.head.begin <= oldest {
                        let mut old = chain.older.take();
                        while let Some(mut c) = old {
                            gone.extend(c.head.row.take());
                            old = c.older.take();
                        }
                        break;
                    }
                    match chain.older.as_deref_mut() {
                        Some(older) => chain = older,
                        None => break,
                    }
                }
                remove = top.older.is_none()
                    && top.head.row.is_none()
                    && top.head.begin & UNCOMMITTED == 0
                    && top.head.begin <= oldest;
            }
            if remove {
                data.rows.remove(key);
            }
            for row in gone {
                Self::drop_entries(&def, &mut data, key, &row);
            }
        }
    }

    /// Whether a row with this index key exists, leaving out what others have not committed; Err: wait for them.
    pub(super) fn exists(&self, index: usize, key: &[u8], mark: u64) -> Result<bool, u64> {
        let def = self.def();
        let data = read(&self.data);
        let Some(ix) = def.indexes.get(index) else { return Ok(false) };
        let test = |chain: &Chain| {
            let begin = chain.head.begin;
            let same = |r: &Row| {
                let mut bytes = Vec::new();
                def.index_key(ix, r, &mut bytes);
                bytes.starts_with(key)
            };
            if begin & UNCOMMITTED != 0 && begin != mark {
                let (new, old) = (
                    chain.head.row.as_ref().is_some_and(same),
                    chain.current(mark).is_some_and(same),
                );
                return if new == old { Ok(new) } else { Err(begin & !UNCOMMITTED) };
            }
            Ok(chain.head.row.as_ref().is_some_and(same))
        };
        let from = (Bound::Included(key), Bound::Unbounded);
        if ix.clustered {
            for (k, chain) in data.rows.range::<[u8], _>(from) {
                if !k.starts_with(key) {
                    break;
                }
                if test(chain)? {
                    return Ok(true);
                }
            }
        } else if let Some(entries) = data.indexes.get(index) {
            for (e, n) in entries.range::<[u8], _>(from) {
                let (ikey, rkey) = split(e, *n);
                if !ikey.starts_with(key) {
                    break;
                }
                if let Some(chain) = data.rows.get(rkey)
                    && test(chain)?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Puts a new definition in place; every version of every row goes through `convert`. When the clustered index
    /// changes, rows get new keys: the keys of uncommitted ones come back, to be stamped at commit.
    ///
    /// The caller holds the table's SchemaModify lock.
    pub(super) fn rewrite(
        &self,
        new: TableDef,
        mark: u64,
        mut convert: impl FnMut(&Row) -> Result<Row, SqlError>,
    ) -> Result<(Before, Vec<Key>), SqlError> {
        let old = self.def();
        let place = |d: &TableDef| {
            d.clustered().map(|(_, i)| {
                (
                    i.columns
                        .iter()
                        .map(|k| (d.columns.get(k.column).map(|c| (c.id, c.ty)), k.descending))
                        .collect::<Vec<_>>(),
                    i.unique,
                )
            })
        };
        let same_place = place(&old) == place(&new);
        let mut data = write(&self.data);
        let mut out = Data {
            rows: BTreeMap::new(),
            indexes: new.indexes.iter().map(|_| BTreeMap::new()).collect(),
            next_row: data.next_row,
        };
        let mut keys = Vec::new();
        for (key, chain) in &data.rows {
            if same_place {
                let copy = convert_chain(chain, &mut convert)?;
                for row in copy.rows() {
                    Self::add_entries(&new, &mut out, key, row);
                }
                out.rows.insert(Arc::clone(key), copy);
            } else if let Some(row) = chain.current(mark) {
                let row = convert(row)?;
                let new_key = Self::new_key(&new, &mut out, &row);
                if out.rows.contains_key(&new_key) {
                    return Err(duplicate_build(&new, new.clustered().map(|c| c.1), &row));
                }
                if chain.head.begin == mark {
                    keys.push(Arc::clone(&new_key));
                }
                Self::add_entries(&new, &mut out, &new_key, &row);
                out.rows.insert(
                    new_key,
                    Chain {
                        head: Version { begin: chain.head.begin, row: Some(row) },
                        older: None,
                    },
                );
            }
        }
        for (position, index) in new.indexes.iter().enumerate() {
            if !index.unique || index.clustered {
                continue;
            }
            let Some(entries) = out.indexes.get(position) else { continue };
            let mut last: Option<&[u8]> = None;
            for (e, n) in entries {
                let (ikey, rkey) = split(e, *n);
                let row = out.rows.get(rkey).and_then(|c| c.current(mark));
                let live = row.is_some_and(|r| {
                    let mut bytes = Vec::new();
                    new.index_key(index, r, &mut bytes);
                    bytes == ikey
                });
                if !live {
                    continue;
                }
                if last == Some(ikey)
                    && let Some(row) = row
                {
                    return Err(duplicate_build(&new, Some(index), row));
                }
                last = Some(ikey);
            }
        }
        let before = std::mem::replace(&mut *data, out);
        let def = std::mem::replace(&mut *write(&self.def), Arc::new(new));
        Ok((Before { def, data: before }, keys))
    }

    /// Puts a definition in place that has the same columns and indexes.
    pub(super) fn redefine(&self, new: TableDef) -> Arc<TableDef> {
        std::mem::replace(&mut *write(&self.def), Arc::new(new))
    }

    /// Removes all rows at once.
    pub(super) fn truncate(&self) -> Before {
        let def = self.def();
        let mut data = write(&self.data);
        let empty = Data {
            indexes: def.indexes.iter().map(|_| BTreeMap::new()).collect(),
            ..Data::default()
        };
        Before { def, data: std::mem::replace(&mut *data, empty) }
    }

    pub(super) fn put_back(&self, before: Before) {
        *write(&self.data) = before.data;
        *write(&self.def) = before.def;
    }

    pub(super) fn put_back_def(&self, def: Arc<TableDef>) {
        *write(&self.def) = def;
    }
}

fn convert_chain(
    chain: &Chain,
    convert: &mut impl FnMut(&Row) -> Result<Row, SqlError>,
) -> Result<Chain, SqlError> {
    let row = chain.head.row.as_ref().map(&mut *convert).transpose()?;
    let older = match &chain.older {
        Some(older) => Some(Box::new(convert_chain(older, convert)?)),
        None => None,
    };
    Ok(Chain { head: Version { begin: chain.head.begin, row }, older })
}

fn duplicate_build(def: &TableDef, index: Option<&Index>, row: &[Val]) -> SqlError {
    let (name, key) =
        index.map_or_else(Default::default, |i| (i.name.clone(), def.key_text(i, row)));
    SqlError::new(
        1505,
        format!(
            "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name \
             '{}' and the index name '{name}'. The duplicate key value is ({key}).",
            def.full_name()
        ),
    )
}

fn in_index(index: &Index, row: &[Val]) -> bool {
    index.filter.as_ref().is_none_or(|f| (f.test)(row))
}

fn split(entry: &Key, n: u32) -> (&[u8], &[u8]) {
    entry.split_at_checked(usize::try_from(n).unwrap_or(usize::MAX)).unwrap_or((entry, &[]))
}

/// A range of index keys in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// First key that belongs to it.
    pub low: Option<Vec<u8>>,
    /// First key that does not belong to it any more.
    pub high: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that start with these bytes.
    pub fn prefix(bytes: &[u8]) -> Self {
        Self { low: Some(bytes.to_vec()), high: successor(bytes) }
    }
}

/// Reads a range of a table in the order of an index, as it was at a commit number plus the transaction's own changes.
/// It holds no lock between two calls.
#[derive(Debug)]
pub struct Cursor {
    table: Arc<Table>,
    /// Position in `TableDef::indexes`, or None for the table itself (clustered key or row number).
    index: Option<usize>,
    range: KeyRange,
    backward: bool,
    at: u64,
    mark: u64,
    buffer: std::vec::IntoIter<(Key, Row)>,
    batch: usize,
    done: bool,
    /// Rows looked at so far.
    pub examined: u64,
}

impl Cursor {
    pub(super) fn new(
        table: Arc<Table>,
        index: Option<usize>,
        range: KeyRange,
        backward: bool,
        at: u64,
        mark: u64,
    ) -> Self {
        let index = index.filter(|i| table.def().indexes.get(*i).is_some_and(|ix| !ix.clustered));
        let done = matches!((&range.low, &range.high), (Some(l), Some(h)) if l >= h);
        Self {
            table,
            index,
            range,
            backward,
            at,
            mark,
            buffer: Vec::new().into_iter(),
            batch: 16,
            done,
            examined: 0,
        }
    }

    fn fill(&mut self) {
        let mut out = Vec::with_capacity(self.batch);
        let mut last: Option<Key> = None;
        let mut ended = true;
        {
            let data = read(&self.table.data);
            let low = self.range.low.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let high = self.range.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut seen = 0;
            match self.index {
                None => {
                    let range = data.rows.range::<[u8], _>((low, high));
                    let mut take = |key: &Key, chain: &Chain| {
                        seen += 1;
                        if let Some(row) = chain.visible(self.at, self.mark) {
                            out.push((Arc::clone(key), Arc::clone(row)));
                        }
                        last = Some(Arc::clone(key));
                        seen >= self.batch
                    };
                    ended = if self.backward {
                        !range.rev().any(|(k, c)| take(k, c))
                    } else {
                        !{ range }.any(|(k, c)| take(k, c))
                    };
                }
                Some(position) => {
                    let def = self.table.def();
                    if let (Some(entries), Some(index)) =
                        (data.indexes.get(position), def.indexes.get(position))
                    {
                        let range = entries.range::<[u8], _>((low, high));
                        let mut bytes = Vec::new();
                        let mut take = |e: &Key, n: u32| {
                            seen += 1;
                            let (ikey, rkey) = split(e, n);
                            if let Some((key, chain)) = data.rows.get_key_value(rkey)
                                && let Some(row) = chain.visible(self.at, self.mark)
                            {
                                bytes.clear();
                                def.index_key(index, row, &mut bytes);
                                if bytes == ikey && in_index(index, row) {
                                    out.push((Arc::clone(key), Arc::clone(row)));
                                }
                            }
                            last = Some(Arc::clone(e));
                            seen >= self.batch
                        };
                        ended = if self.backward {
                            !range.rev().any(|(e, n)| take(e, *n))
                        } else {
                            !{ range }.any(|(e, n)| take(e, *n))
                        };
                    }
                }
            }
            self.examined += u64::try_from(seen).unwrap_or(u64::MAX);
        }
        self.done = ended;
        if let Some(last) = last {
            if self.backward {
                self.range.high = Some(last.to_vec());
            } else {
                let mut next = last.to_vec();
                next.push(0);
                self.range.low = Some(next);
            }
        }
        self.batch = (self.batch * 4).min(1024);
        self.buffer = out.into_iter();
    }
}

impl Iterator for Cursor {
    type Item = (Key, Row);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.buffer.next() {
                return Some(found);
            }
            if self.done {
                return None;
            }
            self.fill();
        }
    }
}
