//! One side of a table as (key, digest) pairs, partitioned by the key, in bounded memory.
//!
//! The two sides are read in whatever order their engines like (the order of strings, GUIDs and
//! binaries is not the same in both), so both are dealt into the same partitions by a hash of the key
//! and compared partition by partition: a Grace hash join. What exceeds the memory limit goes to an
//! unnamed temporary file. A partition whose number of rows and sum of digests agree on both sides holds the
//! same rows and is not even read back.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
};

/// Partitions of a spool. One that is still larger than the memory limit is dealt out once more.
pub const PARTITIONS: usize = 64;
/// Bits of the key's hash that choose one of them.
const BITS: u32 = PARTITIONS.trailing_zeros();
/// How often rows are dealt out: after that only the same key, many times, can be in one partition.
const LEVELS: u32 = 6;

/// One row of a partition: the hash of its key, where the key lies in [`Partition::bytes`], and the row's digest.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: usize,
    end: usize,
    digest: u128,
}

/// The rows of one side.
#[derive(Debug)]
pub struct Spool {
    parts: Vec<Part>,
    held: usize,
    limit: usize,
    level: u32,
}

#[derive(Debug, Default)]
struct Part {
    buffer: Vec<u8>,
    file: Option<File>,
    /// Of buffer and file together.
    bytes: usize,
    tally: Tally,
}

/// Number of rows, and the sum of their digests modulo 2^128: the same for the same rows in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    rows: u64,
    sum: u128,
}

/// One partition in memory, sorted by key (its hash first) and digest.
#[derive(Debug)]
pub struct Partition {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Spool {
    /// An empty spool that holds at most about `limit` bytes in memory.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { parts: (0..PARTITIONS).map(|_| Part::default()).collect(), held: 0, limit, level: 0 }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a temporary file cannot be written: the disk is full, or there is no temporary folder.
    pub fn push(&mut self, key: &[u8], digest: u128) -> io::Result<()> {
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let part = usize::try_from((hash >> (BITS * self.level)) % PARTITIONS as u64).unwrap_or(0);
        if let Some(part) = self.parts.get_mut(part) {
            part.tally.rows += 1;
            part.tally.sum = part.tally.sum.wrapping_add(digest);
            let length = u32::try_from(key.len()).map_err(io::Error::other)?;
            part.buffer.extend_from_slice(&length.to_le_bytes());
            part.buffer.extend_from_slice(key);
            part.buffer.extend_from_slice(&digest.to_le_bytes());
            self.held += key.len() + 20;
            part.bytes += key.len() + 20;
        }
        if self.held > self.limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        for part in &mut self.parts {
            let file = match &mut part.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile()?),
            };
            file.write_all(&part.buffer)?;
            part.buffer = Vec::new();
        }
        self.held = 0;
        Ok(())
    }

    /// Bytes that it holds in memory at most, about.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Rows pushed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.tally.rows).sum()
    }

    /// Number and sum of a partition's rows, also after it was taken.
    #[must_use]
    pub fn tally(&self, index: usize) -> Tally {
        self.parts.get(index).map(|part| part.tally).unwrap_or_default()
    }

    /// Whether a partition is too large to be taken at once, and can be dealt out again.
    #[must_use]
    pub fn is_large(&self, index: usize) -> bool {
        self.level + 1 < LEVELS && self.parts.get(index).is_some_and(|part| part.bytes > self.limit)
    }

    /// Deals a partition out by further bits of the hash.
    ///
    /// # Errors
    /// When a temporary file cannot be read back whole or written.
    pub fn split(&mut self, index: usize) -> io::Result<Self> {
        let mut deeper = Self { level: self.level + 1, ..Self::new(self.limit) };
        let Some(part) = self.parts.get_mut(index) else { return Ok(deeper) };
        if let Some(mut file) = part.file.take() {
            file.seek(SeekFrom::Start(0))?;
            deal(&mut BufReader::with_capacity(1 << 16, file), &mut deeper)?;
        }
        deal(&mut std::mem::take(&mut part.buffer).as_slice(), &mut deeper)?;
        if deeper.rows() == part.tally.rows { Ok(deeper) } else { Err(torn()) }
    }

    /// Gives up a partition's rows.
    pub fn forget(&mut self, index: usize) {
        if let Some(part) = self.parts.get_mut(index) {
            part.buffer = Vec::new();
            part.file = None;
        }
    }

    /// The sum of all digests, modulo 2^128: equal tables have equal sums, in whatever order they
    /// were read.
    #[must_use]
    pub fn checksum(&self) -> u128 {
        self.parts.iter().fold(0, |sum, part| sum.wrapping_add(part.tally.sum))
    }

    /// Takes a partition out of the spool.
    ///
    /// # Errors
    /// When the temporary file cannot be read back whole.
    pub fn take(&mut self, index: usize) -> io::Result<Partition> {
        let Some(part) = self.parts.get_mut(index) else { return Partition::parse(Vec::new(), 0) };
        let buffer = std::mem::take(&mut part.buffer);
        let mut bytes = Vec::new();
        match part.file.take() {
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                file.read_to_end(&mut bytes)?;
                bytes.extend(buffer);
            }
            None => bytes = buffer,
        }
        Partition::parse(bytes, usize::try_from(part.tally.rows).unwrap_or(0))
    }
}

fn torn() -> io::Error {
    io::Error::other("the temporary file of a spool is shorter than was written")
}

fn deal(from: &mut impl BufRead, to: &mut Spool) -> io::Result<()> {
    let mut key = Vec::new();
    while !from.fill_buf()?.is_empty() {
        let (mut length, mut digest) = ([0; 4], [0; 16]);
        from.read_exact(&mut length)?;
        key.resize(usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?, 0);
        from.read_exact(&mut key)?;
        from.read_exact(&mut digest)?;
        to.push(&key, u128::from_le_bytes(digest))?;
    }
    Ok(())
}

impl Partition {
    fn parse(bytes: Vec<u8>, rows: usize) -> io::Result<Self> {
        let mut entries = Vec::with_capacity(rows);
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(torn)?;
            let start = at + 4;
            let end =
                start + usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
            let key = bytes.get(start..end).ok_or_else(torn)?;
            let digest =
                bytes.get(end..end + 16).and_then(|b| b.try_into().ok()).ok_or_else(torn)?;
            let hash = xxhash_rust::xxh3::xxh3_64(key);
            entries.push(Entry { hash, start, end, digest: u128::from_le_bytes(digest) });
            at = end + 16;
        }
        if entries.len() != rows {
            return Err(torn());
        }
        let mut this = Self { bytes, entries: Vec::new() };
        entries.sort_unstable_by(|a, b| {
            a.hash
                .cmp(&b.hash)
                .then_with(|| this.key(a).cmp(this.key(b)))
                .then_with(|| a.digest.cmp(&b.digest))
        });
        this.entries = entries;
        Ok(this)
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.start..entry.end).unwrap_or_default()
    }

    /// The rows, by the hash of the key, the key and the digest.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8], u128)> {
        self.entries.iter().map(|entry| (entry.hash, self.key(entry), entry.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_comes_back_sorted_whether_spilled_or_not() {
        for limit in [0, 500, usize::MAX] {
            let mut spool = Spool::new(limit);
            for n in (0..1000u32).rev() {
                spool.push(&n.to_be_bytes(), u128::from(n)).unwrap();
            }
            assert_eq!((spool.rows(), spool.checksum()), (1000, 499_500));
            let mut seen = 0;
            for part in 0..PARTITIONS {
                let part = spool.take(part).unwrap();
                let keys: Vec<_> = part.iter().map(|(hash, key, _)| (hash, key.to_vec())).collect();
                assert!(keys.is_sorted());
                for (_, key, digest) in part.iter() {
                    assert_eq!(u128::from(u32::from_be_bytes(key.try_into().unwrap())), digest);
                    seen += 1;
                }
            }
            assert_eq!(seen, 1000, "limit {limit}");
        }
    }

    #[test]
    fn a_large_partition_is_dealt_out_again_until_each_fits() {
        let mut spool = Spool::new(3000);
        for n in 0..20_000u32 {
            spool.push(&n.to_be_bytes(), u128::from(n)).unwrap();
        }
        let mut rows = 0;
        let mut tallied = Tally::default();
        for part in 0..PARTITIONS {
            assert!(spool.is_large(part));
            let mut deeper = spool.split(part).unwrap();
            for part in 0..PARTITIONS {
                assert!(!deeper.is_large(part));
                rows += deeper.take(part).unwrap().iter().count();
                tallied.rows += deeper.tally(part).rows;
                tallied.sum += deeper.tally(part).sum;
            }
        }
        assert_eq!(rows, 20_000);
        assert_eq!(tallied, Tally { rows: 20_000, sum: spool.checksum() });
    }
}
