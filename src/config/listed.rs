//! What came out of all sources, for an operator who looks at the configuration without starting. It is a file as
//! `--config` takes it, if no secret had to be hidden.

use std::fmt::Write;

use super::{
    Backend, Config,
    providers::{implied, presets, table_of, with_preset},
    settings::{ProviderSettings, Setting, StorageSettings, all, of_a_provider, of_a_tenant},
    syntax::parse_span,
    tenants::tenant_table,
    value::Style,
    written::{Settings, Source},
};

/// The origin of what nobody set.
const DEFAULT: &str = "default";

impl Settings {
    /// Returns a line for each setting that is set or has a default: name, value, and where the value comes
    /// from. Defaults are comments, because some of them are words and others have no effect. Secrets are hidden.
    /// `config` is what these settings resolved to.
    #[must_use]
    pub fn listed(&self, config: &Config) -> String {
        let mut list = String::new();
        for setting in all() {
            let Some((value, origin)) = self.listed_value(setting, config) else {
                continue;
            };
            list += &line(setting.name, &value, &origin);
        }
        list + &self.listed_tables()
    }

    /// Returns the tables of providers and tenants as they came out.
    #[must_use]
    pub fn listed_tables(&self) -> String {
        let mut list = self.listed_providers("");
        for (name, written) in self.tenants() {
            let table = tenant_table(name);
            // Writing to a string doesn't fail.
            writeln!(list, "\n[{table}]").ok();
            for setting in of_a_tenant()
                .iter()
                .filter(|setting| written.is_set(setting.name))
            {
                if let Some((value, origin)) = written.listed_texts(setting) {
                    list += &line(setting.name, &value, &origin);
                }
            }
            list += &written.listed_providers(&format!("{table}."));
        }
        list
    }

    /// Returns the tables of providers as they came out: a line for each setting that is set, by the file or by a
    /// preset, or has a default.
    fn listed_providers(&self, within: &str) -> String {
        let mut list = String::new();
        for (name, written) in self.tables() {
            let settings = with_preset(written);
            let lines = of_a_provider().iter().filter_map(|setting| {
                let (value, origin) = settings.listed_texts(setting)?;
                Some(line(setting.name, &value, &origin))
            });
            writeln!(list, "\n[{within}{}]", table_of(name)).ok();
            list.extend(lines);
            let method = ProviderSettings::client_authentication;
            if let Some((implied, because)) =
                implied(&settings).filter(|_| !settings.is_set(method))
            {
                let value = format!("{:?}", implied.name());
                list += &line(method, &value, &format!("because {because} is set"));
            }
        }
        list
    }

    fn listed_value(&self, setting: &Setting, config: &Config) -> Option<(String, String)> {
        let name = &setting.name;
        let is_set = self.is_set(name);
        if *name == StorageSettings::backend && !is_set && config.backend == Backend::Redis {
            return Some((
                "\"redis\"".to_owned(),
                "because redis-url is set".to_owned(),
            ));
        }
        self.listed_texts(setting)
    }

    /// Returns the value of a setting that is set or has a default, and where it comes from.
    fn listed_texts(&self, setting: &Setting) -> Option<(String, String)> {
        let Setting { name, style, .. } = setting;
        if !self.is_set(name) {
            let default = style.default?;
            return Some((format!("{default:?}"), DEFAULT.to_owned()));
        }
        let texts: Vec<_> = self
            .get(name)
            .iter()
            .map(|text| shown(style, text))
            .collect();
        let value = match &texts[..] {
            [text] if !style.form.is_list() => format!("{text:?}"),
            texts => format!("{texts:?}"),
        };
        let origin = match self.source(name) {
            Some(Source::File) => "file".to_owned(),
            Some(Source::Preset) => "preset".to_owned(),
            _ => self.given_as(name),
        };
        let origin = match &texts[..] {
            [text] if style.value_name == "SPAN" => match in_full(text) {
                Some(span) => format!("{origin}, {span}"),
                None => origin,
            },
            _ => origin,
        };
        Some((value, origin))
    }
}

fn line(name: &str, value: &str, origin: &str) -> String {
    let comment = if origin == DEFAULT { "# " } else { "" };
    format!("{comment}{name} = {value}  # {origin}\n")
}

/// Returns the presets, as tables that could stand in the file.
#[must_use]
pub fn listed_presets() -> String {
    let mut list = String::new();
    for (name, preset) in presets() {
        writeln!(list, "\n[{name}]").ok();
        for setting in of_a_provider() {
            if preset.is_set(setting.name)
                && let Some((value, _)) = preset.listed_texts(setting)
            {
                writeln!(list, "{} = {value}", setting.name).ok();
            }
        }
    }
    list.trim_start().to_owned()
}

/// Returns the name, the default and the help of each setting of a provider.
pub fn provider_settings()
-> impl Iterator<Item = (&'static str, Option<&'static str>, &'static str)> {
    let all = of_a_provider().iter();
    all.map(|setting| (setting.name, setting.style.default, setting.help))
}

/// Returns a name as a key of TOML.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.chars().all(is_bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// Returns a name that no setting has, as a key of TOML. What may be a secret in the wrong place isn't quoted.
pub(super) fn unknown_key(name: &str) -> String {
    if may_be_random(name) {
        "what isn't shown, because it may be a secret,".to_owned()
    } else {
        key(name)
    }
}

/// Whether a text is rather a random one than a name with a typing mistake.
pub(super) fn may_be_random(text: &str) -> bool {
    const LONGEST_NAME_OF_ANY_LETTERS: usize = 16;
    let any = |is: fn(&char) -> bool| text.chars().any(|c| is(&c));
    let is_mixed = any(char::is_ascii_lowercase) && any(char::is_ascii_uppercase);
    let has_others = any(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
    let digits = text.chars().filter(char::is_ascii_digit).count();
    text.len() > LONGEST_NAME_OF_ANY_LETTERS && (is_mixed || has_others || digits > 3)
}

/// Returns a span of time as it was understood, if that differs from how it was written.
fn in_full(text: &str) -> Option<String> {
    let span = parse_span(text.trim()).ok()?;
    let span = humantime::format_duration(span).to_string();
    (span != text).then_some(span)
}

fn shown(style: &Style, text: &str) -> String {
    match style.secrecy {
        Some(secrecy) if (secrecy.is_secret)(text) => (secrecy.hide)(text),
        _ => text.to_owned(),
    }
}
