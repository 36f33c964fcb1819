//! Rows hashed by the servers: both make the same bytes of the same values, for the extremes of every type, and what they
//! hash unlike is read.

use anyhow::Result;
use causeway_tests::process;

use crate::{
    both::{Both, Ran},
    fence::{ROWS, Working},
};

/// A type on either side, its extremes in the words of both, and for the first of them another value of the target that
/// is as near as can be.
struct Kind {
    name: &'static str,
    source: &'static str,
    target: &'static str,
    values: &'static [(&'static str, &'static str)],
    other: &'static str,
}

const fn kind(
    name: &'static str,
    source: &'static str,
    target: &'static str,
    values: &'static [(&'static str, &'static str)],
    other: &'static str,
) -> Kind {
    Kind { name, source, target, values, other }
}

const KINDS: [Kind; 25] = [
    kind("a_bit", "bit", "boolean", &[("0", "false"), ("1", "true")], "true"),
    kind("a_tinyint", "tinyint", "smallint", &[("255", "255"), ("0", "0")], "-1"),
    kind(
        "a_smallint",
        "smallint",
        "smallint",
        &[("-32768", "-32768"), ("32767", "32767")],
        "32767",
    ),
    kind(
        "an_int",
        "int",
        "integer",
        &[("-2147483648", "-2147483648"), ("2147483647", "2147483647"), ("-5", "-5")],
        "2147483647",
    ),
    kind(
        "a_bigint",
        "bigint",
        "bigint",
        &[
            ("12345678901234567", "12345678901234567"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775807", "9223372036854775807"),
        ],
        "12345678901234568",
    ),
    kind(
        "a_real",
        "real",
        "real",
        &[
            ("0", "0"),
            ("1.1E0", "1.1"),
            ("3.4028235E38", "3.4028235e38"),
            ("-1.18E-38", "-1.18e-38"),
        ],
        "'-0'",
    ),
    kind(
        "a_float",
        "float",
        "double precision",
        &[
            ("0", "0"),
            ("0.36640625E0", "0.36640625"),
            ("1.7976931348623157E308", "1.7976931348623157e308"),
            ("-2.23E-308", "-2.23e-308"),
        ],
        "'-0'",
    ),
    kind(
        "a_small_decimal",
        "decimal(5,2)",
        "numeric(5,2)",
        &[("0", "0"), ("999.99", "999.99"), ("-999.99", "-999.99"), ("-0.5", "-0.5")],
        "0.01",
    ),
    kind(
        "a_fraction",
        "decimal(4,4)",
        "numeric(4,4)",
        &[("-0.0001", "-0.0001"), ("0.9999", "0.9999")],
        "0.0001",
    ),
    kind(
        "a_large_decimal",
        "decimal(38,10)",
        "numeric(38,10)",
        &[
            ("9999999999999999999999999999.9999999999", "9999999999999999999999999999.9999999999"),
            (
                "-9999999999999999999999999999.9999999999",
                "-9999999999999999999999999999.9999999999",
            ),
            ("1234.5", "1234.5"),
        ],
        "9999999999999999999999999999.9999999998",
    ),
    kind(
        "a_money",
        "money",
        "numeric(19,4)",
        &[
            ("922337203685477.5807", "922337203685477.5807"),
            ("-922337203685477.5808", "-922337203685477.5808"),
            ("0.0001", "0.0001"),
        ],
        "922337203685477.5806",
    ),
    kind(
        "a_smallmoney",
        "smallmoney",
        "numeric(10,4)",
        &[("214748.3647", "214748.3647"), ("-214748.3648", "-214748.3648")],
        "214748.3646",
    ),
    kind(
        "a_date",
        "date",
        "date",
        &[
            ("'2000-02-29'", "'2000-02-29'"),
            ("'0001-01-01'", "'0001-01-01'"),
            ("'9999-12-31'", "'9999-12-31'"),
            ("'1999-12-31'", "'1999-12-31'"),
        ],
        "'2000-03-01'",
    ),
    kind(
        "a_time",
        "time(7)",
        "time(6)",
        &[
            ("'12:34:56.1234567'", "'12:34:56.123456'"),
            ("'00:00:00'", "'00:00:00'"),
            ("'23:59:59.9999999'", "'23:59:59.999999'"),
        ],
        "'12:34:56.123457'",
    ),
    kind(
        "a_smalldatetime",
        "smalldatetime",
        "timestamp(0)",
        &[
            ("'1900-01-01T00:00:00'", "'1900-01-01'"),
            ("'2079-06-06T23:59:00'", "'2079-06-06 23:59'"),
        ],
        "'1900-01-01 00:01'",
    ),
    kind(
        "a_datetime",
        "datetime",
        "timestamp(3)",
        &[
            ("'2024-02-29T01:02:03.007'", "'2024-02-29 01:02:03.007'"),
            ("'2024-02-29T01:02:03.003'", "'2024-02-29 01:02:03.003'"),
            ("'1753-01-01T00:00:00'", "'1753-01-01'"),
            ("'9999-12-31T23:59:59.997'", "'9999-12-31 23:59:59.997'"),
        ],
        "'2024-02-29 01:02:03.006'",
    ),
    kind(
        "a_datetime2",
        "datetime2(7)",
        "timestamp(6)",
        &[
            ("'1999-12-31T23:59:59.9999995'", "'1999-12-31 23:59:59.999999'"),
            ("'0001-01-01T00:00:00'", "'0001-01-01'"),
            ("'9999-12-31T23:59:59.9999999'", "'9999-12-31 23:59:59.999999'"),
            ("'2024-02-29T23:59:59.1234567'", "'2024-02-29 23:59:59.123456'"),
        ],
        "'2000-01-01'",
    ),
    kind(
        "a_datetime2_of_seconds",
        "datetime2(0)",
        "timestamp(0)",
        &[("'2024-02-29T23:59:59'", "'2024-02-29 23:59:59'")],
        "'2024-02-29 23:59:58'",
    ),
    kind(
        "a_char",
        "char(6)",
        "char(6)",
        &[
            ("'ab'", "'ab'"),
            ("''", "''"),
            ("' a'", "' a'"),
            ("'\u{e9}\u{20ac}'", "'\u{e9}\u{20ac}'"),
        ],
        "'Ab'",
    ),
    kind(
        "a_varchar",
        "varchar(20)",
        "varchar(20)",
        &[
            ("'ab'", "'ab'"),
            ("'ab '", "'ab '"),
            ("''", "''"),
            ("'\u{e9}\u{20ac}'", "'\u{e9}\u{20ac}'"),
        ],
        "'ab '",
    ),
    kind(
        "an_nchar",
        "nchar(6)",
        "char(6)",
        &[("N'\u{7121}'", "'\u{7121}'"), ("N'\u{1f600}a'", "'\u{1f600}a'"), ("N''", "''")],
        "'\u{7122}'",
    ),
    kind(
        "an_nvarchar",
        "nvarchar(40)",
        "varchar(40)",
        &[
            ("N'e\u{301}'", "'e\u{301}'"),
            ("N''", "''"),
            ("N' '", "' '"),
            ("N'\u{e9}\u{7121}\u{1f600}' + NCHAR(65535)", "'\u{e9}\u{7121}\u{1f600}\u{ffff}'"),
            ("REPLICATE(N'\u{7121}', 40)", "repeat('\u{7121}', 40)"),
            ("NCHAR(55357)", "'\u{fffd}'"),
        ],
        "'\u{e9}'",
    ),
    kind(
        "a_guid",
        "uniqueidentifier",
        "uuid",
        &[("'6F9619FF-8B86-D011-B42D-00C04FC964FF'", "'6f9619ff-8b86-d011-b42d-00c04fc964ff'")],
        "'ff19966f-868b-11d0-b42d-00c04fc964ff'",
    ),
    kind(
        "a_binary",
        "binary(4)",
        "bytea",
        &[("0x00000000", "'\\x00000000'"), ("0xFF00FF00", "'\\xff00ff00'")],
        "'\\x000000'",
    ),
    kind(
        "a_varbinary",
        "varbinary(20)",
        "bytea",
        &[("0x", "'\\x'"), ("0x00", "'\\x00'"), ("0x0102", "'\\x0102'")],
        "'\\x00'",
    ),
];

/// A table for each type, with a row for each extreme and one for NULL; and one with all types, in which they meet
/// each other.
async fn tables(both: &Both) -> Result<()> {
    for kind in &KINDS {
        let rows = kind.values.iter().chain([&("NULL", "NULL")]);
        let (source, target): (Vec<_>, Vec<_>) = (0..)
            .zip(rows)
            .map(|(id, (source, target))| {
                (format!("({id}, {source})"), format!("({id}, {target})"))
            })
            .unzip();
        let columns = (
            &*format!("id int NOT NULL PRIMARY KEY, v {} NULL", kind.source),
            &*format!("id integer PRIMARY KEY, v {}", kind.target),
        );
        both.table(kind.name, columns, (&source.join(", "), &target.join(", "))).await?;
    }
    let columns = |of: fn(&Kind) -> &str| -> String {
        KINDS.iter().map(|kind| format!(", {} {}", kind.name, of(kind))).collect()
    };
    let row = |id: usize| {
        let (mut source, mut target) = (format!("({id}"), format!("({id}"));
        for (place, kind) in KINDS.iter().enumerate() {
            // Other pairs of neighbours in every row.
            let at = (id * 7919 + place * place * 31 + id * place) % (kind.values.len() + 1);
            let (a, b) = kind.values.get(at).unwrap_or(&("NULL", "NULL"));
            source += &format!(", {a}");
            target += &format!(", {b}");
        }
        (source + ")", target + ")")
    };
    let (source, target): (Vec<_>, Vec<_>) = (0..200).map(row).unzip();
    let columns = (
        &*format!("id int NOT NULL PRIMARY KEY{}", columns(|kind| kind.source)),
        &*format!("id integer PRIMARY KEY{}", columns(|kind| kind.target)),
    );
    both.table("together", columns, (&source.join(", "), &target.join(", "))).await
}

fn hashed(ran: &Ran, name: &str) -> u64 {
    ran.table(&format!("dbo.{name}"))["chunks_hashed"].as_u64().unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_hash_the_extremes_of_every_type_alike_and_near_values_unlike() -> Result<()> {
    let mut both = Both::new().await?;
    tables(&both).await?;
    both.config = both.config.set("reconcile.hashing", "server");
    let ran = both.run(&[]).await?;
    let unlike: Vec<_> =
        KINDS.iter().map(|k| k.name).chain(["together"]).filter(|n| hashed(&ran, n) != 1).collect();
    assert!(unlike.is_empty(), "hashed unlike: {unlike:?}\n{}", ran.text);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(ran.table("dbo.together")["rows"]["target"], 200);

    // The rows say the same when they are read.
    both.config = both.config.set("reconcile.hashing", "client");
    let ran = both.run(&[]).await?;
    assert_eq!((ran.code, hashed(&ran, "together")), (0, 0), "{}", ran.text);

    for kind in &KINDS {
        both.target(&format!("UPDATE public.{} SET v = {} WHERE id = 0", kind.name, kind.other))
            .await?;
    }
    both.target("UPDATE public.together SET a_bit = NOT coalesce(a_bit, false) WHERE id = 100")
        .await?;
    both.config = both.config.set("reconcile.hashing", "server");
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 1, "{}", ran.text);
    for name in KINDS.iter().map(|kind| kind.name).chain(["together"]) {
        let table = ran.table(&format!("dbo.{name}"));
        assert_eq!((&table["different"], hashed(&ran, name)), (&1.into(), 0), "{table:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_the_servers_hash_alike_are_not_read_and_the_others_are() -> Result<()> {
    let mut working = Working::start(true, &[]).await?;
    working.pipeline.config = working.pipeline.config.clone().set("reconcile.hashing", "server");
    working.pipeline.write()?;
    let ran = working.run(&[]).await?;
    let table = ran.table("dbo.goods");
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!((&table["strategy"], &table["rows"]["source"]), (&"range".into(), &ROWS.into()));
    assert!(table["chunks"].as_u64() >= Some(12), "{table:#}");
    assert_eq!(table["chunks_hashed"], table["chunks"], "{table:#}");
    // A table that is read at once is hashed at once.
    assert_eq!(hashed(&ran, "codes"), 1, "{}", ran.text);

    working
        .target(
            "UPDATE goods SET name = name || ' ' WHERE id = 77; DELETE FROM goods WHERE id = 6001; \
             INSERT INTO goods VALUES (900000, 'x', 1, NULL, NULL)",
        )
        .await?;
    let ran = working.run(&[]).await?;
    let table = ran.table("dbo.goods");
    assert_eq!(ran.code, 1, "{}", ran.text);
    assert_eq!(
        (&table["different"], &table["missing_in_target"], &table["extra_in_target"]),
        (&1.into(), &1.into(), &1.into()),
        "{table:#}"
    );
    let read = table["chunks"].as_u64().zip(table["chunks_hashed"].as_u64()).map(|(a, b)| a - b);
    assert!((2..=3).contains(&read.unwrap_or(0)), "{table:#}");
    working.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_who_hashes_and_why() -> Result<()> {
    let mut both = Both::new().await?;
    both.table("t", ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"), ("(1)", "(1)"))
        .await?;
    both.table(
        "x",
        (
            "id int NOT NULL PRIMARY KEY, note nvarchar(max) NULL",
            "id integer PRIMARY KEY, note text",
        ),
        ("(1, N'x')", "(1, 'x')"),
    )
    .await?;
    both.config = both.config.set("reconcile.hashing", "server");
    let path = both.config.write(both.folder.path())?;
    let limit = std::time::Duration::from_secs(60);
    let plan = process::run("causeway-reconcile", &["plan"], &path, limit).await?;
    assert_eq!(plan.code, 0, "{}{}", plan.stdout, plan.stderr);
    for text in [
        "hashing:  server",
        "HASHBYTES('SHA2_256'",
        "encode(sha256(",
        "column note is nvarchar(max)",
    ] {
        assert!(plan.stdout.contains(text), "{text} is not in:\n{}", plan.stdout);
    }
    // What cannot be hashed is read.
    let ran = both.run(&[]).await?;
    assert_eq!((ran.code, hashed(&ran, "t"), hashed(&ran, "x")), (0, 1, 0), "{}", ran.text);
    Ok(())
}
