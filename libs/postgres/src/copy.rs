//! The binary COPY format: rows in and rows out.

use bytes::{Buf as _, Bytes, BytesMut};

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
        // The next piece will be about as large.
        let next = Vec::with_capacity(self.bytes.capacity());
        std::mem::replace(&mut self.bytes, next).into()
    }

    /// The rest of the stream, with its trailer.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.bytes.extend((-1i16).to_be_bytes());
        self.bytes.into()
    }
}

/// Cuts the stream of `COPY ... TO STDOUT (FORMAT binary)` into rows, which stay where they were received.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// What was received last: whole rows, because the server sends each in a message of its own.
    whole: Bytes,
    /// Unless a row was cut: then what there is of it, and all that follows.
    rest: BytesMut,
    /// Where the fields of the current row lie; `None` is NULL.
    places: Vec<Option<(usize, usize)>>,
    /// Length of the current row.
    row: usize,
    header_read: bool,
    ended: bool,
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: Bytes) {
        if self.data().is_empty() {
            self.whole = bytes;
        } else {
            if self.rest.is_empty() {
                self.rest = BytesMut::from(&*std::mem::take(&mut self.whole));
            }
            self.rest.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    fn data(&self) -> &[u8] {
        if self.rest.is_empty() { &self.whole } else { &self.rest }
    }

    fn consume(&mut self, bytes: usize) {
        if self.rest.is_empty() {
            self.whole.advance(bytes);
        } else {
            self.rest.advance(bytes);
        }
    }

    /// Goes to the next row; false when more must be fed first, or there is none.
    pub(crate) fn advance(&mut self) -> Result<bool, &'static str> {
        if !self.header_read {
            let Some(start) = self.data().get(..19) else { return Ok(false) };
            if start.get(..11) != HEADER.get(..11) {
                return Err("the server did not answer in the binary COPY format");
            }
            let extension =
                start.get(15..19).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
            let whole = 19 + usize::try_from(extension).map_err(|_| "a COPY header of 4 GB")?;
            if self.data().len() < whole {
                return Ok(false);
            }
            self.consume(whole);
            self.header_read = true;
        }
        let row = std::mem::take(&mut self.row);
        self.consume(row);
        let mut places = std::mem::take(&mut self.places);
        let found = measure(self.data(), &mut places);
        self.places = places;
        match found {
            Found::Row(length) => {
                self.row = length;
                Ok(true)
            }
            Found::Part => Ok(false),
            Found::End => {
                self.ended = true;
                Ok(false)
            }
        }
    }

    /// A field of the current row: `Some(None)` is NULL, `None` is no field.
    pub(crate) fn field(&self, index: usize) -> Option<Option<&[u8]>> {
        Some(match self.places.get(index)? {
            None => None,
            Some((start, end)) => Some(self.data().get(*start..*end)?),
        })
    }
}

enum Found {
    Row(usize),
    Part,
    End,
}

/// Where the fields of the first row lie.
fn measure(data: &[u8], places: &mut Vec<Option<(usize, usize)>>) -> Found {
    places.clear();
    let Some((count, _)) = data.split_first_chunk::<2>() else { return Found::Part };
    let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else { return Found::End };
    let mut place = 2;
    for _ in 0..count {
        let Some((length, _)) = data.get(place..).and_then(|rest| rest.split_first_chunk::<4>())
        else {
            return Found::Part;
        };
        place += 4;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                places.push(Some((place, place + length)));
                place += length;
            }
            Err(_) => places.push(None),
        }
    }
    if data.len() >= place { Found::Row(place) } else { Found::Part }
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
                reader.feed(Bytes::copy_from_slice(chunk));
                while reader.advance().unwrap() {
                    got.push((
                        reader.field(0).unwrap().map(<[u8]>::to_vec),
                        reader.field(1).unwrap().is_none(),
                    ));
                }
            }
            assert!(reader.ended());
            assert_eq!(got, [(Some(vec![]), true), (Some(b"abc".to_vec()), true)], "step {step}");
        }
    }
}
