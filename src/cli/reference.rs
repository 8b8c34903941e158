//! Checks that `docs/configuration.md` and the defaults in the help agree with the program.

use std::{fs, path::Path};

use clap::{Arg, CommandFactory};

use super::Cli;
use crate::{
    access::{Concerns, Role, Rpc},
    config::{Settings, listed_presets, provider_settings},
};

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
const PROVIDERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/providers.md");
const ACCESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access.md");
const BEGIN: &str = "<!-- settings: written by `UPDATE_DOCS=1 cargo test --lib reference` -->\n";
const END: &str = "<!-- end of settings -->";

fn settings() -> Vec<Arg> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    serve
        .get_arguments()
        .filter(|arg| arg.get_env().is_some())
        .cloned()
        .collect()
}

fn split(arg: &Arg) -> (String, Option<String>) {
    let help = arg.get_help().unwrap().to_string();
    match help.split_once(" [default: ") {
        Some((help, default)) => (
            help.to_owned(),
            Some(default.trim_end_matches(']').to_owned()),
        ),
        None => (help, None),
    }
}

fn table() -> String {
    let mut table = String::from(
        "| setting, `--flag` | environment | default | what it is |\n|---|---|---|---|\n",
    );
    for arg in settings() {
        let (help, default) = split(&arg);
        let env = arg.get_env().unwrap().to_string_lossy().into_owned();
        let default = default.map_or_else(String::new, |default| format!("`{default}`"));
        let name = arg.get_long().unwrap();
        let help = help.replace('|', "\\|");
        table.push_str(&format!("| `{name}` | `{env}` | {default} | {help} |\n"));
    }
    table
}

/// Checks what stands between two marks of a page, or writes it.
fn check_or_write(page: &str, begin: &str, end: &str, wanted: &str) {
    let doc = fs::read_to_string(Path::new(page)).unwrap();
    let (before, rest) = doc.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page, format!("{before}{begin}{wanted}{end}{after}")).unwrap();
    } else {
        let what = "run the command in the comment above the table";
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn the_table_in_the_docs_is_that_of_the_program() {
    check_or_write(DOC, BEGIN, END, &table());
}

#[test]
fn the_table_of_roles_in_the_docs_is_that_of_the_program() {
    let roles = Role::ALL.iter().map(|role| format!("`{}` | ", role.name()));
    let rule = "---|".repeat(Role::ALL.len());
    let mut table = format!(
        "| RPC | {}which providers the caller needs |\n|---|{rule}---|\n",
        roles.collect::<String>()
    );
    for rpc in Rpc::ALL {
        let has = |role: &Role| if role.has(*rpc) { "yes | " } else { "| " };
        let has: String = Role::ALL.iter().map(has).collect();
        let needs = match rpc.concerns() {
            Concerns::One => "the one that the request names",
            Concerns::OneOrAll => "the one that the request names; all for `all_providers`",
            Concerns::All => "all",
            Concerns::Own => "any: it shows the caller's own",
            Concerns::None => "none",
        };
        table.push_str(&format!("| `{rpc}` | {has}{needs} |\n"));
    }
    let [begin, end] = [
        "<!-- roles: written by `UPDATE_DOCS=1 cargo test --lib reference` -->\n",
        "<!-- end of roles -->",
    ];
    check_or_write(ACCESS, begin, end, &table);
}

#[test]
fn the_tables_of_providers_in_the_docs_are_those_of_the_program() {
    let mut table = String::from("| key | default | what it is |\n|---|---|---|\n");
    for (name, default, help) in provider_settings() {
        let default = default.map_or_else(String::new, |default| format!("`{default}`"));
        table.push_str(&format!("| `{name}` | {default} | {help} |\n"));
    }
    let [begin, end] = [
        "<!-- provider settings: written by `UPDATE_DOCS=1 cargo test --lib reference` -->\n",
        "<!-- end of provider settings -->",
    ];
    check_or_write(PROVIDERS, begin, end, &table);
    let [begin, end] = [
        "<!-- presets: written by `UPDATE_DOCS=1 cargo test --lib reference` -->\n",
        "<!-- end of presets -->",
    ];
    let presets = format!("```text\n{}```\n", listed_presets());
    check_or_write(PROVIDERS, begin, end, &presets);
}

#[test]
fn every_variable_is_named_after_its_flag() {
    for arg in settings() {
        let flag = arg.get_long().unwrap().to_uppercase().replace('-', "_");
        assert_eq!(
            arg.get_env().unwrap().to_str(),
            Some(&*format!("TOKEN_BROKER_{flag}"))
        );
    }
}

/// Settings with which every other setting has an effect.
const BASE: &str = "
    backend = \"redis\"
    durability = \"replicated\"
    redis-url = \"redis+sentinel://a/m\"
";

/// Returns the configuration of a file with these lines, as text.
fn resolved(lines: &str) -> String {
    format!(
        "{:?}",
        Settings::from_toml(lines, "file").resolve().unwrap()
    )
}

#[test]
fn the_defaults_in_the_help_are_the_defaults() {
    let mut seen = 0;
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let key = key.path();
    for arg in settings() {
        let (_, Some(default)) = split(&arg) else {
            continue;
        };
        let line = format!("{} = \"{default}\"\n", arg.get_long().unwrap());
        match arg.get_long().unwrap() {
            // The default isn't fixed: it depends on the terminal, the machine or another setting.
            "log-format" | "workers" | "max-calls-of-tenant" | "client-certificates" => continue,
            // The system's authorities, and a name that is drawn.
            "traces-ca" | "traces-instance" => continue,
            // It has no effect without a Unix socket, or without an agent.
            "listen-mode" | "spiffe-id" => continue,
            "backend" => assert_eq!(resolved(&line), resolved(""), "{line}"),
            "durability" | "redis-url" => {
                let base = "backend = \"redis\"\n";
                assert_eq!(resolved(&format!("{base}{line}")), resolved(base), "{line}");
            }
            setting if setting.starts_with("audit-") => {
                let base =
                    format!("audit = \"required\"\naudit-file = \"a\"\naudit-key-file = {key:?}\n");
                assert_eq!(
                    resolved(&format!("{base}{line}")),
                    resolved(&base),
                    "{line}"
                );
            }
            setting if setting.starts_with("traces-") => {
                let base = "traces-endpoint = \"http://127.0.0.1:4317\"\n";
                assert_eq!(resolved(&format!("{base}{line}")), resolved(base), "{line}");
            }
            _ => assert_eq!(resolved(&format!("{BASE}{line}")), resolved(BASE), "{line}"),
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_example_in_the_docs_is_right() {
    let doc = fs::read_to_string(Path::new(DOC)).unwrap();
    let example = doc
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let problems = Settings::from_toml(example, "file").resolve().unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].starts_with("redis-password-file: no such file"),
        "{told:#?}"
    );
}
