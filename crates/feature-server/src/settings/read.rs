//! From the section `server` of a settings file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use feature_core::ValueType;
use store_unified::{Field, Problems, Settings, SettingsReader};

use super::{FeastSettings, Limits, ServerSettings, Timeouts, TlsSettings, auth};

/// The most that a count may be.
const MANY: u64 = 100_000_000;

/// Reads a settings file with its section `server`, which may be missing.
///
/// ```
/// use store_unified::{SettingsFormat, SettingsReader};
/// let text = "
/// stores: { main: 'embedded:' }
/// server: { listen: 0.0.0.0:6566, limits: { row: 100 } }
/// ";
/// let problems = feature_server::settings::read(&SettingsReader::new(SettingsFormat::Yaml), text).unwrap_err();
/// assert_eq!(
///     problems.to_string(),
///     "line 3: server.listen: without `auth` anybody who reaches 0.0.0.0:6566 could read and write: add `auth`, \
///      listen on 127.0.0.1, or say `insecure: true`; \
///      line 3: server.limits.row: unknown key; did you mean `rows`?"
/// );
/// ```
///
/// # Errors
/// Everything that is wrong with the file.
pub fn read(reader: &SettingsReader<'_>, text: &str) -> Result<(Settings, ServerSettings), Problems> {
    reader.read_with(text, |root| match root.take("server") {
        Some(field) => server(&field),
        None => Some(ServerSettings::default()),
    })
}

fn server(field: &Field<'_>) -> Option<ServerSettings> {
    let mut section = field.section()?;
    let mut settings = ServerSettings::default();
    let listen = section.take("listen");
    if let Some(address) = listen.as_ref().and_then(address) {
        settings.listen = address;
    }
    if let Some(field) = section.take("admin") {
        settings.admin = match field.text_if_any() {
            Some("off") => None,
            _ => address(&field),
        };
    }
    section.set("insecure", &mut settings.insecure, |field| field.bool());
    settings.tls = section.take("tls").and_then(|field| tls(&field));
    let stated = section.take("auth");
    settings.auth = stated.as_ref().and_then(auth::read);
    section.set("limits", &mut settings.limits, |field| limits(&field));
    section.set("timeouts", &mut settings.timeouts, |field| timeouts(&field));
    section.set("feast", &mut settings.feast, |field| feast(&field));
    section.finish();

    if let (None, Some(problem)) = (&stated, settings.exposed()) {
        listen.as_ref().unwrap_or(field).fail(problem);
    }
    let asks_for_clients = settings.auth.as_ref().is_some_and(|auth| !auth.clients.is_empty());
    let checks_clients = settings.tls.as_ref().is_some_and(|tls| tls.client_authorities.is_some());
    if asks_for_clients && !checks_clients {
        field.fail(
            "`auth.clients` needs `tls.client_authorities`, the certificates of those who issue theirs",
        );
    }
    Some(settings)
}

impl ServerSettings {
    /// Why it must not listen as it is told to: everybody could reach everything.
    pub(crate) fn exposed(&self) -> Option<String> {
        let open = self.auth.is_none() && !self.insecure && !self.listen.ip().is_loopback();
        open.then(|| {
            format!(
                "without `auth` anybody who reaches {} could read and write: add `auth`, listen on 127.0.0.1, or \
                 say `insecure: true`",
                self.listen
            )
        })
    }
}

fn address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text()?;
    let address = text.parse().ok();
    if address.is_none() {
        field.fail("expected an address and a port, such as 127.0.0.1:6566 or [::]:6566");
    }
    address
}

fn path(field: &Field<'_>) -> Option<PathBuf> {
    field.name().map(PathBuf::from)
}

fn tls(field: &Field<'_>) -> Option<TlsSettings> {
    let mut section = field.section()?;
    let certificate = section.need("certificate").and_then(|field| path(&field));
    let key = section.need("key").and_then(|field| path(&field));
    let client_authorities = section.take("client_authorities").and_then(|field| path(&field));
    section.finish();
    Some(TlsSettings { certificate: certificate?, key: key?, client_authorities })
}

fn limits(field: &Field<'_>) -> Option<Limits> {
    let mut section = field.section()?;
    let mut limits = Limits::default();
    let bytes = |field: Field<'_>| usize::try_from(field.bytes_above_zero()?).ok();
    let count = |field: Field<'_>| field.count(1..=MANY);
    section.set("body", &mut limits.body, bytes);
    section.set("rows", &mut limits.rows, count);
    section.set("cells", &mut limits.cells, count);
    section.set("response", &mut limits.response, bytes);
    section.set("in_flight", &mut limits.in_flight, count);
    section.set("ingests", &mut limits.ingests, count);
    section.set("connections", &mut limits.connections, count);
    section.set("memory", &mut limits.memory, bytes);
    section.finish();
    Some(limits)
}

fn timeouts(field: &Field<'_>) -> Option<Timeouts> {
    let mut section = field.section()?;
    let mut timeouts = Timeouts::default();
    for (key, place) in [
        ("header", &mut timeouts.header),
        ("idle", &mut timeouts.idle),
        ("write", &mut timeouts.write),
        ("request", &mut timeouts.request),
        ("slow", &mut timeouts.slow),
    ] {
        section.set(key, place, |field| field.duration_within(Duration::from_millis(1)..=Duration::MAX));
    }
    section.set("drain", &mut timeouts.drain, |field| field.duration());
    section.finish();
    Some(timeouts)
}

fn feast(field: &Field<'_>) -> Option<FeastSettings> {
    let mut section = field.section()?;
    let tenant = section.take("tenant").and_then(|field| field.name().map(str::to_owned));
    let mut feast = FeastSettings { tenant, ..FeastSettings::default() };
    section.set("project", &mut feast.project, |field| field.name().map(str::to_owned));
    let push_sources = section.take("push_sources");
    let join_keys = section.take("join_keys");
    section.finish();
    for (name, field) in push_sources.as_ref().and_then(Field::entries).unwrap_or_default() {
        feast.push_sources.extend(field.name().map(|view| (name.to_owned(), view.to_owned())));
    }
    for (name, field) in join_keys.as_ref().and_then(Field::entries).unwrap_or_default() {
        let Some(value_type) = field.parsed::<ValueType>("string, int32 or int64") else { continue };
        if matches!(value_type, ValueType::String | ValueType::Int32 | ValueType::Int64) {
            feast.join_keys.insert(name.to_owned(), value_type);
        } else {
            field.fail(format!("a join key is string, int32 or int64, not {value_type}"));
        }
    }
    Some(feast)
}
