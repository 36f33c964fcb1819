//! Scalar functions that depend on their arguments only.
//!
//! With NULL arguments a function returns NULL of the type it would have, so that the executor can ask
//! for the type of an expression without a row.

mod date;
mod hash;
mod math;
mod pattern;
mod string;

use std::sync::Arc;

use super::{SqlError, Ty, Typed, Val, cast};

pub use date::{Part, date_add, date_diff, date_name, date_part};

/// The arguments of a call.
pub(super) struct Args<'a> {
    pub(super) name: &'a str,
    pub(super) list: &'a [Typed],
}

impl Args<'_> {
    fn count(&self, wanted: usize) -> Result<(), SqlError> {
        if self.list.len() == wanted {
            Ok(())
        } else {
            Err(SqlError::argument_count(self.name, wanted))
        }
    }
    fn between(&self, low: usize, high: usize) -> Result<(), SqlError> {
        if (low..=high).contains(&self.list.len()) {
            Ok(())
        } else {
            Err(SqlError::argument_range(self.name, low, high))
        }
    }
    fn get(&self, i: usize) -> Result<&Typed, SqlError> {
        self.list.get(i).ok_or_else(|| SqlError::argument_count(self.name, i + 1))
    }
    fn ty(&self, i: usize) -> Result<Ty, SqlError> {
        Ok(self.get(i)?.ty)
    }
    /// The text of an argument; `None` for NULL.
    fn text(&self, i: usize) -> Result<Option<Arc<[u16]>>, SqlError> {
        self.get(i)?.to_string16()
    }
    fn string(&self, i: usize) -> Result<Option<String>, SqlError> {
        Ok(self.text(i)?.map(|s| String::from_utf16_lossy(&s)))
    }
    fn int(&self, i: usize) -> Result<Option<i64>, SqlError> {
        self.get(i)?.to_i64()
    }
    fn float(&self, i: usize) -> Result<Option<f64>, SqlError> {
        match cast(self.get(i)?, &Ty::Float, None)? {
            Val::Float(f) => Ok(Some(f)),
            _ => Ok(None),
        }
    }
}

/// Calls a function by its lower-case name; `None` when there is no such function here.
pub fn call(name: &str, list: &[Typed]) -> Option<Result<Typed, SqlError>> {
    let a = Args { name, list };
    string::call(&a)
        .or_else(|| math::call(&a))
        .or_else(|| date::call(&a))
        .or_else(|| hash::call(&a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_nulls() {
        for (name, list, ty) in [
            ("upper", vec![Typed::null(Ty::VarChar(7))], Ty::VarChar(7)),
            ("len", vec![Typed::null(Ty::NVarChar(7))], Ty::Int),
            ("abs", vec![Typed::null(Ty::Decimal(5, 2))], Ty::Decimal(5, 2)),
            ("year", vec![Typed::null(Ty::Date)], Ty::Int),
        ] {
            assert_eq!(call(name, &list).unwrap().unwrap(), Typed::null(ty), "{name}");
        }
        assert!(call("nosuch", &[]).is_none());
    }
}
