//! Refusals that are too many to be recorded individually: each second, one event per account records their number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::Draft;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::admission::in_flight_quota::Quotas;

/// The interval between these events.
const EVERY: Duration = Duration::from_secs(1);

/// Records the counted refusals until `stop`, and then once more. Also forgets accounts whose rates are at rest.
pub async fn count(quotas: Arc<Quotas>, admin: Admin, stop: CancellationToken) {
    loop {
        let goes_on = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some();
        quotas.rate_limits.forget_idle(Instant::now());
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
