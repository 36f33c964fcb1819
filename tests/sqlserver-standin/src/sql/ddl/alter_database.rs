//! ALTER DATABASE.

use crate::sql::ast::{DatabaseOption, StmtKind, Termination};
use crate::sql::lexer::Tok;
use crate::sql::parser::{Parsed, Parser};
use crate::value::SqlError;

impl Parser<'_> {
    pub(super) fn alter_database(&mut self) -> Parsed<StmtKind> {
        self.need("DATABASE")?;
        if self.take_all(&["SCOPED", "CONFIGURATION"]) {
            while !self.is_end() && !self.is_sym(";") {
                self.next();
            }
            return Ok(StmtKind::Ignored);
        }
        let name = if self.take("CURRENT") { None } else { Some(self.ident()?) };
        let mut options = Vec::new();
        if self.take("COLLATE") {
            options.push(DatabaseOption::Collate(self.collation()?));
            return Ok(StmtKind::AlterDatabase { name, options, termination: Termination::Wait });
        }
        if self.take("MODIFY") {
            if self.take("NAME") {
                self.need_sym("=")?;
                options.push(DatabaseOption::Rename(self.ident()?));
                return Ok(StmtKind::AlterDatabase {
                    name,
                    options,
                    termination: Termination::Wait,
                });
            }
            return self.unknown("ALTER DATABASE ... MODIFY");
        }
        if self.is("ADD") || self.is("REMOVE") {
            return self.unknown("ALTER DATABASE ... ADD FILE");
        }
        self.need("SET")?;
        loop {
            let option = match self.next() {
                Tok::Word(w) => w.to_ascii_uppercase(),
                _ => return Err(self.wrong()),
            };
            let equals = self.take_sym("=");
            options.push(match option.as_str() {
                "ALLOW_SNAPSHOT_ISOLATION" => DatabaseOption::SnapshotIsolation(self.on_off()?),
                "READ_COMMITTED_SNAPSHOT" => DatabaseOption::ReadCommittedSnapshot(self.on_off()?),
                "RECOVERY" => DatabaseOption::Recovery(match self.next() {
                    Tok::Word(w) => w.to_ascii_uppercase(),
                    _ => return Err(self.wrong()),
                }),
                "COMPATIBILITY_LEVEL" if equals => {
                    let level = u8::try_from(self.integer()?).map_err(|_| self.wrong())?;
                    DatabaseOption::CompatibilityLevel(level)
                }
                "SINGLE_USER" | "RESTRICTED_USER" => DatabaseOption::SingleUser(true),
                "MULTI_USER" => DatabaseOption::SingleUser(false),
                "READ_ONLY" => DatabaseOption::ReadOnly(true),
                "READ_WRITE" => DatabaseOption::ReadOnly(false),
                "ONLINE" => DatabaseOption::Offline(false),
                "OFFLINE" => DatabaseOption::Offline(true),
                "ENABLE_BROKER" | "DISABLE_BROKER" | "NEW_BROKER" => {
                    DatabaseOption::Other(option, String::new())
                }
                "ANSI_NULL_DEFAULT"
                | "ANSI_NULLS"
                | "ANSI_PADDING"
                | "ANSI_WARNINGS"
                | "ARITHABORT"
                | "AUTO_CLOSE"
                | "AUTO_CREATE_STATISTICS"
                | "AUTO_SHRINK"
                | "AUTO_UPDATE_STATISTICS"
                | "AUTO_UPDATE_STATISTICS_ASYNC"
                | "CHANGE_TRACKING"
                | "CONCAT_NULL_YIELDS_NULL"
                | "CURSOR_CLOSE_ON_COMMIT"
                | "CURSOR_DEFAULT"
                | "DATE_CORRELATION_OPTIMIZATION"
                | "DB_CHAINING"
                | "DELAYED_DURABILITY"
                | "HONOR_BROKER_PRIORITY"
                | "NUMERIC_ROUNDABORT"
                | "PAGE_VERIFY"
                | "PARAMETERIZATION"
                | "QUERY_STORE"
                | "QUOTED_IDENTIFIER"
                | "RECURSIVE_TRIGGERS"
                | "TARGET_RECOVERY_TIME"
                | "TRUSTWORTHY"
                | "ACCELERATED_DATABASE_RECOVERY" => {
                    let from = self.from();
                    if !self.is_sym("(") {
                        self.next();
                    }
                    if self.is_sym("(") {
                        self.skip_parentheses()?;
                    }
                    self.take("SECONDS");
                    DatabaseOption::Other(option, self.text(from, self.to()).to_owned())
                }
                "EMERGENCY" => {
                    return self.unknown(&format!("ALTER DATABASE ... SET {option}"));
                }
                _ => {
                    let m = format!("'{option}' is not a recognized SET option.");
                    return Err(SqlError::new(195, m).class(15).state(5).at_line(self.line()));
                }
            });
            if !self.take_sym(",") {
                break;
            }
        }
        let mut termination = Termination::Wait;
        if self.take("WITH") {
            if self.take("ROLLBACK") {
                termination = Termination::Immediate;
                if self.is("AFTER") {
                    return self.unknown("WITH ROLLBACK AFTER");
                } else {
                    self.need("IMMEDIATE")?;
                }
            } else {
                self.need("NO_WAIT")?;
                termination = Termination::NoWait;
            }
        }
        Ok(StmtKind::AlterDatabase { name, options, termination })
    }
}
