//! The kernel's figures of a process: memory, processor time, sleeps, limits.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// Clock ticks per second in `/proc`, fixed on Linux.
const TICKS: u64 = 100;

fn read(pid: Pid, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Returns the number that follows a name in a file of lines.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Returns the resident memory in bytes.
#[must_use]
pub fn memory(pid: Pid) -> u64 {
    number(&read(pid, "status"), "VmRSS:") * 1024
}

/// Returns the peak of the resident memory in bytes.
#[must_use]
pub fn memory_peak(pid: Pid) -> u64 {
    number(&read(pid, "status"), "VmHWM:") * 1024
}

/// Returns the processor time used so far, in user and system mode.
#[must_use]
pub fn busy(pid: Pid) -> Duration {
    // The name in parentheses may contain spaces; the fields after it do not.
    let stat = read(pid, "stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// Returns the bytes written so far, to files and connections.
#[must_use]
pub fn written(pid: Pid) -> u64 {
    number(&read(pid, "io"), "wchar:")
}

/// Returns the number of times that its threads have gone to sleep. Each of them is a later wake-up.
#[must_use]
pub fn sleeps(pid: Pid) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let status = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
    threads.map(|thread| number(&status(thread), "voluntary_ctxt_switches:")).sum()
}

/// Returns the soft and the hard limit of open files.
#[must_use]
pub fn files_max(pid: Pid) -> (u64, u64) {
    let limits = read(pid, "limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut numbers = line.split_whitespace().map(|text| text.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// Raises this process's soft limit of open files to the hard limit.
pub fn raise_files_max() {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum }).unwrap();
}
