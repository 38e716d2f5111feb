//! A NATS client that shares no code with the product: the text protocol over TCP, as any stranger can speak it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};

/// The longest wait for a reply that the server sends at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a NATS server.
pub struct PlainNats {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The prefix of reply subjects.
    inbox: String,
    subscriptions: u64,
    inboxes: u64,
    messages: VecDeque<Message>,
    refusals: VecDeque<String>,
    pongs: usize,
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The number of the subscription that it belongs to.
    pub subscription: u64,
    /// The subject.
    pub subject: String,
    /// The reply subject.
    pub reply: Option<String>,
    /// The headers, with the status line.
    pub headers: String,
    /// The body.
    pub payload: Vec<u8>,
}

/// The outcome of a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A reply.
    Answered(Message),
    /// A refusal by the server, with its message.
    Refused(String),
    /// A report of the server that the subject has no subscribers.
    Nobody,
    /// No reply within the time limit.
    Silence,
}

/// The parts of an address `nats://user:password@host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The user name, if any.
    pub user: Option<String>,
    /// The password, if any.
    pub password: Option<String>,
    /// Host and port.
    pub host: String,
}

impl Address {
    /// Parses an address.
    #[must_use]
    pub fn parse(url: &str) -> Self {
        let rest = url.strip_prefix("nats://").unwrap_or(url).trim_end_matches('/');
        let (credentials, host) = rest.rsplit_once('@').map_or((None, rest), |(credentials, host)| (Some(credentials), host));
        let mut parts = credentials.into_iter().flat_map(|credentials| credentials.splitn(2, ':')).map(str::to_owned);
        Self { user: parts.next(), password: parts.next(), host: host.to_owned() }
    }

    /// Returns the address of the same server for another user.
    #[must_use]
    pub fn for_user(&self, user: &str, password: &str) -> Self {
        Self { user: Some(user.to_owned()), password: Some(password.to_owned()), host: self.host.clone() }
    }

    /// Returns the address of the same server without credentials.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { user: None, password: None, host: self.host.clone() }
    }
}

impl Message {
    /// Returns the status of a message that the server itself sent, such as 100 or 404.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.headers.strip_prefix("NATS/1.0 ")?.get(..3)?.parse().ok()
    }

    /// Returns the body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

impl Outcome {
    /// Returns the reply as JSON; null if there is none.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Answered(message) => message.json(),
            Self::Refused(_) | Self::Nobody | Self::Silence => Value::Null,
        }
    }

    /// Returns whether the server refused the request, or a reply contains an error.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Answered(message) => message.json().get("error").is_some(),
            Self::Refused(_) | Self::Nobody => true,
            Self::Silence => false,
        }
    }

    /// Formats the outcome in one line for human readers.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Answered(message) => format!("answer {}", String::from_utf8_lossy(&message.payload)),
            Self::Refused(words) => format!("-ERR {words}"),
            Self::Nobody => "no responders".to_owned(),
            Self::Silence => "silence".to_owned(),
        }
    }
}

impl PlainNats {
    /// Connects with the default inbox prefix of NATS clients.
    ///
    /// # Errors
    /// Fails with the server's message if it rejects the client.
    pub async fn connect(address: &Address) -> Result<Self, String> {
        Self::connect_with_inbox(address, "_INBOX").await
    }

    /// Connects with another inbox prefix.
    ///
    /// # Errors
    /// Fails with the server's message if it rejects the client.
    pub async fn connect_with_inbox(address: &Address, inbox: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(&address.host).await.map_err(|error| error.to_string())?;
        let (reader, writer) = stream.into_split();
        let inbox = format!("{inbox}.{:016x}", rand::random::<u64>());
        let (messages, refusals) = (VecDeque::new(), VecDeque::new());
        let mut client = Self { reader: BufReader::new(reader), writer, inbox, subscriptions: 0, inboxes: 0, messages, refusals, pongs: 0 };
        let mut options =
            json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1, "lang": "plain"});
        if let (Some(user), Some(password)) = (&address.user, &address.password) {
            (options["user"], options["pass"]) = (json!(user), json!(password));
        }
        client.send(format!("CONNECT {options}\r\n").into_bytes()).await;
        client.flush().await?;
        Ok(client)
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        // A server that refuses closes the connection. Its message can still be read; the read after that fails.
        let _closed = self.writer.write_all(&bytes).await;
    }

    /// Subscribes, and returns the subscription's number.
    ///
    /// # Errors
    /// Fails with the server's message if it refuses.
    pub async fn subscribe(&mut self, subject: &str) -> Result<u64, String> {
        self.subscriptions += 1;
        let number = self.subscriptions;
        self.send(format!("SUB {subject} {number}\r\n").into_bytes()).await;
        self.flush().await?;
        self.refusals.pop_front().map_or(Ok(number), Err)
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// Fails with the server's message if it refuses.
    pub async fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &[(&str, &str)], payload: &[u8]) -> Result<(), String> {
        let block = headers.iter().fold("NATS/1.0\r\n".to_owned(), |mut block, (name, value)| {
            let _infallible = write!(block, "{name}: {value}\r\n");
            block
        }) + "\r\n";
        self.publish_raw(subject, reply, if headers.is_empty() { "" } else { &block }, payload).await
    }

    /// Publishes a message with the headers of another message.
    ///
    /// # Errors
    /// Fails with the server's message if it refuses.
    pub async fn publish_raw(&mut self, subject: &str, reply: Option<&str>, headers: &str, payload: &[u8]) -> Result<(), String> {
        let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
        let mut bytes = if headers.is_empty() {
            format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes()
        } else {
            format!("HPUB {subject} {reply}{} {}\r\n{headers}", headers.len(), headers.len() + payload.len()).into_bytes()
        };
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes).await;
        self.flush().await?;
        self.refusals.pop_front().map_or(Ok(()), Err)
    }

    /// Waits until the server has processed everything that was sent.
    ///
    /// # Errors
    /// Fails with the server's message if it closes the connection.
    pub async fn flush(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        self.pongs = 0;
        self.send(b"PING\r\n".to_vec()).await;
        while self.pongs == 0 {
            timeout_at(deadline, self.read()).await.map_err(|_| "the server does not answer".to_owned())??;
        }
        Ok(())
    }

    /// Returns the next message of any subscription.
    pub async fn next(&mut self, within: Duration) -> Option<Message> {
        let deadline = Instant::now() + within;
        while self.messages.is_empty() {
            timeout_at(deadline, self.read()).await.ok()?.ok()?;
        }
        self.messages.pop_front()
    }

    /// Returns the next message of one subscription. Messages of other subscriptions stay in the queue.
    pub async fn next_of(&mut self, subscription: u64, within: Duration) -> Option<Message> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(place) = self.messages.iter().position(|message| message.subscription == subscription) {
                return self.messages.remove(place);
            }
            timeout_at(deadline, self.read()).await.ok()?.ok()?;
        }
    }

    /// Returns a unique reply subject.
    pub fn new_inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("{}.{}", self.inbox, self.inboxes)
    }

    /// Sends a request, and returns its outcome.
    pub async fn ask(&mut self, subject: &str, payload: &[u8]) -> Outcome {
        self.ask_raw(subject, "", payload).await
    }

    /// Sends a request with the headers of another message, and returns its outcome.
    pub async fn ask_raw(&mut self, subject: &str, headers: &str, payload: &[u8]) -> Outcome {
        let inbox = self.new_inbox();
        let number = match self.subscribe(&inbox).await {
            Ok(number) => number,
            Err(words) => return Outcome::Refused(words),
        };
        if let Err(words) = self.publish_raw(subject, Some(&inbox), headers, payload).await {
            return Outcome::Refused(words);
        }
        match self.next_of(number, Duration::from_secs(2)).await {
            Some(message) if message.status() == Some(503) => Outcome::Nobody,
            Some(message) => Outcome::Answered(message),
            None => self.refusals.pop_front().map_or(Outcome::Silence, Outcome::Refused),
        }
    }

    /// Creates a consumer through the API subject that contains its name and filter. Returns the server's reply.
    pub async fn make_consumer(&mut self, stream: &str, name: &str, filter: &str, more: Value) -> Outcome {
        let mut config =
            json!({"name": name, "filter_subject": filter, "ack_policy": "none", "deliver_policy": "all", "mem_storage": true});
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        let body = json!({"stream_name": stream, "config": config}).to_string();
        self.ask(&format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.{filter}"), body.as_bytes()).await
    }

    /// Reads all events of a stream that match a filter, through a pull consumer.
    ///
    /// # Errors
    /// Fails with the server's message if it refuses, or with the number of received events if some are missing.
    pub async fn pull(&mut self, stream: &str, name: &str, filter: &str) -> Result<Vec<Message>, String> {
        let made = self.make_consumer(stream, name, filter, json!({})).await;
        let Some(count) = made.json()["num_pending"].as_u64() else { return Err(made.line()) };
        let inbox = self.new_inbox();
        let number = self.subscribe(&inbox).await?;
        let body = json!({"batch": count, "no_wait": true}).to_string();
        self.publish(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), Some(&inbox), &[], body.as_bytes()).await?;
        self.collect(number, count).await
    }

    /// Reads all events of a stream that match a filter, through a push consumer.
    ///
    /// # Errors
    /// Fails with the server's message if it refuses, or with the number of received events if some are missing.
    pub async fn push(&mut self, stream: &str, name: &str, filter: &str) -> Result<Vec<Message>, String> {
        let inbox = self.new_inbox();
        let number = self.subscribe(&inbox).await?;
        let made = self.make_consumer(stream, name, filter, json!({"deliver_subject": inbox})).await;
        // Delivery may begin before the server has reported how many events are pending, so both numbers are added.
        let answer = made.json();
        let count = answer["num_pending"].as_u64().zip(answer["delivered"]["consumer_seq"].as_u64()).map(|(waiting, sent)| waiting + sent);
        let Some(count) = count else { return Err(made.line()) };
        self.collect(number, count).await
    }

    async fn collect(&mut self, subscription: u64, count: u64) -> Result<Vec<Message>, String> {
        let mut found = Vec::new();
        while (found.len() as u64) < count {
            let message = self.next_of(subscription, PATIENCE).await.ok_or_else(|| format!("{} of {count} came", found.len()))?;
            if message.status().is_none() {
                found.push(message);
            }
        }
        Ok(found)
    }

    /// Reads one protocol message.
    async fn read(&mut self) -> Result<(), String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).await {
            Ok(read) if read > 0 => {}
            closed => return Err(self.refusals.pop_front().unwrap_or_else(|| format!("closed: {closed:?}"))),
        }
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "PING" => self.send(b"PONG\r\n".to_vec()).await,
            "PONG" => self.pongs += 1,
            "-ERR" => self.refusals.push_back(rest.trim_matches('\'').to_owned()),
            "MSG" | "HMSG" => {
                let message = self.read_message(rest, word == "HMSG").await?;
                self.messages.push_back(message);
            }
            // INFO comes at the start, and again after changes of the cluster.
            _ => {}
        }
        Ok(())
    }

    async fn read_message(&mut self, rest: &str, has_headers: bool) -> Result<Message, String> {
        let malformed = || format!("malformed: {rest}");
        let mut parts: Vec<&str> = rest.split(' ').collect();
        let mut number = || parts.pop().and_then(|part| part.parse::<usize>().ok()).ok_or_else(malformed);
        let total = number()?;
        let head = if has_headers { number()? } else { 0 };
        let [subject, subscription, reply @ ..] = parts.as_slice() else { return Err(malformed()) };
        let mut bytes = vec![0; total + 2];
        self.reader.read_exact(&mut bytes).await.map_err(|error| error.to_string())?;
        bytes.truncate(total);
        let payload = bytes.split_off(head);
        Ok(Message {
            subscription: subscription.parse().map_err(|_| malformed())?,
            subject: (*subject).to_owned(),
            reply: reply.first().map(|reply| (*reply).to_owned()),
            headers: String::from_utf8_lossy(&bytes).into_owned(),
            payload,
        })
    }
}
