//! Tables that keep their versions.

use super::tests::{instance, run, session, text, try_run};

const PERIOD: &str = "a datetime2 GENERATED ALWAYS AS ROW START HIDDEN NOT NULL, \
    b datetime2 GENERATED ALWAYS AS ROW END HIDDEN NOT NULL, PERIOD FOR SYSTEM_TIME (a, b)";

#[test]
fn old_rows_go_to_the_history() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int, {PERIOD}) WITH (SYSTEM_VERSIONING = ON \
             (HISTORY_TABLE = dbo.t_old, DATA_CONSISTENCY_CHECK = ON))"
        ),
    );
    run(&mut s, "INSERT INTO t VALUES (1, 1), (2, 2) INSERT INTO t (id, n) VALUES (3, 3)");
    assert_eq!(text(&run(&mut s, "SELECT * FROM t")), ["1|1", "2|2", "3|3"]);
    let open = "SELECT DISTINCT b, CASE WHEN a <= SYSUTCDATETIME() THEN 1 END FROM t";
    assert_eq!(text(&run(&mut s, open)), ["9999-12-31 23:59:59.9999999|1"]);
    assert!(text(&run(&mut s, "SELECT * FROM t_old")).is_empty());
    run(&mut s, "UPDATE t SET n = 10 WHERE id = 1 DELETE FROM t WHERE id = 2");
    run(
        &mut s,
        "MERGE t USING (VALUES (3, 30)) x (id, n) ON t.id = x.id WHEN MATCHED THEN UPDATE SET n = x.n;",
    );
    assert_eq!(text(&run(&mut s, "SELECT * FROM t ORDER BY id")), ["1|10", "3|30"]);
    let old =
        "SELECT id, n, CASE WHEN o.a <= o.b AND o.b < '9999' THEN 1 END FROM t_old o ORDER BY id";
    assert_eq!(text(&run(&mut s, old)), ["1|1|1", "2|2|1", "3|3|1"]);
    // The new version begins where the old one ends.
    let joined = "SELECT COUNT(*) FROM t JOIN t_old o ON o.id = t.id AND o.b = t.a";
    assert_eq!(text(&run(&mut s, joined)), ["2"]);
    run(&mut s, "BEGIN TRANSACTION DELETE FROM t ROLLBACK");
    assert_eq!(text(&run(&mut s, "SELECT COUNT(*) FROM t_old")), ["3"]);

    for (sql, number) in [
        ("INSERT INTO t (id, n, a) VALUES (9, 9, '2020-01-01')", 13536),
        ("UPDATE t SET b = '2020-01-01'", 13537),
        ("INSERT INTO t_old (id, n) VALUES (9, 9)", 13559),
        ("DELETE FROM t_old", 13560),
        ("UPDATE t_old SET n = 0", 13561),
        ("DROP TABLE t", 13552),
        ("DROP TABLE t_old", 13552),
        ("TRUNCATE TABLE t", 13545),
        ("ALTER TABLE t ADD x int", 50999),
        ("SELECT * FROM t FOR SYSTEM_TIME ALL", 50999),
    ] {
        assert_eq!(try_run(&mut s, sql).unwrap_err().number, number, "{sql}");
    }

    run(&mut s, "ALTER TABLE t SET (SYSTEM_VERSIONING = OFF) DELETE FROM t_old WHERE id = 1");
    run(&mut s, "ALTER TABLE t SET (SYSTEM_VERSIONING = ON (HISTORY_TABLE = dbo.t_old))");
    run(&mut s, "DELETE FROM t WHERE id = 3");
    assert_eq!(text(&run(&mut s, "SELECT id FROM t_old ORDER BY id, n")), ["2", "3", "3"]);
    run(&mut s, "ALTER TABLE t SET (SYSTEM_VERSIONING = OFF) DROP TABLE t DROP TABLE t_old");
}

#[test]
fn the_catalogue_shows_which_table_is_which() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        &format!("CREATE TABLE t (id int PRIMARY KEY, {PERIOD}) WITH (SYSTEM_VERSIONING = ON)"),
    );
    let types = "SELECT temporal_type, temporal_type_desc, CASE WHEN history_table_id IS NULL THEN 0 ELSE 1 END
        FROM sys.tables ORDER BY temporal_type";
    assert_eq!(
        text(&run(&mut s, types)),
        ["1|HISTORY_TABLE|0", "2|SYSTEM_VERSIONED_TEMPORAL_TABLE|1"]
    );
    let named =
        "SELECT CASE WHEN h.name = CONCAT('MSSQL_TemporalHistoryFor_', t.object_id) THEN 1 END
        FROM sys.tables t JOIN sys.tables h ON h.object_id = t.history_table_id";
    assert_eq!(text(&run(&mut s, named)), ["1"]);
    let columns = "SELECT name, generated_always_type_desc, is_hidden FROM sys.columns
        WHERE object_id = OBJECT_ID('t') ORDER BY column_id";
    assert_eq!(
        text(&run(&mut s, columns)),
        ["id|NOT_APPLICABLE|0", "a|AS_ROW_START|1", "b|AS_ROW_END|1"]
    );
    for (sql, number) in [
        (format!("CREATE TABLE x (id int, {PERIOD}) WITH (SYSTEM_VERSIONING = ON)"), 13553),
        ("CREATE TABLE x (id int PRIMARY KEY) WITH (SYSTEM_VERSIONING = ON)".to_owned(), 13510),
        (
            "CREATE TABLE x (a int GENERATED ALWAYS AS ROW START NOT NULL, \
             b datetime2 GENERATED ALWAYS AS ROW END NOT NULL, PERIOD FOR SYSTEM_TIME (a, b))"
                .to_owned(),
            13501,
        ),
    ] {
        assert_eq!(try_run(&mut s, &sql).unwrap_err().number, number, "{sql}");
    }
    assert_eq!(text(&run(&mut s, "SELECT OBJECT_ID('x')")), ["NULL"]);
}
