//! Problems with settings.

/// A problem with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct Problem {
    /// The name of the setting.
    pub setting: String,
    /// What is wrong and what would be right. Never contains the value of a secret.
    pub message: String,
}

impl Problem {
    /// Returns a problem with the setting called `setting`.
    pub(super) fn new(setting: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            setting: setting.into(),
            message: message.into(),
        }
    }
}

/// The problems that were found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, setting: &str, message: impl Into<String>) {
        self.0.push(Problem::new(setting, message));
    }

    /// Returns all problems as an error, or `Ok` if there are none.
    pub fn none_or_all(self) -> Result<(), Vec<Problem>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}
