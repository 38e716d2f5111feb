//! The HTTP server: accepts within its quotas, serves each connection without Nagle's delay, and drains on shutdown.

pub mod connection;
pub mod open;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::{Activity, Timeouts, connection};

/// The pause before the next accept after the system has run out of file descriptors.
pub(crate) const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Binds the address.
///
/// # Errors
/// Fails if the port is in use or not permitted.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves the system's internal connections until `stop`, then waits for running responses to end.
pub async fn serve(listener: TcpListener, router: Router, timeouts: Timeouts, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let activity = Arc::new(Activity::default());
                connections.spawn(connection(stream, None, router.clone(), timeouts, stop.clone(), activity));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted: {error}");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}
