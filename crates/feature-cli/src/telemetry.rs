//! What a server tells of its work: its log and, with the cargo feature `otlp`, its spans.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Result;

/// Where a collector is, as OpenTelemetry's own software has it. Others of its variables are heeded, too.
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// What is told, as long as the server runs.
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    spans: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Telemetry {
    /// Begins to write JSON lines to standard error and, where the environment names a collector, to send spans.
    ///
    /// # Errors
    /// When the collector's address cannot be used.
    pub(crate) fn begin() -> Result<Self> {
        let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        let log = tracing_subscriber::registry().with(log.with_filter(LevelFilter::INFO));
        let is_wanted = ENDPOINT.iter().any(|name| std::env::var_os(name).is_some_and(|own| !own.is_empty()));
        #[cfg(feature = "otlp")]
        {
            let spans = is_wanted.then(otlp::provider).transpose()?;
            log.with(spans.as_ref().map(otlp::layer)).init();
            Ok(Self { spans })
        }
        #[cfg(not(feature = "otlp"))]
        {
            log.init();
            if is_wanted {
                tracing::warn!("no spans are sent: this program was built without the cargo feature `otlp`");
            }
            Ok(Self {})
        }
    }

    /// Sends what has not been sent.
    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_self, reason = "there is nothing to send"))]
    pub(crate) fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(Err(error)) = self.spans.map(|spans| spans.shutdown()) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

#[cfg(feature = "otlp")]
mod otlp {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
    use tracing::{Level, Subscriber};
    use tracing_opentelemetry::OpenTelemetryLayer;
    use tracing_subscriber::filter::{Filtered, Targets};
    use tracing_subscriber::layer::Layer;
    use tracing_subscriber::registry::LookupSpan;

    use crate::exit::{Failure, Result};

    /// Crates whose spans are sent, by how their names begin.
    const OURS: [&str; 3] = ["feature_", "store_", "fstore"];

    pub(super) fn provider() -> Result<SdkTracerProvider> {
        let exporter = SpanExporter::builder().with_tonic().build();
        let exporter = exporter.map_err(|error| Failure::Other(format!("spans cannot be sent: {error}")))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("fstore");
        }
        let spans = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(spans.with_resource(resource.build()).build())
    }

    type Spans<S> = Filtered<OpenTelemetryLayer<S, Tracer>, Targets, S>;

    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> Spans<S> {
        let ours = Targets::new().with_targets(OURS.map(|name| (name, Level::DEBUG)));
        tracing_opentelemetry::layer().with_tracer(provider.tracer("fstore")).with_filter(ours)
    }
}
