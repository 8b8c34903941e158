//! Every setting, once: one struct a subject, one field a setting.
//!
//! The field's name is the flag, the key in the file and, in capitals, the end of the environment
//! variable. Its doc comment is the help and the text in `docs/configuration.md`. Its
//! [`Value`](super::value::Value) says how it is written and what it is by default.
//!
//! A subject is declared by being read: [`Subjects::read`] names each subject once, and [`all`] runs
//! it over no settings at all to learn which there are.

#[macro_use]
mod declare;
mod migration;
mod process;
mod reader;
mod redis;
mod server;
mod storage;
mod tokens;

use std::sync::LazyLock;

use self::reader::Subject;
pub use self::{
    migration::MigrationSettings,
    process::{LogFormat, LogSettings},
    server::ServerOptions,
    storage::Backend,
};
pub(super) use self::{
    reader::Reader,
    redis::{DurabilitySettings, LinkSettings, RedisSettings, SentinelSettings, WriteIsDone},
    server::ListenSettings,
    storage::StorageSettings,
    tokens::{LimitSettings, TokenSettings},
};
use super::{value::Style, written::Settings};

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
        let name = self.name.to_uppercase().replace('-', "_");
        format!("TOKEN_BROKER_{name}")
    }
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
