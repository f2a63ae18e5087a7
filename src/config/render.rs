//! The sample file and the reference page, written from the table of parameters. A test compares the
//! files of the repository with them; with UPDATE_SAMPLE=1 in the environment it writes them instead.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::param::{Change, Group, Nodes, Param};
use super::table::PARAMETERS;
use super::unit;
use super::value::Kind;

const HEAD: &str = "\
# Configuration of pgbalancer. Rendered from the table of parameters.
#
# Each line is `name = value`. A value with blanks or special characters needs single quotes.
# The values behind the signs of comment are the defaults, or examples where nodes have values of
# their own: name0 is for the first node, name1 for the second, and so on.
# Units: B kB MB GB TB for sizes; us ms s min h d for times.
# Parameters change when the configuration is read again (`reload`), unless it says \"restart\".
# Lines without a sign of comment are what is best for new sites where the default is pgpool-II's.
# A file of pgpool-II can be used as it is.
";

/// `conf-samples/pgbalancer.conf.sample`: every parameter, commented out but for what suits new sites.
pub fn sample() -> String {
    let mut out = HEAD.to_owned();
    let mut last = None;
    for param in PARAMETERS {
        if last.replace(param.group) != Some(param.group) {
            let title = param.group.title();
            let _ = write!(out, "\n#{:-<98}\n# {title}\n#{:-<98}\n", "", "");
        }
        let _ = write!(out, "\n# {}\n", param.about);
        let takes = takes(param);
        if !takes.is_empty() {
            let _ = writeln!(out, "# {}", takes.join("; "));
        }
        let _ = writeln!(out, "#{} = {}", sample_name(param), sample_value(param));
        if let Some(value) = param.spec.sample {
            let _ = writeln!(out, "{} = {value}", sample_name(param));
        }
    }
    out
}

fn sample_name(param: &Param) -> String {
    param.name_of(matches!(param.spec.nodes, Nodes::Each(_)).then_some(0))
}

fn sample_value(param: &Param) -> String {
    param.spec.example.map_or_else(|| default(param), str::to_owned)
}

fn default(param: &Param) -> String {
    param.spec.kind.literal(&param.spec.kind.default_value())
}

/// What the sample file says about the values.
fn takes(param: &Param) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(values(param));
    if let Nodes::AllOrEach(_) = param.spec.nodes {
        parts.push(format!("{}0 … for one node", param.name));
    }
    match param.change {
        Change::Init => parts.push("restart".to_owned()),
        Change::Reload | Change::Session => {}
    }
    parts
}

/// The range or the words.
fn values(param: &Param) -> Option<String> {
    match &param.spec.kind {
        Kind::Int { least, most, unit, .. } => {
            let counted =
                if unit.suffix().is_empty() { String::new() } else { format!("in {}, ", unit.suffix()) };
            let least = unit::show(*least, *unit);
            Some(match *most {
                i64::MAX | super::param::INT_MAX => format!("{counted}from {least}"),
                most => format!("{counted}{least} to {}", unit::show(most, *unit)),
            })
        }
        Kind::Float { least, most, .. } => Some(format!("{least} to {most}")),
        Kind::Words { words, .. } => Some(words.iter().map(|word| word.word).collect::<Vec<_>>().join(", ")),
        Kind::Bool(_) | Kind::Text { .. } | Kind::List { .. } => None,
    }
}

/// `doc/ref/configuration.md`: every parameter, in tables.
pub fn reference() -> String {
    let mut out = "\
# Parameters

Rendered from the table of parameters (`src/config/table.rs`). `N` stands for the number of a node; a name
with `[N]` may be written without it, for all nodes. *Change* says when a new value takes effect: at a
`restart` or at a `reload`. What says `session` changes at a reload, too,
and a client may change it for its session: `PGPOOL SET`. Old names are read with a note.
"
    .to_owned();
    let mut last: Option<Group> = None;
    for param in PARAMETERS {
        if last.replace(param.group) != Some(param.group) {
            let title = param.group.title();
            let _ = write!(
                out,
                "\n## {title}\n\n| name | default | values | change | meaning |\n|---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(out, "{}", reference_row(param));
    }
    out.push_str("\n## Names of older versions\n\n| name | becomes |\n|---|---|\n");
    for (name, becomes) in super::names::old_names() {
        let _ = writeln!(out, "| `{name}` | {becomes} |");
    }
    out
}

fn reference_row(param: &Param) -> String {
    let name = match param.spec.nodes {
        Nodes::One => param.name.to_owned(),
        Nodes::Each(_) => format!("{}N", param.name),
        Nodes::AllOrEach(_) => format!("{}[N]", param.name),
    };
    let values = values(param).unwrap_or_else(|| kind_name(&param.spec.kind).to_owned());
    let change = match param.change {
        Change::Init => "restart",
        Change::Reload => "reload",
        Change::Session => "session",
    };
    let mut about = param.about.to_owned();
    if !param.spec.old_names.is_empty() {
        let _ = write!(about, " Old names: `{}`.", param.spec.old_names.join("`, `"));
    }
    if param.spec.hidden {
        about.push_str(" Never shown.");
    }
    format!("| `{name}` | `{}` | {values} | {change} | {} |", default(param), about.replace('|', "\\|"))
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool(_) => "on, off",
        Kind::Int { .. } | Kind::Float { .. } => "number",
        Kind::Text { .. } => "text",
        Kind::List { separator: ';', .. } => "list with `;`",
        Kind::List { .. } => "list with `,`",
        Kind::Words { .. } => "word",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Loaded, parse_text};
    use std::io;
    use std::path::Path;

    /// Compares a file of the repository with its rendered form, or writes it.
    fn compare(name: &str, rendered: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("UPDATE_SAMPLE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, rendered).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == rendered, "{name} differs from the table: run the tests with UPDATE_SAMPLE=1");
    }

    #[test]
    fn the_files_of_the_repository_are_rendered_from_the_table() {
        compare("conf-samples/pgbalancer.conf.sample", &sample());
        compare("doc/ref/configuration.md", &reference());
    }

    fn read(text: &str) -> Loaded {
        parse_text(text, Path::new("sample"), &|_| Err(io::ErrorKind::NotFound.into())).unwrap()
    }

    #[test]
    fn the_sample_gives_the_defaults_but_for_many_sessions_a_worker_without_a_note() {
        let defaults = Config { base_dir: ".".into(), ..Config::default() };
        let loaded = read(&sample());
        let many = Config { num_init_children: 4, sessions_per_child: 2500, ..defaults.clone() };
        assert_eq!((loaded.config, loaded.notes), (many, vec![]));

        let is_setting =
            |line: &&str| line.starts_with('#') && line.contains(" = ") && !line.starts_with("# ");
        let text = sample();
        let (mut lines, mut settings) = (String::new(), 0);
        for line in text.lines().filter(is_setting) {
            let line = line.trim_start_matches('#');
            settings += 1;
            if !line.split(' ').next().is_some_and(|name| name.ends_with('0')) {
                lines += &format!("{line}\n");
            }
        }
        assert_eq!(settings, PARAMETERS.len());
        let loaded = read(&lines);
        assert_eq!((loaded.config, loaded.notes), (defaults, vec![]));
    }

    #[test]
    fn the_examples_of_the_sample_load() {
        let text = sample().replace("\n#", "\n").replace("\n ", "\n# ").replace("\n-", "\n#-");
        let loaded = read(&text);
        assert_eq!(loaded.notes, vec![]);
        assert_eq!(loaded.config.backends().len(), 1);
        assert_eq!(loaded.config.hostname.get(0), "balancer1");
    }
}
