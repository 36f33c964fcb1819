//! What belongs to a session: cursors, implicit transactions, and other sessions that end it.

use super::tests::{instance, run, session, text, try_run};

#[test]
fn cursors_go_forward_and_scroll() {
    let i = instance();
    let mut s = session(&i, 51);
    let loops = "DECLARE @v int, @sum int = 0
DECLARE [a c] CURSOR LOCAL FAST_FORWARD FOR SELECT x FROM (VALUES (1), (2), (3)) AS t (x)
OPEN [a c]
FETCH [a c] INTO @v
WHILE (@@fetch_status <> -1)
BEGIN SET @sum += @v FETCH NEXT FROM [a c] INTO @v END
CLOSE [a c] DEALLOCATE [a c]
SELECT @sum, @@FETCH_STATUS, @@CURSOR_ROWS";
    assert_eq!(text(&run(&mut s, loops)), ["6|-1|3"]);
    // A global cursor lives on in the session; each FETCH without INTO is a result.
    run(&mut s, "DECLARE g SCROLL CURSOR FOR SELECT x FROM (VALUES (1), (2), (3)) AS t (x) OPEN g");
    for (fetch, want) in [
        ("FETCH LAST FROM g", vec!["3"]),
        ("FETCH PRIOR FROM g", vec!["2"]),
        ("FETCH ABSOLUTE -3 FROM g", vec!["1"]),
        ("FETCH RELATIVE 2 FROM g", vec!["3"]),
        ("FETCH g", vec![]),
        ("FETCH FIRST FROM GLOBAL g", vec!["1"]),
    ] {
        assert_eq!(text(&run(&mut s, fetch)), want, "{fetch}");
    }
    run(&mut s, "CLOSE g");
    for (sql, number) in [
        ("FETCH g", 16917),
        ("DECLARE g CURSOR FOR SELECT 1", 16915),
        ("OPEN h", 16916),
        ("DECLARE f CURSOR FORWARD_ONLY FOR SELECT 1 OPEN f FETCH FIRST FROM f", 16911),
        ("DECLARE k CURSOR KEYSET FOR SELECT 1", 50999),
        ("DECLARE n CURSOR FOR SELECT a FROM nowhere", 208),
    ] {
        assert_eq!(try_run(&mut s, sql).unwrap_err().number, number, "{sql}");
    }
}

#[test]
fn dropping_a_database_begins_no_implicit_transaction() {
    let i = instance();
    i.create_database("spare", None);
    let mut s = session(&i, 51);
    run(&mut s, "SET IMPLICIT_TRANSACTIONS ON");
    run(&mut s, "IF EXISTS (SELECT 1 FROM sys.databases WHERE name = 'spare') DROP DATABASE spare");
    assert_eq!(text(&run(&mut s, "DECLARE @n int = @@TRANCOUNT SELECT @n")), ["0"]);
}

#[test]
fn others_leave_a_database_that_goes_off_line() {
    let i = instance();
    let mut s = session(&i, 51);
    let other = session(&i, 52);
    let end = other.end();
    run(&mut s, "USE master");
    assert_eq!(try_run(&mut s, "DROP DATABASE shop").unwrap_err().number, 3702);
    let busy = try_run(&mut s, "ALTER DATABASE shop SET SINGLE_USER WITH NO_WAIT");
    assert_eq!(busy.unwrap_err().number, 5070);
    // The other session's thread sees that it was killed and ends.
    let waits = std::thread::spawn(move || {
        while !end.is_killed() {
            std::thread::yield_now();
        }
        drop(other);
    });
    run(&mut s, "ALTER DATABASE shop SET OFFLINE WITH ROLLBACK IMMEDIATE");
    waits.join().unwrap();
    let state = "SELECT state_desc FROM sys.databases WHERE name = 'shop'";
    assert_eq!(text(&run(&mut s, state)), ["OFFLINE"]);
    for sql in ["USE shop", "SELECT * FROM shop.sys.tables", "SELECT * FROM shop.dbo.t"] {
        assert_eq!(try_run(&mut s, sql).unwrap_err().number, 942, "{sql}");
    }
    run(&mut s, "ALTER DATABASE shop SET ONLINE ALTER DATABASE shop SET SINGLE_USER");
    let first = session(&i, 53);
    assert_eq!(try_run(&mut s, "USE shop").unwrap_err().number, 924);
    drop(first);
    run(&mut s, "USE shop");
    assert_eq!(try_run(&mut s, "KILL 51").unwrap_err().number, 6104);
    assert_eq!(try_run(&mut s, "KILL 99").unwrap_err().number, 6106);
}

#[test]
fn open_transactions_of_all_sessions_are_seen() {
    let i = instance();
    let (mut s, mut other) = (session(&i, 51), session(&i, 52));
    let seen = "SELECT session_id FROM sys.dm_tran_session_transactions";
    run(&mut other, "BEGIN TRANSACTION");
    assert_eq!(text(&run(&mut s, seen)), ["52"]);
    run(&mut other, "COMMIT");
    assert!(text(&run(&mut s, seen)).is_empty());
}

#[test]
fn a_key_constraint_needs_no_comma_before_it() {
    let i = instance();
    let mut s = session(&i, 51);
    run(&mut s, "CREATE TABLE t (id int, name varchar(30), amount integer primary key(id))");
    let nullable =
        "SELECT name FROM sys.columns WHERE object_id = OBJECT_ID('t') AND is_nullable = 0";
    assert_eq!(text(&run(&mut s, nullable)), ["id"]);
}

#[test]
fn varchar_takes_the_letter_that_looks_alike() {
    let i = instance();
    let mut s = session(&i, 51);
    assert_eq!(text(&run(&mut s, "SELECT CAST(N'čšŁＡ日' AS varchar(9))")), ["cšLA?"]);
}

#[test]
fn columns_are_renamed_without_a_type_and_values_parsed() {
    let i = instance();
    let mut s = session(&i, 51);
    run(&mut s, "CREATE TABLE t (a int, b int) EXEC sp_rename 't.b', 'c'");
    assert_eq!(text(&run(&mut s, "SELECT COL_NAME(OBJECT_ID('t'), 2)")), ["c"]);
    let parsed = "SELECT PARSE('2020-02-01' AS date), TRY_PARSE('x' AS int USING 'en-US')";
    assert_eq!(text(&run(&mut s, parsed)), ["2020-02-01|NULL"]);
    let strange = "SELECT PARSE('1' AS int USING 'de-DE')";
    assert_eq!(try_run(&mut s, strange).unwrap_err().number, 50999);
}
