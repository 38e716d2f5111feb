//! Keepers and their questions, over a network that loses, delays and repeats.

use events::LeaseId;
use events::ask::{AskLease, LeaseAnswer};
use gateway::admission::keeping::Asking;
use rand::RngExt;

use super::gateway::State;
use super::{Action, EPOCH_US, SECOND, Simulation};

impl Simulation {
    /// What a keeper does when it wakes.
    pub(super) fn tick(&mut self, node: usize, boot: u32, again: bool) {
        if self.gateways[node].boot != boot || !self.gateways[node].is_up || self.is_paused(node, || Action::Tick { node, boot, again }) {
            return;
        }
        let (base, now) = (self.base, self.now);
        let at = self.gateways[node].at(base, now);
        for index in 0..self.scopes.len() {
            self.leases += 1;
            let lease: LeaseId = format!("l{}", self.leases).into();
            let keeper = &mut self.gateways[node].keepers[index];
            if keeper.asking.is_some() {
                continue;
            }
            keeper.keeping.look(at.instant);
            let mut closings = keeper.keeping.closings(at);
            // One question at a time: what is left is asked later.
            let asking = closings.pop().or_else(|| {
                let is_quiet = keeper.purse.waiting().is_empty();
                if is_quiet { keeper.keeping.tend(at) } else { keeper.keeping.for_waiting(at, || lease) }
            });
            for later in closings {
                keeper.keeping.failed(later, at.instant);
            }
            if let Some(asking) = asking {
                self.ticket += 1;
                let (token, ask) = (self.ticket, asking.question.clone());
                self.gateways[node].keepers[index].asking = Some((token, asking));
                self.ask(node, boot, index, token, &ask);
            }
        }
        if again {
            self.plan(SECOND * self.slowness(), Action::Tick { node, boot, again });
        }
    }

    /// A question may get lost, come late, or come more than once.
    pub(super) fn ask(&mut self, node: usize, boot: u32, keeper: usize, token: u64, ask: &AskLease) {
        self.plan(3 * SECOND, Action::Overdue { node, boot, keeper, token });
        if self.gateways[node].cut_until > self.now || self.rng.random_bool(0.02) {
            return;
        }
        let copies = if self.rng.random_bool(0.05) { 2 } else { 1 };
        for _ in 0..copies {
            let after = self.delay(5 * SECOND);
            self.plan(after, Action::Question { node, boot, keeper, token, ask: Box::new(ask.clone()) });
        }
    }

    pub(super) fn question(&mut self, node: usize, boot: u32, keeper: usize, token: u64, ask: &AskLease) {
        let now_us = EPOCH_US + i64::try_from(self.now).unwrap_or(i64::MAX);
        let answer = self.database.ask(ask, now_us);
        // Committed, and the answer may still be lost.
        if self.rng.random_bool(0.98) {
            let after = self.delay(2 * SECOND);
            self.plan(after, Action::Answer { node, boot, keeper, token, answer: Box::new(answer) });
        }
    }

    /// The question of a running boot that this is about.
    pub(super) fn take(&mut self, node: usize, boot: u32, keeper: usize, token: u64) -> Option<Asking> {
        let gateway = &mut self.gateways[node];
        let keeper = gateway.keepers.get_mut(keeper).filter(|_| gateway.boot == boot && gateway.is_up)?;
        keeper.asking.take_if(|(of, _)| *of == token).map(|(_, asking)| asking)
    }

    pub(super) fn answer(&mut self, node: usize, boot: u32, keeper: usize, token: u64, answer: LeaseAnswer) {
        if self.is_paused(node, || Action::Answer { node, boot, keeper, token, answer: Box::new(answer.clone()) }) {
            return;
        }
        let Some(asking) = self.take(node, boot, keeper, token) else { return };
        let at = self.gateways[node].at(self.base, self.now);
        self.gateways[node].keepers[keeper].keeping.answered(&asking, answer, at);
        self.serve(node, boot);
    }

    pub(super) fn overdue(&mut self, node: usize, boot: u32, keeper: usize, token: u64) {
        if self.is_paused(node, || Action::Overdue { node, boot, keeper, token }) {
            return;
        }
        let Some(asking) = self.take(node, boot, keeper, token) else { return };
        let at = self.gateways[node].at(self.base, self.now);
        self.gateways[node].keepers[keeper].keeping.failed(asking, at.instant);
        self.serve(node, boot);
    }

    /// Those who waited and were told go on.
    pub(super) fn serve(&mut self, node: usize, boot: u32) {
        let mut told = Vec::new();
        for (request, running) in &mut self.gateways[node].running {
            if let State::Waits(answered) = &mut running.state
                && let Ok(hold) = answered.try_recv()
            {
                told.push((*request, running.keeper, running.least, hold));
            }
        }
        for (request, keeper, least, hold) in told {
            if self.gateways[node].boot != boot || !self.gateways[node].is_up {
                return;
            }
            self.gateways[node].running.remove(&request);
            if let Ok(hold) = hold {
                assert!(hold.amount() >= least, "a request goes on with less than it needs");
                self.send(node, request, keeper, hold);
            }
        }
        self.plan(20_000, Action::Tick { node, boot, again: false });
    }
}
