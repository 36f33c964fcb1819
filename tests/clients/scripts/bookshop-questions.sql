use bookshop
GO
select title, lname, price from bookview order by title, w_ord
GO
exec byshare 100
GO
byshare @percentage = 60
GO
reptq1
GO
select lname, phone, zip from writers where contract = 0
GO
select lname, job_lvl, convert(char(8), hire_date, 112) from employee where hire_date < '1/1/1990'
GO
begin try insert employee values ('PTC11963M', 'Wrong', 1, 99, '11/11/89') end try begin catch select error_number(), error_message(), @@trancount end catch
select count(*) from employee
GO
begin try insert writers values ('40-56', 'Bad', 'x', '94705', 1) end try begin catch select error_number() end catch
GO
