//! Metrics

mod body;
mod classic;
mod collect;
mod endpoint;
mod future;
mod guard;
mod handle;
mod histogram;
mod labels;
mod layer;
mod series;
mod service;
mod shared;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod told;

pub use body::MetricsBody;
pub use endpoint::MetricsService;
pub use future::MetricsFuture;
pub use handle::{Metrics, MetricsBuilder};
pub use layer::MetricsLayer;
pub use service::Measured;
