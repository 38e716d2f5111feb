//! Lease refillers and their requests, over a network that loses, delays and repeats messages.

use events::LeaseId;
use events::rpc::{LeaseReply, LeaseRequest};
use gateway::admission::refill_policy::LeaseCall;
use rand::RngExt;

use super::gateway::State;
use super::{Action, EPOCH_US, SECOND, Simulation};

impl Simulation {
    /// Runs the periodic work of a node's refillers.
    pub(super) fn tick(&mut self, node: usize, boot: u32, repeats: bool) {
        if self.gateways[node].boot != boot || !self.gateways[node].is_up || self.is_paused(node, || Action::Tick { node, boot, repeats }) {
            return;
        }
        let (base, now) = (self.base, self.now);
        let at = self.gateways[node].at(base, now);
        for index in 0..self.scopes.len() {
            self.leases += 1;
            let lease: LeaseId = format!("l{}", self.leases).into();
            let refiller = &mut self.gateways[node].refillers[index];
            if refiller.call.is_some() {
                continue;
            }
            refiller.policy.measure(at.instant);
            let mut closings = refiller.policy.closings(at);
            // Only one request is in flight at a time; the other closings are retried later.
            let call = closings.pop().or_else(|| {
                let is_quiet = refiller.budget.waiting().is_empty();
                if is_quiet { refiller.policy.tick(at) } else { refiller.policy.refill_for_waiters(at, || lease) }
            });
            for later in closings {
                refiller.policy.failed(later, at.instant);
            }
            if let Some(call) = call {
                self.ticket += 1;
                let (token, ask) = (self.ticket, call.request.clone());
                self.gateways[node].refillers[index].call = Some((token, call));
                self.ask(node, boot, index, token, &ask);
            }
        }
        if repeats {
            self.plan(SECOND * self.slowness(), Action::Tick { node, boot, repeats });
        }
    }

    /// Sends a lease request, which may be lost, delayed or repeated.
    pub(super) fn ask(&mut self, node: usize, boot: u32, refiller: usize, token: u64, ask: &LeaseRequest) {
        self.plan(3 * SECOND, Action::Overdue { node, boot, refiller, token });
        if self.gateways[node].cut_until > self.now || self.rng.random_bool(0.02) {
            return;
        }
        let copies = if self.rng.random_bool(0.05) { 2 } else { 1 };
        for _ in 0..copies {
            let after = self.delay(5 * SECOND);
            self.plan(after, Action::Request { node, boot, refiller, token, ask: Box::new(ask.clone()) });
        }
    }

    pub(super) fn request(&mut self, node: usize, boot: u32, refiller: usize, token: u64, ask: &LeaseRequest) {
        let now_us = EPOCH_US + i64::try_from(self.now).unwrap_or(i64::MAX);
        let answer = self.database.ask(ask, now_us);
        // The request is committed, but the reply may still be lost.
        if self.rng.random_bool(0.98) {
            let after = self.delay(2 * SECOND);
            self.plan(after, Action::Answer { node, boot, refiller, token, answer: Box::new(answer) });
        }
    }

    /// Takes the pending lease request of a running boot that a reply belongs to.
    pub(super) fn take(&mut self, node: usize, boot: u32, refiller: usize, token: u64) -> Option<LeaseCall> {
        let gateway = &mut self.gateways[node];
        let refiller = gateway.refillers.get_mut(refiller).filter(|_| gateway.boot == boot && gateway.is_up)?;
        refiller.call.take_if(|(of, _)| *of == token).map(|(_, call)| call)
    }

    pub(super) fn answer(&mut self, node: usize, boot: u32, refiller: usize, token: u64, answer: LeaseReply) {
        if self.is_paused(node, || Action::Answer { node, boot, refiller, token, answer: Box::new(answer.clone()) }) {
            return;
        }
        let Some(call) = self.take(node, boot, refiller, token) else { return };
        let at = self.gateways[node].at(self.base, self.now);
        self.gateways[node].refillers[refiller].policy.answered(&call, answer, at);
        self.serve(node, boot);
    }

    pub(super) fn overdue(&mut self, node: usize, boot: u32, refiller: usize, token: u64) {
        if self.is_paused(node, || Action::Overdue { node, boot, refiller, token }) {
            return;
        }
        let Some(call) = self.take(node, boot, refiller, token) else { return };
        let at = self.gateways[node].at(self.base, self.now);
        self.gateways[node].refillers[refiller].policy.failed(call, at.instant);
        self.serve(node, boot);
    }

    /// Continues the waiting requests whose lease request was answered.
    pub(super) fn serve(&mut self, node: usize, boot: u32) {
        let mut acknowledged = Vec::new();
        for (request, running) in &mut self.gateways[node].running {
            if let State::Waits(answered) = &mut running.state
                && let Ok(hold) = answered.try_recv()
            {
                acknowledged.push((*request, running.refiller, running.least, hold));
            }
        }
        for (request, refiller, least, hold) in acknowledged {
            if self.gateways[node].boot != boot || !self.gateways[node].is_up {
                return;
            }
            self.gateways[node].running.remove(&request);
            if let Ok(hold) = hold {
                assert!(hold.amount() >= least, "a request goes on with less than it needs");
                self.send(node, request, refiller, hold);
            }
        }
        self.plan(20_000, Action::Tick { node, boot, repeats: false });
    }
}
