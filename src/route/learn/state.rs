//! The model as text, to be kept over restarts (`ai_state_file`).
//!
//! A line a thing, words separated by blanks: `pgbalancer-ai 1 <nodes>`, `typical <mean>`, `node <number> <name> <mean>`,
//! `class <key> <node or all> <mean>`, `group <number> <node or all> <mean>`; a mean is its value, its weight and its age
//! in milliseconds. What runs, errors and counts are not kept: they say nothing after a restart.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::mean::{MAX_WEIGHT, Mean};
use super::settings::Settings;
use super::words::{Model, PLACES, SLOTS};
use crate::error::NodeId;

const HEAD: &str = "pgbalancer-ai 1";
/// Most bytes of the text.
pub const MAX_STATE: usize = 4 << 20;
/// Means that count as fewer samples are not kept.
const TOO_LITTLE: f32 = 0.5;

/// Why a file is not the state of a model. Nothing of it is used then.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// It has no business to be that long.
    #[error("the file is longer than {MAX_STATE} bytes; delete it")]
    TooLong,
    /// It is something else, or of another version.
    #[error("the first line is not \"{HEAD} <number of nodes>\"; delete the file")]
    Head,
    /// The nodes may be others.
    #[error("the file is of {0} nodes, but there are {1}; it will be written anew")]
    Nodes(usize, usize),
    /// A line that nobody has written so.
    #[error("line {0} cannot be understood; delete the file")]
    Line(usize),
}

/// A line of the file.
enum Item {
    Typical,
    Node(NodeId, Trait),
    Class(u64, Option<NodeId>),
    Group(usize, Option<NodeId>),
}

#[derive(Clone, Copy)]
enum Trait {
    Speed,
    Room,
    Excess,
    Peak,
    Latency,
}

impl Trait {
    const ALL: [(Trait, &'static str); 5] = [
        (Trait::Speed, "speed"),
        (Trait::Room, "room"),
        (Trait::Excess, "excess"),
        (Trait::Peak, "peak"),
        (Trait::Latency, "latency"),
    ];
}

impl<'a> Model<'a> {
    /// What was learned, as text.
    pub fn export(&self, settings: &Settings, now: u64) -> String {
        let mut text = format!("{HEAD} {}\n", self.nodes);
        let mut line = |name: std::fmt::Arguments, word: &AtomicU64| {
            let mean = Mean::load(word);
            let weight = mean.weight_at(now, settings.memory);
            if weight >= TOO_LITTLE {
                let _ = writeln!(text, "{name} {} {weight}", mean.mean);
            }
        };
        line(format_args!("typical"), self.typical());
        for node in 0..self.nodes {
            for (of, name) in Trait::ALL {
                if let Some(word) = self.trait_of(node, of) {
                    line(format_args!("node {node} {name}"), word);
                }
            }
        }
        for number in 0..PLACES {
            let Some(place) = self.place(number) else { continue };
            let key = place.key.load(Ordering::Relaxed);
            let is_group = number >= SLOTS;
            if key == 0 && !is_group {
                continue;
            }
            let all = std::iter::once((None, place.overall));
            for (node, word) in all.chain((0..).map(Some).zip(place.on)) {
                let node = node.map_or_else(|| "all".to_owned(), |node: NodeId| node.to_string());
                match is_group {
                    true => line(format_args!("group {} {node}", number - SLOTS), word),
                    false => line(format_args!("class {key:016x} {node}"), word),
                }
            }
        }
        text
    }

    /// Puts what [`Model::export`] has written in the place of what was learned. The whole text is checked before any of
    /// it is used.
    pub fn import(&self, settings: &Settings, text: &str, now: u64) -> Result<(), StateError> {
        if text.len() > MAX_STATE {
            return Err(StateError::TooLong);
        }
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix(HEAD)).unwrap_or_default();
        let nodes: usize = head.trim().parse().map_err(|_| StateError::Head)?;
        if nodes != self.nodes {
            return Err(StateError::Nodes(nodes, self.nodes));
        }
        let item = |(number, line)| self.item(line, now).ok_or(StateError::Line(number));
        let items = (2..).zip(lines).map(item).collect::<Result<Vec<_>, _>>()?;
        self.reset();
        for (item, mean) in items {
            let store = |word: Option<&AtomicU64>| {
                if let Some(word) = word {
                    word.store(mean.encode(), Ordering::Relaxed);
                }
            };
            match item {
                Item::Typical => store(Some(self.typical())),
                Item::Node(node, of) => store(self.trait_of(node, of)),
                Item::Class(key, node) => {
                    let class = super::Class { key, size: 0 };
                    let place = self.claim_place(class, now, settings.memory);
                    store(
                        place.and_then(|place| node.map_or(Some(place.overall), |node| place.on.get(node))),
                    );
                }
                Item::Group(number, node) => {
                    let place = self.place(SLOTS + number);
                    store(
                        place.and_then(|place| node.map_or(Some(place.overall), |node| place.on.get(node))),
                    );
                }
            }
        }
        Ok(())
    }

    fn trait_of(&self, node: NodeId, of: Trait) -> Option<&'a AtomicU64> {
        let learned = self.learned(node)?;
        Some(match of {
            Trait::Speed => learned.speed,
            Trait::Room => learned.room,
            Trait::Excess => learned.excess,
            Trait::Peak => learned.peak,
            Trait::Latency => learned.latency,
        })
    }

    fn item(&self, line: &str, now: u64) -> Option<(Item, Mean)> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let node = |text: &str| text.parse().ok().filter(|node| *node < self.nodes);
        let node_or_all = |text: &str| if text == "all" { Some(None) } else { node(text).map(Some) };
        let item = match word()? {
            "typical" => Item::Typical,
            "node" => {
                let (number, name) = (node(word()?)?, word()?);
                Item::Node(number, Trait::ALL.into_iter().find(|(_, known)| *known == name)?.0)
            }
            "class" => {
                let key = u64::from_str_radix(word()?, 16).ok().filter(|key| *key != 0)?;
                Item::Class(key, node_or_all(word()?)?)
            }
            "group" => {
                let number = word()?.parse().ok().filter(|number| *number < PLACES - SLOTS)?;
                Item::Group(number, node_or_all(word()?)?)
            }
            _ => return None,
        };
        let mut number = |most: f32| {
            let value: f32 = word()?.parse().ok()?;
            (0.0..=most).contains(&value).then_some(value)
        };
        let (mean, weight) = (number(1e15)?, number(MAX_WEIGHT)?);
        word().is_none().then(|| (item, Mean::new(mean, weight, now)))
    }
}
