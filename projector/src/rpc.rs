//! The projector's RPC handlers for other processes.

use std::sync::Arc;

use eventlog::rpc::{Handler, HandlerFuture, handle};
use eventlog::{Store, Throttle, quarantine};
use events::Clock;
use events::rpc::webhook::{ListFailedWebhooks, ProbeAddress, ReplayWebhook, TestWebhook};
use events::rpc::{DecideQuarantine, DecideReply, GetWatermarks, ListQuarantine, Request};

use crate::projections;
use crate::webhook::calls::Calls;
use crate::webhook::endpoints;

/// The handler of the projector's RPC requests.
pub struct RpcHandler {
    pub store: Store,
    /// The clock that stamps quarantine decisions.
    pub clock: Arc<dyn Clock>,
    pub webhooks: Calls,
}

impl Handler for RpcHandler {
    fn handle<'a>(&'a self, name: &'a str, request: &'a [u8]) -> HandlerFuture<'a> {
        Box::pin(async move {
            match name {
                GetWatermarks::NAME => {
                    handle(request, async |request: GetWatermarks| {
                        database_error(
                            eventlog::sources::watermarks(
                                &self.store.reads,
                                &request.source,
                                &projections::ALL.map(|projection| projection.reader),
                            )
                            .await,
                        )
                    })
                    .await
                }
                ListQuarantine::NAME => {
                    handle(request, async |request: ListQuarantine| {
                        database_error(quarantine::list(&self.store, request.event_id.as_deref()).await)
                    })
                    .await
                }
                DecideQuarantine::NAME => {
                    handle(request, async |command: DecideQuarantine| database_error(self.decide(&command).await)).await
                }
                ProbeAddress::NAME => handle(request, async |probe: ProbeAddress| Ok(self.webhooks.probe(&probe).await)).await,
                TestWebhook::NAME => handle(request, async |test: TestWebhook| database_error(self.webhooks.test(&test).await)).await,
                ReplayWebhook::NAME => {
                    handle(request, async |replay: ReplayWebhook| database_error(self.webhooks.replay(&replay).await)).await
                }
                ListFailedWebhooks::NAME => {
                    handle(request, async |_: ListFailedWebhooks| database_error(endpoints::failed(&self.store.reads).await)).await
                }
                other => Err(format!("no such request: {other}")),
            }
        })
    }
}

impl RpcHandler {
    async fn decide(&self, command: &DecideQuarantine) -> Result<DecideReply, sqlx::Error> {
        quarantine::decide(&self.store, command, self.clock.now_us(), |reader| {
            let projection = projections::ALL.into_iter().find(|projection| projection.reader.name == reader)?;
            Some(Arc::new(projection.fold))
        })
        .await
    }
}

fn database_error<T>(result: Result<T, sqlx::Error>) -> Result<T, String> {
    static TROUBLES: Throttle = Throttle::new();
    result.map_err(|error| {
        if let (_, Some(unsaid)) = TROUBLES.failed() {
            tracing::error!(%error, unsaid, "the projector's database failed: {error}");
        }
        "the projector's database failed".to_owned()
    })
}
