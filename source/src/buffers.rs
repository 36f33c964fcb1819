//! Memory that encoded rows are written to, chunk after chunk: a new piece of some megabytes costs the
//! kernel about as much as the rows in it cost us.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Larger ones are given back: they were for rows that are not the rule.
const KEPT_BYTES: usize = 8 << 20;

/// What waits to be used again, not more than `most`.
#[derive(Debug)]
pub struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl Buffers {
    /// None yet; at the most `most` are kept.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), most })
    }

    /// An empty one.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Buffer {
        let bytes = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: bytes.unwrap_or_default(), home: Arc::clone(self) }
    }

    fn give(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() == 0 || bytes.capacity() > KEPT_BYTES {
            return;
        }
        bytes.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.most {
            free.push(bytes);
        }
    }
}

/// Bytes whose memory is used again when they are dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Self::Target {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_but_not_kept_without_end() {
        let buffers = Buffers::new(1);
        let (mut first, mut second) = (buffers.take(), buffers.take());
        first.extend_from_slice(&[1; 100]);
        second.extend_from_slice(&[2; 100]);
        drop(first);
        drop(second);
        let again = buffers.take();
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(buffers.take().capacity(), 0);

        let mut large = buffers.take();
        large.reserve(KEPT_BYTES + 1);
        drop(large);
        assert_eq!(buffers.take().capacity(), 0);
    }
}
