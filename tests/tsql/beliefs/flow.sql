-- learn.microsoft.com/sql/t-sql/language-elements/try-catch-transact-sql
BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE(), ERROR_LINE(), ERROR_PROCEDURE(), ERROR_MESSAGE() END CATCH
--> 8134|16|1|2|NULL|Divide by zero error encountered.
GO
BEGIN TRY RAISERROR('no %s of %d', 16, 3, 'way', 5) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE(), ERROR_MESSAGE() END CATCH
--> 50000|16|3|no way of 5
GO
BEGIN TRY RAISERROR('only information', 10, 1); SELECT 1 END TRY BEGIN CATCH SELECT 2 END CATCH
--> 1
GO
-- learn.microsoft.com/sql/t-sql/language-elements/throw-transact-sql
THROW 51000, 'The record does not exist.', 1;
--! 51000
GO
THROW 49999, 'too small', 1;
--! 35100
GO
BEGIN TRY THROW 51001, 'one', 2 END TRY BEGIN CATCH THROW END CATCH
--! 51001
GO
THROW
--! 10704
GO
BEGIN TRY BEGIN TRY SELECT CAST('x' AS int) END TRY BEGIN CATCH THROW 60000, 'inner', 1 END CATCH END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH; SELECT ERROR_NUMBER()
--> 60000
--> NULL
GO
-- a name that does not exist is not caught at the same level
BEGIN TRY SELECT * FROM dbo.nowhere END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
--! 208
GO
BEGIN TRY EXEC('SELECT * FROM dbo.nowhere') END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
--> 208
GO
BEGIN TRY EXEC sp_executesql N'SELECT 1 FROM' END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
--> 102
GO
-- learn.microsoft.com/sql/t-sql/language-elements/while-transact-sql
DECLARE @i int = 0, @s varchar(20) = ''
WHILE 1 = 1
BEGIN
  SET @i += 1
  IF @i = 2 CONTINUE
  IF @i > 4 BREAK
  SET @s += CAST(@i AS varchar(5))
END
SELECT @i, @s
--> 5|134
GO
DECLARE @a int; SELECT @a; SET @a = (SELECT MAX(v) FROM (VALUES (1), (3)) AS t (v)); SELECT @a
--> NULL
--> 3
GO
DECLARE @a int = 5; SELECT @a = v FROM (VALUES (1)) AS t (v) WHERE 1 = 0; SELECT @a
--> 5
GO
DECLARE @s varchar(3) = 'abcdef'; SELECT @s
--> abc
GO
DECLARE @s varchar(100) = ''; SELECT @s = @s + v FROM (VALUES ('a'), ('b')) AS t (v); SELECT @s
--> ab
GO
DECLARE @a int = 1, @a int = 2
--! 134
GO
IF 1 = 0 SELECT 'a' ELSE IF 2 > 1 SELECT 'b' ELSE SELECT 'c'
--> b
GO
IF EXISTS (SELECT 1 WHERE 1 = 0) PRINT 'x' ELSE BEGIN SELECT 1; SELECT 2 END
--> 1
--> 2
GO
DECLARE @n int = 1
GOTO past
SET @n = 2
past:
SELECT @n
--> 1
GO
RETURN; SELECT 1
GO
-- learn.microsoft.com/sql/t-sql/statements/create-procedure-transact-sql
CREATE PROCEDURE dbo.twice @a int, @b int = 10, @c int OUTPUT AS
SET NOCOUNT ON
SET @c = @a * 2 + @b
SELECT @a AS a, @b AS b
RETURN 3
GO
DECLARE @r int, @c int; EXEC @r = dbo.twice 1, @c = @c OUTPUT; SELECT @r, @c
--> 1|10
--> 3|12
GO
DECLARE @c int; EXEC dbo.twice @b = 1, @a = 2, @c = @c OUT; SELECT @c
--> 2|1
--> 5
GO
DECLARE @c int; EXEC dbo.twice @c = @c OUTPUT
--! 201
GO
EXEC dbo.twice 1, 2, 3, 4
--! 8144
GO
EXEC dbo.twice @a = 1, @nothing = 2
--! 8145
GO
EXEC dbo.twice @a = 1, 2
--! 119
GO
CREATE PROCEDURE dbo.twice AS SELECT 1
--! 2714
GO
ALTER PROCEDURE dbo.twice AS SELECT 'new'
GO
EXEC twice
--> new
GO
CREATE TABLE #r (v varchar(10)); INSERT INTO #r EXEC dbo.twice; SELECT v FROM #r; DROP TABLE #r
--> new
GO
DROP PROCEDURE dbo.twice
GO
SELECT 1; CREATE PROCEDURE dbo.late AS SELECT 1
--! 111
GO
-- learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-executesql-transact-sql
DECLARE @out int; EXEC sp_executesql N'SET @o = @i + 1', N'@i int, @o int OUTPUT', @i = 4, @o = @out OUTPUT; SELECT @out
--> 5
GO
EXEC ('SELECT ' + '''x''')
--> x
GO
DECLARE @v int = 3; EXEC ('SELECT @v')
--! 137
GO
-- learn.microsoft.com/sql/t-sql/statements/create-function-transact-sql
CREATE FUNCTION dbo.plus (@a int, @b int = 1) RETURNS int AS BEGIN DECLARE @c int; SET @c = @a + @b; RETURN @c END
GO
SELECT dbo.plus(1, 2), dbo.plus(1, DEFAULT)
--> 3|2
GO
SELECT plus(1, 2)
--! 195
GO
CREATE FUNCTION dbo.upto (@n int) RETURNS TABLE AS RETURN (SELECT v FROM (VALUES (1), (2), (3)) AS t (v) WHERE v <= @n)
GO
SELECT SUM(v) FROM dbo.upto(2)
--> 3
GO
SELECT d.n, u.v FROM (VALUES (1), (2)) AS d (n) CROSS APPLY dbo.upto(d.n) u ORDER BY 1, 2
--> 1|1
--> 2|1
--> 2|2
GO
CREATE FUNCTION dbo.list (@n int) RETURNS @t TABLE (v int) AS BEGIN INSERT INTO @t VALUES (@n), (@n + 1); RETURN END
GO
SELECT v FROM dbo.list(7)
--> 7
--> 8
GO
-- settings
SET NOCOUNT ON; SELECT 1; SET NOCOUNT OFF
--> 1
GO
-- takes effect while the batch is parsed: learn.microsoft.com/sql/t-sql/statements/set-quoted-identifier-transact-sql
SET QUOTED_IDENTIFIER OFF; SELECT "text"; SET QUOTED_IDENTIFIER ON
--> text
GO
SET ANSI_NULLS ON; SELECT COUNT(*) FROM (VALUES (NULL)) AS t (v) WHERE v = NULL
--> 0
GO
SET NOTHING ON
--! 195
GO
SELECT @@SERVERNAME WHERE 1 = 0; SELECT IIF(@@VERSION LIKE 'Microsoft SQL Server%', 1, 0), @@SPID / 100000, DB_NAME(1), OBJECT_ID('dbo.nowhere'), ISNULL(OBJECT_NAME(0), 'none')
--> 1|0|master|NULL|none
GO
WAITFOR DELAY '00:00:00.010'; SELECT 1
--> 1
GO
EXEC sp_addtype tid, 'varchar(6)', 'NOT NULL'
GO
CREATE TABLE dbo.typed (id tid, n tid NULL); INSERT INTO dbo.typed VALUES ('abc', NULL); SELECT id FROM dbo.typed
--> abc
GO
INSERT INTO dbo.typed VALUES (NULL, 'x')
--! 515
GO
CREATE SYNONYM dbo.other FOR dbo.typed
GO
SELECT COUNT(*) FROM dbo.other
--> 1
GO
