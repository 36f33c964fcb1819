//! DROP.

use crate::sql::ast::{DropKind, StmtKind};
use crate::sql::lexer::Tok;
use crate::sql::parser::{Parsed, Parser};

impl Parser<'_> {
    pub(in crate::sql) fn drop(&mut self) -> Parsed<StmtKind> {
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
