//! Puts a script together: its file, and those parts of `lib/` that it uses.
//!
//! A line `-- uses: name name` stands for these parts, at the place where it stands. Redis runs all of a script at each
//! call, so that each function that the script defines costs time, used or not. Therefore a script has only the parts
//! that it uses, and those for rare cases within the branch that needs them.

use std::collections::BTreeSet;

/// What begins a line that names parts.
const USES: &str = "-- uses: ";

macro_rules! parts {
    ($($name:literal,)*) => {
        /// All parts by name.
        const PARTS: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("lib/", $name, ".lua"))),)*
        ];
    };
}

parts! {
    "ask", "data_lineage", "each_batch", "encode", "ensure_local", "exists", "expire_with_members", "fence", "holds",
    "index_add", "index_remove", "is_anyones", "is_grace", "is_row_of", "is_set", "is_user", "keep_record", "latest",
    "leave_set", "linked", "listen", "look", "outlive", "plain", "prune", "read", "record_of", "sizes_in", "starts_with", "told",
    "typed", "user_index", "whole",
}

/// Returns the text of a script with its parts.
pub(super) fn assemble(script: &str) -> String {
    let mut text = String::with_capacity(8 * 1024);
    append(&mut text, script, &mut BTreeSet::new());
    text
}

/// Appends lines. `known` are the parts that these lines can use already.
fn append<'a>(text: &mut String, lines: &'a str, known: &mut BTreeSet<&'a str>) {
    for line in lines.lines() {
        let Some(names) = line.trim_start().strip_prefix(USES) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        // What is defined within a branch is known in it alone.
        let is_inner = line.starts_with(' ');
        for name in names.split(' ').filter(|name| !name.is_empty()) {
            if known.contains(name) {
                continue;
            }
            let part = PARTS.iter().find(|(known, _)| *known == name);
            // A test looks for names that aren't there.
            let part = part.map_or("error('a part is missing')", |(_, part)| part);
            if is_inner {
                append(text, part, &mut known.clone());
            } else {
                append(text, part, known);
                known.insert(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Script, Scripts},
        *,
    };
    use crate::store::redis::largest::Largest;

    #[test]
    fn parts_stand_where_they_are_used_and_only_once() {
        let of = |script| {
            let text = assemble(script);
            let defined = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("local function "));
            let names = defined.map(|line| line.split_once('(').unwrap().0.to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(of("-- uses: user_index\n"), ["encode", "user_index"]);
        assert_eq!(
            of("-- uses: read exists\n"),
            ["typed", "whole", "read", "exists"],
            "once"
        );
        assert_eq!(
            of("if x then\n  -- uses: read\nend\n-- uses: exists\n"),
            ["typed", "whole", "read", "typed", "exists"],
            "what a branch defines isn't known outside of it"
        );
    }

    /// Every script defines what it calls, before it calls it, and calls what it defines.
    #[test]
    fn scripts_have_the_parts_that_they_use() {
        let scripts = Scripts::new(&Largest::for_messages(1));
        let mut used = BTreeSet::new();
        for script in scripts.all() {
            let text = script.source();
            assert!(!text.contains("a part is missing"), "{text}");
            for (name, part) in PARTS {
                let definition = format!("local function {name}(");
                if !part.contains(&definition) {
                    continue;
                }
                let code: Vec<_> = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("--"))
                    .collect();
                let is_call = |line: &&str| !line.contains(&definition) && names(line, name);
                let (called, defined) = (
                    code.iter().position(is_call),
                    code.iter().position(|line| line.contains(&definition)),
                );
                match (called, defined) {
                    (Some(called), Some(defined)) => {
                        assert!(defined < called, "{name} in {text}");
                        used.insert(*name);
                    }
                    (None, None) => {}
                    _ => panic!("{name} is only called, or only defined, in {text}"),
                }
            }
        }
        let functions = PARTS
            .iter()
            .filter(|(_, part)| part.contains("local function "));
        let functions: BTreeSet<_> = functions.map(|(name, _)| *name).collect();
        assert_eq!(used, functions, "each part is of use");
    }

    /// The others take one argument more, and ignore it.
    #[test]
    fn scripts_that_are_called_to_write_are_never_late() {
        let scripts = Scripts::new(&Largest::for_messages(1));
        let late = |script: &Script| script.source().contains("error_reply('LATE ");
        let reads = [
            &scripts.get_session,
            &scripts.index_page,
            &scripts.look_at_record,
            &scripts.probe,
        ];
        for read in reads {
            assert!(!late(read));
        }
        let all = scripts.all();
        assert_eq!(all.filter(|script| !late(script)).count(), 4);
    }

    /// Whether a line of code names a function.
    fn names(line: &str, name: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'');
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    }
}
