//! The configuration file.

use std::{collections::BTreeMap, path::Path};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    listed::{may_be_random, unknown_key},
    nearest::{did_you_mean, nearest},
    problem::Problem,
    providers::{PROVIDERS, table_of},
    settings::{Setting, all, named, of_a_provider, of_a_tenant},
    tenants::{TENANTS, tenant_table},
    value::Form,
    written::{Settings, Source},
};
use crate::{reading::Reading, types::read_once};

/// The name of the setting that names the file.
const CONFIG: &str = "config";
/// No configuration is larger, in MiB.
const LARGEST: u64 = 16;

/// Reads a TOML file whose keys are the names of settings. [`Settings::resolve`] reports the mistakes in it,
/// each with the file and the line.
#[must_use]
pub fn read(path: &Path) -> Settings {
    let name = path.display().to_string();
    if name.is_empty() {
        let mut settings = Settings::default();
        let message = "is set to nothing: must be the path of a file, or unset";
        settings.add_problem(Problem::new(CONFIG, message));
        return settings;
    }
    text(path).map_or_else(
        |wrong| {
            let mut settings = Settings::default();
            settings.add_problem(Problem::new(CONFIG, format!("{name}: {wrong}")));
            settings
        },
        |text| Settings::from_toml(&text, &name),
    )
}

/// Returns the text of the file, or what is wrong with it.
fn text(path: &Path) -> Result<String, String> {
    let own = path.to_owned();
    let read = Reading::default().wait(move || read_once(&own, LARGEST));
    let bytes = read.map_err(|hangs| format!("{hangs}, or nobody writes to the pipe"))?;
    let bytes = bytes.map_err(|wrong| wrong.to_string())?;
    let text = str::from_utf8(&bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
    Ok(text.to_owned())
}

impl Settings {
    /// Makes settings from the text of a TOML file, which messages call `name`. No message quotes a value.
    #[must_use]
    pub fn from_toml(text: &str, name: &str) -> Self {
        let file = File { text, name };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut settings = Self::default();
        // What follows a mistake of syntax may be misread.
        if let Some(error) = errors.first() {
            // The error's own text would quote the line, which may hold a password.
            let at = error.span().map_or(0, |span| span.start);
            let message = format!("{}: {}", file.place(at), error.message());
            settings.add_problem(Problem::new(CONFIG, message));
            return settings;
        }
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            if key.get_ref().as_ref() == PROVIDERS {
                file.providers(value, &mut settings);
                continue;
            }
            if key.get_ref().as_ref() == TENANTS {
                file.tenants(value, &mut settings);
                continue;
            }
            match file.setting(key, value) {
                Ok((setting, texts)) => settings.set(setting.name, texts, Source::File),
                Err(problem) => settings.add_problem(problem),
            }
        }
        settings
    }
}

/// Reads the presets, by name, from a text of which each table is one.
///
/// # Panics
/// Panics if the text is wrong. It is part of the program.
#[expect(
    clippy::expect_used,
    reason = "the text is a constant, which tests cover"
)]
pub(super) fn presets(text: &str) -> BTreeMap<String, Settings> {
    let file = File {
        text,
        name: "presets",
    };
    let tables = DeTable::parse(text).expect("the presets are TOML");
    let read = tables.get_ref().iter().map(|(name, table)| {
        let (preset, problems) = file.provider(name.get_ref(), table, Source::Preset);
        assert!(problems.is_empty(), "{problems:?}");
        (name.get_ref().clone().into_owned(), preset)
    });
    read.collect()
}

/// The text of a file, and what messages call the file.
struct File<'a> {
    text: &'a str,
    name: &'a str,
}

impl File<'_> {
    /// Returns the file and the line for a message.
    fn place(&self, at: usize) -> String {
        let line = self.text[..at].matches('\n').count() + 1;
        format!("{}, line {line}", self.name)
    }

    /// Reads the tables of all providers.
    fn providers(&self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        let DeValue::Table(tables) = value.get_ref() else {
            let message = "must be tables, as in [providers.github]";
            settings.add_problem(Problem::new(PROVIDERS, message));
            return;
        };
        for (name, value) in tables {
            let name = name.get_ref();
            let (table, problems) = self.provider(name, value, Source::File);
            settings.set_table(name, table);
            problems
                .into_iter()
                .for_each(|problem| settings.add_problem(problem));
        }
    }

    /// Reads the tables of all tenants.
    fn tenants(&self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        let DeValue::Table(tables) = value.get_ref() else {
            let message = format!("must be tables, as in [{}]", tenant_table("acme:prod"));
            settings.add_problem(Problem::new(TENANTS, message));
            return;
        };
        for (name, value) in tables {
            let name = name.get_ref();
            match value.get_ref() {
                DeValue::Table(entries) => settings.set_tenant(name, self.tenant(entries)),
                _ => {
                    let (table, place) = (tenant_table(name), self.place(value.span().start));
                    let message = format!("must be a table, as in [{table}] ({place})");
                    settings.add_problem(Problem::new(table, message));
                }
            }
        }
    }

    /// Reads the table of one tenant.
    fn tenant(&self, entries: &DeTable<'_>) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in entries {
            if key.get_ref().as_ref() == PROVIDERS {
                self.providers(value, &mut settings);
                continue;
            }
            let place = self.place(key.span().start);
            let name = key.get_ref();
            if !of_a_tenant().iter().any(|setting| setting.name == name) {
                let meant = match named(name) {
                    Some(_) => {
                        "; it is one of the whole process: write it above all tables".to_owned()
                    }
                    None => did_you_mean(nearest(
                        name,
                        of_a_tenant().iter().map(|setting| setting.name),
                    )),
                };
                let message = format!("is not a setting of a tenant ({place}){meant}");
                settings.add_problem(Problem::new(unknown_key(name), message));
                continue;
            }
            match self.setting(key, value) {
                Ok((setting, texts)) => settings.set(setting.name, texts, Source::File),
                Err(problem) => settings.add_problem(problem),
            }
        }
        settings
    }

    /// Reads the table of one provider, and returns what is wrong with it.
    fn provider(
        &self,
        provider: &str,
        value: &Spanned<DeValue<'_>>,
        source: Source,
    ) -> (Settings, Vec<Problem>) {
        let (mut settings, mut problems) = (Settings::default(), Vec::new());
        let table = table_of(provider);
        let DeValue::Table(entries) = value.get_ref() else {
            let place = self.place(value.span().start);
            let mut message = format!("must be a table, as in [{table}] ({place})");
            if let Some(meant) = declared_for_providers(provider) {
                message += &format!("; {} belongs into the table of a provider", meant.name);
            }
            return (settings, vec![Problem::new(table, message)]);
        };
        for (written, value) in entries {
            let (name, place) = (written.get_ref().as_ref(), self.place(written.span().start));
            let Some(setting) = declared_for_providers(name) else {
                let meant = match value.get_ref() {
                    DeValue::Table(keys) => grouped(name, keys).unwrap_or_else(|| {
                        let whole = table_of(&format!("{provider}.{name}"));
                        format!(
                            "; the name of a provider that has a dot is in quotes, as in [{whole}]"
                        )
                    }),
                    _ => stray(name),
                };
                let meant = if may_be_random(name) {
                    String::new()
                } else {
                    meant
                };
                let message = format!("is not a setting of a provider ({place}){meant}");
                problems.push(Problem::new(
                    format!("{table}.{}", unknown_key(name)),
                    message,
                ));
                continue;
            };
            match texts(setting.style.form, value.get_ref()) {
                Ok(texts) => settings.set(setting.name, texts, source),
                Err(wrong) => {
                    let name = format!("{table}.{name}");
                    problems.push(Problem::new(name, format!("{wrong} ({place})")));
                }
            }
        }
        (settings, problems)
    }

    fn setting(
        &self,
        written: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(&'static Setting, Vec<String>), Problem> {
        let (name, place) = (written.get_ref().as_ref(), self.place(written.span().start));
        let Some(setting) = named(name) else {
            let message = format!(
                "{place}: {} is not a setting{}",
                unknown_key(name),
                hint(name, value)
            );
            return Err(Problem::new(CONFIG, message));
        };
        let texts = texts(setting.style.form, value.get_ref())
            .map_err(|wrong| Problem::new(name, format!("{wrong} ({place})")))?;
        Ok((setting, texts))
    }
}

/// Returns the setting of a provider that is called `name`, if there is one.
fn declared_for_providers(name: &str) -> Option<&'static Setting> {
    of_a_provider().iter().find(|setting| setting.name == name)
}

/// Returns what may have been meant by a table such as `client-secret = { file = "..." }`.
fn grouped(name: &str, keys: &DeTable<'_>) -> Option<String> {
    let name = name.replace('_', "-");
    let mut meant = keys
        .keys()
        .filter_map(|key| declared_for_providers(&format!("{name}-{}", key.get_ref())));
    let meant = meant.next()?.name;
    Some(format!(
        "; settings are not grouped in tables: write {meant} = ..."
    ))
}

/// Returns what may have been meant by a key in the table of a provider that is no setting of one.
fn stray(name: &str) -> String {
    if ["client-secret", "client_secret"].contains(&name) {
        return "; a secret is never in the table: set client-secret-file or client-secret-env"
            .to_owned();
    }
    if named(name).is_some() {
        return format!(
            "; a key below the head of a table belongs to the table: write {name} above it"
        );
    }
    did_you_mean(nearest(
        name,
        of_a_provider().iter().map(|setting| setting.name),
    ))
}

/// Returns what may have been meant by a key that is no setting.
fn hint(name: &str, value: &Spanned<DeValue<'_>>) -> String {
    if let DeValue::Table(table) = value.get_ref() {
        if let Some(table) = meant_for_providers(name, table) {
            return format!("; the table of a provider is written [{table}]");
        }
        let within = table
            .keys()
            .find_map(|key| named(&format!("{name}-{}", key.get_ref())));
        return within.map_or_else(
            || "; settings are not grouped in tables".to_owned(),
            |setting| {
                let meant = setting.name;
                format!(
                    "; settings are not grouped in tables: write {meant} = ... above all tables"
                )
            },
        );
    }
    did_you_mean(nearest(name, all().iter().map(|setting| setting.name)))
}

/// Returns the head that a table at the top level should have, if it is that of a provider.
fn meant_for_providers(name: &str, table: &DeTable<'_>) -> Option<String> {
    let is_of_a_provider = |table: &DeTable<'_>| {
        let mut keys = table.keys();
        keys.any(|key| declared_for_providers(key.get_ref()).is_some())
    };
    if is_of_a_provider(table) {
        return Some(table_of(name));
    }
    // [provider.acme]
    let within = table
        .iter()
        .find_map(|(name, value)| match value.get_ref() {
            DeValue::Table(table) if is_of_a_provider(table) => Some(name),
            _ => None,
        });
    within.map(|name| table_of(name.get_ref()))
}

/// Returns the texts of a setting that has this form, or what is wrong with the value.
fn texts(form: Form, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match (form, value) {
        (Form::List | Form::Pairs, DeValue::Array(list)) => items(list),
        (Form::Pairs, DeValue::Table(table)) => pairs(table),
        (form, value) => {
            let text = scalar(value).ok_or_else(|| {
                let (wanted, found) = (wanted(form), value.type_str());
                format!("must be {wanted}, and is of the type {found}")
            })?;
            Ok(form.texts(text))
        }
    }
}

fn wanted(form: Form) -> &'static str {
    match form {
        Form::Single | Form::Switch => "a text, a whole number or a boolean",
        Form::List => "a list of texts",
        Form::Pairs => "a table, or a list of texts",
    }
}

fn items(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let items = list.iter().map(|item| scalar(item.get_ref()));
    items
        .collect::<Option<_>>()
        .ok_or_else(|| "must be a list of texts".to_owned())
}

fn pairs(table: &DeTable<'_>) -> Result<Vec<String>, String> {
    let pairs = table.iter().map(|(from, to)| {
        let from = from.get_ref();
        if named(from).is_some() {
            return Err(format!(
                "has an entry {from}, which is a setting: a key below the head of a table belongs to the \
                 table, so write {from} above it"
            ));
        }
        let to = to.get_ref().as_str();
        to.map(|to| format!("{from}={to}"))
            .ok_or_else(|| {
                "must be a table of texts; a name that has a dot is in quotes, as in \"prod.example\" = ...".to_owned()
            })
    });
    pairs.collect()
}

/// Returns the text of a value that is one text, whole number or boolean.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
