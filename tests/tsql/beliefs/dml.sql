CREATE TABLE dbo.t (id int IDENTITY(10, 5) NOT NULL CONSTRAINT pk_t PRIMARY KEY, a varchar(5) NULL, b int NOT NULL CONSTRAINT df_b DEFAULT (7), c AS (b * 2), u uniqueidentifier NULL)
GO
-- learn.microsoft.com/sql/t-sql/statements/insert-transact-sql
INSERT INTO dbo.t (a) VALUES ('x'), ('y'); SELECT id, a, b, c FROM dbo.t; SELECT @@ROWCOUNT, CAST(SCOPE_IDENTITY() AS int), CAST(@@IDENTITY AS int), CAST(IDENT_CURRENT('dbo.t') AS int)
--> 10|x|7|14
--> 15|y|7|14
--> 2|15|15|15
GO
INSERT INTO dbo.t (id, a) VALUES (1, 'z')
--! 544
GO
SET IDENTITY_INSERT dbo.t ON; INSERT INTO dbo.t (id, a) VALUES (100, 'z'); SET IDENTITY_INSERT dbo.t OFF; INSERT INTO dbo.t (a) VALUES ('n'); SELECT MAX(id), CAST(IDENT_SEED('dbo.t') AS int), CAST(IDENT_INCR('dbo.t') AS int) FROM dbo.t
--> 105|10|5
GO
SET IDENTITY_INSERT dbo.t ON; INSERT INTO dbo.t (a) VALUES ('z')
--! 545
GO
SET IDENTITY_INSERT dbo.t OFF
GO
UPDATE dbo.t SET id = 5
--! 8102
GO
UPDATE dbo.t SET c = 5
--! 271
GO
INSERT INTO dbo.t (a) VALUES ('toolong')
--! 2628
GO
INSERT INTO dbo.t (b) VALUES (NULL)
--! 515
GO
INSERT INTO dbo.t (a, b) VALUES ('x')
--! 109
GO
INSERT INTO dbo.t (a) VALUES ('x', 1)
--! 110
GO
INSERT INTO dbo.t (a, nothing) VALUES ('x', 1)
--! 207
GO
INSERT INTO dbo.t (a, a) VALUES ('x', 'y')
--! 264
GO
INSERT INTO dbo.t VALUES ('x')
--! 213
GO
SET IDENTITY_INSERT dbo.t ON; INSERT INTO dbo.t (id, a) VALUES (10, 'z')
--! 2627
GO
SET IDENTITY_INSERT dbo.t OFF
GO
INSERT INTO dbo.t DEFAULT VALUES; SELECT COUNT(*) FROM dbo.t WHERE a IS NULL AND b = 7
--> 1
GO
INSERT INTO dbo.t (a, b) SELECT a, b + 1 FROM dbo.t WHERE id < 20; SELECT @@ROWCOUNT
--> 2
GO
INSERT TOP (1) INTO dbo.t (a) SELECT 'top' FROM dbo.t; SELECT @@ROWCOUNT
--> 1
GO
-- learn.microsoft.com/sql/t-sql/queries/output-clause-transact-sql
DELETE FROM dbo.t OUTPUT deleted.a WHERE a = 'top'
--> top
GO
UPDATE dbo.t SET b = b + 1 OUTPUT inserted.id, deleted.b, inserted.b, inserted.c WHERE id = 10
--> 10|7|8|16
GO
DECLARE @out TABLE (id int, was int); UPDATE dbo.t SET b = 0 OUTPUT deleted.id, deleted.b INTO @out WHERE id = 10; SELECT id, was FROM @out
--> 10|8
GO
-- the right side sees the row as it was: learn.microsoft.com/sql/t-sql/queries/update-transact-sql
CREATE TABLE dbo.s (x int, y int); INSERT INTO dbo.s VALUES (1, 2); UPDATE dbo.s SET x = y, y = x; SELECT x, y FROM dbo.s
--> 2|1
GO
DECLARE @v int; UPDATE dbo.s SET @v = x = x + 10; SELECT @v, x FROM dbo.s
--> 12|12
GO
UPDATE dbo.s SET x += 5, y *= 3; SELECT x, y FROM dbo.s
--> 17|3
GO
UPDATE dbo.s SET x = 1, x = 2
--! 264
GO
UPDATE s SET s.x = t.n FROM dbo.s AS s JOIN (VALUES (3, 99)) AS t (k, n) ON t.k = s.y; SELECT x FROM dbo.s
--> 99
GO
DELETE s FROM dbo.s s JOIN (VALUES (3)) AS t (k) ON t.k = s.y; SELECT COUNT(*) FROM dbo.s
--> 0
GO
-- learn.microsoft.com/sql/t-sql/statements/merge-transact-sql
CREATE TABLE dbo.m (id int PRIMARY KEY, v int); INSERT INTO dbo.m VALUES (1, 10), (2, 20), (3, 30)
GO
DECLARE @o TABLE (act nvarchar(10), id int)
MERGE dbo.m AS t USING (VALUES (2, 21), (4, 40)) AS s (id, v) ON t.id = s.id
WHEN MATCHED THEN UPDATE SET v = s.v
WHEN NOT MATCHED BY TARGET THEN INSERT (id, v) VALUES (s.id, s.v)
WHEN NOT MATCHED BY SOURCE AND t.id = 3 THEN DELETE
OUTPUT $action, ISNULL(inserted.id, deleted.id) INTO @o;
SELECT act, id FROM @o ORDER BY id
SELECT id, v FROM dbo.m ORDER BY id
--> UPDATE|2
--> DELETE|3
--> INSERT|4
--> 1|10
--> 2|21
--> 4|40
GO
MERGE dbo.m AS t USING (VALUES (2, 1), (2, 2)) AS s (id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v;
--! 8672
GO
MERGE dbo.m AS t USING (VALUES (2, 1)) AS s (id, v) ON t.id = s.id WHEN MATCHED THEN DELETE
--! 10713
GO
TRUNCATE TABLE dbo.m; SELECT COUNT(*) FROM dbo.m
--> 0
GO
-- a statement is all or nothing: learn.microsoft.com/sql/t-sql/language-elements/transactions-transact-sql
INSERT INTO dbo.m VALUES (1, 1), (2, 2), (1, 3)
--! 2627
GO
SELECT COUNT(*) FROM dbo.m
--> 0
GO
INSERT INTO dbo.m SELECT 1, 1; INSERT INTO dbo.m SELECT 1, 2
--! 2627
GO
SELECT id, v FROM dbo.m
--> 1|1
GO
-- constraints: learn.microsoft.com/sql/relational-databases/tables/unique-constraints-and-check-constraints
CREATE TABLE dbo.parent (id int NOT NULL PRIMARY KEY, code char(3) NULL CONSTRAINT uq_code UNIQUE, n int CONSTRAINT ck_n CHECK (n > 0))
CREATE TABLE dbo.child (id int PRIMARY KEY, parent int NULL CONSTRAINT fk_parent REFERENCES dbo.parent (id), x int NULL CONSTRAINT fk_x REFERENCES dbo.parent (id))
INSERT INTO dbo.parent VALUES (1, 'a', 1), (2, NULL, NULL)
INSERT INTO dbo.child VALUES (1, 1, NULL), (2, NULL, NULL)
GO
INSERT INTO dbo.parent VALUES (3, NULL, 1)
--! 2627
GO
INSERT INTO dbo.parent VALUES (3, 'A  ', 1)
--! 2627
GO
INSERT INTO dbo.parent VALUES (3, 'b', 0)
--! 547
GO
INSERT INTO dbo.child VALUES (3, 99, NULL)
--! 547
GO
DELETE FROM dbo.parent WHERE id = 1
--! 547
GO
UPDATE dbo.parent SET id = 9 WHERE id = 1
--! 547
GO
DROP TABLE dbo.parent
--! 3726
GO
TRUNCATE TABLE dbo.parent
--! 4712
GO
CREATE TABLE dbo.child (id int)
--! 2714
GO
DROP TABLE dbo.nothing
--! 3701
GO
DROP TABLE IF EXISTS dbo.nothing
GO
ALTER TABLE dbo.child DROP CONSTRAINT fk_nothing
--! 3728
GO
ALTER TABLE dbo.child NOCHECK CONSTRAINT fk_parent; INSERT INTO dbo.child VALUES (3, 99, NULL)
GO
ALTER TABLE dbo.child WITH CHECK CHECK CONSTRAINT fk_parent
--! 547
GO
CREATE TABLE dbo.c1 (id int PRIMARY KEY, p int REFERENCES dbo.parent (id) ON DELETE CASCADE ON UPDATE CASCADE)
INSERT INTO dbo.c1 VALUES (1, 2)
UPDATE dbo.parent SET id = 20 WHERE id = 2
SELECT p FROM dbo.c1
DELETE FROM dbo.parent WHERE id = 20
SELECT COUNT(*) FROM dbo.c1
--> 20
--> 0
GO
CREATE UNIQUE INDEX ix_x ON dbo.child (x)
--! 1505
GO
-- learn.microsoft.com/sql/relational-databases/indexes/create-filtered-indexes
CREATE UNIQUE INDEX ix_x ON dbo.child (x) WHERE x IS NOT NULL; INSERT INTO dbo.child VALUES (4, NULL, 1)
GO
INSERT INTO dbo.child VALUES (5, NULL, 1)
--! 2601
GO
INSERT INTO dbo.child VALUES (5, NULL, NULL)
GO
CREATE INDEX ix_x ON dbo.child (id)
--! 1913
GO
CREATE INDEX ix_no ON dbo.child (nothing)
--! 1911
GO
ALTER TABLE dbo.parent ADD extra int NOT NULL
--! 4901
GO
ALTER TABLE dbo.parent ADD extra int NOT NULL CONSTRAINT df_extra DEFAULT 3; 
GO
SELECT extra FROM dbo.parent
--> 3
GO
ALTER TABLE dbo.parent DROP COLUMN extra
--! 5074
GO
ALTER TABLE dbo.parent DROP CONSTRAINT df_extra, COLUMN extra
GO
ALTER TABLE dbo.parent ALTER COLUMN code int
--! 5074
GO
ALTER TABLE dbo.t ALTER COLUMN a int
--! 245
GO
ALTER TABLE dbo.parent ADD code int
--! 2705
GO
CREATE TABLE dbo.bad (id int, id int)
--! 2705
GO
CREATE TABLE dbo.bad (id int PRIMARY KEY, x int PRIMARY KEY)
--! 8110
GO
CREATE TABLE dbo.bad (id int NULL PRIMARY KEY)
--! 8111
GO
CREATE TABLE dbo.bad (id nothing)
--! 2715
GO
CREATE TABLE dbo.bad (id varchar(9000))
--! 131
GO
CREATE TABLE dbo.bad (id decimal(40, 2))
--! 2750
GO
CREATE TABLE nowhere.bad (id int)
--! 2760
GO
CREATE TABLE dbo.bad (id int IDENTITY, x int IDENTITY)
--! 2744
GO
CREATE TABLE dbo.bad (id varchar(10) IDENTITY)
--! 2749
GO
CREATE TABLE dbo.comp (a int, b AS a + 1 PERSISTED, d datetime2(3) DEFAULT SYSUTCDATETIME(), r rowversion); INSERT INTO dbo.comp (a) VALUES (1); SELECT a, b, IIF(d > '2020-01-01', 1, 0), DATALENGTH(r) FROM dbo.comp
--> 1|2|1|8
GO
INSERT INTO dbo.comp (a, r) VALUES (1, 0x01)
--! 273
GO
INSERT INTO dbo.comp (a, b) VALUES (1, 1)
--! 271
GO
-- learn.microsoft.com/sql/t-sql/statements/set-xact-abort-transact-sql
SET XACT_ABORT OFF; BEGIN TRAN; INSERT INTO dbo.m VALUES (5, 5); BEGIN TRY INSERT INTO dbo.m VALUES (5, 6) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE(), @@TRANCOUNT END CATCH; COMMIT; SELECT COUNT(*) FROM dbo.m
--> 2627|1|1
--> 2
GO
SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO dbo.m VALUES (6, 6); BEGIN TRY INSERT INTO dbo.m VALUES (6, 7) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE(), @@TRANCOUNT; ROLLBACK END CATCH; SELECT COUNT(*), @@TRANCOUNT FROM dbo.m; SET XACT_ABORT OFF
--> 2627|-1|1
--> 2|0
GO
SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO dbo.m VALUES (7, 7); INSERT INTO dbo.m VALUES (7, 7)
--! 2627
GO
SELECT @@TRANCOUNT; SET XACT_ABORT OFF
--> 0
GO
SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY INSERT INTO dbo.m VALUES (1, 6) END TRY BEGIN CATCH BEGIN TRY INSERT INTO dbo.m VALUES (77, 1) END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH; ROLLBACK END CATCH; SET XACT_ABORT OFF
--> 3930
GO
COMMIT
--! 3902
GO
ROLLBACK
--! 3903
GO
BEGIN TRAN; BEGIN TRAN; SELECT @@TRANCOUNT; COMMIT; SELECT @@TRANCOUNT; ROLLBACK; SELECT @@TRANCOUNT
--> 2
--> 1
--> 0
GO
BEGIN TRAN; INSERT INTO dbo.m VALUES (50, 1); SAVE TRAN s; INSERT INTO dbo.m VALUES (51, 1); ROLLBACK TRAN s; COMMIT; SELECT COUNT(*) FROM dbo.m WHERE id IN (50, 51)
--> 1
GO
DECLARE @tv TABLE (a int); BEGIN TRAN; INSERT INTO @tv VALUES (1); ROLLBACK; SELECT COUNT(*) FROM @tv
--> 1
GO
CREATE TABLE #tt (a int); BEGIN TRAN; INSERT INTO #tt VALUES (1); ROLLBACK; SELECT COUNT(*) FROM #tt; DROP TABLE #tt
--> 0
GO
SET ROWCOUNT 1; SELECT id FROM dbo.child ORDER BY id; SET ROWCOUNT 0
--> 1
GO
CREATE TABLE dbo.trig (a int); CREATE TABLE dbo.trail (what varchar(10), a int)
GO
CREATE TRIGGER dbo.tr_trig ON dbo.trig AFTER INSERT, UPDATE, DELETE AS BEGIN SET NOCOUNT ON; INSERT INTO dbo.trail SELECT 'ins', a FROM inserted; INSERT INTO dbo.trail SELECT 'del', a FROM deleted END
GO
INSERT INTO dbo.trig VALUES (1), (2); UPDATE dbo.trig SET a = 3 WHERE a = 1; DELETE FROM dbo.trig WHERE a = 2; SELECT what, a FROM dbo.trail
--> ins|1
--> ins|2
--> ins|3
--> del|1
--> del|2
GO
