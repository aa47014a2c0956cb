use crate::events::Events;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) events: Events,
}
