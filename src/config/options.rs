//! Reads the options of a hub from `[hub_defaults]` and `[hubs.NAME]`.

use std::collections::BTreeMap;

use super::hubs::HubOptions;
use super::node::Origin;
use super::parse;
use super::reader::{ConfigReader, TableReader};

/// Options, and the origin of each.
#[derive(Clone, Debug, Default)]
pub(super) struct OptionsWithOrigins {
    pub(super) values: HubOptions,
    origins: BTreeMap<&'static str, Origin>,
}

impl OptionsWithOrigins {
    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Lists each key once: for the list of all keys, for reading, and for the struct, all of whose fields must be set.
macro_rules! options {
    ($($key:ident: $parse:path),* $(,)?) => {
        /// The keys of all options.
        pub(super) const OPTIONS: &[&str] = &[$(stringify!($key)),*];

        /// Reads all options of a table. Options that it does not set are taken from `base`.
        fn take_all(reader: &mut ConfigReader, table: &mut TableReader, base: &OptionsWithOrigins) -> OptionsWithOrigins {
            let mut origins = BTreeMap::new();
            let values = HubOptions {
                $($key: {
                    let fallback = (base.values.$key.clone(), base.origin(stringify!($key)));
                    let (value, origin) = reader.take(table, stringify!($key), fallback, $parse);
                    origins.insert(stringify!($key), origin);
                    value
                }),*
            };
            OptionsWithOrigins { values, origins }
        }
    };
}

options! {
    protocols: parse::protocols,
    transports: parse::transports,
    detailed_errors: parse::boolean,
    handshake_timeout: parse::positive_duration,
    keep_alive_interval: parse::positive_duration,
    client_timeout_interval: parse::positive_duration,
    maximum_receive_message_size: parse::size,
    stream_buffer_capacity: parse::count,
    maximum_parallel_invocations_per_client: parse::count,
    maximum_streams_per_client: parse::size,
    maximum_uploads_per_client: parse::size,
    maximum_asks_per_client: parse::size,
    maximum_groups_per_client: parse::size,
    disconnect_timeout: parse::positive_duration,
    allow_stateful_reconnects: parse::boolean,
    stateful_reconnect_buffer_size: parse::size_or_max,
    minimum_protocol_version: parse::negotiate_version,
    close_on_authentication_expiration: parse::boolean,
    transport_send_timeout: parse::positive_duration,
    long_polling_poll_timeout: parse::positive_duration,
    websocket_close_timeout: parse::positive_duration,
    incoming_buffer_size: parse::size,
    outgoing_buffer_size: parse::size,
    outgoing_buffer_messages: parse::size,
}

/// Reads the options of one table, and warns about combinations that will not work well. `checked` says whether there
/// are keys to check tokens with.
pub(super) fn read(
    reader: &mut ConfigReader,
    table: &mut TableReader,
    base: &OptionsWithOrigins,
    checked: bool,
) -> OptionsWithOrigins {
    let options = take_all(reader, table, base);
    let set_here = |key: &str| options.origin(key) != base.origin(key);
    let values = &options.values;
    if values.client_timeout_interval < values.keep_alive_interval
        && (set_here("client_timeout_interval") || set_here("keep_alive_interval"))
    {
        let place = if set_here("client_timeout_interval") { "client_timeout_interval" } else { "keep_alive_interval" };
        reader.warnings.push(format!(
            "{}: {}: clients ping about as often as the server, every {}, and are dropped after {} of silence; \
             client_timeout_interval should be twice keep_alive_interval",
            options.origin(place),
            table.key(place),
            humantime::format_duration(values.keep_alive_interval),
            humantime::format_duration(values.client_timeout_interval),
        ));
    }
    let key = "close_on_authentication_expiration";
    if values.close_on_authentication_expiration && !checked && set_here(key) {
        let (origin, key) = (options.origin(key), table.key(key));
        reader
            .warnings
            .push(format!("{origin}: {key}: no effect: no tokens are checked without auth.keys or auth.jwks_url"));
    }
    options
}
