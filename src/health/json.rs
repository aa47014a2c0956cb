//! The answers' JSON, by hand: it is one flat object, and a JSON library would be every user's to build.

use std::fmt::{self, Write};

use super::report::{HealthReport, Status};
use crate::phase::Phase;

/// For those who are not to see the details: status and phase. Static, so it costs nothing.
pub(super) const fn brief(status: Status, phase: Phase) -> &'static str {
    macro_rules! by_phase {
        ($status:literal) => {
            match phase {
                Phase::Starting => brief!($status, "starting"),
                Phase::Ready => brief!($status, "ready"),
                Phase::LameDuck => brief!($status, "lame_duck"),
                Phase::Draining => brief!($status, "draining"),
                Phase::Closed => brief!($status, "closed"),
            }
        };
    }
    macro_rules! brief {
        ($status:literal, $phase:literal) => {
            concat!(
                "{\"status\":\"",
                $status,
                "\",\"phase\":\"",
                $phase,
                "\"}\n"
            )
        };
    }
    match status {
        Status::Pass => by_phase!("pass"),
        // That something is broken is a detail, too; traffic is welcome.
        Status::Warn => by_phase!("pass"),
        Status::Fail | Status::Unknown => by_phase!("fail"),
    }
}

pub(super) fn full(report: &HealthReport) -> String {
    // Enough for a few components, so that it seldom has to grow.
    let mut out = String::with_capacity(128 + 128 * report.components.len());
    // Writing into a String does not fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &HealthReport) -> fmt::Result {
    write!(
        out,
        r#"{{"status":"{}","phase":"{}""#,
        report.status, report.phase
    )?;
    if let Some(version) = &report.version {
        out.push_str(r#","version":"#);
        string(out, version)?;
    }
    write!(out, r#","uptime_seconds":{}"#, report.uptime.as_secs())?;
    if let Some(age) = report.age {
        write!(out, r#","age_ms":{}"#, age.as_millis())?;
    }
    if !report.components.is_empty() {
        out.push_str(r#","components":["#);
        for (i, component) in report.components.iter().enumerate() {
            out.push_str(if i == 0 {
                r#"{"name":"#
            } else {
                r#",{"name":"#
            });
            string(out, &component.name)?;
            write!(
                out,
                r#","status":"{}","optional":{}"#,
                component.status, component.optional
            )?;
            if component.status != Status::Unknown {
                write!(out, r#","duration_ms":{}"#, component.duration.as_millis())?;
            }
            if let Some(error) = &component.error {
                out.push_str(r#","error":"#);
                string(out, error)?;
            }
            out.push('}');
        }
        out.push(']');
    }
    out.push_str("}\n");
    Ok(())
}

/// A string in quotes (RFC 8259, 7): the quote, the backslash and everything below U+0020 are escaped.
fn string(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < '\u{20}' => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(())
}
