//! The kubelet's device manager, because every device plugin is judged by how it gets on with exactly this peer.
//!
//! [`ledger`] keeps the books and decides (no sockets, no clock); [`wire`] serves them on real Unix sockets.
//!
//! # Which upstream cases are covered
//!
//! Numbers are the positions of the cases in Kubernetes 1.36's device manager unit tests (endpoint, manager,
//! pod_devices, topology_hints, in that order). Tests are named by file below `ledger/tests` (l) or `wire/tests` (w).
//!
//! | case | test |
//! |---|---|
//! | 1, 2 connect, two lists in order | w `registration::a_registration_is_answered_after_the_plugin_told_its_options` |
//! | 3, 4 Allocate and preference passed through | w `admission::a_pod_gets_exactly_what_the_plugin_answered` |
//! | 5 empty directory | w: every test starts on one |
//! | 6 start and stop twice | w `lifecycle::a_stopped_kubelet_ends_streams_and_refuses_connections_on_a_socket_that_stays` (and the drop after it) |
//! | 8 re-registration, four flag pairs | l `registration::a_later_registration_replaces_the_earlier_list_and_gets_the_calls` |
//! | 10 to 14 capacity and allocatable | l `capacity::unhealthy_devices_count_for_capacity_only` |
//! | 15, 17, 43 grace period | l `capacity::a_stopped_plugin_keeps_its_capacity_for_the_grace_period_and_is_removed_once` |
//! | 16 stopped endpoint | l `registration::calls_to_a_stopped_endpoint_name_it` |
//! | 18 checkpoint read by a new manager | l `restart::checkpointed_resources_show_zero_at_once_and_go_after_the_grace_period` |
//! | 19, 20 allocatable devices | l `containers::podresources_has_one_entry_per_device_and_numa_node` |
//! | 21 checkpoint round trip | l `restart::a_checkpoint_keeps_pods_devices_numa_nodes_and_answers` |
//! | 22, 23 filter by affinity | l `preference::a_device_on_two_nodes_is_aligned_with_either_and_recorded_under_both` |
//! | 24 to 26 allocation and shortage | l `allocation::a_pod_gets_devices_of_each_resource_and_nobody_gets_them_twice` |
//! | 27 to 29 refusals | l `capacity::an_empty_list_shows_zero_and_refuses`, `allocation::a_resource_that_was_removed_refuses_only_while_somebody_holds_it`, `allocation::a_pod_that_is_admitted_again_needs_its_own_devices_healthy` |
//! | 30 recount during the preference call | l `allocation::a_recount_during_the_call_loses_nothing` |
//! | 31 run options until collected | l `allocation::devices_are_released_at_the_next_allocation_and_not_before` |
//! | 32 init containers | l `containers::init_containers_pass_their_devices_on_and_apps_keep_theirs` |
//! | 33 sidecars | l `containers::a_sidecar_draws_from_the_init_containers_and_keeps_what_it_has` |
//! | 34 node room for what is in use | l `capacity::the_node_has_room_for_what_is_already_in_use` |
//! | 35 PreStartContainer | l `containers::a_required_preparation_gets_the_allocated_ids_at_every_start` |
//! | 39 health of a pod's devices | l `containers::the_health_of_a_device_follows_the_list` (the text only; the pod status is the node's) |
//! | 44 one instance with both nodes | l `containers::podresources_has_one_entry_per_device_and_numa_node` |
//! | 46 empty response | l `containers::an_empty_answer_gives_empty_options_rather_than_none` |
//! | 47 to 49 CDI names | l `containers::answers_of_several_plugins_are_merged_and_the_first_value_wins` |
//! | 62 to 75 aligned allocation | l `preference::aligned_devices_come_first` and the six after it |
//! | 76 to 80 preference parameters | l `preference::devices_that_others_hold_are_not_offered`, `preference::reusable_devices_must_be_included_and_the_size_is_the_full_request` |
//! | 81 to 87 a pod's request | l `containers::a_pods_request_is_the_larger_of_its_init_peak_and_its_steady_state` |
//!
//! Not covered, because it is not modelled: 7 and 9 (plugin watcher), 36 (reset of a new node's capacity), 37, 38, 51
//! to 61 and 88 to 103 (topology hints: policy `none` only), 40 (queue of health updates), 41 and 42 (dynamic resource
//! allocation). 45 and 50 test helpers that do not exist here.

pub mod ledger;
pub mod pod;
pub mod profile;
pub mod wire;

pub use pod::{Admission, ContainerKind, ContainerRequest, DevicesByContainer, PodRequest, Rejection};
pub use profile::Profile;
pub use wire::{AdmitError, Kubelet, KubeletError, KubeletSettings};
