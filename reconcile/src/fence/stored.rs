//! What the source has stored in Kafka about itself, as far as a comparison needs it. Pure.
//!
//! The records of `<prefix>.offsets`: `["position","<database>"]` is the place up to which all changes are
//! published, `["table","<database>","<schema>","<table>"]` says among other things how far the table's first
//! copy has come. Both are JSON.

use std::collections::{BTreeMap, BTreeSet};

use causeway_change::{Lsn, TableId};
use serde_json::Value as Json;

/// How far the source is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Every change of a transaction up to this one is published.
    pub published: Lsn,
    /// Tables whose first copy is still being read.
    pub copying: BTreeSet<TableId>,
    /// Tables that the source knows.
    pub known: BTreeSet<TableId>,
}

impl Stored {
    /// From the latest record of every key; records of other databases and of kinds that came later are left
    /// alone.
    #[must_use]
    pub fn read(records: &BTreeMap<Vec<u8>, Vec<u8>>, database: &str) -> Self {
        let mut this = Self::default();
        for (key, value) in records {
            let Ok(Json::Array(key)) = serde_json::from_slice(key) else { continue };
            let Ok(value) = serde_json::from_slice::<Json>(value) else { continue };
            let key: Vec<&str> = key.iter().filter_map(Json::as_str).collect();
            match key.as_slice() {
                ["position", of] if *of == database => this.published = position(&value),
                ["table", of, schema, name] if *of == database => {
                    let id = TableId::new(*schema, *name);
                    if value.pointer("/snapshot/state").and_then(Json::as_str) == Some("running") {
                        this.copying.insert(id.clone());
                    }
                    this.known.insert(id);
                }
                _ => {}
            }
        }
        this
    }
}

/// The last transaction that is published whole. Inside a transaction that is the one before, of which only
/// is known that it is smaller.
fn position(value: &Json) -> Lsn {
    let commit: Option<Lsn> =
        value.get("commit_lsn").and_then(Json::as_str).and_then(|text| text.parse().ok());
    let whole = value.get("transaction_end").and_then(Json::as_bool) == Some(true);
    match commit {
        Some(commit) if whole => commit,
        Some(commit) => before(commit),
        None => Lsn::ZERO,
    }
}

/// The place just before.
fn before(lsn: Lsn) -> Lsn {
    let mut bytes = *lsn.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Lsn::from_bytes(bytes);
        }
    }
    Lsn::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_and_the_tables_of_one_database_are_read() {
        let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let at =
            "{\"commit_lsn\":\"00000001:00000002:0003\",\"transaction_end\":true,\"written_ms\":1}";
        let inside = at.replace("true", "false");
        let records = [
            record("[\"position\",\"shop\"]", at),
            record("[\"position\",\"other\"]", "{}"),
            record("[\"table\",\"shop\",\"dbo\",\"a\"]", "{\"snapshot\":{\"state\":\"running\"}}"),
            record("[\"table\",\"shop\",\"dbo\",\"b\"]", "{\"snapshot\":{\"state\":\"done\"}}"),
            record("[\"later\",\"shop\"]", "{}"),
            record("nonsense", "{"),
        ]
        .into();
        let stored = Stored::read(&records, "shop");
        assert_eq!(stored.published, Lsn::from_parts(1, 2, 3));
        assert_eq!(stored.copying, BTreeSet::from([TableId::new("dbo", "a")]));
        assert_eq!(stored.known.len(), 2);
        let records = [record("[\"position\",\"shop\"]", &inside)].into();
        assert_eq!(Stored::read(&records, "shop").published, Lsn::from_parts(1, 2, 2));
        assert_eq!(Stored::read(&BTreeMap::new(), "shop").published, Lsn::ZERO);
        assert_eq!(before(Lsn::from_parts(1, 0, 0)), Lsn::from_parts(0, u32::MAX, u16::MAX));
        assert_eq!(before(Lsn::ZERO), Lsn::ZERO);
    }
}
