//! The signals that have come, on their way to the listeners, which may block: the thread that receives signals must
//! not.

use std::collections::VecDeque;

use tokio::sync::watch;

/// The most that wait: more than a person or an orchestrator sends.
const MOST: usize = 16;

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    pub signal: &'static str,
    pub effect: &'static str,
    /// `true` for a Ctrl-C of a person.
    pub by_person: bool,
}

/// The signals that have come and that no listener has heard of.
pub(super) struct Notices(watch::Sender<VecDeque<Notice>>);

impl Notices {
    pub(crate) fn new() -> Self {
        Notices(watch::Sender::new(VecDeque::new()))
    }

    pub(crate) fn add(&self, notice: Notice) {
        self.0.send_if_modified(|waiting| {
            let fits = waiting.len() < MOST;
            if fits {
                waiting.push_back(notice);
            }
            fits
        });
    }

    /// Waits for the next one.
    pub(crate) async fn next(&self) -> Notice {
        loop {
            let mut receiver = self.0.subscribe();
            // It fails only when the sender is gone, and `self` holds it.
            let _ = receiver.wait_for(|waiting| !waiting.is_empty()).await;
            let mut next = None;
            self.0.send_if_modified(|waiting| {
                next = waiting.pop_front();
                false
            });
            if let Some(notice) = next {
                return notice;
            }
        }
    }
}
