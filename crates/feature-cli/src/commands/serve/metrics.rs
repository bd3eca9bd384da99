//! What can be measured of streams, for a process that shows metrics. `docs/streams.md` lists them.

use std::time::Duration;

use feature_ingest::follow::FollowProgress;
use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::sync::oneshot;

use crate::followers::Followed;

/// How often counts are shown, and how many times that a stream is asked for its lag.
const SHOW: Duration = Duration::from_secs(1);
const LAG_EVERY: u32 = 10;

pub(crate) fn describe() {
    describe_counter!(
        "fstore_stream_delivered_total",
        Unit::Count,
        "messages delivered, repetitions included"
    );
    describe_counter!("fstore_stream_written_total", Unit::Count, "messages that the store has taken");
    describe_counter!(
        "fstore_stream_superseded_total",
        Unit::Count,
        "messages among the written that were older than what the store had, or repetitions"
    );
    describe_counter!("fstore_stream_empty_total", Unit::Count, "messages that say nothing");
    describe_counter!("fstore_stream_dead_letters_total", Unit::Count, "messages that cannot be taken");
    describe_counter!(
        "fstore_stream_troubles_total",
        Unit::Count,
        "times that the stream or the store failed and was tried again"
    );
    describe_gauge!(
        "fstore_stream_lag",
        Unit::Count,
        "messages that nobody has taken yet, where it is known"
    );
    describe_gauge!(
        "fstore_stream_up",
        Unit::Count,
        "whether the stream is followed: 0 after an error that will not pass"
    );
    describe_histogram!(
        "fstore_stream_freshness_seconds",
        Unit::Seconds,
        "how old, since it entered the stream, the oldest message of a batch was when the store had it"
    );
}

/// Takes the freshness of a stream's batches.
pub(crate) fn freshness(stream: &str) -> impl Fn(Duration) + Send + Sync + use<> {
    let histogram = histogram!("fstore_stream_freshness_seconds", "stream" => stream.to_owned());
    move |age| histogram.record(age.as_secs_f64())
}

/// Shows how far the streams are, until `ended` is dropped: then once more.
pub(crate) async fn show(streams: Vec<Followed>, mut ended: oneshot::Receiver<()>) {
    // Counters go on where those of the streams before a reload ended.
    let mut shown = vec![FollowProgress::default(); streams.len()];
    let mut ticks = tokio::time::interval(SHOW);
    for tick in 0_u32.. {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut ended => true,
        };
        for (stream, before) in streams.iter().zip(&mut shown) {
            let now = stream.tally.progress();
            count(&stream.name, before, &now);
            *before = now;
            let labels = labels(&stream.name);
            gauge!("fstore_stream_up", labels.iter()).set(f64::from(u8::from(stream.is_followed())));
            if tick % LAG_EVERY == 0
                && !last
                && let Ok(Some(lag)) = stream.feed.lag().await
            {
                gauge!("fstore_stream_lag", labels.iter()).set(lag as f64);
            }
        }
        if last {
            return;
        }
    }
}

fn count(stream: &str, before: &FollowProgress, now: &FollowProgress) {
    let labels = labels(stream);
    for (name, before, now) in [
        ("fstore_stream_delivered_total", before.delivered, now.delivered),
        ("fstore_stream_written_total", before.written, now.written),
        ("fstore_stream_superseded_total", before.superseded, now.superseded),
        ("fstore_stream_empty_total", before.empty, now.empty),
        ("fstore_stream_dead_letters_total", before.dead, now.dead),
        ("fstore_stream_troubles_total", before.troubles, now.troubles),
    ] {
        counter!(name, labels.iter()).increment(now - before);
    }
}

fn labels(stream: &str) -> [Label; 1] {
    [Label::new("stream", stream.to_owned())]
}
