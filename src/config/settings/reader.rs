//! Reads the settings of all subjects.

use super::Setting;
use crate::config::{problem::Problems, quotes, value::Value, written::Settings};

/// A struct whose fields are settings.
pub(in crate::config) trait Subject: Sized {
    /// Declares and reads all settings of the subject.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// Reads settings, and collects their declarations and the problems with them.
pub(in crate::config) struct Reader<'a> {
    written: &'a Settings,
    /// The settings declared so far.
    pub(super) declared: Vec<Setting>,
    /// The problems found so far.
    pub problems: Problems,
}

impl<'a> Reader<'a> {
    /// Returns a reader of `written`.
    pub fn new(written: &'a Settings) -> Self {
        Self {
            written,
            declared: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Declares one setting and reads it. If the setting is invalid, adds a problem and returns the
    /// value of an unset setting instead, so that the other settings are checked too.
    #[expect(
        clippy::expect_used,
        reason = "defaults are constants, which tests cover"
    )]
    pub(super) fn setting<T: 'static>(
        &mut self,
        name: &'static str,
        help: &'static str,
        heading: Option<&'static str>,
        value: Value<T>,
    ) -> T {
        let Value { mut style, read } = value;
        style.heading = style.heading.or(heading);
        self.declared.push(Setting {
            name,
            help: help.trim(),
            style,
        });
        let texts = self.written.get(name);
        read(texts).unwrap_or_else(|messages| {
            let is_empty = texts.iter().all(String::is_empty);
            for message in messages {
                // A variable without a value is a common mistake.
                let message = match (is_empty, quotes::hint(texts)) {
                    (true, _) => format!("is set to nothing: {message}"),
                    (false, Some(hint)) => format!("{hint}: {message}"),
                    (false, None) => message,
                };
                self.problems.add(name, message);
            }
            read(&[]).expect("the default is valid")
        })
    }
}
