//! Project rules that no linter checks: file length, first line, crate dependencies, stage order, and the users of each package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tests::arouter::repository;

const LINES_MAX: usize = 400;
/// Each crate and the crates of ours that it may import.
const ARROWS: [(&str, &[&str]); 12] = [
    ("schemas/events", &[]),
    ("schemas/wire", &["events"]),
    ("schemas/pricing", &["events"]),
    ("schemas/eventlog", &["events"]),
    ("schemas/read_api", &["events", "wire", "eventlog"]),
    ("gateway/routing", &["events"]),
    ("schemas/outbound", &[]),
    ("schemas/pdf", &[]),
    ("gateway", &["events", "wire", "pricing", "eventlog", "routing", "outbound"]),
    ("ledger", &["events", "eventlog", "pdf", "read_api"]),
    ("projector", &["events", "eventlog", "read_api", "outbound", "pdf"]),
    ("deploy/arouter", &["events", "wire", "pricing", "eventlog", "read_api", "gateway", "ledger", "projector"]),
];
/// Each foreign package and the crates that may use it.
const WRAPPERS: [(&str, &[&str]); 4] = [
    ("async-nats", &["schemas/eventlog"]),
    ("sqlx", &["schemas/eventlog", "schemas/read_api", "ledger", "projector", "deploy/arouter"]),
    ("reqwest", &["schemas/eventlog", "schemas/outbound", "gateway", "projector", "deploy/arouter"]),
    ("axum", &["schemas/read_api", "gateway", "ledger", "projector", "deploy/arouter"]),
];
/// The stages of a request, in order. A stage may use the stages before it; `spool` and `error` are below all of them.
const STAGES: [&str; 6] = ["auth", "route", "meter", "admission", "attempt", "stream"];
const BANNED_NAMES: [&str; 8] = ["utils", "common", "core", "models_common", "services", "helpers", "types", "misc"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn all_sources() -> Vec<PathBuf> {
    ["schemas", "gateway", "ledger", "projector", "deploy", "tests"].iter().flat_map(|folder| sources(&repository().join(folder))).collect()
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("//! "), "{} begins without //!", path.display());
        let production = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_test = name == "tests" || path.starts_with(repository().join("tests"));
        assert!(production <= LINES_MAX || is_test, "{} has {production} lines", path.display());
        assert!(!BANNED_NAMES.contains(&name), "{}: find a better name", path.display());
    }
}

/// Returns the names in a manifest's `[dependencies]`.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).expect("a manifest");
    let section = text.split("[dependencies]").nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default().to_owned();
    section
        .lines()
        .filter_map(|line| Some(line.split(['.', ' ', '=']).next()?.to_owned()))
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

#[test]
fn crates_import_only_along_the_arrows() {
    let ours: Vec<&str> = ARROWS.iter().filter_map(|(folder, _)| folder.rsplit('/').next()).collect();
    for (folder, allowed) in ARROWS {
        for name in dependencies(folder) {
            assert!(!ours.contains(&name.as_str()) || allowed.contains(&name.as_str()), "{folder} must not import {name}");
            let wrapped = WRAPPERS.iter().find(|(package, _)| *package == name);
            assert!(wrapped.is_none_or(|(_, may)| may.contains(&folder)), "{folder} must not use {name}");
        }
    }
}

/// Packages that are not called: they turn features of others on.
const FOR_FEATURES: [(&str, &str); 1] = [("schemas/eventlog", "reqwest")];

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for (folder, _) in ARROWS {
        let code: String = sources(&repository().join(folder)).iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
        let is_used = |name: &str| code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
        let idle = |name: &String| !FOR_FEATURES.contains(&(folder, name.as_str())) && !is_used(&name.replace('-', "_"));
        unused.extend(dependencies(folder).into_iter().filter(idle).map(|name| (folder, name)));
    }
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

#[test]
fn stages_look_only_to_the_left() {
    for (place, stage) in STAGES.iter().enumerate() {
        for path in sources(&repository().join("gateway/src").join(stage)) {
            let text = std::fs::read_to_string(&path).expect("text");
            for later in &STAGES[place + 1..] {
                let uses = text.contains(&format!("crate::{later}::"));
                assert!(!uses, "{} uses the later stage {later}", path.display());
            }
        }
    }
}

/// Returns the modules of a folder, and for each the siblings that it imports outside its tests. An import of a re-exported name counts
/// as an import of the module that defines it.
fn imports(folder: &Path, root: &str, from: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(folder.join(root)).expect("a module list");
    let modules: BTreeSet<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut origin: BTreeMap<&str, &str> = modules.iter().map(|module| (*module, *module)).collect();
    for (module, names) in text.lines().filter_map(|line| line.strip_prefix("pub use ")?.strip_suffix(';')?.split_once("::")) {
        origin.extend(names.trim_matches(['{', '}']).split(", ").map(|name| (name, module)));
    }
    let imported = |module: &str| {
        let at = folder.join(module);
        let files = if at.is_dir() { sources(&at) } else { vec![at.with_extension("rs")] };
        let mut found = BTreeSet::new();
        for path in files {
            let text = std::fs::read_to_string(path).expect("text");
            let production = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in production.lines().filter_map(|line| line.strip_prefix("use ")?.strip_prefix(from)) {
                let names = line.trim_end_matches(';');
                let first = names.split("::").next().unwrap_or_default();
                let all = if names.starts_with('{') { names.trim_matches(['{', '}']).split(", ").collect() } else { vec![first] };
                found.extend(all.into_iter().filter_map(|name| origin.get(name.split("::").next()?)).map(|module| (*module).to_owned()));
            }
        }
        found.remove(module);
        found
    };
    modules.iter().map(|module| ((*module).to_owned(), imported(module))).collect()
}

#[test]
fn modules_import_each_other_in_no_circle() {
    for (folder, root, from) in [
        ("gateway/src/spool", "mod.rs", "super::"),
        ("schemas/eventlog/src", "lib.rs", "crate::"),
        ("schemas/events/src", "lib.rs", "crate::"),
    ] {
        let mut left = imports(&repository().join(folder), root, from);
        assert!(left.values().map(BTreeSet::len).sum::<usize>() > 10, "{folder}: its imports were not found");
        while let Some(leaf) = left.iter().find(|(_, imports)| imports.iter().all(|module| !left.contains_key(module))) {
            let leaf = leaf.0.clone();
            left.remove(&leaf);
        }
        assert!(left.is_empty(), "{folder}: a circle among {left:?}");
    }
}

#[test]
fn no_floats_where_money_lives() {
    for path in ["schemas/pricing/src", "ledger/src"].iter().flat_map(|folder| sources(&repository().join(folder))) {
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(!text.contains("f64") && !text.contains("f32"), "{} has a float", path.display());
    }
}
