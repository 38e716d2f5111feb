//! `POST /api/v1/admin/credit`: grants or adjusts credit, once for each id; for the operator.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::ask::{CreditAnswer, PostCredit};
use events::ledger::CreditKind;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::admin::body::{read, signed_usd, wrong};
use crate::admin::{ASK_TIMEOUT, Admin};
use crate::error::GatewayError;

/// How long a new account may take to reach the ledger.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostCreditBody {
    account: AccountId,
    amount: Box<RawValue>,
    kind: CreditKind,
    #[serde(default)]
    description: Option<String>,
    /// Makes a repeated call harmless.
    #[serde(default)]
    id: Option<String>,
}

/// `{data: {id, balance}}`, USD.
///
/// # Errors
/// 400 for a bad body, 401 without the operator's token, 404 for an unknown account, 409 for an id used with other content, 503
/// when the ledger does not answer.
pub async fn post(State(admin): State<Admin>, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    admin.operator(&parts.headers)?;
    let body: PostCreditBody = read(&parts.headers, body, &admin.server).await?;
    let amount_nanos = signed_usd("amount", &body.amount)?;
    if amount_nanos.0 == 0 || (amount_nanos.0 < 0 && body.kind == CreditKind::Grant) {
        return Err(wrong("amount", "a grant must be more than 0; an adjustment must not be 0"));
    }
    let command = PostCredit {
        id: body.id.unwrap_or_else(|| admin.ids.uuid(&*admin.clock).to_string()),
        account: body.account,
        kind: body.kind,
        amount_nanos,
        description: body.description.unwrap_or_else(|| body.kind.as_str().to_owned()),
    };
    match admin.post_credit(&command).await? {
        CreditAnswer::Posted { transaction, balance_nanos } => {
            Ok((StatusCode::CREATED, Json(json!({"data": {"id": format!("txn_{transaction}"), "balance": balance_nanos.to_json()}})))
                .into_response())
        }
        CreditAnswer::UnknownAccount => Err(GatewayError::NotFound("There is no such account.".to_owned())),
        CreditAnswer::Insufficient => Err(wrong("amount", "the account has less available than that")),
        CreditAnswer::Conflict => Err(GatewayError::Conflict("That id was used before with another account, kind or amount.".to_owned())),
    }
}

impl Admin {
    /// Posts credit; waits for the ledger to hear of an account that was just made.
    ///
    /// # Errors
    /// 503 when the ledger does not answer.
    pub async fn post_credit(&self, command: &PostCredit) -> Result<CreditAnswer, GatewayError> {
        let since = Instant::now();
        loop {
            let answer = self.ledger.ask(command, ASK_TIMEOUT).await?;
            let is_new = answer == CreditAnswer::UnknownAccount && self.directory.has_account(&command.account);
            if !is_new || since.elapsed() > PATIENCE {
                return Ok(answer);
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
