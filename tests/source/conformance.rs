//! Debezium's own cases that concern a connector, played for our source: each by the name of the test in their suite, in
//! our spelling. What differs on purpose is said at the case.

use std::time::Duration;

use causeway_change::{Operation, Value};
use causeway_tests::{process::Proc, wait};

use crate::{
    LIMIT,
    order::words,
    rig::{Reader, Rig},
};

/// A rig whose topics have one partition and whose source copies nothing.
async fn rig(what: &str) -> Rig {
    let mut rig = Rig::new(what).await;
    rig.set("kafka.partitions", 1);
    rig.set("source.snapshot.mode", "no_data");
    rig
}

/// The source stores its position after each row: a kill lands inside the source's transaction.
async fn row_by_row(what: &str) -> Rig {
    let mut rig = rig(what).await;
    rig.set("source.transaction.max_bytes", 1);
    rig
}

async fn started(rig: &Rig) -> Proc {
    let mut source = rig.start();
    source.ready(LIMIT).await.unwrap();
    source
}

/// Reads until a table has so many events.
async fn events(reader: &mut Reader, source: &mut Proc, table: &str, count: usize) {
    let of = |reader: &Reader| reader.events.iter().filter(|e| e.table == table).count();
    let end = std::time::Instant::now() + LIMIT;
    while of(reader) < count {
        source.must_run().unwrap();
        assert!(
            std::time::Instant::now() < end,
            "{} of {count} came: {:?}",
            of(reader),
            reader.events
        );
        reader.drain(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn update_primary_key() {
    let rig = rig("upk").await;
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, cola varchar(30) NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a')").await;
    rig.exec("UPDATE dbo.tablea SET id = 100 WHERE id = 1").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 3).await;
    assert_eq!(words(&reader, "tablea"), ["c1", "d1>", "c100<"]);
    let records = rig.records(&format!("{}.dbo.tablea", rig.name), 4).await;
    let tombstones: Vec<bool> = records.iter().map(|r| r.value.is_none()).collect();
    assert_eq!(tombstones, [false, false, true, false], "the delete is followed by its tombstone");
    assert_eq!(records[1].key, records[2].key);
    let header = |i: usize, name: &str| {
        let found = records[i].headers.iter().find(|(n, _)| n == name).unwrap();
        String::from_utf8_lossy(&found.1).into_owned()
    };
    assert_eq!(header(1, "__debezium.newkey"), r#"{"id":100}"#);
    assert_eq!(header(2, "__debezium.newkey"), r#"{"id":100}"#);
    assert_eq!(header(3, "__debezium.oldkey"), r#"{"id":1}"#);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// DBZ-2329: the second update changes nothing and is logged all the same; a restart inside loses and doubles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn update_primary_key_twice_with_restart_in_middle_of_tx() {
    let mut rig = row_by_row("upk2").await;
    rig.set("source.debezium_strict", true);
    rig.table("tableb", "id int NOT NULL PRIMARY KEY, colb int NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tableb VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)").await;
    let mut reader = rig.reader(&["tableb"]).await;
    events(&mut reader, &mut source, "tableb", 5).await;
    rig.exec(
        "BEGIN TRAN; UPDATE dbo.tableb SET id = colb + 300; UPDATE dbo.tableb SET id = colb + 300; COMMIT",
    )
    .await;
    for _ in 0..4 {
        source.kill9();
        source = started(&rig).await;
    }
    events(&mut reader, &mut source, "tableb", 25).await;
    let moved = words(&reader, "tableb").split_off(5);
    let first: Vec<String> = (1..=5).map(|i| format!("d{i}")).collect();
    let came: Vec<String> = (301..=305).map(|i| format!("c{i}")).collect();
    assert_eq!(moved[..5], first[..]);
    assert_eq!(moved[5..10], came[..]);
    let mut again: Vec<&str> = moved[10..].iter().map(String::as_str).collect();
    again.sort_unstable();
    assert_eq!(again.len(), 10);
    for id in 301..=305 {
        let of: Vec<&String> = moved[10..].iter().filter(|w| w[1..] == id.to_string()).collect();
        assert_eq!(of, [&format!("d{id}"), &format!("c{id}")]);
    }
    rig.equal(&mut reader, &["tableb"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// DBZ-1152.
#[tokio::test(flavor = "multi_thread")]
async fn update_primary_key_with_restart_in_middle() {
    let rig = row_by_row("upkmid").await;
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, cola varchar(30) NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;
    for id in 1..=3 {
        rig.exec(&format!("UPDATE dbo.tablea SET id = {} WHERE id = {id}", id + 100)).await;
        source.kill9();
        source = started(&rig).await;
    }
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 9).await;
    rig.equal(&mut reader, &["tablea"], &mut source).await;
    let words = words(&reader, "tablea").split_off(3);
    assert_eq!(words, ["d1>", "c101<", "d2>", "c102<", "d3>", "c103<"]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// DBZ-1128: with nothing before, after a snapshot, and after transactions that were read.
#[tokio::test(flavor = "multi_thread")]
async fn restart_in_the_middle_of_tx() {
    for (mode, before) in [("no_data", false), ("initial", false), ("no_data", true)] {
        let mut rig = row_by_row("midtx").await;
        rig.set("source.snapshot.mode", mode);
        for table in ["tablea", "tableb"] {
            rig.exec(&format!(
                "CREATE TABLE dbo.{table} (id int NOT NULL PRIMARY KEY, x varchar(30) NULL)"
            ))
            .await;
            if mode == "initial" {
                rig.exec(&format!("INSERT INTO dbo.{table} VALUES (1, 'a')")).await;
            }
            rig.sqlserver.capture(&rig.name, "dbo", table).await.unwrap();
        }
        let mut source = started(&rig).await;
        if before {
            rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a')").await;
            rig.exec("INSERT INTO dbo.tableb VALUES (1, 'b')").await;
        }
        // What was there before is copied.
        let mut reader = rig.reader(&["tablea", "tableb"]).await;
        rig.equal(&mut reader, &["tablea", "tableb"], &mut source).await;
        let mut sql = "BEGIN TRAN".to_owned();
        for i in 10..60 {
            sql += &format!(
                "; INSERT INTO dbo.tablea VALUES ({i}, 'a'); INSERT INTO dbo.tableb VALUES ({i}, 'b')"
            );
        }
        rig.exec(&(sql + "; COMMIT")).await;
        for _ in 0..3 {
            source.kill9();
            source = started(&rig).await;
        }
        rig.equal(&mut reader, &["tablea", "tableb"], &mut source).await;
        for table in ["tablea", "tableb"] {
            let of = |operation: Operation| {
                let is = |e: &&crate::rig::Event| e.table == table && e.operation == operation;
                reader.events.iter().filter(is).map(|e| e.key.clone()).collect::<Vec<_>>()
            };
            let created = of(Operation::Create);
            let mut once = created.clone();
            once.dedup();
            // In the order of the statements, each once.
            assert!(created.is_sorted() && once == created, "{mode}: {created:?}");
            assert_eq!(created.len(), if before { 51 } else { 50 }, "{mode}");
            assert_eq!(of(Operation::Read).len(), usize::from(mode == "initial"));
        }
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    }
}

/// SqlServerDataQueryModeIT: deferred updates of a unique index, plain updates and changes of keys in one transaction over
/// two tables, at every size of a Kafka transaction; strict as Debezium has it, and folded.
#[tokio::test(flavor = "multi_thread")]
async fn deferred_updates_at_every_page_size() {
    for (strict, max_bytes) in [(true, 1), (true, 8 << 20), (false, 1), (false, 8 << 20)] {
        let mut rig = rig("querymode").await;
        rig.set("source.debezium_strict", strict);
        rig.set("source.transaction.max_bytes", max_bytes);
        for table in ["orders", "others"] {
            rig.table(
                table,
                "id int NOT NULL PRIMARY KEY, order_ref varchar(20) NOT NULL UNIQUE, status int NULL",
            )
            .await;
        }
        let mut source = started(&rig).await;
        let rows: Vec<String> = (1..=10).map(|i| format!("({i}, 'r{i}', 0)")).collect();
        let both =
            |sql: &str| format!("{}; {}", sql.replace("%", "orders"), sql.replace("%", "others"));
        rig.exec(&both(&format!("INSERT INTO dbo.% VALUES {}", rows.join(",")))).await;
        rig.exec(&format!(
            "BEGIN TRAN; {}; {}; {}; COMMIT",
            both("UPDATE dbo.% SET order_ref = order_ref + '_v2' WHERE id BETWEEN 1 AND 5"),
            both("UPDATE dbo.% SET status = 1 WHERE id BETWEEN 6 AND 8"),
            both("UPDATE dbo.% SET id = id + 100 WHERE id IN (9, 10)"),
        ))
        .await;
        let mut reader = rig.reader(&["orders", "others"]).await;
        rig.equal(&mut reader, &["orders", "others"], &mut source).await;
        for table in ["orders", "others"] {
            let words = words(&reader, table).split_off(10);
            let count = |letter: char| words.iter().filter(|w| w.starts_with(letter)).count();
            let folds = !strict && max_bytes > 1;
            if folds {
                assert_eq!((count('d'), count('c'), count('u')), (2, 2, 8), "{words:?}");
            } else if strict {
                assert_eq!((count('d'), count('c'), count('u')), (7, 7, 3), "{words:?}");
                let deletes: Vec<String> = (1..=5).map(|i| format!("d{i}")).collect();
                assert_eq!(words[..5], deletes[..], "all deletes of a statement first");
            } else {
                // What a Kafka transaction cuts apart stays apart: as right, and more words.
                assert_eq!(count('d'), count('c'), "{words:?}");
            }
        }
        assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    }
}

/// DBZ-5423: a table that is renamed goes on under its old name until a restart, and then under its new one.
#[tokio::test(flavor = "multi_thread")]
async fn should_stream_to_old_table_after_rename_and_to_new_table_after_restart() {
    let rig = rig("rename").await;
    rig.table("account", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.account VALUES (1, 1)").await;
    let mut reader = rig.reader(&["account"]).await;
    events(&mut reader, &mut source, "account", 1).await;
    rig.exec("EXEC sp_rename 'dbo.account', 'account_new'").await;
    rig.exec("INSERT INTO dbo.account_new VALUES (2, 2)").await;
    events(&mut reader, &mut source, "account", 2).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.account_new VALUES (3, 3)").await;
    let mut renamed = rig.reader(&["account_new"]).await;
    events(&mut renamed, &mut source, "account_new", 1).await;
    assert_eq!(words(&renamed, "account_new"), ["c3"]);
    reader.drain(Duration::from_secs(1)).await;
    assert_eq!(words(&reader, "account"), ["c1", "c2"]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// SqlServerChangeTableSetIT: capture ends, the column gets another name, and a new instance begins.
#[tokio::test(flavor = "multi_thread")]
async fn rename_column() {
    let mut rig = rig("renamecol").await;
    rig.set("source.on_gap", "resnapshot");
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, cola varchar(30) NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a')").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 1).await;
    rig.exec("EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'tablea', @capture_instance = N'dbo_tablea'").await;
    rig.exec("EXEC sp_rename 'dbo.tablea.cola', 'colb', 'COLUMN'").await;
    rig.exec("INSERT INTO dbo.tablea VALUES (2, 'between')").await;
    rig.exec("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'tablea', @role_name = NULL, @capture_instance = N'after_change'").await;
    rig.exec("INSERT INTO dbo.tablea VALUES (3, 'c')").await;
    // Debezium loses what happened between; here the table is copied again.
    rig.equal(&mut reader, &["tablea"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// SqlServerChangeTableSetIT: the type changes, and a second instance has it.
#[tokio::test(flavor = "multi_thread")]
async fn change_column() {
    let rig = rig("changecol").await;
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, cola varchar(5) NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 'a')").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 1).await;
    rig.exec("ALTER TABLE dbo.tablea ALTER COLUMN cola varchar(50) NULL").await;
    rig.exec("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'tablea', @role_name = NULL, @capture_instance = N'after_change'").await;
    rig.exec("INSERT INTO dbo.tablea VALUES (2, 'much longer than before')").await;
    rig.equal(&mut reader, &["tablea"], &mut source).await;
    let longer = &reader.tables["tablea"]["000000000002"];
    assert!(longer[1] == Value::Text("much longer than before".to_owned()));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// DBZ-2522: a column in the middle that is not captured is in no event, of the stream or of the copy.
#[tokio::test(flavor = "multi_thread")]
async fn when_capture_instance_excludes_columns() {
    let mut rig = rig("exclcol").await;
    rig.set("source.snapshot.mode", "initial");
    rig.exec("CREATE TABLE dbo.excluded (id int NOT NULL PRIMARY KEY, name varchar(30) NULL, note varchar(30) NULL)").await;
    rig.exec("INSERT INTO dbo.excluded VALUES (1, 'secret', 'n1')").await;
    rig.exec("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'excluded', @role_name = NULL, @captured_column_list = N'id, note'").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.excluded VALUES (2, 'secret', 'n2')").await;
    rig.exec("UPDATE dbo.excluded SET name = 'other', note = 'n3' WHERE id = 1").await;
    let mut reader = rig.reader(&["excluded"]).await;
    let note = |text: &str| Value::Text(text.to_owned());
    let row = |reader: &Reader, key: &str| reader.tables.get("excluded")?.get(key).cloned();
    let end = std::time::Instant::now() + LIMIT;
    while row(&reader, "000000000001") != Some(vec![Value::I32(1), note("n3")])
        || row(&reader, "000000000002") != Some(vec![Value::I32(2), note("n2")])
    {
        source.must_run().unwrap();
        assert!(std::time::Instant::now() < end, "{:?}", reader.events);
        reader.drain(Duration::from_millis(200)).await;
    }
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// SpecialCharsInNamesIT.
#[tokio::test(flavor = "multi_thread")]
async fn special_chars_in_names() {
    let mut rig = rig("special").await;
    rig.set("source.snapshot.mode", "initial");
    let table = "UAT WAG CZ$Fixed]]Asset";
    rig.exec(&format!(
        "CREATE TABLE dbo.[{table}] (id int NOT NULL PRIMARY KEY, [my col$a] varchar(30) NULL)"
    ))
    .await;
    rig.exec(&format!("INSERT INTO dbo.[{table}] VALUES (1, 'a')")).await;
    rig.exec("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'UAT WAG CZ$Fixed]Asset', @role_name = NULL").await;
    let mut source = started(&rig).await;
    rig.exec(&format!("INSERT INTO dbo.[{table}] VALUES (2, 'b')")).await;
    let topic = format!("{}.dbo.UAT_WAG_CZ_Fixed_Asset", rig.name);
    let records = rig.records(&topic, 2).await;
    assert_eq!(records.len(), 2);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// CaseSensitivenessIT: two tables that differ in case only are two in a case-sensitive database; a pattern does not care.
#[tokio::test(flavor = "multi_thread")]
async fn case_sensitiveness() {
    let mut rig = rig("casedb").await;
    rig.set("source.tables", vec!["DBO.TableA"]);
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO DBO.TABLEA VALUES (1, 1)").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 1).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// TablesWithUniqueIndexOnlyIT.
#[tokio::test(flavor = "multi_thread")]
async fn tables_with_unique_index_only() {
    let rig = rig("uniqonly").await;
    rig.exec("CREATE TABLE dbo.t1 (key1 int NOT NULL, key2 int NOT NULL, x int NULL)").await;
    rig.exec("CREATE UNIQUE INDEX ux ON dbo.t1 (key2, key1)").await;
    rig.sqlserver.capture(&rig.name, "dbo", "t1").await.unwrap();
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.t1 VALUES (1, 10, 0); UPDATE dbo.t1 SET x = 1; DELETE FROM dbo.t1")
        .await;
    let mut reader = rig.reader(&["t1"]).await;
    events(&mut reader, &mut source, "t1", 3).await;
    assert_eq!(words(&reader, "t1"), ["c1", "u1", "d1"]);
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// TablesWithoutPrimaryKeyIT, keylessTable (DBZ-916): records without key, in the order of the changes.
#[tokio::test(flavor = "multi_thread")]
async fn keyless_table() {
    let rig = rig("keyless").await;
    rig.table("t1", "a int NULL, b int NULL").await;
    let checked = rig.command(&["check"]).await;
    let said = checked.stdout + &checked.stderr;
    assert_eq!(checked.code, 0, "{said}");
    assert!(said.contains("dbo.t1 has neither a primary key nor a unique index"), "{said}");
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.t1 VALUES (1, 10), (2, 10), (3, 30)").await;
    rig.exec("UPDATE dbo.t1 SET b = 4 WHERE a = 3; DELETE FROM dbo.t1 WHERE a = 3").await;
    let records = rig.records(&format!("{}.dbo.t1", rig.name), 5).await;
    // No tombstone: there is nothing to forget.
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| record.key.is_none() && record.value.is_some()));
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

/// timestampAndTimezone (DBZ-1643): the time of the source is the commit's, in UTC, wherever our clock lives.
#[tokio::test(flavor = "multi_thread")]
async fn timestamp_and_timezone() {
    let rig = rig("canberra").await;
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let config = rig.write();
    let zone = [("TZ", "Australia/Canberra")];
    let mut source = Proc::start_with("causeway-source", &["run"], &config, &zone).unwrap();
    source.ready(LIMIT).await.unwrap();
    let before = now_ms();
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 1)").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 1).await;
    let at = reader.commit_times[0];
    // A datetime has 3.33 ms.
    assert!(
        (before - 10..=now_ms() + 10).contains(&at),
        "{at} is not within {before}..{}",
        now_ms()
    );
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// shouldDetectPurgedHistory, shouldProcessPurgedLogsWhenDownAndSnapshotNeeded: what was cleaned up while nobody looked is a gap,
/// an error by default, and a new copy when that is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn should_detect_purged_history() {
    let mut rig = rig("purged").await;
    rig.table("tablea", "id int NOT NULL PRIMARY KEY, x int NULL").await;
    let mut source = started(&rig).await;
    rig.exec("INSERT INTO dbo.tablea VALUES (1, 1)").await;
    let mut reader = rig.reader(&["tablea"]).await;
    events(&mut reader, &mut source, "tablea", 1).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
    for i in 2..=5 {
        rig.exec(&format!("INSERT INTO dbo.tablea VALUES ({i}, {i})")).await;
    }
    wait::until("capture", LIMIT, || async {
        let mut client = rig.client().await;
        let rows = causeway_tests::sqlserver::rows(
            &mut client,
            "SELECT __$start_lsn FROM cdc.dbo_tablea_CT",
        )
        .await?;
        Ok((rows.len() == 5).then_some(()))
    })
    .await
    .unwrap();
    rig.exec(
        "DECLARE @low binary(10) = (SELECT MAX(start_lsn) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00); \
         EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_tablea', @low_water_mark = @low, @threshold = 5000",
    )
    .await;
    let mut source = rig.start();
    assert_eq!(source.wait(LIMIT).await.unwrap(), 1, "{}", source.tail(20));
    let said = source.stderr();
    assert!(said.contains("dbo.tablea"), "{said}");
    rig.set("source.snapshot.mode", "when_needed");
    let mut source = rig.start();
    rig.equal(&mut reader, &["tablea"], &mut source).await;
    assert_eq!(source.terminate(LIMIT).await.unwrap(), 0);
}
