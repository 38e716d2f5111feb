//! `make bench`: applies the same load, in turn within one run, to a static upstream, to nginx as its reverse proxy, and to ARouter with
//! authentication, leases, metering, spool and publishing on. Use the figures as ratios, because the machine's speed then cancels out.
//!
//! With `BENCH_BEFORE`, the path of an older release build, only that build and the current one are compared, in turn.

mod upstream;
mod load;
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};

use self::load::{Load, Request, Result};
use self::targets::{Nginx, Ours, Target};
use crate::{number, setting};

/// The seconds that each row runs; `BENCH_SECONDS` overrides it.
const SECONDS: u64 = 5;
/// The seconds of the load whose requests are all posted; `BENCH_POSTED_SECONDS` overrides it.
const POSTED_SECONDS: u64 = 60;
/// The requests per second of that load.
const POSTED_RATE: f64 = 3_300.0;

/// The requests per second at which the processor time of two programs is compared.
const SUSTAINED_RATE: f64 = 4_000.0;

/// The number of measurements of each of two programs, in turn; `BENCH_ROUNDS` overrides it.
const ROUNDS: u64 = 7;

fn seconds(name: &str, default: u64) -> Duration {
    Duration::from_secs(number(name, default))
}

pub fn run() {
    let upstream = upstream::start();
    if let Some(before) = setting("BENCH_BEFORE") {
        compare(&Ours::start_program(Path::new(&before), upstream), &Ours::start(upstream));
        return;
    }
    let nginx = Nginx::start(upstream);
    let ours = Ours::start(upstream);
    let alone = Target::alone(upstream);
    let targets = [&alone, &nginx.target, &ours.target];
    let length = seconds("BENCH_SECONDS", SECONDS);
    // Memory is measured first, while the process is still idle.
    let idle = ours.target.memory_mb();
    let paced = load::run(
        &ours.target.load_target(),
        &Load { connections: 1_000, rate: None, length: Duration::from_secs(2), request: Request::Paced },
    );
    assert!(paced.failed == 0, "{} paced streams were wrong", paced.failed);
    let paced_mb = ours.peak_memory_mb() - idle;

    println!("{:<44} {:>12} {:>12} {:>12}   nginx = 1", "", "upstream", "nginx", "arouter");
    let each = |load: &Load| -> Vec<(Result, f64)> { targets.iter().map(|target| measured(target, load)).collect() };

    let warm = Load { connections: 32, rate: None, length: Duration::from_secs(1), request: Request::Plain };
    each(&warm);
    let plain = each(&Load { connections: 32, rate: None, length, request: Request::Plain });
    row("plain, 32 connections: requests/s", &plain, |(result, _)| result.per_second());
    row("  p50 ms", &plain, |(result, _)| result.ms(0.5));
    row("  p99 ms", &plain, |(result, _)| result.ms(0.99));
    row("  CPU us/request", &plain, |(_, cpu)| *cpu);
    let one = each(&Load { connections: 1, rate: None, length, request: Request::Plain });
    row("plain, 1 connection: p50 ms", &one, |(result, _)| result.ms(0.5));
    row("  p99 ms", &one, |(result, _)| result.ms(0.99));
    let fixed = each(&Load { connections: 32, rate: Some(500.0), length, request: Request::Plain });
    row("plain, 500 requests/s: p50 ms", &fixed, |(result, _)| result.ms(0.5));
    row("  p99 ms", &fixed, |(result, _)| result.ms(0.99));
    let stream = each(&Load { connections: 1, rate: None, length, request: Request::Stream });
    row("stream of 52 frames, 1 connection: p50 ms", &stream, |(result, _)| result.ms(0.5));
    row("  first token p50 ms", &stream, |(result, _)| result.first_ms(0.5));
    let streams = each(&Load { connections: 16, rate: None, length, request: Request::Stream });
    row("streams, 16 connections: streams/s", &streams, |(result, _)| result.per_second());
    row("  CPU us/stream", &streams, |(_, cpu)| *cpu);

    println!("\n{:<58} {:>10}  target", "arouter", "");
    let at = |rows: &[(Result, f64)], of: fn(&Result) -> f64| (of(&rows[0].0), of(&rows[1].0), of(&rows[2].0));
    let (_, nginx_rps, our_rps) = at(&plain, Result::per_second);
    verdict("requests/s as a part of nginx's", our_rps / nginx_rps, ">= 0.25 (aim 0.4)");
    let added = |rows: &[(Result, f64)], of: fn(&Result) -> f64| of(&rows[2].0) - of(&rows[0].0);
    verdict("added at one connection, p50 ms", added(&one, |result| result.ms(0.5)), "<= 0.25");
    verdict("added at 500 requests/s, p99 ms", added(&fixed, |result| result.ms(0.99)), "<= 2");
    verdict("added to a stream of 52 frames, p50 ms", added(&stream, |result| result.ms(0.5)), "<= 1");
    verdict("added to the first token, p50 ms", added(&stream, |result| result.first_ms(0.5)), "<= 0.3");

    verdict("1,000 paced streams: MB above the idle process", paced_mb, "<= 60");
    println!("  (idle {idle:.0} MB, {} streams whole, first token p99 {:.0} ms)", paced.count(), paced.first_ms(0.99));
    posted(&ours);
}

/// Measures two programs in turn, each after the other one has posted everything. Each figure is the median of its rounds.
fn compare(before: &Ours, after: &Ours) {
    let length = seconds("BENCH_SECONDS", SECONDS);
    println!("{:<44} {:>12} {:>12}   before = 1, worst and best round", "", "before", "after");
    let load = |connections, rate, request| Load { connections, rate, length, request };
    // At a rate that both sustain, all parts keep up, and the processor time is that of whole requests.
    let loads = [
        load(32, None, Request::Plain),
        load(1, None, Request::Plain),
        load(1, None, Request::Stream),
        load(16, None, Request::Stream),
        load(32, Some(SUSTAINED_RATE), Request::Plain),
    ];
    let settled = |ours: &Ours, load: &Load| {
        let goal = ours.posted();
        let (result, cpu) = measured(&ours.target, load);
        while ours.posted() < goal + result.count() as u64 {
            std::thread::sleep(Duration::from_millis(100));
        }
        (result, cpu)
    };
    for ours in [before, after] {
        settled(ours, &Load { length: Duration::from_secs(1), ..loads[0] });
    }
    let round = |number: u64| {
        loads.each_ref().map(|load| {
            // The order alternates, so that neither program always runs on the warmer machine.
            let order = if number.is_multiple_of(2) { [before, after] } else { [after, before] };
            let mut results = order.map(|ours| settled(ours, load));
            if !number.is_multiple_of(2) {
                results.reverse();
            }
            results
        })
    };
    let rounds: Vec<[[(Result, f64); 2]; 5]> = (0..number("BENCH_ROUNDS", ROUNDS)).map(round).collect();
    let compared = |name: &str, which: usize, of: fn(&(Result, f64)) -> f64| {
        let of_all = |side: usize| rounds.iter().map(|round| of(&round[which][side])).collect::<Vec<_>>();
        let (before, after) = (of_all(0), of_all(1));
        let ratios: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after / before).collect();
        let (worst, best) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        println!("{name:<44} {:>12.3} {:>12.3}   {:.3} ({worst:.3} to {best:.3})", median(before), median(after), median(ratios));
    };
    compared("plain, 32 connections: requests/s", 0, |(result, _)| result.per_second());
    compared("  p99 ms", 0, |(result, _)| result.ms(0.99));
    compared("plain, 1 connection: p50 ms", 1, |(result, _)| result.ms(0.5));
    compared("stream of 52 frames: first token p50 ms", 2, |(result, _)| result.first_ms(0.5));
    compared("streams, 16 connections: streams/s", 3, |(result, _)| result.per_second());
    compared("  first token p50 ms", 3, |(result, _)| result.first_ms(0.5));
    compared("plain, 4,000 requests/s: CPU us/request", 4, |(_, cpu)| *cpu);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measured(target: &Target, load: &Load) -> (Result, f64) {
    let cpu = target.cpu_us();
    let result = load::run(&target.load_target(), load);
    let used = (target.cpu_us() - cpu) / result.count().max(1) as f64;
    assert!(result.failed == 0, "{}: {} answers were wrong", target.name, result.failed);
    (result, used)
}

fn row(name: &str, rows: &[(Result, f64)], of: impl Fn(&(Result, f64)) -> f64) {
    let values: Vec<f64> = rows.iter().map(of).collect();
    let show = |value: f64| if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    println!("{name:<44} {:>12} {:>12} {:>12}   {:.2}", show(values[0]), show(values[1]), show(values[2]), values[2] / values[1]);
}

fn verdict(name: &str, value: f64, target: &str) {
    println!("{name:<58} {value:>10.3}  {target}");
}

/// Sends requests at a fixed rate, and waits until all of them are in the books and in the activity.
fn posted(ours: &Ours) {
    let length = seconds("BENCH_POSTED_SECONDS", POSTED_SECONDS);
    let before = ours.posted();
    let since = Instant::now();
    let result = load::run(&ours.target.load_target(), &Load { connections: 32, rate: Some(POSTED_RATE), length, request: Request::Plain });
    assert!(result.failed == 0, "{} answers were wrong", result.failed);
    let sent = since.elapsed();
    let goal = before + result.count() as u64;
    while ours.posted() < goal {
        assert!(since.elapsed() < length * 4, "{} of {goal} are posted", ours.posted());
        std::thread::sleep(Duration::from_millis(100));
    }
    let all = since.elapsed();
    verdict("posted in ledger and projector, requests/s", result.count() as f64 / all.as_secs_f64(), ">= 3000 for 60 s");
    println!(
        "  ({} requests in {:.1} s, all posted {:.1} s later, p99 {:.1} ms)",
        result.count(),
        sent.as_secs_f64(),
        all.saturating_sub(sent).as_secs_f64(),
        result.ms(0.99)
    );
}
