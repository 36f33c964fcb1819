-- A wholesaler's database, in the manner of the sample scripts of SQL Server 2000.
SET NOCOUNT ON
GO
USE master
GO
if exists (select * from sysdatabases where name='wholesale')
		drop database wholesale
go

DECLARE @folder NVARCHAR(520)
SELECT @folder = SUBSTRING(filename, 1, CHARINDEX(N'master.mdf', LOWER(filename)) - 1)
FROM master.dbo.sysaltfiles WHERE dbid = 1 AND fileid = 1

EXECUTE (N'CREATE DATABASE wholesale
  ON PRIMARY (NAME = N''wholesale'', FILENAME = N''' + @folder + N'wholesale.mdf'')
  LOG ON (NAME = N''wholesale_log'',  FILENAME = N''' + @folder + N'wholesale.ldf'')')
go

set quoted_identifier on
GO
/* Set DATEFORMAT so that the date strings are interpreted correctly regardless of
   the default DATEFORMAT on the server.
*/
SET DATEFORMAT mdy
GO
use "wholesale"
go
if exists (select * from sysobjects where id = object_id('dbo.Sales by Clerk') and sysstat & 0xf = 4)
	drop procedure "dbo"."Sales by Clerk"
GO
if exists (select * from sysobjects where id = object_id('dbo.Current Goods') and sysstat & 0xf = 2)
	drop view "dbo"."Current Goods"
GO
if exists (select * from sysobjects where id = object_id('dbo.Goods') and sysstat & 0xf = 3)
	drop table "dbo"."Goods"
GO

CREATE TABLE "Clerks" (
	"ClerkID" "int" IDENTITY (1, 1) NOT NULL ,
	"LastName" nvarchar (20) NOT NULL ,
	"BirthDate" "datetime" NULL ,
	"Region" nvarchar (15) NULL ,
	"Photo" "image" NULL ,
	"Notes" "ntext" NULL ,
	"ReportsTo" "int" NULL ,
	CONSTRAINT "PK_Clerks" PRIMARY KEY  CLUSTERED
	(
		"ClerkID"
	),
	CONSTRAINT "FK_Clerks_Clerks" FOREIGN KEY
	(
		"ReportsTo"
	) REFERENCES "dbo"."Clerks" (
		"ClerkID"
	),
	CONSTRAINT "CK_Birthdate" CHECK (BirthDate < getdate())
)
GO
 CREATE  INDEX "LastName" ON "dbo"."Clerks"("LastName")
GO

CREATE TABLE "Groups" (
	"GroupID" "int" IDENTITY (1, 1) NOT NULL ,
	"GroupName" nvarchar (15) NOT NULL ,
	CONSTRAINT "PK_Groups" PRIMARY KEY  CLUSTERED ("GroupID")
)
GO
CREATE TABLE "Goods" (
	"GoodID" "int" IDENTITY (1, 1) NOT NULL ,
	"GoodName" nvarchar (40) NOT NULL ,
	"GroupID" "int" NULL ,
	"UnitPrice" "money" NULL CONSTRAINT "DF_Goods_UnitPrice" DEFAULT (0),
	"InStock" "smallint" NULL CONSTRAINT "DF_Goods_InStock" DEFAULT (0),
	"Discontinued" "bit" NOT NULL CONSTRAINT "DF_Goods_Discontinued" DEFAULT (0),
	CONSTRAINT "PK_Goods" PRIMARY KEY  CLUSTERED ("GoodID"),
	CONSTRAINT "FK_Goods_Groups" FOREIGN KEY ("GroupID") REFERENCES "dbo"."Groups" ("GroupID"),
	CONSTRAINT "CK_Goods_UnitPrice" CHECK (UnitPrice >= 0),
	CONSTRAINT "CK_InStock" CHECK (InStock >= 0)
)
GO
 CREATE  INDEX "GroupsGoods" ON "dbo"."Goods"("GroupID")
GO
 CREATE  INDEX "GoodName" ON "dbo"."Goods"("GoodName")
GO
CREATE TABLE "Orders" (
	"OrderID" "int" IDENTITY (1, 1) NOT NULL ,
	"ClerkID" "int" NULL ,
	"OrderDate" "datetime" NULL ,
	"ShippedDate" "datetime" NULL ,
	"Freight" "money" NULL CONSTRAINT "DF_Orders_Freight" DEFAULT (0),
	CONSTRAINT "PK_Orders" PRIMARY KEY  CLUSTERED ("OrderID"),
	CONSTRAINT "FK_Orders_Clerks" FOREIGN KEY ("ClerkID") REFERENCES "dbo"."Clerks" ("ClerkID")
)
GO
CREATE TABLE "Order Lines" (
	"OrderID" "int" NOT NULL ,
	"GoodID" "int" NOT NULL ,
	"UnitPrice" "money" NOT NULL CONSTRAINT "DF_Lines_UnitPrice" DEFAULT (0),
	"Quantity" "smallint" NOT NULL CONSTRAINT "DF_Lines_Quantity" DEFAULT (1),
	"Discount" "real" NOT NULL CONSTRAINT "DF_Lines_Discount" DEFAULT (0),
	CONSTRAINT "PK_Order_Lines" PRIMARY KEY  CLUSTERED ("OrderID", "GoodID"),
	CONSTRAINT "FK_Lines_Orders" FOREIGN KEY ("OrderID") REFERENCES "dbo"."Orders" ("OrderID"),
	CONSTRAINT "FK_Lines_Goods" FOREIGN KEY ("GoodID") REFERENCES "dbo"."Goods" ("GoodID"),
	CONSTRAINT "CK_Discount" CHECK (Discount >= 0 and (Discount <= 1)),
	CONSTRAINT "CK_Quantity" CHECK (Quantity > 0)
)
GO
create view "Current Goods" AS
SELECT Goods_List.GoodID, Goods_List.GoodName
FROM Goods AS Goods_List
WHERE (((Goods_List.Discontinued)=0))
--ORDER BY Goods_List.GoodName
GO
create view "Order Lines Extended" AS
SELECT "Order Lines".OrderID, "Order Lines".GoodID, Goods.GoodName,
	"Order Lines".UnitPrice, "Order Lines".Quantity, "Order Lines".Discount,
	(CONVERT(money,("Order Lines".UnitPrice*Quantity*(1-Discount)/100))*100) AS ExtendedPrice
FROM Goods INNER JOIN "Order Lines" ON Goods.GoodID = "Order Lines".GoodID
GO
create view "Order Subtotals" AS
SELECT "Order Lines".OrderID, Sum(CONVERT(money,("Order Lines".UnitPrice*Quantity*(1-Discount)/100))*100) AS Subtotal
FROM "Order Lines"
GROUP BY "Order Lines".OrderID
GO
create procedure "Sales by Clerk"
@Beginning_Date DateTime, @Ending_Date DateTime AS
SELECT Clerks.LastName, Orders.ShippedDate, Orders.OrderID, "Order Subtotals".Subtotal AS SaleAmount
FROM Clerks INNER JOIN
	(Orders INNER JOIN "Order Subtotals" ON Orders.OrderID = "Order Subtotals".OrderID)
	ON Clerks.ClerkID = Orders.ClerkID
WHERE Orders.ShippedDate Between @Beginning_Date And @Ending_Date
GO

set quoted_identifier on
go
set identity_insert "Groups" on
go
ALTER TABLE "Groups" NOCHECK CONSTRAINT ALL
go
INSERT "Groups"("GroupID","GroupName") VALUES(1,'Beverages')
INSERT "Groups"("GroupID","GroupName") VALUES(2,N'Käse')
go
set identity_insert "Groups" off
go
ALTER TABLE "Groups" CHECK CONSTRAINT ALL
go
ALTER TABLE "Clerks" NOCHECK CONSTRAINT ALL
go
set identity_insert "Clerks" on
go
INSERT "Clerks"("ClerkID","LastName","BirthDate","Region","Photo","Notes","ReportsTo") VALUES(1,'Davolio','12/08/1948',NULL,0x151C2F00020000000D000E0014002100FFFFFFFF,'It''s a long note.',2)
INSERT "Clerks"("ClerkID","LastName","BirthDate","Region","Photo","Notes","ReportsTo") VALUES(2,'Fuller','Feb 19 1952','WA',NULL,NULL,NULL)
go
set identity_insert "Clerks" off
go
ALTER TABLE "Clerks" CHECK CONSTRAINT ALL
go
INSERT INTO Goods (GoodName, GroupID, UnitPrice, InStock) VALUES ('Chai', 1, 18, 39), ('Chang', 1, $19.5, 17),
	(N'Gudbrandsdalsost', 2, 36.0000, 26), ('Old stock', 2, DEFAULT, DEFAULT)
UPDATE Goods SET Discontinued = 1 WHERE GoodName LIKE 'Old%'
GO
INSERT INTO "Orders" ("ClerkID","OrderDate","ShippedDate","Freight") VALUES (1,'7/4/1996','7/16/1996',32.38)
INSERT INTO "Orders" ("ClerkID","OrderDate","ShippedDate","Freight") VALUES (2,'19960705','1996-07-10 12:30:00',11.6100)
INSERT INTO "Orders" ("ClerkID","OrderDate","ShippedDate") VALUES (1,'8 July 1996',NULL)
GO
INSERT "Order Lines" VALUES(1,1,14,12,0)
INSERT "Order Lines" VALUES(1,3,9.8,10,0.15)
INSERT "Order Lines" VALUES(2,2,34.8,5,0)
INSERT "Order Lines" VALUES(3,1,18.6,9,0.05)
GO
ALTER TABLE "Order Lines" ADD Note varchar(20) NULL
GO
UPDATE "Order Lines" SET Note = 'checked' FROM "Order Lines" l INNER JOIN Goods g ON g.GoodID = l.GoodID WHERE g.GroupID = 2
GO
PRINT 'wholesale is made'
GO
