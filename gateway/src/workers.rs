//! One thread for each core, each with a runtime and a client of its own: a request never leaves the thread that accepted it.
//!
//! With one runtime over all cores, handler, client connection and server connection of one request often lie on different threads,
//! and each hand-over wakes another one. In `make bench` this layout did 8,850 requests/s where one runtime over two cores did 6,780.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::serve::connection;

/// Accepted connections that may wait for their thread.
const WAITING_MAX: usize = 1_024;

/// Running threads.
pub struct Workers {
    senders: Vec<mpsc::Sender<std::net::TcpStream>>,
    threads: Vec<JoinHandle<()>>,
}

/// What a thread serves.
pub struct Worker {
    /// The routes, with stages of this thread's own.
    pub router: Router,
    /// How long the head of a request may take.
    pub head_timeout: Duration,
    /// Ends connections when they are idle.
    pub stop: CancellationToken,
    /// Closes the connections that are left.
    pub close: CancellationToken,
}

impl Workers {
    /// Starts a thread for each.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(workers: Vec<Worker>) -> io::Result<Self> {
        let mut started = Self { senders: Vec::new(), threads: Vec::new() };
        for worker in workers {
            let (sender, accepted) = mpsc::channel(WAITING_MAX);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || runtime.block_on(run(worker, accepted)))?;
            started.senders.push(sender);
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// Accepts connections and hands them out in turn until `stop`; then waits until all threads have ended.
    pub async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        let mut turn = self.senders.iter().cycle();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let handed = accepted.and_then(|(stream, _)| stream.into_std());
            match (handed, turn.next()) {
                (Ok(stream), Some(worker)) => {
                    if worker.send(stream).await.is_err() {
                        tracing::error!("a thread that serves requests has ended");
                    }
                }
                (Ok(_), None) => break,
                (Err(error), _) => {
                    // Out of file descriptors: wait for some connection to end.
                    tracing::warn!(%error, "a connection could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.senders);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count());
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a thread that serves requests had failed");
        }
    }
}

async fn run(worker: Worker, mut accepted: mpsc::Receiver<std::net::TcpStream>) {
    let connections = TaskTracker::new();
    while let Some(stream) = accepted.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let serving = connection(stream, worker.router.clone(), worker.head_timeout, worker.stop.clone());
                let close = worker.close.clone();
                // Dropping a connection records the ends of what runs on it.
                connections.spawn(async move { close.run_until_cancelled(serving).await });
            }
            Err(error) => tracing::warn!(%error, "a connection could not be taken: {error}"),
        }
    }
    connections.close();
    connections.wait().await;
}
