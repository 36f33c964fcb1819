//! Misbehaviour on request: what a test may ask for by `EXEC standin.control` or the control interface.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};

use tokio::sync::watch;

use crate::value::SqlError;

/// The faults that are armed.
#[derive(Debug)]
pub struct Faults {
    /// Counts up: connections that are older than the change close.
    connections: watch::Sender<u64>,
    /// The reply that has sent so many bytes ends there, in the middle of a row; 0: none.
    drop_after_bytes: AtomicU64,
    reply_delay_ms: AtomicU64,
    failing_logins: AtomicU32,
    login_error: AtomicI32,
    deadlocks: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            connections: watch::Sender::new(0),
            drop_after_bytes: AtomicU64::new(0),
            reply_delay_ms: AtomicU64::new(0),
            failing_logins: AtomicU32::new(0),
            login_error: AtomicI32::new(18_456),
            deadlocks: AtomicU32::new(0),
        }
    }
}

fn one_of(count: &AtomicU32) -> bool {
    count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl Faults {
    /// Arms a fault by its name; false when there is no such fault.
    ///
    /// # Errors
    /// It wants a number and has none.
    pub fn arm(&self, name: &str, value: Option<&str>) -> Result<bool, SqlError> {
        let number = || {
            value.and_then(|v| v.trim().parse::<u32>().ok()).ok_or_else(|| {
                SqlError::unknown(format_args!("the control '{name}' without a number ({name}=1)"))
            })
        };
        match name {
            "drop_connections" => self.drop_connections(),
            "drop_after_bytes" => self.drop_after_bytes.store(number()?.into(), SeqCst),
            "reply_delay_ms" => self.reply_delay_ms.store(number()?.into(), SeqCst),
            "fail_logins" => self.failing_logins.store(number()?, SeqCst),
            "login_error" => {
                self.login_error.store(i32::try_from(number()?).unwrap_or(18_456), SeqCst);
            }
            "deadlocks" => self.deadlocks.store(number()?, SeqCst),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Closes every connection that is open now.
    pub fn drop_connections(&self) {
        self.connections.send_modify(|n| *n += 1);
    }

    /// Changes when the connection that asks has to close.
    pub fn dropped(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Where the next reply is cut off; the first that is so long takes it.
    pub fn cut(&self, sent: u64) -> bool {
        let at = self.drop_after_bytes.load(SeqCst);
        at != 0
            && sent >= at
            && self.drop_after_bytes.compare_exchange(at, 0, SeqCst, SeqCst).is_ok()
    }

    /// How long each packet of a reply is held back.
    pub fn reply_delay_ms(&self) -> u64 {
        self.reply_delay_ms.load(SeqCst)
    }

    /// The error with which this login fails, if it is to.
    pub fn failing_login(&self, user: &str) -> Option<SqlError> {
        one_of(&self.failing_logins).then(|| match self.login_error.load(SeqCst) {
            18_401 => SqlError::new(
                18_401,
                format!(
                    "Login failed for user '{user}'. Reason: Server is in script upgrade mode. Only administrator can connect at this time."
                ),
            )
            .class(14),
            _ => SqlError::login_failed(user),
        })
    }

    /// Whether this statement is the victim of a deadlock.
    pub fn deadlock(&self) -> bool {
        one_of(&self.deadlocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_it_was_asked_for() {
        let faults = Faults::default();
        assert!(faults.arm("deadlocks", Some("2")).unwrap());
        assert_eq!([faults.deadlock(), faults.deadlock(), faults.deadlock()], [true, true, false]);
        assert!(faults.arm("drop_after_bytes", Some("10")).unwrap());
        assert_eq!([faults.cut(9), faults.cut(11), faults.cut(11)], [false, true, false]);
        assert!(!faults.arm("nothing", None).unwrap());
        assert!(faults.arm("fail_logins", None).is_err());
    }
}
