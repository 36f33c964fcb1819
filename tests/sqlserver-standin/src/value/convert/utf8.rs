//! Texts of a collation in UTF-8: what char and varchar hold of them are its bytes.
//! <https://learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support#utf8>

use crate::value::{MAX, SqlError, Ty, Typed, Val};

/// A conversion that is another one because of the text's collation; `None` where it is not.
pub(crate) fn cast_utf8(v: &Typed, to: &Ty) -> Option<Result<Val, SqlError>> {
    let Val::Str(units) = &v.val else { return None };
    match to {
        // The length of a varchar counts bytes; a character that does not fit whole is not there.
        Ty::VarChar(n) if *n != MAX => {
            let text = String::from_utf16_lossy(units);
            let fits = text.char_indices().map(|(at, c)| at + c.len_utf8());
            let end = fits.take_while(|end| *end <= usize::from(*n)).last().unwrap_or(0);
            Some(Ok(Val::str(text.get(..end).unwrap_or_default())))
        }
        Ty::VarChar(_) => Some(Ok(v.val.clone())),
        Ty::Binary(_) | Ty::VarBinary(_) if !v.ty.is_unicode() => {
            let bytes = Val::bytes(String::from_utf16_lossy(units).as_bytes());
            Some(super::cast(&Typed::new(Ty::VarBinary(MAX), bytes), to, None))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varchar_counts_bytes_and_keeps_whole_characters() {
        let text = Typed::nvarchar("a\u{e9}\u{1f600}");
        for (length, kept) in
            [(8, "a\u{e9}\u{1f600}"), (7, "a\u{e9}\u{1f600}"), (6, "a\u{e9}"), (2, "a")]
        {
            let cut = cast_utf8(&text, &Ty::VarChar(length)).unwrap();
            assert_eq!(cut, Ok(Val::str(kept)), "{length}");
        }
        let held = Typed::new(Ty::VarChar(9), Val::str("\u{e9}"));
        let bytes = cast_utf8(&held, &Ty::VarBinary(9)).unwrap();
        assert_eq!(bytes, Ok(Val::bytes(&[0xC3, 0xA9])));
        assert!(cast_utf8(&text, &Ty::VarBinary(9)).is_none());
        assert!(cast_utf8(&Typed::int(1), &Ty::VarChar(9)).is_none());
    }
}
