//! Settings as the operator writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    problem::Problem,
    settings,
    value::{Form, Secrecy},
};

/// The settings from one or several sources, as texts. [`Settings::resolve`] checks all of them at
/// once.
#[derive(Clone, Default)]
pub struct Settings {
    texts: BTreeMap<&'static str, Vec<String>>,
    on_command_line: BTreeSet<&'static str>,
}

impl Settings {
    /// Makes settings from pairs of a name and a text. The items of a list are separated by commas, as
    /// in the environment. If a name occurs several times, the last text counts.
    ///
    /// # Errors
    /// Returns a [`Problem`] if no setting has one of the names.
    pub fn from_pairs<'a, T: Into<String>>(
        pairs: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Result<Self, Problem> {
        let mut settings = Self::default();
        for (name, text) in pairs {
            let unknown = || Problem::new(name, "is not a setting");
            let setting = settings::named(name).ok_or_else(unknown)?;
            let text = text.into();
            let texts = match setting.style.form {
                Form::Single | Form::Switch => vec![text],
                Form::List | Form::Pairs => text.split(',').map(str::to_owned).collect(),
            };
            settings.set(setting.name, texts);
        }
        Ok(settings)
    }

    /// Adds the settings of `other` that aren't set here.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (name, texts) in other.texts {
            if !self.texts.contains_key(name) {
                self.texts.insert(name, texts);
                if other.on_command_line.contains(name) {
                    self.on_command_line.insert(name);
                }
            }
        }
        self
    }

    /// Returns a [`Problem`] for every secret that was given on the command line.
    #[must_use]
    pub fn exposed_secrets(&self) -> Vec<Problem> {
        let secrets = settings::all().iter().filter_map(|setting| {
            let Secrecy { is_secret, instead } = setting.style.secrecy?;
            let exposed = self.on_command_line.contains(setting.name)
                && self.get(setting.name).iter().any(|text| is_secret(text));
            exposed.then(|| {
                let variable = setting.variable();
                let message = format!(
                    "a password must not be on the command line, where every user of the machine can \
                     read it; set {instead}, or put it into {variable} or the configuration file"
                );
                Problem::new(setting.name, message)
            })
        });
        secrets.collect()
    }

    /// Returns the texts of a setting: none if it is unset, and one if it isn't a list.
    pub(super) fn get(&self, name: &str) -> &[String] {
        self.texts.get(name).map_or(&[], Vec::as_slice)
    }

    /// Sets the texts of a setting.
    pub(super) fn set(&mut self, name: &'static str, texts: Vec<String>) {
        self.texts.insert(name, texts);
    }

    /// Records that a setting was given on the command line.
    pub(super) fn note_on_command_line(&mut self, name: &'static str) {
        self.on_command_line.insert(name);
    }
}

/// Prints the names of the settings that are set, but not their texts, which may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}
