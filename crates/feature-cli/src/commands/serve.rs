//! `serve`, `console` and `key`: the store behind HTTP.

mod metrics;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, FeatureView, StoreUrl, SystemClock};
use feature_server::settings::ServerSettings;
use feature_server::{Opener, Server, ServerHandle, Serving};
use feature_store::unified::{FeatureService, Registry, Settings, SettingsFormat, SettingsReader};
use feature_store::{Catalog, Connector};
use serde_json::json;

use crate::cli::{ConsoleArgs, ServeArgs, Target};
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::settings;
use crate::telemetry::Telemetry;
use streams::{Streams, ToFollow};

/// How often it is looked whether the settings have changed.
const LOOK: Duration = Duration::from_secs(1);

/// What a process is.
enum Role {
    Server,
    /// The console alone.
    Console,
}

/// `serve`.
pub(super) async fn run(target: &Target, args: &ServeArgs) -> Result<Exit> {
    run_as(&Role::Server, target, args).await
}

/// `console`: a server without its data port.
pub(super) async fn console(target: &Target, args: ConsoleArgs) -> Result<Exit> {
    let ConsoleArgs { views, listen } = args;
    let args = ServeArgs { views, listen: None, admin: Some(listen), follow: false, check: false };
    run_as(&Role::Console, target, &args).await
}

async fn run_as(role: &Role, target: &Target, args: &ServeArgs) -> Result<Exit> {
    let telemetry = Telemetry::begin()?;
    // Before the store, which looks its metrics up when it is built.
    let metrics = feature_server::install_metrics()?;
    let opener = Opener::default();
    let Wanted { serving, to_follow, .. } = wanted(target, args, &opener).await?;
    let server = match role {
        Role::Server => Server::bind(serving, Some(metrics)).await?,
        Role::Console => Server::bind_console(serving, Some(metrics)).await?,
    };
    let admin = server.admin_address()?.map(|address| address.to_string());
    let version = env!("CARGO_PKG_VERSION");
    match role {
        Role::Server => tracing::info!(listen = %server.address()?, admin, version, "serving"),
        Role::Console => tracing::info!(admin, version, "showing the console, at /console"),
    }
    let handle = server.handle();
    let mut streams = to_follow.map(Streams::follow).transpose()?;
    let told = tokio::spawn(server.run());
    tokio::pin!(told);
    let mut signals = Signals::new()?;
    let mut files = Files::of(target, args);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            ended = &mut told => {
                ended.map_err(|error| Failure::Other(format!("the server ended: {error}")))??;
                break;
            }
            error = failed(&mut streams) => {
                tracing::error!(%error, "a stream is not followed any more; the rest goes on");
            }
            signal = signals.next() => match signal {
                Signal::Stop => {
                    tracing::info!("stopping: what streams have delivered is written, requests in flight are finished");
                    // The server closes the store at its end.
                    if let Some(streams) = &mut streams {
                        streams.stop().await;
                    }
                    handle.stop();
                }
                Signal::Reload => {
                    files.taken();
                    reload(target, args, &opener, &handle, &mut streams).await;
                }
            },
            _ = looks.tick() => if files.have_changed() {
                reload(target, args, &opener, &handle, &mut streams).await;
            }
        }
    }
    opener.close().await?;
    tracing::info!("stopped");
    telemetry.end();
    Ok(Exit::Done)
}

/// Why a stream is not followed any more; waits for ever while all are.
async fn failed(streams: &mut Option<Streams>) -> Error {
    match streams {
        Some(streams) => streams.failed().await,
        None => std::future::pending().await,
    }
}

/// Takes the settings as they are now; where something is wrong with them everything stays as it is.
async fn reload(
    target: &Target,
    args: &ServeArgs,
    opener: &Opener,
    handle: &ServerHandle,
    streams: &mut Option<Streams>,
) {
    let Wanted { serving, server, to_follow } = match wanted(target, args, opener).await {
        Ok(wanted) => wanted,
        Err(failure) => {
            tracing::error!(error = %failure, "the settings cannot be read; nothing has changed");
            return;
        }
    };
    let unchanged = handle.unchangeable(&server);
    if let Err(error) = handle.replace(serving) {
        tracing::error!(%error, "the settings cannot be used; nothing has changed");
        return;
    }
    if let (Some(streams), Some(to_follow)) = (streams, to_follow) {
        streams.stop().await;
        match Streams::follow(to_follow) {
            Ok(new) => *streams = new,
            Err(error) => tracing::error!(%error, "the streams cannot be followed"),
        }
    }
    match unchanged.is_empty() {
        true => tracing::info!("the settings were read again"),
        false => {
            let what = unchanged.join(", ");
            tracing::warn!(what, "the settings were read again; these need a restart");
        }
    }
}

/// What the settings come to.
struct Wanted {
    serving: Serving,
    server: ServerSettings,
    to_follow: Option<ToFollow>,
}

async fn wanted(target: &Target, args: &ServeArgs, opener: &Opener) -> Result<Wanted> {
    let connector = Connector::new();
    let (settings, mut server) = match target {
        Target::Settings(file) => {
            if args.views.is_some() {
                return Err(Failure::Usage(
                    "the views are in the settings file: leave --views out".to_owned(),
                ));
            }
            // While it serves, all that it says is its log.
            settings::read(file)?
                .map_err(|problems| Failure::Usage(format!("{}: {problems}", file.display())))?
        }
        Target::Store(url) => {
            (described(url, args.views.as_deref(), opener).await?, ServerSettings::default())
        }
    };
    let streams = match (args.follow, target) {
        (false, _) => None,
        (true, Target::Settings(file)) => Some(streams::of(file)?),
        (true, Target::Store(_)) => {
            return Err(Failure::Usage("the streams are in a settings file: say --config FILE".to_owned()));
        }
    };
    let (listen, admin) = (args.listen, args.admin);
    let listens = move |server: &mut ServerSettings| {
        server.listen = listen.unwrap_or(server.listen);
        server.admin = admin.or(server.admin);
    };
    listens(&mut server);
    let connect = async |url: &StoreUrl| connector.connect_to(url).await;
    let store = opener.open(&settings, connect, SystemClock).await?;
    let online = store.online().with_deadline(settings.migration.longest_write);
    let to_follow = streams.map(|streams| ToFollow { streams, store: online });
    let mut serving = Serving::new(store, &settings, server.clone(), SystemClock);
    if let Target::Settings(file) = target {
        let file = file.clone();
        serving = serving.kept_by(move || {
            let read =
                settings::read(&file).map_err(|failure| Error::invalid_argument(failure.to_string()))?;
            let (settings, mut server) = read?;
            listens(&mut server);
            Ok((settings, server))
        });
    }
    Ok(Wanted { serving, server, to_follow })
}

/// The settings of one store, with the views of a file or those that it has in itself.
async fn described(url: &str, views: Option<&Path>, opener: &Opener) -> Result<Settings> {
    let connector = Connector::new();
    connector.parse(url).map_err(Failure::usage)?;
    let registry = match views {
        Some(file) => {
            let text = fs::read_to_string(file)
                .map_err(|e| Failure::Usage(format!("cannot read the views {}: {e}", file.display())))?;
            Some(
                Registry::from_yaml(&text)
                    .map_err(|e| Failure::Usage(format!("{}: {}", file.display(), e.message())))?,
            )
        }
        None => None,
    };
    let one = |views: Vec<&FeatureView>, services: Vec<&FeatureService>| {
        // `${` in a URL is no variable here.
        let mut file = json!({ "stores": { "main": url.replace("${", "$${") } });
        if !views.is_empty() {
            file["feature_views"] = json!(views);
            file["feature_services"] = json!(services);
        }
        let reader = SettingsReader::new(SettingsFormat::Yaml);
        reader.read(&file.to_string()).map_err(|problems| Failure::Usage(problems.to_string()))
    };
    if let Some(registry) = &registry {
        return one(registry.views().collect(), registry.services().collect());
    }
    let bare = one(Vec::new(), Vec::new())?;
    let connect = async |url: &StoreUrl| connector.connect_to(url).await;
    let store = opener.open(&bare, connect, SystemClock).await?;
    let catalog = Catalog::new(Arc::clone(store.online().backend()), SystemClock)?;
    let views = catalog.all().await?;
    one(views.values().collect(), Vec::new())
}

/// The files that say what is served.
struct Files {
    paths: Vec<PathBuf>,
    /// What they held when they were taken.
    taken: Vec<Vec<u8>>,
    /// What they held when they were last looked at.
    seen: Option<Vec<Vec<u8>>>,
}

impl Files {
    fn of(target: &Target, args: &ServeArgs) -> Self {
        let settings = match target {
            Target::Settings(file) => Some(file.clone()),
            Target::Store(_) => None,
        };
        let paths: Vec<_> = settings.into_iter().chain(args.views.clone()).collect();
        let mut files = Self { paths, taken: Vec::new(), seen: None };
        files.taken();
        files
    }

    /// What they hold; nothing while one is not there, as when it is being replaced.
    fn read(&self) -> Option<Vec<Vec<u8>>> {
        self.paths.iter().map(|path| fs::read(path).ok()).collect()
    }

    /// What they hold is taken.
    fn taken(&mut self) {
        self.taken = self.read().unwrap_or_default();
    }

    /// Whether they hold something else, which has been the same for two looks: it may just be written.
    fn have_changed(&mut self) -> bool {
        let now = self.read();
        let settled = now == self.seen;
        self.seen = now;
        match &self.seen {
            Some(now) if settled && *now != self.taken => {
                self.taken.clone_from(now);
                true
            }
            _ => false,
        }
    }
}

/// What the process is told.
pub(super) enum Signal {
    Stop,
    Reload,
}

#[cfg(unix)]
pub(super) struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| signal(kind).map_err(|e| Failure::Other(format!("cannot listen to signals: {e}")));
        Ok(Self([on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?]))
    }

    pub(super) async fn next(&mut self) -> Signal {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => Signal::Stop,
            _ = interrupt.recv() => Signal::Stop,
            _ = hangup.recv() => Signal::Reload,
        }
    }
}

/// Elsewhere there is only the keyboard.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> Signal {
        // What cannot be heard never comes.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop
    }
}

/// `key new`.
pub(super) fn new_key(output: &mut Output) -> Result<Exit> {
    let key = feature_server::new_key()?;
    output.record(&[("key", json!(key.key.expose())), ("sha256", json!(key.hash.to_hex()))])?;
    Ok(Exit::Done)
}
