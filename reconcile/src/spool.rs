//! One side of a table as (key, digest) pairs, partitioned by the key, in bounded memory.
//!
//! The two sides are read in whatever order their engines like (the order of strings, GUIDs and
//! binaries is not the same in both), so both are dealt into the same partitions by a hash of the key
//! and compared partition by partition: a Grace hash join. What exceeds the memory limit goes to an
//! unnamed temporary file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

/// Partitions of a spool. With 64 of them 100 million rows make partitions of about 60 MB a side.
pub const PARTITIONS: usize = 64;

/// One row of a partition: where its key lies in [`Partition::bytes`], and its digest.
#[derive(Clone, Copy, Debug)]
struct Entry {
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
    rows: u64,
    checksum: u128,
}

#[derive(Debug, Default)]
struct Part {
    buffer: Vec<u8>,
    file: Option<File>,
}

/// One partition in memory, sorted by key and digest.
#[derive(Debug)]
pub struct Partition {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Spool {
    /// An empty spool that holds at most about `limit` bytes in memory.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            parts: (0..PARTITIONS).map(|_| Part::default()).collect(),
            held: 0,
            limit,
            rows: 0,
            checksum: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a temporary file cannot be written: the disk is full, or there is no temporary folder.
    pub fn push(&mut self, key: &[u8], digest: u128) -> io::Result<()> {
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(digest);
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let part = usize::try_from(hash % PARTITIONS as u64).unwrap_or(0);
        if let Some(part) = self.parts.get_mut(part) {
            let before = part.buffer.len();
            let length = u32::try_from(key.len()).map_err(io::Error::other)?;
            part.buffer.extend(length.to_le_bytes());
            part.buffer.extend(key);
            part.buffer.extend(digest.to_le_bytes());
            self.held += part.buffer.len() - before;
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

    /// Rows pushed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum of all digests, modulo 2^128: equal tables have equal sums, in whatever order they
    /// were read.
    #[must_use]
    pub fn checksum(&self) -> u128 {
        self.checksum
    }

    /// Takes a partition out of the spool.
    ///
    /// # Errors
    /// When the temporary file cannot be read back whole.
    pub fn take(&mut self, index: usize) -> io::Result<Partition> {
        let part = self.parts.get_mut(index).map(std::mem::take).unwrap_or_default();
        let mut bytes = Vec::new();
        if let Some(mut file) = part.file {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
        }
        bytes.extend(part.buffer);
        Partition::parse(bytes)
    }
}

impl Partition {
    fn parse(bytes: Vec<u8>) -> io::Result<Self> {
        let torn = || io::Error::other("the temporary file of a spool is shorter than was written");
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(torn)?;
            let start = at + 4;
            let end =
                start + usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
            let digest =
                bytes.get(end..end + 16).and_then(|b| b.try_into().ok()).ok_or_else(torn)?;
            entries.push(Entry { start, end, digest: u128::from_le_bytes(digest) });
            at = end + 16;
        }
        let mut this = Self { bytes, entries: Vec::new() };
        entries.sort_unstable_by(|a, b| {
            this.key(a).cmp(this.key(b)).then_with(|| a.digest.cmp(&b.digest))
        });
        this.entries = entries;
        Ok(this)
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.start..entry.end).unwrap_or_default()
    }

    /// The rows, by key and then by digest.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u128)> {
        self.entries.iter().map(|entry| (self.key(entry), entry.digest))
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
                let keys: Vec<_> = part.iter().map(|(key, _)| key.to_vec()).collect();
                assert!(keys.is_sorted());
                for (key, digest) in part.iter() {
                    assert_eq!(u128::from(u32::from_be_bytes(key.try_into().unwrap())), digest);
                    seen += 1;
                }
            }
            assert_eq!(seen, 1000, "limit {limit}");
        }
    }
}
