//! The kubelet iterates over unordered maps and sets; this draws their order from a seed, so that a run can be
//! repeated, or fixes it to an extreme.

use std::collections::BTreeSet;

/// Where "any order" comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Shuffled by a generator that starts from this seed.
    Seeded(u64),
    /// Always ascending.
    Ascending,
    /// Always descending.
    Descending,
}

/// A source of orders.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    order: Order,
}

impl Random {
    pub(crate) fn new(order: Order) -> Random {
        Random { order }
    }

    /// The elements of `set` in the next order.
    pub(crate) fn arrange<T: Clone + Ord>(&mut self, set: &BTreeSet<T>) -> Vec<T> {
        self.shuffle(set.iter().cloned().collect())
    }

    /// The sorted elements in the next order.
    pub(crate) fn shuffle<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        match self.order {
            Order::Ascending => {}
            Order::Descending => items.reverse(),
            Order::Seeded(_) => {
                for last in (1..items.len()).rev() {
                    let other = (self.next() % (last as u64 + 1)) as usize;
                    items.swap(last, other);
                }
            }
        }
        items
    }

    /// SplitMix64: small, seedable and good enough to shuffle.
    fn next(&mut self) -> u64 {
        let Order::Seeded(state) = &mut self.order else {
            return 0;
        };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders() {
        let set: BTreeSet<u32> = (0..20).collect();
        let mut one = Random::new(Order::Seeded(7));
        let mut two = Random::new(Order::Seeded(7));
        let mut other = Random::new(Order::Seeded(8));
        let first = one.arrange(&set);
        assert_eq!(first, two.arrange(&set));
        assert_ne!(first, other.arrange(&set));
        assert_ne!(first, one.arrange(&set), "a second draw is another order");
        assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), set, "nothing is lost");
    }
}
