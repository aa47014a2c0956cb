use super::invalid_limit::InvalidLimit;

/// The limits of an HTTP/2 connection, and the settings that it offers its client.
///
/// ```
/// use lameduck::{Http2Limits, Limits};
/// let http2 = Http2Limits::default().initial_stream_window(256 * 1024);
/// assert!(Limits::default().http2(http2).check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    pub(crate) initial_stream_window: u32,
    pub(crate) initial_connection_window: u32,
    pub(crate) adaptive_window: bool,
    pub(crate) max_frame_size: u32,
    pub(crate) max_send_buffer: usize,
    pub(crate) max_open_header_bytes: usize,
    pub(crate) header_table_size: u32,
    pub(crate) max_pending_reset: usize,
    pub(crate) max_local_error_reset: Option<usize>,
    pub(crate) connect_protocol: bool,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Http2Limits {
            initial_stream_window: 1024 * 1024,
            initial_connection_window: 1024 * 1024,
            adaptive_window: false,
            max_frame_size: 16 * 1024,
            max_send_buffer: 64 * 1024,
            max_open_header_bytes: 2 * 1024 * 1024,
            header_table_size: 4096,
            max_pending_reset: 20,
            max_local_error_reset: Some(1024),
            connect_protocol: true,
        }
    }
}

/// The largest window (RFC 9113, 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The bounds of a frame's size (RFC 9113, 6.5.2).
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16 * 1024..=(1 << 24) - 1;

impl Http2Limits {
    /// Sets how many bytes of a request body a client may send ahead of the handler's reading, for each stream
    /// (SETTINGS_INITIAL_WINDOW_SIZE). Default: 1 MiB.
    #[must_use]
    pub fn initial_stream_window(mut self, bytes: u32) -> Self {
        self.initial_stream_window = bytes;
        self
    }

    /// Sets the same for all streams of a connection together: the maximum memory for unread request bodies of one
    /// connection. Default: 1 MiB.
    #[must_use]
    pub fn initial_connection_window(mut self, bytes: u32) -> Self {
        self.initial_connection_window = bytes;
        self
    }

    /// Grows both windows with the measured bandwidth and round trip, up to 16 MiB, for uploads over long fat
    /// networks. It overrides the two initial windows, which begin at 64 KiB. Default: off.
    #[must_use]
    pub fn adaptive_window(mut self, on: bool) -> Self {
        self.adaptive_window = on;
        self
    }

    /// Sets the largest frame that a client may send (SETTINGS_MAX_FRAME_SIZE), from 16 KiB to 16 MiB - 1. Default:
    /// 16 KiB.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: u32) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Sets how many bytes of a response may wait for the socket, for each stream. A client that opens every stream
    /// and reads nothing holds [`max_concurrent_streams`](crate::serve::Limits::max_concurrent_streams) times this: 13 MB
    /// with the defaults. Default: 64 KiB; hyper's is 400 KiB.
    #[must_use]
    pub fn max_send_buffer(mut self, bytes: usize) -> Self {
        self.max_send_buffer = bytes;
        self
    }

    /// Sets how many bytes the header lists of a connection's open streams may have together, as RFC 9113 counts them
    /// (names, values, and 32 for each). A request over the limit gets 431 without reaching the service. HPACK expands
    /// a kilobyte on the wire to a header list of 64 KiB, so that the streams' number alone does not bound memory.
    /// Default: 2 MiB.
    #[must_use]
    pub fn max_open_header_bytes(mut self, bytes: usize) -> Self {
        self.max_open_header_bytes = bytes;
        self
    }

    /// Sets the size of the table for a client's headers (SETTINGS_HEADER_TABLE_SIZE). Default: 4 KiB.
    #[must_use]
    pub fn header_table_size(mut self, bytes: u32) -> Self {
        self.header_table_size = bytes;
        self
    }

    /// Sets the maximum number of pending streams that the client has reset before the server saw them: above it the
    /// connection closes (rapid reset, CVE-2023-44487). Default: 20.
    #[must_use]
    pub fn max_pending_reset(mut self, streams: usize) -> Self {
        self.max_pending_reset = streams;
        self
    }

    /// Sets the maximum number of streams that the server resets because of the client's errors: above it the
    /// connection closes (MadeYouReset, CVE-2025-8671). Default: 1,024.
    #[must_use]
    pub fn max_local_error_reset(mut self, streams: usize) -> Self {
        self.max_local_error_reset = Some(streams);
        self
    }

    /// Removes the limit of [`max_local_error_reset`](Self::max_local_error_reset), for trusted clients.
    #[must_use]
    pub fn unlimited_resets(mut self) -> Self {
        self.max_local_error_reset = None;
        self
    }

    /// Enables extended CONNECT (RFC 8441), which carries websockets over HTTP/2. Default: on, as with `axum::serve`.
    #[must_use]
    pub fn connect_protocol(mut self, on: bool) -> Self {
        self.connect_protocol = on;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidLimit> {
        let windows = [
            ("initial_stream_window", self.initial_stream_window),
            ("initial_connection_window", self.initial_connection_window),
        ];
        for (name, window) in windows {
            if window == 0 {
                return Err(InvalidLimit::new(name, "0 would stop every request body"));
            }
            if window > LARGEST_WINDOW {
                return Err(InvalidLimit::new(
                    name,
                    "is more than a window can be, 2^31 - 1",
                ));
            }
        }
        if self.initial_connection_window < 65_535 {
            return Err(InvalidLimit::new(
                "initial_connection_window",
                "is below 65535, where every connection begins",
            ));
        }
        if !FRAME_SIZES.contains(&self.max_frame_size) {
            return Err(InvalidLimit::new(
                "max_frame_size",
                "must be from 16384 to 16777215",
            ));
        }
        if self.max_send_buffer == 0 {
            return Err(InvalidLimit::new(
                "max_send_buffer",
                "0 would stop every response",
            ));
        }
        if u32::try_from(self.max_send_buffer).is_err() {
            return Err(InvalidLimit::new(
                "max_send_buffer",
                "is more than a window can be; nothing would be held back",
            ));
        }
        if self.max_open_header_bytes < 4096 {
            return Err(InvalidLimit::new(
                "max_open_header_bytes",
                "below 4096 bytes few requests fit",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Http2Limits::default().check(), Ok(()));
    }

    #[test]
    fn invalid_values_are_named() {
        let limits = Http2Limits::default;
        let cases = [
            ("initial_stream_window", limits().initial_stream_window(0)),
            (
                "initial_stream_window",
                limits().initial_stream_window(1 << 31),
            ),
            (
                "initial_connection_window",
                limits().initial_connection_window(65_534),
            ),
            ("max_frame_size", limits().max_frame_size(16_383)),
            ("max_frame_size", limits().max_frame_size(1 << 24)),
            ("max_send_buffer", limits().max_send_buffer(0)),
            ("max_send_buffer", limits().max_send_buffer(usize::MAX)),
            ("max_open_header_bytes", limits().max_open_header_bytes(0)),
        ];
        for (name, limits) in cases {
            let error = limits.check().expect_err(name);
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
