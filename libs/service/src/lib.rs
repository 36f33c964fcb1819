//! What every binary does on its way up and on its way down.
//!
//! * [`settings`] reads the one configuration file, fills in `${...}` references and says in one
//!   line what is wrong with it;
//! * [`shutdown`] turns signals into a token that every loop watches;
//! * [`retry`] waits between attempts while an error says that it may pass;
//! * [`exit`] turns the error of a `main` into one line and an exit code that scripts can trust.
//!
//! A main is then one page:
//!
//! ```no_run
//! use causeway_service::{exit::{self, UsageContext}, settings::{File, Pipeline}, shutdown};
//!
//! fn main() -> std::process::ExitCode {
//!     exit::block_on(async {
//!         let file = File::load("causeway.toml".as_ref())?;
//!         let pipeline: Pipeline = file.section("pipeline")?;
//!         let stop = shutdown::token().usage("listen for signals")?;
//!         // connect, then run until `stop` is cancelled
//!         drop((pipeline, stop));
//!         Ok(exit::Code::Done)
//!     })
//! }
//! ```

pub mod exit;
pub mod retry;
pub mod settings;
pub mod shutdown;
