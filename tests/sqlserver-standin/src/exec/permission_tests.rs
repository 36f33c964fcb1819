//! Who may do what, as a client sees it.

use std::sync::Arc;

use super::SessionState;
use super::output::Login;
use super::tests::{instance, run, session, text, try_run};
use crate::store::Instance;
use crate::value::SqlError;

fn enter(instance: &Arc<Instance>, user: &str, database: &str) -> Result<SessionState, SqlError> {
    let login =
        Login { user: user.into(), database: database.into(), spid: 60, ..Login::default() };
    SessionState::new(Arc::clone(instance), login)
}

fn number(s: &mut SessionState, sql: &str) -> i32 {
    try_run(s, sql).map_or_else(|e| e.number, |_| 0)
}

#[test]
fn a_login_enters_where_it_has_a_user() {
    let i = instance();
    let mut s = session(&i, 51);
    run(&mut s, "CREATE LOGIN reader WITH PASSWORD = 'x'");
    assert_eq!(enter(&i, "reader", "shop").unwrap_err().number, 4060);
    let mut r = enter(&i, "reader", "master").unwrap();
    assert_eq!(text(&run(&mut r, "SELECT USER_NAME(), HAS_DBACCESS('shop')")), ["guest|0"]);
    for sql in ["USE shop", "SELECT * FROM shop.sys.tables"] {
        assert_eq!(number(&mut r, sql), 916, "{sql}");
    }
    run(&mut s, "CREATE USER reader FOR LOGIN reader");
    run(&mut r, "USE shop");
    let who = "SELECT CURRENT_USER, USER_ID(), USER_ID('nobody'), USER_NAME(1), SUSER_SNAME()";
    assert_eq!(text(&run(&mut r, who)), ["reader|5|NULL|dbo|reader"]);
    assert_eq!(text(&run(&mut s, "SELECT CURRENT_USER")), ["dbo"]);
}

#[test]
fn rows_are_read_and_changed_by_permission() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE LOGIN u WITH PASSWORD = 'x' CREATE USER u FOR LOGIN u
         CREATE TABLE t (id int PRIMARY KEY, n int) INSERT INTO t VALUES (1, 1)",
    );
    run(&mut s, "CREATE VIEW v AS SELECT id FROM t");
    run(&mut s, "CREATE PROCEDURE p AS SELECT n FROM t");
    run(&mut s, "CREATE PROCEDURE q AS EXEC('SELECT n FROM t')");
    let mut u = enter(&i, "u", "shop").unwrap();
    for sql in [
        "SELECT * FROM t",
        "SELECT * FROM v",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM shop.dbo.t)",
        "INSERT INTO t VALUES (2, 2)",
        "UPDATE t SET n = 1",
        "DELETE FROM t",
        "EXEC p",
    ] {
        assert_eq!(number(&mut u, sql), 229, "{sql}");
    }
    run(
        &mut u,
        "SELECT name FROM sys.tables CREATE TABLE #own (a int) SELECT * FROM #own DROP TABLE #own",
    );
    assert_eq!(number(&mut u, "CREATE TABLE mine (a int)"), 262);
    for sql in [
        "ALTER TABLE t ADD x int",
        "DROP TABLE t",
        "GRANT SELECT ON t TO u",
        "CREATE LOGIN z WITH PASSWORD = 'x'",
    ] {
        assert_eq!(number(&mut u, sql), 15247, "{sql}");
    }
    // Ownership chains: the view and the procedure are enough, dynamic SQL is not.
    run(&mut s, "GRANT SELECT ON v TO u GRANT EXECUTE ON SCHEMA::dbo TO u");
    assert_eq!(text(&run(&mut u, "SELECT * FROM v")), ["1"]);
    assert_eq!(text(&run(&mut u, "EXEC p")), ["1"]);
    assert_eq!(number(&mut u, "EXEC q"), 229);
    // What a WHERE reads has to be readable.
    run(&mut s, "GRANT UPDATE, DELETE ON OBJECT::dbo.t TO u");
    assert_eq!(number(&mut u, "UPDATE t SET n = 5"), 0);
    assert_eq!(number(&mut u, "UPDATE t SET n = n + 1"), 229);
    assert_eq!(number(&mut u, "DELETE FROM t WHERE id = 9"), 229);
    run(&mut s, "ALTER ROLE db_datareader ADD MEMBER u");
    assert_eq!(number(&mut u, "DELETE FROM t WHERE id = 9"), 0);
    run(&mut s, "CREATE ROLE quiet ALTER ROLE quiet ADD MEMBER u DENY SELECT ON dbo.t TO quiet");
    assert_eq!(number(&mut u, "SELECT * FROM t"), 229);
    run(&mut s, "REVOKE SELECT ON t FROM quiet");
    assert_eq!(text(&run(&mut u, "SELECT n FROM t")), ["5"]);
    run(&mut s, "ALTER ROLE db_denydatareader ADD MEMBER u");
    assert_eq!(number(&mut u, "SELECT * FROM t"), 229);
    run(&mut s, "ALTER SERVER ROLE sysadmin ADD MEMBER u");
    assert_eq!(text(&run(&mut u, "SELECT n FROM t")), ["5"]);
    assert_eq!(number(&mut s, "GRANT SELECT (n) ON t TO u"), 50999);
}

#[test]
fn functions_tell_what_a_user_has() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE LOGIN u WITH PASSWORD = 'x' CREATE USER u FOR LOGIN u CREATE ROLE team
         ALTER ROLE team ADD MEMBER u ALTER ROLE db_datareader ADD MEMBER team CREATE TABLE t (id int)",
    );
    let mut u = enter(&i, "u", "shop").unwrap();
    for (sql, mine, owners) in [
        ("IS_MEMBER('team')", "1", "0"),
        ("IS_MEMBER('db_datareader')", "1", "0"),
        ("IS_MEMBER('db_owner')", "0", "1"),
        ("IS_ROLEMEMBER('nothing')", "NULL", "NULL"),
        ("IS_SRVROLEMEMBER('sysadmin')", "0", "1"),
        ("HAS_PERMS_BY_NAME('dbo.t', 'OBJECT', 'SELECT')", "1", "1"),
        ("HAS_PERMS_BY_NAME('dbo.t', 'OBJECT', 'INSERT')", "0", "1"),
        ("HAS_PERMS_BY_NAME('dbo.nothing', 'OBJECT', 'SELECT')", "NULL", "NULL"),
        ("HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'CREATE TABLE')", "0", "1"),
        ("HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE')", "0", "1"),
        (
            "(SELECT COUNT(*) FROM sys.fn_my_permissions('dbo.t', 'OBJECT') WHERE permission_name = 'SELECT')",
            "1",
            "1",
        ),
        (
            "(SELECT COUNT(*) FROM sys.fn_my_permissions(NULL, 'DATABASE') WHERE permission_name = 'ALTER')",
            "0",
            "1",
        ),
    ] {
        let sql = format!("SELECT {sql}");
        assert_eq!(text(&run(&mut u, &sql)), [mine], "{sql}");
        assert_eq!(text(&run(&mut s, &sql)), [owners], "{sql}");
    }
}

#[test]
fn changes_are_for_whoever_reads_the_table_and_is_in_the_gating_role() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "EXEC sys.sp_cdc_enable_db
         CREATE LOGIN u WITH PASSWORD = 'x' CREATE USER u FOR LOGIN u
         CREATE TABLE t (id int PRIMARY KEY) CREATE TABLE gated (id int PRIMARY KEY)
         EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL
         EXEC sys.sp_cdc_enable_table 'dbo', 'gated', @role_name = 'cdc_reader'",
    );
    let mut u = enter(&i, "u", "shop").unwrap();
    let help = "EXEC sys.sp_cdc_help_change_data_capture";
    let seen = |s: &mut SessionState| run(s, help).sets.last().map_or(0, |set| set.1.len());
    let changes = |name: &str| {
        format!(
            "SELECT * FROM cdc.fn_cdc_get_all_changes_dbo_{name}(sys.fn_cdc_get_min_lsn('dbo_{name}'), sys.fn_cdc_get_min_lsn('dbo_{name}'), N'all')"
        )
    };
    assert_eq!(seen(&mut u), 0);
    assert_eq!(number(&mut u, &changes("t")), 229);
    assert_eq!(number(&mut u, "SELECT * FROM cdc.dbo_t_CT"), 229);
    run(&mut s, "GRANT SELECT ON SCHEMA::dbo TO u");
    assert_eq!(seen(&mut u), 1);
    assert_ne!(number(&mut u, &changes("t")), 229);
    assert_eq!(number(&mut u, &changes("gated")), 229);
    run(&mut s, "ALTER ROLE cdc_reader ADD MEMBER u");
    assert_eq!(seen(&mut u), 2);
    assert_ne!(number(&mut u, &changes("gated")), 229);
    run(&mut s, "ALTER ROLE db_denydatareader ADD MEMBER u");
    assert_eq!(seen(&mut u), 0);
    assert_eq!(number(&mut u, "EXEC sys.sp_cdc_disable_table 'dbo', 't', 'dbo_t'"), 22904);
    assert_eq!(number(&mut u, "EXEC sys.sp_cdc_disable_db"), 22902);
    assert_eq!(seen(&mut s), 2);
}
