//! The table of one caller.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    credentials::{self, FoundAt},
    document::{Document, in_order},
};
use crate::{
    access::{Caller, Policy, Rights, Role, Rpc, RpcSet},
    config::{
        listed::{key, unknown_key},
        nearest::{did_you_mean, nearest},
    },
    types::{ClientId, ProviderName, ProviderSet, Reach, Tenant},
};

const TENANT: &str = "tenant";
const ROLES: &str = "roles";
const RPCS: &str = "rpcs";
const PROVIDERS: &str = "providers";
const CLIENT_ID: &str = "client-id";
const REQUIRE_CLIENT_BINDING: &str = "require-client-binding";

/// The keys of a caller's table that say what it may do. Those that say what it is known by are in `credentials`.
const RIGHTS: [&str; 6] = [
    TENANT,
    ROLES,
    RPCS,
    PROVIDERS,
    CLIENT_ID,
    REQUIRE_CLIENT_BINDING,
];

/// What stands for all providers.
const ALL_PROVIDERS: &str = "*";

/// The longest name of a caller, in bytes.
const LONGEST_NAME: usize = 128;

/// The table of a caller.
pub(super) struct Table<'a, 'd, 't> {
    document: &'a mut Document<'d>,
    /// How messages call it.
    head: String,
    entries: &'a DeTable<'t>,
}

/// A text in a list, and its place.
pub(super) struct Item<'a> {
    pub text: &'a str,
    pub at: usize,
    /// How messages call it, if there are several: `entry 2 `.
    pub which: String,
}

/// Reads the table of a caller, and adds the caller to the policy. Adds to the document what is wrong.
pub(super) fn read(
    document: &mut Document<'_>,
    name: &Spanned<Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    served: &[Tenant],
    policy: &mut Policy,
) {
    let (at, name) = (name.span().start, name.get_ref().as_ref());
    let head = format!("callers.{}", key(name));
    let DeValue::Table(entries) = value.get_ref() else {
        document.add(at, format!("{head} must be a table, as in [{head}]"));
        return;
    };
    let mistakes = document.mistakes();
    let mut table = Table {
        document,
        head,
        entries,
    };
    if !is_name(name) {
        let message = format!(
            "the name must have 1 to {LONGEST_NAME} letters, digits and characters of . _ - / @ :"
        );
        table.wrong(at, None, message);
    }
    table.unknown_keys();
    let tenant = table.tenant(at, served);
    let rights = table.rights(at);
    let credentials = credentials::read(&mut table);
    if credentials.is_empty() && table.document.mistakes() == mistakes {
        let keys = credentials::KEYS.join(", ");
        table.wrong(at, None, format!("must be known by something: set {keys}"));
    }
    // Without a tenant nothing is put in force: that is a mistake in the document.
    let Some(tenant) = tenant else { return };
    let caller = Caller::new(name.to_owned(), Arc::new(tenant), rights);
    let (found_at, credentials): (Vec<_>, Vec<_>) = credentials.into_iter().unzip();
    if let Err(taken) = policy.add(caller, credentials) {
        for (which, other) in taken {
            let FoundAt { at, key } = found_at[which];
            let message = match other == name {
                true => "has a value twice".to_owned(),
                false => format!(
                    "has a value of callers.{} too: a call with it would be that of two callers",
                    self::key(&other)
                ),
            };
            table.wrong(at, Some(key), message);
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | ':');
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_allowed)
}

impl<'a, 't> Table<'a, '_, 't> {
    /// Adds what is wrong with the caller, or with the value of one of its keys.
    pub fn wrong(&mut self, at: usize, key: Option<&str>, message: impl AsRef<str>) {
        let key = key.map(|key| format!(".{key}")).unwrap_or_default();
        let message = format!("{}{key}: {}", self.head, message.as_ref());
        self.document.add(at, message);
    }

    fn get(&self, key: &str) -> Option<(usize, &'a DeValue<'t>)> {
        let (written, value) = self
            .entries
            .iter()
            .find(|(written, _)| written.get_ref() == key)?;
        Some((written.span().start, value.get_ref()))
    }

    /// Returns the texts of a list. An empty list is a mistake: it would give nothing.
    pub fn list(&mut self, name: &str) -> Vec<Item<'a>> {
        let Some((at, value)) = self.get(name) else {
            return Vec::new();
        };
        let texts = value.as_array().and_then(|items| {
            let text = |(number, item): (usize, &'a Spanned<DeValue<'t>>)| {
                let which = match items.len() {
                    1 => String::new(),
                    _ => format!("entry {} ", number + 1),
                };
                let at = item.span().start;
                let text = item.get_ref().as_str()?;
                Some(Item { text, at, which })
            };
            items
                .iter()
                .enumerate()
                .map(text)
                .collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) if !texts.is_empty() => texts,
            _ => {
                self.wrong(at, Some(name), "must be a list of one or more texts");
                Vec::new()
            }
        }
    }

    fn unknown_keys(&mut self) {
        for (written, _) in in_order(self.entries) {
            let name = written.get_ref().as_ref();
            let mut known = RIGHTS.into_iter().chain(credentials::KEYS);
            if !known.clone().any(|known| known == name) {
                let meant = did_you_mean(nearest(name, &mut known));
                let message = format!("is no key of a caller{meant}");
                self.wrong(written.span().start, Some(&unknown_key(name)), message);
            }
        }
    }

    /// Returns the caller's tenant, which must be one that the broker serves. If there is only one, it goes without saying.
    fn tenant(&mut self, head: usize, served: &[Tenant]) -> Option<Tenant> {
        let Some((at, value)) = self.get(TENANT) else {
            if let [only] = served {
                return Some(only.clone());
            }
            let message = "must be set: this broker serves several tenants";
            self.wrong(head, Some(TENANT), message);
            return None;
        };
        match value.as_str().map(str::parse::<Tenant>) {
            Some(Ok(named)) if served.contains(&named) => return Some(named),
            Some(Ok(_)) => self.wrong(at, Some(TENANT), "is not a tenant that this broker serves"),
            Some(Err(error)) => self.wrong(at, Some(TENANT), error.to_string()),
            None => self.wrong(at, Some(TENANT), "must be a text"),
        }
        // The other mistakes are told as well, as if it were this one.
        served.first().cloned()
    }

    fn rights(&mut self, at: usize) -> Rights {
        let (roles, rpcs) = (self.roles(), self.rpcs());
        if self.get(ROLES).is_none() && self.get(RPCS).is_none() {
            let message = format!("must be allowed something: set {ROLES} or {RPCS}");
            self.wrong(at, None, message);
        }
        let client_id = self.client_id();
        let providers = self.providers(at);
        let client = match self.require_client_binding() {
            Some(at) if client_id.is_none() && self.get(CLIENT_ID).is_none() => {
                let message = format!("needs {CLIENT_ID}");
                self.wrong(at, Some(REQUIRE_CLIENT_BINDING), message);
                None
            }
            Some(_) => client_id.clone(),
            None => None,
        };
        Rights {
            roles,
            rpcs,
            client_id,
            reach: Reach { providers, client },
        }
    }

    fn roles(&mut self) -> Vec<Role> {
        let names = || Role::ALL.iter().map(|role| role.name());
        let mut roles = BTreeSet::new();
        for Item { text, at, which } in self.list(ROLES) {
            if let Some(role) = Role::ALL.iter().find(|role| role.name() == text) {
                roles.insert(*role);
                continue;
            }
            let (all, meant) = (
                names().collect::<Vec<_>>().join(", "),
                did_you_mean(nearest(text, names())),
            );
            let message = format!("{which}must be one of {all}{meant}");
            self.wrong(at, Some(ROLES), message);
        }
        roles.into_iter().collect()
    }

    fn rpcs(&mut self) -> RpcSet {
        let mut rpcs = RpcSet::default();
        for Item { text, at, which } in self.list(RPCS) {
            if let Some(rpc) = Rpc::ALL.iter().find(|rpc| rpc.full_name() == text) {
                rpcs.extend([*rpc]);
                continue;
            }
            let mut all = Rpc::ALL.iter();
            let meant = match all.find(|rpc| rpc.name() == text) {
                Some(rpc) => Some(rpc.full_name()),
                None => nearest(text, Rpc::ALL.iter().map(|rpc| rpc.full_name())),
            };
            let message = format!(
                "{which}must be an RPC, as in \"TokenBroker/Get\"{}",
                did_you_mean(meant)
            );
            self.wrong(at, Some(RPCS), message);
        }
        rpcs
    }

    fn providers(&mut self, head: usize) -> ProviderSet {
        let nothing = ProviderSet::Named(BTreeSet::new());
        match self.get(PROVIDERS) {
            None => {
                let message = format!(
                    "must be set: a list of names, or \"{ALL_PROVIDERS}\" for all providers"
                );
                self.wrong(head, Some(PROVIDERS), message);
                nothing
            }
            Some((at, DeValue::String(text))) => {
                if text == ALL_PROVIDERS {
                    return ProviderSet::All;
                }
                let message =
                    format!("must be a list of names, or \"{ALL_PROVIDERS}\" for all providers");
                self.wrong(at, Some(PROVIDERS), message);
                nothing
            }
            Some(_) => {
                let mut names = BTreeSet::new();
                for Item { text, at, which } in self.list(PROVIDERS) {
                    if text == ALL_PROVIDERS {
                        let message = format!(
                            "{which}is no name: for all providers write {PROVIDERS} = \"{ALL_PROVIDERS}\""
                        );
                        self.wrong(at, Some(PROVIDERS), message);
                        continue;
                    }
                    match ProviderName::new(text) {
                        Ok(name) => _ = names.insert(name),
                        Err(error) => self.wrong(at, Some(PROVIDERS), format!("{which}{error}")),
                    }
                }
                ProviderSet::Named(names)
            }
        }
    }

    fn client_id(&mut self) -> Option<ClientId> {
        let (at, value) = self.get(CLIENT_ID)?;
        match value.as_str().map(ClientId::new) {
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => {
                self.wrong(at, Some(CLIENT_ID), error.to_string());
                None
            }
            None => {
                self.wrong(at, Some(CLIENT_ID), "must be a text");
                None
            }
        }
    }

    /// Returns where it is set to `true`.
    fn require_client_binding(&mut self) -> Option<usize> {
        let (at, value) = self.get(REQUIRE_CLIENT_BINDING)?;
        match value.as_bool() {
            Some(required) => required.then_some(at),
            None => {
                self.wrong(at, Some(REQUIRE_CLIENT_BINDING), "must be true or false");
                None
            }
        }
    }
}
