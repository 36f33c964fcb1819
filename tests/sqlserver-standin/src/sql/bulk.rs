//! INSERT BULK, by which clients announce a bulk load.

use std::sync::Arc;

use super::ast::{Bulk, Hints, Insert, InsertSource, StmtKind, TableRef};
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// `INSERT BULK t (a int, b varchar(9) COLLATE c, ...) WITH (CHECK_CONSTRAINTS, ORDER(a ASC), ...)` from `BULK` on.
    pub(super) fn insert_bulk(&mut self) -> Parsed<StmtKind> {
        self.need("BULK")?;
        let name = self.name()?;
        let (mut columns, mut types) = (Vec::new(), Vec::new());
        self.need_sym("(")?;
        loop {
            columns.push(self.ident()?);
            types.push(self.type_name()?);
            if self.take("COLLATE") {
                self.collation()?;
            }
            if !self.take("NULL") && self.take("NOT") {
                self.need("NULL")?;
            }
            if !self.take_sym(",") {
                break;
            }
        }
        self.need_sym(")")?;
        let mut bulk =
            Bulk { types, check_constraints: false, fire_triggers: false, keep_nulls: false };
        let mut hints = Hints::default();
        if self.take("WITH") {
            self.need_sym("(")?;
            loop {
                match self.ident_or("ORDER")?.to_ascii_uppercase().as_str() {
                    "CHECK_CONSTRAINTS" => bulk.check_constraints = true,
                    "FIRE_TRIGGERS" => bulk.fire_triggers = true,
                    "KEEP_NULLS" => bulk.keep_nulls = true,
                    "TABLOCK" => hints.names.push("TABLOCK".to_owned()),
                    // what the client says about its rows: nothing here is made faster by it
                    "ROWS_PER_BATCH" | "KILOBYTES_PER_BATCH" => {
                        self.need_sym("=")?;
                        self.integer()?;
                    }
                    "ORDER" => {
                        self.need_sym("(")?;
                        loop {
                            self.ident()?;
                            if !self.take("ASC") {
                                self.take("DESC");
                            }
                            if !self.take_sym(",") {
                                break;
                            }
                        }
                        self.need_sym(")")?;
                    }
                    other => return self.unknown(&format!("the option {other} of INSERT BULK")),
                }
                if !self.take_sym(",") {
                    break;
                }
            }
            self.need_sym(")")?;
        }
        Ok(StmtKind::Insert(Box::new(Insert {
            ctes: Arc::default(),
            top: None,
            target: TableRef::Named { name, alias: None, hints },
            columns,
            output: None,
            source: InsertSource::Bulk(bulk),
        })))
    }

    /// An identifier, or one reserved word.
    fn ident_or(&mut self, word: &str) -> Parsed<String> {
        if self.take(word) { Ok(word.to_owned()) } else { self.ident() }
    }
}
