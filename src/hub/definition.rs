//! [`HubDefinitionError`]: the mistakes in a hub's definition because of which it cannot be served.

use std::fmt;

/// All mistakes that were found in a hub's definition, such as two methods of the same name.
///
/// [`Hub::validate`](super::Hub::validate) returns it, and [`crate::server::Builder::build`] fails with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubDefinitionError {
    problems: Vec<DefinitionProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DefinitionProblem {
    DuplicateMethod(String),
    UnknownMethod(String),
}

impl HubDefinitionError {
    pub(super) fn duplicate_method(&mut self, name: &str) {
        self.problems.push(DefinitionProblem::DuplicateMethod(name.to_owned()));
    }

    pub(super) fn unknown_method(&mut self, name: &str) {
        self.problems.push(DefinitionProblem::UnknownMethod(name.to_owned()));
    }

    /// `Ok` when there is no problem.
    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.problems.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for DefinitionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateMethod(name) => {
                write!(f, "there are two methods {name:?} (method names are case-insensitive)")
            }
            Self::UnknownMethod(name) => {
                write!(f, "there is a rule for the method {name:?}, which was not added before it")
            }
        }
    }
}

impl fmt::Display for HubDefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for HubDefinitionError {}
