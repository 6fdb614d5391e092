//! Reads every GPU on a thread of its own, so that one that does not answer hides no other.
//!
//! A call that hangs in the kernel cannot be ended, so its thread is left alone, and the GPU is not asked again before it
//! has returned: there is at most one such thread per GPU. While no GPU answers at all it is the driver that hangs, and
//! whoever asked waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long GPUs may be silent after another one has answered. A GPU that has to be woken takes two seconds, one after the
/// other, because the driver has one lock.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Most GPUs whose calls are counted; machines have 16.
const GPUS_MAX: usize = 256;

/// The calls that are under way, by the GPU's index. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Readers {
    under_way: Arc<[AtomicUsize]>,
    silence_max: Duration,
}

impl Default for Readers {
    fn default() -> Self {
        let under_way = (0..GPUS_MAX).map(|_| AtomicUsize::new(0)).collect();
        Readers { under_way, silence_max: SILENCE_MAX }
    }
}

/// What GPUs answered, by index, and which are silent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Readings<T> {
    /// The answers.
    pub(crate) answers: BTreeMap<u32, T>,
    /// Why there is none from a GPU.
    pub(crate) silent: BTreeMap<u32, String>,
}

impl Readers {
    /// Reads the GPUs with the indexes below `count`. Waits as long as it takes for the first answer.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        count: u32,
        read: impl Fn(u32) -> T + Send + Sync + 'static,
    ) -> Readings<T> {
        let read = Arc::new(read);
        let (told, answered) = sync_channel(count as usize);
        let nobody_answers = (0..count).all(|index| self.hangs(index));
        let mut silent = BTreeMap::new();
        for index in 0..count {
            if self.hangs(index) && !nobody_answers {
                silent.insert(index, "NVML has not answered since an earlier call".to_owned());
                continue;
            }
            let call = Call::begin(self, index);
            let (read, told) = (Arc::clone(&read), told.clone());
            let work = move || {
                let answer = read(index);
                drop(call);
                // whoever asked may have given up
                let _ = told.send((index, answer));
            };
            if let Err(why) = std::thread::Builder::new().name(format!("gpu-{index}")).spawn(work) {
                silent.insert(index, format!("there is no thread to read it: {why}"));
            }
        }
        drop(told);
        let mut answers: BTreeMap<u32, T> = answered.recv().into_iter().collect();
        // it ends when every call has: the last one drops the last sender
        while let Ok((index, answer)) = answered.recv_timeout(self.silence_max) {
            answers.insert(index, answer);
        }
        for index in 0..count {
            if !answers.contains_key(&index) {
                let why = || format!("NVML has not answered for {:?}", self.silence_max);
                silent.entry(index).or_insert_with(why);
            }
        }
        Readings { answers, silent }
    }

    /// The count of calls about a GPU; `None` beyond [`GPUS_MAX`].
    fn calls(&self, index: u32) -> Option<&AtomicUsize> {
        usize::try_from(index).ok().and_then(|index| self.under_way.get(index))
    }

    fn hangs(&self, index: u32) -> bool {
        self.calls(index).is_some_and(|calls| calls.load(Ordering::SeqCst) > 0)
    }
}

/// A call that is under way until this is dropped.
struct Call {
    readers: Readers,
    index: u32,
}

impl Call {
    fn begin(readers: &Readers, index: u32) -> Self {
        readers.calls(index).map(|calls| calls.fetch_add(1, Ordering::SeqCst));
        Call { readers: readers.clone(), index }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.readers.calls(self.index).map(|calls| calls.fetch_sub(1, Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender};
    use std::time::Instant;

    use super::*;

    /// Longest time for anything here that must happen.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn readers() -> Readers {
        Readers { silence_max: Duration::from_millis(50), ..Readers::default() }
    }

    /// GPUs of which some do not return before the sender is dropped; counts the calls.
    fn hanging(
        which: &'static [u32],
    ) -> (impl Fn(u32) -> u32 + Send + Sync + Clone + 'static, SyncSender<()>, Arc<AtomicUsize>) {
        let (release, held): (SyncSender<()>, Receiver<()>) = sync_channel(1);
        let held = Arc::new(Mutex::new(held));
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let read = move |index: u32| {
            counted.fetch_add(1, Ordering::SeqCst);
            if which.contains(&index) {
                let _ = held.lock().map(|held| held.recv());
            }
            index * 10
        };
        (read, release, calls)
    }

    fn wait_until_nothing_is_under_way(readers: &Readers) {
        let begun = Instant::now();
        while (0..8).any(|index| readers.hangs(index)) {
            assert!(begun.elapsed() < PATIENCE, "a call is still under way");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_gpu_that_hangs_hides_no_other_and_is_asked_once() {
        let readers = readers();
        let (read, release, calls) = hanging(&[1]);
        for look in 0..3 {
            let read = readers.read(3, read.clone());
            assert_eq!(read.answers, [(0, 0), (2, 20)].into(), "look {look}");
            assert_eq!(read.silent.keys().copied().collect::<Vec<_>>(), [1]);
            assert!(read.silent[&1].contains("has not answered"), "{:?}", read.silent);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3 + 2 + 2);
        drop(release);
        wait_until_nothing_is_under_way(&readers);
        assert_eq!(readers.read(3, read).answers.len(), 3, "it is asked again when the call has returned");
    }

    #[test]
    fn while_nobody_answers_whoever_asked_waits() {
        let readers = readers();
        let (read, release, _) = hanging(&[0, 1]);
        let (told, answered) = sync_channel(2);
        for _ in 0..2 {
            let (readers, read, told) = (readers.clone(), read.clone(), told.clone());
            std::thread::spawn(move || told.send(readers.read(2, read).answers));
        }
        assert!(answered.recv_timeout(Duration::from_millis(200)).is_err(), "nothing is known");
        drop(release);
        for _ in 0..2 {
            assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), [(0, 0), (1, 10)].into());
        }
    }

    #[test]
    fn a_node_without_gpus_has_no_answers_and_a_reader_that_dies_is_silent() {
        assert_eq!(readers().read(0, |index| index), Readings { answers: [].into(), silent: [].into() });
        let read = readers().read(2, |index| {
            assert!(index == 0, "the reason of this test");
            index
        });
        assert_eq!((read.answers.len(), read.silent.len()), (1, 1));
    }
}
