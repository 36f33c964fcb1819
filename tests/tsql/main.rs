//! T-SQL judged by what we did not write: Microsoft's parser reads every text that the product sends, and
//! a table of statements says, with the page of the documentation, what SQL Server answers to each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use causeway_tests::{
    names,
    pipeline::Pipeline,
    random::Random,
    shared,
    shop::{self, Size},
    sqlserver::{self, Options, SqlServer, exec},
};

mod beliefs;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tsql")
}

/// Has Microsoft's parser read the files; `None` when this machine cannot have it.
fn check(paths: &[PathBuf]) -> Result<Option<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tsql-check.sh");
    let Output { status, stdout, stderr } =
        Command::new(&script).args(paths).output().context("start scripts/tsql-check.sh")?;
    let (said, complained) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.code() == Some(3) {
        eprintln!("NOT CHECKED: {complained}");
        return Ok(None);
    }
    ensure!(status.success(), "{said}{complained}");
    Ok(Some(said.into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_parser_accepts_all_that_a_pipeline_sends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("pipeline.jsonl");
    let arguments = vec!["--sql-log".to_owned(), log.display().to_string()];
    // A stand-in of our own, whatever runs already: a real server keeps no such log.
    let server = SqlServer::start(Options { arguments, ..Options::default() }).await?;
    let (kafka, registry) = (shared::kafka().await, shared::registry().await);
    let postgres = shared::postgres().await;
    let pipeline = Pipeline::new("tsql", &server, kafka, registry, postgres).await?;
    let mut client = server.client(&pipeline.name).await?;
    shop::create(&mut client).await?;
    let mut random = Random::new(7);
    let (mut load, _) = shop::fill(&mut client, Size { orders: 200 }, &mut random).await?;
    for table in shop::TABLES {
        server.capture(&pipeline.name, "dbo", table).await?;
    }
    let (mut source, mut sink) = (pipeline.source()?, pipeline.sink()?);
    for _ in 0..50 {
        exec(&mut client, &load.step().sql).await?;
    }
    let limit = Duration::from_secs(120);
    pipeline.equal(&server, postgres, &shop::TABLES, &mut [&mut source, &mut sink], limit).await?;
    let (ended, _) = pipeline.reconcile(limit).await?;
    ensure!(ended.code == 0, "{}", ended.stderr);
    for program in [&mut source, &mut sink] {
        ensure!(program.terminate(Duration::from_secs(30)).await? == 0, "{}", program.tail(20));
    }
    let texts = fs::read_to_string(&log)?.lines().count();
    ensure!(texts > 30, "only {texts} texts were sent");
    check(&[log])?;
    Ok(())
}

#[test]
fn microsofts_parser_refuses_what_is_no_t_sql() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("wrong.jsonl");
    fs::write(
        &file,
        "\"SELECT 1\"\n\"SELECT a::int FROM t LIMIT 5\"\n{\"refused\":102,\"sql\":\"SELEC\"}\n",
    )?;
    match check(&[file]) {
        Ok(None) => Ok(()),
        Ok(Some(said)) => anyhow::bail!("it accepted LIMIT: {said}"),
        Err(error) => {
            let said = error.to_string();
            ensure!(said.contains("1 texts parse, 1 do not"), "{said}");
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_give_what_the_documentation_says() -> Result<()> {
    let server = shared::sqlserver().await;
    let mut files: Vec<PathBuf> = fs::read_dir(here().join("beliefs"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    check(&files)?;
    let only = causeway_tests::env::var("CAUSEWAY_BELIEFS");
    let (mut held, mut wrong) = (0, Vec::new());
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let database = names::unique("beliefs");
        let mut master = server.client("master").await?;
        exec(&mut master, &format!("CREATE DATABASE [{database}]")).await?;
        let mut client = server.client(&database).await?;
        for belief in beliefs::read(&fs::read_to_string(file)?) {
            let answer = beliefs::answer(&mut client, &belief.sql).await;
            if answer == belief.expected {
                held += 1;
            } else {
                wrong.push(format!(
                    "{name}.sql, line {}:\n{}\n  expected {:?}\n  answered {answer:?}",
                    belief.line, belief.sql, belief.expected
                ));
            }
        }
        drop(client);
        // The server may not have seen yet that the client is gone.
        let alone = format!("ALTER DATABASE [{database}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE");
        sqlserver::exec(&mut master, &alone).await?;
        sqlserver::exec(&mut master, &format!("DROP DATABASE [{database}]")).await?;
    }
    ensure!(wrong.is_empty(), "{held} hold, {} do not:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(held > 200 || only.is_some(), "only {held} were found");
    Ok(())
}
