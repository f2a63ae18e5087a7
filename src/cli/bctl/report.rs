//! Commands that show something.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::api::Api;
use super::client::{self, Answer, Patience};
use super::columns::{self, List};
use super::failure::Failure;
use super::output::{Output, print};
use super::settings::Format;
use super::table;
use super::text::{Field, Kind, field, safe, shown};

pub(super) fn status(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    let answer = api.get("/status")?;
    out.report(&answer, |format| match format {
        Format::Table => table::of_object(&answer.value, columns::STATUS),
        _ => format!("Server: pgbalancer\n{}", table::block(&answer.value, columns::STATUS, 0)),
    });
    Ok(())
}

/// Any of the lists.
pub(super) fn list(api: &mut Api<'_>, out: Output, list: &List) -> Result<(), Failure> {
    let answer = api.get(list.path)?;
    out.report(&answer, |format| listed(&objects(&answer.value, list.key), list, format));
    Ok(())
}

/// How many a list has.
pub(super) fn count(api: &mut Api<'_>, out: Output, list: &List) -> Result<(), Failure> {
    let answer = api.get(list.path)?;
    let count = objects(&answer.value, list.key).len();
    match out.format {
        Format::Json => out.json(&json!({ "count": count }).to_string()),
        _ => print(&format!("{count}\n")),
    }
    Ok(())
}

pub(super) fn node(api: &mut Api<'_>, out: Output, id: u16) -> Result<(), Failure> {
    let answer = api.get(&format!("/nodes/{id}"))?;
    out.report(&answer, |format| match format {
        Format::Table => table::of_object(&answer.value, columns::NODE),
        _ => format!("Node {id}:\n{}", table::block(&answer.value, columns::NODE, 2)),
    });
    Ok(())
}

/// The processes, with the nodes that serve the clients of each.
pub(super) fn processes(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    let mut answer = api.get(columns::PROCESSES.path)?;
    if out.format != Format::Json {
        match api.get(columns::SESSIONS.path) {
            Ok(sessions) => add_nodes(&mut answer.value, &objects(&sessions.value, columns::SESSIONS.key)),
            // A server that does not tell of them still has processes.
            Err(Failure::Refused(404, _)) => {}
            Err(failure) => return Err(failure),
        }
    }
    out.report(&answer, |format| {
        let processes = objects(&answer.value, columns::PROCESSES.key);
        listed(&processes, &columns::PROCESSES, format)
    });
    Ok(())
}

fn add_nodes(answer: &mut Value, sessions: &[Value]) {
    let processes = answer.get_mut(columns::PROCESSES.key).and_then(Value::as_array_mut);
    for process in processes.into_iter().flatten() {
        let own = sessions.iter().filter(|session| session.get("pid") == process.get("pid"));
        let mut nodes: Vec<u64> = own.filter_map(|session| session.get("node")?.as_u64()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if let Some(process) = process.as_object_mut() {
            process.insert("nodes".to_owned(), json!(nodes));
        }
    }
}

pub(super) fn process(api: &mut Api<'_>, out: Output, pid: u32) -> Result<(), Failure> {
    let answer = api.get(&format!("/processes/{pid}"))?;
    out.report(&answer, |format| {
        let pools = listed(&objects(&answer.value, columns::POOLS.key), &columns::POOLS, format);
        match format {
            Format::Table => table::of_object(&answer.value, columns::PROCESS) + &pools,
            _ => format!("Process {pid}:\n{}\n{pools}", table::block(&answer.value, columns::PROCESS, 2)),
        }
    });
    Ok(())
}

pub(super) fn health(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    with_list(api, out, "/health/stats", columns::HEALTH, "", &columns::CHECKS)
}

pub(super) fn learned(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    with_list(api, out, columns::LEARNED.path, columns::ADAPTIVE, "", &columns::LEARNED)
}

pub(super) fn watchdog(api: &mut Api<'_>, out: Output, path: &str) -> Result<(), Failure> {
    with_list(api, out, path, columns::WATCHDOG, "Watchdog Status:\n", &columns::MEMBERS)
}

pub(super) fn mqtt(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    with_list(api, out, "/mqtt", columns::MQTT, "MQTT:\n", &columns::TOPICS)
}

/// An object with a list in it, which may be empty.
fn with_list(
    api: &mut Api<'_>,
    out: Output,
    path: &str,
    fields: &[Field],
    heading: &str,
    list: &List,
) -> Result<(), Failure> {
    let answer = api.get(path)?;
    out.report(&answer, |format| {
        let objects = objects(&answer.value, list.key);
        let listed = if objects.is_empty() { String::new() } else { listed(&objects, list, format) };
        match format {
            Format::Table => table::of_object(&answer.value, fields) + &listed,
            _ => format!("{heading}{}{listed}", table::block(&answer.value, fields, 0)),
        }
    });
    Ok(())
}

/// Statistics of the cache: what there is depends on where it lies, so all of it is shown.
pub(super) fn cache(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    let answer = api.get("/cache/stats")?;
    out.report(&answer, |format| {
        let members = answer.value.as_object().into_iter().flatten();
        let rows: Vec<Vec<String>> =
            members.map(|(key, value)| vec![titled(key), shown(value, Kind::Plain)]).collect();
        match format {
            Format::Table => table::of_rows(&["Name", "Value"], rows, &[]),
            _ => rows
                .iter()
                .fold("Query Cache:\n".to_owned(), |text, row| text + "  " + &row.join(": ") + "\n"),
        }
    });
    Ok(())
}

/// `hit_ratio` as `Hit Ratio`.
fn titled(key: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    safe(&key.split('_').map(word).collect::<Vec<_>>().join(" "))
}

pub(super) fn traffic(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    let answer = api.get(columns::TRAFFIC.path)?;
    out.report(&answer, |format| {
        let listed = listed(&objects(&answer.value, columns::TRAFFIC.key), &columns::TRAFFIC, format);
        let latency = latencies(&answer.value);
        match format {
            _ if latency.is_empty() => listed,
            Format::Table => listed + &table::of_rows(&["Up To", "Statements"], latency, &[]),
            _ => latency
                .iter()
                .fold(listed + "Latency:\n", |text, row| format!("{text}  up to {}\n", row.join(": "))),
        }
    });
    Ok(())
}

/// Bounds and counts of the histogram; what is above the last bound has none.
fn latencies(answer: &Value) -> Vec<Vec<String>> {
    let numbers = |key: &str| {
        let found = answer.get("latency").and_then(|latency| latency.get(key)).and_then(Value::as_array);
        found.map(Vec::as_slice).unwrap_or_default()
    };
    let bounds = numbers("buckets_ms").iter().map(|bound| format!("{} ms", shown(bound, Kind::Plain)));
    let bounds = bounds.chain(std::iter::once("any time".to_owned()));
    let counts = numbers("counts").iter().map(|count| shown(count, Kind::Plain));
    bounds.zip(counts).map(|(bound, count)| vec![bound, count]).collect()
}

/// Where a statement would go.
pub(super) fn route(
    api: &mut Api<'_>,
    out: Output,
    sql: &str,
    user: &str,
    database: &str,
    application: &str,
) -> Result<(), Failure> {
    let body = json!({ "sql": sql, "user": user, "database": database, "application": application });
    let answer = api.post("/route", Some(&body), Patience::Usual)?;
    out.report(&answer, |format| match format {
        Format::Table => table::of_object(&answer.value, columns::ROUTE),
        _ => table::block(&answer.value, columns::ROUTE, 0),
    });
    Ok(())
}

/// The server's parameters, all or one.
pub(super) fn parameters(api: &mut Api<'_>, out: Output, name: Option<&str>) -> Result<(), Failure> {
    let answer = match name {
        Some(name) => api.get(&format!("/config/{}", client::part(name)))?,
        None => api.get(columns::PARAMETERS.path)?,
    };
    out.report(&answer, |format| {
        let parameters = parameters_of(&answer);
        match format {
            Format::Table => table::of_objects(&parameters, columns::PARAMETERS.columns, &[]),
            _ => parameters.iter().map(setting).collect(),
        }
    });
    Ok(())
}

/// The parameters of an answer, which may be one.
pub(super) fn parameters_of(answer: &Answer) -> Vec<Value> {
    match answer.value.get(columns::PARAMETERS.key) {
        Some(_) => objects(&answer.value, columns::PARAMETERS.key),
        None => vec![answer.value.clone()],
    }
}

fn setting(parameter: &Value) -> String {
    let [name, value] =
        ["name", "value"].map(|key| field("", key, Kind::Plain).of(parameter).unwrap_or_default());
    format!("{name} = {value}\n")
}

/// The objects of a list.
pub(super) fn objects(answer: &Value, key: &str) -> Vec<Value> {
    answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A list as a table, or as blocks, counted from 1.
pub(super) fn listed(objects: &[Value], list: &List, format: Format) -> String {
    let total = objects.len();
    if format == Format::Table {
        let table = table::of_objects(objects, list.columns, list.widths);
        return format!("{table}Total {}: {total}\n", list.many);
    }
    let mut text = format!("{}\n  Total {}: {total}\n", list.heading, titled(list.many));
    for (number, object) in (1..).zip(objects) {
        text += &format!("  {} {number}:\n{}\n", list.one, table::block(object, list.lines, 4));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_with_the_nodes_that_serve_their_clients() {
        let mut answer = json!({ "processes": [{ "pid": 1 }, { "pid": 2 }] });
        let sessions = [
            json!({ "pid": 1, "node": 2 }),
            json!({ "pid": 1, "node": 0 }),
            json!({ "pid": 1, "node": 2 }),
            json!({ "pid": 2, "node": null }),
        ];
        add_nodes(&mut answer, &sessions);
        assert_eq!(answer["processes"][0]["nodes"], json!([0, 2]));
        assert_eq!(answer["processes"][1]["nodes"], json!([]));
    }

    #[test]
    fn a_histogram_has_one_bucket_more_than_bounds() {
        let answer = json!({ "latency": { "buckets_ms": [1, 10], "counts": [5, 6, 7] } });
        let rows = latencies(&answer);
        assert_eq!(rows, [["1 ms", "5"], ["10 ms", "6"], ["any time", "7"]]);
        assert!(latencies(&json!({})).is_empty());
    }

    #[test]
    fn keys_as_titles() {
        assert_eq!(titled("hit_ratio"), "Hit Ratio");
        assert_eq!(titled("enabled"), "Enabled");
    }
}
