//! Rules that other people's tests look at: collations of character types, bulk load, how deep a statement may nest.

use super::tests::{Sent, instance, run, session, text, try_run};
use crate::value::{Col, Row, Ty, Val};

#[test]
fn varchar_of_a_sql_collation_sorts_by_its_own_order() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE k (v varchar(20) COLLATE SQL_Latin1_General_CP1_CI_AS PRIMARY KEY, n nvarchar(20), \
         w varchar(20) COLLATE Latin1_General_CI_AS)
         INSERT k SELECT x, x, x FROM (VALUES ('coop'), ('co-op'), ('coon'), ('Y1-01-1'), ('Y-11-3')) AS t (x)
         CREATE INDEX n ON k (n) CREATE INDEX w ON k (w)",
    );
    let by_sort_order = "co-op|coon|coop|Y-11-3|Y1-01-1";
    let by_words = "coon|coop|co-op|Y1-01-1|Y-11-3";
    let list = |s: &mut _, sql: &str| text(&run(s, sql)).join("|");
    assert_eq!(list(&mut s, "SELECT v FROM k ORDER BY v"), by_sort_order);
    assert_eq!(list(&mut s, "SELECT n FROM k ORDER BY n"), by_words);
    assert_eq!(list(&mut s, "SELECT w FROM k ORDER BY w"), by_words);
    // neither an index nor a type leads astray: the collation that is asked for decides
    assert_eq!(list(&mut s, "SELECT v FROM k ORDER BY v COLLATE Latin1_General_CI_AS"), by_words);
    assert_eq!(list(&mut s, "SELECT v FROM k ORDER BY CAST(v AS nvarchar(20))"), by_words);
    assert_eq!(list(&mut s, "SELECT v FROM k WHERE v > 'coon' ORDER BY v"), "coop|Y-11-3|Y1-01-1");
    // a Unicode value converts the column, and with it the rules; the order of the rows stays the column's
    assert_eq!(
        list(&mut s, "SELECT v FROM k WHERE v > N'coon' ORDER BY v"),
        "co-op|coop|Y-11-3|Y1-01-1"
    );
    assert_eq!(
        list(&mut s, "SELECT v FROM k WHERE v <= N'Y1-01-1' AND v > N'coop' ORDER BY v"),
        "co-op|Y1-01-1"
    );
    assert_eq!(list(&mut s, "SELECT MAX(v), MAX(n) FROM k"), "Y1-01-1|Y-11-3");
    // equality and joins know no difference
    assert_eq!(list(&mut s, "SELECT v FROM k WHERE v = N'CO-OP'"), "co-op");
    assert_eq!(list(&mut s, "SELECT COUNT(*) FROM k a JOIN k b ON a.v = b.n"), "5");
    assert_eq!(list(&mut s, "SELECT COUNT(*) FROM k a JOIN k b ON a.v + '' = b.n + N''"), "5");
    assert_eq!(list(&mut s, "SELECT COUNT(*) FROM k WHERE v IN (SELECT n FROM k)"), "5");
    assert_eq!(
        list(&mut s, "SELECT COUNT(*) FROM (SELECT v FROM k UNION SELECT n FROM k) AS u"),
        "5"
    );
    assert_eq!(
        list(&mut s, "SELECT v FROM k UNION ALL SELECT 'aa' ORDER BY v"),
        format!("aa|{by_sort_order}")
    );
}

#[test]
fn a_key_is_unique_in_its_own_collation() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE b (k varchar(9) COLLATE Latin1_General_BIN2 PRIMARY KEY) INSERT b VALUES ('a'), ('A'), ('B')",
    );
    assert_eq!(text(&run(&mut s, "SELECT k FROM b ORDER BY k")), ["A", "B", "a"]);
    assert_eq!(text(&run(&mut s, "SELECT k FROM b WHERE k > 'B'")), ["a"]);
    assert_eq!(
        text(&run(&mut s, "SELECT k FROM b WHERE k = 'A' COLLATE SQL_Latin1_General_CP1_CI_AS")),
        ["A", "a"]
    );
    run(
        &mut s,
        "CREATE TABLE c (k varchar(9) COLLATE SQL_Latin1_General_CP1_CS_AS PRIMARY KEY) INSERT c VALUES ('a'), ('A')",
    );
    assert_eq!(text(&run(&mut s, "SELECT k FROM c ORDER BY k")), ["A", "a"]);
    assert_eq!(try_run(&mut s, "INSERT c VALUES ('a ')").unwrap_err().number, 2627);
    run(&mut s, "CREATE TABLE d (k varchar(9) PRIMARY KEY) INSERT d VALUES ('a')");
    assert_eq!(try_run(&mut s, "INSERT d VALUES ('A')").unwrap_err().number, 2627);
}

fn rows(values: &[&[Val]]) -> Vec<Row> {
    values.iter().map(|r| Row::from(*r)).collect()
}

#[test]
fn bulk_load() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE t (id int IDENTITY PRIMARY KEY, a int NULL DEFAULT 7 CHECK (a < 100), c AS (a + 1))
         CREATE TABLE seen (n int)",
    );
    run(&mut s, "CREATE TRIGGER tr ON t AFTER INSERT AS INSERT seen SELECT COUNT(*) FROM inserted");
    let a = || vec![Col::new("a", Ty::Int)];
    let load = |s: &mut _, announce: &str, columns: Vec<Col>, values: &[&[Val]]| {
        run(s, announce);
        let mut out = Sent::default();
        let result = s.bulk_load(columns, rows(values), &mut out);
        result.map(|()| match out.messages.iter().find(|m| m.class > 10) {
            Some(e) => Err(e.number),
            None => Ok(out.counts),
        })
    };
    // no constraint, no trigger, and NULL takes the default
    let two: &[&[Val]] = &[&[Val::Int(500)], &[Val::Null]];
    assert_eq!(load(&mut s, "INSERT BULK t ([a] int)", a(), two).unwrap(), Ok(vec![Some(2)]));
    assert_eq!(text(&run(&mut s, "SELECT id, a, c FROM t ORDER BY id")), ["1|500|501", "2|7|8"]);
    assert_eq!(text(&run(&mut s, "SELECT COUNT(*) FROM seen")), ["0"]);
    // all of it when asked for
    let with = "INSERT BULK t ([a] int) WITH (CHECK_CONSTRAINTS, TABLOCK, KEEP_NULLS, FIRE_TRIGGERS, ORDER(a ASC))";
    assert_eq!(load(&mut s, with, a(), two).unwrap(), Err(547));
    // the trigger's own statement has a count, too
    let counts = load(&mut s, with, a(), &[&[Val::Null]]).unwrap();
    assert_eq!(counts, Ok(vec![Some(1), Some(1)]));
    assert_eq!(text(&run(&mut s, "SELECT COUNT(*) FROM t WHERE a IS NULL")), ["1"]);
    assert_eq!(text(&run(&mut s, "SELECT n FROM seen")), ["1"]);
    // an identity column in the list keeps the client's values
    let both = vec![Col::new("id", Ty::Int), Col::new("a", Ty::Int)];
    let row: &[&[Val]] = &[&[Val::Int(40), Val::Int(1)]];
    load(&mut s, "INSERT BULK dbo.t (id int, a int)", both, row).unwrap().unwrap();
    run(&mut s, "INSERT t (a) VALUES (2)");
    assert_eq!(text(&run(&mut s, "SELECT id FROM t WHERE id >= 40")), ["40", "41"]);
    // it belongs to its transaction
    run(&mut s, "BEGIN TRANSACTION");
    load(&mut s, "INSERT BULK t (a int)", a(), &[&[Val::Int(3)]]).unwrap().unwrap();
    run(&mut s, "ROLLBACK");
    assert_eq!(text(&run(&mut s, "SELECT COUNT(*) FROM t WHERE a = 3")), ["0"]);
    // another request ends the announcement
    run(&mut s, "INSERT BULK t (a int)");
    run(&mut s, "SELECT 1");
    let mut out = Sent::default();
    assert_eq!(s.bulk_load(a(), rows(&[&[Val::Int(1)]]), &mut out).unwrap_err().number, 4002);
    run(&mut s, "INSERT BULK t (a int)");
    assert_eq!(s.bulk_load(Vec::new(), Vec::new(), &mut out).unwrap_err().number, 4816);
    for (sql, number) in [
        ("INSERT BULK t (nix int)", 207),
        ("INSERT BULK t (c int)", 271),
        ("INSERT BULK nowhere (a int)", 208),
        ("INSERT BULK t (a int) WITH (NIX)", 50999),
    ] {
        assert_eq!(try_run(&mut s, sql).unwrap_err().number, number, "{sql}");
    }
}

/// `open` n times, the middle, `close` n times.
fn nested(open: &str, middle: &str, close: &str, n: usize) -> String {
    format!("{}{middle}{}", open.repeat(n), close.repeat(n))
}

/// Each way to nest: a deep statement runs in two megabytes of stack, a deeper one is refused.
#[test]
fn a_statement_may_nest_so_deep() {
    let small = std::thread::Builder::new().stack_size(2 << 20);
    small.spawn(all_ways_to_nest).unwrap().join().unwrap();
}

fn all_ways_to_nest() {
    let i = instance();
    let mut s = session(&i, 51);
    run(&mut s, "CREATE TABLE one (a int) INSERT one VALUES (1)");
    let ways: [(&str, usize, fn(usize) -> String); 12] = [
        ("parentheses", 120, |n| format!("SELECT {}", nested("(", "1", ")", n))),
        ("sums in parentheses", 60, |n| format!("SELECT {}", nested("(1 + ", "1", ")", n))),
        ("a long sum", 120, |n| format!("SELECT a{} FROM one", "+a".repeat(n))),
        ("a long product", 120, |n| format!("SELECT a{} FROM one", "*a".repeat(n))),
        ("a sum of sums", 60, |n| format!("SELECT {} FROM one", nested("(", "a", "+a+a)", n / 2))),
        ("signs", 120, |n| format!("SELECT {}a FROM one", "- ".repeat(n))),
        ("NOT", 120, |n| format!("SELECT a FROM one WHERE {} a = 1", "NOT ".repeat(n * 2 / 2))),
        ("CASE", 60, |n| {
            format!("SELECT {} FROM one", nested("CASE WHEN a = 1 THEN ", "a", " ELSE 0 END", n))
        }),
        ("calls", 60, |n| format!("SELECT {} FROM one", nested("ABS(", "a", ")", n))),
        ("conditions", 60, |n| {
            format!(
                "SELECT a FROM one WHERE {}",
                nested("(a = 1 AND (a = 1 OR ", "a = 1", "))", n / 2)
            )
        }),
        ("subqueries", 31, |n| {
            format!(
                "SELECT a FROM one WHERE {}",
                nested("a IN (SELECT a FROM one WHERE ", "a = 1", ")", n)
            )
        }),
        ("blocks", 60, |n| nested("BEGIN ", "SELECT a FROM one", " END", n)),
    ];
    for (what, deep, sql) in ways {
        if let Err(e) = try_run(&mut s, &sql(deep)) {
            panic!("{what}: {} {}", e.number, e.message);
        }
        for more in [300, 100_000] {
            assert_eq!(try_run(&mut s, &sql(more)).unwrap_err().number, 191, "{what} {more}");
        }
    }
    // terms of one condition are no nesting
    let many = (0..20_000).map(|n| format!("a = {n}")).collect::<Vec<_>>();
    let sql = format!("SELECT a FROM one WHERE {}", many.join(" OR "));
    assert_eq!(text(&run(&mut s, &sql)), ["1"]);
    let sql = format!("SELECT a FROM one WHERE NOT ({})", many[2..].join(" AND "));
    assert_eq!(text(&run(&mut s, &sql)), ["1"]);
    // nor are the branches of a union
    let sql = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(400));
    assert_eq!(text(&run(&mut s, &sql)).len(), 401);
}
