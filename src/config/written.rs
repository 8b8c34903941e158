//! Settings as the operator writes them.

use std::{collections::BTreeMap, fmt};

use super::{problem::Problem, settings, value::Secrecy};

/// The settings from one or several sources, as texts. [`Settings::resolve`] checks all of them at
/// once.
#[derive(Clone, Default)]
pub struct Settings {
    written: BTreeMap<&'static str, Written>,
    /// The tables of providers, by the provider's name. They are in the file alone.
    tables: BTreeMap<String, Settings>,
    /// The tables of tenants, by the tenant's name. They are in the file alone. Each may have tables of providers.
    tenants: BTreeMap<String, Settings>,
    /// What is wrong with a source itself, such as an unknown key in the file.
    problems: Vec<Problem>,
}

/// A setting as it was written.
#[derive(Clone)]
struct Written {
    texts: Vec<String>,
    source: Source,
}

/// Where a setting was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// On the command line.
    Flag,
    /// In the environment.
    Variable,
    /// In the configuration file.
    File,
    /// By a program that uses this library.
    Program,
    /// In a preset.
    Preset,
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
            let texts = setting.style.form.texts(text.into());
            settings.set(setting.name, texts, Source::Program);
        }
        Ok(settings)
    }

    /// Adds the settings of `other` that aren't set here.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (name, written) in other.written {
            self.written.entry(name).or_insert(written);
        }
        for (name, table) in other.tables {
            self.tables.entry(name).or_insert(table);
        }
        for (name, table) in other.tenants {
            self.tenants.entry(name).or_insert(table);
        }
        self.problems.extend(other.problems);
        self
    }

    /// Returns a [`Problem`] for every secret that was given on the command line.
    #[must_use]
    pub fn exposed_secrets(&self) -> Vec<Problem> {
        let secrets = settings::all().iter().filter_map(|setting| {
            let Secrecy {
                is_secret, instead, ..
            } = setting.style.secrecy?;
            let exposed = self.source(setting.name) == Some(Source::Flag)
                && self.get(setting.name).iter().any(|text| is_secret(text));
            exposed.then(|| {
                let variable = setting.variable();
                let message = format!(
                    "a password must not be on the command line, where every user of the machine can \
                     read it; set {instead}, or put it into {variable} or the configuration file"
                );
                self.named(Problem::new(setting.name, message))
            })
        });
        secrets.collect()
    }

    /// Returns the texts of a setting: none if it is unset, and one if it isn't a list.
    pub(super) fn get(&self, name: &str) -> &[String] {
        self.written.get(name).map_or(&[], |written| &written.texts)
    }

    /// Returns where a setting was written, or `None` if it is unset.
    pub(super) fn source(&self, name: &str) -> Option<Source> {
        self.written.get(name).map(|written| written.source)
    }

    /// Whether a setting is set.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.written.contains_key(name)
    }

    /// Sets the texts of a setting.
    pub(super) fn set(&mut self, name: &'static str, texts: Vec<String>, source: Source) {
        self.written.insert(name, Written { texts, source });
    }

    /// Removes a setting.
    pub(super) fn unset(&mut self, name: &str) {
        self.written.remove(name);
    }

    /// Adds the table of a provider.
    pub(super) fn set_table(&mut self, name: &str, table: Self) {
        self.tables.insert(name.to_owned(), table);
    }

    /// Returns the tables of providers, in the order of their names.
    pub(super) fn tables(&self) -> &BTreeMap<String, Self> {
        &self.tables
    }

    /// Adds the table of a tenant.
    pub(super) fn set_tenant(&mut self, name: &str, table: Self) {
        self.tenants.insert(name.to_owned(), table);
    }

    /// Returns the tables of tenants, in the order of their names.
    pub(super) fn tenants(&self) -> &BTreeMap<String, Self> {
        &self.tenants
    }

    /// Adds these settings of `other` where they aren't set here.
    pub(super) fn inherit<'a>(&mut self, other: &Self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if let Some((name, written)) = other.written.get_key_value(name) {
                self.written.entry(name).or_insert_with(|| written.clone());
            }
        }
    }

    /// Adds what is wrong with a source.
    pub(super) fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Returns what is wrong with the sources.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns only which settings are set, and where: without the texts, which may be secrets.
    pub(super) fn without_texts(&self) -> Self {
        let mut bare = Self::default();
        for (name, written) in &self.written {
            bare.set(name, Vec::new(), written.source);
        }
        bare
    }

    /// Returns the name of a setting as the operator gave it: `--redis-url`, `TOKEN_BROKER_REDIS_URL`, or
    /// `redis-url` if it is in the file or unset.
    pub(super) fn given_as(&self, name: &str) -> String {
        match (self.source(name), settings::named(name)) {
            (Some(Source::Flag), _) => format!("--{name}"),
            (Some(Source::Variable), Some(setting)) => setting.variable(),
            _ => name.to_owned(),
        }
    }

    /// Adds the name that the operator gave the setting to a problem.
    pub(super) fn named(&self, problem: Problem) -> Problem {
        Problem {
            given_as: Some(self.given_as(&problem.setting)),
            ..problem
        }
    }
}

/// Prints the names of the settings that are set, but not their texts, which may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = f.debug_set().entries(self.written.keys()).finish();
        names?;
        for tables in [&self.tables, &self.tenants] {
            if !tables.is_empty() {
                f.write_str(" ")?;
                f.debug_map().entries(tables).finish()?;
            }
        }
        Ok(())
    }
}
