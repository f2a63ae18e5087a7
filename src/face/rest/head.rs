//! The head of a request: which endpoint it is for, with which parameters. Everything in it is bounded and checked.
#![forbid(unsafe_code)]

use super::refusal::Refusal;
use super::table::{ENDPOINTS, Endpoint};

/// Longest path with its query.
const LONGEST_TARGET: usize = 4096;

/// Most parameters of a query.
const MOST_PARAMETERS: usize = 32;

/// What can be done with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Look; HEAD is the same without the body.
    Get,
    /// Do.
    Post,
}

impl Method {
    /// Its word, in lower case, as OpenAPI has it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Method::Get => "GET, HEAD",
            Method::Post => "POST",
        }
    }
}

/// What a request says before its body, as far as it counts here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// `GET` …
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// `Host`, or the host of an absolute target.
    pub host: Option<&'a str>,
    /// A version before 1.1, which needs no `Host`.
    pub is_old: bool,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Last-Event-ID`.
    pub last_event: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// The endpoint of a request.
#[derive(Clone)]
pub struct Found {
    /// Which.
    pub endpoint: &'static Endpoint,
    /// The values of the places in its path.
    pub values: Vec<String>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// Only the head of the answer is wanted.
    pub is_head: bool,
}

/// Why there is no endpoint for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub Refusal);

impl Found {
    /// Finds the endpoint of a request.
    ///
    /// # Errors
    /// There is none, or the target cannot be read.
    pub fn of(head: &Head<'_>) -> Result<Found, Wrong> {
        if head.target.len() > LONGEST_TARGET {
            let text = format!("the path and query are longer than {LONGEST_TARGET} bytes");
            return Err(Wrong(Refusal::unreadable(text)));
        }
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        let segments = segments(path).map_err(Wrong)?;
        let query = pairs(query).map_err(Wrong)?;
        let all = ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint, matches(endpoint, &segments)?)));
        let there: Vec<(&Endpoint, Vec<String>)> = all.collect();
        let Some((first, _)) = there.first() else {
            let text = format!("there is no {path}; GET /api/v1/openapi.json tells what there is");
            return Err(Wrong(Refusal::new(404, text)));
        };
        let methods: Vec<Method> = there.iter().map(|(endpoint, _)| endpoint.method).collect();
        let (method, is_head) = match head.method {
            "GET" => (Method::Get, false),
            "HEAD" => (Method::Get, true),
            "POST" => (Method::Post, false),
            _ => return Err(Wrong(not_allowed(first.path, &methods, head.method))),
        };
        let found = there.iter().find(|(endpoint, _)| endpoint.method == method);
        match found {
            Some((endpoint, values)) => Ok(Found { endpoint, values: values.clone(), query, is_head }),
            None => Err(Wrong(not_allowed(first.path, &methods, head.method))),
        }
    }

    /// The number in the path.
    ///
    /// # Errors
    /// It is no number, or none that could be one of ours.
    pub fn number(&self) -> Result<i64, Refusal> {
        let text = self.text();
        let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| Refusal::unreadable(format!("\"{}\" is not a number", text.escape_debug())))
    }

    /// The text in the path.
    pub fn text(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// A number of the query; `None`: it is not there.
    ///
    /// # Errors
    /// It is no number.
    pub fn query_number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let value = self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        value.map(|value| number(name, value)).transpose()
    }
}

pub(super) fn number(name: &str, value: &str) -> Result<u64, Refusal> {
    let wrong =
        || Refusal::unreadable(format!("{name} is \"{}\", which is not a number", value.escape_debug()));
    match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => value.parse().map_err(|_| wrong()),
        false => Err(wrong()),
    }
}

/// For a path that has these methods.
fn not_allowed(path: &str, methods: &[Method], method: &str) -> Refusal {
    let allow = match methods {
        [only] => only.allowed(),
        _ => "GET, HEAD, POST",
    };
    let text = format!("{path} is not for {method:.20}; allowed: {allow}");
    Refusal { allow: Some(allow), ..Refusal::new(405, text) }
}

/// The values of the places in its path, if the path is that of the endpoint.
fn matches(endpoint: &Endpoint, segments: &[String]) -> Option<Vec<String>> {
    let mut paths = std::iter::once(&endpoint.path).chain(endpoint.aliases);
    paths.find_map(|path| values(path, segments))
}

fn values(path: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut wanted = path.split('/').skip(1);
    let mut values = Vec::new();
    for segment in segments {
        match wanted.next()? {
            place if place.starts_with('{') => values.push(segment.clone()),
            fixed if fixed == segment => {}
            _ => return None,
        }
    }
    wanted.next().is_none().then_some(values)
}

/// The parts of a path; a slash at its end does not count.
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let inner =
        path.strip_prefix('/').ok_or_else(|| Refusal::unreadable("the path does not begin with /"))?;
    inner.strip_suffix('/').unwrap_or(inner).split('/').map(|part| decoded(part, false)).collect()
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    if parts.len() > MOST_PARAMETERS {
        return Err(Refusal::unreadable(format!("the query has more than {MOST_PARAMETERS} parameters")));
    }
    let pair = |part: &&str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decoded(name, true)?, decoded(value, true)?))
    };
    parts.iter().map(pair).collect()
}

/// Without its percent signs.
fn decoded(text: &str, plus_is_blank: bool) -> Result<String, Refusal> {
    let wrong = |what: &str| Refusal::unreadable(format!("\"{}\": {what}", text.escape_debug()));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = rest.next().and_then(hex).zip(rest.next().and_then(hex));
                let (high, low) =
                    digits.ok_or_else(|| wrong("% is not followed by two hexadecimal digits"))?;
                high << 4 | low
            }
            b'+' if plus_is_blank => b' ',
            byte => byte,
        });
    }
    if bytes.contains(&0) {
        return Err(wrong("there is a NUL in it"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(method: &str, target: &str) -> Result<(String, Vec<String>), u16> {
        let found = Found::of(&Head { method, target, ..Head::default() });
        found.map(|found| (found.endpoint.path.to_owned(), found.values)).map_err(|wrong| wrong.0.status)
    }

    #[test]
    fn paths_aliases_and_methods() {
        for (method, target, expected) in [
            ("GET", "/api/v1/status", Ok(("/api/v1/status", vec![]))),
            ("HEAD", "/api/v1/status/", Ok(("/api/v1/status", vec![]))),
            ("GET", "/api/status?x=1", Ok(("/api/v1/status", vec![]))),
            ("GET", "/api/health", Ok(("/api/v1/health/stats", vec![]))),
            ("GET", "/api/v1/nodes/1", Ok(("/api/v1/nodes/{id}", vec!["1"]))),
            ("GET", "/api/v1/nodes/%31", Ok(("/api/v1/nodes/{id}", vec!["1"]))),
            ("POST", "/api/v1/nodes/1/attach", Ok(("/api/v1/nodes/{id}/attach", vec!["1"]))),
            ("POST", "/api/login", Ok(("/api/v1/auth/login", vec![]))),
            ("GET", "/metrics", Ok(("/metrics", vec![]))),
            ("GET", "/api/v1/nodes/1/attach", Err(405)),
            ("DELETE", "/api/v1/nodes", Err(405)),
            ("BREW", "/api/v1/nowhere", Err(404)),
            ("GET", "/", Err(404)),
            ("GET", "/api/v1/nodes/1/x/attach", Err(404)),
            ("GET", "/api/v1//nodes", Err(404)),
            ("GET", "status", Err(400)),
            ("GET", "/api/v1/nodes/%zz", Err(400)),
            ("GET", "/api/v1/nodes/%ff", Err(400)),
            ("GET", "/api/v1/nodes/%00", Err(400)),
        ] {
            let expected = expected.map(|(path, values): (&str, Vec<&str>)| {
                (path.to_owned(), values.into_iter().map(str::to_owned).collect())
            });
            assert_eq!(find(method, target), expected, "{method} {target}");
        }
        let long = format!("/api/v1/status?{}", "a".repeat(5000));
        let many = format!("/api/v1/status?{}", "a=1&".repeat(33));
        assert_eq!((find("GET", &long), find("GET", &many)), (Err(400), Err(400)));
    }

    #[test]
    fn what_is_allowed_is_told() {
        let head = Head { method: "PUT", target: "/api/v1/control/reload", ..Head::default() };
        assert_eq!(Found::of(&head).err().unwrap().0.allow, Some("POST"));
        let head = Head { method: "POST", target: "/api/v1/status", ..Head::default() };
        assert_eq!(Found::of(&head).err().unwrap().0.allow, Some("GET, HEAD"));
        let head = Head { method: "PUT", target: "/api/v1/nodes/1/recovery", ..Head::default() };
        assert_eq!(Found::of(&head).err().unwrap().0.allow, Some("GET, HEAD, POST"));
    }

    #[test]
    fn numbers_of_path_and_query() {
        let found =
            |target: &str| Found::of(&Head { method: "GET", target, ..Head::default() }).ok().unwrap();
        assert_eq!(found("/api/v1/nodes/12").number(), Ok(12));
        for odd in ["-1", "1.5", "abc", "9999999999", "%20", "+1"] {
            let target = format!("/api/v1/nodes/{odd}");
            assert_eq!(found(&target).number().unwrap_err().status, 400, "{odd}");
        }
        let events = found("/api/v1/events?since=5&follow=0&x=%41+b");
        assert_eq!((events.query_number("since"), events.query_number("until")), (Ok(Some(5)), Ok(None)));
        assert_eq!(events.query[2].1, "A b");
        assert!(found("/api/v1/events?since=").query_number("since").is_err());
        assert!(found("/api/v1/events?since=-1").query_number("since").is_err());
    }

    proptest! {
        #[test]
        fn any_target_never_panics(target in "\\PC{0,60}", path in "/api/v1/(nodes|config)/[%a-z0-9/?&=+]{0,30}") {
            for target in [target, path] {
                if let Ok(found) = Found::of(&Head { method: "GET", target: &target, ..Head::default() }) {
                    let _ = (found.number(), found.query_number("since"));
                }
            }
        }
    }
}
