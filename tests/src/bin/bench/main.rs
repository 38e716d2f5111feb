//! `bench [gateway | posting | activity | visible | keys | chaos]`: the measurements behind `make bench` and `make bench-…`, as one program.

mod gateway;
mod posting;
mod activity;
mod visible;
mod keys;
mod chaos;

use tikv_jemallocator::Jemalloc;

/// The same allocator as in the arouter binary.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[expect(clippy::disallowed_methods, reason = "a benchmark has no configuration file")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, default: u64) -> u64 {
    setting(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let measurement = std::env::args().nth(1).unwrap_or_else(|| "gateway".to_owned());
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match measurement.as_str() {
        "gateway" => gateway::run(),
        "posting" => runtime().block_on(posting::run()),
        "activity" => runtime().block_on(activity::run()),
        "visible" => runtime().block_on(visible::run()),
        "keys" => runtime().block_on(keys::run()),
        "chaos" => runtime().block_on(chaos::run()),
        other => {
            eprintln!("bench: {other} is not measured; name gateway, posting, activity, visible, keys or chaos");
            std::process::exit(2);
        }
    }
}
