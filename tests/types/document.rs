//! docs/type-mapping.md, written from what the pipeline did.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Result, ensure};

use crate::cases::Case;

/// Writes the document; fails when the committed one said something else.
pub(crate) fn write(found: &[(&Case, String, String)]) -> Result<()> {
    let mut text = String::from(
        "# Type mapping\n\n\
         Written by the test `types`, which sends every literal below through the pipeline, by snapshot and by change table, and compares all\n\
         three forms. Do not edit; run `make test`.\n\n\
         | SQL Server | Avro (type, then Connect's type or name) | PostgreSQL | |\n|---|---|---|---|\n",
    );
    for (case, avro, postgres) in found {
        writeln!(text, "| `{}` | {avro} | `{postgres}` | {} |", case.sql, case.note)?;
    }
    text.push_str(
        "| `rowversion`, `timestamp` | bytes | `bytea` | eight bytes; SQL Server gives the value, so no literal |\n\
         | `geometry` | bytes | `bytea` | as `geography` |\n\
         | `sql_variant` | refused | | exclude the column (`[source].exclude_columns`) |\n\n\
         ## Values\n\n| SQL Server | T-SQL literal | Avro JSON | PostgreSQL text |\n|---|---|---|---|\n",
    );
    for (case, _, _) in found {
        for (literal, json, postgres) in case.values {
            let postgres = postgres.map_or_else(|| "NULL".to_owned(), |p| format!("`{}`", cell(p)));
            writeln!(
                text,
                "| `{}` | `{}` | `{}` | {postgres} |",
                case.sql,
                cell(literal),
                cell(json)
            )?;
        }
    }
    text.push_str(
        "\nBytes are written `0x...`, decimals as their exact text; `@TEXT*N` is TEXT repeated N times.\n",
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/type-mapping.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    if old != text {
        fs::write(&path, &text)?;
    }
    ensure!(
        old == text || old.is_empty(),
        "docs/type-mapping.md was out of date; it is written anew, commit it"
    );
    Ok(())
}

fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', "\\n").replace('\t', "\\t");
    // An empty pair of backticks is not code in Markdown.
    if text.is_empty() { "(empty)".to_owned() } else { text }
}
