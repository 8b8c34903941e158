//! The declarations of all settings: one struct per subject, with one field per setting.
//!
//! The field's name, with hyphens, is the flag and the key in the file. In capitals it is the end of
//! the environment variable. Its doc comment is the help and the text in `docs/configuration.md`. Its
//! [`Value`](super::value::Value) says how the setting is written and what its default is.
//!
//! Reading a subject also declares its settings. [`Subjects::read`] names each subject once, and
//! [`all`] calls it on empty [`Settings`] to learn which settings exist.

#[macro_use]
mod declare;
mod access;
mod audit;
mod listen;
mod migration;
mod process;
mod provider;
mod reader;
mod redis;
mod seal;
mod server;
mod storage;
mod tls;
mod tokens;
mod traces;
mod vault;

use std::sync::LazyLock;

pub(super) use self::{
    access::AccessSettings,
    audit::AuditSettings,
    listen::ListenSettings,
    process::MemorySettings,
    provider::{Method, ProviderSettings, Rotates},
    reader::{Reader, Subject},
    redis::{DurabilitySettings, LinkSettings, RedisSettings, SentinelSettings, WriteIsDone},
    seal::SealSettings,
    storage::StorageSettings,
    tls::TlsSettings,
    tokens::{LimitSettings, TokenSettings},
    traces::TracesSettings,
    vault::{VaultAuth, VaultSettings},
};
pub use self::{
    migration::MigrationSettings,
    process::{LogFormat, LogSettings, MemoryLock},
    server::ServerOptions,
    storage::Backend,
};
use super::{value::Style, written::Settings};

/// A setting, without the type of its value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The flag, and the key in the file.
    pub name: &'static str,
    /// The text in the help.
    pub help: &'static str,
    pub style: Style,
}

impl Setting {
    /// Returns the name of the environment variable.
    pub fn variable(&self) -> String {
        let name = self.name.to_uppercase().replace('-', "_");
        format!("TOKEN_BROKER_{name}")
    }
}

/// Returns all settings, in the order of the help.
pub(super) fn all() -> &'static [Setting] {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let nothing = Settings::default();
        let mut reader = Reader::new(&nothing);
        Subjects::read(&mut reader);
        reader.declared
    });
    &ALL
}

/// Returns the settings of a provider: the keys of its table in the file.
pub(super) fn of_a_provider() -> &'static [Setting] {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let nothing = Settings::default();
        let mut reader = Reader::new(&nothing);
        ProviderSettings::read(&mut reader);
        reader.declared
    });
    &ALL
}

/// Returns the settings that each tenant may have for itself: the keys of its table in the file.
pub(super) fn of_a_tenant() -> &'static [Setting] {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let nothing = Settings::default();
        let mut reader = Reader::new(&nothing);
        TenantSubjects::read(&mut reader);
        reader.declared
    });
    &ALL
}

/// Returns the setting called `name`, if there is one.
pub(super) fn named(name: &str) -> Option<&'static Setting> {
    all().iter().find(|setting| setting.name == name)
}

/// The values of all settings. Each value is valid by itself; their combination isn't checked yet.
pub(super) struct Subjects {
    pub listen: ListenSettings,
    pub tls: TlsSettings,
    pub access: AccessSettings,
    pub storage: StorageSettings,
    pub redis: RedisSettings,
    pub sentinel: SentinelSettings,
    pub link: LinkSettings,
    pub durability: DurabilitySettings,
    pub tenant: TenantSubjects,
    pub server: ServerOptions,
    pub audit: AuditSettings,
    pub traces: TracesSettings,
    pub log: LogSettings,
    pub memory: MemorySettings,
}

impl Subjects {
    /// Reads every subject, in the order of the help.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: Subject::read(reader),
            tls: Subject::read(reader),
            access: Subject::read(reader),
            storage: Subject::read(reader),
            redis: Subject::read(reader),
            sentinel: Subject::read(reader),
            link: Subject::read(reader),
            durability: Subject::read(reader),
            tenant: TenantSubjects::read(reader),
            server: Subject::read(reader),
            audit: Subject::read(reader),
            traces: Subject::read(reader),
            log: Subject::read(reader),
            memory: Subject::read(reader),
        }
    }
}

/// The values of the settings that each tenant may have for itself.
pub(super) struct TenantSubjects {
    pub migration: MigrationSettings,
    pub seal: SealSettings,
    pub vault: VaultSettings,
    pub tokens: TokenSettings,
    pub limits: LimitSettings,
}

impl TenantSubjects {
    /// Reads every subject, in the order of the help.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            migration: Subject::read(reader),
            seal: Subject::read(reader),
            vault: Subject::read(reader),
            tokens: Subject::read(reader),
            limits: Subject::read(reader),
        }
    }
}
