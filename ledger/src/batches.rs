//! Requests that share a transaction: those that arrive while one runs are all in the next one.

use std::mem::take;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// The requests that wait for a transaction.
pub struct Batches<Request, Reply> {
    waiting: Mutex<Vec<(Request, oneshot::Sender<Reply>)>>,
    running: tokio::sync::Mutex<()>,
}

impl<Request, Reply> Default for Batches<Request, Reply> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), running: tokio::sync::Mutex::default() }
    }
}

impl<Request: Clone, Reply> Batches<Request, Reply> {
    /// Returns the reply to a request. The first of the waiting callers runs `apply` for all of them; it returns a reply for each request,
    /// in their order. If it fails, its caller gets the error, and the others run their own.
    pub async fn run<E, F>(&self, request: Request, apply: impl Fn(Vec<Request>) -> F) -> Result<Reply, E>
    where
        F: Future<Output = Result<Vec<Reply>, E>>,
    {
        loop {
            let (sender, mut reply) = oneshot::channel();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((request.clone(), sender));
            let _running = tokio::select! {
                biased;
                replied = &mut reply => match replied {
                    Ok(reply) => return Ok(reply),
                    Err(_) => continue,
                },
                running = self.running.lock() => running,
            };
            match reply.try_recv() {
                Ok(reply) => return Ok(reply),
                Err(TryRecvError::Closed) => continue,
                Err(TryRecvError::Empty) => {}
            }
            let mut waiting = take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.retain(|(_, sender)| !sender.is_closed());
            let (requests, senders): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            for (sender, reply) in senders.into_iter().zip(apply(requests).await?) {
                // A caller that is gone needs no reply.
                let _gone = sender.send(reply);
            }
            if let Ok(reply) = reply.try_recv() {
                return Ok(reply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;

    /// Starts 20 callers, lets the first call of `apply` wait until all have arrived, and returns their replies and the number of calls.
    async fn replies(failing: usize) -> (Vec<Result<u32, usize>>, usize) {
        let (batches, calls, arrived) = (Arc::new(Batches::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let mut callers = JoinSet::new();
        for number in 0..20_u32 {
            let (batches, calls, arrived) = (Arc::clone(&batches), Arc::clone(&calls), Arc::clone(&arrived));
            callers.spawn(async move {
                let apply = |requests: Vec<u32>| {
                    let (call, arrived) = (calls.fetch_add(1, Ordering::SeqCst), Arc::clone(&arrived));
                    async move {
                        if call == 0 {
                            let _all = arrived.acquire_many(20).await.expect("open");
                        }
                        if call == failing { Err(call) } else { Ok(requests.iter().map(|request| request * 2).collect()) }
                    }
                };
                arrived.add_permits(1);
                batches.run(number, apply).await.map(|reply| reply.abs_diff(number * 2))
            });
        }
        let mut replies = callers.join_all().await;
        replies.sort();
        (replies, calls.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn requests_that_wait_share_a_call_and_get_their_own_replies() {
        let (replies, calls) = replies(usize::MAX).await;
        assert_eq!((replies, calls), (vec![Ok(0); 20], 2));
    }

    #[tokio::test]
    async fn a_failed_call_costs_one_caller_its_reply() {
        let (replies, calls) = replies(1).await;
        assert_eq!(replies.iter().filter(|reply| **reply == Ok(0)).count(), 19);
        assert_eq!((replies.last(), calls), (Some(&Err(1)), 3));
    }
}
