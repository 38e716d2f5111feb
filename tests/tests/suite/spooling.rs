//! Thousands of seeded histories of the spool; 1,000 by default.

use tests::seeds::histories;
use tests::spooling::run;

#[test]
fn no_loss_of_power_and_no_failing_disk_loses_a_request_or_charges_it_twice() {
    let all = histories(1_000, run);
    let requests: usize = all.iter().map(|summary| summary.requests).sum();
    let boots: u32 = all.iter().map(|summary| summary.boots).sum();
    println!("{} histories, {requests} requests at providers, {boots} starts", all.len());
    assert!(all.len() == 1 || requests > all.len() * 10, "histories in which nothing happens prove nothing");
}
