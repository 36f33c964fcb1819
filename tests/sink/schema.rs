//! Tables are made, widened and checked; what cannot be done is said in one line.

use causeway_change::{ColumnType, Length, Value};
use causeway_tests::shared;

use crate::rig::{LIMIT, Rig, command, create, table, text};

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
async fn a_hand_made_table_that_cannot_work_stops_the_sink_with_its_name() {
    let rig = Rig::new("hand_made").await;
    let postgres = shared::postgres().await;
    let client = postgres.client(&rig.database).await.unwrap();
    client.batch_execute("CREATE TABLE t (id integer, name varchar(5))").await.unwrap();
    let feed = rig
        .table(table(
            "dbo",
            "t",
            &[("id", ColumnType::Int, false), ("name", ColumnType::VarChar(Length::Of(5)), true)],
        ))
        .await;
    rig.send(&feed, &[create(vec![Value::I32(1), text("x")])]).await;
    let mut sink = rig.sink();
    assert_eq!(sink.wait(LIMIT).await.unwrap(), 1, "{}", sink.tail(20));
    let complaint = sink.stderr();
    assert!(complaint.contains("public.t") && complaint.contains("primary key"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_too_long_for_postgresql_is_no_dead_letter_for_each_row_but_a_clear_end() {
    let rig = Rig::new("long").await;
    let name: &'static str = "x".repeat(64).leak();
    let feed = rig
        .table(table("dbo", "t", &[("id", ColumnType::Int, false), (name, ColumnType::Int, true)]))
        .await;
    rig.send(&feed, &[create(vec![Value::I32(1), Value::I32(1)])]).await;
    let mut sink = rig.sink();
    assert_eq!(sink.wait(LIMIT).await.unwrap(), 1, "{}", sink.tail(20));
    assert!(sink.stderr().contains(name), "{}", sink.stderr());
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
