//! Streams whose first piece is late: the head and comments precede it, so that no proxy in between times out while a model thinks.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use events::RequestId;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, Sleep};
use wire::answer::{End, Names};
use wire::fields::quoted;
use wire::output::{Output, heartbeat};

use super::answer;
use crate::error::{ErrorForm, GatewayError};

/// A request that is still being processed.
type Running = Pin<Box<dyn Future<Output = Result<Response, GatewayError>> + Send>>;

/// Returns the response to a request. If a stream is silent for a heartbeat, the response is a head with comments until the stream begins.
/// From the head on, a failure is sent as a frame. The request sets `is_stream` once it is admitted and known to be a stream.
pub async fn in_time(
    form: ErrorForm,
    mut running: Running,
    is_stream: Arc<AtomicBool>,
    every: Duration,
    (id, now_s): (RequestId, i64),
) -> Response {
    let format = form.format;
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    let early = poll_fn(|context| {
        if let Poll::Ready(done) = running.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if !is_stream.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(every))).as_mut().poll(context).map(|()| None)
    })
    .await;
    match (early, alarm) {
        (Some(done), _) => done.unwrap_or_else(|error| error.into_response_of(form, Some(&id))),
        (None, alarm) => {
            let alarm = alarm.unwrap_or_else(|| Box::pin(tokio::time::sleep(every)));
            let late = Late { form, state: State::Waiting(running), alarm, every, id, now_s };
            let pieces = stream::unfold(late, async |mut late| late.piece().await.map(|piece| (Ok::<_, Infallible>(piece), late)));
            answer(Body::from_stream(stream::once(async move { Ok(Bytes::from_static(heartbeat(format))) }).chain(pieces)))
        }
    }
}

struct Late {
    form: ErrorForm,
    state: State,
    alarm: Pin<Box<Sleep>>,
    every: Duration,
    id: RequestId,
    now_s: i64,
}

enum State {
    Waiting(Running),
    Relaying(BodyDataStream),
    Over,
}

impl Late {
    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            match &mut self.state {
                State::Waiting(running) => {
                    let alarm = &mut self.alarm;
                    let done = poll_fn(|context| wait(running, alarm, context)).await;
                    match done {
                        None => {
                            self.alarm.as_mut().reset(Instant::now() + self.every);
                            return Some(Bytes::from_static(heartbeat(self.form.format)));
                        }
                        Some(Ok(response)) => self.state = State::Relaying(response.into_body().into_data_stream()),
                        Some(Err(error)) => {
                            self.state = State::Over;
                            let (mut frame, id) = (Vec::new(), quoted(self.id.as_str()));
                            let names = Names {
                                id: self.id.as_str(),
                                id_json: &id,
                                model: "",
                                model_json: "\"\"",
                                provider: "",
                                created_s: self.now_s,
                            };
                            let mut output = Output::new(self.form.format, self.form.format);
                            error.shown_to_client(self.form, |error| output.end(&End::Error(error), &names, &mut frame));
                            return Some(frame.into());
                        }
                    }
                }
                State::Relaying(body) => return body.next().await.and_then(Result::ok),
                State::Over => return None,
            }
        }
    }
}

/// Polls for the response; `None` means that the alarm fired first.
fn wait(running: &mut Running, alarm: &mut Pin<Box<Sleep>>, context: &mut Context<'_>) -> Poll<Option<Result<Response, GatewayError>>> {
    match running.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => alarm.as_mut().poll(context).map(|()| None),
    }
}
