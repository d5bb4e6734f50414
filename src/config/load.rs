//! Loads the configuration from all sources: flags over environment over file over defaults. All problems are reported
//! together.
//!
//! Nothing here accesses the process: flags, variables and a function that reads files are passed in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::{ConfigNode, ConfigValue, Origin};
use super::reader::{ConfigReader, Setting};
use super::{Config, ConnectionStringError, Problem, environment, merge, root_table, toml_file};

/// The configuration that is used when no file is given.
pub(crate) const DEFAULT_CONFIG: &str = include_str!("../../config/default.toml");

/// The file that is read from the working directory if none is named.
pub(crate) const DEFAULT_FILE: &str = "hubplane.toml";

/// The flags of the command line; `None` if a flag is not given. Their values are checked here, like those of all other
/// sources.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--redis`. Contains secrets.
    pub redis: Option<String>,
    /// `--channel-prefix`.
    pub channel_prefix: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
}

impl std::fmt::Debug for Flags {
    /// Prints no content, since a connection string contains secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flags").finish_non_exhaustive()
    }
}

/// The sources of a configuration.
pub(crate) struct Sources<'a> {
    /// The command line.
    pub flags: &'a Flags,
    /// The environment: names and values. Variables without our prefix are ignored.
    pub environment: &'a [(String, String)],
    /// Reads a file. Relative paths are relative to the working directory.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Checks the connection string of the backplane, which has a parser of its own. Returns notes on options
    /// that are accepted but have no effect, or all problems. The texts must not contain secrets.
    pub check_connection: &'a CheckConnection<'a>,
}

/// See [`Sources::check_connection`].
pub(crate) type CheckConnection<'a> = dyn Fn(&str) -> Result<Vec<String>, ConnectionStringError> + 'a;

impl std::fmt::Debug for Sources<'_> {
    /// Prints no content, since both sources may contain secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// A valid configuration, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct LoadedConfig {
    /// The configuration itself.
    pub config: Config,
    /// Every key with its value and origin, in a fixed order.
    pub settings: Vec<Setting>,
    /// Settings that are valid but probably not what was meant.
    pub warnings: Vec<String>,
    /// Advice about a configuration that is valid.
    pub hints: Vec<String>,
    /// The file that was read; `None` is the built-in default.
    pub file: Option<PathBuf>,
}

/// An invalid configuration, with all of its problems.
#[derive(Clone, Debug)]
pub struct ConfigError {
    pub(crate) problems: Vec<Problem>,
    /// Warnings that were found as well.
    pub(crate) warnings: Vec<String>,
}

impl ConfigError {
    /// All problems; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::fmt::Display for ConfigError {
    /// Writes one line per problem.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a configuration from TOML text in the format of `hubplane.toml`. Environment variables and flags are not
    /// used. Relative paths in it, such as those of keys, are relative to the working directory.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid, with all problems. The connection string of the backplane is checked when a
    /// server is built.
    ///
    /// ```
    /// let config = hubplane::Config::from_toml("[hub_defaults]\nkeep_alive_interval = \"5s\"")?;
    /// assert_eq!(config.hub_defaults.keep_alive_interval.as_secs(), 5);
    ///
    /// let error = hubplane::Config::from_toml("lisen = \"127.0.0.1:0\"").unwrap_err();
    /// assert!(error.to_string().contains("did you mean `listen`?"));
    /// # Ok::<(), hubplane::config::ConfigError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            if path == Path::new(DEFAULT_FILE) { Ok(text.to_owned()) } else { std::fs::read_to_string(path) }
        };
        let (flags, check_connection) = (Flags::default(), |_: &str| Ok(Vec::new()));
        let sources = Sources { flags: &flags, environment: &[], read: &read, check_connection: &check_connection };
        load(&sources).map(|loaded| loaded.config)
    }
}

/// Reads and checks the whole configuration.
pub(crate) fn load(sources: &Sources<'_>) -> Result<LoadedConfig, ConfigError> {
    let mut reader = ConfigReader::default();
    let (file, from_file) = match read_file(sources) {
        Ok((path, node)) => (path, Some(node)),
        Err(problems) => {
            reader.problems.extend(problems);
            (None, None)
        }
    };
    let from_environment = environment::read(sources.environment, &mut reader.problems, &mut reader.warnings);
    let from_flags = flags(sources.flags);
    for source in from_file.iter().chain([&from_environment, &from_flags]) {
        root_table::check_source(source, &mut reader.problems);
    }
    // If the file cannot be read, invalid values of the other sources are still reported. Missing values are not, since
    // the file may contain them.
    let unreadable = from_file.is_none();
    let root = from_file.unwrap_or_else(|| ConfigNode::empty_table(Origin::Default));
    let root = merge::overlay(merge::overlay(root, from_environment), from_flags);
    let config = root_table::read(&mut reader, root, sources.check_connection, sources.read);
    if unreadable {
        reader.problems.retain(|problem| problem.key.is_empty() || problem.value.is_some());
        reader.warnings.retain(|warning| !warning.starts_with("hubs: "));
    }
    let ConfigReader { problems, warnings, hints, settings } = reader;
    if problems.is_empty() {
        return Ok(LoadedConfig { config, settings, warnings, hints, file });
    }
    Err(ConfigError { problems, warnings })
}

/// Reads the file into a tree; without a path it is the built-in default.
fn read_file(sources: &Sources<'_>) -> Result<(Option<PathBuf>, ConfigNode), Vec<Problem>> {
    let by_variable = || {
        let (_, value) = sources.environment.iter().find(|(name, _)| name == environment::CONFIG)?;
        // Container platforms omit a variable by setting it to nothing.
        (!value.is_empty()).then(|| PathBuf::from(value))
    };
    let (path, named_by) = match (&sources.flags.config, by_variable()) {
        (Some(path), _) => (path.clone(), Some(Origin::Flag("--config"))),
        (None, Some(path)) => (path, Some(Origin::Environment(Arc::from(environment::CONFIG)))),
        (None, None) => (PathBuf::from(DEFAULT_FILE), None),
    };
    let name: Arc<str> = Arc::from(path.display().to_string());
    let text = match (sources.read)(&path) {
        Ok(text) => text,
        Err(error) if named_by.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return toml_file::parse(DEFAULT_CONFIG, &|line| Origin::BuiltIn { line }).map(|node| (None, node));
        }
        Err(error) => {
            let what = match error.kind() {
                io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
                _ => error.to_string(),
            };
            return Err(vec![Problem::of_key("", named_by, format!("cannot read {name}: {what}"))]);
        }
    };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let node = toml_file::parse(text, &|line| Origin::File { path: name.clone(), line })?;
    Ok((Some(path), node))
}

/// The flags as a tree.
fn flags(flags: &Flags) -> ConfigNode {
    let mut root = ConfigNode::empty_table(Origin::Default);
    let given = [
        ("--listen", &["listen"][..], &flags.listen),
        ("--redis", &["backplane", "connection"], &flags.redis),
        ("--channel-prefix", &["backplane", "channel_prefix"], &flags.channel_prefix),
        ("--log", &["log"], &flags.log),
        ("--log-format", &["log_format"], &flags.log_format),
    ];
    for (flag, path, value) in given {
        let Some(text) = value else { continue };
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let leaf = ConfigNode::raw(text, ConfigValue::Text(text.clone()), Origin::Flag(flag));
        root = merge::overlay(root, environment::nested(&path, leaf));
    }
    root
}

#[cfg(test)]
mod tests;
