-- learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-default-constraints-transact-sql
-- The definition is decompiled; the forms are those that Debezium's converter of defaults reads from real servers.
CREATE TABLE dbo.d (a bigint DEFAULT 3147483648, b decimal(20,5) DEFAULT (100.12345), c float DEFAULT (1.2345e2), d datetime DEFAULT GETDATE(), e varchar(9) DEFAULT 'it''s', f nvarchar(9) DEFAULT N'x', g varbinary(9) DEFAULT 0x0a, h int DEFAULT NULL, i int DEFAULT -1, j int DEFAULT ((1)), k int CONSTRAINT ck_k CHECK (k > 0))
GO
SELECT definition FROM sys.default_constraints WHERE parent_object_id = OBJECT_ID('dbo.d') ORDER BY parent_column_id
--> ((3147483648.))
--> ((100.12345))
--> ((1.2345000000000000e+002))
--> (getdate())
--> ('it''s')
--> (N'x')
--> (0x0A)
--> (NULL)
--> ((-1))
--> ((1))
GO
SELECT definition FROM sys.check_constraints WHERE name = 'ck_k'
--> ([k]>(0))
GO
-- learn.microsoft.com/sql/relational-databases/tables/temporal-tables
CREATE TABLE dbo.v (id int PRIMARY KEY, n int, a datetime2 GENERATED ALWAYS AS ROW START HIDDEN NOT NULL, b datetime2 GENERATED ALWAYS AS ROW END HIDDEN NOT NULL, PERIOD FOR SYSTEM_TIME (a, b)) WITH (SYSTEM_VERSIONING = ON (HISTORY_TABLE = dbo.v_old))
GO
SELECT name, temporal_type, temporal_type_desc FROM sys.tables WHERE name LIKE 'v%' ORDER BY name
--> v|2|SYSTEM_VERSIONED_TEMPORAL_TABLE
--> v_old|1|HISTORY_TABLE
GO
INSERT INTO dbo.v VALUES (1, 1); SELECT * FROM dbo.v; SELECT CONVERT(varchar(30), b, 121) FROM dbo.v
--> 1|1
--> 9999-12-31 23:59:59.9999999
GO
UPDATE dbo.v SET n = 2; DELETE FROM dbo.v
GO
SELECT id, n FROM dbo.v_old ORDER BY n
--> 1|1
--> 1|2
GO
INSERT INTO dbo.v (id, n, a) VALUES (2, 2, '2020-01-01')
--! 13536
GO
UPDATE dbo.v SET a = '2020-01-01'
--! 13537
GO
DELETE FROM dbo.v_old
--! 13560
GO
DROP TABLE dbo.v
--! 13552
GO
ALTER TABLE dbo.v SET (SYSTEM_VERSIONING = OFF)
GO
DELETE FROM dbo.v_old WHERE n = 1; SELECT COUNT(*) FROM dbo.v_old; SELECT temporal_type FROM sys.tables WHERE name = 'v_old'
--> 1
--> 0
GO
-- learn.microsoft.com/sql/t-sql/functions/has-perms-by-name-transact-sql, is-member-, user-id-, is-srvrolemember-
SELECT HAS_PERMS_BY_NAME('dbo.d', 'OBJECT', 'SELECT'), HAS_PERMS_BY_NAME('dbo.nothing', 'OBJECT', 'SELECT'), IS_MEMBER('db_owner'), IS_MEMBER('nothing'), IS_SRVROLEMEMBER('sysadmin'), USER_ID('nobody'), USER_NAME(1)
--> 1|NULL|1|NULL|1|NULL|dbo
GO
