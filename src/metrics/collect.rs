use std::fmt::{self, Error};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::event_counters::{CLOSED, PHASES, REASONS, TIMEOUTS, VERDICTS, WORKER_ENDS};
use super::families::Families;
use super::histogram::{Bounds, Histogram};
use super::series::Route;
use super::shared::Shared;

/// A collector that encodes all metrics at a scrape.
pub(super) struct Collected(pub Arc<Shared>);

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families(encoder);
        families.requests(&self.0)?;
        families.process(&self.0)?;
        if self.0.counters.is_wired() {
            families.event_counters(&self.0)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collected").field(&self.0).finish()
    }
}

/// Selects a histogram of a route.
type Of = fn(&Route) -> &Histogram;

impl Families<'_> {
    fn requests(&mut self, shared: &Shared) -> Result<(), Error> {
        let series = &shared.series;
        let mut buckets = Vec::new();
        let mut family = self.0.encode_descriptor(
            "http_server_request_duration",
            "Time from a request's head to the end of its response body",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (route, ended) in series.ends() {
            let (sum, count) = ended.duration.read(&series.duration, &mut buckets);
            let status = ended.end.status();
            let labels = [
                ("http_request_method", route.method.as_str()),
                ("http_route", &*route.route),
                ("http_response_status_code", status.as_str()),
                ("network_protocol_version", ended.end.version()),
                ("error_type", ended.end.error_type(status.as_str())),
            ];
            let grpc = ended.end.grpc().map(|code| ("rpc_grpc_status_code", code));
            let labels: Vec<_> = labels.into_iter().chain(grpc).collect();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }

        let routes = series.routes();
        let head: Of = |route| &route.head;
        let request: Of = |route| &route.request;
        let response: Of = |route| &route.response;
        for (name, help, unit, bounds, of) in [
            (
                "lameduck_http_time_to_head",
                "Time from a request's head to the head of its response",
                Unit::Seconds,
                &series.duration,
                head,
            ),
            (
                "http_server_request_body_size",
                "Request bodies, by the length that the request declares",
                Unit::Bytes,
                &series.size,
                request,
            ),
            (
                "http_server_response_body_size",
                "Response bodies, as far as they were sent",
                Unit::Bytes,
                &series.size,
                response,
            ),
        ] {
            self.by_route(name, help, &unit, bounds, &routes, of)?;
        }

        let active = series.active();
        self.gauges(
            "http_server_active_requests",
            "Requests whose response has not ended",
            "http_request_method",
            active.map(|(method, count)| (method.as_str(), count)),
        )?;
        self.counter(
            "lameduck_metrics_series_folded",
            "Requests recorded under the route _other, because the number of series is at its limit",
            &series.folded,
        )
    }

    fn by_route(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        bounds: &Bounds,
        routes: &[&Route],
        of: Of,
    ) -> Result<(), Error> {
        let mut buckets = Vec::new();
        let kind = MetricType::Histogram;
        let mut family = self.0.encode_descriptor(name, help, Some(unit), kind)?;
        for route in routes {
            let (sum, count) = of(route).read(bounds, &mut buckets);
            let labels = [
                ("http_request_method", route.method.as_str()),
                ("http_route", &*route.route),
            ];
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn process(&mut self, shared: &Shared) -> Result<(), Error> {
        if shared.counters.is_wired() {
            self.phase(shared)?;
        }
        self.read(shared)
    }

    fn phase(&mut self, shared: &Shared) -> Result<(), Error> {
        let now = shared.sources.phase(&shared.counters);
        let phases = PHASES.into_iter().enumerate();
        self.gauges(
            "lameduck_phase",
            "1 for the phase in which the process is",
            "phase",
            phases.map(|(index, name)| (name, i64::from(index == now))),
        )?;
        let drain = shared.sources.drain(&shared.counters).as_secs_f64();
        self.0
            .encode_descriptor(
                "lameduck_drain_duration",
                "Duration of the drain, so far or in total; 0 before it",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&drain)
    }

    /// Encodes the values that are read from handles.
    fn read(&mut self, shared: &Shared) -> Result<(), Error> {
        #[cfg(feature = "serve")]
        if let Some(connections) = shared.sources.connections() {
            self.gauges(
                "lameduck_connections",
                "Open connections by state",
                "state",
                connections
                    .iter()
                    .map(|(state, count)| (state.as_str(), count)),
            )?;
        }
        if let Some((count, peak)) = shared.sources.requests() {
            self.gauge("lameduck_in_flight_requests", "Requests in flight", count)?;
            self.gauge(
                "lameduck_in_flight_requests_peak",
                "Highest number of requests in flight at once",
                peak,
            )?;
        }
        #[cfg(feature = "rate-limit")]
        if let Some(keys) = shared.sources.keys() {
            self.gauge(
                "lameduck_rate_limit_keys",
                "Keys tracked by the rate limit",
                keys,
            )?;
        }
        Ok(())
    }

    fn event_counters(&mut self, shared: &Shared) -> Result<(), Error> {
        let counters = &shared.counters;
        for (name, help, counter) in [
            (
                "lameduck_connections_accepted",
                "Connections accepted",
                &counters.accepted,
            ),
            (
                "lameduck_requests_cut",
                "Requests cut at the end of the drain",
                &counters.cut,
            ),
            (
                "lameduck_clients_gone",
                "Clients that left before they had their response",
                &counters.clients_gone,
            ),
            (
                "lameduck_service_errors",
                "Requests that the service failed instead of answering",
                &counters.service_errors,
            ),
            (
                "lameduck_readiness_changes",
                "Changes of the answer to readiness probes",
                &counters.readiness_changes,
            ),
            (
                "lameduck_accept_errors",
                "Runs of failures to accept a connection",
                &counters.accept_errors,
            ),
            (
                "lameduck_panics",
                "Requests whose handler panicked and that were answered with 500",
                &counters.panics,
            ),
            (
                "lameduck_grpc_timeout_malformed",
                "Malformed grpc-timeout headers that were ignored",
                &counters.malformed_grpc_timeouts,
            ),
            (
                "lameduck_rate_limit_full",
                "Keys for which the rate limit had no room",
                &counters.rate_limit_full,
            ),
            (
                "lameduck_rate_limit_fallbacks",
                "Times the local rate limit took over from the shared one",
                &counters.rate_limit_fallbacks,
            ),
            (
                "lameduck_rate_limit_restored",
                "Times the shared rate limit took over again",
                &counters.rate_limit_restored,
            ),
        ] {
            self.counter(name, help, counter)?;
        }
        self.counters(
            "lameduck_connections_closed",
            "Connections that ended, by reason",
            "reason",
            counters.closed.named(CLOSED),
        )?;
        self.counters(
            "lameduck_workers_ended",
            "Workers that ended before they were to stop, by how",
            "end",
            counters.workers_ended.named(WORKER_ENDS),
        )?;
        self.counters(
            "lameduck_timeouts",
            "Deadlines that passed, by kind",
            "kind",
            counters.timeouts.named(TIMEOUTS),
        )?;
        self.counters(
            "lameduck_refusals",
            "Requests that were refused, by reason",
            "reason",
            counters.refusals.named(REASONS),
        )?;
        self.counters(
            "lameduck_client_address",
            "Client addresses that were determined, by source",
            "source",
            counters.addresses.named(VERDICTS),
        )
    }
}
