//! Complete histories of gateways, log and ledger in one thread, from a seed: crashes, pauses, partitions, drift, late, lost and repeated
//! messages, a log that loses its tail. The decisions are those of the product; time, disk and network are simulated.

mod log;
mod ledger;
mod gateway;
mod requests;
mod leases;
mod background;
mod shared;
mod checks;

use std::collections::BTreeMap;
use std::time::Instant;

use ::eventlog::Checkpoint;
use ::gateway::admission::budget::Scope;
use ::ledger::account::Account;
use ::ledger::key::Period;
use ::ledger::key::repo::KeyRow;
use events::Nanos;
use events::rpc::{CreditCommand, LeaseReply, LeaseRequest, PostCredit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use gateway::Gateway;
use ledger::Database;
use log::Log;
use shared::Sharer;

/// The start of the simulation, 100 seconds before a day and a month turn, while requests arrive.
pub const EPOCH_US: i64 = 1_772_323_200_000_000 - 100_000_000;
const SECOND: u64 = 1_000_000;
/// The time during which requests arrive and faults happen.
const BUSY: u64 = 200 * SECOND;
/// The time by which everything that was cut off, paused or dead is back.
const CALM: u64 = BUSY + 200 * SECOND;
/// The time by which everything must have come to rest, which is more than a frozen lease's 15 minutes later.
const REST: u64 = BUSY + 1_200 * SECOND;

/// A scheduled event of the simulation.
enum Action {
    Arrive,
    Done {
        node: usize,
        boot: u32,
        request: u64,
    },
    /// The wake-up of a refiller, which repeats once a second.
    Tick {
        node: usize,
        boot: u32,
        repeats: bool,
    },
    Request {
        node: usize,
        boot: u32,
        refiller: usize,
        token: u64,
        ask: Box<LeaseRequest>,
    },
    Answer {
        node: usize,
        boot: u32,
        refiller: usize,
        token: u64,
        answer: Box<LeaseReply>,
    },
    Overdue {
        node: usize,
        boot: u32,
        refiller: usize,
        token: u64,
    },
    Ship {
        node: usize,
    },
    Read {
        reader: usize,
    },
    Sweep,
    Fault,
    Restart {
        node: usize,
    },
}

/// A ledger process that posts. Two of them may each believe that they are the only one.
#[derive(Default)]
struct Reader {
    /// Whether it has read the committed checkpoint.
    has_looked: bool,
    /// The checkpoint that it believes to be committed.
    checkpoint: Option<Checkpoint>,
    position: usize,
    connection: u64,
    stopped_until: u64,
}

/// The true state of a request.
struct Truth {
    account: String,
    hold: Nanos,
    /// The cost, once the provider has responded.
    cost: Option<Nanos>,
    /// Whether the client was told.
    acknowledged: bool,
}

/// A simulated history.
struct Simulation {
    rng: StdRng,
    base: Instant,
    now: u64,
    ticket: u64,
    queue: BTreeMap<(u64, u64), Action>,
    database: Database,
    log: Log,
    gateways: Vec<Gateway>,
    /// Whether the ledgers share the log.
    is_shared: bool,
    readers: Vec<Reader>,
    sharers: Vec<Sharer>,
    scopes: Vec<Scope>,
    truth: BTreeMap<u64, Truth>,
    /// The amount that each account has spent, plus the most that its requests in flight may cost.
    worst: BTreeMap<String, i64>,
    leases: u64,
}

/// Counts of a history.
#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    /// Requests that reached a provider.
    pub requests: usize,
    /// Transactions in the books.
    pub transactions: usize,
}

/// Runs the history of a seed. Panics if an invariant is violated.
#[must_use]
pub fn run(seed: u64) -> Summary {
    let mut simulation = Simulation::new(seed);
    simulation.run();
    Summary { requests: simulation.truth.len(), transactions: simulation.database.transactions.len() }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut database = Database::default();
        let mut scopes = Vec::new();
        for number in 0..rng.random_range(1..=2) {
            let id = format!("a{number}");
            let account = Account { id: id.clone(), version: 0, available: Nanos(0), held: Nanos(0), spent: Nanos(0), credited: Nanos(0) };
            database.accounts.insert(id.clone(), account);
            scopes.push(Scope { account: id.as_str().into(), key: None });
            if rng.random_bool(0.5) {
                let key = format!("k{number}");
                let period = Period::ALL[rng.random_range(0..Period::ALL.len())];
                database.keys.insert(key.clone(), KeyRow { limit: Some(Nanos(rng.random_range(50..2_000))), period, revision: 1 });
                scopes.push(Scope { account: id.as_str().into(), key: Some((key.as_str().into(), 1)) });
            }
            for part in 0..rng.random_range(1..=3) {
                let command = PostCredit {
                    id: format!("c{number}.{part}"),
                    account: id.as_str().into(),
                    command: CreditCommand::Grant {
                        amount_nanos: Nanos(rng.random_range(50..2_500)),
                        priority: rng.random_bool(0.3).then(|| rng.random_range(0..200)),
                        expires_at_us: rng.random_bool(0.3).then(|| EPOCH_US + rng.random_range(0..200_000_000)),
                    },
                    description: String::new(),
                };
                database.credit(&command, EPOCH_US);
            }
        }
        let gateways = (0..rng.random_range(1..=4))
            .map(|node| Gateway {
                node,
                is_up: false,
                boot: 0,
                paused_until: 0,
                cut_until: 0,
                drift: rng.random_range(-100_000..=100_000),
                refillers: Vec::new(),
                spools: Vec::new(),
                running: BTreeMap::new(),
            })
            .collect();
        let is_shared = rng.random_bool(0.5);
        let count = rng.random_range(1..=if is_shared { 3 } else { 2 });
        let readers = (0..count).map(|_| Reader::default()).collect();
        let sharers = (0..count).map(Sharer::new).collect();
        Self {
            rng,
            base: Instant::now(),
            now: 0,
            ticket: 0,
            queue: BTreeMap::new(),
            database,
            log: Log::default(),
            gateways,
            is_shared,
            readers,
            sharers,
            scopes,
            truth: BTreeMap::new(),
            worst: BTreeMap::new(),
            leases: 0,
        }
    }

    fn run(&mut self) {
        for node in 0..self.gateways.len() {
            self.plan(0, Action::Restart { node });
            self.plan(0, Action::Ship { node });
        }
        for reader in 0..self.readers.len() {
            self.plan(0, Action::Read { reader });
        }
        self.plan(SECOND / 2, Action::Arrive);
        self.plan(SECOND, Action::Sweep);
        self.plan(5 * SECOND, Action::Fault);
        while let Some(((now, _), action)) = self.queue.pop_first() {
            if now > REST {
                break;
            }
            self.now = now;
            self.act(action);
            if self.is_at_rest() {
                break;
            }
        }
        self.check_end();
    }

    fn plan(&mut self, after: u64, action: Action) {
        self.ticket += 1;
        self.queue.insert((self.now + after, self.ticket), action);
    }

    /// Returns the factor by which periodic work slows down once only frozen leases remain.
    fn slowness(&self) -> u64 {
        if self.now > CALM { 4 } else { 1 }
    }

    /// Returns a random time up to `most`, usually a short one.
    fn delay(&mut self, most: u64) -> u64 {
        let most = if self.rng.random_bool(0.9) { most / 20 } else { most };
        self.rng.random_range(0..=most)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive => self.arrive(),
            Action::Done { node, boot, request } => self.done(node, boot, request),
            Action::Tick { node, boot, repeats } => self.tick(node, boot, repeats),
            Action::Request { node, boot, refiller, token, ask } => self.request(node, boot, refiller, token, &ask),
            Action::Answer { node, boot, refiller, token, answer } => self.answer(node, boot, refiller, token, *answer),
            Action::Overdue { node, boot, refiller, token } => self.overdue(node, boot, refiller, token),
            Action::Ship { node } => self.ship(node),
            Action::Read { reader } => self.read(reader),
            Action::Sweep => {
                self.database.sweep(EPOCH_US + i64::try_from(self.now).unwrap_or(i64::MAX));
                self.plan(SECOND * self.slowness(), Action::Sweep);
            }
            Action::Fault => self.fault(),
            Action::Restart { node } => {
                if !self.gateways[node].is_up {
                    let (scopes, base, now) = (self.scopes.clone(), self.base, self.now);
                    self.gateways[node].start(&scopes, base, now);
                    let boot = self.gateways[node].boot;
                    self.plan(0, Action::Tick { node, boot, repeats: true });
                }
            }
        }
    }

    /// Postpones an action of a paused gateway. Returns whether it was postponed.
    fn is_paused(&mut self, node: usize, action: impl FnOnce() -> Action) -> bool {
        let until = self.gateways[node].paused_until;
        if until > self.now {
            self.plan(until - self.now, action());
        }
        until > self.now
    }
}
