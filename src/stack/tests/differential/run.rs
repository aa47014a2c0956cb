use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::Service;
use tracing::Level;

use super::layers::{AnswerBody, Boxed, Layers};
use super::plan::{Client, Plan};
use crate::events::EventSink;
use crate::logs::written::Written;
use crate::phase::Phase;
use crate::sync::Lock;

/// One set of layers and all that can be seen of it.
pub struct Run {
    layers: Layers,
    events: Arc<Lock<Vec<String>>>,
    written: Written,
    seen: Vec<String>,
}

type Panic = Box<dyn Any + Send>;

impl Run {
    /// Runs the plans one after the other; returns what is seen of each.
    pub fn of(switches: u16, plans: &[Plan], service: fn(&Layers) -> Boxed) -> Vec<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (written, _guard) = Written::json(Level::INFO);
        let events = Arc::new(Lock::new(Vec::new()));
        let listener = events.clone();
        let mut run = Run {
            layers: Layers::new(switches),
            events,
            written,
            seen: Vec::new(),
        };
        let events = EventSink::to(move |event| listener.lock().push(event.to_string()));
        run.layers.lifecycle.listen(events);
        run.layers.lifecycle.advance(Phase::Ready);
        let service = service(&run.layers);
        let ask = |plan: &Plan| {
            if plan.drains {
                run.layers.lifecycle.advance(Phase::Draining);
            }
            runtime.block_on(run.ask(service.clone(), plan));
            std::mem::take(&mut run.seen)
        };
        plans.iter().map(ask).collect()
    }

    async fn ask(&mut self, mut service: Boxed, plan: &Plan) {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let called = caught(|| service.call(plan.request()));
        self.look("called");
        let mut future = match called {
            Ok(future) => future,
            Err(panic) => return self.see(said(&panic)),
        };
        let Client::Waits(time) = plan.client else {
            drop(future);
            return self.look("never polled");
        };
        let answer = poll_fn(|cx| caught_poll(|| future.as_mut().poll(cx)));
        let answer = match time {
            Duration::ZERO => now(answer),
            _ => tokio::time::timeout(time, answer).await.ok(),
        };
        self.look("polled");
        match answer {
            None => self.see("no response yet"),
            Some(Err(panic)) => self.see(said(&panic)),
            Some(Ok(Err(error))) => self.see(error),
            Some(Ok(Ok(response))) => {
                // A server drops the call before the body, or behind it.
                let kept = plan.peer.then_some(future);
                self.look("dropped the call");
                self.read(response, plan);
                drop(kept);
                return self.look("ended");
            }
        }
        drop(future);
        self.look("left");
    }

    /// Reads the body, not all of it for some plans.
    fn read(&mut self, response: Response<AnswerBody>, plan: &Plan) {
        let (head, body) = response.into_parts();
        self.see(format!("{} {:?}", head.status, shown(&head.headers)));
        let mut body = Box::pin(body);
        let most = match plan.sent.len() {
            0 => 9,
            pieces => pieces - 1,
        };
        for _ in 0..most {
            self.see(format!("{:?} {}", body.size_hint(), body.is_end_stream()));
            let frame = now(poll_fn(|cx| caught_poll(|| body.as_mut().poll_frame(cx))));
            match frame.expect("no body waits") {
                Ok(Some(frame)) => self.see(text_of(frame)),
                Ok(None) => self.see("no more"),
                Err(panic) => {
                    self.see(said(&panic));
                    return match plan.peer {
                        true => drop(body),
                        // As a task drops it.
                        false => drop(caught(move || {
                            let _body = body;
                            panic!("as the body's");
                        })),
                    };
                }
            }
            self.look("read");
        }
    }

    fn see(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    /// Looks at all that the layers record.
    fn look(&mut self, when: &str) {
        let in_flight = self.layers.in_flight.handle();
        let requests = in_flight.requests();
        self.see(format!(
            "look: {when}: {} of {}",
            requests.len(),
            in_flight.peak()
        ));
        self.see(format!("{requests:?}"));
        let lines = self.written.take();
        self.see(without_new_id(&lines));
        let events = std::mem::take(&mut *self.events.lock());
        self.seen
            .extend(events.iter().map(|event| without_new_id(event)));
        let mut metrics = self.layers.metrics.service();
        let scrape = now(metrics.call(Request::new(()))).unwrap().unwrap();
        let scrape = now(scrape.into_body().collect()).unwrap().unwrap();
        let scrape = String::from_utf8(scrape.to_bytes().to_vec()).unwrap();
        self.seen.extend(scrape.lines().map(str::to_owned));
    }
}

fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(run))
}

fn caught_poll<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, Panic>> {
    match caught(poll) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// Polls once.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn said(panic: &Panic) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))
}

fn text_of(frame: Result<Frame<Bytes>, crate::BoxError>) -> String {
    match frame {
        Ok(frame) => format!("{:?} {:?}", frame.data_ref(), frame.trailers_ref()),
        Err(error) => error.to_string(),
    }
}

/// Returns the fields by name; an id that the layer made is not the same twice.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| without_new_id(&format!("{value:?}"));
    let fields = headers.iter();
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    fields.sort();
    fields
}

/// Puts a word in the place of each id of 32 hexadecimal digits.
fn without_new_id(text: &str) -> String {
    let is_id = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut shown = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        shown.push_str(if is_id(word) { "a new id" } else { word });
        shown.push_str(&part[word.len()..]);
    }
    shown
}
