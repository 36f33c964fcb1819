//! The parser's hands: looking at tokens, taking them, names, types.

use std::sync::Arc;

use super::ast::{Expr, Name, TextExpr, TypeName};
use super::depth::Depth;
use super::lexer::{Tok, Token, tokens};
use crate::value::SqlError;

pub(super) type Parsed<T> = Result<T, SqlError>;

/// A recursive-descent parser over the tokens of a batch.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a str,
    tokens: Vec<Token>,
    at: usize,
    end: Token,
    pub(super) depth: Depth,
}

/// Words that cannot be a name or an alias without brackets.
const RESERVED: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "AUTHORIZATION",
    "BACKUP",
    "BEGIN",
    "BETWEEN",
    "BREAK",
    "BROWSE",
    "BULK",
    "BY",
    "CASCADE",
    "CASE",
    "CHECK",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTERED",
    "COALESCE",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "COMPUTE",
    "CONSTRAINT",
    "CONTAINS",
    "CONTAINSTABLE",
    "CONTINUE",
    "CONVERT",
    "CREATE",
    "CROSS",
    "CURRENT",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "CURSOR",
    "DATABASE",
    "DBCC",
    "DEALLOCATE",
    "DECLARE",
    "DEFAULT",
    "DELETE",
    "DENY",
    "DESC",
    "DISK",
    "DISTINCT",
    "DISTRIBUTED",
    "DOUBLE",
    "DROP",
    "DUMP",
    "ELSE",
    "END",
    "ERRLVL",
    "ESCAPE",
    "EXCEPT",
    "EXEC",
    "EXECUTE",
    "EXISTS",
    "EXIT",
    "EXTERNAL",
    "FETCH",
    "FILE",
    "FILLFACTOR",
    "FOR",
    "FOREIGN",
    "FREETEXT",
    "FREETEXTTABLE",
    "FROM",
    "FULL",
    "FUNCTION",
    "GOTO",
    "GRANT",
    "GROUP",
    "HAVING",
    "HOLDLOCK",
    "IDENTITY",
    "IDENTITYCOL",
    "IDENTITY_INSERT",
    "IF",
    "IN",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "KILL",
    "LEFT",
    "LIKE",
    "LINENO",
    "LOAD",
    "MERGE",
    "NATIONAL",
    "NOCHECK",
    "NONCLUSTERED",
    "NOT",
    "NULL",
    "NULLIF",
    "OF",
    "OFF",
    "OFFSETS",
    "ON",
    "OPEN",
    "OPENDATASOURCE",
    "OPENQUERY",
    "OPENROWSET",
    "OPENXML",
    "OPTION",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PERCENT",
    "PIVOT",
    "PLAN",
    "PRIMARY",
    "PRINT",
    "PROC",
    "PROCEDURE",
    "PUBLIC",
    "RAISERROR",
    "READ",
    "READTEXT",
    "RECONFIGURE",
    "REFERENCES",
    "REPLICATION",
    "RESTORE",
    "RESTRICT",
    "RETURN",
    "REVERT",
    "REVOKE",
    "RIGHT",
    "ROLLBACK",
    "ROWCOUNT",
    "ROWGUIDCOL",
    "RULE",
    "SAVE",
    "SCHEMA",
    "SECURITYAUDIT",
    "SELECT",
    "SESSION_USER",
    "SET",
    "SETUSER",
    "SHUTDOWN",
    "SOME",
    "STATISTICS",
    "SYSTEM_USER",
    "TABLE",
    "TABLESAMPLE",
    "TEXTSIZE",
    "THEN",
    "TO",
    "TOP",
    "TRAN",
    "TRANSACTION",
    "TRIGGER",
    "TRUNCATE",
    "TRY_CONVERT",
    "TSEQUAL",
    "UNION",
    "UNIQUE",
    "UNPIVOT",
    "UPDATE",
    "UPDATETEXT",
    "USE",
    "USER",
    "VALUES",
    "VARYING",
    "VIEW",
    "WAITFOR",
    "WHEN",
    "WHERE",
    "WHILE",
    "WITH",
    "WITHIN",
    "WRITETEXT",
];

pub(super) fn is_reserved(word: &str) -> bool {
    let mut buffer = [0u8; 32];
    let Some(upper) = buffer.get_mut(..word.len()) else { return false };
    upper.copy_from_slice(word.as_bytes());
    upper.make_ascii_uppercase();
    std::str::from_utf8(upper).is_ok_and(|w| RESERVED.binary_search(&w).is_ok())
}

impl<'a> Parser<'a> {
    pub(super) fn new(sql: &'a str) -> Parsed<Self> {
        let tokens = tokens(sql)?;
        let end = Token {
            tok: Tok::Eof,
            from: sql.len(),
            to: sql.len(),
            line: tokens.last().map_or(1, |t| t.line),
        };
        Ok(Self { sql, tokens, at: 0, end, depth: Depth::default() })
    }

    pub(super) fn token(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&self.end)
    }
    pub(super) fn peek(&self) -> &Tok {
        &self.token().tok
    }
    pub(super) fn peek_at(&self, ahead: usize) -> &Tok {
        self.tokens.get(self.at + ahead).map_or(&Tok::Eof, |t| &t.tok)
    }
    pub(super) fn line(&self) -> u32 {
        self.token().line
    }
    pub(super) fn position(&self) -> usize {
        self.at
    }
    pub(super) fn back_to(&mut self, position: usize) {
        self.at = position;
    }
    pub(super) fn next(&mut self) -> Tok {
        let tok = self.peek().clone();
        self.at += 1;
        tok
    }
    pub(super) fn is_end(&self) -> bool {
        matches!(self.peek(), Tok::Eof)
    }

    /// Byte offset where the next token begins, and where the last one ended.
    pub(super) fn from(&self) -> usize {
        self.token().from
    }
    pub(super) fn to(&self) -> usize {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(0, |t| t.to)
    }
    pub(super) fn text(&self, from: usize, to: usize) -> &'a str {
        self.sql.get(from..to).unwrap_or("")
    }

    /// The error for the token that should not be here.
    pub(super) fn wrong(&self) -> SqlError {
        let token = self.token();
        let error = match &token.tok {
            Tok::Word(w) if is_reserved(w) => {
                SqlError::new(156, format!("Incorrect syntax near the keyword '{w}'.")).class(15)
            }
            Tok::Eof => {
                let last = self.tokens.len().checked_sub(2).and_then(|i| self.tokens.get(i));
                SqlError::syntax(last.map_or("", |t| self.text(t.from, t.to)))
            }
            Tok::Quoted(q) => SqlError::syntax(q),
            Tok::Str(s) | Tok::NStr(s) => SqlError::syntax(s),
            _ => SqlError::syntax(self.text(token.from, token.to)),
        };
        error.at_line(token.line)
    }

    /// Refuses what SQL Server knows and the stand-in does not.
    pub(super) fn unknown<T>(&self, what: &str) -> Parsed<T> {
        let from = self.from();
        let near: String = self.sql.get(from..).unwrap_or("").chars().take(60).collect();
        Err(SqlError::unknown(format!("{what} (near '{near}')")).at_line(self.line()))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Tok::Word(w) if w.eq_ignore_ascii_case(word))
    }
    pub(super) fn is_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Tok::Word(w) if w.eq_ignore_ascii_case(word))
    }
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|w| self.is(w))
    }
    pub(super) fn take(&mut self, word: &str) -> bool {
        let yes = self.is(word);
        if yes {
            self.at += 1;
        }
        yes
    }
    /// Takes all the words or none.
    pub(super) fn take_all(&mut self, words: &[&str]) -> bool {
        let yes = words.iter().enumerate().all(|(i, w)| self.is_at(i, w));
        if yes {
            self.at += words.len();
        }
        yes
    }
    pub(super) fn need(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(self.wrong()) }
    }
    pub(super) fn is_sym(&self, sym: &str) -> bool {
        matches!(self.peek(), Tok::Sym(s) if *s == sym)
    }
    pub(super) fn is_sym_at(&self, ahead: usize, sym: &str) -> bool {
        matches!(self.peek_at(ahead), Tok::Sym(s) if *s == sym)
    }
    pub(super) fn take_sym(&mut self, sym: &str) -> bool {
        let yes = self.is_sym(sym);
        if yes {
            self.at += 1;
        }
        yes
    }
    pub(super) fn need_sym(&mut self, sym: &str) -> Parsed<()> {
        if self.take_sym(sym) { Ok(()) } else { Err(self.wrong()) }
    }

    /// Whether the next token can be a name.
    pub(super) fn is_name(&self) -> bool {
        match self.peek() {
            Tok::Word(w) => !is_reserved(w),
            Tok::Quoted(_) => true,
            _ => false,
        }
    }

    /// One part of a name.
    pub(super) fn ident(&mut self) -> Parsed<String> {
        match self.peek() {
            Tok::Word(w) if !is_reserved(w) => {
                let w = w.clone();
                self.at += 1;
                Ok(w)
            }
            Tok::Quoted(q) => {
                let q = q.clone();
                self.at += 1;
                Ok(q)
            }
            _ => Err(self.wrong()),
        }
    }

    /// An alias, which may also be a string.
    pub(super) fn alias(&mut self) -> Parsed<String> {
        match self.peek() {
            Tok::Str(s) | Tok::NStr(s) => {
                let s = s.clone();
                self.at += 1;
                Ok(s)
            }
            _ => self.ident(),
        }
    }

    /// `a`, `a.b`, `a..b`, `a.b.c.d`
    pub(super) fn name(&mut self) -> Parsed<Name> {
        let mut parts = vec![if self.is_sym(".") { String::new() } else { self.ident()? }];
        while self.is_sym(".") {
            self.at += 1;
            if self.is_sym(".") {
                parts.push(String::new());
            } else {
                // After a dot even a keyword is a name.
                match self.next() {
                    Tok::Word(w) => parts.push(w),
                    Tok::Quoted(q) => parts.push(q),
                    _ => {
                        self.at -= 1;
                        return Err(self.wrong());
                    }
                }
            }
        }
        if parts.len() > 4 {
            return Err(SqlError::new(
                117,
                format!(
                    "The object name '{}' contains more than the maximum number of prefixes. The maximum is 3.",
                    parts.join(".")
                ),
            )
            .class(15)
            .at_line(self.line()));
        }
        Ok(parts)
    }

    pub(super) fn names(&mut self) -> Parsed<Vec<String>> {
        let mut out = vec![self.ident()?];
        while self.take_sym(",") {
            out.push(self.ident()?);
        }
        Ok(out)
    }

    /// `(a, b, c)`
    pub(super) fn name_list(&mut self) -> Parsed<Vec<String>> {
        self.need_sym("(")?;
        let out = self.names()?;
        self.need_sym(")")?;
        Ok(out)
    }

    pub(super) fn variable(&mut self) -> Parsed<String> {
        match self.peek() {
            Tok::Var(v) if !v.starts_with("@@") => {
                let v = v.clone();
                self.at += 1;
                Ok(v)
            }
            _ => Err(self.wrong()),
        }
    }

    pub(super) fn string(&mut self) -> Parsed<String> {
        match self.peek() {
            Tok::Str(s) | Tok::NStr(s) => {
                let s = s.clone();
                self.at += 1;
                Ok(s)
            }
            _ => Err(self.wrong()),
        }
    }

    pub(super) fn integer(&mut self) -> Parsed<i128> {
        let negative = self.take_sym("-");
        if !negative {
            self.take_sym("+");
        }
        match self.peek() {
            Tok::Number(n) => {
                let n: i128 = n.parse().map_err(|_| self.wrong())?;
                self.at += 1;
                Ok(if negative { -n } else { n })
            }
            _ => Err(self.wrong()),
        }
    }

    /// `decimal(10, 2)`, `varchar(max)`, `dbo.phone`, `character varying(10)`
    pub(super) fn type_name(&mut self) -> Parsed<TypeName> {
        // Some types are reserved words (DOUBLE PRECISION, NATIONAL CHARACTER).
        let first = match self.next() {
            Tok::Word(w)
                if !is_reserved(&w)
                    || w.eq_ignore_ascii_case("double")
                    || w.eq_ignore_ascii_case("national") =>
            {
                w
            }
            Tok::Quoted(q) => q,
            _ => {
                self.at -= 1;
                return Err(self.wrong());
            }
        };
        let mut base = first;
        while self.take_sym(".") {
            base.push('.');
            base.push_str(&self.ident()?);
        }
        if base.eq_ignore_ascii_case("double") {
            self.need("PRECISION")?;
            base = "float".to_owned();
        }
        if base.eq_ignore_ascii_case("national") {
            let text = self.take("text");
            if !text && !self.take("char") {
                self.need("character")?;
            }
            base = if text { "ntext" } else { "nchar" }.to_owned();
        }
        if base.eq_ignore_ascii_case("character") {
            base = "char".to_owned();
        }
        let lower = base.to_ascii_lowercase();
        if self.take("varying") {
            base = match lower.as_str() {
                "nchar" => "nvarchar",
                "binary" => "varbinary",
                _ => "varchar",
            }
            .to_owned();
        }
        let base = base.strip_prefix("sys.").map(str::to_owned).unwrap_or(base);
        let mut text = base.clone();
        if self.take_sym("(") {
            text.push('(');
            loop {
                match self.next() {
                    Tok::Number(n) => text.push_str(&n),
                    Tok::Word(w) => text.push_str(&w),
                    _ => {
                        self.at -= 1;
                        return Err(self.wrong());
                    }
                }
                if self.take_sym(",") {
                    text.push(',');
                } else {
                    break;
                }
            }
            self.need_sym(")")?;
            text.push(')');
        }
        Ok(TypeName { text, base })
    }

    /// Parses a part and keeps its text.
    pub(super) fn with_text(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Parsed<Expr>,
    ) -> Parsed<TextExpr> {
        let from = self.from();
        let expr = parse(self)?;
        Ok(TextExpr { expr, text: self.text(from, self.to()).to_owned() })
    }

    /// Skips a balanced `( ... )`, if one comes.
    pub(super) fn skip_parentheses(&mut self) -> Parsed<()> {
        if !self.take_sym("(") {
            return Ok(());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Tok::Sym("(") => depth += 1,
                Tok::Sym(")") => depth -= 1,
                Tok::Eof => return Err(self.wrong()),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn shared(&self, from: usize, to: usize) -> Arc<str> {
        Arc::from(self.text(from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_words_are_sorted() {
        assert!(RESERVED.is_sorted());
        assert!(
            is_reserved("select")
                && is_reserved("Order")
                && !is_reserved("orders")
                && !is_reserved("LIMIT")
        );
    }
}
