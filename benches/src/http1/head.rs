use super::Failure;

const MAX_HEADERS: usize = 64;

/// The framing of a body.
pub enum Framing {
    Length(usize),
    Chunked,
}

/// The relevant parts of a parsed head.
pub struct Head {
    /// The length in bytes, including the empty line.
    pub length: usize,
    pub status: u16,
    pub framing: Framing,
    pub close: bool,
}

/// Parses a head; `None` while it is incomplete.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Failure::Malformed(error.to_string())),
    };
    let status = response.code.unwrap_or_default();
    let mut content_length = None;
    let mut chunked = false;
    let mut close = response.version == Some(0);
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            let parsed = value.trim().parse().map_err(|_| {
                Failure::Malformed(format!("content-length {value:?} is not a number"))
            })?;
            if content_length.replace(parsed).is_some() {
                return Err(Failure::Malformed("two content-lengths".to_owned()));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = has_token(value, "chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= has_token(value, "close");
        }
    }
    let bodiless = status < 200 || status == 204 || status == 304;
    let framing = match (chunked, content_length) {
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) if bodiless => Framing::Length(0),
        // A body that ends with the connection is indistinguishable from one that was cut.
        (false, None) => {
            return Err(Failure::Malformed(format!(
                "status {status} without a length"
            )));
        }
        (true, Some(_)) => {
            return Err(Failure::Malformed(
                "both a length and chunked encoding".to_owned(),
            ));
        }
    };
    Ok(Some(Head {
        length,
        status,
        framing,
        close,
    }))
}

fn has_token(value: &str, token: &str) -> bool {
    value
        .split(',')
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
