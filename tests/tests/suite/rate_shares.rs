//! Rate limits over several gateways: their shares in simulated histories with faults, and four real gateways with uneven demand.

use std::time::{Duration, Instant};

use events::rpc::{RenewShares, SHARES_LAST_MS, SharesRenewed};
use gateway::admission::local_share::{Room, SharedWindow, Validity};
use gateway::admission::rate_window::Window;
use ledger::rate::shares::Shares;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use serde_json::json;
use tests::Provider;
use tests::seeds::histories;
use tests::standalone::Standalone;
use tokio::task::JoinSet;

const STEP_MS: u64 = 10;
const MINUTE_MS: u64 = 60_000;
const LIMIT: u64 = 600;
const GATEWAYS: usize = 4;
const TIMEOUT_MS: u64 = 3_000;

/// A gateway as its renewer and its requests use the share of one limit.
struct Node {
    name: String,
    window: SharedWindow,
    valid_until_ms: u64,
    sequence: u64,
    is_queued: bool,
    next_ms: u64,
    /// The time at which the call in progress was sent.
    sent_ms: Option<u64>,
    cut_until_ms: u64,
    down_until_ms: u64,
    per_second: f64,
}

enum Message {
    Call(usize, RenewShares),
    Reply(usize, RenewShares, SharesRenewed),
}

struct Simulation {
    rng: StdRng,
    now_ms: u64,
    nodes: Vec<Node>,
    ledger: Shares,
    ledger_skew_ms: i64,
    messages: Vec<(u64, Message)>,
    passed: Vec<(u64, u64)>,
    amount_max: u64,
    has_faults: bool,
}

impl Node {
    fn new(name: String) -> Self {
        Self {
            name,
            window: SharedWindow::new(Window::minute()),
            valid_until_ms: 0,
            sequence: 0,
            is_queued: false,
            next_ms: 0,
            sent_ms: None,
            cut_until_ms: 0,
            down_until_ms: 0,
            per_second: 0.0,
        }
    }
}

impl Simulation {
    fn new(seed: u64, amount_max: u64, has_faults: bool) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now_ms: 1,
            nodes: (0..GATEWAYS).map(|number| Node::new(format!("{number}/0"))).collect(),
            ledger: Shares::default(),
            ledger_skew_ms: 0,
            messages: Vec::new(),
            passed: Vec::new(),
            amount_max,
            has_faults,
        }
    }

    fn run(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            self.now_ms += STEP_MS;
            if self.has_faults {
                self.fault();
            }
            let due: Vec<Message> = self.messages.extract_if(.., |(at_ms, _)| *at_ms <= self.now_ms).map(|(_, message)| message).collect();
            for message in due {
                self.deliver(message);
            }
            for number in 0..GATEWAYS {
                if self.nodes[number].down_until_ms <= self.now_ms {
                    self.arrivals(number);
                    self.renewer(number);
                }
            }
        }
    }

    fn fault(&mut self) {
        let number = self.rng.random_range(0..GATEWAYS);
        if self.rng.random_bool(STEP_MS as f64 / 10_000.0) {
            self.nodes[number].per_second = [0.0, 0.5, 4.0, 20.0, 200.0][self.rng.random_range(0..5)] / self.amount_max as f64;
        }
        if self.rng.random_bool(STEP_MS as f64 / 60_000.0) {
            self.nodes[number].cut_until_ms = self.now_ms + self.rng.random_range(100..150_000);
        }
        if self.rng.random_bool(STEP_MS as f64 / 60_000.0) {
            let down_until_ms = self.now_ms + self.rng.random_range(0..120_000);
            self.nodes[number] = Node { down_until_ms, ..Node::new(format!("{number}/{}", self.now_ms)) };
        }
        if self.rng.random_bool(STEP_MS as f64 / 5_000.0) {
            self.ledger_skew_ms = self.rng.random_range(-1_000..=1_000);
        }
    }

    fn arrivals(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let mut count = (node.per_second * STEP_MS as f64 / 1_000.0).floor() as u64;
        count += u64::from(self.rng.random_bool((node.per_second * STEP_MS as f64 / 1_000.0).fract()));
        for _ in 0..count {
            let amount = self.rng.random_range(1..=self.amount_max);
            let validity = if self.now_ms < node.valid_until_ms { Validity::Valid } else { Validity::Lapsed };
            if node.window.room(amount, LIMIT, validity, self.now_ms) == Room::Free {
                node.window.window.take(amount, self.now_ms);
                self.passed.push((self.now_ms, amount));
            }
            if node.window.is_low(self.now_ms) && node.window.queue() {
                node.is_queued = true;
                if !node.window.is_contended() {
                    node.next_ms = node.next_ms.min(self.now_ms);
                }
            }
        }
    }

    fn renewer(&mut self, number: usize) {
        let delay_ms =
            if self.rng.random_bool(0.02) && self.has_faults { self.rng.random_range(0..6_000) } else { self.rng.random_range(1..20) };
        let is_lost = self.has_faults && self.rng.random_bool(0.03);
        let node = &mut self.nodes[number];
        if node.sent_ms.is_some_and(|sent_ms| self.now_ms >= sent_ms + TIMEOUT_MS) {
            node.sent_ms = None;
            node.is_queued = true;
        }
        if node.sent_ms.is_some() || self.now_ms < node.next_ms {
            return;
        }
        if self.now_ms >= node.valid_until_ms {
            node.window.lapse();
            node.is_queued = true;
        }
        node.sequence += 1;
        let asks = if std::mem::take(&mut node.is_queued) { vec![node.window.ask("l".into(), self.now_ms)] } else { Vec::new() };
        let call = RenewShares { holder: node.name.clone(), sequence: node.sequence, asks };
        (node.sent_ms, node.next_ms) = (Some(self.now_ms), self.now_ms + 1_000);
        if !is_lost && node.cut_until_ms <= self.now_ms {
            self.messages.push((self.now_ms + delay_ms, Message::Call(number, call)));
        }
    }

    fn deliver(&mut self, message: Message) {
        let is_lost = self.has_faults && self.rng.random_bool(0.03);
        match message {
            Message::Call(number, call) => {
                let now_us = (self.now_ms as i64 + self.ledger_skew_ms) * 1_000;
                let mut reply = self.ledger.renew(&call, now_us);
                let is_asked = !call.asks.is_empty();
                let shares = self.ledger.limits.get("l");
                let is_short = shares.is_some_and(|all| {
                    all.contains_key(&call.holder)
                        && all.iter().any(|(other, share)| {
                            *other != call.holder && share.short_since_us.is_some() && self.ledger.holders[other].is_alive(now_us)
                        })
                });
                reply.contended = if is_short && !is_asked { vec!["l".into()] } else { Vec::new() };
                let total: u64 = shares.map_or(0, |all| all.values().map(|share| share.share).sum());
                assert!(total <= LIMIT, "shares of {total} at {}", self.now_ms);
                if !is_lost && self.nodes[number].cut_until_ms <= self.now_ms {
                    let at_ms = self.now_ms + self.rng.random_range(1..20);
                    self.messages.push((at_ms, Message::Reply(number, call, reply)));
                }
            }
            Message::Reply(number, call, reply) => {
                let node = &mut self.nodes[number];
                let Some(sent_ms) = node.sent_ms.filter(|_| node.name == call.holder && node.sequence == call.sequence) else { return };
                node.sent_ms = None;
                assert!(reply.is_applied);
                if let Some(shared) = reply.shares.first() {
                    node.window.answered(*shared, self.now_ms);
                }
                if !reply.contended.is_empty() {
                    node.window.contend();
                }
                node.valid_until_ms = sent_ms + SHARES_LAST_MS - 1_000;
                node.is_queued |= node.window.is_contended();
                node.next_ms = self.now_ms + if node.window.is_contended() { 250 } else { 1_000 };
            }
        }
    }

    /// Returns the largest sum of what passed within a minute that ends after a time.
    fn most_in_a_minute(&self, after_ms: u64) -> u64 {
        most_within(&self.passed, MINUTE_MS, after_ms)
    }
}

/// Returns the largest sum of amounts within a window that ends after a time. Times ascend.
fn most_within(passed: &[(u64, u64)], window_ms: u64, after_ms: u64) -> u64 {
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for (at_ms, amount) in passed {
        sum += amount;
        while passed[first].0 + window_ms <= *at_ms {
            sum -= passed[first].1;
            first += 1;
        }
        if *at_ms >= after_ms {
            most = most.max(sum);
        }
    }
    most
}

#[test]
fn no_history_passes_more_than_the_limit_in_a_minute() {
    let passed = histories(200, |seed| {
        let mut simulation = Simulation::new(seed, if seed % 3 == 0 { 120 } else { 1 }, true);
        simulation.run(300_000);
        let most = simulation.most_in_a_minute(0);
        assert!(most <= LIMIT, "seed {seed}: {most} in a minute");
        simulation.passed.iter().map(|(_, amount)| amount).sum::<u64>()
    });
    let (all, histories) = (passed.iter().sum::<u64>(), passed.len() as u64);
    assert!(all / histories > LIMIT, "little passes at all: {all} in {histories} histories");
}

#[test]
fn the_whole_limit_passes_however_the_demand_is_spread_and_wherever_it_moves() {
    for (seed, spread) in [[40.0, 4.0, 1.0, 0.0], [20.0, 20.0, 20.0, 20.0], [0.0, 0.0, 0.0, 30.0], [1.0, 2.0, 3.0, 50.0]].iter().enumerate()
    {
        let mut simulation = Simulation::new(seed as u64, 1, false);
        let set = |simulation: &mut Simulation, turn: usize| {
            for (number, node) in simulation.nodes.iter_mut().enumerate() {
                node.per_second = spread[(number + turn) % GATEWAYS];
            }
        };
        for turn in 0..3 {
            set(&mut simulation, turn);
            let from_ms = simulation.now_ms;
            simulation.run(from_ms + 180_000);
            let passed = simulation.passed.iter().filter(|(at_ms, _)| *at_ms > from_ms + 120_000).count();
            println!("{spread:?}, turn {turn}: {passed} in the last minute");
            assert!(passed >= 590, "{spread:?}, turn {turn}: {passed}");
        }
        assert!(simulation.most_in_a_minute(0) <= LIMIT);
    }
}

#[test]
fn requests_as_large_as_the_limit_pass_one_after_the_other_on_every_gateway() {
    let mut simulation = Simulation::new(1, LIMIT, false);
    for node in &mut simulation.nodes {
        node.per_second = 0.5;
    }
    simulation.run(1_200_000);
    let passed: u64 = simulation.passed.iter().map(|(_, amount)| amount).sum();
    println!("{passed} in 20 minutes");
    assert!(simulation.most_in_a_minute(0) <= LIMIT && passed > LIMIT * 20 / 3, "{passed}");
}

/// The demand in requests a second on each gateway until a time, in seconds.
const PHASES: [(u64, [u64; GATEWAYS]); 3] = [(40, [40, 4, 1, 0]), (80, [0, 4, 1, 40]), (125, [20, 20, 1, 0])];
/// The time at which a gateway is killed that has passed most of the limit.
const KILLED_AT_S: u64 = 80;
/// The time that an answer needs to come back, within which the order of two is unknown.
const ANSWER_MS: u64 = 1_000;

#[tokio::test]
async fn four_gateways_pass_the_limit_together_wherever_the_demand_is() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(GATEWAYS, &provider.config()).await;
    let (_, management) = standalone.account(json!(1_000)).await;
    let key = standalone.key(&management, json!({"name": "limited", "rate_limit": {"requests_per_minute": LIMIT}})).await;
    standalone.knows(&key).await;
    let (began, mut callers, mut sent, mut is_killed) = (Instant::now(), JoinSet::new(), [0.0; GATEWAYS], false);
    let body = json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let mut interval = tokio::time::interval(Duration::from_millis(50));
    loop {
        interval.tick().await;
        let at_s = began.elapsed().as_secs();
        let Some((_, demand)) = PHASES.iter().find(|(until_s, _)| at_s < *until_s) else { break };
        if at_s >= KILLED_AT_S && !std::mem::replace(&mut is_killed, true) {
            standalone.kill("gateway-3");
        }
        for (number, per_second) in demand.iter().enumerate() {
            sent[number] += *per_second as f64 / 20.0;
            while sent[number] >= 1.0 {
                sent[number] -= 1.0;
                let (http, url) = (standalone.http.clone(), format!("{}/v1/chat/completions", standalone.gateways[number]));
                let (key, body) = (key.clone(), body.clone());
                callers.spawn(async move {
                    let answer = http.post(url).bearer_auth(key).body(body).send().await.ok()?;
                    let status = answer.status();
                    assert!(matches!(status, StatusCode::OK | StatusCode::TOO_MANY_REQUESTS), "{status}: {:?}", answer.text().await);
                    (status == StatusCode::OK).then(|| (began.elapsed().as_millis() as u64, 1))
                });
            }
        }
    }
    let mut passed: Vec<(u64, u64)> = callers.join_all().await.into_iter().flatten().collect();
    passed.sort_unstable();
    let most = most_within(&passed, MINUTE_MS - ANSWER_MS, 0);
    let after_the_move = most_within(&passed[..passed.partition_point(|(at_ms, _)| *at_ms < KILLED_AT_S * 1_000)], MINUTE_MS, 70_000);
    println!("{} passed; most in a minute: {most}; after the demand has moved: {after_the_move}", passed.len());
    assert!(most <= LIMIT, "{most} in a minute");
    assert!(after_the_move >= 590, "{after_the_move} in a minute");
    assert!(passed.iter().filter(|(at_ms, _)| *at_ms < MINUTE_MS).count() >= 590, "the first minute");
}
