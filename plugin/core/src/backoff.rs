//! How long to wait before the next try: bounded, doubling, without randomness, so that a run replays.

use std::time::Duration;

/// Doubling delays between a first and a longest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// For registrations: the kubelet's socket exists a moment before it accepts, so the first try comes back fast.
    pub fn for_registrations() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(10))
    }

    /// For streams that the kubelet ends and registrations that come to nothing: the first is mostly an accident, many are
    /// another plugin, which should not be fought.
    pub fn for_lost_streams() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(60))
    }

    /// For MPS control daemons.
    pub fn for_daemons() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// For the API server.
    pub fn for_api_server() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(30))
    }

    /// Doubles from `first` up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first }
    }

    /// The delay to wait now; the next one is twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.longest);
        delay
    }

    /// It worked: start from the first delay again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!(
            [backoff.next_delay(), backoff.next_delay(), backoff.next_delay()].map(|d| d.as_secs()),
            [1, 2, 3]
        );
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_secs(1));
    }
}
