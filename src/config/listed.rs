//! What came out of all sources, for an operator who looks at the configuration without starting.

use std::fmt::Write;

use super::{
    Backend, Config,
    settings::{Setting, StorageSettings, all},
    syntax::parse_span,
    value::Style,
    written::{Settings, Source},
};

impl Settings {
    /// Returns a line for each setting that is set or has a default: name, value, and where the value comes
    /// from. Secrets are hidden. `config` is what these settings resolved to.
    #[must_use]
    pub fn listed(&self, config: &Config) -> String {
        let mut list = String::new();
        for setting in all() {
            let Some((value, origin)) = self.listed_value(setting, config) else {
                continue;
            };
            // Writing to a string doesn't fail.
            writeln!(list, "{} = {value}  # {origin}", setting.name).ok();
        }
        list
    }

    fn listed_value(&self, setting: &Setting, config: &Config) -> Option<(String, String)> {
        let Setting { name, style, .. } = setting;
        let is_set = self.is_set(name);
        if *name == StorageSettings::backend && !is_set && config.backend == Backend::Redis {
            return Some((
                "\"redis\"".to_owned(),
                "because redis-url is set".to_owned(),
            ));
        }
        if !is_set {
            let default = style.default?;
            return Some((format!("{default:?}"), "default".to_owned()));
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
