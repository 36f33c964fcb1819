//! Tables are made, widened and checked; what cannot be done is said in one line.

use causeway_change::{ColumnType, Length, Value};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, command, create, rule, table, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_and_a_wider_one_arrive_with_the_first_record_that_has_them() {
    let rig = Rig::new("evolution").await;
    let postgres = shared::postgres().await;
    let id = ("id", ColumnType::Int, false);
    let first = rig
        .table(table("dbo", "t", &[id, ("name", ColumnType::VarChar(Length::Of(5)), false)]))
        .await;
    rig.send(&first, &[create(vec![Value::I32(1), text("short")])]).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &first).await;
    let second = rig
        .version(
            table(
                "dbo",
                "t",
                &[
                    id,
                    ("name", ColumnType::VarChar(Length::Of(20)), false),
                    ("added", ColumnType::BigInt, true),
                ],
            ),
            first.topic.clone(),
        )
        .await;
    rig.send(&second, &[create(vec![Value::I32(2), text("longer than five"), Value::I64(7)])])
        .await;
    rig.send(&second, &[create(vec![Value::I32(3), text(""), Value::Null])]).await;
    rig.applied(postgres, &second).await;
    rig.until(
        postgres,
        "SELECT string_agg(id || ':' || coalesce(name, '-') || ':' || coalesce(added::text, '-'), ' ' \
         ORDER BY id) FROM public.t",
        "1:short:- 2:longer than five:7 3::-".to_owned(),
    )
    .await;
    // A late record of the old version changes nothing of the table.
    rig.send(&first, &[create(vec![Value::I32(4), text("late")])]).await;
    rig.until(
        postgres,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = 'public.t'::regclass AND attname = 'name'",
        "character varying(20)".to_owned(),
    )
    .await;
    rig.applied(postgres, &first).await;
    rig.until(postgres, "SELECT count(*) FROM public.t", 4i64).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_interleave_in_one_batch_and_numbers_that_grow_on_both_sides() {
    let rig = Rig::new("interleaved").await;
    let postgres = shared::postgres().await;
    let id = ("id", ColumnType::Int, false);
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    let first = rig.table(table("dbo", "t", &[id, ("n", decimal(6, 2), true)])).await;
    let mut versions = vec![first];
    // The registry refuses what is no superset, so the later versions are subjects of their own.
    for columns in [
        vec![id, ("n", decimal(6, 2), true), ("added", ColumnType::Int, true)],
        vec![
            id,
            ("n", decimal(6, 2), true),
            ("added", ColumnType::Int, true),
            ("more", ColumnType::Bit, true),
        ],
    ] {
        let topic = versions[0].topic.clone();
        versions.push(rig.version(table("dbo", "t", &columns), topic).await);
    }
    let wide = rig.table(table("sales", "u", &[id, ("n", decimal(6, 4), true)])).await;
    let row = |version: usize, id: i32| {
        let mut row = vec![Value::I32(id), Value::Decimal(100)];
        row.extend([Value::I32(id * 10), Value::Bool(true)].into_iter().take(version));
        create(row).to(0)
    };
    // Old and new versions alternate; the last word of a key is the one of its last record.
    for (version, id) in [(0, 1), (2, 2), (0, 3), (1, 1), (0, 2), (2, 3), (1, 4), (0, 5)] {
        rig.send(&versions[version], &[row(version, id)]).await;
    }
    rig.send(&wide, &[create(vec![Value::I32(1), Value::Decimal(991_234)])]).await;
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute(
            "CREATE SCHEMA sales; CREATE TABLE sales.u (id integer PRIMARY KEY, n numeric(6,2)); \
             INSERT INTO sales.u VALUES (2, 9999.99)",
        )
        .await
        .unwrap();
    let mut sink = rig.sink();
    rig.applied(postgres, &versions[0]).await;
    rig.applied(postgres, &wide).await;
    rig.until(
        postgres,
        "SELECT string_agg(id || ':' || coalesce(added::text, '-') || ':' || coalesce(more::text, '-'), ' ' \
         ORDER BY id) FROM public.t",
        // An old record of a key says nothing about columns that it does not know.
        "1:10:- 2:20:true 3:30:true 4:40:- 5:-:-".to_owned(),
    )
    .await;
    rig.until(
        postgres,
        "SELECT format_type(atttypid, atttypmod) || ' ' || (SELECT string_agg(n::text, ' ' ORDER BY id) FROM sales.u) \
         FROM pg_attribute WHERE attrelid = 'sales.u'::regclass AND attname = 'n'",
        "numeric(8,4) 99.1234 9999.9900".to_owned(),
    )
    .await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_sets_aside_records_that_would_change_a_table_or_stops_at_them() {
    let mut rig = Rig::new("rule").await;
    let postgres = shared::postgres().await;
    rig.set("sink.tables", vec![rule("dbo.t", &[("new_column", "dlq")])]);
    let id = ("id", ColumnType::Int, false);
    let first = rig.table(table("dbo", "t", &[id])).await;
    rig.send(&first, &[create(vec![Value::I32(1)]).to(0)]).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &first).await;
    let second = rig
        .version(table("dbo", "t", &[id, ("added", ColumnType::Int, true)]), first.topic.clone())
        .await;
    let rows: Vec<_> =
        (2..6).map(|id| create(vec![Value::I32(id), Value::I32(id)]).to(0)).collect();
    rig.send(&second, &rows).await;
    rig.send(&first, &[create(vec![Value::I32(9)]).to(0)]).await;
    rig.applied(postgres, &first).await;
    rig.until(postgres, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "1 9".to_owned())
        .await;
    rig.until(
        postgres,
        "SELECT count(*) FROM _causeway.dead_letter WHERE reason LIKE '%column added (integer) is missing%'",
        4i64,
    )
    .await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    // The rule is taken back: what was set aside is applied, and the table follows.
    rig.set("sink.tables", vec![rule("dbo.t", &[("new_column", "follow")])]);
    let args = ["dlq", "replay"];
    let ended =
        causeway_tests::process::run("causeway-sink", &args, &rig.config(), LIMIT).await.unwrap();
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    rig.until(
        postgres,
        "SELECT string_agg(id || ':' || coalesce(added::text, '-'), ' ' ORDER BY id) FROM t",
        "1:- 2:2 3:3 4:4 5:5 9:-".to_owned(),
    )
    .await;
    rig.set("sink.tables", vec![rule("dbo.t", &[("lost_column", "stop")])]);
    let third = rig
        .version(table("dbo", "t", &[id, ("other", ColumnType::Int, true)]), first.topic.clone())
        .await;
    rig.send(&third, &[create(vec![Value::I32(7), Value::Null]).to(0)]).await;
    let mut sink = rig.sink();
    assert_eq!(sink.wait(LIMIT).await.unwrap(), 2, "{}", sink.tail(20));
    assert!(sink.stderr().contains("added is not in the records any more"), "{}", sink.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_made_table_that_cannot_work_is_refused_with_one_list_of_all_that_is_wrong() {
    let rig = Rig::new("hand_made").await;
    let postgres = shared::postgres().await;
    let client = postgres.client(&rig.database).await.unwrap();
    client
        .batch_execute("CREATE TABLE t (id integer, name jsonb, must integer NOT NULL)")
        .await
        .unwrap();
    let long: &'static str = "x".repeat(64).leak();
    let feed = rig
        .table(table(
            "dbo",
            "t",
            &[
                ("id", ColumnType::Int, false),
                ("name", ColumnType::VarChar(Length::Of(5)), true),
                (long, ColumnType::Int, true),
            ],
        ))
        .await;
    rig.send(&feed, &[create(vec![Value::I32(1), text("x"), Value::Null])]).await;
    for name in ["check", "run"] {
        let ended = command(name, &rig.config()).await;
        assert_eq!(ended.code, 2, "{name}: {}{}", ended.stdout, ended.stderr);
        for part in ["public.t", "primary key", "name is jsonb", "must is NOT NULL", long] {
            assert!(ended.stderr.contains(part), "{name}, {part}: {}", ended.stderr);
        }
    }
    let made: i64 = rig
        .ask(postgres, "SELECT count(*) FROM pg_namespace WHERE nspname = '_causeway'")
        .await
        .unwrap();
    assert_eq!(made, 0, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_begins_to_be_wrong_while_it_runs_stops_the_sink_with_its_name() {
    let rig = Rig::new("later").await;
    let postgres = shared::postgres().await;
    let mut sink = rig.sink();
    sink.ready(LIMIT).await.unwrap();
    let client = postgres.client(&rig.database).await.unwrap();
    client.batch_execute("CREATE TABLE t (id integer, name varchar(5))").await.unwrap();
    let long: &'static str = "x".repeat(64).leak();
    let feed = rig
        .table(table("dbo", "t", &[("id", ColumnType::Int, false), (long, ColumnType::Int, true)]))
        .await;
    rig.send(&feed, &[create(vec![Value::I32(1), Value::Null])]).await;
    assert_eq!(sink.wait(LIMIT).await.unwrap(), 1, "{}", sink.tail(20));
    let complaint = sink.stderr();
    for part in ["public.t", "primary key", long] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_and_writes_nothing() {
    let mut rig = Rig::new("check").await;
    let postgres = shared::postgres().await;
    let fine = command("check", &rig.config()).await;
    assert_eq!(fine.code, 0, "{}{}", fine.stdout, fine.stderr);
    let made: i64 = rig
        .ask(postgres, "SELECT count(*) FROM pg_namespace WHERE nspname = '_causeway'")
        .await
        .unwrap();
    assert_eq!(made, 0, "check wrote something");
    rig.set("postgres.password", "wrong");
    for name in ["check", "run"] {
        let ended = command(name, &rig.config()).await;
        assert_eq!(ended.code, 2, "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("PostgreSQL"), "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{name}: {}", ended.stderr);
    }
}
