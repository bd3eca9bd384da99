//! Encrypted connections, with certificates made for the test.

mod common;

use std::process::ExitCode;

use common::{open, read, write};
use feature_core::ErrorKind;
use store_testkit::servers::{Certificates, RedisOptions, RedisTls};
use store_testkit::{ServerTests, TestFailure};

type Outcome = Result<(), TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("both_sides_show_their_certificates", both_sides)
        .test("a_server_of_an_unknown_authority_is_refused", unknown_authority)
        .test("a_client_without_a_certificate_is_told_so", no_certificate)
        .test("a_file_that_is_not_there_is_named", missing_file)
        .run()
}

/// The server's URL with the files of these certificates; the client's own when wanted.
fn url(server: &RedisTls, certificates: &Certificates, own: bool) -> String {
    let mut url = format!("{}?tls_ca={}", server.url(), certificates.authority().display());
    if own {
        let (cert, key) = (certificates.client(), certificates.client_key());
        url.push_str(&format!("&tls_cert={}&tls_key={}", cert.display(), key.display()));
    }
    url
}

async fn both_sides() -> Outcome {
    let options = RedisOptions { password: Some("secret".to_owned()), ..RedisOptions::default() };
    let server = RedisTls::start(&options).await?;
    let store = open(&url(&server, server.certificates(), true)).await?;
    write(&store, 1, 7).await?;
    match read(&store, 1).await? {
        Some(7) => Ok(()),
        found => Err(format!("found {found:?}").into()),
    }
}

async fn unknown_authority() -> Outcome {
    let server = RedisTls::start(&RedisOptions::default()).await?;
    let others = Certificates::make()?;
    let error = open(&url(&server, &others, true)).await.err().ok_or("a stranger was trusted")?;
    match error.kind() {
        ErrorKind::Unauthenticated if !error.is_retryable() && error.message().contains("tls_ca") => Ok(()),
        _ => Err(format!("not the error of an unknown authority: {error:?}").into()),
    }
}

async fn no_certificate() -> Outcome {
    let server = RedisTls::start(&RedisOptions::default()).await?;
    let error = match open(&url(&server, server.certificates(), false)).await {
        // In TLS 1.3 the client has shaken hands before the server has looked.
        Ok(store) => read(&store, 1).await.err().ok_or("a stranger was let in")?,
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::Unauthenticated if error.message().contains("tls_cert") => Ok(()),
        _ => Err(format!("not the error of a missing certificate: {error:?}").into()),
    }
}

async fn missing_file() -> Outcome {
    let error =
        open("rediss://127.0.0.1:1?tls_ca=/nowhere/ca.pem").await.err().ok_or("there is no such file")?;
    match error.kind() {
        ErrorKind::InvalidArgument if error.message().contains("/nowhere/ca.pem") => Ok(()),
        _ => Err(format!("not the error of a missing file: {error:?}").into()),
    }
}
