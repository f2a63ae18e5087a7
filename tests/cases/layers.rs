//! The order of the modules in src/lib.rs is the order of dependency: a module uses only those above it.

use std::path::{Path, PathBuf};

/// Edges that go upwards on purpose, each with its reason.
const ALLOWED: [(&str, &str, &str); 0] = [];

#[test]
fn modules_use_only_those_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = order_of_modules(&std::fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(order.len() > 10, "{order:?}");
    let mut wrong = Vec::new();
    for (at, module) in order.iter().enumerate() {
        for file in files_of(&src, module) {
            let text = std::fs::read_to_string(&file).unwrap();
            for used in uses(&text) {
                let upwards = order.iter().position(|name| *name == used).is_some_and(|of| of > at);
                let allowed =
                    ALLOWED.iter().any(|(from, to, _)| (*from, *to) == (module.as_str(), used.as_str()));
                if upwards && !allowed {
                    wrong.push(format!("{} uses {used}", file.strip_prefix(&src).unwrap().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_is_forbidden_outside_its_three_modules() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let fenced = ["sys", "shm", "ffi"];
    let without: Vec<PathBuf> = order_of_modules(&std::fs::read_to_string(src.join("lib.rs")).unwrap())
        .iter()
        .filter(|module| !fenced.contains(&module.as_str()))
        .flat_map(|module| files_of(&src, module))
        .filter(|file| !std::fs::read_to_string(file).unwrap().contains("#![forbid(unsafe_code)]"))
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}

fn order_of_modules(lib: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned);
    lib.lines().filter_map(name).collect()
}

/// All files of a first-level module, be it a file or a folder.
fn files_of(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                _ => {}
            }
        }
    }
    let single = src.join(format!("{module}.rs"));
    files.extend(single.exists().then_some(single));
    files
}

/// The first-level modules named as `crate::X` outside comments, in any use of braces.
fn uses(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                found.extend(list.split(['{', '}', ',', ' ', '\n']).filter_map(first_name));
            }
            None => found.extend(first_name(rest)),
        }
    }
    found
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn uses_are_found_in_all_their_forms() {
    let text = "use crate::wire::{frame, startup};\n// crate::route\nuse crate::{net::Stream, pool};\ncrate::say!(x);";
    assert_eq!(uses(text), ["wire", "net", "pool", "say"]);
}
