//! Tests that every option of a hub takes effect in `[hub_defaults]`, and in the hub's own table, which wins.

use super::*;
use crate::config::HubOptions;

/// Each option: its key, a value and its debug output, another value and its debug output.
const OPTIONS: &[(&str, &str, &str, &str, &str)] = &[
    ("protocols", "[\"json\"]", "[Json]", "[\"messagepack\"]", "[MessagePack]"),
    ("transports", "[\"LongPolling\"]", "[LongPolling]", "[\"WebSockets\"]", "[WebSockets]"),
    ("detailed_errors", "true", "true", "false", "false"),
    ("handshake_timeout", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("keep_alive_interval", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("client_timeout_interval", "\"40s\"", "40s", "\"50s\"", "50s"),
    ("maximum_receive_message_size", "1", "Some(1)", "0", "None"),
    ("stream_buffer_capacity", "1", "1", "2", "2"),
    ("maximum_parallel_invocations_per_client", "3", "3", "2", "2"),
    ("maximum_streams_per_client", "1", "Some(1)", "0", "None"),
    ("maximum_uploads_per_client", "1", "Some(1)", "0", "None"),
    ("maximum_asks_per_client", "1", "Some(1)", "0", "None"),
    ("maximum_groups_per_client", "1", "Some(1)", "0", "None"),
    ("disconnect_timeout", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("allow_stateful_reconnects", "true", "true", "false", "false"),
    ("stateful_reconnect_buffer_size", "1", "1", "2", "2"),
    ("minimum_protocol_version", "1", "1", "0", "0"),
    ("transport_send_timeout", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("long_polling_poll_timeout", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("websocket_close_timeout", "\"1s\"", "1s", "\"2s\"", "2s"),
    ("incoming_buffer_size", "1", "Some(1)", "0", "None"),
    ("outgoing_buffer_size", "1", "Some(1)", "0", "None"),
    ("outgoing_buffer_messages", "1", "Some(1)", "0", "None"),
];

#[test]
fn each_option_takes_effect_in_both_tables() {
    for (key, one, one_shown, two, two_shown) in OPTIONS {
        let hub = |text: &str| -> HubOptions { file(text).unwrap().config.hubs[0].options.clone() };
        let shown = |text: &str| {
            let all = format!("{:?}", hub(text));
            let (_, rest) = all.split_once(&format!(" {key}: ")).unwrap();
            rest.to_owned()
        };
        let starts = |text: &str, expected: &str| {
            let shown = shown(text);
            let ends = shown.strip_prefix(expected).is_some_and(|rest| rest.starts_with([',', ' ']));
            assert!(ends, "{text}: {key} is {shown}, not {expected}");
        };
        starts(&format!("[hub_defaults]\n{key} = {one}\n[hubs.a]"), one_shown);
        starts(&format!("[hubs.a]\n{key} = {one}"), one_shown);
        starts(&format!("[hub_defaults]\n{key} = {one}\n[hubs.a]\n{key} = {two}"), two_shown);
    }
    // These are all options except `close_on_authentication_expiration`, which needs keys.
    assert_eq!(OPTIONS.len() + 1, crate::config::options::OPTIONS.len());
}
