//! The one shared place of the fake API server's state: connections, scheduler and node agents all go through an
//! [`ApiHandle`], which wakes them after each change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::ApiError;
use super::store::Store;
use super::timestamp::Timestamp;

/// A shared store; cheap to clone. The lock is held only inside [`ApiHandle::read`] and [`ApiHandle::write`], never across an await.
#[derive(Clone, Debug)]
pub struct ApiHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    revision: watch::Sender<u64>,
}

impl ApiHandle {
    /// Shares a store.
    pub fn new(store: Store) -> ApiHandle {
        let revision = watch::Sender::new(store.revision());
        ApiHandle { shared: Arc::new(Shared { store: Mutex::new(store), revision }) }
    }

    /// A cluster with only the namespaces every cluster has.
    ///
    /// # Errors
    /// None in practice; creating namespaces in an empty store is passed on as it is.
    pub fn empty_cluster() -> Result<ApiHandle, ApiError> {
        let mut store = Store::default();
        store.create_namespaces(Timestamp::now())?;
        Ok(ApiHandle::new(store))
    }

    /// Looks at the store. `look` must be quick: everybody else waits.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the store at the present time and wakes everybody who waits for changes.
    pub fn write<T>(&self, change: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let (result, revision) = {
            let mut store = self.lock();
            let result = change(&mut store, Timestamp::now());
            (result, store.revision())
        };
        self.shared.revision.send_if_modified(|seen| {
            let newer = *seen < revision;
            *seen = revision.max(*seen);
            newer
        });
        result
    }

    /// A receiver that sees every new revision; several quick changes may be seen as one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Waits until `found` answers something. The caller sets the bound with a timeout around it.
    pub async fn wait_for<T>(&self, mut found: impl FnMut(&Store) -> Option<T>) -> T {
        let mut changes = self.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(value) = self.read(&mut found) {
                return value;
            }
            // The sender lives in `self`, so this ends only with a change.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
