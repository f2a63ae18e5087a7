//! Configuration files on this host: checked by the loader of the program, and compared with a server's parameters.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde_json::json;

use super::api::Api;
use super::columns;
use super::failure::Failure;
use super::output::{Output, print};
use super::report::parameters_of;
use super::settings::Format;
use super::table;
use super::text::{plain, safe};
use crate::config::{self, Config, Show};

/// How secrets are shown.
const SECRET: &str = "*****";

/// Checks a file and tells all that is to be said of it. False: it cannot be used.
pub(super) fn check(out: Output, path: &Path) -> Result<bool, Failure> {
    let (notes, errors): (Vec<String>, Vec<String>) = match load(path)? {
        Ok(loaded) => (loaded.notes.iter().map(ToString::to_string).collect(), Vec::new()),
        Err(rejected) => (
            rejected.notes.iter().map(ToString::to_string).collect(),
            rejected.errors.iter().map(ToString::to_string).collect(),
        ),
    };
    let valid = errors.is_empty();
    let file = path.display().to_string();
    if out.format == Format::Json {
        let result = json!({ "file": file, "valid": valid, "notes": notes, "errors": errors });
        out.json(&result.to_string());
    } else {
        notes.iter().chain(&errors).for_each(|line| print(&format!("{}\n", safe(line))));
        if !out.quiet {
            let verdict = if valid { "is valid" } else { "contains errors" };
            print(&format!("configuration file {file} {verdict}\n"));
        }
    }
    Ok(valid)
}

fn load(path: &Path) -> Result<Result<config::Loaded, config::Rejected>, Failure> {
    let unreadable = |error| Failure::Local(format!("cannot read {}: {error}", path.display()));
    // The loader takes one that is not there for an empty one.
    File::open(path).map_err(unreadable)?;
    Ok(config::load(path))
}

/// Compares a file with what a server uses. False: there are differences.
pub(super) fn diff(api: &mut Api<'_>, out: Output, path: &Path) -> Result<bool, Failure> {
    let loaded = load(path)?.map_err(|rejected| {
        let lines: Vec<String> = rejected.lines().collect();
        Failure::Local(format!("{} cannot be used: {}", path.display(), lines.join("; ")))
    })?;
    let answer = api.get(columns::PARAMETERS.path)?;
    let [name, value] = [plain("", "name"), plain("", "value")];
    let parameters = parameters_of(&answer);
    let server = parameters.iter().filter_map(|one| Some((name.of(one)?, value.of(one)?))).collect();
    let found = differences(&shown(&loaded.config), &server);
    let rows = found.iter().map(|one| vec![one.name.clone(), one.here.clone(), one.there.clone()]);
    match out.format {
        Format::Json => {
            let listed: Vec<_> = found
                .iter()
                .map(|one| json!({ "name": one.name, "file": one.here, "server": one.there }))
                .collect();
            let file = path.display().to_string();
            let result = json!({ "file": file, "same": found.is_empty(), "differences": listed });
            out.json(&result.to_string());
        }
        Format::Table => print(&table::of_rows(&["Name", "File", "Server"], rows.collect(), &[])),
        Format::Default => rows.for_each(|row| {
            if let [name, here, there] = row.as_slice() {
                print(&format!("{name}\n  file:   {here}\n  server: {there}\n"));
            }
        }),
    }
    if found.is_empty() && !out.quiet && out.format == Format::Default {
        print("no differences\n");
    }
    Ok(found.is_empty())
}

/// All parameters of a file, as a server shows them.
fn shown(config: &Config) -> BTreeMap<String, String> {
    match config::show(config, "all") {
        Some(Show::Rows(rows)) => rows.into_iter().map(|row| (row.item, safe(&row.value))).collect(),
        _ => BTreeMap::new(),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Difference {
    name: String,
    here: String,
    there: String,
}

/// What is not the same. Secrets cannot be compared, since a server does not tell them.
fn differences(file: &BTreeMap<String, String>, server: &BTreeMap<String, String>) -> Vec<Difference> {
    let none = || "(none)".to_owned();
    let names: std::collections::BTreeSet<&String> = file.keys().chain(server.keys()).collect();
    let differs = |name: &&String| {
        let (here, there) = (file.get(*name), server.get(*name));
        here != there && here.is_none_or(|value| value != SECRET) && there.is_none_or(|value| value != SECRET)
    };
    names
        .into_iter()
        .filter(differs)
        .map(|name| Difference {
            name: name.clone(),
            here: file.get(name).cloned().unwrap_or_else(none),
            there: server.get(name).cloned().unwrap_or_else(none),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_differs() {
        let file = map(&[("a", "1"), ("b", "2"), ("secret", "*****"), ("only_file", "x")]);
        let server = map(&[("a", "1"), ("b", "3"), ("secret", "*****"), ("only_server", "y")]);
        let found = differences(&file, &server);
        let short: Vec<_> =
            found.iter().map(|one| (one.name.as_str(), one.here.as_str(), one.there.as_str())).collect();
        assert_eq!(short, [("b", "2", "3"), ("only_file", "x", "(none)"), ("only_server", "(none)", "y")]);
    }

    #[test]
    fn a_file_is_shown_as_a_server_shows_it() {
        let config = config::parse_text("child_life_time = 300\n", Path::new("p.conf"), &|_| {
            Err(std::io::ErrorKind::NotFound.into())
        });
        assert_eq!(shown(&config.unwrap().config)["child_life_time"], "5min");
    }
}
