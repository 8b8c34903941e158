//! Problems with settings.

use std::fmt;

/// A problem with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the setting.
    pub setting: String,
    /// The name as the operator gave it: the flag, the variable or the key. `None` if that isn't known.
    pub given_as: Option<String>,
    /// What is wrong and what would be right. Never quotes a value, which may be a secret in the wrong
    /// place.
    pub message: String,
}

impl Problem {
    /// Returns a problem with the setting called `setting`.
    pub(super) fn new(setting: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            setting: setting.into(),
            given_as: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.given_as.as_ref().unwrap_or(&self.setting);
        write!(f, "{name}: {}", self.message)
    }
}

impl std::error::Error for Problem {}

/// The problems that were found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, setting: &str, message: impl Into<String>) {
        self.0.push(Problem::new(setting, message));
    }

    /// Adds a problem of `setting` together with `others`, unless there is one with any of them already. Without
    /// that one, this one may be false.
    pub fn add_together(&mut self, setting: &str, others: &[&str], message: impl Into<String>) {
        if !self.concern(setting) && !others.iter().any(|other| self.concern(other)) {
            self.add(setting, message);
        }
    }

    /// Whether there is a problem with the setting.
    pub fn concern(&self, setting: &str) -> bool {
        self.0.iter().any(|problem| problem.setting == setting)
    }

    /// Adds problems that were found elsewhere.
    pub fn extend(&mut self, problems: &[Problem]) {
        self.0.extend_from_slice(problems);
    }

    /// Adds problems, unless the same ones are there already.
    pub fn extend_once(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if !self.0.contains(&problem) {
                self.0.push(problem);
            }
        }
    }

    /// Returns all problems, and leaves none.
    pub fn take(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.0)
    }
}
