//! The load: closed loop, or a fixed rate measured from the scheduled time, over kept-alive connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A whole answer.
    Plain,
    /// A stream of 52 frames at once.
    Stream,
    /// A stream of 52 frames over one second.
    Paced,
}

/// How it is asked for.
#[derive(Debug, Clone)]
pub struct Load {
    /// At the same time.
    pub connections: usize,
    /// Requests a second; as many as go when absent.
    pub rate: Option<f64>,
    /// For how long.
    pub length: Duration,
    /// What.
    pub request: Request,
}

/// Where to.
#[derive(Debug, Clone)]
pub struct LoadTarget {
    /// Address.
    pub address: SocketAddr,
    /// Credential.
    pub key: String,
}

/// How it went: microseconds of each answer, sorted.
pub struct Result {
    times: Vec<u32>,
    firsts: Vec<u32>,
    elapsed: Duration,
    /// Answers that were not what they should be.
    pub failed: u64,
}

impl Result {
    /// How many answers.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        of(&self.times, quantile)
    }

    /// A quantile of the time to the first piece, in milliseconds.
    pub fn first_ms(&self, quantile: f64) -> f64 {
        of(&self.firsts, quantile)
    }
}

fn of(sorted: &[u32], quantile: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * quantile).round().max(0.0) as usize;
    sorted.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
}

/// Runs a load.
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
    // The proxies that rewrite the model leave this word for the upstream to see.
    let body = body.replace("\"metadata\":{\"static\":\"x\"}", "\"metadata\":{}");
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        target.key,
        body.len()
    )
    .into_bytes()
}

/// Reads one answer; gives back when its first piece came, `None` when it is not a good one.
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
