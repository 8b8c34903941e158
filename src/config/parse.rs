//! From text to values, collecting what is wrong.
//!
//! Each function takes a setting and the default as it is written. A value that is wrong is noted
//! and the default goes on in its place, so that the other settings are checked too.

use std::{
    collections::HashSet, fmt::Display, net::SocketAddr, ops::RangeInclusive, str::FromStr,
    time::Duration,
};

use super::{Problem, Text, redis_url::RedisUrl};
use crate::{store::redis::maintenance::migration::LegacyMapping, types::ProviderName};

/// Whether a Redis URL holds a password. One that can't be parsed has none to speak of.
#[must_use]
pub fn has_password(Text(url): &Text) -> bool {
    RedisUrl::parse(url.trim()).is_ok_and(|url| url.password.is_some())
}

/// What is wrong so far.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, setting: &str, message: impl Into<String>) {
        self.0.push(Problem {
            setting: setting.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn none_or_all(self) -> Result<(), Vec<Problem>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }

    /// `parse` on what is set, and on the default where nothing is set or it is wrong. Defaults are
    /// right; a test goes through all of them.
    #[expect(clippy::expect_used, reason = "defaults are constants, and tested")]
    fn or_default<T>(
        &mut self,
        setting: &str,
        text: Option<Text>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        if let Some(Text(text)) = text {
            match parse(text.trim()) {
                Ok(value) => return value,
                Err(message) => self.add(setting, message),
            }
        }
        parse(default).expect("the default is valid")
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        setting: &str,
        text: Option<Text>,
        default: &str,
    ) -> T {
        self.or_default(setting, text, default, |text| {
            text.parse().map_err(|error| format!("{text:?} {error}"))
        })
    }

    pub(super) fn address(
        &mut self,
        setting: &str,
        text: Option<Text>,
        default: &str,
    ) -> SocketAddr {
        self.or_default(setting, text, default, |text| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address and port, like 127.0.0.1:50051 or [::1]:50051")
            })
        })
    }

    pub(super) fn boolean(&mut self, setting: &str, text: Option<Text>) -> bool {
        self.choice(setting, text, "false", &[("true", true), ("false", false)])
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        setting: &str,
        text: Option<Text>,
        default: &str,
        choices: &[(&str, T)],
    ) -> T {
        self.or_default(setting, text, default, |text| {
            let chosen = choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value);
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            chosen.ok_or_else(|| format!("{text:?} is none of {}", names.join(", ")))
        })
    }

    pub(super) fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        setting: &str,
        text: Option<Text>,
        default: &str,
        range: RangeInclusive<T>,
    ) -> T {
        self.or_default(setting, text, default, |text| {
            text.parse()
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    format!(
                        "{text:?} is not a whole number from {} to {}",
                        range.start(),
                        range.end()
                    )
                })
        })
    }

    pub(super) fn span(&mut self, setting: &str, text: Option<Text>, default: &str) -> Duration {
        const SPANS: RangeInclusive<Duration> =
            Duration::from_millis(1)..=Duration::from_secs(100 * 366 * 86_400);
        self.or_default(setting, text, default, |text| {
            humantime::parse_duration(text).ok().filter(|span| SPANS.contains(span)).ok_or_else(|| {
                format!("{text:?} is not a span of time from 1ms to 100 years, like 500ms, 10s or 30days")
            })
        })
    }

    pub(super) fn redis_url(&mut self, setting: &str, text: Option<Text>) -> RedisUrl {
        self.or_default(setting, text, "redis://127.0.0.1:6379", RedisUrl::parse)
    }

    pub(super) fn providers(
        &mut self,
        setting: &str,
        names: Option<Vec<Text>>,
    ) -> HashSet<ProviderName> {
        let mut providers = HashSet::new();
        for Text(name) in names.unwrap_or_default() {
            match ProviderName::new(name.as_str()) {
                Ok(provider) => _ = providers.insert(provider),
                Err(error) => self.add(setting, format!("{name:?} {error}")),
            }
        }
        providers
    }

    pub(super) fn legacy(&mut self, setting: &str, pairs: Vec<Text>) -> LegacyMapping {
        let mut mapping = LegacyMapping::default();
        for Text(pair) in pairs {
            if let Err(error) = mapping.add(&pair) {
                self.add(setting, format!("{pair:?} {error}"));
            }
        }
        mapping
    }
}
