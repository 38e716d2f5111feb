//! Requests of a simulation: they arrive, get money, reach a provider, and end. The process may die between any two of these steps.

use events::Nanos;
use rand::RngExt;

use super::gateway::{Running, Start, State};
use super::{Action, BUSY, SECOND, Simulation, Truth};

impl Simulation {
    pub(super) fn arrive(&mut self) {
        if self.now < BUSY {
            let after = self.delay(4 * SECOND);
            self.plan(after, Action::Arrive);
        }
        let node = self.rng.random_range(0..self.gateways.len());
        let refiller = self.rng.random_range(0..self.scopes.len());
        let most = Nanos(self.rng.random_range(1..=150));
        let least = if self.rng.random_bool(0.5) { most } else { Nanos(self.rng.random_range(1..=most.0)) };
        let (base, now) = (self.base, self.now);
        let gateway = &mut self.gateways[node];
        if !gateway.is_up || gateway.paused_until > now {
            return;
        }
        let at = gateway.at(base, now);
        let budget = gateway.refillers[refiller].budget.clone();
        let request = self.ticket;
        if let Some(hold) = budget.hold_now(most, at) {
            self.send(node, request, refiller, hold);
        } else if let Ok(answered) = budget.queue(least, most, at.instant) {
            gateway.running.insert(request, Running { refiller, least, state: State::Waits(answered) });
            let boot = gateway.boot;
            self.plan(0, Action::Tick { node, boot, repeats: false });
        }
    }

    /// Records the start, then calls the provider. The process may die in between.
    pub(super) fn send(&mut self, node: usize, request: u64, refiller: usize, hold: ::gateway::admission::local_lease::Hold) {
        let scope = self.scopes[refiller].clone();
        let (base, now) = (self.base, self.now);
        // The recorded time of a request may lie in another window than its charge, which must still be counted in the right one.
        let early_us = if self.rng.random_bool(0.2) { self.rng.random_range(0..100_000_000) } else { 0 };
        let gateway = &mut self.gateways[node];
        let start = Start {
            account: scope.account.to_string(),
            key: scope.key.as_ref().map_or_else(|| format!("free-{}", scope.account), |(key, _)| key.to_string()),
            lease: hold.lease().to_string(),
            admitted_at_us: gateway.at(base, now).civil_us - early_us,
        };
        gateway.spool().open.insert(request, start);
        if self.rng.random_bool(0.002) {
            return self.kill(node);
        }
        // No account may spend more than it has, even if every request in flight costs its whole hold.
        let worst = self.worst.entry(scope.account.to_string()).or_default();
        *worst += hold.amount().0;
        let credited = self.database.accounts[scope.account.as_str()].credited.0;
        assert!(*worst <= credited, "{} may spend {worst} of {credited}", scope.account);
        let gateway = &mut self.gateways[node];
        self.truth.insert(request, Truth { account: scope.account.to_string(), hold: hold.amount(), cost: None, acknowledged: false });
        gateway.running.insert(request, Running { refiller, least: Nanos::ZERO, state: State::Asked(hold) });
        let boot = gateway.boot;
        let after = self.delay(90 * SECOND);
        self.plan(after, Action::Done { node, boot, request });
    }

    /// Handles the provider's response: records the cost, then tells the client.
    pub(super) fn done(&mut self, node: usize, boot: u32, request: u64) {
        if self.gateways[node].boot != boot || !self.gateways[node].is_up || self.is_paused(node, || Action::Done { node, boot, request }) {
            return;
        }
        let most = self.truth[&request].hold.0;
        let cost = Nanos(if self.rng.random_bool(0.3) { most } else { self.rng.random_range(0..=most) });
        let Some(Running { state: State::Asked(hold), .. }) = self.gateways[node].running.remove(&request) else { return };
        if self.rng.random_bool(0.002) {
            // The process dies before anything of the end is written.
            return self.kill(node);
        }
        let spool = self.gateways[node].spool();
        let start = spool.open.remove(&request).expect("a request that was sent has a start");
        spool.charge(request, &start, cost);
        hold.settle(cost);
        let truth = self.truth.get_mut(&request).expect("a request that was sent is known");
        truth.cost = Some(cost);
        *self.worst.entry(truth.account.clone()).or_default() -= truth.hold.0 - cost.0;
        if self.rng.random_bool(0.002) {
            return self.kill(node);
        }
        self.truth.get_mut(&request).expect("known").acknowledged = true;
        self.plan(0, Action::Tick { node, boot, repeats: false });
    }
}
