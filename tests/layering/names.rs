//! Finds the paths in the code, and follows each to the module that defines the item.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{
    Attribute, File, Ident, Item, ItemMod, ItemUse, Macro, Meta, UseTree, VisRestricted,
    visit::{self, Visit},
};

use super::tree::Tree;

/// The longest chain of imports that is followed.
const DEEPEST: usize = 32;

/// An item that some code names.
#[derive(Clone, Debug)]
pub struct Named {
    /// The file and line of the code.
    pub file: String,
    line: usize,
    /// The module of the code.
    pub module: Vec<String>,
    /// The path of the item from the crate's root. A final `*` means all items.
    pub target: Vec<String>,
}

impl Named {
    /// Returns whether the item is in the same top-level module as the code.
    pub fn is_inside(&self) -> bool {
        self.module.first() == self.target.first()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, .. } = self;
        write!(f, "{file}:{line} names {}", self.target.join("::"))
    }
}

/// All names in a tree.
pub struct Names {
    pub named: Vec<Named>,
}

impl Names {
    pub fn of(tree: &Tree) -> Self {
        let (mut scopes, mut mentions) = (Scopes::default(), Vec::new());
        for source in &tree.sources {
            if !source.file.ends_with(".rs") {
                continue;
            }
            let file: File = syn::parse_str(&source.text)
                .unwrap_or_else(|error| panic!("{}: {error}", source.file));
            let mut reader = Reader {
                file: &source.file,
                module: source.module.clone(),
                scopes: &mut scopes,
                mentions: &mut mentions,
            };
            reader.enter();
            reader.visit_file(&file);
        }
        let named = mentions.into_iter().filter_map(|mention| {
            let target = scopes.target(&mention)?;
            let Mention {
                file, line, module, ..
            } = mention;
            Some(Named {
                file,
                line,
                module,
                target,
            })
        });
        Self {
            named: named.collect(),
        }
    }
}

/// A path as the code spells it.
struct Mention {
    file: String,
    line: usize,
    module: Vec<String>,
    path: Vec<String>,
    /// Whether the path is in a `use`. In other code a single name means an import or a variable.
    is_use: bool,
}

/// The meaning of the names in a module.
#[derive(Default)]
struct Scope {
    /// The imports: the name, and the path as the code spells it.
    uses: HashMap<String, Vec<String>>,
    /// The paths of glob imports.
    globs: Vec<Vec<String>>,
    /// The items that the module defines, without modules.
    items: HashSet<String>,
}

#[derive(Default)]
struct Scopes(HashMap<Vec<String>, Scope>);

impl Scopes {
    /// Returns the named item as a path from the crate's root, or `None` if it is another crate's
    /// or this module's own.
    fn target(&self, mention: &Mention) -> Option<Vec<String>> {
        let Mention { module, path, .. } = mention;
        if path.len() > 1 || mention.is_use {
            return self.resolve(module, path, 0);
        }
        let scope = self.0.get(module)?;
        if scope.uses.contains_key(&path[0]) || scope.items.contains(&path[0]) {
            return None;
        }
        let target = self.resolve(module, path, 0)?;
        (!self.0.contains_key(&target)).then_some(target)
    }

    /// Returns the path from the crate's root that `path` stands for in `module`, or `None` if it
    /// is another crate's.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "Self" => None,
            "crate" => self.follow(Vec::new(), rest, depth),
            // `main.rs` is a crate of its own.
            "token_broker" if module.first().is_some_and(|m| m == "main") => {
                self.follow(Vec::new(), rest, depth)
            }
            "self" => self.follow(module.to_vec(), rest, depth),
            "super" => {
                let mut base = module.to_vec();
                base.pop();
                while let Some((again, further)) = rest.split_first()
                    && again == "super"
                {
                    base.pop();
                    rest = further;
                }
                self.follow(base, rest, depth)
            }
            name if self.has(module, name, depth) => self.follow(module.to_vec(), path, depth),
            _ => None,
        }
    }

    /// Resolves `rest` in the module `base`, through its imports.
    fn follow(&self, base: Vec<String>, rest: &[String], depth: usize) -> Option<Vec<String>> {
        let absolute = || Some([base.as_slice(), rest].concat());
        let (Some((name, further)), Some(scope)) = (rest.split_first(), self.0.get(&base)) else {
            return absolute();
        };
        if depth > DEEPEST {
            return absolute();
        }
        if let Some(import) = scope.uses.get(name)
            // `use redis::{self}` must not resolve to itself again.
            && (import[0] != *name || self.is_module(&base, name))
        {
            let target = if import[0] == *name {
                [base.as_slice(), import].concat()
            } else {
                self.resolve(&base, import, depth + 1)?
            };
            return self.follow(target, further, depth + 1);
        }
        if self.is_module(&base, name) {
            return self.follow([base, vec![name.clone()]].concat(), further, depth);
        }
        if !scope.items.contains(name) {
            for glob in &scope.globs {
                let from = self.resolve(&base, glob, depth + 1);
                if let Some(from) = from.filter(|from| self.has(from, name, depth + 1)) {
                    return self.follow(from, rest, depth + 1);
                }
            }
        }
        absolute()
    }

    /// Returns whether `name` has a meaning in `module`.
    fn has(&self, module: &[String], name: &str, depth: usize) -> bool {
        let Some(scope) = self.0.get(module).filter(|_| depth <= DEEPEST) else {
            return false;
        };
        let through = |glob: &Vec<String>| {
            let from = self.resolve(module, glob, depth + 1);
            from.is_some_and(|from| from != module && self.has(&from, name, depth + 1))
        };
        scope.uses.contains_key(name)
            || scope.items.contains(name)
            || self.is_module(module, name)
            || scope.globs.iter().any(through)
    }

    fn is_module(&self, parent: &[String], name: &str) -> bool {
        self.0.contains_key(&[parent, &[name.to_owned()]].concat())
    }
}

/// Reads a file.
struct Reader<'a> {
    file: &'a str,
    module: Vec<String>,
    scopes: &'a mut Scopes,
    mentions: &'a mut Vec<Mention>,
}

impl Reader<'_> {
    fn enter(&mut self) -> &mut Scope {
        self.scopes.0.entry(self.module.clone()).or_default()
    }

    fn mention(&mut self, path: Vec<String>, span: Span, is_use: bool) {
        self.mentions.push(Mention {
            file: self.file.to_owned(),
            line: span.start().line,
            module: self.module.clone(),
            path,
            is_use,
        });
    }

    fn import(&mut self, mut path: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(path, &part.tree);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(path.clone(), tree);
                }
            }
            UseTree::Glob(glob) => {
                self.enter().globs.push(path.clone());
                path.push("*".to_owned());
                self.mention(path, glob.star_token.spans[0], true);
            }
            UseTree::Name(name) => self.import_as(path, &name.ident, &name.ident),
            UseTree::Rename(name) => self.import_as(path, &name.ident, &name.rename),
        }
    }

    fn import_as(&mut self, mut path: Vec<String>, name: &Ident, alias: &Ident) {
        let mut known_as = alias.to_string();
        if name != "self" {
            path.push(name.to_string());
        } else if alias == "self" {
            known_as = path.last().cloned().unwrap_or_default();
        }
        self.enter().uses.insert(known_as, path.clone());
        self.mention(path, name.span(), true);
    }

    /// Finds the paths in the arguments of a macro. `path` is the part before a group of imports.
    fn tokens(&mut self, path: &[String], tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(first) => {
                    let mut names = path.to_vec();
                    names.push(first.to_string());
                    at += 1;
                    while is_colons(&tokens[at..]) {
                        match tokens.get(at + 2) {
                            Some(TokenTree::Ident(next)) => names.push(next.to_string()),
                            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                                names.push("*".to_owned());
                            }
                            Some(TokenTree::Group(group))
                                if group.delimiter() == Delimiter::Brace =>
                            {
                                self.tokens(&names, group.stream());
                            }
                            _ => break,
                        }
                        at += 3;
                    }
                    if names.len() > 1 {
                        self.mention(names, first.span(), false);
                    }
                }
                TokenTree::Group(group) => {
                    self.tokens(&[], group.stream());
                    at += 1;
                }
                // A path that begins with `::` is another crate's.
                _ if is_colons(&tokens[at..]) => at += 3,
                _ => at += 1,
            }
        }
    }
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(tokens.first()) && colon(tokens.get(1))
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Macro(item) => item.ident.as_ref(),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            self.enter().items.insert(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_none() {
            return;
        }
        self.module.push(item.ident.to_string());
        self.enter();
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.import(Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|part| part.ident.to_string());
            self.mention(names.collect(), path.segments[0].ident.span(), false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        self.tokens(&[], mac.tokens.clone());
        visit::visit_macro(self, mac);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(&[], list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    /// `pub(in ...)` can only name an enclosing module.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}
