//! Arguments of a procedure, by name or by position.

use super::ProcArg;
use super::view::same;
use crate::value::{SqlError, Ty, Typed, Val, cast};

/// The arguments of a call, matched to the names of the procedure's parameters.
pub(crate) struct Arguments<'a> {
    procedure: &'a str,
    names: &'a [&'a str],
    args: &'a [ProcArg],
}

impl<'a> Arguments<'a> {
    /// Matches `args`; `names` are the parameters in order, without `@`. Errors: 8144 too many, 8145 unknown name.
    pub(crate) fn new(
        procedure: &'a str,
        names: &'a [&'a str],
        args: &'a [ProcArg],
    ) -> Result<Self, SqlError> {
        if args.len() > names.len() {
            let message =
                format!("Procedure or function {procedure} has too many arguments specified.");
            return Err(SqlError::new(8144, message).state(2));
        }
        for arg in args {
            if let Some(name) = &arg.name
                && !names.iter().any(|known| same(known, name.trim_start_matches('@')))
            {
                let message = format!("{name} is not a parameter for procedure {procedure}.");
                return Err(SqlError::new(8145, message).state(2));
            }
        }
        Ok(Self { procedure, names, args })
    }

    /// Where the argument of a parameter stands in the call.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let place = self.names.iter().position(|known| *known == name)?;
        let by_name = |arg: &ProcArg| {
            arg.name.as_ref().is_some_and(|given| same(given.trim_start_matches('@'), name))
        };
        self.args
            .iter()
            .position(by_name)
            .or_else(|| self.args.get(place).filter(|arg| arg.name.is_none()).map(|_| place))
    }

    /// The value given for a parameter; `None` when it was left out.
    pub(crate) fn given(&self, name: &str) -> Option<&'a Typed> {
        self.position(name).and_then(|at| self.args.get(at)).map(|arg| &arg.value)
    }

    /// The text of an argument; `None` when NULL or left out.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, SqlError> {
        let Some(value) = self.given(name) else { return Ok(None) };
        Ok(value.to_string16()?.map(|text| String::from_utf16_lossy(&text)))
    }

    /// The text of an argument that must be given (201).
    pub(crate) fn required(&self, name: &str) -> Result<String, SqlError> {
        self.text(name)?.ok_or_else(|| {
            let procedure = self.procedure;
            let message =
                format!("Procedure or function '{procedure}' expects parameter '@{name}', which was not supplied.");
            SqlError::new(201, message).state(4)
        })
    }

    /// The integer of an argument.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, SqlError> {
        self.given(name).map_or(Ok(None), Typed::to_i64)
    }

    /// The bit of an argument.
    pub(crate) fn bit(&self, name: &str) -> Result<Option<bool>, SqlError> {
        let Some(value) = self.given(name) else { return Ok(None) };
        Ok(match cast(value, &Ty::Bit, None)? {
            Val::Bit(value) => Some(value),
            _ => None,
        })
    }

    /// The bytes of an argument, as `binary(10)`.
    pub(crate) fn lsn(&self, name: &str) -> Result<Option<[u8; 10]>, SqlError> {
        let Some(value) = self.given(name) else { return Ok(None) };
        Ok(match cast(value, &Ty::Binary(10), None)? {
            Val::Bytes(bytes) => Some(crate::cdc::lsn::fit(&bytes)),
            _ => None,
        })
    }
}
