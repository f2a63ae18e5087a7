//! The redirect preference lists: where the reads of a user, a database, an application go.
#![forbid(unsafe_code)]

use super::{PatternList, RouteConfig};
use crate::config::{Redirect, RedirectTo};

/// One list, prepared.
#[derive(Clone, Debug, Default)]
pub struct Redirects {
    items: Vec<(PatternList, Preference)>,
}

/// What the lists say of one session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// Where to.
    pub to: RedirectTo,
    /// How many of the reads, 0 to 1.
    pub weight: f64,
}

impl Redirects {
    /// Prepares the items of a list.
    pub fn new(items: &[Redirect]) -> Redirects {
        let prepare = |item: &Redirect| {
            let pattern = PatternList::new(&[&item.pattern]).ok()?;
            Some((pattern, Preference { to: item.to, weight: item.weight }))
        };
        Redirects { items: items.iter().filter_map(prepare).collect() }
    }

    /// The first item that matches counts.
    fn find(&self, name: &str) -> Option<Preference> {
        self.items.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, preference)| *preference)
    }
}

/// Where the reads of a session go that has these names: the application's list comes before the database's, that
/// before the user's.
pub fn preference(config: &RouteConfig, user: &str, database: &str, application: &str) -> Option<Preference> {
    let lists = &config.redirects;
    lists
        .application
        .find(application)
        .or_else(|| lists.database.find(database))
        .or_else(|| lists.user.find(user))
}
