//! A source file as tokens: words, `::`, and punctuation one by one. Comments, literals and test code are left out.

pub fn tokens(source: &str) -> Vec<String> {
    without_tests(&words(source))
}

fn words(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\n');
    let mut found = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let c = text[i];
        if c == '/' && at(i + 1) == '/' {
            while i < text.len() && text[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < text.len() && !(text[i] == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == '"' {
            i = end_of_string(&text, i);
        } else if c == '\'' {
            // A character, or a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while i < text.len() && text[i] != '\'' {
                    i += 1;
                }
                i += 1;
            } else {
                i += if at(i + 2) == '\'' { 3 } else { 1 };
            }
        } else if c == '_' || c.is_alphanumeric() {
            let began = i;
            while at(i) == '_' || at(i).is_alphanumeric() {
                i += 1;
            }
            let word: String = text[began..i].iter().collect();
            let raw = word.ends_with('r') && word.len() <= 2;
            match (raw, at(i)) {
                (true, '"' | '#') => i = end_of_raw_string(&text, i),
                _ => found.push(word),
            }
        } else if c == ':' && at(i + 1) == ':' {
            found.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push(c.to_string());
            }
            i += 1;
        }
    }
    found
}

fn end_of_string(text: &[char], mut i: usize) -> usize {
    i += 1;
    while i < text.len() && text[i] != '"' {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn end_of_raw_string(text: &[char], mut i: usize) -> usize {
    let mut hashes = 0;
    while text.get(i) == Some(&'#') {
        hashes += 1;
        i += 1;
    }
    let closes = |i: usize| (1..=hashes).all(|n| text.get(i + n) == Some(&'#'));
    i += 1;
    while i < text.len() && !(text[i] == '"' && closes(i)) {
        i += 1;
    }
    i + 1 + hashes
}

/// Leaves out each item under an attribute that asks for `test`.
fn without_tests(all: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut i = 0;
    while i < all.len() {
        if all[i] == "#" && all.get(i + 1).is_some_and(|next| next == "[") {
            let end = closing(all, i + 1);
            let attribute = &all[i..end];
            let has = |name: &str| attribute.iter().any(|word| word == name);
            let of_tests = has("cfg") && (has("test") || has("doctest")) && !has("not");
            i = if of_tests { end_of_item(all, end) } else { end };
            continue;
        }
        kept.push(all[i].clone());
        i += 1;
    }
    kept
}

/// The place behind the bracket that closes the one at `open`.
fn closing(all: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in all.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    all.len()
}

/// The place behind the item at `i`: its block, or its semicolon; a field's or an argument's comma.
fn end_of_item(all: &[String], mut i: usize) -> usize {
    let mut head = all[i..].iter().take_while(|token| *token != "{");
    let is_use = head.any(|token| token == "use");
    while i < all.len() {
        match all[i].as_str() {
            ";" | "," => return i + 1,
            "{" if is_use => i = closing(all, i),
            "{" => return closing(all, i),
            "[" | "(" => i = closing(all, i),
            _ => i += 1,
        }
    }
    i
}
