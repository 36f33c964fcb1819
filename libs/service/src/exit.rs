//! How a binary ends: one line on stderr, and an exit code that says whose turn it is.
//!
//! 0: stopped as asked. 1: something failed while running (a restart may help). 2: the way it was
//! started cannot work (a person must change something, a restart does not help).

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::process::ExitCode;

use crate::settings::SettingsError;

/// What a main answers when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The work is done or was stopped as asked: exit code 0.
    Done,
    /// Another code, for a command that answers by its code (a reconciliation, for example).
    Other(u8),
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        match code {
            Code::Done => Self::SUCCESS,
            Code::Other(code) => Self::from(code),
        }
    }
}

/// Exit code of an error at run time.
pub const FAILURE: u8 = 1;
/// Exit code of wrong usage, wrong configuration, or a preflight check that failed.
pub const USAGE: u8 = 2;

/// Marks an error as one that a person must mend before another start: exit code 2.
#[derive(Debug)]
pub struct Usage(pub anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Usage {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// `result.usage("what we were doing")?`: the error ends the program with code 2.
pub trait UsageContext<T> {
    /// Adds what we were doing, and marks the error as [`Usage`].
    ///
    /// # Errors
    ///
    /// The error it was called on, marked.
    fn usage(self, doing: impl fmt::Display + Send + Sync + 'static) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> UsageContext<T> for Result<T, E> {
    fn usage(self, doing: impl fmt::Display + Send + Sync + 'static) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Usage(error.into().context(doing))))
    }
}

/// An error that says only its own line, marked as [`Usage`].
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(anyhow::Error::msg(message.into())))
}

/// The exit code an error stands for: 2 if it, or anything it was caused by, is a [`Usage`] or a
/// mistake in the settings, else 1.
pub fn code_of(error: &anyhow::Error) -> u8 {
    // `downcast_ref` also sees through anyhow's context; the chain sees sources inside our errors.
    let mends = error.downcast_ref::<Usage>().is_some()
        || error.downcast_ref::<SettingsError>().is_some()
        || error.chain().any(|cause| cause.is::<Usage>() || cause.is::<SettingsError>());
    if mends { USAGE } else { FAILURE }
}

/// The error and its causes in one line: `doing: cause: cause`.
///
/// A cause that its parent already repeats at its end is left out, and line breaks become blanks:
/// some libraries print pages.
pub fn line(error: &anyhow::Error) -> String {
    chain_line(error.as_ref())
}

/// [`line()`] for any error.
pub fn chain_line(error: &(dyn StdError + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = text;
        } else if !text.is_empty() && !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

/// Runs a main to its exit code; an error is one line on stderr.
pub fn run(main: impl FnOnce() -> anyhow::Result<Code>) -> ExitCode {
    match main() {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {}", line(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

/// [`run`] for an async main, on a runtime of its own with as many threads as there are cores.
pub fn block_on(main: impl Future<Output = anyhow::Result<Code>>) -> ExitCode {
    run(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(main);
        // A blocking call that never returns (a DNS query, a C library) must not keep us alive.
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        outcome
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connect to 127.0.0.1:1433")]
    struct Connect(#[source] std::io::Error);

    fn refused() -> Connect {
        Connect(std::io::Error::other("connection\n   refused"))
    }

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let error = anyhow::Error::new(refused()).context("start the source");
        assert_eq!(line(&error), "start the source: connect to 127.0.0.1:1433: connection refused");
    }

    #[test]
    fn a_cause_that_is_repeated_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("read: {0}")]
        struct Repeats(#[source] std::io::Error);
        let error = anyhow::Error::new(Repeats(std::io::Error::other("no such file")));
        assert_eq!(line(&error), "read: no such file");
    }

    #[test]
    fn the_code_says_whether_a_person_must_act() {
        let failed = anyhow::Error::new(refused()).context("run");
        assert_eq!(code_of(&failed), FAILURE);
        let marked = Err::<(), _>(refused()).usage("preflight").unwrap_err();
        assert_eq!(code_of(&marked), USAGE);
        assert_eq!(line(&marked), "preflight: connect to 127.0.0.1:1433: connection refused");
        let wrapped = Err::<(), _>(marked).context("source").unwrap_err();
        assert_eq!(code_of(&wrapped), USAGE);
        assert_eq!(code_of(&usage("no table matches")), USAGE);
        let settings = crate::settings::File::parse("c.toml", "x").unwrap_err();
        assert_eq!(code_of(&anyhow::Error::new(settings)), USAGE);
    }
}
