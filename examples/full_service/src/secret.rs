//! Values that no log, error message or freed memory shows.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is read only by [`expose`](Self::expose): its `Debug` output hides it, it has no `Display` and is not
/// serialized, and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value. Pass it to what needs it, and to nothing that writes it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Removes what URLs in a text carry of credentials: user and password, and a `password` among the parameters. For the
/// errors of other crates, which may repeat the URL that they were given.
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive([' ', '\t', '\n', '"', '\'', '`', '<', '>', '(', ')']) {
        shown.push_str(&without_credentials(word));
    }
    shown
}

/// Redacts one word. An `@` behind the authority hides more than it has to, never less.
fn without_credentials(word: &str) -> String {
    let Some(scheme) = word.find("://") else {
        return word.to_owned();
    };
    let (scheme, rest) = word.split_at(scheme + "://".len());
    let rest = match rest.rfind('@') {
        Some(at) => format!("…{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let lower = rest.to_ascii_lowercase();
    let rest = match lower.find("password=") {
        Some(at) => format!("{}password=…", &rest[..at]),
        None => rest,
    };
    format!("{scheme}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "Secret(…) Some(\n    Secret(…),\n)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn credentials_in_urls_are_removed() {
        for (text, shown) in [
            (
                "postgres://u:hunter2@db:5432/shop",
                "postgres://…@db:5432/shop",
            ),
            ("postgres://u:hun@ter2@db/shop", "postgres://…@db/shop"),
            ("postgres://u:hun/ter2@db/shop", "postgres://…@db/shop"),
            (
                "postgres://db/shop?user=u&password=hunter2",
                "postgres://db/shop?user=u&password=…",
            ),
            (
                "cannot reach \"redis://:hunter2@r:6379\": refused",
                "cannot reach \"redis://…@r:6379\": refused",
            ),
            ("nothing here, mail to a@b", "nothing here, mail to a@b"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
