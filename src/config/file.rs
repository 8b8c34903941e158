//! The configuration file.

use std::{collections::BTreeMap, fmt, path::Path, sync::LazyLock};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};

use super::{
    problem::Problem,
    settings::{Setting, all, named},
    value::Form,
    written::Settings,
};

/// Reads a TOML file whose keys are the names of settings.
///
/// # Errors
/// Returns a [`Problem`] of the setting `config`, which names the file and the line.
pub fn read(path: &Path) -> Result<Settings, Problem> {
    let problem = |message| Problem::new("config", message);
    let text = std::fs::read_to_string(path)
        .map_err(|error| problem(format!("{} can't be read: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        // The error's own text would quote the line, which may hold a password.
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        problem(format!(
            "{}, line {line}: {}",
            path.display(),
            error.message()
        ))
    })
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table whose keys are the names of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = Settings::default();
        while let Some(setting) = map.next_key_seed(Key)? {
            settings.set(setting.name, map.next_value_seed(setting.style.form)?);
        }
        Ok(settings)
    }
}

/// Reads a key, which must be the name of a setting. The key itself fails if it is unknown, so that the
/// error has the key's line.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static Setting;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        static NAMES: LazyLock<Vec<&str>> =
            LazyLock::new(|| all().iter().map(|setting| setting.name).collect());
        let name = String::deserialize(deserializer)?;
        named(&name).ok_or_else(|| D::Error::unknown_field(&name, &NAMES))
    }
}

/// Reads the texts of a setting that has this form.
impl<'de> DeserializeSeed<'de> for Form {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Ok(match self {
            Self::Single | Self::Switch => vec![Scalar::deserialize(deserializer)?.into()],
            Self::List => {
                let list = Vec::<Scalar>::deserialize(deserializer)?;
                list.into_iter().map(String::from).collect()
            }
            Self::Pairs => match Pairs::deserialize(deserializer)? {
                Pairs::List(list) => list,
                Pairs::Table(table) => {
                    let pairs = table.into_iter();
                    pairs.map(|(from, to)| format!("{from}={to}")).collect()
                }
            },
        })
    }
}

/// A text, a number or a boolean.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Integer(number) => number.to_string(),
            Scalar::Boolean(truth) => truth.to_string(),
        }
    }
}

/// Pairs of names, written as a list of `a=b` or as a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pairs {
    List(Vec<String>),
    Table(BTreeMap<String, String>),
}
