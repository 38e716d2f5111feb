//! One connection: served until it ends, is idle for too long, or accepts no bytes of its response for too long.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::config::ServerConfig;

/// The interval between probes of a silent peer.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// The number of unanswered probes after which the peer is considered gone.
const PROBES: u32 = 4;

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The limit for a request head, from its first byte on; for the first head, from the start of the connection.
    pub read: Duration,
    /// The limit for the client to accept more bytes of a response.
    pub write: Duration,
    /// The limit for the next request to begin.
    pub keep_alive: Duration,
}

impl Timeouts {
    /// Returns the time limits of a configuration.
    #[must_use]
    pub const fn of(config: &ServerConfig) -> Self {
        Self {
            read: Duration::from_millis(config.read_timeout_ms),
            write: Duration::from_millis(config.write_timeout_ms),
            keep_alive: Duration::from_millis(config.keep_alive_timeout_ms),
        }
    }
}

/// The state of a connection, shared with its observers. Times are in milliseconds since the start of the connection, plus one; 0 means
/// never.
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    /// The number of requests that are being answered.
    answering: AtomicUsize,
    /// The time of the first byte of an incomplete request head.
    head_at: AtomicU64,
    /// The end of the last response.
    answered_at: AtomicU64,
    /// The time since which the client has accepted no bytes of a pending response.
    blocked_at: AtomicU64,
    /// Whether the connection has had a request.
    is_used: AtomicBool,
    /// The token that closes the connection.
    pub close: CancellationToken,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            answering: AtomicUsize::new(0),
            head_at: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            blocked_at: AtomicU64::new(0),
            is_used: AtomicBool::new(false),
            close: CancellationToken::new(),
        }
    }
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn at(&self, moment: &AtomicU64) -> Option<Instant> {
        let at = moment.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_millis(at))
    }

    /// Returns the time since which the connection is idle; `None` while it is answering.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        (self.answering.load(Ordering::Relaxed) == 0).then(|| self.at(&self.answered_at).unwrap_or(self.began))
    }

    /// Returns the deadline at which the connection is closed if nothing happens. `None` while only this process can make progress.
    fn deadline(&self, timeouts: Timeouts) -> Option<Instant> {
        if let Some(blocked) = self.at(&self.blocked_at) {
            return Some(blocked + timeouts.write);
        }
        let idle = self.idle_since()?;
        if let Some(head) = self.at(&self.head_at) {
            return Some(head + timeouts.read);
        }
        Some(idle + if self.is_used.load(Ordering::Relaxed) { timeouts.keep_alive } else { timeouts.read })
    }

    /// Returns once the connection must be closed.
    async fn expired(&self, timeouts: Timeouts) {
        // A deadline that starts during the sleep is noticed at most this much later.
        let look = (timeouts.write / 4).max(Duration::from_millis(100));
        loop {
            let now = Instant::now();
            let until = match self.deadline(timeouts) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => deadline.min(now + look),
                None => now + look,
            };
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

/// A stream that notes its reads and writes in an [`Activity`].
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        if result.is_ready() {
            self.activity.blocked_at.store(0, Ordering::Relaxed);
        } else if self.activity.blocked_at.load(Ordering::Relaxed) == 0 {
            self.activity.blocked_at.store(self.activity.now(), Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let activity = &self.activity;
        let is_head = buffer.filled().len() > before && activity.answering.load(Ordering::Relaxed) == 0;
        if is_head && activity.head_at.load(Ordering::Relaxed) == 0 {
            activity.head_at.store(activity.now(), Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(result)
    }
}

/// A request that is being answered, until the last byte of its response is handed over.
struct Answering(Arc<Activity>);

impl Answering {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.answering.fetch_add(1, Ordering::Relaxed);
        activity.head_at.store(0, Ordering::Relaxed);
        activity.is_used.store(true, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered_at.store(self.0.now(), Ordering::Relaxed);
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response, which keeps the request counted as being answered.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(mut router: Router, activity: Arc<Activity>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let answering = Answering::begin(&activity);
    let response = Service::call(&mut router, request.map(Body::new)).await?;
    Ok(response.map(|body| Answer { body, _answering: answering }))
}

/// Serves one connection until it ends, or after `stop` until it is idle. Uses TLS if there is an acceptor.
pub(crate) async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
    activity: Arc<Activity>,
) {
    if let Err(error) = prepare(&stream, timeouts) {
        tracing::debug!(%error, "a connection's options could not be set");
    }
    let Some(tls) = tls else { return serve(stream, router, timeouts, stop, activity).await };
    let close = activity.close.clone();
    match close.run_until_cancelled(tokio::time::timeout(timeouts.read, tls.accept(stream))).await {
        Some(Ok(Ok(stream))) => serve(stream, router, timeouts, stop, activity).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "a connection did not get to speak TLS: {error}"),
        Some(Err(_)) | None => {}
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
    activity: Arc<Activity>,
) {
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let answering = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request| answer(router.clone(), Arc::clone(&answering), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving = builder.keep_alive(true).half_close(false).serve_connection(io, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        // Dropping the connection records the end of the requests that it was answering.
        () = activity.expired(timeouts) => return,
        () = activity.close.cancelled() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = activity.expired(timeouts) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended: {error}");
    }
}

/// Sets the socket options that send frames without delay and detect a dead peer.
fn prepare(stream: &TcpStream, timeouts: Timeouts) -> io::Result<()> {
    // Without this, every short frame of a stream on a keep-alive connection is delayed by about 44 ms.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(timeouts.write.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
