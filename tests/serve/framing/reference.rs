//! A strict, small parser of pipelined HTTP/1 requests (RFC 9112), as the reference for the server.

/// A request whose head is whole and valid.
#[derive(Debug)]
pub struct Reading {
    pub method: String,
    pub target: Vec<u8>,
    pub host: Option<Vec<u8>>,
    /// `None` when it does not end, or ends wrongly.
    pub body: Option<Vec<u8>>,
}

/// Returns the requests in `bytes`, up to the first invalid or incomplete one, or the last of the connection.
pub fn read(bytes: &[u8]) -> Vec<Reading> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Some(head) = Head::read(rest) {
        let body_at = &rest[head.length..];
        let body = match head.framing {
            Framing::Length(length) => body_at
                .get(..length)
                .map(|body| (body.to_vec(), length, false)),
            Framing::Chunked => chunks(body_at),
        };
        let trailers = body.as_ref().is_some_and(|(_, _, trailers)| *trailers);
        let last = head.last || trailers || body.is_none();
        let length = body.as_ref().map_or(0, |(_, length, _)| *length);
        all.push(Reading {
            method: head.method,
            target: head.target,
            host: head.host,
            body: body.map(|(body, ..)| body),
        });
        // The request is the last by its own header, or because its end is uncertain.
        if last {
            break;
        }
        rest = &body_at[length..];
    }
    all
}

enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    method: String,
    target: Vec<u8>,
    host: Option<Vec<u8>>,
    framing: Framing,
    last: bool,
    length: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let mut at = bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let line = line(bytes, &mut at)?;
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let plain = words.next().is_none() && is_token(method) && !target.is_empty();
        let minor = match version {
            b"HTTP/1.0" => 0,
            b"HTTP/1.1" => 1,
            _ => return None,
        };
        if !plain || !target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
            return None;
        }
        let mut headers = Vec::new();
        loop {
            let line = self::line(bytes, &mut at)?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let clean = value
                .iter()
                .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
            if !is_token(name) || !clean {
                return None;
            }
            headers.push((name.to_ascii_lowercase(), value.to_vec()));
        }
        Head::from_parts(method, target, minor, &headers, at)
    }

    fn from_parts(
        method: &[u8],
        target: &[u8],
        minor: u8,
        headers: &[(Vec<u8>, Vec<u8>)],
        length: usize,
    ) -> Option<Head> {
        let all = |name: &str| {
            headers
                .iter()
                .filter(|(found, _)| found == name.as_bytes())
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        let (hosts, codings, lengths) =
            (all("host"), all("transfer-encoding"), all("content-length"));
        if hosts.len() > 1 || (minor == 1 && hosts.is_empty()) {
            return None;
        }
        let framing = match codings.as_slice() {
            [] => Framing::Length(content_length(&lengths)?),
            [only] if only.eq_ignore_ascii_case(b"chunked") && minor == 1 => Framing::Chunked,
            _ => return None,
        };
        let (mut close, mut keep) = (false, minor == 1);
        for value in all("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                close |= option.eq_ignore_ascii_case(b"close");
                keep |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        let both = !(codings.is_empty() || lengths.is_empty());
        let last = close || !keep || both || method == b"CONNECT";
        Some(Head {
            method: String::from_utf8(method.to_vec()).ok()?,
            target: target.to_vec(),
            host: hosts.first().map(|host| host.to_vec()),
            framing,
            last,
            length,
        })
    }
}

/// Returns the length; equal ones count as one, and different or invalid ones give `None`.
fn content_length(lengths: &[&Vec<u8>]) -> Option<usize> {
    let Some(first) = lengths.first() else {
        return Some(0);
    };
    let parse = |value: &[u8]| {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        digits.then(|| std::str::from_utf8(value).ok()?.parse::<usize>().ok())?
    };
    let length = parse(first)?;
    lengths
        .iter()
        .all(|other| parse(other) == Some(length))
        .then_some(length)
}

/// Returns the next line without its end, which in a head may be a single line feed (RFC 9112, 2.2).
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    (!line.contains(&b'\r')).then_some(line)
}

fn is_token(bytes: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(token)
}

/// Returns the data, its length on the wire, and whether trailers followed. `None` unless it ends as RFC 9112, 7.1
/// requires, without a single line feed.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let line = crlf_line(bytes, &mut at)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let behind = line[digits..]
            .iter()
            .copied()
            .find(|byte| !matches!(byte, b' ' | b'\t'));
        if !matches!(behind, None | Some(b';')) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size)?;
        data.extend_from_slice(bytes.get(at..end)?);
        at = end;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut trailers = false;
    loop {
        let line = crlf_line(bytes, &mut at)?;
        if line.is_empty() {
            return Some((data, at, trailers));
        }
        trailers = true;
    }
}

fn crlf_line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    let line = rest[..end].strip_suffix(b"\r")?;
    (!line.contains(&b'\r')).then_some(line)
}
