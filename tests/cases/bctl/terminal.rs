//! bctl at a terminal: it asks, it paints, and `top` leaves the terminal as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;

use super::{Scene, usual};
use crate::harness::wait;

/// A terminal, and what was written to it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn new() -> Terminal {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let master = File::from(pair.master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reader, kept) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal { master, slave: pair.slave, seen }
    }

    fn stdio(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Starts a command here.
    fn start(&self, command: &mut Command) -> Child {
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio()).spawn().unwrap()
    }

    fn wait(&self, text: &str) {
        wait::until_true(text, || self.seen.lock().unwrap().contains(text));
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }
}

#[test]
fn what_cannot_be_undone_is_asked_for() {
    let scene = Scene::new(usual);
    let start = |terminal: &Terminal, line: &str| {
        terminal.start(&mut scene.command(&line.split(' ').collect::<Vec<_>>()))
    };
    let posted = || scene.asked().iter().any(|line| line.starts_with("POST"));
    for line in [
        "stop",
        "nodes-promote 1",
        "nodes promote 1",
        "nodes-detach 0",
        "nodes detach 0",
        "sessions terminate 1",
    ] {
        for (typed, code) in [("\n", 1), ("n\n", 1), ("y\n", 0), ("YES\n", 0)] {
            let mut terminal = Terminal::new();
            let mut child = start(&terminal, line);
            terminal.wait("[y/N] ");
            assert!(!posted(), "{line}: before the answer");
            terminal.type_in(typed);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{line} {typed:?}");
            assert_eq!(posted(), code == 0, "{line} {typed:?}");
        }
    }
    // What is not the primary, and what was agreed to before.
    for line in ["nodes detach 1", "stop --yes"] {
        let terminal = Terminal::new();
        assert_eq!(start(&terminal, line).wait().unwrap().code(), Some(0), "{line}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let scene = Scene::new(usual);
    for (words, env, colored) in [
        (["-t", "nodes"].as_slice(), None, true),
        (&["nodes"], None, true),
        (&["-t", "nodes", "--no-color"], None, false),
        (&["-t", "nodes"], Some(("NO_COLOR", "1")), false),
    ] {
        let terminal = Terminal::new();
        let mut command = scene.command(words);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(env).stdout(terminal.stdio());
        assert!(command.status().unwrap().success());
        terminal.wait("standby");
        let painted = terminal.seen.lock().unwrap().contains("\x1b[31mdown\x1b[0m");
        assert_eq!(painted, colored, "{words:?} {env:?}");
    }
    assert!(!scene.run("-t nodes").out.contains('\x1b'));
}

#[test]
fn what_takes_long_says_that_it_goes_on() {
    let done = Arc::new(AtomicBool::new(false));
    let finish = done.clone();
    let scene = Scene::new(move |asked| {
        let goes_on = asked.line.starts_with("GET ") && !done.load(Ordering::Relaxed);
        if goes_on { (200, r#"{"state":"running","step":"a step"}"#.to_owned()) } else { usual(asked) }
    });
    let terminal = Terminal::new();
    let mut child = terminal.start(&mut scene.command(&["nodes-recovery", "1"]));
    terminal.wait("Recovering node 1 (");
    terminal.wait(" s): a step\x1b[K");
    finish.store(true, Ordering::Relaxed);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    terminal.wait("\x1b[KNode 1 recovered");
}

#[test]
fn top_draws_again_and_leaves_the_terminal_as_it_was() {
    type End = fn(&mut Terminal, &Child);
    let ends: [End; 3] = [
        |terminal, _| terminal.type_in("q"),
        |terminal, _| terminal.type_in("\x03"),
        |_, child| kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap(),
    ];
    let scene = Scene::new(usual);
    for end in ends {
        let mut terminal = Terminal::new();
        let before = terminal.settings();
        let mut child = terminal.start(&mut scene.command(&["top"]));
        terminal.wait("11-0-7");
        assert_ne!(terminal.settings(), before);
        let drawn = || terminal.seen.lock().unwrap().matches("\x1b[Hpgbalancer").count();
        wait::until_true("a second drawing", || drawn() > 1);
        end(&mut terminal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        terminal.wait("\x1b[?1049l");
        assert_eq!(terminal.settings(), before);
    }
}
