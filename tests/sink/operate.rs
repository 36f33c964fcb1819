//! What an operator does beside a running sink: looks at it, pauses a table, sets offsets.

use causeway_change::{ColumnType, Value};
use causeway_tests::{process::Ended, shared};

use crate::rig::{LIMIT, Rig, create, rule, table};

async fn run(rig: &Rig, args: &[&str]) -> Ended {
    causeway_tests::process::run("causeway-sink", args, &rig.config(), LIMIT).await.unwrap()
}

fn row(id: i32) -> Vec<Value> {
    vec![Value::I32(id)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_table_waits_while_others_go_on() {
    let rig = Rig::new("pause").await;
    let postgres = shared::postgres().await;
    let columns = [("id", ColumnType::Int, false)];
    let (one, two) = (
        rig.table(table("dbo", "one", &columns)).await,
        rig.table(table("dbo", "two", &columns)).await,
    );
    let mut sink = rig.sink();
    for feed in [&one, &two] {
        rig.send(feed, &[create(row(1))]).await;
        rig.applied(postgres, feed).await;
    }
    let paused = run(&rig, &["pause", "dbo.o*"]).await;
    assert_eq!((paused.code, paused.stdout.as_str()), (0, "paused: dbo.o*\n"), "{}", paused.stderr);
    sink.logged("paused", LIMIT).await.unwrap();
    for feed in [&one, &two] {
        rig.send(feed, &[create(row(2))]).await;
    }
    rig.until(postgres, "SELECT count(*) FROM two", 2i64).await;
    let status = run(&rig, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let tables = status["tables"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|table| table["table"] == name).unwrap();
    assert_eq!((&of("dbo.one")["state"], &of("dbo.one")["lag"]), (&"paused".into(), &1.into()));
    assert_eq!(of("dbo.two")["lag"], 0, "{status}");
    assert_eq!(of("dbo.two")["target"], "public.two");
    let count: i64 = rig.ask(postgres, "SELECT count(*) FROM one").await.unwrap();
    assert_eq!(count, 1, "a paused table was written");

    let wrong = run(&rig, &["resume", "dbo.two"]).await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("dbo.o*"), "{}", wrong.stderr);
    assert_eq!(run(&rig, &["resume"]).await.stdout, "no table is paused\n");
    rig.applied(postgres, &one).await;
    rig.until(postgres, "SELECT count(*) FROM one", 2i64).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    let text = run(&rig, &["status"]).await.stdout;
    assert!(text.contains("not running") && text.contains("dbo.one"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_shown_and_set_beside_a_running_sink() {
    let rig = Rig::new("offsets").await;
    let postgres = shared::postgres().await;
    let feed = rig.table(table("dbo", "t", &[("id", ColumnType::Int, false)])).await;
    let rows: Vec<_> = (0..5).map(|id| create(row(id)).to(0)).collect();
    rig.send(&feed, &rows).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    let shown = run(&rig, &["offsets", "show"]).await.stdout;
    assert!(shown.contains(&feed.topic), "{shown}");
    let topic = feed.topic.as_str();
    let far =
        run(&rig, &["offsets", "reset", "--topic", topic, "--partition", "0", "--to-offset", "9"])
            .await;
    assert_eq!(far.code, 1, "{}", far.stdout);
    assert!(far.stderr.contains("0 to 5"), "{}", far.stderr);
    let args = ["offsets", "reset", "--topic", topic, "--partition", "0", "--to-offset", "3"];
    let tried = run(&rig, &[&args[..], &["--dry-run"]].concat()).await;
    assert!(tried.stdout.contains("5 -> 3"), "{}", tried.stdout);
    postgres.client(&rig.database).await.unwrap().batch_execute("TRUNCATE t").await.unwrap();
    let reset = run(&rig, &args).await;
    assert_eq!(reset.code, 0, "{}", reset.stderr);
    // It finds out by itself, and goes on from there.
    rig.send(&feed, &[create(row(9)).to(0)]).await;
    sink.logged("joining again", LIMIT).await.unwrap();
    rig.until(postgres, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "3 4 9".to_owned())
        .await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_make_no_sense_are_refused_before_anything_is_written() {
    let mut rig = Rig::new("rules").await;
    for (bad, says) in [
        (rule("", &[]), "match"),
        (rule("*", &[("on_error", "ignore")]), "on_error"),
        (rule("*", &[("on_eror", "stop")]), "on_eror"),
    ] {
        rig.set("sink.tables", vec![bad]);
        let ended = run(&rig, &["check"]).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_transaction_mode_no_statement_has_a_name() {
    let postgres = shared::postgres().await;
    for (pooler, named) in [("none", true), ("transaction", false)] {
        let mut rig = Rig::new("pooler").await;
        rig.set("postgres.pooler", pooler);
        // The trigger runs in the sink's own session, and sees what the session keeps.
        postgres
            .client(&rig.database)
            .await
            .unwrap()
            .batch_execute(
                "CREATE TABLE t (id integer PRIMARY KEY, at timestamp); \
                 CREATE TABLE seen (op text, statements bigint, zone text); \
                 CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   INSERT INTO seen SELECT TG_OP, count(*) FILTER (WHERE NOT from_sql), current_setting('TimeZone') \
                   FROM pg_prepared_statements; RETURN NULL; END $$; \
                 CREATE TRIGGER look AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION look()",
            )
            .await
            .unwrap();
        let columns =
            [("id", ColumnType::Int, false), ("at", ColumnType::DateTime2 { scale: 6 }, true)];
        let feed = rig.table(table("dbo", "t", &columns)).await;
        let row = |id: i32| vec![Value::I32(id), Value::DateTime(0)];
        let mut sink = rig.sink();
        for id in 0..3 {
            rig.send(&feed, &[create(row(id)).to(0), create(row(id + 100)).to(1)]).await;
            rig.send(&feed, &[crate::rig::delete(row(id)).to(0)]).await;
            rig.applied(postgres, &feed).await;
        }
        rig.until(postgres, "SELECT count(*) FROM t", 3i64).await;
        let sql = "SELECT bool_or(statements > 0) FROM seen";
        assert_eq!(rig.ask::<bool>(postgres, sql).await.unwrap(), named, "{pooler}");
        let sql = "SELECT bool_and(zone = 'UTC') FROM seen";
        assert!(rig.ask::<bool>(postgres, sql).await.unwrap(), "{pooler}");
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    }
}
