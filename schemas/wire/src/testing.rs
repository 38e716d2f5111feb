//! Values that the tests of several formats share.

use events::usage::Tokens;
use events::{CostStatus, Nanos};

use crate::answer::{Billed, Names};

/// The names of a request.
pub const NAMES: Names<'static> =
    Names { id: "gen-1", id_json: "\"gen-1\"", model: "a/m", model_json: "\"a/m\"", provider: "p", created_s: 7 };

/// Returns a charge of 5 prompt tokens, 2 of them cached, and 3 completion tokens, 1 of them reasoning.
pub fn billed() -> Billed {
    let tokens = Tokens { input: 3, cache_read: 2, output: 2, reasoning: 1, ..Tokens::ZERO };
    Billed { tokens, status: CostStatus::Priced, cost: Nanos(1_500), byok: None, latency_us: Some(9_000), ttft_us: Some(2_000) }
}
