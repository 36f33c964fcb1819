//! Every type of the source becomes its type in PostgreSQL, and every value arrives as it was.

use causeway_change::{
    ColumnType, Length, Value,
    time::{TICKS_PER_DAY, TICKS_PER_SECOND, days_from_civil},
};
use causeway_tests::shared;

use crate::rig::{Rig, create, read, table, text};

fn at(year: i32, month: u32, day: u32, ticks: i64) -> i64 {
    i64::from(days_from_civil(year, month, day)) * TICKS_PER_DAY + ticks
}

/// Name, type, type in PostgreSQL, and pairs of a value and its text there.
type Case = (&'static str, ColumnType, &'static str, [(Value, &'static str); 2]);

fn cases() -> Vec<Case> {
    let end_of_day = TICKS_PER_DAY - 1;
    let noon = 12 * 3_600 * TICKS_PER_SECOND;
    vec![
        (
            "bit",
            ColumnType::Bit,
            "boolean",
            [(Value::Bool(true), "true"), (Value::Bool(false), "false")],
        ),
        (
            "tinyint",
            ColumnType::TinyInt,
            "smallint",
            [(Value::I16(255), "255"), (Value::I16(0), "0")],
        ),
        (
            "smallint",
            ColumnType::SmallInt,
            "smallint",
            [(Value::I16(i16::MIN), "-32768"), (Value::I16(i16::MAX), "32767")],
        ),
        (
            "int",
            ColumnType::Int,
            "integer",
            [(Value::I32(i32::MIN), "-2147483648"), (Value::I32(i32::MAX), "2147483647")],
        ),
        (
            "bigint",
            ColumnType::BigInt,
            "bigint",
            [
                (Value::I64(i64::MIN), "-9223372036854775808"),
                (Value::I64(i64::MAX), "9223372036854775807"),
            ],
        ),
        (
            "real",
            ColumnType::Real,
            "real",
            [(Value::F32(-0.0), "-0"), (Value::F32(3.4e38), "3.4e+38")],
        ),
        (
            "float",
            ColumnType::Float,
            "double precision",
            [(Value::F64(0.1), "0.1"), (Value::F64(f64::MAX), "1.7976931348623157e+308")],
        ),
        (
            "decimal(38,10)",
            ColumnType::Decimal { precision: 38, scale: 10 },
            "numeric(38,10)",
            [
                (Value::Decimal(10i128.pow(38) - 1), "9999999999999999999999999999.9999999999"),
                (Value::Decimal(-1), "-0.0000000001"),
            ],
        ),
        (
            "decimal(38,38)",
            ColumnType::Decimal { precision: 38, scale: 38 },
            "numeric(38,38)",
            [
                (Value::Decimal(0), "0.00000000000000000000000000000000000000"),
                (
                    Value::Decimal(-(10i128.pow(38) - 1)),
                    "-0.99999999999999999999999999999999999999",
                ),
            ],
        ),
        (
            "decimal(5,0)",
            ColumnType::Decimal { precision: 5, scale: 0 },
            "numeric(5,0)",
            [(Value::Decimal(10_000), "10000"), (Value::Decimal(-99_999), "-99999")],
        ),
        (
            "money",
            ColumnType::Money,
            "numeric(19,4)",
            [
                (Value::Decimal(i128::from(i64::MIN)), "-922337203685477.5808"),
                (Value::Decimal(5), "0.0005"),
            ],
        ),
        (
            "smallmoney",
            ColumnType::SmallMoney,
            "numeric(10,4)",
            [(Value::Decimal(-2_147_483_648), "-214748.3648"), (Value::Decimal(53_230), "5.3230")],
        ),
        (
            "date",
            ColumnType::Date,
            "date",
            [
                (Value::Date(days_from_civil(1, 1, 1)), "0001-01-01"),
                (Value::Date(days_from_civil(9999, 12, 31)), "9999-12-31"),
            ],
        ),
        (
            "time(0)",
            ColumnType::Time { scale: 0 },
            "time(0) without time zone",
            [(Value::Time(0), "00:00:00"), (Value::Time(noon), "12:00:00")],
        ),
        (
            "time(7)",
            ColumnType::Time { scale: 7 },
            "time(6) without time zone",
            [
                // The seventh digit is cut off, not rounded: midnight would be another day.
                (Value::Time(end_of_day), "23:59:59.999999"),
                (Value::Time(noon + 12_345_678), "12:00:01.234567"),
            ],
        ),
        (
            "datetime",
            ColumnType::DateTime,
            "timestamp(3) without time zone",
            [
                (Value::DateTime(at(1753, 1, 1, 0)), "1753-01-01 00:00:00"),
                (
                    Value::DateTime(at(9999, 12, 31, TICKS_PER_DAY - 30_000)),
                    "9999-12-31 23:59:59.997",
                ),
            ],
        ),
        (
            "smalldatetime",
            ColumnType::SmallDateTime,
            "timestamp(0) without time zone",
            [
                (Value::DateTime(at(2079, 6, 6, 0)), "2079-06-06 00:00:00"),
                (Value::DateTime(at(1900, 1, 1, noon)), "1900-01-01 12:00:00"),
            ],
        ),
        (
            "datetime2(6)",
            ColumnType::DateTime2 { scale: 6 },
            "timestamp(6) without time zone",
            [
                (Value::DateTime(at(1, 1, 1, 10)), "0001-01-01 00:00:00.000001"),
                (Value::DateTime(at(1969, 12, 31, end_of_day - 9)), "1969-12-31 23:59:59.999999"),
            ],
        ),
        (
            "datetime2(7)",
            ColumnType::DateTime2 { scale: 7 },
            "timestamp(6) without time zone",
            [
                (Value::DateTime(at(9999, 12, 31, end_of_day)), "9999-12-31 23:59:59.999999"),
                (Value::DateTime(at(1, 1, 1, 0)), "0001-01-01 00:00:00"),
            ],
        ),
        (
            "datetimeoffset(7)",
            ColumnType::DateTimeOffset { scale: 7 },
            "timestamp(6) with time zone",
            [
                (
                    Value::DateTimeOffset { utc: at(2018, 7, 13, noon), offset_minutes: 660 },
                    "2018-07-13 12:00:00+00",
                ),
                (
                    Value::DateTimeOffset {
                        utc: at(1, 1, 1, 14 * 3_600 * TICKS_PER_SECOND + 1),
                        offset_minutes: -840,
                    },
                    "0001-01-01 14:00:00+00",
                ),
            ],
        ),
        (
            "char(5)",
            ColumnType::Char(5),
            "character(5)",
            [(text("ab   "), "ab"), (text("é\u{20ac}xyz"), "é\u{20ac}xyz")],
        ),
        (
            "nchar(3)",
            ColumnType::NChar(3),
            "character(3)",
            // A character of two UTF-16 units leaves room for one blank only.
            [(text("\u{1f600} "), "\u{1f600}"), (text("   "), "")],
        ),
        (
            "varchar(10)",
            ColumnType::VarChar(Length::Of(10)),
            "character varying(10)",
            [(text(""), ""), (text("blanks    "), "blanks    ")],
        ),
        (
            "nvarchar(10)",
            ColumnType::NVarChar(Length::Of(10)),
            "character varying(10)",
            [
                (text("日本語日本語日本語日"), "日本語日本語日本語日"),
                (text("\u{fffd}"), "\u{fffd}"),
            ],
        ),
        (
            "nvarchar(max)",
            ColumnType::NVarChar(Length::Max),
            "text",
            [(text("a'\"\\b"), "a'\"\\b"), (text(""), "")],
        ),
        ("text", ColumnType::Text, "text", [(text("x"), "x"), (text("\n\t"), "\n\t")]),
        ("ntext", ColumnType::NText, "text", [(text("ß"), "ß"), (text(" "), " ")]),
        (
            "xml",
            ColumnType::Xml,
            "xml",
            [(text("<a b=\"1\"/>"), "<a b=\"1\"/>"), (text("two <b/> parts"), "two <b/> parts")],
        ),
        (
            "uniqueidentifier",
            ColumnType::UniqueIdentifier,
            "uuid",
            [
                (
                    Value::Guid([
                        0x6f, 0x96, 0x19, 0xff, 0x8b, 0x86, 0xd0, 0x11, 0xb4, 0x2d, 0, 0xc0, 0x4f,
                        0xc9, 0x64, 0xff,
                    ]),
                    "6f9619ff-8b86-d011-b42d-00c04fc964ff",
                ),
                (Value::Guid([0; 16]), "00000000-0000-0000-0000-000000000000"),
            ],
        ),
        (
            "binary(2)",
            ColumnType::Binary(2),
            "bytea",
            [(Value::Bytes(vec![0, 255]), "\\x00ff"), (Value::Bytes(vec![0, 0]), "\\x0000")],
        ),
        (
            "varbinary(max)",
            ColumnType::VarBinary(Length::Max),
            "bytea",
            [(Value::Bytes(vec![]), "\\x"), (Value::Bytes(vec![1, 2, 3]), "\\x010203")],
        ),
        (
            "image",
            ColumnType::Image,
            "bytea",
            [(Value::Bytes(vec![9]), "\\x09"), (Value::Bytes(vec![]), "\\x")],
        ),
        (
            "rowversion",
            ColumnType::RowVersion,
            "bytea",
            [
                (Value::Bytes(vec![0, 0, 0, 0, 0, 0, 7, 0xd1]), "\\x00000000000007d1"),
                (Value::Bytes(vec![255; 8]), "\\xffffffffffffffff"),
            ],
        ),
        (
            "geometry",
            ColumnType::Geometry,
            "bytea",
            [(Value::Bytes(vec![0xe6]), "\\xe6"), (Value::Bytes(vec![1]), "\\x01")],
        ),
        (
            "hierarchyid",
            ColumnType::HierarchyId,
            "bytea",
            [(Value::Bytes(vec![0x58]), "\\x58"), (Value::Bytes(vec![]), "\\x")],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_was_by_copy_and_by_upsert() {
    let rig = Rig::new("types").await;
    let postgres = shared::postgres().await;
    let cases = cases();
    let mut columns = vec![("id", ColumnType::Int, false)];
    columns.extend(cases.iter().map(|case| (case.0, case.1, true)));
    let feed = rig.table(table("Sales", "All Types", &columns)).await;
    let row = |id: i32, which: usize| {
        let mut row = vec![Value::I32(id)];
        row.extend(cases.iter().map(|case| case.3[which].0.clone()));
        row
    };
    let mut nulls = vec![Value::Null; columns.len()];
    nulls[0] = Value::I32(3);
    // Snapshot rows go by COPY into the new table, changes by upsert.
    rig.send(&feed, &[read(row(1, 0)), read(row(2, 1)), read(nulls.clone())]).await;
    let mut sink = rig.sink();
    rig.applied(postgres, &feed).await;
    nulls[0] = Value::I32(13);
    rig.send(&feed, &[create(row(11, 0)), create(row(12, 1)), create(nulls)]).await;
    rig.applied(postgres, &feed).await;

    let refused: Option<String> = rig
        .ask(postgres, "SELECT string_agg(reason, '; ') FROM _causeway.dead_letter")
        .await
        .unwrap();
    assert_eq!(refused, None, "a value was refused");
    let client = postgres.client(&rig.database).await.unwrap();
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let types = client
        .query(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a \
             WHERE a.attrelid = '\"Sales\".\"All Types\"'::regclass AND a.attnum > 0",
            &[],
        )
        .await
        .unwrap();
    for case in &cases {
        let found = types.iter().find(|row| row.get::<_, &str>(0) == case.0);
        assert_eq!(found.unwrap().get::<_, &str>(1), case.2, "{}", case.0);
        for (which, ids) in [(0, [1, 11]), (1, [2, 12])] {
            for id in ids {
                let sql = format!(
                    "SELECT \"{}\"::text FROM \"Sales\".\"All Types\" WHERE id = {id}",
                    case.0
                );
                let found: String = client.query_one(&sql, &[]).await.unwrap().get(0);
                assert_eq!(found, case.3[which].1, "{}, row {id}", case.0);
            }
        }
        for id in [3, 13] {
            let sql = format!(
                "SELECT \"{}\" IS NULL FROM \"Sales\".\"All Types\" WHERE id = {id}",
                case.0
            );
            assert!(client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0), "{}", case.0);
        }
    }
    // char(n) is padded again by PostgreSQL.
    let padded: i32 = client
        .query_one(
            "SELECT octet_length(\"char(5)\") FROM \"Sales\".\"All Types\" WHERE id = 1",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(padded, 5);
    assert_eq!(sink.terminate(crate::rig::LIMIT).await.unwrap(), 0, "{}", sink.tail(20));
}
