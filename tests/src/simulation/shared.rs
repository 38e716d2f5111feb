//! Ledgers that share the log: whose partition is whose and how far everybody is are the product's own decisions; what the database
//! keeps of them is not.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use eventlog::Checkpoint;
use eventlog::share::assignment::{Heartbeats, assign};
use eventlog::share::frontier::{Frontier, Position, Settled};
use eventlog::sources::Sources;
use rand::RngExt;

use super::log::{Record, place};
use super::{SECOND, Simulation};

/// As many as there may be accounts, and one more.
const PARTITIONS: i64 = 3;

/// A ledger process among others.
#[derive(Default)]
pub struct Sharer {
    node: usize,
    boot: u64,
    pub stopped_until: u64,
    heartbeats: Heartbeats,
    owned: BTreeSet<i64>,
    /// When it looked after the others.
    tended: u64,
    /// What it has read, once it has joined.
    frontier: Option<Frontier>,
    next: usize,
    connection: u64,
    /// What it has read and not posted yet: each part is a transaction.
    parts: VecDeque<Vec<Record>>,
    is_settled: bool,
}

impl Sharer {
    /// The ledger of a machine.
    pub fn new(node: usize) -> Self {
        Self { node, is_settled: true, ..Self::default() }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.node, self.boot)
    }
}

/// The partition of an account: accounts are called `a0`, `a1`.
fn partition(account: &str) -> i64 {
    account[1..].parse().expect("a number")
}

impl Simulation {
    /// One step: a transaction, or reading on. It may die or be stopped before each.
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

    /// Joins at the common checkpoint, and takes what nobody has that lives.
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
            // The log is not what it was: what anybody says of the old one counts no more.
            let start = Checkpoint { identity: self.log.identity.to_string(), sequence: 0, event_id: String::new() };
            (database.checkpoint, database.chain) = (Some(start.clone()), database.chain.with(&start.identity));
            database.members.values_mut().for_each(|(_, position)| *position = Position::default());
            start
        });
        sharer.frontier = Some(Frontier::new(at, database.chain, Sources::new(database.seen.clone())));
    }

    /// Says that it lives, and looks whether partitions should change hands.
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

    /// Reads on, unless the connection is a new one.
    fn take_batch(&mut self, index: usize) {
        // More than one that is alone takes: it does nothing else meanwhile, and the log must not run away from it.
        let most = self.rng.random_range(1..200);
        let sharer = &mut self.sharers[index];
        if sharer.connection != self.log.connection {
            return self.begin_again(index);
        }
        let Some(frontier) = sharer.frontier.as_mut() else { return };
        let Some((batch, to)) = self.log.read(sharer.next, most) else {
            // Others may have come further meanwhile.
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

    /// Says how far it is, and moves the common checkpoint as far as everybody is.
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
