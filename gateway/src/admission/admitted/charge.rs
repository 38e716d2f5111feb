//! The charge of a request: the cost by the price list within the hold, or the fee for an own provider key.

use events::request::Outcome;
use events::usage::Byok;
use events::{CostStatus, Nanos, Provenance, Tokens};
use pricing::Fee;

use super::{Admitted, End, Served, Ticket};

/// The charge for a request.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// The tokens used.
    pub tokens: Tokens,
    /// The kind of cost.
    pub status: CostStatus,
    /// The amount charged.
    pub cost: Nanos,
    /// The cost above the hold, which is not charged.
    pub beyond: Nanos,
    /// The list price of a request with an own provider key.
    pub byok: Option<Nanos>,
    /// The time from admission to the end.
    pub latency_us: u64,
    /// The time from admission to the first piece of the response.
    pub ttft_us: Option<u64>,
}

/// The amounts of one end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amounts {
    pub(super) status: CostStatus,
    pub(super) cost: Nanos,
    pub(super) beyond: Nanos,
    pub(super) list: Nanos,
}

impl Admitted {
    /// Returns the charge for these tokens at a model: the part within the hold, and the part above it.
    #[must_use]
    pub fn cost(&self, served: &Served, tokens: &Tokens) -> (Nanos, Nanos) {
        let prices = served.endpoint.prices.at(tokens.prompt(), served.tier);
        let cost = match &served.own {
            None => pricing::cost(tokens, prices),
            Some(_) => pricing::fee(tokens, prices, self.ticket.as_ref().map_or(Fee::NONE, Ticket::fee)),
        };
        let charged = cost.min(self.hold());
        (charged, cost.saturating_sub(charged))
    }

    /// Returns the use of an own key for these amounts.
    pub(super) fn byok(&self, served: &Served, list: Nanos, fee: Nanos) -> Option<Byok> {
        let own = served.own.as_ref()?;
        let provider_key = own.state.id.clone();
        Some(Byok { provider_key, list_cost_nanos: list, fee_nanos: fee, is_outside_key_limit: self.is_outside_key_limit })
    }

    /// Returns the list price of these tokens at a model.
    pub(super) fn list(served: &Served, tokens: &Tokens) -> Nanos {
        pricing::cost(tokens, served.endpoint.prices.at(tokens.prompt(), served.tier))
    }

    pub(super) fn charged(&self, end: &End) -> Amounts {
        let without = |status| Amounts { status, cost: Nanos::ZERO, beyond: Nanos::ZERO, list: Nanos::ZERO };
        let Some(served) = &end.served else { return without(CostStatus::Waived) };
        if !served.endpoint.is_metered {
            return without(CostStatus::Unknown);
        }
        if served.endpoint.free {
            return without(CostStatus::Free);
        }
        // A failed call is charged only by the provider's own report. Unknown usage is never charged.
        let is_charged = match end.outcome {
            Outcome::Failed => end.measured.provenance == Provenance::Reported,
            Outcome::Finished | Outcome::Cancelled | Outcome::Aborted => end.measured.provenance != Provenance::Unknown,
        };
        if !is_charged {
            return without(CostStatus::Waived);
        }
        let (cost, beyond) = self.cost(served, &end.measured.tokens);
        Amounts { status: CostStatus::Priced, cost, beyond, list: Self::list(served, &end.measured.tokens) }
    }

    /// Counts a request that is charged as one with an own key: in its month, and for the budgets of the key.
    pub(super) fn count_byok(&mut self, end: &End, amounts: Amounts) {
        let own = end.served.as_ref().and_then(|served| served.own.as_ref()).filter(|_| amounts.status == CostStatus::Priced);
        if let (Some(own), Some(ticket)) = (own, &mut self.ticket) {
            ticket.settle();
            own.used.add(self.started.admitted_at_us, amounts.list);
        }
    }
}
