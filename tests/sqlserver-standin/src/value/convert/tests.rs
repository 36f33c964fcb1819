//! Conversions and the errors they raise.

use super::{assign, cast};
use crate::value::calendar::TICKS_PER_MINUTE;
use crate::value::{MAX, Ty, Typed, Val, decimal};

fn dec(n: i128, p: u8, s: u8) -> Typed {
    Typed::new(Ty::Decimal(p, s), Val::Dec(n))
}
fn text(v: &Typed, to: Ty, style: Option<i32>) -> String {
    cast(v, &to, style).unwrap_or_else(|e| panic!("{v:?} to {to:?}: {e}")).as_str().unwrap()
}
fn moment(s: &str, ty: Ty) -> Typed {
    let v = cast(&Typed::varchar(s), &ty, None).unwrap_or_else(|e| panic!("{s} as {ty:?}: {e}"));
    Typed::new(ty, v)
}

#[test]
fn numbers() {
    for (from, to, want) in [
        (Typed::varchar(" 12 "), Ty::Int, Val::Int(12)),
        (Typed::varchar(""), Ty::Int, Val::Int(0)),
        (Typed::varchar("-0012"), Ty::BigInt, Val::Int(-12)),
        (dec(-199, 5, 2), Ty::Int, Val::Int(-1)),
        (Typed::new(Ty::Money, Val::Money(15_000)), Ty::Int, Val::Int(2)),
        (Typed::float(-1.9), Ty::Int, Val::Int(-1)),
        (dec(1_005, 5, 3), Ty::Decimal(5, 2), Val::Dec(101)),
        (dec(-1_005, 5, 3), Ty::Decimal(5, 2), Val::Dec(-101)),
        (Typed::float(1.25), Ty::Decimal(5, 1), Val::Dec(13)),
        (
            Typed::varchar("99999999999999999999999999999999999999"),
            Ty::Decimal(38, 0),
            Val::Dec(decimal::LARGEST as i128),
        ),
        (Typed::varchar("$1,234.56789"), Ty::Money, Val::Money(12_345_679)),
        (Typed::varchar("1.5e3"), Ty::Float, Val::Float(1500.0)),
        (Typed::varchar("TRUE"), Ty::Bit, Val::Bit(true)),
        (Typed::int(5), Ty::Bit, Val::Bit(true)),
        (Typed::binary(&[1, 0, 0, 0, 2]), Ty::Int, Val::Int(2)),
        (Typed::binary(&[0xFF, 0xFF]), Ty::SmallInt, Val::Int(-1)),
        (Typed::int(258), Ty::Binary(8), Val::bytes(&[0, 0, 0, 0, 0, 0, 1, 2])),
        (Typed::int(258), Ty::VarBinary(30), Val::bytes(&[0, 0, 1, 2])),
        (Typed::bigint(258), Ty::Binary(1), Val::bytes(&[2])),
        (Typed::float(1.0), Ty::Binary(8), Val::bytes(&[0x3F, 0xF0, 0, 0, 0, 0, 0, 0])),
        (dec(150, 5, 2), Ty::VarBinary(20), Val::bytes(&[5, 2, 0, 1, 0x96, 0, 0, 0])),
    ] {
        assert_eq!(cast(&from, &to, None), Ok(want), "{from:?} to {to:?}");
    }
    for (from, to, number) in [
        (Typed::varchar("a"), Ty::Int, 245),
        (Typed::varchar("1.5"), Ty::Int, 245),
        (Typed::varchar("3000000000"), Ty::Int, 248),
        (Typed::varchar("300"), Ty::TinyInt, 244),
        (Typed::varchar("a"), Ty::BigInt, 8114),
        (Typed::varchar("a"), Ty::Decimal(5, 2), 8114),
        (Typed::varchar("a"), Ty::Money, 235),
        (Typed::int(300), Ty::TinyInt, 220),
        (Typed::bigint(1 << 40), Ty::Int, 8115),
        (dec(1000, 4, 0), Ty::Decimal(3, 0), 8115),
        (Typed::varchar("x"), Ty::UniqueIdentifier, 8169),
        (Typed::null(Ty::DateTime2(7)), Ty::Int, 529),
    ] {
        assert_eq!(cast(&from, &to, None).unwrap_err().number, number, "{from:?} to {to:?}");
    }
}

#[test]
fn dates() {
    for (from, ty, want) in [
        ("2024-02-29 23:59:59.999", Ty::DateTime, "2024-03-01 00:00:00.000"),
        ("2024-02-29 23:59:59.998", Ty::DateTime, "2024-02-29 23:59:59.997"),
        ("2024-02-29 01:02:03.002", Ty::DateTime, "2024-02-29 01:02:03.003"),
        ("2024-02-29 01:02:03.005", Ty::DateTime, "2024-02-29 01:02:03.007"),
        ("2024-02-29 12:00:29.998", Ty::SmallDateTime, "2024-02-29 12:00:00.000"),
        ("2024-02-29 12:00:29.999", Ty::SmallDateTime, "2024-02-29 12:01:00.000"),
        ("2024-02-29 23:59:59.9999999", Ty::DateTime2(7), "2024-02-29 23:59:59.9999999"),
        ("2024-02-29 23:59:59.9999999", Ty::DateTime2(3), "2024-03-01 00:00:00.000"),
        ("2024-02-29 23:59:59.4999999", Ty::DateTime2(0), "2024-02-29 23:59:59"),
        ("2024-02-29 00:30:00 +01:00", Ty::DateTimeOffset(0), "2024-02-29 00:30:00 +01:00"),
        ("0001-01-01", Ty::Date, "0001-01-01"),
        ("9999-12-31 23:59:59.997", Ty::DateTime, "9999-12-31 23:59:59.997"),
        ("23:59:59.9999999", Ty::Time(7), "23:59:59.9999999"),
        ("10:11:12.5", Ty::Time(0), "10:11:13"),
    ] {
        assert_eq!(text(&moment(from, ty), Ty::VarChar(60), Some(121)), want, "{from} {ty:?}");
    }
    let offset = moment("2024-02-29 00:30:00 +01:00", Ty::DateTimeOffset(7));
    let Val::DateTimeOffset { offset: minutes, ticks, .. } = offset.val else { panic!() };
    assert_eq!((minutes, ticks), (60, (23 * 60 + 30) * TICKS_PER_MINUTE));
    assert_eq!(text(&offset, Ty::VarChar(60), Some(127)), "2024-02-28T23:30:00Z");
    let d = moment("2024-02-29 13:02:03.003", Ty::DateTime);
    for (style, want) in [
        (None, "Feb 29 2024  1:02PM"),
        (Some(126), "2024-02-29T13:02:03.003"),
        (Some(112), "20240229"),
        (Some(108), "13:02:03"),
        (Some(114), "13:02:03:003"),
        (Some(101), "02/29/2024"),
        (Some(109), "Feb 29 2024  1:02:03:003PM"),
    ] {
        assert_eq!(text(&d, Ty::VarChar(40), style), want, "{style:?}");
    }
    // a third of a second survives in datetime2(7), not in datetime2(3)
    let exact = Typed::new(Ty::DateTime2(7), cast(&d, &Ty::DateTime2(7), None).unwrap());
    assert_eq!(text(&exact, Ty::VarChar(40), None), "2024-02-29 13:02:03.0033333");
    for (s, ty, number) in [
        ("x", Ty::DateTime, 241),
        ("1752-12-31", Ty::DateTime, 242),
        ("2024-02-29 01:02:03.1234567", Ty::DateTime, 241),
        ("2080-01-01", Ty::SmallDateTime, 242),
    ] {
        assert_eq!(cast(&Typed::varchar(s), &ty, None).unwrap_err().number, number, "{s}");
    }
}

#[test]
fn texts_and_binaries() {
    let guid =
        cast(&Typed::varchar("6f9619ff-8b86-d011-b42d-00c04fc964ff"), &Ty::UniqueIdentifier, None)
            .unwrap();
    let guid = Typed::new(Ty::UniqueIdentifier, guid);
    assert_eq!(text(&guid, Ty::VarChar(36), None), "6F9619FF-8B86-D011-B42D-00C04FC964FF");
    let stored = cast(&guid, &Ty::Binary(16), None).unwrap();
    assert_eq!(stored.as_bytes().unwrap()[..4], [0xFF, 0x19, 0x96, 0x6F]);
    assert_eq!(
        cast(&Typed::new(Ty::Binary(16), stored), &Ty::UniqueIdentifier, None),
        Ok(guid.val)
    );
    let b = Typed::binary(&[0, 0x1A, 0xFF]);
    assert_eq!(text(&b, Ty::VarChar(30), Some(1)), "0x001AFF");
    assert_eq!(text(&b, Ty::VarChar(30), Some(2)), "001AFF");
    assert_eq!(cast(&Typed::varchar("0x001AFF"), &Ty::VarBinary(3), Some(1)), Ok(b.val));
    assert_eq!(cast(&Typed::nvarchar("a"), &Ty::VarBinary(5), None), Ok(Val::bytes(&[0x61, 0])));
    assert_eq!(text(&Typed::nvarchar("ab"), Ty::Char(4), None), "ab  ");
    assert_eq!(text(&Typed::nvarchar("漢é"), Ty::VarChar(4), None), "?é");
    assert_eq!(text(&Typed::int(1234), Ty::VarChar(2), None), "*");
    assert_eq!(cast(&Typed::int(1234), &Ty::NVarChar(2), None).unwrap_err().number, 8115);
    let lone = Typed::nvarchar16([0xD800, 0x61].into_iter().collect());
    assert_eq!(cast(&lone, &Ty::NVarChar(MAX), None), Ok(lone.val));
}

#[test]
fn columns() {
    let place = Some(("dbo.t", "c"));
    let long = Typed::nvarchar("abcd");
    assert_eq!(assign(&long, &Ty::VarChar(3), place).unwrap_err().number, 2628);
    assert_eq!(assign(&long, &Ty::VarChar(3), None), Ok(Val::str("abc")));
    assert_eq!(assign(&Typed::varchar("abc  "), &Ty::VarChar(3), place), Ok(Val::str("abc")));
    assert_eq!(assign(&Typed::varchar("x"), &Ty::VarBinary(3), place).unwrap_err().number, 257);
    assert_eq!(assign(&Typed::null(Ty::DateTime), &Ty::DateTime, place), Ok(Val::Null));
    assert_eq!(
        assign(&moment("2024-01-01", Ty::DateTime), &Ty::Int, place).unwrap_err().number,
        257
    );
}
