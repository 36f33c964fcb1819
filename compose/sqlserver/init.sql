-- The shop database of profile dev: tables, a few rows, change data capture, and a login with no more
-- rights than the pipeline needs. Running it again changes nothing.
SET NOCOUNT ON;
GO
IF DB_ID(N'shop') IS NULL CREATE DATABASE shop;
GO
ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON;
GO
-- A value above this size would make the applications' own writes fail once a table is captured.
EXEC sys.sp_configure N'max text repl size (B)', -1;
RECONFIGURE;
GO
IF SUSER_ID(N'causeway') IS NULL
    CREATE LOGIN causeway WITH PASSWORD = N'$(CAUSEWAY_PASSWORD)', CHECK_POLICY = OFF, DEFAULT_DATABASE = shop;
GO
-- The end of the log, by sys.dm_db_log_stats, is how the source knows that it has seen everything.
GRANT VIEW SERVER STATE TO causeway;
GO
USE shop;
GO
IF OBJECT_ID(N'dbo.customers') IS NULL
    CREATE TABLE dbo.customers (
        id int IDENTITY PRIMARY KEY,
        name nvarchar(200) NOT NULL,
        email nvarchar(320) NULL,
        created_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME()
    );
IF OBJECT_ID(N'dbo.products') IS NULL
    CREATE TABLE dbo.products (
        id int IDENTITY PRIMARY KEY,
        sku varchar(40) NOT NULL UNIQUE,
        name nvarchar(200) NOT NULL,
        price decimal(12, 2) NOT NULL
    );
IF OBJECT_ID(N'dbo.orders') IS NULL
    CREATE TABLE dbo.orders (
        id bigint IDENTITY PRIMARY KEY,
        customer_id int NOT NULL REFERENCES dbo.customers (id),
        status varchar(20) NOT NULL,
        total decimal(14, 2) NOT NULL,
        placed_at datetime2(7) NOT NULL DEFAULT SYSUTCDATETIME()
    );
IF OBJECT_ID(N'dbo.order_items') IS NULL
    CREATE TABLE dbo.order_items (
        order_id bigint NOT NULL REFERENCES dbo.orders (id),
        line int NOT NULL,
        product_id int NOT NULL REFERENCES dbo.products (id),
        quantity int NOT NULL,
        price decimal(12, 2) NOT NULL,
        PRIMARY KEY (order_id, line)
    );
GO
IF NOT EXISTS (SELECT 1 FROM dbo.customers)
BEGIN
    INSERT INTO dbo.customers (name, email)
    VALUES (N'Ada Ångström', N'ada@example.com'), (N'Grace Żuk', NULL);
    INSERT INTO dbo.products (sku, name, price)
    VALUES ('TEA-01', N'Green tea', 4.50), ('CUP-02', N'Cup, blue', 12.00);
    INSERT INTO dbo.orders (customer_id, status, total) VALUES (1, 'placed', 21.00);
    INSERT INTO dbo.order_items (order_id, line, product_id, quantity, price)
    VALUES (1, 1, 1, 2, 4.50), (1, 2, 2, 1, 12.00);
END;
GO
IF (SELECT is_cdc_enabled FROM sys.databases WHERE database_id = DB_ID()) = 0
    EXEC sys.sp_cdc_enable_db;
GO
DECLARE @table sysname;
DECLARE missing CURSOR LOCAL FAST_FORWARD FOR
    SELECT name FROM sys.tables
    WHERE schema_id = SCHEMA_ID(N'dbo') AND is_tracked_by_cdc = 0 AND is_ms_shipped = 0
        AND name IN (N'customers', N'products', N'orders', N'order_items');
OPEN missing;
FETCH NEXT FROM missing INTO @table;
WHILE @@FETCH_STATUS = 0
BEGIN
    EXEC sys.sp_cdc_enable_table
        @source_schema = N'dbo', @source_name = @table, @role_name = NULL, @supports_net_changes = 0;
    FETCH NEXT FROM missing INTO @table;
END;
GO
IF USER_ID(N'causeway') IS NULL CREATE USER causeway FOR LOGIN causeway;
GRANT SELECT ON SCHEMA::dbo TO causeway;
GRANT SELECT ON SCHEMA::cdc TO causeway;
GRANT VIEW DATABASE STATE TO causeway;
GO
PRINT 'sqlserver-init: the shop database is ready';
GO
