CREATE TABLE dbo.dept (id int NOT NULL PRIMARY KEY, name varchar(20) NOT NULL)
CREATE TABLE dbo.emp (id int NOT NULL PRIMARY KEY, dept int NULL, boss int NULL, pay decimal(9,2) NULL, name nvarchar(20) NOT NULL)
INSERT INTO dbo.dept VALUES (1, 'sales'), (2, 'lab'), (3, 'empty')
INSERT INTO dbo.emp VALUES (1, 1, NULL, 100, N'Ann'), (2, 1, 1, 80, N'Bob'), (3, 2, 1, 80, N'Cyd'), (4, NULL, 3, NULL, N'Dan')
GO
-- learn.microsoft.com/sql/t-sql/queries/from-transact-sql
SELECT d.name, e.name FROM dbo.dept d LEFT JOIN dbo.emp e ON e.dept = d.id ORDER BY d.id, e.id
--> sales|Ann
--> sales|Bob
--> lab|Cyd
--> empty|NULL
GO
SELECT d.name, e.name FROM dbo.dept d FULL OUTER JOIN dbo.emp e ON e.dept = d.id WHERE d.id IS NULL OR e.id IS NULL ORDER BY e.name
--> empty|NULL
--> NULL|Dan
GO
SELECT COUNT(*) FROM dbo.dept CROSS JOIN dbo.emp
--> 12
GO
SELECT d.name, x.name FROM dbo.dept d CROSS APPLY (SELECT TOP (1) e.name FROM dbo.emp e WHERE e.dept = d.id ORDER BY e.pay DESC, e.id) x ORDER BY d.id
--> sales|Ann
--> lab|Cyd
GO
SELECT d.name, x.n FROM dbo.dept d OUTER APPLY (SELECT MAX(e.name) FROM dbo.emp e WHERE e.dept = d.id HAVING COUNT(*) > 1) x(n) ORDER BY d.id
--> sales|Bob
--> lab|NULL
--> empty|NULL
GO
-- learn.microsoft.com/sql/t-sql/queries/select-group-by-transact-sql
SELECT dept, COUNT(*), SUM(pay) FROM dbo.emp GROUP BY dept ORDER BY dept
--> NULL|1|NULL
--> 1|2|180.00
--> 2|1|80.00
GO
SELECT dept, COUNT(*) FROM dbo.emp GROUP BY dept HAVING COUNT(*) > 1
--> 1|2
GO
SELECT dept, name FROM dbo.emp GROUP BY dept
--! 8120
GO
SELECT COUNT(*), SUM(pay), MAX(name) FROM dbo.emp WHERE 1 = 0
--> 0|NULL|NULL
GO
SELECT name FROM dbo.emp WHERE pay = MAX(pay)
--! 147
GO
SELECT name FROM dbo.emp WHERE dept IN (SELECT id FROM dbo.dept WHERE name LIKE 'S%') ORDER BY id
--> Ann
--> Bob
GO
SELECT name FROM dbo.emp e WHERE NOT EXISTS (SELECT * FROM dbo.emp b WHERE b.boss = e.id) ORDER BY 1
--> Bob
--> Dan
GO
SELECT name FROM dbo.emp WHERE id NOT IN (SELECT boss FROM dbo.emp)
GO
SELECT name, (SELECT name FROM dbo.dept d WHERE d.id = e.dept) FROM dbo.emp e WHERE pay >= ALL (SELECT pay FROM dbo.emp WHERE pay IS NOT NULL)
--> Ann|sales
GO
SELECT (SELECT id FROM dbo.emp)
--! 512
GO
SELECT (SELECT id, name FROM dbo.emp)
--! 116
GO
-- learn.microsoft.com/sql/t-sql/language-elements/set-operators-union-transact-sql
SELECT 1 UNION SELECT 1 UNION ALL SELECT 2
--> 1
--> 2
GO
SELECT id FROM dbo.dept EXCEPT SELECT dept FROM dbo.emp
--> 3
GO
SELECT id FROM dbo.dept INTERSECT SELECT dept FROM dbo.emp ORDER BY id DESC
--> 2
--> 1
GO
SELECT 1 UNION SELECT 1, 2
--! 205
GO
-- learn.microsoft.com/sql/t-sql/queries/with-common-table-expression-transact-sql
WITH tree (id, name, level) AS (SELECT id, name, 0 FROM dbo.emp WHERE boss IS NULL UNION ALL SELECT e.id, e.name, t.level + 1 FROM dbo.emp e JOIN tree t ON e.boss = t.id)
SELECT name, level FROM tree ORDER BY level, id
--> Ann|0
--> Bob|1
--> Cyd|1
--> Dan|2
GO
WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n
--! 530
GO
WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT COUNT(*) FROM n OPTION (MAXRECURSION 0)
--> 200
GO
-- learn.microsoft.com/sql/t-sql/queries/top-transact-sql, .../select-order-by-clause-transact-sql
SELECT TOP (2) WITH TIES name FROM dbo.emp ORDER BY pay DESC
--> Ann
--> Bob
--> Cyd
GO
SELECT TOP 50 PERCENT name FROM dbo.emp ORDER BY id
--> Ann
--> Bob
GO
SELECT name FROM dbo.emp ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY
--> Bob
--> Cyd
GO
SELECT name FROM dbo.emp ORDER BY pay, id DESC
--> Dan
--> Cyd
--> Bob
--> Ann
GO
SELECT DISTINCT pay FROM dbo.emp ORDER BY pay
--> NULL
--> 80.00
--> 100.00
GO
SELECT DISTINCT pay FROM dbo.emp ORDER BY id
--! 145
GO
SELECT name AS n FROM dbo.emp ORDER BY n DESC OFFSET 3 ROWS
--> Ann
GO
SELECT id FROM (SELECT id FROM dbo.emp ORDER BY id) AS t
--! 1033
GO
-- learn.microsoft.com/sql/t-sql/queries/select-over-clause-transact-sql
SELECT name, ROW_NUMBER() OVER (ORDER BY id), RANK() OVER (ORDER BY pay DESC), DENSE_RANK() OVER (ORDER BY pay DESC), NTILE(2) OVER (ORDER BY id) FROM dbo.emp ORDER BY id
--> Ann|1|1|1|1
--> Bob|2|2|2|1
--> Cyd|3|2|2|2
--> Dan|4|4|3|2
GO
SELECT name, SUM(pay) OVER (PARTITION BY dept), SUM(pay) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING), COUNT(*) OVER () FROM dbo.emp ORDER BY id
--> Ann|180.00|100.00|4
--> Bob|180.00|180.00|4
--> Cyd|80.00|260.00|4
--> Dan|NULL|260.00|4
GO
SELECT name, LAG(name) OVER (ORDER BY id), LEAD(name, 2, N'-') OVER (ORDER BY id), FIRST_VALUE(name) OVER (ORDER BY id DESC), LAST_VALUE(name) OVER (ORDER BY id) FROM dbo.emp ORDER BY id
--> Ann|NULL|Cyd|Dan|Ann
--> Bob|Ann|Dan|Dan|Bob
--> Cyd|Bob|-|Dan|Cyd
--> Dan|Cyd|-|Dan|Dan
GO
SELECT id, SUM(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING), SUM(id) OVER (ORDER BY pay) FROM dbo.emp ORDER BY id
--> 1|3|10
--> 2|6|9
--> 3|9|9
--> 4|7|4
GO
SELECT name FROM dbo.emp WHERE ROW_NUMBER() OVER (ORDER BY id) = 1
--! 4108
GO
SELECT name, CAST(PERCENT_RANK() OVER (ORDER BY id) AS decimal(5,2)), CAST(CUME_DIST() OVER (ORDER BY id) AS decimal(5,2)) FROM dbo.emp ORDER BY id
--> Ann|0.00|0.25
--> Bob|0.33|0.50
--> Cyd|0.67|0.75
--> Dan|1.00|1.00
GO
SELECT x.id FROM dbo.emp e
--! 4104
GO
SELECT id FROM dbo.emp e JOIN dbo.dept d ON e.dept = d.id
--! 209
GO
SELECT e.name FROM dbo.emp e, dbo.dept e
--! 1011
GO
SELECT CASE name WHEN N'ann' THEN 1 ELSE 0 END FROM dbo.emp WHERE id = 1
--> 1
GO
SELECT name INTO #copy FROM dbo.emp WHERE dept = 1; SELECT COUNT(*) FROM #copy; DROP TABLE #copy
--> 2
GO
SELECT COUNT(*) FROM #copy
--! 208
GO
CREATE VIEW dbo.paid AS SELECT name, pay FROM dbo.emp WHERE pay IS NOT NULL
GO
SELECT COUNT(*) FROM dbo.paid
--> 3
GO
SELECT name + N'!' AS [a b] FROM dbo.paid WHERE pay BETWEEN 90 AND 100
--> Ann!
GO
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, t) WHERE n <> 1
--> 2|b
GO
SELECT SUM(DISTINCT pay), COUNT_BIG(*), APPROX_COUNT_DISTINCT(pay) FROM dbo.emp
--> 180.00|4|2
GO
SELECT STUFF((SELECT ',' + name FROM dbo.emp ORDER BY id FOR XML PATH('')), 1, 1, '')
--> Ann,Bob,Cyd,Dan
GO
