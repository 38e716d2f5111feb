//! A NATS user of one account reads that account's events and nothing else, over restarts of both sides, until it is revoked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use events::subject::partition;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::arouter::{Keys, program};
use tests::plain_nats::{Address, Message, Outcome, PlainNats};
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

const STREAMS: [&str; 3] = ["REQUESTS", "USAGE", "CONTROL"];

/// Runs `arouter admin consumer`. Returns its output, or its error message.
fn run(arouter: &Arouter, arguments: &[&str]) -> Result<Value, String> {
    let output = std::process::Command::new(program())
        .args(["admin", "consumer"])
        .args(arguments)
        .arg("--data")
        .arg(arouter.data())
        .env("AROUTER_LOG", "error")
        .output()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn create(arouter: &Arouter, name: &str, account: &str) -> Address {
    let made = run(arouter, &["create", name, "--account", account]).unwrap();
    Address::parse(made["nats_url"].as_str().unwrap())
}

/// Returns the address with the port of this start.
fn now(arouter: &Arouter, address: &Address) -> Address {
    let running: Value = serde_json::from_slice(&std::fs::read(arouter.data().join("running.json")).unwrap()).unwrap();
    Address { host: Address::parse(running["nats_url"].as_str().unwrap()).host, ..address.clone() }
}

async fn chat(arouter: &Arouter, keys: &Keys) {
    let body = json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &keys.live_key, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Pulls what waits for a consumer now. Nothing is acknowledged.
async fn pull(nats: &mut PlainNats, stream: &str, durable: &str) -> Result<Vec<Message>, String> {
    let inbox = nats.new_inbox();
    let number = nats.subscribe(&inbox).await?;
    let body = json!({"batch": 100, "no_wait": true}).to_string();
    nats.publish(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"), Some(&inbox), &[], body.as_bytes()).await?;
    let mut found = Vec::new();
    while let Some(message) = nats.next_of(number, Duration::from_secs(2)).await {
        match message.status() {
            None => found.push(message),
            Some(404 | 408) => return Ok(found),
            Some(status) => return Err(format!("{status}: {}", message.headers)),
        }
    }
    Err(format!("{} came, but no end", found.len()))
}

/// Pulls what waits for a consumer and acknowledges it. Counts each event by id.
async fn read(nats: &mut PlainNats, durable: &str, read: &mut BTreeMap<String, (Value, usize)>) {
    for stream in STREAMS {
        for message in pull(nats, stream, durable).await.unwrap_or_else(|words| panic!("{stream}: {words}")) {
            let event = message.json();
            read.entry(event["id"].as_str().unwrap().to_owned()).or_insert((event, 0)).1 += 1;
            nats.publish(message.reply.as_deref().unwrap(), None, &[], b"+ACK").await.unwrap();
        }
    }
}

/// Returns the ids of the public events of an account that the streams have.
async fn recorded(arouter: &Arouter, account: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for stream in [events::subject::Stream::Requests, events::subject::Stream::Usage, events::subject::Stream::Control] {
        let of_account = |event: &Value| event["account"] == json!(account) && events::schema::is_public(event["type"].as_str().unwrap());
        ids.extend(
            arouter.recorded(stream).await.iter().filter(|event| of_account(event)).map(|event| event["id"].as_str().unwrap().to_owned()),
        );
    }
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_consumer_reads_every_event_of_its_account_once_over_restarts_of_both_sides() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (own, other) = (arouter.tenant(5).await, arouter.tenant(5).await);
    chat(&arouter, &own).await;
    let address = create(&arouter, "books", &own.account);
    let mut seen = BTreeMap::new();
    for round in 0..3 {
        chat(&arouter, &own).await;
        chat(&arouter, &other).await;
        arouter.settled().await;
        // The client ends after each pull, and another begins.
        let mut nats = PlainNats::connect(&now(&arouter, &address)).await.expect("the consumer gets in");
        read(&mut nats, "feed-books", &mut seen).await;
        nats.flush().await.unwrap();
        drop(nats);
        // A killed server may forget the last acknowledgements, so that events come again; ids tell.
        assert!(round == 2 || seen.values().all(|(_, times)| *times == 1), "a clean restart delivers nothing again");
        chat(&arouter, &own).await;
        match round {
            0 => arouter.stop(),
            1 => arouter.kill(),
            _ => {
                // The supervised server alone dies and is started again.
                arouter.kill_nats();
                continue;
            }
        }
        arouter.launch().await;
    }
    chat(&arouter, &own).await;
    until("the server", || async { PlainNats::connect(&now(&arouter, &address)).await.ok() }).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while !recorded(&arouter, &own.account).await.iter().eq(seen.keys()) {
        assert!(Instant::now() < deadline, "{} events were read", seen.len());
        if let Ok(mut nats) = PlainNats::connect(&now(&arouter, &address)).await {
            read(&mut nats, "feed-books", &mut seen).await;
        }
    }
    let count = |kind: &str| seen.values().filter(|(event, _)| event["type"] == json!(kind)).count();
    assert_eq!((count("arouter.usage.recorded.v1"), count("arouter.request.finished.v1")), (8, 8));
    assert_eq!(count("arouter.key.created.v1"), 2, "its management key and its key for models");
    for (event, _) in seen.values() {
        assert_eq!(event["account"], json!(own.account), "{event}");
    }
}

/// Publishes what a consumer may not publish, and returns the outcomes.
async fn publishing(nats: &mut PlainNats, victims_usage: &str) -> Vec<(String, Outcome)> {
    let mut table = Vec::new();
    for subject in [
        "arouter.v1.usage.0.forged",
        victims_usage,
        "arouter.v1.request.0.forged.started",
        "arouter.v1.key.forged.forged.created",
        "arouter.v1.account.forged.forged.created",
        "arouter.v1.ledger.0.forged.credit_posted",
        "arouter.v1.ask.ledger.credit",
        "$JS.ACK.USAGE.feed-b.1.1.1.1.1",
        "$JS.FC.USAGE.feed-a.1",
        "$SYS.REQ.SERVER.PING",
        "nobody.feed-a.STREAM.DELETE.LEDGER",
        "_INBOX.forged",
        "_R_.forged",
    ] {
        table.push((format!("publish {subject}"), nats.ask(subject, b"{}").await));
    }
    table
}

/// Calls JetStream's API as a consumer may not, and returns the outcomes.
async fn calling(nats: &mut PlainNats, victims_usage: &str, account: &str) -> Vec<(String, Outcome)> {
    let mut table = Vec::new();
    for stream in ["REQUESTS", "USAGE", "CONTROL", "LEDGER"] {
        for operation in [
            format!("STREAM.INFO.{stream}"),
            format!("STREAM.MSG.GET.{stream}"),
            format!("STREAM.PURGE.{stream}"),
            format!("STREAM.DELETE.{stream}"),
            format!("STREAM.UPDATE.{stream}"),
            format!("DIRECT.GET.{stream}"),
            format!("DIRECT.GET.{stream}.{victims_usage}"),
            format!("CONSUMER.NAMES.{stream}"),
            format!("CONSUMER.LIST.{stream}"),
            format!("CONSUMER.INFO.{stream}.feed-b"),
            format!("CONSUMER.DELETE.{stream}.feed-a"),
            format!("CONSUMER.DELETE.{stream}.feed-b"),
            format!("CONSUMER.CREATE.{stream}"),
            format!("CONSUMER.CREATE.{stream}.feed-a"),
            format!("CONSUMER.CREATE.{stream}.own"),
            format!("CONSUMER.CREATE.{stream}.own.{victims_usage}"),
            format!("CONSUMER.CREATE.{stream}.own.arouter.v1.key.{account}.>"),
            format!("CONSUMER.DURABLE.CREATE.{stream}.feed-a"),
            format!("CONSUMER.DURABLE.CREATE.{stream}.own"),
            format!("CONSUMER.MSG.NEXT.{stream}.feed-b"),
            format!("CONSUMER.RESET.{stream}.feed-a"),
            format!("CONSUMER.PAUSE.{stream}.feed-a"),
            format!("CONSUMER.UNPIN.{stream}.feed-a"),
        ] {
            let config =
                json!({"stream_name": stream, "seq": 1, "batch": 1, "config": {"ack_policy": "none", "filter_subject": victims_usage}});
            table.push((operation.clone(), nats.ask(&format!("$JS.API.{operation}"), config.to_string().as_bytes()).await));
        }
    }
    table
}

#[tokio::test]
async fn a_consumer_reads_nothing_of_others_and_publishes_nothing() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (own, other) = (arouter.tenant(5).await, arouter.tenant(5).await);
    chat(&arouter, &own).await;
    chat(&arouter, &other).await;
    arouter.settled().await;
    let address = create(&arouter, "a", &own.account);
    let others = create(&arouter, "b", &other.account);
    let mut nats = PlainNats::connect(&address).await.expect("a consumer gets in after another was made");
    let victims_usage = format!("arouter.v1.usage.{}.{}", partition(&other.account), other.account);
    let mut table = publishing(&mut nats, &victims_usage).await;
    table.extend(calling(&mut nats, &victims_usage, &own.account).await);
    for subject in [">", "*.>", "arouter.>", &victims_usage, "$JS.>", "$SYS.>", "_R_.>", "_ARBOX.>", "nobody.>", "_INBOX_.>"] {
        let outcome = nats.subscribe(subject).await.err().map_or(Outcome::Silence, Outcome::Refused);
        table.push((format!("subscribe {subject}"), outcome));
    }
    let passed: Vec<_> = table.iter().filter(|(_, outcome)| !outcome.is_refused()).map(|(what, outcome)| (what, outcome.line())).collect();
    assert!(passed.is_empty(), "not refused:\n{passed:#?}");

    // It hears every inbox of its own NATS account while others read, but no other client is in that account.
    let all = nats.subscribe("_INBOX.>").await.unwrap();
    let mut second = PlainNats::connect(&others).await.unwrap();
    let theirs = pull(&mut second, "USAGE", "feed-b").await.unwrap();
    assert_eq!((theirs.len(), theirs[0].json()["account"].clone()), (1, json!(other.account)));
    assert!(nats.next_of(all, Duration::from_millis(500)).await.is_none(), "it hears an inbox of another");
    // An event that the server sends where the client wants it reaches neither a stream nor another's consumer.
    for reply in [victims_usage.as_str(), "$JS.ACK.USAGE.feed-b.1.1.1.1.1", "$JS.API.STREAM.DELETE.USAGE", "_INBOX.forged"] {
        let pulled = nats.publish("$JS.API.CONSUMER.MSG.NEXT.USAGE.feed-a", Some(reply), &[], br#"{"batch":1,"no_wait":true}"#).await;
        assert!(pulled.is_ok() || pulled.is_err_and(|words| words.contains("Publish with Reply")), "{reply}");
    }
    assert!(second.ask("$JS.API.CONSUMER.INFO.USAGE.feed-b", b"").await.json()["num_ack_pending"] == json!(1), "nobody else acknowledged");
    assert_eq!(recorded(&arouter, &other.account).await.len(), 2 + 1 + 2, "nothing was added");
    chat(&arouter, &own).await;
}

#[tokio::test]
async fn a_revoked_consumer_is_cut_off_at_once_and_others_stay() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (own, other) = (arouter.tenant(5).await, arouter.tenant(5).await);
    let address = create(&arouter, "a", &own.account);
    let kept = create(&arouter, "b", &other.account);
    let (mut nats, mut stays) = (PlainNats::connect(&address).await.unwrap(), PlainNats::connect(&kept).await.unwrap());
    // A pull that waits while the configuration changes.
    let inbox = stays.new_inbox();
    let number = stays.subscribe(&inbox).await.unwrap();
    let body = json!({"batch": 1, "expires": 60_000_000_000_u64}).to_string();
    stays.publish("$JS.API.CONSUMER.MSG.NEXT.USAGE.feed-b", Some(&inbox), &[], body.as_bytes()).await.unwrap();

    assert!(run(&arouter, &["create", "a", "--account", &own.account]).unwrap_err().contains("there is a consumer a"));
    assert!(run(&arouter, &["create", "A.>", "--account", &own.account]).unwrap_err().contains("lower-case"));
    assert!(run(&arouter, &["create", "c", "--account", "*"]).unwrap_err().contains("is no account id"));
    let listed = run(&arouter, &["list"]).unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains("password"), "{listed}");
    assert_eq!(run(&arouter, &["revoke", "a"]).unwrap()["revoked"], json!(true));
    assert!(nats.flush().await.is_err(), "its connection is closed");
    assert!(PlainNats::connect(&address).await.is_err_and(|words| words.contains("Authorization")), "its password is refused");
    assert!(run(&arouter, &["revoke", "a"]).is_err());

    chat(&arouter, &other).await;
    let event = stays.next_of(number, Duration::from_secs(20)).await.expect("the waiting pull of the other is answered");
    assert_eq!(event.json()["account"], json!(other.account));
    // Revoked means revoked after a restart too. The name is free again, and its new owner reads only its own events.
    arouter.signal(Signal::TERM);
    arouter.ended().await;
    arouter.launch().await;
    assert!(PlainNats::connect(&now(&arouter, &address)).await.is_err());
    let again = create(&arouter, "a", &other.account);
    let mut nats = PlainNats::connect(&again).await.unwrap();
    let usage = pull(&mut nats, "USAGE", "feed-a").await.unwrap();
    assert_eq!(usage.iter().map(|message| message.json()["account"].clone()).collect::<Vec<_>>(), [json!(other.account)]);
}

/// Returns the address of the subscriber that reads all accounts.
fn reader(arouter: &Arouter) -> Address {
    let first: Value = serde_json::from_slice(&std::fs::read(arouter.data().join("first-run.json")).unwrap()).unwrap();
    now(arouter, &Address::parse(first["nats_url"].as_str().unwrap()))
}

#[tokio::test]
async fn the_subscriber_of_all_accounts_cannot_take_events_from_a_consumer() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (own, other) = (arouter.tenant(5).await, arouter.tenant(5).await);
    chat(&arouter, &own).await;
    arouter.settled().await;
    let address = create(&arouter, "books", &own.account);
    let mut nats = PlainNats::connect(&reader(&arouter)).await.expect("the reader gets in");
    let filter = format!("arouter.v1.usage.{}.{}", partition(&other.account), other.account);
    let mut table = Vec::new();
    for stream in ["REQUESTS", "USAGE", "CONTROL"] {
        for operation in [
            format!("CONSUMER.CREATE.{stream}"),
            format!("CONSUMER.CREATE.{stream}.feed-books"),
            format!("CONSUMER.CREATE.{stream}.feed-books.{filter}"),
            format!("CONSUMER.DURABLE.CREATE.{stream}.feed-books"),
            format!("CONSUMER.MSG.NEXT.{stream}.feed-books"),
            format!("CONSUMER.DELETE.{stream}.feed-books"),
        ] {
            let config = json!({"name": "feed-books", "durable_name": "feed-books", "ack_policy": "explicit", "filter_subject": filter});
            let payload = json!({"stream_name": stream, "batch": 1, "config": config}).to_string();
            table.push((operation.clone(), nats.ask(&format!("$JS.API.{operation}"), payload.as_bytes()).await));
            let named = json!({"name": "feed-books", "ack_policy": "explicit", "filter_subject": filter});
            let payload = json!({"stream_name": stream, "batch": 1, "config": named}).to_string();
            table.push((format!("{operation} by name"), nats.ask(&format!("$JS.API.{operation}"), payload.as_bytes()).await));
        }
        let acknowledgement = format!("$JS.ACK.{stream}.feed-books.1.1.1.1.1");
        table.push((acknowledgement.clone(), nats.ask(&acknowledgement, b"+ACK").await));
    }
    let passed: Vec<_> = table.iter().filter(|(_, outcome)| !outcome.is_refused()).map(|(what, outcome)| (what, outcome.line())).collect();
    assert!(passed.is_empty(), "not refused:\n{passed:#?}");
    let mut consumer = PlainNats::connect(&address).await.unwrap();
    let usage = pull(&mut consumer, "USAGE", "feed-books").await.unwrap();
    assert_eq!(usage.iter().map(|message| message.json()["account"].clone()).collect::<Vec<_>>(), [json!(own.account)]);
}
