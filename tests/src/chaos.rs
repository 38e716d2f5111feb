//! Requests at a constant rate over six providers, five of which fail, each in another way, and heal later. The figures tell what clients saw.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use events::request::Attempt;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::Row;
use tokio::task::JoinSet;

use crate::load::read;
use crate::scripted::{Script, reply, say, sse, stop, tail, usage, whole};
use crate::wait::until;
use crate::{Answer, Arouter, Scripted, Storage, arouter::nanos};

/// The providers; all but the last one fail.
const PROVIDERS: [&str; 6] = ["broken", "limited", "hung", "cut", "html", "healthy"];
/// The charge of a whole answer in nano-USD.
const CHARGE: i64 = 20_000;
/// The time after which every breaker has opened.
const OPEN_AFTER: Duration = Duration::from_secs(5);
/// The longest time from the healing to the last breaker that closes.
const RECOVERY_MAX: Duration = Duration::from_mins(1);

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The time for which providers fail.
    pub down: Duration,
    /// The least time for which requests go on after the providers have healed.
    pub healed: Duration,
    pub requests_per_second: u32,
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Figures {
    pub requests: usize,
    pub succeeded: usize,
    /// Streams that were cut after their first pieces. No other provider can continue them.
    pub cut: usize,
    /// Errors, with their status and body.
    pub failed: Vec<String>,
    /// The percentiles 50, 99 and 99.9 of the time between admission and the start of the answering attempt, while providers are down and
    /// breakers are open.
    pub added: [Duration; 3],
    /// The time from the healing to the last breaker that closed.
    pub recovery: Duration,
    /// The number of answers by provider.
    pub answers: BTreeMap<String, usize>,
    /// The number of attempts by provider while it was down.
    pub attempts: BTreeMap<String, usize>,
}

impl Figures {
    /// Returns the share of successes among the requests that could move on.
    #[must_use]
    pub fn success_ratio(&self) -> f64 {
        self.succeeded as f64 / (self.requests - self.cut).max(1) as f64
    }

    /// Checks the promises, except the time added, which depends on the machine.
    pub fn check(&self) {
        assert!(self.success_ratio() >= 0.999, "{self}\n{:?}", self.failed.first());
        assert!(self.recovery <= RECOVERY_MAX, "{self}");
        assert_eq!(self.answers.len(), PROVIDERS.len(), "all providers answer after they have healed: {self}");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = self.added;
        writeln!(out, "requests            {}", self.requests)?;
        writeln!(out, "succeeded           {} ({:.3} % of those not cut)", self.succeeded, self.success_ratio() * 100.0)?;
        writeln!(out, "cut after a piece   {}", self.cut)?;
        writeln!(out, "failed              {}", self.failed.len())?;
        writeln!(out, "added, breakers open p50 {p50:?}  p99 {p99:?}  p99.9 {p999:?}")?;
        writeln!(out, "recovery            {:?}", self.recovery)?;
        writeln!(out, "answers             {:?}", self.answers)?;
        write!(out, "attempts while down {:?}", self.attempts)
    }
}

/// Returns the good answer to a request.
fn good(is_stream: bool) -> Script {
    if is_stream {
        sse().all([say("one "), say("two"), stop(), tail(&usage())])
    } else {
        reply("200 OK", "", whole("one two", &usage()).to_string())
    }
}

/// Returns the way in which a provider fails.
fn bad(slug: &str, is_stream: bool) -> Script {
    match slug {
        "broken" => reply("500 Internal Server Error", "", "{}"),
        "limited" => reply("429 Too Many Requests", "retry-after: 2\r\n", "{}"),
        "hung" => Script::default().pause(Duration::from_mins(2)),
        "cut" if is_stream => sse().all((0..10).map(|_| say("token "))),
        "cut" => Script::default().then("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"id\": \"c\", "),
        "html" => reply("200 OK", "", "<html><body>Bad Gateway</body></html>"),
        other => panic!("{other} does not fail"),
    }
}

fn config(providers: &[(&str, Scripted)]) -> String {
    let mut text = "[upstream]\nfallback_after_ms = 1000\nfallback_after_whole_ms = 1000\n".to_owned();
    for (slug, provider) in providers {
        write!(
            text,
            "[[providers]]\nslug = \"{slug}\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n\
             [[models]]\nid = \"x/m\"\nprovider = \"{slug}\"\nupstream_model = \"m\"\nprompt_usd_per_mtok = \"1\"\n\
             completion_usd_per_mtok = \"2\"\ncontext_length = 10000\nmax_output_tokens = 1000\n",
            provider.address
        )
        .unwrap();
    }
    text
}

/// The requests of a run.
struct Clients {
    tasks: JoinSet<()>,
    figures: Arc<Mutex<Figures>>,
    /// The charges that clients were told.
    charges: Arc<Mutex<BTreeMap<String, i64>>>,
    every: Duration,
    sent: u32,
    since: Instant,
}

impl Clients {
    /// Sends requests at a constant rate, whatever the answers, until `is_over`.
    async fn send(&mut self, arouter: &Arouter, is_over: impl AsyncFn() -> bool) {
        let mut checked = Instant::now();
        loop {
            if checked.elapsed() > Duration::from_millis(250) {
                if is_over().await {
                    return;
                }
                checked = Instant::now();
            }
            tokio::time::sleep_until((self.since + self.every * self.sent).into()).await;
            self.sent += 1;
            let url = format!("{}/v1/chat/completions", arouter.base);
            let body = json!({"model": "x/m", "stream": self.sent.is_multiple_of(2), "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
            let request = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body(body.to_string());
            let (figures, charges) = (Arc::clone(&self.figures), Arc::clone(&self.charges));
            self.tasks.spawn(async move {
                let answer = Answer::read(request.send().await.expect("an answer")).await;
                note(&mut figures.lock().unwrap(), &mut charges.lock().unwrap(), &answer);
            });
            while self.tasks.try_join_next().is_some() {}
        }
    }
}

fn note(figures: &mut Figures, charges: &mut BTreeMap<String, i64>, answer: &Answer) {
    figures.requests += 1;
    let is_stream = answer.text.contains("data:");
    if answer.status == StatusCode::OK && (answer.is_complete() || !is_stream) {
        figures.succeeded += 1;
        charges.insert(answer.header("x-generation-id").to_owned(), answer.cost());
    } else if answer.status == StatusCode::OK && answer.content().contains("token ") {
        figures.cut += 1;
    } else {
        figures.failed.push(format!("{}: {}", answer.status, answer.text));
    }
}

/// Runs the plan, and proves that the books are right.
pub async fn run(plan: Plan) -> Figures {
    let mut providers = Vec::new();
    for slug in PROVIDERS {
        let provider = Scripted::start().await;
        let is_healthy = slug == "healthy";
        provider.answer_by(move |asked| {
            let is_stream = asked.body["stream"] == json!(true);
            if is_healthy { good(is_stream) } else { bad(slug, is_stream) }
        });
        providers.push((slug, provider));
    }
    let mut arouter = Arouter::start(Storage::Sqlite, &config(&providers)).await;
    let since = Instant::now();
    let every = Duration::from_secs(1) / plan.requests_per_second;
    let mut clients = Clients { tasks: JoinSet::new(), figures: Arc::default(), charges: Arc::default(), every, sent: 0, since };
    let opened_us = now_us() + OPEN_AFTER.as_micros() as i64;
    clients.send(&arouter, async || since.elapsed() >= plan.down).await;
    let (healed, healed_us) = (Instant::now(), now_us());
    for (_, provider) in &providers {
        provider.answer_by(|asked| good(asked.body["stream"] == json!(true)));
    }
    let recovered = Mutex::new(None);
    clients
        .send(&arouter, async || {
            if recovered.lock().unwrap().is_none() && is_closed(&arouter).await {
                *recovered.lock().unwrap() = Some(healed.elapsed());
            }
            let is_recovered = recovered.lock().unwrap().is_some() || healed.elapsed() > RECOVERY_MAX;
            is_recovered && healed.elapsed() >= plan.healed
        })
        .await;
    while clients.tasks.join_next().await.is_some() {}
    let mut figures = std::mem::take(&mut *clients.figures.lock().unwrap());
    figures.recovery = recovered.into_inner().unwrap().unwrap_or(Duration::MAX);
    let charges = std::mem::take(&mut *clients.charges.lock().unwrap());
    prove(&mut arouter, &mut figures, &charges, opened_us..healed_us).await;
    figures
}

fn now_us() -> i64 {
    events::Clock::now_us(&events::SystemClock)
}

async fn is_closed(arouter: &Arouter) -> bool {
    let (_, body) = arouter.call(Method::GET, "/api/v1/admin/endpoints", &arouter.operator_token(), None).await;
    let ours = body["data"].as_array().unwrap().iter().filter(|endpoint| endpoint["model"] == "x/m");
    ours.filter(|endpoint| endpoint["breaker"] == "closed").count() == PROVIDERS.len()
}

/// Proves that every charge is the one that the client was told, that it is that of the answering attempt, and that the books balance.
async fn prove(arouter: &mut Arouter, figures: &mut Figures, charges: &BTreeMap<String, i64>, open: std::ops::Range<i64>) {
    let (ledger, projector) = (arouter.database("ledger"), arouter.database("projector"));
    until("all charges and reports", || async {
        let posted = read(&ledger, "SELECT COUNT(*) FROM transactions WHERE kind = 'usage'").await;
        let reported = read(&projector, "SELECT COUNT(*) FROM generations").await;
        let count = |rows: &[sqlx::any::AnyRow]| rows[0].get::<i64, _>(0) as usize;
        (count(&posted) == figures.requests && count(&reported) == figures.requests).then_some(())
    })
    .await;
    let posted = read(&ledger, "SELECT request, amount_nanos FROM transactions WHERE kind = 'usage'").await;
    let posted: BTreeMap<String, i64> = posted.iter().map(|row| (row.get(0), -row.get::<i64, _>(1))).collect();
    assert_eq!(posted.len(), figures.requests, "a request is posted twice");
    for (request, charge) in charges {
        assert_eq!((posted.get(request), *charge), (Some(charge), CHARGE), "{request}");
    }
    let rows = read(&projector, "SELECT provider, outcome, cost_nanos, admitted_at_us, ttft_us, attempts FROM generations").await;
    let mut added = Vec::new();
    for row in rows {
        let attempts: Vec<Attempt> = serde_json::from_str(row.get("attempts")).unwrap();
        let admitted_at_us: i64 = row.get("admitted_at_us");
        if admitted_at_us < open.end {
            for attempt in &attempts {
                *figures.attempts.entry(attempt.provider.clone()).or_default() += 1;
            }
        }
        if row.get::<String, _>("outcome") != "finished" {
            continue;
        }
        let answering = attempts.last().expect("an attempt");
        let (provider, cost): (String, i64) = (row.get("provider"), row.get("cost_nanos"));
        assert_eq!((&answering.provider, &answering.error, cost), (&provider, &None, CHARGE), "{attempts:?}");
        *figures.answers.entry(provider).or_default() += 1;
        if open.contains(&admitted_at_us) {
            let ttft_us = row.get::<i64, _>("ttft_us") as u64;
            added.push(Duration::from_micros(ttft_us.saturating_sub(answering.duration_us)));
        }
    }
    added.sort_unstable();
    let percentile =
        |permille: usize| added.get((added.len() * permille / 1_000).min(added.len().saturating_sub(1))).copied().unwrap_or_default();
    figures.added = [500, 990, 999].map(percentile);
    let spent: i64 = posted.values().sum();
    let credit = nanos(&arouter.balance().await["balance"]);
    arouter.settle_and_verify().await;
    assert_eq!(nanos(&arouter.balance().await["balance"]), credit, "nothing is charged later");
    assert_eq!(spent, CHARGE * figures.answers.values().sum::<usize>() as i64, "only answers are charged");
}
