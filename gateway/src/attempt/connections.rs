//! Connections to providers: HTTP/1.1, kept alive, one pool per thread. Requests of one thread never wait for a lock of another thread, and
//! never wake it.
//!
//! hyper is used without a client on top of it, for two reasons. An address is parsed once at the start, not for each request. A connection
//! has no task of its own: the task that waits for a response drives its connection. Therefore no frame of a stream is handed from task to
//! task, and frames that arrive together are written together. A request is sent a second time only if hyper returns it because no byte of
//! it was sent.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};

use super::egress::{Connector, Stream};
use crate::route::address::Address;

/// The maximum number of idle connections kept for one origin.
const IDLE_MAX: usize = 1_024;
/// The maximum time that a connection stays idle: less than the 60 s after which common servers close theirs.
const IDLE_KEPT: Duration = Duration::from_secs(50);

/// The connections of one thread.
pub struct Connections {
    connector: Connector,
    connect_timeout: Duration,
    idle: Mutex<HashMap<String, Vec<PooledConnection>>>,
}

/// One connection, with the time of its last use.
struct PooledConnection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    used_at: Instant,
}

/// The future that moves the connection's bytes; `None` once the connection has ended.
type Driver = Option<Pin<Box<Connection<Stream, Full<Bytes>>>>>;

/// A response whose body is being read. Dropping it before the end of the body closes its connection.
pub struct UpstreamResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// The connection; `None` once the body has ended.
    connection: Option<PooledConnection>,
    origin: String,
    pool: Arc<Connections>,
}

/// The reason for a missing response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A connection that was not established in time, or not at all; nothing was sent.
    #[error("no connection")]
    Connect,
    /// A connection that broke, or a response that is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
}

impl Connections {
    /// Creates an empty pool.
    #[must_use]
    pub fn new(connector: Connector, connect_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { connector, connect_timeout, idle: Mutex::default() })
    }

    /// Sends a request and waits for the head of its response. Sets `sent` once bytes of the request may be on their way.
    ///
    /// # Errors
    /// Fails if there is no connection, or if it breaks before the head arrives.
    pub async fn send(
        self: &Arc<Self>,
        (method, to): (Method, &Address),
        headers: HeaderMap,
        body: Bytes,
        sent: &AtomicBool,
    ) -> Result<UpstreamResponse, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        request.uri_mut().clone_from(&to.path);
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, to.host.clone());
        loop {
            let (mut connection, is_new) = match self.take(&to.origin).await {
                Some(connection) => (connection, false),
                None => (self.connect(to).await?, true),
            };
            sent.store(true, Ordering::Relaxed);
            let sending = connection.sender.try_send_request(request);
            match drive(&mut connection.driver, sending).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let (connection, origin, pool) = (Some(connection), to.origin.clone(), Arc::clone(self));
                    return Ok(UpstreamResponse { status: head.status, headers: head.headers, body, connection, origin, pool });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => {
                        sent.store(false, Ordering::Relaxed);
                        request = unsent;
                    }
                    Some(_) | None => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// Returns an idle connection that is still open.
    async fn take(&self, origin: &str) -> Option<PooledConnection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(origin)?.pop()?;
            // A single poll reveals whether the provider has closed the connection.
            let is_ready = connection.used_at.elapsed() < IDLE_KEPT
                && poll_fn(|context| Poll::Ready(moves(&mut connection.driver, context))).await
                && drive(&mut connection.driver, connection.sender.ready()).await.is_ok();
            if is_ready {
                return Some(connection);
            }
        }
    }

    fn put(&self, mut connection: PooledConnection, origin: String) {
        connection.used_at = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of_origin = idle.entry(origin).or_default();
        if of_origin.len() < IDLE_MAX && !connection.sender.is_closed() {
            of_origin.push(connection);
        }
    }

    /// Closes idle connections that their provider has closed, or that have been idle for too long.
    pub fn reap(&self) {
        let mut context = Context::from_waker(Waker::noop());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, of_origin| {
            of_origin.retain_mut(|idle| idle.used_at.elapsed() < IDLE_KEPT && moves(&mut idle.driver, &mut context));
            !of_origin.is_empty()
        });
    }

    async fn connect(&self, to: &Address) -> Result<PooledConnection, SendError> {
        // An address without a name is not resolved.
        if self.connector.is_public_only && !to.uri.host().is_some_and(outbound::is_public_name) {
            return Err(SendError::Connect);
        }
        let connecting = self.connector.connect(&to.uri);
        let stream = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, origin = to.origin, "no connection to {}: {error}", to.origin);
                return Err(SendError::Connect);
            }
            Err(_) => return Err(SendError::Connect),
        };
        let (sender, connection) = http1::handshake(stream).await?;
        Ok(PooledConnection { sender, driver: Some(Box::pin(connection)), used_at: Instant::now() })
    }
}

/// Waits for a result that arrives over a connection, and moves the connection's bytes meanwhile.
async fn drive<T>(driver: &mut Driver, result: impl Future<Output = T>) -> T {
    let mut result = pin!(result);
    poll_fn(|context| {
        if let Poll::Ready(result) = result.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        moves(driver, context);
        // The bytes just moved may complete the result; the end of the connection completes everything that waits for it.
        result.as_mut().poll(context)
    })
    .await
}

/// Moves as many bytes as possible. Returns false once the connection has ended.
fn moves(driver: &mut Driver, context: &mut Context<'_>) -> bool {
    if driver.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
    driver.is_some()
}

impl UpstreamResponse {
    /// Returns the next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// Fails if the connection breaks before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        while let Some(frame) = drive(&mut connection.driver, self.body.frame()).await.transpose()? {
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection, std::mem::take(&mut self.origin));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request on one connection, and closes the connection when told to.
    async fn answer_once(listener: TcpListener, close: tokio::sync::oneshot::Receiver<()>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0_u8; 4_096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        close.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_its_provider_closes_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
        let (close, closed) = tokio::sync::oneshot::channel();
        let pool = Connections::new(Connector::direct(false).unwrap(), Duration::from_secs(5));
        let kept = || pool.idle.lock().unwrap().values().map(Vec::len).sum::<usize>();
        let exchange = async {
            let sent = AtomicBool::new(false);
            let mut response = pool.send((Method::POST, &address), HeaderMap::new(), Bytes::from_static(b"{}"), &sent).await.unwrap();
            while response.chunk().await.unwrap().is_some() {}
            pool.reap();
            assert_eq!(kept(), 1, "a connection that is open stays");
            close.send(()).unwrap();
            tokio::time::timeout(Duration::from_secs(10), async {
                while kept() > 0 {
                    tokio::task::yield_now().await;
                    pool.reap();
                }
            })
            .await
            .expect("it is reaped");
        };
        tokio::join!(answer_once(listener, closed), exchange);
    }
}
