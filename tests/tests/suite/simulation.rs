//! Thousands of seeded histories of gateways, log and ledger; 10,000 by default.

use tests::seeds::histories;
use tests::simulation::run;

#[test]
fn no_history_breaks_a_promise() {
    let all = histories(10_000, run);
    let requests: usize = all.iter().map(|summary| summary.requests).sum();
    let transactions: usize = all.iter().map(|summary| summary.transactions).sum();
    println!("{} histories, {requests} requests at providers, {transactions} transactions", all.len());
    assert!(all.len() == 1 || requests > all.len() * 10, "histories in which nothing happens prove nothing");
}
