//! The durations that no setting changes, and their reasons.

use std::time::Duration;

// === accepting ===

/// The pause after a failure to accept for want of a resource; it doubles with each one, as in Go's `net/http`.
pub(crate) const FIRST_ACCEPT_PAUSE: Duration = Duration::from_millis(5);
/// The longest of these pauses, as in Go.
pub(crate) const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

// === HTTP/1 connections ===

/// The time a warm connection stays with hyper after a response, before it is parked. A connection is warm if its last
/// pause was shorter than this: clients tend to repeat their pattern. A cold one is parked at once, so that thousands
/// of connections with one request each never hold hyper's buffers at the same time. If it turns out to be busy, it has
/// paid for that only once.
pub(crate) const PARK_AFTER: Duration = Duration::from_secs(1);
/// The time the peer has to receive a refusal, or the response sent in place of a cancelled handler's.
pub(crate) const REFUSAL_GRACE: Duration = Duration::from_millis(500);

/// The maximum time for a peer that is still sending to read an early response.
pub(crate) const LINGER: Duration = Duration::from_secs(5);
/// The same after a timeout: the peer has had its time.
pub(crate) const LINGER_AFTER_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest silence of the peer meanwhile.
pub(crate) const LINGER_STALL: Duration = Duration::from_secs(1);

// === HTTP/2 connections ===

/// The minimum time for a client to acknowledge the GOAWAY; a distant client takes two round trips.
pub(crate) const GOAWAY_WAIT: Duration = Duration::from_secs(1);
/// The maximum of that time: a client with a longer round trip is not waited for.
pub(crate) const LONGEST_GOAWAY_WAIT: Duration = Duration::from_secs(5);
/// The minimum time between the early GOAWAY and the final one: a round trip (RFC 9113, 6.8).
pub(crate) const GOAWAY_NOTICE: Duration = Duration::from_millis(100);
/// The time h2 has to end a connection once it has read the acknowledgement of its GOAWAY: it may be in the middle of a
/// frame, or unable to write.
pub(crate) const GOAWAY_GRACE: Duration = Duration::from_millis(200);

/// The maximum time of a lingering close for a client that goes on reading.
pub(crate) const HTTP2_LINGER: Duration = Duration::from_secs(30);
/// The longest silence of the client meanwhile.
pub(crate) const HTTP2_LINGER_STALL: Duration = Duration::from_secs(1);
/// The same after a WINDOW_UPDATE: the client is reading, and announces it after each half window.
pub(crate) const HTTP2_LINGER_STALL_OF_A_READER: Duration = Duration::from_secs(3);

// === a client that is gone ===

/// The time from the end of the client's input to the first byte that is written ahead: an earlier response needs no
/// probe.
pub(crate) const PROBE_AFTER: Duration = Duration::from_millis(100);
/// The time from a write to the first look for the reset that it may have caused. The pause doubles with each look, so
/// that a reset is seen at most as long again after it was sent.
pub(crate) const FIRST_PROBE_LOOK: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
pub(crate) const LONGEST_PROBE_LOOK: Duration = Duration::from_secs(60);

// === late timers and readers: time that the server lost is not the client's ===

/// The lateness of a timer above which the peer is not at fault: the runtime was starved, or the process was stopped.
pub(crate) const LATE_TIMER: Duration = Duration::from_secs(1);
/// The time that a reader which first asks after the deadline has to read the bytes that came before it.
pub(crate) const LATE_READER: Duration = Duration::from_millis(250);
/// The time within which a suspected reader must poll again; one that does not is not waiting.
pub(crate) const READER_RETURNS: Duration = Duration::from_secs(1);
/// The time from a blocked write to the first look at what the kernel holds.
pub(crate) const FIRST_KERNEL_LOOK: Duration = Duration::from_millis(200);
