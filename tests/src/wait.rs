//! Waiting for a condition instead of a fixed time.

use std::time::{Duration, Instant};

/// The longest wait before a test fails: a machine that also builds is several times slower than an idle one.
const PATIENCE: Duration = Duration::from_mins(2);

/// Repeats a call until it returns a value. Panics after a time limit, and names `what` was missing.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
