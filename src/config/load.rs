//! Puts the sources together: flags over environment over file over defaults. All problems are found in one go.
//!
//! Nothing here touches the process: flags, variables and the reading of files are handed in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::{ConfigNode, ConfigValue, Origin};
use super::reader::{ConfigReader, Setting};
use super::{Config, Problem, environment, merge, root_table, toml_file};

/// The configuration that is used when no file is given.
pub(crate) const DEFAULT_CONFIG: &str = include_str!("../../config/default.toml");

/// The file that is read from the working directory when none is named.
pub(crate) const DEFAULT_FILE: &str = "hubplane.toml";

/// What the command line says; None where it says nothing. The texts are checked here, as all other sources are.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--redis`. Holds secrets.
    pub redis: Option<String>,
    /// `--channel-prefix`.
    pub channel_prefix: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
}

impl std::fmt::Debug for Flags {
    /// Nothing of the content: a connection string holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flags").finish_non_exhaustive()
    }
}

/// Where a configuration is read from.
pub(crate) struct Sources<'a> {
    /// The command line.
    pub flags: &'a Flags,
    /// The environment: names and values. Those that are not ours are passed over.
    pub environment: &'a [(String, String)],
    /// Reads a file. A relative path counts from the working directory.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Checks a connection of the backplane, which has its own parser: notes on what is accepted without effect, or
    /// everything that is wrong. The texts need not repeat the connection, and hold no secret.
    pub check_connection: &'a CheckConnection<'a>,
}

/// See [`Sources::check_connection`].
pub(crate) type CheckConnection<'a> = dyn Fn(&str) -> Result<Vec<String>, Vec<String>> + 'a;

impl std::fmt::Debug for Sources<'_> {
    /// Nothing of the content: both sources may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// A valid configuration and how it came about.
#[derive(Clone, Debug)]
pub(crate) struct LoadedConfig {
    /// What the server is told.
    pub config: Config,
    /// Every key with its value and origin, in a fixed order.
    pub settings: Vec<Setting>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// What to know about a configuration like this; nothing is wrong with it.
    pub hints: Vec<String>,
    /// The file that was read; None is the built-in one.
    pub file: Option<PathBuf>,
}

/// An invalid configuration: everything that is wrong with it, found in one go.
#[derive(Clone, Debug)]
pub struct ConfigError {
    pub(crate) problems: Vec<Problem>,
    /// What else is worth knowing.
    pub(crate) warnings: Vec<String>,
}

impl ConfigError {
    /// Every problem; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::fmt::Display for ConfigError {
    /// One line for each problem.
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
    /// Reads a configuration from TOML, in the form of `hubplane.toml`. Neither the environment nor any flag has a
    /// part in it; files that it names, such as keys, are read from the working directory.
    ///
    /// Fails with every problem at once. The backplane's connection string is checked later, when a server is built.
    ///
    /// ```
    /// let config = hubplane::Config::from_toml("listen = \"127.0.0.1:0\"\n[hub_defaults]\nkeep_alive_interval = \"5s\"")?;
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
    // A file that cannot be read is reported along with wrong values of the other sources; what is merely missing may
    // well stand in the file.
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

/// The file and its tree; no path is the built-in one.
fn read_file(sources: &Sources<'_>) -> Result<(Option<PathBuf>, ConfigNode), Vec<Problem>> {
    let by_variable = || {
        let (_, value) = sources.environment.iter().find(|(name, _)| name == environment::CONFIG)?;
        // Set to nothing is how a container platform leaves a variable out.
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

/// The tree of the flags.
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
