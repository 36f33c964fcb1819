-- SQL_Latin1_General_CP1_CI_AS: learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support
SELECT IIF('a' = 'A', 1, 0), IIF('a ' = 'a', 1, 0), IIF('a' = 'b', 1, 0), IIF(N'é' = N'e', 1, 0), IIF(N'É' = N'é', 1, 0)
--> 1|1|0|0|1
GO
SELECT IIF('a' = 'A' COLLATE Latin1_General_BIN2, 1, 0), IIF('a' = 'A' COLLATE Latin1_General_CS_AS, 1, 0), IIF('a' COLLATE Latin1_General_BIN2 = 'a  ', 1, 0)
--> 0|0|1
GO
SELECT v FROM (VALUES ('b'), ('A'), ('a1'), ('B1'), ('_')) AS t(v) ORDER BY v COLLATE Latin1_General_BIN2
--> A
--> B1
--> _
--> a1
--> b
GO
SELECT v FROM (VALUES ('b'), ('A'), ('a1'), ('B1')) AS t(v) ORDER BY v
--> A
--> a1
--> b
--> B1
GO
SELECT COUNT(DISTINCT v), COUNT(DISTINCT v COLLATE Latin1_General_BIN2) FROM (VALUES ('a'), ('A'), ('a ')) AS t(v)
--> 1|2
GO
-- learn.microsoft.com/sql/t-sql/functions/len-transact-sql, .../datalength-transact-sql
SELECT LEN('abc  '), DATALENGTH('abc  '), DATALENGTH(N'abc'), LEN(' a'), LEN(''), LEN(NULL), DATALENGTH(CAST('ab' AS char(5)))
--> 3|5|6|2|0|NULL|5
GO
-- learn.microsoft.com/sql/t-sql/functions/string-functions-transact-sql
SELECT SUBSTRING('abcdef', 2, 3), SUBSTRING('abc', 0, 2), SUBSTRING('abc', 2, 99), LEFT('abc', 2), RIGHT('abc', 2), REVERSE('abc'), UPPER('aé'), LOWER('AB')
--> bcd|a|bc|ab|bc|cba|AÉ|ab
GO
SELECT SUBSTRING('abc', 1, -1)
--! 537
GO
SELECT LEFT('abc', -1)
--! 536
GO
SELECT CHARINDEX('C', 'abcabc'), CHARINDEX('c', 'abcabc', 4), CHARINDEX('x', 'abc'), PATINDEX('%b_a%', 'abcabc'), PATINDEX('%[0-9]%', 'ab3')
--> 3|6|0|2|3
GO
SELECT REPLACE('aAa', 'a', 'b'), REPLACE('abc', 'b', ''), STUFF('abcdef', 2, 3, 'ijklmn'), REPLICATE('0', 4), '[' + SPACE(3) + ']', STUFF('abc', 9, 1, 'x')
--> bbb|ac|aijklmnef|0000|[   ]|NULL
GO
SELECT '[' + LTRIM('  a ') + ']', '[' + RTRIM(' a  ') + ']', '[' + TRIM('  a  ') + ']', TRIM('.,! ' FROM '#     test    .')
--> [a ]|[ a]|[a]|#     test
GO
SELECT CONCAT('a', NULL, 'b', 1), CONCAT_WS(',', 'a', NULL, 'b'), 'a' + NULL, QUOTENAME('abc[]def'), QUOTENAME('a''b', '''')
--> ab1|a,b|NULL|[abc[]]def]|'a''b'
GO
SELECT STR(123.45, 6, 1), STR(123.45, 2, 2), '[' + STR(5) + ']', ASCII('A'), CHAR(65), UNICODE(N'å'), NCHAR(229)
-->  123.5|**|[         5]|65|A|229|å
GO
SELECT TRANSLATE('2*[3+4]/{7-2}', '[]{}', '()()')
--> 2*(3+4)/(7-2)
GO
-- learn.microsoft.com/sql/t-sql/functions/string-agg-transact-sql
SELECT STRING_AGG(v, ',') WITHIN GROUP (ORDER BY v DESC), STRING_AGG(CAST(n AS varchar(5)), '-') FROM (VALUES ('a', 1), ('c', NULL), ('b', 3)) AS t(v, n)
--> c,b,a|1-3
GO
SELECT value FROM STRING_SPLIT('a,b,,c', ',')
--> a
--> b
--> 
--> c
GO
-- learn.microsoft.com/sql/t-sql/functions/format-transact-sql
SELECT FORMAT(123456789, '###-##-####'), FORMAT(1234.5, 'N2'), FORMAT(42, 'D5'), FORMAT(1234.567, '#,##0.00'), FORMAT(7, '000'), FORMAT(-0.5, '0.00'), FORMAT(12.5, '0.##'), FORMAT(1234567, '#,#')
--> 123-45-6789|1,234.50|00042|1,234.57|007|-0.50|12.5|1,234,567
GO
SELECT FORMAT(CAST('2020-11-22 13:04:05.678' AS datetime2), 'yyyy-MM-dd HH:mm:ss.fff'), FORMAT(CAST('2020-11-02' AS date), 'dd MMM yyyy')
--> 2020-11-22 13:04:05.678|02 Nov 2020
GO
-- learn.microsoft.com/sql/t-sql/functions/hashbytes-transact-sql; the digests are those of the standards
SELECT HASHBYTES('MD5', 'abc'), HASHBYTES('SHA1', 'abc')
--> 0x900150983CD24FB0D6963F7D28E17F72|0xA9993E364706816ABA3E25717850C26C9CD0D89D
GO
SELECT HASHBYTES('SHA2_256', 'abc')
--> 0xBA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD
GO
-- learn.microsoft.com/sql/t-sql/language-elements/like-transact-sql
SELECT IIF('abc' LIKE '[a-c]%', 1, 0), IIF('abc' LIKE '%[^a-c]%', 1, 0), IIF('50%' LIKE '50!%' ESCAPE '!', 1, 0), IIF('a_c' LIKE 'a[_]c', 1, 0), IIF('ABC' LIKE 'abc', 1, 0)
--> 1|0|1|1|1
GO
SELECT IIF('ab ' LIKE 'ab', 1, 0), IIF(N'ab ' LIKE N'ab', 1, 0), IIF('ab' LIKE 'ab ', 1, 0)
--> 1|0|0
GO
-- learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql: what does not fit
SELECT CAST('abcdef' AS varchar(3)), CAST(12345 AS varchar(3)), CAST(CAST('ab' AS char(4)) AS varchar(10)) + ']'
--> abc|*|ab  ]
GO
SELECT CAST(12345 AS nvarchar(3))
--! 8115
GO
SELECT CAST(CAST(12.5 AS decimal(5,1)) AS varchar(2))
--! 8115
GO
SELECT CAST('6f9619ff-8b86-d011-b42d-00c04fc964ff' AS uniqueidentifier), CAST(CAST('6f9619ff-8b86-d011-b42d-00c04fc964ff' AS uniqueidentifier) AS varchar(36)), CAST(CAST('6f9619ff-8b86-d011-b42d-00c04fc964ff' AS uniqueidentifier) AS binary(16))
--> 6F9619FF-8B86-D011-B42D-00C04FC964FF|6F9619FF-8B86-D011-B42D-00C04FC964FF|0xFF19966F868B11D0B42D00C04FC964FF
GO
SELECT CAST(NEWID() AS varchar(10))
--! 8170
GO
SELECT CAST('x' AS uniqueidentifier)
--! 8169
GO
-- learn.microsoft.com/dotnet/framework/data/adonet/sql/comparing-guid-and-uniqueidentifier-values
SELECT CAST(v AS varchar(36)) FROM (VALUES (CAST('00000000-0000-0000-0000-010000000000' AS uniqueidentifier)), ('01000000-0000-0000-0000-000000000000'), ('00000000-0000-0000-0100-000000000000'), ('00000000-0000-0100-0000-000000000000'), ('00000000-0000-0000-0001-000000000000')) AS t(v) ORDER BY v
--> 01000000-0000-0000-0000-000000000000
--> 00000000-0000-0100-0000-000000000000
--> 00000000-0000-0000-0001-000000000000
--> 00000000-0000-0000-0100-000000000000
--> 00000000-0000-0000-0000-010000000000
GO
SELECT CONVERT(varbinary(4), '0x0A0B', 1), CONVERT(varbinary(4), '0A0B', 2), CONVERT(varchar(10), 0x0A0B, 1), CONVERT(varchar(10), 0x0A0B, 2), CAST('AB' AS varbinary(5)), CAST(N'AB' AS varbinary(5))
--> 0x0A0B|0x0A0B|0x0A0B|0A0B|0x4142|0x41004200
GO
SELECT CONVERT(varbinary(4), '0x0G', 1)
--! 8114
GO
SELECT ISNULL(CAST(NULL AS varchar(2)), 'abcd'), COALESCE(CAST(NULL AS varchar(2)), 'abcd')
--> ab|abcd
GO
SELECT CAST(N'日本' AS varchar(10)), N'日本', CAST('€' AS nvarchar(5)), UNICODE('€')
--> ??|日本|€|8364
GO
SELECT 'It''s', N'a"b', "x" FROM (SELECT 'y' AS x) AS t
--> It's|a"b|y
GO
SELECT 'abc
--! 105
GO
-- the first word of a batch may be a procedure's name
SELEC 1
--! 2812
GO
SELECT 1 FROM
--! 102
GO
SELECT * FROM dbo.nowhere
--! 208
GO
SELECT nothing
--! 207
GO
SELECT dbo.nofunction(1)
--! 4121
GO
SELECT NOFUNCTION(1)
--! 195
GO
SELECT LEN()
--! 174
GO
EXEC dbo.noprocedure
--! 2812
GO
SELECT @undeclared
--! 137
GO
USE nodatabase
--! 911
GO
SELECT v FROM (VALUES ('a')) AS t(v) WHERE v COLLATE Latin1_General_CI_AS = v COLLATE Latin1_General_CS_AS
--! 468
GO
GO
-- learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support#utf8: char and varchar of such a collation hold UTF-8.
SELECT CAST(CAST(N'aé無😀' COLLATE Latin1_General_100_BIN2_UTF8 AS varchar(40)) AS varbinary(40)), CAST(CAST(CAST('é' AS nvarchar(5)) COLLATE Latin1_General_100_BIN2_UTF8 AS varchar(15)) AS varbinary(15))
--> 0x61C3A9E784A1F09F9880|0xC3A9
GO
-- learn.microsoft.com/sql/t-sql/language-elements/string-concatenation-transact-sql: binaries are joined, and NULL is the result when one is.
SELECT 0x01 + CAST(CAST(258 AS bigint) AS binary(8)) + CAST('ab' AS varbinary(4)), 0x01 + CAST(NULL AS varbinary(4)), CASE WHEN 1 = 2 THEN 0x00 ELSE 0x01 + CAST(DATALENGTH(CAST('abc' AS varbinary(9))) AS binary(4)) END
--> 0x0100000000000001026162|NULL|0x0100000003
GO
-- learn.microsoft.com/sql/t-sql/functions/datediff-big-transact-sql: boundaries are counted, before 2000 too.
SELECT DATEDIFF_BIG(microsecond, CAST('2000-01-01T00:00:00' AS datetime2(7)), CAST('1999-12-31T23:59:59.9999995' AS datetime2(7))), DATEDIFF_BIG(microsecond, CAST('2000-01-01T00:00:00' AS datetime2(7)), CAST('9999-12-31T23:59:59.9999999' AS datetime2(7)))
--> -1|252455615999999999
