//! CREATE.

use crate::sql::ast::{ModuleKind, ProcParam, StmtKind};
use crate::sql::lexer::Tok;
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(in crate::sql) fn create(&mut self) -> Parsed<StmtKind> {
        self.need("CREATE")?;
        let or_alter = self.take_all(&["OR", "ALTER"]);
        let word = match self.peek() {
            Tok::Word(w) => w.to_ascii_uppercase(),
            _ => return Err(self.wrong()),
        };
        match word.as_str() {
            "TABLE" => {
                self.next();
                let name = self.name()?;
                let mut spec = self.table_body(name)?;
                self.table_options()?;
                if self.is("WITH") && self.is_at(2, "SYSTEM_VERSIONING") {
                    self.next();
                    spec.versioning = self.versioning()?;
                    self.table_options()?;
                }
                Ok(StmtKind::CreateTable(Box::new(spec)))
            }
            "UNIQUE" | "CLUSTERED" | "NONCLUSTERED" | "INDEX" => {
                Ok(StmtKind::CreateIndex(Box::new(self.index()?)))
            }
            "COLUMNSTORE" | "XML" | "SPATIAL" | "FULLTEXT" | "SEQUENCE" | "PARTITION"
            | "ASSEMBLY" | "QUEUE" => self.unknown(&format!("CREATE {word}")),
            "VIEW" => {
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
                Ok(StmtKind::CreateModule { name, kind: ModuleKind::View, alter: false, or_alter })
            }
            "PROC" | "PROCEDURE" => {
                self.next();
                let name = self.name()?;
                let params = self.procedure_head()?;
                while !self.is_end() {
                    while self.take_sym(";") {}
                    if !self.is_end() {
                        self.statement()?;
                    }
                }
                Ok(StmtKind::CreateModule {
                    name,
                    kind: ModuleKind::Procedure { params },
                    alter: false,
                    or_alter,
                })
            }
            "FUNCTION" | "TRIGGER" => {
                self.next();
                let (name, kind) = self.function_or_trigger(&word)?;
                Ok(StmtKind::CreateModule { name, kind, alter: false, or_alter })
            }
            "SCHEMA" => {
                self.next();
                let mut name = None;
                if self.is_name() {
                    name = Some(self.ident()?);
                }
                let owner = if self.take("AUTHORIZATION") { Some(self.ident()?) } else { None };
                let Some(name) = name.or_else(|| owner.clone()) else { return Err(self.wrong()) };
                Ok(StmtKind::CreateSchema { name, owner })
            }
            "DATABASE" => {
                self.next();
                let name = self.ident()?;
                if self.take("CONTAINMENT") {
                    self.need_sym("=")?;
                    self.next();
                }
                if self.is("ON") {
                    self.next();
                    self.take("PRIMARY");
                    self.skip_parentheses()?;
                    while self.take_sym(",") {
                        self.skip_parentheses()?;
                    }
                    if self.take("LOG") {
                        self.need("ON")?;
                        self.skip_parentheses()?;
                    }
                }
                let collation = if self.take("COLLATE") { Some(self.collation()?) } else { None };
                if self.take("AS") {
                    return self.unknown("database snapshots");
                }
                Ok(StmtKind::CreateDatabase { name, collation })
            }
            "LOGIN" => {
                self.next();
                let name = self.ident()?;
                let (mut password, mut database) = (String::new(), None);
                if self.take("FROM") {
                    return self.unknown("logins FROM WINDOWS or EXTERNAL PROVIDER");
                }
                self.need("WITH")?;
                loop {
                    let option = match self.next() {
                        Tok::Word(w) => w.to_ascii_uppercase(),
                        _ => return Err(self.wrong()),
                    };
                    self.need_sym("=")?;
                    match option.as_str() {
                        "PASSWORD" => {
                            password = self.string()?;
                            let _ = self.take("MUST_CHANGE") || self.take("HASHED");
                        }
                        "DEFAULT_DATABASE" => database = Some(self.ident()?),
                        "SID" | "DEFAULT_LANGUAGE" | "CHECK_EXPIRATION" | "CHECK_POLICY" => {
                            self.next();
                        }
                        _ => return self.unknown(&format!("CREATE LOGIN ... {option}")),
                    }
                    if !self.take_sym(",") {
                        break;
                    }
                }
                Ok(StmtKind::CreateLogin { name, password, database })
            }
            "USER" => {
                self.next();
                let name = self.ident()?;
                let mut login = Some(name.clone());
                if self.take_all(&["WITHOUT", "LOGIN"]) {
                    login = None;
                } else if self.take("FOR") || self.take("FROM") {
                    self.need("LOGIN")?;
                    login = Some(self.ident()?);
                }
                if self.take("WITH") {
                    loop {
                        self.next();
                        self.need_sym("=")?;
                        self.next();
                        if !self.take_sym(",") {
                            break;
                        }
                    }
                }
                Ok(StmtKind::CreateUser { name, login })
            }
            "ROLE" => {
                self.next();
                let name = self.ident()?;
                if self.take("AUTHORIZATION") {
                    self.ident()?;
                }
                Ok(StmtKind::CreateRole { name })
            }
            "TYPE" => {
                self.next();
                let name = self.name()?;
                if !self.take("FROM") {
                    return self.unknown("table types");
                }
                let ty = self.type_name()?;
                let nullable = self.nullability();
                Ok(StmtKind::CreateType { name, ty, nullable })
            }
            "SYNONYM" => {
                self.next();
                let name = self.name()?;
                self.need("FOR")?;
                Ok(StmtKind::CreateSynonym { name, target: self.name()? })
            }
            "STATISTICS" => {
                self.next();
                self.ident()?;
                self.need("ON")?;
                self.name()?;
                self.skip_parentheses()?;
                if self.take("WITH") {
                    self.next();
                }
                Ok(StmtKind::Ignored)
            }
            _ => Err(self.wrong()),
        }
    }

    pub(in crate::sql) fn function_or_trigger(
        &mut self,
        word: &str,
    ) -> Parsed<(crate::sql::ast::Name, ModuleKind)> {
        if word == "FUNCTION" {
            let (name, function) = self.function()?;
            return Ok((name, ModuleKind::Other(function.kind())));
        }
        let (name, trigger) = self.trigger()?;
        Ok((name, ModuleKind::Trigger { table: trigger.table }))
    }

    /// Parameters and everything up to AS.
    pub(in crate::sql) fn procedure_head(&mut self) -> Parsed<Vec<ProcParam>> {
        let open = self.take_sym("(");
        let params = self.parameters()?;
        if open {
            self.need_sym(")")?;
        }
        if self.take("WITH") {
            while !self.is("AS") && !self.is_end() {
                self.next();
            }
        }
        self.need("AS")?;
        Ok(params)
    }

    pub(in crate::sql) fn parameters(&mut self) -> Parsed<Vec<ProcParam>> {
        let mut params = Vec::new();
        while let Tok::Var(name) = self.peek().clone() {
            self.next();
            self.take("AS");
            let ty = self.type_name()?;
            if self.take("VARYING") {
                return self.unknown("cursors");
            }
            self.nullability();
            let default = if self.take_sym("=") { Some(self.value()?) } else { None };
            let output = self.take("OUTPUT") || self.take("OUT");
            if self.take("READONLY") {
                return self.unknown("table-valued parameters");
            }
            params.push(ProcParam { name, ty, default, output });
            if !self.take_sym(",") {
                break;
            }
        }
        Ok(params)
    }
}
