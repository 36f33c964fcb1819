//! SET.

use crate::exec::session::SessionState;
use crate::exec::{R, known};
use crate::sql::ast::Expr;
use crate::value::{SqlError, Typed};

impl SessionState {
    pub(super) fn set_option(&mut self, words: &[String], value: Option<&Expr>) -> R<()> {
        let first = words.first().map_or("", String::as_str);
        if first == "ISOLATION" {
            let Some(level) = known::isolation(words.get(1..).unwrap_or(&[])) else {
                return Err(SqlError::syntax(first));
            };
            if level == crate::store::Isolation::Snapshot {
                let database = self.db();
                let on = crate::store::read(&database.options).snapshot_isolation;
                // The error of a real server comes with the first read; the stand-in is as strict, only earlier.
                if !on && self.depth > 0 {
                    let m = format!(
                        "Transaction failed in database '{}' because the statement was run under snapshot isolation but the transaction did not start in snapshot isolation.",
                        database.name()
                    );
                    return Err(SqlError::new(3951, m));
                }
            }
            self.settings.isolation = level;
            if let Some(t) = &mut self.transaction
                && self.depth > 0
                && level != crate::store::Isolation::Snapshot
            {
                t.isolation = level;
            }
            return Ok(());
        }
        let value = match value {
            Some(e) => Some(self.value_of(e)?),
            None => None,
        };
        let text = match &value {
            Some(v) => v.to_string16()?.map(|s| String::from_utf16_lossy(&s).to_ascii_uppercase()),
            None => None,
        }
        .unwrap_or_default();
        let number = || value.as_ref().map(Typed::to_i64).transpose().map(Option::flatten);
        let on = text == "ON";
        let switch =
            || if text == "ON" || text == "OFF" { Ok(on) } else { Err(SqlError::syntax(&text)) };
        for word in words {
            let bit = match word.as_str() {
                "NOCOUNT" => {
                    self.settings.no_count = switch()?;
                    0
                }
                "XACT_ABORT" => {
                    self.settings.xact_abort = switch()?;
                    0
                }
                "IMPLICIT_TRANSACTIONS" => {
                    self.settings.implicit_transactions = switch()?;
                    0
                }
                "LOCK_TIMEOUT" => {
                    self.settings.lock_timeout = number()?.unwrap_or(-1);
                    0
                }
                "DEADLOCK_PRIORITY" => {
                    self.settings.deadlock_priority = match text.as_str() {
                        "LOW" => -5,
                        "NORMAL" => 0,
                        "HIGH" => 5,
                        _ => number()?
                            .and_then(|n| i32::try_from(n).ok())
                            .unwrap_or(0)
                            .clamp(-10, 10),
                    };
                    0
                }
                "TEXTSIZE" => {
                    self.settings.text_size = number()?.filter(|n| *n > 0).unwrap_or(2_147_483_647);
                    0
                }
                "ROWCOUNT" => {
                    self.settings.row_limit =
                        number()?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                    0
                }
                "DATEFIRST" => {
                    let first = number()?.and_then(|n| u8::try_from(n).ok());
                    let Some(first) = first.filter(|n| (1..=7).contains(n)) else {
                        let m = "The integer value is out of range. DATEFIRST takes 1 to 7.";
                        return Err(SqlError::new(2743, m));
                    };
                    self.settings.date_first = first;
                    0
                }
                "ANSI_WARNINGS" => 8,
                "ANSI_PADDING" => 16,
                "ANSI_NULLS" => 32,
                "ARITHABORT" => 64,
                "ARITHIGNORE" => 128,
                "QUOTED_IDENTIFIER" => 256,
                "ANSI_NULL_DFLT_ON" => 1024,
                "ANSI_NULL_DFLT_OFF" => 2048,
                "CONCAT_NULL_YIELDS_NULL" => 4096,
                "NUMERIC_ROUNDABORT" => 8192,
                "CURSOR_CLOSE_ON_COMMIT" => 4,
                "ANSI_DEFAULTS" => 8 | 16 | 32 | 256 | 1024,
                "DATEFORMAT" => {
                    if !matches!(text.as_str(), "MDY" | "YMD") {
                        return Err(SqlError::unknown(format!("SET DATEFORMAT {text}")));
                    }
                    0
                }
                "LANGUAGE" => {
                    if !matches!(text.as_str(), "US_ENGLISH" | "ENGLISH") {
                        return Err(SqlError::unknown(format!("SET LANGUAGE {text}")));
                    }
                    0
                }
                "PARSEONLY" => {
                    self.settings.parse_only = switch()?;
                    0
                }
                "FMTONLY" => {
                    self.settings.format_only = switch()?;
                    0
                }
                "NOEXEC" => {
                    self.settings.no_exec = switch()?;
                    0
                }
                "STATISTICS"
                | "CONTEXT_INFO"
                | "QUERY_GOVERNOR_COST_LIMIT"
                | "FORCEPLAN"
                | "REMOTE_PROC_TRANSACTIONS"
                | "NO_BROWSETABLE"
                | "FIPS_FLAGGER"
                | "IO"
                | "TIME"
                | "ON"
                | "OFF" => return Ok(()),
                other => {
                    let m = format!("'{other}' is not a recognized SET option.");
                    return Err(SqlError::new(195, m).class(15).state(7));
                }
            };
            if bit != 0 {
                if switch()? {
                    self.settings.bits |= bit;
                } else {
                    self.settings.bits &= !bit;
                }
            }
        }
        Ok(())
    }

    /// DATEPART(weekday, ...) counts from the first day that SET DATEFIRST has named.
    pub(crate) fn by_first_day(&self, args: &[Typed], sunday_first: Typed) -> R<Typed> {
        let part = match args.first() {
            Some(part) => part.to_string16()?.map(|s| String::from_utf16_lossy(&s)),
            None => None,
        };
        let first = i64::from(self.settings.date_first);
        match part.unwrap_or_default().to_ascii_lowercase().as_str() {
            "weekday" | "dw" | "w" => Ok(match sunday_first.to_i64()? {
                Some(n) => {
                    let n = (n - 1 - first % 7).rem_euclid(7) + 1;
                    Typed::int(i32::try_from(n).unwrap_or_default())
                }
                None => sunday_first,
            }),
            "week" | "wk" | "ww" => {
                Err(SqlError::unknown("DATEPART(week, ...) after SET DATEFIRST"))
            }
            _ => Ok(sunday_first),
        }
    }
}
