//! A field of a binary row becomes a value again, of the kind that the source's column has.

use causeway_change::{ColumnType, Value, ValueRef};

use crate::{numeric, types};

/// Ticks of 100 ns from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_TICKS: i64 = 946_684_800 * 10_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;

/// The value of a column of type [`types::base_type`]`(ty)`, where it lies.
///
/// # Errors
/// A phrase that says why the bytes are no such value, without the bytes: infinity, NaN, decimals
/// beyond the source's scale.
pub fn value_ref(ty: ColumnType, bytes: &[u8]) -> Result<ValueRef<'_>, &'static str> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
        bytes.try_into().map_err(|_| "the field has another length than its type")
    }
    let text = || std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8");
    let moment = || {
        let micros = i64::from_be_bytes(fixed(bytes)?);
        micros.checked_mul(10).and_then(|ticks| ticks.checked_add(EPOCH_TICKS)).ok_or("infinity")
    };
    Ok(match ty {
        ColumnType::Bit => ValueRef::Bool(fixed::<1>(bytes)? != [0]),
        ColumnType::TinyInt | ColumnType::SmallInt => {
            ValueRef::I16(i16::from_be_bytes(fixed(bytes)?))
        }
        ColumnType::Int => ValueRef::I32(i32::from_be_bytes(fixed(bytes)?)),
        ColumnType::BigInt => ValueRef::I64(i64::from_be_bytes(fixed(bytes)?)),
        ColumnType::Real => ValueRef::F32(f32::from_be_bytes(fixed(bytes)?)),
        ColumnType::Float => ValueRef::F64(f64::from_be_bytes(fixed(bytes)?)),
        ColumnType::Decimal { .. } | ColumnType::Money | ColumnType::SmallMoney => {
            ValueRef::Decimal(
                numeric::decode(bytes, types::scale(ty))
                    .ok_or("the number is NaN, infinite, or finer than the source's scale")?,
            )
        }
        ColumnType::Date => ValueRef::Date(
            i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_DAYS).ok_or("infinity")?,
        ),
        ColumnType::Time { .. } => ValueRef::Time(
            i64::from_be_bytes(fixed(bytes)?).checked_mul(10).ok_or("a time beyond its range")?,
        ),
        ColumnType::DateTime | ColumnType::SmallDateTime | ColumnType::DateTime2 { .. } => {
            ValueRef::DateTime(moment()?)
        }
        ColumnType::DateTimeOffset { .. } => {
            ValueRef::DateTimeOffset { utc: moment()?, offset_minutes: 0 }
        }
        ColumnType::Char(_)
        | ColumnType::VarChar(_)
        | ColumnType::NChar(_)
        | ColumnType::NVarChar(_)
        | ColumnType::Text
        | ColumnType::NText
        | ColumnType::Xml => ValueRef::Text(text()?),
        ColumnType::UniqueIdentifier => ValueRef::Guid(fixed(bytes)?),
        ColumnType::Binary(_)
        | ColumnType::VarBinary(_)
        | ColumnType::Image
        | ColumnType::RowVersion
        | ColumnType::Geometry
        | ColumnType::Geography
        | ColumnType::HierarchyId => ValueRef::Bytes(bytes),
    })
}

/// The value of [`value_ref`] with memory of its own.
///
/// # Errors
/// As [`value_ref`].
pub fn value(ty: ColumnType, bytes: &[u8]) -> Result<Value, &'static str> {
    value_ref(ty, bytes).map(ValueRef::to_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_is_no_moment() {
        let at = ColumnType::DateTime2 { scale: 6 };
        assert_eq!(value(at, &i64::MAX.to_be_bytes()).unwrap_err(), "infinity");
        assert!(value(at, &[0; 7]).is_err());
    }
}
