//! Avro to PostgreSQL in one pass: a plan for each column of a writer's schema, no row in between.

use causeway_avro::DecodeError;
use causeway_change::{Column, ValueRef};
use causeway_postgres::{
    EncodeError,
    put::{self, Op, Unfit},
};

use crate::{
    change::ABSENT,
    policy::{OnUnfit, Policy},
};

/// Why a row could not be written.
#[derive(Debug)]
pub enum Fault {
    /// The bytes are not of their schema.
    Decode(DecodeError),
    /// PostgreSQL could not hold a value; `always` sets it aside whatever `on_error` says.
    Unfit {
        /// Which column, and why.
        error: EncodeError,
        /// The policy of this kind of value is `dlq`.
        always: bool,
    },
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// How many values were replaced, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Texts with U+0000.
    pub nul: u64,
    /// Dates and times.
    pub time_range: u64,
    /// Texts that were too long.
    pub text_length: u64,
}

/// What becomes of each column of a writer's schema.
#[derive(Clone, Debug)]
pub struct Plan {
    /// None for a column that is left out.
    columns: Vec<Option<Place>>,
    nul: OnUnfit,
    time_range: OnUnfit,
    text_length: OnUnfit,
}

#[derive(Clone, Debug)]
struct Place {
    op: Op,
    column: Column,
    /// Part of a key: its values are never replaced.
    strict: bool,
}

impl Plan {
    /// For the columns of a record, in its order.
    #[must_use]
    pub fn new<'a>(columns: impl Iterator<Item = Option<&'a Column>>, policy: &Policy) -> Self {
        let columns = columns
            .map(|column| {
                column.map(|c| Place { op: Op::of(c.ty), column: c.clone(), strict: false })
            })
            .collect();
        Self {
            columns,
            nul: policy.nul,
            time_range: policy.time_range,
            text_length: policy.text_length,
        }
    }

    /// For the columns of a key.
    #[must_use]
    pub fn strict(columns: &[Column]) -> Self {
        Self::new(columns.iter().map(Some), &Policy::default())
    }

    /// Values of these columns are never replaced: of a key's, two rows would become one.
    #[must_use]
    pub fn with_strict(mut self, indexes: impl Iterator<Item = usize>) -> Self {
        for index in indexes {
            if let Some(Some(place)) = self.columns.get_mut(index) {
                place.strict = true;
            }
        }
        self
    }

    /// Appends a field to a row.
    ///
    /// # Errors
    /// When PostgreSQL could not hold the value and the policy does not replace it.
    #[inline]
    pub fn put(
        &self,
        index: usize,
        field: ValueRef<'_>,
        out: &mut Vec<u8>,
        replaced: &mut Replaced,
    ) -> Result<(), Fault> {
        let Some(Some(place)) = self.columns.get(index) else { return Ok(()) };
        match write(place.op, field, out) {
            Ok(()) => Ok(()),
            Err(unfit) => self.unfit(unfit, place, field, out, replaced),
        }
    }

    #[cold]
    fn unfit(
        &self,
        unfit: Unfit,
        place: &Place,
        field: ValueRef<'_>,
        out: &mut Vec<u8>,
        replaced: &mut Replaced,
    ) -> Result<(), Fault> {
        let Place { op, column, strict } = place;
        let policy = match unfit {
            _ if *strict => OnUnfit::Error,
            Unfit::Nul => self.nul,
            Unfit::TooLong { .. } => self.text_length,
            Unfit::Beyond { .. } => self.time_range,
            Unfit::Kind(_) | Unfit::Huge => OnUnfit::Error,
        };
        let refused = |always| Err(Fault::Unfit { error: unfit.of(column), always });
        match policy {
            OnUnfit::Error => refused(false),
            OnUnfit::Dlq => refused(true),
            OnUnfit::Replace => match (unfit, field) {
                (Unfit::Nul, ValueRef::Text(text)) => {
                    replaced.nul += 1;
                    // It may be too long as well.
                    let text = text.replace('\0', "\u{fffd}");
                    match write(*op, ValueRef::Text(&text), out) {
                        Ok(()) => Ok(()),
                        Err(unfit) => {
                            self.unfit(unfit, place, ValueRef::Text(&text), out, replaced)
                        }
                    }
                }
                (Unfit::TooLong { limit }, ValueRef::Text(text)) => {
                    replaced.text_length += 1;
                    let end = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
                    let cut = ValueRef::Text(text.get(..end).unwrap_or(text));
                    write(*op, cut, out)
                        .map_err(|unfit| Fault::Unfit { error: unfit.of(column), always: false })
                }
                (Unfit::Beyond { early }, _) => {
                    replaced.time_range += 1;
                    op.nearest(early, out);
                    Ok(())
                }
                (Unfit::Nul | Unfit::TooLong { .. } | Unfit::Kind(_) | Unfit::Huge, _) => {
                    refused(false)
                }
            },
        }
    }
}

#[inline]
fn write(op: Op, field: ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
    match field {
        ValueRef::Null => put::null(out),
        ValueRef::Unavailable => out.extend_from_slice(&ABSENT.to_be_bytes()),
        ValueRef::Bool(b) => op.bool(b, out)?,
        ValueRef::I16(n) => op.i16(n, out)?,
        ValueRef::I32(n) => op.i32(n, out)?,
        ValueRef::I64(n) => op.i64(n, out)?,
        ValueRef::F32(x) => op.f32(x, out)?,
        ValueRef::F64(x) => op.f64(x, out)?,
        ValueRef::Decimal(n) => op.decimal(n, out)?,
        ValueRef::Text(text) => op.text(text, out)?,
        ValueRef::Bytes(bytes) => op.bytes(bytes, out)?,
        ValueRef::Guid(guid) => op.guid(guid, out)?,
        ValueRef::Date(days) => op.date(days, out)?,
        ValueRef::Time(ticks) => op.time(ticks, out)?,
        ValueRef::DateTime(ticks) => op.date_time(ticks, out)?,
        ValueRef::DateTimeOffset { utc, .. } => op.date_time_offset(utc, out)?,
    }
    Ok(())
}

#[cfg(test)]
#[path = "transcode_tests.rs"]
mod tests;
