use wholesale
GO
SELECT GoodName FROM "Current Goods" ORDER BY GoodName
GO
exec "Sales by Clerk" '7/1/1996', '7/31/1996'
GO
SELECT LastName, DATALENGTH(Photo), CAST(Notes AS nvarchar(40)), CONVERT(varchar(10), BirthDate, 101) FROM Clerks ORDER BY 1
GO
SELECT OrderID, CONVERT(varchar(20), Subtotal, 2) FROM "Order Subtotals" ORDER BY OrderID
GO
SELECT g.GroupName, COUNT(*), AVG(p.UnitPrice) FROM Goods p JOIN Groups g ON g.GroupID = p.GroupID GROUP BY g.GroupName ORDER BY 1
GO
SELECT name FROM sysobjects WHERE type = 'U' ORDER BY name
GO
SELECT COUNT(*) FROM "Order Lines" WHERE Note IS NOT NULL
GO
