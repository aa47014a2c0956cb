//! The imports between files of `src`: their `use` declarations, and the paths they name. Re-exports are followed to
//! the file that defines the item; one that hands an item on and does not use it is no arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::tokens::tokens;

/// A module's path, from the crate's root; without a segment: the root itself.
pub type Module = Vec<String>;

/// A name in a module, and the path that it stands for.
struct Import {
    name: String,
    path: Vec<String>,
    /// It is handed on; a private one is always used.
    public: bool,
}

#[derive(Default)]
struct Source {
    imports: Vec<Import>,
    /// Everything that is not an import.
    rest: Vec<String>,
}

/// The crate's modules without its tests: a file is a module.
pub struct Tree {
    sources: BTreeMap<Module, Source>,
}

impl Tree {
    pub fn read(root: &Path) -> Tree {
        let mut tree = Tree {
            sources: BTreeMap::new(),
        };
        tree.add(Vec::new(), &root.join("lib.rs"), root);
        tree
    }

    /// Adds a module and those that it declares outside of its tests.
    fn add(&mut self, module: Module, file: &Path, folder: &Path) {
        let text = std::fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens = tokens(&text);
        let mut source = Source::default();
        let mut children = Vec::new();
        let mut i = 0;
        while i < tokens.len() {
            match tokens[i].as_str() {
                "mod" if tokens.get(i + 2).is_some_and(|end| end == ";") => {
                    children.push(tokens[i + 1].clone());
                    i += 3;
                }
                "use" => {
                    let end = i + tokens[i..]
                        .iter()
                        .position(|token| token == ";")
                        .unwrap_or(tokens.len() - i);
                    let public =
                        matches!(source.rest.last().map(String::as_str), Some("pub" | ")"));
                    let add = &mut |name, path| source.imports.push(Import { name, path, public });
                    import(&tokens[i + 1..end], Vec::new(), add);
                    i = end + 1;
                }
                token => {
                    source.rest.push(token.to_owned());
                    i += 1;
                }
            }
        }
        self.sources.insert(module.clone(), source);
        for child in children {
            let (flat, nested) = (
                folder.join(format!("{child}.rs")),
                folder.join(&child).join("mod.rs"),
            );
            let file: PathBuf = if flat.exists() { flat } else { nested };
            let mut path = module.clone();
            path.push(child.clone());
            self.add(path, &file, &folder.join(child));
        }
    }

    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.sources.keys()
    }

    /// All arrows: from the file that needs to the one that is needed.
    pub fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (module, source) in &self.sources {
            let mut paths: Vec<Vec<String>> = paths(&source.rest);
            let used: BTreeSet<&String> = source.rest.iter().collect();
            for import in &source.imports {
                if !import.public || used.contains(&import.name) {
                    paths.push(import.path.clone());
                }
            }
            for path in paths {
                if let Some(needed) = self
                    .resolve(module, &path, 0)
                    .filter(|needed| needed != module)
                {
                    arrows.insert((module.clone(), needed));
                }
            }
        }
        arrows
    }

    /// The file that defines what `path` names in `module`; `None` for other crates, and for a module itself.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        if depth > 20 {
            return None;
        }
        let mut current = module.clone();
        match first.as_str() {
            "crate" => current.clear(),
            "self" => {}
            "super" => drop(current.pop()),
            _ => rest = path,
        }
        let named = rest.len() == path.len();
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                current.pop();
                rest = after;
                continue;
            }
            let mut child = current.clone();
            child.push(name.clone());
            if self.sources.contains_key(&child) {
                current = child;
                rest = after;
                continue;
            }
            let source = self.sources.get(&current)?;
            let follow = |to: &Vec<String>| {
                // `use hyper;` names itself.
                (to.first() != Some(name)).then(|| [to.as_slice(), after].concat())
            };
            let mut imports = source.imports.iter();
            if let Some(import) = imports.find(|import| import.name == *name) {
                return self.resolve(&current, &follow(&import.path)?, depth + 1);
            }
            if named && current == *module {
                return None;
            }
            return Some(current);
        }
        None
    }
}

/// The leaves of one `use`: each a name and its path.
fn import(tree: &[String], prefix: Vec<String>, add: &mut impl FnMut(String, Vec<String>)) {
    let mut path = prefix.clone();
    let mut name = None;
    let mut i = 0;
    while i < tree.len() {
        match tree[i].as_str() {
            "::" => {}
            "{" => {
                let mut depth = 0;
                let mut began = i + 1;
                for (j, token) in tree.iter().enumerate().skip(i) {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    if (depth == 1 && token == ",") || depth == 0 {
                        import(&tree[began..j], path.clone(), add);
                        began = j + 1;
                    }
                    if depth == 0 {
                        return;
                    }
                }
                return;
            }
            "as" => {
                name = tree.get(i + 1).cloned();
                break;
            }
            "self" if !path.is_empty() => {}
            segment => path.push(segment.to_owned()),
        }
        i += 1;
    }
    if path.len() > prefix.len() || tree.first().is_some_and(|token| token == "self") {
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        add(name, path);
    }
}

/// The paths of more than one segment.
fn paths(code: &[String]) -> Vec<Vec<String>> {
    let is_word = |token: &String| token.starts_with(|c: char| c == '_' || c.is_alphabetic());
    let mut found = Vec::new();
    let mut i = 0;
    while i < code.len() {
        let begins = is_word(&code[i]) && (i == 0 || code[i - 1] != "::");
        if begins && code.get(i + 1).is_some_and(|next| next == "::") {
            let mut path = vec![code[i].clone()];
            while code.get(i + 1).is_some_and(|next| next == "::")
                && code.get(i + 2).is_some_and(is_word)
            {
                path.push(code[i + 2].clone());
                i += 2;
            }
            found.push(path);
        }
        i += 1;
    }
    found
}
