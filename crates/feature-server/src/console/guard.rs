//! Who looks at a page: the keys, the rights and the slowing down of the API.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, State};
use axum::response::Response;
use feature_core::{Error, ErrorKind};
use hyper::header::{COOKIE, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use maud::{Markup, html};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::Console;
use super::page::{Here, Page, error_page, redirect, respond};
use crate::auth::{Credentials, Principal, Right};
use crate::calls::{Call, Refusal, Reservation};
use crate::listen::Peer;
use crate::live::Live;
use crate::observe::Turned;
use crate::settings::ServerSettings;

const COOKIE_NAME: &str = "fstore_console";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The longest form: a token, and where to go on.
const FORM_BYTES: usize = 32 << 10;

/// The fields of a query or form, in order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value of a field without blanks around it; empty where it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.trim())
    }
}

/// A request by somebody who was let in.
pub(super) struct Visit {
    pub(super) console: Arc<Console>,
    pub(super) live: Arc<Live>,
    pub(super) principal: Arc<Principal>,
    pub(super) csrf: String,
    pub(super) query: Fields,
    /// The path and the query.
    pub(super) address: String,
    /// Whether there is somebody to sign out.
    pub(super) signed_in: bool,
    peer: Option<Peer>,
    began: Instant,
}

impl Visit {
    /// A call by this visitor, which counts as a request that is worked on for as long as the reservation is held.
    ///
    /// # Errors
    /// When the server has as much to do as it may.
    pub(super) fn call(&self) -> Result<(Call, Reservation), Refusal> {
        let share = self.console.server.share(&self.live, &self.principal, self.peer.as_ref());
        let (live, principal) = (Arc::clone(&self.live), Arc::clone(&self.principal));
        let deadline = self.began + self.live.deadline.min(self.live.settings.timeouts.request);
        let working = share.work()?;
        Ok((Call { live, principal, deadline, memory: share.memory.reserve() }, working))
    }

    /// A page for this visitor.
    pub(super) fn page(&self, here: Here, title: &str, body: &Markup) -> Response {
        self.page_as(StatusCode::OK, here, title, body)
    }

    /// The same, where it may be about something that is not there.
    pub(super) fn page_as(&self, status: StatusCode, here: Here, title: &str, body: &Markup) -> Response {
        respond(status, Page { title, here, visit: Some(self) }.whole(body))
    }

    /// What pages say that show what this process has counted.
    pub(super) fn of_this_process(&self) -> Markup {
        html! {
            @if self.console.alone {
                p.verdict.warn {
                    "This process is a console alone and answers no requests: what a server counts is on its own console, at its admin port."
                }
            }
        }
    }

    /// The tenant that is asked for, or else the only one that this visitor has.
    pub(super) fn tenant(&self) -> &str {
        match self.query.get("tenant") {
            "" => self.principal.only_tenant().unwrap_or_default(),
            tenant => tenant,
        }
    }

    /// Whether this visitor may do this with the data of a tenant.
    pub(super) fn may(&self, right: Right, tenant: &str) -> bool {
        self.principal.may(right, tenant)
    }

    /// Whether this is what a form of this visitor sends.
    ///
    /// # Errors
    /// `PermissionDenied` where it is not.
    fn check_form(&self, form: &Fields) -> Result<(), Refusal> {
        match form.get("csrf").as_bytes().ct_eq(self.csrf.as_bytes()).into() {
            true => Ok(()),
            false => {
                Err(denied("the form is not of this session: open the page again, and send it from there"))
            }
        }
    }
}

fn denied(message: &str) -> Refusal {
    Error::new(ErrorKind::PermissionDenied, message).into()
}

impl FromRequestParts<Arc<Console>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        admit(console, parts).await
    }
}

/// A form, and who sends it from a page of this console.
pub(super) struct Sent(pub(super) Visit, pub(super) Fields);

impl FromRequest<Arc<Console>> for Sent {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, console: &Arc<Console>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let visit = admit(console, &parts).await?;
        let form = read_form(&parts, body).await;
        match form.and_then(|form| visit.check_form(&form).map(|()| form)) {
            Ok(form) => Ok(Self(visit, form)),
            Err(refusal) => Err(error_page(&refusal, Some(&visit))),
        }
    }
}

/// Lets somebody in, or says what to answer.
async fn admit(console: &Arc<Console>, parts: &Parts) -> Result<Visit, Response> {
    let (live, now) = (console.server.live(), Instant::now());
    if let Err(refusal) = check_host(&live.settings, &parts.headers) {
        return Err(error_page(&refusal, None));
    }
    let visit = |principal, csrf, signed_in| Visit {
        console: Arc::clone(console),
        live: Arc::clone(&live),
        principal,
        csrf,
        query: Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        address: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        signed_in,
        peer: parts.extensions.get::<Peer>().cloned(),
        began: now,
    };
    if live.settings.auth.is_none() {
        let principal = live.authenticator.authenticate(Credentials::default());
        let principal = principal.unwrap_or_else(|_| Arc::new(Principal::nobody()));
        return Ok(visit(principal, console.open_csrf.clone(), false));
    }
    let to_sign_in = |address: &str| {
        let next: String = form_urlencoded::byte_serialize(address.as_bytes()).collect();
        redirect(&format!("/console/sign-in?next={next}"))
    };
    let address = if parts.method == hyper::Method::GET { parts.uri.to_string() } else { String::new() };
    let Some(name) = session_name(&parts.headers) else { return Err(to_sign_in(&address)) };
    let Some(session) = console.sessions.find(name, now) else { return Err(to_sign_in(&address)) };
    let shown = Credentials { token: Some(session.token.expose()), certificate: &[] };
    match live.authenticator.authenticate_anew(shown).await {
        Ok(principal) => Ok(visit(principal, session.csrf, true)),
        // The key was taken back, or the token is over.
        Err(_) => {
            console.sessions.end(name);
            Err(to_sign_in(&address))
        }
    }
}

async fn read_form(parts: &Parts, body: Body) -> Result<Fields, Refusal> {
    check_origin(&parts.headers)?;
    let body = axum::body::to_bytes(body, FORM_BYTES).await;
    let body = body.map_err(|_| Refusal::invalid(format!("a form has at most {FORM_BYTES} bytes")))?;
    Ok(Fields::parse(&body))
}

/// Where everybody may read who reaches the port, a page from elsewhere must not: by a name of its own that leads
/// to this machine it would pass for this console.
fn check_host(settings: &ServerSettings, headers: &HeaderMap) -> Result<(), Refusal> {
    let local = settings.admin.is_some_and(|address| address.ip().is_loopback());
    if settings.auth.is_some() {
        return Ok(());
    }
    if !local && !settings.insecure {
        return Err(denied(
            "without `server.auth` the console is open on this machine alone: let the admin port listen on 127.0.0.1, \
             or say who may read what in `server.auth`",
        ));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.parse::<hyper::http::uri::Authority>().ok();
    let name = name.as_ref().map(|authority| authority.host().trim_matches(['[', ']'])).unwrap_or_default();
    match !local || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(denied(
            "without `server.auth` the console is at 127.0.0.1 or localhost, and at no other name",
        )),
    }
}

/// A form must come from a page of this console, where the browser says from where it comes.
fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let same_site = text(&FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    let same_origin = text(&ORIGIN)
        .is_none_or(|origin| origin.split_once("://").map(|(_, authority)| authority) == text(&HOST));
    if same_site && same_origin { Ok(()) } else { Err(denied("the form comes from another site")) }
}

fn session_name(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value).next()
}

/// A path of this console, and no address elsewhere.
fn own_path(next: &str) -> &str {
    let own =
        next.starts_with("/console/") && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if own { next } else { "/console/lookup" }
}

fn sign_in_page(status: StatusCode, next: &str, problem: Option<&str>) -> Response {
    let body = html! {
        form.card.narrow method="post" action="/console/sign-in" {
            @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
            input type="hidden" name="next" value=(own_path(next));
            label for="key" { "Key or token" }
            input #key type="password" name="key" required autocomplete="current-password" autofocus
                aria-describedby="key-hint";
            p.hint #key-hint {
                "A key of " code { "server.auth.keys" } ", or a token of its issuer: the same that requests show. You see what it may read."
            }
            button type="submit" { "Sign in" }
        }
    };
    respond(status, Page { title: "Sign in", here: Here::SignIn, visit: None }.whole(&body))
}

/// `GET /console/sign-in`.
pub(super) async fn sign_in_form(
    State(console): State<Arc<Console>>,
    request: axum::extract::Request,
) -> Response {
    if console.server.live().settings.auth.is_none() {
        return redirect("/console/lookup");
    }
    let query = Fields::parse(request.uri().query().unwrap_or_default().as_bytes());
    sign_in_page(StatusCode::OK, query.get("next"), None)
}

/// `POST /console/sign-in`.
pub(super) async fn sign_in(
    State(console): State<Arc<Console>>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let form = match read_form(&parts, body).await {
        Ok(form) => form,
        Err(refusal) => return error_page(&refusal, None),
    };
    let (live, now) = (console.server.live(), Instant::now());
    if live.settings.auth.is_none() {
        return redirect("/console/lookup");
    }
    let shown = Credentials { token: Some(form.get("key")), certificate: &[] };
    if let Err(stranger) = live.authenticator.authenticate_anew(shown).await {
        console.server.metrics.turned_away(Turned::Unauthenticated);
        let address = parts.extensions.get::<Peer>().map(|peer| peer.address.ip());
        let delay = console.server.throttle.failed(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), now);
        tokio::time::sleep(delay).await;
        return sign_in_page(StatusCode::UNAUTHORIZED, form.get("next"), Some(stranger.reason()));
    }
    match console.sessions.begin(form.get("key"), now) {
        Ok(name) => {
            let mut response = redirect(own_path(form.get("next")));
            set_cookie(&mut response, &parts.headers, &name, "");
            response
        }
        Err(error) => error_page(&error.into(), None),
    }
}

/// `POST /console/sign-out`.
pub(super) async fn sign_out(headers: HeaderMap, Sent(visit, _): Sent) -> Response {
    if let Some(name) = session_name(&headers) {
        visit.console.sessions.end(name);
    }
    let mut response = redirect("/console/sign-in");
    set_cookie(&mut response, &headers, "", "; Max-Age=0");
    response
}

fn set_cookie(response: &mut Response, headers: &HeaderMap, value: &str, end: &str) {
    // The port itself speaks no TLS; a proxy before it says that it does.
    let secure = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes() == b"https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={value}; Path=/console; HttpOnly; SameSite=Strict{secure}{end}");
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().insert(hyper::header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::AuthSettings;

    #[test]
    fn beyond_this_machine_the_console_needs_auth_or_to_be_told() {
        let headers = HeaderMap::from_iter([(HOST, "10.0.0.1".parse().unwrap())]);
        let open = |admin: &str, insecure, auth: bool| {
            let admin = Some(admin.parse().unwrap());
            let auth = auth.then(AuthSettings::default);
            check_host(&ServerSettings { admin, insecure, auth, ..Default::default() }, &headers).is_ok()
        };
        assert!(open("127.0.0.1:1", false, false));
        assert!(!open("0.0.0.0:1", false, false));
        assert!(open("0.0.0.0:1", true, false) && open("0.0.0.0:1", false, true));
    }

    #[test]
    fn nobody_is_sent_elsewhere_after_signing_in() {
        for own in ["/console/lookup", "/console/view?name=a%20b&tenant=c"] {
            assert_eq!(own_path(own), own);
        }
        for foreign in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil",
            "/console",
            "/console/\r\nx: y",
            "/v1/views",
        ] {
            assert_eq!(own_path(foreign), "/console/lookup", "{foreign:?}");
        }
    }
}
