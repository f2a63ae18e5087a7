//! What promtool says of a page of metrics (`promtool check metrics`), and what a reader of histograms relies on.

use std::collections::{BTreeMap, BTreeSet};

/// Gauges whose names end like those of counters: dashboards for pgbalancer have them so.
const LIKE_COUNTERS: [&str; 3] =
    ["pgbalancer_backend_total", "pgbalancer_pool_connections_total", "pgbalancer_process_total"];

/// Names of another program, which are as it made them.
const NOT_OURS: &str = "pgpool2_";

/// Labels in the order of the page.
type Labels = Vec<(String, String)>;

/// A page, taken apart.
#[derive(Default)]
pub(crate) struct Page {
    /// Type and help by name of the family.
    families: BTreeMap<String, (String, String)>,
    /// All samples.
    pub(crate) samples: Vec<(String, Labels, f64)>,
    pub(crate) faults: Vec<String>,
}

impl Page {
    pub(crate) fn parse(text: &str) -> Page {
        let mut page = Page::default();
        if !text.ends_with('\n') {
            page.fault("the last line has no end");
        }
        let mut family = String::new();
        let mut closed = BTreeSet::new();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("#", rest)) => {
                    let mut words = rest.splitn(3, ' ');
                    let parts = [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
                    page.comment(parts, &mut family, &mut closed, line);
                }
                _ => page.sample(line, &family),
            }
        }
        page.lint_names();
        page.lint_histograms();
        page
    }

    /// The sum of all samples of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(there, _, _)| there == name).map(|(_, _, value)| value).sum()
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    fn comment(
        &mut self,
        [what, name, rest]: [&str; 3],
        family: &mut String,
        closed: &mut BTreeSet<String>,
        line: &str,
    ) {
        match what {
            "HELP" => {
                if rest.is_empty() || !closed.insert(name.to_owned()) {
                    self.fault(format!("no help, or a family twice: {line}"));
                }
                name.clone_into(family);
                self.families.insert(name.to_owned(), (String::new(), rest.to_owned()));
            }
            "TYPE" => {
                let known = ["counter", "gauge", "histogram", "summary"].contains(&rest);
                match self.families.get_mut(name) {
                    Some((kind, _)) if known && name == family && kind.is_empty() => rest.clone_into(kind),
                    _ => self.fault(format!("a type that does not stand behind its help: {line}")),
                }
            }
            _ => self.fault(format!("neither help nor type: {line}")),
        }
    }

    fn sample(&mut self, line: &str, family: &str) {
        let Some((name, labels, value)) = split(line) else {
            return self.fault(format!("no sample: {line}"));
        };
        let kind = self.families.get(family).map_or_else(String::new, |(kind, _)| kind.clone());
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        if kind.is_empty() || !suffixes.iter().any(|suffix| name == format!("{family}{suffix}")) {
            self.fault(format!("a sample outside its family {family}: {line}"));
        }
        if !is_name(&name, ':') || !labels.iter().all(|(label, _)| is_name(label, '_')) {
            self.fault(format!("a name that is none: {line}"));
        }
        if labels.iter().any(|(label, _)| label == "le") != name.ends_with("_bucket") {
            self.fault(format!("le belongs to buckets: {line}"));
        }
        if self.samples.iter().any(|(there, its, _)| (there, its) == (&name, &labels)) {
            self.fault(format!("twice: {line}"));
        }
        if kind == "counter" && value < 0.0 {
            self.fault(format!("a counter below 0: {line}"));
        }
        self.samples.push((name, labels, value));
    }

    fn lint_names(&mut self) {
        let mut faults = Vec::new();
        for (name, (kind, _)) in &self.families {
            if !self.samples.iter().any(|(there, _, _)| there.starts_with(name)) {
                faults.push(format!("{name} has no sample"));
            }
            if name.starts_with(NOT_OURS) {
                continue;
            }
            let like_counter = name.ends_with("_total");
            if (kind == "counter") != like_counter && !LIKE_COUNTERS.contains(&name.as_str()) {
                faults.push(format!("{name} is a {kind}: counters, and no others, end in _total"));
            }
            let others =
                ["_bucket", "_count", "_sum", "_counter", "_gauge", "_histogram", "_milliseconds", "_ms"];
            if others.iter().any(|end| name.ends_with(end)) || name.chars().any(|c| c.is_ascii_uppercase()) {
                faults.push(format!("{name}: no such end, no capitals"));
            }
        }
        self.faults.extend(faults);
    }

    fn lint_histograms(&mut self) {
        let histograms = self.families.iter().filter(|(_, (kind, _))| kind == "histogram");
        let names: Vec<String> = histograms.map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut series: BTreeMap<Labels, Vec<(String, f64)>> = BTreeMap::new();
            for (there, labels, value) in &self.samples {
                if *there == format!("{name}_bucket") {
                    let (le, rest): (Labels, Labels) =
                        labels.iter().cloned().partition(|(label, _)| label == "le");
                    series.entry(rest).or_default().push((le[0].1.clone(), *value));
                }
            }
            for (labels, buckets) in series {
                let one = |suffix: &str| {
                    let full = format!("{name}{suffix}");
                    let found = self.samples.iter().find(|(there, its, _)| *there == full && *its == labels);
                    found.map(|(_, _, value)| *value)
                };
                let bounds: Vec<f64> = buckets.iter().map(|(le, _)| le.parse().unwrap_or(f64::NAN)).collect();
                let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]);
                let cumulates = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
                let last = buckets.last().map(|(le, value)| (le.as_str(), Some(*value)));
                if !rises || !cumulates || last != Some(("+Inf", one("_count"))) || one("_sum").is_none() {
                    self.faults.push(format!("{name}{labels:?}: {buckets:?}"));
                }
            }
        }
    }
}

fn is_name(text: &str, also: char) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == also;
    text.chars().all(may) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Name, labels and value of a sample.
fn split(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, behind) = quoted(value)?;
            labels.push((label.to_owned(), value));
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?;
    Some((name.to_owned(), labels, value.parse().ok()?))
}

/// The value of a label up to its quote, and what stands behind.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
