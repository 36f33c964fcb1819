//! `causeway-reconcile`: proves that PostgreSQL holds what SQL Server holds, or says what differs.

use std::process::ExitCode;

use causeway_service::{
    exit::{self, UsageContext as _},
    shutdown,
};
use clap::Parser as _;

mod cli;

// The driver of SQL Server asks for memory several times for each row.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = match cli::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; a wrong word is 4 here, because 2 means "not compared".
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(4) } else { ExitCode::SUCCESS };
        }
    };
    exit::block_on(async {
        let stop = shutdown::token().usage("listen for signals")?;
        cli::execute(args.command, stop).await
    })
}
