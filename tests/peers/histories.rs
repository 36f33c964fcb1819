//! What both are shown: tables with rows that are there before they start, and what happens then.

/// One subject: its tables, and what happens to them.
pub(crate) struct History {
    /// `schema.table` of each topic that is compared.
    pub(crate) tables: &'static [&'static str],
    /// Makes the tables and their first rows; capture begins afterwards.
    pub(crate) before: &'static [&'static str],
    /// How capture begins, where it is not the usual way.
    pub(crate) capture: &'static [&'static str],
    /// What happens while both run, statement by statement.
    pub(crate) then: &'static [&'static str],
}

const fn history(
    tables: &'static [&'static str],
    before: &'static [&'static str],
    then: &'static [&'static str],
) -> History {
    History { tables, before, capture: &[], then }
}

/// Two tables, transactions over both, a rollback, changes of keys.
pub(crate) const ORDERS: History = history(
    &["dbo.orders", "dbo.lines"],
    &[
        "CREATE TABLE dbo.orders (id int NOT NULL PRIMARY KEY, ref varchar(20) NULL, customer nvarchar(50) NOT NULL, total decimal(18,2) NULL, \
         fee money NULL, paid bit NOT NULL DEFAULT 0, created datetime2(7) NOT NULL, note nvarchar(max) NULL, g uniqueidentifier NULL)",
        "CREATE TABLE dbo.lines (order_id int NOT NULL, line smallint NOT NULL, product varchar(30) NULL, qty int NULL, price smallmoney NULL, d date NULL, t time(3) NULL, \
         dt datetime NULL, sdt smalldatetime NULL, dto datetimeoffset(3) NULL, b varbinary(20) NULL, f float NULL, r real NULL, big bigint NULL, tiny tinyint NULL, x xml NULL, \
         CONSTRAINT pk_lines PRIMARY KEY (order_id, line))",
        "INSERT INTO dbo.orders (id, ref, customer, total, fee, created, note, g) VALUES \
         (1, 'A-1', N'Ann', 10.50, 0.1234, '2024-01-01T10:00:00.1234567', N'first', '6F9619FF-8B86-D011-B42D-00C04FC964FF'), \
         (2, 'A-2', N'Bjørn', NULL, NULL, '1969-12-31T23:59:59.9999999', NULL, NULL)",
        "INSERT INTO dbo.lines VALUES (1, 1, 'kettle', 2, 9.99, '2024-02-29', '23:59:59.999', '2024-01-01T10:00:00.123', '2024-01-01T10:01:00', \
         '2024-01-01T10:00:00.123+05:30', 0x00FF, 1.5, 2.25, 9007199254740993, 255, '<a>1</a>')",
        "INSERT INTO dbo.lines (order_id, line) VALUES (1, 2)",
        "INSERT INTO dbo.lines (order_id, line, product) VALUES (2, 1, 'lamp  ')",
    ],
    &[
        "INSERT INTO dbo.orders (id, ref, customer, created) VALUES (3, 'A-3', N'王', '2261-12-31T23:59:59'), (4, NULL, N'', '1678-01-01')",
        "UPDATE dbo.orders SET total = 99999.99, paid = 1 WHERE id = 1",
        "UPDATE dbo.orders SET note = REPLICATE(CAST(N'long ' AS nvarchar(max)), 2000) WHERE id = 3",
        "UPDATE dbo.orders SET id = 30 WHERE id = 3",
        "DELETE FROM dbo.lines WHERE order_id = 1 AND line = 2",
        "BEGIN TRAN; INSERT INTO dbo.orders (id, customer, created) VALUES (5, N'Eve', '2024-05-05'); INSERT INTO dbo.lines (order_id, line, qty) VALUES (5, 1, 1), (5, 2, 2); \
         UPDATE dbo.lines SET qty = 3 WHERE order_id = 5; COMMIT",
        "BEGIN TRAN; INSERT INTO dbo.orders (id, customer, created) VALUES (6, N'gone', '2024-05-05'); ROLLBACK",
        "BEGIN TRAN; UPDATE dbo.orders SET paid = 0 WHERE id = 5; SAVE TRAN s; DELETE FROM dbo.orders WHERE id = 5; ROLLBACK TRAN s; COMMIT",
        "UPDATE dbo.lines SET line = 9 WHERE order_id = 5 AND line = 2",
        "UPDATE dbo.lines SET f = -0.0, r = 3.4e38, big = -9223372036854775808, b = 0x, product = '' WHERE order_id = 2",
        "DELETE FROM dbo.orders WHERE id = 30",
    ],
);

/// Updates of a unique index, of keys in bulk and of plain columns in one transaction (Debezium's
/// SqlServerDataQueryModeIT); keys that are swapped.
pub(crate) const DEFERRED: History = history(
    &["dbo.deferred"],
    &[
        "CREATE TABLE dbo.deferred (id int NOT NULL PRIMARY KEY, ref varchar(20) NOT NULL, status int NULL)",
        "CREATE UNIQUE INDEX ux_deferred ON dbo.deferred (ref)",
        "INSERT INTO dbo.deferred VALUES (1, 'r1', 0), (2, 'r2', 0), (3, 'r3', 0), (4, 'r4', 0), (5, 'r5', 0), (6, 'r6', 0), (7, 'r7', 0), (8, 'r8', 0), (9, 'r9', 0), (10, 'r10', 0)",
    ],
    &[
        "BEGIN TRAN; UPDATE dbo.deferred SET ref = ref + '_v2' WHERE id BETWEEN 1 AND 5; UPDATE dbo.deferred SET status = 1 WHERE id BETWEEN 6 AND 8; \
         UPDATE dbo.deferred SET id = id + 100 WHERE id IN (9, 10); COMMIT",
        "UPDATE dbo.deferred SET ref = 'one' WHERE id = 1",
        "UPDATE dbo.deferred SET id = CASE id WHEN 1 THEN 2 ELSE 1 END WHERE id IN (1, 2)",
        "DELETE FROM dbo.deferred WHERE id = 6; INSERT INTO dbo.deferred VALUES (6, 'new', 2)",
        "UPDATE dbo.deferred SET id = id",
    ],
);

/// With a unique index only; keys that differ in case only.
pub(crate) const KEYS: History = history(
    &["dbo.unique_only", "dbo.cased"],
    &[
        "CREATE TABLE dbo.unique_only (x int NULL, code int NOT NULL)",
        "CREATE UNIQUE INDEX ux_only ON dbo.unique_only (code)",
        "INSERT INTO dbo.unique_only VALUES (1, 10), (2, 20)",
        "CREATE TABLE dbo.cased (k nvarchar(20) NOT NULL PRIMARY KEY, x int NULL)",
        "INSERT INTO dbo.cased VALUES (N'Anna', 1)",
    ],
    &[
        "UPDATE dbo.unique_only SET x = x + 1",
        "UPDATE dbo.unique_only SET code = 21 WHERE code = 20",
        "DELETE FROM dbo.unique_only WHERE code = 10",
        "UPDATE dbo.cased SET k = N'ANNA' WHERE k = N'anna'",
        "UPDATE dbo.cased SET x = 2 WHERE k = N'anna'",
    ],
);

/// Keys of every kind that change: what the headers say.
pub(crate) const KEY_TYPES: History = history(
    &["dbo.k_text", "dbo.k_many"],
    &[
        "CREATE TABLE dbo.k_text (k nvarchar(30) NOT NULL PRIMARY KEY, x int NULL)",
        "CREATE TABLE dbo.k_many (a bigint NOT NULL, b decimal(9,3) NOT NULL, c uniqueidentifier NOT NULL, d date NOT NULL, e datetime2(3) NOT NULL, f bit NOT NULL, \
         g varbinary(4) NOT NULL, h datetimeoffset(0) NOT NULL, i tinyint NOT NULL, x int NULL, CONSTRAINT pk_k_many PRIMARY KEY (a, b, c, d, e, f, g, h, i))",
        "INSERT INTO dbo.k_text VALUES (N'say \"hi\" \\ ', 1), (N'plain', 1)",
        "INSERT INTO dbo.k_many VALUES (9007199254740993, -1.5, '6F9619FF-8B86-D011-B42D-00C04FC964FF', '2024-02-29', '2024-01-01T10:00:00.123', 1, 0x00FF, '2024-01-01T10:00:00+05:30', 255, 1)",
    ],
    &[
        "UPDATE dbo.k_text SET k = N'said ''so'', 王' WHERE k LIKE N'say%'",
        "DELETE FROM dbo.k_text WHERE k = N'plain'",
        "UPDATE dbo.k_many SET x = 2",
        "UPDATE dbo.k_many SET b = 12345.678, f = 0, d = '1969-12-31', e = '1969-12-31T23:59:59.999'",
        "DELETE FROM dbo.k_many",
    ],
);

/// DEFAULTs of every kind on columns that may and may not be NULL.
pub(crate) const DEFAULTS: History = history(
    &["dbo.defaults"],
    &[
        "CREATE TABLE dbo.defaults (id int NOT NULL PRIMARY KEY, a int NOT NULL DEFAULT 7, b int NULL DEFAULT -7, c bigint NOT NULL DEFAULT 9223372036854775807, d tinyint NOT NULL DEFAULT 255, \
         e bit NOT NULL DEFAULT 1, f bit NULL DEFAULT 0, g decimal(9,2) NOT NULL DEFAULT 1.5, h decimal(9,2) NULL DEFAULT 0, i money NOT NULL DEFAULT 0.5, j smallmoney NULL DEFAULT 1, \
         k varchar(20) NOT NULL DEFAULT '', l nvarchar(20) NULL DEFAULT N'it''s', m float NOT NULL DEFAULT 1.25, n real NULL DEFAULT 0.5, o date NOT NULL DEFAULT '2024-02-29', \
         p smallint NULL DEFAULT -1)",
        "INSERT INTO dbo.defaults (id) VALUES (1)",
        "INSERT INTO dbo.defaults (id, b, f, h, j, l, n, p) VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ],
    &[
        "INSERT INTO dbo.defaults (id) VALUES (3)",
        "UPDATE dbo.defaults SET b = NULL, l = NULL WHERE id = 3",
        "DELETE FROM dbo.defaults WHERE id = 2",
    ],
);

/// DEFAULTs that SQL Server computes, and constants that it converts.
pub(crate) const ODD_DEFAULTS: History = history(
    &["dbo.odd_defaults"],
    &[
        "CREATE TABLE dbo.odd_defaults (id int NOT NULL PRIMARY KEY, a datetime NOT NULL DEFAULT getdate(), b datetime2(7) NOT NULL DEFAULT sysutcdatetime(), \
         c uniqueidentifier NOT NULL DEFAULT newid(), d datetime NULL DEFAULT '2024-01-02T03:04:05', e datetime2(3) NOT NULL DEFAULT '2024-01-02T03:04:05.678', f time(3) NOT NULL DEFAULT '03:04:05.678', \
         g char(5) NOT NULL DEFAULT 'ab', h nchar(5) NULL DEFAULT N'cd', i varbinary(4) NOT NULL DEFAULT 0x00FF, j int NOT NULL DEFAULT (1 + 2), k int NULL DEFAULT NULL, \
         l smalldatetime NOT NULL DEFAULT '2024-01-02T03:04:00', m datetimeoffset(3) NOT NULL DEFAULT '2024-01-02T03:04:05.678+01:00', n nvarchar(20) NOT NULL DEFAULT suser_sname(), \
         o datetime2(0) NULL DEFAULT getdate(), p binary(3) NOT NULL DEFAULT 0x0102, q varbinary(max) NULL DEFAULT 0xAB, r datetime2(7) NOT NULL DEFAULT '1900-01-01', \
         s smalldatetime NULL DEFAULT '19000101', t text NULL DEFAULT 'text', u ntext NULL DEFAULT N'ntext', v varchar(max) NULL DEFAULT 'max', w time NULL DEFAULT '10:11', \
         x datetimeoffset NULL DEFAULT '2024-01-02', y uniqueidentifier NULL DEFAULT '6F9619FF-8B86-D011-B42D-00C04FC964FF')",
        "INSERT INTO dbo.odd_defaults (id, a, b, c, n, o) VALUES (1, '2024-01-01', '2024-01-01', '6F9619FF-8B86-D011-B42D-00C04FC964FF', N'me', NULL)",
    ],
    &["UPDATE dbo.odd_defaults SET g = 'x'", "DELETE FROM dbo.odd_defaults"],
);

/// Large values that an update touches and does not touch.
pub(crate) const LARGE: History = history(
    &["dbo.large"],
    &[
        "CREATE TABLE dbo.large (id int NOT NULL PRIMARY KEY, a varchar(max) NULL, b nvarchar(max) NULL, c varbinary(max) NULL, x xml NULL, n int NULL)",
        "INSERT INTO dbo.large VALUES (1, REPLICATE(CAST('a' AS varchar(max)), 9000), N'b', 0x0C, N'<x/>', 1), (2, NULL, NULL, NULL, NULL, 2)",
    ],
    &[
        "UPDATE dbo.large SET n = n + 1",
        "UPDATE dbo.large SET a = 'new', c = NULL WHERE id = 1",
        "UPDATE dbo.large SET b = NULL WHERE id = 1",
        "INSERT INTO dbo.large VALUES (3, 'x', N'y', 0x00, N'<z/>', 3)",
        "UPDATE dbo.large SET id = 30, n = 0 WHERE id = 3",
        "DELETE FROM dbo.large WHERE id = 1",
    ],
);

/// More than eight columns, the changed large one not the last: where the bits of the mask are in two bytes.
pub(crate) const MASK: History = history(
    &["dbo.mask"],
    &[
        "CREATE TABLE dbo.mask (id int NOT NULL PRIMARY KEY, c2 nvarchar(max) NULL, c3 int NULL, c4 int NULL, c5 int NULL, c6 int NULL, c7 int NULL, c8 int NULL, c9 int NULL, c10 nvarchar(max) NULL)",
        "INSERT INTO dbo.mask VALUES (1, N'two', 3, 4, 5, 6, 7, 8, 9, N'ten')",
    ],
    &[
        "UPDATE dbo.mask SET c2 = NULL",
        "UPDATE dbo.mask SET c10 = NULL",
        "UPDATE dbo.mask SET c3 = 33, c2 = N'again'",
    ],
);

/// Only some columns are captured; some are computed.
pub(crate) const COLUMNS: History = History {
    tables: &["dbo.some", "dbo.computed"],
    before: &[
        "CREATE TABLE dbo.some (id int NOT NULL PRIMARY KEY, secret nvarchar(20) NULL, x int NULL, late int NULL)",
        "INSERT INTO dbo.some VALUES (1, N's', 1, 1)",
        "CREATE TABLE dbo.computed (id int NOT NULL PRIMARY KEY, x int NULL, twice AS (x * 2), y int NULL)",
        "INSERT INTO dbo.computed (id, x, y) VALUES (1, 1, 1)",
    ],
    capture: &[
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'some', @role_name = NULL, @captured_column_list = N'id, x'",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'computed', @role_name = NULL",
    ],
    then: &[
        "UPDATE dbo.some SET secret = N't', late = 2",
        "UPDATE dbo.some SET x = 2",
        "INSERT INTO dbo.some VALUES (2, N's', 1, 1)",
        "UPDATE dbo.computed SET x = 5",
        "DELETE FROM dbo.computed",
    ],
};

/// Names with blanks, dollars, digits, brackets and letters beyond ASCII.
pub(crate) const NAMES: History = History {
    tables: &["dbo.UAT WAG CZ$Fixed Asset", "odd-schema.t1"],
    before: &[
        "CREATE TABLE dbo.[UAT WAG CZ$Fixed Asset] (id int NOT NULL PRIMARY KEY, [my col$a] varchar(20) NULL, [2nd] int NULL, [Größe] int NULL)",
        "INSERT INTO dbo.[UAT WAG CZ$Fixed Asset] VALUES (1, 'asset', 2, 3)",
        "CREATE SCHEMA [odd-schema]",
        "CREATE TABLE [odd-schema].t1 ([the key] int NOT NULL PRIMARY KEY, x int NULL)",
        "INSERT INTO [odd-schema].t1 VALUES (1, 1)",
    ],
    capture: &[],
    then: &[
        "UPDATE dbo.[UAT WAG CZ$Fixed Asset] SET [my col$a] = 'b'",
        "UPDATE [odd-schema].t1 SET [the key] = 2",
        "DELETE FROM [odd-schema].t1",
    ],
};

/// A column that is added, and a second capture instance that takes over with it; a column that is dropped.
pub(crate) const EVOLVES: History = history(
    &["dbo.evolves", "dbo.shrinks"],
    &[
        "CREATE TABLE dbo.evolves (id int NOT NULL PRIMARY KEY, x int NULL)",
        "INSERT INTO dbo.evolves VALUES (1, 1)",
        "CREATE TABLE dbo.shrinks (id int NOT NULL PRIMARY KEY, x int NULL, y int NULL)",
        "INSERT INTO dbo.shrinks VALUES (1, 1, 1)",
    ],
    &[
        "INSERT INTO dbo.evolves VALUES (2, 2)",
        "ALTER TABLE dbo.evolves ADD z nvarchar(10) NULL",
        "INSERT INTO dbo.evolves VALUES (3, 3, N'not seen')",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'evolves', @role_name = NULL, @capture_instance = N'evolves_2'",
        "INSERT INTO dbo.evolves VALUES (4, 4, N'seen')",
        "UPDATE dbo.evolves SET z = N'now' WHERE id = 3",
        "INSERT INTO dbo.shrinks VALUES (2, 2, 2)",
        "ALTER TABLE dbo.shrinks DROP COLUMN y",
        "INSERT INTO dbo.shrinks VALUES (3, 3)",
        "UPDATE dbo.shrinks SET x = 0 WHERE id = 1",
    ],
);
