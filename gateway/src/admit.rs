//! The admission of a request with its plan. If credit is short, the prompt is counted, and the operator's credentials are left out.

use axum::body::Bytes;
use events::RequestId;
use events::rpc::GetKeySpend;
use http::request::Parts;
use wire::call::Call;

use crate::admission::in_flight_quota::Slot;
use crate::admission::{Admitted, Intent};
use crate::auth::KeyEntry;
use crate::edge;
use crate::error::GatewayError;
use crate::request::Stages;
use crate::route::own_keys::AccountKeys;
use crate::route::{Operation, Plan, tokens};

/// The multiple of a model's context up to which a prompt's bytes are counted in tokens. The tokens of a larger prompt would not fit
/// either.
const COUNTED_TIMES: u64 = 16;
/// The longest wait for the spending of own provider keys.
const SPENDING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// A request that asks for admission.
struct Asking<'a> {
    id: &'a RequestId,
    caller: &'a KeyEntry,
    parts: &'a Parts,
    operation: &'a Operation,
    body: &'a Bytes,
    call: &'a Call<'a>,
}

impl Stages {
    /// Plans a request and holds the credit for it.
    ///
    /// # Errors
    /// Fails as the choice of endpoints and [`crate::admission::Admission::admit`] do.
    pub async fn admit(
        &self,
        id: &RequestId,
        caller: &KeyEntry,
        parts: &Parts,
        (operation, body, call): (&Operation, &Bytes, &Call<'_>),
        slot: Slot,
    ) -> Result<(Plan, Admitted), GatewayError> {
        let plan = self.planned(caller, operation, call).await?;
        let asking = Asking { id, caller, parts, operation, body, call };
        let mut slot = Some(slot);
        match self.admit_plan(&asking, &plan, &mut slot).await {
            Ok((counted, admitted)) => Ok((counted.unwrap_or(plan), admitted)),
            // The credit does not cover the operator's credentials, but the account's own keys may need none.
            Err(error @ GatewayError::PaymentRequired { .. }) => {
                let own = plan.own_only().ok_or(error)?;
                let (counted, admitted) = self.admit_plan(&asking, &own, &mut slot).await?;
                Ok((counted.unwrap_or(own), admitted))
            }
            Err(error) => Err(error),
        }
    }

    async fn planned(&self, caller: &KeyEntry, operation: &Operation, call: &Call<'_>) -> Result<Plan, GatewayError> {
        let choice = self.choose(&caller.key, operation, call)?;
        let keys = self.own_keys.of(&caller.key.account);
        let plan = Plan::new(&choice, &call.head, &keys, self.admission.allowances.fee);
        if plan.candidates.is_empty() {
            return Err(GatewayError::NoEndpoint { models: call.head.models.clone(), skipped: plan.skipped });
        }
        if plan.has_own() {
            self.learn_spending(caller, &keys).await;
        }
        Ok(plan)
    }

    /// Asks the ledger for the spending of keys with a budget. Without a reply, a budget that is not known has no room.
    async fn learn_spending(&self, caller: &KeyEntry, keys: &AccountKeys<'_>) {
        let now_us = self.clock.now_us();
        let unknown = keys.unknown_spending(now_us);
        if unknown.is_empty() {
            return;
        }
        let ask = GetKeySpend { account: caller.key.account.clone(), keys: unknown };
        if let Ok(all) = self.admission.ledger.call(&ask, SPENDING_TIMEOUT).await {
            for (id, spend) in all {
                keys.note_spending(id.as_str(), now_us, [spend.byok.daily, spend.byok.monthly]);
            }
        }
    }

    /// Holds the credit for a plan. The plan in the result is the one with its prompt counted, if that was of use.
    async fn admit_plan(
        &self,
        asking: &Asking<'_>,
        plan: &Plan,
        slot: &mut Option<Slot>,
    ) -> Result<(Option<Plan>, Admitted), GatewayError> {
        let admit = async |plan: &Plan, slot: &mut Option<Slot>| {
            let intent = Intent {
                request: asking.id.clone(),
                key: &asking.caller.key,
                plan,
                format: asking.call.format().recorded(),
                streamed: asking.call.head.stream,
                user: asking.call.head.user.clone(),
                app: edge::app(&asking.parts.headers),
            };
            self.admission.admit(intent, slot).await
        };
        match admit(plan, slot).await {
            Ok(admitted) if admitted.hold() >= plan.max_cost(admitted.is_free_with_own()) => Ok((None, admitted)),
            // The hold does not cover the whole answer. A tighter bound of the prompt leaves more of the hold for the answer.
            Ok(admitted) => {
                let counted = self.counted(plan, asking, admitted.slot()).await.ok().flatten();
                Ok((counted, admitted))
            }
            Err(GatewayError::PaymentRequired { denial, needed }) if denial.has_money() => {
                let counted = self.counted(plan, asking, slot.as_ref()).await?.filter(|counted| counted.min_cost(false) < needed);
                let Some(counted) = counted else { return Err(GatewayError::PaymentRequired { denial, needed }) };
                let admitted = admit(&counted, slot).await?;
                Ok((Some(counted), admitted))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the plan with the prompt counted in tokens, which are a fraction of its bytes. `None` if no tokenizer is known, or if the
    /// prompt is too large for its model anyway.
    async fn counted(&self, plan: &Plan, asking: &Asking<'_>, slot: Option<&Slot>) -> Result<Option<Plan>, GatewayError> {
        let tokenizers = plan.tokenizers();
        let context = plan.candidates.iter().map(|candidate| candidate.endpoint.context_length).max().unwrap_or_default();
        let head = &asking.call.head;
        let is_countable = head.prompt_tokens_max.is_some_and(|bytes| bytes <= context.saturating_mul(COUNTED_TIMES));
        if tokenizers.is_empty() || !is_countable {
            return Ok(None);
        }
        let counting = slot.map(Slot::count).transpose()?;
        let (own_operation, body) = (asking.operation.clone(), asking.body.clone());
        let counted = tokio::task::spawn_blocking(move || {
            let counted = tokens::count(&own_operation, &body, tokenizers);
            drop(counting);
            counted
        });
        Ok(counted.await.ok().map(|counted| plan.counted(head, &counted, self.admission.allowances.fee)))
    }
}
