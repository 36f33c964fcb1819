//! Who may be in a database: ONLINE and OFFLINE, SINGLE_USER and MULTI_USER, KILL.

use std::sync::Arc;
use std::time::Duration;

use crate::exec::R;
use crate::exec::output::Output;
use crate::exec::session::SessionState;
use crate::sql::ast::Termination;
use crate::store::{Database, read, same_name};
use crate::value::SqlError;

impl SessionState {
    /// Ends another session.
    pub(in crate::exec) fn kill(&mut self, spid: i64) -> R<()> {
        if spid == i64::from(self.login.spid) {
            return Err(SqlError::new(6104, "Cannot use KILL to kill your own process."));
        }
        let found = u16::try_from(spid)
            .ok()
            .and_then(|spid| read(&self.instance.sessions).get(&spid).map(|s| Arc::clone(&s.end)));
        match found {
            Some(end) => {
                end.kill();
                Ok(())
            }
            None => {
                let m = format!("Process ID {spid} is not an active process ID.");
                Err(SqlError::new(6106, m).state(2))
            }
        }
    }

    /// The sessions other than this one whose current database it is.
    fn others_in(&self, database: &Database) -> usize {
        let name = database.name();
        let own = self.login.spid;
        let sessions = read(&self.instance.sessions);
        sessions.values().filter(|s| s.spid != own && same_name(&s.database, &name)).count()
    }

    /// Waits until every other session has left a database, after asking it to if that is wanted.
    pub(super) fn empty_database(&mut self, database: &Database, how: Termination) -> R<()> {
        let name = database.name();
        match how {
            Termination::Wait => {}
            Termination::Immediate => {
                let own = self.login.spid;
                for session in read(&self.instance.sessions).values() {
                    if session.spid != own && same_name(&session.database, &name) {
                        session.end.kill();
                    }
                }
            }
            Termination::NoWait if self.others_in(database) > 0 => {
                let m = format!(
                    "Database state cannot be changed while other users are using the database '{name}'"
                );
                return Err(SqlError::new(5070, m).state(2));
            }
            Termination::NoWait => {}
        }
        while self.others_in(database) > 0 {
            if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(crate::exec::stopped());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Refuses a database that cannot be entered now.
    pub(in crate::exec) fn may_enter(&self, database: &Database) -> R<()> {
        database.check_online()?;
        let single = read(&database.options).single_user;
        if single && self.others_in(database) > 0 {
            let m = format!(
                "Database '{}' is already open and can only have one user at a time.",
                database.name()
            );
            return Err(SqlError::new(924, m).class(14));
        }
        Ok(())
    }

    /// Takes a database off line; a session that is in it goes to master.
    pub(super) fn take_offline(
        &mut self,
        database: &Database,
        how: Termination,
        out: &mut dyn Output,
    ) -> R<()> {
        self.empty_database(database, how)?;
        if self.db().id == database.id {
            self.use_database("master", out)?;
        }
        crate::store::write(&database.options).offline = true;
        Ok(())
    }
}
