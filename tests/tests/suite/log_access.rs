//! Access to the log is restricted to the permitted users. A plain NATS client tries the reader's credentials, none, ours, and a
//! gateway's.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use events::subject::{Stream, partition};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::plain_nats::{Address, Message, Outcome, PlainNats};
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

/// The streams and filters that every reader may read.
const FAMILIES: [(&str, &str); 3] =
    [("REQUESTS", "arouter.v1.request.>"), ("USAGE", "arouter.v1.usage.>"), ("CONTROL", "arouter.v1.key.>")];
/// Operations of `$JS.API` that change a stream or a consumer, or read outside the permitted filters. `S` stands for each stream.
const OPERATIONS: [&str; 27] = [
    "STREAM.CREATE.S",
    "STREAM.UPDATE.S",
    "STREAM.DELETE.S",
    "STREAM.PURGE.S",
    "STREAM.MSG.DELETE.S",
    "STREAM.MSG.GET.S",
    "STREAM.SNAPSHOT.S",
    "STREAM.RESTORE.S",
    "STREAM.PEER.REMOVE.S",
    "STREAM.LEADER.STEPDOWN.S",
    "DIRECT.GET.S",
    "DIRECT.GET.S.arouter.v1.ledger.0",
    "CONSUMER.DELETE.S.any",
    "CONSUMER.PAUSE.S.any",
    "CONSUMER.RESET.S.any",
    "CONSUMER.UNPIN.S.any",
    "CONSUMER.LEADER.STEPDOWN.S.any",
    "CONSUMER.NAMES.S",
    "CONSUMER.LIST.S",
    "STREAM.CREATE.OTHER",
    "STREAM.LIST",
    "INFO",
    "META.LEADER.STEPDOWN",
    "SERVER.REMOVE",
    "ACCOUNT.PURGE.AROUTER",
    "ACCOUNT.STREAM.MOVE.AROUTER.S",
    "STREAM.TEMPLATE.CREATE.any",
];
/// Read operations that are allowed for the readers' streams, but not for these.
const CLOSED_READS: [&str; 8] = [
    "STREAM.INFO.LEDGER",
    "STREAM.INFO.CONTROL",
    "CONSUMER.CREATE.LEDGER",
    "CONSUMER.CREATE.LEDGER.any",
    "CONSUMER.DURABLE.CREATE.LEDGER.any",
    "CONSUMER.CREATE.CONTROL",
    "CONSUMER.DURABLE.CREATE.CONTROL.any",
    "CONSUMER.MSG.NEXT.LEDGER.any",
];
/// Subjects to publish to.
const PUBLISHED: [&str; 17] = [
    "arouter.v1.request.0.forged.started",
    "arouter.v1.usage.0.forged",
    "arouter.v1.key.forged.forged.created",
    "arouter.v1.account.forged.forged.created",
    "arouter.v1.ledger.0.forged.credit_posted",
    "arouter.v1.ask.ledger.credit",
    "arouter.v1.ask.projector.quarantine",
    "_INBOX.forged",
    "_ARBOX.forged",
    "_R_.forged",
    "nobody.STREAM.DELETE.LEDGER",
    "$JS.ACK.LEDGER.any.1.1.1.1.1",
    "$JS.FC.LEDGER.any.1",
    "$JS.EVENT.ADVISORY.forged",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.USER.INFO",
    "forged",
];
/// Subjects to subscribe to. None is allowed: with a plain subscription to a stream's subject, a push consumer could write there.
const SUBSCRIBED: [&str; 14] = [
    ">",
    "*.>",
    "arouter.>",
    "arouter.v1.request.>",
    "arouter.v1.usage.0.forged",
    "arouter.v1.key.>",
    "arouter.v1.account.>",
    "arouter.v1.ledger.>",
    "arouter.v1.ask.>",
    "_ARBOX.>",
    "_R_.>",
    "nobody.>",
    "$JS.>",
    "$SYS.>",
];
/// Subjects on which messages of the server itself would do harm.
const HARMFUL: [&str; 9] = [
    "$JS.API.STREAM.DELETE.LEDGER",
    "$JS.API.STREAM.DELETE.USAGE",
    "$JS.API.STREAM.PURGE.USAGE",
    "arouter.v1.ledger.0.forged.credit_posted",
    "arouter.v1.usage.0.forged",
    "arouter.v1.key.forged.forged.created",
    "arouter.v1.ask.ledger.credit",
    "_ARBOX.forged",
    "_R_.forged",
];

/// Attempts and their outcomes, for human readers.
#[derive(Default)]
struct Table(Vec<(String, Outcome)>);

impl Table {
    fn add(&mut self, attempt: impl Into<String>, outcome: Outcome) {
        self.0.push((attempt.into(), outcome));
    }

    /// Asserts that every attempt was refused: by the server's permissions, for lack of a subscriber, or by an error of `$JS.API`.
    fn all_are_refused(&self) {
        let lines: Vec<String> = self.0.iter().map(|(attempt, outcome)| format!("{attempt:60} {}", outcome.line())).collect();
        println!("{}", lines.join("\n"));
        let passed: Vec<&String> =
            self.0.iter().zip(&lines).filter(|((_, outcome), _)| !outcome.is_refused()).map(|(_, line)| line).collect();
        assert!(passed.is_empty(), "not refused:\n{passed:#?}");
    }
}

fn file(arouter: &Arouter, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(arouter.data().join(name)).unwrap()).unwrap()
}

/// Returns the log's address with our own credentials.
fn ours(arouter: &Arouter) -> Address {
    Address::parse(file(arouter, "running.json")["nats_url"].as_str().unwrap())
}

/// Returns the log's address with the reader's credentials, at the port of this start.
fn reader(arouter: &Arouter) -> Address {
    let first = Address::parse(file(arouter, "first-run.json")["nats_url"].as_str().expect("an address for readers"));
    Address { host: ours(arouter).host, ..first }
}

async fn connect_ours(arouter: &Arouter) -> PlainNats {
    PlainNats::connect_with_inbox(&ours(arouter), "_ARBOX").await.unwrap()
}

async fn chat(arouter: &Arouter) -> i64 {
    let (status, answer) = arouter.chat(json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    nanos(&answer["usage"]["cost"])
}

async fn start(provider: &Provider) -> Arouter {
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    for _ in 0..3 {
        chat(&arouter).await;
    }
    arouter.usage(3).await;
    arouter
}

/// Returns the creation time of a stream, and the subjects that it contains.
async fn stream(nats: &mut PlainNats, name: &str) -> (String, BTreeSet<String>) {
    let info = nats.ask(&format!("$JS.API.STREAM.INFO.{name}"), br#"{"subjects_filter":">"}"#).await.json();
    let subjects = info["state"]["subjects"].as_object().map(|subjects| subjects.keys().cloned().collect()).unwrap_or_default();
    (info["created"].as_str().unwrap_or_else(|| panic!("{name}: {info}")).to_owned(), subjects)
}

/// Returns the state of the streams. Asserts that they have lost nothing and contain nothing forged.
async fn streams(nats: &mut PlainNats) -> Vec<String> {
    let mut made = Vec::new();
    for of in Stream::ALL {
        let (created, subjects) = stream(nats, of.name()).await;
        let forged: Vec<&String> = subjects.iter().filter(|subject| subject.contains("forged")).collect();
        assert!(forged.is_empty(), "{} has {forged:?}", of.name());
        made.push(format!("{} {created} {}", of.name(), subjects.is_empty()));
    }
    made
}

/// Sends a request whose reply goes to another subject. The server refuses some of these (`_R_`) with an error, and must not send to the
/// others.
async fn send_for(nats: &mut PlainNats, subject: &str, reply: &str, payload: &[u8]) {
    if let Err(words) = nats.publish(subject, Some(reply), &[], payload).await {
        assert!(words.contains("Publish with Reply"), "{subject}: {words}");
    }
}

/// Returns the events of a filter, and asserts that all of them match it.
fn events(messages: &[Message], filter: &str) -> Vec<Value> {
    let prefix = filter.trim_end_matches('>');
    messages
        .iter()
        .map(|message| {
            assert!(message.subject.starts_with(prefix), "{} is none of {filter}", message.subject);
            let event = message.json();
            assert!(event["specversion"] == json!("1.0") && event["type"].is_string(), "{event}");
            event["type"].clone()
        })
        .collect()
}

#[tokio::test]
async fn a_subscriber_reads_the_three_families_and_nothing_else() {
    let provider = Provider::start().await;
    let arouter = start(&provider).await;
    let mut nats = PlainNats::connect(&reader(&arouter)).await.expect("the reader gets in");
    for (stream, filter) in FAMILIES {
        let pulled = nats.pull(stream, "pulled", filter).await.unwrap_or_else(|error| panic!("{stream} by pull: {error}"));
        let pushed = nats.push(stream, "pushed", filter).await.unwrap_or_else(|error| panic!("{stream} by push: {error}"));
        let types = events(&pulled, filter);
        assert!(!types.is_empty(), "{stream} has events");
        // The push consumer also has the events that came after the pull.
        assert!(events(&pushed, filter).starts_with(&types), "{stream}: both ways give the same");
    }
    // A continuing consumer receives later events.
    let inbox = nats.new_inbox();
    let number = nats.subscribe(&inbox).await.unwrap();
    let made = nats.make_consumer("USAGE", "later", "arouter.v1.usage.>", json!({"deliver_subject": inbox, "deliver_policy": "new"})).await;
    assert!(made.json().get("error").is_none(), "{}", made.line());
    chat(&arouter).await;
    let later = nats.next_of(number, Duration::from_secs(20)).await.expect("a new event");
    assert_eq!(later.json()["type"], json!("arouter.usage.recorded.v1"));

    let mut table = Table::default();
    for subject in PUBLISHED {
        table.add(format!("publish {subject}"), nats.ask(subject, b"{}").await);
    }
    for operation in OPERATIONS {
        let streams: &[&str] = if operation.contains(".S") { &["REQUESTS", "USAGE", "CONTROL", "LEDGER"] } else { &[""] };
        for stream in streams {
            let subject = operation.split('.').map(|token| if token == "S" { *stream } else { token }).collect::<Vec<_>>().join(".");
            table.add(&subject, nats.ask(&format!("$JS.API.{subject}"), b"{}").await);
        }
    }
    for subject in CLOSED_READS {
        table.add(subject, nats.ask(&format!("$JS.API.{subject}"), br#"{"stream_name":"LEDGER","config":{"ack_policy":"none"}}"#).await);
    }
    for subject in SUBSCRIBED {
        let outcome = nats.subscribe(subject).await.err().map_or(Outcome::Silence, Outcome::Refused);
        table.add(format!("subscribe {subject}"), outcome);
    }
    // CONTROL also has the accounts, which readers must not see.
    for filter in ["arouter.v1.account.>", "arouter.v1.>", ">", "arouter.*.>", "arouter.v1.*.any"] {
        table.add(format!("consumer of CONTROL for {filter}"), nats.make_consumer("CONTROL", "other", filter, json!({})).await);
    }
    let by_name = "$JS.API.CONSUMER.CREATE.CONTROL.other.arouter.v1.key.>";
    for config in [
        json!({}),
        json!({"filter_subject": "arouter.v1.account.>"}),
        json!({"filter_subjects": ["arouter.v1.account.>"]}),
        json!({"filter_subjects": ["arouter.v1.key.>", "arouter.v1.account.>"]}),
        json!({"filter_subject": "arouter.v1.key.>", "filter_subjects": ["arouter.v1.account.>"]}),
    ] {
        let mut whole = json!({"name": "other", "ack_policy": "none"});
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let body = json!({"stream_name": "CONTROL", "config": whole}).to_string();
        table.add(format!("consumer of CONTROL with {config}"), nats.ask(by_name, body.as_bytes()).await);
    }
    // For a duplicate member the server uses the last one, and it ignores case.
    let twice = r#"{"stream_name":"CONTROL","config":{"name":"other","ack_policy":"none","filter_subject":"arouter.v1.key.>","FILTER_SUBJECT":"arouter.v1.account.>"}}"#;
    table.add("consumer of CONTROL with two filters of one name", nats.ask(by_name, twice.as_bytes()).await);
    let other = json!({"stream_name": "LEDGER", "config": {"name": "other", "ack_policy": "none"}}).to_string();
    table.add("consumer of USAGE that names LEDGER", nats.ask("$JS.API.CONSUMER.CREATE.USAGE.other", other.as_bytes()).await);
    table.all_are_refused();
}

/// The server sends replies and deliveries with its own permissions, to any subject that a client names.
#[tokio::test]
async fn what_the_server_sends_for_a_subscriber_goes_to_nobody_else() {
    let provider = Provider::start().await;
    let mut arouter = start(&provider).await;
    let balance = nanos(&arouter.balance().await["balance"]);
    let mut own = connect_ours(&arouter).await;
    own.subscribe("arouter.v1.ask.>").await.unwrap();
    own.subscribe("_ARBOX.forged.>").await.unwrap();
    let before = streams(&mut own).await;
    let mut nats = PlainNats::connect(&reader(&arouter)).await.unwrap();
    // The first consumer matches nothing, so its reply has no body; the second one delivers events.
    let none = nats.make_consumer("USAGE", "none", "arouter.v1.usage.0.none", json!({})).await;
    let some = nats.make_consumer("USAGE", "some", "arouter.v1.usage.>", json!({})).await;
    assert!(!none.is_refused() && !some.is_refused(), "{} {}", none.line(), some.line());
    for (number, subject) in HARMFUL.into_iter().enumerate() {
        for consumer in ["none", "some"] {
            let next = format!("$JS.API.CONSUMER.MSG.NEXT.USAGE.{consumer}");
            send_for(&mut nats, &next, subject, br#"{"batch":2,"no_wait":true}"#).await;
        }
        send_for(&mut nats, "$JS.API.STREAM.INFO.USAGE", subject, b"").await;
        send_for(&mut nats, "$JS.API.STREAM.NAMES", subject, b"").await;
        send_for(&mut nats, "$JS.ACK.USAGE.some.1.1.1.1.1", subject, b"+NXT").await;
        for (how, more) in [("whole", json!({})), ("headers", json!({"headers_only": true}))] {
            let more = [("deliver_subject", json!(subject)), ("idle_heartbeat", json!(1_000_000_000))].into_iter().fold(
                more,
                |mut more, (name, value)| {
                    more[name] = value;
                    more
                },
            );
            // The server may create such a consumer, but its delivery subject has no subscriber.
            nats.make_consumer("USAGE", &format!("{how}-{number}"), "arouter.v1.usage.>", more).await;
        }
    }
    // After the flush the server has processed everything; a new event makes push consumers deliver.
    nats.flush().await.unwrap();
    assert_eq!(streams(&mut own).await, before);
    let cost = chat(&arouter).await;
    arouter.usage(4).await;
    assert_eq!(streams(&mut own).await, before);
    assert!(own.next(Duration::from_millis(500)).await.is_none(), "nothing comes to our own subjects");
    assert_eq!(nanos(&arouter.balance().await["balance"]), balance - cost);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn nobody_gets_in_without_credentials_and_the_readers_stay_when_ours_change() {
    let provider = Provider::start().await;
    let mut arouter = start(&provider).await;
    let (own, first) = (ours(&arouter), reader(&arouter));
    let user = own.user.clone().expect("a user");
    for (attempt, address) in [
        ("none", own.bare()),
        ("a wrong password", own.for_user(&user, "wrong")),
        ("an empty password", own.for_user(&user, "")),
        ("the reader's password for our user", own.for_user(&user, first.password.as_deref().expect("a password"))),
        ("a wrong password of the reader", own.for_user("reader", "wrong")),
        ("a user that does not exist", own.for_user("root", "")),
    ] {
        let words = PlainNats::connect(&address).await.err();
        assert!(words.as_deref().is_some_and(|words| words.contains("Authorization Violation")), "{attempt}: {words:?}");
    }
    for name in ["running.json", "first-run.json", "nats/nats.conf"] {
        let mode = std::fs::metadata(arouter.data().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(first.user.as_deref(), Some("reader"));
    assert!(own.password != first.password && own.password.is_some(), "each has a password of its own");

    arouter.stop();
    arouter.launch().await;
    let (new, again) = (ours(&arouter), reader(&arouter));
    assert_eq!((&again.user, &again.password), (&first.user, &first.password));
    assert_ne!(new.password, own.password, "ours are new at each start");
    let old = Address { host: new.host.clone(), ..own };
    assert!(PlainNats::connect(&old).await.is_err(), "the last start's are worth nothing");
    let mut nats = PlainNats::connect(&again).await.expect("the reader's still hold");
    assert!(!nats.pull("USAGE", "again", "arouter.v1.usage.>").await.expect("events").is_empty());
    // The program does not use the reader's inboxes, and our user cannot subscribe to them by mistake.
    let mut careless = PlainNats::connect(&new).await.unwrap();
    assert!(careless.subscribe("_INBOX.>").await.is_err());
}

/// Returns a copy of a fact that the ledger wrote, with another amount and id. Everything else is unchanged, including the signature.
fn forged(genuine: &Message, number: u64) -> (String, Value) {
    let (mut event, id) = (genuine.json(), format!("01920000-0000-7000-8000-{number:012}"));
    event["id"] = json!(id);
    event["data"]["id"] = json!(format!("forged-{number}"));
    event["data"]["amount_nanos"] = json!(1_000_000_000_000_000_u64);
    event["data"]["version"] = json!(event["data"]["version"].as_u64().unwrap() + 1);
    (id, event)
}

fn verify(arouter: &Arouter) -> (bool, String) {
    let output = arouter.command("verify").output().unwrap();
    (output.status.success(), [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

/// Our credentials can write to LEDGER, but the ledger trusts only its own signature.
#[tokio::test]
async fn what_the_ledger_did_not_write_is_skipped_wherever_it_is_met() {
    let provider = Provider::start().await;
    let mut arouter = start(&provider).await;
    let account = arouter.keys.account.clone();
    let mut balance = nanos(&arouter.balance().await["balance"]);
    let mut nats = connect_ours(&arouter).await;
    let mut genuine = None;
    for round in 0.. {
        let facts = nats.pull("LEDGER", &format!("facts-{round}"), "arouter.v1.ledger.>").await.unwrap();
        genuine = facts.into_iter().find(|fact| fact.json()["type"] == json!("arouter.ledger.credit_posted.v1"));
        if genuine.is_some() || round == 100 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let genuine = &genuine.expect("the first credit in the log");
    let subject = format!("arouter.v1.ledger.{}.{account}.credit_posted", partition(&account));
    assert_eq!(genuine.subject, subject);

    let golden = include_str!("../../../schemas/events/golden/ledger.credit_posted.v1.json");
    let mut unsigned: Value = serde_json::from_str(golden).unwrap();
    (unsigned["account"], unsigned["data"]["account"]) = (json!(account), json!(account));
    (unsigned["data"]["amount_nanos"], unsigned["id"]) = (json!(5_000_000_000_u64), json!("01920000-0000-7000-8000-00000000f001"));
    let (id, signed) = forged(genuine, 1);
    let mut stored = 0;
    let foreign: [(&str, String, Vec<u8>); 7] = [
        ("garbage", String::new(), b"garbage".to_vec()),
        ("no text", String::new(), vec![0, 159, 146, 150]),
        ("nothing", String::new(), Vec::new()),
        ("JSON that is no event", String::new(), b"{}".to_vec()),
        ("an unsigned fact", String::new(), unsigned.to_string().into_bytes()),
        ("a fact of ours that was changed", format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n"), signed.to_string().into_bytes()),
        // This copy has all headers of the genuine event but its message id, which would make it a duplicate for the server.
        (
            "the same with its headers",
            genuine.headers.replace("Nats-Msg-Id", "Nats-Msg-Was"),
            forged(genuine, 2).1.to_string().into_bytes(),
        ),
    ];
    for (what, headers, payload) in &foreign {
        let stored_now = nats.ask_raw(&subject, headers, payload).await;
        assert!(stored_now.json()["seq"].is_u64(), "{what}: {}", stored_now.line());
        stored += 1;
    }
    // The genuine event is published again, with its payload and signature unchanged.
    let again = nats.ask_raw(&subject, &genuine.headers.replace("Nats-Msg-Id", "Nats-Msg-Was"), &genuine.payload).await;
    assert!(again.json()["seq"].is_u64(), "{}", again.line());

    // The ledger skips these events and continues: in the same process, after a clean end, and after a kill.
    for round in 0..3 {
        balance -= chat(&arouter).await;
        arouter.usage(4 + round).await;
        assert_eq!(nanos(&arouter.balance().await["balance"]), balance, "round {round}");
        let (is_right, text) = verify(&arouter);
        assert!(is_right, "round {round}: {text}\n{}", arouter.log());
        assert!(text.to_lowercase().contains("foreign"), "verify does not name what is foreign among {stored}: {text}");
        if round == 0 {
            arouter.stop();
        } else {
            arouter.kill();
        }
        arouter.launch().await;
        assert_eq!(nanos(&arouter.balance().await["balance"]), balance, "after start {round}");
    }
    arouter.settle_and_verify().await;
}

async fn apart_balance(standalone: &Standalone, key: &str) -> i64 {
    until("the balance", || async { Some(nanos(standalone.get("/api/v1/balance", key).await?.get("balance")?)) }).await
}

#[tokio::test]
async fn a_question_that_is_unsigned_changed_or_repeated_is_not_answered() {
    let provider = Provider::start().await;
    let standalone = Standalone::start(1, &provider.config()).await;
    // The ledger's user can see the requests.
    let mut listening = PlainNats::connect_with_inbox(&standalone.nats_address("ledger"), "_ARBOX_ledger").await.unwrap();
    listening.subscribe("arouter.v1.ask.ledger.*").await.unwrap();
    let (account, management) = standalone.account(json!(7)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    let mut asked = None;
    while asked.is_none() {
        let message = listening.next(Duration::from_secs(10)).await.expect("the question for credit");
        asked = Some(message).filter(|message| message.subject.ends_with(".credit"));
    }
    let asked = asked.unwrap();
    let text = String::from_utf8(asked.payload.clone()).expect("text");
    assert!(text.contains(&account) && text.contains("7000000000"), "{text}");
    assert_eq!(apart_balance(&standalone, &key).await, 7_000_000_000);

    let mut nats = PlainNats::connect_with_inbox(&standalone.nats_address("gateway"), "_ARBOX_gateway").await.unwrap();
    let other = |from: &str, to: &str| text.replace(from, to).into_bytes();
    let question =
        json!({"id": "forged", "account": account, "kind": "grant", "amount_nanos": 1_000_000_000, "description": ""}).to_string();
    let attempts = [
        ("the same again", "credit", asked.headers.as_str(), text.clone().into_bytes()),
        ("another amount", "credit", &asked.headers, other("7000000000", "9000000000")),
        ("another question", "decide_quarantine", &asked.headers, text.clone().into_bytes()),
        ("the body alone", "credit", "", text.clone().into_bytes()),
        ("another amount alone", "credit", "", other("7000000000", "9000000000")),
        ("a question as it was before there were signatures", "credit", "", question.into_bytes()),
        ("nothing", "credit", "", Vec::new()),
        ("no lease", "lease", "", br#"{"account":"any"}"#.to_vec()),
    ];
    for (attempt, name, headers, payload) in attempts {
        let outcome = nats.ask_raw(&format!("arouter.v1.ask.ledger.{name}"), headers, &payload).await;
        println!("{attempt:60} {}", outcome.line());
        assert!(outcome.json().get("ok").is_none(), "{attempt}: {}", outcome.line());
        assert!(!matches!(outcome, Outcome::Nobody), "{attempt}: the ledger is there");
    }
    assert_eq!(apart_balance(&standalone, &key).await, 7_000_000_000);
    let (_, again) = standalone.account(json!(2)).await;
    let key = standalone.key(&again, json!({"name": "k"})).await;
    assert_eq!(apart_balance(&standalone, &key).await, 2_000_000_000, "the true ones are answered as before");
    standalone.verify();
}

/// Tries everything that gateways, projectors and tools must not do.
async fn overstep(nats: &mut PlainNats, user: &str, table: &mut Table) {
    let subjects =
        ["arouter.v1.ledger.0.forged.credit_posted", "arouter.v1.ledger.forged", "forged", "_ARBOX_ledger.forged", "_INBOX.forged"];
    for subject in subjects {
        table.add(format!("{user} publishes {subject}"), nats.ask(subject, b"{}").await);
    }
    if user != "gateway" {
        for subject in ["arouter.v1.usage.0.forged", "arouter.v1.request.0.forged.started", "arouter.v1.ask.ledger.credit"] {
            table.add(format!("{user} publishes {subject}"), nats.ask(subject, b"{}").await);
        }
    }
    for operation in ["STREAM.DELETE.LEDGER", "STREAM.PURGE.USAGE", "STREAM.UPDATE.USAGE", "STREAM.CREATE.OTHER", "STREAM.MSG.DELETE.USAGE"]
    {
        table.add(format!("{user} {operation}"), nats.ask(&format!("$JS.API.{operation}"), b"").await);
    }
    for subject in [">", "_INBOX.>", "_ARBOX_ledger.>", "arouter.v1.ask.ledger.*", "arouter.v1.ledger.>"] {
        let outcome = nats.subscribe(subject).await.err().map_or(Outcome::Silence, Outcome::Refused);
        table.add(format!("{user} subscribes {subject}"), outcome);
    }
}

#[tokio::test]
async fn apart_each_process_may_do_its_own_work_only() {
    let provider = Provider::start().await;
    let standalone = Standalone::start(1, &provider.config()).await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    let (status, answer) = standalone.post("/v1/chat/completions", &key, ask).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut ledger = PlainNats::connect_with_inbox(&standalone.nats_address("ledger"), "_ARBOX_ledger").await.unwrap();
    let mut table = Table::default();
    for (user, reads) in [
        ("gateway", &["CONTROL"][..]),
        ("projector", &["REQUESTS", "USAGE", "CONTROL", "LEDGER"]),
        ("tools", &["REQUESTS", "USAGE", "CONTROL", "LEDGER"]),
    ] {
        let inbox = format!("_ARBOX_{user}");
        let mut nats = PlainNats::connect_with_inbox(&standalone.nats_address(user), &inbox).await.unwrap();
        for stream in reads {
            let read = nats.pull(stream, &format!("read-by-{user}"), ">").await;
            assert!(read.is_ok_and(|messages| !messages.is_empty()), "the {user} reads {stream}");
        }
        overstep(&mut nats, user, &mut table).await;
        // The server's own permissions do not help either.
        let before = streams(&mut ledger).await;
        let none = nats.make_consumer("CONTROL", &format!("none-{user}"), "arouter.v1.key.none", json!({})).await;
        assert!(!none.is_refused(), "{user}: {}", none.line());
        for (number, subject) in HARMFUL.into_iter().enumerate() {
            for consumer in [format!("none-{user}"), format!("read-by-{user}")] {
                let next = format!("$JS.API.CONSUMER.MSG.NEXT.CONTROL.{consumer}");
                send_for(&mut nats, &next, subject, br#"{"batch":1,"no_wait":true}"#).await;
            }
            send_for(&mut nats, "$JS.API.STREAM.INFO.CONTROL", subject, b"").await;
            nats.make_consumer("CONTROL", &format!("push-{number}"), "arouter.v1.key.>", json!({"deliver_subject": subject})).await;
        }
        nats.flush().await.unwrap();
        assert_eq!(streams(&mut ledger).await, before, "after the {user}");
    }
    // The ledger cannot write the events of keys and accounts, which gateways write.
    for subject in ["arouter.v1.key.forged.forged.created", "arouter.v1.account.forged.forged.created", "forged"] {
        table.add(format!("ledger publishes {subject}"), ledger.ask(subject, b"{}").await);
    }
    for operation in ["STREAM.DELETE.LEDGER", "STREAM.PURGE.CONTROL", "STREAM.UPDATE.LEDGER", "STREAM.CREATE.OTHER"] {
        table.add(format!("ledger {operation}"), ledger.ask(&format!("$JS.API.{operation}"), b"{}").await);
    }
    table.all_are_refused();

    let mut reader = PlainNats::connect(&standalone.nats_address("reader")).await.unwrap();
    for (stream, filter) in FAMILIES {
        assert!(!reader.pull(stream, "pulled", filter).await.expect("it may").is_empty(), "{stream}");
        assert!(!reader.push(stream, "pushed", filter).await.expect("it may").is_empty(), "{stream}");
    }
    assert!(PlainNats::connect(&standalone.nats_address("reader").bare()).await.is_err());
    standalone.verify();
}
