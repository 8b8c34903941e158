//! The settings as flags and environment variables.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::Error, parser::ValueSource,
};

use super::{
    settings::{Setting, all},
    value::Form,
    written::{Settings, Source},
};

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        command.args(all().iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut settings = Self::default();
        for Setting { name, .. } in all() {
            let source = match matches.value_source(name) {
                Some(ValueSource::CommandLine) => Source::Flag,
                _ => Source::Variable,
            };
            if let Some(texts) = matches.get_many::<String>(name) {
                settings.set(name, texts.cloned().collect(), source);
            }
        }
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?.or(std::mem::take(self));
        Ok(())
    }
}

fn argument(setting: &Setting) -> Arg {
    let style = &setting.style;
    let help = match style.default {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    let argument = Arg::new(setting.name)
        .long(setting.name)
        .env(setting.variable())
        .value_name(style.value_name)
        .help(help)
        // Any variable may hold a secret by mistake.
        .hide_env_values(true);
    let argument = match style.heading {
        Some(heading) => argument.help_heading(heading),
        None => argument,
    };
    match style.form {
        Form::Single => argument,
        Form::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Form::List | Form::Pairs => argument.action(ArgAction::Append).value_delimiter(','),
    }
}
