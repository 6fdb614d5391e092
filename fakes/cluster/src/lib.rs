//! A fake cluster: kubelet device manager, API server, scheduler.
