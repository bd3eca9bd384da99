//! `follow`: keep features fresh from streams.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::format_duration;
use feature_ingest::follow::{Feed, Follow, FollowProgress, FollowTally};
use futures::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use super::serve::{Signal, Signals};
use crate::cli::Target;
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;
use crate::progress::shown;
use crate::streams::Stream;
use crate::{settings, streams};

/// How often a line is written where there is no terminal, and how often a stream is asked for its lag.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A stream on its way.
struct Running {
    name: String,
    feed: Arc<dyn Feed>,
    tally: FollowTally,
}

pub(super) async fn run(target: &Target, names: &[String], output: &mut Output) -> Result<Exit> {
    let Target::Settings(file) = target else {
        return Err(Failure::Usage("the streams are in a settings file: say --config FILE".to_owned()));
    };
    let settings = settings::load(file)?;
    let streams = wanted(streams::load(file)?, names, file)?;
    let store = settings::open(&settings).await?;
    let mut signals = Signals::new()?;
    let (stopping, stopped) = watch::channel(false);
    let mut running = Vec::new();
    let mut work = Vec::new();
    for Stream { name, source, mapping, options } in streams {
        let feed = source.open()?;
        let tally = FollowTally::default();
        let online = store.online().with_deadline(settings.migration.longest_write);
        let follow = Follow::new(Arc::clone(&feed), mapping, options, online, tally.clone());
        let mut stopped = stopped.clone();
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        work.push(tokio::spawn(follow.run(stop)));
        running.push(Running { name, feed, tally });
    }
    let began = Instant::now();
    let all = async {
        let mut ended = std::pin::pin!(join_all(work.into_iter().map(|stream| async {
            let ended = stream.await;
            // One that cannot go on ends the others, in good order.
            if !matches!(ended, Ok(Ok(()))) {
                stopping.send_replace(true);
            }
            ended
        })));
        loop {
            tokio::select! {
                ended = &mut ended => break ended,
                signal = signals.next() => if let Signal::Stop = signal {
                    say("fstore: stopping: what was delivered is written");
                    stopping.send_replace(true);
                },
                () = tell(&running) => {}
            }
        }
    };
    let message = || {
        let line = |stream: &Running| summary(&stream.name, &stream.tally.progress(), began.elapsed());
        running.iter().map(line).collect::<Vec<_>>().join("; ")
    };
    let ended = shown(message, all).await;
    let took = began.elapsed();
    let mut rows = output.rows(&[
        "stream",
        "delivered",
        "written",
        "superseded",
        "empty",
        "dead",
        "troubles",
        "seconds",
    ]);
    for Running { name, tally, .. } in &running {
        let FollowProgress { delivered, written, superseded, empty, dead, troubles, .. } = tally.progress();
        let counts = [delivered, written, superseded, empty, dead, troubles].map(|count| json!(count));
        let seconds = json!((took.as_secs_f64() * 1000.0).round() / 1000.0);
        rows.push([json!(name)].into_iter().chain(counts).chain([seconds]).collect())?;
    }
    rows.finish()?;
    store.close().await?;
    for (stream, ended) in running.iter().zip(ended) {
        let ended = ended.map_err(|e| Failure::Other(format!("stream `{}` ended: {e}", stream.name)))?;
        ended?;
    }
    let any_dead = running.iter().any(|stream| stream.tally.progress().dead > 0);
    Ok(if any_dead { Exit::Partly } else { Exit::Done })
}

fn wanted(all: Vec<Stream>, names: &[String], file: &Path) -> Result<Vec<Stream>> {
    let known: Vec<&str> = all.iter().map(|stream| stream.name.as_str()).collect();
    if known.is_empty() {
        return Err(Failure::Usage(format!("the settings file {} has no `streams`", file.display())));
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::Usage(format!(
            "there is no stream `{unknown}` in {}; known are {}",
            file.display(),
            known.join(", ")
        )));
    }
    Ok(all.into_iter().filter(|stream| names.is_empty() || names.contains(&stream.name)).collect())
}

/// Says from time to time how far each is, where no terminal shows it.
async fn tell(running: &[Running]) {
    tokio::time::sleep(LINE_EVERY).await;
    if io::stderr().is_terminal() {
        return;
    }
    for Running { name, feed, tally } in running {
        let lag = match feed.lag().await {
            Ok(Some(lag)) => lag.to_string(),
            Ok(None) | Err(_) => "unknown".to_owned(),
        };
        let FollowProgress { written, dead, troubles, freshness, .. } = tally.progress();
        let freshness = format_duration(Duration::from_millis(freshness.as_millis() as u64));
        say(format_args!(
            "fstore: stream `{name}`: {written} written, {dead} dead, {troubles} troubles, lag {lag}, fresh to {freshness}"
        ));
    }
}

fn summary(name: &str, progress: &FollowProgress, took: Duration) -> String {
    let FollowProgress { written, dead, freshness, .. } = progress;
    let rate = (*written as f64 / took.as_secs_f64().max(1e-6)).round();
    let freshness = format_duration(Duration::from_millis(freshness.as_millis() as u64));
    format!("{name}: {written} written ({rate}/s), {dead} dead, fresh to {freshness}")
}
