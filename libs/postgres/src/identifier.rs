//! The only way to write a name into SQL.

use crate::PostgresError;

/// PostgreSQL cuts longer names silently (`NAMEDATALEN` - 1), so that two could become one.
pub const BYTES_MAX: usize = 63;

/// A name in double quotes.
///
/// # Errors
/// When PostgreSQL would cut it, or it holds a NUL.
pub fn quote(name: &str) -> Result<String, PostgresError> {
    if name.len() > BYTES_MAX || name.is_empty() || name.contains('\0') {
        return Err(PostgresError::Name { name: name.to_owned(), bytes: name.len() });
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `"schema"."table"`.
///
/// # Errors
/// As [`quote`].
pub fn table(schema: &str, name: &str) -> Result<String, PostgresError> {
    Ok(format!("{}.{}", quote(schema)?, quote(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_long_names_refused() {
        assert_eq!(quote("a\"b").unwrap(), "\"a\"\"b\"");
        assert_eq!(table("dbo", "Order Lines").unwrap(), "\"dbo\".\"Order Lines\"");
        assert!(quote(&"x".repeat(63)).is_ok());
        // 32 characters, 64 bytes.
        assert!(quote(&"\u{e4}".repeat(32)).unwrap_err().to_string().contains("64 bytes"));
    }
}
