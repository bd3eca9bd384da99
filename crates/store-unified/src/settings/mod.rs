//! One file that describes stores, routes, views, services and policies.

mod cache;
mod env;
mod node;
mod open;
mod policies;
mod problem;
mod reader;
mod routes;
mod services;
mod stores;
mod tenants;
mod toml;
mod views;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use feature_core::{Result, StoreSettings, StoreUrl, ViewKey};

pub use problem::{Problem, Problems};
pub use stores::StoreEntry;

use crate::migration::MigrationSettings;
use crate::registry::Registry;
use crate::store::{Decision, Destination, RouteRule, TenantRule};
use crate::wrappers::CacheSettings;
use node::{MAX_BYTES, Position};
use problem::Sink;
pub use reader::{Field, Section};

/// The language of a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsFormat {
    /// YAML 1.2, one document. Anchors and aliases work; merge keys (`<<`) do not exist in YAML 1.2.
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl SettingsFormat {
    /// TOML if the file's name ends in `.toml`, else YAML, which includes JSON.
    pub fn of(path: &Path) -> Self {
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if is_toml { Self::Toml } else { Self::Yaml }
    }
}

/// What a settings file says. `docs/settings.md` explains the file.
///
/// ```
/// use store_unified::{Settings, SettingsFormat, SettingsReader};
/// let text = "
/// stores:
///   main: redis://:${REDIS_PASSWORD}@localhost:6379
///   bulk: aerospike://localhost:3000/features
/// routes:
///   - { tenant: acme, view: '*', store: bulk }
/// default: { store: mian }
/// ";
/// let reader = SettingsReader::new(SettingsFormat::Yaml).env(&|_| None);
/// let problems = reader.read(text).unwrap_err();
/// assert_eq!(
///     problems.to_string(),
///     "line 3: stores.main: the environment variable `REDIS_PASSWORD` is not set; \
///      line 7: default.store: there is no store `mian`; did you mean `main`?"
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The stores, in the order of the file.
    pub stores: Vec<StoreEntry>,
    /// Where records go: the first that matches counts.
    pub routes: Vec<RouteRule>,
    /// Where records go that no route matches.
    pub default: Destination,
    /// Deadline and skew.
    pub calls: StoreSettings,
    /// What tenants are, and how much each may do: the first that matches counts.
    pub tenants: Vec<TenantRule>,
    /// What is kept in memory; `None` is nothing.
    pub cache: Option<CacheSettings>,
    /// How closely this process follows migrations.
    pub migration: MigrationSettings,
    /// The feature views and feature services; `None` where the file declares none, and any view takes
    /// anything.
    pub registry: Option<Registry>,
    lines: Lines,
}

/// Where the rules are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    routes: Vec<usize>,
    default: Option<usize>,
}

impl Settings {
    /// Where the records of a view of a tenant go. Asks no store.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name.
    pub fn route(&self, tenant_id: &str, feature_view: &str) -> Result<Decision> {
        let view = ViewKey::new(tenant_id, feature_view)?;
        Ok(Decision::of(&view, &self.routes, &self.default))
    }

    /// The line of the rule that decided; `None` for a default that the file does not state.
    pub fn line_of(&self, decision: &Decision) -> Option<usize> {
        decision.rule.map_or(self.lines.default, |rule| self.lines.routes.get(rule).copied())
    }
}

/// Sections of the file that are about what is built on the store. Whoever builds it reads them, see
/// [`SettingsReader::read_with`]; to everyone else they are no mistake.
const OF_OTHERS: [&str; 2] = ["server", "streams"];

/// Reads settings. Environment and URLs are given to it, since this crate knows no backend and a test no
/// environment.
pub struct SettingsReader<'a> {
    format: SettingsFormat,
    env: env::Lookup<'a>,
    check_url: &'a dyn Fn(&StoreUrl) -> Result<()>,
}

impl<'a> SettingsReader<'a> {
    /// Reads this language, with the environment of the process, and takes any well-formed store URL.
    pub fn new(format: SettingsFormat) -> Self {
        Self { format, env: &|name| std::env::var(name).ok(), check_url: &|_| Ok(()) }
    }

    /// Looks `${NAME}` up here.
    #[must_use]
    pub fn env(self, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, ..self }
    }

    /// Also asks this whether a store URL is right. Its error must not show the URL.
    #[must_use]
    pub fn check_urls(self, check_url: &'a dyn Fn(&StoreUrl) -> Result<()>) -> Self {
        Self { check_url, ..self }
    }

    /// The settings that a text describes.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self, text: &str) -> Result<Settings, Problems> {
        self.read_with(text, |_| Some(())).map(|(settings, ())| settings)
    }

    /// The settings that a text describes, and what `others` reads of the file beside them: it takes its
    /// sections from the root, and says what is wrong with them in the same way.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read_with<T>(
        &self,
        text: &str,
        others: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<(Settings, T), Problems> {
        let sink = Sink::default();
        let read = self.tree(text, &sink).and_then(|root| {
            let mut section = Field::root(&root, &sink).section()?;
            let others = others(&mut section);
            OF_OTHERS.iter().for_each(|name| drop(section.take(name)));
            Some((self.settings(section)?, others?))
        });
        let problems = sink.into_problems();
        match read {
            Some(read) if problems.is_empty() => Ok(read),
            _ => Err(Problems(problems)),
        }
    }

    fn tree(&self, text: &str, sink: &Sink) -> Option<node::Node> {
        if text.len() > MAX_BYTES {
            sink.add("", Position::START, format!("the file has more than {MAX_BYTES} bytes"));
            return None;
        }
        let mut root = match self.format {
            SettingsFormat::Yaml => yaml::parse(text, sink),
            SettingsFormat::Toml => toml::parse(text, sink),
        }?;
        env::substitute(&mut root, "", self.env, sink);
        Some(root)
    }

    fn settings(&self, mut root: Section<'_>) -> Option<Settings> {
        let views = root.take("feature_views").map(|field| views::read(&field));
        let services = root.take("feature_services");
        let declares = views.is_some() || services.is_some();
        let views = views.unwrap_or_default();
        let services = services.map(|field| services::read(&field, &views)).unwrap_or_default();

        let (stores, names) = stores::read(root.need("stores").as_ref(), self.check_url);
        let known = declares.then_some(&views);
        let (routes, lines) = routes::read(root.take("routes"), &names, known);
        let default = root.take("default");
        let lines = Lines { routes: lines, default: default.as_ref().map(Field::line) };
        let default = routes::read_default(default, &root, &names);
        let tenants = root.take("tenants").map(|field| tenants::read(&field)).unwrap_or_default();

        let mut calls = StoreSettings::default();
        root.set("deadline", &mut calls.deadline, |field| field.duration_above_zero());
        root.set("max_future_skew", &mut calls.max_future_skew, |field| field.duration());
        let cache = root.take("cache").and_then(|field| cache::read(&field, known));
        let longest_write = MigrationSettings::default().longest_write.max(calls.deadline);
        let mut migration = MigrationSettings { longest_write, ..MigrationSettings::default() };
        root.set("migration", &mut migration, |field| policies::migration(&field, calls.deadline));
        let field = root.field().clone();
        root.finish();

        if field.has_failed() {
            return None;
        }
        let registry = || Registry::builder().views(views.into_list()).services(services).build();
        // Everything that it checks has been checked, with lines.
        let registry =
            declares.then(registry).transpose().map_err(|error| field.fail(error.message())).ok()?;
        Some(Settings { stores, routes, default, calls, tenants, cache, migration, registry, lines })
    }
}

impl fmt::Debug for SettingsReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsReader").field("format", &self.format).finish_non_exhaustive()
    }
}
