//! The name of this process among those of its pipeline, and whether another's process has ended.
//!
//! A source that was killed stays a member of its group until the broker expels it, seconds later. One that
//! is started again in its place need not wait for that: on the same running kernel, in the same name space
//! of processes, it can see that the other is gone. Where that cannot be seen (another machine, another
//! container, not Linux) the answer is no, and it waits.

use std::fmt;

/// A process, in words that no other process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The kernel's name of this boot.
    boot: String,
    /// The name space of process ids, by its inode.
    namespace: String,
    /// Process id.
    pid: u32,
    /// When the process was started, in ticks since the boot: ids are used again.
    started: u64,
}

/// What every name begins with.
const PREFIX: &str = "causeway-source";

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, namespace, pid, started } = self;
        write!(f, "{PREFIX}/{boot}/{namespace}/{pid}/{started}")
    }
}

impl Place {
    /// This process.
    #[must_use]
    pub fn me() -> Self {
        let pid = std::process::id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let digits = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect();
        Self {
            boot: digits(&boot),
            namespace: digits(&namespace.to_string_lossy()),
            pid,
            // Where it cannot be seen, the time makes the name one that no other process has.
            started: started(pid)
                .or_else(|| u64::try_from(crate::shared::now_ns()).ok())
                .unwrap_or_default(),
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.strip_prefix('/')?.split('/');
        let place = Self {
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    /// True when the process of another name is known to have ended.
    #[must_use]
    pub fn sees_ended(&self, other: &str) -> bool {
        Self::parse(other)
            .is_some_and(|other| self.can_see(&other) && other.has_ended(started(other.pid)))
    }

    /// Whether the process ids of two names are of one list that can be looked at.
    fn can_see(&self, other: &Self) -> bool {
        !self.boot.is_empty()
            && !self.namespace.is_empty()
            && (&self.boot, &self.namespace) == (&other.boot, &other.namespace)
    }

    /// Whether the process that has its id now, if any, is another one.
    fn has_ended(&self, started_now: Option<u64>) -> bool {
        started_now != Some(self.started)
    }
}

/// When a process was started; none when there is none or it is a corpse.
fn started(pid: u32) -> Option<u64> {
    started_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn started_in(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may hold blanks: count after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(namespace: &str, pid: u32, started: u64) -> Place {
        Place { boot: "b".to_owned(), namespace: namespace.to_owned(), pid, started }
    }

    #[test]
    fn a_name_is_read_back_and_others_are_not() {
        let me = Place::me();
        assert_eq!(Place::parse(&me.to_string()), Some(me));
        for text in ["", "rdkafka", "causeway-source/b/n/1", "causeway-source/b/n/1/2/3"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_process_that_we_could_see_can_be_seen_to_have_ended() {
        let me = Place::me();
        assert!(!me.sees_ended(&me.to_string()));
        let mut other = me.clone();
        other.started += 1;
        assert!(me.sees_ended(&other.to_string()), "its id is another's now");
        other.namespace = "elsewhere".to_owned();
        assert!(!me.sees_ended(&other.to_string()));
        assert!(!me.sees_ended("rdkafka"));
        assert!(!place("", 1, 1).can_see(&place("", 1, 1)));
    }

    #[test]
    fn a_corpse_has_ended() {
        let stat = |state: &str| {
            format!("7 (a b) c) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9")
        };
        assert_eq!(started_in(&stat("S")), Some(4_242));
        assert_eq!(started_in(&stat("T")), Some(4_242), "frozen is not dead");
        assert_eq!(started_in(&stat("Z")), None);
        assert!(place("n", 7, 4_242).has_ended(None));
        assert!(!place("n", 7, 4_242).has_ended(Some(4_242)));
    }
}
