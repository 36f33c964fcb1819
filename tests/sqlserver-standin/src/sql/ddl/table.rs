//! Tables: columns, constraints and options.

use crate::sql::ast::{
    ColumnSpec, ConstraintSpec, ForeignSpec, IndexSpec, KeySpec, Name, RefAction, TableSpec,
    Versioning,
};
use crate::sql::lexer::Tok;
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    /// WITH (...), ON filegroup, TEXTIMAGE_ON after a table or a key.
    pub(super) fn table_options(&mut self) -> Parsed<()> {
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
                if self.is_at(2, "SYSTEM_VERSIONING") {
                    return Ok(());
                }
                if self.is_at(2, "MEMORY_OPTIMIZED") || self.is_at(2, "LEDGER") {
                    return self.unknown("memory-optimised and ledger tables");
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

    /// `(SYSTEM_VERSIONING = ON [(HISTORY_TABLE = a.b, ...)] | OFF)`
    pub(super) fn versioning(&mut self) -> Parsed<Option<Versioning>> {
        self.need_sym("(")?;
        self.need("SYSTEM_VERSIONING")?;
        self.need_sym("=")?;
        let mut found = Versioning::default();
        if self.take("OFF") {
            self.need_sym(")")?;
            return Ok(None);
        }
        self.need("ON")?;
        if self.take_sym("(") {
            loop {
                if self.take("HISTORY_TABLE") {
                    self.need_sym("=")?;
                    found.history = Some(self.name()?);
                } else if self.take("DATA_CONSISTENCY_CHECK") {
                    self.need_sym("=")?;
                    if !self.take("OFF") {
                        self.need("ON")?;
                    }
                } else {
                    return self.unknown("this option of SYSTEM_VERSIONING");
                }
                if !self.take_sym(",") {
                    break;
                }
            }
            self.need_sym(")")?;
        }
        if self.is_sym(",") {
            return self.unknown("options beside SYSTEM_VERSIONING");
        }
        self.need_sym(")")?;
        Ok(Some(found))
    }

    /// `( column ..., constraint ... )`
    pub(in crate::sql) fn table_body(&mut self, name: Name) -> Parsed<TableSpec> {
        let mut spec = TableSpec {
            name,
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
            period: None,
            versioning: None,
        };
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
                self.next();
                self.next();
                self.need("SYSTEM_TIME")?;
                self.need_sym("(")?;
                let start = self.ident()?;
                self.need_sym(",")?;
                spec.period = Some((start, self.ident()?));
                self.need_sym(")")?;
            } else {
                let c = self.column(&mut spec.indexes)?;
                spec.columns.push(c);
            }
            if !self.take_sym(",") && !self.is_key_with_columns() || self.is_sym(")") {
                break;
            }
        }
        self.need_sym(")")?;
        Ok(spec)
    }

    pub(in crate::sql) fn column(&mut self, indexes: &mut Vec<IndexSpec>) -> Parsed<ColumnSpec> {
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
            c.ty = Some(crate::sql::ast::TypeName {
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
            } else if self.take_all(&["NOT", "FOR", "REPLICATION"]) {
            } else if self.take_all(&["GENERATED", "ALWAYS", "AS", "ROW"]) {
                let start = self.take("START");
                if !start {
                    self.need("END")?;
                }
                c.generated = Some(start);
                c.hidden = self.take("HIDDEN");
            } else if self.is_any(&[
                "CONSTRAINT",
                "DEFAULT",
                "PRIMARY",
                "UNIQUE",
                "CHECK",
                "REFERENCES",
                "FOREIGN",
            ]) {
                // `a int PRIMARY KEY (b)`: a constraint of the table, whose comma may be missing.
                if self.is_key_with_columns() {
                    return Ok(c);
                }
                let constraint = self.constraint(Some(&c.name.clone()))?;
                c.constraints.push(constraint);
            } else if self.is("INDEX") {
                self.next();
                let index = self.inline_index(&Vec::new(), Some(&c.name.clone()))?;
                indexes.push(index);
            } else if self.is_any(&["MASKED", "ENCRYPTED", "GENERATED", "FILESTREAM"]) {
                return self.unknown("masked, encrypted, ledger and FILESTREAM columns");
            } else {
                return Ok(c);
            }
        }
    }

    /// `[CONSTRAINT name] PRIMARY KEY | UNIQUE [CLUSTERED | NONCLUSTERED] (`
    fn is_key_with_columns(&self) -> bool {
        let mut at = if self.is("CONSTRAINT") { 2 } else { 0 };
        if self.is_at(at, "PRIMARY") && self.is_at(at + 1, "KEY") {
            at += 2;
        } else if self.is_at(at, "UNIQUE") {
            at += 1;
        } else {
            return false;
        }
        if self.is_at(at, "CLUSTERED") || self.is_at(at, "NONCLUSTERED") {
            at += 1;
        }
        self.is_sym_at(at, "(")
    }

    /// A constraint of a table or, with its name, of a column.
    pub(super) fn constraint(&mut self, column: Option<&str>) -> Parsed<ConstraintSpec> {
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
    fn default_value(&mut self) -> Parsed<crate::sql::ast::Expr> {
        self.value()
    }
}
