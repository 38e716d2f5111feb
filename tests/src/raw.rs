//! Plain TCP connections, for tests that no HTTP client can express.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The receive buffer of a [`narrow`] connection, in bytes.
const NARROW_BYTES: u32 = 4_096;

/// Connects to a gateway.
///
/// # Errors
/// Fails if the connection is refused.
pub async fn connect(base: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect(base.trim_start_matches("http://")).await
}

/// Connects with a small receive window.
///
/// # Errors
/// Fails if the connection is refused.
pub async fn narrow(base: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(NARROW_BYTES)?;
    socket.connect(base.trim_start_matches("http://").parse().map_err(std::io::Error::other)?).await
}

/// Returns the head of a chat request whose body has this number of bytes.
#[must_use]
pub fn chat_head(key: &str, body_bytes: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    )
}

/// Sends a chat request over a connection of its own, and leaves the response unread.
///
/// # Errors
/// Fails if the connection is refused or broken.
pub async fn chat_unread(base: &str, key: &str, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = narrow(base).await?;
    stream.write_all((chat_head(key, body.len()) + body).as_bytes()).await?;
    Ok(stream)
}

/// Returns whether the other side has closed a connection that sends nothing.
#[must_use]
pub fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    match stream.try_read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Reads a connection until it closes, or for at most this time.
pub async fn read_for(stream: &mut TcpStream, longest: Duration) -> String {
    let mut bytes = Vec::new();
    let _ended = tokio::time::timeout(longest, stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
