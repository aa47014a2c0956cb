//! A converter from the OpenMetrics text format to the classic Prometheus format.

/// Converts to the classic format: a counter's family takes the name of its sample; `# UNIT`, `# EOF` and exemplars,
/// which the format lacks, are dropped.
pub(super) fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + open.len() / 64);
    // The name and help of the family, whose type comes next.
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

/// Strips the exemplar, which begins at a ` # ` outside of label values.
fn without_exemplar(sample: &str) -> &str {
    // Hardly any line contains one.
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
