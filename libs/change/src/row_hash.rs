//! [`RowHash`]: what a server says of many rows without sending them.

/// The number of rows of a range, and sums of their hashes, which are the same for the same rows in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowHash {
    /// Number of rows.
    pub rows: u64,
    /// The sums of the four numbers of 32 bits that the rows' hashes begin with.
    pub sums: [i64; 4],
}
