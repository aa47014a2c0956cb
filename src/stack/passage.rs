use http::{HeaderMap, Response};
use http_body::Body;

#[cfg(feature = "tracing")]
use crate::access_log::{Line, LineGuard};
use crate::in_flight::InFlightGuard;
#[cfg(feature = "metrics")]
use crate::metrics::{Measure, Running};
use crate::request_id::{ResponseId, show};
use crate::track::{BodyEnd, Guard, TrackedBody, content_length};

/// What the outer layers keep of a request until the end of its response's body. Dropped with the future, it ends there
/// as cancelled.
pub(super) struct Passage {
    /// Boxed, and only where there are any: they are large, and move with the future, the response and its body.
    records: Option<Box<Records>>,
    /// The last to end: all is recorded of the requests for whose end a drain has waited.
    pub in_flight: Option<InFlightGuard>,
    to_head: bool,
}

/// What is recorded of a request.
#[derive(Default)]
struct Records {
    #[cfg(feature = "metrics")]
    measure: Measure,
    #[cfg(feature = "tracing")]
    line: LineGuard,
    id: Option<ResponseId>,
}

impl Passage {
    pub(super) fn new(to_head: bool) -> Self {
        Passage {
            records: None,
            in_flight: None,
            to_head,
        }
    }

    /// Measures the request. Until [`rest`](Self::rest) its drop is a panic: of a user's function in a layer further in,
    /// or of the service.
    #[cfg(feature = "metrics")]
    pub(super) fn measure(&mut self, mut running: Running) {
        running.inside = true;
        self.records().measure = Measure(Some(running));
    }

    pub(super) fn identify(&mut self, id: ResponseId) {
        self.records().id = Some(id);
    }

    /// Logs the request, as [`measure`](Self::measure) measures it.
    #[cfg(feature = "tracing")]
    pub(super) fn log(&mut self, mut line: Line) {
        line.inside = true;
        self.records().line = LineGuard(Some(line));
    }

    fn records(&mut self) -> &mut Records {
        self.records.get_or_insert_default()
    }

    /// Returns the passage of a request that waits for its response.
    pub(super) fn rest(mut self) -> Self {
        if let Some(records) = &mut self.records {
            records.set_inside(false);
        }
        self
    }

    /// Runs the service's code, so that a panic in it is recorded as one.
    pub(super) fn guarded<T>(&mut self, run: impl FnOnce() -> T) -> T {
        if let Some(records) = &mut self.records {
            records.set_inside(true);
        }
        let result = run();
        if let Some(records) = &mut self.records {
            records.set_inside(false);
        }
        result
    }

    /// Takes the response through the layers, and moves what they keep into its body.
    pub(super) fn leave<B: Body>(
        &mut self,
        mut response: Response<B>,
    ) -> Response<TrackedBody<B, Passage>> {
        let mut declared = None;
        if let Some(records) = &mut self.records {
            declared = records.answer(&mut response);
        }
        let to_head = self.to_head;
        let passage = std::mem::replace(self, Passage::new(to_head));
        TrackedBody::answer(response, to_head, declared, passage)
    }

    /// Ends the request: the service has failed.
    pub(super) fn fail(&mut self) {
        #[cfg(any(feature = "metrics", feature = "tracing"))]
        if let Some(records) = self.records.take() {
            #[cfg(feature = "metrics")]
            if let Some(running) = records.measure.0 {
                running.failed();
            }
            #[cfg(feature = "tracing")]
            records.line.end(BodyEnd::Error);
        }
        self.in_flight = None;
    }
}

impl Records {
    fn set_inside(&mut self, inside: bool) {
        #[cfg(feature = "tracing")]
        if let Some(line) = &mut self.line.0 {
            line.inside = inside;
        }
        #[cfg(feature = "metrics")]
        if let Some(running) = &mut self.measure.0 {
            running.inside = inside;
        }
        let _ = inside;
    }

    /// Records the head of the response, and adds the id to it. Returns the length that it declares.
    fn answer<B>(&mut self, response: &mut Response<B>) -> Option<u64> {
        #[cfg(feature = "tracing")]
        if let Some(line) = &mut self.line.0 {
            line.responds(response);
        }
        if let Some(id) = self.id.take() {
            show(response, id);
        }
        #[cfg(feature = "metrics")]
        if let Some(running) = &mut self.measure.0 {
            running.responds(response);
        }
        content_length(response.headers())
    }
}

impl Guard for Passage {
    fn data(&mut self, bytes: usize) {
        #[cfg(any(feature = "metrics", feature = "tracing"))]
        if let Some(records) = &mut self.records {
            #[cfg(feature = "tracing")]
            records.line.data(bytes);
            #[cfg(feature = "metrics")]
            records.measure.data(bytes);
        }
        let _ = bytes;
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        #[cfg(any(feature = "metrics", feature = "tracing"))]
        if let Some(records) = &mut self.records {
            #[cfg(feature = "tracing")]
            records.line.trailers(trailers);
            #[cfg(feature = "metrics")]
            records.measure.trailers(trailers);
        }
        let _ = trailers;
    }

    fn end(self, how: BodyEnd) {
        #[cfg(any(feature = "metrics", feature = "tracing"))]
        if let Some(records) = self.records {
            #[cfg(feature = "metrics")]
            records.measure.end(how);
            #[cfg(feature = "tracing")]
            records.line.end(how);
        }
        self.in_flight.end(how);
    }
}
