//! A configuration file written again in today's names: renamed lines get their new name, lines without
//! effect become comments, and all else stays byte by byte. What the file means stays the same.
//! Only files without mistakes are written again: of others nobody knows what they mean. Nor are files whose included
//! files would mean something else afterwards.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::lexer::{self, Line};
use super::load::{self, Loaded, parse_text};
use super::names::Meaning;
use super::{ConfigError, Note, Place, Rejected, reload};

/// A file in today's names.
#[derive(Debug)]
pub struct Migrated {
    /// The whole file; comments may be in any encoding.
    pub text: Vec<u8>,
    /// What is left to do by hand.
    pub notes: Vec<Note>,
}

/// Reads the file and writes it again.
pub fn migrate(path: &Path) -> Result<Migrated, Rejected> {
    let bytes = std::fs::read(path).map_err(|error| load::unreadable(path, &error))?;
    rewrite(&bytes, path, &load::read_file)
}

/// Where the number of this member is to stand.
const NUMBER: &str = "pgpool_node_id";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn rewrite(
    bytes: &[u8],
    path: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Migrated, Rejected> {
    let loaded = parse_text(&String::from_utf8_lossy(bytes), path, read)?;
    let (mark, bytes) = match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (BYTE_ORDER_MARK, rest),
        None => (&[][..], bytes),
    };
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let is_mode = |line: &&[u8]| matches!(said(line, &loaded), Said::Mode);
    let last_mode = lines.iter().rposition(is_mode);
    let mut notes = Vec::new();
    let mut new = Vec::with_capacity(lines.len());
    for (number, line) in (0_u32..).zip(&lines) {
        let place = Place { file: path.to_owned(), line: number + 1 };
        let mut remark = |text| notes.push(Note { place: Some(place.clone()), text });
        match said(line, &loaded) {
            Said::Renamed(old, today) => new.push(renamed(line, &old, &today)),
            Said::Gone(reason) => new.push(disabled(line, &format!("no effect any more: {reason}"))),
            Said::Mode => {
                let why = if loaded.old_mode { "is now in" } else { "is overruled by" };
                new.push(disabled(line, &format!("{why} backend_clustering_mode")));
                if loaded.old_mode && last_mode == usize::try_from(number).ok() {
                    let mode = loaded.config.backend_clustering_mode.word();
                    let end = if line.ends_with(b"\r") { "\r" } else { "" };
                    new.push(format!("backend_clustering_mode = '{mode}'{end}").into_bytes());
                }
            }
            Said::Unknown(text) => {
                remark(text);
                new.push(line.to_vec());
            }
            Said::Include(file) => {
                remark(format!("migrate the included file \"{file}\" on its own"));
                new.push(line.to_vec());
            }
            Said::Other => new.push(line.to_vec()),
        }
    }
    for (name, value) in &loaded.old_defaults {
        let line = format!("{name} = {value}  # the default of older versions");
        let at = new.len() - usize::from(new.last().is_some_and(|last| last.is_empty()));
        new.insert(at, line.into_bytes());
    }
    let text = [mark, &new.join(&b'\n')].concat();
    stays_the_same(&loaded, &text, path, read)?;
    if loaded.needs_number {
        let file = loaded.config.path(NUMBER);
        let text =
            format!("today's names need the number of this member: write 0 into \"{}\"", file.display());
        notes.push(Note { place: None, text });
    }
    Ok(Migrated { text, notes })
}

/// Refuses a file after which an included file means something else: numbers of members depend on names that
/// stand elsewhere.
fn stays_the_same(
    before: &Loaded,
    text: &[u8],
    path: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<(), Rejected> {
    let number = before.config.path(NUMBER);
    // The number that the user is told to write.
    let read = |file: &Path| match before.needs_number && file == number {
        true => Ok("0".to_owned()),
        false => read(file),
    };
    let after = parse_text(&String::from_utf8_lossy(text), path, &read)?;
    if after.config == before.config {
        return Ok(());
    }
    let differing = reload::differing(&before.config, &after.config);
    let names: Vec<String> = differing.into_iter().map(|(param, id)| param.name_of(id)).collect();
    let text = format!(
        "an included file would mean something else afterwards ({}): put its lines into this file first",
        names.join(", ")
    );
    Err(ConfigError { place: None, text }.into())
}

/// What a line says to us.
enum Said {
    /// A setting by an older name, and the name of today.
    Renamed(String, String),
    /// A setting without effect, and why.
    Gone(&'static str),
    /// A part of the clustering mode.
    Mode,
    /// A setting that nobody knows.
    Unknown(String),
    /// Another file.
    Include(String),
    /// All else.
    Other,
}

fn said(line: &[u8], loaded: &Loaded) -> Said {
    match lexer::line(&String::from_utf8_lossy(line)) {
        Ok(Line::Set { name, .. }) => match loaded.naming.meaning(name) {
            Meaning::Param(param, id, Some(_)) => Said::Renamed(name.to_owned(), param.name_of(id)),
            Meaning::Gone(reason) => Said::Gone(reason),
            Meaning::Mode(_) => Said::Mode,
            Meaning::Unknown(text) => Said::Unknown(text),
            Meaning::Param(_, _, None) | Meaning::Wrong(_) => Said::Other,
        },
        Ok(Line::Include(file)) => Said::Include(file.to_owned()),
        Ok(Line::Empty) | Err(_) => Said::Other,
    }
}

fn renamed(line: &[u8], old: &str, today: &str) -> Vec<u8> {
    let (start, rest, end) = split(line);
    let rest = rest.get(old.len()..).unwrap_or_default();
    [start, today.as_bytes(), rest, format!("  # was {old}").as_bytes(), end].concat()
}

fn disabled(line: &[u8], why: &str) -> Vec<u8> {
    let (start, text, end) = split(line);
    [start, b"#", text, format!("  # {why}").as_bytes(), end].concat()
}

/// A line in three: blanks, text, blanks. They are the blanks that the lexer skips.
fn split(line: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let text = String::from_utf8_lossy(line);
    // Blanks are valid UTF-8 and so have the same length here and there.
    let start = text.len() - text.trim_start().len();
    let end = line.len() - (text.len() - text.trim_end().len());
    let (front, back) = line.split_at_checked(end).unwrap_or((line, &[]));
    let (start, text) = front.split_at_checked(start).unwrap_or((&[], front));
    (start, text, back)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_nothing(_: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn migrated(text: &[u8]) -> Migrated {
        rewrite(text, Path::new("/etc/x/p.conf"), &read_nothing).unwrap()
    }

    fn parse(text: &[u8]) -> Result<Loaded, Rejected> {
        parse_text(&String::from_utf8_lossy(text), Path::new("/etc/x/p.conf"), &read_nothing)
    }

    #[test]
    fn names_change_and_all_else_stays() {
        let text = "\u{feff}# caf\u{e9}\r\n\
            \r\n\
            \tsocket_dir '/a b'\t\r\n\
            include_dir = x\r\n\
            logdir='/x' # here\r\n\
            master_slave_mode = on # yes\r\n\
            master_slave_sub_mode = 'logical'\r\n\
            print_timestamp = on\r\n\
            heartbeat_destination0 = 'b'\r\n\
            heartbeat_device0 = 'eth0'\r\n\
            wd_hostname = 'a'";
        let migrated = migrated(text.as_bytes());
        assert_eq!(
            String::from_utf8_lossy(&migrated.text),
            "\u{feff}# caf\u{e9}\r\n\
            \r\n\
            \tunix_socket_directories '/a b'  # was socket_dir\t\r\n\
            include_dir = x\r\n\
            work_dir='/x' # here  # was logdir\r\n\
            #master_slave_mode = on # yes  # is now in backend_clustering_mode\r\n\
            #master_slave_sub_mode = 'logical'  # is now in backend_clustering_mode\r\n\
            backend_clustering_mode = 'logical_replication'\r\n\
            #print_timestamp = on  # no effect any more: log_line_prefix says how lines begin\r\n\
            heartbeat_hostname1 = 'b'  # was heartbeat_destination0\r\n\
            heartbeat_device1 = 'eth0'  # was heartbeat_device0\r\n\
            hostname0 = 'a'  # was wd_hostname"
        );
        let notes: Vec<String> = migrated.notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "/etc/x/p.conf:4: unknown parameter include_dir is ignored",
                "today's names need the number of this member: write 0 into \"/etc/x/pgpool_node_id\"",
            ]
        );
    }

    #[test]
    fn comments_in_other_encodings_are_kept() {
        let text = b"# caf\xe9\nlogdir = /x # \xe9\xa0\n\xc2\xa0 socket_dir = /y\xc2\xa0";
        assert_eq!(
            migrated(text).text,
            b"# caf\xe9\nwork_dir = /x # \xe9\xa0  # was logdir\n\xc2\xa0 unix_socket_directories = /y  # was socket_dir\xc2\xa0"
        );
    }

    #[test]
    fn an_overruled_mode_stays_overruled() {
        let text = b"backend_clustering_mode = raw\nmaster_slave_mode = on\n";
        let expected =
            b"backend_clustering_mode = raw\n#master_slave_mode = on  # is overruled by backend_clustering_mode\n";
        assert_eq!(migrated(text).text, expected);
    }

    #[test]
    fn old_defaults_of_the_watchdog_are_written_down() {
        let new = migrated(b"use_watchdog = on\nother_pgpool_hostname0 = 'b'\n");
        let expected = "use_watchdog = on\nhostname1 = 'b'  # was other_pgpool_hostname0\n\
            wd_port0 = 9000  # the default of older versions\nheartbeat_port0 = 9694  # the default of older versions\n";
        assert_eq!(String::from_utf8(new.text).unwrap(), expected);
    }

    #[test]
    fn members_that_need_a_number_now_are_migrated_all_the_same() {
        let old = b"use_watchdog = on\nwd_hostname = 'a'\nwd_port = 9001\nwd_heartbeat_port = 9694\n\
            other_pgpool_hostname0 = 'b'\nother_wd_port0 = 9002\n";
        let new = migrated(old);
        let text = String::from_utf8(new.text).unwrap();
        assert!(
            text.starts_with("use_watchdog = on\nhostname0 = 'a'  # was wd_hostname\nwd_port0 = 9001"),
            "{text}"
        );
        assert!(text.contains("hostname1 = 'b'  # was") && text.contains("wd_port1 = 9002  # was"), "{text}");
        let said: Vec<String> = new.notes.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|note| note.contains("write 0 into \"/etc/x/pgpool_node_id\"")), "{said:?}");
    }

    #[test]
    fn a_file_whose_included_file_would_mean_something_else_is_refused() {
        let path = Path::new("/etc/x/p.conf");
        let read = |device: &'static str| {
            move |path: &Path| match path.ends_with("more.conf") {
                true => Ok(format!("{device} = 'eth0'\n")),
                false => Err(io::ErrorKind::NotFound.into()),
            }
        };
        let text = b"heartbeat_destination0 = 'b'\ninclude 'more.conf'\n";
        let refused = rewrite(text, path, &read("heartbeat_device0")).unwrap_err();
        let said = refused.errors[0].to_string();
        assert!(said.contains("(heartbeat_device0, heartbeat_device1)"), "{said}");
        assert!(rewrite(text, path, &read("if_cmd_path")).is_ok());
    }

    #[test]
    fn a_file_with_a_mistake_is_not_written() {
        let refused = rewrite(b"logdir = x\nport = y\n", Path::new("p.conf"), &read_nothing).unwrap_err();
        assert_eq!((refused.errors.len(), refused.notes.len()), (1, 1));
        assert!(migrate(Path::new("/nowhere/p.conf")).is_err());
    }

    proptest! {
        #[test]
        fn what_a_file_means_stays_the_same(lines in proptest::collection::vec(
            ("[ \t]{0,2}",
             "socket_dir|LOGDIR|port|other_pgpool_hostname[0-3]|hostname[0-3]|heartbeat_de(stination|vice)[0-3]|wd_hostname\
              |wd_heartbeat_port|print_timestamp|(replication|master_slave)_mode|master_slave_sub_mode|black_function_list\
              |write_function_list|backend_clustering_mode|delegate_(ip|IP)|unheard_of|#port|health_check_period[0-2]?",
             " = |=| ", "on|off|5000|'stream'|'slony'|raw", "[ \t]{0,2}(#.{0,4})?\r?"), 0..12)
        ) {
            let text: Vec<String> = lines.into_iter().map(|(a, b, c, d, e)| a + &b + &c + &d + &e).collect();
            let text = text.join("\n").into_bytes();
            match (parse(&text), rewrite(&text, Path::new("/etc/x/p.conf"), &read_nothing)) {
                (Ok(before), Ok(new)) => {
                    let after = parse(&new.text).unwrap();
                    prop_assert!(before.config == after.config);
                    let about_names = |note: &&Note| !note.text.starts_with("unknown parameter");
                    prop_assert_eq!(after.notes.iter().find(about_names), None);
                    prop_assert_eq!(&migrated(&new.text).text, &new.text);
                }
                (before, after) => prop_assert!(before.is_err() && after.is_err()),
            }
        }
    }
}
