use super::listener::Listener;
use super::written::Written;
use crate::events::{Event, RequestInfo};
use crate::text;
use serde_json::Value;
use std::time::Duration;
use tracing::Level;

#[derive(Debug)]
pub(super) struct Nested(pub &'static str, pub Option<Box<Nested>>);

impl std::fmt::Display for Nested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Nested {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.1.as_deref()?)
    }
}

const EVIL: &str =
    "GET /a\"\n\r\x1b[2J\u{9b}31m\u{202e}\0 WARN lameduck: event=\"phase\" phase=\"closed\"";

/// Returns an event about a request in which every text is this one.
fn cut(text: &str) -> Event<'_> {
    let mut request = RequestInfo::from_peer(None);
    request.method = Some(text);
    request.path = Some(text);
    request.route = Some(text);
    request.request_id = Some(text);
    Event::Cut {
        request,
        state: "in the handler",
        age: Duration::ZERO,
    }
}

#[test]
fn foreign_text_cannot_forge_text_lines() {
    let (written, _guard) = Written::text(Level::DEBUG);
    let listener = Listener::new(10);
    listener.write(&cut(EVIL), || 0);
    let error = Nested(EVIL, Some(Box::new(Nested(EVIL, None))));
    listener.write(
        &Event::ServiceError {
            error: &error,
            request: RequestInfo::default(),
        },
        || 0,
    );
    let text = written.take();
    let lines: Vec<_> = text.split_terminator('\n').collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in lines {
        assert!(
            !line
                .chars()
                .any(|char| char.is_control() || char == '\u{202e}')
        );
        let quote = [r#"/a\" "#, "/a%22"];
        assert!(
            quote.iter().any(|quote| line.contains(quote)),
            "the quote is escaped: {line}"
        );
    }
}

#[test]
fn foreign_text_cannot_forge_json_lines() {
    let (written, _guard) = Written::json(Level::DEBUG);
    Listener::new(10).write(&cut(EVIL), || 0);
    let text = written.take();
    assert_eq!(text.matches('\n').count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["event"], "cut");
    let path = line["path"].as_str().unwrap();
    assert!(
        path.starts_with("GET%20/a%22%0A%0D%1B[2J%C2%9B31m%E2%80%AE%00%20WARN"),
        "{path}"
    );
}

#[test]
fn long_texts_are_truncated() {
    struct Endless;
    impl std::fmt::Display for Endless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            for _ in 0..1000 {
                let _ = f.write_str("säure"); // continues after an error
            }
            Ok(())
        }
    }
    let line = text::line(Endless, 8);
    assert_eq!(line, "säures…");
    assert_eq!(
        text::error(&Nested("a", Some(Box::new(Nested("bcdef", None)))), 5),
        "a: bc…"
    );
    assert_eq!(
        text::error(&Nested("a: b", Some(Box::new(Nested("b", None)))), 9),
        "a: b"
    );
}

#[test]
fn paths_are_visible_ascii_and_bounded() {
    let borrowed = |path| matches!(path, std::borrow::Cow::Borrowed(_));
    assert!(borrowed(text::path("/a/b%20c;d=1", 12)));
    assert_eq!(text::path("/a/b%20c;d=12", 12), "/a/b%20c;d=1…");
    assert_eq!(
        text::path("/\"\\\u{9b}ü\x7f", 256),
        "/%22%5C%C2%9B%C3%BC%7F"
    );
    // A byte that does not fit whole is omitted.
    assert_eq!(text::path("/aü", 6), "/a%C3…");
    assert_eq!(text::path("/aü", 7), "/a%C3…");
    assert_eq!(text::path("", 256), "");
}
