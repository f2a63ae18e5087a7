//! The text format of Prometheus, version 0.0.4.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::{Display, Write};

use crate::admin::NodeReport;
use crate::shm::{LATENCY_BOUNDS, LATENCY_CLASSES};

/// A page that grows.
pub(super) struct Page {
    text: String,
    /// What all names begin with.
    names: &'static str,
}

impl Page {
    pub(super) fn new(names: &'static str) -> Page {
        Page { text: String::new(), names }
    }

    /// The same page; the names of what follows begin with `names`.
    pub(super) fn of_names(self, names: &'static str) -> Page {
        Page { names, ..self }
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    /// The lines that stand before the samples of a metric.
    pub(super) fn family(&mut self, name: &str, kind: &str, about: &str) {
        let _ = writeln!(self.text, "# HELP {0}{name} {about}\n# TYPE {0}{name} {kind}", self.names);
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let text = &mut self.text;
        let _ = write!(text, "{}{name}", self.names);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric of one sample.
    pub(super) fn one(&mut self, name: &str, kind: &str, about: &str, value: impl Display) {
        self.family(name, kind, about);
        self.sample(name, &[], value);
    }

    pub(super) fn of_node(
        &mut self,
        name: &str,
        node: &NodeReport,
        more: &[(&str, &str)],
        value: impl Display,
    ) {
        let id = node.id.to_string();
        let labels = [&[("node_id", id.as_str()), ("hostname", node.hostname.as_str())], more].concat();
        self.sample(name, &labels, value);
    }

    /// The samples of a node in a histogram; the bounds of the classes are those of all histograms.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        node: &NodeReport,
        counts: &[u64; LATENCY_CLASSES],
        micros: u64,
    ) {
        let bounds = LATENCY_BOUNDS.iter().map(|micros| (*micros as f64 / 1e6).to_string());
        let (bucket, mut sum) = (format!("{name}_bucket"), 0_u64);
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            sum = sum.saturating_add(*count);
            self.of_node(&bucket, node, &[("le", &bound)], sum);
        }
        self.of_node(&format!("{name}_sum"), node, &[], micros as f64 / 1e6);
        self.of_node(&format!("{name}_count"), node, &[], sum);
    }

    /// A metric of a sample for each node.
    pub(super) fn each<T: Display>(
        &mut self,
        name: &str,
        kind: &str,
        about: &str,
        nodes: &[NodeReport],
        value: impl Fn(&NodeReport) -> T,
    ) {
        self.family(name, kind, about);
        for node in nodes {
            self.of_node(name, node, &[], value(node));
        }
    }
}

/// As the value of a label must be written.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Page::new("a_").of_names("b_");
        page.sample("c", &[("x", "a\\\"\nb"), ("y", "")], 1.5);
        assert_eq!(page.text(), "b_c{x=\"a\\\\\\\"\\nb\",y=\"\"} 1.5\n");
    }
}
