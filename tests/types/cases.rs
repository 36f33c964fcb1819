//! The table: T-SQL type | Avro | PostgreSQL type, and for each T-SQL literal its Avro JSON and its
//! PostgreSQL text.
//!
//! Sources: the seed's mapping table, research B.3/B.4 (worked values of Debezium's own datatype
//! tests among them) and C.4. Bytes are written `0x...` in JSON, decimals as their exact text.

/// One column type and its values.
pub(crate) struct Case {
    /// As T-SQL declares it.
    pub sql: &'static str,
    /// Avro type, then `connect.type` or `connect.name`.
    pub avro: &'static str,
    /// As PostgreSQL's `format_type` prints it.
    pub postgres: &'static str,
    /// What a reader must know; goes into the document.
    pub note: &'static str,
    /// Literal, Avro JSON, PostgreSQL text (`None` is NULL).
    pub values: &'static [(&'static str, &'static str, Option<&'static str>)],
}

const fn case(
    sql: &'static str,
    avro: &'static str,
    postgres: &'static str,
    note: &'static str,
    values: &'static [(&'static str, &'static str, Option<&'static str>)],
) -> Case {
    Case { sql, avro, postgres, note, values }
}

/// Every replicated type.
pub(crate) const CASES: &[Case] = &[
    case(
        "bit",
        "boolean",
        "boolean",
        "",
        &[("1", "true", Some("true")), ("0", "false", Some("false")), ("NULL", "null", None)],
    ),
    case(
        "tinyint",
        "int, int16",
        "smallint",
        "0 to 255",
        &[("0", "0", Some("0")), ("255", "255", Some("255")), ("NULL", "null", None)],
    ),
    case(
        "smallint",
        "int, int16",
        "smallint",
        "",
        &[
            ("-32768", "-32768", Some("-32768")),
            ("32767", "32767", Some("32767")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "int",
        "int",
        "integer",
        "",
        &[
            ("-2147483648", "-2147483648", Some("-2147483648")),
            ("2147483647", "2147483647", Some("2147483647")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "bigint",
        "long",
        "bigint",
        "",
        &[
            ("-9223372036854775808", "-9223372036854775808", Some("-9223372036854775808")),
            ("9223372036854775807", "9223372036854775807", Some("9223372036854775807")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "real",
        "float",
        "real",
        "",
        &[
            ("3.40282347E38", "3.4028234663852886e38", Some("3.4028235e+38")),
            ("-0.5", "-0.5", Some("-0.5")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "float(53)",
        "double",
        "double precision",
        "the bits travel; -0 stays -0",
        &[
            ("1.7976931348623157E308", "1.7976931348623157e308", Some("1.7976931348623157e+308")),
            ("2.2250738585072014E-308", "2.2250738585072014e-308", Some("2.2250738585072014e-308")),
            ("0.36640625E0", "0.36640625", Some("0.36640625")),
            ("-0.0E0", "-0.0", Some("-0")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "float(24)",
        "float",
        "real",
        "float(1) to float(24) are real",
        &[("1.5E0", "1.5", Some("1.5"))],
    ),
    case(
        "decimal(38,0)",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(38,0)",
        "",
        &[
            (
                "99999999999999999999999999999999999999",
                "99999999999999999999999999999999999999",
                Some("99999999999999999999999999999999999999"),
            ),
            (
                "-99999999999999999999999999999999999999",
                "-99999999999999999999999999999999999999",
                Some("-99999999999999999999999999999999999999"),
            ),
            ("0", "0", Some("0")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "decimal(38,38)",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(38,38)",
        "",
        &[
            (
                "0.99999999999999999999999999999999999999",
                "0.99999999999999999999999999999999999999",
                Some("0.99999999999999999999999999999999999999"),
            ),
            (
                "-0.00000000000000000000000000000000000001",
                "-0.00000000000000000000000000000000000001",
                Some("-0.00000000000000000000000000000000000001"),
            ),
        ],
    ),
    case(
        "decimal(18,2)",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(18,2)",
        "",
        &[
            ("-0.01", "-0.01", Some("-0.01")),
            ("1234567890123456.78", "1234567890123456.78", Some("1234567890123456.78")),
            ("128", "128.00", Some("128.00")),
        ],
    ),
    case(
        "numeric(9,4)",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(9,4)",
        "",
        &[("12345.6789", "12345.6789", Some("12345.6789")), ("-1.2", "-1.2000", Some("-1.2000"))],
    ),
    case(
        "money",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(19,4)",
        "",
        &[
            ("922337203685477.5807", "922337203685477.5807", Some("922337203685477.5807")),
            ("-922337203685477.5808", "-922337203685477.5808", Some("-922337203685477.5808")),
            ("5.323", "5.3230", Some("5.3230")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "smallmoney",
        "bytes, org.apache.kafka.connect.data.Decimal",
        "numeric(10,4)",
        "",
        &[
            ("214748.3647", "214748.3647", Some("214748.3647")),
            ("-214748.3648", "-214748.3648", Some("-214748.3648")),
        ],
    ),
    case(
        "date",
        "int, io.debezium.time.Date",
        "date",
        "days since 1970-01-01",
        &[
            ("'2018-07-13'", "17725", Some("2018-07-13")),
            ("'0001-01-01'", "-719162", Some("0001-01-01")),
            ("'9999-12-31'", "2932896", Some("9999-12-31")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "time(0)",
        "int, io.debezium.time.Time",
        "time(0) without time zone",
        "milliseconds",
        &[("'23:59:59'", "86399000", Some("23:59:59"))],
    ),
    case(
        "time(2)",
        "int, io.debezium.time.Time",
        "time(2) without time zone",
        "milliseconds",
        &[("'10:23:45.678'", "37425680", Some("10:23:45.68"))],
    ),
    case(
        "time(4)",
        "long, io.debezium.time.MicroTime",
        "time(4) without time zone",
        "microseconds",
        &[("'10:23:45.6789'", "37425678900", Some("10:23:45.6789"))],
    ),
    case(
        "time(6)",
        "long, io.debezium.time.MicroTime",
        "time(6) without time zone",
        "microseconds",
        &[("'23:59:59.999999'", "86399999999", Some("23:59:59.999999"))],
    ),
    case(
        "time(7)",
        "long, io.debezium.time.NanoTime",
        "time(6) without time zone",
        "nanoseconds; PostgreSQL keeps microseconds: floored",
        &[
            ("'10:23:45.6789012'", "37425678901200", Some("10:23:45.678901")),
            ("'23:59:59.9999999'", "86399999999900", Some("23:59:59.999999")),
            ("'00:00:00'", "0", Some("00:00:00")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "smalldatetime",
        "long, io.debezium.time.Timestamp",
        "timestamp(0) without time zone",
        "whole minutes",
        &[
            ("'2018-07-13 14:23:45'", "1531491840000", Some("2018-07-13 14:24:00")),
            ("'1900-01-01 00:00:00'", "-2208988800000", Some("1900-01-01 00:00:00")),
            ("'2079-06-06 23:59:00'", "3453321540000", Some("2079-06-06 23:59:00")),
        ],
    ),
    case(
        "datetime",
        "long, io.debezium.time.Timestamp",
        "timestamp(3) without time zone",
        "1/300 s, as the milliseconds that SQL Server prints",
        &[
            ("'2018-07-13T13:23:45.780'", "1531488225780", Some("2018-07-13 13:23:45.78")),
            ("'1753-01-01T00:00:00.003'", "-6847804799997", Some("1753-01-01 00:00:00.003")),
            ("'9999-12-31T23:59:59.997'", "253402300799997", Some("9999-12-31 23:59:59.997")),
            ("'2018-07-13T00:00:00.005'", "1531440000007", Some("2018-07-13 00:00:00.007")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "datetime2(0)",
        "long, io.debezium.time.Timestamp",
        "timestamp(0) without time zone",
        "",
        &[
            ("'0001-01-01 00:00:00'", "-62135596800000", Some("0001-01-01 00:00:00")),
            ("'9999-12-31 23:59:59'", "253402300799000", Some("9999-12-31 23:59:59")),
        ],
    ),
    case(
        "datetime2(3)",
        "long, io.debezium.time.Timestamp",
        "timestamp(3) without time zone",
        "",
        &[("'1969-12-31 23:59:59.999'", "-1", Some("1969-12-31 23:59:59.999"))],
    ),
    case(
        "datetime2(6)",
        "long, io.debezium.time.MicroTimestamp",
        "timestamp(6) without time zone",
        "",
        &[
            (
                "'9999-12-31 23:59:59.999999'",
                "253402300799999999",
                Some("9999-12-31 23:59:59.999999"),
            ),
            ("'1969-12-31 23:59:59.999999'", "-1", Some("1969-12-31 23:59:59.999999")),
        ],
    ),
    case(
        "datetime2(7)",
        "long, io.debezium.time.NanoTimestamp",
        "timestamp(6) without time zone",
        "nanoseconds reach from 1677 to 2262 only: the first value outside turns the column into MicroTimestamp, by a new schema version; PostgreSQL keeps microseconds: floored",
        &[
            ("'2018-07-13 11:23:45.34'", "1531481025340000000", Some("2018-07-13 11:23:45.34")),
            (
                "'2018-07-13 11:23:45.3456789'",
                "1531481025345678900",
                Some("2018-07-13 11:23:45.345678"),
            ),
            ("'1969-12-31 23:59:59.9999999'", "-100", Some("1969-12-31 23:59:59.999999")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "datetimeoffset(3)",
        "string, io.debezium.time.ZonedTimestamp",
        "timestamp(3) with time zone",
        "PostgreSQL keeps the moment, not the offset",
        &[
            (
                "'2018-07-13 12:23:45.456 +11:00'",
                "\"2018-07-13T12:23:45.456+11:00\"",
                Some("2018-07-13 01:23:45.456+00"),
            ),
            (
                "'2018-07-13 12:23:00 -03:30'",
                "\"2018-07-13T12:23:00-03:30\"",
                Some("2018-07-13 15:53:00+00"),
            ),
        ],
    ),
    case(
        "datetimeoffset(7)",
        "string, io.debezium.time.ZonedTimestamp",
        "timestamp(6) with time zone",
        "",
        &[
            (
                "'0001-01-01 00:00:00 +00:00'",
                "\"0001-01-01T00:00:00Z\"",
                Some("0001-01-01 00:00:00+00"),
            ),
            (
                "'9999-12-31 23:59:59.9999999 +00:00'",
                "\"9999-12-31T23:59:59.9999999Z\"",
                Some("9999-12-31 23:59:59.999999+00"),
            ),
            (
                "'1969-12-31 23:59:59.5 +00:00'",
                "\"1969-12-31T23:59:59.5Z\"",
                Some("1969-12-31 23:59:59.5+00"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "char(5)",
        "string",
        "character(5)",
        "padded in both",
        &[
            ("'cc'", "\"cc   \"", Some("cc   ")),
            ("''", "\"     \"", Some("     ")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "varchar(10)",
        "string",
        "character varying(10)",
        "trailing blanks and '' stay",
        &[
            ("'vc '", "\"vc \"", Some("vc ")),
            ("''", "\"\"", Some("")),
            ("'Gr\u{fc}\u{df}e'", "\"Gr\u{fc}\u{df}e\"", Some("Gr\u{fc}\u{df}e")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "varchar(max)",
        "string",
        "text",
        "",
        &[
            (
                "REPLICATE(CAST('0123456789' AS varchar(max)), 2000)",
                "\"@0123456789*2000\"",
                Some("@0123456789*2000"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "nchar(3)",
        "string",
        "character(3)",
        "",
        &[("N'\u{e4}'", "\"\u{e4}  \"", Some("\u{e4}  "))],
    ),
    case(
        "nvarchar(20)",
        "string",
        "character varying(20)",
        "a lone surrogate becomes U+FFFD",
        &[
            (
                "N'\u{4e16}\u{754c} \u{1f600}'",
                "\"\u{4e16}\u{754c} \u{1f600}\"",
                Some("\u{4e16}\u{754c} \u{1f600}"),
            ),
            ("N'a' + NCHAR(55296) + N'b'", "\"a\u{fffd}b\"", Some("a\u{fffd}b")),
            (
                "N'tab\tquote'' \\ line\n'",
                "\"tab\\tquote' \\\\ line\\n\"",
                Some("tab\tquote' \\ line\n"),
            ),
            ("N''", "\"\"", Some("")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "nvarchar(max)",
        "string",
        "text",
        "",
        &[
            (
                "REPLICATE(CAST(N'\u{4e16}' AS nvarchar(max)), 9000)",
                "\"@\u{4e16}*9000\"",
                Some("@\u{4e16}*9000"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "xml",
        "string",
        "xml",
        "as SQL Server serialises it",
        &[
            (
                "N'<a b=\"1\">\u{fc}</a>'",
                "\"<a b=\\\"1\\\">\u{fc}</a>\"",
                Some("<a b=\"1\">\u{fc}</a>"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "uniqueidentifier",
        "string",
        "uuid",
        "upper case in Avro, as Debezium writes it",
        &[
            (
                "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
                "\"6F9619FF-8B86-D011-B42D-00C04FC964FF\"",
                Some("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "binary(4)",
        "bytes",
        "bytea",
        "padded with zeros",
        &[("0x01", "\"0x01000000\"", Some("\\x01000000")), ("NULL", "null", None)],
    ),
    case(
        "varbinary(10)",
        "bytes",
        "bytea",
        "",
        &[
            ("0x", "\"0x\"", Some("\\x")),
            ("0x00FF10", "\"0x00ff10\"", Some("\\x00ff10")),
            ("NULL", "null", None),
        ],
    ),
    case(
        "varbinary(max)",
        "bytes",
        "bytea",
        "",
        &[("0xDEADBEEF", "\"0xdeadbeef\"", Some("\\xdeadbeef")), ("NULL", "null", None)],
    ),
    case(
        "geography",
        "bytes",
        "bytea",
        "SQL Server's serialised form, whole; no PostGIS needed",
        &[
            (
                "CAST(0xE6100000010CAE8BFC28BCE4474067A89189898A5EC0 AS geography)",
                "\"0xe6100000010cae8bfc28bce4474067a89189898a5ec0\"",
                Some("\\xe6100000010cae8bfc28bce4474067a89189898a5ec0"),
            ),
            ("NULL", "null", None),
        ],
    ),
    case(
        "hierarchyid",
        "bytes",
        "bytea",
        "SQL Server's serialised form",
        &[("CAST(0x5AC0 AS hierarchyid)", "\"0x5ac0\"", Some("\\x5ac0"))],
    ),
];

/// The old large types: an update that does not touch them leaves them out of the change table, and a
/// delete always does; inserts carry them.
pub(crate) const OLD_LARGE: &[Case] = &[
    case(
        "text",
        "string",
        "text",
        "deprecated in SQL Server",
        &[("'old text'", "\"old text\"", Some("old text"))],
    ),
    case(
        "ntext",
        "string",
        "text",
        "deprecated in SQL Server",
        &[("N'\u{e4}lter'", "\"\u{e4}lter\"", Some("\u{e4}lter"))],
    ),
    case(
        "image",
        "bytes",
        "bytea",
        "deprecated in SQL Server",
        &[("0x0102", "\"0x0102\"", Some("\\x0102"))],
    ),
];

/// `@TEXT*N` stands for TEXT repeated N times, so that the table stays readable.
pub(crate) fn expand(text: &str) -> String {
    let repeated = || {
        let start = text.find('@')?;
        let star = text.rfind('*')?;
        let digits: String =
            text.get(star + 1..)?.chars().take_while(char::is_ascii_digit).collect();
        let count: usize = digits.parse().ok()?;
        let unit = text.get(start + 1..star)?;
        let tail = text.get(star + 1 + digits.len()..)?;
        Some(format!("{}{}{tail}", text.get(..start)?, unit.repeat(count)))
    };
    repeated().unwrap_or_else(|| text.to_owned())
}
