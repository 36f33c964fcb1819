//! The stand-in judged by clients that others wrote: each runs the same statements (`judge.py`) and must
//! get the same values. One is Microsoft's (its ODBC driver, in `mssql-python`), one is FreeTDS' (`pymssql`),
//! one is Python's own (`python-tds`); `scripts/*.sql` go through FreeTDS' `tsql`.

// Clippy takes functions beside the tests for code that is shipped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use causeway_tests::{
    env, names, python, shared,
    sqlserver::{Options, SqlServer},
};
use serde_json::{Value as Json, json};

mod scripts;

/// The clients, and what each can do about encryption.
const CLIENTS: [(&str, &[&str]); 3] = [
    ("mssql-python", &["yes", "no"]),
    ("pymssql", &["require", "request", "off"]),
    ("python-tds", &["full", "login", "none"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn three_clients_get_the_same_values() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // A stand-in of our own leaves its certificate in a file; another server's is given by the environment, or not.
    let (own, certificate) = if env::var(env::SQLSERVER).is_some() {
        (None, env::var(env::SQLSERVER_CERTIFICATE))
    } else {
        let certificate = folder.path().join("certificate.pem").display().to_string();
        let arguments = vec!["--certificate".to_owned(), certificate.clone()];
        let server = SqlServer::start(Options { arguments, ..Options::default() }).await?;
        (Some(server), Some(certificate))
    };
    let server = match &own {
        Some(server) => server,
        None => shared::sqlserver().await,
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/judge.py");
    let (port, password) = (server.port().to_string(), server.sa_password().to_owned());
    let mut answers: Vec<(String, Json)> = Vec::new();
    for (client, encryptions) in CLIENTS {
        for encryption in encryptions {
            // python-tds does no TLS with a certificate that it does not know.
            if client == "python-tds" && *encryption != "none" && certificate.is_none() {
                eprintln!(
                    "NOT RUN: {client}, encryption {encryption}: {} is not set",
                    env::SQLSERVER_CERTIFICATE
                );
                continue;
            }
            let database = names::unique("judged");
            server.create_captured_database(&database).await?;
            let certificate = certificate.as_deref().unwrap_or_default();
            let args =
                [client, encryption, server.host(), &port, &password, &database, certificate];
            let args = args.map(str::to_owned);
            let script = script.clone();
            let said = tokio::task::spawn_blocking(move || {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                python::run(&script, &args)
            })
            .await?
            .with_context(|| format!("{client}, encryption {encryption}\n{}", server.tail(5)))?;
            let answer = serde_json::from_str(&said).with_context(|| format!("read {said}"))?;
            answers.push((format!("{client}, encryption {encryption}"), answer));
        }
    }
    for (who, answer) in &answers {
        facts(answer).with_context(|| who.clone())?;
    }
    let Some(((first, reference), others)) = answers.split_first() else { unreachable!() };
    for (who, answer) in others {
        for part in ["types", "parameters", "changes", "transaction", "sets", "many"] {
            ensure!(
                answer[part] == reference[part],
                "{part} differ:\n{first}: {}\n{who}: {}",
                reference[part],
                answer[part]
            );
        }
    }
    Ok(())
}

/// What must be true of every client's answer.
fn facts(answer: &Json) -> Result<()> {
    let expect = |part: &str, expected: Json| {
        ensure!(answer[part] == expected, "{part}: {} instead of {expected}", answer[part]);
        Ok(())
    };
    let types = &answer["types"];
    for (name, value) in [
        ("decimal(38,10)", "-1234567890123456789012345678.0123456789"),
        ("money", "922337203685477.5807"),
        ("bigint", "9223372036854775807"),
        ("datetime", "1753-01-01 00:00:00.997000"),
        ("datetime2(6)", "9999-12-31 23:59:59.999999"),
        ("uniqueidentifier", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("nvarchar(20)", "日本 😀"),
        ("varchar(20)", "café €"),
    ] {
        ensure!(types[name] == json!([value, null]), "{name}: {}", types[name]);
    }
    expect("stored alike", json!([]))?;
    expect("by parameter", json!([["4"]]))?;
    expect("transaction", json!([[["2", "1"]], [["1"]]]))?;
    expect("after errors", json!([["42"]]))?;
    expect("sets", json!([["1"], ["2"]]))?;
    expect("many", json!([["5000", "12502500"]]))?;
    expect("fetched", json!(5000))?;
    ensure!(answer["row count"] == 1 || answer["row count"] == -1, "{}", answer["row count"]);
    expect(
        "changes",
        json!([
            ["2", "0x03", "5", "five"],
            ["3", "0x02", "5", "five"],
            ["4", "0x02", "5", null],
            ["1", "0x03", "5", null]
        ]),
    )?;
    for (name, number, text) in [
        ("duplicate", 2627, "Violation of PRIMARY KEY constraint"),
        ("divide", 8134, "Divide by zero error encountered."),
        ("syntax", 102, "Incorrect syntax near"),
        ("object", 208, "Invalid object name 'dbo.nowhere'."),
        ("raised", 50_000, "mine"),
        ("thrown", 51_234, "mine too"),
        ("conversion", 245, "Conversion failed when converting the varchar value 'x'"),
        ("login", 18_456, "Login failed for user 'sa'."),
    ] {
        let error = &answer["errors"][name];
        let said = error["text"].as_str().unwrap_or_default();
        ensure!(said.contains(text), "{name}: {error} without {text:?}");
        // Microsoft's client gives the text only.
        let numbered = error["number"].as_i64();
        ensure!(numbered.is_none_or(|got| got == number), "{name}: {error} is not {number}");
    }
    Ok(())
}
