//! System views as rowsets: a line of text says the columns, rows follow.

use crate::value::{Col, Rowset, SqlError, Ty, Typed, Val, parse_type};

/// The most characters of a name (`sysname` is `nvarchar(128)`).
pub(crate) const SYSNAME: Ty = Ty::NVarChar(128);

/// A view being filled.
pub(crate) struct View {
    rowset: Rowset,
}

impl View {
    /// The columns as `name type` separated by `;`, with a `!` after the type of a column that is never NULL:
    /// `object_id int!; name sysname!; definition nvarchar(max)`.
    pub(crate) fn new(columns: &str) -> Result<Self, SqlError> {
        let mut all = Vec::new();
        for text in columns.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let (name, ty) = text
                .split_once(' ')
                .ok_or_else(|| SqlError::unknown(format!("the column {text}")))?;
            let (ty, nullable) =
                ty.trim().strip_suffix('!').map_or((ty.trim(), true), |ty| (ty, false));
            let ty = if ty == "sysname" { SYSNAME } else { parse_type(ty)? };
            all.push(if nullable { Col::new(name, ty) } else { Col::not_null(name, ty) });
        }
        Ok(Self { rowset: Rowset::new(all) })
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, values: [Val; N]) {
        self.rowset.push(values.into());
    }

    /// Adds a row made of parts.
    pub(crate) fn push(&mut self, values: Vec<Val>) {
        self.rowset.push(values);
    }

    /// The finished rowset.
    pub(crate) fn done(self) -> Rowset {
        self.rowset
    }
}

/// An integer.
pub(crate) fn int(value: impl Into<i64>) -> Val {
    Val::Int(value.into())
}

/// A bit.
pub(crate) fn bit(value: bool) -> Val {
    Val::Bit(value)
}

/// A text.
pub(crate) fn text(value: impl AsRef<str>) -> Val {
    Val::str(value.as_ref())
}

/// A text or NULL.
pub(crate) fn maybe_text(value: Option<impl AsRef<str>>) -> Val {
    value.map_or(Val::Null, text)
}

/// An integer or NULL.
pub(crate) fn maybe_int(value: Option<impl Into<i64>>) -> Val {
    value.map_or(Val::Null, int)
}

/// The text of an argument, without trailing blanks; `None` when it is NULL.
pub(crate) fn argument_text(args: &[Typed], at: usize) -> Result<Option<String>, SqlError> {
    let Some(value) = args.get(at) else { return Ok(None) };
    Ok(value.to_string16()?.map(|text| String::from_utf16_lossy(&text).trim_end().to_owned()))
}

/// The integer of an argument; `None` when it is NULL or not given.
pub(crate) fn argument_int(args: &[Typed], at: usize) -> Result<Option<i64>, SqlError> {
    args.get(at).map_or(Ok(None), Typed::to_i64)
}

/// The bytes of an argument; `None` when it is NULL or not given.
pub(crate) fn argument_bytes(args: &[Typed], at: usize) -> Result<Option<Vec<u8>>, SqlError> {
    let Some(value) = args.get(at) else { return Ok(None) };
    match crate::value::cast(value, &Ty::VarBinary(crate::value::MAX), None)? {
        Val::Bytes(bytes) => Ok(Some(bytes.to_vec())),
        _ => Ok(None),
    }
}

/// Whether two names are the same in a database with a case-insensitive collation.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.trim_end().to_lowercase() == b.trim_end().to_lowercase()
}

/// `[a].b.[c]]d]` in its parts, the brackets or quotes taken off; an empty part stays (`db..table`).
pub(crate) fn split_name(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut close = None;
    let mut letters = name.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match close {
            Some(end) if letter == end => {
                if letters.peek() == Some(&end) {
                    part.push(end);
                    letters.next();
                } else {
                    close = None;
                }
            }
            Some(_) => part.push(letter),
            None => match letter {
                '[' => close = Some(']'),
                '"' => close = Some('"'),
                '.' => parts.push(std::mem::take(&mut part)),
                letter => part.push(letter),
            },
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_dots_outside_brackets() {
        assert_eq!(split_name("dbo.t"), ["dbo", "t"]);
        assert_eq!(split_name("[a.b].[c]]d]"), ["a.b", "c]d"]);
        assert_eq!(split_name("db..t"), ["db", "", "t"]);
    }

    #[test]
    fn a_view_has_the_columns_of_its_text() {
        let view = View::new("object_id int!; name sysname; lsn numeric(25,0)").unwrap().done();
        assert_eq!(view.columns[1].ty, SYSNAME);
        assert!(!view.columns[0].nullable && view.columns[1].nullable);
        assert_eq!(view.columns[2].ty, Ty::Decimal(25, 0));
    }
}
