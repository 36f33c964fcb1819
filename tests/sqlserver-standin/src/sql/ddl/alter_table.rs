//! ALTER TABLE.

use crate::sql::ast::{AlterTable, Name};
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn alter_table(&mut self, table: &Name) -> Parsed<AlterTable> {
        let (mut no_check, mut verify) = (false, false);
        if self.take("WITH") {
            no_check = self.take("NOCHECK");
            verify = !no_check;
            if !no_check {
                self.need("CHECK")?;
            }
        }
        if self.take("ADD") {
            let (mut columns, mut constraints, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
            let mut with_values = false;
            loop {
                if self.is("COLUMN") {
                    return Err(self.wrong());
                }
                if self.is_any(&["CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "DEFAULT"])
                {
                    constraints.push(self.constraint(None)?);
                } else if self.is("PERIOD") {
                    return self.unknown("a period that is added later");
                } else {
                    columns.push(self.column(&mut indexes)?);
                }
                if self.take_all(&["WITH", "VALUES"]) {
                    with_values = true;
                }
                if !self.take_sym(",") {
                    break;
                }
            }
            if !indexes.is_empty() {
                return self.unknown("an inline index in ALTER TABLE ADD");
            }
            return Ok(AlterTable::Add { columns, constraints, with_values, no_check });
        }
        if self.take("DROP") {
            if self.take("COLUMN") {
                let if_exists = self.take_all(&["IF", "EXISTS"]);
                let mut names = vec![self.ident()?];
                while self.take_sym(",") {
                    self.take("COLUMN");
                    names.push(self.ident()?);
                }
                return Ok(AlterTable::DropColumns(names, if_exists));
            }
            if self.is("PERIOD") {
                return self.unknown("DROP PERIOD");
            }
            self.take("CONSTRAINT");
            let if_exists = self.take_all(&["IF", "EXISTS"]);
            let mut names = vec![self.ident()?];
            let mut columns = Vec::new();
            while self.take_sym(",") {
                if columns.is_empty() && !self.take("COLUMN") {
                    self.take("CONSTRAINT");
                    names.push(self.ident()?);
                } else {
                    self.take("COLUMN");
                    columns.push(self.ident()?);
                }
            }
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(if columns.is_empty() {
                AlterTable::DropConstraints(names, if_exists)
            } else {
                AlterTable::Both(
                    Box::new(AlterTable::DropConstraints(names, if_exists)),
                    Box::new(AlterTable::DropColumns(columns, false)),
                )
            });
        }
        if self.take_all(&["ALTER", "COLUMN"]) {
            let at = self.position();
            self.ident()?;
            if self.is("ADD") || self.is("DROP") {
                return self.unknown("ALTER COLUMN ... ADD/DROP");
            }
            self.back_to(at);
            let mut indexes = Vec::new();
            let column = self.column(&mut indexes)?;
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(AlterTable::AlterColumn(column));
        }
        if self.is_any(&["CHECK", "NOCHECK"]) {
            let enable = self.is("CHECK");
            self.next();
            self.need("CONSTRAINT")?;
            let names = if self.take("ALL") { Vec::new() } else { self.names()? };
            return Ok(AlterTable::Check { enable, names, verify: verify && enable });
        }
        if self.take("REBUILD") {
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(AlterTable::Ignored);
        }
        if self.take("SET") {
            if self.is_sym_at(0, "(") && self.is_at(1, "LOCK_ESCALATION") {
                self.skip_parentheses()?;
                return Ok(AlterTable::Ignored);
            }
            if self.is_sym_at(0, "(") && self.is_at(1, "SYSTEM_VERSIONING") {
                return Ok(AlterTable::Versioning(self.versioning()?));
            }
            return self.unknown("this option of ALTER TABLE ... SET");
        }
        if self.is_any(&["ENABLE", "DISABLE"]) && self.is_at(1, "CHANGE_TRACKING") {
            self.next();
            self.next();
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(AlterTable::Ignored);
        }
        if self.is("SWITCH") {
            return self.unknown("ALTER TABLE ... SWITCH");
        }
        let _ = table;
        Err(self.wrong())
    }
}
