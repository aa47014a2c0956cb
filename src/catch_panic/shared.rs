use crate::events::EventSink;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) events: EventSink,
}
