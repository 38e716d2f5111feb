//! The load over kept-alive connections: either a closed loop, or a fixed rate whose times are measured from the scheduled start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The kind of response that is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A complete response.
    Plain,
    /// A stream of 52 frames at once.
    Stream,
    /// A stream of 52 frames over one second.
    Paced,
}

/// The parameters of a load.
#[derive(Debug, Clone)]
pub struct Load {
    /// The number of concurrent connections.
    pub connections: usize,
    /// The requests per second; `None` means as many as possible.
    pub rate: Option<f64>,
    /// The duration of the load.
    pub length: Duration,
    pub request: Request,
}

/// The address and the credential of a gateway.
#[derive(Debug, Clone)]
pub struct LoadTarget {
    pub address: SocketAddr,
    pub key: String,
}

/// The results of a load: microseconds of each response, sorted.
pub struct Result {
    times: Vec<u32>,
    firsts: Vec<u32>,
    elapsed: Duration,
    /// The number of incorrect responses.
    pub failed: u64,
}

impl Result {
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Returns the responses per second.
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns a quantile of the response times, in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        of(&self.times, quantile)
    }

    /// Returns a quantile of the times to the first chunk, in milliseconds.
    pub fn first_ms(&self, quantile: f64) -> f64 {
        of(&self.firsts, quantile)
    }
}

fn of(sorted: &[u32], quantile: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * quantile).round().max(0.0) as usize;
    sorted.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
}

pub fn run(target: &LoadTarget, load: &Load) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let shared = Arc::new((target.clone(), load.clone(), AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..load.connections {
            clients.spawn(client(Arc::clone(&shared), started));
        }
        let mut result = Result { times: Vec::new(), firsts: Vec::new(), elapsed: Duration::ZERO, failed: 0 };
        while let Some(done) = clients.join_next().await {
            let (times, firsts, failed) = done.unwrap();
            result.times.extend(times);
            result.firsts.extend(firsts);
            result.failed += failed;
        }
        result.elapsed = started.elapsed();
        result.times.sort_unstable();
        result.firsts.sort_unstable();
        result
    })
}

async fn client(shared: Arc<(LoadTarget, Load, AtomicU64)>, started: Instant) -> (Vec<u32>, Vec<u32>, u64) {
    let (target, load, next) = &*shared;
    let request = bytes(target, load.request);
    let mut stream = TcpStream::connect(target.address).await.expect("a connection");
    stream.set_nodelay(true).unwrap();
    let (mut times, mut firsts, mut failed) = (Vec::new(), Vec::new(), 0);
    let mut buffer = Vec::with_capacity(64 * 1024);
    while started.elapsed() < load.length {
        let from = match load.rate {
            None => Instant::now(),
            Some(rate) => {
                let due = started + Duration::from_secs_f64(next.fetch_add(1, Ordering::Relaxed) as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        stream.write_all(&request).await.expect("sent");
        let first = answer(&mut stream, &mut buffer, from).await;
        times.push(from.elapsed().as_micros() as u32);
        match first {
            Some(first) => firsts.push(first.as_micros() as u32),
            None => failed += 1,
        }
    }
    (times, firsts, failed)
}

fn bytes(target: &LoadTarget, request: Request) -> Vec<u8> {
    let (model, stream) = match request {
        Request::Plain => ("static", ""),
        Request::Stream => ("static", "\"stream\":true,"),
        Request::Paced => ("paced", "\"stream\":true,"),
    };
    let body = format!(
        "{{\"model\":\"bench/{model}\",{stream}\"max_tokens\":100,\"messages\":[{{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}},{{\"role\":\"user\",\"content\":\"Say something about a quick brown fox, please, in one sentence.\"}}],\"metadata\":{{\"{model}\":\"x\"}}}}"
    );
    // Proxies that rewrite the model leave the metadata as it is, and the upstream finds the word `paced` there. Other requests have
    // none.
    let body = body.replace("\"metadata\":{\"static\":\"x\"}", "\"metadata\":{}");
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        target.key,
        body.len()
    )
    .into_bytes()
}

/// Reads one response. Returns the time of its first chunk; `None` if the response is incorrect.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, from: Instant) -> Option<Duration> {
    buffer.clear();
    let head = loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let is_good = text.starts_with("http/1.1 200");
    if let Some(length) = text.split("content-length:").nth(1) {
        let length: usize = length.split("\r\n").next()?.trim().parse().ok()?;
        let first = from.elapsed();
        while buffer.len() < head + length {
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
        return is_good.then_some(first);
    }
    let mut first = (buffer.len() > head + 8).then(|| from.elapsed());
    while !buffer.ends_with(b"0\r\n\r\n") {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        first = first.or_else(|| Some(from.elapsed()));
    }
    let whole = buffer.windows(6).any(|window| window == b"[DONE]");
    first.filter(|_| is_good && whole)
}
