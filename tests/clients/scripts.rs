//! Scripts with `GO`, in the style of Microsoft's sample databases, through FreeTDS' `tsql`.

use std::io::Write as _;
use std::process::Stdio;

use super::*;

/// `tsql`'s output for a script; it exits with 0 whatever the server answers.
fn tsql(server: &SqlServer, script: &str) -> Result<String> {
    let mut child = Command::new("tsql")
        .env("TDSVER", "7.4")
        .args(["-H", server.host(), "-p", &server.port().to_string()])
        .args(["-U", "sa", "-P", server.sa_password(), "-o", "q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start tsql (Debian: freetds-bin)")?;
    child.stdin.take().context("its standard input")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_in_the_style_of_the_sample_databases_run_and_run_again() -> Result<()> {
    let server = shared::sqlserver().await;
    for name in ["wholesale", "bookshop"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/scripts");
        let read = |file: String| {
            std::fs::read_to_string(folder.join(&file)).with_context(|| format!("read {file}"))
        };
        let script = read(format!("{name}.sql"))?;
        let questions = read(format!("{name}-questions.sql"))?;
        let expected = read(format!("{name}.out"))?;
        // Twice: the second time what is there must go first.
        for run in [1, 2] {
            let (script, questions) = (script.clone(), questions.clone());
            let said = tokio::task::spawn_blocking(move || tsql(server, &script)).await??;
            // what the script tells of its progress has a severity of 10 or less
            let error = (11..=25).find(|class| said.contains(&format!("(severity {class},")));
            ensure!(error.is_none(), "{name}, run {run}:\n{said}");
            let said = tokio::task::spawn_blocking(move || tsql(server, &questions)).await??;
            ensure!(
                said.trim() == expected.trim(),
                "{name}, run {run} answered:\n{said}\ninstead of:\n{expected}"
            );
        }
    }
    Ok(())
}
