//! What several tests need: every type, and values of it.

use causeway_change::{ColumnType, Length, Value, time::TICKS_PER_DAY};
use proptest::prelude::*;

/// Every column type, those with a range at its ends.
pub(crate) fn every_type() -> Vec<ColumnType> {
    let mut types = vec![
        ColumnType::Bit,
        ColumnType::TinyInt,
        ColumnType::SmallInt,
        ColumnType::Int,
        ColumnType::BigInt,
        ColumnType::Real,
        ColumnType::Float,
        ColumnType::Decimal { precision: 38, scale: 0 },
        ColumnType::Decimal { precision: 38, scale: 38 },
        ColumnType::Decimal { precision: 1, scale: 0 },
        ColumnType::Decimal { precision: 18, scale: 2 },
        ColumnType::Money,
        ColumnType::SmallMoney,
        ColumnType::Date,
        ColumnType::DateTime,
        ColumnType::SmallDateTime,
        ColumnType::Char(10),
        ColumnType::Char(8000),
        ColumnType::VarChar(Length::Of(1)),
        ColumnType::VarChar(Length::Of(8000)),
        ColumnType::VarChar(Length::Max),
        ColumnType::NChar(4000),
        ColumnType::NVarChar(Length::Of(4000)),
        ColumnType::NVarChar(Length::Max),
        ColumnType::Text,
        ColumnType::NText,
        ColumnType::Xml,
        ColumnType::UniqueIdentifier,
        ColumnType::Binary(16),
        ColumnType::VarBinary(Length::Of(8000)),
        ColumnType::VarBinary(Length::Max),
        ColumnType::Image,
        ColumnType::RowVersion,
        ColumnType::Geometry,
        ColumnType::Geography,
        ColumnType::HierarchyId,
    ];
    for scale in 0..=7 {
        types.push(ColumnType::Time { scale });
        types.push(ColumnType::DateTime2 { scale });
        types.push(ColumnType::DateTimeOffset { scale });
    }
    types
}

/// Any value that a column of the type can hold; NULL and unavailable values apart.
pub(crate) fn value_of(ty: ColumnType) -> BoxedStrategy<Value> {
    const FIRST_DAY: i64 = -719_162;
    const LAST_DAY: i64 = 2_932_896;
    let decimal = |precision: u8| {
        let most = 10i128.pow(u32::from(precision)) - 1;
        prop_oneof![Just(0), Just(most), Just(-most), -most..=most].prop_map(Value::Decimal)
    };
    // A tick of the scale: 0 to 7 digits of a second.
    let unit = |scale: u8| 10i64.pow(7 - u32::from(scale));
    let moment = move |unit: i64, first: i64, last: i64| {
        let (least, most) = (first * TICKS_PER_DAY / unit, ((last + 1) * TICKS_PER_DAY - 1) / unit);
        prop_oneof![Just(least), Just(most), Just(0), Just(-1), least..=most]
            .prop_map(move |n| n * unit)
    };
    match ty {
        ColumnType::Bit => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnType::TinyInt => (0i16..256).prop_map(Value::I16).boxed(),
        ColumnType::SmallInt => any::<i16>().prop_map(Value::I16).boxed(),
        ColumnType::Int => any::<i32>().prop_map(Value::I32).boxed(),
        ColumnType::BigInt => any::<i64>().prop_map(Value::I64).boxed(),
        ColumnType::Real => any::<f32>().prop_map(Value::F32).boxed(),
        ColumnType::Float => any::<f64>().prop_map(Value::F64).boxed(),
        ColumnType::Decimal { precision, .. } => decimal(precision).boxed(),
        ColumnType::Money => any::<i64>().prop_map(|n| Value::Decimal(n.into())).boxed(),
        ColumnType::SmallMoney => any::<i32>().prop_map(|n| Value::Decimal(n.into())).boxed(),
        ColumnType::Date => (-719_162i32..=2_932_896).prop_map(Value::Date).boxed(),
        ColumnType::Time { scale } => {
            let unit = unit(scale);
            (0..TICKS_PER_DAY / unit).prop_map(move |n| Value::Time(n * unit)).boxed()
        }
        ColumnType::DateTime => moment(10_000, -79_000, LAST_DAY).prop_map(Value::DateTime).boxed(),
        ColumnType::SmallDateTime => {
            moment(600_000_000, -25_567, 39_000).prop_map(Value::DateTime).boxed()
        }
        // Nanoseconds end in 1677 and 2262.
        ColumnType::DateTime2 { scale: 7 } => {
            moment(1, -106_000, 106_000).prop_map(Value::DateTime).boxed()
        }
        ColumnType::DateTime2 { scale } => {
            moment(unit(scale), FIRST_DAY, LAST_DAY).prop_map(Value::DateTime).boxed()
        }
        ColumnType::DateTimeOffset { scale } => {
            (moment(unit(scale), FIRST_DAY + 1, LAST_DAY - 1), -840i16..=840)
                .prop_map(|(utc, offset_minutes)| Value::DateTimeOffset { utc, offset_minutes })
                .boxed()
        }
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => ".{0,40}".prop_map(Value::Text).boxed(),
        ColumnType::UniqueIdentifier => any::<[u8; 16]>().prop_map(Value::Guid).boxed(),
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => {
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Value::Bytes).boxed()
        }
    }
}

/// Equality that knows one NaN from another, which `==` of floats does not.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
