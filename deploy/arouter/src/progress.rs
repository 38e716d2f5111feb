//! Progress of long work: a bar on standard error if that is a terminal, and nothing otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The interval at which a bar moves.
const TICK: Duration = Duration::from_millis(200);

fn styled(bar: ProgressBar, name: &'static str, template: &str) -> ProgressBar {
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let bar = bar.with_prefix(name);
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar with a known end.
pub fn bar(name: &'static str, length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), name, "{prefix:8} {bar:40} {pos}/{len} {per_sec}, {eta} left")
}

/// A sign of life for work that names its steps.
pub fn steps(name: &'static str) -> ProgressBar {
    styled(ProgressBar::new_spinner(), name, "{prefix:8} {spinner} {msg} ({elapsed})")
}

/// A counter of bytes whose number is not known before.
pub fn bytes(name: &'static str) -> ProgressBar {
    styled(ProgressBar::new_spinner(), name, "{prefix:8} {spinner} {bytes} {bytes_per_sec}")
}

/// Does work while a bar follows its position.
pub async fn follow<T>(bar: ProgressBar, mut work: impl Future<Output = T> + Unpin, position: impl AsyncFn() -> Option<u64>) -> T {
    if bar.is_hidden() {
        return work.await;
    }
    loop {
        tokio::select! {
            result = &mut work => {
                bar.finish_and_clear();
                return result;
            }
            () = tokio::time::sleep(TICK) => {
                if let Some(position) = position().await {
                    bar.set_position(position);
                }
            }
        }
    }
}
