/* A bookshop's database, in the manner of the oldest sample scripts. */
set nocount    on
set dateformat mdy

USE master

declare @dttm varchar(55)
select  @dttm=convert(varchar,getdate(),113)
raiserror('Beginning bookshop.sql at %s ....',1,1,@dttm) with nowait

GO

if exists (select * from sysdatabases where name='bookshop')
begin
  raiserror('Dropping existing bookshop database ....',0,1)
  DROP database bookshop
end
GO

CHECKPOINT
go

raiserror('Creating bookshop database....',0,1)
go
CREATE DATABASE bookshop
GO

CHECKPOINT
GO

USE bookshop
GO

if db_name() <> 'bookshop'
   raiserror('Error in bookshop.sql, ''USE bookshop'' failed!  Killing the SPID now.'
            ,22,127) with log
GO

if CAST(SERVERPROPERTY('ProductMajorVersion') AS INT)<12
BEGIN
  exec sp_dboption 'bookshop','trunc. log on chkpt.','true'
END
ELSE BEGIN
  ALTER DATABASE [bookshop] SET RECOVERY SIMPLE WITH NO_WAIT
END
GO

execute sp_addtype id      ,'varchar(11)' ,'NOT NULL'
execute sp_addtype tid     ,'varchar(6)'  ,'NOT NULL'
execute sp_addtype empid   ,'char(9)'     ,'NOT NULL'
GO

raiserror('Now at the create table section ....',0,1)
GO

CREATE TABLE writers
(
   w_id          id

         CHECK (w_id like '[0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][0-9][0-9]')

         CONSTRAINT UPKCL_widind PRIMARY KEY CLUSTERED,

   lname       varchar(40)       NOT NULL,
   phone          char(12)          NOT NULL

         DEFAULT ('UNKNOWN'),

   zip            char(5)               NULL

         CHECK (zip like '[0-9][0-9][0-9][0-9][0-9]'),

   contract       bit               NOT NULL
)

GO

CREATE TABLE books
(
   book_id       tid

         CONSTRAINT UPKCL_bookidind PRIMARY KEY CLUSTERED,

   title          varchar(80)       NOT NULL,
   type           char(12)          NOT NULL

         DEFAULT ('UNDECIDED'),

   price          money                 NULL,
   ytd_sales      int                   NULL,

   pubdate        datetime          NOT NULL

         DEFAULT (getdate())
)

GO

CREATE TABLE bookwriter
(
   w_id          id

         REFERENCES writers(w_id),

   book_id       tid

         REFERENCES books(book_id),

   w_ord         tinyint               NULL,
   share         int                   NULL,

   CONSTRAINT UPKCL_bwind PRIMARY KEY CLUSTERED(w_id, book_id)
)
GO

CREATE TABLE jobs
(
   job_id         smallint

         IDENTITY(1,1)

         PRIMARY KEY CLUSTERED,

   job_desc       varchar(50)       NOT NULL

         DEFAULT 'New Position - title not formalized yet',

   min_lvl        tinyint           NOT NULL

         CHECK (min_lvl >= 10),

   max_lvl        tinyint           NOT NULL

         CHECK (max_lvl <= 250)
)
GO

CREATE TABLE employee
(
   emp_id         empid

         CONSTRAINT PK_emp_id PRIMARY KEY NONCLUSTERED

         CONSTRAINT CK_emp_id CHECK (emp_id LIKE
            '[A-Z][A-Z][A-Z][1-9][0-9][0-9][0-9][0-9][FM]' or
            emp_id LIKE '[A-Z]-[A-Z][1-9][0-9][0-9][0-9][0-9][FM]'),

   lname          varchar(30)       NOT NULL,

   job_id         smallint          NOT NULL

         DEFAULT 1
         REFERENCES jobs(job_id),

   job_lvl            tinyint

         DEFAULT 10,

   hire_date          datetime          NOT NULL

         DEFAULT (getdate())
)
GO

raiserror('Now at the create trigger section ...',0,1)
GO

CREATE TRIGGER employee_insupd
ON employee
FOR insert, UPDATE
AS
--Get the range of level for this job type from the jobs table.
declare @min_lvl tinyint,
   @max_lvl tinyint,
   @emp_lvl tinyint,
   @job_id smallint
select @min_lvl = min_lvl,
   @max_lvl = max_lvl,
   @emp_lvl = i.job_lvl,
   @job_id = i.job_id
from employee e, jobs j, inserted i
where e.emp_id = i.emp_id AND i.job_id = j.job_id
IF (@job_id = 1) and (@emp_lvl <> 10)
begin
   raiserror ('Job id 1 expects the default level of 10.',16,1)
   ROLLBACK TRANSACTION
end
ELSE
IF NOT (@emp_lvl BETWEEN @min_lvl AND @max_lvl)
begin
   raiserror ('The level for job_id:%d should be between %d and %d.',
      16, 1, @job_id, @min_lvl, @max_lvl)
   ROLLBACK TRANSACTION
end

GO

raiserror('Now at the inserts to writers ....',0,1)
GO
insert writers
   values('409-56-7008', 'Bennet', '415 658-9932', '94705', 1)
insert writers
   values('213-46-8915', 'Green', '415 986-7020', '94618', 1)
insert writers (w_id, lname, contract)
   values('893-72-1158', 'McBadden', 0)
GO
insert books
   values ('PC8888', 'Secrets of the Valley', 'popular_comp', $20.00, 4095, '06/12/94')
insert books
   values ('BU1032', 'The Busy Executive', 'business', $19.99, 4095, '06/12/91')
insert books (book_id, title, pubdate) values ('MC3026', 'Of Cooking', '2000-08-06 01:33:54.123')
GO
insert bookwriter values('409-56-7008', 'BU1032', 1, 60)
insert bookwriter values('213-46-8915', 'BU1032', 2, 40)
insert bookwriter values('213-46-8915', 'PC8888', 1, 100)
GO
insert jobs values ('New Hire - Job not specified', 10, 10)
insert jobs values ('Chief Executive Officer', 200, 250)
GO
insert employee values ('PTC11962M', 'Cramer', 2, 215, '11/11/89')
insert employee (emp_id, lname) values ('A-C71970F', 'Cruz')
GO

raiserror('Now at the create index section ....',0,1) with nowait
GO
CREATE CLUSTERED INDEX employee_ind ON employee(lname)
GO
CREATE NONCLUSTERED INDEX bookidind ON bookwriter(book_id)
GO
CREATE INDEX nmind ON writers (lname)
GO

raiserror('Now at the create view section ....',0,1)
GO
CREATE VIEW bookview
AS
select title, w_ord, lname, price, ytd_sales
from writers, books, bookwriter
where writers.w_id = bookwriter.w_id
   AND books.book_id = bookwriter.book_id
GO

raiserror('Now at the create procedure section ....',0,1)
GO
CREATE PROCEDURE byshare @percentage int
AS
select w_id from bookwriter
where bookwriter.share = @percentage
GO
CREATE PROCEDURE reptq1 AS
select type, avg(price) as avg_price
from books
where price is NOT NULL
group by type
order by type
GO

GRANT EXECUTE ON byshare TO public
GO
UPDATE STATISTICS writers
GO
CHECKPOINT
GO
USE master
GO
declare @dttm varchar(55)
select  @dttm=convert(varchar,getdate(),113)
raiserror('Ending bookshop.sql at %s ....',1,1,@dttm) with nowait
GO
