//! The trace that a request is a part of, as the standard of the W3C has it (`traceparent`).

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use tracing::{Span, debug_span, field};

use super::Context;
use crate::observe::Route;

pub(crate) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a request is in its trace.
pub(crate) struct Trace {
    id: String,
    /// Who asks.
    parent: String,
    /// What is done here.
    own: String,
    /// Whether it is recorded, and what else the standard will have.
    flags: String,
}

impl Trace {
    /// The trace that a client names; one that is not as the standard has it is none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(TRACE_PARENT)?.to_str().ok()?;
        let mut parts = text.split('-');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_some = |text: &str, length| is_hex(text, length) && text.bytes().any(|b| b != b'0');
        let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        (is_known && is_some(id, 32) && is_some(parent, 16) && is_hex(flags, 2)).then(|| Self {
            id: id.to_owned(),
            parent: parent.to_owned(),
            own: format!("{:016x}", fastrand::u64(1..)),
            flags: flags.to_owned(),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What to hand on: the same trace, from here.
    pub(crate) fn handed_on(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("00-{}-{}-{}", self.id, self.own, self.flags)).ok()
    }
}

/// The span in which a request is answered: that of each call of the store is in it.
pub(crate) fn span(context: &mut Context, route: Route) -> Span {
    let trace = context.trace.as_ref();
    let span = debug_span!(
        target: "feature_server::request",
        "fstore.serve",
        otel.kind = "server",
        route = route.name(),
        request_id = context.request_id(),
        trace_id = trace.map(|trace| &*trace.id),
        parent_id = trace.map(|trace| &*trace.parent),
        span_id = field::Empty,
    );
    if let Some(trace) = &mut context.trace {
        #[cfg(feature = "otlp")]
        join(&span, trace);
        span.record("span_id", &*trace.own);
    }
    span
}

/// Makes an exported span a part of the client's trace, which goes on under the id that it is exported with.
#[cfg(feature = "otlp")]
fn join(span: &Span, trace: &mut Trace) {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    let (Ok(id), Ok(parent), Ok(flags)) =
        (TraceId::from_hex(&trace.id), SpanId::from_hex(&trace.parent), u8::from_str_radix(&trace.flags, 16))
    else {
        return;
    };
    let asks = SpanContext::new(id, parent, TraceFlags::new(flags), true, TraceState::default());
    // Where nothing exports spans there is nothing to join.
    if span.set_parent(opentelemetry::Context::new().with_remote_span_context(asks)).is_ok() {
        let own = span.context().span().span_context().span_id();
        if own != SpanId::INVALID {
            trace.own = own.to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_up_and_handed_on_from_here() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: &str| Trace::of(&HeaderMap::from_iter([(TRACE_PARENT, text.parse().unwrap())]));
        let trace = of(&format!("00-{ID}-00f067aa0ba902b7-01")).unwrap();
        let on = trace.handed_on().unwrap().to_str().unwrap().to_owned();
        let again = of(&on).unwrap();
        assert_eq!((again.id(), &*again.parent, &*again.flags), (ID, &*trace.own, "01"));
        assert_ne!(again.parent, trace.parent);
        assert!(of(&format!("cc-{ID}-00f067aa0ba902b7-01-what the future has")).is_some());
        for wrong in [
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{ID}-00f067aa0ba902b7"),
            format!("00-{ID}-00f067aa0ba902b7-1"),
            String::new(),
        ] {
            assert!(of(&wrong).is_none(), "{wrong}");
        }
    }
}
