//! No circle of imports: whoever reads a module can first read what it names.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::{Source, root, sources};

/// A module by its path from the crate's root, which is the empty path itself.
type Module = Vec<String>;

/// What each module of a crate names of the others.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_modules_of_a_crate_import_each_other() {
    let mut crates: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for source in sources(&root()).into_iter().filter(|source| source.is_production()) {
        let Some((folder, file)) = source.path.split_once("/src/") else { continue };
        if let Some(file) = file.strip_suffix(".rs") {
            let source = Source { path: file.to_owned(), text: source.text.clone() };
            crates.entry(folder.to_owned()).or_default().push(source);
        }
    }
    assert!(crates.len() > 10, "only {} crates found: is the project's root right?", crates.len());
    let circles: Vec<String> = crates
        .iter()
        .map(|(folder, files)| (folder, circle_in(imports_of(files))))
        .filter(|(_, circle)| !circle.is_empty())
        .map(|(folder, circle)| format!("{folder}: {}", circle.join(" → ")))
        .collect();
    assert!(circles.is_empty(), "modules import each other:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_however_it_is_imported() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let circle = |c: &str| {
        circle_in(imports_of(&[
            file("lib", "mod a; mod b; mod c;"),
            file("a/mod", "mod deep; use crate::b::{self, B};"),
            file("a/deep", "use super::Parent; fn f() { super::super::b::g() }"),
            file("b", "use super::c;"),
            file("c", c),
        ]))
    };
    assert_eq!(circle("fn f() -> crate::a::deep::Deep {}"), ["b", "c", "a::deep", "b"]);
    assert_eq!(circle("use crate::{other::Thing, a::{Parent}};"), ["a", "b", "c", "a"]);
    assert_eq!(circle("use crate::d; #[cfg(test)] mod tests { use crate::a; }"), [""; 0]);
    assert_eq!(circle("#[cfg(test)] use crate::a;"), [""; 0]);
}

fn imports_of(files: &[Source]) -> Imports {
    let modules: BTreeSet<Module> = files.iter().map(|file| module_of(&file.path)).collect();
    let without_item = |path: &Module| {
        let mut prefixes = (0..=path.len()).rev().map(|end| path[..end].to_vec());
        prefixes.find(|module| modules.contains(module))
    };
    let mut imports = Imports::new();
    let mut in_tests = BTreeSet::new();
    for file in files {
        let own = module_of(&file.path);
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let mut reader = Reader { own: own.clone(), named: BTreeSet::new(), in_tests: BTreeSet::new() };
        reader.visit_file(&parsed);
        // What a part takes from the whole that it belongs to is the whole's own vocabulary, and no circle.
        let named = reader.named.iter().filter_map(without_item).filter(|module| !own.starts_with(module));
        imports.insert(own.clone(), named.collect());
        in_tests.extend(reader.in_tests);
    }
    imports.retain(|module, _| !in_tests.iter().any(|tests| module.starts_with(tests)));
    imports
}

/// `store/mod` is `store`, and `lib` is the root.
fn module_of(file: &str) -> Module {
    let mut module: Module = file.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// A circle, its first module again at its end; nothing when there is none.
fn circle_in(mut imports: Imports) -> Vec<String> {
    // Whoever imports nothing that is left is in no circle.
    loop {
        let left: BTreeSet<Module> = imports.keys().cloned().collect();
        imports.retain(|_, named| {
            named.retain(|module| left.contains(module));
            !named.is_empty()
        });
        if imports.len() == left.len() {
            break;
        }
    }
    let Some(mut module) = imports.keys().next() else { return Vec::new() };
    let mut path = Vec::new();
    while !path.contains(&module) {
        path.push(module);
        module = imports[module].first().expect("whoever imports nothing is not left");
    }
    path.push(module);
    let from = path.iter().position(|passed| *passed == module).unwrap_or_default();
    path[from..].iter().map(|module| module.join("::")).collect()
}

/// Reads what a file names outside its tests.
struct Reader {
    own: Module,
    named: BTreeSet<Module>,
    in_tests: BTreeSet<Module>,
}

impl Reader {
    fn add(&mut self, path: &[String]) {
        let (first, mut rest) = path.split_first().expect("a path has a part");
        let mut module = match first.as_str() {
            "crate" => Module::new(),
            "self" => self.own.clone(),
            "super" => self.own[..self.own.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        while let Some(after) = rest.split_first().filter(|(part, _)| *part == "super").map(|(_, after)| after) {
            module.pop();
            rest = after;
        }
        module.extend_from_slice(rest);
        self.named.insert(module);
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let lists = attributes.iter().filter_map(|attribute| attribute.meta.require_list().ok());
    lists.filter(|list| list.path.is_ident("cfg")).any(|list| list.tokens.to_string() == "test")
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.own.push(item.ident.to_string());
        if is_for_tests(&item.attrs) {
            self.in_tests.insert(self.own.clone());
        } else {
            visit::visit_item_mod(self, item);
        }
        self.own.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.add_tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }
}
