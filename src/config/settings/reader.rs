//! Reading the settings of all subjects.

use super::Setting;
use crate::config::{problem::Problems, value::Value, written::Settings};

/// A struct whose fields are settings.
pub(super) trait Subject: Sized {
    /// Declares all settings of the subject, and reads them.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// Reads settings and collects what they are and what is wrong with them.
pub(in crate::config) struct Reader<'a> {
    written: &'a Settings,
    /// The settings that were declared so far.
    pub(super) declared: Vec<Setting>,
    /// What is wrong so far.
    pub problems: Problems,
}

impl<'a> Reader<'a> {
    /// A reader of `written`.
    pub fn new(written: &'a Settings) -> Self {
        Self {
            written,
            declared: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Declares one setting and reads it. If it is wrong, that is noted and the value of an unset
    /// setting goes on in its place, so that the other settings are checked too.
    #[expect(clippy::expect_used, reason = "defaults are constants, and tested")]
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
        read(self.written.get(name)).unwrap_or_else(|messages| {
            for message in messages {
                self.problems.add(name, message);
            }
            read(&[]).expect("the default is valid")
        })
    }
}
