//! Names that no other test has, for databases, topics and consumer groups on shared servers.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// `what` followed by letters and digits that no other call gives: `shop_1f0c2e_3`.
///
/// In lower case, so that it needs no quotes anywhere.
#[must_use]
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = now.as_millis() & 0xFFFF_FFFF;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{:x}{millis:08x}_{count}", std::process::id())
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_names_differ() {
        assert_ne!(super::unique("a"), super::unique("a"));
    }
}
