//! Log sequence numbers: 10 bytes, virtual log file, block, slot.

use std::fmt;

/// A log sequence number. The derived order is the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn {
    pub vlf: u32,
    pub block: u32,
    pub slot: u16,
}

/// Records in a log block of the simulated log.
const SLOTS: u64 = 200;
/// Log blocks in a virtual log file of the simulated log; a block number counts 512-byte sectors in steps of 8.
const BLOCKS: u64 = 250_000;

impl Lsn {
    /// The position of the n-th record of a log.
    pub fn of_record(n: u64) -> Self {
        let (blocks, slot) = (n / SLOTS, n % SLOTS + 1);
        let (vlf, block) = (blocks / BLOCKS + 0x25, (blocks % BLOCKS + 2) * 8);
        Self {
            vlf: u32::try_from(vlf).unwrap_or(u32::MAX),
            block: u32::try_from(block).unwrap_or(u32::MAX),
            slot: u16::try_from(slot).unwrap_or(u16::MAX),
        }
    }

    /// `binary(10)` as the cdc functions return it.
    pub fn bytes(self) -> [u8; 10] {
        let mut out = [0; 10];
        let all = self
            .vlf
            .to_be_bytes()
            .into_iter()
            .chain(self.block.to_be_bytes())
            .chain(self.slot.to_be_bytes());
        for (to, from) in out.iter_mut().zip(all) {
            *to = from;
        }
        out
    }

    pub fn from_bytes(b: [u8; 10]) -> Self {
        let [a, b1, c, d, e, f, g, h, i, j] = b;
        Self {
            vlf: u32::from_be_bytes([a, b1, c, d]),
            block: u32::from_be_bytes([e, f, g, h]),
            slot: u16::from_be_bytes([i, j]),
        }
    }

    /// The decimal form of `sys.dm_tran_database_transactions`, numeric(25,0).
    pub fn numeric(self) -> i128 {
        i128::from(self.vlf) * 1_000_000_000_000_000
            + i128::from(self.block) * 100_000
            + i128::from(self.slot)
    }
}

/// `00000027:00000ac0:0002`, the form of `sys.dm_db_log_stats`.
impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}:{:04x}", self.vlf, self.block, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_ordered_in_every_form() {
        let lsns: Vec<Lsn> =
            [0, 1, 198, 199, 200, 49_999_999, 50_000_000].map(Lsn::of_record).to_vec();
        assert!(lsns.is_sorted());
        assert!(lsns.iter().map(|l| l.bytes()).is_sorted());
        assert!(lsns.iter().map(|l| l.numeric()).is_sorted());
        assert!(lsns.iter().all(|l| Lsn::from_bytes(l.bytes()) == *l));
        let lsn = Lsn { vlf: 0x27, block: 0xac0, slot: 2 };
        assert_eq!(lsn.to_string(), "00000027:00000ac0:0002");
    }
}
