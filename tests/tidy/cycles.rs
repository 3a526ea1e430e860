//! Modules that import each other, directly or through others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Source, sources};

/// Folders whose modules import each other. One without a cycle must be removed from this list.
const KNOWN: [&str; 3] = ["crate::client", "crate::config", "crate::transports"];

/// A path, in segments: of a module, or of what is in one.
type Path = Vec<String>;

/// Modules, what each imports, and a place where it does.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// What one file declares and names.
#[derive(Default)]
struct Module {
    /// Names that `use` brings in, and where from.
    aliases: BTreeMap<String, Path>,
    /// Paths that the code names, except re-exports from a module of the same folder.
    named: Vec<Path>,
}

/// The crate's modules by their paths, without what is only for tests.
struct Crate(BTreeMap<Path, Module>);

impl Crate {
    fn of(sources: &[Source]) -> Self {
        let files: Vec<_> =
            sources.iter().filter_map(|s| Some((module_path(&s.path)?, tokens(&s.text)))).collect();
        let mut modules: BTreeMap<_, _> =
            files.iter().map(|(path, _)| (path.clone(), Module::default())).collect();
        for (path, tokens) in &files {
            let module = read(path, tokens, |path| modules.contains_key(path));
            modules.insert(path.clone(), module);
        }
        Self(modules)
    }

    /// The module that defines what `path` names, through re-exports.
    fn definition(&self, path: &[String]) -> Option<&Path> {
        let mut path = path.to_vec();
        // Re-exports of re-exports end soon.
        for _ in 0..8 {
            let depth = (1..=path.len()).rev().find(|&depth| self.0.contains_key(&path[..depth]))?;
            let (module, found) = self.0.get_key_value(&path[..depth])?;
            match path.get(depth).and_then(|item| found.aliases.get(item)) {
                Some(target) => path = [target, &path[depth + 1..]].concat(),
                None => return Some(module),
            }
        }
        None
    }

    /// Every folder, which is a module that has others in it; the crate's root first.
    fn folders(&self) -> BTreeSet<&[String]> {
        self.0.keys().flat_map(|path| (0..path.len()).map(|depth| &path[..depth])).collect()
    }

    /// What the modules of a folder import from each other, each with all that is in it. The folder's own file counts too,
    /// except in the inner folders, where it and the files beside it are one subject.
    fn imports(&self, folder: &[String]) -> Imports {
        let is_outer = folder.len() < 2 || folder == ["client", "cli"];
        let node = |path: &Path| {
            let inside = path.starts_with(folder) && (is_outer || path.len() > folder.len());
            inside.then(|| path[..path.len().min(folder.len() + 1)].join("::"))
        };
        let mut imports = Imports::new();
        for (path, module) in &self.0 {
            for named in &module.named {
                let ends = node(path).zip(self.definition(named).and_then(node));
                if let Some((from, to)) = ends.filter(|(from, to)| from != to) {
                    let place = format!("{from} -> {to}: {} names {}", path.join("::"), named.join("::"));
                    imports.entry(from).or_default().entry(to).or_insert(place);
                }
            }
        }
        imports
    }

    /// The folders whose modules import each other, directly or through others; each with its shortest cycle.
    fn cycles(&self) -> BTreeMap<String, String> {
        let found = self.folders().into_iter().filter_map(|folder| {
            let imports = self.imports(folder);
            let cycle =
                imports.keys().filter_map(|module| way_around(&imports, module)).min_by_key(Vec::len)?;
            Some((
                ["crate"].into_iter().chain(folder.iter().map(String::as_str)).collect::<Vec<_>>().join("::"),
                cycle.join("\n"),
            ))
        });
        found.collect()
    }
}

/// The path of a file's module; none of the crate's root and of what is for tests alone.
fn module_path(file: &str) -> Option<Path> {
    let mut path: Path =
        file.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if path.last()? == "mod" {
        path.pop();
    }
    let skipped = ["lib", "internals", "main", "tests"];
    (!path.iter().any(|segment| skipped.contains(&&segment[..]))).then_some(path)
}

/// The words and signs of a source, without comments, texts and what is compiled for tests alone.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::<String>::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if first == '\'' && rest[1..].starts_with('\\') {
            rest[3..].find('\'').map_or(rest.len(), |end| end + 4)
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            2 + rest.chars().nth(1).map_or(0, char::len_utf8)
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    without_tests(&tokens)
}

fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_attribute = tokens[at] == "#" && tokens.get(at + 1).is_some_and(|next| next == "[");
        if !is_attribute {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1);
        let attribute = &tokens[at + 2..end];
        at = end + 1;
        let is_for_tests = attribute[0] == "cfg"
            && (attribute[2] == "test" || attribute[2] == "all" && attribute[4] == "test");
        if is_for_tests {
            // Its item: up to its block's end, or a semicolon before any block.
            while !["{", ";"].contains(&&tokens[at][..]) {
                at += 1;
            }
            at = if tokens[at] == "{" { closing(tokens, at) + 1 } else { at + 1 };
        }
    }
    kept
}

/// Where the bracket at `open` is closed.
fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    let found = tokens[open..].iter().position(|token| {
        match &token[..] {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    open + found.expect("each bracket is closed")
}

fn read(path: &Path, tokens: &[String], is_module: impl Fn(&Path) -> bool) -> Module {
    let mut module = Module::default();
    // Modules within the file, by where they end.
    let mut inner = Vec::<usize>::new();
    let mut at = 0;
    while at < tokens.len() {
        inner.retain(|&end| at < end);
        let is_word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token == word);
        if is_word(at, "mod") && is_word(at + 2, "{") {
            inner.push(closing(tokens, at + 2));
            at += 3;
        } else if is_word(at, "use") && !is_word(at + 1, "<") {
            let end = at + tokens[at..].iter().position(|token| token == ";").expect("a use ends");
            let is_public = at > 0 && (is_word(at - 1, "pub") || is_word(at - 1, ")"));
            let mut found = Vec::new();
            tree(&tokens[at + 1..end], &Vec::new(), &mut found);
            for (name, named) in found {
                let Some(target) = absolute(path, inner.len(), &named, &module.aliases, &is_module) else {
                    continue;
                };
                let is_own = target.starts_with(path) && target.len() > path.len();
                if !(is_public && is_own) {
                    module.named.push(target.clone());
                }
                if inner.is_empty() {
                    module.aliases.insert(name, target);
                }
            }
            at = end + 1;
        } else if is_word(at + 1, "::") && (at == 0 || tokens[at - 1] != "::") {
            let mut named = vec![tokens[at].clone()];
            while is_word(at + 1, "::")
                && tokens.get(at + 2).is_some_and(|token| token.starts_with(char::is_alphabetic))
            {
                named.push(tokens[at + 2].clone());
                at += 2;
            }
            at += 1;
            module.named.extend(absolute(path, inner.len(), &named, &module.aliases, &is_module));
        } else {
            at += 1;
        }
    }
    module
}

/// The names that a use tree brings in, each with its path.
fn tree(tokens: &[String], prefix: &Path, found: &mut Vec<(String, Path)>) {
    let mut path = prefix.clone();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at][..] {
            "::" => {}
            "{" => {
                let inside = &tokens[at + 1..closing(tokens, at)];
                let mut depth = 0;
                let branches = inside.split(|token| {
                    match &token[..] {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    depth == 0 && token == ","
                });
                branches.filter(|branch| !branch.is_empty()).for_each(|branch| tree(branch, &path, found));
                return;
            }
            "self" if !path.is_empty() => {}
            "as" => {
                found.push((tokens[at + 1].clone(), path));
                return;
            }
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    found.extend(path.last().cloned().map(|name| (name, path)));
}

/// A path from the crate's root; none of what other crates have.
fn absolute(
    module: &Path,
    inner: usize,
    named: &[String],
    aliases: &BTreeMap<String, Path>,
    is_module: impl Fn(&Path) -> bool,
) -> Option<Path> {
    let ups = named.iter().take_while(|segment| *segment == "super").count();
    let own = |ups: usize| module[..module.len() - ups.saturating_sub(inner).min(module.len())].to_vec();
    match &named[0][..] {
        "crate" => Some(named[1..].to_vec()),
        "self" => Some([own(0), named[1..].to_vec()].concat()),
        "super" if ups <= inner => None,
        "super" => Some([own(ups), named[ups..].to_vec()].concat()),
        first => {
            if let Some(target) = aliases.get(first) {
                return Some([target, &named[1..]].concat());
            }
            let child = [&module[..], &[first.to_owned()]].concat();
            is_module(&child).then(|| [&child[..], &named[1..]].concat())
        }
    }
}

/// The shortest way from a module back to it, if there is one: a place for each step.
fn way_around(imports: &Imports, start: &String) -> Option<Vec<String>> {
    // Each module that is reached, with the one that it is first reached from.
    let mut reached = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for next in imports.get(module).into_iter().flat_map(BTreeMap::keys) {
            if let Entry::Vacant(entry) = reached.entry(next) {
                entry.insert(module);
                queue.push_back(next);
            }
        }
    }
    let mut steps = Vec::new();
    let mut to = start;
    loop {
        let from = *reached.get(to)?;
        steps.insert(0, imports[from][to].clone());
        if from == start {
            return Some(steps);
        }
        to = from;
    }
}

#[test]
fn no_modules_import_each_other() {
    let found = Crate::of(&sources("src")).cycles();
    let new = found.iter().filter(|(folder, _)| !KNOWN.contains(&&folder[..]));
    let new = new.map(|(folder, cycle)| format!("modules of {folder} import each other:\n{cycle}"));
    let gone = KNOWN.iter().filter(|folder| !found.contains_key(**folder));
    let gone = gone.map(|folder| format!("{folder} has no cycle any more: remove it from KNOWN"));
    let wrong: Vec<_> = new.chain(gone).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The test above can fail.
#[test]
fn a_planted_cycle_is_found() {
    let found = |sources: &[(&str, &str)]| {
        let planted =
            |(path, text): &(&str, &str)| Source { path: format!("src/{path}.rs"), text: (*text).into() };
        Crate::of(&sources.iter().map(planted).collect::<Vec<_>>()).cycles().into_keys().collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];

    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "use super::a::A;")]), ["crate"]);
    assert_eq!(
        found(&[
            ("a", "use crate::b::B;"),
            ("b", "fn f() { crate::c::f() }"),
            ("c", "use crate::{b, a::{self, A}};")
        ]),
        ["crate"]
    );
    assert_eq!(
        found(&[("a/mod", "mod b;"), ("a/b", "use super::c::C;"), ("a/c", "use crate::a::b;")]),
        ["crate::a"]
    );
    // Through a re-export, by a name that `use` brought in, and between a folder's own file and one in it.
    assert_eq!(
        found(&[("a/mod", "pub use b::B;"), ("a/b", "use super::c::C;"), ("a/c", "use super::B;")]),
        ["crate::a"]
    );
    assert_eq!(
        found(&[
            ("a/mod", ""),
            ("a/b", "use super::c; fn f() { c::f() }"),
            ("a/c", "fn f() { super::b::f() }")
        ]),
        ["crate::a"]
    );
    assert_eq!(found(&[("a/mod", "struct A; fn f() { b::f() }"), ("a/b", "use super::A;")]), ["crate::a"]);
    assert_eq!(found(&[("a/b/mod", "struct B; fn f() { c::f() }"), ("a/b/c", "use super::B;")]), none);
    assert_eq!(found(&[("a/b/c", "use super::d::D;"), ("a/b/d", "use super::c::C;")]), ["crate::a::b"]);
    // What two folders import from each other is a cycle, even where no two files do.
    let folders = [("a/b", "use crate::c::d::D;"), ("a/e", ""), ("c/d", ""), ("c/f", "use crate::a::e::E;")];
    assert_eq!(found(&folders), ["crate"]);

    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "use std::fmt; use other::a::A;")]), none);
    assert_eq!(
        found(&[("a/mod", "mod b; mod c; pub use b::B;"), ("a/b", ""), ("a/c", "use super::B;")]),
        none
    );
    for text in [
        "// crate::a::A",
        "const A: &str = \"\\\"crate::a::A\";",
        "#[cfg(test)] mod tests { use crate::a::A; }",
    ] {
        assert_eq!(found(&[("a", "use crate::b::B;"), ("b", text)]), none, "{text}");
    }
}
