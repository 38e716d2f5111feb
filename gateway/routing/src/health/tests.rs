//! The breaker's states by examples and random histories; windows, percentiles and permits.

use super::breaker::{BACKOFF_MAX_US, BACKOFF_MIN_US, CONSECUTIVE_FAILURES_MAX, PROBE_MAX_US, PROVEN_US, REMOTE_MAX_US};
use super::*;
use crate::seeded::Seeded;

const FAILED: Sample = Sample::without_answer(Outcome::Failed);
const GOOD: Sample = Sample { outcome: Outcome::Succeeded, ttft_us: Some(100_000), output_tokens: 90, duration_us: 1_000_000 };

fn broken(now_us: i64) -> Arc<EndpointHealth> {
    let health = Arc::new(EndpointHealth::default());
    for count in 1..=CONSECUTIVE_FAILURES_MAX {
        let change = health.record(now_us, &FAILED);
        let until_us = now_us + BACKOFF_MIN_US;
        assert_eq!(change, (count == CONSECUTIVE_FAILURES_MAX).then_some(BreakerChange::Opened { until_us }));
    }
    health
}

#[test]
fn failures_in_a_row_open_and_a_probe_closes() {
    let health = broken(0);
    assert!(health.try_acquire(BACKOFF_MIN_US - 1).is_none());
    assert_eq!(health.view(BACKOFF_MIN_US).breaker, BreakerState::HalfOpen);
    let probe = health.try_acquire(BACKOFF_MIN_US).unwrap();
    assert!(probe.is_probe() && health.try_acquire(BACKOFF_MIN_US).is_none(), "one probe at a time");
    assert_eq!(health.view(BACKOFF_MIN_US).breaker, BreakerState::Probing);
    assert_eq!(probe.finish(BACKOFF_MIN_US, &GOOD), Some(BreakerChange::Closed));
    assert!(!health.try_acquire(BACKOFF_MIN_US).unwrap().is_probe());
    assert!(!health.view(BACKOFF_MIN_US).has_outage);
    assert_eq!(health.record(BACKOFF_MIN_US, &FAILED), None, "old failures are forgotten");
}

#[test]
fn failed_probes_double_the_back_off_up_to_half_a_minute() {
    let health = broken(0);
    let mut now = BACKOFF_MIN_US;
    for seconds in [2, 4, 8, 16, 30, 30] {
        let change = health.try_acquire(now).unwrap().finish(now, &FAILED);
        let until_us = now + seconds * 1_000_000;
        assert_eq!(change, Some(BreakerChange::Opened { until_us }));
        assert!(health.try_acquire(until_us - 1).is_none());
        now = until_us;
    }
}

#[test]
fn half_of_the_recent_requests_open() {
    let health = EndpointHealth::default();
    for now in [1, 2] {
        assert_eq!(health.record(now * 1_000_000, &GOOD), None);
        assert_eq!(health.record(now * 1_000_000, &FAILED), None);
    }
    assert!(health.view(2_000_000).has_outage && !health.view(40_000_000).has_outage);
    assert_eq!(health.record(40_000_000, &FAILED), None, "the window is over");
    let fresh = EndpointHealth::default();
    for sample in [GOOD, FAILED, GOOD, FAILED] {
        assert_eq!(fresh.record(5, &sample), None);
    }
    assert_eq!(fresh.record(6, &FAILED), Some(BreakerChange::Opened { until_us: 6 + BACKOFF_MIN_US }));
}

#[test]
fn a_rate_limit_opens_without_an_outage() {
    let limited = |retry_after_us| Sample::without_answer(Outcome::RateLimited { retry_after_us });
    let health = Arc::new(EndpointHealth::default());
    assert_eq!(health.record(0, &limited(None)), None);
    assert_eq!(health.record(0, &limited(Some(7))), Some(BreakerChange::Opened { until_us: 7 }));
    let view = health.view(0);
    assert_eq!((view.breaker, view.has_outage, view.uptime_5m_bp), (BreakerState::Open { until_us: 7 }, false, None));
    let change = health.try_acquire(7).unwrap().finish(7, &limited(Some(i64::MAX)));
    assert_eq!(change, Some(BreakerChange::Opened { until_us: 7 + BACKOFF_MAX_US }));
}

#[test]
fn a_probe_without_verdict_is_released() {
    let health = broken(0);
    let now = BACKOFF_MIN_US;
    drop(health.try_acquire(now).unwrap());
    let neutral = health.try_acquire(now).unwrap().finish(now, &Sample::without_answer(Outcome::Neutral));
    assert_eq!(neutral, None);
    let hanging = health.try_acquire(now).unwrap();
    assert!(health.try_acquire(now + PROBE_MAX_US - 1).is_none());
    let second = health.try_acquire(now + PROBE_MAX_US).unwrap();
    assert_eq!(hanging.finish(now + PROBE_MAX_US, &FAILED), None, "a probe that was written off has no vote");
    assert!(health.try_acquire(now + PROBE_MAX_US).is_none(), "and does not release the second");
    assert_eq!(second.finish(now + PROBE_MAX_US, &GOOD), Some(BreakerChange::Closed));
}

#[test]
fn late_answers_do_not_move_an_open_breaker() {
    let health = Arc::new(EndpointHealth::default());
    let (early, late) = (health.try_acquire(0).unwrap(), health.try_acquire(0).unwrap());
    let changes = (0..CONSECUTIVE_FAILURES_MAX).filter_map(|_| health.record(0, &FAILED));
    assert_eq!(changes.count(), 1);
    assert_eq!((early.finish(1, &GOOD), late.finish(1, &FAILED)), (None, None));
    assert_eq!(health.view(1).breaker, BreakerState::Open { until_us: BACKOFF_MIN_US });
}

#[test]
fn reports_of_other_gateways_are_hints() {
    let health = Arc::new(EndpointHealth::default());
    health.apply_remote(0, BreakerChange::Opened { until_us: i64::MAX });
    assert_eq!(health.view(0).breaker, BreakerState::Open { until_us: REMOTE_MAX_US });
    assert_eq!(health.view(0).opening, Some(Opening { since_us: 0, cause: Cause::Remote }));
    health.apply_remote(5, BreakerChange::Opened { until_us: i64::MAX });
    assert_eq!(health.view(5).breaker, BreakerState::Open { until_us: REMOTE_MAX_US }, "a second report prolongs nothing");
    health.apply_remote(5, BreakerChange::Closed);
    assert_eq!((health.view(5).breaker, health.view(5).opening), (BreakerState::Closed, None));
    health.apply_remote(10, BreakerChange::Opened { until_us: 9 });
    assert_eq!(health.view(10).breaker, BreakerState::Closed, "too late");
}

#[test]
fn the_own_probe_counts_more_than_a_report() {
    let health = broken(0);
    let probe = health.try_acquire(BACKOFF_MIN_US).unwrap();
    health.apply_remote(BACKOFF_MIN_US, BreakerChange::Closed);
    assert!(health.try_acquire(BACKOFF_MIN_US).is_none(), "a running probe is not disturbed");
    assert_eq!(probe.finish(BACKOFF_MIN_US, &GOOD), Some(BreakerChange::Closed));
    let later = BACKOFF_MIN_US + PROVEN_US;
    health.apply_remote(later - 1, BreakerChange::Opened { until_us: i64::MAX });
    assert_eq!(health.view(later - 1).breaker, BreakerState::Closed, "this gateway has seen it answer");
    health.apply_remote(later, BreakerChange::Opened { until_us: i64::MAX });
    assert!(health.try_acquire(later).is_none() && health.try_acquire(later + REMOTE_MAX_US).is_some_and(|permit| permit.is_probe()));
}

#[test]
fn an_opening_keeps_its_time_and_has_the_newest_cause() {
    let health = broken(7);
    assert_eq!(health.view(8).opening, Some(Opening { since_us: 7, cause: Cause::FailedInARow }));
    let now = 7 + BACKOFF_MIN_US;
    let limited = Sample::without_answer(Outcome::RateLimited { retry_after_us: Some(9) });
    assert!(health.try_acquire(now).unwrap().finish(now, &limited).is_some());
    assert_eq!(health.view(now).opening, Some(Opening { since_us: 7, cause: Cause::RateLimited }));
    assert_eq!(health.view(now).attempts, Attempts { failed: 5, rate_limited: 1, ..Attempts::default() });
    health.reset();
    assert_eq!((health.view(now).breaker, health.view(now).opening, health.view(now).has_outage), (BreakerState::Closed, None, false));
}

#[test]
fn figures_are_those_of_the_windows() {
    let health = EndpointHealth::default();
    let slow = Sample { ttft_us: Some(900_000), ..GOOD };
    for sample in [GOOD; 90].into_iter().chain([slow; 10]) {
        assert_eq!(health.record(0, &sample), None);
    }
    assert_eq!(health.record(0, &FAILED), None);
    let view = health.view(0);
    let near = |value: u64, exact: u64| assert!(value.abs_diff(exact) <= exact / 8, "{value} {exact}");
    let (ttft, throughput) = (view.ttft_us.unwrap(), view.throughput_milli.unwrap());
    near(ttft.p50, 100_000);
    near(ttft.p99, 900_000);
    near(throughput.p50, 100_000);
    near(view.latency_us.unwrap().p99, 1_000_000);
    let uptime = Some(100 * 10_000 / 101);
    assert_eq!([view.uptime_5m_bp, view.uptime_30m_bp, view.uptime_1d_bp], [uptime; 3]);
    let later = health.view(6 * MINUTE_US);
    assert_eq!([later.uptime_5m_bp, later.uptime_30m_bp, later.uptime_1d_bp], [None, uptime, uptime]);
    let much_later = health.view(31 * MINUTE_US);
    assert_eq!([much_later.uptime_30m_bp, much_later.uptime_1d_bp], [None, uptime]);
    assert!(health.view(40 * MINUTE_US).ttft_us.is_none());
    assert_eq!(health.view(25 * 60 * MINUTE_US).uptime_1d_bp, None);
}

#[test]
fn random_histories_never_have_two_probes_and_always_recover() {
    let (mut probes_seen, mut refused) = (0, 0);
    for seed in 0..3_000 {
        let seeded = &mut Seeded::new(seed);
        let health = Arc::new(EndpointHealth::default());
        let (mut now, mut open): (i64, Vec<(i64, Permit)>) = (1_000_000_000, Vec::new());
        for _ in 0..200 {
            now += i64::try_from(seeded.below(3_000_000)).unwrap();
            let outcome = match seeded.below(8) {
                0..3 => Outcome::Failed,
                3 => Outcome::RateLimited { retry_after_us: (seeded.below(2) == 0).then_some(5_000_000) },
                4 => Outcome::Neutral,
                _ => Outcome::Succeeded,
            };
            match seeded.below(5) {
                0..2 => match health.try_acquire(now) {
                    Some(permit) => open.push((now, permit)),
                    None => refused += 1,
                },
                2 if !open.is_empty() => drop(open.swap_remove(usize::try_from(seeded.below(open.len() as u128)).unwrap())),
                3 => {
                    let remote = [BreakerChange::Closed, BreakerChange::Opened { until_us: now + 9_000_000 }];
                    health.apply_remote(now, remote[usize::from(seeded.below(2) == 0)]);
                }
                _ if !open.is_empty() => {
                    let (_, permit) = open.swap_remove(usize::try_from(seeded.below(open.len() as u128)).unwrap());
                    let change = permit.finish(now, &Sample::without_answer(outcome));
                    if let Some(BreakerChange::Opened { until_us }) = change {
                        assert!(until_us <= now + BACKOFF_MAX_US);
                        assert!(health.try_acquire(until_us - 1).is_none());
                    }
                }
                _ => {}
            }
            let probes = open.iter().filter(|(since, permit)| permit.is_probe() && now - since < PROBE_MAX_US).count();
            assert!(probes <= 1, "seed {seed}: {probes} probes");
            probes_seen += probes;
        }
        now += PROBE_MAX_US.max(BACKOFF_MAX_US);
        let permit = health.try_acquire(now).expect("never stuck");
        assert!(!matches!(permit.finish(now, &GOOD), Some(BreakerChange::Opened { .. })));
        assert_eq!(health.view(now).breaker, BreakerState::Closed, "seed {seed}");
    }
    assert!(probes_seen > 1_000 && refused > 1_000, "{probes_seen} {refused}");
}

#[test]
fn threads_get_one_probe() {
    let health = broken(0);
    let permits: Vec<Option<Permit>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| health.try_acquire(BACKOFF_MIN_US))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(permits.iter().flatten().count(), 1);
}
