//! Which kubelet is imitated: its known defects are switches, so that a plugin can also be tried against a
//! kubelet that does not have them.

/// How a kubelet behaves where versions differ or where it is known to be wrong.
///
/// The switches B1..B11 are named after defects; `true` is the behaviour of kubelet 1.36 (seen on 1.36.2). **Not
/// modelled:** the plugin watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What reports call this profile.
    pub name: &'static str,
    /// B1: an answer without a container response leaves the chosen device IDs in use.
    pub empty_response_leaks_ids: bool,
    /// B2: a failed GetPreferredAllocation leaves IDs that were already taken in use.
    pub preferred_error_leaks_ids: bool,
    /// B3: when a pod's second resource fails, the first stays recorded while the pod counts as active.
    pub failed_pod_keeps_first_resource: bool,
    /// B4: a device that leaves the list while its own Allocate is in flight kills the kubelet (1.34 to 1.36).
    pub removal_during_allocate_is_fatal: bool,
    /// B5: a pod's allocation that ends while another pod's has begun kills the kubelet.
    pub concurrent_allocation_is_fatal: bool,
    /// B6: the end of an old ListAndWatch disconnects the plugin that registered after it.
    pub old_stream_end_disconnects_new: bool,
    /// B7: a failed registration forgets the plugin that was connected for the resource.
    pub failed_registration_orphans_first: bool,
    /// B8: an ID listed twice with different health counts as healthy and as unhealthy.
    pub duplicate_ids_count_twice: bool,
    /// B9: the status of a device that left the list reads "Healthy" (otherwise "Unknown").
    pub removed_device_reads_healthy: bool,
    /// B10: a limit of zero fails when no device is healthy.
    pub zero_limit_fails_without_healthy: bool,
    /// B11: a resource whose plugin has sent no list is nobody's: the pod gets no device and starts.
    pub resource_without_list_is_ignored: bool,
    /// A plugin's connection is never closed once a later registration has replaced it (up to 1.37).
    pub replaced_connection_stays_open: bool,
    /// Register is answered first, then the plugin is dialled and called with the socket's path as authority (up to 1.25);
    /// the first call alone names it.
    pub socket_path_is_authority: bool,
    /// Plugins of one resource are kept side by side by their sockets, and a survivor takes over (from 1.37 on).
    pub several_plugins_per_resource: bool,
}

impl Profile {
    /// Kubelet 1.36, with every known defect that is modelled.
    pub fn v1_36() -> Profile {
        Profile {
            name: "1.36",
            empty_response_leaks_ids: true,
            preferred_error_leaks_ids: true,
            failed_pod_keeps_first_resource: true,
            removal_during_allocate_is_fatal: true,
            concurrent_allocation_is_fatal: true,
            old_stream_end_disconnects_new: true,
            failed_registration_orphans_first: true,
            duplicate_ids_count_twice: true,
            removed_device_reads_healthy: true,
            zero_limit_fails_without_healthy: true,
            resource_without_list_is_ignored: true,
            replaced_connection_stays_open: true,
            socket_path_is_authority: false,
            several_plugins_per_resource: false,
        }
    }

    /// Kubelet 1.25: the last one that plugins in Rust cannot serve.
    pub fn v1_25() -> Profile {
        Profile {
            name: "1.25",
            removal_during_allocate_is_fatal: false,
            socket_path_is_authority: true,
            ..Profile::v1_36()
        }
    }

    /// Kubelet 1.37: plugins of one resource no longer disturb each other.
    pub fn v1_37() -> Profile {
        Profile {
            name: "1.37",
            old_stream_end_disconnects_new: false,
            failed_registration_orphans_first: false,
            several_plugins_per_resource: true,
            ..Profile::v1_36()
        }
    }

    /// Kubelet 1.36 without those defects: what a plugin author may wish for.
    pub fn fixed() -> Profile {
        Profile {
            name: "fixed",
            empty_response_leaks_ids: false,
            preferred_error_leaks_ids: false,
            failed_pod_keeps_first_resource: false,
            removal_during_allocate_is_fatal: false,
            concurrent_allocation_is_fatal: false,
            old_stream_end_disconnects_new: false,
            failed_registration_orphans_first: false,
            duplicate_ids_count_twice: false,
            removed_device_reads_healthy: false,
            zero_limit_fails_without_healthy: false,
            resource_without_list_is_ignored: false,
            replaced_connection_stays_open: false,
            socket_path_is_authority: false,
            several_plugins_per_resource: false,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Profile::v1_36()
    }
}
