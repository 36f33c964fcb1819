//! The tokens of a reply (2.2.7).

use super::COLLATION;
use super::types::{put_b_varchar, put_type, put_us_varchar, put_utf16};
use super::values::{Mismatch, put_value};
use crate::value::{Col, Filled, SqlError, Ty, Typed, Val};

pub const DONE: u8 = 0xFD;
pub const DONE_PROC: u8 = 0xFE;
pub const DONE_IN_PROC: u8 = 0xFF;
pub const MORE: u16 = 0x01;
pub const ERROR: u16 = 0x02;
pub const COUNT: u16 = 0x10;
pub const ATTENTION: u16 = 0x20;

/// The server's name in messages.
const SERVER: &str = "STANDIN";
/// "current command" of SELECT; clients only look whether it is one.
const SELECT: u16 = 0xC1;

/// ENVCHANGE with texts.
pub fn env_text(out: &mut Vec<u8>, kind: u8, new: &str, old: &str) {
    let mut body = vec![kind];
    put_b_varchar(&mut body, new);
    put_b_varchar(&mut body, old);
    put_env(out, &body);
}

/// ENVCHANGE with bytes (collation, transaction descriptors).
pub fn env_bytes(out: &mut Vec<u8>, kind: u8, new: &[u8], old: &[u8]) {
    let mut body = vec![kind, new.len() as u8];
    body.extend_from_slice(new);
    body.push(old.len() as u8);
    body.extend_from_slice(old);
    put_env(out, &body);
}

fn put_env(out: &mut Vec<u8>, body: &[u8]) {
    out.push(0xE3);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend_from_slice(body);
}

/// ERROR (class 11 and above) or INFO.
pub fn message(out: &mut Vec<u8>, e: &SqlError, procedure: &str) {
    let mut body = e.number.to_le_bytes().to_vec();
    body.extend([e.state, e.class]);
    put_us_varchar(&mut body, &e.message);
    put_b_varchar(&mut body, SERVER);
    put_b_varchar(&mut body, procedure);
    body.extend(e.line.to_le_bytes());
    out.push(if e.class > 10 { 0xAA } else { 0xAB });
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
}

/// Everything after a successful LOGIN7, up to its DONE.
pub fn login_accepted(out: &mut Vec<u8>, database: &str, packet_size: usize) {
    env_text(out, 1, database, "master");
    let context =
        SqlError::info(5701, format!("Changed database context to '{database}'.")).state(2);
    message(out, &context, "");
    env_bytes(out, 7, &COLLATION, &[]);
    env_text(out, 2, "us_english", "");
    message(out, &SqlError::info(5703, "Changed language setting to us_english."), "");
    // LOGINACK: T-SQL interface, TDS 7.4, program version big-endian
    let mut body = vec![1, 0x74, 0, 0, 4];
    put_b_varchar(&mut body, "Microsoft SQL Server");
    body.extend([16, 0, 0x10, 0x68]);
    out.push(0xAD);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    env_text(out, 4, &packet_size.to_string(), "4096");
    done(out, DONE, 0, None);
}

/// DONE, DONEPROC or DONEINPROC.
pub fn done(out: &mut Vec<u8>, token: u8, status: u16, rows: Option<u64>) {
    out.push(token);
    out.extend((status | if rows.is_some() { COUNT } else { 0 }).to_le_bytes());
    out.extend((if rows.is_some() { SELECT } else { 0 }).to_le_bytes());
    out.extend(rows.unwrap_or(0).to_le_bytes());
}

pub fn return_status(out: &mut Vec<u8>, status: i32) {
    out.push(0x79);
    out.extend(status.to_le_bytes());
}

/// RETURNVALUE of an output parameter.
pub fn return_value(
    out: &mut Vec<u8>,
    ordinal: u16,
    name: &str,
    value: &Typed,
) -> Result<(), Mismatch> {
    out.push(0xAC);
    out.extend(ordinal.to_le_bytes());
    put_b_varchar(out, name);
    out.push(1);
    out.extend([0; 4]);
    out.extend([1, 0]);
    put_type(out, &value.ty, true);
    put_value(out, &value.ty, &value.val, true)
}

/// COLMETADATA.
pub fn columns(out: &mut Vec<u8>, columns: &[Col]) {
    out.push(0x81);
    out.extend((columns.len() as u16).to_le_bytes());
    for c in columns {
        // the user type tells timestamp from binary(8)
        let user_type: u32 = if c.ty == Ty::RowVersion { 80 } else { 0 };
        out.extend(user_type.to_le_bytes());
        // nullable; whether clients can write it: "unknown", or not because it is an identity, computed, the server's
        let flags = u8::from(c.nullable)
            | match c.filled {
                Filled::Client => 0x08,
                Filled::Identity => 0x10,
                Filled::Expression => 0x20,
                Filled::Server => 0,
            };
        out.extend([flags, 0]);
        put_type(out, &c.ty, c.nullable);
        if matches!(c.ty, Ty::Text | Ty::NText | Ty::Image) {
            // one part of a table name
            out.push(1);
            put_us_varchar(out, "t");
        }
        put_b_varchar(out, &c.name);
    }
}

/// ROW, or NBCROW when there are NULLs among several columns. On an error nothing is written.
pub fn row(out: &mut Vec<u8>, columns: &[Col], values: &[Val]) -> Result<(), (usize, Mismatch)> {
    let start = out.len();
    let with_bitmap = columns.len() > 1 && values.iter().any(Val::is_null);
    if with_bitmap {
        out.push(0xD2);
        let at = out.len();
        out.resize(at + columns.len().div_ceil(8), 0);
        for (i, v) in values.iter().enumerate() {
            if v.is_null() {
                out[at + i / 8] |= 1 << (i % 8);
            }
        }
    } else {
        out.push(0xD1);
    }
    for (i, (c, v)) in columns.iter().zip(values).enumerate() {
        let put = if with_bitmap && v.is_null() {
            if c.nullable { Ok(()) } else { Err(Mismatch) }
        } else {
            put_value(out, &c.ty, v, c.nullable)
        };
        if let Err(m) = put {
            out.truncate(start);
            return Err((i, m));
        }
    }
    Ok(())
}

/// The text of a message of its own, for tests.
pub fn utf16(s: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_utf16(&mut out, s);
    out
}
