//! `__$update_mask`: one bit per captured column.
//!
//! The lowest ordinals are in the last byte: ordinal n is bit (n-1) % 8 of byte len-1-(n-1)/8, which is what
//! `sys.fn_cdc_is_bit_set` evaluates (MicrosoftDocs, `fn_cdc_is_bit_set`; research/source.md A.0.4).

/// The mask of a table of `count` captured columns with the bits of `ordinals` (1-based) set.
pub(crate) fn of(count: usize, ordinals: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut mask = vec![0u8; count.div_ceil(8)];
    for ordinal in ordinals {
        set(&mut mask, ordinal);
    }
    mask
}

/// The mask with every captured column's bit set: inserts and deletes.
pub(crate) fn all(count: usize) -> Vec<u8> {
    of(count, 1..=count)
}

fn set(mask: &mut [u8], ordinal: usize) {
    let length = mask.len();
    let place = ordinal
        .checked_sub(1)
        .and_then(|n| length.checked_sub(1 + n / 8).map(|byte| (byte, n % 8)));
    if let Some((byte, bit)) = place
        && let Some(slot) = mask.get_mut(byte)
    {
        *slot |= 1 << bit;
    }
}

/// Whether the bit of `ordinal` is set; false beyond the mask's end.
pub(crate) fn is_set(mask: &[u8], ordinal: usize) -> bool {
    let Some(n) = ordinal.checked_sub(1) else { return false };
    let Some(byte) = mask.len().checked_sub(1 + n / 8) else { return false };
    mask.get(byte).is_some_and(|value| value & (1 << (n % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_ordinals_are_in_the_last_byte() {
        assert_eq!(of(3, [1, 3]), [0b101]);
        assert_eq!(of(10, [1]), [0, 1]);
        assert_eq!(of(10, [9, 8]), [1, 0x80]);
        assert_eq!(of(17, [17, 9, 2]), [1, 1, 2]);
    }

    #[test]
    fn all_sets_exactly_the_columns_there_are() {
        assert_eq!(all(8), [0xff]);
        assert_eq!(all(9), [0x01, 0xff]);
        assert_eq!(all(3), [0x07]);
    }

    #[test]
    fn every_bit_is_read_back_where_it_was_set() {
        for count in 1..40 {
            for ordinal in 1..=count {
                let mask = of(count, [ordinal]);
                for other in 0..=count + 9 {
                    assert_eq!(is_set(&mask, other), other == ordinal, "{count} {ordinal} {other}");
                }
            }
        }
    }
}
