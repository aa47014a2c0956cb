//! From the OpenMetrics text format to the one that was before it.

/// The same samples in the classic format: a counter is described by the name that its sample has, `# UNIT`
/// and `# EOF` are unknown, and so are exemplars.
pub(super) fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + open.len() / 64);
    // The name and help of the family whose type comes next.
    let mut help = None;
    for line in open.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = Some(described.split_once(' ').unwrap_or((described, "")));
        } else if let Some((name, kind)) = typed(line) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take() {
                push(&mut out, &["# HELP ", name, suffix, " ", text]);
            }
            push(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            push(&mut out, &[without_exemplar(line)]);
        }
    }
    out
}

fn typed(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

fn push(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
    out.push('\n');
}

/// A sample without what is behind ` # `, which may stand in a label's value too.
fn without_exemplar(sample: &str) -> &str {
    // Hardly any line has one.
    if !sample.contains(" # ") {
        return sample;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}
