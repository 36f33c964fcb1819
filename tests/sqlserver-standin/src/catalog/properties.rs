//! What the server says of itself: `SERVERPROPERTY`, `sys.configurations`.

use std::sync::atomic::Ordering;

use super::view::{View, bit, int, text};
use crate::store::Instance;
use crate::value::{Rowset, SqlError, Ty, Typed, Val};

/// The version that the stand-in claims: SQL Server 2022.
pub const PRODUCT_VERSION: &str = "16.0.4125.3";
/// `SERVERPROPERTY('Edition')`.
pub const EDITION: &str = "Developer Edition (64-bit)";
/// The server's and the databases' collation.
pub const COLLATION: &str = "SQL_Latin1_General_CP1_CI_AS";
/// `@@SERVERNAME`.
pub const SERVER_NAME: &str = "standin";

/// `@@VERSION`.
pub fn version_text() -> String {
    format!(
        "Microsoft SQL Server 2022 (RTM-CU13) - {PRODUCT_VERSION} (X64) \n\tstand-in for tests, {EDITION}"
    )
}

fn variant(ty: Ty, val: Val) -> Typed {
    Typed::new(Ty::Variant, Val::Variant(Box::new((ty, val))))
}

pub(crate) fn variant_text(value: &str) -> Typed {
    variant(Ty::NVarChar(128), text(value))
}

pub(crate) fn variant_int(value: i64) -> Typed {
    variant(Ty::Int, Val::Int(value))
}

/// `SERVERPROPERTY`; NULL for a name that it does not know, as SQL Server.
pub(crate) fn server_property(name: &str) -> Typed {
    match name.to_lowercase().as_str() {
        "productversion" => variant_text(PRODUCT_VERSION),
        "productmajorversion" => variant_text("16"),
        "productminorversion" => variant_text("0"),
        "productbuild" => variant_text("4125"),
        "productlevel" => variant_text("RTM"),
        "productupdatelevel" => variant_text("CU13"),
        "edition" => variant_text(EDITION),
        "engineedition" => variant_int(3),
        "editionid" => variant(Ty::BigInt, Val::Int(-2_117_995_310)),
        "collation" => variant_text(COLLATION),
        "servername" | "machinename" | "computernamephysicalnetbios" => variant_text(SERVER_NAME),
        "isclustered"
        | "ishadrenabled"
        | "isintegratedsecurityonly"
        | "issingleuser"
        | "ispolybaseinstalled" => variant_int(0),
        "isfulltextinstalled"
        | "isadvancedanalyticsinstalled"
        | "istempdbmetadatamemoryoptimized" => variant_int(0),
        "isxtpsupported" => variant_int(1),
        "lcid" => variant_int(1033),
        "sqlcharsetname" => variant_text("iso_1"),
        "processid" => variant_int(std::process::id().into()),
        _ => Typed::null(Ty::Variant),
    }
}

/// A server option: id, name, least, greatest, description, dynamic, advanced.
pub(crate) struct Setting {
    id: i32,
    name: &'static str,
    least: i32,
    greatest: i32,
    pub(crate) default: i32,
    advanced: bool,
}

const fn setting(
    id: i32,
    name: &'static str,
    least: i32,
    greatest: i32,
    default: i32,
    advanced: bool,
) -> Setting {
    Setting { id, name, least, greatest, default, advanced }
}

/// The options that programs look at.
pub(crate) const SETTINGS: [Setting; 9] = [
    setting(505, "network packet size (B)", 512, 32767, 4096, true),
    setting(518, "show advanced options", 0, 1, 0, false),
    setting(1536, "max text repl size (B)", -1, i32::MAX, 65536, false),
    setting(1539, "max degree of parallelism", 0, 32767, 0, true),
    setting(1543, "min server memory (MB)", 0, i32::MAX, 0, true),
    setting(1544, "max server memory (MB)", 128, i32::MAX, i32::MAX, true),
    setting(103, "user connections", 0, 32767, 0, true),
    setting(1562, "clr enabled", 0, 1, 0, false),
    setting(16390, "xp_cmdshell", 0, 1, 0, true),
];

/// The name of `max text repl size` in [`SETTINGS`].
pub(crate) const MAX_TEXT_REPL_SIZE: &str = "max text repl size (B)";

/// The option of a name, which may be cut short as long as it is unambiguous.
pub(crate) fn find_setting(name: &str) -> Option<&'static Setting> {
    let name = name.trim().to_lowercase();
    let mut found =
        SETTINGS.iter().filter(|setting| setting.name.to_lowercase().starts_with(&name));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

impl Setting {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn allows(&self, value: i64) -> bool {
        (i64::from(self.least)..=i64::from(self.greatest)).contains(&value)
    }

    pub(crate) fn range(&self) -> (i32, i32) {
        (self.least, self.greatest)
    }
}

/// `sys.configurations`; `values` gives the configured and the running value of a setting.
pub(crate) fn configurations(values: impl Fn(&Setting) -> (i32, i32)) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "configuration_id int!; name nvarchar(35)!; value sql_variant; minimum sql_variant; maximum sql_variant; \
         value_in_use sql_variant; description nvarchar(255)!; is_dynamic bit!; is_advanced bit!",
    )?;
    for setting in &SETTINGS {
        let (configured, running) = values(setting);
        view.row([
            int(setting.id),
            text(setting.name),
            variant_int(configured.into()).val,
            variant_int(setting.least.into()).val,
            variant_int(setting.greatest.into()).val,
            variant_int(running.into()).val,
            text(setting.name),
            bit(true),
            bit(setting.advanced),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_server_services`: the engine and the agent, running.
pub(crate) fn services() -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "servicename nvarchar(256)!; startup_type int; startup_type_desc nvarchar(256); status int; \
         status_desc nvarchar(256); process_id int; service_account nvarchar(256)!; is_clustered nvarchar(1)!",
    )?;
    for name in ["SQL Server (MSSQLSERVER)", "SQL Server Agent (MSSQLSERVER)"] {
        view.row([
            text(name),
            int(2),
            text("Automatic"),
            int(4),
            text("Running"),
            int(std::process::id()),
            text("standin"),
            text("N"),
        ]);
    }
    Ok(view.done())
}

/// `sys.dm_os_performance_counters`: the one counter that is kept, which like all "per second" ones only grows.
/// <https://learn.microsoft.com/sql/relational-databases/performance-monitor/sql-server-sql-statistics-object>
pub(crate) fn counters(instance: &Instance) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "object_name nchar(128)!; counter_name nchar(128)!; instance_name nchar(128); cntr_value bigint!; cntr_type int!",
    )?;
    let requests = instance.requests.load(Ordering::Relaxed);
    let padded = |name: &str| text(format!("{name:<128}"));
    view.row([
        padded("SQLServer:SQL Statistics"),
        padded("Batch Requests/sec"),
        padded(""),
        int(i64::try_from(requests).unwrap_or(i64::MAX)),
        int(272_696_576),
    ]);
    Ok(view.done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_their_beginning() {
        assert_eq!(find_setting("max text repl size").map(Setting::name), Some(MAX_TEXT_REPL_SIZE));
        assert_eq!(
            find_setting("Max Text Repl Size (B)").map(Setting::name),
            Some(MAX_TEXT_REPL_SIZE)
        );
        assert!(find_setting("max").is_none(), "ambiguous");
        assert!(find_setting("nothing").is_none());
    }

    #[test]
    fn unknown_server_properties_are_null() {
        assert!(server_property("nonsense").is_null());
        assert_eq!(server_property("ENGINEEDITION"), variant_int(3));
    }
}
