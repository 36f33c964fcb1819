//! ALTER.

use crate::sql::ast::{ModuleKind, StmtKind};
use crate::sql::lexer::Tok;
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(in crate::sql) fn alter(&mut self) -> Parsed<StmtKind> {
        self.need("ALTER")?;
        let word = match self.peek() {
            Tok::Word(w) => w.to_ascii_uppercase(),
            _ => return Err(self.wrong()),
        };
        match word.as_str() {
            "TABLE" => {
                self.next();
                let table = self.name()?;
                let action = self.alter_table(&table)?;
                Ok(StmtKind::AlterTable { table, action })
            }
            "DATABASE" => self.alter_database(),
            "VIEW" | "PROC" | "PROCEDURE" | "FUNCTION" | "TRIGGER" => {
                // The same text as CREATE from here on.
                let at = self.position();
                self.back_to(at - 1);
                let (kind, name) = match word.as_str() {
                    "VIEW" => {
                        self.next();
                        self.next();
                        let name = self.name()?;
                        if self.is_sym("(") {
                            self.name_list()?;
                        }
                        if self.take("WITH") {
                            self.names()?;
                        }
                        self.need("AS")?;
                        self.query()?;
                        self.take_all(&["WITH", "CHECK", "OPTION"]);
                        (ModuleKind::View, name)
                    }
                    "PROC" | "PROCEDURE" => {
                        self.next();
                        self.next();
                        let name = self.name()?;
                        let params = self.procedure_head()?;
                        while !self.is_end() {
                            while self.take_sym(";") {}
                            if !self.is_end() {
                                self.statement()?;
                            }
                        }
                        (ModuleKind::Procedure { params }, name)
                    }
                    "FUNCTION" | "TRIGGER" => {
                        self.next();
                        self.next();
                        let (name, kind) = self.function_or_trigger(&word)?;
                        (kind, name)
                    }
                    _ => return self.unknown(&format!("ALTER {word}")),
                };
                Ok(StmtKind::CreateModule { name, kind, alter: true, or_alter: false })
            }
            "SCHEMA" => {
                self.next();
                let schema = self.ident()?;
                self.need("TRANSFER")?;
                if self.take("OBJECT") {
                    self.need_sym(":")?;
                    self.take_sym(":");
                }
                Ok(StmtKind::AlterSchema { schema, object: self.name()? })
            }
            "INDEX" => {
                self.next();
                if !self.take("ALL") {
                    self.ident()?;
                }
                self.need("ON")?;
                self.name()?;
                if self.is("DISABLE") {
                    return self.unknown("ALTER INDEX ... DISABLE");
                }
                if !self.take("REBUILD") && !self.take("REORGANIZE") {
                    self.need("SET")?;
                    self.skip_parentheses()?;
                }
                if self.take("WITH") {
                    self.skip_parentheses()?;
                }
                Ok(StmtKind::Ignored)
            }
            "LOGIN" => {
                self.next();
                let name = self.ident()?;
                let (mut password, mut disable) = (None, None);
                if self.take("ENABLE") {
                    disable = Some(false);
                } else if self.take("DISABLE") {
                    disable = Some(true);
                } else {
                    self.need("WITH")?;
                    loop {
                        let option = self.ident().map(|w| w.to_ascii_uppercase())?;
                        self.need_sym("=")?;
                        if option == "PASSWORD" {
                            password = Some(self.string()?);
                        } else {
                            self.next();
                        }
                        if !self.take_sym(",") {
                            break;
                        }
                    }
                }
                Ok(StmtKind::AlterLogin { name, password, disable })
            }
            "ROLE" => {
                self.next();
                let name = self.ident()?;
                let add = self.take("ADD");
                if !add {
                    self.need("DROP")?;
                }
                self.need("MEMBER")?;
                Ok(StmtKind::AlterRole { name, member: self.ident()?, add })
            }
            "SERVER" if self.is_at(1, "ROLE") => {
                self.next();
                self.next();
                let role = self.ident()?;
                if !role.eq_ignore_ascii_case("sysadmin") {
                    return self.unknown("server roles other than sysadmin");
                }
                let add = self.take("ADD");
                if !add {
                    self.need("DROP")?;
                }
                self.need("MEMBER")?;
                Ok(StmtKind::AlterServerRole { member: self.ident()?, add })
            }
            "USER" => {
                self.next();
                self.ident()?;
                self.need("WITH")?;
                loop {
                    self.next();
                    self.need_sym("=")?;
                    self.next();
                    if !self.take_sym(",") {
                        break;
                    }
                }
                Ok(StmtKind::Ignored)
            }
            "AUTHORIZATION" => {
                self.next();
                self.need("ON")?;
                while !self.is("TO") && !self.is_end() {
                    self.next();
                }
                self.need("TO")?;
                self.next();
                Ok(StmtKind::Ignored)
            }
            _ => self.unknown(&format!("ALTER {word}")),
        }
    }
}
