//! What functions without arguments and @@variables say.

use super::R;
use super::node::Known;
use super::session::SessionState;
use crate::store::{Isolation, Moment};
use crate::value::{SqlError, Ty, Typed, Val, cast};

/// A name without arguments or an `@@variable`, with its type.
pub(crate) fn find(name: &str) -> Option<(Known, Ty)> {
    use Known::*;
    Some(match name.to_ascii_lowercase().as_str() {
        "getdate" | "current_timestamp" => (GetDate, Ty::DateTime),
        "getutcdate" => (GetUtcDate, Ty::DateTime),
        "sysdatetime" => (SysDateTime, Ty::DateTime2(7)),
        "sysutcdatetime" => (SysUtcDateTime, Ty::DateTime2(7)),
        "sysdatetimeoffset" => (SysDateTimeOffset, Ty::DateTimeOffset(7)),
        "newid" | "newsequentialid" => (NewId, Ty::UniqueIdentifier),
        "scope_identity" => (ScopeIdentity, Ty::Decimal(38, 0)),
        "@@identity" => (Identity, Ty::Decimal(38, 0)),
        "@@rowcount" => (RowCount, Ty::Int),
        "rowcount_big" => (RowCount, Ty::BigInt),
        "@@trancount" => (TranCount, Ty::Int),
        "@@error" => (Error, Ty::Int),
        "@@spid" => (Spid, Ty::SmallInt),
        "@@version" => (Version, Ty::NVarChar(300)),
        "@@servername" => (ServerName, Ty::NVarChar(128)),
        "@@servicename" => (ServiceName, Ty::NVarChar(128)),
        "@@language" => (Language, Ty::NVarChar(128)),
        "@@langid" => (LangId, Ty::SmallInt),
        "@@options" => (Options, Ty::Int),
        "@@dbts" => (Dbts, Ty::VarBinary(8)),
        "@@datefirst" => (DateFirst, Ty::TinyInt),
        "@@lock_timeout" => (LockTimeout, Ty::Int),
        "@@max_connections" => (MaxConnections, Ty::Int),
        "@@microsoftversion" => (MicrosoftVersion, Ty::Int),
        "@@nestlevel" => (NestLevel, Ty::Int),
        "@@procid" => (ProcId, Ty::Int),
        "@@fetch_status" => (FetchStatus, Ty::Int),
        "@@cursor_rows" => (CursorRows, Ty::Int),
        "@@textsize" => (TextSize, Ty::Int),
        "@@max_precision" => (MaxPrecision, Ty::TinyInt),
        "error_number" => (ErrorNumber, Ty::Int),
        "error_message" => (ErrorMessage, Ty::NVarChar(4000)),
        "error_severity" => (ErrorSeverity, Ty::Int),
        "error_state" => (ErrorState, Ty::Int),
        "error_line" => (ErrorLine, Ty::Int),
        "error_procedure" => (ErrorProcedure, Ty::NVarChar(128)),
        "xact_state" => (XactState, Ty::SmallInt),
        _ => return None,
    })
}

fn offset(moment: Moment, minutes: i64) -> Val {
    Val::DateTimeOffset {
        day: moment.day,
        ticks: moment.ticks,
        offset: i16::try_from(minutes).unwrap_or(0),
    }
}

/// Random bytes for NEWID, mixed from the standard library's per-process random hasher; version 4.
fn new_id() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static STATE: std::sync::LazyLock<(RandomState, RandomState)> =
        std::sync::LazyLock::new(|| (RandomState::new(), RandomState::new()));
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let half = |state: &RandomState| {
        let mut hasher = state.build_hasher();
        hasher.write_u64(n);
        hasher.finish()
    };
    let both = (u128::from(half(&STATE.0)) << 64) | u128::from(half(&STATE.1));
    let mut bytes = both.to_be_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

pub(crate) fn value(s: &mut SessionState, k: Known) -> R<Val> {
    let int = |n: i64| Val::Int(n);
    let whole = |v: Option<i128>| v.map_or(Val::Null, Val::Dec);
    Ok(match k {
        Known::GetDate => s.now.plus_minutes(s.instance.clock.offset_minutes()).datetime(),
        Known::GetUtcDate => s.now.datetime(),
        Known::SysDateTime => s.now.plus_minutes(s.instance.clock.offset_minutes()).datetime2(),
        Known::SysUtcDateTime => s.now.datetime2(),
        Known::SysDateTimeOffset => offset(s.now, s.instance.clock.offset_minutes()),
        Known::NewId => Val::Guid(new_id()),
        Known::ScopeIdentity => whole(s.scope_identity()),
        Known::Identity => whole(s.last_identity),
        Known::RowCount => int(s.row_count),
        Known::TranCount => int(i64::from(s.depth)),
        Known::Error => int(i64::from(s.last_error)),
        Known::Spid => int(i64::from(s.login.spid)),
        Known::Version => Val::str(&crate::catalog::properties::version_text()),
        Known::ServerName => Val::str(&s.instance.settings.server_name),
        Known::ServiceName => Val::str("MSSQLSERVER"),
        Known::Language => Val::str("us_english"),
        Known::LangId => int(0),
        Known::Options => int(s.options_bits()),
        Known::Dbts => Val::bytes(&s.db().row_version().to_be_bytes()),
        Known::DateFirst => int(i64::from(s.settings.date_first)),
        Known::LockTimeout => int(s.settings.lock_timeout),
        Known::MaxConnections => int(32767),
        Known::MicrosoftVersion => int(0x1000_101D),
        Known::NestLevel => int(i64::try_from(s.frames.len()).unwrap_or(1) - 1),
        Known::ProcId => int(0),
        Known::FetchStatus => int(s.fetch_status),
        Known::CursorRows => int(s.cursor_rows),
        Known::TextSize => int(s.settings.text_size),
        Known::MaxPrecision => int(38),
        Known::ErrorNumber => s.caught().map_or(Val::Null, |e| int(i64::from(e.number))),
        Known::ErrorMessage => s.caught().map_or(Val::Null, |e| Val::str(&e.message)),
        Known::ErrorSeverity => s.caught().map_or(Val::Null, |e| int(i64::from(e.class))),
        Known::ErrorState => s.caught().map_or(Val::Null, |e| int(i64::from(e.state))),
        Known::ErrorLine => s.caught().map_or(Val::Null, |e| int(i64::from(e.line))),
        Known::ErrorProcedure => Val::Null,
        Known::XactState => int(if s.depth == 0 {
            0
        } else if s.doomed {
            -1
        } else {
            1
        }),
    })
}

/// The offset of a time zone in minutes. Only zones without summer time are known.
pub(crate) fn zone(name: &str) -> R<i16> {
    let fixed = [
        ("UTC", 0),
        ("Greenwich Standard Time", 0),
        ("UTC-11", -660),
        ("UTC+12", 720),
        ("UTC+13", 780),
        ("India Standard Time", 330),
        ("China Standard Time", 480),
        ("Tokyo Standard Time", 540),
        ("Singapore Standard Time", 480),
        ("Hawaiian Standard Time", -600),
        ("US Mountain Standard Time", -420),
    ];
    if let Some((_, offset)) = fixed.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        return Ok(*offset);
    }
    Err(SqlError::unknown(format!("the time zone '{name}'")))
}

/// `value AT TIME ZONE zone`: a time without offset is in the zone, one with an offset moves to it.
pub(crate) fn at_time_zone(value: &Typed, to: &Ty, offset: i16) -> R<Val> {
    if value.is_null() {
        return Ok(Val::Null);
    }
    if let Val::DateTimeOffset { day, ticks, .. } = value.val {
        return Ok(Val::DateTimeOffset { day, ticks, offset });
    }
    let Val::DateTime2(day, ticks) = cast(value, &Ty::DateTime2(7), None)? else {
        return Err(SqlError::invalid_argument(value.ty.name(), 1, "AT TIME ZONE"));
    };
    let utc = Moment { day, ticks }.plus_minutes(-i64::from(offset));
    let Ty::DateTimeOffset(_) = to else { return Ok(Val::Null) };
    Ok(Val::DateTimeOffset { day: utc.day, ticks: utc.ticks, offset })
}

/// The level as `SET TRANSACTION ISOLATION LEVEL` names it.
pub(crate) fn isolation(words: &[String]) -> Option<Isolation> {
    Some(match words.join(" ").as_str() {
        "READ UNCOMMITTED" => Isolation::ReadUncommitted,
        "READ COMMITTED" => Isolation::ReadCommitted,
        "REPEATABLE READ" => Isolation::RepeatableRead,
        "SERIALIZABLE" => Isolation::Serializable,
        "SNAPSHOT" => Isolation::Snapshot,
        _ => return None,
    })
}
