//! What has been compared, as Markdown.

use std::fmt::Write as _;

use super::compare::Compared;
use super::measure::{Figures, Interval};
use super::{OURS, POLICIES};

/// Heads of the columns with what stands in them.
type Column = (&'static str, fn(&Figures) -> f64);

/// Milliseconds of the slowest 5 % and 1 %, a table each, and what else was measured.
pub(super) fn render(judged: &[Compared], others: &[Compared], seeds: u64) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Means of {seeds} seeds, ± half the width of the 95 % confidence interval.\n");
    for (title, rows) in [("Judged", judged), ("Others", others)] {
        for (name, of) in [
            ("p99", (|figures| figures.p99) as fn(&Figures) -> f64),
            ("p95", |figures| figures.p95),
            ("p50", |figures| figures.p50),
            ("mean", |figures| figures.mean),
        ] {
            let _ = writeln!(text, "### {title}: {name} in ms\n");
            table(&mut text, rows, of);
        }
    }
    text.push_str("### Statements that meet an error, in %\n\n");
    let failing: Vec<&Compared> =
        judged.iter().filter(|one| one.mean(1, |figures| figures.errors) > 0.0).collect();
    plain(&mut text, &failing, ("errors", |figures| figures.errors * 100.0));
    text.push_str("### Share of a recovered node 5 to 8 s after, in parts of its fair share\n\n");
    let recovering: Vec<&Compared> =
        judged.iter().chain(others).filter(|one| one.scenario.recovers.is_some()).collect();
    plain(&mut text, &recovering, ("share", |figures| figures.share));
    text.push_str("### What long statements pay: p99 of the long ones in ms\n\n");
    let mixed: Vec<&Compared> =
        judged.iter().chain(others).filter(|one| one.scenario.kinds.len() > 1).collect();
    plain(&mut text, &mixed, ("long", |figures| figures.last_p99));
    text
}

fn head(text: &mut String, last: &str) {
    let _ = writeln!(text, "| scenario | {} |{last}", POLICIES.join(" | "));
    let _ =
        writeln!(text, "|---|{}{}", "---|".repeat(POLICIES.len()), if last.is_empty() { "" } else { "---|" });
}

/// With a last column: ours beside the best of the others.
fn table(text: &mut String, rows: &[Compared], of: fn(&Figures) -> f64) {
    head(text, " ours : best other |");
    for row in rows {
        let ratio = row
            .ratio(OURS, of)
            .map_or("–".to_owned(), |ratio| format!("{:.3} ± {:.3}", ratio.mean, ratio.half));
        let _ = writeln!(text, "| {} |{} {ratio} |", row.scenario.name, cells(row, of));
    }
    text.push('\n');
}

fn plain(text: &mut String, rows: &[&Compared], (_, of): Column) {
    head(text, "");
    for row in rows {
        let _ = writeln!(text, "| {} |{}", row.scenario.name, cells(row, of));
    }
    text.push('\n');
}

fn cells(row: &Compared, of: fn(&Figures) -> f64) -> String {
    let cell = |policy: usize| format!(" {} |", short(row.interval(policy, of)));
    (0..POLICIES.len()).map(cell).collect()
}

/// With as many digits as say something.
fn short(Interval { mean, half }: Interval) -> String {
    match mean {
        _ if mean >= 1000.0 => format!("{mean:.0} ± {half:.0}"),
        _ if mean >= 10.0 => format!("{mean:.1} ± {half:.1}"),
        _ => format!("{mean:.2} ± {half:.2}"),
    }
}
