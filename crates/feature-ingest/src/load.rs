//! A load, from the names of files to a report.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::{Clock, FeatureView, OnlineStore, SystemClock};

use crate::checkpoint::{Checkpoint, Marks, Position};
use crate::error::{IngestError, Result};
use crate::format::{self, Reading, Source};
use crate::input::{Input, find};
use crate::mapping::Mapping;
use crate::options::IngestOptions;
use crate::pipeline::{Ended, Pipeline, Read};
use crate::plan::{ColumnPlan, InputColumns, Plan};
use crate::progress::{Progress, Tally};
use crate::rejects::RejectSink;
use crate::row::{Chunks, Reject};
use crate::worker::Target;

/// Inputs whose columns are known, ready to be written.
///
/// See the crate's documentation for an example.
pub struct Load {
    inputs: Vec<Input>,
    /// For each input, its beginning, if it can be read only once.
    opened: Vec<Option<Box<dyn Source>>>,
    columns: Vec<InputColumns>,
    plan: Plan,
    notes: Vec<String>,
    mapping: Arc<Mapping>,
    options: IngestOptions,
    start: Position,
    rejects: Box<dyn RejectSink>,
    watch: Option<Watch>,
}

type Tell = Box<dyn FnMut(&Progress, &Checkpoint) + Send>;

/// Who wants to know how far a load is.
struct Watch {
    every: Duration,
    tell: Tell,
}

/// What a load has done. Every row read is either written or rejected, unless it failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How far it has come.
    pub progress: Progress,
    /// How many entities the rows concern; `None` when there are more than can be counted.
    pub entities: Option<usize>,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub ended: Ended,
    /// Where to go on, if it has not ended at the end.
    pub checkpoint: Option<Checkpoint>,
}

impl Load {
    /// Finds the inputs that these names stand for and reads their beginnings: files, patterns (`*.csv`),
    /// folders, `-` for standard input, URLs of objects. `view` is the declaration of the feature view that
    /// will be written, if there is one. Waits for files and object stores on a thread of its own.
    ///
    /// # Errors
    /// Nothing has been written yet: [`IngestError::Request`] for what makes no sense for these inputs,
    /// [`IngestError::Input`] for one that cannot be read or has nothing in it.
    pub async fn open(names: &[String], options: IngestOptions, view: Option<&FeatureView>) -> Result<Self> {
        let (names, view) = (names.to_vec(), view.cloned());
        blocking(move || Self::of(find(&names, options.format)?, options, view.as_ref())).await
    }

    /// The same with an input that a program already has open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn of_input(input: Input, options: IngestOptions, view: Option<&FeatureView>) -> Result<Self> {
        let view = view.cloned();
        blocking(move || Self::of(vec![input], options, view.as_ref())).await
    }

    pub(crate) fn of(found: Vec<Input>, options: IngestOptions, view: Option<&FeatureView>) -> Result<Self> {
        let now = options.now.unwrap_or_else(|| SystemClock.now());
        let mapping = Arc::new(Mapping::new(&options, view, now)?);
        let reading = Reading::new(&options);
        let alone = found.len() == 1;
        let (mut inputs, mut columns, mut notes, mut opened) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for input in found {
            let Some(source) = format::open(&input, &mapping, &reading)? else {
                if alone {
                    return Err(IngestError::Input(format!("{} is empty", input.name())));
                }
                notes.push(format!("{} is empty", input.name()));
                continue;
            };
            columns.push(InputColumns {
                input: input.name().to_owned(),
                columns: source.columns(),
                partitions: input.partitions().to_vec(),
                fixed: source.has_fixed_columns(),
            });
            opened.push(Some(source).filter(|_| input.is_once()));
            inputs.push(input);
        }
        if inputs.is_empty() {
            return Err(IngestError::Input("all files are empty".to_owned()));
        }
        let plan = Plan::new(&columns, &mapping)?;
        Ok(Self {
            inputs,
            opened,
            columns,
            plan,
            notes,
            mapping,
            options,
            start: Position::default(),
            rejects: Box::new(|_: Reject| Ok(())),
            watch: None,
        })
    }

    /// What each column becomes.
    pub fn columns(&self) -> &[ColumnPlan] {
        &self.plan.columns
    }

    /// What else a reader should know before rows are written.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Hands rows that are not written to this; without one they are counted alone.
    #[must_use]
    pub fn rejects(mut self, sink: impl RejectSink) -> Self {
        self.rejects = Box::new(sink);
        self
    }

    /// Tells how far the load is, again and again while it runs, and from where it could go on if it stopped.
    #[must_use]
    pub fn on_progress(
        mut self,
        every: Duration,
        tell: impl FnMut(&Progress, &Checkpoint) + Send + 'static,
    ) -> Self {
        self.watch = Some(Watch { every, tell: Box::new(tell) });
        self
    }

    /// Goes on where a load of the same inputs stopped.
    ///
    /// # Errors
    /// [`IngestError::Request`] when the inputs are others, or can be read only from their beginning.
    pub fn resume(mut self, checkpoint: &Checkpoint) -> Result<Self> {
        self.start = checkpoint.position(&self.inputs)?;
        Ok(self)
    }

    /// Writes the rows into a feature view of a tenant, until they end or `stop` does.
    pub async fn run(
        self,
        store: &OnlineStore,
        tenant: &str,
        view: &str,
        stop: impl Future<Output = ()>,
    ) -> Report {
        let store = store.clone();
        self.run_with(move || Ok(store.clone()), tenant, view, stop).await
    }

    /// The same into a store that is asked for with each batch anew, for a load that may outlast the store, or
    /// the permission to write into it: an error ends the load.
    pub async fn run_with(
        self,
        store: impl Fn() -> feature_core::Result<OnlineStore> + Send + Sync + 'static,
        tenant: &str,
        view: &str,
        stop: impl Future<Output = ()>,
    ) -> Report {
        let started = Instant::now();
        let Self { inputs, opened, columns, plan, mapping, options, start, rejects, watch, .. } = self;
        let inputs = Arc::new(inputs);
        let total_bytes = inputs.iter().map(Input::bytes).sum::<Option<u64>>();
        let tally = Arc::new(Tally::new(rejects, total_bytes));
        let concurrency = options.concurrency.max(1);
        let marks = Arc::new(Marks::new(concurrency, start));
        let sizes = inputs.iter().map(|input| input.bytes().unwrap_or_default());
        let pipeline = Pipeline {
            target: Arc::new(Target {
                store: Box::new(store),
                tenant: tenant.to_owned(),
                view: view.to_owned(),
            }),
            tally: Arc::clone(&tally),
            marks: Arc::clone(&marks),
            batch_size: options.batch_size.max(1),
            batch_bytes: options.batch_bytes,
            concurrency,
            names: match &inputs[..] {
                [_] => Vec::new(),
                several => several.iter().map(|input| input.name().into()).collect(),
            },
            bytes_before: sizes
                .scan(0, |sum, bytes| {
                    let before = *sum;
                    *sum += bytes;
                    Some(before)
                })
                .collect(),
        };
        let reading = Inputs {
            inputs: Arc::clone(&inputs),
            opened,
            columns,
            plan,
            mapping,
            reading: Reading::new(&options),
            next: start.inputs,
            skip: start.rows,
            current: None,
            ended: false,
        };
        let checkpoint = || Checkpoint::new(&inputs, marks.done());
        let run = pipeline.run(Box::new(reading), stop);
        let (ended, entities) = match watch {
            None => run.await,
            Some(mut watch) => {
                let mut ticks = tokio::time::interval(watch.every);
                tokio::pin!(run);
                let outcome = loop {
                    tokio::select! {
                        outcome = &mut run => break outcome,
                        _ = ticks.tick() => (watch.tell)(&tally.progress(), &checkpoint()),
                    }
                };
                (watch.tell)(&tally.progress(), &checkpoint());
                outcome
            }
        };
        Report {
            progress: tally.progress(),
            entities,
            took: started.elapsed(),
            checkpoint: (!matches!(ended, Ended::Complete)).then(checkpoint),
            ended,
        }
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load")
            .field("inputs", &self.inputs)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Runs what waits for files.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(IngestError::Input(format!("the reading stopped: {panic}"))),
    }
}

/// The inputs, read one after another.
struct Inputs {
    inputs: Arc<Vec<Input>>,
    opened: Vec<Option<Box<dyn Source>>>,
    columns: Vec<InputColumns>,
    plan: Plan,
    mapping: Arc<Mapping>,
    reading: Reading,
    next: usize,
    /// How many rows of the next input are passed over.
    skip: u64,
    current: Option<Chunks>,
    ended: bool,
}

impl Inputs {
    /// Opens the next input.
    fn begin(&mut self) -> Result<Chunks> {
        let input = &self.inputs[self.next];
        let source = match self.opened[self.next].take() {
            Some(source) => Some(source),
            None => format::open(input, &self.mapping, &self.reading)?,
        };
        let source = source.ok_or_else(|| input.unreadable("it is empty now"))?;
        let layout = self.plan.layout(&self.columns[self.next], &self.mapping)?;
        let skip = std::mem::take(&mut self.skip);
        source.rows(layout, Arc::clone(&self.mapping), skip).map_err(|e| input.unreadable(e))
    }
}

impl Iterator for Inputs {
    type Item = Result<Read>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let Some(current) = &mut self.current else {
                if self.next >= self.inputs.len() {
                    self.ended = true;
                    return Some(Ok(Read::End));
                }
                match self.begin() {
                    Ok(chunks) => self.current = Some(chunks),
                    Err(e) => return Some(Err(e)),
                }
                continue;
            };
            match current.next() {
                Some(Ok(chunk)) => return Some(Ok(Read::Rows { input: self.next, chunk })),
                Some(Err(e)) => return Some(Err(self.inputs[self.next].unreadable(e))),
                None => {
                    self.current = None;
                    self.next += 1;
                }
            }
        }
        None
    }
}
