//! What somebody asks for over HTTP, and the head of the answer.

use httparse::{EMPTY_HEADER, Error};

use crate::exposition::CONTENT_TYPE;

/// The longest request, its headers included.
pub(super) const LONGEST: usize = 8 << 10;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

const PATH: &str = "/metrics";

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// The metrics follow.
    Ok,
    /// It is no request.
    Bad,
    /// There is nothing of that name.
    NotFound,
    /// That cannot be done.
    NotAllowed,
    /// It did not come in time.
    Late,
    /// It is too long.
    TooLong,
    /// Too many ask.
    Busy,
    /// It is of another HTTP.
    Version,
}

impl Status {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Bad => 400,
            Self::NotFound => 404,
            Self::NotAllowed => 405,
            Self::Late => 408,
            Self::TooLong => 431,
            Self::Busy => 503,
            Self::Version => 505,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Bad => "Bad Request",
            Self::NotFound => "Not Found",
            Self::NotAllowed => "Method Not Allowed",
            Self::Late => "Request Timeout",
            Self::TooLong => "Request Header Fields Too Large",
            Self::Busy => "Service Unavailable",
            Self::Version => "HTTP Version Not Supported",
        }
    }

    /// What is said instead of metrics.
    pub(super) fn text(self) -> String {
        format!("{}: metrics are at {PATH}, for GET and HEAD\n", self.reason())
    }

    /// The head of an answer whose body has so many bytes.
    pub(super) fn head(self, length: usize) -> String {
        let kind = if self == Self::Ok { CONTENT_TYPE } else { "text/plain" };
        let more = match self {
            Self::NotAllowed => "Allow: GET, HEAD\r\n",
            Self::Busy => "Retry-After: 1\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n{more}\
             Connection: close\r\n\r\n",
            self.code(),
            self.reason()
        )
    }
}

/// A request, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) status: Status,
    /// Only the answer's head is wanted.
    pub(super) is_head: bool,
}

/// The request that these bytes begin with; `None` if it is not whole yet.
pub(super) fn parse(bytes: &[u8]) -> Option<Request> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = match request.parse(bytes) {
        Ok(parsed) if parsed.is_complete() => status(&request),
        Ok(_) if bytes.len() < LONGEST => return None,
        Ok(_) | Err(Error::TooManyHeaders) => Status::TooLong,
        Err(Error::Version) => Status::Version,
        Err(_) => Status::Bad,
    };
    Some(Request { status, is_head: request.method == Some("HEAD") })
}

fn status(request: &httparse::Request<'_, '_>) -> Status {
    let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host")).count();
    // As HTTP/1.1 wants it.
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Status::Bad;
    }
    let target = request.path.unwrap_or_default();
    // A proxy may name the whole address.
    let path = match target.split_once("://") {
        Some(("http" | "https", rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    match (request.method, path.split(['?', '#']).next()) {
        (Some("GET" | "HEAD"), Some(PATH)) => Status::Ok,
        (Some("GET" | "HEAD"), _) => Status::NotFound,
        _ => Status::NotAllowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<u16> {
        parse(text.as_bytes()).map(|request| request.status.code())
    }

    #[test]
    fn each_request_has_its_answer() {
        for (text, told) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET /metrics HTTP/1.0\r\n\r\n", 200),
            ("HEAD /metrics?name[]=a HTTP/1.1\r\nhost: a\r\nAccept-Encoding: gzip\r\n\r\n", 200),
            ("GET http://a:9464/metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET /metrics HTTP/1.1\nHost: a\n\n", 200),
            ("GET /metrics HTTP/1.1\r\n\r\n", 400),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET /metricsx HTTP/1.0\r\n\r\n", 404),
            ("GET /../metrics HTTP/1.0\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 405),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET /metrics HTTP/2.0\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("\u{16}\u{3}\u{1}", 400),
            ("GET /metrics\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 505),
            ("GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ] {
            assert_eq!(code(text), Some(told), "{text:?}");
        }
        assert!(parse(b"HEAD /metrics HTTP/1.0\r\n\r\n").unwrap().is_head);
    }

    #[test]
    fn what_is_not_whole_is_waited_for_up_to_a_length() {
        let whole = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(code(&whole[..end]), None, "{:?}", &whole[..end]);
        }
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}", "a".repeat(LONGEST));
        assert_eq!(code(&long[..LONGEST - 1]), None);
        assert_eq!(code(&long[..LONGEST]), Some(431));
        let many = format!("GET /metrics HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(code(&many), Some(431));
    }

    #[test]
    fn whatever_comes_is_answered_or_waited_for() {
        let mut state = 1_u32;
        for length in 0..2000 {
            // Bytes of a xorshift generator, with the letters of a request among them.
            let bytes: Vec<u8> = (0..length % 97)
                .map(|at| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
                    if state & 7 > 0 { request[at % request.len()] } else { (state >> 8) as u8 }
                })
                .collect();
            if let Some(request) = parse(&bytes) {
                assert!(request.status.head(0).starts_with("HTTP/1.1 "));
            }
        }
    }
}
