//! Deterministic pseudo-random numbers from a seed.

/// A generator of numbers: SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number, uniform over all values.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Returns a number below `bound`, or 0 if the bound is 0. The bias is below 2⁻³² for bounds below 2⁹⁶.
    pub fn below(&mut self, bound: u128) -> u128 {
        let wide = u128::from(self.number()) << 64 | u128::from(self.number());
        wide.checked_rem(bound).unwrap_or(0)
    }

    /// Returns an index drawn with the given weights; `None` if all are 0.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u128> + Clone) -> Option<usize> {
        let total = weights.clone().fold(0, u128::saturating_add);
        let mut left = self.below(total);
        weights.enumerate().find_map(|(index, weight)| match left.checked_sub(weight) {
            None => Some(index),
            Some(rest) => {
                left = rest;
                None
            }
        })
    }
}

/// Returns the number with its bits mixed.
#[must_use]
pub fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        // Test vector: the reference implementation with the seed 1234567.
        let mut seeded = Seeded::new(1_234_567);
        assert_eq!([seeded.number(), seeded.number()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn weights_are_shares() {
        let mut counts = [0_u32; 3];
        for seed in 0..10_000 {
            counts[Seeded::new(seed).weighted([1, 0, 3].into_iter()).unwrap()] += 1;
        }
        assert!(counts[0].abs_diff(2_500) < 150 && counts[1] == 0, "{counts:?}");
        assert_eq!(Seeded::new(1).weighted([0, 0].into_iter()), None);
    }
}
