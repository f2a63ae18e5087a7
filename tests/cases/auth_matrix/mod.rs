//! Every way to come in: what clients prove here, what the server wants, over each kind of connection, with a right
//! password and without. One table says what must come of each (`table.rs`); libpq in psycopg tries them all,
//! node-postgres and psql what they can, and pgpool-II must let in the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::balancer::Program;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Door};

mod cells;
mod site;
mod table;

use cells::Cell;
use site::Site;
use table::{DIFFERENCES, EXPECTED, Outcome, expected, of_pgpool};

/// Whether it came in, and as whom; or what it was told.
type Results = BTreeMap<String, (bool, String)>;

#[test]
fn every_way_to_come_in_ends_as_the_table_says() {
    let program = Program::under_test();
    if !matches!(program, Program::Ours(_)) {
        return;
    }
    let site = Site::new();
    let mut cells = Cell::all();
    if site.pam.is_none() {
        cells.retain(|cell| cell.kind.name != "pam");
    }
    let used: BTreeSet<usize> = cells.iter().map(|cell| expected(cell).0).collect();
    let unused = EXPECTED.iter().enumerate().filter(|(number, _)| !used.contains(number));
    assert_eq!(
        unused.map(|(_, (row, _))| row).collect::<Vec<_>>(),
        Vec::<&[&str; 4]>::new(),
        "rows about nothing"
    );

    // Each one over connections of its own.
    let balancer = site.start(program.clone(), "off");
    let of_libpq = through(&site, &balancer, &cells, |door| tools::python(door, "log_in.py"));
    check("psycopg", &cells, &of_libpq, |outcome, text| text.contains(outcome.told().1));
    drop(balancer);

    // Over such as others have left, too.
    let balancer = site.start(program, "on");
    // It binds where it can, and goes on where it cannot.
    let can = |cell: &&Cell| cell.kind.name != "plus" || cell.transport == "tls";
    let some: Vec<&Cell> = cells.iter().filter(can).collect();
    let of_node = through(&site, &balancer, &some, |door| tools::node(door, "log_in.js"));
    check("node-postgres", &some, &of_node, |outcome, text| match outcome {
        Outcome::NoPassword => {
            text.starts_with("28P01: password auth") || text.contains("must be a non-empty string")
        }
        Outcome::NoHandshake => text.contains("alert") || text.contains("ECONNRESET"),
        other => text.starts_with(&format!("{}: ", other.told().0.unwrap())) && text.contains(other.told().1),
    });
    let some: Vec<&Cell> = cells
        .iter()
        .filter(|cell| cell.backend == "scram" && ["right", "wrong"].contains(&cell.credential))
        .collect();
    let of_psql = with_psql(&site, &balancer, &some);
    check("psql", &some, &of_psql, |outcome, text| text.contains(outcome.told().1));
}

/// pgpool-II lets in whom we let in, but for what stands in `DIFFERENCES`.
#[test]
fn pgpool_lets_in_the_same() {
    if !matches!(Program::under_test(), Program::Ours(_)) {
        return;
    }
    let site = Site::new();
    let mut cells = Cell::all();
    cells.retain(|cell| site.pam.is_some() || cell.kind.name != "pam");
    let balancer = site.start(Program::Pgpool(PGPOOL.into()), "off");
    let theirs = through(&site, &balancer, &cells, |door| tools::python(door, "log_in.py"));
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for cell in &cells {
        let (came_in, told) = &theirs[&cell.id()];
        let ours = expected(cell).1 == Outcome::In;
        let must = of_pgpool(cell);
        if must.map_or(ours, |(_, comes_in)| comes_in) != *came_in {
            wrong.push(format!("{}: in with pgpool-II: {came_in}, {told}", cell.id()));
        }
        used.extend(must.filter(|(_, comes_in)| *comes_in != ours).map(|(row, _)| row));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused = DIFFERENCES.iter().enumerate().filter(|(number, _)| !used.contains(number));
    assert_eq!(
        unused.map(|(_, (row, ..))| row).collect::<Vec<_>>(),
        Vec::<&[&str; 4]>::new(),
        "no differences"
    );
}

const PGPOOL: &str = "/usr/sbin/pgpool";

/// Makes the attempts with a script that reads them from its input.
fn through<C: std::borrow::Borrow<Cell>>(
    site: &Site,
    balancer: &Balancer,
    cells: &[C],
    script: impl Fn(&Door) -> Command,
) -> Results {
    let mut child = script(&balancer.door("postgres"));
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: String = cells
        .iter()
        .map(|cell| {
            let cell = cell.borrow();
            format!("{}\n", serde_json::json!({"id": cell.id(), "settings": site.settings(cell, balancer)}))
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(lines.as_bytes()).unwrap());
        let ran = Ran::from(child.wait_with_output().unwrap()).succeeded();
        let result = |line: &str| {
            let (id, came_in, text) = serde_json::from_str::<(String, bool, String)>(line).unwrap();
            (id, (came_in, text))
        };
        ran.out.lines().map(result).collect()
    })
}

/// Makes the attempts with psql, some at a time.
fn with_psql(site: &Site, balancer: &Balancer, cells: &[&Cell]) -> Results {
    let run = |cell: &&Cell| {
        let settings = site.settings(cell, balancer);
        let setting = |(name, value): (&String, &serde_json::Value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}='{value}'")
        };
        let conninfo = settings.as_object().unwrap().iter().map(setting).collect::<Vec<_>>().join(" ");
        let mut psql = tools::psql(&balancer.door("postgres"));
        let ran = tools::run(psql.args(["-d", &conninfo, "-c", "SELECT current_user"]));
        let text = if ran.ok { ran.out.trim_end().to_owned() } else { ran.err };
        (cell.id(), (ran.ok, text))
    };
    let parts: Vec<&[&Cell]> = cells.chunks(cells.len().div_ceil(4)).collect();
    std::thread::scope(|scope| {
        let threads =
            parts.into_iter().map(|part| scope.spawn(move || part.iter().map(run).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Compares with the table; `is_told`: whether the text is the one that belongs to the outcome.
fn check<C: std::borrow::Borrow<Cell>>(
    client: &str,
    cells: &[C],
    results: &Results,
    is_told: impl Fn(Outcome, &str) -> bool,
) {
    assert_eq!(results.len(), cells.len(), "{client}: an answer for each");
    let mut wrong = Vec::new();
    for cell in cells {
        let cell = cell.borrow();
        let (came_in, text) = &results[&cell.id()];
        let outcome = expected(cell).1;
        let is_right = match outcome {
            Outcome::In => *came_in && *text == cell.user(),
            other => !came_in && is_told(other, text),
        };
        if !is_right {
            wrong.push(format!("{}: {outcome:?} expected; in: {came_in}, {text}", cell.id()));
        }
    }
    assert!(wrong.is_empty(), "{client}: {} of {} are wrong\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}
