//! What follows a run: its history, a second look, statements that mend.

use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_tests::{process, shared};

use crate::both::Both;

impl Both {
    async fn command(&self, arguments: &[&str]) -> Result<process::Ended> {
        let path = self.config.write(self.folder.path())?;
        process::run("causeway-reconcile", arguments, &path, Duration::from_secs(120)).await
    }

    async fn planted() -> Result<Self> {
        let both = Self::new().await?;
        both.table(
            "t",
            (
                "id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, x xml NULL, n float NULL",
                "id integer PRIMARY KEY, v varchar(20), x xml, n double precision",
            ),
            (
                "(1, N'it''s', '<a/>', 1E0), (2, N'two', NULL, 2E0), (3, N'three', NULL, NULL), (5, N'five', NULL, 5E0)",
                "(1, 'IT''S', '<a/>', 1), (2, 'two', NULL, 2), (4, 'four', '<b/>', 4), (5, 'five', NULL, 5)",
            ),
        )
        .await?;
        Ok(both)
    }

    async fn text(&self, sql: &str) -> Result<String> {
        let client = shared::postgres().await.client(&self.name).await?;
        Ok(client.query_one(sql, &[]).await?.get(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_has_a_life_from_run_to_run() -> Result<()> {
    let both = Both::planted().await?;
    let first = both.run(&[]).await?;
    assert_eq!(first.code, 1, "{}", first.text);
    let id = first.report["run_id"].as_str().context("run_id")?.to_owned();

    let listed = both.command(&["history"]).await?;
    assert!(
        listed.stdout.contains(&id) && listed.stdout.contains("different"),
        "{}",
        listed.stdout
    );
    let shown = both.command(&["show", "last"]).await?;
    assert_eq!(shown.stdout.matches(", open").count(), 3, "{}", shown.stdout);
    assert!(shown.stdout.contains("(case)"), "{}", shown.stdout);
    let status = both.command(&["status"]).await?;
    assert!(status.stdout.contains("never"), "{}", status.stdout);
    let plan = both.command(&["plan"]).await?;
    assert!(plan.stdout.contains("COPY (SELECT"), "{}{}", plan.stdout, plan.stderr);

    // One is mended by hand: a second look sees it, and the others keep their first run.
    both.target("UPDATE t SET v = 'it''s' WHERE id = 1").await?;
    let again = both.command(&["recheck", &id]).await?;
    assert_eq!(again.code, 1, "{}{}", again.stdout, again.stderr);
    let open = "SELECT count(*)::text FROM _causeway.reconcile_difference WHERE fixed_at IS NULL";
    assert_eq!(both.text(open).await?, "2");
    both.run(&[]).await?;
    let old = format!("{open} AND first_run = '{id}' AND last_run <> '{id}'");
    assert_eq!(both.text(&old).await?, "2");

    // All mended: the next run closes them, and the table counts as verified.
    both.target("DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (3, 'three', NULL, NULL)")
        .await?;
    let last = both.run(&[]).await?;
    assert_eq!(last.code, 0, "{}", last.text);
    assert_eq!(both.text(open).await?, "0");
    let status = both.command(&["status"]).await?;
    assert!(
        status.stdout.contains("equal") && !status.stdout.contains("never"),
        "{}",
        status.stdout
    );
    let none = both.command(&["show", "no-such-run"]).await?;
    assert_eq!(none.code, 2, "{}", none.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn emitted_statements_mend_what_was_found_and_can_be_undone() -> Result<()> {
    let both = Both::planted().await?;
    both.run(&[]).await?;
    let rows = "SELECT string_agg(concat_ws('|', id, v, x::text, n), ' ' ORDER BY id) FROM t";
    let before = both.text(rows).await?;

    let dry = both.command(&["repair", "last"]).await?;
    assert_eq!(dry.code, 1, "{}{}", dry.stdout, dry.stderr);
    assert!(
        dry.stdout.contains("1 to insert, 1 to update, 1 to delete (left alone"),
        "{}",
        dry.stdout
    );
    let capped = both.command(&["repair", "last", "--max-rows", "1"]).await?;
    assert_eq!(capped.code, 2, "{}", capped.stderr);

    let file = both.folder.path().join("repair.sql");
    let path = file.to_str().context("a path in UTF-8")?;
    let emitted = both.command(&["repair", "last", "--emit-sql", path]).await?;
    assert_eq!(emitted.code, 1, "{}{}", emitted.stdout, emitted.stderr);
    assert_eq!(both.text(rows).await?, before, "emitting executes nothing");
    let sql = std::fs::read_to_string(&file)?;
    assert!(!sql.contains("DELETE"), "{sql}");
    // What the pipeline has changed meanwhile is left alone.
    both.target("UPDATE t SET v = 'newer' WHERE id = 1").await?;
    both.target(&sql).await?;
    assert_eq!(both.text("SELECT v FROM t WHERE id = 1").await?, "newer");
    both.target("UPDATE t SET v = 'IT''S' WHERE id = 1; DELETE FROM t WHERE id = 3").await?;

    // The undo of an earlier repair may still be needed.
    let again = both.command(&["repair", "last", "--emit-sql", path, "--allow-deletes"]).await?;
    assert!(again.stderr.contains("is not overwritten"), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(&file)?, sql);
    let file = both.folder.path().join("second.sql");
    let path = file.to_str().context("a path in UTF-8")?;
    let emitted = both.command(&["repair", "last", "--emit-sql", path, "--allow-deletes"]).await?;
    assert_eq!(emitted.code, 1, "{}", emitted.stderr);
    both.target(&std::fs::read_to_string(&file)?).await?;
    let ran = both.run(&[]).await?;
    assert_eq!(ran.code, 0, "{}", ran.text);
    both.target(&std::fs::read_to_string(format!("{path}.undo.sql"))?).await?;
    assert_eq!(both.text(rows).await?, before, "the undo file restores every row");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_a_difference_without_its_rows() -> Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut both = Both::planted().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    both.config = both.config.set("reconcile.webhook.url", url);
    let hear = async {
        let (mut stream, _) = listener.accept().await?;
        let (mut heard, mut bytes) = (String::new(), [0; 4096]);
        while !heard.contains("\"tables\"") || !heard.trim_end().ends_with('}') {
            let n = stream.read(&mut bytes).await?;
            if n == 0 {
                break;
            }
            heard.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        Ok::<_, anyhow::Error>(heard)
    };
    let (ran, heard) =
        tokio::join!(both.run(&[]), tokio::time::timeout(Duration::from_secs(60), hear));
    let (ran, heard) = (ran?, heard??);
    assert_eq!(ran.code, 1, "{}", ran.text);
    assert!(heard.starts_with("POST /hook") && heard.contains("\"different\""), "{heard}");
    assert!(!heard.contains("three") && !heard.contains("first_differences"), "{heard}");
    Ok(())
}
