//! One ListAndWatch stream: the current list at once, then each changed one, until the server closes or the kubelet leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plugin_api::deviceplugin::ListAndWatchResponse;
use plugin_core::event::Event;
use plugin_core::view::{Device, View};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::proto;
use crate::serve::{Served, wait_closed};

/// Lists that wait for the connection; a newer list is built only when there is room.
const LISTS_WAITING_MAX: usize = 1;

type Devices = Option<Arc<BTreeMap<String, Device>>>;
type Sender = mpsc::Sender<Result<ListAndWatchResponse, Status>>;

/// What one stream works with.
pub(crate) struct ListStream {
    /// Whose list.
    pub(crate) served: Served,
    /// The current view.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// Where its opening and end are told.
    pub(crate) events: mpsc::Sender<Event>,
    /// True once the server is told to close.
    pub(crate) closed: watch::Receiver<bool>,
    /// Live streams of the server, this one counted already.
    pub(crate) streams: Arc<AtomicUsize>,
}

/// Starts to send; what it returns is the stream's body.
pub(crate) fn start(stream: ListStream) -> mpsc::Receiver<Result<ListAndWatchResponse, Status>> {
    let (lists, body) = mpsc::channel(LISTS_WAITING_MAX);
    tokio::spawn(stream.run(lists));
    body
}

impl ListStream {
    async fn run(mut self, lists: Sender) {
        // an error means that the process is ending
        let _ = self.events.send(Event::StreamOpened { resource: self.served.resource.clone() }).await;
        let closed = self.closed.clone();
        let left_by_kubelet = tokio::select! {
            biased;
            () = wait_closed(closed) => false,
            () = self.send_lists(&lists) => true,
        };
        let last = self.streams.fetch_sub(1, Ordering::Relaxed) == 1;
        if left_by_kubelet && last {
            let _ = self.events.send(self.served.closed()).await;
        }
    }

    /// Returns when the kubelet is gone.
    async fn send_lists(&mut self, lists: &Sender) {
        let mut looked_at: Option<Devices> = None;
        let mut sent: Option<ListAndWatchResponse> = None;
        loop {
            let devices = self.views.borrow_and_update().devices(&self.served.resource);
            // the same `Arc` is the same list without a look inside
            if !looked_at.as_ref().is_some_and(|before| is_same(before, &devices)) {
                let list = proto::list_to_proto(devices.iter().flat_map(|d| d.values()));
                if sent.as_ref() != Some(&list) {
                    if lists.send(Ok(list.clone())).await.is_err() {
                        return;
                    }
                    sent = Some(list);
                }
                looked_at = Some(devices);
            }
            tokio::select! {
                biased;
                () = lists.closed() => return,
                changed = self.views.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

fn is_same(before: &Devices, now: &Devices) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (before, now) => before.is_none() && now.is_none(),
    }
}
