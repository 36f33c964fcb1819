//! Tables and columns come before the first record that has them.

use causeway_change::{ColumnType, Length, Table, Value};
use causeway_tests::{
    faults::{Mode, Proxy},
    shared,
};

use crate::rig::{LIMIT, Rig, create, rule, table};

fn versions(name: &str) -> [Table; 2] {
    let id = ("id", ColumnType::Int, false);
    let code = |length| ("code", ColumnType::VarChar(Length::Of(length)), false);
    let note = ("note", ColumnType::NVarChar(Length::Of(40)), true);
    [table("dbo", name, &[id, code(5)]), table("dbo", name, &[id, code(9), note])]
}

/// The columns of a table with their types; NOT NULL is `!`.
fn columns(name: &str) -> String {
    format!(
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, \
         ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = to_regclass('public.{name}') AND attnum > 0"
    )
}

const FIRST: &str = "id integer!, code character varying(5)!";
const SECOND: &str = "id integer!, code character varying(9)!, note character varying(40)";

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_made_and_follows_its_schema_also_while_another_is_locked() {
    let postgres = shared::postgres().await;
    let mut rig = Rig::new("ahead").await;
    rig.set("sink.schema_seconds", 1);
    let (a, b) = (versions("a"), versions("b"));
    let (first_a, first_b) = (rig.table(a[0].clone()).await, rig.table(b[0].clone()).await);
    // Two that share the work must not fall over each other.
    let mut sinks = [rig.sink(), rig.sink()];
    rig.until(postgres, &columns("a"), FIRST.to_owned()).await;
    rig.until(postgres, &columns("b"), FIRST.to_owned()).await;
    // Somebody works with one of them.
    let client = postgres.client(&rig.database).await.unwrap();
    client.batch_execute("BEGIN; LOCK TABLE a IN ROW EXCLUSIVE MODE").await.unwrap();
    rig.version(a[1].clone(), first_a.topic.clone()).await;
    let second_b = rig.version(b[1].clone(), first_b.topic.clone()).await;
    rig.until(postgres, &columns("b"), SECOND.to_owned()).await;
    let seen: String = rig.ask(postgres, &columns("a")).await.unwrap();
    assert_eq!(seen, FIRST);
    client.batch_execute("COMMIT").await.unwrap();
    rig.until(postgres, &columns("a"), SECOND.to_owned()).await;
    // Records of both versions, the older one last.
    let row = |id, code: &str| vec![Value::I32(id), Value::Text(code.to_owned())];
    let mut longer = row(1, "longer");
    longer.push(Value::Null);
    rig.send(&second_b, &[create(longer)]).await;
    rig.send(&first_b, &[create(row(2, "old"))]).await;
    rig.until(postgres, "SELECT string_agg(code, ' ' ORDER BY id) FROM b", "longer old".to_owned())
        .await;
    let seen: String = rig.ask(postgres, &columns("b")).await.unwrap();
    assert_eq!(seen, SECOND);
    for sink in &mut sinks {
        assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_forbids_is_left_to_the_record_that_needs_it() {
    let postgres = shared::postgres().await;
    let mut rig = Rig::new("aheadrule").await;
    rig.set("sink.schema_seconds", 1);
    let stops = rule("dbo.*", &[("new_column", "stop")]);
    rig.set("sink.tables", toml::Value::Array(vec![stops]));
    let [old, new] = versions("a");
    let first = rig.table(old).await;
    let mut sink = rig.sink();
    rig.until(postgres, &columns("a"), FIRST.to_owned()).await;
    let second = rig.version(new, first.topic.clone()).await;
    sink.logged("does not follow its newest schema", LIMIT).await.unwrap();
    rig.send(&first, &[create(vec![Value::I32(1), Value::Text("old".to_owned())])]).await;
    rig.until(postgres, "SELECT count(*) FROM a", 1i64).await;
    sink.must_run().unwrap();
    let row = vec![Value::I32(2), Value::Text("new".to_owned()), Value::Null];
    rig.send(&second, &[create(row)]).await;
    assert_ne!(sink.wait(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
    let seen: String = rig.ask(postgres, &columns("a")).await.unwrap();
    assert_eq!(seen, FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_holds_up_no_record() {
    let postgres = shared::postgres().await;
    let registry = shared::registry().await;
    let mut rig = Rig::new("aheadaway").await;
    let (scheme, target) = registry.url().split_once("://").unwrap();
    let (address, path) = target.split_once('/').unwrap_or((target, ""));
    let proxy = Proxy::start(address).await.unwrap();
    rig.set("registry.url", format!("{scheme}://{}/{path}", proxy.address()));
    rig.set("sink.schema_seconds", 1);
    let feed = rig.table(versions("a")[0].clone()).await;
    let mut sink = rig.sink();
    let row = |id| create(vec![Value::I32(id), Value::Text("x".to_owned())]);
    rig.send(&feed, &[row(1)]).await;
    rig.until(postgres, "SELECT count(*) FROM a", 1i64).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    sink.logged("tables are not made ahead of their records", LIMIT).await.unwrap();
    rig.table(versions("b")[0].clone()).await;
    rig.send(&feed, &[row(2), row(3)]).await;
    rig.until(postgres, "SELECT count(*) FROM a", 3i64).await;
    sink.ready(LIMIT).await.unwrap();
    proxy.set(Mode::Pass);
    rig.until(postgres, &columns("b"), FIRST.to_owned()).await;
    assert_eq!(sink.terminate(LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
