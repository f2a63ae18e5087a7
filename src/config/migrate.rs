//! A configuration file in today's names: `pgbalancer --migrate`.
//!
//! Line by line, so that comments, blanks and the order stay. The new file means what the old one meant: a test
//! loads both. Reads files only through the function it is given.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::Path;

use super::lexer::{self, Line};
use super::load::{self, Heartbeat, Read};
use super::names::{self, Meaning};
use super::{Note, Place, Rejected};

/// A file in today's names.
#[derive(Debug)]
pub struct Migrated {
    /// The file.
    pub text: String,
    /// What is left to be done by hand.
    pub notes: Vec<Note>,
}

/// Reads a file and writes it in today's names.
///
/// # Errors
/// What is wrong with the file, as at a start.
pub fn migrate(path: &Path) -> Result<Migrated, Rejected> {
    let text = load::read_file(path).map_err(|error| Rejected::from(load::unreadable(path, &error)))?;
    migrate_text(&text, path, &load::read_file)
}

fn migrate_text(text: &str, file: &Path, read: Read<'_>) -> Result<Migrated, Rejected> {
    let loaded = load::parse_text(text, file, read)?;
    let own = load::own_number(&loaded.config.base_dir, read).ok().flatten();
    let mut migration = Migration {
        file,
        own: own.unwrap_or(0),
        heartbeat: Heartbeat::of(text.split('\n').filter_map(name_of)),
        mode: loaded.config.backend_clustering_mode.word(),
        last_mode: text.split('\n').filter(is_mode).count(),
        out: String::with_capacity(text.len() + 1024),
        notes: Vec::new(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.split('\n')).peekable();
    while let Some((number, line)) = lines.next() {
        migration.line(line, number);
        if lines.peek().is_some() {
            migration.out.push('\n');
        }
    }
    let tells_own = text.split('\n').filter_map(name_of).any(|name| name.eq_ignore_ascii_case("wd_hostname"));
    if tells_own && own.is_none() && loaded.config.use_watchdog {
        let text =
            "write the number of this member, 0, to a file pgpool_node_id beside the new file".to_owned();
        migration.notes.push(Note { place: None, text });
    }
    Ok(Migrated { text: migration.out, notes: migration.notes })
}

struct Migration<'a> {
    file: &'a Path,
    /// The number of this member of the watchdog.
    own: usize,
    heartbeat: Heartbeat,
    /// The clustering mode that the files come to.
    mode: &'static str,
    /// Lines still to come that are a part of it.
    last_mode: usize,
    out: String,
    notes: Vec<Note>,
}

impl Migration<'_> {
    fn line(&mut self, line: &str, number: u32) {
        match lexer::line(line) {
            Ok(Line::Set { name, .. }) => self.setting(line, name),
            Ok(Line::Include(name)) => {
                let text = format!("{name} is to be migrated on its own");
                self.notes
                    .push(Note { place: Some(Place { file: self.file.to_owned(), line: number }), text });
                self.out.push_str(line);
            }
            Ok(Line::Empty) | Err(_) => self.out.push_str(line),
        }
    }

    fn setting(&mut self, line: &str, name: &str) {
        let shifted = self.heartbeat.shift(name, self.own);
        match names::meaning(shifted.as_deref().unwrap_or(name), self.own) {
            Meaning::Param(param, id, note) if note.is_some() || shifted.is_some() => {
                let (before, behind) = line.split_once(name).unwrap_or(("", line));
                let (behind, end) = split_end(behind);
                let new = param.name_of(id);
                let _ = write!(self.out, "{before}{new}{behind} # was {name}{end}");
            }
            Meaning::Param(..) | Meaning::Wrong(_) => self.out.push_str(line),
            Meaning::Mode(_) => {
                self.last_mode -= 1;
                if self.last_mode == 0 {
                    let mode = self.mode;
                    let _ = writeln!(self.out, "backend_clustering_mode = '{mode}'");
                }
                self.retire(line, "is now a part of backend_clustering_mode");
            }
            Meaning::Nothing(why) => self.retire(line, &why),
        }
    }

    /// Keeps a line as a comment.
    fn retire(&mut self, line: &str, why: &str) {
        let (line, end) = split_end(line);
        let _ = write!(self.out, "#{line} # {why}{end}");
    }
}

/// The name that a line sets.
fn name_of(line: &str) -> Option<&str> {
    match lexer::line(line) {
        Ok(Line::Set { name, .. }) => Some(name),
        _ => None,
    }
}

fn is_mode(line: &&str) -> bool {
    name_of(line).is_some_and(|name| matches!(names::meaning(name, 0), Meaning::Mode(_)))
}

/// A line and the blanks at its end, with the carriage return of other systems.
fn split_end(line: &str) -> (&str, &str) {
    line.split_at(line.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::super::load::parse_text;
    use super::super::table::PARAMETERS;
    use super::*;
    use proptest::prelude::*;
    use std::io;

    fn nothing(_: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn migrated(text: &str) -> String {
        migrate_text(text, Path::new("p.conf"), &nothing).unwrap().text
    }

    /// The new text means the same, has nothing old in it, and stays as it is when it is migrated again.
    fn check(text: &str) -> String {
        let new = migrated(text);
        let (old, loaded) = (
            parse_text(text, Path::new("p.conf"), &nothing).unwrap(),
            parse_text(&new, Path::new("p.conf"), &nothing).unwrap(),
        );
        assert!(old.config == loaded.config, "{text}\nbecame\n{new}");
        let about_names =
            |note: &&Note| ["old", "ignored", "without"].iter().any(|word| note.text.contains(word));
        assert_eq!(loaded.notes.iter().find(about_names), None, "in\n{new}");
        assert_eq!(migrated(&new), new);
        new
    }

    #[test]
    fn lines_keep_their_looks() {
        for (old, new) in [
            ("", ""),
            ("# a comment\n\nport = 5432\n", "# a comment\n\nport = 5432\n"),
            (
                "  socket_dir  =  '/tmp'   # here",
                "  unix_socket_directories  =  '/tmp'   # here # was socket_dir",
            ),
            ("logdir '/x'\r\nport=7777\r\n", "work_dir '/x' # was logdir\r\nport=7777\r\n"),
            (
                "parallel_mode = off",
                "#parallel_mode = off # parallel_mode has no meaning any more and is ignored",
            ),
            ("work_mem = 5", "#work_mem = 5 # unknown parameter work_mem is ignored"),
            (
                "socket_dir = '/a'\nunix_socket_directories = '/b'",
                "unix_socket_directories = '/a' # was socket_dir\nunix_socket_directories = '/b'",
            ),
        ] {
            assert_eq!(check(old), new, "{old}");
        }
    }

    #[test]
    fn the_old_modes_become_one_line() {
        let new = check("master_slave_mode = on\nport = 5432\nmaster_slave_sub_mode = 'slony'\n");
        assert_eq!(
            new,
            "#master_slave_mode = on # is now a part of backend_clustering_mode\nport = 5432\n\
             backend_clustering_mode = 'slony'\n\
             #master_slave_sub_mode = 'slony' # is now a part of backend_clustering_mode\n"
        );
        for text in [
            "replication_mode = off",
            "replication_mode = on",
            "replication_mode = off\nmaster_slave_mode = off",
            "backend_clustering_mode = raw\nmaster_slave_mode = on",
        ] {
            check(text);
        }
    }

    #[test]
    fn members_of_the_watchdog_keep_their_numbers() {
        let text = "wd_hostname = 'a'\nwd_port = 9000\nwd_heartbeat_port = 9694\nother_pgpool_hostname0 = 'b'\n\
            other_pgpool_port0 = 9999\nother_wd_port0 = 9000\nheartbeat_destination0 = 'b'\n\
            heartbeat_destination_port0 = 9694\nheartbeat_device0 = 'eth0'\n";
        let new = check(text);
        for line in
            ["hostname1 = 'b'", "heartbeat_hostname1 = 'b'", "heartbeat_device1 = 'eth0'", "wd_port0 = 9000"]
        {
            assert!(new.lines().any(|found| found.starts_with(line)), "{line} in\n{new}");
        }
    }

    #[test]
    fn what_is_left_to_be_done_is_said() {
        let read = |path: &Path| match path.to_str() {
            Some("more.conf") => Ok("port = 7777".to_owned()),
            _ => nothing(path),
        };
        let found = migrate_text("include 'more.conf'\n", Path::new("p.conf"), &read).unwrap();
        assert_eq!(found.text, "include 'more.conf'\n");
        assert_eq!(found.notes[0].to_string(), "p.conf:1: more.conf is to be migrated on its own");
        assert!(migrate_text("port = many", Path::new("p.conf"), &nothing).is_err());
    }

    #[test]
    fn the_sample_of_the_description_is_migrated() {
        let new = check(include_str!("../../tests/data/seed.conf"));
        assert!(!new.lines().any(|line| line.starts_with("socket_dir")));
    }

    proptest! {
        #[test]
        fn any_mixture_means_the_same(
            picks in proptest::collection::vec((0..PARAMETERS.len(), 0..4_usize, any::<bool>()), 0..40),
        ) {
            let lines = picks.iter().map(|(at, id, old)| {
                let param = &PARAMETERS[*at];
                let name = match (param.spec.old_names.first(), old) {
                    (Some(name), true) => (*name).to_owned(),
                    _ => param.name_of((!matches!(param.spec.nodes, super::super::param::Nodes::One)).then_some(*id)),
                };
                let value = param.spec.kind.literal(&param.spec.kind.default_value());
                format!("{name} = {value}\n")
            });
            let text: String = lines.collect();
            if parse_text(&text, Path::new("p.conf"), &nothing).is_ok() {
                check(&text);
            }
        }
    }
}
