//! `hubplane serve`: sets up the log and the runtime, prints the URLs on stdout, and runs the server.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::load::{ConfigError, LoadedConfig};
use crate::config::{Config, HubConfig};
use crate::server::{ServeError, Server, Shutdown, Signals};
use crate::telemetry;

use super::{EX_CONFIG, eprint_line, print_line, print_problems};

/// Runs the server until it is asked to stop. Signals are caught before the configuration is read, so that one that
/// arrives during start-up does not kill the process without a log line.
pub(super) fn serve(read: impl FnOnce() -> Result<LoadedConfig, ConfigError>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprint_line(format_args!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match Signals::catch() {
            Ok(signals) => match read() {
                Ok(loaded) => start(loaded, signals).await,
                Err(invalid) => print_problems(&invalid),
            },
            Err(error) => failed(&ServeError::Signals(error)),
        }
    });
    // Dropping the runtime would wait for work that cannot be interrupted, such as a DNS lookup.
    runtime.shutdown_background();
    code
}

/// Sets up the log and runs the server, while signals are forwarded to it.
async fn start(loaded: LoadedConfig, signals: Signals) -> ExitCode {
    let LoadedConfig { config, warnings, .. } = loaded;
    if let Err(error) = telemetry::init(&config.log, config.log_format) {
        eprint_line(format_args!("error: log: {error}"));
        return ExitCode::from(EX_CONFIG);
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let stop = Shutdown::default();
    tokio::select! {
        code = Box::pin(run(config, &stop)) => code,
        never = signals.forward(&stop) => match never {},
    }
}

/// Builds the server, binds it, prints the URLs, and serves.
async fn run(config: Config, stop: &Shutdown) -> ExitCode {
    let announced = config.clone();
    let built = tokio::select! {
        built = Server::builder(config).build() => built,
        () = stop.requested() => {
            tracing::info!("stopped before the server started");
            return ExitCode::SUCCESS;
        }
    };
    let ended = match built.and_then(Server::bind) {
        Ok(bound) => {
            print_line(announcement(&announced, bound.local_addr()).trim_end());
            bound.run_until(stop).await
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &ServeError) -> ExitCode {
    eprint_line(format_args!("error: {error}"));
    ExitCode::FAILURE
}

/// The text that lists the served URLs; `address` is the one that was bound.
fn announcement(config: &Config, address: SocketAddr) -> String {
    let base = format!("http://{}", reachable(address));
    let mut text = String::new();
    for hub in &config.hubs {
        let _ = writeln!(text, "Hub {}: {base}{} ({})", hub.name, hub.path, access_summary(config, hub));
    }
    if config.demo {
        let _ = writeln!(text, "Demo page: {base}/");
    }
    let _ = writeln!(text, "Health: {base}/healthz, readiness: {base}/readyz");
    let _ = writeln!(text, "Metrics: {base}/metrics");
    text
}

/// Describes who may connect to a hub.
fn access_summary(config: &Config, hub: &HubConfig) -> String {
    let Some(rule) = &hub.authorize else {
        return if config.auth.checks_tokens() {
            "open: clients may connect without a token; a token that is sent is checked".to_owned()
        } else {
            "open to everybody: no tokens are checked".to_owned()
        };
    };
    let roles = (!rule.roles.is_empty()).then(|| format!("role {}", rule.roles.join(" or ")));
    let claims = rule.claims.iter().map(|(name, values)| format!("{name} {}", values.join(" or ")));
    let needs: Vec<String> = roles.into_iter().chain(claims).collect();
    if needs.is_empty() { "needs a token".to_owned() } else { format!("needs a token with {}", needs.join(", ")) }
}

/// The address at which this machine can reach a listener: loopback for a listener on all addresses.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback: std::net::IpAddr =
        if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(loopback, address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reachable_on_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:81", "[::1]:81"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn the_announcement_lists_every_url() {
        let mut config = Config { demo: true, ..Config::default() };
        let text = announcement(&config, "0.0.0.0:99".parse().unwrap());
        let lines = "Demo page: http://127.0.0.1:99/\n\
                     Health: http://127.0.0.1:99/healthz, readiness: http://127.0.0.1:99/readyz\n\
                     Metrics: http://127.0.0.1:99/metrics\n";
        assert_eq!(text, lines);
        config.demo = false;
        assert!(!announcement(&config, config.listen).contains("Demo"));
    }
}
