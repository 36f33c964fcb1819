//! Values and keys that other comparisons get wrong: they must be equal where they are, and different where
//! they are not.

use anyhow::Result;

use crate::both::Both;

/// Column types, and for each two values that differ: T-SQL, PostgreSQL.
const DIFFER: [(&str, &str, &str, &str, &str); 18] = [
    (
        "decimal(38,0)",
        "numeric(38,0)",
        "12345678901234567890123456789012345678",
        "12345678901234567890123456789012345679",
        "rounding",
    ),
    ("decimal(18,4)", "numeric(18,4)", "1234.5000", "1234.5001", "rounding"),
    ("bigint", "bigint", "12345678901234567", "12345678901234568", "value"),
    ("float", "double precision", "0.36640625E0", "0.3664", "value"),
    ("float", "double precision", "0E0", "'-0'", "rounding"),
    (
        "datetime",
        "timestamp(3)",
        "'2020-01-01T10:00:01.003'",
        "'2020-01-01 10:00:01.007'",
        "rounding",
    ),
    (
        "datetime2(7)",
        "timestamp(6)",
        "'9999-12-31 23:59:59.9999999'",
        "'9999-12-31 23:59:59.999998'",
        "rounding",
    ),
    (
        "datetimeoffset(7)",
        "timestamptz(6)",
        "'2020-01-01 10:00:07.5 +14:00'",
        "'2020-01-01 10:00:07.5+13'",
        "time_zone",
    ),
    ("time(7)", "time(6)", "'23:59:59.9999999'", "'23:59:59.999998'", "rounding"),
    ("varchar(10)", "varchar(10)", "'abc'", "'abc '", "trailing_blank"),
    ("nvarchar(10)", "varchar(10)", "NULL", "''", "null_empty"),
    ("nvarchar(10)", "varchar(10)", "N' '", "''", "trailing_blank"),
    ("nvarchar(10)", "varchar(10)", "N'\u{7121}\u{1f600}'", "'??'", "encoding"),
    ("nvarchar(10)", "varchar(10)", "N'\u{e9}'", "'e\u{301}'", "value"),
    ("nvarchar(10)", "varchar(10)", "N'Abc'", "'abc'", "case"),
    ("nvarchar(10)", "varchar(10)", "NULL", "' '", "null_empty"),
    ("char(5)", "char(5)", "'abc'", "'abd'", "value"),
    ("xml", "xml", "'<a><b>1</b></a>'", "'<a><b>2</b></a>'", "value"),
];

/// And values that are equal on both sides.
const EQUAL: [(&str, &str, &str, &str); 20] = [
    (
        "decimal(38,0)",
        "numeric(38,0)",
        "-99999999999999999999999999999999999999",
        "-99999999999999999999999999999999999999",
    ),
    ("decimal(18,4)", "numeric(18,4)", "1234567.5", "1234567.5"),
    ("float", "double precision", "0.36640625E0", "0.36640625"),
    ("datetime", "timestamp(3)", "'2020-01-01T10:00:01.003'", "'2020-01-01 10:00:01.003'"),
    ("datetime", "timestamp(3)", "'2020-01-01T10:00:01.007'", "'2020-01-01 10:00:01.007'"),
    ("datetime", "timestamp(3)", "'2020-01-01T10:00:01.997'", "'2020-01-01 10:00:01.997'"),
    (
        "datetime2(7)",
        "timestamp(6)",
        "'9999-12-31 23:59:59.9999999'",
        "'9999-12-31 23:59:59.999999'",
    ),
    (
        "datetime2(7)",
        "timestamp(6)",
        "'1850-05-05 05:05:05.5555555'",
        "'1850-05-05 05:05:05.555555'",
    ),
    (
        "datetimeoffset(7)",
        "timestamptz(6)",
        "'2020-01-01 10:00:00 +14:00'",
        "'2019-12-31 20:00:00+00'",
    ),
    (
        "datetimeoffset(7)",
        "timestamptz(6)",
        "'2020-01-01 10:00:00 -12:00'",
        "'2020-01-01 22:00:00+00'",
    ),
    ("time(7)", "time(6)", "'23:59:59.9999999'", "'23:59:59.999999'"),
    ("char(5)", "char(5)", "'abc'", "'abc'"),
    // The blanks are the type's, not the value's.
    ("char(5)", "char(5)", "'abc '", "'abc'"),
    // PostgreSQL cannot hold half of a pair: it is what the pipeline makes of it.
    ("nvarchar(10)", "varchar(10)", "N'a' + NCHAR(55357) + N'b'", "'a\u{fffd}b'"),
    (
        "nvarchar(10)",
        "varchar(10)",
        // By number: Microsoft's parser takes the character itself for the end of the text.
        "N'\u{e9}\u{7121}\u{1f600}' + NCHAR(65535)",
        "'\u{e9}\u{7121}\u{1f600}\u{ffff}'",
    ),
    ("nvarchar(10)", "varchar(10)", "N'e\u{301}'", "'e\u{301}'"),
    (
        "uniqueidentifier",
        "uuid",
        "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
        "'6f9619ff-8b86-d011-b42d-00c04fc964ff'",
    ),
    ("varbinary(8)", "bytea", "0x00FF", "'\\x00ff'"),
    ("xml", "xml", "'<a><b>1</b></a>'", "'<a><b>1</b></a>'"),
    ("money", "numeric(19,4)", "922337203685477.5807", "922337203685477.5807"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_value_that_differs_is_found_with_its_class_and_no_other() -> Result<()> {
    let both = Both::new().await?;
    for (n, (tsql, pg, source, target, _)) in DIFFER.into_iter().enumerate() {
        both.table(
            &format!("d{n}"),
            (
                &format!("id int NOT NULL PRIMARY KEY, v {tsql} NULL"),
                &format!("id integer PRIMARY KEY, v {pg}"),
            ),
            (&format!("(7, {source})"), &format!("(7, {target})")),
        )
        .await?;
    }
    for (n, (tsql, pg, source, target)) in EQUAL.into_iter().enumerate() {
        both.table(
            &format!("e{n}"),
            (
                &format!("id int NOT NULL PRIMARY KEY, v {tsql} NULL"),
                &format!("id integer PRIMARY KEY, v {pg}"),
            ),
            (&format!("(7, {source})"), &format!("(7, {target})")),
        )
        .await?;
    }
    let ran = both.run(&["--show-values"]).await?;
    assert_eq!(ran.code, 1, "{}", ran.text);
    for (n, (ty, _, source, target, class)) in DIFFER.into_iter().enumerate() {
        let table = ran.table(&format!("dbo.d{n}"));
        assert_eq!(table["different"], 1, "{ty} {source} {target}: {table:#}");
        assert_eq!(table["columns"]["v"]["classes"][class], 1, "{ty} {source} {target}: {table:#}");
        assert_eq!(table["first_differences"][0]["key"]["id"], "7", "{table:#}");
    }
    for (n, (ty, _, source, ..)) in EQUAL.into_iter().enumerate() {
        let table = ran.table(&format!("dbo.e{n}"));
        assert_eq!(table["status"], "equal", "{ty} {source}: {table:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_order_are_matched() -> Result<()> {
    let both = Both::new().await?;
    let guid = |n: u64| {
        format!("{:08X}-8B86-D011-B42D-{:012X}", n.wrapping_mul(2_654_435_761) % (1 << 32), n)
    };
    let rows = |f: &dyn Fn(u64) -> String| (1..=300).map(f).collect::<Vec<_>>().join(", ");
    both.table(
        "guids",
        ("id uniqueidentifier NOT NULL PRIMARY KEY, v int", "id uuid PRIMARY KEY, v integer"),
        (
            &rows(&|n| format!("('{}', {n})", guid(n))),
            &rows(&|n| format!("('{}', {n})", guid(n).to_lowercase())),
        ),
    )
    .await?;
    // As NEWSEQUENTIALID makes them: each engine has another idea of what comes next.
    both.table(
        "sequence",
        ("id uniqueidentifier NOT NULL PRIMARY KEY, v int", "id uuid PRIMARY KEY, v integer"),
        (
            &rows(&|n| format!("('{n:08X}-8B86-F011-B42D-00C04FC964FF', {n})")),
            &rows(&|n| {
                format!("('{n:08x}-8b86-f011-b42d-00c04fc964ff', {})", if n == 256 { 0 } else { n })
            }),
        ),
    )
    .await?;
    both.table(
        "texts",
        ("id nvarchar(20) NOT NULL PRIMARY KEY, v int", "id varchar(20) PRIMARY KEY, v integer"),
        (
            "(N'a', 1), (N'B', 2), (N'co-op', 3), (N'coop', 4), (N'\u{e9}', 5), (N'\u{1f600}', 6), (N'\u{ff5e}', 7)",
            "('a', 1), ('B', 2), ('co-op', 3), ('coop', 4), ('\u{e9}', 5), ('\u{1f600}', 6), ('\u{ff5e}', 7), ('A', 1)",
        ),
    )
    .await?;
    both.table(
        "mixed",
        (
            "a int NOT NULL, b uniqueidentifier NOT NULL, c nvarchar(9) NOT NULL, v int, PRIMARY KEY (a, b, c)",
            "a integer, b uuid, c varchar(9), v integer, PRIMARY KEY (a, b, c)",
        ),
        (
            &rows(&|n| format!("({}, '{}', N'k{n}', {n})", n % 5, guid(n))),
            &rows(&|n| format!("({}, '{}', 'k{n}', {})", n % 5, guid(n), if n == 77 { 0 } else { n })),
        ),
    )
    .await?;
    both.table(
        "gap",
        ("id bigint NOT NULL PRIMARY KEY, v int", "id bigint PRIMARY KEY, v integer"),
        (
            "(1, 1), (2, 2), (1000000002, 3)",
            "(1, 1), (2, 2), (1000000002, 3), (-5, 0), (9000000000, 0)",
        ),
    )
    .await?;
    both.table("none", ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"), ("", "")).await?;
    both.table(
        "empty_here",
        ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"),
        ("(1)", ""),
    )
    .await?;
    both.table(
        "empty_there",
        ("id int NOT NULL PRIMARY KEY", "id integer PRIMARY KEY"),
        ("", "(1)"),
    )
    .await?;
    both.table(
        "pairs",
        (
            "id int NOT NULL PRIMARY KEY, a nvarchar(9), b nvarchar(9)",
            "id integer PRIMARY KEY, a varchar(9), b varchar(9)",
        ),
        // The same letters, cut elsewhere.
        ("(1, N'ab', N'c')", "(1, 'a', 'bc')"),
    )
    .await?;
    let ran = both.run(&[]).await?;
    for (table, missing, extra, different) in [
        ("dbo.guids", 0, 0, 0),
        ("dbo.sequence", 0, 0, 1),
        // The source's collation would not tell 'a' from 'A': the target may have both, and one is too many.
        ("dbo.texts", 0, 1, 0),
        ("dbo.mixed", 0, 0, 1),
        ("dbo.gap", 0, 2, 0),
        ("dbo.none", 0, 0, 0),
        ("dbo.empty_here", 1, 0, 0),
        ("dbo.empty_there", 0, 1, 0),
        ("dbo.pairs", 0, 0, 1),
    ] {
        let report = ran.table(table);
        assert_eq!(
            (&report["missing_in_target"], &report["extra_in_target"], &report["different"]),
            (&missing.into(), &extra.into(), &different.into()),
            "{table}: {report:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_columns_and_large_values_are_compared() -> Result<()> {
    let both = Both::new().await?;
    let columns = |ty: &str| (0..260).map(|n| format!("c{n} {ty}")).collect::<Vec<_>>().join(", ");
    let values = |last: u32| {
        let all: Vec<String> =
            (0..260u32).map(|n| if n == 259 { last } else { n }.to_string()).collect();
        format!("(1, {})", all.join(", "))
    };
    both.table(
        "wide",
        (
            &format!("id int NOT NULL PRIMARY KEY, {}", columns("int NULL")),
            &format!("id integer PRIMARY KEY, {}", columns("integer")),
        ),
        (&values(1), &values(2)),
    )
    .await?;
    both.table(
        "large",
        ("id int NOT NULL PRIMARY KEY, v varbinary(max)", "id integer PRIMARY KEY, v bytea"),
        (
            "(1, CAST(REPLICATE(CAST('ab' AS varchar(max)), 2500000) AS varbinary(max)))",
            "(1, decode(repeat('6162', 2500000), 'hex'))",
        ),
    )
    .await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.table("dbo.wide")["columns"]["c259"]["different"], 1, "{}", ran.text);
    assert_eq!(ran.table("dbo.wide")["columns"].as_object().map(|c| c.len()), Some(1));
    assert_eq!(ran.table("dbo.large")["status"], "equal", "{}", ran.text);
    both.target("UPDATE large SET v = set_byte(v, 4999999, 0)").await?;
    let ran = both.run(&["--tables", "dbo.large"]).await?;
    assert_eq!(ran.table("dbo.large")["different"], 1, "{}", ran.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_written_in_every_form_and_hide_values_unless_asked() -> Result<()> {
    let both = Both::new().await?;
    both.table(
        "t",
        ("id int NOT NULL PRIMARY KEY, v nvarchar(20)", "id integer PRIMARY KEY, v varchar(20)"),
        ("(1, N'Confidential'), (2, N'b')", "(1, 'confidential')"),
    )
    .await?;
    let file = |name: &str| both.folder.path().join(name).display().to_string();
    let (ndjson, csv, html) = (file("d.ndjson"), file("d.csv"), file("d.html"));
    let args = ["--ndjson", &ndjson, "--csv", &csv, "--html", &html];
    let ran = both.run(&args).await?;
    assert_eq!(ran.code, 1, "{}", ran.text);
    assert_eq!(ran.report["schema_version"], 1);
    assert!(ran.text.contains("column v: 1 rows (case 1)"), "{}", ran.text);
    for path in [&ndjson, &csv, &html] {
        let text = std::fs::read_to_string(path)?;
        assert!(text.contains("confirmed_different") && text.contains("case"), "{path}: {text}");
        assert!(text.contains("confirmed_missing_in_target"), "{path}: {text}");
        assert!(!text.to_lowercase().contains("confidential"), "{path}: {text}");
    }
    let with = [&args[..], &["--show-values"]].concat();
    both.run(&with).await?;
    for path in [&ndjson, &csv, &html] {
        assert!(std::fs::read_to_string(path)?.contains("Confidential"), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_read_ends_the_table_and_not_as_missing() -> Result<()> {
    let both = Both::new().await?;
    both.table(
        "t",
        ("id int NOT NULL PRIMARY KEY, v decimal(9,2)", "id integer PRIMARY KEY, v numeric"),
        ("(1, 1), (2, 2), (3, 3)", "(1, 1), (2, 2.001), (3, 3)"),
    )
    .await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 2, "{}", ran.text);
    let table = ran.table("dbo.t");
    assert_eq!((&table["status"], &table["missing_in_target"]), (&"error".into(), &0.into()));
    assert!(table["reason"].as_str().is_some_and(|r| r.contains("column v")), "{table:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_look_as_deep_as_they_say() -> Result<()> {
    let both = Both::new().await?;
    let rows = |f: &dyn Fn(u64) -> String| (1..=900).map(f).collect::<Vec<_>>().join(", ");
    both.table(
        "t",
        ("id int NOT NULL PRIMARY KEY, v int", "id integer PRIMARY KEY, v integer"),
        (&rows(&|n| format!("({n}, {n})")), &rows(&|n| format!("({n}, {})", n + n / 900))),
    )
    .await?;
    for (level, code) in [("counts", 0), ("checksum", 1), ("full", 1)] {
        let ran = both.run(&["--level", level]).await?;
        assert_eq!((ran.code, &ran.report["level"]), (code, &level.into()), "{}", ran.text);
    }
    both.target("DELETE FROM t WHERE id = 5").await?;
    let ran = both.run(&["--level", "counts"]).await?;
    assert_eq!(
        (ran.code, &ran.table("dbo.t")["missing_in_target"]),
        (1, &1.into()),
        "{}",
        ran.text
    );
    let ran = both.run(&["--level", "sample"]).await?;
    let read = ran.table("dbo.t")["rows"]["source"].as_u64().unwrap_or(0);
    assert!(read < 100, "a sample of one in a hundred has {read} of 900 rows");
    let ran = both.run(&["--level", "some"]).await?;
    assert_eq!(ran.code, 4, "{}", ran.text);
    Ok(())
}
