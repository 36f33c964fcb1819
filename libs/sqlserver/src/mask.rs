//! The update mask: which columns an update changed.

use causeway_change::{ColumnType, Value};

/// Whether the bit of a captured column is set in `__$update_mask`.
///
/// `ordinal` is `cdc.captured_columns.column_ordinal`, from 1. The lowest ordinals are in the LAST byte, as
/// `sys.fn_cdc_is_bit_set` reads them:
/// <https://learn.microsoft.com/sql/relational-databases/system-functions/sys-fn-cdc-is-bit-set-transact-sql>.
/// A mask that is too short for the ordinal has no bit for it: the column was not changed.
#[must_use]
pub fn is_set(mask: &[u8], ordinal: u32) -> bool {
    let Some(index) = ordinal.checked_sub(1) else {
        return false;
    };
    let from_end = usize::try_from(index / 8).unwrap_or(usize::MAX);
    mask.iter().rev().nth(from_end).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// What a NULL of a change table means: NULL, or a large value that was left out (research A.0.4).
#[must_use]
pub fn null_means(operation: u8, ty: &ColumnType, changed: bool) -> Value {
    if !ty.is_large() {
        return Value::Null;
    }
    let legacy = matches!(ty, ColumnType::Text | ColumnType::NText | ColumnType::Image);
    match operation {
        // The old large types never have a before image.
        1 | 3 if legacy => Value::Unavailable,
        3 | 4 if !changed => Value::Unavailable,
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_change::Length;

    #[test]
    fn the_lowest_ordinals_are_in_the_last_byte() {
        let mask = [0b0000_0001, 0b1000_0010];
        for (ordinal, set) in
            [(1, false), (2, true), (8, true), (9, true), (10, false), (17, false), (0, false)]
        {
            assert_eq!(is_set(&mask, ordinal), set, "{ordinal}");
        }
    }

    #[test]
    fn trap_14_an_untouched_large_column_is_not_null() {
        let max = ColumnType::NVarChar(Length::Max);
        for (operation, ty, changed, unavailable) in [
            (4, max, false, true),
            (4, max, true, false),
            (3, max, false, true),
            (2, max, false, false),
            (1, max, false, false),
            (3, ColumnType::Text, true, true),
            (1, ColumnType::Image, true, true),
            (4, ColumnType::Int, false, false),
        ] {
            assert_eq!(
                null_means(operation, &ty, changed).is_unavailable(),
                unavailable,
                "{operation} {ty} {changed}"
            );
        }
    }
}
