//! Which `size` of at most 64 GPUs: the set with the most points, and of equal ones the set that leaves the best rest.
//!
//! Every set is looked at while that takes at most [`EXACT_STEPS_MAX`] steps. Beyond that a set is grown from each GPU, and the
//! best of them improved by exchanging one GPU at a time. A step is one number read or changed, so the work is bounded for any request.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::inventory::GpuUuid;
use crate::links::{LINKED_GPUS_MAX, Pair};

/// Most steps for looking at every set: enough for any request among 16 GPUs, and for 3 of 64.
const EXACT_STEPS_MAX: u64 = 450_000;
/// Most exchanges after growing sets.
const EXCHANGES_MAX: usize = 64;
/// Most steps of any search; a test holds it.
#[cfg(test)]
pub(crate) const STEPS_MAX: u64 = 900_000;

/// The GPUs to choose from, by their place in the caller's order; at most [`LINKED_GPUS_MAX`] are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    /// Row by row: what each pair is worth together, and what parting it costs.
    pub(crate) pairs: Vec<Pair>,
    /// What each is worth beside those that the container has already.
    pub(crate) near_given: Vec<u64>,
    /// The island that each is on, where all of it can be chosen, and its size.
    pub(crate) whole_island: Vec<Option<(usize, usize)>>,
}

/// What a set is worth; the greater the better: points, then as few whole islands broken and as little cut as possible.
type Worth = (u64, Reverse<usize>, Reverse<u64>);

/// The places of the best set, ascending, and the steps it took.
pub(crate) fn best(field: &Field, size: usize) -> (Vec<usize>, u64) {
    let count = field.near_given.len().min(LINKED_GPUS_MAX);
    if size == 0 || size >= count {
        return ((0..count).take(size).collect(), 0);
    }
    let mut search = Search { set: Set::new(field, count), size, best: None };
    if exact_steps(count, size) <= EXACT_STEPS_MAX {
        search.every(0);
    } else {
        (0..count).for_each(|first| search.grow(first));
        search.exchange();
    }
    (search.best.map(|(_, places)| places).unwrap_or_default(), search.set.steps)
}

/// What looking at every set takes: each set once, and one GPU in and out for each of the sets that are one short.
fn exact_steps(count: usize, size: usize) -> u64 {
    let change = 2 * count as u64;
    sets(count, size).saturating_add(sets(count, size - 1).saturating_mul(change))
}

/// How many sets of `size` there are among `count`.
fn sets(count: usize, size: usize) -> u64 {
    (0..size.min(count - size))
        .fold(1, |sets: u64, n| sets.saturating_mul((count - n) as u64) / (n as u64 + 1))
}

struct Search<'f> {
    set: Set<'f>,
    size: usize,
    best: Option<(Worth, Vec<usize>)>,
}

impl Search<'_> {
    /// Every set that the present one can be completed to with places from `from` on. As deep as a set is large.
    fn every(&mut self, from: usize) {
        let missing = self.size - self.set.places.len();
        for next in from..=self.set.count - missing {
            if missing == 1 {
                let worth = self.set.with(next);
                self.offer(worth, Some(next));
            } else {
                self.set.add(next);
                self.every(next + 1);
                self.set.remove(next);
            }
        }
    }

    /// Grows a set around one place, always by the best next one.
    fn grow(&mut self, first: usize) {
        self.set.clear();
        self.set.add(first);
        while self.set.places.len() < self.size {
            let next = self.set.others().map(|next| (self.set.with(next), Reverse(next))).max();
            self.set.steps += self.set.count as u64;
            let Some((_, Reverse(next))) = next else {
                return;
            };
            self.set.add(next);
        }
        self.offer(self.set.worth(), None);
    }

    /// Exchanges one member of the best set at a time while that improves it.
    fn exchange(&mut self) {
        self.set.clear();
        let places = self.best.as_ref().map(|(_, places)| places.clone()).unwrap_or_default();
        places.into_iter().for_each(|place| self.set.add(place));
        for _ in 0..EXCHANGES_MAX {
            let worth = self.set.worth();
            let Some((_, out, into)) = self.best_exchange().filter(|(better, ..)| *better > worth) else {
                break;
            };
            self.set.remove(out);
            self.set.add(into);
        }
        self.offer(self.set.worth(), None);
    }

    fn best_exchange(&mut self) -> Option<(Worth, usize, usize)> {
        let set = &self.set;
        let pairs = set.places.iter().flat_map(|out| set.others().map(move |into| (*out, into)));
        let found = pairs.map(|(out, into)| (set.exchanged(out, into), Reverse((out, into)))).max();
        let steps = (self.size * (self.set.count - self.size)) as u64;
        self.set.steps += steps;
        found.map(|(worth, Reverse((out, into)))| (worth, out, into))
    }

    /// Keeps the set, with one more place if given, if it is the best so far.
    fn offer(&mut self, worth: Worth, with: Option<usize>) {
        self.set.steps += 1;
        if self.best.as_ref().is_none_or(|(best, _)| worth > *best) {
            let mut places: Vec<usize> = self.set.places.iter().copied().chain(with).collect();
            places.sort_unstable();
            self.best = Some((worth, places));
        }
    }
}

/// A set and what can be said of it without looking at every pair again.
struct Set<'f> {
    field: &'f Field,
    count: usize,
    places: Vec<usize>,
    inside: Vec<bool>,
    /// For each place, its points with the members.
    near_to: Vec<u64>,
    /// For each place, the cost of parting it from the members.
    cut_to: Vec<u64>,
    /// For each place, the cost of parting it from all others.
    cut_all: Vec<u64>,
    /// For each island, how many members are on it.
    members_on: Vec<usize>,
    near: u64,
    cut_inside: u64,
    cut_sum: u64,
    broken: usize,
    steps: u64,
}

impl<'f> Set<'f> {
    fn new(field: &'f Field, count: usize) -> Self {
        let mut set = Set {
            field,
            count,
            places: Vec::with_capacity(count),
            inside: vec![false; count],
            near_to: vec![0; count],
            cut_to: vec![0; count],
            cut_all: Vec::new(),
            members_on: vec![0; LINKED_GPUS_MAX],
            near: 0,
            cut_inside: 0,
            cut_sum: 0,
            broken: 0,
            steps: (count * count) as u64,
        };
        set.cut_all = (0..count).map(|a| (0..count).map(|b| set.pair(a, b).cut).sum()).collect();
        set
    }

    fn pair(&self, a: usize, b: usize) -> Pair {
        self.field.pairs.get(a * self.field.near_given.len() + b).copied().unwrap_or_default()
    }

    fn others(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|place| !self.inside[*place])
    }

    fn clear(&mut self) {
        while let Some(place) = self.places.last().copied() {
            self.remove(place);
        }
    }

    fn add(&mut self, place: usize) {
        self.near += self.field.near_given[place] + self.near_to[place];
        self.cut_inside += self.cut_to[place];
        self.cut_sum += self.cut_all[place];
        self.broken = self.broken_with(place);
        if let Some((island, _)) = self.field.whole_island[place] {
            self.members_on[island] += 1;
        }
        self.inside[place] = true;
        self.places.push(place);
        self.steps += self.count as u64;
        for other in 0..self.count {
            let pair = self.pair(place, other);
            self.near_to[other] += u64::from(pair.near);
            self.cut_to[other] += pair.cut;
        }
    }

    fn remove(&mut self, place: usize) {
        self.broken = self.broken_without(place);
        if let Some((island, _)) = self.field.whole_island[place] {
            self.members_on[island] -= 1;
        }
        self.inside[place] = false;
        self.places.retain(|member| *member != place);
        self.steps += self.count as u64;
        for other in 0..self.count {
            let pair = self.pair(place, other);
            self.near_to[other] -= u64::from(pair.near);
            self.cut_to[other] -= pair.cut;
        }
        self.near -= self.field.near_given[place] + self.near_to[place];
        self.cut_inside -= self.cut_to[place];
        self.cut_sum -= self.cut_all[place];
    }

    fn worth(&self) -> Worth {
        (self.near, Reverse(self.broken), Reverse(self.cut_sum - 2 * self.cut_inside))
    }

    /// The worth with one place more.
    fn with(&self, next: usize) -> Worth {
        let near = self.near + self.field.near_given[next] + self.near_to[next];
        let cut = self.cut_sum + self.cut_all[next] - 2 * (self.cut_inside + self.cut_to[next]);
        (near, Reverse(self.broken_with(next)), Reverse(cut))
    }

    /// The worth with one member exchanged for one of the others.
    fn exchanged(&self, out: usize, into: usize) -> Worth {
        let pair = self.pair(out, into);
        let given = &self.field.near_given;
        let near = self.near - given[out] - self.near_to[out] + given[into] + self.near_to[into]
            - u64::from(pair.near);
        let inside = self.cut_inside - self.cut_to[out] + self.cut_to[into] - pair.cut;
        let cut = self.cut_sum - self.cut_all[out] + self.cut_all[into] - 2 * inside;
        let island = |place: usize| self.field.whole_island[place].map(|(island, _)| island);
        let broken = if island(out) == island(into) {
            self.broken
        } else {
            self.broken_without(out) + self.broken_with(into) - self.broken
        };
        (near, Reverse(broken), Reverse(cut))
    }

    /// How many whole islands are broken with one place more: neither all taken nor all left.
    fn broken_with(&self, place: usize) -> usize {
        let Some((island, size)) = self.field.whole_island[place] else {
            return self.broken;
        };
        let members = self.members_on[island];
        self.broken - usize::from(is_broken(members, size)) + usize::from(is_broken(members + 1, size))
    }

    fn broken_without(&self, place: usize) -> usize {
        let Some((island, size)) = self.field.whole_island[place] else {
            return self.broken;
        };
        let members = self.members_on[island];
        self.broken - usize::from(is_broken(members, size)) + usize::from(is_broken(members - 1, size))
    }
}

fn is_broken(members: usize, size: usize) -> bool {
    members > 0 && members < size
}

/// The island of each GPU and its size, where all of the island is among these GPUs.
pub(crate) fn whole_islands(
    gpus: &[&GpuUuid],
    island: impl Fn(&GpuUuid) -> Option<(usize, usize)>,
) -> Vec<Option<(usize, usize)>> {
    let islands: Vec<Option<(usize, usize)>> = gpus.iter().map(|gpu| island(gpu)).collect();
    let mut here: BTreeMap<usize, usize> = BTreeMap::new();
    for (island, _) in islands.iter().flatten() {
        *here.entry(*island).or_default() += 1;
    }
    islands.into_iter().map(|island| island.filter(|(number, size)| here.get(number) == Some(size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of `count` GPUs in islands of `each`, two islands to a NUMA node.
    fn field(count: usize, each: usize) -> Field {
        let pair = |a: usize, b: usize| {
            let near = match (a / each == b / each, a / each / 2 == b / each / 2) {
                _ if a == b => 0,
                (true, _) => 250,
                (false, true) => 20,
                (false, false) => 10,
            };
            Pair { near, cut: u64::from(near), ..Pair::default() }
        };
        Field {
            pairs: (0..count * count).map(|at| pair(at / count, at % count)).collect(),
            near_given: vec![0; count],
            whole_island: (0..count).map(|place| Some((place / each, each))).collect(),
        }
    }

    /// Numbers without a pattern, the same in every run.
    fn noise(count: usize) -> Field {
        let mut state = 0x9e37_79b9_u32;
        let mut field = field(count, 1);
        for a in 0..count {
            for b in a + 1..count {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let near = state >> 20;
                let pair = Pair { near, cut: u64::from(near / 7), ..Pair::default() };
                field.pairs[a * count + b] = pair;
                field.pairs[b * count + a] = pair;
            }
        }
        field
    }

    fn worth(field: &Field, places: &[usize]) -> Worth {
        let mut set = Set::new(field, field.near_given.len());
        places.iter().for_each(|place| set.add(*place));
        set.worth()
    }

    /// Worked out from the definition.
    fn plain_worth(field: &Field, places: &[usize]) -> Worth {
        let count = field.near_given.len();
        let pair = |a: usize, b: usize| field.pairs[a * count + b];
        let inside = |place: &usize| places.contains(place);
        let both = places.iter().flat_map(|a| places.iter().filter(move |b| a < b).map(move |b| (*a, *b)));
        let near: u64 = both.map(|(a, b)| u64::from(pair(a, b).near)).sum();
        let given: u64 = places.iter().map(|place| field.near_given[*place]).sum();
        let rest = || (0..count).filter(|place| !inside(place));
        let cut: u64 = places.iter().flat_map(|a| rest().map(move |b| pair(*a, b).cut)).sum();
        let islands: std::collections::BTreeSet<_> = field.whole_island.iter().flatten().collect();
        let taken = |island: usize| {
            places.iter().filter(move |p| field.whole_island[**p].is_some_and(|i| i.0 == island))
        };
        let broken = islands.iter().filter(|(island, size)| (1..*size).contains(&taken(*island).count()));
        (near + given, Reverse(broken.count()), Reverse(cut))
    }

    fn subsets(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
        let places = move |mask: u32| (0..count).filter(|n| mask >> n & 1 == 1).collect::<Vec<_>>();
        (0..1_u32 << count).filter(move |mask| mask.count_ones() as usize == size).map(places)
    }

    #[test]
    fn small_machines_get_the_best_of_all_sets() {
        for field in [field(8, 2), field(8, 4), field(9, 3), noise(9)] {
            let count = field.near_given.len();
            for size in 1..count {
                let (places, _) = best(&field, size);
                let most = subsets(count, size).map(|set| plain_worth(&field, &set)).max();
                assert_eq!(
                    (places.len(), Some(plain_worth(&field, &places))),
                    (size, most),
                    "{size} of {count}"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_up_to_date_is_what_the_definition_says() {
        let mut field = field(8, 2);
        field.near_given = (0..8).collect();
        for size in 1..8 {
            for places in subsets(8, size) {
                assert_eq!(worth(&field, &places), plain_worth(&field, &places));
                let mut set = Set::new(&field, 8);
                places.iter().for_each(|place| set.add(*place));
                for out in &places {
                    for into in set.others() {
                        let other: Vec<usize> =
                            places.iter().map(|place| if place == out { into } else { *place }).collect();
                        assert_eq!(set.exchanged(*out, into), plain_worth(&field, &other));
                    }
                }
                set.clear();
                assert_eq!(set.worth(), (0, Reverse(0), Reverse(0)));
            }
        }
    }

    #[test]
    fn the_work_is_bounded_for_any_request_among_64_gpus() {
        let mut most = 0;
        for (field, sizes) in [(field(64, 8), vec![2, 4, 12, 32, 63]), (noise(64), (0..=65).collect())] {
            for size in sizes {
                let (places, steps) = best(&field, size);
                assert_eq!(places.len(), size.min(64));
                assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
                assert!(steps <= STEPS_MAX, "{size} of 64: {steps} steps");
                most = most.max(steps);
            }
        }
        assert!(most > STEPS_MAX / 2, "the bound says little: at most {most} steps are taken");
        for count in 1..=16 {
            assert!((1..count).all(|size| exact_steps(count, size) <= EXACT_STEPS_MAX), "{count}");
        }
    }

    #[test]
    fn large_machines_get_whole_islands() {
        let field = field(64, 8);
        for islands in 1..8 {
            let (places, _) = best(&field, islands * 8);
            assert_eq!(plain_worth(&field, &places).1, Reverse(0), "{places:?}");
        }
    }

    #[test]
    fn growing_and_exchanging_comes_close_to_the_best_of_all_sets() {
        let field = noise(14);
        for size in 2..14 {
            let mut search = Search { set: Set::new(&field, 14), size, best: None };
            (0..14).for_each(|first| search.grow(first));
            search.exchange();
            let ((found, ..), _) = search.best.unwrap();
            let (exact, _) = best(&field, size);
            let most = plain_worth(&field, &exact).0;
            assert!(found * 100 >= most * 97, "{size} of 14: {found} of {most} points");
        }
    }
}
