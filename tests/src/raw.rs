//! Plain connections, for what no HTTP client does.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes that a connection of [`narrow`] takes before it is read.
const NARROW_BYTES: u32 = 4_096;

/// A connection to a gateway.
///
/// # Errors
/// When it is refused.
pub async fn connect(base: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect(base.trim_start_matches("http://")).await
}

/// A connection with a small receive window.
///
/// # Errors
/// When it is refused.
pub async fn narrow(base: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(NARROW_BYTES)?;
    socket.connect(base.trim_start_matches("http://").parse().map_err(std::io::Error::other)?).await
}

/// The head of a chat request whose body has so many bytes.
#[must_use]
pub fn chat_head(key: &str, body_bytes: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    )
}

/// A chat request over a connection of its own, whose answer is not read.
///
/// # Errors
/// When the connection is refused or broken.
pub async fn chat_unread(base: &str, key: &str, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = narrow(base).await?;
    stream.write_all((chat_head(key, body.len()) + body).as_bytes()).await?;
    Ok(stream)
}

/// Whether the other side has closed a connection that says nothing.
#[must_use]
pub fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    match stream.try_read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Reads a connection until it closes, or for as long as this.
pub async fn read_for(stream: &mut TcpStream, longest: Duration) -> String {
    let mut bytes = Vec::new();
    let _ended = tokio::time::timeout(longest, stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
