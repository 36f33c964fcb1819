-- learn.microsoft.com/sql/t-sql/data-types/datetime-transact-sql: rounding to .000, .003, .007
SELECT CONVERT(varchar(30), CAST('1998-01-01 23:59:59.999' AS datetime), 121), CONVERT(varchar(30), CAST('1998-01-01 23:59:59.998' AS datetime), 121), CONVERT(varchar(30), CAST('1998-01-01 23:59:59.995' AS datetime), 121)
--> 1998-01-02 00:00:00.000|1998-01-01 23:59:59.997|1998-01-01 23:59:59.997
GO
SELECT CONVERT(varchar(30), CAST('1998-01-01 23:59:59.994' AS datetime), 121), CONVERT(varchar(30), CAST('1998-01-01 23:59:59.992' AS datetime), 121), CONVERT(varchar(30), CAST('1998-01-01 23:59:59.991' AS datetime), 121)
--> 1998-01-01 23:59:59.993|1998-01-01 23:59:59.993|1998-01-01 23:59:59.990
GO
SELECT CONVERT(varchar(30), CAST(CAST('2024-01-01 00:00:00.003' AS datetime) AS datetime2(7)), 121), CONVERT(varchar(30), CAST(CAST('2024-01-01 00:00:00.007' AS datetime) AS datetime2(7)), 121)
--> 2024-01-01 00:00:00.0033333|2024-01-01 00:00:00.0066667
GO
-- learn.microsoft.com/sql/t-sql/data-types/smalldatetime-transact-sql
SELECT CONVERT(varchar(30), CAST('2000-05-08 12:35:29.998' AS smalldatetime), 121), CONVERT(varchar(30), CAST('2000-05-08 12:35:29.999' AS smalldatetime), 121)
--> 2000-05-08 12:35:00.000|2000-05-08 12:36:00.000
GO
SELECT CONVERT(varchar(30), CAST('2007-05-08 12:35:29.1234567' AS datetime2(3)), 121), CONVERT(varchar(30), CAST('12:35:29.9999999' AS time(0))), CONVERT(varchar(40), CAST('2007-05-08 12:35:29.1234567 +12:15' AS datetimeoffset))
--> 2007-05-08 12:35:29.123|12:35:30|2007-05-08 12:35:29.1234567 +12:15
GO
SELECT CAST('2024-13-01' AS date)
--! 241
GO
SELECT CAST('2024-02-30' AS datetime)
--! 242
GO
SELECT CAST('2024-02-30' AS date)
--! 241
GO
SELECT CAST('abc' AS datetime)
--! 241
GO
SELECT CAST('1752-12-31' AS datetime)
--! 242
GO
SELECT CAST(CAST('2024-01-01' AS date) AS int)
--! 529
GO
SELECT CAST('2024-01-01' AS date) + 1
--! 206
GO
-- learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql: date and time styles
DECLARE @d datetime = '2006-12-30 00:38:54.840'
SELECT CONVERT(varchar(40), @d), CONVERT(varchar(40), @d, 1), CONVERT(varchar(40), @d, 101), CONVERT(varchar(40), @d, 2), CONVERT(varchar(40), @d, 102), CONVERT(varchar(40), @d, 3), CONVERT(varchar(40), @d, 103)
--> Dec 30 2006 12:38AM|12/30/06|12/30/2006|06.12.30|2006.12.30|30/12/06|30/12/2006
GO
DECLARE @d datetime = '2006-12-30 00:38:54.840'
SELECT CONVERT(varchar(40), @d, 104), CONVERT(varchar(40), @d, 105), CONVERT(varchar(40), @d, 106), CONVERT(varchar(40), @d, 107), CONVERT(varchar(40), @d, 108), CONVERT(varchar(40), @d, 109), CONVERT(varchar(40), @d, 110)
--> 30.12.2006|30-12-2006|30 Dec 2006|Dec 30, 2006|00:38:54|Dec 30 2006 12:38:54:840AM|12-30-2006
GO
DECLARE @d datetime = '2006-12-30 00:38:54.840'
SELECT CONVERT(varchar(40), @d, 111), CONVERT(varchar(40), @d, 12), CONVERT(varchar(40), @d, 112), CONVERT(varchar(40), @d, 113), CONVERT(varchar(40), @d, 114), CONVERT(varchar(40), @d, 120), CONVERT(varchar(40), @d, 126)
--> 2006/12/30|061230|20061230|30 Dec 2006 00:38:54:840|00:38:54:840|2006-12-30 00:38:54|2006-12-30T00:38:54.840
GO
SELECT CONVERT(varchar(30), CONVERT(datetime, '30.12.2006', 104), 112), CONVERT(varchar(30), CONVERT(datetime, '12/30/2006', 101), 112), CONVERT(varchar(30), CONVERT(date, '30/12/06', 3), 112)
--> 20061230|20061230|20061230
GO
SELECT CONVERT(varchar(8), CAST(v AS datetime), 112) FROM (VALUES ('20061230'), ('Dec 30 2006'), ('30 December 2006'), ('12/30/2006'), ('12/30/06'), ('2006-12-30T10:00:00'), ('Dec 30, 2006 5:06PM'), ('12-30-2006')) AS t(v)
--> 20061230
--> 20061230
--> 20061230
--> 20061230
--> 20061230
--> 20061230
--> 20061230
--> 20061230
GO
-- learn.microsoft.com/sql/t-sql/functions/dateadd-transact-sql, .../datediff-transact-sql
SELECT CONVERT(varchar(30), DATEADD(month, 1, CAST('2006-08-31' AS datetime)), 120), CONVERT(varchar(30), DATEADD(year, 1, CAST('2024-02-29' AS date))), CONVERT(varchar(30), DATEADD(hour, 23, CAST('2007-01-01' AS datetime2)), 120)
--> 2006-09-30 00:00:00|2025-02-28|2007-01-01 23:00:00
GO
SELECT DATEDIFF(year, '2005-12-31 23:59:59.9999999', '2006-01-01 00:00:00.0000000'), DATEDIFF(month, '2005-12-31', '2006-01-01'), DATEDIFF(day, '2005-12-31 23:59', '2006-01-01 00:00'), DATEDIFF(week, '2024-01-06', '2024-01-07'), DATEDIFF(second, '2024-01-01', '2023-12-31')
--> 1|1|1|1|-86400
GO
SELECT DATEDIFF(millisecond, '1900-01-01', '2024-01-01')
--! 535
GO
SELECT DATEDIFF_BIG(millisecond, '1900-01-01', '2024-01-01')
--> 3913056000000
GO
SELECT DATEADD(year, 9000, CAST('2024-01-01' AS datetime))
--! 517
GO
SELECT DATEPART(weekday, '2007-04-21'), DATEPART(iso_week, '2024-12-30'), DATEPART(dayofyear, '2024-12-31'), DATEPART(quarter, '2024-05-01'), DATENAME(month, '2007-10-30'), DATENAME(weekday, '2007-10-30'), YEAR('2024-05-06'), MONTH('2024-05-06'), DAY('2024-05-06')
--> 7|1|366|2|October|Tuesday|2024|5|6
GO
SET DATEFIRST 1; SELECT DATEPART(weekday, '2007-04-21'), @@DATEFIRST; SET DATEFIRST 7
--> 6|1
GO
SELECT CONVERT(varchar(30), EOMONTH('2024-02-10')), CONVERT(varchar(30), EOMONTH('2024-01-31', 1)), CONVERT(varchar(30), DATEFROMPARTS(2010, 12, 31)), CONVERT(varchar(40), DATETIME2FROMPARTS(2011, 8, 15, 14, 23, 44, 500, 3)), ISDATE('2024-02-30'), ISDATE('20240229')
--> 2024-02-29|2024-02-29|2010-12-31|2011-08-15 14:23:44.500|0|1
GO
SELECT DATEFROMPARTS(2023, 2, 29)
--! 289
GO
-- learn.microsoft.com/sql/t-sql/functions/switchoffset-transact-sql, .../todatetimeoffset-transact-sql
SELECT CONVERT(varchar(40), SWITCHOFFSET(CAST('1998-09-20 7:45:50.71345 -5:00' AS datetimeoffset), '-08:00')), CONVERT(varchar(40), TODATETIMEOFFSET(CAST('2024-01-01 10:00' AS datetime2(0)), '+02:00')), CONVERT(varchar(40), CAST('2022-01-01 10:00' AS datetime2(0)) AT TIME ZONE 'UTC')
--> 1998-09-20 04:45:50.7134500 -08:00|2024-01-01 10:00:00 +02:00|2022-01-01 10:00:00 +00:00
GO
-- datetime is a number of days: learn.microsoft.com/sql/t-sql/language-elements/add-transact-sql
SELECT CONVERT(varchar(30), CAST('2024-02-28' AS datetime) + 1.5, 120), CONVERT(varchar(30), CAST(0 AS datetime), 120), CAST(CAST('1900-01-02 12:00' AS datetime) AS float), CAST(CAST('2024-01-01' AS datetime) AS int)
--> 2024-02-29 12:00:00|1900-01-01 00:00:00|1.5|45290
GO
SELECT CAST(1 AS datetime2)
--! 529
GO
SELECT IIF(CAST('2024-01-01' AS date) = '2024-01-01T00:00:00', 1, 0), IIF(CAST('2024-01-01 10:00 +02:00' AS datetimeoffset) = CAST('2024-01-01 08:00 +00:00' AS datetimeoffset), 1, 0)
--> 1|1
GO
SELECT CONVERT(varchar(30), CAST('10:11:12' AS datetime), 121), CONVERT(varchar(30), CAST(CAST('2024-05-06 10:11:12.123' AS datetime) AS time(3))), CONVERT(varchar(30), CAST(CAST('2024-05-06 10:11' AS datetime2) AS date))
--> 1900-01-01 10:11:12.000|10:11:12.123|2024-05-06
GO
