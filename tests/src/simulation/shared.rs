//! Ledgers that share the log. The assignment of partitions and the positions follow the product's own decisions; only the database is
//! simulated.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use eventlog::Checkpoint;
use eventlog::share::assignment::{Heartbeats, assign};
use eventlog::share::frontier::{Frontier, Position, Settled};
use eventlog::sources::Sources;
use rand::RngExt;

use super::log::{Record, place};
use super::{SECOND, Simulation};

/// The maximum number of accounts, plus one.
const PARTITIONS: i64 = 3;

/// A ledger process that shares the log with others.
#[derive(Default)]
pub struct Sharer {
    node: usize,
    boot: u64,
    pub stopped_until: u64,
    heartbeats: Heartbeats,
    owned: BTreeSet<i64>,
    /// The time of its last heartbeat.
    tended: u64,
    /// The read positions; `None` until it has joined.
    frontier: Option<Frontier>,
    next: usize,
    connection: u64,
    /// Events that are read but not posted yet. Each part is one transaction.
    parts: VecDeque<Vec<Record>>,
    is_settled: bool,
}

impl Sharer {
    pub fn new(node: usize) -> Self {
        Self { node, is_settled: true, ..Self::default() }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.node, self.boot)
    }
}

/// Returns the partition of an account; accounts are named `a0`, `a1`.
fn partition(account: &str) -> i64 {
    account[1..].parse().expect("a number")
}

impl Simulation {
    /// Takes one step: a transaction, or reading on. The process may die or be stopped before each.
    pub(super) fn read_shared(&mut self, index: usize) {
        if self.sharers[index].stopped_until > self.now {
            return;
        }
        if self.rng.random_bool(0.01) {
            let Sharer { node, boot, .. } = self.sharers[index];
            self.sharers[index] = Sharer { boot: boot + 1, stopped_until: self.now + SECOND, ..Sharer::new(node) };
            return;
        }
        if self.sharers[index].frontier.is_none() {
            return self.join(index);
        }
        if let Some(part) = self.sharers[index].parts.pop_front() {
            let name = self.sharers[index].name();
            let held = self.database.owners.values().filter(|owner| **owner == name).count();
            if held == self.sharers[index].owned.len() {
                self.database.post_part(&part);
            } else {
                self.begin_again(index);
            }
        } else if !self.sharers[index].is_settled {
            self.settle(index);
        } else if self.sharers[index].tended + SECOND < self.now {
            self.heartbeat(index);
        } else {
            self.take_batch(index);
        }
    }

    fn begin_again(&mut self, index: usize) {
        let sharer = &mut self.sharers[index];
        sharer.frontier = None;
        sharer.parts.clear();
        sharer.is_settled = true;
    }

    /// Joins at the common checkpoint, and claims the partitions that no living ledger has.
    fn join(&mut self, index: usize) {
        let now = self.base + Duration::from_micros(self.now);
        let (name, node) = (self.sharers[index].name(), format!("{}/", self.sharers[index].node));
        let database = &mut self.database;
        for partition in 0..PARTITIONS {
            let owner = database.owners.entry(partition).or_default();
            if owner.starts_with(&node) {
                owner.clone_from(&name);
            }
        }
        database.members.retain(|member, _| !member.starts_with(&node));
        let sequence = database.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.sequence);
        let at = Position { sequence, chain: database.chain };
        database.members.insert(name.clone(), (1, at));
        let seen: Vec<(String, i64)> = database.members.iter().map(|(member, (heartbeat, _))| (member.clone(), *heartbeat)).collect();
        let sharer = &mut self.sharers[index];
        for partition in assign(&name, &database.owners, &sharer.heartbeats.note(&seen, now)).claim {
            database.owners.insert(partition, name.clone());
        }
        sharer.owned = database.owners.iter().filter(|(_, owner)| **owner == name).map(|(partition, _)| *partition).collect();
        sharer.connection = self.log.connection;
        sharer.next = self.log.resume(database.checkpoint.as_ref());
        let stands = |checkpoint: &&Checkpoint| place(checkpoint) == sharer.next && checkpoint.identity == self.log.identity.to_string();
        let at = database.checkpoint.as_ref().filter(stands).cloned().unwrap_or_else(|| {
            // The log was recreated, so all positions in the old one are invalid.
            let start = Checkpoint { identity: self.log.identity.to_string(), sequence: 0, event_id: String::new() };
            (database.checkpoint, database.chain) = (Some(start.clone()), database.chain.with(&start.identity));
            database.members.values_mut().for_each(|(_, position)| *position = Position::default());
            start
        });
        sharer.frontier = Some(Frontier::new(at, database.chain, Sources::new(database.seen.clone())));
    }

    /// Sends a heartbeat, and checks whether partitions should change owners.
    fn heartbeat(&mut self, index: usize) {
        let now = self.base + Duration::from_micros(self.now);
        let (database, sharer) = (&mut self.database, &mut self.sharers[index]);
        sharer.tended = self.now;
        let name = sharer.name();
        let is_known = database.members.get_mut(&name).map(|(heartbeat, _)| *heartbeat += 1).is_some();
        let seen: Vec<(String, i64)> = database.members.iter().map(|(member, (heartbeat, _))| (member.clone(), *heartbeat)).collect();
        let changes = assign(&name, &database.owners, &sharer.heartbeats.note(&seen, now));
        let owned: BTreeSet<i64> = database.owners.iter().filter(|(_, owner)| **owner == name).map(|(partition, _)| *partition).collect();
        if !is_known || owned != sharer.owned || !changes.claim.is_empty() {
            return self.begin_again(index);
        }
        for partition in changes.release {
            database.owners.insert(partition, String::new());
            sharer.owned.remove(&partition);
        }
    }

    /// Reads the next batch, unless the connection has changed.
    fn take_batch(&mut self, index: usize) {
        // The batch is larger than that of a single ledger. A sharer does nothing else meanwhile, and must keep up with the log.
        let most = self.rng.random_range(1..200);
        let sharer = &mut self.sharers[index];
        if sharer.connection != self.log.connection {
            return self.begin_again(index);
        }
        let Some(frontier) = sharer.frontier.as_mut() else { return };
        let Some((batch, to)) = self.log.read(sharer.next, most) else {
            // Other ledgers may have advanced meanwhile.
            sharer.is_settled = frontier.is_empty();
            return;
        };
        for (record, sequence) in batch.iter().zip(sharer.next as u64 + 1..) {
            frontier.note(sequence, &record.charge.event_id, Some((&record.source, record.sequence)));
        }
        let mine = |of: i64| batch.iter().filter(|record| partition(&record.charge.account) == of).cloned().collect::<Vec<_>>();
        sharer.parts.extend(sharer.owned.iter().map(|of| mine(*of)).filter(|part| !part.is_empty()));
        sharer.next = place(&to);
        sharer.is_settled = false;
    }

    /// Publishes its position, and moves the common checkpoint up to the position that all ledgers have reached.
    fn settle(&mut self, index: usize) {
        let (database, sharer) = (&mut self.database, &mut self.sharers[index]);
        let name = sharer.name();
        let (Some(member), Some(frontier), Some(common)) =
            (database.members.get_mut(&name), sharer.frontier.as_mut(), &mut database.checkpoint)
        else {
            return self.begin_again(index);
        };
        *member = (member.0 + 1, frontier.position());
        let nowhere = Position { sequence: u64::MAX, ..Position::default() };
        let position = |owner| database.members.get(owner).map_or(nowhere, |(_, position)| *position);
        let positions: Vec<Position> = database.owners.values().map(position).collect();
        match frontier.settle(common, database.chain, &positions) {
            Settled::Again => return self.begin_again(index),
            Settled::Stays => {}
            Settled::Moved => {
                database.seen.extend(frontier.sources().take_changed());
                common.clone_from(frontier.at());
                database.chain = frontier.common_position().chain;
            }
        }
        self.sharers[index].is_settled = true;
    }
}
