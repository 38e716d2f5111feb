//! Ports for servers that are told one, and keep it when they are started again.

use std::net::TcpListener;
use std::ops::Range;

use rand::RngExt;

/// The ports that this gives out: below those that Linux uses for outgoing connections (32,768 and up, unless it is told otherwise). One of
/// those could be taken by a connection before the server starts, or while it is down.
const PORTS: Range<u16> = 12_000..32_000;

/// Returns a port that is free now.
#[must_use]
pub fn free() -> u16 {
    let mut random = rand::rng();
    std::iter::repeat_with(|| random.random_range(PORTS)).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
