//! The five bytes in front of every record: 0x00 and the schema's id, big-endian (Confluent's wire
//! format).

use crate::FrameError;

/// Splits a record into its schema's id and the Avro bytes.
///
/// # Errors
/// [`FrameError`] when the record is too short or begins with another byte than 0.
pub fn split(record: &[u8]) -> Result<(u32, &[u8]), FrameError> {
    let Some((head, body)) = record.split_first_chunk::<5>() else {
        return Err(FrameError::Short(record.len()));
    };
    match *head {
        [0, a, b, c, d] => Ok((u32::from_be_bytes([a, b, c, d]), body)),
        [magic, ..] => Err(FrameError::Magic(magic)),
    }
}

/// Appends the frame of a schema id.
pub fn write(id: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_a_zero_and_the_id() {
        let mut record = Vec::new();
        write(0x0102_0304, &mut record);
        assert_eq!(record, [0, 1, 2, 3, 4]);
        record.push(9);
        assert_eq!(split(&record), Ok((0x0102_0304, &[9][..])));
    }

    #[test]
    fn what_has_no_frame_is_refused() {
        assert_eq!(split(&[]), Err(FrameError::Short(0)));
        assert_eq!(split(&[0, 0, 0, 1]), Err(FrameError::Short(4)));
        assert_eq!(split(b"{\"a\":1}"), Err(FrameError::Magic(b'{')));
    }
}
