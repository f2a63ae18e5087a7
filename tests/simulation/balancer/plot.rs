//! Plots of the comparison, as small SVG files.

use std::fmt::Write as _;

use super::compare::Compared;
use super::measure::quantile;
use super::scenario::Scenario;
use super::{POLICIES, seen};

const COLOURS: [&str; 7] = ["#c0392b", "#999999", "#c9a227", "#2e86c1", "#27ae60", "#8e44ad", "#34495e"];
const WIDTH: f64 = 860.0;

/// Bars of the slowest 1 % in each judged scenario, on a logarithmic scale.
pub(super) fn bars(rows: &[Compared]) -> String {
    const LEFT: f64 = 230.0;
    const BAR: f64 = 7.0;
    let group = BAR * POLICIES.len() as f64 + 10.0;
    let height = 70.0 + group * rows.len() as f64;
    let x = |ms: f64| LEFT + (ms.max(1.0).log10() / 5.0) * (WIDTH - LEFT - 20.0);
    let mut svg = begin(height, "p99 in ms, logarithmic: shorter is better");
    for power in 0..=5 {
        let (ms, at) = (10_u64.pow(power), x(10_f64.powi(power as i32)));
        let _ = write!(svg, "<path d=\"M{at:.0} 50V{:.0}\" stroke=\"#ddd\"/>", height - 15.0);
        let _ =
            write!(svg, "<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{ms}</text>", height - 3.0);
    }
    for (number, row) in rows.iter().enumerate() {
        let top = 52.0 + group * number as f64;
        let _ = write!(svg, "<text x=\"4\" y=\"{:.0}\">{}</text>", top + group / 2.0, row.scenario.name);
        for (policy, colour) in COLOURS.iter().enumerate() {
            let (y, width) = (top + BAR * policy as f64, x(row.mean(policy, |figures| figures.p99)) - LEFT);
            let _ = write!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"6\" fill=\"{colour}\"/>"
            );
        }
    }
    svg + "</svg>\n"
}

/// Second by second: the slowest 1 % of those that began in it, on a logarithmic scale.
pub(super) fn slowest_by_second(scenario: &Scenario, seeds: std::ops::Range<u64>) -> String {
    let lines = (0..POLICIES.len()).map(|policy| {
        let runs: Vec<_> = seeds.clone().map(|seed| seen(scenario, policy, seed).by_second).collect();
        let second = |second: usize| {
            let mut all: Vec<u64> = runs.iter().flat_map(|run| run[second].iter().copied()).collect();
            all.sort_unstable();
            quantile(&all, 0.99).max(1.0).log10()
        };
        (0..30).map(second).collect()
    });
    let marks = (0..=5).map(|power| (f64::from(power), format!("{} ms", 10_u64.pow(power as u32))));
    curves(&format!("{}: p99 of each second", scenario.name), lines.collect(), &marks.collect::<Vec<_>>())
}

/// Second by second: the part of the statements that a node gets.
pub(super) fn share_by_second(scenario: &Scenario, node: usize, seeds: std::ops::Range<u64>) -> String {
    let lines = (0..POLICIES.len()).map(|policy| {
        let runs: Vec<_> = seeds.clone().map(|seed| seen(scenario, policy, seed).sent).collect();
        let sent = |second: usize, of: &dyn Fn(usize) -> bool| -> f64 {
            let one = |run: &Vec<Vec<u32>>| -> u32 {
                run.iter().enumerate().filter(|(node, _)| of(*node)).map(|(_, sent)| sent[second]).sum()
            };
            runs.iter().map(|run| f64::from(one(run))).sum()
        };
        (0..30).map(|second| sent(second, &|of| of == node) / sent(second, &|_| true).max(1.0)).collect()
    });
    let marks: Vec<_> = (0..=4).map(|part| (f64::from(part) / 4.0, format!("{} %", part * 25))).collect();
    curves(&format!("{}: its part of the statements", scenario.name), lines.collect(), &marks)
}

fn curves(title: &str, lines: Vec<Vec<f64>>, marks: &[(f64, String)]) -> String {
    const HEIGHT: f64 = 330.0;
    let most = marks.iter().map(|(value, _)| *value).fold(0.0, f64::max);
    let y = |value: f64| HEIGHT - 25.0 - value / most * (HEIGHT - 85.0);
    let x = |second: usize| 60.0 + second as f64 / 29.0 * (WIDTH - 80.0);
    let mut svg = begin(HEIGHT, title);
    for (value, name) in marks {
        let at = y(*value);
        let _ = write!(svg, "<path d=\"M60 {at:.0}H{:.0}\" stroke=\"#ddd\"/>", WIDTH - 20.0);
        let _ = write!(svg, "<text x=\"4\" y=\"{:.0}\">{name}</text>", at + 4.0);
    }
    for second in (0..30).step_by(5) {
        let _ = write!(svg, "<text x=\"{:.0}\" y=\"{}\">{second} s</text>", x(second), HEIGHT - 6.0);
    }
    for (line, colour) in lines.iter().zip(COLOURS).rev() {
        let points: String = line
            .iter()
            .enumerate()
            .map(|(second, value)| format!("{:.0},{:.1} ", x(second), y(*value)))
            .collect();
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
    }
    svg + "</svg>\n"
}

/// The head of a file, with title and legend.
fn begin(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"4\" y=\"14\" \
         font-size=\"13\">{title}</text>"
    );
    for (number, (name, colour)) in POLICIES.iter().zip(COLOURS).enumerate() {
        let x = 4.0 + 122.0 * number as f64;
        let _ = write!(svg, "<rect x=\"{x}\" y=\"24\" width=\"9\" height=\"9\" fill=\"{colour}\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"33\">{name}</text>", x + 13.0);
    }
    svg
}
