//! A NATS client that knows nothing of ours: the text protocol over TCP, as any stranger can speak it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};

/// The longest time for an answer that the server gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub struct PlainNats {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The prefix of subjects for answers.
    inbox: String,
    subscriptions: u64,
    inboxes: u64,
    messages: VecDeque<Message>,
    refusals: VecDeque<String>,
    pongs: usize,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subscription that it came for.
    pub subscription: u64,
    /// Its subject.
    pub subject: String,
    /// The subject for answers.
    pub reply: Option<String>,
    /// Its headers, with the line of the status.
    pub headers: String,
    /// Its body.
    pub payload: Vec<u8>,
}

/// The fate of a question.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Somebody answered.
    Answered(Message),
    /// The server did not let it through; its words.
    Refused(String),
    /// The server says that nobody listens.
    Nobody,
    /// Nothing came in time.
    Silence,
}

/// The parts of an address `nats://user:password@host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The user, when there is one.
    pub user: Option<String>,
    /// The password, when there is one.
    pub password: Option<String>,
    /// Host and port.
    pub host: String,
}

impl Address {
    /// Reads an address.
    #[must_use]
    pub fn parse(url: &str) -> Self {
        let rest = url.strip_prefix("nats://").unwrap_or(url).trim_end_matches('/');
        let (credentials, host) = rest.rsplit_once('@').map_or((None, rest), |(credentials, host)| (Some(credentials), host));
        let mut parts = credentials.into_iter().flat_map(|credentials| credentials.splitn(2, ':')).map(str::to_owned);
        Self { user: parts.next(), password: parts.next(), host: host.to_owned() }
    }

    /// The same server for another user.
    #[must_use]
    pub fn for_user(&self, user: &str, password: &str) -> Self {
        Self { user: Some(user.to_owned()), password: Some(password.to_owned()), host: self.host.clone() }
    }

    /// The same server without credentials.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { user: None, password: None, host: self.host.clone() }
    }
}

impl Message {
    /// The status of a message of the server's own, as 100 or 404.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.headers.strip_prefix("NATS/1.0 ")?.get(..3)?.parse().ok()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

impl Outcome {
    /// The answer as JSON, if there is one.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Answered(message) => message.json(),
            Self::Refused(_) | Self::Nobody | Self::Silence => Value::Null,
        }
    }

    /// Whether the server did not let it through, or answered with an error.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Answered(message) => message.json().get("error").is_some(),
            Self::Refused(_) | Self::Nobody => true,
            Self::Silence => false,
        }
    }

    /// A line for people.
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
    /// Connects with the inbox prefix that clients have unless told otherwise.
    ///
    /// # Errors
    /// The server's words, when it does not let the client in.
    pub async fn connect(address: &Address) -> Result<Self, String> {
        Self::connect_with_inbox(address, "_INBOX").await
    }

    /// Connects with another inbox prefix.
    ///
    /// # Errors
    /// The server's words, when it does not let the client in.
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
        // A server that refuses closes the connection; its words are still there to be read, and the next read fails.
        let _closed = self.writer.write_all(&bytes).await;
    }

    /// Subscribes, and gives back the subscription's number.
    ///
    /// # Errors
    /// The server's words, when it refuses.
    pub async fn subscribe(&mut self, subject: &str) -> Result<u64, String> {
        self.subscriptions += 1;
        let number = self.subscriptions;
        self.send(format!("SUB {subject} {number}\r\n").into_bytes()).await;
        self.flush().await?;
        self.refusals.pop_front().map_or(Ok(number), Err)
    }

    /// Publishes.
    ///
    /// # Errors
    /// The server's words, when it refuses.
    pub async fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &[(&str, &str)], payload: &[u8]) -> Result<(), String> {
        let block = headers.iter().fold("NATS/1.0\r\n".to_owned(), |mut block, (name, value)| {
            let _infallible = write!(block, "{name}: {value}\r\n");
            block
        }) + "\r\n";
        self.publish_raw(subject, reply, if headers.is_empty() { "" } else { &block }, payload).await
    }

    /// Publishes with headers as they came with another message.
    ///
    /// # Errors
    /// The server's words, when it refuses.
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

    /// Waits until the server has taken everything.
    ///
    /// # Errors
    /// The server's words, when it closes the connection.
    pub async fn flush(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        self.pongs = 0;
        self.send(b"PING\r\n".to_vec()).await;
        while self.pongs == 0 {
            timeout_at(deadline, self.read()).await.map_err(|_| "the server does not answer".to_owned())??;
        }
        Ok(())
    }

    /// The next message of any subscription.
    pub async fn next(&mut self, within: Duration) -> Option<Message> {
        let deadline = Instant::now() + within;
        while self.messages.is_empty() {
            timeout_at(deadline, self.read()).await.ok()?.ok()?;
        }
        self.messages.pop_front()
    }

    /// The next message of one subscription; those of others stay.
    pub async fn next_of(&mut self, subscription: u64, within: Duration) -> Option<Message> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(place) = self.messages.iter().position(|message| message.subscription == subscription) {
                return self.messages.remove(place);
            }
            timeout_at(deadline, self.read()).await.ok()?.ok()?;
        }
    }

    /// A subject for answers that nobody else has.
    pub fn new_inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("{}.{}", self.inbox, self.inboxes)
    }

    /// Asks, and tells the fate of the question.
    pub async fn ask(&mut self, subject: &str, payload: &[u8]) -> Outcome {
        self.ask_raw(subject, "", payload).await
    }

    /// Asks with headers as they came with another message.
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

    /// Makes a consumer by the subject that names it and its filter, and gives back the server's answer.
    pub async fn make_consumer(&mut self, stream: &str, name: &str, filter: &str, more: Value) -> Outcome {
        let mut config =
            json!({"name": name, "filter_subject": filter, "ack_policy": "none", "deliver_policy": "all", "mem_storage": true});
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        let body = json!({"stream_name": stream, "config": config}).to_string();
        self.ask(&format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.{filter}"), body.as_bytes()).await
    }

    /// Reads everything that a stream has of a filter now, by a pull consumer.
    ///
    /// # Errors
    /// The server's words, when it refuses, or the number of events that came.
    pub async fn pull(&mut self, stream: &str, name: &str, filter: &str) -> Result<Vec<Message>, String> {
        let made = self.make_consumer(stream, name, filter, json!({})).await;
        let Some(count) = made.json()["num_pending"].as_u64() else { return Err(made.line()) };
        let inbox = self.new_inbox();
        let number = self.subscribe(&inbox).await?;
        let body = json!({"batch": count, "no_wait": true}).to_string();
        self.publish(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), Some(&inbox), &[], body.as_bytes()).await?;
        self.collect(number, count).await
    }

    /// Reads everything that a stream has of a filter now, by a push consumer.
    ///
    /// # Errors
    /// The server's words, when it refuses, or the number of events that came.
    pub async fn push(&mut self, stream: &str, name: &str, filter: &str) -> Result<Vec<Message>, String> {
        let inbox = self.new_inbox();
        let number = self.subscribe(&inbox).await?;
        let made = self.make_consumer(stream, name, filter, json!({"deliver_subject": inbox})).await;
        // It may have begun to deliver before it said how many wait.
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

    /// Reads one piece of the protocol.
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
            // INFO comes at the begin, and again when the cluster changes.
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
