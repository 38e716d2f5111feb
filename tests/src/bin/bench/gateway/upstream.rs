//! The static upstream: a provider that responds at once, with as little work as possible.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A complete response of about 480 bytes, as OpenAI sends it.
const PLAIN: &str = r#"{"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion","created":1710000000,"model":"gpt-static-2026-01-01","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default"}"#;
const FRAMES: usize = 50;

/// Starts the upstream on a thread of its own.
pub fn start() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
                tokio::task::spawn(serve(stream));
            }
        });
    });
    address
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let plain = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{PLAIN}", PLAIN.len()).into_bytes();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let (head, total) = loop {
            if let Some(found) = message(&buffer) {
                break found;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let body = String::from_utf8_lossy(&buffer[head..total]).into_owned();
        buffer.drain(..total);
        if body.contains("\"stream\":true") {
            streamed(&mut stream, body.contains("\"paced\"")).await?;
        } else {
            stream.write_all(&plain).await?;
        }
    }
}

/// Returns the end of the head and the end of the whole message.
fn message(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let length: usize = text.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse().ok()?;
    (buffer.len() >= head + length).then_some((head, head + length))
}

async fn streamed(stream: &mut TcpStream, paced: bool) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    if paced {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1710000000,"model":"gpt-static","#;
    for _ in 0..FRAMES {
        frame(stream, &format!("{head}\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word \"}},\"finish_reason\":null}}]}}\n\n"))
            .await?;
        if paced {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    frame(stream, &format!("{head}\"choices\":[],\"usage\":{{\"prompt_tokens\":20,\"completion_tokens\":50,\"total_tokens\":70}}}}\n\n"))
        .await?;
    frame(stream, "data: [DONE]\n\n").await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn frame(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}
