//! The binary COPY format: rows in and rows out.

use bytes::{Bytes, BytesMut};

/// What every binary COPY begins with: signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Collects rows for `COPY ... FROM STDIN (FORMAT binary)`.
#[derive(Debug)]
pub struct Rows {
    bytes: Vec<u8>,
}

impl Default for Rows {
    fn default() -> Self {
        Self { bytes: HEADER.to_vec() }
    }
}

impl Rows {
    /// Begins a row of so many fields; append each with [`crate::encode::field`].
    pub fn begin(&mut self, fields: usize) -> &mut Vec<u8> {
        // PostgreSQL has at most 1,600 columns.
        self.bytes.extend(i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
        &mut self.bytes
    }

    /// Bytes so far: a mark for [`Rows::cut`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when there is nothing to send but a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER.len()
    }

    /// Takes back what was appended after a mark: a row that could not be encoded.
    pub fn cut(&mut self, mark: usize) {
        self.bytes.truncate(mark);
    }

    /// What is there so far, to be sent before the rest.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }

    /// The rest of the stream, with its trailer.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.bytes.extend((-1i16).to_be_bytes());
        self.bytes.into()
    }
}

/// Cuts the stream of `COPY ... TO STDOUT (FORMAT binary)` into rows.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: BytesMut,
    header_read: bool,
    ended: bool,
}

/// One row: its bytes, and where each field lies in them (`None` is NULL).
#[derive(Debug)]
pub(crate) struct RawRow {
    bytes: Bytes,
    fields: Vec<Option<(usize, usize)>>,
}

struct Fields {
    length: usize,
    places: Vec<Option<(usize, usize)>>,
}

impl RawRow {
    pub(crate) fn field(&self, index: usize) -> Option<Option<&[u8]>> {
        Some(match self.fields.get(index)? {
            None => None,
            Some((start, end)) => Some(self.bytes.get(*start..*end)?),
        })
    }
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next whole row, when the buffer has one.
    pub(crate) fn next_row(&mut self) -> Result<Option<RawRow>, &'static str> {
        if !self.header_read {
            let Some(start) = self.buffer.get(..19) else { return Ok(None) };
            if start.get(..11) != HEADER.get(..11) {
                return Err("the server did not answer in the binary COPY format");
            }
            let extension =
                start.get(15..19).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
            let whole = 19 + usize::try_from(extension).map_err(|_| "a COPY header of 4 GB")?;
            if self.buffer.len() < whole {
                return Ok(None);
            }
            drop(self.buffer.split_to(whole));
            self.header_read = true;
        }
        let Some(fields) = self.measure() else { return Ok(None) };
        let end = fields.length;
        Ok(Some(RawRow { bytes: self.buffer.split_to(end).freeze(), fields: fields.places }))
    }

    /// Where the fields of the next row lie; `None` when it is not whole yet, or there is none.
    fn measure(&mut self) -> Option<Fields> {
        let at = |from: usize, count: usize| self.buffer.get(from..from + count);
        let count = i16::from_be_bytes(at(0, 2)?.try_into().ok()?);
        let Ok(count) = usize::try_from(count) else {
            self.ended = true;
            return None;
        };
        let mut place = 2;
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let length = i32::from_be_bytes(at(place, 4)?.try_into().ok()?);
            place += 4;
            match usize::try_from(length) {
                Ok(length) => {
                    fields.push(Some((place, place + length)));
                    place += length;
                }
                Err(_) => fields.push(None),
            }
        }
        (self.buffer.len() >= place).then_some(Fields { length: place, places: fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_however_the_stream_is_cut() {
        let mut rows = Rows::default();
        for text in ["", "abc"] {
            let out = rows.begin(2);
            out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            out.extend(text.as_bytes());
            out.extend((-1i32).to_be_bytes());
        }
        let stream = rows.finish();
        for step in 1..stream.len() {
            let mut reader = Reader::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                reader.feed(chunk);
                while let Some(row) = reader.next_row().unwrap() {
                    got.push((
                        row.field(0).unwrap().map(<[u8]>::to_vec),
                        row.field(1).unwrap().is_none(),
                    ));
                }
            }
            assert!(reader.ended());
            assert_eq!(got, [(Some(vec![]), true), (Some(b"abc".to_vec()), true)], "step {step}");
        }
    }
}
