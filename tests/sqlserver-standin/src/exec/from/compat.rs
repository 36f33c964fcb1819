//! The system tables of SQL Server 2000, which old scripts read: views over the catalogue of today.
//!
//! learn.microsoft.com/sql/relational-databases/system-compatibility-views

/// The definition of a compatibility view, where that view is known.
pub(super) fn view(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "sysdatabases" => {
            "CREATE VIEW sys.sysdatabases AS SELECT name, CAST(database_id AS smallint) AS dbid, create_date AS crdate, \
             compatibility_level AS cmptlevel FROM sys.databases"
        }
        "sysobjects" => {
            "CREATE VIEW sys.sysobjects AS SELECT name, object_id AS id, CAST(type AS char(2)) AS xtype, \
             CAST(schema_id AS smallint) AS uid, CAST(type AS char(2)) AS type, parent_object_id AS parent_obj, \
             create_date AS crdate, CAST(CASE type WHEN 'S' THEN 1 WHEN 'V' THEN 2 WHEN 'U' THEN 3 WHEN 'P' THEN 4 \
             WHEN 'D' THEN 6 WHEN 'TR' THEN 8 WHEN 'C' THEN 9 WHEN 'K' THEN 9 WHEN 'F' THEN 11 ELSE 0 END AS int) AS sysstat \
             FROM sys.objects"
        }
        // a stand-in has no files; these are the names that they would have
        "sysaltfiles" => {
            "CREATE VIEW sys.sysaltfiles AS SELECT CAST(f.n AS smallint) AS fileid, CAST(d.database_id AS smallint) AS dbid, \
             CAST(d.name + CASE f.n WHEN 1 THEN N'' ELSE N'_log' END AS nvarchar(128)) AS name, \
             CAST(N'/var/opt/mssql/data/' + d.name + CASE f.n WHEN 1 THEN N'.mdf' ELSE N'_log.ldf' END AS nvarchar(260)) AS filename \
             FROM sys.databases d CROSS JOIN (VALUES (1), (2)) AS f (n)"
        }
        _ => return None,
    })
}
