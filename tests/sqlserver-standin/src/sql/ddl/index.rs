//! Indexes.

use crate::sql::ast::{IndexSpec, Name};
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn inline_index(&mut self, table: &Name, column: Option<&str>) -> Parsed<IndexSpec> {
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

    pub(super) fn key_columns(&mut self) -> Parsed<Vec<(String, bool)>> {
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

    pub(super) fn index(&mut self) -> Parsed<IndexSpec> {
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
}
