//! How each command looks, for whoever got one wrong.

/// How each command looks; None for a word that is no command.
pub(crate) fn usage(name: &str) -> Option<&'static str> {
    Some(match name {
        "get_server_list" => "get_server_list",
        "get_server_status" => "get_server_status PID",
        "start_server" => "start_server -uid UID",
        "shutdown_server" => "shutdown_server PID [-f]",
        "get_client_list" => "get_client_list PID",
        "get_device_client_list" => "get_device_client_list [PID]",
        "ps" => "ps",
        "set_default_active_thread_percentage" => "set_default_active_thread_percentage PERCENTAGE",
        "get_default_active_thread_percentage" => "get_default_active_thread_percentage",
        "set_active_thread_percentage" => "set_active_thread_percentage PID PERCENTAGE",
        "get_active_thread_percentage" => "get_active_thread_percentage PID",
        "set_default_device_pinned_mem_limit" => "set_default_device_pinned_mem_limit GPU VALUE(M|G)",
        "get_default_device_pinned_mem_limit" => "get_default_device_pinned_mem_limit GPU",
        "set_device_pinned_mem_limit" => "set_device_pinned_mem_limit PID GPU VALUE(M|G)",
        "get_device_pinned_mem_limit" => "get_device_pinned_mem_limit PID GPU",
        "terminate_client" => "terminate_client SERVER_PID CLIENT_PID",
        "quit" => "quit [-t SECONDS]",
        "@connect" => "@connect PID UID GPUS LIMIT[:PERCENTAGE] NAME",
        _ => return None,
    })
}
