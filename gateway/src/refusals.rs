//! Refusals that are too many to be recorded one by one: each second, one event for each account with how many there were.

use std::sync::Arc;
use std::time::Duration;

use events::Draft;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::admission::quota::Quotas;

/// How often they are recorded.
const EVERY: Duration = Duration::from_secs(1);

/// Records what was counted until `stop`, and once more then.
pub async fn count(quotas: Arc<Quotas>, admin: Admin, stop: CancellationToken) {
    loop {
        let goes_on = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some();
        for (account, refused) in quotas.skipped_refusals() {
            let draft = Draft {
                id: admin.ids.uuid(&*admin.clock),
                time_us: admin.clock.now_us(),
                account: account.as_str(),
                subject: refused.request.as_str(),
                traceparent: None,
                payload: &refused,
            };
            if let Err(error) = admin.spool.append(|batch| batch.push(&draft)) {
                tracing::warn!(%error, "refusals are not recorded: {error}");
            }
        }
        if !goes_on {
            return;
        }
    }
}
