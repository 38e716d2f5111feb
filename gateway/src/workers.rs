//! Worker threads: one per core, each with its own runtime and HTTP client. A request never leaves the thread that accepted it.
//!
//! With one runtime over all cores, the handler, client connection and server connection of one request often run on different threads, and
//! each hand-over wakes another thread. In `make bench` this layout served 8,850 requests/s; one runtime over two cores served 6,780.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::upstream::Upstream;
use crate::serve::EXHAUSTED_PAUSE;
use crate::serve::connection::{Timeouts, connection};
use crate::serve::open::{Entry, Open};
use crate::serve::tls::Certificate;

/// The maximum number of accepted connections that wait for a thread.
const WAITING_MAX: usize = 1_024;
/// The time between two looks for connections to providers that are of no use any more.
const REAP_EVERY: Duration = Duration::from_secs(5);

/// The response to a connection that exceeds the limits.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 134\r\n\r\n\
{\"error\":{\"message\":\"This gateway has as many connections as it may have.\",\"type\":\"server_error\",\"code\":\"connections\",\"param\":null}}  ";

/// The running threads.
pub struct Workers {
    senders: Vec<mpsc::Sender<(std::net::TcpStream, Entry)>>,
    threads: Vec<JoinHandle<()>>,
}

/// The parts that a thread needs to serve connections.
pub struct Worker {
    /// The routes, with this thread's own stages.
    pub router: Router,
    /// The client to providers, whose idle connections are reaped here.
    pub upstream: Arc<Upstream>,
    pub timeouts: Timeouts,
    /// The certificate; `None` for connections without TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// The token that ends connections once they are idle.
    pub stop: CancellationToken,
    /// The token that closes the remaining connections.
    pub close_connections: CancellationToken,
    /// The tracker of calls whose clients have left.
    pub drains: TaskTracker,
}

impl Workers {
    /// Starts one thread per worker.
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

    /// Accepts connections and distributes them in turn until `stop`, then waits for all threads to end.
    pub async fn accept(self, listener: TcpListener, open: Arc<Open>, stop: CancellationToken) {
        let mut turn = self.senders.iter().cycle();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The system is out of file descriptors, so this waits for a connection to end.
                    tracing::warn!(%error, "a connection could not be accepted: {error}");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let Some(entry) = open.enter(address.ip()) else {
                let written = stream.try_write(FULL);
                tracing::debug!(written = written.is_ok(), "a connection is refused: all that may be are in use");
                continue;
            };
            match (stream.into_std(), turn.next()) {
                (Ok(stream), Some(worker)) => {
                    if worker.send((stream, entry)).await.is_err() {
                        tracing::error!("a thread that serves requests has ended");
                    }
                }
                (Ok(_), None) => break,
                (Err(error), _) => tracing::warn!(%error, "a connection could not be handed on: {error}"),
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

async fn run(worker: Worker, mut accepted: mpsc::Receiver<(std::net::TcpStream, Entry)>) {
    let connections = TaskTracker::new();
    let mut reaping = tokio::time::interval(REAP_EVERY);
    reaping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (stream, entry) = tokio::select! {
            accepted = accepted.recv() => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
            _ = reaping.tick() => {
                worker.upstream.reap();
                continue;
            }
        };
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let tls = worker.certificate.as_ref().map(|certificate| certificate.acceptor());
                let activity = Arc::clone(&entry.activity);
                let serving = connection(stream, tls, worker.router.clone(), worker.timeouts, worker.stop.clone(), activity);
                let close = worker.close_connections.clone();
                // Dropping a connection records the ends of its requests.
                connections.spawn(async move {
                    close.run_until_cancelled(serving).await;
                    drop(entry);
                });
            }
            Err(error) => tracing::warn!(%error, "a connection could not be taken: {error}"),
        }
    }
    connections.close();
    connections.wait().await;
    worker.drains.close();
    worker.drains.wait().await;
}
