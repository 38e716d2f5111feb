//! A provider that answers each request with the raw bytes of a script, and records each request's head and body.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: Value,
}

impl Asked {
    /// Returns the value of a header; the name's case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value.trim()))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send(Bytes),
    Pause(Duration),
    Until(CancellationToken),
}

/// A response as raw bytes, head included, and the pauses between them. The connection is closed after the last byte unless it is kept.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
    keeps_open: bool,
}

impl Script {
    /// Sends these bytes exactly as given, in a write of their own.
    #[must_use]
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(Bytes::copy_from_slice(bytes.as_ref())));
        self
    }

    /// Sends several chunks.
    #[must_use]
    pub fn all<T: AsRef<[u8]>>(self, pieces: impl IntoIterator<Item = T>) -> Self {
        pieces.into_iter().fold(self, Self::then)
    }

    /// Sends nothing for this time.
    #[must_use]
    pub fn pause(mut self, gap: Duration) -> Self {
        self.steps.push(Step::Pause(gap));
        self
    }

    /// Sends nothing until the test opens the gate.
    #[must_use]
    pub fn until(mut self, gate: &CancellationToken) -> Self {
        self.steps.push(Step::Until(gate.clone()));
        self
    }

    /// Sends the first byte only when the test has opened the gate.
    #[must_use]
    pub fn gated(mut self, gate: &CancellationToken) -> Self {
        self.steps.insert(0, Step::Until(gate.clone()));
        self
    }

    /// Keeps the connection open for the next request.
    #[must_use]
    pub const fn keep_alive(mut self) -> Self {
        self.keeps_open = true;
        self
    }
}

/// Returns the script of a response with a content length. Each of `headers` ends with CRLF; the connection is kept.
#[must_use]
pub fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Script {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Script::default().then([head.as_bytes(), body].concat()).keep_alive()
}

/// Returns the script of a stream of which only the head is sent.
#[must_use]
pub fn sse() -> Script {
    Script::default().then("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

/// Returns a chunk object with one choice.
#[must_use]
pub fn piece(delta: &Value, finish: impl Into<Value>) -> Value {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish.into()});
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
}

/// The end mark of a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// Returns an SSE frame that carries this data.
#[must_use]
pub fn frame(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// Returns the frame of a chunk with text.
#[must_use]
pub fn say(text: &str) -> String {
    frame(&piece(&json!({"content": text}), Value::Null))
}

/// Returns the frame of a chunk that ends the choice.
#[must_use]
pub fn stop() -> String {
    frame(&piece(&json!({}), "stop"))
}

/// Returns the usage of 10 prompt and 5 completion tokens, which costs 20,000 nano-USD.
#[must_use]
pub fn usage() -> Value {
    json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
}

/// Returns a frame that carries a usage but no choices, followed by the end mark.
#[must_use]
pub fn tail(usage: &Value) -> String {
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage});
    frame(&last) + DONE
}

/// Returns the body of a response that is not streamed.
#[must_use]
pub fn whole(text: &str, usage: &Value) -> Value {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage})
}

type Decide = dyn Fn(&Asked) -> Script + Send + Sync;

/// A running provider.
#[derive(Clone)]
pub struct Scripted {
    /// The address that it listens on.
    pub address: SocketAddr,
    decide: Arc<Mutex<Arc<Decide>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    abandoned: Arc<AtomicUsize>,
}

impl Scripted {
    /// Starts a provider on a free port. It gives a complete response to each request until a test changes that.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let usual = reply("200 OK", "", whole("one two", &usage()).to_string());
        let provider = Self {
            address: listener.local_addr().unwrap(),
            decide: Arc::new(Mutex::new(Arc::new(move |_: &Asked| usual.clone()))),
            asked: Arc::default(),
            abandoned: Arc::default(),
        };
        let accepting = provider.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = accepting.clone();
                tokio::task::spawn(async move {
                    if provider.serve(stream).await.is_err() {
                        provider.abandoned.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        provider
    }

    /// Responds to every request from now on with this script.
    pub fn answer(&self, script: Script) {
        self.answer_by(move |_| script.clone());
    }

    /// Responds to every request from now on with the script that `decide` returns for it.
    pub fn answer_by(&self, decide: impl Fn(&Asked) -> Script + Send + Sync + 'static) {
        *self.decide.lock().unwrap() = Arc::new(decide);
    }

    /// Returns all requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the number of responses that the gateway left before their end.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Returns the configuration that makes it the provider `fake` with the model `fake/m`.
    #[must_use]
    pub fn config(&self) -> String {
        self.config_as("fake", "")
    }

    /// Returns the configuration that makes it a provider of this name with these further settings and one model `m`. Prices are 1 and 2
    /// USD per million tokens, the context has 100,000 tokens and a response at most 1,000.
    #[must_use]
    pub fn config_as(&self, slug: &str, settings: &str) -> String {
        format!(
            "[[providers]]\nslug = \"{slug}\"\nbase_url = \"http://{}/v1\"\napi_key = \"upstream-secret\"\n{settings}\n\
             [[models]]\nid = \"{slug}/m\"\nprovider = \"{slug}\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\n\
             context_length = 100000\nmax_output_tokens = 1000\n",
            self.address
        )
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        while let Some(asked) = read(&mut stream, &mut buffer).await {
            let decide = Arc::clone(&self.decide.lock().unwrap());
            let script = decide(&asked);
            self.asked.lock().unwrap().push(asked);
            for step in script.steps {
                match step {
                    Step::Send(bytes) => stream.write_all(&bytes).await?,
                    Step::Pause(gap) => unless_left(&stream, tokio::time::sleep(gap)).await?,
                    Step::Until(gate) => unless_left(&stream, gate.cancelled()).await?,
                }
            }
            if !script.keeps_open {
                break;
            }
        }
        Ok(())
    }
}

/// Waits; fails as soon as the other side has closed the connection.
async fn unless_left(stream: &TcpStream, wait: impl Future<Output = ()>) -> std::io::Result<()> {
    let mut byte = [0];
    let left = async {
        match stream.peek(&mut byte).await {
            Ok(0) => std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
            Ok(_) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        () = wait => Ok(()),
        error = left => Err(error),
    }
}

/// Reads one request; `None` if the connection ends instead.
async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Asked> {
    let head_bytes = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer.split_to(head_bytes)).into_owned();
    let mut asked = Asked { head, body: Value::Null };
    let body_bytes = asked.header("content-length").and_then(|length| length.parse().ok()).expect("the gateway says how long a body is");
    while buffer.len() < body_bytes {
        more(stream, buffer).await?;
    }
    asked.body = serde_json::from_slice(&buffer.split_to(body_bytes)).expect("the gateway sends JSON");
    Some(asked)
}

async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<()> {
    (stream.read_buf(buffer).await.ok()? > 0).then_some(())
}
