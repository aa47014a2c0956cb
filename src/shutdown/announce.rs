//! Announces each signal: to the listeners, and to the person who pressed Ctrl-C.

use std::convert::Infallible;

use super::ShutdownHandle;
use crate::events::Event;
use crate::stderr;

impl ShutdownHandle {
    /// Announces the signals that come, for as long as it is polled.
    pub(super) async fn announce_signals(&self) -> Infallible {
        loop {
            let notice = self.notices().next().await;
            let event = Event::Signal {
                signal: notice.signal,
                effect: notice.effect,
                in_flight: self.in_flight().len(),
            };
            if notice.by_person {
                let hint = match notice.effect {
                    "shutdown" | "drain" => "; Ctrl-C again cuts",
                    _ => "",
                };
                stderr::line(&format!("lameduck: {event}{hint}"));
            }
            self.emit(|| event);
        }
    }
}
