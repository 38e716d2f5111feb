//! `POST /api/v1/admin/credit`: grants, sells, refunds or corrects credit, once per id; for the operator.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::clock::parse_rfc3339;
use events::ledger::CreditKind;
use events::rpc::{CreditCommand, CreditReply, PostCredit};
use events::{AccountId, Nanos};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use crate::admin::body::{parse, read_bytes, signed_usd, wrong};
use crate::admin::caller::Operator;
use crate::admin::{Admin, RPC_TIMEOUT, text};
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;
use crate::openapi::{Data, IdempotencyKey, PostedCredit, refusals};

/// The longest wait for the ledger to learn of a new account.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);

/// The body of the call. [`PostCreditBody::command`] defines which fields belong to which kind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostCredit)]
struct PostCreditBody {
    #[schema(value_type = String)]
    account: AccountId,
    /// `grant`, `adjustment`, `credit` (a purchase) or `refund`.
    #[schema(value_type = String)]
    kind: CreditKind,
    /// Not with `refund`; only an adjustment may be negative.
    #[serde(default)]
    #[schema(value_type = Option<Usd>)]
    amount: Option<Box<RawValue>>,
    /// The order in which grants are spent; with `grant`.
    #[serde(default)]
    priority: Option<i64>,
    #[serde(default)]
    /// A future time in RFC 3339; with `grant` and `credit`.
    expires_at: Option<String>,
    /// The purchase to refund.
    #[serde(default)]
    purchase: Option<String>,
    #[serde(default)]
    description: Option<String>,
    /// The idempotency key, which makes a repeated call harmless.
    #[serde(default)]
    id: Option<String>,
}

impl PostCreditBody {
    fn amount(&self) -> Result<Nanos, GatewayError> {
        let raw = self.amount.as_deref().ok_or_else(|| wrong("amount", "it is missing"))?;
        let amount = signed_usd("amount", raw)?;
        let is_right = if self.kind == CreditKind::Adjustment { amount != Nanos::ZERO } else { amount > Nanos::ZERO };
        if is_right { Ok(amount) } else { Err(wrong("amount", "it must be more than 0; only an adjustment may be negative")) }
    }

    fn expires_at_us(&self, now_us: i64) -> Result<Option<i64>, GatewayError> {
        let Some(text) = &self.expires_at else { return Ok(None) };
        let at = parse_rfc3339(text).ok_or_else(|| wrong("expires_at", "it must be a time such as 2027-01-31T00:00:00Z"))?;
        if at > now_us { Ok(Some(at)) } else { Err(wrong("expires_at", "it must lie in the future")) }
    }

    /// Builds the command and rejects fields that do not belong to the kind.
    ///
    /// `grant` takes amount, priority and expires_at; `adjustment` takes amount. `credit` is a purchase and takes amount and expires_at;
    /// the fee is added to the amount. `refund` takes purchase.
    fn command(&self, now_us: i64) -> Result<CreditCommand, GatewayError> {
        let only = |field: &'static str, is_there: bool, kinds: &[CreditKind]| {
            if is_there && !kinds.contains(&self.kind) { Err(wrong(field, "it does not go with this kind")) } else { Ok(()) }
        };
        only("amount", self.amount.is_some(), &[CreditKind::Grant, CreditKind::Adjustment, CreditKind::Purchase])?;
        only("priority", self.priority.is_some(), &[CreditKind::Grant])?;
        only("expires_at", self.expires_at.is_some(), &[CreditKind::Grant, CreditKind::Purchase])?;
        only("purchase", self.purchase.is_some(), &[CreditKind::Refund])?;
        let expires_at_us = self.expires_at_us(now_us)?;
        match self.kind {
            CreditKind::Grant => Ok(CreditCommand::Grant { amount_nanos: self.amount()?, priority: self.priority, expires_at_us }),
            CreditKind::Adjustment => Ok(CreditCommand::Adjust { amount_nanos: self.amount()? }),
            CreditKind::Purchase => Ok(CreditCommand::Purchase { amount_nanos: self.amount()?, expires_at_us }),
            CreditKind::Refund => {
                let purchase = self.purchase.as_deref().ok_or_else(|| wrong("purchase", "it is missing"))?;
                let purchase = purchase.strip_prefix("txn_").unwrap_or(purchase);
                Ok(CreditCommand::Refund { purchase: text::id("purchase", purchase.to_owned())? })
            }
            CreditKind::Fee | CreditKind::Expiry => Err(wrong("kind", "it must be grant, adjustment, credit or refund")),
        }
    }
}

/// Returns 201 with `{data: {id, amount, balance}}`; amounts are in USD.
///
/// # Errors
/// Returns 400 for a bad body, 401 without the operator's token, 404 for an unknown account, 503 if the ledger does not reply. Returns 409
/// for an id that was used with other content, and for a purchase that cannot be refunded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/credit",
    operation_id = "post_credit",
    tag = "Operator",
    summary = "Grant, sell, refund or correct credit, once for each id",
    security(("operator" = [])),
    params(IdempotencyKey),
    request_body = PostCreditBody,
    responses((status = 201, description = "The transaction and the balance.", body = Data<PostedCredit>), refusals::Operator)
)]
pub async fn post(State(admin): State<Admin>, _: Operator, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let bytes = read_bytes(&parts.headers, body, &admin.server).await?;
    let body: PostCreditBody = parse(&bytes)?;
    // The ledger refuses an id with another content, for ever.
    let call = IdempotentCall::read(&parts.headers, "operator", "credit", &bytes)?;
    let own_id = || call.as_ref().map_or_else(|| admin.ids.uuid(&*admin.clock).to_string(), IdempotentCall::id);
    let command = PostCredit {
        command: body.command(admin.clock.now_us())?,
        id: body.id.map_or_else(|| Ok(own_id()), |id| text::id("id", id))?,
        account: text::id("account", body.account.to_string())?.as_str().into(),
        description: body.description.map_or_else(|| Ok(body.kind.as_str().to_owned()), text::description)?,
    };
    match admin.post_credit(&command).await? {
        CreditReply::Posted { transaction, amount_nanos, balance_nanos } => {
            admin.admission.credited(&command.account);
            let data = json!({"id": format!("txn_{transaction}"), "amount": amount_nanos.to_json(), "balance": balance_nanos.to_json()});
            Ok((StatusCode::CREATED, Json(json!({"data": data}))).into_response())
        }
        CreditReply::TooLarge => Err(wrong("amount", "it is too large")),
        CreditReply::UnknownAccount => Err(GatewayError::NotFound("There is no such account.".to_owned())),
        CreditReply::Insufficient => Err(wrong("amount", "the account has less available than that")),
        CreditReply::NotRefundable => Err(GatewayError::Conflict(
            "That purchase cannot be refunded: it is not one of this account, it is older than 24 hours, or all of it is spent or held by requests in flight.".to_owned(),
        )),
        CreditReply::Conflict => Err(GatewayError::Conflict("That id was used before with another account, kind or amount.".to_owned())),
    }
}

impl Admin {
    /// Posts credit; retries while the ledger does not yet know an account that this gateway knows.
    ///
    /// # Errors
    /// Returns 503 if the ledger does not reply.
    pub async fn post_credit(&self, command: &PostCredit) -> Result<CreditReply, GatewayError> {
        let since = Instant::now();
        loop {
            let answer = self.ledger.call(command, RPC_TIMEOUT).await?;
            let is_new = answer == CreditReply::UnknownAccount && self.directory.has_account(&command.account);
            if !is_new || since.elapsed() > PATIENCE {
                return Ok(answer);
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
