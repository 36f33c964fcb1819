//! The only way in which a name enters a T-SQL text.

use causeway_change::TableId;

/// A name in brackets: `]` is doubled, so that no name can end the brackets.
/// <https://learn.microsoft.com/sql/t-sql/functions/quotename-transact-sql>
#[must_use]
pub fn quote(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// `[schema].[table]`
#[must_use]
pub fn table(id: &TableId) -> String {
    format!("{}.{}", quote(&id.schema), quote(&id.name))
}

/// The change table of a capture instance: `[cdc].[<instance>_CT]`.
#[must_use]
pub fn change_table(instance: &str) -> String {
    format!("[cdc].{}", quote(&format!("{instance}_CT")))
}

/// A string literal: `N'…'`, with `'` doubled.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_own_brackets() {
        assert_eq!(quote("order no"), "[order no]");
        assert_eq!(quote("a]; DROP TABLE b--"), "[a]]; DROP TABLE b--]");
        assert_eq!(table(&TableId::new("my]s", "t$")), "[my]]s].[t$]");
        assert_eq!(change_table("dbo_Fixed Asset"), "[cdc].[dbo_Fixed Asset_CT]");
        assert_eq!(literal("O'Neill"), "N'O''Neill'");
    }
}
