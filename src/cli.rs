//! Layer 10: the command line: parses subcommands and flags, and runs the command.
//!
//! Flags that set configuration are kept as text here and checked together with the other sources, so that all problems
//! are reported at once and with one exit code.

mod check;
mod healthcheck;
mod serve;
mod token;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConnectionStringError;
use crate::config::environment;
use crate::config::load::{CheckConnection, ConfigError, Flags, LoadedConfig, Sources, load};
use crate::config::mask::mask;
use clap::{Args, Parser, Subcommand};

/// The exit code for an invalid configuration (EX_CONFIG of sysexits.h).
const EX_CONFIG: u8 = 78;
/// The exit code for an invalid command line, the same as clap's.
const EX_USAGE: u8 = 2;

/// A standalone SignalR server.
///
/// Flags take precedence over environment variables, those over the configuration file, and the file over the defaults.
/// Every key of the file can be set by an environment variable: HUBPLANE_ and the key path joined by __, as in
/// HUBPLANE_BACKPLANE__CONNECTION.
#[derive(Debug, Parser)]
#[command(name = "hubplane", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: CliFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default command)
    Serve,
    /// Check the configuration, and print what takes effect and where each value comes from
    ///
    /// The exit code is 0 for a valid configuration, else 78, with every problem on stderr.
    Check,
    /// Request the health page of a running server; the exit code is 0 if it answers 200, else 1
    Healthcheck {
        /// Request /readyz (is it ready?) instead of /healthz (is it alive?)
        #[arg(long)]
        ready: bool,
        /// The server's address, as in http://127.0.0.1:8080; a path in it replaces that of the health page
        /// [default: the configured `listen`; 0.0.0.0 is requested on loopback]
        #[arg(long, value_name = "URL", verbatim_doc_comment)]
        url: Option<String>,
    },
    /// Print a development token, signed with the first symmetric key of auth.keys
    Token(token::TokenFlags),
}

// The environment is read by `config` and not by clap, so the help texts name the variables.
#[derive(Args)]
struct CliFlags {
    /// The configuration file (TOML)
    /// [env: HUBPLANE_CONFIG] [default: hubplane.toml in the working directory, else the built-in one]
    #[arg(long, global = true, value_name = "FILE", verbatim_doc_comment)]
    config: Option<PathBuf>,
    /// The address to listen on
    /// [env: HUBPLANE_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR", verbatim_doc_comment)]
    listen: Option<String>,
    /// The Redis that connects the replicas: a StackExchange.Redis connection string, or a URL
    /// [env: HUBPLANE_BACKPLANE__CONNECTION] [default: none, a single server]
    #[arg(long, global = true, value_name = "CONNECTION", verbatim_doc_comment)]
    redis: Option<String>,
    /// Text put in front of every Redis channel name
    /// [env: HUBPLANE_BACKPLANE__CHANNEL_PREFIX] [default: none]
    #[arg(long, global = true, value_name = "PREFIX", verbatim_doc_comment)]
    channel_prefix: Option<String>,
    /// Which log lines to write, in the syntax of RUST_LOG
    /// [env: HUBPLANE_LOG, then RUST_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER", verbatim_doc_comment)]
    log: Option<String>,
    /// The format of log lines: text or json
    /// [env: HUBPLANE_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT", verbatim_doc_comment)]
    log_format: Option<String>,
}

impl std::fmt::Debug for CliFlags {
    /// Prints no content, since a connection string contains secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CliFlags").finish_non_exhaustive()
    }
}

impl From<CliFlags> for Flags {
    fn from(flags: CliFlags) -> Self {
        let CliFlags { config, listen, redis, channel_prefix, log, log_format } = flags;
        Self { config, listen, redis, channel_prefix, log, log_format }
    }
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // --help and --version.
            print_line(error);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            for line in error.to_string().trim_end().lines() {
                eprint_line(mask(line));
            }
            return ExitCode::from(EX_USAGE);
        }
    };
    let check = &check_connection;
    // The server logs the notes on its connection string itself when it starts.
    let only_problems = |connection: &str| check(connection).map(|_notes| Vec::new());
    let flags = cli.flags.into();
    let loaded = || read(&flags, check);
    match cli.command {
        None | Some(Command::Serve) => serve::serve(|| read(&flags, &only_problems)),
        Some(Command::Check) => check::check(loaded()),
        Some(Command::Token(wanted)) => match loaded() {
            Ok(loaded) => token::token(wanted, &loaded.config),
            Err(invalid) => print_problems(&invalid),
        },
        Some(Command::Healthcheck { ready, url }) => healthcheck::healthcheck(ready, url.as_deref(), loaded()),
    }
}

/// Checks a connection string. Returns notes on options in it that have no effect, or why it is invalid.
#[cfg(feature = "redis")]
fn check_connection(connection: &str) -> Result<Vec<String>, ConnectionStringError> {
    crate::backplane::redis::check_connection(connection)
}

#[cfg(not(feature = "redis"))]
fn check_connection(_connection: &str) -> Result<Vec<String>, ConnectionStringError> {
    Err(ConnectionStringError::new(vec!["This build does not have the feature `redis`.".to_owned()]))
}

/// Loads the configuration from the sources of this process.
fn read(flags: &Flags, check_connection: &CheckConnection<'_>) -> Result<LoadedConfig, ConfigError> {
    load(&Sources {
        flags,
        environment: &environment::process_variables(),
        read: &|path| std::fs::read_to_string(path),
        check_connection,
    })
}

/// Prints every problem of a configuration and returns the exit code.
fn print_problems(invalid: &ConfigError) -> ExitCode {
    for warning in &invalid.warnings {
        eprint_line(format_args!("warning: {warning}"));
    }
    for problem in &invalid.problems {
        eprint_line(format_args!("error: {problem}"));
    }
    let count = invalid.problems.len();
    eprint_line(format_args!("The configuration has {count} {}.", if count == 1 { "error" } else { "errors" }));
    ExitCode::from(EX_CONFIG)
}

/// Prints a line to stdout. Errors are ignored, since the reader may be gone.
fn print_line(line: impl Display) {
    let line = line.to_string();
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
}

/// Prints a line to stderr.
fn eprint_line(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
