//! Log sequence numbers as `binary(10)`, and their neighbours: `sys.fn_cdc_increment_lsn` / `_decrement_lsn`.

/// Ten bytes: virtual log file (4, big-endian), log block (4), slot (2).
pub(crate) type Bytes = [u8; 10];

/// The number after `lsn`, as `sys.fn_cdc_increment_lsn` counts: a ten-byte big-endian integer that wraps.
pub(crate) fn increment(lsn: &[u8]) -> Bytes {
    let mut next = fit(lsn);
    for byte in next.iter_mut().rev() {
        let (value, carry) = byte.overflowing_add(1);
        *byte = value;
        if !carry {
            break;
        }
    }
    next
}

/// The number before `lsn`, as `sys.fn_cdc_decrement_lsn` counts.
pub(crate) fn decrement(lsn: &[u8]) -> Bytes {
    let mut next = fit(lsn);
    for byte in next.iter_mut().rev() {
        let (value, borrow) = byte.overflowing_sub(1);
        *byte = value;
        if !borrow {
            break;
        }
    }
    next
}

/// `lsn` as exactly ten bytes: cut or filled with zeros on the right, as a cast to `binary(10)` does.
pub(crate) fn fit(lsn: &[u8]) -> Bytes {
    let mut bytes = [0u8; 10];
    for (to, from) in bytes.iter_mut().zip(lsn) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vlf: u32, block: u32, slot: u16) -> Bytes {
        crate::store::Lsn { vlf, block, slot }.bytes()
    }

    #[test]
    fn neighbours_carry_over_the_parts() {
        let lsn = of(0x27, 0xac0, 0xffff);
        assert_eq!(increment(&lsn), of(0x27, 0xac1, 0));
        assert_eq!(decrement(&increment(&lsn)), lsn);
        assert_eq!(decrement(&of(1, 0, 0)), of(0, u32::MAX, u16::MAX));
        assert_eq!(increment(&[0xff; 10]), [0; 10]);
    }
}
