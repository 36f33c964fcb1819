//! CREATE, ALTER and DROP.

use super::ast::{
    AlterTable, ColumnSpec, ConstraintSpec, DatabaseOption, DropKind, ForeignSpec, IndexSpec,
    KeySpec, ModuleKind, Name, ProcParam, RefAction, StmtKind, TableSpec,
};
use super::lexer::Tok;
use super::parser::{Parsed, Parser};
use crate::value::SqlError;

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Parsed<StmtKind> {
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
                let spec = self.table_body(name)?;
                self.table_options()?;
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
                let kind = if word == "FUNCTION" { "FN" } else { "TR" };
                self.next();
                let name = self.name()?;
                // The body is recorded, never run: whoever calls it gets an error.
                while !self.is_end() {
                    self.next();
                }
                Ok(StmtKind::CreateModule {
                    name,
                    kind: ModuleKind::Other(kind),
                    alter: false,
                    or_alter,
                })
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
                self.nullability();
                Ok(StmtKind::CreateType { name, ty })
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

    /// Parameters and everything up to AS.
    pub(super) fn procedure_head(&mut self) -> Parsed<Vec<ProcParam>> {
        let open = self.take_sym("(");
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

    fn nullability(&mut self) -> Option<bool> {
        if self.take_all(&["NOT", "NULL"]) {
            Some(false)
        } else if self.take("NULL") {
            Some(true)
        } else {
            None
        }
    }

    /// WITH (...), ON filegroup, TEXTIMAGE_ON after a table or a key.
    fn table_options(&mut self) -> Parsed<()> {
        loop {
            if self.is("ON")
                && matches!(self.peek_at(1), Tok::Quoted(_) | Tok::Str(_) | Tok::Word(_))
            {
                self.next();
                self.next();
                self.skip_parentheses()?;
            } else if self.is("TEXTIMAGE_ON") || self.is("FILESTREAM_ON") {
                self.next();
                self.next();
            } else if self.is("WITH") && self.is_sym_at(1, "(") {
                if self.is_at(2, "SYSTEM_VERSIONING")
                    || self.is_at(2, "MEMORY_OPTIMIZED")
                    || self.is_at(2, "LEDGER")
                {
                    return self.unknown("temporal, memory-optimised and ledger tables");
                }
                self.next();
                self.skip_parentheses()?;
            } else if self.is("WITH") && self.is_at(1, "FILLFACTOR") {
                self.next();
                self.next();
                self.need_sym("=")?;
                self.integer()?;
            } else {
                return Ok(());
            }
        }
    }

    /// `( column ..., constraint ... )`
    pub(super) fn table_body(&mut self, name: Name) -> Parsed<TableSpec> {
        let mut spec =
            TableSpec { name, columns: Vec::new(), constraints: Vec::new(), indexes: Vec::new() };
        if self.is("AS") {
            return self.unknown("this kind of table");
        }
        self.need_sym("(")?;
        loop {
            if self.is_any(&["CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
                let c = self.constraint(None)?;
                spec.constraints.push(c);
            } else if self.is("INDEX") {
                self.next();
                let index = self.inline_index(&spec.name, None)?;
                spec.indexes.push(index);
            } else if self.is("PERIOD") && self.is_at(1, "FOR") {
                return self.unknown("temporal tables");
            } else {
                let c = self.column(&mut spec.indexes)?;
                spec.columns.push(c);
            }
            if !self.take_sym(",") || self.is_sym(")") {
                break;
            }
        }
        self.need_sym(")")?;
        Ok(spec)
    }

    fn inline_index(&mut self, table: &Name, column: Option<&str>) -> Parsed<IndexSpec> {
        let name = self.ident()?;
        let unique = self.take("UNIQUE");
        let clustered = self.take("CLUSTERED");
        self.take("NONCLUSTERED");
        let columns = match column {
            Some(c) if !self.is_sym("(") => vec![(c.to_owned(), false)],
            _ => self.key_columns()?,
        };
        let included = if self.take("INCLUDE") { self.name_list()? } else { Vec::new() };
        let filter = if self.take("WHERE") { Some(self.with_text(Self::condition)?) } else { None };
        self.table_options()?;
        Ok(IndexSpec {
            name,
            unique,
            clustered,
            table: table.clone(),
            columns,
            included,
            filter,
            drop_existing: false,
        })
    }

    fn key_columns(&mut self) -> Parsed<Vec<(String, bool)>> {
        self.need_sym("(")?;
        let mut out = Vec::new();
        loop {
            let name = self.ident()?;
            let descending = self.take("DESC");
            if !descending {
                self.take("ASC");
            }
            out.push((name, descending));
            if !self.take_sym(",") {
                break;
            }
        }
        self.need_sym(")")?;
        Ok(out)
    }

    pub(super) fn column(&mut self, indexes: &mut Vec<IndexSpec>) -> Parsed<ColumnSpec> {
        let mut c = ColumnSpec { name: self.ident()?, ..ColumnSpec::default() };
        if self.take("AS") {
            c.computed = Some(self.with_text(Self::value)?);
            c.persisted = self.take("PERSISTED");
            if c.persisted {
                c.nullable = self.nullability();
            }
        } else if !self.is_sym(",") && !self.is_sym(")") {
            c.ty = Some(self.type_name()?);
        } else {
            // `timestamp` alone is a column of that name and type.
            if !c.name.eq_ignore_ascii_case("timestamp") {
                return Err(self.wrong());
            }
            c.ty = Some(super::ast::TypeName {
                text: "timestamp".to_owned(),
                base: "timestamp".to_owned(),
            });
        }
        loop {
            if let Some(n) = self.nullability() {
                c.nullable = Some(n);
            } else if self.take("IDENTITY") {
                let mut identity = (1, 1);
                if self.take_sym("(") {
                    identity.0 = self.integer()?;
                    self.need_sym(",")?;
                    identity.1 = self.integer()?;
                    self.need_sym(")")?;
                }
                c.identity = Some(identity);
            } else if self.take("COLLATE") {
                c.collation = Some(self.collation()?);
            } else if self.take("SPARSE") {
                c.sparse = true;
            } else if self.take("ROWGUIDCOL") {
                c.row_guid = true;
            } else if self.take("PERSISTED") {
                c.persisted = true;
            } else if self.take_all(&["NOT", "FOR", "REPLICATION"]) || self.take("HIDDEN") {
            } else if self.is_any(&[
                "CONSTRAINT",
                "DEFAULT",
                "PRIMARY",
                "UNIQUE",
                "CHECK",
                "REFERENCES",
                "FOREIGN",
            ]) {
                let constraint = self.constraint(Some(&c.name.clone()))?;
                c.constraints.push(constraint);
            } else if self.is("INDEX") {
                self.next();
                let index = self.inline_index(&Vec::new(), Some(&c.name.clone()))?;
                indexes.push(index);
            } else if self.is("MASKED")
                || self.is("ENCRYPTED")
                || self.is("GENERATED")
                || self.is("FILESTREAM")
            {
                return self.unknown("masked, encrypted, generated and FILESTREAM columns");
            } else {
                return Ok(c);
            }
        }
    }

    /// A constraint of a table or, with its name, of a column.
    fn constraint(&mut self, column: Option<&str>) -> Parsed<ConstraintSpec> {
        let name = if self.take("CONSTRAINT") { Some(self.ident()?) } else { None };
        if self.take("DEFAULT") {
            let value = self.with_text(Self::default_value)?;
            let column = match column {
                Some(c) => {
                    let with_values = self.take_all(&["WITH", "VALUES"]);
                    return Ok(ConstraintSpec::Default {
                        name,
                        value,
                        column: c.to_owned(),
                        with_values,
                    });
                }
                None => {
                    self.need("FOR")?;
                    self.ident()?
                }
            };
            let with_values = self.take_all(&["WITH", "VALUES"]);
            return Ok(ConstraintSpec::Default { name, value, column, with_values });
        }
        if self.take("CHECK") {
            self.take_all(&["NOT", "FOR", "REPLICATION"]);
            self.need_sym("(")?;
            let check = self.with_text(Self::condition)?;
            self.need_sym(")")?;
            return Ok(ConstraintSpec::Check { name, check, column: column.map(str::to_owned) });
        }
        let primary = self.take_all(&["PRIMARY", "KEY"]);
        if primary || self.take("UNIQUE") {
            let clustered = if self.take("CLUSTERED") {
                Some(true)
            } else if self.take("NONCLUSTERED") {
                Some(false)
            } else {
                None
            };
            if self.take("HASH") {
                return self.unknown("hash indexes");
            }
            let columns = match column {
                Some(c) if !self.is_sym("(") => {
                    self.take("ASC");
                    vec![(c.to_owned(), self.take("DESC"))]
                }
                _ => self.key_columns()?,
            };
            self.table_options()?;
            return Ok(ConstraintSpec::Key(KeySpec { name, primary, clustered, columns }));
        }
        let mut columns: Vec<String> = column.map(str::to_owned).into_iter().collect();
        if self.take_all(&["FOREIGN", "KEY"]) && self.is_sym("(") {
            columns = self.name_list()?;
        }
        self.need("REFERENCES")?;
        let parent = self.name()?;
        let parent_columns = if self.is_sym("(") { self.name_list()? } else { Vec::new() };
        let mut spec = ForeignSpec {
            name,
            columns,
            parent,
            parent_columns,
            on_delete: RefAction::NoAction,
            on_update: RefAction::NoAction,
        };
        loop {
            if self.is("ON") && (self.is_at(1, "DELETE") || self.is_at(1, "UPDATE")) {
                self.next();
                let delete = self.is("DELETE");
                self.next();
                let action = if self.take("CASCADE") {
                    RefAction::Cascade
                } else if self.take("SET") {
                    if self.take("NULL") {
                        RefAction::SetNull
                    } else {
                        self.need("DEFAULT")?;
                        RefAction::SetDefault
                    }
                } else {
                    self.need("NO")?;
                    self.need("ACTION")?;
                    RefAction::NoAction
                };
                if delete {
                    spec.on_delete = action;
                } else {
                    spec.on_update = action;
                }
            } else if !self.take_all(&["NOT", "FOR", "REPLICATION"]) {
                return Ok(ConstraintSpec::Foreign(spec));
            }
        }
    }

    /// The value of a DEFAULT; NOT NULL or a constraint may follow without a comma.
    fn default_value(&mut self) -> Parsed<super::ast::Expr> {
        self.value()
    }

    fn index(&mut self) -> Parsed<IndexSpec> {
        let unique = self.take("UNIQUE");
        let clustered = self.take("CLUSTERED");
        self.take("NONCLUSTERED");
        if self.is("COLUMNSTORE") {
            return self.unknown("columnstore indexes");
        }
        self.need("INDEX")?;
        let name = self.ident()?;
        self.need("ON")?;
        let table = self.name()?;
        let columns = self.key_columns()?;
        let included = if self.take("INCLUDE") { self.name_list()? } else { Vec::new() };
        let filter = if self.take("WHERE") { Some(self.with_text(Self::condition)?) } else { None };
        let mut drop_existing = false;
        if self.is("WITH") {
            let from = self.from();
            self.table_options()?;
            let options = self.text(from, self.to()).to_ascii_uppercase().replace(' ', "");
            drop_existing = options.contains("DROP_EXISTING=ON");
        }
        self.table_options()?;
        Ok(IndexSpec { name, unique, clustered, table, columns, included, filter, drop_existing })
    }

    pub(super) fn alter(&mut self) -> Parsed<StmtKind> {
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
                self.ident()?;
                if !self.take("ADD") {
                    self.need("DROP")?;
                }
                self.need("MEMBER")?;
                self.ident()?;
                Ok(StmtKind::Ignored)
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

    fn alter_table(&mut self, table: &Name) -> Parsed<AlterTable> {
        let mut no_check = false;
        if self.take("WITH") {
            no_check = self.take("NOCHECK");
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
                    return self.unknown("temporal tables");
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
                return self.unknown("temporal tables");
            }
            self.take("CONSTRAINT");
            let if_exists = self.take_all(&["IF", "EXISTS"]);
            let mut names = vec![self.ident()?];
            while self.take_sym(",") {
                self.take("CONSTRAINT");
                names.push(self.ident()?);
            }
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(AlterTable::DropConstraints(names, if_exists));
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
            return Ok(AlterTable::Check { enable, names });
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
            return self.unknown("temporal tables");
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

    fn alter_database(&mut self) -> Parsed<StmtKind> {
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
            return Ok(StmtKind::AlterDatabase { name, options });
        }
        if self.take("MODIFY") {
            if self.take("NAME") {
                self.need_sym("=")?;
                options.push(DatabaseOption::Rename(self.ident()?));
                return Ok(StmtKind::AlterDatabase { name, options });
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
                "ONLINE" | "ENABLE_BROKER" | "DISABLE_BROKER" | "NEW_BROKER" => {
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
                "OFFLINE" | "EMERGENCY" => {
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
        if self.take("WITH") {
            if self.take("ROLLBACK") {
                if self.take("AFTER") {
                    self.integer()?;
                    self.take("SECONDS");
                } else {
                    self.need("IMMEDIATE")?;
                }
            } else {
                self.need("NO_WAIT")?;
            }
        }
        Ok(StmtKind::AlterDatabase { name, options })
    }

    pub(super) fn drop(&mut self) -> Parsed<StmtKind> {
        self.need("DROP")?;
        let word = match self.next() {
            Tok::Word(w) => w.to_ascii_uppercase(),
            _ => {
                self.back_to(self.position() - 1);
                return Err(self.wrong());
            }
        };
        if word == "INDEX" {
            let if_exists = self.take_all(&["IF", "EXISTS"]);
            let mut indexes = Vec::new();
            loop {
                let mut name = self.name()?;
                if self.take("ON") {
                    let table = self.name()?;
                    indexes.push((name.pop().unwrap_or_default(), table));
                } else {
                    // The old form: DROP INDEX table.index
                    let Some(index) = name.pop().filter(|_| !name.is_empty()) else {
                        return Err(self.wrong());
                    };
                    indexes.push((index, name));
                }
                if !self.take_sym(",") {
                    break;
                }
            }
            if self.take("WITH") {
                self.skip_parentheses()?;
            }
            return Ok(StmtKind::DropIndex { indexes, if_exists });
        }
        let kind = match word.as_str() {
            "TABLE" => DropKind::Table,
            "VIEW" => DropKind::View,
            "PROC" | "PROCEDURE" => DropKind::Procedure,
            "FUNCTION" => DropKind::Function,
            "TRIGGER" => DropKind::Trigger,
            "SCHEMA" => DropKind::Schema,
            "DATABASE" => DropKind::Database,
            "LOGIN" => DropKind::Login,
            "USER" => DropKind::User,
            "ROLE" => DropKind::Role,
            "TYPE" => DropKind::Type,
            "SYNONYM" => DropKind::Synonym,
            "SEQUENCE" => DropKind::Sequence,
            "STATISTICS" => {
                self.name()?;
                return Ok(StmtKind::Ignored);
            }
            _ => {
                self.back_to(self.position() - 1);
                return self.unknown(&format!("DROP {word}"));
            }
        };
        let if_exists = self.take_all(&["IF", "EXISTS"]);
        let mut names = vec![self.name()?];
        while self.take_sym(",") {
            names.push(self.name()?);
        }
        Ok(StmtKind::Drop { kind, names, if_exists })
    }
}
