-- learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql
SELECT CAST(1 AS decimal(10,2)) / CAST(3 AS decimal(5,0)), CAST(2 AS decimal(10,2)) / CAST(3 AS decimal(5,0))
--> 0.33333333|0.66666666
GO
SELECT CAST(1.5 AS decimal(5,2)) * CAST(2 AS decimal(5,3)), CAST(1.5 AS decimal(5,2)) + CAST(2 AS decimal(6,3))
--> 3.00000|3.500
GO
SELECT CAST(0.0000009000 AS decimal(30,20)) * CAST(1.0000000000 AS decimal(30,20))
--> 0.00000090000000000
GO
SELECT CAST(9999999999999999999999999999.5 AS decimal(38,1)) * CAST(99999999999 AS decimal(38,0))
--! 8115
GO
-- learn.microsoft.com/sql/t-sql/language-elements/divide-transact-sql, .../modulo-transact-sql
SELECT 7 / 2, -7 / 2, -7 % 3, 7 % -3, CAST(7 AS bigint) / 2
--> 3|-3|-1|1|3
GO
SELECT 1 / 0
--! 8134
GO
SELECT 1 % 0
--! 8134
GO
SELECT CAST(2147483647 AS int) + 1
--! 8115
GO
-- learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql
SELECT CAST(300 AS tinyint)
--! 220
GO
SELECT CAST(40000 AS smallint)
--! 220
GO
SELECT CAST(3000000000 AS int)
--! 8115
GO
SELECT CAST('abc' AS int)
--! 245
GO
SELECT CAST('3000000000' AS int)
--! 248
GO
SELECT CAST('300' AS tinyint)
--! 244
GO
SELECT CAST('1.5' AS int)
--! 245
GO
SELECT CAST('' AS int), CAST(' 12 ' AS int), CAST('-5' AS int), CAST(1.9 AS int), CAST(-1.9 AS int)
--> 0|12|-5|1|-1
GO
SELECT CAST('abc' AS decimal(5,2))
--! 8114
GO
SELECT CAST('1234.5' AS decimal(5,2))
--! 8115
GO
SELECT CAST(1234.5 AS decimal(5,2))
--! 8115
GO
SELECT CAST(1.255 AS decimal(5,2)), CAST(-1.255 AS decimal(5,2)), CAST('  -1.5 ' AS decimal(5,2))
--> 1.26|-1.26|-1.50
GO
SELECT CAST('abc' AS float)
--! 8114
GO
SELECT TRY_CAST('abc' AS int), TRY_CONVERT(decimal(5,2), 'x'), TRY_CAST('7' AS int)
--> NULL|NULL|7
GO
SELECT CAST('true' AS bit), CAST('FALSE' AS bit), CAST(5 AS bit), CAST(0.1 AS bit), CAST('' AS bit)
--> 1|0|1|1|0
GO
SELECT CAST('abc' AS bit)
--! 245
GO
-- learn.microsoft.com/sql/t-sql/functions/round-transact-sql
SELECT ROUND(123.9994, 3), ROUND(123.9995, 3), ROUND(123.4545, 2), ROUND(123.45, -2), ROUND(150.75, 0), ROUND(150.75, 0, 1)
--> 123.9990|124.0000|123.4500|100.00|151.00|150.00
GO
SELECT ROUND(748.58, -3)
--! 8115
GO
SELECT ROUND(748.58, -4), ROUND(748, -1), ROUND(-2.5, 0)
--> 0.00|750|-3.0
GO
-- learn.microsoft.com/sql/t-sql/functions/mathematical-functions-transact-sql
SELECT POWER(2, 10), POWER(2, -1), POWER(2.0, -1), SQRT(16), SQUARE(3), SIGN(-5), SIGN(0), ABS(-7), EXP(0), LOG10(1000)
--> 1024|0|0.5|4|9|-1|0|7|1|3
GO
SELECT ABS(CAST(-2147483648 AS int))
--! 8115
GO
SELECT CAST(CEILING(12.01) AS int), CAST(FLOOR(-12.01) AS int), CONVERT(varchar(20), CEILING($123.45)), CONVERT(varchar(20), FLOOR($-123.45))
--> 13|-13|124.00|-124.00
GO
SELECT SQRT(-1)
--! 3623
GO
SELECT LOG(0)
--! 3623
GO
SELECT 5 & 3, 5 | 3, 5 ^ 3, ~5, ~CAST(0 AS tinyint), ~CAST(1 AS bit)
--> 1|7|6|-6|255|0
GO
-- learn.microsoft.com/sql/t-sql/data-types/money-and-smallmoney-transact-sql: four digits, and division keeps four
SELECT CONVERT(varchar(30), CAST(10 AS money) / 3, 2), CONVERT(varchar(30), CAST(10 AS money) / CAST(3 AS money), 2), CONVERT(varchar(30), $1.23456, 2)
--> 3.3333|3.3333|1.2346
GO
SELECT CONVERT(varchar(30), CAST(1234567.891 AS money)), CONVERT(varchar(30), CAST(1234567.891 AS money), 1), CONVERT(varchar(30), CAST(1234567.891 AS money), 2)
--> 1234567.89|1,234,567.89|1234567.8910
GO
SELECT CAST('$1,234.50' AS money) - 1234, CAST(CAST(922337203685477.5807 AS money) AS decimal(19,4))
--> 0.5|922337203685477.5807
GO
SELECT CAST(922337203685477.5808 AS money)
--! 8115
GO
SELECT CAST('abc' AS money)
--! 235
GO
SELECT CAST(214748.3648 AS smallmoney)
--! 8115
GO
-- CONVERT of float to text: six digits, style 1 eight, style 2 sixteen
SELECT CAST(CAST(0.1 AS float) AS varchar(30)), CAST(CAST(123456789.123 AS float) AS varchar(30)), CAST(1e10 AS varchar(30)), CAST(CAST(1234567 AS float) AS varchar(30)), CAST(CAST(-2.5 AS real) AS varchar(30))
--> 0.1|1.23457e+008|1e+010|1.23457e+006|-2.5
GO
SELECT CONVERT(varchar(30), CAST(1.5 AS float), 1), CONVERT(varchar(30), CAST(1.5 AS float), 2)
--> 1.5000000e+000|1.500000000000000e+000
GO
-- learn.microsoft.com/sql/t-sql/functions/isnumeric-transact-sql
SELECT ISNUMERIC('1e5'), ISNUMERIC('abc'), ISNUMERIC('$1.5'), ISNUMERIC(''), ISNUMERIC('-'), ISNUMERIC(NULL)
--> 1|0|1|0|1|0
GO
-- learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql
SELECT 0x1F + 1, '5' + 3, 1 + CAST(1 AS bit), 1 + 1.5, CAST(1 AS float) + 1.5
--> 32|8|2|2.5|2.5
GO
SELECT '5a' + 3
--! 245
GO
SELECT CASE WHEN 1 = 1 THEN 1 ELSE 2.5 END, CASE WHEN 1 = 0 THEN 'x' ELSE NULL END
--> 1.0|NULL
GO
SELECT CASE WHEN 1 = 1 THEN 'x' ELSE 1 END
--! 245
GO
SELECT CAST(NULL AS int) + 1, NULLIF(1, 1), ISNULL(NULL, 5), COALESCE(NULL, NULL, 3), IIF(1 > 2, 'a', 'b'), CHOOSE(2, 'a', 'b', 'c'), CHOOSE(9, 'a')
--> NULL|NULL|5|3|b|b|NULL
GO
SELECT COALESCE(NULL, NULL)
--! 4127
GO
SELECT SUM(v), AVG(v), COUNT(v), COUNT(*), MIN(v), MAX(v), COUNT(DISTINCT v) FROM (VALUES (1), (2), (2), (NULL)) AS t(v)
--> 5|1|3|4|1|2|2
GO
SELECT SUM(v) FROM (VALUES (2147483647), (1)) AS t(v)
--! 8115
GO
SELECT SUM(CAST(v AS bigint)), AVG(CAST(v AS decimal(12,2))) FROM (VALUES (2147483647), (2)) AS t(v)
--> 2147483649|1073741824.500000
GO
SELECT SUM(CAST(1.1 AS decimal(5,1))), CAST(AVG(1.0 * v) AS decimal(9,3)) FROM (VALUES (1), (2)) AS t(v)
--> 2.2|1.500
GO
SELECT CAST(STDEV(v) AS decimal(9,4)), CAST(VAR(v) AS decimal(9,4)), CAST(STDEVP(v) AS decimal(9,4)), CAST(VARP(v) AS decimal(9,4)) FROM (VALUES (1), (2), (3), (4)) AS t(v)
--> 1.2910|1.6667|1.1180|1.2500
GO
SELECT CAST(123456 AS binary(4)), CAST(1 AS varbinary(8)), CAST(0x0102 AS int), CAST(CAST(0x41 AS varchar(5)) AS varchar(5))
--> 0x0001E240|0x00000001|258|A
GO
