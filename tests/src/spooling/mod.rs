//! Simulated histories of one node's spool, from a seed. The real spool runs on a simulated disk that fails, fills up and loses power.
//! The process is killed and restarted while it ships to a log that loses its tail.

pub mod disk;
mod readers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use events::ids::Ids;
use events::request::{Format, Outcome, RequestFinished, RequestProgress, RequestRefused, RequestStarted};
use events::usage_recorded::UsageRecorded;
use events::{Clock, CostStatus, Draft, Nanos, Source, Tokens, UnitPrices};
use gateway::config::SpoolConfig;
use gateway::spool::cursor::{SpoolCursor, taken_over};
use gateway::spool::segment::Sequences;
use gateway::spool::{Disk, Reservation, Spool, recover};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::sync::Mutex;

use disk::SimulatedDisk;
use readers::{Log, Reader};

/// The number of steps of a history, and the maximum number of rounds until it is at rest.
const ACTIONS: usize = 250;

/// The knowledge about a request's charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// The start may be lost: the provider was not called, or in mode `fast` the power failed before the start was synced.
    Perhaps,
    /// The request has exactly one charge.
    Charged,
    /// The request has exactly one charge, which the client was told.
    Acknowledged,
}

/// The true state of a request.
struct Truth {
    boot: u32,
    known: Known,
    /// The knowledge that survives a loss of power.
    lasting: Known,
    cost: Nanos,
    /// The spool positions at which the start and the end are recorded.
    started_at: u64,
    ended_at: Option<u64>,
}

/// The spool of a boot, and the position up to which it is shipped.
struct Shipping {
    boot: u32,
    spool: Arc<Spool>,
    cursor: SpoolCursor,
}

struct Time(AtomicI64);

impl Clock for Time {
    fn now_us(&self) -> i64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}

struct Seeded(Mutex<StdRng>);

impl Ids for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().expect("one thread").fill_bytes(buffer);
    }
}

/// A simulated history.
struct History {
    rng: StdRng,
    disk: SimulatedDisk,
    time: Time,
    ids: Seeded,
    config: SpoolConfig,
    /// Whether a start is synced before the provider is called.
    is_strict: bool,
    /// The probability that shipping a portion fails.
    failures: f64,
    /// The probability that an event that may end a boot does end it. Files are filled and deleted only in boots that live long.
    deaths: f64,
    boots: u32,
    running: Option<Shipping>,
    earlier: Vec<Shipping>,
    open: BTreeMap<u64, Reservation>,
    truth: BTreeMap<u64, Truth>,
    requests: u64,
    log: Log,
    ledger: Reader,
    projector: Reader,
}

/// Counts of a history.
#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    /// Requests for which the provider was called.
    pub requests: usize,
    /// Starts of the process.
    pub boots: u32,
}

/// Runs the history of a seed. Panics if an invariant is violated.
#[must_use]
pub fn run(seed: u64) -> Summary {
    let mut history = History::new(seed);
    for _ in 0..ACTIONS {
        history.step();
    }
    history.rest();
    Summary { requests: history.truth.len(), boots: history.boots }
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimulatedDisk::new(rng.random());
        disk.make_folder(&folder()).expect("a folder");
        Self {
            disk,
            time: Time(AtomicI64::new(1_700_000_000_000_000)),
            ids: Seeded(Mutex::new(StdRng::seed_from_u64(rng.random()))),
            config: SpoolConfig { segment_bytes: 112 * 1024, bytes_max: rng.random_range(4..12) * 112 * 1024, ..SpoolConfig::default() },
            is_strict: rng.random_bool(0.5),
            failures: 0.2,
            deaths: rng.random_range(0.1..1.0),
            boots: 0,
            running: None,
            earlier: Vec::new(),
            open: BTreeMap::new(),
            truth: BTreeMap::new(),
            requests: 0,
            log: Log::default(),
            ledger: Reader::default(),
            projector: Reader::default(),
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..=24 => self.begin(),
            25..=49 => self.end(),
            50..=52 => self.progress(),
            53..=56 => self.refuse(),
            57..=66 => self.sync(),
            67..=78 => self.ship(),
            79..=84 => self.read(),
            85..=88 => self.forget(),
            89..=90 => self.log.lose(self.log.len().saturating_sub(self.rng.random_range(0..20))),
            91..=92 => self.shipping(|shipping| shipping.cursor.restart()),
            93 => self.disk.fail(self.rng.random_bool(0.4)),
            94 => self.disk.be_full(self.rng.random_bool(0.4)),
            _ if !self.rng.random_bool(self.deaths) => {}
            95..=97 => self.die(),
            _ => self.lose_power(),
        }
        if self.running.is_none() && self.rng.random_bool(0.5) {
            self.start();
        }
    }

    fn shipping(&mut self, act: impl FnMut(&mut Shipping)) {
        self.earlier.iter_mut().chain(&mut self.running).for_each(act);
    }

    /// Starts a boot as a gateway does: the spools of earlier boots are recovered first.
    fn start(&mut self) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let Ok(earlier) = recover::recover(&disk, &folder(), "n", &self.config, &self.time, &self.ids) else { return };
        self.boots += 1;
        let boot = self.boots;
        let name = format!("{boot:04}");
        let Ok(spool) = Spool::create(disk, folder().join(&name), Source::gateway("n", &name), self.config.clone()) else { return };
        self.earlier = earlier
            .into_iter()
            .map(|spool| {
                let boot = spool.folder.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
                Shipping { boot, spool, cursor: SpoolCursor::default() }
            })
            .collect();
        self.running = Some(Shipping { boot, spool, cursor: SpoolCursor::default() });
    }

    fn die(&mut self) {
        self.open.clear();
        self.running = None;
        self.earlier.clear();
    }

    /// Loses power. Half of the time this happens at the worst moment, just after everything that may be deleted was deleted.
    fn lose_power(&mut self) {
        if self.rng.random_bool(0.5) {
            self.ship();
            self.ledger.read(&self.log, usize::MAX);
            self.projector.read(&self.log, usize::MAX);
            self.forget();
        }
        self.die();
        self.disk.lose_power();
        for truth in self.truth.values_mut() {
            truth.known = truth.lasting;
        }
    }

    fn draft<'a, P>(&self, subject: &'a str, payload: &'a P) -> Draft<'a, P> {
        Draft { id: self.ids.uuid(&self.time), time_us: self.time.now_us(), account: "a", subject, traceparent: None, payload }
    }

    /// Admits a request and writes its start, then calls the provider.
    fn begin(&mut self) {
        let Some(Shipping { spool, boot, .. }) = &self.running else { return };
        let (spool, boot) = (Arc::clone(spool), *boot);
        let Ok(mut reservation) = spool.reserve() else { return };
        self.requests += 1;
        let name = format!("r{}", self.requests);
        let started_at = reservation.start(&self.draft(&name, &started(&name))).unwrap();
        let is_written = spool.flush(started_at).is_ok() && (!self.is_strict || spool.sync().is_ok());
        if !is_written {
            // The request is refused, so it is ended at once as one that was never sent.
            let end = reservation.end(|batch| batch.push(&self.draft(&name, &UsageRecorded::unfinished(&started(&name), None, 0).end())));
            let _later = spool.flush(end);
            return;
        }
        let lasting = if self.is_strict { Known::Charged } else { Known::Perhaps };
        self.truth.insert(self.requests, Truth { boot, known: Known::Charged, lasting, cost: Nanos::ZERO, started_at, ended_at: None });
        self.open.insert(self.requests, reservation);
    }

    /// Ends a request: the provider has responded, and the client is told once the end is written.
    fn end(&mut self) {
        let Some(request) = self.any_open() else { return };
        let reservation = self.open.remove(&request).expect("it is open");
        let spool = reservation.spool();
        let name = format!("r{request}");
        let cost = Nanos(self.rng.random_range(1..1_000));
        let mut usage = UsageRecorded::unfinished(&started(&name), None, 1);
        (usage.outcome, usage.cost_nanos, usage.cost_status) = (Outcome::Finished, cost, CostStatus::Priced);
        let end = RequestFinished { attempts: vec![attempt()], ..usage.end() };
        let (usage, end) = (self.draft(&name, &usage), self.draft(&name, &end));
        let position = reservation.end(|batch| {
            batch.push(&usage);
            batch.push(&end);
        });
        let truth = self.truth.get_mut(&request).expect("it began");
        (truth.cost, truth.ended_at) = (cost, Some(position));
        if let Err(error) = spool.flush(position) {
            assert!(!matches!(error, gateway::spool::SpoolError::Full(_)), "the end of an admitted request has room: {error}");
        } else {
            truth.known = Known::Acknowledged;
        }
    }

    fn progress(&mut self) {
        let (Some(request), Some(running)) = (self.any_open(), &self.running) else { return };
        let name = format!("r{request}");
        let progress = RequestProgress {
            request: name.as_str().into(),
            model: "m".to_owned(),
            provider: "p".to_owned(),
            tokens: Tokens::default(),
            price_version: String::new(),
            unit_prices: UnitPrices::default(),
            cost_nanos: Nanos(1),
            byok: None,
        };
        let _may_fail = running.spool.append(|batch| batch.push(&self.draft(&name, &progress)));
    }

    /// Appends refusals, for which no request has reserved room.
    fn refuse(&mut self) {
        let Some(running) = &self.running else { return };
        for _ in 0..self.rng.random_range(1..60) {
            let refused = RequestRefused {
                request: "x".into(),
                key: "k".into(),
                model: "m".repeat(500),
                status: 402,
                code: "insufficient_credits".to_owned(),
                guardrail: None,
                refused_at_us: 0,
                count: None,
            };
            let _may_fail = running.spool.append(|batch| batch.push(&self.draft("x", &refused)));
        }
    }

    /// Returns an open request. The oldest is chosen half of the time, because otherwise a file is hardly ever deleted while its boot
    /// lives.
    fn any_open(&mut self) -> Option<u64> {
        let index = if self.rng.random_bool(0.5) { 0 } else { self.rng.random_range(0..self.open.len().max(1)) };
        self.open.keys().nth(index).copied()
    }

    /// Syncs the spools, as the sync thread does.
    fn sync(&mut self) {
        for shipping in self.earlier.iter().chain(&self.running) {
            let _later = shipping.spool.sync();
        }
        let Some(running) = &self.running else { return };
        let synced = *running.spool.syncs().borrow();
        for truth in self.truth.values_mut().filter(|truth| truth.boot == running.boot && truth.started_at <= synced) {
            let is_ended = truth.ended_at.is_some_and(|position| position <= synced);
            truth.lasting = truth.lasting.max(if is_ended { Known::Acknowledged } else { Known::Charged });
            truth.known = truth.known.max(truth.lasting);
        }
    }

    /// Ships one portion of each spool. If shipping fails, any part of the portion may be stored.
    fn ship(&mut self) {
        let (ledger, projector, log, rng) = (&self.ledger, &self.projector, &mut self.log, &mut self.rng);
        for shipping in self.earlier.iter_mut().chain(&mut self.running) {
            let taken = taken(ledger, projector, &shipping.spool);
            let Ok(Some((events, end))) = shipping.cursor.next(&shipping.spool, &taken) else { continue };
            let fails = rng.random_bool(self.failures);
            for event in events {
                if !fails || rng.random_bool(0.5) {
                    log.append(&event);
                }
            }
            if fails {
                shipping.cursor.restart();
            } else {
                shipping.cursor.sent(end);
            }
        }
    }

    fn read(&mut self) {
        self.ledger.read(&self.log, self.rng.random_range(0..100));
        self.projector.read(&self.log, self.rng.random_range(0..100));
    }

    /// Deletes everything that all readers have.
    fn forget(&mut self) {
        if let Some(running) = &self.running {
            let _later = running.spool.truncate(&taken(&self.ledger, &self.projector, &running.spool));
        }
        let (ledger, projector) = (&self.ledger, &self.projector);
        self.earlier.retain(|shipping| {
            let _later = shipping.spool.truncate(&taken(ledger, projector, &shipping.spool));
            !shipping.spool.is_taken_over(&taken(ledger, projector, &shipping.spool)) || shipping.spool.forget().is_err()
        });
    }

    fn is_at_rest(&self) -> bool {
        let running = self.running.as_ref().expect("it started");
        self.earlier.is_empty() && running.spool.is_taken_over(&taken(&self.ledger, &self.projector, &running.spool))
    }

    /// Removes all faults, lets every reader catch up, and checks the invariants.
    fn rest(&mut self) {
        self.disk.fail(false);
        self.disk.be_full(false);
        self.config.bytes_max *= 100;
        self.failures = 0.0;
        if self.running.is_none() {
            self.start();
        }
        while !self.open.is_empty() {
            self.end();
        }
        self.shipping(|shipping| shipping.cursor.restart());
        for _ in 0..ACTIONS {
            self.sync();
            self.ship();
            self.ledger.read(&self.log, usize::MAX);
            self.projector.read(&self.log, usize::MAX);
            self.forget();
            if self.is_at_rest() {
                break;
            }
        }
        assert!(
            self.earlier.is_empty(),
            "spools of earlier boots are left: {:?}, of which are taken {:?}",
            self.earlier[0].spool.last(),
            taken(&self.ledger, &self.projector, &self.earlier[0].spool)
        );
        assert!(self.is_at_rest(), "the last boot is not taken over");
        assert_eq!(self.projector.gaps(), Vec::<String>::new(), "a source has gaps");
        for (request, truth) in &self.truth {
            let charges = self.ledger.charges.get(&format!("r{request}"));
            let count = charges.map_or(0, BTreeMap::len);
            assert!(count <= 1, "r{request} has {count} charges: {charges:?}");
            assert!(count == 1 || truth.known == Known::Perhaps, "r{request} reached a provider and has no charge");
            let cost = charges.and_then(|charges| charges.values().next().copied());
            assert!(
                truth.known < Known::Acknowledged || cost == Some(truth.cost),
                "r{request} was acknowledged {} and is charged {cost:?}",
                truth.cost.0
            );
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from("/data/spool")
}

fn taken(ledger: &Reader, projector: &Reader, spool: &Spool) -> Sequences {
    taken_over(&ledger.watermarks(&spool.source.0), &projector.watermarks(&spool.source.0))
}

fn started(request: &str) -> RequestStarted {
    RequestStarted {
        request: request.into(),
        account: "a".into(),
        key: "k".into(),
        lease: "l".into(),
        hold_nanos: Nanos(1_000),
        model: "m".into(),
        user: None,
        app: None,
        experiment: None,
        format: Format::Chat,
        streamed: false,
        admitted_at_us: 0,
    }
}

fn attempt() -> events::request::Attempt {
    events::request::Attempt {
        provider: "p".into(),
        model: "m".into(),
        status: Some(200),
        error: None,
        duration_us: 1,
        why: None,
        round: None,
    }
}
