//! The only source of randomness of a run: one seed decides every latency and with it every interleaving.

/// SplitMix64: small, seedable, and good enough to shuffle what happens.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// Starts from a seed.
    pub(super) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least).saturating_add(1);
        least + self.next() % span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_seed_gives_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.between(5, 9), random.between(0, 0), random.next()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7)[2], numbers(8)[2]);
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| (5..=9).contains(&random.between(5, 9))));
    }
}
