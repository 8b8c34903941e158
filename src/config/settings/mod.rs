//! Every setting, once: one struct a subject, one field a setting.
//!
//! The field's name is the flag, the key in the file and, in capitals, the end of the environment
//! variable. Its doc comment is the help and the text in `docs/configuration.md`. Its [`Value`]
//! says how it is written and what it is by default.
//!
//! A subject is declared by being read: [`Subjects::read`] names each subject once, and [`all`] runs
//! it over no settings at all to learn which there are.

#[macro_use]
mod declare;
mod migration;
mod process;
mod redis;
mod server;
mod storage;
mod tokens;

use std::sync::LazyLock;

pub use self::{
    migration::MigrationSettings,
    process::{LogFormat, LogSettings},
    server::ServerOptions,
    storage::Backend,
};
pub(super) use self::{
    redis::{DurabilitySettings, LinkSettings, RedisSettings, SentinelSettings, WriteIsDone},
    server::ListenSettings,
    storage::StorageSettings,
    tokens::{LimitSettings, TokenSettings},
};
use super::{
    problem::Problems,
    value::{Style, Value},
    written::Settings,
};

/// A setting, whatever the type of its value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Its flag and its key in the file.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    pub style: Style,
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        variable(self.name)
    }
}

/// The environment variable of the setting `name`.
pub(super) fn variable(name: &str) -> String {
    format!("TOKEN_BROKER_{}", name.to_uppercase().replace('-', "_"))
}

/// All settings, in the order of the help.
pub(super) fn all() -> &'static [Setting] {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let nothing = Settings::default();
        let mut reader = Reader::new(&nothing);
        Subjects::read(&mut reader);
        reader.declared
    });
    &ALL
}

/// The setting of this name.
pub(super) fn named(name: &str) -> Option<&'static Setting> {
    all().iter().find(|setting| setting.name == name)
}

/// A struct whose fields are settings.
trait Subject: Sized {
    /// Declares all settings of the subject, and reads them.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// Reads settings and collects what they are and what is wrong with them.
pub(super) struct Reader<'a> {
    written: &'a Settings,
    declared: Vec<Setting>,
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
    fn setting<T: 'static>(
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

/// The values of all settings, each checked by itself.
pub(super) struct Subjects {
    pub listen: ListenSettings,
    pub storage: StorageSettings,
    pub redis: RedisSettings,
    pub sentinel: SentinelSettings,
    pub link: LinkSettings,
    pub durability: DurabilitySettings,
    pub migration: MigrationSettings,
    pub tokens: TokenSettings,
    pub limits: LimitSettings,
    pub server: ServerOptions,
    pub log: LogSettings,
}

impl Subjects {
    /// Reads every subject, in the order of the help.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: Subject::read(reader),
            storage: Subject::read(reader),
            redis: Subject::read(reader),
            sentinel: Subject::read(reader),
            link: Subject::read(reader),
            durability: Subject::read(reader),
            migration: Subject::read(reader),
            tokens: Subject::read(reader),
            limits: Subject::read(reader),
            server: Subject::read(reader),
            log: Subject::read(reader),
        }
    }
}
