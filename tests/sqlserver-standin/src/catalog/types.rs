//! What the catalogue says about a type: ids, bytes, precision, scale (MicrosoftDocs, `sys.types`, `sys.columns`).

use super::view::{View, bit, int, maybe_int, maybe_text, text};
use crate::value::{MAX, Rowset, SqlError, Ty, Udt};

/// The catalogue's description of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    pub(crate) system_id: u8,
    pub(crate) user_id: i32,
    /// Bytes; -1 is `max`.
    pub(crate) length: i16,
    pub(crate) precision: u8,
    pub(crate) scale: u8,
    /// Character data, which has a collation.
    pub(crate) character: bool,
}

/// The facts of `ty`.
pub(crate) fn facts(ty: &Ty) -> Facts {
    let plain = |name, id: u8, length, precision, scale| Facts {
        name,
        system_id: id,
        user_id: i32::from(id),
        length,
        precision,
        scale,
        character: false,
    };
    let sized = |name, id, length| plain(name, id, length, 0, 0);
    let letters = |name, id, length| Facts { character: true, ..plain(name, id, length, 0, 0) };
    let clr = |name, id, length| Facts { user_id: id, ..plain(name, 240, length, 0, 0) };
    match *ty {
        Ty::Bit => plain("bit", 104, 1, 1, 0),
        Ty::TinyInt => plain("tinyint", 48, 1, 3, 0),
        Ty::SmallInt => plain("smallint", 52, 2, 5, 0),
        Ty::Int => plain("int", 56, 4, 10, 0),
        Ty::BigInt => plain("bigint", 127, 8, 19, 0),
        Ty::Real => plain("real", 59, 4, 24, 0),
        Ty::Float => plain("float", 62, 8, 53, 0),
        Ty::Decimal(precision, scale) => {
            plain("decimal", 106, decimal_length(precision), precision, scale)
        }
        Ty::Money => plain("money", 60, 8, 19, 4),
        Ty::SmallMoney => plain("smallmoney", 122, 4, 10, 4),
        Ty::Date => plain("date", 40, 3, 10, 0),
        Ty::Time(scale) => plain("time", 41, time_length(scale), fraction(8, scale), scale),
        Ty::DateTime => plain("datetime", 61, 8, 23, 3),
        Ty::SmallDateTime => plain("smalldatetime", 58, 4, 16, 0),
        Ty::DateTime2(scale) => {
            plain("datetime2", 42, time_length(scale) + 3, fraction(19, scale), scale)
        }
        Ty::DateTimeOffset(scale) => {
            plain("datetimeoffset", 43, time_length(scale) + 5, fraction(26, scale), scale)
        }
        Ty::Char(n) => letters("char", 175, bytes(n, 1)),
        Ty::VarChar(n) => letters("varchar", 167, bytes(n, 1)),
        Ty::NChar(n) => letters("nchar", 239, bytes(n, 2)),
        Ty::NVarChar(n) => letters("nvarchar", 231, bytes(n, 2)),
        Ty::Text => letters("text", 35, 16),
        Ty::NText => letters("ntext", 99, 16),
        Ty::Image => sized("image", 34, 16),
        Ty::Binary(n) => sized("binary", 173, bytes(n, 1)),
        Ty::VarBinary(n) => sized("varbinary", 165, bytes(n, 1)),
        Ty::Xml => sized("xml", 241, -1),
        Ty::UniqueIdentifier => sized("uniqueidentifier", 36, 16),
        Ty::RowVersion => sized("timestamp", 189, 8),
        Ty::Variant => sized("sql_variant", 98, 8016),
        Ty::Udt(Udt::HierarchyId) => clr("hierarchyid", 128, 892),
        Ty::Udt(Udt::Geometry) => clr("geometry", 129, -1),
        Ty::Udt(Udt::Geography) => clr("geography", 130, -1),
    }
}

/// The facts of `ty` under the name that a column was declared with: `numeric`, `sysname`.
pub(crate) fn declared_facts(ty: &Ty, declared: Option<&str>) -> Facts {
    let facts = facts(ty);
    match declared.map(str::to_lowercase).as_deref() {
        Some("numeric") => Facts { name: "numeric", system_id: 108, user_id: 108, ..facts },
        Some("sysname") => Facts { name: "sysname", user_id: 256, ..facts },
        _ => facts,
    }
}

fn bytes(length: u16, each: i16) -> i16 {
    if length == MAX { -1 } else { i16::try_from(length).unwrap_or(i16::MAX).saturating_mul(each) }
}

fn decimal_length(precision: u8) -> i16 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        29.. => 17,
    }
}

fn time_length(scale: u8) -> i16 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        5.. => 5,
    }
}

fn fraction(whole: u8, scale: u8) -> u8 {
    if scale == 0 { whole } else { whole + 1 + scale }
}

/// Whether values live outside the row in SQL Server and CDC leaves them out of some images.
pub(crate) fn is_max(ty: &Ty) -> bool {
    matches!(ty, Ty::VarChar(MAX) | Ty::NVarChar(MAX) | Ty::VarBinary(MAX) | Ty::Xml)
}

/// `text`, `ntext`, `image`.
pub(crate) fn is_old_lob(ty: &Ty) -> bool {
    matches!(ty, Ty::Text | Ty::NText | Ty::Image)
}

/// Every system type, in the order of `sys.types`. `numeric` and `sysname` have no `Ty` of their own.
const ALL: [Ty; 32] = [
    Ty::Image,
    Ty::Text,
    Ty::UniqueIdentifier,
    Ty::Date,
    Ty::Time(7),
    Ty::DateTime2(7),
    Ty::DateTimeOffset(7),
    Ty::TinyInt,
    Ty::SmallInt,
    Ty::Int,
    Ty::SmallDateTime,
    Ty::Real,
    Ty::Money,
    Ty::DateTime,
    Ty::Float,
    Ty::Variant,
    Ty::NText,
    Ty::Bit,
    Ty::Decimal(38, 38),
    Ty::SmallMoney,
    Ty::BigInt,
    Ty::Udt(Udt::HierarchyId),
    Ty::Udt(Udt::Geometry),
    Ty::Udt(Udt::Geography),
    Ty::VarBinary(8000),
    Ty::VarChar(8000),
    Ty::Binary(8000),
    Ty::Char(8000),
    Ty::RowVersion,
    Ty::NVarChar(4000),
    Ty::NChar(4000),
    Ty::Xml,
];

/// `sys.types`.
pub(crate) fn view(collation: &str) -> Result<Rowset, SqlError> {
    let mut view = View::new(
        "name sysname!; system_type_id tinyint!; user_type_id int!; schema_id int!; principal_id int; \
         max_length smallint!; precision tinyint!; scale tinyint!; collation_name sysname; is_nullable bit; \
         is_user_defined bit!; is_assembly_type bit!; default_object_id int!; rule_object_id int!; is_table_type bit!",
    )?;
    let mut all: Vec<Facts> = ALL.iter().map(facts).collect();
    let decimal = facts(&Ty::Decimal(38, 38));
    let nvarchar = facts(&Ty::NVarChar(128));
    all.push(Facts { name: "numeric", system_id: 108, user_id: 108, ..decimal });
    all.push(Facts { name: "sysname", user_id: 256, ..nvarchar });
    for f in all {
        let nullable = !matches!(f.name, "timestamp" | "sysname");
        view.row([
            text(f.name),
            int(f.system_id),
            int(f.user_id),
            int(4),
            maybe_int(None::<i32>),
            int(f.length),
            int(f.precision),
            int(f.scale),
            maybe_text(f.character.then_some(collation)),
            bit(nullable),
            bit(false),
            bit(f.system_id == 240),
            int(0),
            int(0),
            bit(false),
        ]);
    }
    Ok(view.done())
}

/// The name of a type by its `user_type_id`.
pub(crate) fn name(user_id: i64) -> Option<&'static str> {
    match user_id {
        108 => Some("numeric"),
        256 => Some("sysname"),
        id => ALL
            .iter()
            .map(facts)
            .find(|facts| i64::from(facts.user_id) == id)
            .map(|facts| facts.name),
    }
}

/// The `user_type_id` of a type's name.
pub(crate) fn id(name: &str) -> Option<i32> {
    match name.to_lowercase().as_str() {
        "numeric" => Some(108),
        "sysname" => Some(256),
        "rowversion" => Some(189),
        name => ALL.iter().map(facts).find(|facts| facts.name == name).map(|facts| facts.user_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bytes_as_sys_columns_has_them() {
        let got = |ty: Ty| (facts(&ty).length, facts(&ty).precision, facts(&ty).scale);
        assert_eq!(got(Ty::NVarChar(50)), (100, 0, 0));
        assert_eq!(got(Ty::VarChar(MAX)), (-1, 0, 0));
        assert_eq!(got(Ty::Decimal(38, 10)), (17, 38, 10));
        assert_eq!(got(Ty::DateTime2(7)), (8, 27, 7));
        assert_eq!(got(Ty::DateTime2(0)), (6, 19, 0));
        assert_eq!(got(Ty::DateTimeOffset(3)), (9, 30, 3));
        assert_eq!(got(Ty::Time(0)), (3, 8, 0));
        assert_eq!(got(Ty::Money), (8, 19, 4));
    }

    #[test]
    fn names_and_ids_go_both_ways() {
        for ty in &ALL {
            let facts = facts(ty);
            assert_eq!(name(facts.user_id.into()), Some(facts.name));
            assert_eq!(id(facts.name), Some(facts.user_id));
        }
    }
}
