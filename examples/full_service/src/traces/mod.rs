//! Traces: a span for each request and for each attempt at a job, sent to a collector by OTLP over HTTP.
//!
//! Built with the feature `otel`, on when `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. What you wrap in `info_span!` or
//! `#[instrument]` in a handler or a job becomes a child of its span.

#[cfg(feature = "otel")]
mod export;
mod settings;
#[cfg(feature = "otel")]
mod spans;
#[cfg(not(feature = "otel"))]
mod without;

pub use self::settings::{Sampler, Settings};
#[cfg(not(feature = "otel"))]
pub use self::without::{Traces, around, begin_job, fail_job, traceparent};
#[cfg(feature = "otel")]
pub use self::{
    export::Traces,
    spans::{around, begin_job, fail_job, traceparent},
};
