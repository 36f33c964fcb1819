//! SQL text in, rows or an error number out, without a network.

use std::sync::Arc;
use std::time::Duration;

use super::SessionState;
use super::output::{EnvChange, Login, Output, Param, Stopped};
use crate::store::{Instance, Settings};
use crate::value::{Col, SqlError, Ty, Typed, Val};

/// Everything a request sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) sets: Vec<(Vec<Col>, Vec<Vec<Val>>)>,
    pub(crate) counts: Vec<Option<u64>>,
    pub(crate) messages: Vec<SqlError>,
    pub(crate) env: Vec<EnvChange>,
}

impl Output for Sent {
    fn columns(&mut self, columns: &[Col]) -> Result<(), Stopped> {
        self.sets.push((columns.to_vec(), Vec::new()));
        Ok(())
    }
    fn row(&mut self, row: &[Val]) -> Result<(), Stopped> {
        let set = self.sets.last_mut().expect("columns come before rows");
        assert_eq!(set.0.len(), row.len());
        set.1.push(row.to_vec());
        Ok(())
    }
    fn done(&mut self, rows: Option<u64>) {
        self.counts.push(rows);
    }
    fn message(&mut self, message: &SqlError) {
        self.messages.push(message.clone());
    }
    fn env(&mut self, change: EnvChange) {
        self.env.push(change);
    }
    fn stopped(&self) -> bool {
        false
    }
}

pub(crate) fn instance() -> Arc<Instance> {
    let instance = Instance::new(Settings::default());
    instance.create_database("shop", None);
    instance
}

pub(crate) fn session(instance: &Arc<Instance>, spid: u16) -> SessionState {
    let login = Login { user: "sa".into(), database: "shop".into(), spid, ..Login::default() };
    SessionState::new(Arc::clone(instance), login).unwrap()
}

pub(crate) fn try_run(s: &mut SessionState, sql: &str) -> Result<Sent, SqlError> {
    let mut out = Sent::default();
    s.run(sql, &[], &mut out)?;
    match out.messages.iter().find(|m| m.class > 10) {
        Some(e) => Err(e.clone()),
        None => Ok(out),
    }
}

pub(crate) fn run(s: &mut SessionState, sql: &str) -> Sent {
    match try_run(s, sql) {
        Ok(sent) => sent,
        Err(e) => panic!("{sql}\n{e}"),
    }
}

/// The rows of the last result as text: values joined by a bar.
pub(crate) fn text(sent: &Sent) -> Vec<String> {
    let Some((columns, rows)) = sent.sets.last() else { return Vec::new() };
    rows.iter()
        .map(|r| {
            r.iter()
                .zip(columns)
                .map(|(v, c)| match Typed::new(c.ty, v.clone()).to_string16() {
                    Ok(Some(s)) => String::from_utf16_lossy(&s),
                    Ok(None) => "NULL".to_owned(),
                    Err(_) => format!("{v:?}"),
                })
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
}

fn check(s: &mut SessionState, cases: &[(&str, &[&str])]) {
    for (sql, want) in cases {
        assert_eq!(text(&run(s, sql)), *want, "{sql}");
    }
}

fn fails(s: &mut SessionState, cases: &[(&str, i32)]) {
    for (sql, number) in cases {
        match try_run(s, sql) {
            Err(e) => assert_eq!(e.number, *number, "{sql}: {e}"),
            Ok(sent) => panic!("{sql} must fail with {number}, sent {:?}", text(&sent)),
        }
    }
}

fn shop() -> (Arc<Instance>, SessionState) {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE dbo.customers (
            id int IDENTITY(1,1) NOT NULL CONSTRAINT PK_customers PRIMARY KEY CLUSTERED,
            name nvarchar(50) NOT NULL, city varchar(20) NULL DEFAULT 'Rome', balance decimal(10,2) NOT NULL DEFAULT (0),
            code varchar(10) COLLATE Latin1_General_BIN2 NULL,
            CONSTRAINT CK_balance CHECK (balance >= -100));
         CREATE TABLE orders (id int NOT NULL, customer int NOT NULL REFERENCES customers(id) ON DELETE CASCADE, line smallint NOT NULL, qty int, total AS qty * 2,
            PRIMARY KEY (id, line));
         CREATE UNIQUE NONCLUSTERED INDEX ux_name ON dbo.customers(name) WITH (FILLFACTOR = 80);
         INSERT INTO customers (name, city, balance) VALUES (N'Ann', 'Rome', 10.5), (N'Bob', 'Oslo', -1), (N'Cid', NULL, 3);
         INSERT customers (name) VALUES ('Dan');
         INSERT orders (id, customer, line, qty) VALUES (1, 1, 1, 5), (1, 1, 2, 6), (2, 2, 1, 7), (3, 4, 1, NULL);",
    );
    (i, s)
}

#[test]
fn queries() {
    let (_i, mut s) = shop();
    check(
        &mut s,
        &[
            ("SELECT 1 AS a, N'x' b, c = 2.50, NULL", &["1|x|2.50|NULL"]),
            (
                "SELECT id, name, city, balance FROM customers ORDER BY id",
                &["1|Ann|Rome|10.50", "2|Bob|Oslo|-1.00", "3|Cid|NULL|3.00", "4|Dan|Rome|0.00"],
            ),
            (
                "SELECT c.* FROM dbo.customers AS c WHERE c.name = 'ann  '",
                &["1|Ann|Rome|10.50|NULL"],
            ),
            ("SELECT TOP (2) name FROM customers ORDER BY name DESC", &["Dan", "Cid"]),
            (
                "SELECT TOP 1 WITH TIES city FROM customers WHERE city IS NOT NULL ORDER BY city DESC",
                &["Rome", "Rome"],
            ),
            (
                "SELECT name FROM customers ORDER BY city, name OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
                &["Bob", "Ann"],
            ),
            ("SELECT DISTINCT city FROM customers ORDER BY city", &["NULL", "Oslo", "Rome"]),
            (
                "SELECT city, COUNT(*) n, SUM(balance) FROM customers GROUP BY city HAVING COUNT(*) > 1",
                &["Rome|2|10.50"],
            ),
            (
                "SELECT COUNT(*), COUNT(city), MIN(name), MAX(balance), AVG(id), COUNT_BIG(DISTINCT city) FROM customers",
                &["4|3|Ann|10.50|2|2"],
            ),
            ("SELECT COUNT(*), MAX(id) FROM customers WHERE 1 = 0", &["0|NULL"]),
            (
                "SELECT c.name, o.qty FROM customers c JOIN orders o ON o.customer = c.id ORDER BY c.name, o.line",
                &["Ann|5", "Ann|6", "Bob|7", "Dan|NULL"],
            ),
            (
                "SELECT c.name, o.qty, o.total FROM customers c LEFT JOIN orders o ON o.customer = c.id AND o.qty > 5 ORDER BY c.id",
                &["Ann|6|12", "Bob|7|14", "Cid|NULL|NULL", "Dan|NULL|NULL"],
            ),
            (
                "SELECT o.id, c.name FROM orders o RIGHT JOIN customers c ON o.customer = c.id WHERE o.id IS NULL",
                &["NULL|Cid"],
            ),
            (
                "SELECT a.v, b.v FROM (VALUES (1),(2)) a(v) FULL JOIN (VALUES (2),(3)) b(v) ON a.v = b.v ORDER BY 1, 2",
                &["NULL|3", "1|NULL", "2|2"],
            ),
            (
                "SELECT c.name, x.n FROM customers c CROSS APPLY (SELECT COUNT(*) n FROM orders o WHERE o.customer = c.id) x ORDER BY x.n DESC, c.name",
                &["Ann|2", "Bob|1", "Dan|1", "Cid|0"],
            ),
            (
                "SELECT name FROM customers c WHERE EXISTS (SELECT * FROM orders o WHERE o.customer = c.id AND qty > 5) ORDER BY 1",
                &["Ann", "Bob"],
            ),
            ("SELECT name FROM customers WHERE id NOT IN (SELECT customer FROM orders)", &["Cid"]),
            (
                "SELECT name, (SELECT MAX(qty) FROM orders WHERE customer = c.id) FROM customers c WHERE id <= 2",
                &["Ann|6", "Bob|7"],
            ),
            (
                "WITH x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x WHERE n < 5), y(m) AS (SELECT n * 10 FROM x) SELECT SUM(m) FROM y",
                &["150"],
            ),
            ("SELECT 1 UNION SELECT 1 UNION ALL SELECT 2", &["1", "2"]),
            (
                "SELECT v FROM (VALUES (1),(2),(3)) t(v) EXCEPT SELECT 2 ORDER BY v DESC",
                &["3", "1"],
            ),
            ("SELECT v FROM (VALUES (1),(2),(3)) t(v) INTERSECT SELECT 2", &["2"]),
            (
                "SELECT name, ROW_NUMBER() OVER (PARTITION BY city ORDER BY name) r, SUM(balance) OVER (PARTITION BY city) t FROM customers ORDER BY city, r",
                &["Cid|1|3.00", "Bob|1|-1.00", "Ann|1|10.50", "Dan|2|10.50"],
            ),
            (
                "SELECT v, RANK() OVER (ORDER BY v), DENSE_RANK() OVER (ORDER BY v), NTILE(2) OVER (ORDER BY v), LAG(v) OVER (ORDER BY v), LEAD(v,1,0) OVER (ORDER BY v), SUM(v) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) FROM (VALUES (1),(1),(3)) t(v)",
                &["1|1|1|1|NULL|1|1", "1|1|1|1|1|3|2", "3|3|2|2|1|0|5"],
            ),
            (
                "SELECT CASE WHEN id > 2 THEN 'big' ELSE 'small' END, IIF(id = 1, 1, 0), ISNULL(city, 'none'), COALESCE(NULL, city, 'x'), NULLIF(id, 1) FROM customers WHERE id IN (1, 3) ORDER BY id",
                &["small|1|Rome|Rome|NULL", "big|0|none|x|3"],
            ),
            (
                "SELECT name FROM customers WHERE name LIKE '[ab]%' AND name NOT LIKE '%x!%%' ESCAPE '!' ORDER BY id",
                &["Ann", "Bob"],
            ),
            ("SELECT name FROM customers WHERE id BETWEEN 2 AND 3 AND NOT (id = 2)", &["Cid"]),
            (
                "SELECT CAST('12' AS int) + 1, CONVERT(varchar(10), 5), TRY_CAST('x' AS int), TRY_CONVERT(int, '7')",
                &["13|5|NULL|7"],
            ),
            (
                "SELECT STRING_AGG(name, ',') WITHIN GROUP (ORDER BY name DESC) FROM customers",
                &["Dan,Cid,Bob,Ann"],
            ),
            (
                "SELECT STUFF((SELECT ',' + name FROM customers ORDER BY id FOR XML PATH('')), 1, 1, '')",
                &["Ann,Bob,Cid,Dan"],
            ),
            (
                "SELECT COUNT(*) FROM shop.dbo.customers WITH (NOLOCK) OPTION (RECOMPILE, MAXDOP 1)",
                &["4"],
            ),
            ("SELECT value FROM STRING_SPLIT('a,b', ',')", &["a", "b"]),
            (
                "SELECT 10 / 4, 10 / 4.0, 10 % 4, -5, 1 + 2 * 3, ~1, 5 & 4, 'a' + 'b'",
                &["2|2.500000|2|-5|7|-2|4|ab"],
            ),
            (
                "DECLARE @x int = 2, @y nvarchar(10); SELECT @x += id, @y = name FROM customers WHERE id < 3 ORDER BY id; SELECT @x, @y",
                &["5|Bob"],
            ),
            (
                "SELECT city, name FROM customers GROUP BY city, name ORDER BY COUNT(*), name OFFSET 3 ROWS",
                &["Rome|Dan"],
            ),
            (
                "SELECT UPPER(city) c, COUNT(*) FROM customers WHERE city > '' GROUP BY UPPER(city) ORDER BY c",
                &["OSLO|1", "ROME|2"],
            ),
            ("SELECT TOP (50) PERCENT id FROM customers ORDER BY id", &["1", "2"]),
            (
                "SELECT id FROM customers WHERE id = ANY (SELECT customer FROM orders) AND id >= ALL (SELECT 2) ORDER BY id",
                &["2", "4"],
            ),
        ],
    );
}

#[test]
fn what_sql_server_refuses() {
    let (_i, mut s) = shop();
    fails(
        &mut s,
        &[
            ("SELECT * FROM customers LIMIT 1", 102),
            ("SELECT id::bigint FROM customers", 102),
            ("SELECT * FROM orders WHERE (id, line) > (1, 1)", 4145),
            ("SELECT * FROM customers WHERE TRUE", 4145),
            ("SELECT * FROM customers WHERE active = TRUE", 207),
            ("SELECT * FROM customers WHERE name ILIKE 'a%'", 4145),
            ("INSERT INTO customers (name) VALUES ('x') RETURNING id", 102),
            ("SELEC 1", 2812),
            ("SELECT 1 FROM", 102),
            ("SELECT nope FROM customers", 207),
            ("SELECT c.nope FROM customers c", 207),
            ("SELECT x.id FROM customers c", 4104),
            ("SELECT * FROM nope", 208),
            ("SELECT id FROM customers a, customers b", 209),
            ("SELECT name, COUNT(*) FROM customers", 8120),
            ("SELECT * FROM customers WHERE COUNT(*) > 1", 147),
            ("SELECT 1 / 0", 8134),
            ("SELECT CAST('x' AS int)", 245),
            ("SELECT @nope", 137),
            ("SELECT nofunction(1)", 195),
            ("SELECT dbo.nofunction(1)", 4121),
            ("EXEC nope", 2812),
            ("DECLARE @c CURSOR", 50999),
            ("SELECT (SELECT id FROM customers)", 512),
            ("SELECT 1 UNION SELECT 1, 2", 205),
            ("SELECT DISTINCT city FROM customers ORDER BY id", 145),
            ("SELECT * FROM customers WITH (FAST)", 321),
            ("SET NONSENSE ON", 195),
            ("SELECT 'abc", 105),
            ("USE nope", 911),
        ],
    );
}

#[test]
fn changes() {
    let (_i, mut s) = shop();
    check(
        &mut s,
        &[
            (
                "INSERT customers (name) OUTPUT inserted.id, inserted.city VALUES ('Eve'), ('Fay')",
                &["5|Rome", "6|Rome"],
            ),
            ("SELECT SCOPE_IDENTITY(), @@IDENTITY, @@ROWCOUNT", &["6|6|2"]),
            (
                "UPDATE customers SET balance += 1, city = DEFAULT OUTPUT deleted.balance, inserted.balance WHERE id = 3",
                &["3.00|4.00"],
            ),
            (
                "UPDATE c SET c.city = 'Bern' FROM customers c JOIN orders o ON o.customer = c.id WHERE o.qty = 7; SELECT city FROM customers WHERE id = 2",
                &["Bern"],
            ),
            ("DELETE o OUTPUT deleted.id FROM orders AS o WHERE o.line = 2", &["1"]),
            (
                "DELETE FROM customers WHERE id = 1; SELECT COUNT(*) FROM orders WHERE customer = 1",
                &["0"],
            ),
            ("DELETE TOP (1) FROM customers WHERE id > 4; SELECT @@ROWCOUNT", &["1"]),
            (
                "MERGE customers AS t USING (VALUES ('Bob', 1), ('Zed', 2)) AS s(name, b) ON t.name = s.name WHEN MATCHED THEN UPDATE SET balance = s.b WHEN NOT MATCHED THEN INSERT (name, balance) VALUES (s.name, s.b) OUTPUT $action, inserted.name;",
                &["UPDATE|Bob", "INSERT|Zed"],
            ),
            (
                "SELECT name, balance INTO #t FROM customers WHERE name IN ('Bob','Zed'); INSERT #t SELECT name + '2', balance FROM #t; SELECT * FROM #t ORDER BY name",
                &["Bob|1.00", "Bob2|1.00", "Zed|2.00", "Zed2|2.00"],
            ),
            (
                "DROP TABLE IF EXISTS #t; DECLARE @t TABLE (id int PRIMARY KEY, v varchar(5)); INSERT @t VALUES (2,'b'),(1,'a'); UPDATE @t SET v = v + '!' WHERE id = 1; SELECT * FROM @t",
                &["1|a!", "2|b"],
            ),
            (
                "SET IDENTITY_INSERT customers ON; INSERT customers (id, name) VALUES (100, 'Hal'); SET IDENTITY_INSERT customers OFF; INSERT customers (name) VALUES ('Ian'); SELECT MAX(id) FROM customers",
                &["101"],
            ),
            (
                "CREATE TABLE k (a int PRIMARY KEY, b int UNIQUE); INSERT k VALUES (1,1),(2,2),(3,3); UPDATE k SET a = a + 1, b = 4 - b; SELECT * FROM k",
                &["2|3", "3|2", "4|1"],
            ),
            ("INSERT k EXEC('SELECT 10, 10'); SELECT COUNT(*) FROM k", &["4"]),
            ("TRUNCATE TABLE k; SELECT COUNT(*) FROM k", &["0"]),
            (
                "CREATE TABLE v (id int IDENTITY PRIMARY KEY, rv rowversion, x int SPARSE NULL); INSERT v (x) VALUES (1); SELECT DATALENGTH(rv) FROM v",
                &["8"],
            ),
            ("INSERT v DEFAULT VALUES; SELECT COUNT(*) FROM v", &["2"]),
        ],
    );
    fails(
        &mut s,
        &[
            ("INSERT customers (name) VALUES (NULL)", 515),
            ("INSERT customers (name) VALUES ('bob')", 2601),
            (
                "SET IDENTITY_INSERT customers ON; INSERT customers (id, name) VALUES (2, 'new')",
                2627,
            ),
            (
                "SET IDENTITY_INSERT customers OFF; INSERT customers (id, name) VALUES (200, 'new')",
                544,
            ),
            ("INSERT customers (name, balance) VALUES ('low', -101)", 547),
            ("INSERT orders (id, customer, line) VALUES (9, 999, 1)", 547),
            ("INSERT customers (name, city) VALUES ('x', REPLICATE('y', 21))", 2628),
            ("INSERT customers VALUES ('x')", 213),
            ("INSERT customers (name, city) VALUES ('x')", 109),
            ("INSERT customers (nope) VALUES ('x')", 207),
            ("UPDATE orders SET total = 1", 271),
            ("UPDATE customers SET id = 1", 8102),
            ("CREATE TABLE customers (a int)", 2714),
            ("CREATE TABLE nope.t (a int)", 2760),
            ("CREATE TABLE t2 (a nosuchtype)", 2715),
            ("DROP TABLE nope", 3701),
            ("DROP TABLE customers", 3726),
            ("TRUNCATE TABLE customers", 4712),
            ("MERGE customers t USING orders s ON t.id = s.id WHEN MATCHED THEN DELETE", 10713),
        ],
    );
}

#[test]
fn tables_change_shape() {
    let (_i, mut s) = shop();
    check(
        &mut s,
        &[
            (
                "ALTER TABLE customers ADD vip bit NOT NULL CONSTRAINT DF_vip DEFAULT 1, note nvarchar(max) NULL; SELECT id, vip, note FROM customers WHERE id = 1",
                &["1|1|NULL"],
            ),
            (
                "ALTER TABLE customers DROP CONSTRAINT DF_vip; ALTER TABLE customers DROP COLUMN vip; SELECT * FROM customers WHERE id = 2",
                &["2|Bob|Oslo|-1.00|NULL|NULL"],
            ),
            (
                "ALTER TABLE customers ALTER COLUMN city nvarchar(40) NULL; SELECT city FROM customers WHERE id = 2",
                &["Oslo"],
            ),
            (
                "ALTER TABLE customers ADD CONSTRAINT UQ_x UNIQUE (name, city); SELECT COUNT(*) FROM customers",
                &["4"],
            ),
            (
                "DROP INDEX ux_name ON customers; CREATE INDEX i2 ON customers (city DESC, name) INCLUDE (balance) WHERE city IS NOT NULL; SELECT name FROM customers WHERE city = 'Rome' ORDER BY name",
                &["Ann", "Dan"],
            ),
            (
                "CREATE TABLE h (a int, b int); INSERT h VALUES (2, 1), (1, 2), (1, 3); CREATE CLUSTERED INDEX cx ON h (a, b DESC); SELECT * FROM h",
                &["1|3", "1|2", "2|1"],
            ),
            ("CREATE SCHEMA other; ", &[]),
            ("ALTER SCHEMA other TRANSFER dbo.h; SELECT COUNT(*) FROM other.h", &["3"]),
            (
                "BEGIN TRAN; DROP TABLE other.h; ALTER TABLE customers ADD q int; ROLLBACK; SELECT COUNT(*) FROM other.h; SELECT * FROM customers WHERE id = 2",
                &["2|Bob|Oslo|-1.00|NULL|NULL"],
            ),
            (
                "CREATE VIEW dbo.rich AS SELECT name, balance b FROM customers WHERE balance > 2",
                &[],
            ),
            ("SELECT r.b FROM rich r WHERE name = 'Cid'", &["3.00"]),
            (
                "CREATE PROCEDURE p @a int, @b int = 5, @c int OUTPUT AS BEGIN SET NOCOUNT ON; SET @c = @a + @b; SELECT @a; RETURN 7 END",
                &[],
            ),
            ("DECLARE @r int, @o int; EXEC @r = p 1, @c = @o OUTPUT; SELECT @r, @o", &["7|6"]),
            (
                "DBCC CHECKIDENT ('customers', RESEED, 50); INSERT customers (name) VALUES ('New'); SELECT SCOPE_IDENTITY()",
                &["51"],
            ),
            (
                "ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON; ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE; SELECT snapshot_isolation_state FROM sys.databases WHERE name = 'shop'",
                &["1"],
            ),
            (
                "CREATE DATABASE [a b]; USE [a b]; CREATE TABLE t (x int); INSERT t VALUES (1); SELECT x, DB_NAME() FROM [a b]..t; USE shop",
                &["1|a b"],
            ),
        ],
    );
    fails(
        &mut s,
        &[
            ("ALTER TABLE customers DROP COLUMN name", 5074),
            ("ALTER TABLE customers ALTER COLUMN note int NOT NULL", 515),
            ("ALTER TABLE customers ADD z int NOT NULL", 4901),
            ("CREATE UNIQUE INDEX ux2 ON customers (city)", 1505),
            (
                "ALTER TABLE customers ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES orders (qty)",
                1776,
            ),
            ("ALTER TABLE customers ADD PRIMARY KEY (name)", 1779),
            ("DROP DATABASE shop", 3702),
            ("SELECT * FROM sys.nosuchview", 208),
        ],
    );
}

#[test]
fn control_of_flow() {
    let (_i, mut s) = shop();
    check(
        &mut s,
        &[
            (
                "DECLARE @i int = 0, @s int = 0; WHILE @i < 10 BEGIN SET @i += 1; IF @i = 3 CONTINUE; IF @i > 5 BREAK; SET @s = @s + @i END SELECT @s",
                &["12"],
            ),
            (
                "BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_MESSAGE(), XACT_STATE() END CATCH",
                &["8134|Divide by zero error encountered.|0"],
            ),
            (
                "BEGIN TRY THROW 50001, 'mine', 2 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_STATE() END CATCH",
                &["50001|2"],
            ),
            (
                "BEGIN TRY RAISERROR('a %s %d', 16, 1, 'b', 3) END TRY BEGIN CATCH SELECT ERROR_MESSAGE() END CATCH",
                &["a b 3"],
            ),
            ("EXEC sp_executesql N'SELECT @a + @b', N'@a int, @b int', @a = 1, @b = 2", &["3"]),
            (
                "DECLARE @o int; EXEC sp_executesql N'SET @x = 5', N'@x int OUTPUT', @x = @o OUTPUT; SELECT @o",
                &["5"],
            ),
            ("EXEC('SELECT ' + '4')", &["4"]),
            ("IF EXISTS (SELECT 1 FROM customers) SELECT 'yes' ELSE SELECT 'no'", &["yes"]),
            ("IF OBJECT_ID('dbo.customers', 'U') IS NOT NULL SELECT 1", &["1"]),
            ("SET ROWCOUNT 2; SELECT id FROM customers ORDER BY id; SET ROWCOUNT 0", &["1", "2"]),
            ("WAITFOR DELAY '00:00:00.010'; SELECT @@TRANCOUNT", &["0"]),
            ("BEGIN TRAN; BEGIN TRAN; SELECT @@TRANCOUNT; COMMIT; COMMIT", &["2"]),
            (
                "BEGIN TRAN; DELETE orders; SAVE TRAN p; DELETE customers; ROLLBACK TRAN p; SELECT (SELECT COUNT(*) FROM customers), (SELECT COUNT(*) FROM orders); ROLLBACK",
                &["4|0"],
            ),
            ("SELECT COUNT(*) FROM orders", &["4"]),
            (
                "DECLARE @n int = 0; BEGIN TRY BEGIN TRAN; INSERT customers (name) VALUES ('tmp'); INSERT customers (name) VALUES ('tmp'); COMMIT END TRY BEGIN CATCH SET @n = XACT_STATE(); ROLLBACK END CATCH; SELECT @n, COUNT(*) FROM customers",
                &["1|4"],
            ),
            (
                "SET XACT_ABORT ON; DECLARE @n int = 0; BEGIN TRY BEGIN TRAN; INSERT customers (name) VALUES ('tmp'), ('tmp') END TRY BEGIN CATCH SET @n = XACT_STATE(); ROLLBACK END CATCH; SET XACT_ABORT OFF; SELECT @n, @@TRANCOUNT",
                &["-1|0"],
            ),
        ],
    );
    fails(
        &mut s,
        &[
            ("COMMIT", 3902),
            ("ROLLBACK", 3903),
            ("SAVE TRAN x", 628),
            ("RAISERROR('x', 16, 1)", 50000),
            ("THROW 50005, 'x', 1", 50005),
        ],
    );
    // An error that ends the statement only.
    let mut out = Sent::default();
    s.run("INSERT customers (name) VALUES (NULL); SELECT 'next'", &[], &mut out).unwrap();
    assert_eq!((out.messages.len(), text(&out)), (1, vec!["next".to_owned()]));
    // The line of the error.
    let error = try_run(&mut s, "SELECT 1\n\nSELECT nope FROM customers").unwrap_err();
    assert_eq!((error.number, error.line), (207, 3));
    // Parameters.
    let p = |name: &str, value, output| Param { name: name.into(), value, output };
    let mut out = Sent::default();
    let outcome = s
        .run(
            "SET @b = @a * 2; SELECT @a",
            &[p("@a", Typed::int(21), false), p("@b", Typed::null(Ty::Int), true)],
            &mut out,
        )
        .unwrap();
    assert_eq!(outcome.outputs, vec![(1, Typed::int(42))]);
}

#[test]
fn seeks_do_not_scan() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE t (a int NOT NULL, b bigint NOT NULL, c varchar(10), d datetime2(7), PRIMARY KEY (a, b)); CREATE INDEX ic ON t (c)",
    );
    run(
        &mut s,
        "INSERT t SELECT value / 100, value % 100, 'k' + CAST(value AS varchar(10)), NULL FROM GENERATE_SERIES(0, 9999)",
    );
    for (sql, rows, most) in [
        ("SELECT * FROM t WHERE a = 5 AND b = 7", 1, 1),
        ("SELECT * FROM t WHERE a = 5 ORDER BY b", 100, 101),
        ("SELECT * FROM t WHERE a > 97 AND a <= 98 ORDER BY a, b", 100, 101),
        ("SELECT TOP (10) * FROM t WHERE (a > 5) OR (a = 5 AND b > 90) ORDER BY a, b", 10, 100),
        (
            "SELECT * FROM t WHERE ((a > 5) OR (a = 5 AND b > 90)) AND ((a < 6) OR (a = 6 AND b <= 3)) ORDER BY a, b",
            13,
            14,
        ),
        ("SELECT * FROM t WHERE a = 5 AND (b > 3 OR (b = 3 AND c > 'k')) ORDER BY b", 97, 100),
        ("SELECT TOP 1 a FROM t ORDER BY a DESC, b DESC", 1, 16),
        ("SELECT MAX(a) FROM t", 1, 16),
        ("SELECT MIN(b) FROM t WHERE a = 50", 1, 16),
        ("SELECT * FROM t WHERE c = 'K77'", 1, 1),
        ("SELECT * FROM t WHERE c IN ('k1', 'k2', 'k2', 'zz')", 2, 3),
        ("SELECT * FROM t WHERE (a = 1 AND b = 1) OR (a = 2 AND b = 2)", 2, 3),
        ("SELECT t.* FROM t JOIN (VALUES (1, 2), (3, 4)) v(a, b) ON t.a = v.a AND t.b = v.b", 2, 4),
        ("SELECT x.* FROM t x JOIN t y ON y.a = x.a AND y.b = x.b WHERE x.a = 3", 100, 210),
        ("SELECT * FROM t WHERE a = 2.5", 0, 101),
        ("SELECT * FROM t WHERE a > 98.5", 100, 201),
        ("SELECT * FROM t WHERE a = NULL", 0, 0),
        ("SELECT * FROM t WHERE 1 = 0", 0, 0),
        (
            "DECLARE @x varbinary(8) = 0x05; SELECT * FROM t WHERE a > CAST(@x AS int) AND a <= CAST(0x06 AS int) ORDER BY a, b",
            100,
            101,
        ),
        ("SELECT TOP (5) * FROM t WHERE a >= 3 AND (a > 3 OR b > 95) ORDER BY a, b", 5, 200),
    ] {
        let before = s.examined;
        let sent = run(&mut s, sql);
        let n = sent.sets[0].1.len();
        let seen = s.examined - before;
        assert_eq!(n, rows, "{sql}");
        assert!(seen <= most, "{sql}: looked at {seen} rows");
    }
}

#[test]
fn plain_order_is_the_index() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); INSERT t SELECT value, 'x' FROM GENERATE_SERIES(1, 100000)",
    );
    let before = s.examined;
    let sent = run(&mut s, "SELECT TOP (3) id FROM t WHERE id > 500 ORDER BY id");
    assert_eq!(text(&sent), ["501", "502", "503"]);
    assert!(s.examined - before < 50);
}

#[test]
fn row_versions() {
    let i = instance();
    let (mut a, mut b) = (session(&i, 51), session(&i, 52));
    run(
        &mut a,
        "ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 10), (2, 20)",
    );
    // Nobody sees what is not committed, and a reader does not wait.
    run(
        &mut a,
        "BEGIN TRAN; UPDATE t SET v = 11 WHERE id = 1; INSERT t VALUES (3, 30); DELETE t WHERE id = 2",
    );
    assert_eq!(text(&run(&mut b, "SELECT * FROM t")), ["1|10", "2|20"]);
    assert_eq!(text(&run(&mut a, "SELECT * FROM t")), ["1|11", "3|30"]);
    // SNAPSHOT keeps its view from the first read on.
    run(&mut b, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT * FROM t");
    run(&mut a, "COMMIT");
    assert_eq!(text(&run(&mut b, "SELECT * FROM t")), ["1|10", "2|20"]);
    fails(&mut b, &[("UPDATE t SET v = 99 WHERE id = 1", 3960)]);
    assert_eq!(
        text(&run(
            &mut b,
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT @@TRANCOUNT, COUNT(*) FROM t"
        )),
        ["0|2"]
    );
    // Lock timeout.
    run(&mut a, "BEGIN TRAN; UPDATE t SET v = 12 WHERE id = 1");
    fails(
        &mut b,
        &[
            ("SET LOCK_TIMEOUT 30; UPDATE t SET v = 13 WHERE id = 1", 1222),
            ("INSERT t VALUES (1, 1)", 2627),
        ]
        .map(|(q, n)| (q, if n == 2627 { 1222 } else { n })),
    );
    run(&mut a, "ROLLBACK");
    run(&mut b, "UPDATE t SET v = 13 WHERE id = 1");
    // Leaving rolls back.
    run(&mut a, "BEGIN TRAN; DELETE t");
    drop(a);
    assert_eq!(text(&run(&mut b, "SELECT COUNT(*) FROM t WITH (UPDLOCK)")), ["2"]);
    run(
        &mut b,
        "ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION OFF; SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
    );
    fails(&mut b, &[("SELECT * FROM t", 3952)]);
}

#[test]
fn update_locks_keep_others_away() {
    let i = instance();
    let (mut a, mut b) = (session(&i, 51), session(&i, 52));
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 0), (2, 0)");
    run(&mut a, "BEGIN TRAN; SELECT * FROM t WITH (UPDLOCK, ROWLOCK) WHERE id = 1");
    fails(&mut b, &[("SET LOCK_TIMEOUT 20; UPDATE t SET v = 1 WHERE id = 1", 1222)]);
    run(&mut b, "UPDATE t SET v = 1 WHERE id = 2");
    run(&mut a, "COMMIT");
    run(&mut b, "UPDATE t SET v = 1 WHERE id = 1");
}

#[test]
fn implicit_transactions_as_jdbc_uses_them() {
    let i = instance();
    let mut s = session(&i, 51);
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY); SET IMPLICIT_TRANSACTIONS ON");
    run(&mut s, "INSERT t VALUES (1)");
    assert_eq!(text(&run(&mut s, "SELECT @@TRANCOUNT")), ["1"]);
    run(&mut s, "IF @@TRANCOUNT > 0 ROLLBACK TRAN");
    assert_eq!(text(&run(&mut s, "SELECT COUNT(*) FROM t")), ["0"]);
    run(&mut s, "IF @@TRANCOUNT > 0 COMMIT TRAN; SET IMPLICIT_TRANSACTIONS OFF");
}

#[test]
fn the_log_shows_updates_as_sql_server_does() {
    use crate::store::{ChangeKind, LogEntry};
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v int); INSERT t VALUES (1, 1, 1), (2, 2, 2)",
    );
    let db = i.database("shop").unwrap();
    db.is_cdc_enabled.store(true, std::sync::atomic::Ordering::SeqCst);
    db.table("dbo", "t").unwrap().set_tracked(1);
    run(
        &mut s,
        "BEGIN TRAN; UPDATE t SET v = v + 1 WHERE id = 1; UPDATE t SET id = id + 10; UPDATE t SET u = u; UPDATE t SET v = v; COMMIT",
    );
    let record = db.log.peek(9).pop().unwrap();
    let seen: Vec<_> = record
        .entries
        .iter()
        .map(|e| match e {
            LogEntry::Row(c) => {
                let kind = match &c.kind {
                    ChangeKind::Insert { .. } => 'c',
                    ChangeKind::Delete { .. } => 'd',
                    ChangeKind::Update { .. } => 'u',
                };
                (kind, c.command, c.pair)
            }
            LogEntry::Ddl(_) | LogEntry::Capture { .. } => panic!("only rows change here"),
        })
        .collect();
    let want = [
        ('u', 1, None),
        ('d', 2, Some(1)),
        ('d', 3, Some(2)),
        ('c', 4, Some(1)),
        ('c', 5, Some(2)),
        ('d', 6, Some(3)),
        ('d', 7, Some(4)),
        ('c', 8, Some(3)),
        ('c', 9, Some(4)),
    ];
    assert_eq!(seen, want);
    let lsn = |at: usize| match &record.entries[at] {
        LogEntry::Row(c) => c.lsn,
        LogEntry::Ddl(_) | LogEntry::Capture { .. } => panic!("only rows change here"),
    };
    assert_eq!((lsn(1), lsn(2)), (lsn(3), lsn(4)));
    assert!(
        lsn(0) < lsn(1)
            && lsn(1) < lsn(2)
            && lsn(2) < record.commit_lsn
            && record.begin_lsn < lsn(0)
    );
}

#[test]
fn writers_wait_for_each_other() {
    let i = instance();
    let mut a = session(&i, 51);
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 0)");
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let mut s = session(&i, 60 + n);
            std::thread::spawn(move || {
                for _ in 0..50 {
                    run(&mut s, "UPDATE t SET v = v + 1 WHERE id = 1");
                }
            })
        })
        .collect();
    for t in threads {
        t.join().unwrap();
    }
    assert_eq!(text(&run(&mut a, "SELECT v FROM t")), ["200"]);
}

#[test]
fn a_deadlock_has_a_victim() {
    let i = instance();
    let (mut a, mut b) = (session(&i, 51), session(&i, 52));
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 0), (2, 0)");
    run(&mut a, "BEGIN TRAN; UPDATE t SET v = 1 WHERE id = 1");
    run(&mut b, "SET DEADLOCK_PRIORITY LOW; BEGIN TRAN; UPDATE t SET v = 2 WHERE id = 2");
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        try_run(&mut b, "UPDATE t SET v = 2 WHERE id = 1").unwrap_err().number
    });
    run(&mut a, "UPDATE t SET v = 1 WHERE id = 2; COMMIT");
    assert_eq!(other.join().unwrap(), 1205);
    assert_eq!(text(&run(&mut a, "SELECT id, v FROM t")), ["1|1", "2|1"]);
}

#[test]
fn table_locks() {
    let i = instance();
    let (mut a, mut b) = (session(&i, 51), session(&i, 52));
    run(
        &mut a,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1); BEGIN TRAN; SELECT TOP (0) * FROM t WITH (TABLOCKX)",
    );
    fails(&mut b, &[("SET LOCK_TIMEOUT 20; INSERT t VALUES (2)", 1222)]);
    assert_eq!(text(&run(&mut b, "SELECT COUNT(*) FROM t")), ["1"]);
    run(
        &mut a,
        "COMMIT; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN; SELECT * FROM t",
    );
    fails(&mut b, &[("INSERT t VALUES (2)", 1222)]);
    run(&mut a, "ROLLBACK");
    run(&mut b, "INSERT t VALUES (2)");
}

#[test]
fn old_versions_go_away() {
    let i = instance();
    let mut a = session(&i, 51);
    run(
        &mut a,
        "CREATE TABLE t (id int PRIMARY KEY, v int, w int); CREATE INDEX iw ON t (w); INSERT t SELECT value, 0, 0 FROM GENERATE_SERIES(1, 100)",
    );
    for n in 1..20 {
        run(&mut a, &format!("UPDATE t SET v = {n}, w = {n} * 2"));
    }
    run(&mut a, "DELETE t WHERE id > 50");
    let db = i.database("shop").unwrap();
    let t = db.table("dbo", "t").unwrap();
    run(&mut a, "INSERT t VALUES (1000, 0, 0)");
    assert_eq!(t.approximate_rows(), 51);
    assert_eq!(t.versions(), 51);
    assert_eq!(text(&run(&mut a, "SELECT COUNT(*) FROM t WHERE w = 38")), ["50"]);
}

#[test]
fn streaming_is_fast_enough() {
    let i = instance();
    let mut s = session(&i, 51);
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, v int, w varchar(20)); INSERT t SELECT value, value % 7, 'text' FROM GENERATE_SERIES(1, 200000)",
    );
    struct Null(u64);
    impl Output for Null {
        fn columns(&mut self, _: &[Col]) -> Result<(), Stopped> {
            Ok(())
        }
        fn row(&mut self, _: &[Val]) -> Result<(), Stopped> {
            self.0 += 1;
            Ok(())
        }
        fn done(&mut self, _: Option<u64>) {}
        fn message(&mut self, _: &SqlError) {}
        fn env(&mut self, _: EnvChange) {}
        fn stopped(&self) -> bool {
            false
        }
    }
    let mut out = Null(0);
    let started = std::time::Instant::now();
    let p = |name: &str, n| Param { name: name.into(), value: Typed::int(n), output: false };
    s.run(
        "SELECT id, v, w FROM t WHERE id > @a AND id <= @b ORDER BY id",
        &[p("@a", 0), p("@b", 200_000)],
        &mut out,
    )
    .unwrap();
    assert_eq!(out.0, 200_000);
    assert!(started.elapsed() < Duration::from_secs(3));
}
