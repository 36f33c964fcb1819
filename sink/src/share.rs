//! Who applies which partitions, when several sinks of a pipeline run. Pure: every member decides by the
//! same rule on what PostgreSQL says, and does its own part of it. Members that see different things
//! for a moment only want different things for a moment: a partition changes hands by one conditional
//! UPDATE of its row, so two never have it.

use std::collections::{BTreeMap, BTreeSet};

use crate::progress::Place;

/// What a member is known by: its epoch.
pub type Member = i64;

/// Partitions that go together: changes of one row of the target may come in any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Topic or target that they have in common: units of one kind are spread.
    pub kind: String,
    /// The partitions and the epochs that they are written under, in order.
    pub places: Vec<(Place, Member)>,
}

/// What one member has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// To be taken: the partition, and whose it was.
    pub claim: Vec<(Place, Member)>,
    /// To be given up, once all that was read of them is applied.
    pub release: Vec<Place>,
}

/// Decides for one member. Every unit has one owner, all have as many units (give or take one), and no
/// unit moves that need not.
#[must_use]
pub fn decide(me: Member, alive: &BTreeSet<Member>, units: &[Unit]) -> Moves {
    let mut moves = Moves::default();
    if alive.is_empty() {
        return moves;
    }
    let wanted = assign(alive, units);
    for (unit, owner) in units.iter().zip(wanted) {
        for (place, holder) in &unit.places {
            if *holder == me && owner != me {
                moves.release.push(place.clone());
            } else if owner == me && *holder != me && !alive.contains(holder) {
                moves.claim.push((place.clone(), *holder));
            }
        }
    }
    moves
}

/// The owner that each unit should have.
fn assign(alive: &BTreeSet<Member>, units: &[Unit]) -> Vec<Member> {
    // A unit in several hands (a partition was added) belongs to the first of them.
    let now: Vec<Option<Member>> = units
        .iter()
        .map(|unit| unit.places.iter().map(|(_, holder)| *holder).find(|h| alive.contains(h)))
        .collect();
    let mut owned: BTreeMap<Member, Vec<usize>> =
        alive.iter().map(|member| (*member, Vec::new())).collect();
    for (i, owner) in now.iter().enumerate() {
        if let Some(list) = owner.and_then(|owner| owned.get_mut(&owner)) {
            list.push(i);
        }
    }
    let (base, extra) = (units.len() / alive.len(), units.len() % alive.len());
    // Those that have most may keep one more.
    let mut order: Vec<Member> = alive.iter().copied().collect();
    order.sort_by_key(|member| std::cmp::Reverse(owned.get(member).map_or(0, Vec::len)));
    let quota: BTreeMap<Member, usize> = order
        .iter()
        .enumerate()
        .map(|(i, member)| (*member, base + usize::from(i < extra)))
        .collect();
    let quota_of = |member: &Member| quota.get(member).copied().unwrap_or(0);
    let of_kind = |list: &[usize], kind: &str| {
        list.iter().filter(|i| units.get(**i).is_some_and(|unit| unit.kind == kind)).count()
    };
    let mut free: Vec<usize> = (0..units.len()).filter(|i| now.get(*i) == Some(&None)).collect();
    for (member, list) in &mut owned {
        while list.len() > quota_of(member) {
            // Of the kind of which it has most, so that each member keeps some of each.
            let most = list.iter().enumerate().max_by_key(|(at, i)| {
                (units.get(**i).map_or(0, |unit| of_kind(list, &unit.kind)), *at)
            });
            let Some((at, _)) = most else { break };
            free.push(list.remove(at));
        }
    }
    free.sort_unstable();
    for i in free {
        let Some(unit) = units.get(i) else { continue };
        let least = owned
            .iter()
            .filter(|(member, list)| list.len() < quota_of(member))
            .min_by_key(|(member, list)| (of_kind(list, &unit.kind), list.len(), **member))
            .map(|(member, _)| *member);
        if let Some(list) = least.and_then(|member| owned.get_mut(&member)) {
            list.push(i);
        }
    }
    let mut owners = vec![0; units.len()];
    for (member, list) in owned {
        for i in list {
            if let Some(owner) = owners.get_mut(i) {
                *owner = member;
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(holders: &[&[Member]]) -> Vec<Unit> {
        let unit = |(topic, holders): (usize, &&[Member])| {
            let name = format!("t{topic}");
            (0..)
                .zip(*holders)
                .map(|(p, holder)| Unit {
                    kind: name.clone(),
                    places: vec![((name.as_str().into(), p), *holder)],
                })
                .collect::<Vec<_>>()
        };
        holders.iter().enumerate().flat_map(unit).collect()
    }

    /// Lets every member do its part until nothing moves; gives the number of partitions that moved from
    /// a living member.
    fn settle(alive: &BTreeSet<Member>, units: &mut [Unit]) -> usize {
        let mut moved = 0;
        for _ in 0..10 {
            let mut quiet = true;
            for me in alive {
                let moves = decide(*me, alive, units);
                quiet &= moves == Moves::default();
                moved += moves.release.len();
                for (place, holder) in units.iter_mut().flat_map(|unit| &mut unit.places) {
                    if moves.release.contains(place) {
                        *holder = 0;
                    }
                    if moves.claim.contains(&(place.clone(), *holder)) {
                        *holder = *me;
                    }
                }
            }
            if quiet {
                return moved;
            }
        }
        panic!("it never settles: {units:?}");
    }

    fn counts(units: &[Unit]) -> BTreeMap<Member, usize> {
        let mut counts = BTreeMap::new();
        for (_, holder) in units.iter().flat_map(|unit| &unit.places) {
            *counts.entry(*holder).or_default() += 1;
        }
        counts
    }

    #[test]
    fn members_come_and_go_and_each_partition_has_one_owner() {
        let mut units = units(&[&[0, 0, 0], &[0, 0, 0], &[0]]);
        assert_eq!(settle(&[1].into(), &mut units), 0);
        assert_eq!(counts(&units), [(1, 7)].into());
        // A second one gets three, and only those move.
        assert_eq!(settle(&[1, 2].into(), &mut units), 3);
        assert_eq!(counts(&units), [(1, 4), (2, 3)].into());
        assert_eq!(settle(&[1, 2, 3].into(), &mut units), 2);
        assert_eq!(counts(&units), [(1, 3), (2, 2), (3, 2)].into());
        // One dies: its partitions go to the others, and nothing else moves.
        assert_eq!(settle(&[2, 3].into(), &mut units), 0);
        assert_eq!(counts(&units), [(2, 4), (3, 3)].into());
        // An operator's epoch is nobody's.
        units[0].places[0].1 = 99;
        settle(&[2, 3].into(), &mut units);
        assert_eq!(counts(&units).len(), 2);
    }

    #[test]
    fn a_topic_is_spread_over_the_members() {
        let mut units = units(&[&[0, 0], &[0, 0], &[0, 0]]);
        settle(&[1, 2].into(), &mut units);
        for pair in units.chunks(2) {
            assert_ne!(pair[0].places[0].1, pair[1].places[0].1, "{units:?}");
        }
    }

    #[test]
    fn a_unit_moves_whole_and_never_to_a_member_while_another_has_a_part_of_it() {
        let place = |p: i32| ("t".into(), p);
        let whole = |holders: [Member; 2]| {
            vec![Unit {
                kind: "t".to_owned(),
                places: vec![(place(0), holders[0]), (place(1), holders[1])],
            }]
        };
        let alive: BTreeSet<Member> = [1, 2].into();
        // The second partition is in other hands: it is given up first, then claimed.
        let units = whole([1, 2]);
        assert_eq!(decide(1, &alive, &units), Moves::default());
        assert_eq!(decide(2, &alive, &units).release, [place(1)]);
        assert_eq!(decide(1, &alive, &whole([1, 0])).claim, [(place(1), 0)]);
        assert_eq!(decide(2, &alive, &whole([1, 0])), Moves::default());
    }

    #[test]
    fn nothing_is_decided_without_members() {
        assert_eq!(decide(1, &BTreeSet::new(), &units(&[&[0]])), Moves::default());
    }
}
