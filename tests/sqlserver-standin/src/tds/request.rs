//! Requests: ALL_HEADERS, RPC and transaction manager (2.2.6).

use super::ProtocolError;
use super::cursor::Cursor;
use super::values::parse_typed;
use crate::exec::output::{Isolation, Param};

/// The transaction descriptor the client believes it is in, from ALL_HEADERS.
pub fn all_headers(c: &mut Cursor<'_>) -> Result<u64, ProtocolError> {
    let short = || ProtocolError::malformed("headers that are too short");
    let total = (c.u32()? as usize).checked_sub(4).ok_or_else(short)?;
    let mut headers = Cursor(c.take(total)?);
    let mut transaction = 0;
    while !headers.is_empty() {
        let n = (headers.u32()? as usize).checked_sub(4).ok_or_else(short)?;
        let mut one = Cursor(headers.take(n)?);
        // 2 = transaction descriptor; the others carry notifications and traces
        if one.u16()? == 2 {
            transaction = one.u64()?;
        }
    }
    Ok(transaction)
}

/// One call of an RPC request.
#[derive(Debug)]
pub struct Call {
    pub procedure: String,
    pub parameters: Vec<Param>,
    /// The client asked for no COLMETADATA; the stand-in sends it all the same.
    pub no_metadata: bool,
}

const WELL_KNOWN: [&str; 15] = [
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

/// The calls of an RPC request.
pub fn calls(c: &mut Cursor<'_>) -> Result<Vec<Call>, ProtocolError> {
    let mut out = Vec::new();
    while !c.is_empty() {
        let n = c.u16()?;
        let procedure = if n == u16::MAX {
            let id = c.u16()?;
            let name = usize::from(id).checked_sub(1).and_then(|i| WELL_KNOWN.get(i));
            (*name.ok_or_else(|| ProtocolError::malformed(format!("procedure number {id}")))?)
                .to_owned()
        } else {
            c.utf16(n.into())?
        };
        let flags = c.u16()?;
        let mut parameters = Vec::new();
        while let Some(next) = c.peek() {
            // a length above 128 is no name: it separates two calls
            if matches!(next, 0x80 | 0xFE | 0xFF) {
                c.u8()?;
                break;
            }
            let name = c.b_varchar()?;
            let status = c.u8()?;
            if status & 0x08 != 0 {
                return Err(ProtocolError::Unsupported("encrypted parameters".to_owned()));
            }
            let value = parse_typed(c)?;
            parameters.push(Param { name, value, output: status & 1 == 1 });
        }
        out.push(Call { procedure, parameters, no_metadata: flags & 2 != 0 });
    }
    Ok(out)
}

/// A request of the transaction manager.
#[derive(Debug, PartialEq, Eq)]
pub enum TransactionRequest {
    Begin {
        isolation: Option<Isolation>,
        name: String,
    },
    Commit {
        begin: Option<Option<Isolation>>,
    },
    /// A name is that of a savepoint or of the transaction.
    Rollback {
        name: String,
        begin: Option<Option<Isolation>>,
    },
    Save {
        name: String,
    },
}

fn isolation(b: u8) -> Result<Option<Isolation>, ProtocolError> {
    Ok(Some(match b {
        0 => return Ok(None),
        1 => Isolation::ReadUncommitted,
        2 => Isolation::ReadCommitted,
        3 => Isolation::RepeatableRead,
        4 => Isolation::Serializable,
        5 => Isolation::Snapshot,
        other => return Err(ProtocolError::malformed(format!("isolation level {other}"))),
    }))
}

impl TransactionRequest {
    pub fn parse(c: &mut Cursor<'_>) -> Result<Self, ProtocolError> {
        // names here have a length in bytes
        let name = |c: &mut Cursor<'_>| -> Result<String, ProtocolError> {
            let n = c.u8()?;
            Ok(super::cursor::text(c.take(n.into())?))
        };
        let next = |c: &mut Cursor<'_>| -> Result<Option<Option<Isolation>>, ProtocolError> {
            if c.is_empty() || c.u8()? & 1 == 0 {
                return Ok(None);
            }
            let level = isolation(c.u8()?)?;
            name(c)?;
            Ok(Some(level))
        };
        Ok(match c.u16()? {
            5 => Self::Begin { isolation: isolation(c.u8()?)?, name: name(c)? },
            7 => {
                name(c)?;
                Self::Commit { begin: next(c)? }
            }
            8 => Self::Rollback { name: name(c)?, begin: next(c)? },
            9 => Self::Save { name: name(c)? },
            other => {
                return Err(ProtocolError::Unsupported(format!("transaction request {other}")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_requests() {
        let begin = [5, 0, 5, 0];
        assert_eq!(
            TransactionRequest::parse(&mut Cursor(&begin)).unwrap(),
            TransactionRequest::Begin { isolation: Some(Isolation::Snapshot), name: String::new() }
        );
        let rollback = [8, 0, 2, b's', 0, 0];
        assert_eq!(
            TransactionRequest::parse(&mut Cursor(&rollback)).unwrap(),
            TransactionRequest::Rollback { name: "s".to_owned(), begin: None }
        );
    }

    #[test]
    fn headers() {
        let mut b = 22u32.to_le_bytes().to_vec();
        b.extend(18u32.to_le_bytes());
        b.extend([2, 0]);
        b.extend(7u64.to_le_bytes());
        b.extend(1u32.to_le_bytes());
        b.push(9);
        let mut c = Cursor(&b);
        assert_eq!(all_headers(&mut c).unwrap(), 7);
        assert_eq!(c.0, [9]);
        assert!(all_headers(&mut Cursor(&[1, 0, 0, 0])).is_err());
    }
}
