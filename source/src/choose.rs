//! Pure: which capture instance of each table goes on from the stored position, and which tables must be
//! copied again because changes of them are lost.

use std::collections::{BTreeMap, VecDeque};

use causeway_change::{Lsn, Position, TableId};
use causeway_sqlserver::{CaptureInstance, Discovery};

use crate::{
    SourceError,
    state::{Stored, TableState},
};

/// A table with the instance that is read now and those that take over later.
#[derive(Debug, PartialEq)]
pub struct Chosen {
    /// What is read now.
    pub now: CaptureInstance,
    /// What takes over, oldest first.
    pub next: VecDeque<CaptureInstance>,
    /// Why the table is copied again, if it is.
    pub again: Option<Again>,
}

/// Why a table is copied again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// An operator or the configuration wants it.
    Wanted,
    /// Changes were cleaned up before they were read.
    Gap {
        /// Up to where it was complete.
        from: Lsn,
        /// From where on changes are left.
        low: Lsn,
    },
    /// The capture instance was dropped or made anew.
    Replaced,
    /// The log is another one.
    OtherLog,
}

/// What is done about lost changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Tables with lost changes are copied again; else they are an error.
    pub resnapshot: bool,
    /// All tables are copied again, for this reason.
    pub all: Option<All>,
}

/// Why all tables are copied again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum All {
    /// Mode `always`.
    Wanted,
    /// The log is another one.
    OtherLog,
}

/// Which capture instance of each table goes on.
pub fn choose(
    discovery: Discovery,
    stored: &Stored,
    position: Position,
    policy: Policy,
) -> Result<Vec<Chosen>, SourceError> {
    if let Some(refused) = discovery.refused.first() {
        return Err(SourceError::Table {
            table: refused.table.clone(),
            reason: format!(
                "column {}: {}; leave it out by exclude_columns",
                refused.column, refused.reason
            ),
        });
    }
    let mut by_table: BTreeMap<TableId, Vec<CaptureInstance>> = BTreeMap::new();
    for instance in discovery.instances {
        by_table.entry(instance.source.id().clone()).or_default().push(instance);
    }
    let mut chosen = Vec::new();
    for (id, instances) in by_table {
        let (index, again) = match stored.tables.get(&id) {
            None => (newest(&instances), None),
            Some(state) => going_on(&id, state, &instances, position, policy)?,
        };
        let mut later: VecDeque<CaptureInstance> = instances.into_iter().skip(index).collect();
        let Some(now) = later.pop_front() else { continue };
        let is_reset = stored.tables.get(&id).is_some_and(|state| state.reset);
        if now.source.table.key.is_empty() && again.is_some() && !is_reset {
            return Err(SourceError::Table {
                table: id,
                reason: format!(
                    "it must be copied again ({again:?}) and has no key, so every row would be twice in the target; empty \
                     the target's table and use causeway-source offsets reset --table, or name columns that tell its \
                     rows apart in [source] message_key_columns"
                ),
            });
        }
        chosen.push(Chosen { now, next: later, again });
    }
    Ok(chosen)
}

/// The newest instance has the newest columns.
fn newest(instances: &[CaptureInstance]) -> usize {
    instances
        .iter()
        .rposition(|i| i.start_lsn.is_some())
        .unwrap_or(instances.len().saturating_sub(1))
}

/// The instance of a table that is known.
fn going_on(
    id: &TableId,
    state: &TableState,
    instances: &[CaptureInstance],
    position: Position,
    policy: Policy,
) -> Result<(usize, Option<Again>), SourceError> {
    let wanted = match policy.all {
        Some(All::Wanted) => Some(Again::Wanted),
        Some(All::OtherLog) => Some(Again::OtherLog),
        None => state.reset.then_some(Again::Wanted),
    };
    if wanted.is_some() {
        return Ok((newest(instances), wanted));
    }
    // A table that waits for the registry is complete up to a place of its own.
    let position = match &state.halted {
        Some(halted) => halted.position(id)?,
        None => position,
    };
    let same = instances.iter().position(|i| i.object_id == state.object_id);
    let Some(same) = same else {
        // Another instance can take over if it has everything after our position.
        let other = instances
            .iter()
            .position(|i| i.start_lsn.is_some_and(|start| start <= position.commit_lsn));
        return match (other, policy.resnapshot) {
            (Some(other), _) => Ok((other, None)),
            (None, true) => Ok((newest(instances), Some(Again::Replaced))),
            (None, false) => Err(SourceError::InstanceReplaced {
                table: id.clone(),
                instance: state.instance.clone(),
            }),
        };
    };
    let low = instances.get(same).and_then(|i| i.start_lsn);
    if let (Some(low), Some(since)) = (low, state.since_lsn()) {
        let from = position.commit_lsn.max(since);
        if low > from {
            return if policy.resnapshot {
                Ok((newest(instances), Some(Again::Gap { from, low })))
            } else {
                Err(SourceError::Gap { table: id.clone(), from, low })
            };
        }
    }
    Ok((same, None))
}

/// A table as `offsets import-debezium` sees it.
#[derive(Debug)]
pub struct Imported {
    /// Table.
    pub table: TableId,
    /// Name of the capture instance.
    pub instance: String,
    /// `object_id` of its change table.
    pub object_id: i32,
    /// Its low-water mark.
    pub start_lsn: Option<Lsn>,
}

/// For each table the newest capture instance that has everything after a position, or else its oldest.
#[must_use]
pub fn choose_for_import(discovery: Discovery, position: Position) -> Vec<Imported> {
    let mut tables: BTreeMap<TableId, Imported> = BTreeMap::new();
    for instance in discovery.instances {
        let reaches = instance.start_lsn.is_some_and(|start| start <= position.commit_lsn.next());
        let id = instance.source.id().clone();
        let imported = Imported {
            table: id.clone(),
            instance: instance.name,
            object_id: instance.object_id,
            start_lsn: instance.start_lsn,
        };
        match tables.get_mut(&id) {
            Some(older) if reaches => *older = imported,
            Some(_) => {}
            None => {
                tables.insert(id, imported);
            }
        }
    }
    tables.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SnapshotState;
    use causeway_change::{Column, ColumnType, Table};
    use causeway_sqlserver::SourceTable;
    use std::sync::Arc;

    fn lsn(n: u16) -> Lsn {
        Lsn::from_parts(0, 0, n)
    }

    fn instance(object_id: i32, start: Option<u16>) -> CaptureInstance {
        let column =
            Column { name: "id".to_owned(), ty: ColumnType::Int, nullable: false, default: None };
        CaptureInstance {
            name: format!("i{object_id}"),
            object_id,
            start_lsn: start.map(lsn),
            has_command_id: true,
            source: SourceTable {
                table: Arc::new(Table {
                    database: "d".to_owned(),
                    id: TableId::new("dbo", "t"),
                    columns: vec![column],
                    key: vec![0],
                }),
                columns: Vec::new(),
                object_id: 1,
                key_index: None,
                approximate_rows: None,
                left_out: Vec::new(),
            },
        }
    }

    fn stored(object_id: i32, since: u16, reset: bool) -> Stored {
        let state = TableState {
            instance: format!("i{object_id}"),
            object_id,
            since: Some(lsn(since).to_string()),
            snapshot: SnapshotState::Done { rows: 1 },
            micro_columns: Default::default(),
            reset,
            halted: None,
            copied_at: None,
        };
        Stored { tables: BTreeMap::from([(TableId::new("dbo", "t"), state)]), ..Stored::default() }
    }

    /// `(instance now, how many later, why again)`, at position 10.
    fn chosen(
        instances: &[(i32, Option<u16>)],
        stored: &Stored,
        policy: Policy,
    ) -> Result<(i32, usize, Option<Again>), String> {
        let instances = instances.iter().map(|(id, start)| instance(*id, *start)).collect();
        let discovery = Discovery { instances, refused: Vec::new() };
        choose(discovery, stored, Position::end_of(lsn(10)), policy)
            .map(|mut all| all.pop().unwrap())
            .map(|c| (c.now.object_id, c.next.len(), c.again))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_stored_instance_goes_on_and_a_second_takes_over_later() {
        let stop = Policy::default();
        let two = [(7, Some(3)), (8, Some(20))];
        assert_eq!(chosen(&two, &stored(7, 3, false), stop), Ok((7, 1, None)));
        // New to us: the newest that can be read.
        assert_eq!(chosen(&two, &Stored::default(), stop), Ok((8, 0, None)));
        let fresh = [(7, Some(3)), (8, None)];
        assert_eq!(chosen(&fresh, &Stored::default(), stop), Ok((7, 1, None)));
        // The old one is gone and the other has everything.
        assert_eq!(chosen(&[(8, Some(9))], &stored(7, 3, false), stop), Ok((8, 0, None)));
    }

    #[test]
    fn trap_08_an_instance_that_the_capture_job_has_not_seen_is_waited_for() {
        let stop = Policy::default();
        // Alone it is taken, and nothing is lost by that: its low-water mark is learnt when it has one.
        assert_eq!(chosen(&[(7, None)], &Stored::default(), stop), Ok((7, 0, None)));
        // Beside one that can be read it takes over later.
        let two = [(7, Some(3)), (8, None)];
        assert_eq!(chosen(&two, &Stored::default(), stop), Ok((7, 1, None)));
        assert_eq!(chosen(&two, &stored(7, 3, false), stop), Ok((7, 1, None)));
        // It does not stand in for one that is gone, for nobody knows what it has.
        let lost = chosen(&[(8, None)], &stored(7, 3, false), stop).unwrap_err();
        assert!(lost.contains("dropped or made anew"), "{lost}");
    }

    #[test]
    fn trap_09_of_two_instances_with_one_start_the_newest_is_read() {
        let stop = Policy::default();
        // They come in the order in which they were made.
        let two = [(7, Some(3)), (8, Some(3))];
        assert_eq!(chosen(&two, &Stored::default(), stop), Ok((8, 0, None)));
        // One that was begun with goes on; the other takes over when its start has come.
        assert_eq!(chosen(&two, &stored(7, 3, false), stop), Ok((7, 1, None)));
    }

    #[test]
    fn what_is_lost_stops_us_or_is_copied_again() {
        let again = Policy { resnapshot: true, all: None };
        let gap = [(7, Some(12))];
        assert!(
            chosen(&gap, &stored(7, 3, false), Policy::default()).unwrap_err().contains("lost")
        );
        assert_eq!(
            chosen(&gap, &stored(7, 3, false), again),
            Ok((7, 0, Some(Again::Gap { from: lsn(10), low: lsn(12) })))
        );
        // The instance began there: nothing of it was cleaned up.
        assert_eq!(chosen(&gap, &stored(7, 12, false), Policy::default()), Ok((7, 0, None)));
        let replaced = [(9, Some(11))];
        assert!(
            chosen(&replaced, &stored(7, 3, false), Policy::default())
                .unwrap_err()
                .contains("dropped or made anew")
        );
        assert_eq!(
            chosen(&replaced, &stored(7, 3, false), again),
            Ok((9, 0, Some(Again::Replaced)))
        );
    }

    #[test]
    fn what_is_wanted_is_copied_from_the_newest_instance() {
        let stop = Policy::default();
        let two = [(7, Some(30)), (8, Some(40))];
        assert_eq!(chosen(&two, &stored(7, 3, true), stop), Ok((8, 0, Some(Again::Wanted))));
        let other = Policy { resnapshot: true, all: Some(All::OtherLog) };
        assert_eq!(chosen(&two, &stored(7, 3, false), other), Ok((8, 0, Some(Again::OtherLog))));
        let always = Policy { resnapshot: false, all: Some(All::Wanted) };
        assert_eq!(chosen(&two, &stored(7, 3, false), always), Ok((8, 0, Some(Again::Wanted))));
    }

    #[test]
    fn a_connectors_place_is_taken_over_by_the_newest_instance_that_has_it() {
        let of = |instances: &[(i32, Option<u16>)]| {
            let instances = instances.iter().map(|(id, start)| instance(*id, *start)).collect();
            let discovery = Discovery { instances, refused: Vec::new() };
            choose_for_import(discovery, Position::end_of(lsn(10)))[0].object_id
        };
        assert_eq!(of(&[(7, Some(3)), (8, Some(9))]), 8);
        assert_eq!(of(&[(7, Some(3)), (8, Some(20))]), 7);
        assert_eq!(of(&[(7, None)]), 7);
    }
}
