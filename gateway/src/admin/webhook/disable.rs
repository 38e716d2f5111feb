//! Endpoints that the projector has given up become disabled for everybody, by an event.

use std::time::Duration;

use eventlog::Throttle;
use events::rpc::webhook::{FailedWebhook, ListFailedWebhooks};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, RPC_TIMEOUT};
use crate::error::GatewayError;

const EVERY: Duration = Duration::from_secs(5);

/// Records that given-up endpoints are disabled, until `stop`. Several gateways may record the same change; the readers keep one.
pub async fn follow(admin: Admin, stop: CancellationToken) {
    let troubles = Throttle::new();
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = disable_failed(&admin).await
            && let (_, Some(unsaid)) = troubles.failed()
        {
            tracing::warn!(%error, unsaid, "webhooks that were given up are not disabled yet: {error}");
        }
    }
}

async fn disable_failed(admin: &Admin) -> Result<(), GatewayError> {
    for failed in admin.projector.call(&ListFailedWebhooks {}, RPC_TIMEOUT).await? {
        let FailedWebhook { account, webhook: id, revision, reason } = failed;
        let is_newest = admin.directory.webhook(&id).is_some_and(|known| known.webhook.revision <= revision && !known.webhook.disabled);
        if is_newest {
            let disabled = |webhook: &mut events::webhook::Webhook| {
                (webhook.disabled, webhook.disabled_reason) = (true, Some(reason.clone()));
                Ok(())
            };
            admin.change_webhook(&account, &id, disabled).await?;
            tracing::warn!(account = account.as_str(), webhook = id, reason, "a webhook is disabled: {reason}");
        }
    }
    Ok(())
}
