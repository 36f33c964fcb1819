//! Waiting for a fact, with a deadline and a message; never for a time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Asks `check` until it answers `Some`, and gives what it answered.
///
/// An error of `check` counts as "not yet" (a server that is starting refuses connections); the
/// last one is in the message when the time is up.
///
/// # Errors
/// `limit` has passed.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let last = match check().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what}: {last}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_or_the_last_error() {
        let mut left = 3;
        let answer = until("three", Duration::from_secs(60), || {
            left -= 1;
            let answer = (left == 0).then_some("done");
            async move { Ok(answer) }
        });
        assert_eq!(answer.await.unwrap(), "done");
        let error = until("rain", Duration::ZERO, || async {
            Err::<Option<()>, _>(anyhow::anyhow!("dry"))
        });
        let text = error.await.unwrap_err().to_string();
        assert!(text.contains("rain") && text.contains("dry"), "{text}");
    }
}
