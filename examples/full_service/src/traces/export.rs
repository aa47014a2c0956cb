//! Spans on their way to the collector: a bounded queue, and a task that empties it. Nothing else waits for the collector.
//!
//! The SDK's own batch processor has a thread that blocks on each export, without the runtime that an async HTTP client
//! needs; it counts what it drops for itself alone, and its shutdown blocks.

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        Sampler as SdkSampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _,
        SpanProcessor,
    },
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tracing::{Metadata, Subscriber, warn};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    registry::LookupSpan,
};

use super::{Sampler, Settings, settings::Root, spans::without_log_fields};

/// The most spans that wait. Those that come then are dropped.
const QUEUE: usize = 2_048;
/// The most spans in one request to the collector.
const BATCH: usize = 512;
/// The longest that a span waits for others to go with it.
const DELAY: Duration = Duration::from_secs(1);
/// The pause between two log lines about lost spans.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// The limit of the last spans: less than the 1 s of the flush, so that there is time to log what is lost.
const FLUSH: Duration = Duration::from_millis(800);

/// The traces of this process, before its runtime has started.
pub struct Traces {
    tracer: SdkTracer,
    exporter: Exporter,
    flush: Flush,
}

/// The end of the traces.
pub struct Flush {
    last: oneshot::Sender<oneshot::Sender<()>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The spans in the queue and in the request to the collector.
    waiting: AtomicUsize,
    /// The spans that the collector did not take, since the last report of them.
    not_taken: AtomicUsize,
    /// Those that found the queue full.
    dropped: AtomicUsize,
    /// All that are lost.
    lost: Counter,
}

/// The queue's end for spans that are over.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: Arc<Counts>,
}

/// The queue's end for the collector.
struct Exporter {
    exporter: SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    last: oneshot::Receiver<oneshot::Sender<()>>,
    counts: Arc<Counts>,
    /// The last error of the collector.
    error: Option<String>,
    reported: Option<Instant>,
}

// === impl Traces ===

impl Traces {
    /// # Errors
    ///
    /// The environment has a variable of the exporter that is malformed.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let endpoint = settings.endpoint.trim_end_matches('/');
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .build()
            .map_err(io::Error::other)?;
        let resource = Resource::builder()
            .with_service_name(settings.service.clone())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        exporter.set_resource(&resource);

        let (sender, spans) = mpsc::channel(QUEUE);
        let (last, flushed) = oneshot::channel();
        let counts = Arc::<Counts>::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(settings.sampler, settings.ratio))
            .with_resource(resource)
            .with_span_processor(Queue {
                spans: sender,
                counts: counts.clone(),
            })
            .build();
        Ok(Self {
            tracer: provider.tracer(env!("CARGO_PKG_NAME")),
            exporter: Exporter {
                exporter,
                spans,
                last: flushed,
                counts: counts.clone(),
                error: None,
                reported: None,
            },
            flush: Flush { last, counts },
        })
    }

    /// Returns the layer that makes a span of each span of this crate. Log lines are left out: they have the trace's id.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = |metadata: &Metadata<'_>| {
            metadata.is_span() && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::INFO))
    }

    /// Registers the number of lost spans.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Spans that the collector did not take";
        registry.register("spans_lost", help, self.exporter.counts.lost.clone());
    }

    /// Starts the task that sends spans. Needs the runtime.
    pub fn start(self) -> Flush {
        tokio::spawn(self.exporter.run());
        self.flush
    }
}

fn sampler(sampler: Sampler, ratio: f64) -> SdkSampler {
    let root = match sampler.root {
        Root::AlwaysOn => SdkSampler::AlwaysOn,
        Root::AlwaysOff => SdkSampler::AlwaysOff,
        Root::Ratio => SdkSampler::TraceIdRatioBased(ratio),
    };
    match sampler.by_parent {
        true => SdkSampler::ParentBased(Box::new(root)),
        false => root,
    }
}

// === impl Flush ===

impl Flush {
    /// Sends what still waits. A collector that does not answer, or is away, is given up in time.
    pub async fn flush(self) {
        let (done, sent) = oneshot::channel();
        let in_time = match self.last.send(done) {
            Ok(()) => timeout(FLUSH, sent).await.is_ok(),
            Err(_) => true,
        };
        if !in_time {
            let (not_taken, dropped) = self.counts.take();
            warn!(
                not_taken = not_taken + self.counts.waiting.load(Ordering::Relaxed),
                dropped, "the last spans were lost: the collector did not take them in time"
            );
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Returns the spans that are lost and not reported yet: those that were not taken, and those dropped.
    fn take(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        (take(&self.not_taken), take(&self.dropped))
    }
}

// === impl Queue ===

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        // Counted before it can be sent.
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.spans.try_send(without_log_fields(span)).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.counts.lost.inc();
        }
    }

    /// Does nothing: the shutdown has a flush of its own, which does not block.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

// === impl Exporter ===

impl Exporter {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = collect(&mut self.spans, &mut batch) => self.send(&mut batch).await,
                // An error: the start has failed, and nothing is flushed.
                done = &mut self.last => {
                    while !self.spans.is_empty() || !batch.is_empty() {
                        while batch.len() < BATCH && let Ok(span) = self.spans.try_recv() {
                            batch.push(span);
                        }
                        self.send(&mut batch).await;
                    }
                    self.report(true);
                    if let Ok(done) = done {
                        // The flush may have been given up.
                        let _ = done.send(());
                    }
                    return;
                }
            }
        }
    }

    /// Sends a batch. One that the collector does not take is lost: the exporter has tried again by itself.
    async fn send(&mut self, batch: &mut Vec<SpanData>) {
        let spans = batch.len();
        let taken = mem::replace(batch, Vec::with_capacity(BATCH));
        if let Err(error) = self.exporter.export(taken).await {
            self.counts.not_taken.fetch_add(spans, Ordering::Relaxed);
            self.counts.lost.inc_by(spans as u64);
            self.error = Some(error.to_string());
        }
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        self.report(false);
    }

    /// Logs lost spans: the first at once, then a line a minute.
    fn report(&mut self, now: bool) {
        let due = self
            .reported
            .is_none_or(|last| last.elapsed() >= REPORT_EVERY);
        if !(now || due) {
            return;
        }
        let (not_taken, dropped) = self.counts.take();
        if not_taken + dropped > 0 {
            warn!(
                not_taken,
                dropped,
                error = self.error.take(),
                "spans were lost: the collector does not take them fast enough"
            );
            self.reported = Some(Instant::now());
        }
    }
}

/// Waits until the batch is full, or its first span has waited for `DELAY`. Nothing is lost if this future is dropped.
async fn collect(spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    if batch.is_empty() {
        spans.recv_many(batch, BATCH).await;
    }
    let until = Instant::now() + DELAY;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        match timeout_at(until, spans.recv_many(batch, room)).await {
            Ok(1..) => {}
            // Time is up, or nothing can come any more.
            Ok(0) | Err(_) => return,
        }
    }
}
