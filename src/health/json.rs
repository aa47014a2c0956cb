//! The JSON of health responses.

use super::report::{Component, HealthReport, Status};
use crate::json::{Json, millis};
use crate::phase::Phase;

/// Returns status and phase for clients that may not see details. Static, so it costs nothing.
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
        // A broken optional dependency is a detail too; the process still takes traffic.
        Status::Warn => by_phase!("pass"),
        Status::Fail | Status::Unknown => by_phase!("fail"),
    }
}

impl HealthReport {
    /// Returns the whole report as JSON; see the [module](super).
    pub fn to_json(&self) -> String {
        // Enough for a few components, so that the buffer rarely grows.
        let mut json = Json::with_capacity(128 + 128 * self.components.len());
        json.object(|json| {
            json.key("status").text(self.status);
            json.key("phase").text(self.phase);
            if let Some(version) = &self.version {
                json.key("version").text(version);
            }
            json.key("uptime_seconds").number(self.uptime.as_secs());
            if let Some(age) = self.age {
                json.key("age_ms").number(millis(age));
            }
            if !self.components.is_empty() {
                json.key("components").array(|json| {
                    for component in self.components.iter() {
                        json.object(|json| write(json, component));
                    }
                });
            }
        });
        let mut text = json.finish();
        text.push('\n');
        text
    }
}

fn write(json: &mut Json, component: &Component) {
    json.key("name").text(&component.name);
    json.key("status").text(component.status);
    json.key("optional").bool(component.optional);
    if component.status != Status::Unknown {
        json.key("duration_ms").number(millis(component.duration));
    }
    if let Some(error) = &component.error {
        json.key("error").text(error);
    }
}
