//! Changes replayed are the tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Desk, index, people, text};
use crate::catalog;
use crate::cdc::state::control;
use crate::store::{Isolation, Patience, RowUpdate, Transaction};
use crate::value::{Ty, Typed, Val};

/// A generator of its own, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The rows of a change table applied in the order of its clustered key.
fn replayed(rows: &[Vec<Val>]) -> BTreeMap<i64, Vec<Val>> {
    let mut state = BTreeMap::new();
    for row in rows {
        let values = row[5..row.len() - 1].to_vec();
        let key = values[0].as_int().unwrap();
        match row[3].as_int().unwrap() {
            1 => {
                assert_eq!(state.remove(&key), Some(values), "a delete has the row that was there");
            }
            2 => assert!(state.insert(key, values).is_none(), "an insert is of a new key"),
            3 => assert_eq!(
                state.get(&key),
                Some(&values),
                "a before image is the row that was there"
            ),
            4 => assert!(state.insert(key, values).is_some()),
            other => panic!("operation {other}"),
        }
    }
    state
}

#[test]
fn change_tables_replayed_are_the_tables() {
    for seed in 1..=12u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut desk = Desk::new();
        let columns = [("id", Ty::Int), ("name", Ty::NVarChar(50)), ("code", Ty::Int)];
        let tables = [
            desk.create("one", &columns, vec![index(&[0], true, "pk_one", 1)]),
            desk.create(
                "two",
                &columns,
                vec![index(&[0], true, "pk_two", 1), index(&[2], false, "ux_two", 2)],
            ),
        ];
        desk.enable("one", &[]).unwrap();
        desk.enable("two", &[]).unwrap();
        let mut code = 0;
        for _ in 0..120 {
            for _ in 0..=dice.roll(4) {
                let table = &tables[usize::try_from(dice.roll(2)).unwrap()];
                let (low, high) =
                    (i64::try_from(dice.roll(40)).unwrap(), i64::try_from(dice.roll(6)).unwrap());
                let chosen = move |row: &[Val]| {
                    row[0].as_int().is_some_and(|id| (low..=low + high).contains(&id))
                };
                match dice.roll(6) {
                    0 | 1 => {
                        let taken: Vec<i64> = {
                            let database = Arc::clone(&desk.database);
                            let tx = desk.statement();
                            tx.scan(&database, table)
                                .filter_map(|(_, row)| row[0].as_int())
                                .collect()
                        };
                        if let Some(id) = (low..).find(|id| !taken.contains(id)) {
                            code += 1;
                            desk.insert(
                                table,
                                &[Val::Int(id), text(&format!("n{code}")), Val::Int(code)],
                            );
                        }
                    }
                    2 => {
                        let name = text(&format!("u{}", dice.roll(3)));
                        desk.update(table, &[1], chosen, move |row| row[1] = name.clone());
                    }
                    3 => {
                        let shift = 1000 + code;
                        code += 100;
                        desk.update(table, &[2], chosen, move |row| {
                            row[2] = Val::Int(shift + row[0].as_int().unwrap() % 50);
                        });
                        code += 1000;
                    }
                    4 => {
                        // Swap two keys of one statement: mirror the range.
                        let (from, to) = (low, low + high);
                        let both =
                            move |row: &[Val]| row[0] == Val::Int(from) || row[0] == Val::Int(to);
                        let swap = move |row: &mut Vec<Val>| {
                            row[0] = Val::Int(from + to - row[0].as_int().unwrap());
                        };
                        let database = Arc::clone(&desk.database);
                        let there = {
                            let tx = desk.statement();
                            tx.scan(&database, table).filter(|(_, row)| both(row)).count()
                        };
                        if there == 2 {
                            desk.update(table, &[0], both, swap);
                        }
                    }
                    _ => desk.delete(table, chosen),
                }
            }
            if dice.roll(3) == 0 {
                desk.rollback();
            } else {
                desk.commit();
            }
            if dice.roll(10) == 0 {
                desk.scan();
            }
        }
        desk.scan();
        for name in ["one", "two"] {
            let now: BTreeMap<i64, Vec<Val>> = desk
                .rows("dbo", name)
                .into_iter()
                .map(|row| (row[0].as_int().unwrap(), row))
                .collect();
            let changes = desk.rows("cdc", &format!("dbo_{name}_CT"));
            assert!(changes.len() > 50, "seed {seed}: {} changes", changes.len());
            assert_eq!(replayed(&changes), now, "seed {seed}, table {name}");
        }
    }
}

#[test]
fn net_changes_are_one_row_for_each_key_that_differs() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    for id in 1..=3 {
        desk.insert(&table, &[Val::Int(id), text("old"), Val::Null]);
    }
    desk.commit();
    desk.enable("people", &[]).unwrap();
    desk.insert(&table, &[Val::Int(4), text("came"), Val::Null]);
    desk.insert(&table, &[Val::Int(5), text("came and went"), Val::Null]);
    desk.commit();
    desk.update(&table, &[1], |row| row[0] == Val::Int(4), |row| row[1] = text("stayed"));
    desk.update(&table, &[1], |row| row[0] == Val::Int(1), |row| row[1] = text("new"));
    desk.delete(&table, |row| row[0] == Val::Int(2) || row[0] == Val::Int(5));
    desk.commit();
    desk.scan();
    let low = desk.function("fn_cdc_get_min_lsn", &[Typed::nvarchar("dbo_people")]);
    let high = desk.function("fn_cdc_get_max_lsn", &[]);
    let lsn = |value: &Val| Typed::new(Ty::Binary(10), value.clone());
    let mut net = |option: &str| {
        let args = [lsn(&low), lsn(&high), Typed::nvarchar(option)];
        let name = "fn_cdc_get_net_changes_dbo_people";
        let found =
            catalog::system_table(&mut desk, None, "cdc", name, Some(&args)).unwrap().unwrap();
        desk.rollback();
        let mut rows: Vec<_> = found
            .rows
            .iter()
            .map(|row| {
                (row[3].as_int().unwrap(), row[1].as_int().unwrap(), row[2].clone(), row[4].clone())
            })
            .collect();
        rows.sort_by_key(|row| row.0);
        rows
    };
    assert_eq!(
        net("all"),
        [
            (1, 4, Val::Null, text("new")),
            (2, 1, Val::Null, text("old")),
            (4, 2, Val::Null, text("stayed")),
        ]
    );
    assert_eq!(net("all with mask")[0].2, Val::bytes(&[0b010]));
    assert_eq!(net("all with merge").iter().map(|row| row.1).collect::<Vec<_>>(), [5, 1, 5]);
}

#[test]
fn concurrent_sessions_are_captured_in_the_order_of_their_commits() {
    let mut desk = Desk::new();
    let table = people(&mut desk);
    for id in 1..=8 {
        desk.insert(&table, &[Val::Int(id), text("first"), Val::Null]);
    }
    desk.commit();
    desk.enable("people", &[]).unwrap();
    let before = desk.rows("dbo", "people");
    control(&desk.instance).set_latency_ms(1);
    control(&desk.instance).resume();
    std::thread::scope(|scope| {
        for writer in 1..=3u64 {
            let (instance, database) = (Arc::clone(&desk.instance), Arc::clone(&desk.database));
            let table = Arc::clone(&table);
            scope.spawn(move || {
                let mut dice = Dice(writer * 77);
                for turn in 0..150 {
                    let id = i64::try_from(1 + dice.roll(8)).unwrap();
                    let mut tx = Transaction::begin(
                        &instance,
                        Isolation::ReadCommitted,
                        Patience::default(),
                    );
                    tx.begin_statement();
                    let rows: Vec<RowUpdate> = tx
                        .scan(&database, &table)
                        .filter(|(_, row)| row[0] == Val::Int(id))
                        .map(|(key, before)| RowUpdate {
                            after: crate::store::edited(&before, |row| {
                                row[1] = text(&format!("{writer}.{turn}"));
                            }),
                            key,
                            before,
                        })
                        .collect();
                    // A lost race is a rollback here.
                    if tx.update(&database, &table, &rows, &[1]).is_ok() && dice.roll(5) != 0 {
                        tx.commit();
                    }
                }
            });
        }
    });
    for _ in 0..500 {
        if desk.database.log.waiting() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    control(&desk.instance).pause();
    let inserts = before.iter().map(|row| {
        let mut line = vec![Val::Null, Val::Null, Val::Null, Val::Int(2), Val::Null];
        line.extend(row.iter().cloned());
        line.push(Val::Int(0));
        line
    });
    let all: Vec<Vec<Val>> = inserts.chain(desk.rows("cdc", "dbo_people_CT")).collect();
    assert!(all.len() > 200, "{} rows", all.len());
    let now = desk.rows("dbo", "people").into_iter().map(|row| (row[0].as_int().unwrap(), row));
    assert_eq!(replayed(&all), now.collect());
}
