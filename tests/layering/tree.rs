//! The files of `src/`, and the module that each of them is.

use std::{collections::BTreeSet, fs, path::Path};

/// A file of `src/`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path from the root of the repository.
    pub file: String,
    /// The path of the module. It is empty for `lib.rs`.
    pub module: Vec<String>,
    /// The text of the file.
    pub text: String,
}

impl Source {
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// All files of `src/`.
#[derive(Clone, Debug)]
pub struct Tree {
    pub sources: Vec<Source>,
}

impl Tree {
    /// Reads the files from disk.
    pub fn read() -> Self {
        let mut sources = Vec::new();
        walk(&super::root().join("src"), &mut sources);
        sources.sort_by(|a, b| a.file.cmp(&b.file));
        Self { sources }
    }

    /// Adds a file `planted.rs` to `module`.
    pub fn with(self, module: &str, text: &str) -> Self {
        self.with_file(module, "planted.rs", text)
    }

    /// Adds a file to `module`.
    pub fn with_file(mut self, module: &str, name: &str, text: &str) -> Self {
        let file = format!("src/{}/{name}", module.replace("::", "/"));
        self.sources.push(Source {
            module: module_of(&file),
            file,
            text: text.to_owned(),
        });
        self
    }

    /// Returns the names of the modules that `lib.rs` declares.
    pub fn top_level(&self) -> BTreeSet<&str> {
        let names = self
            .sources
            .iter()
            .filter_map(|source| source.module.first());
        names
            .map(String::as_str)
            .filter(|name| *name != "main")
            .collect()
    }

    /// Returns whether `module` is a file or a folder.
    pub fn has(&self, module: &str) -> bool {
        let module: Vec<_> = module.split("::").collect();
        self.sources.iter().any(|source| source.module == module)
    }
}

fn walk(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, sources);
            continue;
        }
        let file = path.strip_prefix(super::root()).unwrap();
        let file = file.to_str().unwrap().to_owned();
        sources.push(Source {
            module: module_of(&file),
            text: fs::read_to_string(&path).unwrap(),
            file,
        });
    }
}

/// Returns the module of a file: `src/a/b.rs` and `src/a/b/mod.rs` are both `a::b`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/");
    let path = path.split('.').next().unwrap_or(path);
    let mut module: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}
