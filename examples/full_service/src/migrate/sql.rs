//! A file of SQL, cut into its statements, and the little that must be known of each.
//!
//! One statement at a time is sent, so that an error has a line, and so that `transaction: no` is one statement.

/// A statement, with the line of its file where it begins (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub line: usize,
    pub text: String,
}

/// A word, a quoted name, or a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Literal,
    Sign(u8),
}

/// The index that a statement builds or drops without locking out writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concurrent {
    /// `CREATE INDEX CONCURRENTLY`; without a name, PostgreSQL makes one up.
    Create {
        index: Option<String>,
        if_not_exists: bool,
    },
    /// `DROP INDEX CONCURRENTLY`.
    Drop { index: String },
    /// `REINDEX … CONCURRENTLY`.
    Reindex,
}

/// Cuts a text at the semicolons that are outside of strings, comments, and bodies of triggers and functions.
///
/// # Errors
///
/// Returns the line of a quote or comment that is not closed.
pub fn split(text: &str) -> Result<Vec<Statement>, usize> {
    let mut statements = Vec::new();
    let mut tokens = Tokens { text, at: 0 };
    let mut start = None;
    let mut body = Body::default();

    while let Some((token, from)) = tokens.next()? {
        if token == Token::Sign(b';') {
            if body.is_open() {
                continue;
            }
            if let Some(start) = start.take() {
                statements.push(statement(text, start, from));
            }
            body = Body::default();
            continue;
        }
        start.get_or_insert(from);
        body.see(token);
    }
    if let Some(start) = start {
        statements.push(statement(text, start, text.len()));
    }
    Ok(statements)
}

fn statement(text: &str, from: usize, to: usize) -> Statement {
    Statement {
        line: line(text, from),
        text: text[from..to].trim_end().to_owned(),
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The body of SQLite's triggers (`BEGIN …; END`) and of PostgreSQL's functions (`BEGIN ATOMIC …; END`).
#[derive(Default)]
struct Body {
    seen: usize,
    creates: bool,
    routine: bool,
    depth: usize,
}

impl Body {
    fn see(&mut self, token: Token<'_>) {
        let Token::Word(word) = token else { return };
        let is = |wanted: &str| word.eq_ignore_ascii_case(wanted);
        if self.seen == 0 {
            self.creates = is("create");
        }
        self.seen += 1;
        // A table may have a column `begin`, so only these have a body.
        self.routine |= is("trigger") || is("function") || is("procedure");
        if self.creates && self.routine && is("begin") || self.depth > 0 && is("case") {
            self.depth += 1;
        } else if self.depth > 0 && is("end") {
            self.depth -= 1;
        }
    }

    fn is_open(&self) -> bool {
        self.depth > 0
    }
}

// === impl Statement ===

impl Statement {
    /// Returns whether it begins or ends a transaction, which the applier does itself.
    pub fn controls_transaction(&self) -> bool {
        const WORDS: [&str; 7] = [
            "begin", "start", "commit", "end", "abort", "rollback", "prepare",
        ];
        let words = self.words(2);
        let is = |at: usize, wanted: &str| words.get(at).is_some_and(|word| word == wanted);
        match words.first() {
            Some(word) if word == "prepare" => is(1, "transaction"),
            Some(word) => WORDS.contains(&word.as_str()),
            None => false,
        }
    }

    /// Returns the index that it works on, if it does so `CONCURRENTLY`.
    pub fn concurrent(&self) -> Option<Concurrent> {
        let words = self.words(usize::MAX);
        let mut rest = words.iter().map(String::as_str).peekable();
        let first = rest.next()?;
        if first == "reindex" {
            return rest
                .any(|word| word == "concurrently")
                .then_some(Concurrent::Reindex);
        }
        rest.next_if_eq(&"unique");
        if rest.next() != Some("index") || rest.next() != Some("concurrently") {
            return None;
        }
        let mut exists = false;
        while rest
            .next_if(|word| ["if", "not", "exists"].contains(word))
            .is_some()
        {
            exists = true;
        }
        match first {
            "create" => {
                let index: Vec<_> = rest.by_ref().take_while(|word| *word != "on").collect();
                rest.next_if_eq(&"only");
                // An index lies in the schema of its table.
                let table: Vec<_> = rest
                    .take_while(|word| *word != "using" && *word != "(")
                    .collect();
                let schema = match table.as_slice() {
                    [schema, ".", ..] => format!("{schema}."),
                    _ => String::new(),
                };
                let index = (!index.is_empty()).then(|| schema + &index.concat());
                Some(Concurrent::Create {
                    index,
                    if_not_exists: exists,
                })
            }
            "drop" => {
                let names = rest.take_while(|word| !["cascade", "restrict"].contains(word));
                let index = names.collect::<String>();
                Some(Concurrent::Drop { index })
            }
            _ => None,
        }
    }

    /// Returns its first tokens: words in lower case, quoted names with their quotes.
    fn words(&self, most: usize) -> Vec<String> {
        let mut tokens = Tokens {
            text: &self.text,
            at: 0,
        };
        let mut words = Vec::new();
        while words.len() < most {
            // It was read once already, so its quotes are closed.
            let Ok(Some((token, _))) = tokens.next() else {
                break;
            };
            words.push(match token {
                Token::Word(word) => word.to_ascii_lowercase(),
                Token::Quoted(name) => name.to_owned(),
                Token::Literal => "''".to_owned(),
                Token::Sign(sign) => char::from(sign).to_string(),
            });
        }
        words
    }
}

/// The tokens of a text, without spaces and comments.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the next token and its place.
    ///
    /// # Errors
    ///
    /// Returns the line of a quote or comment that is not closed.
    fn next(&mut self) -> Result<Option<(Token<'a>, usize)>, usize> {
        self.skip()?;
        let from = self.at;
        let bytes = self.text.as_bytes();
        let Some(&byte) = bytes.get(from) else {
            return Ok(None);
        };
        let token = match byte {
            b'\'' => {
                self.quoted(b'\'', false)?;
                Token::Literal
            }
            b'"' | b'`' => {
                self.quoted(byte, false)?;
                Token::Quoted(&self.text[from..self.at])
            }
            b'$' if self.dollar_quoted()? => Token::Literal,
            byte if is_word(byte) => {
                while bytes
                    .get(self.at)
                    .is_some_and(|byte| is_word(*byte) || *byte == b'$')
                {
                    self.at += 1;
                }
                let word = &self.text[from..self.at];
                // PostgreSQL's strings with escapes: E'it\'s'.
                if word.eq_ignore_ascii_case("e") && bytes.get(self.at) == Some(&b'\'') {
                    self.quoted(b'\'', true)?;
                    Token::Literal
                } else {
                    Token::Word(word)
                }
            }
            sign => {
                self.at += 1;
                Token::Sign(sign)
            }
        };
        Ok(Some((token, from)))
    }

    /// Skips spaces and comments; PostgreSQL's comments nest.
    fn skip(&mut self) -> Result<(), usize> {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            match rest {
                [byte, ..] if byte.is_ascii_whitespace() => self.at += 1,
                [b'-', b'-', ..] => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at += end.unwrap_or(rest.len());
                }
                [b'/', b'*', ..] => {
                    let from = self.at;
                    let mut depth = 0_usize;
                    loop {
                        match &self.text.as_bytes()[self.at..] {
                            [b'/', b'*', ..] => (depth, self.at) = (depth + 1, self.at + 2),
                            [b'*', b'/', ..] => (depth, self.at) = (depth - 1, self.at + 2),
                            [_, ..] => self.at += 1,
                            [] => return Err(line(self.text, from)),
                        }
                        if depth == 0 {
                            break;
                        }
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Moves behind a quote; a doubled one does not close it.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<(), usize> {
        let from = self.at;
        self.at += 1;
        loop {
            match &self.text.as_bytes()[self.at..] {
                [first, second, ..] if *first == quote && *second == quote => self.at += 2,
                [b'\\', _, ..] if escapes => self.at += 2,
                [first, ..] if *first == quote => {
                    self.at += 1;
                    return Ok(());
                }
                [_, ..] => self.at += 1,
                [] => return Err(line(self.text, from)),
            }
        }
    }

    /// Moves behind `$tag$ … $tag$`, if one begins here.
    fn dollar_quoted(&mut self) -> Result<bool, usize> {
        let rest = &self.text[self.at..];
        let Some(end) = rest[1..].find('$') else {
            return Ok(false);
        };
        let tag = &rest[..end + 2];
        let name = &tag.as_bytes()[1..=end];
        if name.first().is_some_and(u8::is_ascii_digit) || !name.iter().all(|byte| is_word(*byte)) {
            return Ok(false);
        }
        match rest[tag.len()..].find(tag) {
            Some(closing) => {
                self.at += closing + 2 * tag.len();
                Ok(true)
            }
            None => Err(line(self.text, self.at)),
        }
    }
}

/// Returns whether a byte belongs to a word; each byte of a letter outside of ASCII does.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}
