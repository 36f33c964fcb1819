//! A table with a column of every supported type, and rows that go to its limits.

use anyhow::Result;

use crate::sqlserver::{Client, exec};

/// One column: its name, its declaration, and literals for the rows of [`fill`].
#[derive(Debug)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// The type as T-SQL declares it.
    pub ty: &'static str,
    /// An ordinary value.
    pub usual: &'static str,
    /// The least value, or the shortest.
    pub least: &'static str,
    /// The greatest value, or one that is often mishandled.
    pub most: &'static str,
}

const fn column(
    name: &'static str,
    ty: &'static str,
    [usual, least, most]: [&'static str; 3],
) -> Column {
    Column { name, ty, usual, least, most }
}

/// The columns besides the key `id int` and the `rowversion` column `c_rowversion`, which SQL
/// Server fills itself.
pub const COLUMNS: &[Column] = &[
    column("c_bit", "bit", ["1", "0", "1"]),
    column("c_tinyint", "tinyint", ["7", "0", "255"]),
    column("c_smallint", "smallint", ["7", "-32768", "32767"]),
    column("c_int", "int", ["7", "-2147483648", "2147483647"]),
    column(
        "c_bigint",
        "bigint",
        ["12345678901234567", "-9223372036854775808", "9223372036854775807"],
    ),
    column("c_real", "real", ["0.36640625", "-3.4028235E+38", "-0E0"]),
    column("c_float", "float", ["0.1E0", "-1.7976931348623157E+308", "2.2250738585072014E-308"]),
    column(
        "c_decimal18_2",
        "decimal(18,2)",
        ["1234.50", "-9999999999999999.99", "9999999999999999.99"],
    ),
    column(
        "c_decimal38_0",
        "decimal(38,0)",
        [
            "1000",
            "-99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ],
    ),
    column(
        "c_numeric38_38",
        "numeric(38,38)",
        [
            "0.00000000000000000000000000000000000001",
            "-0.99999999999999999999999999999999999999",
            "0.99999999999999999999999999999999999999",
        ],
    ),
    column("c_money", "money", ["19.99", "-922337203685477.5808", "922337203685477.5807"]),
    column("c_smallmoney", "smallmoney", ["19.99", "-214748.3648", "214748.3647"]),
    column("c_date", "date", ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"]),
    column("c_time0", "time(0)", ["'12:34:56'", "'00:00:00'", "'23:59:59'"]),
    column("c_time3", "time(3)", ["'12:34:56.789'", "'00:00:00'", "'23:59:59.999'"]),
    column("c_time7", "time(7)", ["'12:34:56.7891234'", "'00:00:00'", "'23:59:59.9999999'"]),
    column(
        "c_datetime",
        "datetime",
        ["'2024-02-29T12:34:56.007'", "'1753-01-01T00:00:00'", "'9999-12-31T23:59:59.997'"],
    ),
    column(
        "c_smalldatetime",
        "smalldatetime",
        ["'2024-02-29T12:34:00'", "'1900-01-01T00:00:00'", "'2079-06-06T23:59:00'"],
    ),
    column(
        "c_datetime2_0",
        "datetime2(0)",
        ["'2024-02-29T12:34:56'", "'0001-01-01T00:00:00'", "'9999-12-31T23:59:59'"],
    ),
    column(
        "c_datetime2_3",
        "datetime2(3)",
        ["'2024-02-29T12:34:56.789'", "'0001-01-01T00:00:00'", "'9999-12-31T23:59:59.999'"],
    ),
    column(
        "c_datetime2_6",
        "datetime2(6)",
        ["'2024-02-29T12:34:56.789123'", "'0001-01-01T00:00:00'", "'9999-12-31T23:59:59.999999'"],
    ),
    column(
        "c_datetime2_7",
        "datetime2(7)",
        ["'2024-02-29T12:34:56.7891234'", "'0001-01-01T00:00:00'", "'9999-12-31T23:59:59.9999999'"],
    ),
    column(
        "c_datetimeoffset",
        "datetimeoffset(7)",
        [
            "'2024-02-29T12:34:56.7891234+05:30'",
            "'0001-01-01T00:00:00+00:00'",
            "'9999-12-31T23:59:59.9999999+14:00'",
        ],
    ),
    column("c_char", "char(10)", ["'ab'", "''", "'0123456789'"]),
    column("c_varchar", "varchar(40)", ["'Grüße'", "''", "'trailing blanks   '"]),
    column(
        "c_varchar_max",
        "varchar(max)",
        ["'long'", "''", "REPLICATE(CAST('x' AS varchar(max)), 10000)"],
    ),
    column("c_nchar", "nchar(10)", ["N'né'", "N''", "N'日本語'"]),
    column("c_nvarchar", "nvarchar(40)", ["N'Ωmega ☕'", "N''", "N'𝄞 and \ttab   '"]),
    column(
        "c_nvarchar_max",
        "nvarchar(max)",
        ["N'line 1\nline 2'", "N''", "REPLICATE(CAST(N'€' AS nvarchar(max)), 10000)"],
    ),
    column("c_text", "text", ["'old text'", "''", "'it''s'"]),
    column("c_ntext", "ntext", ["N'old ŧext'", "N''", "N'''quoted'''"]),
    column("c_xml", "xml", ["N'<a b=\"1\">x</a>'", "N'<a/>'", "N'<a>&lt;é&gt;</a>'"]),
    column(
        "c_uniqueidentifier",
        "uniqueidentifier",
        [
            "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    column("c_binary", "binary(8)", ["0x0102", "0x00", "0xFFFFFFFFFFFFFFFF"]),
    column("c_varbinary", "varbinary(40)", ["0xDEADBEEF", "0x", "0x00FF00"]),
    column(
        "c_varbinary_max",
        "varbinary(max)",
        ["0x01", "0x", "CAST(REPLICATE(CAST('y' AS varchar(max)), 10000) AS varbinary(max))"],
    ),
    column("c_image", "image", ["0x89504E47", "0x", "0x00"]),
    column("c_geometry", "geometry", ["0x00000000010C000000000000F03F0000000000000040"; 3]),
    column("c_geography", "geography", ["0xE6100000010CAE8BFC28BCE4474067A89189898A5EC0"; 3]),
    column("c_hierarchyid", "hierarchyid", ["0x5B40", "0x", "0x58"]),
];

/// The statement that makes `dbo.NAME`.
#[must_use]
pub fn create(name: &str) -> String {
    let mut sql = format!("CREATE TABLE dbo.{name} (id int NOT NULL PRIMARY KEY");
    for column in COLUMNS {
        sql += &format!(",\n  {} {} NULL", column.name, column.ty);
    }
    sql + ",\n  c_rowversion rowversion NOT NULL)"
}

/// Writes five rows, from key `first` on: usual, NULL, least, most, and the usual one again.
///
/// # Errors
/// What the server answers.
pub async fn fill(client: &mut Client, name: &str, first: u64) -> Result<u64> {
    let kinds: [fn(&Column) -> &'static str; 5] =
        [|c| c.usual, |_| "NULL", |c| c.least, |c| c.most, |c| c.usual];
    for (id, kind) in (first..).zip(kinds) {
        exec(client, &insert(name, id, kind)).await?;
    }
    Ok(kinds.len() as u64)
}

/// An `INSERT` of one row with the literal that `kind` chooses for each column.
#[must_use]
pub fn insert(name: &str, id: u64, kind: impl Fn(&Column) -> &'static str) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    let values: Vec<&str> = COLUMNS.iter().map(kind).collect();
    format!(
        "INSERT INTO dbo.{name} (id, {}) VALUES ({id}, {})",
        names.join(", "),
        values.join(", ")
    )
}
