//! CREATE, ALTER and DROP: what they share.

mod alter;
mod alter_database;
mod alter_table;
mod create;
mod drop;
mod index;
mod table;

use super::parser::Parser;

impl Parser<'_> {
    fn nullability(&mut self) -> Option<bool> {
        if self.take_all(&["NOT", "NULL"]) {
            Some(false)
        } else if self.take("NULL") {
            Some(true)
        } else {
            None
        }
    }
}
