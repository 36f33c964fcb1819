use causeway_change::{ColumnType, Length, Value};
use causeway_postgres::encode;
use proptest::prelude::*;

use super::*;

fn every_type() -> Vec<ColumnType> {
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
        ColumnType::Decimal { precision: 18, scale: 2 },
        ColumnType::Money,
        ColumnType::SmallMoney,
        ColumnType::Date,
        ColumnType::DateTime,
        ColumnType::SmallDateTime,
        ColumnType::Char(3),
        ColumnType::NChar(10),
        ColumnType::VarChar(Length::Of(2)),
        ColumnType::VarChar(Length::Max),
        ColumnType::NVarChar(Length::Of(5)),
        ColumnType::NVarChar(Length::Max),
        ColumnType::Text,
        ColumnType::NText,
        ColumnType::Xml,
        ColumnType::UniqueIdentifier,
        ColumnType::Binary(16),
        ColumnType::VarBinary(Length::Of(80)),
        ColumnType::VarBinary(Length::Max),
        ColumnType::Image,
        ColumnType::RowVersion,
        ColumnType::Geometry,
        ColumnType::Geography,
        ColumnType::HierarchyId,
    ];
    for scale in [0, 3, 7] {
        types.push(ColumnType::Time { scale });
        types.push(ColumnType::DateTime2 { scale });
        types.push(ColumnType::DateTimeOffset { scale });
    }
    types
}

/// Any value at all, of any kind: also those that no column can hold.
fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![".{0,12}", "[a\0 ]{0,8}", "[a-z]{0,4} {0,9}", "\\PC{0,4}"];
    let ticks =
        || prop_oneof![any::<i64>(), -1_000_000_000_000_000_000..1_000_000_000_000_000_000i64];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        prop_oneof![any::<i128>(), (-20_000i128..20_000), any::<i64>().prop_map(i128::from)]
            .prop_map(Value::Decimal),
        text.prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<[u8; 16]>().prop_map(Value::Guid),
        any::<i32>().prop_map(Value::Date),
        prop_oneof![any::<i64>(), (-10i64..864_000_000_020)].prop_map(Value::Time),
        ticks().prop_map(Value::DateTime),
        (ticks(), -840i16..=840)
            .prop_map(|(utc, offset_minutes)| Value::DateTimeOffset { utc, offset_minutes }),
    ]
}

fn column(ty: ColumnType) -> Column {
    Column { name: "c".to_owned(), ty, nullable: true, default: None }
}

fn put(column: &Column, value: &Value, policy: &Policy) -> (Result<(), Fault>, Vec<u8>, Replaced) {
    let plan = Plan::new(std::iter::once(Some(column)), policy);
    let (mut out, mut replaced) = (Vec::new(), Replaced::default());
    let result = plan.put(0, value.borrowed(), &mut out, &mut replaced);
    (result, out, replaced)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_plan_writes_what_the_slow_way_writes_and_refuses_what_it_refuses(value in any_value()) {
        for ty in every_type() {
            let column = column(ty);
            let mut slow = Vec::new();
            let judged = encode::field(&column, &value, &mut slow);
            let (result, fast, replaced) = put(&column, &value, &Policy::default());
            prop_assert_eq!(replaced, Replaced::default());
            match (judged, result) {
                (Ok(()), Ok(())) => prop_assert_eq!(&slow, &fast, "{}", ty),
                (Err(judged), Err(Fault::Unfit { error, always: false })) => {
                    prop_assert_eq!(judged, error);
                }
                (judged, result) => prop_assert!(false, "{ty}: {judged:?}, {result:?}"),
            }
        }
    }
}

#[test]
fn values_that_do_not_fit_are_replaced_by_the_nearest_and_counted() {
    let replace = Policy {
        nul: OnUnfit::Replace,
        time_range: OnUnfit::Replace,
        text_length: OnUnfit::Replace,
        ..Policy::default()
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let short = ColumnType::NVarChar(Length::Of(3));
    for (ty, value, bytes, counted) in [
        (short, text("a\0b"), "a\u{fffd}b".as_bytes().to_vec(), (1, 0, 0)),
        (short, text("\u{1f600}bcdef"), "\u{1f600}bc".as_bytes().to_vec(), (0, 0, 1)),
        (short, text("a\0bcd"), "a\u{fffd}b".as_bytes().to_vec(), (1, 0, 1)),
        (ColumnType::Date, Value::Date(i32::MIN), i32::MIN.to_be_bytes().to_vec(), (0, 1, 0)),
        (
            ColumnType::DateTime2 { scale: 7 },
            Value::DateTime(i64::MIN),
            i64::MIN.to_be_bytes().to_vec(),
            (0, 1, 0),
        ),
        (
            ColumnType::Time { scale: 7 },
            Value::Time(i64::MAX),
            86_400_000_000i64.to_be_bytes().to_vec(),
            (0, 1, 0),
        ),
    ] {
        let (result, out, replaced) = put(&column(ty), &value, &replace);
        assert!(result.is_ok(), "{ty}");
        assert_eq!(out[4..], bytes, "{ty}");
        assert_eq!(out[..4], i32::try_from(bytes.len()).unwrap().to_be_bytes(), "{ty}");
        assert_eq!((replaced.nul, replaced.time_range, replaced.text_length), counted, "{ty}");
    }
    // Another kind is never replaced, and `dlq` is told.
    let (result, ..) = put(&column(ColumnType::Int), &text("x"), &replace);
    assert!(matches!(result, Err(Fault::Unfit { always: false, .. })));
    let always = Policy { nul: OnUnfit::Dlq, ..Policy::default() };
    let (result, ..) = put(&column(short), &text("\0"), &always);
    assert!(matches!(result, Err(Fault::Unfit { always: true, .. })));
}

#[test]
fn columns_that_are_left_out_write_nothing() {
    let id = column(ColumnType::Int);
    let plan = Plan::new([None, Some(&id)].into_iter(), &Policy::default());
    let (mut out, mut replaced) = (Vec::new(), Replaced::default());
    plan.put(0, ValueRef::Text("x"), &mut out, &mut replaced).unwrap();
    assert!(out.is_empty());
    plan.put(1, ValueRef::I32(7), &mut out, &mut replaced).unwrap();
    assert_eq!(out, [0, 0, 0, 4, 0, 0, 0, 7]);
}
