//! The times of attempts: exponential back-off over three days. Source: Standard Webhooks, "Deliverability and reliability".

use events::ids::Ids;

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
/// The time between an attempt that failed and the next one.
const DELAYS_US: [i64; 9] =
    [5 * SECOND_US, 5 * MINUTE_US, 30 * MINUTE_US, 2 * HOUR_US, 5 * HOUR_US, 10 * HOUR_US, 14 * HOUR_US, 20 * HOUR_US, 24 * HOUR_US];
/// The age up to which an event that is read makes a delivery.
pub const WINDOW_US: i64 = 72 * HOUR_US;
/// The time for which deliveries are kept, for the log and for replays.
pub const KEPT_US: i64 = 7 * 24 * HOUR_US;

/// Returns the time from the failure of an attempt to the next attempt: up to a tenth longer than in the table, so that many deliveries do
/// not come at once. `attempts` counts from 1; `None` after the last one.
#[must_use]
pub fn delay_us(attempts: i64, ids: &dyn Ids) -> Option<i64> {
    let delay = usize::try_from(attempts.checked_sub(1)?).ok().and_then(|place| DELAYS_US.get(place))?;
    let mut random = [0_u8; 2];
    ids.fill(&mut random);
    Some(delay + delay / 10 * i64::from(u16::from_le_bytes(random)) / i64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use events::ids::SystemIds;

    use super::*;

    #[test]
    fn ten_attempts_span_three_days() {
        let delays: Vec<i64> = (1..).map_while(|attempt| delay_us(attempt, &SystemIds)).collect();
        assert_eq!(delays.len(), 9);
        let total = delays.iter().sum::<i64>();
        assert!((WINDOW_US..WINDOW_US * 12 / 10).contains(&total), "{} h", total / HOUR_US);
        assert!((5 * SECOND_US..=5_500_000).contains(&delays[0]));
        assert_eq!(delay_us(0, &SystemIds), None);
    }
}
