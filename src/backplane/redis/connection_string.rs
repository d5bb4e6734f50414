//! Reads StackExchange.Redis connection strings. Every key is either supported, accepted without effect, or refused
//! (docs/builders/redis-backplane.md#C.2).

use std::path::PathBuf;
use std::time::Duration;

use super::redis_options::{RedisEndpoint, RedisOptions, RespVersion, Secret, TlsOptions};
use crate::config::ConnectionStringError;

/// Keys that are accepted because existing connection strings contain them, but have no effect here, with the reason.
const IGNORED_KEYS: &[(&str, &str)] = &[
    ("allowAdmin", "no administrative command is ever sent"),
    ("checkCertificateRevocation", "revocation lists are not fetched"),
    ("configChannel", "the topology is not watched"),
    ("configCheckSeconds", "the topology is not watched"),
    ("highIntegrity", "replies are matched by their order"),
    ("highPriorityThreads", "there are no such threads"),
    ("preserveAsyncOrder", "order is always kept"),
    ("resolveDns", "names are resolved for every connection attempt"),
    ("responseTimeout", "it is obsolete; asyncTimeout bounds the wait for an answer"),
    ("sentinelPassword", "Sentinel is not used"),
    ("sentinelUser", "Sentinel is not used"),
    ("syncTimeout", "nothing waits synchronously; asyncTimeout bounds the wait for an answer"),
    ("tcpKeepAlive", "PING finds dead connections sooner"),
    ("tieBreaker", "no key is read"),
    ("version", "nothing sent depends on the server's version"),
    ("writeBuffer", "it is obsolete"),
];

const SUPPORTED_KEYS: &[&str] = &[
    "abortConnect",
    "asyncTimeout",
    "channelPrefix",
    "connectRetry",
    "connectTimeout",
    "defaultDatabase",
    "keepAlive",
    "name",
    "password",
    "protocol",
    "proxy",
    "serviceName",
    "setlib",
    "ssl",
    "sslHost",
    "sslProtocols",
    "tunnel",
    "user",
];

/// Commands that cannot be renamed or disabled, since this program sends them.
const REQUIRED_COMMANDS: &[&str] = &["PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PING", "AUTH", "HELLO", "SELECT"];

/// Azure Cache for Redis: TLS by default on port 6380.
const AZURE_CACHE_DOMAINS: &[&str] = &[
    ".redis.cache.windows.net",
    ".redis.cache.chinacloudapi.cn",
    ".redis.cache.usgovcloudapi.net",
    ".redis.cache.sovcloud-api.de",
    ".redis.cache.sovcloud-api.fr",
];
/// Azure Managed Redis: TLS by default on every port.
const AZURE_MANAGED_DOMAINS: &[&str] = &[
    ".redis.azure.net",
    ".redis.chinacloudapi.cn",
    ".redis.usgovcloudapi.net",
    ".redis.sovcloud-api.de",
    ".redis.sovcloud-api.fr",
    ".redisenterprise.cache.azure.net",
];

/// The longest keep-alive interval that `keepAlive` can set, so that a paused Redis is noticed within seconds.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(3);

/// The options that have been read so far, and the problems that were found.
#[derive(Debug, Default)]
pub(super) struct OptionsParser {
    pub(super) options: RedisOptions,
    /// Hosts with their ports; `None` is the default port, which depends on whether TLS is used.
    pub(super) hosts: Vec<(String, Option<u16>)>,
    pub(super) paths: Vec<PathBuf>,
    pub(super) ssl: Option<bool>,
    tls: Option<TlsOptions>,
    ssl_host: Option<String>,
    pub(super) problems: Vec<String>,
}

/// Reads a comma-separated connection string into `parser`.
pub(super) fn read(text: &str, parser: &mut OptionsParser) {
    // Commas cannot be quoted, so an item after a password may be a part of the password and must not be shown.
    let mut after_password = false;
    for (index, item) in text.split(',').map(str::trim).enumerate() {
        if item.is_empty() {
            continue;
        }
        let position = index + 1;
        match item.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                let (key, value) = (key.trim(), value.trim());
                if is_known(key) {
                    parser.set(key, value);
                    after_password = key.to_ascii_lowercase().ends_with("password");
                } else if after_password {
                    parser.problems.push(possible_secret(position));
                } else {
                    parser.unknown(key);
                }
            }
            _ => match endpoint(item) {
                // After a password, only an item of the form `host:port` is certain not to be a part of it.
                Some(ParsedEndpoint::Host(_, None)) | None if after_password => parser.problems.push(possible_secret(position)),
                Some(found) => parser.add(found),
                None => parser.problems.push(format!(
                    "Item {position} is neither an endpoint nor KEY=VALUE; endpoints are HOST, HOST:PORT, [IPV6]:PORT and !/PATH."
                )),
            },
        }
    }
}

/// The text has no `=` and no URL in it, or the filter that masks secrets in all output would mask them.
fn possible_secret(position: usize) -> String {
    format!(
        "Item {position} follows a password and is neither HOST:PORT nor a known option; it is not shown, since it may be a part \
         of the password. To use a password with a comma, write a redis URL, with %2C for the comma."
    )
}

enum ParsedEndpoint {
    Host(String, Option<u16>),
    Path(PathBuf),
}

fn endpoint(item: &str) -> Option<ParsedEndpoint> {
    if let Some(path) = item.strip_prefix('!') {
        return match path.strip_prefix('@') {
            Some("") => None,
            Some(name) => Some(ParsedEndpoint::Path(PathBuf::from(format!("\0{name}")))),
            None if path.is_empty() => None,
            None => Some(ParsedEndpoint::Path(PathBuf::from(path))),
        };
    }
    host_and_port(item).map(|(host, port)| ParsedEndpoint::Host(host, port))
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address. The host `.` means this machine.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host = if host == "." { "localhost" } else { host };
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_') || (host.contains("::") && c == ':');
    if host.is_empty() || (!text.starts_with('[') && !host.chars().all(fits)) {
        return None;
    }
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port != 0)?),
        None => None,
    };
    Some((host.to_owned(), port))
}

fn is_known(key: &str) -> bool {
    key.starts_with('$') || known_names().any(|name| name.eq_ignore_ascii_case(key))
}

fn known_names() -> impl Iterator<Item = &'static str> {
    SUPPORTED_KEYS.iter().copied().chain(IGNORED_KEYS.iter().map(|(name, _)| *name))
}

impl OptionsParser {
    fn add(&mut self, found: ParsedEndpoint) {
        match found {
            ParsedEndpoint::Host(host, port) if !self.hosts.contains(&(host.clone(), port)) => {
                self.hosts.push((host, port))
            }
            ParsedEndpoint::Path(path) if !self.paths.contains(&path) => self.paths.push(path),
            ParsedEndpoint::Host(..) | ParsedEndpoint::Path(_) => {}
        }
    }

    pub(super) fn unknown(&mut self, key: &str) {
        let nearest = known_names()
            .map(|name| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), &key.to_ascii_lowercase()), name))
            .min();
        let hint = match nearest {
            Some((distance, name)) if distance <= 3 => format!(" Did you mean '{name}'?"),
            _ => String::new(),
        };
        self.problems.push(format!("Keyword '{key}' is not supported.{hint}"));
    }

    /// Applies one key; keys are case-insensitive.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        if let Some(command) = key.strip_prefix('$') {
            return self.command(command, value);
        }
        if let Some((name, reason)) = IGNORED_KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
            return self.note(format!("'{name}' is accepted without effect: {reason}."));
        }
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key.to_ascii_lowercase().as_str() {
            "abortconnect" => self.flag("abortConnect", value, |parser, on| parser.options.abort_connect = on),
            "asynctimeout" => self.number("asyncTimeout", value, 1, |parser, ms| {
                parser.options.command_timeout = Duration::from_millis(ms);
            }),
            "connecttimeout" => self.number("connectTimeout", value, 1, |parser, ms| {
                parser.options.connect_timeout = Duration::from_millis(ms);
            }),
            "connectretry" => self.number("connectRetry", value, 1, |parser, count| {
                parser.options.connect_retry = u32::try_from(count).unwrap_or(u32::MAX);
            }),
            // In StackExchange.Redis, -1 and 0 mean the default.
            "keepalive" => self.number("keepAlive", value, -1, |parser, seconds| {
                if (1..i32::MAX as u64).contains(&seconds) {
                    parser.options.keep_alive = Duration::from_secs(seconds).min(MAX_KEEP_ALIVE);
                }
            }),
            "defaultdatabase" => self.number("defaultDatabase", value, 0, |parser, database| {
                parser.options.database = u32::try_from(database).unwrap_or(u32::MAX);
            }),
            "channelprefix" => value.clone_into(&mut self.options.channel_prefix),
            "name" => self.options.client_name = text(),
            "user" => self.options.user = text(),
            "password" => self.options.password = text().map(Secret),
            "setlib" => self.flag("setlib", value, |parser, on| parser.options.set_library = on),
            "ssl" => self.flag("ssl", value, |parser, on| parser.ssl = Some(on)),
            "sslhost" => self.ssl_host = text(),
            "sslprotocols" => self.tls_versions(value),
            "protocol" => match value.to_ascii_lowercase().as_str() {
                "resp2" | "2" => self.options.resp = RespVersion::Resp2,
                "resp3" | "3" => self.options.resp = RespVersion::Resp3,
                _ => self.problems.push(format!(
                    "Keyword 'protocol' requires a RESP protocol value; the value '{value}' is not recognised. Use 'resp2' or 'resp3'."
                )),
            },
            "proxy" if value.eq_ignore_ascii_case("none") => {}
            "proxy" => self.problems.push(format!(
                "Keyword 'proxy': '{value}' does not support publish and subscribe, which the backplane needs; connect to Redis directly."
            )),
            "servicename" => self.problems.push(
                "Keyword 'serviceName': Sentinel is not supported; name the primary itself, or an address that follows it."
                    .to_owned(),
            ),
            "tunnel" => self.problems.push("Keyword 'tunnel' is not supported; connect to Redis directly.".to_owned()),
            _ => self.unknown(key),
        }
    }

    fn command(&mut self, command: &str, value: &str) {
        let command = command.trim().to_ascii_uppercase();
        if value.eq_ignore_ascii_case(&command) {
            return;
        }
        if command == "CLIENT" && value.is_empty() {
            self.options.use_client_command = false;
        } else if REQUIRED_COMMANDS.contains(&command.as_str()) || command == "CLIENT" {
            self.problems.push(format!(
                "'${command}': the backplane sends {command} and cannot do so under another name; leave it as it is."
            ));
        } else {
            self.note(format!("'${command}' is accepted without effect: {command} is never sent."));
        }
    }

    fn note(&mut self, note: String) {
        if !self.options.notes.contains(&note) {
            self.options.notes.push(note);
        }
    }

    fn flag(&mut self, key: &str, value: &str, apply: impl FnOnce(&mut Self, bool)) {
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => apply(self, true),
            "false" | "0" | "no" | "off" => apply(self, false),
            _ => self.problems.push(format!(
                "Keyword '{key}' requires a boolean value; the value '{value}' is not recognised. Use 'true' or 'false'."
            )),
        }
    }

    fn number(&mut self, key: &str, value: &str, minimum: i32, apply: impl FnOnce(&mut Self, u64)) {
        match value.parse::<i32>() {
            Ok(number) if number < minimum => self.problems.push(format!(
                "Keyword '{key}' has a minimum value of '{minimum}'; the value '{value}' is not permitted."
            )),
            Ok(number) => apply(self, u64::try_from(number).unwrap_or(0)),
            Err(_) => self
                .problems
                .push(format!("Keyword '{key}' requires an integer value; the value '{value}' is not recognised.")),
        }
    }

    fn tls_versions(&mut self, value: &str) {
        let mut tls = TlsOptions { host: None, tls12: false, tls13: false };
        for name in value.split('|').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                "tls12" => tls.tls12 = true,
                "tls13" => tls.tls13 = true,
                "none" => (tls.tls12, tls.tls13) = (true, true),
                _ => self.problems.push(format!(
                    "Keyword 'sslProtocols': '{name}' is not supported; use 'Tls12', 'Tls13' or 'Tls12|Tls13'."
                )),
            }
        }
        self.tls = Some(tls);
    }

    /// Sets the options that depend on several keys, and returns the result or all problems.
    pub(super) fn finish(mut self) -> Result<RedisOptions, ConnectionStringError> {
        let ends_with = |host: &str, suffixes: &[&str]| {
            let host = host.to_ascii_lowercase();
            suffixes.iter().any(|suffix| host.ends_with(suffix))
        };
        let azure = !self.hosts.is_empty()
            && self.hosts.iter().all(|(host, port)| {
                ends_with(host, AZURE_MANAGED_DOMAINS) || (ends_with(host, AZURE_CACHE_DOMAINS) && *port == Some(6380))
            });
        if self.ssl.unwrap_or(azure) {
            let tls = self.tls.unwrap_or(TlsOptions { host: None, tls12: true, tls13: true });
            self.options.tls = Some(TlsOptions { host: self.ssl_host, ..tls });
        }
        let default_port = if self.options.tls.is_some() { 6380 } else { 6379 };
        let hosts =
            self.hosts.into_iter().map(|(host, port)| RedisEndpoint::Tcp { host, port: port.unwrap_or(default_port) });
        let endpoints: Vec<_> = hosts.chain(self.paths.into_iter().map(RedisEndpoint::Unix)).collect();
        if !endpoints.is_empty() {
            self.options.endpoints = endpoints;
        }
        if self.options.user.is_some() && self.options.password.is_none() {
            self.problems.push("'user' is given without 'password'; a login needs both.".to_owned());
        }
        if self.problems.is_empty() { Ok(self.options) } else { Err(ConnectionStringError::new(self.problems)) }
    }
}
